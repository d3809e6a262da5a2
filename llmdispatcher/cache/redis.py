"""Entries on Redis servers: one key each, which the server expires. Needs the extra ``redis``.

The client, of one server, a cluster or the master that Sentinels name, is of ``runtime/redis.py``. Servers that fail are not asked
again for :data:`REST`, so servers that are down cost a call at most one time-out. Each operation has one key, so that a cluster
can keep its keys wherever it likes; only :meth:`RedisStore.clear` asks all masters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, SupportsBytes, TypeVar

from ..errors import ConfigError
from ..runtime import Clock, RedisClients
from ..types import ServerAddress, copy_self, refuse_pickling
from .entry import VERSION
from .settings import ResponseCache
from .store import StoreResting, StoreStats

T = TypeVar("T")

PREFIX = f"llmdispatcher:answer:{VERSION}:"
REST = 1.0
"""Seconds that a failed server is not asked."""

_LONGEST = 60.0
"""Seconds to go through all keys."""
_PAGE = 500


def check_installed() -> None:
    """Raise :class:`ConfigError` if the extra is missing."""
    if find_spec("redis") is None:
        raise ConfigError("cache.store: a Redis server needs the extra 'redis'; install llmdispatcher[redis], or use a file")


def clients_of(settings: ResponseCache, timeout: float) -> RedisClients:
    """The clients for the settings. Raises :class:`ConfigError` for a wrong parameter of the address."""
    check_installed()
    if settings.client is not None:
        return RedisClients("", field="cache.client", timeout=timeout, client=settings.client)
    found = ServerAddress.redis(settings.store, "cache.store")
    return RedisClients(
        found.first_url, field="cache.store", timeout=timeout, kind=found.kind, hosts=found.hosts, service=found.service
    )


class RedisStore:
    """Entries on servers, shared by all their clients; the servers' own ``maxmemory-policy`` bounds their number."""

    __copy__, __reduce__ = copy_self, refuse_pickling

    def __init__(self, clients: RedisClients, clock: Clock, prefix: str = "") -> None:
        self._clients = clients
        self._prefix = f"{prefix}{PREFIX}"
        self._clock = clock
        self._rests_until = 0.0

    def get(self, key: str) -> bytes | None:
        """Return the entry if the server has it."""
        entry: bytes | str | None = self._ask(lambda client: client.get(self._prefix + key))
        return entry.encode() if isinstance(entry, str) else entry  # an application's client may decode what it reads

    def put(self, key: str, entry: SupportsBytes, ttl: float) -> int:
        """Store an entry, which the server expires."""
        data = bytes(entry)
        self._ask(lambda client: client.set(self._prefix + key, data, px=max(1, round(ttl * 1000))))
        return 0

    def clear(self) -> None:
        """Delete all entries with these keys, page by page, and nothing else."""
        self._ask(lambda client: _clear(client, self._prefix), _LONGEST)

    def close(self) -> None:
        """Close the connections of this process."""
        self._clients.close()

    def _ask(self, ask: Callable[[Any], T], seconds: float | None = None) -> T:
        if self._clock.monotonic() < self._rests_until:
            raise StoreResting
        try:
            answer = self._clients.ask(ask, seconds)
        except Exception:
            self._rests_until = self._clock.monotonic() + REST
            raise
        return answer


def _names(client: Any, prefix: str) -> Any:
    """The keys that begin so, of all masters; signs of a pattern in them are themselves."""
    return client.scan_iter(match=re.sub(r"([\\*?\[\]^])", r"\\\1", prefix) + "*", count=_PAGE)


def _clear(client: Any, prefix: str) -> None:
    page: list[Any] = []
    for name in _names(client, prefix):
        page.append(name)
        if len(page) == _PAGE:
            client.unlink(*page)
            page = []
    if page:
        client.unlink(*page)


def inspect_server(settings: ResponseCache) -> StoreStats:
    """Count the entries on servers. Raises :class:`ConfigError` if they cannot be asked."""
    clients = clients_of(settings, 5.0)
    try:
        return StoreStats(entries=clients.ask(lambda client: sum(1 for _ in _names(client, settings.prefix + PREFIX)), _LONGEST))
    except Exception as error:  # noqa: BLE001 - not all errors of redis-py are a RedisError
        raise ConfigError(f"cache.store: the server cannot be asked ({type(error).__name__})") from None
    finally:
        clients.close()
