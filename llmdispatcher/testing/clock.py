"""A clock that is moved by hand: tests of waiting that wait for nothing."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

# How often a blocked wait looks whether another thread has moved the clock: a gate can only be waited for, not the two of them.
_LOOK_AGAIN = 0.002

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """Time moves only by :meth:`advance`, or by a wait that nobody ends; the other implementation of ``clock.Clock``.

    By default a wait moves the clock itself by its ``seconds``, which is right for one sleeper at a time. With ``blocking`` waits
    really wait until another thread advances the clock far enough (see :meth:`await_sleepers`). ``chances`` are the numbers
    that :meth:`random` gives, over and over. ``on_wait`` is called with the seconds of each wait before it begins: the place to
    cancel something "during" a sleep. ``sleeps`` records the seconds of every wait.
    """

    def __init__(
        self,
        start: float = 1_000.0,
        *,
        blocking: bool = False,
        chances: Iterable[float] = (0.5,),
        on_wait: Callable[[float], None] | None = None,
    ) -> None:
        self.sleeps: list[float] = []
        self.on_wait = on_wait
        self._blocking = blocking
        self._start = start
        self._time = start
        self._sleepers = 0
        self._changed = threading.Condition()
        self._chances = itertools.cycle(tuple(chances))

    def monotonic(self) -> float:
        """Seconds on the hand-moved scale."""
        return self._time

    def now(self) -> datetime:
        """The first of January 2026 plus what the clock has been moved."""
        return _EPOCH + timedelta(seconds=self._time - self._start)

    def random(self) -> float:
        """The next of the given ``chances``."""
        with self._changed:
            return next(self._chances)

    def advance(self, seconds: float) -> None:
        """Move time forward; raises ``ValueError`` for a step back, which a monotonic clock cannot make."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"advance: {seconds!r} is not a finite number of seconds ≥ 0")
        with self._changed:
            self._time += seconds

    def wait(self, gate: threading.Lock, seconds: float) -> bool:
        """Let ``seconds`` pass on this clock unless the held ``gate`` is released; True if it was."""
        with self._changed:
            self.sleeps.append(seconds)
            due = self._time + seconds
        if self.on_wait is not None:
            self.on_wait(seconds)
        if self._blocking or seconds == math.inf:
            return self._wait_for_others(gate, due)
        if gate.acquire(blocking=False):
            return True
        self.advance(seconds)
        return False

    def await_sleepers(self, count: int = 1, timeout: float = 5.0) -> bool:
        """Wait, in real time, until ``count`` threads are blocked in :meth:`wait`; False when that did not happen in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._sleepers >= count, timeout)

    def _wait_for_others(self, gate: threading.Lock, due: float) -> bool:
        self._count(1)
        try:
            while not gate.acquire(timeout=_LOOK_AGAIN):
                if self._time >= due:
                    return False
            return True
        finally:
            self._count(-1)

    def _count(self, step: int) -> None:
        with self._changed:
            self._sleepers += step
            self._changed.notify_all()
