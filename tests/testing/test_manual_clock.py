"""Time stands still until somebody moves it."""

import threading
from datetime import timedelta

import pytest

from llmdispatcher import Cancellation, Cancelled, Deadline, DeadlineExceeded
from llmdispatcher.testing import ManualClock

from ..threads import in_threads


def held():
    gate = threading.Lock()
    gate.acquire()
    return gate


def test_time_moves_by_advance_alone():
    """Both scales move together, and only when told to."""
    clock = ManualClock()
    monotonic, now = clock.monotonic(), clock.now()
    clock.advance(90)

    assert (90, timedelta(seconds=90)) == (clock.monotonic() - monotonic, clock.now() - now)


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
def test_time_does_not_go_back(seconds):
    """A step that a monotonic clock cannot make is refused."""
    with pytest.raises(ValueError, match="advance"):
        ManualClock().advance(seconds)


def test_a_lone_sleeper_moves_the_clock():
    """A wait that nobody ends takes its seconds at once, and is recorded."""
    clock = ManualClock(start=0)

    assert (False, 30, [30]) == (clock.wait(held(), 30), clock.monotonic(), clock.sleeps)


def test_a_released_gate_takes_no_time():
    """A wait whose gate is open is over before it begins."""
    clock = ManualClock(start=0)

    assert (True, 0) == (clock.wait(threading.Lock(), 30), clock.monotonic())


def test_something_can_happen_during_a_wait():
    """``on_wait`` is the moment within a sleep, for a cancel as for anything."""
    cancel = Cancellation()
    clock = ManualClock(on_wait=lambda _: cancel.cancel("enough"))

    with pytest.raises(Cancelled, match="enough"):
        Deadline.after(60, clock=clock, cancellation=cancel).sleep(5)
    assert 1_000 == clock.monotonic()


def test_a_deadline_on_it_ends_without_waiting():
    """A sleep past the deadline costs no real time."""
    clock = ManualClock()

    with pytest.raises(DeadlineExceeded):
        Deadline.after(3600, clock=clock).sleep(7200)
    assert [3600] == clock.sleeps


def test_blocked_waits_end_when_time_has_come():
    """With ``blocking``, sleepers wake in the order of their ends, as another thread moves the clock."""
    clock = ManualClock(blocking=True)
    woken, turns = [], {2: threading.Event(), 5: threading.Event()}

    def sleep(seconds):
        woken.append((seconds, clock.wait(held(), seconds)))
        turns[seconds].set()

    threads = [threading.Thread(target=sleep, args=(seconds,)) for seconds in (5, 2)]
    for thread in threads:
        thread.start()
    assert clock.await_sleepers(2, timeout=30)
    clock.advance(2)
    assert turns[2].wait(30)
    clock.advance(3)
    assert turns[5].wait(30)
    for thread in threads:
        thread.join()

    assert [(2, False), (5, False)] == woken


def test_a_blocked_wait_ends_with_its_gate():
    """Releasing the gate wakes a blocked sleeper although time stands still."""
    clock, gate, ended = ManualClock(blocking=True), held(), []
    thread = threading.Thread(target=lambda: ended.append(clock.wait(gate, 60)))
    thread.start()
    assert clock.await_sleepers(timeout=30)
    gate.release()
    thread.join()

    assert [True] == ended


def test_missing_sleepers_are_told():
    """Waiting for sleepers that do not come ends."""
    assert not ManualClock().await_sleepers(1, timeout=0.01)


def test_chance_is_given():
    """The numbers come in order, over and over."""
    clock = ManualClock(chances=(0.1, 0.9))

    assert [0.1, 0.9, 0.1] == [clock.random() for _ in range(3)]


def test_advancing_from_many_threads_loses_nothing():
    """Every step counts."""
    clock, barrier = ManualClock(start=0), threading.Barrier(8)

    def step():
        barrier.wait()
        for _ in range(500):
            clock.advance(1)

    in_threads(step, 8)

    assert 4_000 == clock.monotonic()
