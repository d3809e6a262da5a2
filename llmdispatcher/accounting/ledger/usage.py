"""Usage statistics: aggregates of calls, from the daily totals where they suffice and from the rows where they do not.

Both ways give the same exact figures, read from one snapshot. The daily totals can be added to, checked against the rows, and
rebuilt from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

import attrs
import sqlalchemy as sa

from ...errors import InvalidRequest
from ...runtime import Clock
from ...types import choices
from ..units import DAY, MOST_SUM, STATUSES, TOKENS, dollars, micros
from .connections import insert_into, lock_table
from .figures import MOST_RANKED, UsageBucket, UsageStats
from .periods import Bucket, Span, buckets, span_of, zone_of
from .queries import CallFilter, Connectable, TagsText, give_way, or_empty, pruned_before, reading, selection_of, tags_of, writing
from .schema import DAILY_COUNTS, DAILY_KEY, DAILY_SUMS, calls, capped_sum, daily

Sums = Counter[str]
""":data:`~llmdispatcher.accounting.ledger.schema.DAILY_SUMS` by name; money in picodollars, time in microseconds."""

Key = tuple[Any, ...]
Piece = tuple[int, int]
"""From one microsecond since the epoch until before another."""

_SPLIT = 10**6  # a sum of BIGINT overflows in SQLite, where a year of a large house passes 9.2 million dollars


def row_columns() -> dict[str, sa.ColumnElement[int]]:
    """What each row of ``calls`` adds to a day."""
    columns: dict[str, sa.ColumnElement[int]] = dict.fromkeys(DAILY_COUNTS, sa.literal(1, sa.Integer))
    columns |= {status: _count_if(calls.c.status == status) for status in STATUSES[1:]}
    columns |= {name: _count_if(calls.c[name]) for name in ("cached", "streamed", "hedged")}
    columns |= {
        "attempts": calls.c.attempts,
        "unpriced": _count_if(calls.c.cost.is_(None)),
        "first_tokens": _count_if(calls.c.first_token_us.is_not(None)),
    }
    amounts = {name: sa.type_coerce(calls.c[name], sa.BigInteger) for name in (*TOKENS, "cost", "latency_us", "first_token_us")}
    return columns | {name: sa.func.coalesce(amount, 0) for name, amount in amounts.items()}


def _count_if(fact: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.case((fact, 1), else_=0)


def ended_between(since: int, until: int) -> sa.ColumnElement[bool]:
    """The condition for calls that have ended, and that began in these microseconds."""
    begun = sa.type_coerce(calls.c.begun_at, sa.BigInteger)
    return sa.and_(begun >= since, begun < until, calls.c.status != "open")


def sums_of_span(connection: sa.Connection, span: Span, selection: CallFilter, keys: Sequence[str] = ()) -> dict[Key, Sums]:
    """The sums of a span by the values of ``keys``: whole days from ``daily``, the rest of the first and last day from the rows."""
    days, pieces = split_span(span, selection, keys)
    found = sums_from_daily(connection, days, selection, keys) if days else {}
    for piece in pieces:
        for key, sums in sums_from_calls(connection, piece, selection, keys).items():
            found.setdefault(key, Sums()).update(sums)
    return found


def split_span(span: Span, selection: CallFilter, keys: Sequence[str] = ()) -> tuple[range, list[Piece]]:
    """The whole days that ``daily`` can answer, and the pieces of the span for which rows are needed."""
    since, until = micros(span.start), micros(span.end)
    days = range(0) if selection.needs_rows or TAG in keys else range(-(-since // DAY), until // DAY)
    pieces = [(since, days.start * DAY), (days.stop * DAY, until)] if days else [(since, until)]
    return days, [(begin, end) for begin, end in pieces if begin < end]


def sums_from_daily(connection: sa.Connection, days: range, selection: CallFilter, keys: Sequence[str] = ()) -> dict[Key, Sums]:
    """The sums of whole days; ``day`` may be one of the ``keys``."""
    columns = {name: sa.type_coerce(daily.c[name], sa.BigInteger) for name in DAILY_SUMS}
    within = sa.and_(daily.c.day >= days.start, daily.c.day < days.stop, *selection.daily_conditions())
    return _query_sums(connection, columns, within, [daily.c[name] for name in keys])


def sums_from_calls(connection: sa.Connection, piece: Piece, selection: CallFilter, keys: Sequence[str] = ()) -> dict[Key, Sums]:
    """The sums of the calls that began in a piece of time."""
    within = sa.and_(ended_between(*piece), *selection.call_conditions())
    if TAG in keys:
        named = [TagsText(calls.c.metadata) if name == TAG else or_empty(calls.c[name]) for name in keys]
        return _split_tags(_query_sums(connection, row_columns(), within, named), keys.index(TAG))
    return _query_sums(connection, row_columns(), within, [or_empty(calls.c[name]) for name in keys])


def _split_tags(found: dict[Key, Sums], place: int) -> dict[Key, Sums]:
    """Sums by each tag, of sums by all tags of a call; ``place`` is where in the keys they stand."""
    split: dict[Key, Sums] = {}
    for key, sums in found.items():
        for tag in tags_of(key[place]):
            split.setdefault((*key[:place], tag, *key[place + 1 :]), Sums()).update(sums)
    return split


def _query_sums(
    connection: sa.Connection,
    columns: Mapping[str, Any],
    within: sa.ColumnElement[bool],
    keys: Sequence[Any],
) -> dict[Key, Sums]:
    named = [sa.func.sum(column).label(name) for name, column in columns.items() if name != "cost"]
    cost = columns["cost"]
    split = [sa.func.sum(cost // _SPLIT).label("cost_high"), sa.func.sum(cost % _SPLIT).label("cost_low")]
    keyed = [key.label(f"key_{place}") for place, key in enumerate(keys)]
    query = sa.select(*keyed, *named, *split).where(within).group_by(*keyed)
    return {tuple(row[: len(keys)]): _to_integers(row._mapping) for row in connection.execute(query) if row._mapping["calls"]}


def _to_integers(row: Any) -> Sums:
    """A row as integers; PostgreSQL sums in NUMERIC."""
    sums = Sums({name: int(row[name]) for name in DAILY_SUMS if name != "cost"})
    sums["cost"] = int(row["cost_high"]) * _SPLIT + int(row["cost_low"])
    return sums


Progress = Callable[[int, int | None], None]
"""Called with how much is done, and with the total if it is known."""

_EPOCH = date(1970, 1, 1)


@attrs.frozen(kw_only=True)
class RollupDifference:
    """A day and key whose daily totals differ from the rows; only the sums that differ are given."""

    day: date
    key: tuple[str, ...]
    kept: dict[str, int]
    counted: dict[str, int]


@attrs.frozen(kw_only=True)
class RollupCheck:
    """The result of a check of the daily totals. Days before ``since`` have no rows to compare with."""

    days: int
    calls: int
    since: date | None = None
    differences: tuple[RollupDifference, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether every sum is that of its rows."""
        return not self.differences


def add_rows(connection: sa.Connection, within: sa.ColumnElement[bool]) -> None:
    """Add the rows of ``calls`` that a condition selects to their days; once, in the transaction that wrote them."""
    day: sa.ColumnElement[int] = sa.type_coerce(calls.c.begun_at, sa.BigInteger) // sa.literal_column(str(DAY), sa.BigInteger)
    keys: list[Any] = [day.cast(sa.Integer).label("day"), *[or_empty(calls.c[name]).label(name) for name in DAILY_KEY[1:]]]
    sums = [(_full_sum(column) if name == "cost" else sa.func.sum(column)).label(name) for name, column in row_columns().items()]
    rows = sa.select(*keys, *sums).where(within).group_by(*keys)
    if connection.dialect.name == "postgresql":  # in the writer's order of keys, so that no two transactions wait for each other
        rows = rows.order_by(keys[0], *[key.collate("C") for key in keys[1:]])
    new = insert_into(daily, connection.dialect.name).from_select([*DAILY_KEY, *row_columns()], rows)
    more = {name: capped_sum(daily.c[name], new.excluded[name]) for name in DAILY_SUMS}
    connection.execute(new.on_conflict_do_update(index_elements=list(DAILY_KEY), set_=more))


def _full_sum(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """A sum of money in one number, capped at what a column holds."""
    high, low = sa.func.sum(column // _SPLIT), sa.func.sum(column % _SPLIT)
    return sa.case((high >= MOST_SUM // _SPLIT, sa.literal_column(str(MOST_SUM), sa.BigInteger)), else_=high * _SPLIT + low)


def rebuild(database: Connectable, clock: Clock, progress: Progress | None = None) -> int:
    """Compute the daily totals anew, day by day; return the number of days."""
    with reading(database) as connection:
        days = _days(connection)
    for done, day in enumerate(days, 1):
        began = clock.monotonic()
        with writing(database) as connection:
            lock_table(connection, daily.name, "SHARE ROW EXCLUSIVE")  # waits for what was added, and keeps others from adding
            if day * DAY >= pruned_before(connection):
                connection.execute(sa.delete(daily).where(daily.c.day == day))
                add_rows(connection, ended_between(day * DAY, (day + 1) * DAY))
        give_way(clock, max(clock.monotonic() - began, _LEAST_PAUSE))
        if progress is not None:
            progress(done, len(days))
    return len(days)


_LEAST_PAUSE = 0.001
"""Seconds that others have to write; after a long day they have as long as that day took."""


def check(database: Connectable, progress: Progress | None = None) -> RollupCheck:
    """Compare the daily totals with the rows, in one snapshot."""
    with reading(database) as connection:
        days, count, found = _days(connection), 0, list[RollupDifference]()
        for done, day in enumerate(days, 1):
            kept = sums_from_daily(connection, range(day, day + 1), CallFilter(), DAILY_KEY[1:])
            counted = sums_from_calls(connection, (day * DAY, (day + 1) * DAY), CallFilter(), DAILY_KEY[1:])
            count += sum(sums["calls"] for sums in counted.values())
            found += _differences(day, kept, counted)
            if progress is not None:
                progress(done, len(days))
        pruned = pruned_before(connection)
    since = _EPOCH + timedelta(days=pruned // DAY) if pruned else None
    return RollupCheck(days=len(days), calls=count, since=since, differences=tuple(found))


def _differences(day: int, kept: dict[Key, Sums], counted: dict[Key, Sums]) -> Iterator[RollupDifference]:
    for key in sorted(kept.keys() | counted.keys()):
        kept_sums, counted_sums = kept.get(key, Sums()), counted.get(key, Sums())
        names = [name for name in DAILY_SUMS if kept_sums[name] != min(MOST_SUM, counted_sums[name])]
        if names:
            yield RollupDifference(
                day=_EPOCH + timedelta(days=day),
                key=key,
                kept={name: kept_sums[name] for name in names},
                counted={name: counted_sums[name] for name in names},
            )


def _days(connection: sa.Connection) -> list[int]:
    """The days that have rows or totals, except those whose rows were deleted."""
    since = pruned_before(connection)
    days = set(connection.scalars(sa.select(daily.c.day).where(daily.c.day >= since // DAY).distinct()))
    begun = sa.type_coerce(calls.c.begun_at, sa.BigInteger)
    while True:
        first = connection.scalar(sa.select(sa.func.min(begun)).where(begun >= since))
        if first is None:
            return sorted(days)
        days.add(first // DAY)
        since = (first // DAY + 1) * DAY


TAG = "tag"
DIMENSIONS = ("model", "vendor", "origin", "alias", "user", TAG)
"""What usage can be broken down by."""

_SECOND = 1_000_000


@attrs.frozen(kw_only=True)
class UsageQuery:
    """The checked arguments of a query for statistics."""

    span: Span
    zone: tzinfo
    timezone: str
    selection: CallFilter
    group_by: str | None
    by: str | None

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that buckets are grouped by, besides their period."""
        return (self.by,) if self.by is not None else ()


def usage_stats(database: Connectable, clock: Clock, options: Mapping[str, Any]) -> UsageStats:
    """Check the options, and compute the statistics from one snapshot."""
    query = parse_query(options, clock.now())
    with reading(database) as connection:
        whole = sums_of_span(connection, query.span, query.selection).get((), Sums())
        middle, most = _percentiles(connection, query, whole["calls"])
        return UsageStats(
            **_figures(whole),
            start=query.span.start.astimezone(query.zone),
            end=query.span.end.astimezone(query.zone),
            timezone=query.timezone,
            group_by=query.group_by,
            by=query.by,
            unique_models=len(_values(connection, query, "model")),
            unique_origins=len(_values(connection, query, "origin")),
            p50_latency=middle,
            p95_latency=most,
            complete=_is_complete(connection, query),
            buckets=tuple(_buckets(connection, query)),
        )


def parse_query(options: Mapping[str, Any], now: datetime) -> UsageQuery:
    """Check span, ``timezone``, ``group_by`` and ``by``. Raises :class:`~llmdispatcher.InvalidRequest`."""
    by, group_by, timezone = options.get("by"), options.get("group_by"), options.get("timezone") or "UTC"
    if by is not None and by not in DIMENSIONS:
        raise InvalidRequest(f"by: {by!r} is nothing that usage is kept by; {choices(by, DIMENSIONS, 'give one of {}')}")
    zone = zone_of(timezone)
    span = span_of(options.get("start"), options.get("end"), options.get("days", 30), zone, now)
    if group_by is not None:
        buckets(span, group_by, zone)  # raises what is wrong with it before anything is asked
    return UsageQuery(span=span, zone=zone, timezone=str(timezone), selection=selection_of(options), group_by=group_by, by=by)


def _figures(sums: Sums) -> dict[str, Any]:
    counted = {"total_calls": "calls", "successful_calls": "success", "errors": "error", "timeouts": "timeout"}
    counted |= {f"{name}_calls": name for name in ("cached", "streamed", "hedged", "unpriced")}
    counted |= {name: name for name in ("rate_limited", "cancelled", "unknown", "attempts", *TOKENS)}
    return {
        **{field: sums[name] for field, name in counted.items()},
        "total_cost": dollars(sums["cost"]),
        "average_latency": _average(sums["latency_us"], sums["calls"]),
        "average_first_token": _average(sums["first_token_us"], sums["first_tokens"]),
    }


def _average(total: int, count: int) -> float | None:
    return total / count / _SECOND if count else None


def _buckets(connection: sa.Connection, query: UsageQuery) -> Iterator[UsageBucket]:
    if query.group_by is not None:
        for bucket, sums in _by_period(connection, query):
            yield from _buckets_of_period(query, bucket, bucket.name, sums)
    elif query.by is not None:
        yield from _buckets_of_period(query, query.span, None, sums_of_span(connection, query.span, query.selection, query.keys))


def _by_period(connection: sa.Connection, query: UsageQuery) -> list[tuple[Bucket, dict[Any, Sums]]]:
    """Each period with its sums by the other key; whole days in UTC take one query together."""
    periods = buckets(query.span, query.group_by or "day", query.zone)
    days, _pieces = split_span(query.span, query.selection, query.keys)
    together: dict[int, dict[Any, Sums]] = {}
    if query.group_by == "day" and days:
        for (day, *key), sums in sums_from_daily(connection, days, query.selection, ("day", *query.keys)).items():
            together.setdefault(day, {})[tuple(key)] = sums
    found = []
    for bucket in periods:
        day, rest = divmod(micros(bucket.start), DAY)
        if day in days and not rest and micros(bucket.end) == (day + 1) * DAY and query.group_by == "day":
            found.append((bucket, together.get(day, {})))
        else:
            found.append((bucket, sums_of_span(connection, bucket, query.selection, query.keys)))
    return found


def _buckets_of_period(query: UsageQuery, span: Span, period: str | None, sums: Mapping[Key, Sums]) -> Iterator[UsageBucket]:
    """The buckets of one period: one for each key that has calls; without a key exactly one."""
    shared: dict[str, Any] = {
        "start": span.start.astimezone(query.zone),
        "end": span.end.astimezone(query.zone),
        "period": period,
    }
    if query.by is None:
        yield UsageBucket(**shared, **_figures(sums.get((), Sums())))
        return
    for (value,), value_sums in sorted(sums.items(), key=lambda entry: (-entry[1]["calls"], entry[0])):
        yield UsageBucket(**shared, value=value, **_figures(value_sums))


def _values(connection: sa.Connection, query: UsageQuery, name: str) -> set[str]:
    """The distinct values that the calls have, without ''."""
    days, pieces = split_span(query.span, query.selection)
    found: set[str] = set()
    if days:
        within = (daily.c.day >= days.start, daily.c.day < days.stop, daily.c.calls > 0, *query.selection.daily_conditions())
        found.update(connection.scalars(sa.select(daily.c[name]).where(*within).distinct()))
    for piece in pieces:
        within = (ended_between(*piece), *query.selection.call_conditions())
        found.update(connection.scalars(sa.select(or_empty(calls.c[name])).where(*within).distinct()))
    return found - {""}


def _percentiles(connection: sa.Connection, query: UsageQuery, count: int) -> tuple[float | None, float | None]:
    """The median and the 95th percentile, each the latency of a call; ``None`` for too many calls, or if rows are missing."""
    span: Piece = (micros(query.span.start), micros(query.span.end))
    if not 0 < count <= MOST_RANKED or _rows_to_scan(connection, query) > MOST_RANKED:
        return None, None
    within = (ended_between(*span), *query.selection.call_conditions())
    rows, timed = connection.execute(sa.select(sa.func.count(), sa.func.count(calls.c.latency_us)).where(*within)).one()
    if rows != count or not timed:
        return None, None
    ranked = sa.select(calls.c.latency_us).where(*within, calls.c.latency_us.is_not(None)).order_by(calls.c.latency_us)
    middle, most = (connection.scalars(ranked.offset(-(-timed * share // 100) - 1).limit(1)).one() for share in (50, 95))
    return middle / _SECOND, most / _SECOND


def _rows_to_scan(connection: sa.Connection, query: UsageQuery) -> int:
    """How many rows the database reads to find the calls; few if an index finds them."""
    if query.selection.id_at_origin:
        return 0
    first, last = micros(query.span.start) // DAY, micros(query.span.end) // DAY
    within = daily.c.day >= first, daily.c.day <= last
    return int(connection.scalar(sa.select(sa.func.sum(daily.c.calls)).where(*within)) or 0)


def _is_complete(connection: sa.Connection, query: UsageQuery) -> bool:
    """Whether every row that the query needs is still there."""
    pruned, (_days, pieces) = pruned_before(connection), split_span(query.span, query.selection, query.keys)
    gone = [range(since // DAY, -(-min(until, pruned) // DAY)) for since, until in pieces if since < pruned]
    return not any(sums_from_daily(connection, days, CallFilter()) for days in gone)
