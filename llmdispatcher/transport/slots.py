"""The queue of a connection pool: last in first out, first come first served, and never a lock that a finalizer could meet."""

from __future__ import annotations

import collections
import contextlib
import queue
import threading
from typing import Any

from urllib3.exceptions import ClosedPoolError

from ..errors import DispatchError
from .scope import current


class Slots(queue.LifoQueue[Any]):
    """Stands in for ``queue.LifoQueue`` in a urllib3 pool: a connection may come back in a finalizer, so ``put`` takes no lock.

    ``get`` waits as long as the current call's scope lets it, whatever ``timeout`` says, and then raises ``queue.Empty``.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self._items: collections.deque[Any] = collections.deque()
        self._waiting: collections.deque[threading.Lock] = collections.deque()
        self._closed = False

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Give a connection, or ``None`` for the right to open one, back to who waits longest."""
        if len(self._items) >= self.maxsize:
            raise queue.Full
        self._items.append(item)
        self._call_next()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The connection used last, or ``None``; raises ``queue.Empty`` when none comes in time."""
        try:
            return self._items.pop()
        except IndexError:
            if not block:
                raise queue.Empty from None
        return self._stand_in_line()

    def close(self) -> None:
        """Send away who waits."""
        self._closed = True
        for gate in tuple(self._waiting):
            with contextlib.suppress(RuntimeError):
                gate.release()

    def qsize(self) -> int:
        """How many may be taken now."""
        return len(self._items)

    def _stand_in_line(self) -> Any:
        gate = threading.Lock()
        gate.acquire()
        self._waiting.append(gate)
        try:
            while True:
                with contextlib.suppress(IndexError):
                    return self._items.pop()
                if self._closed:
                    raise ClosedPoolError(self, "closed")  # type: ignore[arg-type]  # only its text uses the pool
                current().wait(gate, threading.TIMEOUT_MAX)
                if gate not in self._waiting:
                    self._waiting.appendleft(gate)
        except DispatchError:
            raise queue.Empty from None
        finally:
            self._step_out(gate)

    def _step_out(self, gate: threading.Lock) -> None:
        try:
            self._waiting.remove(gate)
        except ValueError:
            if self._items:
                self._call_next()

    def _call_next(self) -> None:
        while True:
            try:
                self._waiting.popleft().release()
            except RuntimeError:
                continue
            except IndexError:
                pass
            return
