"""Conformance suites of others against the simulator: llm-comply here; ``scripts/strangers`` runs those that take longer."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from llmdispatcher.testing import VendorSimulator

SUITES = {
    "open-responses": ("/v1", "gpt-5-mini", ()),
    "openai-chat": ("/v1", "gpt-5-mini", ()),
    "anthropic": ("/v1", "claude-haiku-4-5", ("--auth-header", "x-api-key", "--no-bearer", "-H", "anthropic-version:2023-06-01")),
    "google-genai": ("", "gemini-2.5-flash", ("--auth-header", "x-goog-api-key", "--no-bearer")),
}


@pytest.mark.parametrize("suite", SUITES)
def test_llm_comply_passes(suite):
    """All of its tests, none skipped."""
    path, model, more = SUITES[suite]
    with VendorSimulator() as sim:
        asked = ["--format", suite, "-u", sim.url + path, "-k", "k-simulated-0001", "-m", model, *more]
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from llm_comply.cli import main; sys.exit(main())", *asked],
            capture_output=True,
            text=True,
            timeout=120,
            env={"PYTHONUTF8": "1"},
        )

    assert re.search(r"All \d+ tests passed|Results: (\d+)/\1 passed", done.stdout), done.stdout + done.stderr
    assert "skipped" not in done.stdout
