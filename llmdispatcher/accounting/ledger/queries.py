"""Queries of calls and attempts: filters, pages, and the deletion of old calls.

Calls are listed latest first. Every call has one place in that order, even among calls of the same microsecond. A query reads one
consistent snapshot; errors of the database are raised as the library's own. Old calls are deleted in small batches, so that no
writer waits long; the daily totals keep their sums.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from ...catalog import canonical
from ...errors import InvalidRequest, LedgerError
from ...runtime import Clock
from ..units import DAY, STATUSES, micros, moment
from .address import Address
from .call import LedgerAttempt, LedgerCall, PruneReport, clean
from .connections import may_only_be_read
from .periods import When, first_moment, last_moment, zone_of
from .schema import DAILY_KEY, Moment, attempts, calls, daily, marks

_NONE: sa.ColumnElement[str] = sa.literal_column("''")  # no parameter: PostgreSQL takes two of them for two expressions to group by


@attrs.frozen(kw_only=True)
class Selection:
    """Calls that have all of these facts; ``None`` is any, ``""`` is none. ``model`` may pin the vendor, ``openai:gpt-4o``.

    Raises :class:`~llmdispatcher.InvalidRequest` for a status that no call has, and for what is no text.
    """

    origin: str | None = None
    id_at_origin: str | None = None
    user: str | None = None
    alias: str | None = None
    profile: str | None = None
    vendor: str | None = None
    model: str | None = None
    status: str | None = None

    def __attrs_post_init__(self) -> None:
        for name, value in attrs.asdict(self).items():
            if value is not None and not isinstance(value, str):
                raise InvalidRequest(f"{name}: {value!r} is no text; give the text that the calls have, or None for any")
        if self.status is not None and self.status not in STATUSES:
            raise InvalidRequest(f"status: {self.status!r} is none; give one of {', '.join(STATUSES)}")

    @property
    def beyond_days(self) -> bool:
        """Whether the sums by day cannot tell these calls from others."""
        return any(getattr(self, name) is not None for name in ("id_at_origin", "profile", "status"))

    def of_calls(self) -> list[sa.ColumnElement[bool]]:
        """As conditions on the rows of ``calls``."""
        return [_matches(calls.c, name, value) for name, value in attrs.asdict(self).items() if value is not None]

    def of_days(self) -> list[sa.ColumnElement[bool]]:
        """As conditions on the rows of ``daily``; only for what is not :attr:`beyond_days`."""
        asked = {name: getattr(self, name) for name in DAILY_KEY[1:]}
        return [_matches(daily.c, name, value) for name, value in asked.items() if value is not None]


def selection_of(asked: Mapping[str, Any]) -> Selection:
    """The part of a question that says which calls are meant."""
    return Selection(**{field.name: asked[field.name] for field in attrs.fields(Selection) if field.name in asked})


def told(column: sa.Column[Any]) -> sa.ColumnElement[str]:
    """A text of a call as the sums by day write it: '' for none."""
    return sa.func.coalesce(column, _NONE)


def _matches(columns: Any, name: str, value: str) -> sa.ColumnElement[bool]:
    column = columns[name]
    value = clean(value) or ""  # as it was written
    if value == "":
        return told(column) == ""
    vendor, _, model = value.partition(":")
    if name == "vendor":
        return column.in_(sorted({value, canonical(value)}))  # type: ignore[no-any-return]  # a column of a table that is looked up by name
    if name != "model" or not model:
        return column == value  # type: ignore[no-any-return]  # as above
    return sa.or_(column == value, sa.and_(columns.vendor.in_(sorted({vendor, canonical(vendor)})), column == model))


PRUNED = "pruned"
"""The mark that tells before which microsecond retention has deleted rows."""


class Connectable(Protocol):
    """A database that can be asked and written to: a ledger, or its connections."""

    @property
    def address(self) -> Address:
        """Where it is."""

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """A view of one moment, in a transaction that does not write."""

    def transaction(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that may write."""


@contextmanager
def reading(database: Connectable) -> Iterator[sa.Connection]:
    """A view of one moment, whatever others write meanwhile. Raises :class:`~llmdispatcher.LedgerError`."""
    with _translated(database, "read"), database.reading() as connection:
        yield connection


@contextmanager
def writing(database: Connectable) -> Iterator[sa.Connection]:
    """A transaction that may write. Raises :class:`~llmdispatcher.LedgerError`."""
    with _translated(database, "written"), database.transaction() as connection:
        yield connection


def pruned_before(connection: sa.Connection) -> int:
    """The microsecond before which rows have been deleted; 0 where none have."""
    return connection.scalar(sa.select(marks.c.value).where(marks.c.name == PRUNED)) or 0


@contextmanager
def _translated(database: Connectable, verb: str) -> Iterator[None]:
    """The database's errors without its SQL and values, which are nobody's business."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = type(getattr(error, "orig", None) or error).__name__
        read_only = verb == "written" and may_only_be_read(error)
        remedy = "it may only be read, so get the right to write" if read_only else "see that it is there, and migrate() it"
        raise LedgerError(f"ledger: {database.address.shown} cannot be {verb} ({cause}); {remedy}") from None


MOST_LISTED = 10_000
"""Rows of one page; an export has no such limit."""

_SECOND = 1_000_000
_TIMES = ("latency", "first_token")


def recent_calls(database: Connectable, asked: Mapping[str, Any]) -> list[LedgerCall]:
    """What :meth:`~llmdispatcher.Ledger.list_recent_calls` gives."""
    limit, offset = _count(asked, "limit", 1, MOST_LISTED), _count(asked, "offset", 0, None)
    within = [*selection_of(asked).of_calls(), *spanned(asked)]
    if asked.get("before") is not None:
        begun, call = place(asked["before"])
        within.append(sa.tuple_(calls.c.begun_at, calls.c.id) < sa.tuple_(sa.literal(begun, Moment), sa.literal(call)))
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


def spanned(asked: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    """The conditions of ``start``, ``end`` and ``timezone``; none where nothing is said."""
    zone, start, end = zone_of(asked.get("timezone") or "UTC"), asked.get("start"), asked.get("end")
    within = [calls.c.begun_at >= first_moment(start, zone)] if start is not None else []
    return [*within, calls.c.begun_at < last_moment(end, zone)] if end is not None else within


def place(cursor: Any) -> tuple[datetime, str]:
    """Where in the order a call is: when it began, and its id. Raises :class:`~llmdispatcher.InvalidRequest`."""
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


def _all(table: sa.Table, kind: Any) -> Any:
    names = [field.name for field in attrs.fields(kind)]
    return sa.select(*[table.c[f"{name}_us" if name in _TIMES else name] for name in names])


def _record(kind: Any, row: Any) -> Any:
    facts = dict(row)
    for name in _TIMES:
        count = facts.pop(f"{name}_us")
        facts[name] = count / _SECOND if count is not None else None
    if "metadata" in facts:
        facts["metadata"] = facts["metadata"] or {}
    return kind(**facts)


BATCH = 1000
"""Calls that are deleted in one transaction."""

PAUSE = 0.01
"""Seconds between two, in which others write."""


def prune(
    database: Connectable, clock: Clock, older_than: timedelta | When, progress: Callable[[int, int | None], None] | None
) -> PruneReport:
    """What :meth:`~llmdispatcher.Ledger.prune` gives."""
    before = _midnight(clock.now(), older_than)
    with writing(database) as connection:
        _mark(connection, before)
    gone = tried = 0
    while True:
        with writing(database) as connection:
            of_calls, of_attempts = _delete(connection, before)
        gone, tried = gone + of_calls, tried + of_attempts
        if progress is not None and of_calls:
            progress(gone, None)
        if of_calls < BATCH:
            return PruneReport(before=moment(before), calls=gone, attempts=tried)
        give_way(clock, PAUSE)


def give_way(clock: Clock, seconds: float) -> None:
    """Let others write: SQLite looks only now and then whether a lock is free, and may find no moment between transactions."""
    gate = threading.Lock()
    gate.acquire()
    clock.wait(gate, seconds)


def _midnight(now: datetime, older_than: timedelta | When) -> int:
    """The midnight of UTC before the moment that is meant, since sums are of whole days."""
    meant = now - older_than if isinstance(older_than, timedelta) else first_moment(older_than, UTC, "older_than")
    if not 0 <= micros(meant) <= micros(now):
        raise InvalidRequest(f"older_than: {meant.isoformat()} is not in the past; give an age like timedelta(days=90), or a day")
    return micros(meant) // DAY * DAY


def _mark(connection: sa.Connection, before: int) -> None:
    """Say so first: what is imported from now on cannot be of a time whose ids are forgotten."""
    if connection.dialect.name == "postgresql":  # waits for the imports that have not heard of it
        connection.execute(sa.text(f"LOCK TABLE {calls.name} IN SHARE ROW EXCLUSIVE MODE"))
    if before > pruned_before(connection):
        insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name]
        mark = insert(marks).values(name=PRUNED, value=before)
        connection.execute(mark.on_conflict_do_update(index_elements=["name"], set_={"value": before}))


def _delete(connection: sa.Connection, before: int) -> tuple[int, int]:
    begun = sa.type_coerce(calls.c.begun_at, sa.BigInteger)
    old = sa.select(calls.c.id).where(begun < before, calls.c.status != "open").order_by(begun).limit(BATCH)
    ids = list(connection.scalars(old))
    if not ids:
        return 0, 0
    of_attempts = connection.execute(sa.delete(attempts).where(attempts.c.call_id.in_(ids))).rowcount
    return connection.execute(sa.delete(calls).where(calls.c.id.in_(ids))).rowcount, of_attempts
