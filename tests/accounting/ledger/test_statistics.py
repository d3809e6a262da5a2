"""What was used, against a plain count of the rows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

import attrs
import pytest

from llmdispatcher import InvalidRequest, Ledger, LedgerError, open_ledger
from llmdispatcher.accounting.ledger.figures import UsageFigures
from llmdispatcher.accounting.ledger.usage import DIMENSIONS
from llmdispatcher.accounting.units import TOKENS
from llmdispatcher.testing import ManualClock
from tests.cases import each

from ..conftest import IN_BOTH
from .made_calls import at, between, made, put

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Kiritimati")
NAMES = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}
FIRST, LAST = at("2026-03-01T00:00"), at("2026-04-12T00:00")  # a change of the clocks lies between, in three of the zones


def figures(rows):
    """What the rows come to, counted in the plainest way."""

    def ended_as(status):
        return len([row for row in rows if row["status"] == status])

    def total(name):
        return sum(row[name] or 0 for row in rows)

    timed = [row for row in rows if row["first_token_us"] is not None]
    return UsageFigures(
        total_calls=len(rows),
        successful_calls=ended_as("success"),
        errors=ended_as("error"),
        timeouts=ended_as("timeout"),
        rate_limited=ended_as("rate_limited"),
        cancelled=ended_as("cancelled"),
        unknown=ended_as("unknown"),
        cached_calls=total("cached"),
        streamed_calls=total("streamed"),
        hedged_calls=total("hedged"),
        unpriced_calls=len([row for row in rows if row["cost"] is None]),
        attempts=total("attempts"),
        **{name: total(name) for name in TOKENS},
        total_cost=sum((row["cost"] or Decimal(0) for row in rows), Decimal(0)),
        average_latency=total("latency_us") / len(rows) / 10**6 if rows else None,
        average_first_token=total("first_token_us") / len(timed) / 10**6 if timed else None,
    )


def counted(rows, zone, start, end, group_by, by):
    """The buckets that the rows fall into: {(period, value): figures}, those without calls left out."""
    found = {}
    for row in rows:
        if start <= row["begun_at"] < end:
            period = row["begun_at"].astimezone(zone).strftime(NAMES[group_by]) if group_by else None
            for value in values(row, by):
                found.setdefault((period, value), []).append(row)
    return {key: figures(of_key) for key, of_key in found.items()}


def values(row, by):
    """Under what a row is counted; a row with several tags under each."""
    if by == "tag":
        return (row["metadata"] or {}).get("tags") or [""]
    return [row[by] or "" if by else None]


def plain(bucket):
    """Of a bucket or the whole, what both have."""
    return UsageFigures(**{field.name: getattr(bucket, field.name) for field in attrs.fields(UsageFigures)})


@pytest.fixture
def ledger(store):
    """An empty ledger at the end of a day in spring."""
    clock = ManualClock()
    clock.advance((at("2026-04-10T21:30") - clock.now()).total_seconds())
    with open_ledger(store) as opened:
        opened.clock = clock
        yield opened


@pytest.mark.usefixtures("untraced")
@IN_BOTH
def test_any_question_against_a_plain_count(ledger):
    """Random spans, zones, periods, filters and keys: buckets, whole and distinct values are those of the rows."""
    chance = Random(0)
    rows = [made(chance, between(chance, FIRST, LAST)) for _ in range(300)]
    for row in rows[::3]:
        row["metadata"] = {"tags": chance.choice([["a"], ["a", "b"], []])}
    put(ledger, rows)
    ended = [row for row in rows if row["status"] != "open"]
    assert ledger.check_rollups().exact

    for _ in range(25):
        timezone = chance.choice(ZONES)
        zone, group_by, by = ZoneInfo(timezone), chance.choice([None, *NAMES]), chance.choice([None, *DIMENSIONS])
        start, end = sorted(between(chance, FIRST, LAST) for _ in range(2))
        asked = {name: chance.choice([row[name] for row in rows]) or "" for name in chance.sample(("origin", "user", "model"), 1)}
        asked |= {"id_at_origin": "order 1"} if chance.random() < 0.2 else {}
        meant = [row for row in ended if all((row[name] or "") == value for name, value in asked.items())]
        inside = [row for row in meant if start <= row["begun_at"] < end]

        stats = ledger.get_usage_stats(start=start, end=end, timezone=timezone, group_by=group_by, by=by, **asked)

        assert figures(inside) == plain(stats)
        assert len({row["model"] for row in inside}) == stats.unique_models
        assert len({row["origin"] for row in inside} - {None}) == stats.unique_origins
        found = {(bucket.period, bucket.value): plain(bucket) for bucket in stats.buckets if bucket.total_calls}
        assert (counted(meant, zone, start, end, group_by, by) if group_by or by else {}) == found


@IN_BOTH
def test_percentiles_are_latencies_of_calls(ledger):
    """The nearest rank: of 1 to 100 ms the 50th and the 95th."""
    chance = Random(0)
    times = [*range(1, 101)]
    chance.shuffle(times)
    put(ledger, [made(chance, at("2026-04-01T10:00"), status="success", latency_us=count * 1000) for count in times])
    stats = ledger.get_usage_stats()

    assert (0.050, 0.095) == (stats.p50_latency, stats.p95_latency)


@IN_BOTH
def test_percentiles_only_where_they_are_cheap(ledger, monkeypatch):
    """Of too many calls none are told, rather than wrong or late ones; an id at the origin leads to its few."""
    monkeypatch.setattr("llmdispatcher.accounting.ledger.usage.MOST_RANKED", 2)
    chance = Random(0)
    put(ledger, [made(chance, at("2026-04-01T10:00"), status="error", latency_us=5000, id_at_origin=str(n)) for n in range(3)])

    assert (None, None) == (ledger.get_usage_stats().p50_latency, ledger.get_usage_stats().p95_latency)
    assert 0.005 == ledger.get_usage_stats(None, "2").p50_latency


@IN_BOTH
def test_nothing_at_all(ledger):
    """Without calls there is no rate, no latency, and no cost."""
    stats = ledger.get_usage_stats(group_by="day", by="model")

    assert (0, 0, Decimal(0), Decimal(0)) == (stats.total_calls, stats.total_tokens, stats.total_cost, stats.avg_cost_per_call)
    assert (None, None, None, ()) == (stats.success_rate, stats.average_latency, stats.p50_latency, stats.buckets)


def test_the_last_thirty_days_are_the_default(ledger):
    """Today and the 29 days before, of the zone; periods without calls are there too."""
    stats = ledger.get_usage_stats(group_by="day", timezone="Europe/Berlin")

    assert ("2026-03-12T00:00:00+01:00", "2026-04-11T00:00:00+02:00") == (stats.start.isoformat(), stats.end.isoformat())
    assert 30 == len(stats.buckets)
    assert {timedelta(hours=23), timedelta(days=1)} == {b.end.astimezone(UTC) - b.start.astimezone(UTC) for b in stats.buckets}


def test_today_is_that_of_the_zone(ledger):
    """At half past nine in the evening of UTC, the next day has begun in Kiritimati."""
    assert "2026-04-11" == ledger.get_usage_stats(days=1, group_by="day", timezone="Pacific/Kiritimati").buckets[0].period


def test_a_day_as_the_end_belongs_as_a_whole(ledger):
    """The last microsecond of the day counts, the next does not."""
    chance = Random(0)
    last = at("2026-03-31T23:59:59.999999")
    put(ledger, [made(chance, last, status="success"), made(chance, at("2026-04-01T00:00"), status="success")])

    for end in ("2026-03-31", date(2026, 3, 31), "2026-04-01T00:00Z", datetime(2026, 4, 1, tzinfo=UTC)):
        assert 1 == ledger.get_usage_stats(start="2026-03-31", end=end).total_calls, end
        assert 1 == ledger.get_usage_stats(start_date="2026-03-01", end_date=end).total_calls, end


def test_a_moment_without_a_zone_is_meant_in_the_one_asked_for(ledger):
    """Naive moments and days follow ``timezone``; aware ones do not."""
    naive, aware = datetime(2026, 3, 30, 2, 0), datetime(2026, 3, 30, 2, 0, tzinfo=timezone(timedelta(hours=-5)))
    stats = ledger.get_usage_stats(start=naive, end=aware, timezone="Europe/Berlin")

    assert ("2026-03-30T00:00:00+00:00", "2026-03-30T07:00:00+00:00") == (
        stats.start.astimezone(UTC).isoformat(),
        stats.end.astimezone(UTC).isoformat(),
    )


def test_weeks_are_those_of_iso_8601(ledger):
    """The first of January 2027 is a Friday of week 53 of 2026; Monday begins a week."""
    stats = ledger.get_usage_stats(start="2026-12-27", end="2027-01-04", group_by="week")

    assert ["2026-W52", "2026-W53", "2027-W01"] == [bucket.period for bucket in stats.buckets]
    assert ["2026-12-27", "2026-12-28", "2027-01-04"] == [bucket.start.date().isoformat() for bucket in stats.buckets]


def test_a_day_that_a_zone_left_out(ledger):
    """Samoa went from the 29th to the 31st of December 2011; there is no bucket for the day between."""
    stats = ledger.get_usage_stats(start="2011-12-29", end="2011-12-31", group_by="day", timezone="Pacific/Apia")

    assert ["2011-12-29", "2011-12-31"] == [bucket.period for bucket in stats.buckets]


def test_a_midnight_that_a_zone_left_out(ledger):
    """In Cairo the 24th of April 2026 begins at one o'clock, and the day before ends there."""
    before, after = ledger.get_usage_stats(start="2026-04-23", end="2026-04-24", group_by="day", timezone="Africa/Cairo").buckets

    assert before.end == after.start
    assert (timedelta(days=1), timedelta(hours=23)) == tuple(
        bucket.end.astimezone(UTC) - bucket.start.astimezone(UTC) for bucket in (before, after)
    )


def test_a_model_may_pin_its_vendor(ledger):
    """``openai:gpt-4o`` is that of one vendor, ``gpt-4o`` of all; a colon of the model's own is none."""
    chance = Random(0)
    put(ledger, [made(chance, at("2026-04-01T10:00"), status="success", vendor=v, model=m) for v, m in (
        ("openai", "gpt-4o"), ("azure", "gpt-4o"), ("ollama", "llama3:8b"))])  # fmt: skip
    asked = ("openai:gpt-4o", "gpt-4o", "llama3:8b", "ollama:llama3:8b", "nothing")

    assert [1, 2, 1, 1, 0] == [ledger.get_usage_stats(model=model).total_calls for model in asked]


@IN_BOTH
def test_sums_beyond_what_a_column_holds(ledger):
    """Ten calls of a million dollars at ten models come to more picodollars than 64 bits have."""
    chance = Random(0)
    dear = Decimal("999999.999999999999")
    put(ledger, [made(chance, at("2026-04-01T10:00"), status="success", model=str(n), cost=dear) for n in range(10)])

    assert 10 * dear == ledger.get_usage_stats().total_cost
    assert 10 * dear == ledger.get_usage_stats(end="2026-04-01T12:00Z").total_cost


def test_words_of_the_documents(ledger):
    """``total_requests`` and ``summary`` are other words for the same; origin, id and days go by their place."""
    chance = Random(0)
    put(ledger, [made(chance, at("2026-04-10T10:00"), status="success", origin="shop", id_at_origin="7", cost=Decimal("0.02"))])
    stats = ledger.get_usage_stats("shop", "7", 1)

    assert (1, 1, Decimal("0.02"), Decimal(1)) == (
        stats.total_requests, stats.summary.total_requests, stats.avg_cost_per_call, stats.success_rate)  # fmt: skip
    assert 0 == ledger.get_usage_stats("shop", "8", 1).total_requests


def test_as_json(ledger):
    """Money is text without an exponent, rates are fractions."""
    chance = Random(0)
    put(ledger, [made(chance, at("2026-04-10T10:00"), status="success", model="m", cost=Decimal("0.000000000001"))])
    told = ledger.get_usage_stats(group_by="month", by="model").as_dict()

    assert ("0.000000000001", 1.0, "UTC") == (
        told["summary"]["total_cost"],
        told["summary"]["success_rate"],
        told["summary"]["timezone"],
    )
    assert [("2026-04", "m")] == [(bucket["period"], bucket["value"]) for bucket in told["buckets"]]


@each(
    "asked, told",
    [
        ({"group_by": "hour"}, "group_by: 'hour'"),
        ({"group_by": "day", "start": "1900-01-01"}, "group_by: there are more than 10,000 days"),
        ({"by": "price"}, "by: 'price'"),
        ({"start": "yesterday"}, "start: 'yesterday'"),
        ({"end": "2026-02-30"}, "end: '2026-02-30'"),
        ({"start": "2026-04-02", "end": "2026-04-01T00:00Z"}, "start: 2026-04-02"),
        ({"end": date.max}, "end: 1 days from 9999-12-31"),
        ({"days": 0}, "days: 0"),
        ({"days": True}, "days: True"),
        ({"days": 10**9}, "days: "),
        ({"timezone": "Mars/Olympus"}, "timezone: 'Mars/Olympus'"),
        ({"timezone": "../../etc/passwd"}, "timezone: "),
        ({"origin": 7}, "origin: 7"),
    ],
)
def test_what_cannot_be_meant(asked, told, tmp_path):
    """The error names the field, what is wrong with it, and what would do."""
    with Ledger(tmp_path / "never.db") as ledger, pytest.raises(InvalidRequest, match=f"^{told}.*(;|out of)"):
        ledger.get_usage_stats(**asked)


def test_an_argument_that_there_is_not(tmp_path):
    """A slip in a name is told as for any function."""
    with pytest.raises(TypeError, match=r"there is no argument 'modle'; did you mean 'model'\?"):
        Ledger(tmp_path / "never.db").get_usage_stats(modle="gpt-4o")


def test_a_database_without_tables(tmp_path):
    """It is told as such, without SQL."""
    with (
        Ledger(tmp_path / "empty.db") as ledger,
        pytest.raises(LedgerError, match=r"cannot be read \(OperationalError\)") as caught,
    ):
        ledger.get_usage_stats()

    assert "SELECT" not in str(caught.value)
