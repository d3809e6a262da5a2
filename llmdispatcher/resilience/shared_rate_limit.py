"""Rate limits that processes share: requests and tokens counted on a Redis server by the package ``limits``, an extra.

Requests are counted one by one (its moving window: never more than the limit in any minute), tokens in two counters (its sliding
window, where a call of 100,000 tokens costs no more work than one of ten). A limit that has any other rule, or a warning, is
counted by :data:`SCRIPT`, all of its rules at once, in grains like those of :class:`SlidingCount` and by the server's clock: it is
never exceeded. A server that fails, or takes too long, is left alone for :data:`REST`; meanwhile each process uses its own count.
The client is of ``runtime/redis.py``. A script has one key, or two with the same tag in braces, so that they are in one slot of a
cluster.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

import attrs

from .._text import room_logger
from ..errors import ConfigError
from ..runtime import SYSTEM_CLOCK, RedisClients, new_lock
from ..types import ServerAddress
from .rate_limit import PATIENCE, WINDOW, LimitRule, RateLimit

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
_REMEMBERED = 86_400_000
"""Milliseconds for which a reset is remembered; no call takes as long."""
_ROUNDING = 0.005
"""Seconds; the server tells whole milliseconds, and what is taken right after a reset counts."""
_JUST_NOW = 1.0
"""Seconds within which a request that was not sent is taken off the count: the newest entry is then as good as its own."""


@attrs.frozen
class Taken:
    """What a call took of the server's count: a request, if those are limited, and tokens, if those are."""

    key: str
    limit: RateLimit
    tokens: int
    at: float
    output: int = 0
    grains: tuple[int, ...] = ()
    began: str | bytes = ""
    warnings: tuple[tuple[LimitRule, int], ...] = ()
    """The limits of which so much is used that a warning is due, with what all processes have used."""


@attrs.frozen
class SharedLeft:
    """What all processes together leave of a limit, and the seconds until the oldest count is forgotten, 0 without any."""

    requests: int | None
    tokens: int | None
    reset: float
    others: tuple[tuple[int, float], ...] = ()
    """Of each further rule what is left, and the seconds until its oldest count is forgotten."""
    last_reset: float = -math.inf


SCRIPT = """
local key, what, count = KEYS[1], ARGV[1], tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local rules, named, longest = {}, {}, 0
for i = 1, count do
  local at = 2 + (i - 1) * 6
  local rule = {name = ARGV[at + 1], most = tonumber(ARGV[at + 2]), seconds = tonumber(ARGV[at + 3]),
                amount = tonumber(ARGV[at + 4]), warn = tonumber(ARGV[at + 5]), grain = tonumber(ARGV[at + 6]),
                used = 0, grains = {}, held = {}}
  rule.width = rule.seconds / 240
  longest = math.max(longest, rule.seconds + rule.width)
  rules[i], named[rule.name] = rule, rule
end
local began = redis.call('HGET', key, 'began')
if what == 'settle' then
  if began ~= ARGV[3 + count * 6] then return {} end
  for _, rule in ipairs(rules) do
    local field = rule.name .. '|' .. string.format('%.0f', rule.grain)
    local used, last = string.match(redis.call('HGET', key, field) or '', '^(.*):(.*)$')
    if used then
      redis.call('HSET', key, field, string.format('%.0f:', math.max(0, tonumber(used) + rule.amount)) .. last)
    end
  end
  return {}
end
local told, fields = {}, redis.call('HGETALL', key)
for i = 1, #fields, 2 do
  local name, number = string.match(fields[i], '^(.*)|(%d+)$')
  local rule = named[name]
  if rule then
    local used, last = string.match(fields[i + 1], '^(.*):(.*)$')
    local ends = tonumber(last) + rule.seconds
    if ends <= now then
      redis.call('HDEL', key, fields[i])
    else
      rule.used = rule.used + tonumber(used)
      rule.grains[#rule.grains + 1] = {ends, tonumber(used)}
      rule.held[number] = tonumber(used)
    end
  elseif string.sub(fields[i], -1) == '!' then
    told[string.sub(fields[i], 1, -2)] = tonumber(fields[i + 1])
  end
end
local answer = {}
if what == 'look' then
  for i, rule in ipairs(rules) do
    local first = 0
    for _, grain in ipairs(rule.grains) do
      if grain[2] > 0 and (first == 0 or grain[1] - now < first) then first = grain[1] - now end
    end
    answer[2 * i - 1], answer[2 * i] = string.format('%.0f', rule.used), string.format('%.6f', first)
  end
  return answer
end
local wait, last = 0, 0
for i, rule in ipairs(rules) do
  local over = rule.used + math.min(rule.amount, rule.most) - rule.most
  if over > 0 then
    table.sort(rule.grains, function(one, other) return one[1] < other[1] end)
    for _, grain in ipairs(rule.grains) do
      if over <= 0 then break end
      over = over - grain[2]
      if grain[1] - now > wait then wait, last = grain[1] - now, i end
    end
  end
end
if wait > 0 then return {'0', string.format('%.6f', wait), tostring(last)} end
if not began then
  began = string.format('%.6f', now)
  redis.call('HSET', key, 'began', began)
end
answer = {'1', began}
for i, rule in ipairs(rules) do
  local grain = string.format('%.0f', math.floor(now / rule.width))
  local sum = (rule.held[grain] or 0) + rule.amount
  redis.call('HSET', key, rule.name .. '|' .. grain, string.format('%.0f:%.6f', sum, now))
  local used, warn = rule.used + rule.amount, '0'
  if rule.warn > 0 and used >= rule.warn and (told[rule.name] or 0) <= now then
    redis.call('HSET', key, rule.name .. '!', string.format('%.6f', now + rule.seconds))
    warn = string.format('%.0f', used)
  end
  answer[#answer + 1] = grain
  answer[#answer + 1] = warn
end
redis.call('PEXPIRE', key, math.ceil(longest * 1000))
return answer
"""
"""Counts a limit's rules in one hash: a field for each grain, one for each rule that was warned of, and when it began.

What was taken before the hash began, as it does after a reset, is not settled.
"""


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

    def run_script(
        self, what: str, key: str, limit: RateLimit, facts: Sequence[tuple[int, int]], began: str | bytes = ""
    ) -> list[Any]:
        """Run :data:`SCRIPT` for all rules of a limit; ``facts`` has the amount and the grain of each, ``began`` is of the hash."""
        given: list[Any] = []
        rules = rules_of(limit)
        for rule, (amount, grain) in zip(rules, facts, strict=True):
            warn = math.ceil(limit.warn_at * rule.most) if limit.warn_at is not None else 0
            given += [f"{rule.unit}/{rule.seconds:.0f}", rule.most, f"{rule.seconds:.0f}", amount, warn, grain]
        answer: list[Any] = self.storage.get_connection().eval(SCRIPT, 1, self.hash_of(key), what, len(rules), *given, began)
        return answer

    def hash_of(self, key: str) -> Any:
        """The key of the hash that :data:`SCRIPT` counts in."""
        return self.storage.prefixed_key(f"rules/{key}")

    def clear(self, key: str, limit: RateLimit) -> None:
        """Forget all that was counted, and remember when: what was taken before is not settled any more."""
        self.storage.get_connection().set(self._reset_of(key), b"1", px=_REMEMBERED)
        self.storage.get_connection().delete(self.hash_of(key))
        for strategy, item in ((self.moving, self.requests(limit)), (self.sliding, self.tokens(limit))):
            if item is not None:
                strategy.clear(item, key)

    def last_reset(self, key: str, now: float) -> float:
        """When any process has reset the count, by the clock of ``now``; minus infinity where none has for a day."""
        left: int = self.storage.get_connection().pttl(self._reset_of(key))
        return -math.inf if left < 0 else now - (_REMEMBERED - left) / 1000 - _ROUNDING

    def was_reset_since(self, receipt: Taken, now: float) -> bool:
        """Whether what a call took is not counted any more."""
        return receipt.at <= self.last_reset(receipt.key, now)

    def _reset_of(self, key: str) -> Any:
        return self.storage.prefixed_key(f"reset/{key}")


@lru_cache(maxsize=256)
def rules_of(limit: RateLimit) -> tuple[LimitRule, ...]:
    """The rules that :data:`SCRIPT` counts: all; none for a limit of requests and tokens in a minute alone, without a warning."""
    others = limit.other_rules
    return (*limit.minute_rules, *others) if others or limit.warn_at is not None else ()


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

    def take(self, key: str, limit: RateLimit, tokens: int, now: float, output: int = 0) -> Taken | float | None:
        """A receipt, the moment when there may be a place, or ``None`` where the server fails."""
        if rules_of(limit):
            return self._ask(lambda counters: _take_by_rules(counters, Taken(key, limit, tokens, now, output)), now)
        return self._ask(lambda counters: _take(counters, Taken(key, limit, _most(tokens, limit), now)), now)

    def settle(self, receipt: Taken, used: int, now: float, output: int = 0) -> None:
        """Put what was really used in the place of the estimate."""
        if receipt.grains:
            changes = [rule.amount(used, output) - rule.amount(receipt.tokens, receipt.output) for rule in rules_of(receipt.limit)]
            self._ask(lambda counters: _change(counters, receipt, changes), now)
            return
        more = _most(used, receipt.limit) - receipt.tokens
        if receipt.limit.tokens_per_minute is not None and more:
            self._ask(lambda counters: _correct(counters, receipt, more, now), now)

    def give_back(self, receipt: Taken, now: float) -> None:
        """The call was not made after all."""
        if receipt.grains:
            changes = [-rule.amount(receipt.tokens, receipt.output) for rule in rules_of(receipt.limit)]
            self._ask(lambda counters: _change(counters, receipt, changes), now)
            return
        self._ask(lambda counters: _return(counters, receipt, now), now)

    def left(self, key: str, limit: RateLimit, now: float) -> SharedLeft | None:
        """What all processes leave of a limit; ``None`` where the server fails."""
        look = _left_by_rules if rules_of(limit) else _left_by_minute
        return self._ask(lambda counters: attrs.evolve(look(counters, key, limit), last_reset=counters.last_reset(key, now)), now)

    def last_reset(self, key: str, now: float) -> float:
        """When any process has reset the count; minus infinity where that is not known."""
        found = self._ask(lambda counters: counters.last_reset(key, now), now)
        return -math.inf if found is None else found

    def reset(self, key: str, limit: RateLimit) -> bool:
        """Forget all that was counted; tell whether the server did."""

        def clear(counters: _Counters) -> bool:
            counters.clear(key, limit)
            return True

        return self._ask(clear, SYSTEM_CLOCK.monotonic()) or False

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


def _take_by_rules(counters: _Counters, wanted: Taken) -> Taken | float:
    rules = rules_of(wanted.limit)
    facts = [(rule.amount(wanted.tokens, wanted.output), 0) for rule in rules]
    taken, *rest = counters.run_script("take", wanted.key, wanted.limit, facts)
    if int(taken) == 0:
        return wanted.at + max(_SOON, float(rest[0]))
    began, *rest = rest
    used = [int(amount) for amount in rest[1::2]]
    warnings = [(rule, amount) for rule, amount in zip(rules, used, strict=True) if amount]
    return attrs.evolve(wanted, grains=tuple([int(grain) for grain in rest[::2]]), began=began, warnings=tuple(warnings))


def _change(counters: _Counters, receipt: Taken, changes: Sequence[int]) -> None:
    counters.run_script("settle", receipt.key, receipt.limit, list(zip(changes, receipt.grains, strict=True)), receipt.began)


def _left_by_rules(counters: _Counters, key: str, limit: RateLimit) -> SharedLeft:
    rules, minutes = rules_of(limit), limit.minute_rules
    found = counters.run_script("look", key, limit, [(0, 0)] * len(rules))
    left = [(max(0, rule.most - int(used)), float(first)) for rule, used, first in zip(rules, found[::2], found[1::2], strict=True)]
    return _shared_left(dict(zip([rule.unit for rule in minutes], left, strict=False)), left[len(minutes) :])


def _left_by_minute(counters: _Counters, key: str, limit: RateLimit) -> SharedLeft:
    left: dict[str, tuple[int, float]] = {}
    calls, tokens = counters.requests(limit), counters.tokens(limit)
    if calls is not None:
        stats = counters.moving.get_window_stats(calls, key)
        since = stats.reset_time - SYSTEM_CLOCK.now().timestamp()
        left["requests"] = max(0, stats.remaining), since if stats.remaining < calls.amount else 0.0
    if tokens is not None:
        before, before_ends, current, ends = _minutes(counters, tokens, key)
        most = counters.sliding.get_window_stats(tokens, key).remaining
        left["tokens"] = max(0, most), before_ends if before else ends - WINDOW if current else 0.0  # it fades from then on
    return _shared_left(left)


def _shared_left(minute: Mapping[str, tuple[int, float]], others: Sequence[tuple[int, float]] = ()) -> SharedLeft:
    return SharedLeft(
        requests=minute["requests"][0] if "requests" in minute else None,
        tokens=minute["tokens"][0] if "tokens" in minute else None,
        reset=min([first for _, first in minute.values() if first > 0], default=0.0),
        others=tuple(others),
    )


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
    if counters.was_reset_since(receipt, now):
        return
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
    if item is not None and now - receipt.at < _JUST_NOW and not counters.was_reset_since(receipt, now):
        storage = counters.storage
        storage.get_connection().lpop(storage.prefixed_key(item.key_for(receipt.key)))
