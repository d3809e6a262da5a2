"""What the tests of the cache ask, of whom, and what they are told."""

from __future__ import annotations

import socket
import threading
import time
from decimal import Decimal

import attrs
import pytest

from llmdispatcher import Deadline, Request, Response, ResponseCache, Usage
from llmdispatcher.cache import AnswerCache, CacheRequest
from llmdispatcher.cache.entry import CacheTarget
from llmdispatcher.runtime import SYSTEM_CLOCK
from llmdispatcher.testing import ManualClock

PLACE = CacheTarget("openai", "m", "openai")
REQUEST = Request("m", "Why is the sky blue?")
ANSWER = Response(
    content="Rayleigh.",
    model="m",
    vendor="openai",
    finish_reason="stop",
    usage=Usage(input_tokens=7, output_tokens=3, cost=Decimal("0.25"), cost_status="priced", raw={"n": 1}),
)


PATIENCE = 30.0
"""Seconds that a busy machine may need for what it does at once when it has time."""


class Vendor:
    """Counts how often it is asked; ``answer`` may be an error, or a function that gives one."""

    def __init__(self, answer=ANSWER):
        self.answer = answer
        self.asked = 0
        self._lock = threading.Lock()

    def __call__(self):
        with self._lock:
            self.asked += 1
        answer = self.answer() if callable(self.answer) else self.answer
        if isinstance(answer, BaseException):
            raise answer
        return answer


def cache_request(request=REQUEST, *places, clock=SYSTEM_CLOCK, seconds=None, **settings):
    deadline = settings.pop("deadline", None) or Deadline.after(seconds, clock=clock)
    return CacheRequest(request=request, places=places or (PLACE,), deadline=deadline, **settings)


def cache(clock=SYSTEM_CLOCK, **settings):
    return AnswerCache(ResponseCache(**settings), clock)


def counts(made):
    """The counts that are not 0."""
    return {name: count for name, count in attrs.asdict(made.stats()).items() if count and name != "saved_cost"}


def in_threads(count, work):
    """What ``work(number)`` gives in so many threads that begin together; errors are given, not raised."""
    barrier, results = threading.Barrier(count), [None] * count

    def run(number):
        barrier.wait(PATIENCE)
        try:
            results[number] = work(number)
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    return results


def until(claim, seconds=PATIENCE):
    """Wait until a claim holds."""
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "it did not come to hold"
        time.sleep(0.002)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def silent():
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]
