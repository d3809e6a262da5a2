"""A process that is told to stop: its calls end, and what handled the signal before is called."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time

import pytest

from llmdispatcher import ConfigError, Dispatcher, OpenAIVendor, Request
from llmdispatcher.integrations import drain_on_sigterm
from llmdispatcher.testing import VendorSimulator

from ..cases import each

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
PATIENCE = 60


def worker(url, before, pids):
    """A forked process that asks, and is told to stop meanwhile: its end, what was handled, and the answer."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        pids.put(child)
        os.close(writer)
        with os.fdopen(reader) as told:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), told.read()
    try:
        signal.alarm(PATIENCE)
        signal.signal(signal.SIGTERM, before if not callable(before) else lambda *_: os.write(writer, b"handled "))
        dispatcher = Dispatcher()
        dispatcher.register_vendor(OpenAIVendor(api_key="sk", base_url=url))
        drain_on_sigterm(dispatcher, 50)

        def ask():
            answer = dispatcher.send(Request("gpt-4o", "x")).content
            if before is not signal.SIG_DFL:  # which may end the process here
                os.write(writer, answer.encode())

        asker = threading.Thread(target=ask)
        asker.start()
        asker.join()
        if before is signal.SIG_DFL:
            signal.pause()  # the signal ends it
    finally:
        os._exit(0)


HANDLERS = {
    "a server's own": (print, (0, "handled It is late.")),
    "none": (signal.SIG_DFL, (-signal.SIGTERM, "")),
    "ignored": (signal.SIG_IGN, (0, "It is late.")),
}


@each("before, end", HANDLERS)
def test_a_call_under_way_is_answered(before, end):
    """Whatever the process did with the signal before."""
    asked = threading.Event()

    def answer(_body):
        asked.set()
        assert release.wait(PATIENCE)
        return "It is late."

    with VendorSimulator(responses=answer) as simulator:
        release = threading.Event()
        ends = []
        pids: queue.SimpleQueue[int] = queue.SimpleQueue()
        thread = threading.Thread(target=lambda: ends.append(worker(simulator.openai_url, before, pids)))
        thread.start()
        assert asked.wait(PATIENCE)
        os.kill(pids.get(timeout=PATIENCE), signal.SIGTERM)
        time.sleep(0.1)
        assert [] == ends, "it waits for the call"
        release.set()
        thread.join()

    assert [end] == ends


@each("seconds", [-1, float("nan"), float("inf"), "5", None, True])
def test_seconds_that_cannot_be(seconds):
    """Are refused at once."""
    with Dispatcher() as dispatcher, pytest.raises(ConfigError, match=r"seconds: .* is not a number of seconds"):
        drain_on_sigterm(dispatcher, seconds)
