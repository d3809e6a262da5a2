"""What only a process of its own shows: signals, process 1 of a namespace, and the simulator in the foreground."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from llmdispatcher import Dispatcher, OpenAIVendor, Request
from llmdispatcher.testing import faults
from tests.orphans import mortal

from ..conftest import SLACK
from .conftest import records
from .started import Piped, Pty

pytestmark = pytest.mark.timeout(240)  # on a busy machine a command takes a while to start


class Gate:
    """Answers the first prompts at once; later ones wait until it is opened."""

    def __init__(self, free):
        self._free = free
        self.opened = threading.Event()

    def answer(self, asked):
        """The answer, when it may come."""
        prompt = asked["messages"][-1]["content"]
        if int(prompt.rpartition(" ")[2]) >= self._free:
            self.opened.wait(200)
        return f"answer to {prompt}"


def until_it_ends(process):
    """Read what the command says until it has heard a signal."""
    for line in process.stderr:
        if line.startswith("Ending: no more prompts are sent"):
            return
    raise AssertionError("it did not hear the signal")


def twelve(prompts):
    """A file of as many prompts."""
    return prompts(*({"id": number, "messages": f"prompt {number}"} for number in range(12)))


@pytest.mark.parametrize("more", [[], ["--stream"]], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["INT", "TERM", "HUP"]
)
def test_a_signal_lets_end_what_is_paid_for(prompts, openai, away, number, code, more):
    """What is under way is answered, nothing else is sent, the summary comes, and then the shell's exit code for the signal."""
    gate = Gate(2)
    openai.responses = gate.answer
    with Piped("run", twelve(prompts), "--workers", 3, "--json", *more) as process:
        assert openai.await_hits(5, timeout=50)
        process.send_signal(number)
        until_it_ends(process)
        gate.opened.set()
        out, err = process.communicate()
    told = json.loads(out)

    assert code == process.returncode, err
    assert "Traceback" not in err
    assert "To ask the rest: llmdispatcher --json batch " in err
    assert (5, 5, 0) == (openai.hits, told["answered"], told["failed"])
    assert [0, 1, 2, 3, 4] == [line["id"] for line in records(away / "answers.jsonl")]


WAITS = {
    "for a place in the minute": (["--rpm", 1], None),
    "until the vendor may be asked again": ([], faults.rate_limit(50)),
    "until a failure is retried": (["--config", "patient.toml"], faults.status(503)),
}


@pytest.mark.parametrize("more", [[], ["--stream"]], ids=["plain", "streamed"])
@pytest.mark.parametrize(("words", "fault"), WAITS.values(), ids=WAITS)
def test_a_signal_ends_what_only_waits(prompts, openai, away, words, fault, more):
    """At once, and nothing is sent after it: nobody has been paid for that."""
    (away / "patient.toml").write_text('[retry_policy]\nbackoff_strategy = "fixed"\ninitial_delay = 50\n')
    openai.responses = "Yes."
    if fault is not None:
        openai.always(fault)
    with Piped("batch", twelve(prompts), "--workers", 2, "--timeout", 300, *words, *more) as process:
        assert openai.await_hits(1, timeout=50)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=SLACK)  # what is under way would be waited for for longer

    assert 143 == process.returncode, err
    assert openai.hits <= 2


@pytest.mark.parametrize("more", [[], ["--stream"]], ids=["plain", "streamed"])
def test_a_second_signal_cancels_what_is_under_way(prompts, openai, away, more):
    """The file ends at a whole line, what was in flight is neither answered nor failed; the code is that of the first."""
    openai.script("One.", "Two.").always(faults.silent())
    with Piped("run", twelve(prompts), "--workers", 1, "--json", *more) as process:
        assert openai.await_hits(3, timeout=50)
        process.send_signal(signal.SIGINT)
        until_it_ends(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()

    assert 130 == process.returncode, err
    assert "Traceback" not in err
    assert [0, 1] == [line["id"] for line in records(away / "answers.jsonl")]
    assert (2, 0) == (json.loads(out)["answered"], json.loads(out)["failed"])


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or shutil.which("unshare") is None, reason="a namespace of processes needs root"
)
@pytest.mark.parametrize("command", ["batch", "simulate"])
def test_process_1_hears_sigterm(prompts, openai, away, command):
    """In a container the kernel drops a signal for process 1 that has no handler."""
    gate = Gate(0)
    openai.responses = gate.answer
    words = {"batch": ("batch", str(twelve(prompts)), "--workers", "1"), "simulate": ("simulate", "--port", "0")}[command]
    inner = mortal(["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-u", "-m", "llmdispatcher", *words])
    with subprocess.Popen(inner, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert openai.await_hits(1, timeout=50) if command == "batch" else process.stdout.readline()
            (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(child), signal.SIGTERM)
            if command == "batch":
                until_it_ends(process)
                gate.opened.set()
            out, err = process.communicate(timeout=50)
        finally:
            process.kill()

    assert 143 == process.returncode, err
    assert "Traceback" not in err
    if command == "batch":
        assert 1 == openai.hits
        assert "1 of 12 prompts answered, 0 failed, 11 not asked to the end" in out


def test_a_terminal_that_is_gone_takes_no_answer_away(prompts, openai, away):
    """Closing the window hangs up: what is under way is written down, though the summary can be read by nobody."""
    gate = Gate(1)
    openai.responses = gate.answer
    with Pty("batch", twelve(prompts), "--workers", 1) as terminal:
        assert openai.await_hits(2, timeout=50)
        terminal.hang_up()
        gate.opened.set()

        assert 129 == terminal.ended()
    assert [0, 1] == [line["id"] for line in records(away / "answers.jsonl")]


def test_a_signal_ends_a_question(openai):
    """What is asked for is cancelled; the code is the shell's."""
    openai.always(faults.silent())
    with Piped("ask", "-m", "gpt-4o-mini", "Why?") as process:
        assert openai.await_hits(1, timeout=50)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()

    assert 143 == process.returncode, err
    assert "Traceback" not in err


@pytest.mark.parametrize("asked", [False, True], ids=["at the prompt", "in an answer"])
def test_sigterm_ends_a_chat(openai, asked):
    """Ctrl-C only stops an answer."""
    openai.always(faults.silent())
    with Pty("chat", "--model", "gpt-4o-mini") as terminal:
        terminal.until("> ")
        if asked:
            terminal.type("Why?\n")
            assert openai.await_hits(1, timeout=50)
        assert 143 == terminal.told_to_end(signal.SIGTERM)


def until_it_is_read(pipe):
    """Wait until nothing is left in a pipe."""
    for _ in range(10_000):
        if fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)) == bytes(4):
            return
        threading.Event().wait(0.01)
    raise AssertionError("nobody reads")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_a_signal_ends_the_wait_for_prompts(away, openai, number):
    """Nothing was begun."""
    reading, writing = os.pipe()
    try:
        with Piped("batch", "-", "--output", "out.jsonl", said=reading) as process:
            os.write(writing, b"Why?\n")
            until_it_is_read(reading)
            process.send_signal(number)
            _, err = process.communicate()
    finally:
        os.close(reading)
        os.close(writing)

    assert (128 + number, 0) == (process.returncode, openai.hits), err
    assert not (away / "out.jsonl").exists()


def test_simulate_serves_until_ctrl_c():
    """It prints what to put into the environment, answers any key there, and ends without a traceback."""
    with Piped("simulate", "--port", 0, "--latency", 0.001, "--tokens-per-second", 100_000) as process:
        first = process.stdout.readline().strip()
        name, _, url = first.removeprefix("export ").partition("=")
        with Dispatcher() as dispatcher:
            dispatcher.register_vendor(OpenAIVendor(api_key="any", base_url=url, trust_env=False))
            response = dispatcher.send(Request("gpt-4o", "Hello"))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()

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
