"""A deadline is one number for the whole call; waiting ends with it or with a cancellation."""

import math
import threading
import time

import pytest

from llmdispatcher import Cancellation, Cancelled, ConfigError, Deadline, DeadlineExceeded
from llmdispatcher.runtime import SYSTEM_CLOCK
from llmdispatcher.testing import ManualClock

from ..conftest import SLACK


@pytest.mark.parametrize("seconds", [0, -1, -0.5])
def test_a_deadline_must_lie_ahead(seconds):
    """A timeout that is not positive is named with its value."""
    with pytest.raises(ConfigError, match=f"timeout: {seconds}"):
        Deadline.after(seconds)


def test_no_timeout_never_ends():
    """None means no limit."""
    assert math.inf == Deadline.after(None).check()


def test_a_passed_deadline_says_how_long_it_was():
    """The error names the limit that was hit."""
    deadline = Deadline.after(0.001)
    deadline.clock.wait(held(), 0.002)

    with pytest.raises(DeadlineExceeded, match=r"0\.001 s"):
        deadline.check()
    assert 0.0 == deadline.remaining()


def test_a_cancelled_call_says_why():
    """The reason that was given comes out."""
    deadline = Deadline.after(10)
    deadline.cancellation.cancel("the user closed the tab")

    with pytest.raises(Cancelled, match="closed the tab"):
        deadline.check()
    assert deadline.cancelled


def test_sleep_ends_at_the_deadline():
    """A wait longer than the call is cut, and reported as the deadline."""
    started = time.monotonic()

    with pytest.raises(DeadlineExceeded):
        Deadline.after(0.05).sleep(60)

    assert time.monotonic() - started < SLACK


def test_sleep_ends_when_cancelled():
    """Another thread's cancel wakes a sleeping call at once."""
    cancel = Cancellation()
    deadline = Deadline.after(60, cancellation=cancel)
    timer = threading.Timer(0.02, cancel.cancel)
    timer.start()
    started = time.monotonic()

    with pytest.raises(Cancelled):
        deadline.sleep(50)

    assert time.monotonic() - started < SLACK
    timer.join()


def test_sleep_returns_after_its_time():
    """An undisturbed wait takes as long as asked."""
    started = time.monotonic()

    Deadline.after(None).sleep(0.02)

    assert 0.02 <= time.monotonic() - started < SLACK


def test_the_wall_clock_is_aware():
    """Records carry UTC."""
    assert 0 == SYSTEM_CLOCK.now().utcoffset().total_seconds()


def test_a_deadline_shows_what_is_left():
    """Its text is for people who debug."""
    assert "Deadline(remaining=inf, cancelled=False)" == repr(Deadline.after(None))


def held():
    lock = threading.Lock()
    lock.acquire()
    return lock


def test_a_deadline_can_be_narrowed_to_a_share_and_widened_again():
    """The share is what is left meanwhile; its end is not that of the call."""
    clock = ManualClock()
    deadline = Deadline.after(100.0, clock=clock)
    deadline.narrow(10.0, 5.0)
    narrow = (deadline.remaining(), deadline.connect, deadline.is_narrow, deadline.share_is_over)
    with pytest.raises(DeadlineExceeded):
        deadline.sleep(60.0)
    over = (deadline.share_is_over, clock.sleeps)
    deadline.widen()

    assert ((10.0, 5.0, True, False), (True, [10.0])) == (narrow, over)
    assert (90.0, math.inf, False, False) == (deadline.remaining(), deadline.connect, deadline.is_narrow, deadline.share_is_over)


def test_a_share_is_no_longer_than_the_deadline():
    """At the end of both the call is over, and not its share."""
    clock = ManualClock()
    deadline = Deadline.after(5.0, clock=clock)
    deadline.narrow(math.inf, math.inf)
    clock.advance(5.0)

    assert (0.0, False) == (deadline.remaining(), deadline.share_is_over)
