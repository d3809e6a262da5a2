"""``RateLimit`` and ``RateLimitStatus`` as values, the window of one minute, and counts in longer periods.

The window holds the calls of the last minute of one vendor or model, and what the vendor itself reports as left. All that is
limited beside requests and tokens in a minute is counted in grains, a part of its period: what was used in a grain counts until all
of it has left the period, so that a limit is never exceeded. With several keys, a status combines those
of all keys.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import attrs

from ..errors import ConfigError
from ..types import (
    ServerAddress,
    boolean,
    build,
    optional_fraction,
    redis_client,
    redis_prefix,
    secret_address,
    sliding_length,
    sliding_text,
    suggest,
)
from .concurrency import AdaptiveConcurrency, some

if TYPE_CHECKING:
    from redis import Redis, RedisCluster

PATIENCE = 0.1
"""Seconds that a storage may hold up a call at each question."""


def shared_address(value: str | Redis | RedisCluster | None) -> Any:
    """A setting that names Redis servers, as it is kept; an application's client stays as it is."""
    return secret_address(value) if isinstance(value, str) else value


def server(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """The address of Redis servers, a client of theirs, or ``None``; a wrong address is not shown: it may hold a password."""
    if isinstance(value, str):
        ServerAddress.redis(value, attribute.name)
    else:
        redis_client(_instance, attribute, value)


def prefix(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """The beginning of keys, or ``None``."""
    if value is not None:
        redis_prefix(_instance, attribute, value)


def _adaptive(value: AdaptiveConcurrency | Mapping[str, Any] | bool | None) -> AdaptiveConcurrency | None:
    if value is None or value is False:
        return None
    return build(AdaptiveConcurrency, {} if value is True else value, "adaptive")


UNITS = ("requests", "tokens", "input_tokens", "output_tokens")
"""What is counted; ``tokens`` are input and output together."""
MINUTE, DAY = 60.0, 86_400.0
"""Seconds."""


class LimitRule(NamedTuple):
    """At most so much of a unit in any period of so many seconds."""

    unit: str
    most: int
    seconds: float

    @property
    def period(self) -> str:
        """The period as a text."""
        minutes = int(self.seconds / MINUTE)
        return (
            "minute"
            if minutes == 1
            else f"{minutes}m"
            if minutes % 60
            else f"{minutes // 60}h"
            if minutes < 2880 or minutes % 1440
            else f"{minutes // 1440}d"
        )

    def __str__(self) -> str:
        return f"{self.most:,} {self.unit.replace('_', ' ')} in {'a' if self.period == 'minute' else 'any'} {self.period}"

    def amount(self, tokens: int, output: int) -> int:
        """What a call of so many tokens, ``output`` of them output, counts."""
        match self.unit:
            case "requests":
                return 1
            case "tokens":
                return tokens
            case "input_tokens":
                return tokens - output
        return output


def _window_period(value: str | timedelta) -> str:
    text = sliding_text("period", value)
    if text is None:
        raise ConfigError(f"period: {value!r} is not a period; give minutes, hours, days or weeks, such as '24h' or '30d'")
    return text


@suggest
@attrs.frozen(kw_only=True)
class RateWindow:
    """At most so many requests and tokens in any ``period``, such as "1h", "24h" or "30d"; ``None`` is no limit."""

    period: str = attrs.field(converter=_window_period)
    requests: int | None = attrs.field(default=None, validator=some)
    tokens: int | None = attrs.field(default=None, validator=some)
    input_tokens: int | None = attrs.field(default=None, validator=some)
    output_tokens: int | None = attrs.field(default=None, validator=some)

    def __attrs_post_init__(self) -> None:
        if all(getattr(self, unit) is None for unit in UNITS):
            raise ConfigError(f"period: {self.period!r} has no limit; give one of {', '.join(UNITS)} with it")


def _windows(value: Sequence[RateWindow | Mapping[str, Any]] | None) -> tuple[RateWindow, ...]:
    if value is None:
        return ()
    if isinstance(value, str | Mapping | RateWindow) or not isinstance(value, Sequence):
        raise ConfigError(
            f"windows: {type(value).__name__} is not a list of windows; give [RateWindow(period='30d', requests=...)]"
        )
    return tuple([build(RateWindow, one, f"windows[{number}]") for number, one in enumerate(value)])


@suggest
@attrs.frozen(kw_only=True)
class RateLimit:
    """At most so many requests and tokens in any minute or 24 hours, and calls in flight; ``None`` is no limit.

    ``tokens`` are input and output together; ``input_tokens`` and ``output_tokens`` are limited apart. ``windows`` are other
    periods (:class:`RateWindow`). When ``warn_at`` of a limit, a fraction such as 0.8, is used, observers and the log are told,
    once in each period.

    ``adaptive`` (True, or an :class:`AdaptiveConcurrency`) finds out how many calls in flight the vendor takes; ``max_in_flight``
    is then the most. ``per_model`` counts each model for itself, as most vendors do; else the vendor's models share one count.
    ``per_key`` counts each of several keys for itself, and takes the next when one is used up; all numbers are of one key.
    ``storage``, the address of Redis servers (also ``redis+cluster://…``, ``redis+sentinel://…``) or an application's client of
    redis-py, shares requests and tokens with other processes; needs the extra ``limits``. ``prefix`` stands before its keys there;
    ``None`` takes that of the dispatcher's ``limits_prefix``.
    """

    requests_per_minute: int | None = attrs.field(default=None, validator=some)
    tokens_per_minute: int | None = attrs.field(default=None, validator=some)
    per_model: bool = attrs.field(default=False, validator=boolean)
    max_in_flight: int | None = attrs.field(default=None, validator=some)
    adaptive: AdaptiveConcurrency | None = attrs.field(default=None, converter=_adaptive)
    storage: str | Redis | RedisCluster | None = attrs.field(default=None, repr=False, converter=shared_address, validator=server)
    per_key: bool = attrs.field(default=False, validator=boolean)
    input_tokens_per_minute: int | None = attrs.field(default=None, validator=some)
    output_tokens_per_minute: int | None = attrs.field(default=None, validator=some)
    requests_per_day: int | None = attrs.field(default=None, validator=some)
    tokens_per_day: int | None = attrs.field(default=None, validator=some)
    input_tokens_per_day: int | None = attrs.field(default=None, validator=some)
    output_tokens_per_day: int | None = attrs.field(default=None, validator=some)
    windows: tuple[RateWindow, ...] = attrs.field(default=(), converter=_windows)
    warn_at: float | None = attrs.field(default=None, validator=optional_fraction)
    prefix: str | None = attrs.field(default=None, validator=prefix)

    @property
    def minute_rules(self) -> tuple[LimitRule, ...]:
        """The limits that :class:`Window` counts."""
        found = (("requests", self.requests_per_minute), ("tokens", self.tokens_per_minute))
        return tuple([LimitRule(unit, most, MINUTE) for unit, most in found if most is not None])

    @property
    def other_rules(self) -> tuple[LimitRule, ...]:
        """All other limits, each period of a unit once: the smallest."""
        found = [(unit, getattr(self, f"{unit}_per_minute"), MINUTE) for unit in UNITS[2:]]
        found += [(unit, getattr(self, f"{unit}_per_day"), DAY) for unit in UNITS]
        for window in self.windows:
            length = sliding_length(window.period)
            assert length is not None, "its converter has checked it"
            found += [(unit, getattr(window, unit), length.total_seconds()) for unit in UNITS]
        rules: dict[tuple[str, float], LimitRule] = {}
        for unit, most, seconds in found:
            if most is not None and most < rules.get((unit, seconds), LimitRule(unit, most + 1, seconds)).most:
                rules[unit, seconds] = LimitRule(unit, most, seconds)
        return tuple(rules.values())


@attrs.frozen(kw_only=True)
class RateWindowStatus:
    """How much of a limit in one period is left; ``reset`` is seconds until the oldest amount is forgotten, 0 without any."""

    unit: str
    period: str
    limit: int
    remaining: int
    reset: float = 0.0


@attrs.frozen(kw_only=True)
class RateLimitStatus:
    """How much of a limit is left now; ``None`` means no limit. ``reset`` is seconds until the oldest count is forgotten.

    ``in_flight`` calls are under way, of ``in_flight_limit`` (as it is now, where it adapts itself), and ``waiting`` ones wait for
    them. ``shared`` is ``None`` without a storage, False while it fails and our own count goes on alone. Where each of several
    keys counts for itself, ``keys`` has their states in the order in which the keys were given, and the rest is of all together.
    ``windows`` has the limits of other periods than a minute, and those of input and output apart.
    """

    requests_limit: int | None
    requests_remaining: int | None
    tokens_limit: int | None
    tokens_remaining: int | None
    reset: float
    in_flight_limit: int | None = None
    in_flight: int | None = None
    waiting: int = 0
    shared: bool | None = None
    keys: tuple[RateLimitStatus, ...] = ()
    windows: tuple[RateWindowStatus, ...] = ()

    @classmethod
    def combine(cls, keys: Sequence[RateLimitStatus]) -> RateLimitStatus:
        """The sum of several keys; a call that waits for several of them is one."""
        return cls(
            **{name: _sum([getattr(key, name) for key in keys]) for name in _SUMMED},
            reset=min([key.reset for key in keys if key.reset > 0], default=0.0),
            waiting=max([key.waiting for key in keys]),
            shared=None if keys[0].shared is None else all(key.shared for key in keys),
            keys=tuple(keys),
            windows=tuple([_combine_windows(several) for several in zip(*[key.windows for key in keys], strict=True)]),
        )


def _combine_windows(several: Sequence[RateWindowStatus]) -> RateWindowStatus:
    return attrs.evolve(
        several[0],
        limit=sum([one.limit for one in several]),
        remaining=sum([one.remaining for one in several]),
        reset=min([one.reset for one in several if one.reset > 0], default=0.0),
    )


_SUMMED = ("requests_limit", "requests_remaining", "tokens_limit", "tokens_remaining", "in_flight_limit", "in_flight")


def _sum(amounts: Sequence[int | None]) -> int | None:
    """Return the sum, or ``None``, which is no limit, if one amount is ``None``."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


class Keys(Protocol):
    """A vendor with several keys, which are known by their numbers alone, counted from 1."""

    @property
    def key_count(self) -> int:
        """The number of keys."""

    def awake_keys(self) -> Sequence[int]:
        """Return the numbers of the keys that may be used now, the best first; at least one."""


WINDOW = MINUTE
"""Seconds."""


class WindowEntry:
    """One call in the window, which it leaves when it is ``past``."""

    __slots__ = ("at", "past", "tokens")

    def __init__(self, at: float, tokens: int) -> None:
        self.at = at
        self.tokens = tokens
        self.past = False


class Window:
    """The calls, oldest first; ``None`` is no limit. Not safe under threads: its user holds the lock."""

    def __init__(self, requests: int | None, tokens: int | None) -> None:
        self.most_requests = requests
        self.most_tokens = tokens
        self.entries: deque[WindowEntry] = deque()
        self.tokens = 0
        self.remaining: dict[str, tuple[int, float]] = {}

    def forget(self, now: float) -> None:
        """Drop what is older than the window."""
        self.forget_until(now - WINDOW)
        if self.remaining:
            self.remaining = {name: (left, until) for name, (left, until) in self.remaining.items() if until > now}

    def forget_until(self, moment: float) -> bool:
        """Drop the calls up to a moment; tell whether there were any."""
        before = len(self.entries)
        while self.entries and self.entries[0].at <= moment:
            entry = self.entries.popleft()
            entry.past = True
            self.tokens -= entry.tokens
        return len(self.entries) < before

    def ready_at(self, tokens: int) -> float:
        """Return the moment when a call of so many tokens fits; minus infinity, or a past moment, if it fits now."""
        ready = -math.inf
        most = self.most_requests
        if most is not None and len(self.entries) >= most:
            ready = self.entries[len(self.entries) - most].at + WINDOW
        if self.most_tokens is not None and self.tokens + tokens > self.most_tokens:
            ready = max(ready, self._tokens_ready_at(tokens, self.most_tokens))
        for name, (left, until) in self.remaining.items():
            if left < (1 if name == "requests" else tokens):
                ready = max(ready, until)
        return ready

    def _tokens_ready_at(self, tokens: int, most: int) -> float:
        over, ready = self.tokens + tokens - most, -math.inf
        for entry in self.entries:  # a call that is larger than the limit goes when it is alone
            if over <= 0:
                break
            over, ready = over - entry.tokens, entry.at + WINDOW
        return ready

    def take(self, tokens: int, now: float) -> WindowEntry:
        """Count a call."""
        entry = WindowEntry(now, tokens)
        self.entries.append(entry)
        self.tokens += tokens
        for name, amount in (("requests", 1), ("tokens", tokens)):
            if name in self.remaining:
                left, until = self.remaining[name]
                self.remaining[name] = (max(0, left - amount), until)
        return entry

    def correct(self, entry: WindowEntry, used: int) -> None:
        """Replace the estimate of a call by what it really used."""
        if not entry.past:  # never look for it: there may be a hundred thousand
            self.tokens += used - entry.tokens
            entry.tokens = used

    def drop(self, entry: WindowEntry) -> None:
        """Remove a call that was not made; it is among the latest, so the search begins there."""
        for place in range(len(self.entries) - 1, -1, -1) if not entry.past else ():
            if self.entries[place] is entry:
                del self.entries[place]
                entry.past = True
                self.tokens -= entry.tokens
                return

    def used(self, unit: str) -> int:
        """Requests, or tokens, in the last minute."""
        return len(self.entries) if unit == "requests" else self.tokens

    def clear(self) -> None:
        """Forget all calls, and what the vendor says."""
        for entry in self.entries:
            entry.past = True
        self.entries.clear()
        self.tokens = 0
        self.remaining = {}

    def left(self) -> tuple[int | None, int | None]:
        """Requests and tokens that are left; ``None`` is no limit."""
        return (
            _rest(self.most_requests, len(self.entries), self.remaining.get("requests")),
            _rest(self.most_tokens, self.tokens, self.remaining.get("tokens")),
        )

    def reset(self, now: float) -> float:
        """Seconds until the oldest call is forgotten."""
        return self.entries[0].at + WINDOW - now if self.entries else 0.0


def _rest(limit: int | None, used: int, remaining: tuple[int, float] | None) -> int | None:
    amounts = [max(0, limit - used)] if limit is not None else []
    amounts += [remaining[0]] if remaining is not None else []
    return min(amounts, default=None)


Grain = tuple[int, int]
"""How often its count had been cleared, and its number."""
GRAINS = 240
"""Parts of a period in which amounts are counted together."""


class SlidingCount:
    """What was used of one limit, by grains; not safe under threads. A grain is known by its number since time began.

    All that was used in a grain counts as if it were used when its last was.
    """

    __slots__ = ("_clears", "_grain", "_used", "rule", "total")

    def __init__(self, rule: LimitRule) -> None:
        self.rule = rule
        self.total = 0
        self._clears = 0
        self._grain = rule.seconds / GRAINS
        self._used: dict[int, tuple[int, float]] = {}

    def ready_at(self, amount: int, now: float) -> float:
        """Return the moment when so much fits; minus infinity if it fits now. More than the limit fits when nothing else counts."""
        self._forget(now)
        over, ready = self.total + min(amount, self.rule.most) - self.rule.most, -math.inf
        for used, last in self._used.values():
            if over <= 0:
                break
            over, ready = over - used, last + self.rule.seconds
        return ready

    def take(self, amount: int, now: float) -> Grain:
        """Count an amount; return its grain."""
        number = int(now // self._grain)
        used, last = self._used.get(number, (0, now))
        self._used[number] = used + amount, max(last, now)
        self.total += amount
        return self._clears, number

    def correct(self, grain: Grain, more: int) -> None:
        """Count more, or less, in a grain that has not left the period, and was not cleared."""
        clears, number = grain
        if clears == self._clears and number in self._used:
            used, last = self._used[number]
            self._used[number] = used + more, last
            self.total += more

    def clear(self) -> None:
        """Forget all."""
        self._clears += 1
        self._used.clear()
        self.total = 0

    def status(self, now: float) -> RateWindowStatus:
        """Return what is left."""
        self._forget(now)
        rule, ends = self.rule, [last + self.rule.seconds - now for used, last in self._used.values() if used > 0]
        left = max(0, rule.most - self.total)
        return RateWindowStatus(unit=rule.unit, period=rule.period, limit=rule.most, remaining=left, reset=min(ends, default=0.0))

    def forget_until(self, moment: float) -> bool:
        """Drop the grains whose last amount was used up to a moment; tell whether there were any."""
        before = len(self._used)
        while self._used:
            number = next(iter(self._used))
            used, last = self._used[number]
            if last > moment:
                break
            del self._used[number]
            self.total -= used
        return len(self._used) < before

    def _forget(self, now: float) -> None:
        self.forget_until(now - self.rule.seconds)
