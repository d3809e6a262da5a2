"""Queries of calls and attempts: filters, pages, and the deletion of old calls.

Calls are listed latest first. Every call has one place in that order, even among calls of the same microsecond. A query reads one
consistent snapshot; errors of the database are raised as the library's own. Old calls are deleted in small batches, so that no
writer waits long; the daily totals keep their sums.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from ...catalog import canonical
from ...errors import InvalidRequest, LedgerError
from ...runtime import Clock
from ...types import choices
from ..units import DAY, STATUSES, micros, moment
from .address import Address
from .call import LedgerAttempt, LedgerCall, PruneReport, clean
from .connections import insert_into, is_read_only, lock_table
from .periods import When, first_moment, last_moment, zone_of
from .schema import DAILY_KEY, Moment, attempts, calls, daily, marks

_NONE: sa.ColumnElement[str] = sa.literal_column("''")  # no parameter: PostgreSQL takes two of them for two expressions to group by


@attrs.frozen(kw_only=True)
class CallFilter:
    """Calls that have all of these facts; ``None`` matches any, ``""`` none. ``model`` may pin the vendor, ``openai:gpt-4o``.

    ``tag`` is one of the texts in ``metadata["tags"]``.

    Raises :class:`~llmdispatcher.InvalidRequest` for an unknown status, and for a value that is no text.
    """

    origin: str | None = None
    id_at_origin: str | None = None
    user: str | None = None
    alias: str | None = None
    profile: str | None = None
    vendor: str | None = None
    model: str | None = None
    status: str | None = None
    tag: str | None = None

    def __attrs_post_init__(self) -> None:
        for name, value in attrs.asdict(self).items():
            if value is not None and not isinstance(value, str):
                raise InvalidRequest(f"{name}: {value!r} is no text; give the text that the calls have, or None for any")
        if self.status is not None and self.status not in STATUSES:
            raise InvalidRequest(f"status: {self.status!r} is none; {choices(self.status, STATUSES, 'give one of {}')}")

    @property
    def needs_rows(self) -> bool:
        """Whether the daily totals cannot distinguish these calls."""
        return any(getattr(self, name) is not None for name in ("id_at_origin", "profile", "status", "tag"))

    def call_conditions(self) -> list[sa.ColumnElement[bool]]:
        """The conditions on the rows of ``calls``."""
        return [_matches(calls.c, name, value) for name, value in attrs.asdict(self).items() if value is not None]

    def daily_conditions(self) -> list[sa.ColumnElement[bool]]:
        """The conditions on the rows of ``daily``; only without :attr:`needs_rows`."""
        options = {name: getattr(self, name) for name in DAILY_KEY[1:]}
        return [_matches(daily.c, name, value) for name, value in options.items() if value is not None]


_PG_TAGS = (
    "(CASE json_typeof({0}->'tags') WHEN 'array' THEN {0}->'tags' WHEN 'string' THEN json_build_array({0}->'tags')"
    " ELSE '[]'::json END)"
)
"""The tags in metadata as a list, in PostgreSQL; there may be one text instead of a list."""


class HasTag(FunctionElement[bool]):
    """Whether a call has a tag: the texts in the ``tags`` of its metadata; with NULL for the tag, whether it has any."""

    type = sa.Boolean()
    inherit_cache = True


@compiles(HasTag, "sqlite")
def _has_tag_in_sqlite(element: HasTag, compiler: Any, **options: Any) -> str:
    metadata, tag = [compiler.process(clause, **options) for clause in element.clauses]
    return f"EXISTS (SELECT 1 FROM json_each({metadata}, '$.tags') WHERE type = 'text' AND value = coalesce({tag}, value))"  # noqa: S608 - SQL of ours


@compiles(HasTag, "postgresql")
def _has_tag_in_postgresql(element: HasTag, compiler: Any, **options: Any) -> str:
    metadata, tag = [compiler.process(clause, **options) for clause in element.clauses]
    same = f"json_typeof(value) = 'string' AND value #>> '{{}}' = coalesce({tag}, value #>> '{{}}')"
    return f"EXISTS (SELECT 1 FROM json_array_elements{_PG_TAGS.format(metadata)} WHERE {same})"  # noqa: S608 - as above


class TagsText(FunctionElement[str]):
    """The ``tags`` of a call's metadata as JSON: few texts, if many calls have the same tags, so that they can be grouped by it."""

    type = sa.Text()
    inherit_cache = True


@compiles(TagsText, "sqlite")
def _tags_text_in_sqlite(element: TagsText, compiler: Any, **options: Any) -> str:
    return f"json_quote(json_extract({compiler.process(element.clauses, **options)}, '$.tags'))"


@compiles(TagsText, "postgresql")
def _tags_text_in_postgresql(element: TagsText, compiler: Any, **options: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **options)}->'tags' AS TEXT)"


def tags_of(text: str | None) -> list[str]:
    """The tags in such a text, each once; ``""`` alone stands for none."""
    value = json.loads(text) if text is not None else None
    listed = value if isinstance(value, list) else [value]
    return list(dict.fromkeys([tag for tag in listed if isinstance(tag, str) and tag])) or [""]


def selection_of(options: Mapping[str, Any]) -> CallFilter:
    """The calls that the options of a query select."""
    return CallFilter(**{field.name: options[field.name] for field in attrs.fields(CallFilter) if field.name in options})


def or_empty(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """A text of a call as the daily totals have it: '' for NULL."""
    return sa.func.coalesce(column, _NONE)


def _matches(columns: Any, name: str, value: str) -> sa.ColumnElement[bool]:
    value = clean(value) or ""  # as it was written
    if name == "tag":
        return HasTag(calls.c.metadata, sa.literal(value)) if value else ~HasTag(calls.c.metadata, sa.null())
    column = columns[name]
    if value == "":
        return or_empty(column) == ""
    vendor, _, model = value.partition(":")
    if name == "vendor":
        return column.in_(sorted({value, canonical(value)}))  # type: ignore[no-any-return]  # a column of a table that is looked up by name
    if name != "model" or not model:
        return column == value  # type: ignore[no-any-return]  # as above
    return sa.or_(column == value, sa.and_(columns.vendor.in_(sorted({vendor, canonical(vendor)})), column == model))


PRUNED = "pruned"
"""The mark of the microsecond before which rows have been deleted."""
ERASED = "erased:"
"""How the mark of a call begins that a receipt certifies and whose user was erased; its id follows."""


class Connectable(Protocol):
    """A database to read and write: a ledger, or its connections."""

    @property
    def address(self) -> Address:
        """The address of the database."""

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """One snapshot, in a transaction that does not write."""

    def transaction(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that may write."""


@contextmanager
def reading(database: Connectable) -> Iterator[sa.Connection]:
    """One snapshot, whatever others write meanwhile. Raises :class:`~llmdispatcher.LedgerError`."""
    with _translate_errors(database, "read"), database.reading() as connection:
        yield connection


@contextmanager
def writing(database: Connectable) -> Iterator[sa.Connection]:
    """A transaction that may write. Raises :class:`~llmdispatcher.LedgerError`."""
    with _translate_errors(database, "written"), database.transaction() as connection:
        yield connection


def pruned_before(connection: sa.Connection) -> int:
    """The microsecond before which rows have been deleted; 0 if none were."""
    return connection.scalar(sa.select(marks.c.value).where(marks.c.name == PRUNED)) or 0


def erased_calls(connection: sa.Connection) -> frozenset[str]:
    """The ids of the calls that receipts certify and whose user was erased, as their rows show."""
    empty = sa.and_(calls.c.user.is_(None), calls.c.id_at_origin.is_(None), calls.c.metadata.is_(None))
    marked = marks.c.name == sa.literal_column(f"'{ERASED}'") + calls.c.id
    return frozenset(connection.scalars(sa.select(calls.c.id).join(marks, marked).where(empty)))


@contextmanager
def _translate_errors(database: Connectable, verb: str) -> Iterator[None]:
    """Raise the database's errors as the library's own, without SQL and values."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = type(getattr(error, "orig", None) or error).__name__
        read_only = verb == "written" and is_read_only(error)
        remedy = "it may only be read, so get the right to write" if read_only else "see that it is there, and migrate() it"
        raise LedgerError(f"ledger: {database.address.shown} cannot be {verb} ({cause}); {remedy}") from None


MOST_LISTED = 10_000
"""Rows of one page; an export has no limit."""

_SECOND = 1_000_000
_TIMES = ("latency", "first_token")


def recent_calls(database: Connectable, options: Mapping[str, Any]) -> list[LedgerCall]:
    """List the calls that the options select, the latest first."""
    limit, offset = _check_count(options, "limit", 1, MOST_LISTED), _check_count(options, "offset", 0, None)
    within = [*selection_of(options).call_conditions(), *span_conditions(options)]
    if options.get("before") is not None:
        begun, call = parse_cursor(options["before"])
        within.append(sa.tuple_(calls.c.begun_at, calls.c.id) < sa.tuple_(sa.literal(begun, Moment), sa.literal(call)))
    order = (calls.c.begun_at.desc(), calls.c.id.desc())
    with reading(database) as connection:
        rows = connection.execute(_select_record(calls, LedgerCall).where(*within).order_by(*order).limit(limit).offset(offset))
        return [_record(LedgerCall, row._mapping) for row in rows]


def call_of(database: Connectable, call_id: str) -> LedgerCall | None:
    """The call with this id, or ``None``."""
    with reading(database) as connection:
        row = connection.execute(_select_record(calls, LedgerCall).where(calls.c.id == call_id)).one_or_none()
        return _record(LedgerCall, row._mapping) if row is not None else None


def attempts_of(database: Connectable, call_id: str) -> list[LedgerAttempt]:
    """The attempts of a call, in their order; none for an unknown id."""
    options = _select_record(attempts, LedgerAttempt).where(attempts.c.call_id == call_id).order_by(attempts.c.number)
    with reading(database) as connection:
        return [_record(LedgerAttempt, row._mapping) for row in connection.execute(options)]


def span_conditions(options: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    """The conditions of ``start``, ``end`` and ``timezone``, as far as they are given."""
    zone, start, end = zone_of(options.get("timezone") or "UTC"), options.get("start"), options.get("end")
    within = [calls.c.begun_at >= first_moment(start, zone)] if start is not None else []
    return [*within, calls.c.begun_at < last_moment(end, zone)] if end is not None else within


def parse_cursor(cursor: Any) -> tuple[datetime, str]:
    """The place of a call in the order: when it began, and its id. Raises :class:`~llmdispatcher.InvalidRequest`."""
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


def _check_count(options: Mapping[str, Any], name: str, least: int, most: int | None) -> int:
    count: Any = options[name]
    if isinstance(count, bool) or not isinstance(count, int) or count < least or (most is not None and count > most):
        allowed = f" to {most:,}" if most is not None else " or more"
        raise InvalidRequest(f"{name}: {count!r} cannot be; give {least}{allowed}")
    return count


def _select_record(table: sa.Table, kind: Any) -> Any:
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

_AGE = re.compile(r"([0-9]{1,6})\s*([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
PAUSE = 0.01
"""Seconds between two batches, in which others can write."""


def prune(
    database: Connectable,
    clock: Clock,
    older_than: timedelta | When,
    progress: Callable[[int, int | None], None] | None,
    *,
    dry_run: bool = False,
) -> PruneReport:
    """Delete the calls of all days before an age or a day, batch by batch; or count them."""
    before = _prune_limit(clock.now(), older_than)
    if dry_run:
        with reading(database) as connection:
            of_calls, of_attempts = _count_old(connection, before)
        return PruneReport(before=moment(before), calls=of_calls, attempts=of_attempts, dry_run=True)
    with writing(database) as connection:
        _note_pruned(connection, before)
    deleted_calls = deleted_attempts = 0
    while True:
        with writing(database) as connection:
            of_calls, of_attempts = _delete(connection, before)
        deleted_calls, deleted_attempts = deleted_calls + of_calls, deleted_attempts + of_attempts
        if progress is not None and of_calls:
            progress(deleted_calls, None)
        if of_calls < BATCH:
            return PruneReport(before=moment(before), calls=deleted_calls, attempts=deleted_attempts)
        give_way(clock, PAUSE)


def give_way(clock: Clock, seconds: float) -> None:
    """Let others write: SQLite tries a lock only from time to time, and may never find it free between transactions."""
    gate = threading.Lock()
    gate.acquire()
    clock.wait(gate, seconds)


def _prune_limit(now: datetime, older_than: timedelta | When) -> int:
    """The midnight in UTC before the given moment, since totals are of whole days."""
    age = _AGE.fullmatch(older_than.strip().lower()) if isinstance(older_than, str) else None
    if age is not None:
        older_than = timedelta(**{_UNITS[age[2]]: int(age[1])})
    if isinstance(older_than, int | float):
        raise InvalidRequest(f"older_than: {older_than!r} is not an age; give one like timedelta(days={older_than!r}), or a day")
    try:
        limit = now - older_than if isinstance(older_than, timedelta) else first_moment(older_than, UTC, "older_than")
    except OverflowError:
        raise InvalidRequest(f"older_than: {older_than} ago is out of the calendar; give a shorter age, or a day") from None
    except InvalidRequest:
        if not isinstance(older_than, str):
            raise
        raise InvalidRequest(
            f"older_than: {str(older_than)[:80]!r} is no age and no day; write it as '90d', '12w', '48h' or '2026-11-21'"
        ) from None
    if not 0 <= micros(limit) <= micros(now):
        raise InvalidRequest(
            f"older_than: {limit.isoformat()} is not in the past; give an age like '90d' or timedelta(days=90), or a day"
        )
    return micros(limit) // DAY * DAY


def _count_old(connection: sa.Connection, before: int) -> tuple[int, int]:
    old = sa.and_(sa.type_coerce(calls.c.begun_at, sa.BigInteger) < before, calls.c.status != "open")
    of_calls = connection.scalar(sa.select(sa.func.count()).select_from(calls).where(old)) or 0
    within = attempts.c.call_id.in_(sa.select(calls.c.id).where(old))
    return of_calls, connection.scalar(sa.select(sa.func.count()).select_from(attempts).where(within)) or 0


def _note_pruned(connection: sa.Connection, before: int) -> None:
    """Note the mark before rows are deleted: imports refuse older calls from now on, whose ids are forgotten."""
    lock_table(connection, calls.name, "SHARE ROW EXCLUSIVE")  # waits for imports that have read the mark before
    if before > pruned_before(connection):
        mark = insert_into(marks, connection.dialect.name).values(name=PRUNED, value=before)
        connection.execute(mark.on_conflict_do_update(index_elements=["name"], set_={"value": before}))


def _delete(connection: sa.Connection, before: int) -> tuple[int, int]:
    begun = sa.type_coerce(calls.c.begun_at, sa.BigInteger)
    old = sa.select(calls.c.id).where(begun < before, calls.c.status != "open").order_by(begun).limit(BATCH)
    ids = list(connection.scalars(old))
    if not ids:
        return 0, 0
    of_attempts = connection.execute(sa.delete(attempts).where(attempts.c.call_id.in_(ids))).rowcount
    return connection.execute(sa.delete(calls).where(calls.c.id.in_(ids))).rowcount, of_attempts
