"""Cancelling at any moment, thousands of times: the right call ends, and only that one (row 0.5, I7)."""

from __future__ import annotations

import contextlib
import queue
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from llmdispatcher import Cancellation, Cancelled, Deadline
from llmdispatcher.transport import IoLimits
from llmdispatcher.transport.context import IoContext

from ..threads import in_threads
from .conftest import LONG

WORKERS = 4
ROUNDS = 300


def ok(peer, request):
    peer.reply(200, request.body)


class Canceller:
    """Threads that cancel whatever they are handed, as fast as they can."""

    def __init__(self) -> None:
        self.wishes: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.threads = [threading.Thread(target=self._work) for _ in range(2)]
        for thread in self.threads:
            thread.start()

    def _work(self) -> None:
        while (wish := self.wishes.get()) is not None:
            wish.cancel()

    def close(self) -> None:
        for _ in self.threads:
            self.wishes.put(None)
        for thread in self.threads:
            thread.join()


def test_late_cancels_never_hit_the_next_user(serve, secure):
    """A cancel that races with the end of its call never touches the connection's next user, and loses no place."""
    line, canceller, failures = serve(ok, secure=secure, pool_size=3), Canceller(), []
    cancelled = [0] * WORKERS

    def work(number: int) -> None:
        try:
            for turn in range(ROUNDS):
                wish, text = Cancellation(), b"%d %d" % (number, turn)
                try:
                    reply = line.open(cancel=wish, body=text)
                    canceller.wishes.put(wish)
                    assert text == reply.read()
                except Cancelled:
                    cancelled[number] += 1
                assert text == line.get(body=text)
        except BaseException as error:
            failures.append(error)

    in_threads(work, range(WORKERS))
    canceller.close()

    assert [] == failures
    assert 3 == line.transport._start().pool.pool.qsize()


def test_cancels_in_the_middle_of_a_call(serve, secure):
    """A cancel at any moment of a call ends it as cancelled or lets it succeed; nothing else comes out."""
    line, canceller = serve(ok, secure=secure, pool_size=3), Canceller()
    for turn in range(ROUNDS):
        wish, text = Cancellation(), b"%d" % turn
        canceller.wishes.put(wish)
        with contextlib.suppress(Cancelled):
            assert text == line.open(cancel=wish, body=text).read()
        assert text == line.get(body=text)
    canceller.close()

    assert 3 == line.transport._start().pool.pool.qsize()


def test_closes_at_any_moment_of_a_read(serve, secure):
    """A close that races with the reader of the same answer gives its connection back once, to nobody else's harm."""
    line, canceller = serve(ok, secure=secure, pool_size=3), Canceller()
    for turn in range(ROUNDS):
        text = b"%d" % turn
        reply = line.open(body=text)
        canceller.wishes.put(SimpleNamespace(cancel=reply.close))
        with contextlib.suppress(Cancelled):
            assert text == reply.read()
        assert text == line.get(body=text)
    canceller.close()

    assert 3 == line.transport._start().pool.pool.qsize()


def test_a_call_leaves_no_listener_behind(serve):
    """A cancellation that outlives many calls does not collect them."""
    line, cancellation = serve(ok), Cancellation()
    for _ in range(3):
        line.open(cancel=cancellation).read()
    line.open(cancel=cancellation).close()
    line.open(cancel=cancellation)

    assert {} == cancellation._listeners


@pytest.fixture
def context():
    return IoContext(Deadline.after(LONG), IoLimits(), "vendor.test")


def test_only_one_may_wake(context):
    """Taking the way to wake a call out of its box is what allows to use it, once."""
    woken = []
    context.own(lambda: woken.append(1))

    context.wake()
    context.wake()

    assert ([1], False) == (woken, context.disown())


def test_a_disowned_call_is_not_woken(context):
    """After its owner took it back, a late cancel finds nothing."""
    woken = []
    context.own(lambda: woken.append(1))

    assert context.disown()
    context.wake()

    assert [] == woken


def test_the_owner_waits_for_a_canceller_at_work(context):
    """A descriptor is not given away while somebody is about to shut it down."""
    begun, go_on, order = threading.Event(), threading.Event(), []

    def shut_down() -> None:
        begun.set()
        go_on.wait(LONG)
        order.append("shut down")

    context.own(shut_down)
    canceller = threading.Thread(target=context.wake)
    canceller.start()
    begun.wait(LONG)
    owner = threading.Thread(target=lambda: (context.disown(), order.append("closed")))
    owner.start()
    go_on.set()
    owner.join()
    canceller.join()

    assert ["shut down", "closed"] == order


def test_owning_after_a_cancel_raises(context):
    """A call that is cancelled owns nothing any more, so nothing is waited for."""
    context.deadline.cancellation.cancel("over")

    with pytest.raises(Cancelled, match="over"):
        context.own(lambda: None)
    assert not context.disown()


def test_waking_never_raises(context):
    """Whatever waking does, it comes from a finalizer perhaps."""

    def closed() -> None:
        raise OSError("closed already")

    context.own(closed)

    context.wake()
