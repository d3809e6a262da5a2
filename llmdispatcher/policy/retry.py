"""When to ask again, and whom: backoff as a value, and the schedule of one call.

The schedule has one rule: the target that is ready first is asked next, ties by rank. A target that was not asked yet is
ready at once, so a failure moves on to the next target without waiting; one that failed is ready after its backoff, or
after the hint that it gave, never earlier.
"""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Callable, Generator, Sequence
from itertools import repeat
from typing import Any

import attrs
import backoff

from ..errors import ConfigError, DispatchError
from . import checks
from .parking import Parking
from .target import Target

LONGEST_HINT = 60.0
"""Seconds; a target that wants to be left alone for longer is not waited for, whatever the deadline."""


class BackoffStrategy(enum.Enum):
    """How the wait before coming back to the same target grows."""

    FIXED = "fixed"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"
    JITTER = "jitter"


def _strategy(value: Any) -> BackoffStrategy:
    if isinstance(value, BackoffStrategy):
        return value
    try:
        return BackoffStrategy(str(value).strip().lower())
    except ValueError:
        names = ", ".join(strategy.value for strategy in BackoffStrategy)
        raise ConfigError(f"backoff_strategy: {value!r} is not a strategy; use one of {names}") from None


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise ConfigError(f"retryable_errors: {value!r} is one string; give a list of them")
    return tuple(str(text).lower() for text in value)


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often and how patiently a call comes back to a target that failed.

    ``max_retries`` counts returns to a target that this call has asked already; a first try at another target is a
    failover and costs none. Delays are seconds: FIXED waits ``initial_delay``, LINEAR ``initial_delay`` × n, EXPONENTIAL
    ``initial_delay`` × 2^(n-1), JITTER a random part of that; all at most ``max_delay``. ``retryable_errors`` are texts: an
    error whose class, code or message contains one is retried although its class says no.
    """

    max_retries: int = attrs.field(default=3, validator=checks.whole)
    backoff_strategy: BackoffStrategy = attrs.field(default=BackoffStrategy.EXPONENTIAL, converter=_strategy)
    initial_delay: float = attrs.field(default=1.0, validator=checks.at_least(0))
    max_delay: float = attrs.field(default=60.0, validator=checks.at_least(0))
    retryable_errors: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    chance: Callable[[], float] = attrs.field(default=random.random, repr=False)

    def waits(self) -> Generator[float]:
        """The wait before the first, second, … return to one target, in seconds."""
        for delay in _GROWTH[self.backoff_strategy](self.initial_delay):
            if delay is not None:  # backoff's generators begin with an empty yield, made for send()
                capped = min(delay, self.max_delay)
                yield capped * self.chance() if self.backoff_strategy is BackoffStrategy.JITTER else capped

    def retryable(self, error: DispatchError) -> bool:
        """Whether the same target may be asked again after this error."""
        if error.retry_here:
            return True
        if not self.retryable_errors:
            return False
        said = f"{type(error).__name__} {error.code or ''} {error.message}".lower()
        return any(text in said for text in self.retryable_errors)


def _linear(step: float) -> Generator[float | None]:
    factor = 0
    while True:
        factor += 1
        yield step * factor


_GROWTH: dict[BackoffStrategy, Callable[[float], Generator[float | None]]] = {
    BackoffStrategy.FIXED: lambda delay: backoff.constant(repeat(delay)),
    BackoffStrategy.LINEAR: _linear,
    BackoffStrategy.EXPONENTIAL: lambda delay: backoff.expo(factor=delay),
    BackoffStrategy.JITTER: lambda delay: backoff.expo(factor=delay),
}


class _Place:
    """What the schedule knows of one target of the call."""

    __slots__ = ("asked", "ready_at", "target", "waits")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.ready_at = -math.inf
        self.asked = False
        self.waits: Generator[float] | None = None


@attrs.frozen
class Turn:
    """Ask ``target``, not before ``ready_at`` (monotonic seconds; minus infinity for at once)."""

    target: Target
    ready_at: float


class Schedule:
    """Whose turn it is, for one call in one thread; holds no clock, is handed the time."""

    def __init__(self, targets: Sequence[Target], policy: RetryPolicy, parking: Parking, now: float) -> None:
        self._policy = policy
        self._parking = parking
        self._retries_left = policy.max_retries
        self._places = [_Place(target) for target in targets]
        for place in self._places:
            parked = parking.of(place.target, now)
            if parked is not None:
                place.ready_at = parked.until if parked.until - now <= LONGEST_HINT else math.inf

    def next(self, deadline_at: float) -> Turn | None:
        """The next turn; ``None`` when no target is left whose time comes before the deadline."""
        ready = [place for place in self._places if not place.asked or self._retries_left > 0]
        place = min(ready, key=lambda place: place.ready_at, default=None)
        if place is None or place.ready_at >= deadline_at:
            return None
        if place.asked:
            self._retries_left -= 1
        place.asked = True
        return Turn(place.target, place.ready_at)

    def failed(self, target: Target, error: DispatchError, now: float) -> None:
        """Take in how the last turn went: who may be asked again, and when."""
        self._parking.note(target, error, now)
        again = self._policy.retryable(error)
        place = next(place for place in self._places if place.target is target)
        if again:
            place.waits = place.waits or self._policy.waits()
            wait = max(next(place.waits), error.retry_after or 0.0)
            place.ready_at = now + wait if (error.retry_after or 0.0) <= LONGEST_HINT else math.inf
        if not error.try_elsewhere:
            self._places = [place] if again else []
        elif not again:
            self._places.remove(place)

    def blocked(self, now: float) -> DispatchError | None:
        """Why nobody could be asked at all: the parking that ends first."""
        parked = [
            (parking.until, place.target, parking) for place in self._places if (parking := self._parking.of(place.target, now))
        ]
        if not parked:
            return None
        _, target, first = min(parked, key=lambda entry: entry[0])
        return first.error(target, now)
