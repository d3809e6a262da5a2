"""Asks what was used: from the sums by day where they tell, from the rows where they do not; exact to the call, in one view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from typing import Any

import attrs
from sqlalchemy import Connection, func, select

from ..clock import Clock
from ..errors import InvalidRequest
from .figures import MOST_RANKED, UsageBucket, UsageStats
from .periods import DAY, Bucket, Span, buckets, span_of, zone_of
from .schema import TOKENS, calls, daily, dollars, micros
from .selection import Selection, selection_of, told
from .sums import Key, Piece, Sums, from_days, nothing, parts, settled, tally
from .views import Connectable, pruned_before, reading

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


def usage_stats(database: Connectable, clock: Clock, asked: Mapping[str, Any]) -> UsageStats:
    """What :meth:`~llmdispatcher.ledger.Ledger.get_usage_stats` gives, all of it of one moment."""
    chosen = question(asked, selection_of(asked), clock.now())
    with reading(database) as connection:
        return answer(connection, chosen, pruned_before(connection))


def question(asked: Mapping[str, Any], selection: Selection, now: datetime) -> Question:
    """Read span, ``timezone``, ``group_by`` and ``by``. Raises :class:`~llmdispatcher.errors.InvalidRequest`."""
    by, group_by, timezone = asked.get("by"), asked.get("group_by"), asked.get("timezone") or "UTC"
    if by is not None and by not in DIMENSIONS:
        raise InvalidRequest(f"by: {by!r} is nothing that usage is kept by; give one of {', '.join(DIMENSIONS)}")
    zone = zone_of(timezone)
    span = span_of(asked.get("start"), asked.get("end"), asked.get("days", 30), zone, now)
    if group_by is not None:
        buckets(span, group_by, zone)  # raises what is wrong with it before anything is asked
    return Question(span=span, zone=zone, timezone=str(timezone), selection=selection, group_by=group_by, by=by)


def answer(connection: Connection, asked: Question, pruned: int) -> UsageStats:
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


def _buckets(connection: Connection, asked: Question) -> Iterator[UsageBucket]:
    if asked.group_by is None:
        if asked.by is not None:
            only = Bucket(asked.span.start, asked.span.end, "")
            yield from _filled(asked, only, None, tally(connection, asked.span, asked.selection, asked.keys))
        return
    for bucket, sums in _by_period(connection, asked):
        yield from _filled(asked, bucket, bucket.name, sums)


def _by_period(connection: Connection, asked: Question) -> list[tuple[Bucket, dict[Any, Sums]]]:
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


def _values(connection: Connection, asked: Question, name: str) -> set[str]:
    """The different values that the calls have, '' left out."""
    days, pieces = parts(asked.span, asked.selection)
    found: set[str] = set()
    if days:
        within = (daily.c.day >= days.start, daily.c.day < days.stop, daily.c.calls > 0, *asked.selection.of_days())
        found.update(connection.scalars(select(daily.c[name]).where(*within).distinct()))
    for piece in pieces:
        within = (settled(*piece), *asked.selection.of_calls())
        found.update(connection.scalars(select(told(calls.c[name])).where(*within).distinct()))
    return found - {""}


def _percentiles(connection: Connection, asked: Question, count: int) -> tuple[float | None, float | None]:
    """The median and the 95th percentile, each the latency of a call; ``None`` for too many calls, or where rows are gone."""
    span: Piece = (micros(asked.span.start), micros(asked.span.end))
    if not 0 < count <= MOST_RANKED or _to_look_at(connection, asked) > MOST_RANKED:
        return None, None
    within = (settled(*span), *asked.selection.of_calls())
    rows, timed = connection.execute(select(func.count(), func.count(calls.c.latency_us)).where(*within)).one()
    if rows != count or not timed:
        return None, None
    ranked = select(calls.c.latency_us).where(*within, calls.c.latency_us.is_not(None)).order_by(calls.c.latency_us)
    middle, most = (connection.scalars(ranked.offset(-(-timed * share // 100) - 1).limit(1)).one() for share in (50, 95))
    return middle / _SECOND, most / _SECOND


def _to_look_at(connection: Connection, asked: Question) -> int:
    """How many rows the database has to walk through to find the calls; few where an index leads to them."""
    if asked.selection.id_at_origin:
        return 0
    first, last = micros(asked.span.start) // DAY, micros(asked.span.end) // DAY
    within = daily.c.day >= first, daily.c.day <= last
    return int(connection.scalar(select(func.sum(daily.c.calls)).where(*within)) or 0)


def _complete(connection: Connection, asked: Question, pruned: int) -> bool:
    """Whether every row that was asked for is still there."""
    _days, pieces = parts(asked.span, asked.selection)
    gone = [range(since // DAY, -(-min(until, pruned) // DAY)) for since, until in pieces if since < pruned]
    return not any(from_days(connection, days, Selection()) for days in gone)
