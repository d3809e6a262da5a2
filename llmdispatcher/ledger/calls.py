"""Looks calls and their attempts up: the latest first, page by page, each in one place of the order however many share a moment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
from sqlalchemy import ColumnElement, Table, literal, select, tuple_

from ..errors import InvalidRequest
from .periods import first_moment, last_moment, zone_of
from .records import LedgerAttempt, LedgerCall
from .schema import Moment, attempts, calls
from .selection import selection_of
from .views import Connectable, reading

MOST_LISTED = 10_000
"""Rows of one page; an export has no such limit."""

_SECOND = 1_000_000
_TIMES = ("latency", "first_token")


def recent_calls(database: Connectable, asked: Mapping[str, Any]) -> list[LedgerCall]:
    """What :meth:`~llmdispatcher.ledger.Ledger.list_recent_calls` gives."""
    limit, offset = _count(asked, "limit", 1, MOST_LISTED), _count(asked, "offset", 0, None)
    within = [*selection_of(asked).of_calls(), *spanned(asked)]
    if asked.get("before") is not None:
        begun, call = place(asked["before"])
        within.append(tuple_(calls.c.begun_at, calls.c.id) < tuple_(literal(begun, Moment), literal(call)))
    order = (calls.c.begun_at.desc(), calls.c.id.desc())
    with reading(database) as connection:
        rows = connection.execute(_all(calls, LedgerCall).where(*within).order_by(*order).limit(limit).offset(offset))
        return [_record(LedgerCall, row._mapping) for row in rows]


def one_call(database: Connectable, call_id: str) -> LedgerCall | None:
    """The call with that id, or ``None``."""
    with reading(database) as connection:
        row = connection.execute(_all(calls, LedgerCall).where(calls.c.id == call_id)).one_or_none()
        return _record(LedgerCall, row._mapping) if row is not None else None


def attempts_of(database: Connectable, call_id: str) -> list[LedgerAttempt]:
    """The attempts of a call, in the order of asking; none for a call that there is not."""
    asked = _all(attempts, LedgerAttempt).where(attempts.c.call_id == call_id).order_by(attempts.c.number)
    with reading(database) as connection:
        return [_record(LedgerAttempt, row._mapping) for row in connection.execute(asked)]


def spanned(asked: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    """The conditions of ``start``, ``end`` and ``timezone``; none where nothing is said."""
    zone, start, end = zone_of(asked.get("timezone") or "UTC"), asked.get("start"), asked.get("end")
    within = [calls.c.begun_at >= first_moment(start, zone)] if start is not None else []
    return [*within, calls.c.begun_at < last_moment(end, zone)] if end is not None else within


def place(cursor: Any) -> tuple[datetime, str]:
    """Where in the order a call is: when it began, and its id. Raises :class:`~llmdispatcher.errors.InvalidRequest`."""
    if isinstance(cursor, LedgerCall):
        return cursor.begun_at, cursor.id
    begun, _, call = cursor.partition("/") if isinstance(cursor, str) else ("", "", "")
    try:
        moment = datetime.fromisoformat(begun)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not call:
        raise InvalidRequest(f"before: {cursor!r} is no place in the list; give a call, or the cursor of one")
    return moment, call


def _count(asked: Mapping[str, Any], name: str, least: int, most: int | None) -> int:
    count: Any = asked[name]
    if isinstance(count, bool) or not isinstance(count, int) or count < least or (most is not None and count > most):
        most_told = f" to {most:,}" if most is not None else " or more"
        raise InvalidRequest(f"{name}: {count!r} cannot be; give {least}{most_told}")
    return count


def _all(table: Table, kind: Any) -> Any:
    names = [field.name for field in attrs.fields(kind)]
    return select(*[table.c[f"{name}_us" if name in _TIMES else name] for name in names])


def _record(kind: Any, row: Any) -> Any:
    facts = dict(row)
    for name in _TIMES:
        count = facts.pop(f"{name}_us")
        facts[name] = count / _SECOND if count is not None else None
    if "metadata" in facts:
        facts["metadata"] = facts["metadata"] or {}
    return kind(**facts)
