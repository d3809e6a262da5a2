"""The one thread of a process that speaks with a database of budgets: a call waits for it so long and no longer.

What many calls want at once goes into one transaction, so that a process needs one line and one commit for all of them. An errand
that must be done in the end (a settlement) is tried again until the database is back; one that is asked for is told of the failure,
and undone where it succeeded after the asker had gone.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from ..locks import new_lock
from .book import BookAway

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds after which a database that has answered before is away; making its tables may take longer."""
AGAIN = 1.0
"""Seconds between two tries of what could not be done."""
MOST_WAITING = 10_000
"""Errands that are kept while the database is away; of more the oldest are given up, whose reservations will expire."""
_AT_ONCE = 64

Work = Callable[[Any], Any]
"""What is done with a connection, in a transaction that others share."""


class Errand:
    """One piece of work. ``undo`` is what takes it back; an errand that is ``lasting`` is tried until it succeeds."""

    __slots__ = ("_lock", "_over", "error", "gate", "lasting", "result", "undo", "work")

    def __init__(self, work: Work, undo: Work | None = None, *, lasting: bool = False) -> None:
        self.work = work
        self.undo = undo
        self.lasting = lasting
        self.result: Any = None
        self.error: BookAway | None = None
        self.gate = threading.Lock()
        self.gate.acquire()
        self._lock = new_lock()
        self._over = False

    def end(self) -> bool:
        """Note that it is done, or that nobody waits for it any more; whether that is the first that is noted."""
        with self._lock:
            first, self._over = not self._over, True
            return first

    @property
    def given_up(self) -> bool:
        """Whether there is no need to begin."""
        return self._over


class Clerk:
    """Does errands with connections that ``writing`` lends. The thread starts with the first errand, and anew after a fork."""

    def __init__(self, writing: Callable[[], AbstractContextManager[Any]], prepare: Callable[[], object]) -> None:
        self._writing = writing
        self._prepare = prepare
        self._prepared = False
        self._lock = new_lock()
        self._queue: queue.SimpleQueue[Errand | None] = queue.SimpleQueue()
        self._again: deque[Errand] = deque(maxlen=MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def ask(self, errand: Errand, patience: float) -> Any:
        """The result of an errand. Raises :class:`BookAway` where none comes within ``patience``, or :data:`PATIENCE`, seconds."""
        if self._prepared:
            patience = min(patience, PATIENCE)
        self.tell(errand)
        if not errand.gate.acquire(timeout=max(0.0, patience)) and errand.end():
            raise BookAway(f"its database does not answer within {patience:.1f} s")
        if errand.error is not None:
            raise errand.error
        return errand.result

    def tell(self, errand: Errand) -> None:
        """Have an errand done. Raises :class:`BookAway` where no thread can be started for it, unless it is lasting."""
        with self._lock:
            if self._pid != os.getpid():
                self._queue, self._again, self._thread, self._pid = (
                    queue.SimpleQueue(),
                    deque(maxlen=MOST_WAITING),
                    None,
                    os.getpid(),
                )
            self._queue.put(errand)
            if self._thread is None:
                try:
                    self._thread = self._started()
                except (RuntimeError, MemoryError):
                    if not errand.lasting:
                        errand.end()
                        raise BookAway("no thread can be started for it") from None

    def close(self, patience: float) -> None:
        """Do what waits, for at most so many seconds, and end the thread; it starts again with the next errand."""
        with self._lock:
            thread = self._thread if self._pid == os.getpid() else None
            self._thread = None
            if thread is not None:
                self._queue.put(None)
        if thread is not None:
            thread.join(patience)

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, args=(self._queue,), name="llmdispatcher-budgets", daemon=True)
        thread.start()
        return thread

    def _run(self, errands: queue.SimpleQueue[Errand | None]) -> None:
        while True:
            try:
                first = errands.get(timeout=AGAIN if self._again else None)
            except queue.Empty:
                self._do([])
                continue
            batch, last = [first], first is None
            while not last and len(batch) < _AT_ONCE and not errands.empty():
                batch.append(errands.get())
                last = batch[-1] is None
            self._do([errand for errand in batch if errand is not None])
            if last:
                return

    def _do(self, batch: list[Errand]) -> None:
        """Do a batch, and before it what could not be done before."""
        batch = [*self._waiting(), *[errand for errand in batch if not errand.given_up]]
        if not batch:
            return
        try:
            if not self._prepared:
                self._prepare()
                self._prepared = True
            with self._writing() as connection:
                for errand in batch:
                    errand.result = errand.work(connection)
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, the database is away, and the thread must live on
            self._failed(batch, type(getattr(error, "orig", None) or error).__name__)
            return
        for errand in batch:
            if not errand.end() and errand.undo is not None:
                self._again.append(Errand(errand.undo, lasting=True))
            errand.gate.release()

    def _waiting(self) -> list[Errand]:
        return [self._again.popleft() for _ in range(min(_AT_ONCE, len(self._again)))]

    def _failed(self, batch: list[Errand], why: str) -> None:
        logger.warning("budgets: their database cannot be used (%s)", why)
        for errand in batch:
            if errand.lasting:
                if len(self._again) == MOST_WAITING:
                    logger.error("budgets: too many settlements wait; the oldest is given up, and will count at its bound")
                self._again.append(errand)
            else:
                errand.error = BookAway(f"its database cannot be used ({why})")
                errand.end()
                errand.gate.release()
