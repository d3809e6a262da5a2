"""Usage statistics: aggregates of calls, from the daily totals where they suffice and from the rows where they do not.

Both ways give the same exact figures, read from one snapshot. The daily totals can be added to, checked against the rows, and
rebuilt from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import KeyedColumnElement

from ...errors import InvalidRequest
from ...runtime import Clock
from ..units import DAY, MOST_SUM, STATUSES, TOKENS, dollars, micros
from .figures import MOST_RANKED, UsageBucket, UsageStats
from .periods import Bucket, Span, buckets, span_of, zone_of
from .queries import Connectable, Selection, give_way, pruned_before, reading, selection_of, told, writing
from .schema import DAILY_COUNTS, DAILY_KEY, DAILY_SUMS, added, calls, daily

Sums = dict[str, int]
"""By the names of :data:`~llmdispatcher.accounting.ledger.schema.DAILY_SUMS`; money in picodollars, time in microseconds."""

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


def of_rows() -> dict[str, sa.ColumnElement[int]]:
    """What each row of ``calls`` adds to a day."""
    columns: dict[str, sa.ColumnElement[int]] = dict.fromkeys(DAILY_COUNTS, sa.literal(1, sa.Integer))
    columns |= {status: _one(calls.c.status == status) for status in STATUSES[1:]}
    columns |= {name: _one(calls.c[name]) for name in ("cached", "streamed", "hedged")}
    columns |= {
        "attempts": calls.c.attempts,
        "unpriced": _one(calls.c.cost.is_(None)),
        "first_tokens": _one(calls.c.first_token_us.is_not(None)),
    }
    return columns | {name: _number(calls.c[name]) for name in (*TOKENS, "cost", "latency_us", "first_token_us")}


def _one(fact: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.case((fact, 1), else_=0)


def _number(column: KeyedColumnElement[Any]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.type_coerce(column, sa.BigInteger), 0)


def settled(since: int, until: int) -> sa.ColumnElement[bool]:
    """The rows of calls that have ended, begun from one microsecond up to another."""
    begun = sa.type_coerce(calls.c.begun_at, sa.BigInteger)
    return sa.and_(begun >= since, begun < until, calls.c.status != "open")


def tally(connection: sa.Connection, span: Span, selection: Selection, keys: Sequence[str] = ()) -> dict[Key, Sums]:
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


def from_days(connection: sa.Connection, days: range, selection: Selection, keys: Sequence[str] = ()) -> dict[Key, Sums]:
    """The sums of whole days; ``day`` may be one of the ``keys``."""
    columns = {name: sa.type_coerce(daily.c[name], sa.BigInteger) for name in DAILY_SUMS}
    within = sa.and_(daily.c.day >= days.start, daily.c.day < days.stop, *selection.of_days())
    return _summed(connection, columns, within, [daily.c[name] for name in keys])


def from_rows(connection: sa.Connection, piece: Piece, selection: Selection, keys: Sequence[str] = ()) -> dict[Key, Sums]:
    """The sums of the calls that began in a piece of time."""
    within = sa.and_(settled(*piece), *selection.of_calls())
    return _summed(connection, of_rows(), within, [told(calls.c[name]) for name in keys])


def _summed(
    connection: sa.Connection, columns: Mapping[str, Any], within: sa.ColumnElement[bool], keys: Sequence[Any]
) -> dict[Key, Sums]:
    named = [sa.func.sum(column).label(name) for name, column in columns.items() if name != "cost"]
    cost = columns["cost"]
    split = [sa.func.sum(cost // _SPLIT).label("cost_high"), sa.func.sum(cost % _SPLIT).label("cost_low")]
    keyed = [key.label(f"key_{place}") for place, key in enumerate(keys)]
    asked = sa.select(*keyed, *named, *split).where(within).group_by(*keyed)
    return {tuple(row[: len(keys)]): _whole(row._mapping) for row in connection.execute(asked) if row._mapping["calls"]}


def _whole(row: Any) -> Sums:
    """A row in whole numbers; PostgreSQL sums in NUMERIC."""
    sums = {name: int(row[name]) for name in DAILY_SUMS if name != "cost"}
    return {**sums, "cost": int(row["cost_high"]) * _SPLIT + int(row["cost_low"])}


Progress = Callable[[int, int | None], None]
"""Is told how much is done, and how much there is, if that is known."""

_EPOCH = date(1970, 1, 1)


@attrs.frozen(kw_only=True)
class RollupDifference:
    """A day and key at which the kept sums are not those of the rows; each names only the sums that differ."""

    day: date
    key: tuple[str, ...]
    kept: Sums
    counted: Sums


@attrs.frozen(kw_only=True)
class RollupCheck:
    """What a check of the sums by day found. Days before ``since`` have no rows any more to compare with."""

    days: int
    calls: int
    since: date | None = None
    differences: tuple[RollupDifference, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether every sum is that of its rows."""
        return not self.differences


def add_rows(connection: sa.Connection, within: sa.ColumnElement[bool]) -> None:
    """Add the rows of ``calls`` that a condition selects to their days; in the transaction that wrote them, and once."""
    day: sa.ColumnElement[int] = sa.type_coerce(calls.c.begun_at, sa.BigInteger) // sa.literal_column(str(DAY), sa.BigInteger)
    keys: list[Any] = [day.cast(sa.Integer).label("day"), *[told(calls.c[name]).label(name) for name in DAILY_KEY[1:]]]
    sums = [(_full_sum(column) if name == "cost" else sa.func.sum(column)).label(name) for name, column in of_rows().items()]
    rows = sa.select(*keys, *sums).where(within).group_by(*keys)
    if connection.dialect.name == "postgresql":  # in the writer's order of keys, so that no two transactions wait for each other
        rows = rows.order_by(keys[0], *[key.collate("C") for key in keys[1:]])
    kind: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name]
    new = kind(daily).from_select([*DAILY_KEY, *of_rows()], rows)
    more = {name: added(daily.c[name], new.excluded[name]) for name in DAILY_SUMS}
    connection.execute(new.on_conflict_do_update(index_elements=list(DAILY_KEY), set_=more))


def _full_sum(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """A sum of money in one number, which ends where a column is full."""
    high, low = sa.func.sum(column // _SPLIT), sa.func.sum(column % _SPLIT)
    return sa.case((high >= MOST_SUM // _SPLIT, sa.literal_column(str(MOST_SUM), sa.BigInteger)), else_=high * _SPLIT + low)


def rebuild(database: Connectable, clock: Clock, progress: Progress | None = None) -> int:
    """What :meth:`~llmdispatcher.Ledger.rebuild_rollups` gives."""
    with reading(database) as connection:
        days = _days(connection)
    for done, day in enumerate(days, 1):
        began = clock.monotonic()
        with writing(database) as connection:
            if connection.dialect.name == "postgresql":  # waits for who has added already, and makes others wait with adding
                connection.execute(sa.text(f"LOCK TABLE {daily.name} IN SHARE ROW EXCLUSIVE MODE"))
            if day * DAY >= pruned_before(connection):
                connection.execute(sa.delete(daily).where(daily.c.day == day))
                add_rows(connection, settled(day * DAY, (day + 1) * DAY))
        give_way(clock, max(clock.monotonic() - began, _LEAST_PAUSE))
        if progress is not None:
            progress(done, len(days))
    return len(days)


_LEAST_PAUSE = 0.001
"""Seconds; others have as long as a day took."""


def check(database: Connectable, progress: Progress | None = None) -> RollupCheck:
    """What :meth:`~llmdispatcher.Ledger.check_rollups` gives."""
    with reading(database) as connection:
        days, count, found = _days(connection), 0, list[RollupDifference]()
        for done, day in enumerate(days, 1):
            kept = from_days(connection, range(day, day + 1), Selection(), DAILY_KEY[1:])
            counted = from_rows(connection, (day * DAY, (day + 1) * DAY), Selection(), DAILY_KEY[1:])
            count += sum(sums["calls"] for sums in counted.values())
            found += _differences(day, kept, counted)
            if progress is not None:
                progress(done, len(days))
        pruned = pruned_before(connection)
    since = _EPOCH + timedelta(days=pruned // DAY) if pruned else None
    return RollupCheck(days=len(days), calls=count, since=since, differences=tuple(found))


def _differences(day: int, kept: dict[Key, Sums], counted: dict[Key, Sums]) -> Iterator[RollupDifference]:
    for key in sorted(kept.keys() | counted.keys()):
        mine, theirs = kept.get(key, {}), counted.get(key, {})
        names = [name for name in DAILY_SUMS if mine.get(name, 0) != min(MOST_SUM, theirs.get(name, 0))]
        if names:
            yield RollupDifference(
                day=_EPOCH + timedelta(days=day),
                key=key,
                kept={name: mine.get(name, 0) for name in names},
                counted={name: theirs.get(name, 0) for name in names},
            )


def _days(connection: sa.Connection) -> list[int]:
    """The days that have rows or sums, without those whose rows retention has deleted."""
    since = pruned_before(connection)
    days = set(connection.scalars(sa.select(daily.c.day).where(daily.c.day >= since // DAY).distinct()))
    begun = sa.type_coerce(calls.c.begun_at, sa.BigInteger)
    while True:
        first = connection.scalar(sa.select(sa.func.min(begun)).where(begun >= since))
        if first is None:
            return sorted(days)
        days.add(first // DAY)
        since = (first // DAY + 1) * DAY


DIMENSIONS = ("model", "vendor", "origin", "alias", "user")
"""By what usage can be told apart."""

_SECOND = 1_000_000


@attrs.frozen(kw_only=True)
class Question:
    """What is asked of the statistics, checked."""

    span: Span
    zone: tzinfo
    timezone: str
    selection: Selection
    group_by: str | None
    by: str | None

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that buckets are told apart by, besides their period."""
        return (self.by,) if self.by is not None else ()


def usage_stats(database: Connectable, clock: Clock, options: Mapping[str, Any]) -> UsageStats:
    """What :meth:`~llmdispatcher.Ledger.get_usage_stats` gives, all of it of one moment."""
    query = question(options, clock.now())
    with reading(database) as connection:
        return answer(connection, query, pruned_before(connection))


def question(options: Mapping[str, Any], now: datetime) -> Question:
    """Read span, ``timezone``, ``group_by`` and ``by``. Raises :class:`~llmdispatcher.InvalidRequest`."""
    by, group_by, timezone = options.get("by"), options.get("group_by"), options.get("timezone") or "UTC"
    if by is not None and by not in DIMENSIONS:
        raise InvalidRequest(f"by: {by!r} is nothing that usage is kept by; give one of {', '.join(DIMENSIONS)}")
    zone = zone_of(timezone)
    span = span_of(options.get("start"), options.get("end"), options.get("days", 30), zone, now)
    if group_by is not None:
        buckets(span, group_by, zone)  # raises what is wrong with it before anything is asked
    return Question(span=span, zone=zone, timezone=str(timezone), selection=selection_of(options), group_by=group_by, by=by)


def answer(connection: sa.Connection, asked: Question, pruned: int) -> UsageStats:
    """The statistics; ``pruned`` is the microsecond before which there may be no rows. The connection's view must hold still."""
    whole = tally(connection, asked.span, asked.selection).get((), nothing())
    middle, most = _percentiles(connection, asked, whole["calls"])
    return UsageStats(
        **_figures(whole),
        start=asked.span.start.astimezone(asked.zone),
        end=asked.span.end.astimezone(asked.zone),
        timezone=asked.timezone,
        group_by=asked.group_by,
        by=asked.by,
        unique_models=len(_values(connection, asked, "model")),
        unique_origins=len(_values(connection, asked, "origin")),
        p50_latency=middle,
        p95_latency=most,
        complete=_complete(connection, asked, pruned),
        buckets=tuple(_buckets(connection, asked)),
    )


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


def _buckets(connection: sa.Connection, asked: Question) -> Iterator[UsageBucket]:
    if asked.group_by is None:
        if asked.by is not None:
            only = Bucket(asked.span.start, asked.span.end, "")
            yield from _filled(asked, only, None, tally(connection, asked.span, asked.selection, asked.keys))
        return
    for bucket, sums in _by_period(connection, asked):
        yield from _filled(asked, bucket, bucket.name, sums)


def _by_period(connection: sa.Connection, asked: Question) -> list[tuple[Bucket, dict[Any, Sums]]]:
    """Each period with its sums by the other key; days of UTC are asked for all at once."""
    periods = buckets(asked.span, asked.group_by or "day", asked.zone)
    days, _pieces = parts(asked.span, asked.selection)
    together: dict[int, dict[Any, Sums]] = {}
    if asked.group_by == "day" and days:
        for (day, *key), sums in from_days(connection, days, asked.selection, ("day", *asked.keys)).items():
            together.setdefault(day, {})[tuple(key)] = sums
    found = []
    for bucket in periods:
        day, rest = divmod(micros(bucket.start), DAY)
        if day in days and not rest and micros(bucket.end) == (day + 1) * DAY and asked.group_by == "day":
            found.append((bucket, together.get(day, {})))
        else:
            found.append((bucket, tally(connection, bucket, asked.selection, asked.keys)))
    return found


def _filled(asked: Question, bucket: Bucket, period: str | None, sums: Mapping[Key, Sums]) -> Iterator[UsageBucket]:
    """The buckets of one period: one for each key that has calls, or the one, with or without calls, where there is no key."""
    shared: dict[str, Any] = {
        "start": bucket.start.astimezone(asked.zone),
        "end": bucket.end.astimezone(asked.zone),
        "period": period,
    }
    if asked.by is None:
        yield UsageBucket(**shared, **_figures(sums.get((), nothing())))
        return
    for (value,), of_value in sorted(sums.items(), key=lambda entry: (-entry[1]["calls"], entry[0])):
        yield UsageBucket(**shared, value=value, **_figures(of_value))


def _values(connection: sa.Connection, asked: Question, name: str) -> set[str]:
    """The different values that the calls have, '' left out."""
    days, pieces = parts(asked.span, asked.selection)
    found: set[str] = set()
    if days:
        within = (daily.c.day >= days.start, daily.c.day < days.stop, daily.c.calls > 0, *asked.selection.of_days())
        found.update(connection.scalars(sa.select(daily.c[name]).where(*within).distinct()))
    for piece in pieces:
        within = (settled(*piece), *asked.selection.of_calls())
        found.update(connection.scalars(sa.select(told(calls.c[name])).where(*within).distinct()))
    return found - {""}


def _percentiles(connection: sa.Connection, asked: Question, count: int) -> tuple[float | None, float | None]:
    """The median and the 95th percentile, each the latency of a call; ``None`` for too many calls, or where rows are gone."""
    span: Piece = (micros(asked.span.start), micros(asked.span.end))
    if not 0 < count <= MOST_RANKED or _to_look_at(connection, asked) > MOST_RANKED:
        return None, None
    within = (settled(*span), *asked.selection.of_calls())
    rows, timed = connection.execute(sa.select(sa.func.count(), sa.func.count(calls.c.latency_us)).where(*within)).one()
    if rows != count or not timed:
        return None, None
    ranked = sa.select(calls.c.latency_us).where(*within, calls.c.latency_us.is_not(None)).order_by(calls.c.latency_us)
    middle, most = (connection.scalars(ranked.offset(-(-timed * share // 100) - 1).limit(1)).one() for share in (50, 95))
    return middle / _SECOND, most / _SECOND


def _to_look_at(connection: sa.Connection, asked: Question) -> int:
    """How many rows the database has to walk through to find the calls; few where an index leads to them."""
    if asked.selection.id_at_origin:
        return 0
    first, last = micros(asked.span.start) // DAY, micros(asked.span.end) // DAY
    within = daily.c.day >= first, daily.c.day <= last
    return int(connection.scalar(sa.select(sa.func.sum(daily.c.calls)).where(*within)) or 0)


def _complete(connection: sa.Connection, asked: Question, pruned: int) -> bool:
    """Whether every row that was asked for is still there."""
    _days, pieces = parts(asked.span, asked.selection)
    gone = [range(since // DAY, -(-min(until, pruned) // DAY)) for since, until in pieces if since < pruned]
    return not any(from_days(connection, days, Selection()) for days in gone)
