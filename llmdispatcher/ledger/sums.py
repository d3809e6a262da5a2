"""What calls come to: counts, tokens, money and time, summed from their rows or from the sums by day, exact and alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Integer, and_, case, func, literal, select, type_coerce
from sqlalchemy.sql.elements import KeyedColumnElement

from .periods import DAY, Span
from .schema import DAILY_COUNTS, DAILY_SUMS, STATUSES, TOKENS, calls, daily, micros
from .selection import Selection, told

Sums = dict[str, int]
"""By the names of :data:`~llmdispatcher.ledger.schema.DAILY_SUMS`; money in picodollars, time in microseconds."""

Key = tuple[Any, ...]
Piece = tuple[int, int]
"""From one microsecond since the epoch up to another."""

_SPLIT = 10**6  # a sum of BIGINT overflows in SQLite, where a year of a large house passes 9.2 million dollars


def nothing() -> Sums:
    """The sums of no calls."""
    return dict.fromkeys(DAILY_SUMS, 0)


def add(total: Sums, more: Sums) -> None:
    """Add one to the other."""
    for name, count in more.items():
        total[name] += count


def of_rows() -> dict[str, ColumnElement[int]]:
    """What each row of ``calls`` adds to a day."""
    columns: dict[str, ColumnElement[int]] = dict.fromkeys(DAILY_COUNTS, literal(1, Integer))
    columns |= {status: _one(calls.c.status == status) for status in STATUSES[1:]}
    columns |= {name: _one(calls.c[name]) for name in ("cached", "streamed", "hedged")}
    columns |= {
        "attempts": calls.c.attempts,
        "unpriced": _one(calls.c.cost.is_(None)),
        "first_tokens": _one(calls.c.first_token_us.is_not(None)),
    }
    return columns | {name: _number(calls.c[name]) for name in (*TOKENS, "cost", "latency_us", "first_token_us")}


def _one(fact: ColumnElement[bool]) -> ColumnElement[int]:
    return case((fact, 1), else_=0)


def _number(column: KeyedColumnElement[Any]) -> ColumnElement[int]:
    return func.coalesce(type_coerce(column, BigInteger), 0)


def settled(since: int, until: int) -> ColumnElement[bool]:
    """The rows of calls that have ended, begun from one microsecond up to another."""
    begun = type_coerce(calls.c.begun_at, BigInteger)
    return and_(begun >= since, begun < until, calls.c.status != "open")


def tally(connection: Connection, span: Span, selection: Selection, keys: Sequence[str] = ()) -> dict[Key, Sums]:
    """The sums of a span by the values of ``keys``: whole days from ``daily``, what is left of the first and last from the rows."""
    days, pieces = parts(span, selection)
    found: dict[Key, Sums] = {}
    if days:
        found = from_days(connection, days, selection, keys)
    for piece in pieces:
        for key, sums in from_rows(connection, piece, selection, keys).items():
            add(found.setdefault(key, nothing()), sums)
    return found


def parts(span: Span, selection: Selection) -> tuple[range, list[Piece]]:
    """What of a span the sums by day answer, and the pieces for which the rows are asked."""
    since, until = micros(span.start), micros(span.end)
    days = range(0) if selection.beyond_days else range(-(-since // DAY), until // DAY)
    pieces = [(since, days.start * DAY), (days.stop * DAY, until)] if days else [(since, until)]
    return days, [(begin, end) for begin, end in pieces if begin < end]


def from_days(connection: Connection, days: range, selection: Selection, keys: Sequence[str] = ()) -> dict[Key, Sums]:
    """The sums of whole days; ``day`` may be one of the ``keys``."""
    columns = {name: type_coerce(daily.c[name], BigInteger) for name in DAILY_SUMS}
    within = and_(daily.c.day >= days.start, daily.c.day < days.stop, *selection.of_days())
    return _summed(connection, columns, within, [daily.c[name] for name in keys])


def from_rows(connection: Connection, piece: Piece, selection: Selection, keys: Sequence[str] = ()) -> dict[Key, Sums]:
    """The sums of the calls that began in a piece of time."""
    within = and_(settled(*piece), *selection.of_calls())
    return _summed(connection, of_rows(), within, [told(calls.c[name]) for name in keys])


def _summed(
    connection: Connection, columns: Mapping[str, Any], within: ColumnElement[bool], keys: Sequence[Any]
) -> dict[Key, Sums]:
    named = [func.sum(column).label(name) for name, column in columns.items() if name != "cost"]
    cost = columns["cost"]
    split = [func.sum(cost // _SPLIT).label("cost_high"), func.sum(cost % _SPLIT).label("cost_low")]
    keyed = [key.label(f"key_{place}") for place, key in enumerate(keys)]
    asked = select(*keyed, *named, *split).where(within).group_by(*keyed)
    return {tuple(row[: len(keys)]): _whole(row._mapping) for row in connection.execute(asked) if row._mapping["calls"]}


def _whole(row: Any) -> Sums:
    """A row in whole numbers; PostgreSQL sums in NUMERIC."""
    sums = {name: int(row[name]) for name in DAILY_SUMS if name != "cost"}
    return {**sums, "cost": int(row["cost_high"]) * _SPLIT + int(row["cost_low"])}
