"""A bounded ``queue.Queue`` that can be closed, like Go's channel; streaming is built on it.

The end is state, not an item that might not fit: a closed channel hands out what it holds and then raises :class:`ChannelClosed`,
which is a ``queue.Empty``. A ``put`` that waits looks up at intervals, so it sees a cancelled call even when the reader is gone and
nobody will ever notify it.
"""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from .deadline import SYSTEM_CLOCK

T = TypeVar("T")

_SLICE = 0.05
_GLANCE = 1.0
"""Seconds; CPython can miss a signal that comes just as a wait without end begins, so no wait is without end."""


class ChannelClosed(queue.Empty):
    """Nothing is in the channel and nothing will come."""


class Channel(queue.Queue[T]):
    """A queue with an end. Any number of threads may read; each item goes to one of them.

    ``get`` raises :class:`ChannelClosed` when the channel is closed and empty, and plain ``queue.Empty`` at its timeout.
    """

    def __init__(self, maxsize: int = 0) -> None:
        # gevent puts a class of its own in the place of queue.Queue, with other fields; these are all that the methods here use.
        super().__init__(maxsize)
        self.maxsize = maxsize
        self.queue: collections.deque[T] = collections.deque()
        self.mutex = threading.Lock()
        self.not_empty = threading.Condition(self.mutex)
        self.not_full = threading.Condition(self.mutex)
        self.closed = False

    def close(self) -> None:
        """No more items will come; idempotent. Readers get what is left, waiting ones wake up."""
        with self.mutex:
            self.closed = True
            self.not_empty.notify_all()
            self.not_full.notify_all()

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """The next item. Raises :class:`ChannelClosed` at the end, ``queue.Empty`` after ``timeout`` seconds."""
        with self.mutex:
            self._wait_for_item(block, timeout)
            item = self.queue.popleft()
            self.not_full.notify()
            return item

    def _wait_for_item(self, block: bool, timeout: float | None) -> None:
        end = None if timeout is None else SYSTEM_CLOCK.monotonic() + timeout
        while not self.queue:
            if self.closed:
                raise ChannelClosed
            left = None if end is None else end - SYSTEM_CLOCK.monotonic()
            if not block or (left is not None and left <= 0):
                raise queue.Empty
            self.not_empty.wait(_GLANCE if left is None else min(left, _GLANCE))

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Add one item. Raises :class:`ChannelClosed` once closed, ``queue.Full`` after ``timeout`` seconds."""
        end = None if timeout is None else SYSTEM_CLOCK.monotonic() + timeout
        with self.mutex:
            while not self.closed and 0 < self.maxsize <= len(self.queue):
                left = None if end is None else end - SYSTEM_CLOCK.monotonic()
                if not block or (left is not None and left <= 0):
                    raise queue.Full
                self.not_full.wait(left)
            if self.closed:
                raise ChannelClosed
            self.queue.append(item)
            self.not_empty.notify()

    def put_all(self, items: Sequence[T], check: Callable[[], object]) -> None:
        """Add items in order, waiting for room; ``check`` is called now and then while waiting and may raise to give up."""
        rest = self._put_some(items)
        while rest:
            check()
            rest = self._put_some(rest)

    def _put_some(self, items: Sequence[T]) -> Sequence[T]:
        with self.mutex:
            if self.maxsize and len(self.queue) >= self.maxsize and not self.closed:
                self.not_full.wait(_SLICE)
            if self.closed:
                raise ChannelClosed
            room = self.maxsize - len(self.queue) if self.maxsize else len(items)
            self.queue.extend(items[:room])
            self.not_empty.notify(min(room, len(items)))
        return items[room:]

    def take_all(self, instead: Sequence[object]) -> list[T] | None:
        """All that is there, far cheaper than one ``get`` an item; ``None`` at the end.

        Waits for something, or for something in ``instead``, of which :meth:`wake` tells: then the list may be empty.
        """
        with self.mutex:
            while not self.queue:
                if self.closed:
                    return None
                if instead:
                    return []
                self.not_empty.wait(_GLANCE)
            items = list(self.queue)
            self.queue.clear()
            self.not_full.notify_all()
        return items

    def wake(self) -> None:
        """Let those who wait in :meth:`take_all` look at what they wait for besides."""
        with self.mutex:
            self.not_empty.notify_all()
