"""A guard around a store: it opens the store at its first use and turns its failures into cache misses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import SupportsBytes, TypeVar

from .._text import room_logger
from ..errors import ConfigError
from ..runtime import Clock, new_lock
from .entry import Hit, decode_hit
from .settings import MEMORY, CacheCounters, ResponseCache
from .store import MemoryStore, Store, StoreBroken, StoreStats

_REMEDIES = {
    MEMORY: "",
    "file": "; see that {} is a cache in a folder that is there and can be written",
    "redis": "; see that a Redis server answers at {}",
    "postgresql": "; see that {} can be reached, and that a table may be made or is there",
}
T = TypeVar("T")
logger = room_logger("cache")

QUIET = 60.0
"""Seconds between two warnings about a failing store."""


class SafeStore:
    """The store of the settings; its failures are counted, and logged once in :data:`QUIET`."""

    def __init__(self, settings: ResponseCache, clock: Clock, tally: CacheCounters) -> None:
        self._clock = clock
        self._tally = tally
        self._lock = new_lock()
        self._make = _make_opener(settings, clock)
        self._most = settings.max_entry_bytes
        self._remedy = _REMEDIES[settings.kind].format(settings.place)
        self._store: Store | None = None
        self._off = False
        self._quiet_until = 0.0

    def get(self, key: str) -> bytes | None:
        """Return the entry of a key, or ``None``."""
        if self._off:
            return None
        try:
            return (self._store or self._open()).get(key)
        except Exception as foreign:  # noqa: BLE001 - no failure of a store is a failure of a call
            self._failed(foreign)
            return None

    def read(self, entry: bytes) -> Hit | None:
        """Decode an entry; ``None`` for one that is broken or too large."""
        try:
            if len(entry) > self._most:
                raise ValueError("no entry is that large")
            return decode_hit(entry)
        except Exception as foreign:  # noqa: BLE001 - whatever the bytes are that somebody has put there
            self.complain("an entry", foreign)
            return None

    def put(self, key: str, entry: SupportsBytes, ttl: float) -> None:
        """Store an entry."""
        if self._off:
            return
        try:
            evicted = (self._store or self._open()).put(key, entry, ttl)
        except Exception as foreign:  # noqa: BLE001 - as above
            self._failed(foreign)
            return
        self._tally.add("stores")
        if evicted:
            self._tally.add("evictions", evicted)

    def clear(self) -> bool:
        """Delete all entries; False if the store fails."""
        try:
            if not self._off:
                (self._store or self._open()).clear()
        except Exception as foreign:  # noqa: BLE001 - as above
            self._failed(foreign)
            return False
        return not self._off

    def close(self) -> None:
        """Close the store's connections."""
        try:
            if self._store is not None and not self._off:
                self._store.close()
        except Exception as foreign:  # noqa: BLE001 - as above
            self._failed(foreign)

    def complain(self, what: str, error: Exception) -> None:
        """Count a failure, and log it now and then, by its class: its text may hold content or an address."""
        now = self._clock.monotonic()
        with self._lock:
            speak = now >= self._quiet_until
            self._quiet_until = now + QUIET if speak else self._quiet_until
        self._tally.add("errors")
        if speak:
            told = error if isinstance(error, StoreBroken) else getattr(error, "sqlite_errorname", getattr(error, "strerror", ""))
            why = f"{type(error).__name__} {told or ''}".strip()
            logger.warning("the response cache: %s fails (%s); calls go on without%s", what, why, self._remedy)

    def _failed(self, error: Exception) -> None:
        """Count a failure of the store; one that is broken is not asked again."""
        self._off = self._off or isinstance(error, StoreBroken)
        self.complain("its store, for good," if isinstance(error, StoreBroken) else "its store", error)

    def _open(self) -> Store:
        made = self._make()
        with self._lock:
            self._store = self._store or made
            return self._store


def _make_opener(settings: ResponseCache, clock: Clock) -> Callable[[], Store]:
    """The function that opens the store of the settings.

    Its module is loaded now, not at the first call: a fork in the middle of an import leaves the child a lock that stays locked.
    """
    if settings.kind == "redis":
        from .redis import RedisStore, clients_of

        return partial(RedisStore, clients_of(settings, settings.store_timeout), clock, settings.prefix)
    if settings.kind == "postgresql":
        from .postgres import PostgresStore, check_installed

        check_installed(settings)
        return partial(PostgresStore, settings, clock)
    if settings.kind == "file":
        from .sqlite import SqliteStore

        return partial(SqliteStore, settings.store, settings.max_entries, settings.store_timeout, clock)
    return partial(MemoryStore, settings.max_entries, clock)


def inspect_store(settings: ResponseCache) -> StoreStats:
    """Count the entries in a file or on a server. Raises :class:`ConfigError` if there is no such store."""
    if settings.kind == MEMORY:
        raise ConfigError("cache.store: what is in memory ends with its process; name a file or a server")
    if settings.kind == "redis":
        from .redis import inspect_server

        return inspect_server(settings)
    if settings.kind == "postgresql":
        from .postgres import inspect_database

        return inspect_database(settings)
    from .sqlite import inspect_file

    return inspect_file(Path(settings.store))
