"""Conformance suites of others against the gateway: llm-comply here; ``scripts/strangers gateway`` runs those that take longer."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys

import pytest

from ..cases import each
from ..testing.test_conformance import SUITES

pytest.importorskip("llm_comply", reason="llm-comply is not installed; scripts/test installs it")

THINKING = ("openai:gpt-5-mini", "anthropic:claude-sonnet-4-5", "google:gemini-2.5-flash")
"""A model of each vendor that thinks, since the suites ask for thoughts."""


@each("suite, model", itertools.product(SUITES, THINKING))
def test_llm_comply_passes(served, suite, model):
    """No test fails, whichever vendor is behind; the suite leaves out thoughts of models that it does not know."""
    path, _, more = SUITES[suite]
    asked = ["--format", suite, "-u", served.url + path, "-k", served.key, "-m", model, *more]
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from llm_comply.cli import main; sys.exit(main())", *asked],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONUTF8": "1"},
    )

    assert re.search(r"All \d+ tests passed|Results: (\d+)/\1 passed", done.stdout), done.stdout + done.stderr
