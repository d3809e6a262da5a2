"""Hedged calls: the slow one is overtaken, the loser is stopped and written down, and few calls are doubled."""

import threading
import time

import pytest

from llmdispatcher import (
    Cancellation,
    Cancelled,
    Capabilities,
    Config,
    DeadlineExceeded,
    Dispatcher,
    Hedge,
    Request,
    Response,
    StreamChunk,
    VendorUnavailable,
)
from llmdispatcher.catalog import Target
from llmdispatcher.resilience import Hedges, Wakes

from ..conftest import PATIENCE, SLACK
from .parts import soon

REQUEST = Request("m", "hi")


class Timed:
    """A vendor that takes as long as it is told, call by call, and knows which of its calls were stopped."""

    capabilities = Capabilities(models=("m",))

    def __init__(self, name, takes, patience=0.0):
        self.name = name
        self.patience = patience  # seconds before it fails
        self.takes = takes
        self.asked = 0
        self.stopped = threading.Semaphore(0)
        self._lock = threading.Lock()

    def _wait(self, deadline):
        with self._lock:
            seconds = self.takes(self.asked)
            self.asked += 1
        failure = seconds if isinstance(seconds, Exception) else None
        try:
            deadline.sleep(self.patience if failure is not None else seconds)
        except (Cancelled, DeadlineExceeded):
            self.stopped.release()
            raise
        if failure is not None:
            raise failure

    def send(self, request, deadline):
        self._wait(deadline)
        return Response(content=self.name, finish_reason="stop")

    def stream(self, request, deadline):
        self._wait(deadline)
        yield StreamChunk(content=self.name)
        self._wait(deadline)
        yield StreamChunk(finish_reason="stop")

    def is_available(self):
        return True


def dispatcher(*vendors, after=0.02, timeout=2 * PATIENCE, outcomes=None, **hedge):
    observers = [outcomes.append] if outcomes is not None else []
    made = Dispatcher(Config(timeout=timeout, hedge=Hedge(after=after, **hedge)), observers=observers)
    for vendor in vendors:
        made.register_vendor(vendor)
    return made


def always(seconds):
    return lambda _number: seconds


def test_a_slow_target_is_overtaken():
    """The second answers, the first is stopped at once, and the trace tells both."""
    slow, quick, outcomes = Timed("slow", always(60.0)), Timed("quick", always(0.0)), []
    with dispatcher(slow, quick, outcomes=outcomes) as made:
        began = time.monotonic()
        answer = made.send(REQUEST)
        assert slow.stopped.acquire(timeout=PATIENCE)

    assert ("quick", "quick") == (answer.content, answer.vendor)
    assert time.monotonic() - began < SLACK
    assert 1 == len(outcomes)
    assert {("slow", None, False), ("quick", None, True)} == {
        (record.vendor, record.error if record.error != "Cancelled" else None, record.hedge) for record in outcomes[0].attempts
    }


def test_a_target_that_is_quick_enough_stays_alone():
    """Nobody else is asked."""
    quick, other = Timed("quick", always(0.0)), Timed("other", always(0.0))
    with dispatcher(quick, other, after=PATIENCE) as made:
        assert ["quick"] * 5 == [made.send(REQUEST).content for _ in range(5)]

    assert 0 == other.asked


def test_a_call_that_is_answered_in_time_delays_no_hedge_of_others(monkeypatch):
    """Only calls whose target is silent for too long wait for their turn to ask another."""
    turns = []
    monkeypatch.setattr(Wakes, "turn", lambda wakes, until, turn=Wakes.turn: turns.append(until) or turn(wakes, until))
    quick, other = Timed("quick", always(0.0)), Timed("other", always(0.0))
    with dispatcher(quick, other, after=PATIENCE) as made:
        assert ["quick"] * 5 == [made.send(REQUEST).content for _ in range(5)]
    assert [] == turns

    with dispatcher(Timed("slow", always(60.0)), other) as made:
        assert "other" == made.send(REQUEST).content
    assert 1 == len(turns)


def test_a_stream_is_overtaken_before_its_first_content():
    """Whoever speaks first goes on alone."""
    slow, quick = Timed("slow", always(60.0)), Timed("quick", always(0.0))
    with dispatcher(slow, quick) as made, made.send_streaming(REQUEST) as stream:
        content = "".join(chunk.content for chunk in stream)
        assert slow.stopped.acquire(timeout=PATIENCE)

    assert ("quick", "quick") == (content, stream.vendor)


def test_a_stream_that_speaks_is_never_hedged():
    """However slow it is after that."""
    first = Timed("first", lambda number: 0.0 if number == 0 else 0.9)
    other = Timed("other", always(0.0))
    with dispatcher(first, other, after=0.6) as made, made.send_streaming(REQUEST) as stream:
        assert "first" == stream.response().content

    assert 0 == other.asked


def test_the_slow_one_may_still_win():
    """The hedge is slower, or fails."""
    first = Timed("first", always(0.15))
    with dispatcher(first, Timed("later", always(60.0))) as made:
        assert "first" == made.send(REQUEST).content
    with dispatcher(first, Timed("broken", always(VendorUnavailable("down", retry_here=False)))) as made:
        assert "first" == made.send(REQUEST).content


def test_when_all_fail_the_call_fails_once():
    """With one outcome."""
    outcomes = []
    down = VendorUnavailable("down", retry_here=False)
    with (
        dispatcher(Timed("a", always(down), patience=0.05), Timed("b", always(down)), outcomes=outcomes) as made,
        pytest.raises(VendorUnavailable),
    ):
        made.send(REQUEST)

    assert 1 == len(outcomes)


def test_the_deadline_ends_both():
    """One deadline over the race."""
    slow, other, outcomes = Timed("slow", always(60.0)), Timed("other", always(60.0)), []
    began = time.monotonic()
    with dispatcher(slow, other, timeout=0.6, outcomes=outcomes) as made, pytest.raises(DeadlineExceeded):
        made.send(REQUEST)

    assert time.monotonic() - began < SLACK
    assert slow.stopped.acquire(timeout=PATIENCE)
    assert other.stopped.acquire(timeout=PATIENCE)
    assert 1 == len(outcomes)


def test_a_cancel_ends_both():
    """From another thread, at once."""
    slow, other, cancel = Timed("slow", always(60.0)), Timed("other", always(60.0)), Cancellation()
    canceller = threading.Thread(target=lambda: (soon(lambda: slow.asked == other.asked == 1), cancel.cancel()))
    canceller.start()
    with dispatcher(slow, other) as made, pytest.raises(Cancelled):
        made.send(REQUEST, cancel=cancel)
    canceller.join()

    assert slow.stopped.acquire(timeout=PATIENCE)
    assert other.stopped.acquire(timeout=PATIENCE)


def test_hedges_cut_the_tail_at_little_cost():
    """Two calls of a hundred hang for a minute; their callers wait a fifth at most, for six calls more in a hundred at most."""
    vendors = [Timed("a", lambda number: 60.0 if number % 50 == 7 else 0.002), Timed("b", always(0.002))]
    with dispatcher(*vendors, after=0.1) as made:
        latencies = sorted(response.latency for response in made.map([REQUEST] * 200, max_workers=8))

    assert latencies[int(0.99 * len(latencies))] * 5 <= 60.0
    assert sum(vendor.asked for vendor in vendors) <= 1.06 * 200


def test_the_share_is_never_exceeded():
    """A vendor that is slow for everybody doubles few calls."""
    slow, other = Timed("slow", always(0.01)), Timed("other", always(60.0))
    with dispatcher(slow, other, after=0.0) as made:
        for _ in range(60):
            made.send(REQUEST)

    assert other.asked <= 0.05 * 60 + 1


def test_the_delay_is_what_is_unusual_for_the_target():
    """Its 95th percentile, at least a second, once it is known."""
    hedges, target = Hedges(Hedge()), Target(vendor="v", model="m")
    before = hedges.delay(target)
    for number in range(100):
        hedges.observe(target, float(number))
    quick = Target(vendor="q", model="m")
    for _ in range(100):
        hedges.observe(quick, 0.1)

    assert (None, 94.0, 1.0) == (before, hedges.delay(target), hedges.delay(quick))
