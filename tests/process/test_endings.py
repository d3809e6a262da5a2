"""How a process ends, or is stopped for a while, with calls and streams under way: X1 and X4.

"At once" is far less than the minute and more for which the vendor talks (:data:`SLACK`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from llmdispatcher.testing import VendorSimulator, faults

from ..conftest import PATIENCE, SLACK
from .conftest import MADE, run_together

STREAMS = """
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
    "an exception": ("over(); raise KeyError('x')", 1),
    "SystemExit out of a loop": ("for chunk in streams[0]: over(); raise SystemExit(3)", 3),
    "sys.exit in a thread": ("t = threading.Thread(target=sys.exit, args=(9,)); t.start(); t.join(); over()", 0),
    "with open dispatcher": ("with dispatcher:\n    over()", 0),
    "streams in a cycle": ("ring = [streams]; ring.append(ring); del streams, stream; over()", 0),
    "os._exit": ("over(); os._exit(5)", 5),
    **{
        number.name: (f"over(); os.kill(os.getpid(), {int(number)}); time.sleep(40)", -number)
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)
    },
}
SPOKEN = {"an exception": "KeyError: 'x'\n", "SIGINT": "KeyboardInterrupt\n"}
"""The end of what Python itself says."""


@pytest.fixture(scope="module")
def ended(talking, tmp_path_factory):
    return run_together(tmp_path_factory.mktemp("ended"), {name: STREAMS + code for name, (code, _) in ENDINGS.items()}, talking)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_with_live_streams_ends_at_once(ended, ending):
    """X1, X3: at once, with the status that was asked for or by its signal, and without a word of the library's on stderr."""
    done, spoken = ended[ending], SPOKEN.get(ending, "")

    assert ENDINGS[ending][1] == done.returncode
    assert done.stderr.endswith(spoken) if spoken else done.stderr == ""
    assert "llmdispatcher" not in done.stderr
    assert done.at - float(done.stdout.split()[0]) < SLACK


AT_EXIT = {
    "call": "said.append(dispatcher.send(ASK, timeout=40).content)",
    "stream": "said.append(dispatcher.send_streaming(ASK, timeout=40).response().content)",
    "map": "said.append(next(dispatcher.map([ASK], timeout=40)).content)",
    "close": "dispatcher.close(drain=40); said.append('hello')",
}


def test_work_at_exit_is_done_or_refused(hello, tmp_path):
    """X1: what an atexit function asks is answered, or, where Python lets no thread start any more, an Overloaded; the process
    waits for nothing then.
    """
    script = """
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
"""
    done = run_together(tmp_path, {name: script.format(work=work) for name, work in AT_EXIT.items()}, hello)

    assert dict.fromkeys(AT_EXIT, (0, "", "hello")) == {
        name: (end.returncode, end.stderr, end.stdout.split()[0]) for name, end in done.items()
    }
    assert all(end.at - float(end.stdout.split()[1]) < SLACK for end in done.values())


ASKED = f"""{MADE}
TIMEOUT = float(sys.argv[2])
outcomes, ends, tried = [], [], threading.Semaphore(0)
class Heard:
    def on_attempt(self, record):
        tried.release()
    def on_outcome(self, outcome):
        outcomes.append(outcome)
settings = Config(
    retry_policy=RetryPolicy(max_retries=2, backoff_strategy="fixed", initial_delay=1.0),
    retry_budget={{"ratio": 10.0}},
    circuit_breaker={{"enabled": False}},
)
def pauses(outcome):
    tries = outcome.attempts
    return [later.started - earlier.started - earlier.latency for earlier, later in zip(tries, tries[1:])]
with Dispatcher(settings, observers=[Heard()]) as asked:
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
    def tell():
        for _ in threads: tried.acquire()
        os.write(1, b"tried\\n")  # at once, so that it never stands within another line
    threads = [threading.Thread(target=job) for job in (call, stream) * 10]
    for thread in threads: thread.start()
    threading.Thread(target=tell, daemon=True).start()
    for thread in threads: thread.join()
    hasty = sum(pause < 0.99 for outcome in outcomes for pause in pauses(outcome))
    print(len(outcomes), len(ends), hasty, *sorted(set(ends)))
"""
"""Twenty calls and streams at once, of as many seconds as the second argument says, each asked three times at most, with a second
between two tries; says ``tried`` when each has failed once, and in the end how many tries came too early."""


def paused(simulator, timeout, ready, seconds):
    """What :data:`ASKED` said in the end that was stopped for so many seconds when it was ``ready``."""
    command = [sys.executable, "-W", "error", "-c", ASKED, simulator.openai_url, str(timeout)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert ready(process)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGCONT)
        said, wrong = process.communicate(timeout=PATIENCE)
    assert "" == wrong
    return [word for word in said.split() if word != "tried"]


def test_deadlines_that_pass_while_stopped_fire_once():
    """X4: stopped until after the deadlines of 20 calls and streams, each ends as it goes on, once; nobody asks again."""
    with VendorSimulator().always(faults.silent()) as simulator:
        said = paused(simulator, 2.5, ready=lambda _process: simulator.await_hits(20, timeout=PATIENCE), seconds=2.6)

    assert (["20", "20", "0", "DeadlineExceeded"], 20) == (said, simulator.hits)


def test_retries_that_wait_while_stopped_come_once():
    """X4: 20 calls in a backoff that ends while the process is stopped ask once each when it goes on, and not more often later."""
    with VendorSimulator().always(faults.status(503)) as simulator:
        said = paused(simulator, 40, ready=lambda process: "tried\n" == process.stdout.readline(), seconds=1.2)

    assert (["20", "20", "0", "VendorUnavailable"], 60) == (said, simulator.hits)
