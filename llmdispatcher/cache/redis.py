"""Entries on a Redis server: one key each, which the server expires. Needs the extra ``redis``.

A client belongs to the process that made it; a forked child makes its own and leaves the inherited one alone. A server that fails
is not asked again for :data:`REST`, so a server that is down costs a call at most one time-out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, SupportsBytes, TypeVar

from ..errors import ConfigError
from ..runtime import Clock, new_lock
from ..types import copy_self, refuse_pickling
from .entry import VERSION
from .store import StoreStats

T = TypeVar("T")

PREFIX = f"llmdispatcher:answer:{VERSION}:"
REST = 1.0
"""Seconds that a failed server is not asked."""

_PAGE = 500
_inherited: list[Any] = []
"""Clients of a parent process, kept so that they are not closed here: that would write to the parent's connections."""


class Resting(ConnectionError):
    """The server has just failed, and is not asked."""


def check_installed() -> None:
    """Raise :class:`ConfigError` if the extra is missing."""
    if find_spec("redis") is None:
        raise ConfigError("cache.store: a Redis server needs the extra 'redis'; install llmdispatcher[redis], or use a file")


class RedisStore:
    """Entries on a server, shared by all its clients; its own ``maxmemory-policy`` bounds their number."""

    __copy__, __reduce__ = copy_self, refuse_pickling

    def __init__(self, url: str, timeout: float, clock: Clock) -> None:
        self._url = url
        self._timeout = timeout
        self._clock = clock
        self._lock = new_lock()
        self._client: Any = None
        self._pid = os.getpid()
        self._rests_until = 0.0

    def get(self, key: str) -> bytes | None:
        """Return the entry if the server has it."""
        entry: bytes | None = self._ask(lambda client: client.get(PREFIX + key))
        return entry

    def put(self, key: str, entry: SupportsBytes, ttl: float) -> int:
        """Store an entry, which the server expires."""
        data = bytes(entry)
        self._ask(lambda client: client.set(PREFIX + key, data, px=max(1, round(ttl * 1000))))
        return 0

    def clear(self) -> None:
        """Delete all entries of the library, page by page, and nothing else."""
        self._ask(_clear)

    def close(self) -> None:
        """Close the connections of this process."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()

    def _ask(self, ask: Callable[[Any], T]) -> T:
        if self._clock.monotonic() < self._rests_until:
            raise Resting
        try:
            answer = ask(self._own())
        except Exception:
            self._rests_until = self._clock.monotonic() + REST
            raise
        return answer

    def _own(self) -> Any:
        """The client of this process."""
        with self._lock:
            if self._pid != os.getpid():
                _inherited.append(self._client)
                self._client, self._pid, self._rests_until = None, os.getpid(), 0.0
            client = self._client
        if client is not None:
            return client
        made = self._connect()
        with self._lock:
            self._client = self._client or made
            return self._client

    def _connect(self) -> Any:
        """A client without a connection. A closed connection is opened again, a time-out is not retried."""
        redis = import_module("redis")
        once = import_module("redis.retry").Retry(import_module("redis.backoff").NoBackoff(), 1, (redis.ConnectionError,))
        return redis.Redis.from_url(
            self._url, socket_timeout=self._timeout, socket_connect_timeout=self._timeout, retry=once, decode_responses=False
        )


def _clear(client: Any) -> None:
    page: list[Any] = []
    for name in client.scan_iter(match=f"{PREFIX}*", count=_PAGE):
        page.append(name)
        if len(page) == _PAGE:
            client.unlink(*page)
            page = []
    if page:
        client.unlink(*page)


def inspect_server(url: str) -> StoreStats:
    """Count the entries on a server. Raises :class:`ConfigError` if it cannot be asked."""
    check_installed()
    redis = import_module("redis")
    try:
        with contextlib.closing(redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)) as client:
            return StoreStats(entries=sum(1 for _ in client.scan_iter(f"{PREFIX}*", count=1000)))
    except (redis.RedisError, OSError, ValueError, TypeError) as error:  # the last two of a parameter behind the ?
        raise ConfigError(f"cache.store: the server cannot be asked ({type(error).__name__})") from None
