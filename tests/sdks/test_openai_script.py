"""The script that ``tests/integrations`` moves from OpenAI's SDK with one line runs with that SDK itself, and says the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from llmdispatcher.testing import VendorSimulator, faults

from ..integrations.openai_answers import SAID, SCRIPT, script
from .conftest import PYTHON

_BOTH = """
import sys
sys.path.append(sys.argv[1])
import httpx2, openai, pydantic
from llmdispatcher.integrations import openai as ours

for asked, kinds in (
    ({"model": "gpt-4o-mini"}, (openai.RateLimitError, openai.APIStatusError, openai.APIError, ours.RateLimitError)),
    ({"model": "gpt-4o-mini", "timeout": httpx2.Timeout(0.05, connect=0.02)}, (openai.APITimeoutError, openai.APIConnectionError)),
):
    for kind in kinds:
        try:
            ours.OpenAI(max_retries=0).responses.create(input="Why?", **asked)
        except kind as error:
            print(type(error).__name__, getattr(error, "status_code", None), isinstance(error, openai.BadRequestError))
"""


@pytest.fixture
def simulator(openai_sdk):
    """A simulator, where the SDK is installed."""
    with VendorSimulator() as running:
        yield running


def test_the_script_with_the_sdk_itself(openai_sdk, simulator):
    """So that the script is one that the SDK's users write, and what it prints is right."""
    assert SAID == openai_sdk("run", simulator.openai_url, path=str(SCRIPT), **script(simulator))


def test_errors_are_of_the_sdks_own_classes_where_it_is_imported(simulator):
    """A handler of ``openai.RateLimitError`` that was forgotten still works, and a timeout may be an ``httpx.Timeout``."""
    simulator.script(*[faults.rate_limit(7)] * 4, *[faults.silent()] * 2)
    [packages] = PYTHON.parents[1].glob("lib/*/site-packages")
    env = {"PATH": os.environ["PATH"], "OPENAI_API_KEY": "sk", "OPENAI_BASE_URL": simulator.openai_url}
    command = [sys.executable, "-c", _BOTH, str(packages)]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert ("RateLimitError 429 False\n" * 4 + "APITimeoutError None False\n" * 2, "") == (ran.stdout, ran.stderr)
