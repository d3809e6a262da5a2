"""Limits of keys that workers and hosts share, on a Redis server: one script takes the limits of a key and its owners together.

Requests and tokens are counted by the second, and a second counts until its end is a minute past, so that no limit is ever
exceeded. A call in flight is a lease that ends a minute after its process has died. A server that does not answer within
:data:`TIMEOUT` is left alone for :data:`REST`; meanwhile each process counts for itself.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Sequence
from typing import Any

import attrs

from ..._text import room_logger
from ...runtime import Clock, RedisClients, new_lock
from ...types import ServerAddress
from ..policies import KeyPolicy

logger = room_logger("server")

TIMEOUT = 0.2
"""Seconds for one answer of the server, and for a connection."""
REST = 5.0
QUIET = 60.0
"""Seconds between two words about a server that fails."""
LEASE = 60.0
_RENEW = 20.0
_PREFIX = "llmdispatcher:keys"

SCRIPT = """
local what, count = ARGV[1], tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local second = tonumber(clock[1])
local function used(key, unit)
  local sum, grains, fields = 0, {}, redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local mark, at = string.sub(fields[i], 1, 1), tonumber(string.sub(fields[i], 2))
    if at + 61 <= now then
      redis.call('HDEL', key, fields[i])
    elseif mark == unit then
      local amount = tonumber(fields[i + 1])
      sum = sum + amount
      grains[#grains + 1] = {at, amount}
    end
  end
  return sum, grains
end
local function wait(grains, over)
  table.sort(grains, function(one, other) return one[1] < other[1] end)
  for _, grain in ipairs(grains) do
    over = over - grain[2]
    if over <= 0 then return grain[1] + 61 - now end
  end
  return 61
end
local function fits(key, unit, amount, most)
  local sum, grains = used(key, unit)
  local over = sum + math.min(amount, most) - most
  if over > 0 then return string.format('%.3f', math.max(0.02, wait(grains, over))) end
end
if what == 'enter' then
  for i = 1, count do
    local at = 4 + (i - 1) * 3
    local requests, tokens, flying = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    local counts, leases = KEYS[i * 2 - 1], KEYS[i * 2]
    if flying >= 0 then
      redis.call('ZREMRANGEBYSCORE', leases, '-inf', now)
      if redis.call('ZCARD', leases) >= flying then return {tostring(i), 'f', '1'} end
    end
    local late = requests >= 0 and fits(counts, 'r', 1, requests)
    if late then return {tostring(i), 'r', late} end
    late = tokens >= 0 and fits(counts, 't', 1, tokens)
    if late then return {tostring(i), 't', late} end
  end
  for i = 1, count do
    local at = 4 + (i - 1) * 3
    if tonumber(ARGV[at + 1]) >= 0 then
      redis.call('HINCRBY', KEYS[i * 2 - 1], 'r' .. second, 1)
      redis.call('EXPIRE', KEYS[i * 2 - 1], 62)
    end
    if tonumber(ARGV[at + 3]) >= 0 then
      redis.call('ZADD', KEYS[i * 2], now + tonumber(ARGV[4]), ARGV[3])
      redis.call('EXPIRE', KEYS[i * 2], 3600)
    end
  end
  return {'0'}
elseif what == 'take' then
  for i = 1, count do
    local late = fits(KEYS[i], 't', tonumber(ARGV[3]), tonumber(ARGV[3 + i]))
    if late then return {tostring(i), 't', late} end
  end
  for i = 1, count do
    redis.call('HINCRBY', KEYS[i], 't' .. second, ARGV[3])
    redis.call('EXPIRE', KEYS[i], 62)
  end
  return {'0', tostring(second)}
elseif what == 'correct' then
  for i = 1, count do
    local field = 't' .. ARGV[3]
    local held = redis.call('HGET', KEYS[i], field)
    if held then redis.call('HSET', KEYS[i], field, string.format('%.0f', math.max(0, tonumber(held) + tonumber(ARGV[4])))) end
  end
  return {'0'}
elseif what == 'renew' then
  for i = 1, count do redis.call('ZADD', KEYS[i], 'XX', now + tonumber(ARGV[4]), ARGV[3]) end
  return {'0'}
end
for i = 1, count do redis.call('ZREM', KEYS[i], ARGV[3]) end
return {'0'}
"""


@attrs.frozen
class LimitedLevel:
    """A key, or an owner of one, with limits."""

    level: str
    id: str
    policy: KeyPolicy


@attrs.frozen
class TakenTokens:
    """Tokens that a call has taken on the server: of which counts, and in which second."""

    counts: tuple[str, ...]
    tokens: int
    second: str


Refusal = tuple[LimitedLevel, str, float]
"""Whose limit it is, in which words, and the seconds until there may be room."""


class SharedKeyLimits:
    """The counts on a Redis server; never raises once it is made. Whatever it returns as ``None`` it could not do.

    Raises :class:`~llmdispatcher.ConfigError`, when made, for an address that is none.
    """

    def __init__(self, address: str, clock: Clock) -> None:
        found = ServerAddress.redis(address, "redis")
        self._clients = RedisClients(
            found.first_url, field="redis", timeout=TIMEOUT, kind=found.kind, hosts=found.hosts, service=found.service
        )
        self._clock = clock
        self._lock = new_lock()
        self._rests_until = self._quiet_until = 0.0
        self._leases: dict[str, tuple[str, ...]] = {}
        self._renewing: int | None = None
        self._closing = threading.Event()

    def enter(self, organization: str, levels: Sequence[LimitedLevel]) -> str | Refusal | None:
        """Count a request; returns its lease, or why it must wait."""
        lease = secrets.token_hex(12)
        keys = [name for level in levels for name in (_key(organization, level.id), _key(organization, level.id, "f"))]
        limits = [
            -1 if most is None else most
            for level in levels
            for most in (level.policy.requests_per_minute, level.policy.tokens_per_minute, level.policy.in_flight)
        ]
        answer = self._run(keys, "enter", len(levels), lease, LEASE, *limits)
        if answer is None:
            return None
        if answer[0] != "0":
            return _refusal(levels, answer)
        flying = [_key(organization, one.id, "f") for one in levels if one.policy.in_flight is not None]
        if flying:
            self._keep(lease, tuple(flying))
        return lease

    def take(self, organization: str, levels: Sequence[LimitedLevel], tokens: int) -> TakenTokens | Refusal | None:
        """Count tokens; returns what was taken, or why the call must wait."""
        keys = [_key(organization, level.id) for level in levels]
        answer = self._run(keys, "take", len(levels), tokens, *[one.policy.tokens_per_minute for one in levels])
        if answer is None:
            return None
        if answer[0] != "0":
            level, words, wait = _refusal(levels, answer)
            return level, f"{words}, and this call may use {tokens}", wait
        return TakenTokens(tuple(keys), tokens, answer[1])

    def correct(self, taken: TakenTokens, used: int) -> None:
        """Put what was used in the place of what was taken."""
        if used != taken.tokens:
            self._run(list(taken.counts), "correct", len(taken.counts), taken.second, used - taken.tokens)

    def leave(self, lease: str) -> None:
        """End a call."""
        with self._lock:
            keys = self._leases.pop(lease, ())
        if keys:
            self._run(list(keys), "leave", len(keys), lease)

    def close(self) -> None:
        """Close the connections of this process; leases that it still holds are renewed no more."""
        self._closing.set()
        self._clients.close()

    def _run(self, keys: list[str], what: str, *facts: Any) -> list[str] | None:
        """The script's answer; ``None`` where the server fails, or has just failed. After a rest one call at a time tries."""
        with self._lock:
            now = self._clock.monotonic()
            if now < self._rests_until:
                return None
            trying = self._rests_until > 0
            if trying:
                self._rests_until = now + REST
        try:
            answer = self._clients.ask(lambda client: client.eval(SCRIPT, len(keys), *keys, what, *facts))
        except Exception as foreign:  # noqa: BLE001 - no failure of a server is a failure of a call
            self._complain(type(foreign).__name__)
            return None
        if trying:
            self._rests_until = 0.0
        return [one.decode() if isinstance(one, bytes) else str(one) for one in answer]

    def _complain(self, what: str) -> None:
        """Leave the server alone, and say so now and then, by the class of the error: its text may hold the address."""
        with self._lock:
            now = self._clock.monotonic()
            speak = now >= self._quiet_until
            self._quiet_until = now + QUIET if speak else self._quiet_until
            self._rests_until = now + REST
        if speak:
            logger.warning("the limits of keys: their server fails (%s); each process goes on with its own count", what)

    def _keep(self, lease: str, keys: tuple[str, ...]) -> None:
        """Renew a lease until it ends; one thread does that for all of them, while there are any."""
        with self._lock:
            self._leases[lease] = keys
            if self._renewing != os.getpid():  # a thread does not come along through a fork
                self._renewing = os.getpid()
                threading.Thread(target=self._renew, name="llmdispatcher-leases", daemon=True).start()

    def _renew(self) -> None:
        while not self._closing.wait(_RENEW):
            with self._lock:
                held = list(self._leases.items())
                if not held:
                    self._renewing = None
                    return
            for lease, keys in held:
                self._run(list(keys), "renew", len(keys), lease, LEASE)


def _key(organization: str, level: str, kind: str = "c") -> str:
    """The name of a count; what stands in braces puts those of an organization into one slot of a cluster."""
    return f"{_PREFIX}:{{{organization.replace('{', '(').replace('}', ')')}}}:{level}:{kind}"


def _refusal(levels: Sequence[LimitedLevel], answer: Sequence[str]) -> Refusal:
    level = levels[int(answer[0]) - 1]
    policy = level.policy
    words = {
        "f": f"{policy.in_flight} calls at a time",
        "r": f"{policy.requests_per_minute} requests per minute",
        "t": f"{policy.tokens_per_minute} tokens per minute",
    }
    return level, words[answer[1]], float(answer[2])
