"""Released libraries that are built on LiteLLM run on ours."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-libraries" / "bin" / "python"


@pytest.mark.skipif(not PYTHON.exists(), reason="scripts/strangers has not made .venv-libraries, which takes minutes")
@pytest.mark.parametrize("library", ["instructor", "smolagents", "dspy"])
def test_a_library(library, tmp_path):
    """Its synchronous paths; nothing of LiteLLM's own is imported."""
    script = ROOT / "tests" / "integrations" / "litellm_libraries.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run([PYTHON, script, library], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240)

    assert 0 == done.returncode, done.stderr
    assert done.stdout.rstrip().endswith("checks")
