"""Retries: the backoff as a value, the schedule of one call, cooldowns of targets across calls, and the retry budget.

The schedule has one rule: the target that is ready first is asked next, ties by rank. A target that was not asked yet is ready at
once, so a failure moves on to the next target without waiting. One that failed is ready after its backoff, or after the time that
it asked for, never earlier. A target that asked to be left alone (a 429 with a time, a spent quota) is in cooldown for all calls.

The retry budget limits the retries of all calls together, so that an outage is not answered with a flood of them. Only retries of a
target that failed draw on it; the first attempt at another target does not, since circuit breakers limit those. The figures follow
Finagle's budget (20 % of the calls and a few per second): a full outage costs at most a fifth more attempts than calls, and a
caller with little traffic can still retry. Times are monotonic seconds and passed in.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count, islice, repeat
from typing import Any, Literal, NamedTuple

import attrs
import backoff

from ..catalog import Target
from ..errors import (
    ANOTHER_VENDOR,
    AuthenticationError,
    ConfigError,
    ContentFiltered,
    ContextWindowExceeded,
    DispatchError,
    FailureClass,
    ModelNotFound,
    QuotaExceeded,
    RateLimitError,
)
from ..runtime import Deadline, new_lock
from ..types import Texts, at_least, boolean, non_negative_integer, string_tuple, suggest

QUOTA_REST = 600.0
"""Seconds for which a target whose quota is spent is left alone when it gives no hint of its own."""
LONGEST_REST = 86_400.0
"""Seconds; a hint beyond a day is a mistake or malice, and must not remove a target for good."""
PROBE_EVERY = 1.0
"""Seconds between two calls that try a target which asked for more than ``max_cooldown``."""
_MOST = 10_000


def rest_of(error: DispatchError) -> float:
    """Seconds for which a failed target wants to be left alone; 0 where it does not say."""
    rest = error.retry_after
    if rest is None:
        rest = QUOTA_REST if isinstance(error, QuotaExceeded) else 0.0
    return min(rest, LONGEST_REST) if rest > 0 else 0.0


@attrs.frozen
class _Cooldown:
    """The end of a cooldown (monotonic), the end that the target ``asked`` for, and the failure that caused it."""

    until: float
    asked: float
    kind: type[DispatchError]
    message: str
    status: int | None
    code: str | None
    remedy: str | None
    hinted: bool
    """Whether the vendor said how long."""
    probed: bool = False
    """Whether a call tries it."""

    def worth(self, now: float) -> float:
        """The moment to wait for; infinite where the target asked for more than :data:`LONGEST_WAIT`."""
        return self.until if self.asked - now <= LONGEST_WAIT else math.inf


class Cooldowns:
    """Which targets are parked, until when; safe under threads, bounded. Moments are monotonic seconds."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self.parked: dict[tuple[str, str], _Cooldown] = {}
        """All that were ever parked and are not forgotten since; empty as long as all goes well."""

    def park(self, target: Target, until: float, error: DispatchError, asked: float = -math.inf) -> None:
        """Leave the target alone until then, although it may have ``asked`` for longer; a parking that lasts longer stays."""
        with self._lock:
            known = self.parked.get(target.key)
            if known is not None and known.until >= until:
                return
            if known is None and len(self.parked) >= _MOST:
                del self.parked[min(self.parked, key=lambda key: self.parked[key].until)]
            self.parked[target.key] = _Cooldown(
                until,
                max(asked, until),
                type(error),
                error.message,
                error.status,
                error.code,
                error.remedy,
                error.retry_after is not None,
            )

    def held(self, target: Target, now: float) -> _Cooldown | None:
        """Return the cooldown of the target now; ``None`` where it may be asked."""
        parked = self.parked.get(target.key)
        return parked if parked is not None and parked.until > now else None

    def ready_at(self, target: Target, now: float) -> float:
        """The moment when the target may be asked again; minus infinity where it may be asked now."""
        parked = self.held(target, now)
        return parked.until if parked is not None else -math.inf

    def take(self, target: Target, now: float) -> _Cooldown | None:
        """Take leave to ask the target now: return its cooldown, or ``None`` where it may be asked; the call may be its probe."""
        with self._lock:
            parked = self.parked.get(target.key)
            if parked is None or parked.until > now:
                return parked
            if parked.asked > now:
                self.parked[target.key] = attrs.evolve(parked, until=now + PROBE_EVERY, probed=True)
            else:
                del self.parked[target.key]
        return None

    def answered(self, target: Target) -> None:
        """Record that the target answered: after a probe, all calls may ask it again."""
        with self._lock:
            parked = self.parked.get(target.key)
            if parked is not None and parked.probed:
                del self.parked[target.key]

    def refusal(self, target: Target, now: float) -> DispatchError | None:
        """Return the error of a call that needs a parked target: of the kind that parked it, without asking the vendor again."""
        parked = self.parked.get(target.key)
        if parked is None or parked.until <= now:
            return None
        left = parked.until - now
        is_longer = parked.hinted and parked.asked > parked.until
        asked = f", then one call tries it; the vendor asked for another {parked.asked - now:.1f} s" if is_longer else ""
        return parked.kind(
            f"{parked.message} (said to an earlier call; left alone for another {left:.1f} s{asked})",
            remedy=parked.remedy or f"come back then, or {ANOTHER_VENDOR}",
            vendor=target.vendor,
            model=target.model,
            status=parked.status,
            code=parked.code,
            retry_after=parked.asked - now if parked.hinted else left,
            sent=False,
        )


LONGEST_WAIT = 60.0
"""Seconds; a target that wants to be left alone for longer is not waited for, whatever the deadline."""


class BackoffStrategy(enum.Enum):
    """How the wait before coming back to the same target grows."""

    FIXED = "fixed"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"
    JITTER = "jitter"


def _strategy(value: BackoffStrategy | str) -> BackoffStrategy:
    if isinstance(value, BackoffStrategy):
        return value
    try:
        return BackoffStrategy(str(value).strip().lower())
    except ValueError:
        names = ", ".join(strategy.value for strategy in BackoffStrategy)
        raise ConfigError(f"backoff_strategy: {value!r} is not a strategy; use one of {names}") from None


def _texts(value: Texts) -> tuple[str, ...]:
    return tuple([text.lower() for text in string_tuple("retryable_errors", value)])


def _forbid_none(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None:
        raise ConfigError(f"{attribute.name}: None is not a number; leave it out for the default")


def _function(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not callable(value):
        raise ConfigError(f"{attribute.name}: {value!r} is not a function of seconds; give one, such as random jitter, or None")


def _ambiguous(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not (isinstance(value, bool) or value == "elsewhere"):
        raise ConfigError(f'{attribute.name}: {value!r} is not known; use True, False, or "elsewhere" for other targets only')


@suggest
@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often and how patiently a call comes back to a target that failed.

    ``max_retries`` counts returns to a target that this call has asked already; a first try at another target is a
    failover and costs none. Delays are seconds: FIXED waits ``initial_delay``, LINEAR ``initial_delay`` × n, EXPONENTIAL
    ``initial_delay`` × 2^(n-1), JITTER a random part of that; all at most ``max_delay``. ``jitter``, where given, makes the actual
    wait of the computed one, for every strategy. ``retryable_errors`` are texts: an error whose class, code or message
    contains one, in any case, is retried although its class says no.

    ``max_cooldown`` is the longest time that all calls leave a target alone because it asked for that (``Retry-After``), or
    because its quota is spent; then one call tries it, and another each second until one is answered. A try that is refused in the
    same way has it left alone again for as long.

    ``retry_ambiguous`` tells what follows when a request was sent and no answer was heard, so that it may be billed
    already: True asks again like after any failure, ``"elsewhere"`` asks other targets only, False asks nobody and ends the call.
    """

    max_retries: int = attrs.field(default=3, validator=[_forbid_none, non_negative_integer])
    backoff_strategy: BackoffStrategy = attrs.field(default=BackoffStrategy.EXPONENTIAL, converter=_strategy)
    initial_delay: float = attrs.field(default=1.0, validator=[_forbid_none, at_least(0)])
    max_delay: float = attrs.field(default=60.0, validator=[_forbid_none, at_least(0)])
    retryable_errors: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    jitter: Callable[[float], float] | None = attrs.field(default=None, validator=_function)
    max_cooldown: float = attrs.field(default=60.0, validator=[_forbid_none, at_least(0)])
    retry_ambiguous: bool | Literal["elsewhere"] = attrs.field(default=True, validator=_ambiguous)

    def wait(self, nth_failure: int) -> float:
        """Seconds between the first, second, … failure of one target and its next turn; a new draw each time with jitter."""
        grown = self._growth()
        delay = next(islice((step for step in grown if step is not None), nth_failure - 1, None))
        jitter = self.jitter
        if jitter is None and self.backoff_strategy is BackoffStrategy.JITTER:
            jitter = backoff.full_jitter
        return min(max(0.0, jitter(delay) if jitter is not None else delay), self.max_delay)

    def _growth(self) -> Iterator[float | None]:
        """Yield the delays of one target, by strategy; JITTER draws from the exponential ones.

        The generators of the package ``backoff`` begin with an empty yield, made for ``send()``.
        """
        if self.backoff_strategy is BackoffStrategy.LINEAR:
            return (min(self.initial_delay * nth, self.max_delay) for nth in count(1))
        if self.backoff_strategy is BackoffStrategy.FIXED or not self.initial_delay:
            return iter(backoff.constant(repeat(min(self.initial_delay, self.max_delay))))
        return iter(backoff.expo(factor=self.initial_delay, max_value=self.max_delay))

    def retryable(self, error: DispatchError) -> bool:
        """Whether the same target may be asked again after this error."""
        if self.retry_ambiguous is not True and error.failure_class is FailureClass.AMBIGUOUS:
            return False
        if error.retry_here:
            return True
        if not self.retryable_errors:
            return False
        said = f"{type(error).__name__} {error.code or ''} {error.message}".lower()
        return any(text in said for text in self.retryable_errors)

    def movable(self, error: DispatchError, *, transient_only: bool = False, on: frozenset[str] = frozenset()) -> bool:
        """Whether another target may be asked after this error.

        In a pool only after an error that passes, or one that ``on`` names by a word of :data:`LASTING`.
        """
        if transient_only and isinstance(error, (ModelNotFound, *LASTING.values())):
            return any(isinstance(error, LASTING[word]) for word in on)
        return error.try_elsewhere and (self.retry_ambiguous is not False or error.failure_class is not FailureClass.AMBIGUOUS)


LASTING: Mapping[str, type[DispatchError]] = {
    "auth": AuthenticationError,
    "quota": QuotaExceeded,
    "context": ContextWindowExceeded,
    "policy": ContentFiltered,
}
"""Failures that last, by the words of ``GOES_ON``. In a pool they are told at once, unless it says that it goes on after them: its
second choice must not hide for weeks that the first is set up wrongly."""


class _Place:
    """The state of a target that failed, is parked, or is crowded."""

    __slots__ = ("crowded", "failures", "rank", "ready_at", "target")

    def __init__(self, rank: int, target: Target, ready_at: float) -> None:
        self.rank = rank
        self.target = target
        self.ready_at = ready_at
        self.failures = 0
        self.crowded = False


class NextAttempt(NamedTuple):
    """Ask ``target``, not before ``ready_at`` (monotonic seconds; minus infinity for at once).

    ``retry`` is a return to a target that failed in this call, ``forced`` a turn of one that was put off, since no other is left.
    ``crowd`` are targets with too many calls in flight: whichever has a place earlier is asked instead.
    """

    target: Target
    ready_at: float
    retry: bool = False
    forced: bool = False
    crowd: tuple[Target, ...] = ()


class RetrySchedule:
    """Which target is asked next, for one call in one thread. It has no clock; each method gets the time.

    Only targets that failed or are parked have a place; a call whose first target answers never makes one.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        policy: RetryPolicy,
        cooldowns: Cooldowns,
        now: float,
        *,
        transient_only: bool = False,
        on: frozenset[str] = frozenset(),
    ) -> None:
        self._policy = policy
        self._transient_only = transient_only
        self._on = on
        self._cooldowns = cooldowns
        self._retries_left = policy.max_retries
        self._places: list[_Place] = []
        self._asking: tuple[int, _Place | None] = (0, None)
        self._put_off: list[tuple[int, Target]] = []
        self._limited: tuple[Target, float, str] | None = None
        self._dropped: DispatchError | None = None
        self._anybody_failed = self._resorting = self._stays = False
        self._overflowed = 0
        self._fresh: list[tuple[int, Target]] = list(enumerate(targets))
        if cooldowns.parked:
            self._set_parked_aside(now)

    def _set_parked_aside(self, now: float) -> None:
        fresh, self._fresh = self._fresh, []
        for rank, target in fresh:
            parked = self._cooldowns.held(target, now)
            if parked is None:
                self._fresh.append((rank, target))
            else:
                self._places.append(_Place(rank, target, parked.worth(now)))

    @property
    def is_through(self) -> bool:
        """Whether each target was asked or waits, and the last failure lets another target be asked."""
        return not self._fresh and not self._stays

    def add(self, targets: Sequence[Target]) -> None:
        """Have further targets asked next."""
        rank = 1 + max([rank for rank, _target in self._put_off] + [place.rank for place in self._places] + [self._asking[0]])
        self._fresh += [(rank + index, target) for index, target in enumerate(targets) if self._is_larger(target)]

    def next(self, deadline_at: float) -> NextAttempt | None:
        """Return the next attempt; ``None`` when no target is left that is ready before the deadline."""
        if self._fresh:
            rank, target = self._fresh.pop(0)
            self._asking = (rank, None)
            return NextAttempt(target, -math.inf)
        ready = [place for place in self._places if not place.failures or self._retries_left > 0]
        place = min(ready, key=lambda place: (place.ready_at, place.rank), default=None)
        crowd = tuple([place.target for place in ready if place.crowded])
        if place is None or place.ready_at >= deadline_at:
            return NextAttempt(crowd[0], math.inf, crowd=crowd) if crowd else self._last_resort()
        return self._turn(place, crowd)

    def unasked(self, deadline_at: float) -> list[Target]:
        """Return the targets that were not asked yet and are ready before the deadline, without the one that is asked now."""
        fresh = [target for _rank, target in self._fresh]
        if not self._places:
            return fresh
        asking = self._asking[1]
        waiting = [place for place in self._places if place is not asking and not place.failures and place.ready_at < deadline_at]
        return fresh + [place.target for place in waiting]

    def _turn(self, place: _Place, crowd: tuple[Target, ...] = ()) -> NextAttempt:
        place.crowded = False
        if place.failures:
            self._retries_left -= 1
        self._asking = (place.rank, place)
        return NextAttempt(place.target, place.ready_at, retry=bool(place.failures), crowd=crowd)

    def instead(self, turn: NextAttempt, target: Target) -> NextAttempt:
        """Return the attempt at a crowded target that has got a place now, and take ``turn`` back."""
        if turn.retry:
            self._retries_left += 1
        return self._turn(next(place for place in self._places if place.crowded and place.target is target))

    def _last_resort(self) -> NextAttempt | None:
        """Return a target that was put off, if no target was asked yet: a bad chance is better than none."""
        if self._anybody_failed or not self._put_off:
            return None
        self._resorting = True
        rank, target = self._put_off.pop(0)
        self._asking = (rank, None)
        return NextAttempt(target, -math.inf, forced=True)

    def put_off(self, target: Target) -> None:
        """Take back the turn of ``target``: it is asked only if no other target is left, and once at most."""
        rank, place = self._asking
        if place is not None and place in self._places:
            self._places.remove(place)
        if (place is None or not place.failures) and not self._resorting:
            self._put_off.append((rank, target))

    def drop(self, why: DispatchError | None = None) -> None:
        """Take back the last turn for good. ``why`` is the error of the call if no target is asked at all."""
        self._dropped = self._dropped or why
        place = self._asking[1]
        if place is not None and place in self._places:
            self._places.remove(place)

    def set_aside(self, target: Target, now: float) -> bool:
        """Put off the turn of ``target``, uncounted, if it was parked meanwhile; return whether it was."""
        parked = self._cooldowns.take(target, now)
        if parked is not None:
            self._postpone(target, parked.worth(now), now)
        return parked is not None

    def limited(self, target: Target, until: float, now: float, why: str = "") -> None:
        """Put off the turn of ``target``, uncounted, until its rate limit has a place; infinite: until a call in flight ends."""
        if until < math.inf:
            held = (target, until, why)
            self._limited = held if self._limited is None else min(self._limited, held, key=lambda held: held[1])
        self._postpone(target, until, now).crowded = until == math.inf

    def _postpone(self, target: Target, until: float, now: float) -> _Place:
        rank, place = self._asking
        if place is None:
            place = _Place(rank, target, until)
            self._places.append(place)
        elif place.failures:
            self._retries_left += 1
        place.ready_at = until if until - now <= LONGEST_WAIT else math.inf
        return place

    def failed(self, target: Target, error: DispatchError, now: float) -> None:
        """Record that ``target``, asked last, failed: decide which targets may be asked again, and when."""
        self._anybody_failed = True
        rest = rest_of(error)
        if rest > 0 and error.sent is not False:  # what never reached the vendor is no word of it
            self._cooldowns.park(target, now + min(rest, self._policy.max_cooldown), error, now + rest)
        rank, place = self._asking
        again = self._policy.retryable(error)
        if not self._policy.movable(error, transient_only=self._transient_only, on=self._on):
            self._stays = True
            self._fresh, self._places = [], [place] if place is not None else []
        elif self._transient_only and isinstance(error, ContextWindowExceeded):
            self._keep_larger(target.context_window)
        if again:
            if place is None:
                place = _Place(rank, target, now)
                self._places.append(place)
            place.failures += 1
            place.ready_at = now + max(self._policy.wait(place.failures), rest) if rest <= LONGEST_WAIT else math.inf
        elif place is not None:
            self._places.remove(place)

    def _keep_larger(self, window: int) -> None:
        """After an overflow leave out the targets whose window is known to be no larger."""
        own, self._overflowed = self._asking[1], max(self._overflowed, window)
        self._fresh = [(rank, target) for rank, target in self._fresh if self._is_larger(target)]
        self._places = [place for place in self._places if place is own or self._is_larger(place.target)]

    def _is_larger(self, target: Target) -> bool:
        return not 0 < target.context_window <= self._overflowed

    def blocked(self, now: float) -> DispatchError | None:
        """Return the error of a call in which no target could be asked: of the wait that ends first; ``None`` without waits."""
        if self._dropped is not None:
            return self._dropped
        if self._limited is not None:
            target, until, why = self._limited
            limit = f"its rate limit of {why}" if why else "its rate limit"
            return RateLimitError(
                f"{limit} has no place for another {until - now:.1f} s",
                remedy=f"come back then, or {ANOTHER_VENDOR}",
                vendor=target.vendor,
                model=target.model,
                retry_after=until - now,
                sent=False,
            )
        parked = [place.target for place in self._places if self._cooldowns.ready_at(place.target, now) > now]
        if not parked:
            return None
        first = min(parked, key=lambda target: self._cooldowns.ready_at(target, now))
        return self._cooldowns.refusal(first, now)


_SLICE = 0.05
_SPACE = 0.002
"""Seconds between two that wake: about what a call needs of the interpreter until it waits again."""


class Wakes:
    """Calls that wait for a moment. Those that wait for the same one wake one after the other, the first in time.

    A target that was parked, or a limit that has a place again, sets free all that wait for it. If all woke at once, each would be
    as late as the others need together, and the vendor would see them at once, too.
    """

    def __init__(self) -> None:
        self._lock = new_lock()
        self._waiting: dict[int, tuple[int, int]] = {}
        """By slice of time: how many wait, and the number of the next."""

    @contextmanager
    def turn(self, until: float) -> Iterator[float]:
        """The seconds to wait longer than until that moment, while others wait for it too."""
        moment = int(until / _SLICE)
        with self._lock:
            count, number = self._waiting.get(moment, (0, 0))
            self._waiting[moment] = count + 1, number + 1
        try:
            yield number * _SPACE
        finally:
            with self._lock:
                count, number = self._waiting[moment]
                if count > 1:
                    self._waiting[moment] = count - 1, number
                else:
                    del self._waiting[moment]

    def sleep(self, deadline: Deadline, until: float) -> None:
        """Wait until that moment, or a little longer, within the deadline."""
        with self.turn(until) as later:
            until += min(later, max(0.0, deadline.at - until) / 2)
            deadline.sleep(max(0.0, until - deadline.clock.monotonic()))  # the moment may have come meanwhile


_BUDGET_SLICES = 10


@suggest
@attrs.frozen(kw_only=True)
class RetryBudget:
    """Retries of one target in any ``window`` seconds: ``ratio`` of its calls, and ``per_second`` besides."""

    enabled: bool = attrs.field(default=True, validator=boolean)
    ratio: float = attrs.field(default=0.2, validator=at_least(0))
    per_second: float = attrs.field(default=1.0, validator=at_least(0))
    window: float = attrs.field(default=10.0, validator=at_least(0.001))


class _RetryCounts:
    """Calls and retries of one target, by slice of the window."""

    __slots__ = ("calls", "number", "retries")

    def __init__(self) -> None:
        self.number = 0
        self.calls = [0] * _BUDGET_SLICES
        self.retries = [0] * _BUDGET_SLICES

    def turn(self, number: int) -> int:
        """Forget what is older than the window; return the index of the present slice."""
        for passed in range(self.number + 1, min(number, self.number + _BUDGET_SLICES) + 1):
            self.calls[passed % _BUDGET_SLICES] = self.retries[passed % _BUDGET_SLICES] = 0
        self.number = max(self.number, number)
        return self.number % _BUDGET_SLICES


class Budgets:
    """The retry budget of each target; safe under threads, bounded."""

    def __init__(self, policy: RetryBudget) -> None:
        self._policy = policy
        self._lock = new_lock()
        self._counts: dict[tuple[str, ...], _RetryCounts] = {}

    def called(self, target: Target, now: float) -> None:
        """Count a first try."""
        if self._policy.enabled:
            with self._lock:
                counts = self._counts.get(target.key) or self._add_counts(target.key)
                number = int(now / self._policy.window * _BUDGET_SLICES)
                counts.calls[counts.turn(number) if number > counts.number else counts.number % _BUDGET_SLICES] += 1

    def spend(self, target: Target, now: float) -> bool:
        """Take one retry out of the budget; False, and nothing taken, where none is left."""
        policy = self._policy
        if not policy.enabled:
            return True
        with self._lock:
            counts = self._counts.get(target.key) or self._add_counts(target.key)
            place = counts.turn(int(now / policy.window * _BUDGET_SLICES))
            if sum(counts.retries) + 1 > policy.ratio * sum(counts.calls) + policy.per_second * policy.window:
                return False
            counts.retries[place] += 1
            return True

    def _add_counts(self, key: tuple[str, ...]) -> _RetryCounts:
        if len(self._counts) >= _MOST:
            del self._counts[next(iter(self._counts))]
        counts = self._counts[key] = _RetryCounts()
        return counts
