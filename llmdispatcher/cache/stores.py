"""A guard around a store: it opens the store at its first use and turns its failures into cache misses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import SupportsBytes, TypeVar

from .._text import room_logger
from ..runtime import Clock, new_lock
from ..types import shown_store
from .entry import Hit, load_hit
from .settings import MEMORY, REDIS, CacheCounts, ResponseCache
from .store import MemoryStore, Store, StoreBroken

T = TypeVar("T")
logger = room_logger("cache")

QUIET = 60.0
"""Seconds between two words about a store that fails."""


class SafeStore:
    """The store of some settings; what fails in it is counted, and told once in :data:`QUIET`."""

    def __init__(self, settings: ResponseCache, clock: Clock, tally: CacheCounts) -> None:
        self._clock = clock
        self._tally = tally
        self._lock = new_lock()
        self._make = _maker(settings, clock)
        self._most = settings.max_entry_bytes
        is_file = settings.store != MEMORY and not settings.store.startswith(REDIS)
        is_server = settings.store.startswith(REDIS)
        self._remedy = f"; see that {settings.store} is a cache in a folder that is there and can be written" if is_file else ""
        self._remedy = f"; see that a Redis server answers at {shown_store(settings.store)}" if is_server else self._remedy
        self._store: Store | None = None
        self._off = False
        self._quiet_until = 0.0

    def get(self, key: str) -> bytes | None:
        """The entry of that key."""
        return self._tried(lambda store: store.get(key))

    def read(self, entry: bytes) -> Hit | None:
        """What an entry says; ``None`` for one that says nothing, or is larger than any that is kept."""
        try:
            if len(entry) > self._most:
                raise ValueError("no entry is that large")
            return load_hit(entry)
        except Exception as foreign:  # noqa: BLE001 - whatever the bytes are that somebody has put there
            self.complain("an entry", foreign)
            return None

    def put(self, key: str, entry: SupportsBytes, ttl: float) -> None:
        """Keep an entry."""
        evicted = self._tried(lambda store: store.put(key, entry, ttl))
        if evicted is not None:
            self._tally.add("stores")
        if evicted:
            self._tally.add("evictions", evicted)

    def clear(self) -> bool:
        """Forget everything; False where the store fails."""
        return self._tried(_cleared) is not None

    def close(self) -> None:
        """Give back what is open."""
        if self._store is not None:
            self._tried(lambda store: store.close())

    def complain(self, what: str, error: Exception) -> None:
        """Count a failure, and say so now and then, by its class: its text may hold what is stored, or where."""
        now = self._clock.monotonic()
        with self._lock:
            speak = now >= self._quiet_until
            self._quiet_until = now + QUIET if speak else self._quiet_until
        self._tally.add("errors")
        if speak:
            told = error if isinstance(error, StoreBroken) else getattr(error, "sqlite_errorname", getattr(error, "strerror", ""))
            why = f"{type(error).__name__} {told or ''}".strip()
            logger.warning("the response cache: %s fails (%s); calls go on without%s", what, why, self._remedy)

    def _tried(self, use: Callable[[Store], T]) -> T | None:
        """What the store says; ``None`` where it fails."""
        if self._off:
            return None
        try:
            return use(self._store or self._opened())
        except StoreBroken as error:
            self._off = True
            self.complain("its store, for good,", error)
        except Exception as foreign:  # noqa: BLE001 - no failure of a store is a failure of a call
            self.complain("its store", foreign)
        return None

    def _opened(self) -> Store:
        made = self._make()
        with self._lock:
            self._store = self._store or made
            return self._store


def _cleared(store: Store) -> bool:
    store.clear()
    return True


def _maker(settings: ResponseCache, clock: Clock) -> Callable[[], Store]:
    """What opens the store of the settings.

    Its module is loaded now, not at the first call: a fork in the middle of an import leaves the child a lock that nobody opens.
    """
    if settings.store == MEMORY:
        return partial(MemoryStore, settings.max_entries, clock)
    if settings.store.startswith(REDIS):
        from .redis import RedisStore

        return partial(RedisStore, settings.store, settings.store_timeout, clock)
    from .sqlite import SqliteStore

    return partial(SqliteStore, settings.store, settings.max_entries, settings.store_timeout, clock)
