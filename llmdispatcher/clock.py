"""Time, waiting and chance: the only room that reads a clock, sleeps or draws a number."""

from __future__ import annotations

import math
import os
import random
import threading
import time
from datetime import UTC, datetime
from typing import Protocol

from .cancellation import Cancellation
from .errors import Cancelled, ConfigError, DeadlineExceeded
from .meter import Meter


class Clock(Protocol):
    """What the library needs of the world; ``testing.ManualClock`` is the other implementation."""

    def monotonic(self) -> float:
        """Seconds that never go back, whatever happens to the wall clock."""

    def now(self) -> datetime:
        """The wall clock, aware, UTC; for records only, never for deadlines."""

    def wait(self, gate: threading.Lock, seconds: float) -> bool:
        """Wait until the held ``gate`` is released or ``seconds`` have passed; True if released."""

    def random(self) -> float:
        """A number in [0, 1)."""


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(time.monotonic)
    random = staticmethod(random.random)

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""
        return datetime.now(UTC)

    def wait(self, gate: threading.Lock, seconds: float) -> bool:
        """Sleep on the lock: releasing it is safe from finalizers and signal handlers, unlike setting an Event."""
        return gate.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))


SYSTEM_CLOCK = SystemClock()


def new_id(clock: Clock) -> str:
    """32 hex digits that nobody else has and that sort by time: 16 of microseconds since the epoch, 16 of chance.

    The chance is the system's, since a program that seeds ``random`` in each of its processes would have the same ids in all.
    """
    return f"{int(clock.now().timestamp() * 1_000_000):016x}{os.urandom(8).hex()}"


class Deadline:
    """The end of one whole call and the wish to stop it early; every room is handed the same one.

    ``at`` is on the clock's monotonic scale, infinite for no limit. It covers queueing, every attempt, every wait and
    the reading of the answer. ``meter`` is where the transport writes down what the present attempt moves, if anybody asks.
    """

    __slots__ = ("at", "cancellation", "clock", "meter", "seconds")

    def __init__(self, at: float, clock: Clock, cancellation: Cancellation, seconds: float | None) -> None:
        self.at = at
        self.clock = clock
        self.cancellation = cancellation
        self.seconds = seconds
        self.meter: Meter | None = None

    @classmethod
    def after(
        cls, seconds: float | None = None, *, clock: Clock = SYSTEM_CLOCK, cancellation: Cancellation | None = None
    ) -> Deadline:
        """A deadline ``seconds`` from now; ``None`` never ends. Raises :class:`ConfigError` for a number that is not > 0."""
        if seconds is None:
            at = math.inf
        elif isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0:
            at = clock.monotonic() + seconds
        else:
            raise ConfigError(f"timeout: {seconds!r} is not a positive number of seconds; use None for no limit")
        return cls(at, clock, cancellation or Cancellation(), seconds)

    @property
    def cancelled(self) -> bool:
        """Whether the caller asked to stop."""
        return self.cancellation.cancelled

    def remaining(self) -> float:
        """Seconds left, never negative, infinite without a limit."""
        return max(0.0, self.at - self.clock.monotonic())

    def check(self) -> float:
        """Seconds left; raises :class:`Cancelled` or :class:`DeadlineExceeded` when there are none."""
        if self.cancellation.cancelled:
            raise Cancelled(self.cancellation.reason)
        left = self.at - self.clock.monotonic()
        if left <= 0:
            raise self.to_error()
        return left

    def to_error(self) -> DeadlineExceeded:
        """The error that says this deadline has passed, ready to raise."""
        return DeadlineExceeded(
            f"the call did not finish within its {self.seconds:g} s; raise timeout=, or ask for less"
            if self.seconds is not None
            else "the call did not finish within its deadline"
        )

    def sleep(self, seconds: float) -> None:
        """Wait, but not past the deadline; raises :class:`Cancelled` as soon as cancelled, :class:`DeadlineExceeded` at the end."""
        gate = threading.Lock()
        gate.acquire()
        key = self.cancellation.subscribe(gate.release)
        try:
            self.clock.wait(gate, min(seconds, self.check()))
        finally:
            self.cancellation.unsubscribe(key)
        self.check()

    def __repr__(self) -> str:
        return f"Deadline(remaining={self.remaining():.3f}, cancelled={self.cancelled})"
