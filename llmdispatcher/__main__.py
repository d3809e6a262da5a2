"""Run the command line: ``python -m llmdispatcher``."""

from __future__ import annotations

import sys

from .cli.main import main

sys.exit(main())
