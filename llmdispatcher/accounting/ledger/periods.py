"""The time span of a query: days as people write them, in a time zone, and its division into days, weeks and months."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

import attrs

from ...errors import InvalidRequest
from ..units import MOST_DAYS, first_day

MOST_BUCKETS = 10_000
"""More days, weeks or months than anybody draws; rather a mistake in a year."""

_MICROSECOND = timedelta(microseconds=1)
_NAMES: dict[str, Callable[[date], str]] = {
    "day": date.isoformat,
    "week": lambda day: f"{day:%G-W%V}",
    "month": lambda day: f"{day:%Y-%m}",
}
When = datetime | date | str
"""A moment, a day, or either in ISO 8601; days, and moments without a zone, are in the zone of the query."""


@attrs.frozen
class Span:
    """From ``start`` until before ``end``; both aware."""

    start: datetime
    end: datetime


@attrs.frozen
class Bucket(Span):
    """A day, an ISO week or a month of a zone, cut to the span: ``2026-11-21``, ``2026-W47``, ``2026-11``."""

    name: str


def zone_of(timezone: str | tzinfo) -> tzinfo:
    """The zone of this name. Raises :class:`~llmdispatcher.InvalidRequest` for an unknown name."""
    if isinstance(timezone, tzinfo):
        return timezone
    if timezone.upper() in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(timezone)
    except (OSError, ValueError, KeyError):  # not there, or no name but a path
        raise InvalidRequest(f"timezone: {timezone!r} is not known here; give a name like 'Europe/Berlin', or 'UTC'") from None


def first_moment(value: When, zone: tzinfo, field: str = "start") -> datetime:
    """The moment itself, or the beginning of the day."""
    parsed = _parse(value, field)
    return parsed if isinstance(parsed, datetime) and parsed.tzinfo else _to_utc(parsed, zone, field)


def last_moment(value: When, zone: tzinfo, field: str = "end") -> datetime:
    """The moment itself; for a day the beginning of the next, so that the whole day is included."""
    parsed = _parse(value, field)
    if isinstance(parsed, datetime):
        return first_moment(parsed, zone, field)
    return _to_utc(_add_days(parsed, 1, field), zone, field)


def span_of(start: When | None, end: When | None, days: int, zone: tzinfo, now: datetime) -> Span:
    """The span of a query: without ``end`` until the end of today, without ``start`` the last ``days``, the last day included."""
    if isinstance(days, bool) or not isinstance(days, int) or days < 1:
        raise InvalidRequest(f"days: {days!r} is no number of days; give at least 1")
    today = now.astimezone(zone).date()
    until = last_moment(end if end is not None else today, zone)
    if start is not None:
        since = first_moment(start, zone)
    else:
        last = (until - _MICROSECOND).astimezone(zone).date()
        since = _to_utc(_add_days(last, 1 - days, "days"), zone, "days")
    if since > until:
        raise InvalidRequest(f"start: {since.isoformat()} is after the end, {until.isoformat()}; give an earlier one")
    return Span(since, until)


def buckets(span: Span, group_by: str, zone: tzinfo) -> tuple[Bucket, ...]:
    """The days, weeks or months of the zone that the span touches, in order, without a gap; none for an empty span."""
    if group_by not in _NAMES:
        raise InvalidRequest(f"group_by: {group_by!r} is no period; give {', '.join(map(repr, _NAMES))}")
    if (span.end - span.start).days // MOST_DAYS[group_by] > MOST_BUCKETS:
        raise InvalidRequest(f"group_by: there are more than {MOST_BUCKETS:,} {group_by}s; give a later start, or a longer period")
    return tuple(_buckets(span, group_by, zone))


def _buckets(span: Span, group_by: str, zone: tzinfo) -> Iterator[Bucket]:
    begin = span.start
    first = first_day(group_by, begin.astimezone(zone).date())
    while begin < span.end:
        following = first_day(group_by, _add_days(first, MOST_DAYS[group_by], "end"))
        end = min(_to_utc(following, zone, "end"), span.end)
        if end > begin:  # a day that a zone left out, as Samoa did
            yield Bucket(begin, end, _NAMES[group_by](first))
        begin, first = end, following


def _parse(value: When, field: str) -> datetime | date:
    if isinstance(value, date):
        return value
    if not isinstance(value, str):
        raise InvalidRequest(f"{field}: {type(value).__name__} is no day and no moment; give a date, a datetime, or '2026-11-21'")
    try:
        return date.fromisoformat(value)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise InvalidRequest(
            f"{field}: {value[:80]!r} is no day and no moment; write it as 2026-11-21 or 2026-11-21T09:30Z"
        ) from None


def _to_utc(value: date, zone: tzinfo, field: str) -> datetime:
    """The first moment at which clocks of the zone show this; in UTC, since arithmetic has no gaps there."""
    try:
        shown = value if isinstance(value, datetime) else datetime.combine(value, time())
        return shown.replace(tzinfo=zone, fold=0).astimezone(UTC)
    except (OverflowError, ValueError):
        raise InvalidRequest(f"{field}: {value} is out of the calendar; give a day between the years 2 and 9998") from None


def _add_days(day: date, count: int, field: str) -> date:
    try:
        return day + timedelta(days=count)
    except OverflowError:
        raise InvalidRequest(f"{field}: {count} days from {day} is out of the calendar; give fewer") from None
