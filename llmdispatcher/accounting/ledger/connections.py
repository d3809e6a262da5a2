"""The SQLAlchemy engine of one ledger in one process: the settings of each connection, how a write begins, and what a fork does.

What SQLite and PostgreSQL have of their own, inserts with ON CONFLICT and locks, is here as well.

PostgreSQL may stand behind a pooler that gives each transaction another connection (PgBouncer, pool_mode = transaction). So nothing
outlives a transaction: settings are made in each, locks are the transaction's, and no statement is prepared.

A read-only file of SQLite is opened as such, by a second engine that keeps no connection. An application's own engine is used as it
is, and never closed; event listeners on it concern the ledger's own connections only.

SQLite keeps the locks of an open file for the process (https://www.sqlite.org/howtocorrupt.html, 2.6), and two processes must not
use one connection to a server. So a fork waits for running statements and closes idle connections. If a statement still runs after
:data:`PATIENCE`, the child never touches its connection, and does not open that SQLite file.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, PoolProxiedConnection, QueuePool, create_engine, event, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from ...errors import LedgerError
from ...runtime import Clock, make_file, new_lock
from .address import Address
from .process import LOADING, at_fork
from .schema import PREFIX, VERSION_TABLE, calls, metadata

PATIENCE = 5.0
"""Seconds that a fork waits for running statements."""

_NAP = 0.005
"""Seconds between two tries to lock the whole file."""
_WRITES = "llmdispatcher_writes"
_OLD_NAMES = "llmdispatcher_old_names"
_PREFIXED = re.compile(rf"\b({'|'.join(metadata.tables)})\b")
_READ_ONLY = (sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
_READ_ONLY_STATES = ("42501", "25006")
"""insufficient_privilege and read_only_sql_transaction: https://www.postgresql.org/docs/current/errcodes-appendix.html"""
_all_connections: weakref.WeakSet[Connections] = weakref.WeakSet()
_inherited: list[Any] = []
"""What a parent was using when it forked. It is never closed: that would speak to the server, or drop the file's locks."""


class _Pool(QueuePool):
    """A pool that calls ``announce`` around each connect; once ``closing``, a connection that comes back is closed."""

    closing = False
    announce: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext

    def connect(self) -> PoolProxiedConnection:
        with self.announce():
            return super().connect()

    def _do_return_conn(self, record: Any) -> None:
        if self.closing:
            record.close()
        else:
            super()._do_return_conn(record)


class Connections:
    """Makes the engine at its first use, once for each process. ``timeout`` is seconds to connect and to wait for a lock.

    With ``durable`` a commit in SQLite survives a loss of power, too. ``engine`` is an application's own, to be used instead.
    """

    def __init__(
        self, address: Address, clock: Clock, *, timeout: float = 5.0, durable: bool = False, engine: Engine | None = None
    ) -> None:
        self.address = address
        self._given_engine = engine
        self._clock = clock
        self._timeout = timeout
        self._durable = durable
        self._lock = new_lock()
        self._fork_lock = new_lock()
        self._engine: Engine | None = None
        self._reader: Engine | None = None
        self._prefixed = False
        self.owned = engine is None
        """Whether the engine is the ledger's own, and with it the file, which may be renamed if it is broken."""
        self.was_ledger = False
        """Whether the file is known to be a ledger; it may break later."""
        self._connecting: set[int] = set()
        self._used: dict[int, Any] = {}
        self._alive: dict[int, Any] = {}
        self._inode: int | None = None
        self._unusable = ""
        _all_connections.add(self)

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine; raises :class:`LedgerError` in a child that was forked in the middle of a write to SQLite."""
        with self._lock:
            if self._unusable:
                raise LedgerError(f"ledger: {self._unusable}; open the ledger after the fork")
            if self._engine is None:
                self._engine = self._make_engine()
            return self._engine

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that may write; in SQLite it is the only writer from its beginning, so that it cannot fail half-way."""
        options = self._options(writes=True)
        with self._announce_work(), self.engine.connect() as connection, connection.execution_options(**options).begin():
            self._begin_transaction(connection, writes=True)
            yield connection

    @contextmanager
    def reading(self, *, untouched: bool = False) -> Iterator[Connection]:
        """One snapshot. Tables of an older version that could not be migrated are found in it by today's names.

        With ``untouched`` the file, which may be another application's, is not even switched to WAL.
        """
        options = self._options(writes=False)
        with (
            self._announce_work(),
            self._connect_to_read(untouched=untouched) as connection,
            connection.execution_options(**options).begin(),
        ):
            self._begin_transaction(connection, writes=False)
            self._find_old_names(connection)
            yield connection

    def _options(self, *, writes: bool) -> dict[str, Any]:
        """How a transaction begins. An application's engine may have its own isolation level in PostgreSQL, or autocommit."""
        own = {} if self.owned or self.address.path is not None else {"isolation_level": "READ COMMITTED"}
        return {**own, _WRITES: writes}

    def _connect_to_read(self, *, untouched: bool) -> Connection:
        path = self.address.path if self._given_engine is None else None
        if untouched and path is not None:
            return self._reading_engine().connect()
        try:
            return self.engine.connect()
        except DatabaseError as error:
            if path is None or not path.is_file() or not is_read_only(error):
                raise
        return self._reading_engine().connect()

    def _begin_transaction(self, connection: Connection, *, writes: bool) -> None:
        """Begin in an application's engine of SQLite, which may have begun by itself already."""
        if self._given_engine is None or self.address.path is None:
            return
        driver: Any = connection.connection.dbapi_connection
        if writes and driver.in_transaction:
            connection.exec_driver_sql("ROLLBACK")
        if writes or not driver.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    def _find_old_names(self, connection: Connection) -> None:
        if not self._prefixed:
            there = inspect(connection)
            self._prefixed = there.has_table(calls.name)
            if not self._prefixed and there.has_table(VERSION_TABLE):
                connection.execution_options(**{_OLD_NAMES: True})

    def same_file(self) -> bool:
        """Whether the open file is the one at the path; another process may have renamed a broken one."""
        if self.address.path is None or self._inode is None:
            return True
        with contextlib.suppress(OSError):
            return self.address.path.stat().st_ino == self._inode
        return False

    def close(self) -> None:
        """Close idle connections; the others close when they are given back."""
        with self._lock:
            engine, self._engine, self._reader, self._inode = self._engine, None, None, None
        if engine is not None and self._given_engine is None:
            engine.pool.closing = True  # type: ignore[attr-defined]  # it is a _Pool
            engine.dispose()

    def before_fork(self) -> None:
        """Let no connection begin, wait for those in use, and close the rest."""
        self._fork_lock.__enter__()
        gate = threading.Lock()
        gate.acquire()
        end = self._clock.monotonic() + PATIENCE
        while not self._close_idle() and self._clock.monotonic() < end:
            gate.acquire(timeout=0.002)

    def _close_idle(self) -> bool:
        """Close idle connections, and return whether none is left; one that is just given back counts the next time."""
        if not (self._connecting or self._used) and self._engine is not None and self._given_engine is None:
            with contextlib.suppress(SQLAlchemyError):
                self._engine.pool.dispose()
        return not (self._connecting or self._alive)

    def after_fork_in_parent(self) -> None:
        """Let connections begin again."""
        self._fork_lock.__exit__(None, None, None)

    def after_fork_in_child(self) -> None:
        """Start without connections; the lock has released itself."""
        if (self._connecting or self._alive) and self.address.path is not None:
            self._unusable = "the process was forked in the middle of a write"
        if self._given_engine is not None:  # its connections are the parent's
            _inherited.append(self._given_engine.pool)
            self._given_engine.dispose(close=False)
        elif self._connecting or self._alive:
            _inherited.extend([*self._alive.values(), self._engine])
            if self.address.path is None and self._engine is not None:
                self._engine.dispose(close=False)
        self._engine, self._reader, self._inode = None, None, None
        self._connecting, self._used, self._alive = set(), {}, {}

    def _make_engine(self) -> Engine:
        # beside an engine that was handed in, with the same pool; what the application calls its schemas is not for these tables
        engine = (
            self._create_engine() if self._given_engine is None else self._given_engine.execution_options(schema_translate_map={})
        )
        event.listen(engine, "before_cursor_execute", _use_old_names, retval=True)
        if self.address.path is None:
            event.listen(engine, "begin", self._apply_settings)
        return engine

    def _create_engine(self) -> Engine:
        path = self.address.path
        arguments = self._server_arguments() if path is None else {"timeout": self._timeout, "check_same_thread": False}
        url = URL.create("postgresql+psycopg") if path is None else URL.create("sqlite+pysqlite", database=str(path))
        with LOADING:  # of the driver
            engine = create_engine(url, poolclass=_Pool, pool_size=4, max_overflow=16, connect_args=arguments)
        self._track(engine)
        if path is None:
            event.listen(engine, "do_connect", _connect_server)
        else:
            event.listen(engine, "handle_error", _translate_corrupt)
            event.listen(engine, "do_connect", self._create_file)
            event.listen(engine, "connect", self._configure_file)
            event.listen(engine, "begin", _begin)
        return engine

    def _track(self, engine: Engine) -> None:
        """Keep account of each connection, for the next fork."""
        engine.pool.announce = self._announce  # type: ignore[attr-defined]  # it is a _Pool
        event.listen(engine, "connect", lambda connection, record: self._alive.update({id(record): connection}))
        event.listen(engine, "close", lambda _, record: self._alive.pop(id(record), None))
        event.listen(engine, "checkout", lambda connection, record, _: self._used.update({id(record): connection}))
        event.listen(engine, "checkin", lambda _, record: self._used.pop(id(record), None))

    def _reading_engine(self) -> Engine:
        """The engine for a read-only file; it keeps no connection, so that each sees what others have written since."""
        with self._lock:
            if self._reader is None:
                with LOADING:
                    engine = create_engine("sqlite+pysqlite://", poolclass=_Pool, creator=self._connect_read_only)
                engine.pool.closing = True  # type: ignore[attr-defined]  # it is a _Pool
                self._track(engine)
                event.listen(engine, "handle_error", _translate_corrupt)
                event.listen(engine, "before_cursor_execute", _use_old_names, retval=True)
                event.listen(engine, "begin", _begin)
                self._reader = engine
            return self._reader

    def _connect_read_only(self) -> Any:
        """Open the file with its log; if SQLite can make no -shm and the log is empty, without.

        https://www.sqlite.org/wal.html#read_only_databases
        """
        path = self.address.path
        assert path is not None  # nothing else is opened so
        try:
            return self._connect_by_uri(f"{path.as_uri()}?mode=ro")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _READ_ONLY:
                raise
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            raise LedgerError(
                f"ledger: {path} cannot be read where it is, since {log.name} holds calls that are not in it;"
                " copy both to a folder that may be written"
            )
        return self._connect_by_uri(f"{path.as_uri()}?mode=ro&immutable=1")

    def _connect_by_uri(self, uri: str) -> Any:
        connection = sqlite3.connect(uri, uri=True, timeout=self._timeout, check_same_thread=False, isolation_level=None)
        try:
            with _translate_text_errors():
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _server_arguments(self) -> dict[str, Any]:
        """How to connect; the address comes first. The application name is one that a pooler accepts from anybody."""
        seconds = max(1, round(self._timeout))
        own = {
            "connect_timeout": max(2, seconds),
            "fallback_application_name": "llmdispatcher ledger",
            "keepalives_idle": 30,
            "tcp_user_timeout": seconds * 2000,
        }
        return {**own, **self.address.server, "prepare_threshold": None}

    def _apply_settings(self, connection: Connection) -> None:
        """Make the settings of a transaction, which end with it; the address comes first."""
        seconds = max(1, round(self._timeout))
        limits = {
            "statement_timeout": seconds * 6000,
            "lock_timeout": seconds * 1000,
            "idle_in_transaction_session_timeout": 60_000,
        }
        settings = {**limits, **self.address.settings}
        # Said here, since SQLAlchemy's option would leave READ WRITE behind.
        if connection.get_execution_options().get(_WRITES) is False:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        settings_sql = ", ".join(["set_config(%s, %s, true)"] * len(settings))
        connection.exec_driver_sql(f"SELECT {settings_sql}", tuple([str(part) for pair in settings.items() for part in pair]))

    def _announce_work(self) -> AbstractContextManager[None]:
        """With an application's engine, whose connections are unknown, a fork waits for the whole transaction."""
        return self._announce() if self._given_engine is not None else contextlib.nullcontext()

    @contextmanager
    def _announce(self) -> Iterator[None]:
        """Note that this thread takes or opens a connection; during a fork it waits here."""
        thread = threading.get_ident()
        with self._fork_lock:
            self._connecting.add(thread)
        try:
            yield
        finally:
            self._connecting.discard(thread)

    def _create_file(self, *_: Any) -> None:
        """Create the file, readable by its owner only; SQLite gives its companions the same mode."""
        path = self.address.path
        if path is None:
            return
        try:
            make_file(path)
            self._inode = path.stat().st_ino
        except OSError as error:
            raise LedgerError(unusable_text(error, self.address.shown)) from error

    def _configure_file(self, connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        with _translate_text_errors():
            self._enable_wal(connection)
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
            connection.execute("PRAGMA journal_size_limit = 67108864")

    def _enable_wal(self, connection: Any) -> None:
        """Switch the file to WAL. If several do so with a new file, SQLite refuses all but one at once, whatever their time-out."""
        for left in range(int(self._timeout / _NAP), -1, -1):
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if not left or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                threading.Event().wait(_NAP)
            else:
                return


def _connect_server(dialect: Any, _record: Any, arguments: Any, settings: Any) -> Any:
    """Connect to a server. The driver's error holds the password, in its frames and in the connection's description."""
    try:
        return dialect.connect(*arguments, **settings)
    except dialect.loaded_dbapi.Error as error:
        failure = type(error)(*error.args)
    raise failure


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _use_old_names(connection: Connection, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
    """Rewrite a statement for tables that have no prefix yet."""
    if connection.get_execution_options().get(_OLD_NAMES):
        statement = _PREFIXED.sub(lambda found: found[1].removeprefix(PREFIX), statement)
    return statement, parameters


def _corrupt_error() -> sqlite3.DatabaseError:
    """SQLite's error for a broken file, where the driver raises another since the text in the file is not UTF-8."""
    error = sqlite3.DatabaseError("its bytes are no text")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT"
    return error


@contextmanager
def _translate_text_errors() -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError:  # of the message in which SQLite names what is broken
        raise _corrupt_error() from None


def _translate_corrupt(context: ExceptionContext) -> DatabaseError | None:
    """The error for a broken file of which the driver can decode neither a column nor SQLite's own message."""
    error = context.original_exception
    column = isinstance(error, sqlite3.OperationalError) and str(error).startswith("Could not decode to UTF-8")
    return DatabaseError(None, None, _corrupt_error()) if column or isinstance(error, UnicodeDecodeError) else None


def is_read_only(error: BaseException) -> bool:
    """Whether a database is there and only refuses writes."""
    cause = getattr(error, "orig", None) or error.__cause__ or error
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _READ_ONLY or state in _READ_ONLY_STATES


def unusable_text(error: BaseException, shown: str) -> str:
    """The text of an error for a database that fails, without its SQL and values."""
    cause = getattr(error, "orig", None) or error
    return f"ledger: {shown} cannot be used ({type(cause).__name__}); see that it exists, is a ledger, and may be written"


def insert_into(table: Any, dialect: str) -> Any:
    """An INSERT with the ON CONFLICT of ``dialect``, "sqlite" or "postgresql"."""
    return {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect](table)


def lock_table(connection: Connection, name: str, mode: str) -> None:
    """Lock a table until the transaction ends; in SQLite a transaction that writes is the only one from its beginning."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"LOCK TABLE {name} IN {mode} MODE")


def lock_key(connection: Connection, key: int) -> None:
    """Keep out all others that lock this number, until the transaction ends; SQLite needs no such lock."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({key})")


def _before_fork() -> Callable[[bool], None]:
    stopped = list(_all_connections)
    for connections in stopped:
        connections.before_fork()

    def after_fork(child: bool) -> None:
        for connections in stopped:
            (connections.after_fork_in_child if child else connections.after_fork_in_parent)()

    return after_fork


at_fork(_before_fork)
