"""The stretches of time that a budget counts by: hours, days, weeks, months of a zone, summer time and all, or for ever."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import attrs

PERIODS = ("call", "hour", "day", "week", "month", "total")
"""One call; the running hour, day, week (from Monday) or month; everything there ever is."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen
class Period:
    """From ``begins`` on, and before ``ends``; both aware, UTC. ``ends`` is ``None`` where it never does."""

    begins: datetime
    ends: datetime | None = None

    def covers(self, moment: datetime) -> bool:
        """Whether a moment lies in it."""
        return self.begins <= moment and (self.ends is None or moment < self.ends)


FOR_EVER = Period(EPOCH)


def period_at(kind: str, zone: ZoneInfo, now: datetime) -> Period:
    """The period of this kind that ``now`` is in, by the wall clocks of ``zone``.

    An hour is 60 minutes; a day is as long as the zone makes it, 23 to 25 hours.
    """
    if kind in ("call", "total"):
        return FOR_EVER
    local = now.astimezone(zone)
    if kind == "hour":
        begins = now - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        return Period(begins.astimezone(UTC), begins.astimezone(UTC) + timedelta(hours=1))
    first, after = _days(kind, local.date())
    return Period(_midnight(first, zone), _midnight(after, zone))


def _days(kind: str, today: date) -> tuple[date, date]:
    """The first day of the period, and the first after it."""
    if kind == "day":
        return today, today + timedelta(days=1)
    if kind == "week":
        monday = today - timedelta(days=today.weekday())
        return monday, monday + timedelta(days=7)
    first = today.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """When a day begins. Where clocks skip midnight that is when they skip it, where they repeat it the first time (PEP 495)."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
