"""The pool's queue: order, bounds, and no lost wake-up."""

from __future__ import annotations

import queue
import threading

import pytest
from urllib3.exceptions import ClosedPoolError

from llmdispatcher import Deadline
from llmdispatcher.transport import IoLimits
from llmdispatcher.transport.context import IoContext, active
from llmdispatcher.transport.sockets import PoolQueue

from ..threads import in_threads


@pytest.fixture
def pool_queue():
    filled = PoolQueue(3)
    for item in (None, None, "warm"):
        filled.put(item)
    before, active.context = active.context, IoContext(Deadline.after(0.1), IoLimits(), "vendor.test")
    yield filled
    active.context = before


def test_the_warmest_comes_first(pool_queue):
    """The connection used last is the one most likely alive."""
    assert ["warm", None, None, 0] == [pool_queue.get(), pool_queue.get(), pool_queue.get(), pool_queue.qsize()]


def test_more_than_was_taken_is_refused(pool_queue):
    """There are never more places than the pool has."""
    with pytest.raises(queue.Full):
        pool_queue.put(None)


def test_an_empty_queue_does_not_block_who_will_not(pool_queue):
    """urllib3 drains a closing pool without blocking."""
    for _ in range(3):
        pool_queue.get()

    with pytest.raises(queue.Empty):
        pool_queue.get(block=False)


def test_waiting_ends_with_the_call(pool_queue):
    """A caller waits as long as its context lets it."""
    for _ in range(3):
        pool_queue.get()

    with pytest.raises(queue.Empty):
        pool_queue.get()
    assert 0 == len(pool_queue._waiting)


def test_closing_sends_the_waiting_away():
    """Nobody waits for a connection of a closed pool."""
    pool_queue, gone = PoolQueue(1), []

    def wait():
        active.context = IoContext(Deadline.after(30.0), IoLimits(), "vendor.test")
        try:
            pool_queue.get()
        except ClosedPoolError:
            gone.append(True)

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    while len(pool_queue._waiting) < 5:
        threading.Event().wait(0.001)
    pool_queue.close()
    for thread in threads:
        thread.join()

    assert [True] * 5 == gone


def test_no_wake_up_is_lost():
    """Many threads over few places, some of them giving up: all others get their turn."""
    pool_queue, served, failures = PoolQueue(2), [], []
    pool_queue.put(None)
    pool_queue.put(None)

    def work(number: int):
        active.context = IoContext(Deadline.after(0.0005 if number % 3 == 0 else 20.0), IoLimits(), "vendor.test")
        for _ in range(200):
            try:
                item = pool_queue.get()
            except queue.Empty:
                if number % 3:
                    failures.append(number)
                continue
            served.append(number)
            pool_queue.put(item)

    in_threads(work, range(12))

    assert [] == failures
    assert (8 * 200, 2) == (len([number for number in served if number % 3]), pool_queue.qsize())
