"""How a question looks at the database: at one moment of it; and how what a database says becomes an error of this library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from ..errors import LedgerError
from .address import Address
from .schema import marks

PRUNED = "pruned"
"""The mark that tells before which microsecond retention has deleted rows."""


class Connectable(Protocol):
    """A database that can be asked and written to: a ledger, or its connections."""

    @property
    def address(self) -> Address:
        """Where it is."""

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine of this process."""

    def transaction(self) -> AbstractContextManager[Connection]:
        """A transaction that may write."""


@contextmanager
def reading(database: Connectable) -> Iterator[Connection]:
    """A view of one moment, whatever others write meanwhile. Raises :class:`~llmdispatcher.errors.LedgerError`."""
    with _translated(database, "read"), database.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


@contextmanager
def writing(database: Connectable) -> Iterator[Connection]:
    """A transaction that may write. Raises :class:`~llmdispatcher.errors.LedgerError`."""
    with _translated(database, "written"), database.transaction() as connection:
        yield connection


def pruned_before(connection: Connection) -> int:
    """The microsecond before which rows have been deleted; 0 where none have."""
    return connection.scalar(select(marks.c.value).where(marks.c.name == PRUNED)) or 0


@contextmanager
def _translated(database: Connectable, verb: str) -> Iterator[None]:
    """The database's errors without its SQL and values, which are nobody's business."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = type(getattr(error, "orig", None) or error).__name__
        shown = database.address.shown
        raise LedgerError(f"ledger: {shown} cannot be {verb} ({cause}); see that it is there, and migrate() it") from None
