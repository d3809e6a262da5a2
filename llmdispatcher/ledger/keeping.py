"""Writes calls that were made elsewhere: each id once, with its part of the sums by day, in one transaction."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, Connection, Integer, MetaData, SmallInteger, Table, Text, text
from sqlalchemy.dialects import postgresql, sqlite

from ..clock import Clock
from ..errors import InvalidRequest
from ..response_values import Usage
from .given import Row, id_of, row_of
from .periods import DAY
from .records import RecordedCall
from .rollups import add_rows
from .rows import ATTEMPT, CALL, bounded
from .schema import attempts as attempts_table
from .schema import calls
from .units import TOKENS, dollars, moment
from .views import Connectable, pruned_before, writing

_PLAIN = {
    JSON: JSON(none_as_null=True),
    Boolean: Boolean(),
    Integer: Integer(),
    SmallInteger: SmallInteger(),
    BigInteger: BigInteger(),
}


def _in_units(table: Table) -> Table:
    """The same table for rows that are in the units of the database already."""
    columns = [Column(column.name, _plain(column), primary_key=column.primary_key) for column in table.columns]
    return Table(table.name, MetaData(), *columns)


def _plain(column: Column[Any]) -> Any:
    kind = getattr(column.type, "impl", column.type)  # what a TypeDecorator is made of
    return _PLAIN.get(type(kind) if not isinstance(kind, type) else kind, Text())


PLAIN_CALLS, PLAIN_ATTEMPTS = _in_units(calls), _in_units(attempts_table)


def record(database: Connectable, clock: Clock, told: Mapping[str, Any]) -> RecordedCall:
    """What :meth:`~llmdispatcher.ledger.Ledger.record` gives."""
    facts, given = dict(told), told.get("id")
    usage = facts.pop("usage", None)
    if usage is not None:
        facts = {**_of_usage(usage), **facts}
    row = row_of(facts, clock.now())
    row["id"] = id_of(given) if given is not None else new_id(row["begun_at"])
    with writing(database) as connection:
        gone = held_mark(connection)
        if row["begun_at"] < gone:
            raise InvalidRequest(f"begun_at: {moment(row['begun_at']).isoformat()} is {too_old(gone)}")
        new = put(connection, [row])
    cost = dollars(row["cost"]) if row["cost"] is not None else None
    return RecordedCall(id=row["id"], new=bool(new), begun_at=moment(row["begun_at"]), cost=cost, cost_status=row["cost_status"])


def rows_of(told: Mapping[str, Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The row of a call, and of its one attempt, as the writer takes them."""
    facts = dict(told)
    status, usage = facts.pop("http_status", None), facts.pop("usage", None)
    row = row_of({**(_of_usage(usage) if usage is not None else {}), **facts})
    row["id"] = id_of(facts["id"]) if facts.get("id") is not None else new_id(row["begun_at"])
    tried = dict.fromkeys(ATTEMPT, False) | {name: row[name] for name in ATTEMPT if name in row}
    tried |= {"call_id": row["id"], "number": 1, "vendor": row["vendor"] or "", "http_status": status, "sent": None}
    tried |= {"bytes_sent": None, "bytes_received": None}
    row["metadata"] = bounded(row["metadata"]) if row["metadata"] else None
    return tuple([row[name] for name in CALL]), tuple([tried[name] for name in ATTEMPT])


def new_id(begun_at: int) -> str:
    """An id that sorts by time and that no other process gives."""
    return f"{begun_at:016x}{os.urandom(8).hex()}"


def put(connection: Connection, rows: Sequence[Row], attempts: Sequence[Row] = ()) -> set[str]:
    """Write the rows whose ids are not there, and the attempts of those; gives the ids that are new."""
    insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name]
    fresh = insert(PLAIN_CALLS).on_conflict_do_nothing(index_elements=["id"]).returning(PLAIN_CALLS.c.id)
    # in one order for all, since who writes the same id waits for the other
    new = set(connection.scalars(fresh, sorted(rows, key=itemgetter("id"))))
    if new:
        add_rows(connection, calls.c.id.in_(new))
    of_new = [attempt for attempt in attempts if attempt["call_id"] in new]
    if of_new:
        connection.execute(insert(PLAIN_ATTEMPTS).on_conflict_do_nothing(index_elements=["call_id", "number"]), of_new)
    return new


def held_mark(connection: Connection) -> int:
    """Before which microsecond calls have been deleted, and will not be until this transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE calls IN ROW EXCLUSIVE MODE"))
    return pruned_before(connection)


def too_old(gone: int) -> str:
    """Why a call of a time whose calls were deleted is not written: nobody can tell whether it was one of them."""
    day = datetime.fromtimestamp(gone // 10**6, UTC).date() if gone % DAY == 0 else moment(gone)
    return f"before {day}, up to where calls have been deleted and only their sums are kept; leave it out"


def _of_usage(usage: Any) -> dict[str, Any]:
    if not isinstance(usage, Usage):
        raise InvalidRequest(f"usage: {type(usage).__name__} is none; give a Usage, or the counts by their names")
    facts: dict[str, Any] = {name: getattr(usage, name) for name in TOKENS}
    if usage.cost is not None or usage.price_version is not None:
        facts |= {"cost": usage.cost, "cost_status": usage.cost_status, "price_version": usage.price_version}
    return facts
