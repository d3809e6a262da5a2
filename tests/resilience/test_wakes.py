"""Calls that wait for the same moment wake one after the other; who waits alone wakes in time."""

import threading

import pytest

from llmdispatcher import Cancellation, Cancelled, Deadline
from llmdispatcher.resilience import Wakes
from llmdispatcher.testing import ManualClock

from ..conftest import PATIENCE


def test_who_waits_alone_wakes_in_time():
    """And the next one, after it, too."""
    clock, wakes = ManualClock(), Wakes()
    for _ in range(2):
        wakes.sleep(Deadline.after(60, clock=clock), clock.monotonic() + 5.0)

    assert [5.0, 5.0] == pytest.approx(clock.sleeps)


def waits(count, seconds, timeout=60.0):
    """What so many calls wait that all want to wake after so many seconds, in order."""
    clock, wakes = ManualClock(blocking=True), Wakes()
    until = clock.monotonic() + seconds
    threads = [threading.Thread(target=wakes.sleep, args=(Deadline.after(timeout, clock=clock), until)) for _ in range(count)]
    for thread in threads:
        thread.start()
    assert clock.await_sleepers(count, timeout=PATIENCE)
    clock.advance(min(seconds + 1.0, timeout - 0.001))
    for thread in threads:
        thread.join(PATIENCE)
    return sorted(clock.sleeps)


def test_no_two_wake_in_the_same_moment():
    """Two hundred calls that wait for a target which asked for a second are spread over less than half a second."""
    found = waits(200, 1.0)

    assert 200 == len({round(seconds, 4) for seconds in found})
    assert (1.0, True) == (pytest.approx(found[0]), found[-1] < 1.5)


def test_nobody_is_put_off_beyond_the_deadline():
    """At most half-way to it."""
    assert waits(100, 1.0, timeout=1.1)[-1] <= 1.05 + 1e-9


def test_a_cancelled_wait_is_forgotten():
    """It ends, and its place is free."""
    clock, wakes, cancel = ManualClock(), Wakes(), Cancellation()
    cancel.cancel("enough")
    with pytest.raises(Cancelled):
        wakes.sleep(Deadline.after(60, clock=clock, cancellation=cancel), clock.monotonic() + 5.0)
    wakes.sleep(Deadline.after(60, clock=clock), clock.monotonic() + 5.0)

    assert 5.0 == pytest.approx(clock.sleeps[-1])


def test_a_moment_that_has_come_is_not_waited_for():
    """It may have come since the caller looked at the clock."""
    clock = ManualClock()
    Wakes().sleep(Deadline.after(60, clock=clock), clock.monotonic() - 1.0)

    assert [0.0] == clock.sleeps
