"""Rate limits: what a vendor may be asked in any minute, by our own count, corrected by what the vendor says is left.

A call takes its place before it is sent: one request, and the tokens that it is estimated to cost. A target without a place left is
ready when enough of the last minute has passed, so that a call goes elsewhere or waits, whichever comes first. When the answer is
there, the estimate becomes what was really used. Moments are monotonic seconds and handed in.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import attrs

from ..errors import ConfigError
from ..locks import new_lock
from ..types import Headroom
from . import checks
from .target import Target

WINDOW = 60.0
_MOST = 10_000


def _some(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    checks.whole(_instance, attribute, value)
    if value == 0:
        raise ConfigError(f"{attribute.name}: 0 would let nothing through; give 1 or more, or None for no limit")


@attrs.frozen(kw_only=True)
class RateLimit:
    """At most so many requests and tokens (input and output) in any minute; ``None`` is no limit.

    ``per_model`` counts each model for itself, as most vendors do; else the vendor's models share one count.
    """

    requests_per_minute: int | None = attrs.field(default=None, validator=_some)
    tokens_per_minute: int | None = attrs.field(default=None, validator=_some)
    per_model: bool = attrs.field(default=False, validator=checks.flag)


@attrs.frozen(kw_only=True)
class RateLimitStatus:
    """How much of a limit is left now; ``None`` means no limit. ``reset`` is seconds until the oldest count is forgotten."""

    requests_limit: int | None
    requests_remaining: int | None
    tokens_limit: int | None
    tokens_remaining: int | None
    reset: float


class _Entry:
    """One call in the window."""

    __slots__ = ("at", "tokens")

    def __init__(self, at: float, tokens: int) -> None:
        self.at = at
        self.tokens = tokens


class _Window:
    """The calls of the last minute of one key, oldest first, and what the vendor told."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self.entries: deque[_Entry] = deque()
        self.tokens = 0
        self.told: dict[str, tuple[int, float]] = {}

    def forget(self, now: float) -> None:
        """Drop what is older than the window."""
        while self.entries and self.entries[0].at <= now - WINDOW:
            self.tokens -= self.entries.popleft().tokens
        self.told = {name: (left, until) for name, (left, until) in self.told.items() if until > now}

    def ready_at(self, tokens: int, now: float) -> float:
        """When a call of so many tokens fits; ``now`` or earlier where it does already."""
        ready = -math.inf
        most = self.limit.requests_per_minute
        if most is not None and len(self.entries) >= most:
            ready = self.entries[len(self.entries) - most].at + WINDOW
        if self.limit.tokens_per_minute is not None:
            ready = max(ready, self._tokens_ready_at(tokens, self.limit.tokens_per_minute))
        waits = [until for name, (left, until) in self.told.items() if left < (1 if name == "requests" else tokens)]
        return max([ready, *waits])

    def _tokens_ready_at(self, tokens: int, most: int) -> float:
        over, ready = self.tokens + tokens - most, -math.inf
        for entry in self.entries:  # a call that is larger than the limit goes when it is alone
            if over <= 0:
                break
            over, ready = over - entry.tokens, entry.at + WINDOW
        return ready

    def take(self, tokens: int, now: float) -> _Entry:
        """Note a call."""
        entry = _Entry(now, tokens)
        self.entries.append(entry)
        self.tokens += tokens
        for name, amount in (("requests", 1), ("tokens", tokens)):
            if name in self.told:
                left, until = self.told[name]
                self.told[name] = (max(0, left - amount), until)
        return entry


@attrs.frozen
class Place:
    """A place taken for one call; given back with what the call really used."""

    window: _Window = attrs.field(repr=False)
    entry: _Entry = attrs.field(repr=False)


class Limits:
    """The counts of all vendors that have a limit or told of one; safe under threads, bounded."""

    def __init__(self) -> None:
        self._limits: dict[str, RateLimit] = {}
        self._lock = new_lock()
        self._windows: dict[tuple[str, ...], _Window] = {}
        self.in_use = False
        """Whether there is any limit at all: without one a call need not ask."""

    def set(self, vendor: str, limit: RateLimit) -> None:
        """Limit what a vendor is asked."""
        self._limits[vendor] = limit
        self.in_use = True

    def take(self, target: Target, tokens: int, now: float) -> Place | float | None:
        """A place for a call now, the moment when there may be one, or ``None`` where no limit is known."""
        key, limit = self._key(target)
        if limit is None and key not in self._windows:
            return None
        with self._lock:
            window = self._window(key, limit)
            window.forget(now)
            ready = window.ready_at(tokens, now)
            return ready if ready > now else Place(window, window.take(tokens, now))

    def settle(self, place: Place, used: int | None) -> None:
        """Put what a call really used in the place of its estimate; ``None`` keeps the estimate."""
        with self._lock:
            if used is not None and place.entry in place.window.entries:
                place.window.tokens += used - place.entry.tokens
                place.entry.tokens = used

    def give_back(self, place: Place) -> None:
        """The call was not made after all."""
        with self._lock:
            if place.entry in place.window.entries:
                place.window.entries.remove(place.entry)
                place.window.tokens -= place.entry.tokens

    def told(self, target: Target, headroom: Headroom, now: float) -> None:
        """Take in what the vendor says is left; only a small rest is worth remembering."""
        said = {
            "requests": (headroom.requests, headroom.requests_reset),
            "tokens": (headroom.tokens, headroom.tokens_reset),
        }
        known = {
            name: (left, now + min(reset, WINDOW))
            for name, (left, reset) in said.items()
            if left is not None and reset is not None and left >= 0 and reset > 0
        }
        if not known:
            return
        key, limit = self._key(target)
        with self._lock:
            self._window(key, limit).told.update(known)
            self.in_use = True

    def status(self, target: Target, now: float) -> RateLimitStatus:
        """What is left for a target."""
        key, limit = self._key(target)
        with self._lock:
            window = self._windows.get(key) or _Window(limit or RateLimit())
            window.forget(now)
            most, tokens = window.limit.requests_per_minute, window.limit.tokens_per_minute
            return RateLimitStatus(
                requests_limit=most,
                requests_remaining=_left(most, len(window.entries), window.told.get("requests")),
                tokens_limit=tokens,
                tokens_remaining=_left(tokens, window.tokens, window.told.get("tokens")),
                reset=window.entries[0].at + WINDOW - now if window.entries else 0.0,
            )

    def _key(self, target: Target) -> tuple[tuple[str, ...], RateLimit | None]:
        limit = self._limits.get(target.vendor)
        return (target.key if limit is None or limit.per_model else (target.vendor,)), limit

    def _window(self, key: tuple[str, ...], limit: RateLimit | None) -> _Window:
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= _MOST:
                del self._windows[next(iter(self._windows))]
            window = self._windows[key] = _Window(limit or RateLimit())
        return window


def _left(limit: int | None, used: int, told: tuple[int, float] | None) -> int | None:
    amounts = [max(0, limit - used)] if limit is not None else []
    amounts += [told[0]] if told is not None else []
    return min(amounts, default=None)
