"""How a process ends, or is stopped for a while, with calls and streams under way: X1 and X4."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from llmdispatcher.testing import VendorSimulator, faults

from .conftest import MADE, run

STREAMS = f"""{MADE}
streams = [dispatcher.send_streaming(ASK) for _ in range(5)]
for stream in streams:
    next(iter(stream))
def call():
    try:
        dispatcher.send(ASK)
    except DispatchError:
        pass  # closing the dispatcher ends it; Python would print what nobody catches, if the process lives long enough
threading.Thread(target=call, daemon=True).start()
def over():
    print(time.monotonic(), flush=True)
"""
"""The beginning of a script with five live streams and a call in a daemon thread; ``over()`` says when it is about to end."""

ENDINGS = {
    "end of the script": ("over()", 0),
    "sys.exit(7)": ("over(); sys.exit(7)", 7),
    "SystemExit out of a loop": ("for chunk in streams[0]: over(); raise SystemExit(3)", 3),
    "sys.exit in a thread": ("t = threading.Thread(target=sys.exit, args=(9,)); t.start(); t.join(); over()", 0),
    "with open dispatcher": ("with dispatcher:\n    over()", 0),
    "streams in a cycle": ("ring = [streams]; ring.append(ring); del streams, stream; over()", 0),
    "os._exit": ("over(); os._exit(5)", 5),
}


@pytest.mark.parametrize(("ending", "code"), ENDINGS.values(), ids=ENDINGS)
def test_a_process_with_live_streams_ends_at_once(talking, ending, code):
    """X1: within 2 s, with the status that was asked for, and without a word on stderr."""
    done = run(f"{STREAMS}{ending}\n", talking)
    now = time.monotonic()

    assert (code, "") == (done.returncode, done.stderr)
    assert now - float(done.stdout.split()[0]) < 2


AT_EXIT = {
    "call": "said.append(dispatcher.send(ASK, timeout=1).content)",
    "stream": "said.append(dispatcher.send_streaming(ASK, timeout=1).response().content)",
    "map": "said.append(next(dispatcher.map([ASK], timeout=1)).content)",
    "close": "dispatcher.close(drain=0.5); said.append('hello')",
}


@pytest.mark.parametrize("work", AT_EXIT.values(), ids=AT_EXIT)
def test_work_at_exit_is_done_or_refused(hello, work):
    """X1: what an atexit function asks is answered, or, where Python lets no thread start any more, an Overloaded; within 2 s."""
    done = run(
        f"""{MADE}
import atexit
def last():
    said = []
    try:
        {work}
    except Overloaded:
        said.append("hello")
    print(*said, time.monotonic(), flush=True)
dispatcher.send(ASK)
dispatcher.send_streaming(ASK).response()
atexit.register(last)
""",
        hello,
    )
    now = time.monotonic()

    assert (0, "", "hello") == (done.returncode, done.stderr, done.stdout.split()[0])
    assert now - float(done.stdout.split()[1]) < 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_signal_ends_it_as_it_ends_any_process(talking, number):
    """X1: the library catches none: the process ends by that signal, within 2 s."""
    done = run(f"{STREAMS}over(); os.kill(os.getpid(), {int(number)}); time.sleep(20)\n", talking)
    now = time.monotonic()

    assert -number == done.returncode
    assert number == signal.SIGINT or done.stderr == ""
    assert now - float(done.stdout.split()[0]) < 2


ASKED = f"""{MADE}
TIMEOUT = float(sys.argv[2])
outcomes, ends = [], []
settings = Config(
    retry_policy=RetryPolicy(max_retries=2, backoff_strategy="fixed", initial_delay=1.0),
    retry_budget={{"ratio": 10.0}},
    circuit_breaker={{"enabled": False}},
)
with Dispatcher(settings, observers=[outcomes.append]) as asked:
    asked.register_vendor(dispatcher.get_vendor("openai"))
    def call():
        try:
            asked.send(ASK, timeout=TIMEOUT)
        except DispatchError as error:
            ends.append(type(error).__name__)
    def stream():
        try:
            asked.send_streaming(ASK, timeout=TIMEOUT).response()
        except DispatchError as error:
            ends.append(type(error).__name__)
    threads = [threading.Thread(target=job) for job in (call, stream) * 10]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(len(outcomes), len(ends), *sorted(set(ends)))
"""
"""Twenty calls and streams at once, of as many seconds as the second argument says, each asked three times at most."""


def paused(simulator, timeout, seconds=3.0):
    """What :data:`ASKED` printed that was stopped after its first requests, and how many came in the 0.3 s after it went on."""
    command = [sys.executable, "-W", "error", "-c", ASKED, simulator.openai_url, str(timeout)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert simulator.await_hits(20, timeout=15)
        os.kill(process.pid, signal.SIGSTOP)
        threading.Event().wait(seconds)
        before = simulator.hits
        os.kill(process.pid, signal.SIGCONT)
        threading.Event().wait(0.3)
        burst = simulator.hits - before
        said, wrong = process.communicate(timeout=20)
    assert "" == wrong
    return said.split(), burst


def test_deadlines_that_pass_while_stopped_fire_once():
    """X4: stopped for 3 s with 20 calls and streams of 1.5 s under way, each ends as it goes on, once; nobody asks again."""
    with VendorSimulator().always(faults.silent()) as simulator:
        said, burst = paused(simulator, timeout=1.5)

    assert (["20", "20", "DeadlineExceeded"], 0, 20) == (said, burst, simulator.hits)


def test_retries_that_wait_while_stopped_come_once():
    """X4: 20 calls in a backoff that ends while the process is stopped ask once each when it goes on, and not more often later."""
    with VendorSimulator().always(faults.status(503)) as simulator:
        said, burst = paused(simulator, timeout=20)

    assert (["20", "20", "VendorUnavailable"], 60) == (said, simulator.hits)
    assert burst <= 20
