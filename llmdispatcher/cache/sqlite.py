"""Entries in an SQLite file that processes share: one connection for each active thread, none across a fork.

SQLite keeps the locks of an open file for the process (https://www.sqlite.org/howtocorrupt.html, 2.6), so a forked child would
believe that it holds its parent's. A fork therefore waits for running statements, closes idle connections, and lets no statement
begin until it is over. If one still runs after :data:`PATIENCE`, the child does not use the file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import SupportsBytes
from urllib.parse import quote

from ..errors import ConfigError
from ..runtime import SYSTEM_CLOCK, Clock, make_file, new_lock, on_fork
from .store import StoreBroken, StoreStats

PATIENCE = 0.5
"""Seconds that a fork waits for a running query."""

MOST_IDLE = 8
"""Connections that are kept open for the next thread."""

_RUINED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SETUP = """
    CREATE TABLE IF NOT EXISTS llmdispatcher_answers
    (key TEXT PRIMARY KEY, entry BLOB NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS llmdispatcher_answers_expire ON llmdispatcher_answers (expires);
"""
_GET = "SELECT entry FROM llmdispatcher_answers WHERE key = ? AND expires > ?"
_PUT = "INSERT OR REPLACE INTO llmdispatcher_answers (key, entry, expires) VALUES (?, ?, ?)"
_EXPIRED = "DELETE FROM llmdispatcher_answers WHERE expires <= ?"
_SURPLUS = """
    DELETE FROM llmdispatcher_answers WHERE key IN
    (SELECT key FROM llmdispatcher_answers ORDER BY expires DESC, key LIMIT -1 OFFSET ?)
"""
_COUNT = "SELECT COUNT(*), COALESCE(SUM(LENGTH(entry)), 0), COALESCE(SUM(expires <= ?), 0) FROM llmdispatcher_answers"
_CLEAR = "DELETE FROM llmdispatcher_answers"

_stores: weakref.WeakSet[SqliteStore] = weakref.WeakSet()
_inherited: list[sqlite3.Connection] = []
"""Connections of a parent that forked without telling Python; not even closed here."""


class SqliteStore:
    """At most so many entries in a file, which is made readable for its owner only. Entries expire by the wall clock."""

    def __init__(self, path: str, max_entries: int, timeout: float, clock: Clock) -> None:
        self._path = path
        self._max_entries = max_entries
        self._timeout = timeout
        self._clock = clock
        self._lock = new_lock()
        self._idle: list[sqlite3.Connection] = []
        self._busy = 0
        self._puts = 0
        self._forking = False
        self._drained: threading.Lock | None = None
        self._pid = os.getpid()
        self._broken = ""
        weakref.finalize(self, _close_all, self._idle, self._pid)
        _stores.add(self)

    def get(self, key: str) -> bytes | None:
        """Return the entry, unless it has expired."""
        with self._borrow() as connection:
            if connection is None:
                return None
            row = connection.execute(_GET, (key, self._now())).fetchone()
            return row[0] if row is not None else None

    def put(self, key: str, entry: SupportsBytes, ttl: float) -> int:
        """Store an entry; every thousandth of ``max_entries`` puts, surplus entries are deleted."""
        with self._borrow() as connection:
            if connection is None:
                return 0
            now = self._now()
            connection.execute(_PUT, (key, bytes(entry), now + ttl))
            self._puts += 1
            if self._puts % max(1, self._max_entries // 1000):
                return 0
            connection.execute(_EXPIRED, (now,))
            return connection.execute(_SURPLUS, (self._max_entries,)).rowcount

    def clear(self) -> None:
        """Delete all entries, for all processes."""
        with self._borrow() as connection:
            if connection is not None:
                connection.execute(_CLEAR)

    def close(self) -> None:
        """Close idle connections."""
        if self._pid == os.getpid():
            _close_all(self._idle, self._pid)

    def before_fork(self) -> None:
        """Close idle connections, and wait for the others."""
        with self._lock:
            self._forking = True
            self._drained = threading.Lock()
            self._drained.acquire()
            waited_for = self._busy
        _close_all(self._idle, self._pid)
        if waited_for:
            self._drained.acquire(timeout=PATIENCE)

    def after_fork(self) -> None:
        """Allow statements again, in the parent and in the child."""
        self._forking, self._drained = False, None

    def _now(self) -> float:
        return self._clock.now().timestamp()

    @contextmanager
    def _borrow(self) -> Iterator[sqlite3.Connection | None]:
        """A connection for this thread alone; ``None`` during a fork."""
        if not self._begin():
            yield None
            return
        connection: sqlite3.Connection | None = None
        try:
            connection = self._take_idle() or self._connect()
            yield connection
            with self._lock:
                if len(self._idle) < MOST_IDLE and not self._forking:
                    self._idle.append(connection)
                    connection = None
        except sqlite3.DatabaseError as error:
            self._judge(error)
            raise  # a lock may be gone the next time
        finally:
            if connection is not None:
                connection.close()
            self._end()

    def _take_idle(self) -> sqlite3.Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _begin(self) -> bool:
        with self._lock:
            if self._pid != os.getpid():
                self._reset_after_fork()
            if self._broken:
                raise StoreBroken(self._broken)
            if not self._forking:
                self._busy += 1
            return not self._forking

    def _reset_after_fork(self) -> None:
        """Reset the state in a forked child."""
        if self._idle or self._busy:
            self._broken = "a connection was open at the fork"
            _inherited.extend(self._idle)
        self._idle, self._busy, self._forking, self._pid = [], 0, False, os.getpid()
        weakref.finalize(self, _close_all, self._idle, self._pid)

    def _end(self) -> None:
        with self._lock:
            self._busy -= 1
            if self._busy <= 0 and self._drained is not None:
                with contextlib.suppress(RuntimeError):
                    self._drained.release()

    def _judge(self, error: sqlite3.DatabaseError) -> None:
        """Give up a file that is corrupt or no database of ours; it stays as it is."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _RUINED:
            self._broken = error.sqlite_errorname
            raise StoreBroken(self._broken) from error

    def _connect(self) -> sqlite3.Connection:
        make_file(self._path)
        connection = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        try:
            with contextlib.suppress(sqlite3.OperationalError):  # another connection is just doing it, and it holds for the file
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SETUP)
        except BaseException:
            connection.close()
            raise
        return connection


def _close_all(connections: list[sqlite3.Connection], pid: int) -> None:
    """Close connections of this process one by one, so that no two threads take the same."""
    while connections and pid == os.getpid():
        with contextlib.suppress(IndexError):
            connections.pop().close()


_turn = new_lock()
"""Held while a thread forks: another thread must not fork while this one closes connections."""


def _before_fork() -> None:
    _turn.__enter__()
    for store in list(_stores):
        store.before_fork()


def _after_fork() -> None:
    for store in list(_stores):
        store.after_fork()


def _after_fork_in_parent() -> None:
    _after_fork()
    _turn.__exit__(None, None, None)


on_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork)


def inspect_file(path: Path) -> StoreStats:
    """Count the entries in a file, read-only. Raises :class:`ConfigError` if it is no store."""
    if not path.is_file():
        raise ConfigError(f"cache.store: {str(path)!r} is not there; a first answer makes it")
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=5)) as connection:
            entries, size, expired = connection.execute(_COUNT, (SYSTEM_CLOCK.now().timestamp(),)).fetchone()
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"cache.store: {str(path)!r} is no store of answers ({error})") from None
    return StoreStats(entries=entries, expired=expired, size=size)
