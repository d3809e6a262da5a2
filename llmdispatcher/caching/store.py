"""What a store is: bytes by key, for a time. It may fail as it likes; the cache sees to it that no call feels it."""

from __future__ import annotations

from typing import Protocol, SupportsBytes


class StoreBroken(Exception):
    """The store will not work again in this process, such as a file that is no database; the cache stops asking it."""


class Store(Protocol):
    """Where entries are kept; safe under threads and after a fork."""

    def get(self, key: str) -> bytes | None:
        """The entry of that key, if there is one that has not expired."""

    def put(self, key: str, entry: SupportsBytes, ttl: float) -> int:
        """Keep an entry for ``ttl`` seconds; gives how many others had to go for it."""

    def clear(self) -> None:
        """Forget everything."""

    def close(self) -> None:
        """Give back connections; the store opens new ones if it is used again."""
