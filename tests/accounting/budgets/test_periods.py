"""When hours, days, weeks and months begin and end, by the clocks of a zone."""

from zoneinfo import ZoneInfo

import pytest

from llmdispatcher.accounting.budgets.budget import FOR_EVER, PERIODS, period_at
from tests.cases import each

from .conftest import moment

TABLE = [
    ("hour", "UTC", "2026-03-01 10:59:59.999999", "2026-03-01 10:00", "2026-03-01 11:00"),
    ("hour", "Asia/Kolkata", "2026-03-01 10:15", "2026-03-01 09:30", "2026-03-01 10:30"),
    ("day", "UTC", "2026-03-01 00:00", "2026-03-01 00:00", "2026-03-02 00:00"),
    ("day", "UTC", "2026-02-28 23:59:59", "2026-02-28 00:00", "2026-03-01 00:00"),
    ("day", "America/New_York", "2026-01-01 04:59", "2025-12-31 05:00", "2026-01-01 05:00"),
    # 23 and 25 hours: summer time begins and ends
    ("day", "Europe/Berlin", "2026-03-29 12:00", "2026-03-28 23:00", "2026-03-29 22:00"),
    ("day", "Europe/Berlin", "2026-10-25 12:00", "2026-10-24 22:00", "2026-10-25 23:00"),
    # midnight does not exist: clocks go from 23:59 to 01:00
    ("day", "America/Sao_Paulo", "2018-11-04 12:00", "2018-11-04 03:00", "2018-11-05 02:00"),
    # midnight exists twice: clocks go from 00:59 back to 00:00
    ("day", "America/Havana", "2026-11-01 05:30", "2026-11-01 04:00", "2026-11-02 05:00"),
    # a day that an island left out
    ("day", "Pacific/Apia", "2011-12-30 09:00", "2011-12-29 10:00", "2011-12-30 10:00"),
    ("day", "Pacific/Apia", "2011-12-30 11:00", "2011-12-30 10:00", "2011-12-31 10:00"),
    ("week", "UTC", "2026-03-01 12:00", "2026-02-23 00:00", "2026-03-02 00:00"),
    ("week", "UTC", "2026-03-02 00:00", "2026-03-02 00:00", "2026-03-09 00:00"),
    ("week", "Europe/Berlin", "2026-03-29 23:00", "2026-03-29 22:00", "2026-04-05 22:00"),
    ("month", "UTC", "2026-02-28 23:59", "2026-02-01 00:00", "2026-03-01 00:00"),
    ("month", "UTC", "2028-02-29 12:00", "2028-02-01 00:00", "2028-03-01 00:00"),
    ("month", "UTC", "2026-12-31 23:59:59", "2026-12-01 00:00", "2027-01-01 00:00"),
    ("month", "UTC", "2026-01-31 00:00", "2026-01-01 00:00", "2026-02-01 00:00"),
    ("month", "Europe/Berlin", "2026-03-15 00:00", "2026-02-28 23:00", "2026-03-31 22:00"),
    ("month", "Pacific/Auckland", "2026-03-31 11:00", "2026-03-31 11:00", "2026-04-30 12:00"),
]


@each("kind, zone, now, begins, ends", TABLE)
def test_a_period_begins_and_ends_by_the_clocks_of_its_zone(kind, zone, now, begins, ends):
    """By the table; all moments are UTC."""
    period = period_at(kind, ZoneInfo(zone), moment(now))

    assert (moment(begins), moment(ends)) == (period.begins, period.ends)


@each("kind", ["call", "total"])
def test_some_periods_never_end(kind):
    """One call's, and the one of everything."""
    assert FOR_EVER == period_at(kind, ZoneInfo("UTC"), moment("2026-03-01"))


@pytest.mark.parametrize("kind", [kind for kind in PERIODS if kind not in ("call", "total", "hour")])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "America/Havana"])
def test_periods_follow_each_other_without_a_gap(kind, zone):
    """The end of each is the beginning of the next, over two years."""
    period = period_at(kind, ZoneInfo(zone), moment("2017-06-01"))
    while period.ends < moment("2019-06-01"):
        after = period_at(kind, ZoneInfo(zone), period.ends)
        assert (period.ends, period.begins < period.ends) == (after.begins, True)
        period = after
