"""What only a process of its own shows: Ctrl-C, and the simulator in the foreground."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from llmdispatcher import Dispatcher, OpenAIVendor, Request
from llmdispatcher.testing import faults
from tests.orphans import mortal

from .conftest import records

pytestmark = pytest.mark.timeout(240)  # on a busy machine a command takes a while to start

COMMAND = [sys.executable, "-m", "llmdispatcher"]


@contextmanager
def started(*arguments):
    """The command in its own process; it is gone at the end, whatever happens."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        mortal([*COMMAND, *map(str, arguments)]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("more", [[], ["--stream"]], ids=["plain", "streamed"])
def test_ctrl_c_keeps_what_is_there(prompts, openai, away, more):
    """The file ends at a whole line, what was in flight is cancelled, the exit code is the shell's for Ctrl-C."""
    openai.script("One.", "Two.").always(faults.silent())
    with started("run", prompts(*({"id": number} for number in range(12))), "--workers", 1, "--json", *more) as process:
        assert openai.await_hits(3, timeout=50)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=50)

    assert 130 == process.returncode, err
    assert "Traceback" not in err
    assert [0, 1] == [line["id"] for line in records(away / "answers.jsonl")]
    assert (2, 0) == (json.loads(out)["answered"], json.loads(out)["failed"])


def test_simulate_serves_until_ctrl_c():
    """It prints what to put into the environment, answers any key there, and ends without a traceback."""
    with started("simulate", "--port", 0, "--latency", 0.001, "--tokens-per-second", 100_000) as process:
        first = process.stdout.readline().strip()
        name, _, url = first.removeprefix("export ").partition("=")
        with Dispatcher() as dispatcher:
            dispatcher.register_vendor(OpenAIVendor(api_key="any", base_url=url, trust_env=False))
            response = dispatcher.send(Request("gpt-4o", "Hello"))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=50)

    assert "OPENAI_BASE_URL" == name
    assert "" != response.content
    assert 130 == process.returncode
    assert "Traceback" not in err


def test_a_port_that_is_taken_is_told(command, vendor_simulator):
    """With a way out."""
    port = vendor_simulator.url.rpartition(":")[2]
    ended = command("simulate", "--port", port)

    assert 2 == ended.code
    assert f"port {port}: " in ended.err
    assert "choose another --port" in ended.err
