"""The SQLAlchemy engine of one ledger in one process: the settings of each connection, how a write begins, and what a fork does.

SQLite keeps the locks of an open file for the process (https://www.sqlite.org/howtocorrupt.html, 2.6), and two processes must not
use one connection to a server. So a fork waits for running statements and closes idle connections. If a statement still runs after
:data:`PATIENCE`, the child never touches its connection, and does not open that SQLite file.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, PoolProxiedConnection, QueuePool, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from ...errors import LedgerError
from ...runtime import Clock, make_file, new_lock
from .address import Address
from .process import LOADING, at_fork

PATIENCE = 5.0
"""Seconds that a fork waits for what is under way."""

_NAP = 0.005
"""Seconds between two tries to get the whole of a file."""
_WRITES = "llmdispatcher_writes"
_opened: weakref.WeakSet[Connections] = weakref.WeakSet()
_inherited: list[Any] = []
"""What a parent was using when it forked; not even closed here, since closing speaks to the server or drops the file's locks."""


class _Pool(QueuePool):
    """Where a connection is asked for by way of its owner; one that comes back when all is ``over`` is closed, and not kept."""

    over = False
    passing: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext

    def connect(self) -> PoolProxiedConnection:
        with self.passing():
            return super().connect()

    def _do_return_conn(self, record: Any) -> None:
        if self.over:
            record.close()
        else:
            super()._do_return_conn(record)


class Connections:
    """Makes the engine at its first use, once for each process. ``timeout`` is seconds to connect and to wait for a lock.

    With ``durable`` a commit in SQLite outlives a loss of power too.
    """

    def __init__(self, address: Address, clock: Clock, *, timeout: float = 5.0, durable: bool = False) -> None:
        self.address = address
        self._clock = clock
        self._timeout = timeout
        self._durable = durable
        self._lock = new_lock()
        self._turn = new_lock()
        self._engine: Engine | None = None
        self._beginning: set[int] = set()
        self._out: dict[int, Any] = {}
        self._alive: dict[int, Any] = {}
        self._inode: int | None = None
        self._broken = ""
        _opened.add(self)

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine; raises :class:`LedgerError` in a child that was forked in the middle of a write to SQLite."""
        with self._lock:
            if self._broken:
                raise LedgerError(f"ledger: {self._broken}; open the ledger after the fork")
            if self._engine is None:
                self._engine = self._made()
            return self._engine

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that may write; in SQLite it has the only pen from its beginning, so that it cannot fail half-way."""
        with self.engine.connect() as connection, connection.execution_options(**{_WRITES: True}).begin():
            yield connection

    def same_file(self) -> bool:
        """Whether the file that is open is the one that is there; another process may have put a broken one aside."""
        if self.address.path is None or self._inode is None:
            return True
        with contextlib.suppress(OSError):
            return self.address.path.stat().st_ino == self._inode
        return False

    def close(self) -> None:
        """Close what is idle; what is in use closes when it is given back."""
        with self._lock:
            engine, self._engine, self._inode = self._engine, None, None
        if engine is not None:
            engine.pool.over = True  # type: ignore[attr-defined]  # it is a _Pool
            engine.dispose()

    def before_fork(self) -> None:
        """Let nobody begin, wait for those at work, close the rest."""
        self._turn.__enter__()
        gate = threading.Lock()
        gate.acquire()
        end = self._clock.monotonic() + PATIENCE
        while not self._closed() and self._clock.monotonic() < end:
            gate.acquire(timeout=0.002)

    def _closed(self) -> bool:
        """Whether no connection is left, after closing those that are idle; one that is just given back is seen the next time."""
        if not (self._beginning or self._out) and self._engine is not None:
            with contextlib.suppress(SQLAlchemyError):
                self._engine.pool.dispose()
        return not (self._beginning or self._alive)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._turn.__exit__(None, None, None)

    def after_fork_in_child(self) -> None:
        """Begin anew; the turn has opened by itself."""
        if self._beginning or self._alive:
            _inherited.extend([*self._alive.values(), self._engine])
            if self.address.path is not None:
                self._broken = "the process was forked in the middle of a write"
            elif self._engine is not None:
                self._engine.dispose(close=False)
        self._engine, self._inode = None, None
        self._beginning, self._out, self._alive = set(), {}, {}

    def _made(self) -> Engine:
        file = self.address.path is not None
        asked = {"timeout": self._timeout, "check_same_thread": False} if file else self._server()
        with LOADING:  # of the driver
            engine = create_engine(self.address.url, poolclass=_Pool, pool_size=4, max_overflow=16, connect_args=asked)
        engine.pool.passing = self._passing  # type: ignore[attr-defined]  # it is a _Pool
        event.listen(engine, "connect", self._lives)
        event.listen(engine, "close", self._ends)
        event.listen(engine, "checkout", self._taken)
        event.listen(engine, "checkin", self._given_back)
        if file:
            event.listen(engine, "do_connect", self._prepare)
            event.listen(engine, "connect", self._introduce)
            event.listen(engine, "begin", _begin)
        return engine

    def _server(self) -> dict[str, Any]:
        seconds = max(1, round(self._timeout))
        limits = (
            f"-c statement_timeout={seconds * 6000} -c lock_timeout={seconds * 1000} -c idle_in_transaction_session_timeout=60000"
        )
        return {
            "connect_timeout": max(2, seconds),
            "options": limits,
            "application_name": "llmdispatcher ledger",
            "keepalives_idle": 30,
            "tcp_user_timeout": seconds * 2000,
        }

    @contextmanager
    def _passing(self) -> Iterator[None]:
        """A thread is about to take a connection, or to open one; while a process forks it waits here."""
        thread = threading.get_ident()
        with self._turn:
            self._beginning.add(thread)
        try:
            yield
        finally:
            self._beginning.discard(thread)

    def _lives(self, connection: Any, record: Any) -> None:
        self._alive[id(record)] = connection

    def _ends(self, _connection: Any, record: Any) -> None:
        self._alive.pop(id(record), None)

    def _taken(self, connection: Any, record: Any, _proxy: Any) -> None:
        self._out[id(record)] = connection

    def _given_back(self, _connection: Any, record: Any) -> None:
        self._out.pop(id(record), None)

    def _prepare(self, *_: Any) -> None:
        """Make the file, which only its owner may read; SQLite gives its companions the same mode."""
        path = self.address.path
        if path is None:
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_file(path)
        self._inode = path.stat().st_ino

    def _introduce(self, connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        self._keep_a_log(connection)
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
        connection.execute("PRAGMA journal_size_limit = 67108864")

    def _keep_a_log(self, connection: Any) -> None:
        """Turn the file to WAL. Of several that do so with a new one SQLite sends all but one away, whatever their time-out."""
        for left in range(int(self._timeout / _NAP), -1, -1):
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if not left or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                threading.Event().wait(_NAP)
            else:
                return


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _halt() -> Callable[[bool], None]:
    halted = list(_opened)
    for connections in halted:
        connections.before_fork()

    def go_on(child: bool) -> None:
        for connections in halted:
            (connections.after_fork_in_child if child else connections.after_fork_in_parent)()

    return go_on


at_fork(_halt)
