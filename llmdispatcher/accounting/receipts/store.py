"""Receipts and what they certify in the tables of a ledger (SQLite or PostgreSQL). An append locks the whole chain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from typing import Any

import attrs
import sqlalchemy as sa

from ..ledger.connections import lock_key
from ..ledger.ledger import Ledger
from ..ledger.queries import writing
from ..ledger.schema import Moment, Money, calls, receipt_calls, receipts
from .receipt import Range, Receipt
from .rows import ROW_FIELDS, facts_of
from .verify import CertifiedCall

_PAGE = 500
_LOCK = 5_463_789_210_008
"""The key of PostgreSQL's advisory lock, beside that of the migrations."""
_RAW = {Moment: sa.BigInteger, Money: sa.BigInteger, sa.Boolean: sa.Integer}
_ROW: list[sa.ColumnElement[Any]] = [
    sa.type_coerce(calls.c[name], _RAW.get(type(calls.c[name].type), calls.c[name].type)).label(name)
    if name != "metadata"
    else sa.cast(calls.c.metadata, sa.Text).label(name)
    for name in ROW_FIELDS
]
"""The columns as the database keeps them, so that a value that cannot be read is found, and does not end the search."""
UNSETTLED = ("open", "unknown")
"""Calls that may still change: in progress, or of a process that died and whose last row may be in a spool."""


@attrs.frozen
class StoredReceipt:
    """A row of ``receipts``."""

    sequence: int
    receipt_id: str
    receipt_type: str
    key_id: str
    created_at: datetime
    document: str


@contextmanager
def chain_transaction(ledger: Ledger) -> Iterator[sa.Connection]:
    """A transaction that has the chain to itself, among all threads and processes. Raises :class:`LedgerError`."""
    with writing(ledger) as connection:
        lock_key(connection, _LOCK)
        yield connection


def head(connection: sa.Connection) -> Receipt | None:
    """The last receipt of the chain."""
    newest = sa.select(receipts.c.document).order_by(receipts.c.sequence.desc()).limit(1)
    document = connection.execute(newest).scalar()
    return Receipt(document) if document is not None else None


def append(connection: sa.Connection, receipt: Receipt, certified: Sequence[tuple[str, str]]) -> None:
    """Write a receipt, and the rows that it certifies, by id and digest."""
    columns = {"sequence": receipt.sequence, "receipt_id": receipt.receipt_id, "receipt_type": receipt.receipt_type}
    columns |= {"key_id": receipt.key_id, "created_at": receipt.timestamp, "document": receipt.text}
    connection.execute(sa.insert(receipts).values(columns))
    if certified:
        rows = [{"call_id": call_id, "sequence": receipt.sequence, "digest": one} for call_id, one in certified]
        connection.execute(sa.insert(receipt_calls), rows)


def rows_by_id(connection: sa.Connection, ids: Sequence[str]) -> Iterator[tuple[dict[str, Any], int | None]]:
    """The facts of calls, each with the sequence of the receipt that it has already."""
    wanted = sorted(set(ids))
    for start in range(0, len(wanted), _PAGE):
        yield from _rows(connection, calls.c.id.in_(wanted[start : start + _PAGE]))


def uncertified_rows(connection: sa.Connection, wanted: Range) -> Iterator[dict[str, Any]]:
    """The facts of all settled calls in a range that have no receipt, in the order of their ids."""
    for facts, _ in _rows(connection, *_range_conditions(wanted), _is_settled(), receipt_calls.c.call_id.is_(None)):
        yield facts


def _rows(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> Iterator[tuple[dict[str, Any], int | None]]:
    query = sa.select(*_ROW, receipt_calls.c.sequence).outerjoin(receipt_calls, receipt_calls.c.call_id == calls.c.id)
    query = query.where(*where).order_by(calls.c.id).execution_options(yield_per=_PAGE)
    with connection.execute(query) as found:
        for row in found.mappings():
            yield facts_of(dict(row)), row["sequence"]


def certified_since(connection: sa.Connection, sequence: int) -> Iterator[str]:
    """The ids of calls that receipts after a sequence certify."""
    yield from connection.execute(sa.select(receipt_calls.c.call_id).where(receipt_calls.c.sequence > sequence)).scalars()


def count_certified(connection: sa.Connection, wanted: Range) -> int:
    """How many calls in a range have a receipt already."""
    query = sa.select(sa.func.count()).select_from(calls).where(*_range_conditions(wanted), _has_receipt())
    return connection.execute(query).scalar() or 0


def uncertified_ids(connection: sa.Connection, wanted: Range, limit: int) -> tuple[str, ...]:
    """The ids of the oldest settled calls in a range that have no receipt."""
    query = (
        sa.select(calls.c.id).where(*_range_conditions(wanted), _is_settled(), ~_has_receipt()).order_by(calls.c.id).limit(limit)
    )
    return tuple(connection.execute(query).scalars())


def _is_settled() -> sa.ColumnElement[bool]:
    return calls.c.status.not_in(UNSETTLED)


def _has_receipt() -> sa.ColumnElement[bool]:
    return sa.exists().where(receipt_calls.c.call_id == calls.c.id)


def _range_conditions(wanted: Range) -> list[sa.ColumnElement[bool]]:
    since, until = wanted.get("since"), wanted.get("until")
    found = [calls.c[name] == wanted[name] for name in ("origin", "id_at_origin") if wanted.get(name) is not None]
    found += [calls.c.begun_at >= since] if since is not None else []
    return found + ([calls.c.begun_at < until] if until is not None else [])


def stored_receipts(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> Iterator[StoredReceipt]:
    """The rows of receipts, in the order of the chain."""
    names = [column.name for column in attrs.fields(StoredReceipt)]
    query = sa.select(*[receipts.c[name] for name in names]).where(*where).order_by(receipts.c.sequence)
    with connection.execute(query.execution_options(yield_per=_PAGE)) as found:
        for row in found:
            yield StoredReceipt(*row)


def list_receipts(connection: sa.Connection, limit: int, before: int | None, receipt_type: str | None) -> tuple[Receipt, ...]:
    """Receipts, the newest first."""
    query: sa.Select[Any] = sa.select(receipts.c.document).order_by(receipts.c.sequence.desc()).limit(limit)
    if before is not None:
        query = query.where(receipts.c.sequence < before)
    if receipt_type is not None:
        query = query.where(receipts.c.receipt_type == receipt_type)
    return tuple([Receipt(document) for document in connection.execute(query).scalars()])


def certified_calls(
    connection: sa.Connection, first: int = 1, last: int | None = None
) -> Iterator[tuple[int, Iterable[CertifiedCall]]]:
    """The calls that receipts certify, with their present rows, by the receipt's sequence, in order."""
    noted = [receipt_calls.c.sequence, receipt_calls.c.call_id, receipt_calls.c.digest.label("noted")]
    query = sa.select(*noted, *_ROW).outerjoin(calls, calls.c.id == receipt_calls.c.call_id)
    query = query.where(receipt_calls.c.sequence >= first, *([] if last is None else [receipt_calls.c.sequence <= last]))
    query = query.order_by(receipt_calls.c.sequence, receipt_calls.c.call_id)
    with connection.execute(query.execution_options(yield_per=_PAGE)) as found:
        for sequence, rows in groupby(found.mappings(), key=lambda row: row["sequence"]):
            yield sequence, map(_certified_call, rows)


class CallsByReceipt:
    """Hands out certified calls receipt by receipt, in the order of the chain."""

    def __init__(self, groups: Iterator[tuple[int, Iterable[CertifiedCall]]]) -> None:
        self._groups = groups
        self._next = next(groups, None)

    def of(self, sequence: int) -> list[CertifiedCall]:
        """The calls of a receipt; those of missing receipts before it are skipped."""
        while self._next is not None and self._next[0] < sequence:
            self._next = next(self._groups, None)
        if self._next is None or self._next[0] != sequence:
            return []
        calls = list(self._next[1])
        self._next = next(self._groups, None)
        return calls


def _certified_call(row: sa.RowMapping) -> CertifiedCall:
    return CertifiedCall(row["call_id"], row["noted"], None if row["id"] is None else facts_of(dict(row)))
