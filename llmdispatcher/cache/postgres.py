"""Entries in a PostgreSQL database: one table, whose times are the server's.

Needs the extra ``postgres``, or an application's engine.

Each operation is one statement in a transaction of its own, and no statement is prepared, so a pooler that gives each transaction
another connection (PgBouncer, pool_mode = transaction) may stand in between.

No driver ends a question at a given moment: to connect takes whole seconds, and a pooler lets a client wait for minutes. So a
thread asks, and the call waits for it no longer than the time-out. A database that fails is not asked again for :data:`REST`.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple, SupportsBytes, TypeVar

from ..errors import ConfigError
from ..runtime import SYSTEM_CLOCK, Clock, TimedCalls, new_lock
from ..types import DatabaseAddress, copy_self, refuse_pickling
from .settings import ResponseCache
from .store import StoreResting, StoreStats

T = TypeVar("T")

TABLE = "llmdispatcher_answers"
REST = 1.0
"""Seconds that a failed database is not asked."""
MOST = 8
"""Connections, and threads that ask, at once; further calls wait for one within their time-out."""
_LONGEST = 60.0
"""Seconds to empty the table, and to count it."""
_LOCK = 5_463_789_210_020
"""The key of PostgreSQL's advisory lock, under which the table is made, shortened and emptied; any number that nobody else uses."""

_NOW = "extract(epoch FROM statement_timestamp())"
_SETUP = """DO $llmdispatcher$ BEGIN
    PERFORM pg_advisory_xact_lock({lock});
    {schema}
    IF to_regclass('{literal}') IS NULL THEN
        CREATE TABLE {table} (key text PRIMARY KEY, entry bytea NOT NULL, expires double precision NOT NULL);
        CREATE INDEX llmdispatcher_answers_expire ON {table} (expires);
    END IF;
END $llmdispatcher$"""
_SCHEMA = "IF to_regnamespace('{literal}') IS NULL THEN CREATE SCHEMA {schema}; END IF;"
_GET = "SELECT entry FROM {table} WHERE key = %s AND expires > {now}"
_PUT = (
    "INSERT INTO {table} (key, entry, expires) VALUES (%s, %s, {now} + %s)"
    " ON CONFLICT (key) DO UPDATE SET entry = excluded.entry, expires = excluded.expires"
)
_ALONE = "WITH turn AS (SELECT pg_try_advisory_xact_lock({lock}) AS mine) DELETE FROM {table} AS t USING turn WHERE turn.mine AND "
_EXPIRED = _ALONE + "t.expires <= {now}"
_SURPLUS = _ALONE + "t.key IN (SELECT key FROM {table} ORDER BY expires DESC, key OFFSET %s)"  # noqa: S608 - names of ours
_CLEAR = "WITH turn AS (SELECT pg_advisory_xact_lock({lock})) DELETE FROM {table} AS t USING turn"
_COUNT = "SELECT count(*), coalesce(sum(length(entry)), 0), count(*) FILTER (WHERE expires <= {now}) FROM {table}"

_inherited: list[Any] = []
"""Connections of a parent process, kept so that they are not closed here: that would write to the parent's."""


class _Session(NamedTuple):
    """A connection whose statements commit by themselves. ``run`` returns the first row, if there are any, and their number."""

    run: Callable[..., tuple[Any, int]]
    close: Callable[[], None]


def check_installed(settings: ResponseCache) -> None:
    """Raise :class:`ConfigError` if the extra is missing. The driver is loaded now, since a fork may come later."""
    if settings.engine is None and find_spec("psycopg") is None:
        raise ConfigError("cache.store: a PostgreSQL database needs the extra 'postgres'; install llmdispatcher[postgres]")
    if settings.engine is None:
        import_module("psycopg")


class PostgresStore:
    """At most so many entries in a table, which all processes share that name the same database and schema."""

    __copy__, __reduce__ = copy_self, refuse_pickling

    def __init__(self, settings: ResponseCache, clock: Clock) -> None:
        self._settings = settings
        self._open = _opener(settings)
        schema = DatabaseAddress.quote_schema(settings.schema) if settings.schema is not None else None
        self._schema = schema
        self._table = TABLE if schema is None else f"{schema}.{TABLE}"
        self._clock = clock
        self._lock = new_lock()
        self._calls = TimedCalls(MOST)
        self._idle: list[_Session] = []
        self._pid = os.getpid()
        self._rests_until = 0.0
        self._is_ready = False
        self._puts = 0
        weakref.finalize(self, _close_all, self._idle, self._pid)

    def get(self, key: str) -> bytes | None:
        """Return the entry, unless it has expired."""
        row, _ = self._ask(lambda session: session.run(self._sql(_GET), key))
        return bytes(row[0]) if row is not None else None

    def put(self, key: str, entry: SupportsBytes, ttl: float) -> int:
        """Store an entry; every thousandth of ``max_entries`` puts, surplus entries are deleted."""
        data, most = bytes(entry), self._settings.max_entries
        self._puts += 1
        shorten = self._puts % max(1, most // 1000) == 0

        def work(session: _Session) -> int:
            session.run(self._sql(_PUT), key, data, ttl)
            if not shorten:
                return 0
            session.run(self._sql(_EXPIRED))
            return session.run(self._sql(_SURPLUS), most)[1]

        return self._ask(work)

    def clear(self) -> None:
        """Delete all entries, for all processes."""
        self._ask(lambda session: session.run(self._sql(_CLEAR)), _LONGEST)

    def count(self) -> StoreStats:
        """Count the entries; makes no table. Raises what the driver raises."""
        row, _ = self._ask(lambda session: session.run(self._sql(_COUNT)), _LONGEST, make=False)
        return StoreStats(entries=row[0], expired=row[2], size=int(row[1]))

    def close(self) -> None:
        """Close idle connections."""
        if self._pid == os.getpid():
            _close_all(self._idle, self._pid)

    def _sql(self, text: str) -> str:
        table = self._table.replace("%", "%%") if "%s" in text else self._table  # as the driver reads a text with values
        return text.format(table=table, now=_NOW, lock=_LOCK)

    def _ask(self, work: Callable[[_Session], T], patience: float | None = None, *, make: bool = True) -> T:
        """Let a thread ask, and wait for it. Raises :class:`TimeoutError` when it takes too long, and what the driver raises."""
        if self._clock.monotonic() < self._rests_until:
            raise StoreResting
        self._forget_parents()
        try:
            return self._calls.run(partial(self._run, work, make), patience or self._settings.store_timeout)
        except Exception:
            self._rests_until, self._is_ready = self._clock.monotonic() + REST, False
            raise

    def _forget_parents(self) -> None:
        """Begin without connections in a forked child: those that there are belong to the parent."""
        with self._lock:
            if self._pid != os.getpid():
                _inherited.extend(self._idle)
                self._idle, self._pid = [], os.getpid()
                weakref.finalize(self, _close_all, self._idle, self._pid)
                if self._settings.engine is not None:
                    _inherited.append(self._settings.engine.pool)
                    self._settings.engine.dispose(close=False)

    def _run(self, work: Callable[[_Session], T], make: bool) -> T:
        """Ask on a connection that is idle, or on a new one; also after one that the server has closed meanwhile."""
        session = self._take_idle()
        if session is None and self._settings.engine is None:
            return self._try(self._open(), work, make)
        try:
            return self._try(session or self._open(), work, make)
        except Exception:  # noqa: BLE001 - if it has another reason, that comes again
            return self._try(self._open(), work, make)

    def _try(self, session: _Session, work: Callable[[_Session], T], make: bool) -> T:
        try:
            if make and not self._is_ready:
                self._make_table(session)
            answer = work(session)
        except BaseException:
            session.close()
            self.close()  # the others are as old
            raise
        with self._lock:
            keep = len(self._idle) < MOST and self._settings.engine is None
            if keep:
                self._idle.append(session)
        if not keep:
            session.close()
        return answer

    def _take_idle(self) -> _Session | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _make_table(self, session: _Session) -> None:
        """Make the table if it is not there; another process may make it at the same moment."""
        if not self._is_there(session):
            schema = "" if self._schema is None else _SCHEMA.format(literal=_literal(self._schema), schema=self._schema)
            try:
                session.run(_SETUP.format(lock=_LOCK, schema=schema, literal=_literal(self._table), table=self._table))
            except Exception:
                if not self._is_there(session):
                    raise
        self._is_ready = True

    def _is_there(self, session: _Session) -> bool:
        row, _ = session.run("SELECT to_regclass(%s)::text", self._table)
        return row[0] is not None


def _literal(text: str) -> str:
    """A text between the quotes of SQL."""
    return text.replace("'", "''")


def _close_all(sessions: list[_Session], pid: int) -> None:
    """Close connections of this process one by one, so that no two threads take the same."""
    while sessions and pid == os.getpid():
        try:
            session = sessions.pop()
        except IndexError:
            return
        session.close()


def _opener(settings: ResponseCache) -> Callable[[], _Session]:
    """The function that opens a connection, or takes one of the application's engine."""
    if settings.engine is not None:
        return partial(_borrow, settings.engine)
    found = DatabaseAddress.of(settings.store, "cache.store")
    seconds = max(2, round(settings.store_timeout))
    own = {
        "connect_timeout": seconds,
        "fallback_application_name": "llmdispatcher cache",
        "keepalives_idle": 30,
        "tcp_user_timeout": seconds * 1000,
    }
    arguments = {**own, **found.server, "autocommit": True, "prepare_threshold": None}
    return partial(_connect, arguments, found.settings)


def _connect(arguments: Mapping[str, Any], settings: Mapping[str, str]) -> _Session:
    """Connect with psycopg. The driver's error holds the password, in its frames and in the connection's description."""
    psycopg = import_module("psycopg")
    try:
        connection = psycopg.connect(**arguments)
    except psycopg.Error as error:
        failure = type(error)("the connection failed")
    else:
        return _Session(partial(_run_alone, connection, settings), connection.close)
    raise failure


def _run_alone(connection: Any, settings: Mapping[str, str], sql: str, *values: Any) -> tuple[Any, int]:
    """Run a statement; where there are settings, in a transaction that has them."""
    with connection.transaction() if settings else nullcontext():
        for setting in settings.items():
            connection.execute("SELECT set_config(%s, %s, true)", setting)
        cursor = connection.execute(sql, values or None)
        return (cursor.fetchone() if cursor.description is not None else None), cursor.rowcount


def _borrow(engine: Any) -> _Session:
    """Take a connection of an application's engine."""
    connection = engine.connect()

    def run(sql: str, *values: Any) -> tuple[Any, int]:
        result = connection.exec_driver_sql(sql, values or None)
        return (result.fetchone() if result.returns_rows else None), result.rowcount

    try:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
    except BaseException:
        connection.close()
        raise
    return _Session(run, connection.close)


def inspect_database(settings: ResponseCache) -> StoreStats:
    """Count the entries in a database; changes nothing. Raises :class:`ConfigError` if there is no table of answers."""
    check_installed(settings)
    store = PostgresStore(settings, SYSTEM_CLOCK)
    try:
        return store.count()
    except Exception as error:  # noqa: BLE001 - a driver of the application's may raise anything
        raise ConfigError(
            f"cache.store: {settings.place} cannot be reached, or holds no answers yet ({type(error).__name__}); a first answer"
            " makes the table"
        ) from None
    finally:
        store.close()
