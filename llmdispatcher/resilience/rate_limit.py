"""``RateLimit`` and ``RateLimitStatus`` as values, and the window of one minute.

The window holds the calls of the last minute of one vendor or model, and what the vendor itself reports as left. With several keys,
a status combines those of all keys.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from ..types import ServerAddress, boolean, build, redis_client, redis_prefix, secret_address, suggest
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


@suggest
@attrs.frozen(kw_only=True)
class RateLimit:
    """At most so many requests and tokens (input and output) in any minute, and calls in flight; ``None`` is no limit.

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
    prefix: str | None = attrs.field(default=None, validator=prefix)


@attrs.frozen(kw_only=True)
class RateLimitStatus:
    """How much of a limit is left now; ``None`` means no limit. ``reset`` is seconds until the oldest count is forgotten.

    ``in_flight`` calls are under way, of ``in_flight_limit`` (as it is now, where it adapts itself), and ``waiting`` ones wait for
    them. ``shared`` is ``None`` without a storage, False while it fails and our own count goes on alone. Where each of several
    keys counts for itself, ``keys`` has their states in the order in which the keys were given, and the rest is of all together.
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

    @classmethod
    def combine(cls, keys: Sequence[RateLimitStatus]) -> RateLimitStatus:
        """The sum of several keys; a call that waits for several of them is one."""
        return cls(
            **{name: _sum([getattr(key, name) for key in keys]) for name in _SUMMED},
            reset=min([key.reset for key in keys if key.reset > 0], default=0.0),
            waiting=max([key.waiting for key in keys]),
            shared=None if keys[0].shared is None else all(key.shared for key in keys),
            keys=tuple(keys),
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


WINDOW = 60.0
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
        while self.entries and self.entries[0].at <= now - WINDOW:
            entry = self.entries.popleft()
            entry.past = True
            self.tokens -= entry.tokens
        if self.remaining:
            self.remaining = {name: (left, until) for name, (left, until) in self.remaining.items() if until > now}

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
