"""Keeps a registry's rows over the catalog while dispatchers use it: one daemon thread, which is in no call's way.

The thread starts with the first call, in a forked child with the first call there. It loads what is on disk, asks for what is due,
puts that over the catalog, and sleeps until the next is due. The first calls wait for it, for at most ``Registry(wait=...)``
seconds, and only until something is known; nobody waits for anything after that.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable

from ..cancellation import Cancellation
from ..clock import SYSTEM_CLOCK, Deadline
from ..errors import Cancelled
from ..locks import new_lock

logger = logging.getLogger(__name__)

PART = 0.1
"""Part of a call's time that it waits at most: it can do without a registry, not without a vendor."""
_AGAIN = 1.0
"""Seconds until another thread is tried for, where none could be started."""
_LATER = 3600.0
"""Seconds until the next round after one that failed in a way that nobody foresaw."""

Round = Callable[[Cancellation], float]
"""Does what is due, calls nobody back, and tells in how many seconds there is more to do."""


class Keeper:
    """The thread, and those who wait for its first round. ``show`` puts what is on disk over the catalog; True if there was any."""

    def __init__(self, show: Callable[[], bool], round_: Round, wait: float) -> None:
        self._show = show
        self._round = round_
        self._wait = wait
        self._lock = new_lock()
        self._users: weakref.WeakSet[object] = weakref.WeakSet()
        self._waiting: list[threading.Lock] = []
        self._stop = Cancellation()
        self._pid: int | None = None
        self._ready: int | None = None
        """The process in which the first round is over."""
        self._not_before = self._until = 0.0

    def begin(self, user: object, deadline: Deadline) -> None:
        """A call of ``user`` begins: the thread runs from now on. Waits, within the deadline, while nothing is known yet."""
        here = os.getpid()
        if self._ready == here and user in self._users:
            return
        self._users.add(user)
        if self._start(here):
            self._await(deadline)

    @property
    def used(self) -> bool:
        """Whether there is anybody whose calls go by the registry."""
        return bool(self._users)

    def leave(self, user: object) -> bool:
        """A user is gone; with the last one, which True tells, the thread ends."""
        self._users.discard(user)
        if self._users:
            return False
        self.end()
        return True

    def end(self) -> None:
        """End the thread of this process; it starts again with the next call."""
        with self._lock:
            mine, self._pid, self._ready = self._pid == os.getpid(), None, None
        if mine:
            self._stop.cancel("the registry was closed")

    def _start(self, here: int) -> bool:
        """Have a thread in this process; False where none can be started."""
        now = SYSTEM_CLOCK.monotonic()
        with self._lock:
            if self._pid == here:
                return True
            if now < self._not_before:
                return False
            self._pid, self._stop, self._waiting = here, Cancellation(), []
            stop, self._until = self._stop, now + self._wait
        run = threading.Thread(target=_run, args=(weakref.ref(self), stop), name="llmdispatcher-registry", daemon=True)
        try:
            run.start()
        except (RuntimeError, MemoryError):
            logger.warning("no thread can be started for the registry; the packaged catalog counts, tried again with a later call")
            with self._lock:
                self._pid, self._not_before = None, now + _AGAIN
            return False
        weakref.finalize(self, _end, stop, here).atexit = False
        return True

    def _await(self, deadline: Deadline) -> None:
        left = min(self._until - SYSTEM_CLOCK.monotonic(), PART * deadline.remaining())  # the thread lives on the machine's clock
        if left <= 0:
            return
        gate = threading.Lock()
        gate.acquire()
        with self._lock:
            if self._ready == os.getpid():
                return
            self._waiting.append(gate)
        key = deadline.cancellation.subscribe(lambda: _open(gate))
        try:
            SYSTEM_CLOCK.wait(gate, left)
        finally:
            deadline.cancellation.unsubscribe(key)

    def first(self, stop: Cancellation) -> None:
        """Show what is known already, and let the first calls go on if that is something."""
        try:
            if self._show():
                self._known(stop)
        except Exception:  # whatever lies on the disk, the round to come asks the registry
            logger.exception("registry: what is on disk could not be used")

    def again(self, stop: Cancellation) -> float:
        """One round; seconds until the next."""
        try:
            return self._round(stop)
        except Exception:  # whatever a registry serves, calls go on, and so does the thread
            logger.exception("registry: a round ended badly; the next is in %d s", _LATER)
            return _LATER
        finally:
            self._known(stop)

    def _known(self, stop: Cancellation) -> None:
        """Nobody waits any more, unless the thread was stopped, after which the next call starts another."""
        with self._lock:
            if not stop.cancelled:
                self._ready = os.getpid()
            waiting, self._waiting = self._waiting, []
        for gate in waiting:
            _open(gate)


def _run(ref: weakref.ref[Keeper], stop: Cancellation) -> None:
    """The thread: it holds the keeper only while it does something, so that a dropped one goes."""
    pause = Deadline.after(None, cancellation=stop)
    with contextlib.suppress(Cancelled):
        _first(ref, stop)
        while (seconds := _again(ref, stop)) is not None:
            pause.sleep(seconds)


def _first(ref: weakref.ref[Keeper], stop: Cancellation) -> None:
    keeper = ref()
    if keeper is not None:
        keeper.first(stop)


def _again(ref: weakref.ref[Keeper], stop: Cancellation) -> float | None:
    keeper = ref()
    return None if keeper is None else keeper.again(stop)


def _open(gate: threading.Lock) -> None:
    with contextlib.suppress(RuntimeError):
        gate.release()


def _end(stop: Cancellation, process: int) -> None:
    """Stop a thread, unless it is that of the process that forked this one."""
    if process == os.getpid():
        stop.cancel("the registry is gone")
