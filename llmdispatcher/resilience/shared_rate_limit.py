"""Rate limits that processes share: requests and tokens counted on a Redis server by the package ``limits``, an extra.

Requests are counted one by one (its moving window: never more than the limit in any minute), tokens in two counters (its sliding
window, where a call of 100,000 tokens costs no more work than one of ten). A server that fails, or takes too long, is left alone
for :data:`REST`; meanwhile each process uses its own count. The client is of ``runtime/redis.py``. A script of the package has one
key, or two with the same tag in braces, so that they are in one slot of a cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

import attrs

from .._text import room_logger
from ..errors import ConfigError
from ..runtime import SYSTEM_CLOCK, RedisClients, new_lock
from ..types import ServerAddress
from .rate_limit import PATIENCE, WINDOW, RateLimit

T = TypeVar("T")
logger = room_logger("resilience")

TIMEOUT = 0.08
"""Seconds for one answer of the server: with what is around it a decision takes no more than a tenth of a second."""
REST = 5.0
"""Seconds."""
QUIET = 60.0
"""Seconds between two words about a server that fails."""
PREFIX = "llmdispatcher:limits"

_SOON = 0.02
"""Seconds; the least wait, since others take places, too."""
_SLOW = 3
"""Decisions in a row that take too long, as those of a busy machine do now and then."""
_LATE = 0.2
"""Seconds; the first call of a minute begins a little before the minute that it opens on the server."""
_JUST_NOW = 1.0
"""Seconds within which a request that was not sent is taken off the count: the newest entry is then as good as its own."""


@attrs.frozen
class Taken:
    """What a call took of the server's count: a request, if those are limited, and tokens, if those are."""

    key: str
    limit: RateLimit
    tokens: int
    at: float


class _Counters:
    """The limiters of one client."""

    def __init__(self, client: Any, prefix: str) -> None:
        limits, strategies = import_module("limits"), import_module("limits.strategies")
        self.storage = import_module("limits.storage").RedisStorage("redis://", key_prefix=prefix)
        self.storage.storage = client  # of whatever kind; the one that it makes itself is for a single server
        self.storage.initialize_storage("")
        self.moving = strategies.MovingWindowRateLimiter(self.storage)
        self.sliding = strategies.SlidingWindowCounterRateLimiter(self.storage)
        self._per_minute = limits.RateLimitItemPerMinute

    def requests(self, limit: RateLimit) -> Any:
        """The limit of requests as the package knows it; ``None`` where there is none."""
        most = limit.requests_per_minute
        return None if most is None else self._per_minute(most, namespace="requests")

    def tokens(self, limit: RateLimit) -> Any:
        """The limit of tokens as the package knows it; ``None`` where there is none."""
        most = limit.tokens_per_minute
        return None if most is None else self._per_minute(most, namespace="tokens")


class SharedLimits:
    """The count on Redis servers; never raises. ``place`` is their address, or an application's client.

    Raises :class:`ConfigError`, when made, where the extra is missing, and for a wrong parameter of the address.
    """

    def __init__(self, place: Any, prefix: str = "") -> None:
        for package in ("limits", "redis"):
            if find_spec(package) is None:
                raise ConfigError(f"storage: limits on a Redis server need {package!r}; install llmdispatcher[limits]")
        self._clients = _clients_of(place)
        import_module("limits.strategies")  # now, since a fork may come later
        self._prefix = f"{prefix}{PREFIX}"
        self._lock = new_lock()
        self._counters: _Counters | None = None
        self._client: Any = None
        self._rests_until = self._quiet_until = 0.0
        self._slow = 0

    def take(self, key: str, limit: RateLimit, tokens: int, now: float) -> Taken | float | None:
        """A receipt, the moment when there may be a place, or ``None`` where the server fails."""
        return self._ask(lambda counters: _take(counters, Taken(key, limit, _most(tokens, limit), now)), now)

    def settle(self, receipt: Taken, used: int, now: float) -> None:
        """Put what was really used in the place of the estimate."""
        more = _most(used, receipt.limit) - receipt.tokens
        if receipt.limit.tokens_per_minute is not None and more:
            self._ask(lambda counters: _correct(counters, receipt, more, now), now)

    def give_back(self, receipt: Taken, now: float) -> None:
        """The call was not made after all."""
        self._ask(lambda counters: _return(counters, receipt, now), now)

    def left(self, key: str, limit: RateLimit, now: float) -> tuple[int | None, int | None] | None:
        """Requests and tokens that are left, or ``None`` where the server fails."""

        def look(counters: _Counters) -> tuple[int | None, int | None]:
            requests, tokens = counters.requests(limit), counters.tokens(limit)
            return (
                None if requests is None else max(0, counters.moving.get_window_stats(requests, key).remaining),
                None if tokens is None else max(0, counters.sliding.get_window_stats(tokens, key).remaining),
            )

        return self._ask(look, now)

    def close(self) -> None:
        """Close the connections of this process."""
        self._clients.close()

    def _ask(self, ask: Callable[[_Counters], T], now: float) -> T | None:
        """Return the server's answer; ``None`` where it fails, or has just failed. After a rest one call at a time tries."""
        with self._lock:
            if now < self._rests_until:
                return None
            trying = self._rests_until > 0
            if trying:
                self._rests_until = now + REST
        begun = SYSTEM_CLOCK.monotonic()
        try:
            answer = self._clients.ask(lambda client: ask(self._counters_of(client)))
        except Exception as foreign:  # noqa: BLE001 - no failure of a server is a failure of a call
            self._complain(type(foreign).__name__, now)
            return None
        self._slow = self._slow + 1 if SYSTEM_CLOCK.monotonic() - begun > PATIENCE else 0
        if self._slow >= _SLOW:
            self._complain("it is slow", now)
        elif trying:
            self._rests_until = 0.0
        return answer

    def _complain(self, what: str, now: float) -> None:
        """Leave the server alone, and say so now and then, by the class of the error: its text may hold the address."""
        with self._lock:
            speak = now >= self._quiet_until
            self._quiet_until = now + QUIET if speak else self._quiet_until
            self._rests_until, self._slow = now + REST, 0
        if speak:
            logger.warning("the shared rate limits: their server fails (%s); each process goes on with its own count", what)

    def _counters_of(self, client: Any) -> _Counters:
        """The limiters of this process's client."""
        with self._lock:
            if self._counters is not None and self._client is client:
                return self._counters
        made = _Counters(client, self._prefix)
        with self._lock:
            self._counters, self._client = made, client
        return made


def _clients_of(place: Any) -> RedisClients:
    """The clients for an address, or the one that an application has made."""
    if not isinstance(place, str):
        return RedisClients("", field="storage", timeout=TIMEOUT, client=place)
    found = ServerAddress.redis(place, "storage")
    return RedisClients(
        found.first_url, field="storage", timeout=TIMEOUT, kind=found.kind, hosts=found.hosts, service=found.service
    )


def _most(tokens: int, limit: RateLimit) -> int:
    """A call that is larger than the limit goes when it is alone."""
    return tokens if limit.tokens_per_minute is None else min(tokens, limit.tokens_per_minute)


def _take(counters: _Counters, wanted: Taken) -> Taken | float:
    tokens, requests = counters.tokens(wanted.limit), counters.requests(wanted.limit)
    if tokens is not None and not counters.sliding.hit(tokens, wanted.key, cost=wanted.tokens):
        return wanted.at + max(_SOON, _tokens_wait(wanted, *_minutes(counters, tokens, wanted.key)))
    if requests is not None and not counters.moving.hit(requests, wanted.key):
        if tokens is not None:
            counters.sliding.hit(tokens, wanted.key, cost=-wanted.tokens)
        wait: float = counters.moving.get_window_stats(requests, wanted.key).reset_time - SYSTEM_CLOCK.now().timestamp()
        return wanted.at + min(max(_SOON, wait), WINDOW)
    return wanted


def _minutes(counters: _Counters, item: Any, key: str) -> tuple[int, float, int, float]:
    """What was counted in the minute before, when it counts no more, and the same of the minute that runs: it counts for two."""
    before, before_ends, current, current_ends = counters.storage.get_sliding_window(item.key_for(key), item.get_expiry())
    return before, before_ends, current, current_ends


def _tokens_wait(wanted: Taken, before: int, before_ends: float, current: int, current_ends: float) -> float:
    """Seconds until so many tokens fit, as the counts are now: of the minute before less counts with each second."""
    room = (wanted.limit.tokens_per_minute or 0) - wanted.tokens
    if current <= room:
        return max(0.0, before_ends - (room - current) * WINDOW / before) if before else 0.0
    return min(max(0.0, current_ends - WINDOW), WINDOW) + WINDOW * (1 - room / current)


def _correct(counters: _Counters, receipt: Taken, more: int, now: float) -> None:
    """Count more tokens, as far as there is room, or fewer, if the minute that they were counted in still runs."""
    item = counters.tokens(receipt.limit)
    if more > 0:
        if not counters.sliding.hit(item, receipt.key, cost=more):
            rest = counters.sliding.get_window_stats(item, receipt.key).remaining
            counters.sliding.hit(item, receipt.key, cost=min(rest, more))
        return
    _, _, current, ends = _minutes(counters, item, receipt.key)
    if now - receipt.at <= 2 * WINDOW - ends + _LATE:
        counters.sliding.hit(item, receipt.key, cost=max(more, -current))


def _return(counters: _Counters, receipt: Taken, now: float) -> None:
    if receipt.limit.tokens_per_minute is not None:
        _correct(counters, receipt, -receipt.tokens, now)
    item = counters.requests(receipt.limit)
    if item is not None and now - receipt.at < _JUST_NOW:
        storage = counters.storage
        storage.get_connection().lpop(storage.prefixed_key(item.key_for(receipt.key)))
