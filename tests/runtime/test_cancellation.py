"""A cancellation tells each listener once, from anywhere, without a lock."""

import threading

from llmdispatcher import Cancellation


def test_listeners_hear_once():
    """Two calls of cancel are one cancellation."""
    heard = []
    cancel = Cancellation()
    cancel.subscribe(lambda: heard.append("a"))

    cancel.cancel("first")
    cancel.cancel("second")

    assert (["a"], "first", True) == (heard, cancel.reason, cancel.cancelled)


def test_a_late_listener_hears_at_once():
    """Nobody misses a cancellation by subscribing after it."""
    heard = []
    cancel = Cancellation()
    cancel.cancel()

    cancel.subscribe(lambda: heard.append("late"))

    assert ["late"] == heard


def test_an_unsubscribed_listener_hears_nothing():
    """A finished call is not disturbed."""
    heard = []
    cancel = Cancellation()
    cancel.unsubscribe(cancel.subscribe(lambda: heard.append("gone")))

    cancel.cancel()

    assert [] == heard


def test_every_listener_hears_exactly_once_under_a_race():
    """Subscribing and cancelling from many threads at once loses and doubles nothing."""
    for _ in range(50):
        cancel, heard = Cancellation(), []
        barrier = threading.Barrier(5)

        def subscribe(cancel=cancel, heard=heard, barrier=barrier):
            barrier.wait()
            for number in range(20):
                cancel.subscribe(lambda number=number: heard.append(number))

        def stop(cancel=cancel, barrier=barrier):
            barrier.wait()
            cancel.cancel()

        threads = [threading.Thread(target=target) for target in (subscribe, subscribe, subscribe, stop, stop)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert 60 == len(heard)


def test_its_text_tells_its_state():
    """Debuggers see whether it fired."""
    assert "Cancellation(cancelled=False)" == repr(Cancellation())


def test_a_drain_cancels_what_only_waits():
    """Now, and what begins to follow later as well; what is busy may end."""
    cancel, waiting, busy, later = (Cancellation() for _ in range(4))
    waiting.follow(cancel)
    busy.follow(cancel)
    busy.busy = True

    cancel.drain("enough")
    later.follow(cancel)

    assert [("enough", True), ("enough", True)] == [(one.reason, one.cancelled) for one in (waiting, later)]
    assert (True, False, False) == (busy.draining, busy.cancelled, cancel.cancelled)


def test_a_cancel_ends_a_drain():
    """Of all who follow."""
    cancel, busy = Cancellation(), Cancellation()
    busy.follow(cancel)
    busy.busy = True
    cancel.drain()

    cancel.cancel("at once")

    assert ("at once", True) == (busy.reason, busy.cancelled)


def test_a_drain_without_followers_is_a_cancel():
    """Nothing is under way."""
    cancel = Cancellation()
    cancel.drain("enough")

    assert ("enough", True) == (cancel.reason, cancel.cancelled)
