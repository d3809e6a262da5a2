"""The tests of the package.

They start some hundred Python processes. Where the environment forbids these to write what they have compiled, each compiles the
package anew, which takes it longer than all else. So they keep it in the virtual environment, and the tree stays clean.
"""

import os
import sys
from pathlib import Path

if sys.prefix != sys.base_prefix and os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    os.environ.setdefault("PYTHONPYCACHEPREFIX", str(Path(sys.prefix) / "pycache"))
