"""Time and cancellation: the clock, the deadline of a call, and the request to stop it.

Only this file reads a clock, sleeps or draws a random number.

:class:`Cancellation` may be used by any thread, signal handler or finalizer. It has no lock: its callbacks live in a dict whose
``popitem`` is atomic, so each is called exactly once, and ``cancel`` can neither block nor deadlock, not even from
``weakref.finalize`` in the middle of ``subscribe``.

:class:`AttemptMetrics` holds what one attempt has moved over the network: the transport writes it, the attempt's record reads it.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from ..errors import Cancelled, ConfigError, DeadlineExceeded, DispatchError

_keys = itertools.count()


class Cancellation:
    """Go's context, the cancelling half: pass it as ``cancel=`` and call :meth:`cancel` from any thread.

    ``busy`` is set by a call when it asks a vendor, and taken back when that fails.
    """

    __slots__ = ("__weakref__", "_followers", "_listeners", "busy", "cancelled", "draining", "reason")

    def __init__(self) -> None:
        self.cancelled = self.draining = self.busy = False
        self.reason = ""
        self._listeners: dict[int, Callable[[], None]] = {}
        self._followers: dict[int, Callable[[], None]] = {}

    def cancel(self, reason: str = "the caller cancelled the call") -> None:
        """Stop whatever watches this; idempotent, never blocks, and the first reason stays."""
        if not self.cancelled:
            self.reason = reason
            self.cancelled = True
        self._tell()

    def drain(self, reason: str = "the caller lets nothing more begin") -> None:
        """Let calls finish that a vendor has been asked, and stop the rest: waits, retries, further calls.

        Idempotent, never blocks.
        """
        if not self.draining:
            self.reason = self.reason or reason
            self.draining = True
        followers = list(self._followers.values())
        for pass_on in followers:
            pass_on()
        if not followers and not self.busy:
            self.cancel(reason)

    def subscribe(self, listener: Callable[[], None]) -> int:
        """Call ``listener`` once when cancelled, at once if that has happened; returns a key for :meth:`unsubscribe`.

        A listener must neither block nor raise: it may run in a signal handler or a finalizer.
        """
        key = next(_keys)
        self._listeners[key] = listener
        if self.cancelled:
            self._tell()
        return key

    def follow(self, other: Cancellation) -> None:
        """Be cancelled, or drained, when ``other`` is; holds no reference that keeps this one alive."""
        own = weakref.ref(self)

        def pass_on() -> None:
            follower = own()
            if follower is not None:
                (follower.cancel if other.cancelled else follower.drain)(other.reason)

        key = other.subscribe(pass_on)
        other._followers[key] = pass_on
        if other.draining:
            pass_on()
        weakref.finalize(self, other.unsubscribe, key).atexit = False

    def unsubscribe(self, key: int) -> None:
        """Forget a listener; one that was called already is no error."""
        self._listeners.pop(key, None)
        self._followers.pop(key, None)

    def _tell(self) -> None:
        while True:
            try:
                _, listener = self._listeners.popitem()
            except KeyError:
                return
            listener()

    def __repr__(self) -> str:
        return f"Cancellation(cancelled={self.cancelled})"


class KeyAssignment(Protocol):
    """Which of several keys an attempt is to show, counted from 1, and another where it is refused."""

    @property
    def key(self) -> int | None:
        """Its number."""

    def move(self, awake: Sequence[int], error: DispatchError) -> int | None:
        """The number of another of these keys to show; ``None`` where none of them has a place in its limits."""


class AttemptMetrics:
    """Bytes and connections of one attempt; hung on the deadline that every room is handed.

    ``wired`` tells that the library's own transport was asked, so that the counts mean something. ``sent`` and ``received`` are
    bytes of HTTP, as handed to and taken from the connection. ``reused`` tells whether that had served before, ``resent``
    how often the request was sent once more since the vendor had closed a kept connection. ``key`` counts the vendor's keys from 1.
    ``lease``, where there is one, says which of them to show. ``skipped`` counts the events of a stream that could not be read,
    and ``dropped`` names what of the request was not sent. ``headers`` are sent along, where the vendor has none of the name.
    """

    __slots__ = ("dropped", "headers", "key", "lease", "received", "resent", "reused", "sent", "skipped", "wired")

    def __init__(self) -> None:
        self.wired = False
        self.sent = self.received = self.resent = self.skipped = 0
        self.reused: bool | None = None
        self.key: int | None = None
        self.lease: KeyAssignment | None = None
        self.dropped: tuple[str, ...] = ()
        self.headers: Mapping[str, str] | None = None


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
    now = staticmethod(partial(datetime.now, UTC))
    random = staticmethod(random.random)

    def wait(self, gate: threading.Lock, seconds: float) -> bool:
        """Sleep on the lock: releasing it is safe from finalizers and signal handlers, unlike setting an Event."""
        return gate.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))


SYSTEM_CLOCK = SystemClock()


def new_id(clock: Clock) -> str:
    """32 unique hex digits that sort by time: 16 of microseconds since the epoch, 16 of chance.

    The chance is the system's, since a program that seeds ``random`` in each of its processes would have the same ids in all.
    """
    return f"{int(clock.now().timestamp() * 1_000_000):016x}{os.urandom(8).hex()}"


class Deadline:
    """The end of one whole call, and its cancellation; every room is handed the same one.

    ``at`` is on the clock's monotonic scale, infinite for no limit. It covers queueing, every attempt, every wait and
    the reading of the answer. ``meter`` is where the transport writes down what the present attempt moves, if anybody asks.
    An attempt may have no more than a share of it: :meth:`narrow` moves ``at`` to the end of the share, :meth:`begin` to that of a
    stream which has begun, and :meth:`widen` moves it back. ``connect`` is the most seconds that a connection may take meanwhile.
    """

    __slots__ = ("_output", "_whole", "at", "cancellation", "clock", "connect", "meter", "seconds")

    def __init__(self, at: float, clock: Clock, cancellation: Cancellation, seconds: float | None) -> None:
        self.at = at
        self.clock = clock
        self.cancellation = cancellation
        self.seconds = seconds
        self.meter: AttemptMetrics | None = None
        self.connect = math.inf
        self._whole: float | None = None
        self._output = math.inf

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

    def narrow(self, seconds: float, connect: float, output: float = math.inf) -> None:
        """Leave so many seconds of it to the present attempt, and ``connect`` to its connection; infinite leaves all.

        A stream that has begun has ``output`` seconds until its first output, counted from now, too.
        """
        now = self.clock.monotonic()
        self._whole, self.connect, self._output = self.at, connect, now + output
        self.at = min(self.at, now + seconds)

    def begin(self) -> None:
        """Leave the attempt the time until its first output, since something else of its stream has come; nothing where all is."""
        if self._whole is not None:
            self.at = min(self._whole, max(self.at, self._output))

    def widen(self) -> None:
        """Be the whole deadline again; nothing where it is."""
        if self._whole is not None:
            self.at, self._whole, self.connect = self._whole, None, math.inf

    def lift(self) -> None:
        """End never, since a stream has begun that only its silence ends."""
        self.at, self.seconds, self.connect = math.inf, None, math.inf
        self._whole = None if self._whole is None else math.inf

    @property
    def is_narrow(self) -> bool:
        """Whether an attempt has its share of it, since no output has widened it yet."""
        return self._whole is not None

    @property
    def share_is_over(self) -> bool:
        """Whether the share of an attempt is used up, and the whole deadline is not."""
        return self._whole is not None and self.at <= self.clock.monotonic() < self._whole

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
