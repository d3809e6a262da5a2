"""The protocol of a store (bytes by key, for a time), and the store in memory.

The store in memory has a time to live; when it is full, it drops the least recently used entry. A store may raise anything: the
cache keeps its failures away from calls.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol, SupportsBytes

import attrs

from ..runtime import Clock, new_lock


class MemoryStore:
    """At most so many entries; getting and putting take constant time."""

    def __init__(self, max_entries: int, clock: Clock) -> None:
        self._max_entries = max_entries
        self._clock = clock
        self._lock = new_lock()
        self._entries: OrderedDict[str, tuple[float, SupportsBytes]] = OrderedDict()

    def get(self, key: str) -> bytes | None:
        """Return the entry, which is then the last used."""
        now = self._clock.monotonic()
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                return None
            if found[0] <= now:
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
        return bytes(found[1])

    def put(self, key: str, entry: SupportsBytes, ttl: float) -> int:
        """Keep an entry."""
        until = self._clock.monotonic() + ttl
        evicted = 0
        with self._lock:
            self._entries[key] = (until, entry)
            self._entries.move_to_end(key)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)
                evicted += 1
        return evicted

    def clear(self) -> None:
        """Delete all entries."""
        with self._lock:
            self._entries = OrderedDict()

    def close(self) -> None:
        """Do nothing: there are no connections."""


@attrs.frozen(kw_only=True)
class StoreStats:
    """How many ``entries`` a store has, how many of them have ``expired``, and their ``size`` in bytes, ``None`` on a server."""

    entries: int
    expired: int = 0
    size: int | None = None


class StoreBroken(Exception):
    """The store does not work in this process any more, such as a file that is no database; the cache stops asking it."""


class StoreResting(ConnectionError):
    """The server has just failed, and is not asked."""


class Store(Protocol):
    """A store of entries; safe under threads and after a fork."""

    def get(self, key: str) -> bytes | None:
        """Return the entry of a key, unless there is none or it has expired."""

    def put(self, key: str, entry: SupportsBytes, ttl: float) -> int:
        """Keep an entry for ``ttl`` seconds; returns the number of evicted entries."""

    def clear(self) -> None:
        """Delete all entries."""

    def close(self) -> None:
        """Close connections; a later use opens new ones."""
