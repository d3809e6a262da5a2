"""What a store holds, read from outside without blocking its users or keeping it open."""

from __future__ import annotations

import contextlib
import sqlite3
from importlib import import_module
from pathlib import Path
from urllib.parse import quote

import attrs

from ..errors import ConfigError
from ..runtime import SYSTEM_CLOCK
from .redis import PREFIX, check_installed
from .settings import MEMORY, REDIS, ResponseCache

_COUNTS = """
    SELECT COUNT(*), COALESCE(SUM(LENGTH(entry)), 0), COALESCE(SUM(expires <= ?), 0), MAX(expires) FROM llmdispatcher_answers
"""


@attrs.frozen(kw_only=True)
class StoreStats:
    """How many ``entries`` there are, how many have ``expired``, and their ``size`` in bytes, ``None`` on a server."""

    entries: int
    expired: int = 0
    size: int | None = None


def inspect_store(store: str) -> StoreStats:
    """Count what is in a file or on a Redis server. Raises :class:`ConfigError` where there is no such store."""
    if store == MEMORY:
        raise ConfigError("cache.store: what is in memory ends with its process; name a file or a Redis server")
    place = ResponseCache(store=store).store
    return _on_server(place) if place.startswith(REDIS) else _in_file(Path(place))


def _in_file(path: Path) -> StoreStats:
    if not path.is_file():
        raise ConfigError(f"cache.store: {str(path)!r} is not there; a first answer makes it")
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=5)) as connection:
            entries, size, expired, _ = connection.execute(_COUNTS, (SYSTEM_CLOCK.now().timestamp(),)).fetchone()
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"cache.store: {str(path)!r} is no store of answers ({error})") from None
    return StoreStats(entries=entries, expired=expired, size=size)


def _on_server(url: str) -> StoreStats:
    check_installed()
    redis = import_module("redis")
    try:
        with contextlib.closing(redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)) as client:
            return StoreStats(entries=sum(1 for _ in client.scan_iter(f"{PREFIX}*", count=1000)))
    except (redis.RedisError, OSError, ValueError, TypeError) as error:  # the last two of a parameter behind the ?
        raise ConfigError(f"cache.store: the server cannot be asked ({type(error).__name__})") from None
