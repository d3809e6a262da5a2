"""Writes calls out, page by page, oldest first: a file of any size takes the memory of one page, and no long transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, literal, select, tuple_, type_coerce

from .calls import spanned
from .files import opened, sink_of
from .records import ExportReport
from .rows import ATTEMPT, CALL
from .schema import attempts, calls
from .selection import selection_of
from .sums import from_days
from .units import dollars, moment
from .views import Connectable, reading

PAGE = 5000
"""Calls that are read at once."""

_IN_UNITS = ("begun_at", "ended_at", "cost")
_EVER = range(4_000_000)  # days

Record = dict[str, Any]
"""A call as an export has it: by the names of the columns, times as aware datetimes, money as ``Decimal`` dollars."""


def export_logs(
    database: Connectable, target: Any, asked: Mapping[str, Any], progress: Callable[[int, int | None], None] | None
) -> Any:
    """What :meth:`~llmdispatcher.ledger.Ledger.export_usage_logs` gives."""
    if target is None:
        return [record for page in exported(database, asked) for record in page]
    sink = sink_of(target, asked.get("format"), attempts=bool(asked.get("attempts")))
    total, done = _total(database, asked) if progress is not None else None, 0
    with opened(target) as stream, sink(stream) as write:
        for page in exported(database, asked):
            write(page)
            done += len(page)
            if progress is not None:
                progress(done, total)
    return ExportReport(rows=done)


def exported(database: Connectable, asked: Mapping[str, Any]) -> Iterator[list[Record]]:
    """Pages of calls that have ended, by when they began and by id; with their attempts where ``attempts`` says so."""
    begun = type_coerce(calls.c.begun_at, BigInteger)
    within: list[ColumnElement[bool]] = [*selection_of(asked).of_calls(), *spanned(asked), calls.c.status != "open"]
    query = select(*[_in_units(calls.c[name]) for name in CALL]).order_by(begun, calls.c.id).limit(PAGE)
    last: tuple[int, str] | None = None
    while True:
        behind = [tuple_(begun, calls.c.id) > tuple_(literal(last[0]), literal(last[1]))] if last is not None else []
        with reading(database) as connection:
            rows = connection.execute(query.where(*within, *behind)).all()
            tried = _attempts(connection, [row.id for row in rows]) if asked.get("attempts") and rows else None
        if not rows:
            return
        last = (rows[-1].begun_at, rows[-1].id)
        yield [_record(CALL, row, tried) for row in rows]


def _in_units(column: Any) -> Any:
    return type_coerce(column, BigInteger).label(column.name) if column.name in _IN_UNITS else column


def _record(names: Sequence[str], row: Sequence[Any], tried: Mapping[str, list[Record]] | None = None) -> Record:
    record = dict(zip(names, row, strict=True))
    record["begun_at"] = moment(record["begun_at"])
    if record.get("ended_at") is not None:
        record["ended_at"] = moment(record["ended_at"])
    if record["cost"] is not None:
        record["cost"] = dollars(record["cost"])
    if tried is not None:
        record["attempt_records"] = tried.get(record["id"], [])
    return record


def _attempts(connection: Connection, ids: Sequence[str]) -> dict[str, list[Record]]:
    query = select(*[_in_units(attempts.c[name]) for name in ATTEMPT]).order_by(attempts.c.call_id, attempts.c.number)
    found: dict[str, list[Record]] = {}
    for row in connection.execute(query.where(attempts.c.call_id.in_(ids))):
        record = _record(ATTEMPT, row)
        found.setdefault(record.pop("call_id"), []).append(record)
    return found


def _total(database: Connectable, asked: Mapping[str, Any]) -> int | None:
    """How many calls there will be, where the sums by day can tell that."""
    selection = selection_of(asked)
    if selection.beyond_days or asked.get("start") is not None or asked.get("end") is not None:
        return None
    with reading(database) as connection:
        sums = from_days(connection, _EVER, selection)
    return sums.get((), {}).get("calls", 0)
