"""Old calls go, their sums stay; and sums are made anew, and checked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from decimal import Decimal
from random import Random

import pytest
from sqlalchemy import func, select, update

from llmdispatcher import InvalidRequest, open_ledger
from llmdispatcher.accounting.ledger.schema import DAILY_KEY, DAILY_SUMS, attempts, calls, daily
from llmdispatcher.testing import ManualClock
from tests.cases import each

from ..conftest import IN_BOTH
from .made_calls import at, between, made, made_attempt, put

START, END = at("2026-03-01T00:00"), at("2026-03-21T00:00")
MIDDLE = at("2026-03-11T00:00")


@pytest.fixture
def ledger(store, monkeypatch):
    """One with three weeks of calls, whose deleting goes in batches of seven."""
    monkeypatch.setattr("llmdispatcher.accounting.ledger.queries.BATCH", 7)
    chance, clock = Random(5), ManualClock()
    clock.advance((END - clock.now()).total_seconds())
    rows = [made(chance, between(chance, START, END)) for _ in range(100)]
    with open_ledger(store) as opened:
        opened.clock = clock
        put(opened, rows, [made_attempt(row, 1) for row in rows])
        yield opened


def counted(ledger, table):
    """How many rows a table has."""
    with ledger.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table))


@pytest.mark.parametrize(
    ("older_than", "store"),
    [
        (timedelta(days=9, hours=12), "postgresql"),
        ("2026-03-11", "sqlite"),
        (date(2026, 3, 11), "sqlite"),
        (MIDDLE + timedelta(hours=5), "sqlite"),
    ],
    indirect=["store"],
)
def test_what_is_old_goes_by_whole_days(ledger, older_than):
    """Calls and attempts from before that day are gone, but for open ones; every sum is what it was."""
    asked = {"start": START, "end": END, "group_by": "day", "by": "model"}
    before, of_calls = ledger.get_usage_stats(**asked), counted(ledger, calls)
    told = []
    report = ledger.prune(older_than, lambda done, total: told.append(done))

    assert MIDDLE == report.before
    assert (of_calls - report.calls, of_calls - report.calls) == (counted(ledger, calls), counted(ledger, attempts))
    assert [] == [call for call in ledger.list_recent_calls(end=MIDDLE) if call.status != "open"]
    assert (report.calls, sorted(told)) == (told[-1], told)
    assert before.buckets == ledger.get_usage_stats(**asked).buckets
    assert ledger.check_rollups().exact
    assert MIDDLE.date() == ledger.check_rollups().since
    assert 0 == ledger.prune(older_than).calls


def test_what_is_gone_is_said(ledger):
    """Statistics that would need deleted rows say that they are not complete; others are."""
    ledger.prune(MIDDLE)

    assert ledger.get_usage_stats(start=START, end=END).complete
    assert ledger.get_usage_stats(start=MIDDLE, end=END, timezone="Europe/Berlin", group_by="day").complete
    assert not ledger.get_usage_stats(start=START + timedelta(hours=5), end=END).complete
    assert not ledger.get_usage_stats(None, "order 1", start=START, end=END).complete


@IN_BOTH
def test_what_is_gone_does_not_come_back(ledger):
    """An export of before, taken in again, brings nothing of the days whose ids are forgotten: it would count twice."""
    logs = ledger.export_usage_logs()
    before = ledger.get_usage_stats(start=START, end=END)
    gone = ledger.prune(MIDDLE).calls
    report = ledger.import_usage_logs(logs)

    assert (0, len(logs) - gone, gone) == (report.imported, report.known, report.failed)
    assert "begun_at: it is before 2026-03-11, up to where calls have been deleted" in report.problems[0].reason
    assert before.total_calls == ledger.get_usage_stats(start=START, end=END).total_calls
    with pytest.raises(InvalidRequest, match=r"^begun_at: .* is before 2026-03-11"):
        ledger.record("openai", "gpt-4o", begun_at=START)


@IN_BOTH
def test_sums_made_anew(ledger):
    """Whatever had happened to them; those of deleted rows are left as they are."""
    ledger.prune(MIDDLE)
    right = ledger.get_usage_stats(start=START, end=END, group_by="day", by="user")
    since = MIDDLE.toordinal() - date(1970, 1, 1).toordinal()
    nobody = dict.fromkeys(DAILY_KEY, "") | dict.fromkeys(DAILY_SUMS, 0)
    with ledger.transaction() as connection:
        connection.execute(update(daily).where(daily.c.day >= since).values(calls=daily.c.calls + 1))
        connection.execute(daily.insert().values({**nobody, "day": since, "origin": "x", "calls": 1, "cost": Decimal(0)}))
    found = ledger.check_rollups()

    assert not found.exact
    assert {1} == {item.kept["calls"] - item.counted["calls"] for item in found.differences}
    assert 10 <= ledger.rebuild_rollups()
    assert ledger.check_rollups().exact
    assert right.buckets == ledger.get_usage_stats(start=START, end=END, group_by="day", by="user").buckets


@IN_BOTH
def test_sums_made_anew_while_others_write(ledger):
    """Nothing that comes in meanwhile is lost or counted twice."""
    chance = Random(6)
    logs = [{"id": f"{n}", "model": "m", "begun_at": between(chance, START, END), "input_tokens": n} for n in range(60)]
    with ThreadPoolExecutor(2) as threads:
        works = [lambda n: ledger.import_usage_logs(logs[n * 20 : n * 20 + 20]), lambda _: ledger.rebuild_rollups()]
        list(threads.map(lambda work: [work(number) for number in range(3)], works))

    assert ledger.check_rollups().exact


@each("wrong", [timedelta(days=-1), "2100-01-01", "soon", timedelta(days=50_000), None, object(), ["90d"], "9" * 400 + "d"])
def test_ages_that_are_none(ledger, wrong):
    """Nothing is deleted by a slip."""
    with pytest.raises(InvalidRequest, match=r"^older_than: .{,200}; "):
        ledger.prune(wrong)
