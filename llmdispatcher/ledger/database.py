"""The writer's way to the database: whatever goes wrong there is translated here, into away, refused, or ruined.

Away passes: a lock, a full disk, a server that restarts. Refused is a single row that no database would take; it is kept beside the
spool. A ruined file of SQLite is put aside under another name, never deleted, and a new one begun.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from ..clock import Clock
from ..errors import LedgerError
from .connections import Connections
from .desk import Away
from .migrating import APPLICATION, VERSION_TABLE, migrate
from .process import this
from .rows import Row
from .spool import Rows
from .store import Store

logger = logging.getLogger(__name__)
T = TypeVar("T")
_RUINED = (11, 26)  # SQLITE_CORRUPT and SQLITE_NOTADB: https://www.sqlite.org/rescode.html
_COMPANIONS = ("", "-wal", "-shm")


class Database:
    """A :class:`~llmdispatcher.ledger.desk.Desk` at a real database."""

    def __init__(self, connections: Connections, clock: Clock, writer: str, refused: Path) -> None:
        self.aside = 0
        self._connections = connections
        self._clock = clock
        self._refused = refused
        self._store = Store(connections, clock, writer, this())

    def open(self) -> None:
        """Connect, make the tables, and say that this process lives."""
        self._done(lambda: migrate(self._connections))
        self.beat()

    def write(self, rows: Rows, writer: str | None = None) -> tuple[int, int]:
        """Write rows, of another writer where it is named; gives how many were written and how many refused."""
        calls, attempts = rows
        try:
            self._done(lambda: self._store.write(calls, attempts, writer))
        except (DataError, IntegrityError, StatementError, OverflowError, ValueError, TypeError):
            return self._one_by_one(rows, writer)
        return len(calls) + len(attempts), 0

    def beat(self) -> None:
        """Say again that this process lives."""
        self._done(self._store.beat)

    def reconcile(self) -> int:
        """Mark what dead processes left open as unknown."""
        return self._done(self._store.reconcile)

    def leave(self, *, idle: bool) -> None:
        """Close."""
        with contextlib.suppress(SQLAlchemyError, LedgerError, OSError):
            if idle:
                self._store.leave()
        self._connections.close()

    def _done(self, work: Callable[[], T]) -> T:
        """What ``work`` gives; a second time, where the file had to be put aside or another had done that."""
        for again in (True, False):
            try:
                if not self._connections.same_file():
                    self._connections.close()
                    migrate(self._connections)
                return work()
            except (DataError, IntegrityError):
                raise
            except (DatabaseError, LedgerError) as error:
                if not (again and (_was_cut_off(error) or (_is_ruined(error) and self._put_aside()))):
                    raise Away(_name(error)) from None
            except (SQLAlchemyError, OSError) as error:
                if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
                    raise
                raise Away(_name(error)) from None
        raise Away("it was put aside")

    def _one_by_one(self, rows: Rows, writer: str | None) -> tuple[int, int]:
        written = refused = 0
        single: list[Rows] = [([row], []) for row in rows[0]]
        single += [([], [row]) for row in rows[1]]
        for one in single:
            try:
                self._done(partial(self._store.write, *one, writer))
                written += 1
            except (DataError, IntegrityError, StatementError, OverflowError, ValueError, TypeError) as error:
                self._keep((*one[0], *one[1])[0], error)
                refused += 1
        return written, refused

    def _keep(self, row: Row, error: Exception) -> None:
        """A row that no database takes must not stop the others; people can look at it."""
        logger.error("the ledger's database refuses a row (%s); it is kept in %s", _name(error), self._refused)
        with contextlib.suppress(OSError):
            self._refused.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._refused, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
            with os.fdopen(file, "w") as lines:
                lines.write(json.dumps({"why": _name(error), "row": row}, default=str) + "\n")

    def _put_aside(self) -> bool:
        """Give the broken file another name, unless another process has; False for a file that was never a ledger."""
        path = self._connections.address.path
        if path is None:
            return False
        with _only_one(path):
            if self._connections.same_file():
                if not _was_ledger(path):
                    return False
                self._connections.close()
                name = f"{path}.broken-{self._clock.now():%Y%m%dT%H%M%S%f}"
                for suffix in _COMPANIONS:
                    with contextlib.suppress(FileNotFoundError):
                        Path(f"{path}{suffix}").rename(f"{name}{suffix}")
                logger.critical("the ledger's file is broken; it is now %s, and a new one was begun", name)
                self.aside += 1
            self._connections.close()
            migrate(self._connections)
            self._store.beat()
        return True


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Let one process at a time decide about a file."""
    lock = os.open(f"{path}.aside", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _was_ledger(path: Path) -> bool:
    """Whether the file's head or its definitions say so: a wrong path must not move another's file."""
    with path.open("rb") as file:
        beginning = file.read(1 << 20)
    return beginning[68:72] == APPLICATION.to_bytes(4, "big") or VERSION_TABLE.encode() in beginning


def _is_ruined(error: Exception) -> bool:
    cause = getattr(error, "orig", None) or error.__cause__ or error.__context__
    cause = getattr(cause, "orig", None) or cause
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _RUINED


def _was_cut_off(error: Exception) -> bool:
    """Whether the server had ended the connection, as it does with idle ones; the next one is new."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _name(error: Exception) -> str:
    """The kind of an error; its text may hold an address, a password or a row."""
    known = error.__cause__ if isinstance(error, LedgerError) and error.__cause__ is not None else error
    cause = getattr(known, "orig", None) or known
    return str(getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or type(cause).__name__)
