"""How a question looks at the database: at one moment of it; and how what a database says becomes an error of this library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from ..errors import LedgerError
from .schema import marks

if TYPE_CHECKING:
    from .ledger import Ledger

PRUNED = "pruned"
"""The mark that tells before which microsecond retention has deleted rows."""


@contextmanager
def reading(ledger: Ledger) -> Iterator[Connection]:
    """A view of one moment, whatever others write meanwhile. Raises :class:`~llmdispatcher.errors.LedgerError`."""
    with _translated(ledger, "read"), ledger.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


@contextmanager
def writing(ledger: Ledger) -> Iterator[Connection]:
    """A transaction that may write. Raises :class:`~llmdispatcher.errors.LedgerError`."""
    with _translated(ledger, "written"), ledger.writing() as connection:
        yield connection


def pruned_before(connection: Connection) -> int:
    """The microsecond before which rows have been deleted; 0 where none have."""
    return connection.scalar(select(marks.c.value).where(marks.c.name == PRUNED)) or 0


@contextmanager
def _translated(ledger: Ledger, verb: str) -> Iterator[None]:
    """The database's errors without its SQL and values, which are nobody's business."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = type(getattr(error, "orig", None) or error).__name__
        shown = ledger.address.shown
        raise LedgerError(f"ledger: {shown} cannot be {verb} ({cause}); see that it is there, and migrate() it") from None
