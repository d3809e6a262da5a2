"""Calls looked up, the latest first, page by page."""

from __future__ import annotations

from random import Random

import pytest
from sqlalchemy import text

from llmdispatcher import InvalidRequest
from llmdispatcher.accounting.ledger.schema import calls
from tests.cases import each

from ..conftest import IN_BOTH
from .made_calls import at, between, made, made_attempt, put

START, END = at("2026-03-01T00:00"), at("2026-03-03T00:00")


def by_age(rows):
    """Their ids, the latest first."""
    return [row["id"] for row in sorted(rows, key=lambda row: (row["begun_at"], row["id"]), reverse=True)]


@IN_BOTH
def test_pages_are_the_whole(ledger):
    """However many share a moment, each call is on one page, in one order."""
    chance = Random(3)
    rows = [made(chance, chance.choice([START, END, between(chance, START, END)])) for _ in range(50)]
    put(ledger, rows)
    for way in ("call", "cursor", "offset"):
        found, page = [], ledger.list_recent_calls(limit=7)
        while page:
            found += page
            last = {"call": {"before": page[-1]}, "cursor": {"before": page[-1].cursor}, "offset": {"offset": len(found)}}[way]
            page = ledger.list_recent_calls(limit=7, **last)

        assert by_age(rows) == [call.id for call in found], way


def test_calls_that_begin_meanwhile_change_no_page(ledger):
    """What comes after a cursor is what came after it before."""
    chance = Random(3)
    rows = [made(chance, between(chance, START, END)) for _ in range(20)]
    put(ledger, rows)
    first = ledger.list_recent_calls(limit=10)
    with ledger.transaction() as connection:
        connection.execute(calls.insert(), [made(chance, END) for _ in range(5)])

    assert by_age(rows)[10:] == [call.id for call in ledger.list_recent_calls(limit=10, before=first[-1])]


@IN_BOTH
def test_filters(ledger):
    """Each alone is what a plain look at the rows finds; open calls are there too."""
    chance = Random(4)
    rows = [made(chance, between(chance, START, END)) for _ in range(150)]
    put(ledger, rows)
    for name in ("origin", "id_at_origin", "user", "alias", "profile", "vendor", "model", "status"):
        for value in {row[name] for row in rows}:
            meant = [row for row in rows if row[name] == value]
            assert by_age(meant) == [call.id for call in ledger.get_recent_calls(limit=200, **{name: value or ""})]


def test_azure_has_two_names(ledger):
    """As everywhere; a model may be asked for with either."""
    put(ledger, [made(Random(1), START, vendor="azure", model="gpt-4o"), made(Random(2), END, vendor="openai", model="gpt-4o")])

    assert ["azure"] == [call.vendor for call in ledger.list_recent_calls(vendor="azure-openai")]
    assert ["azure"] == [call.vendor for call in ledger.list_recent_calls(model="azure-openai:gpt-4o")]


def test_a_span(ledger):
    """A day as the end belongs, in the zone that is meant."""
    chance = Random(4)
    rows = [made(chance, at(f"2026-03-0{day}T{hour:02}:00")) for day in (1, 2) for hour in range(24)]
    put(ledger, rows)

    assert by_age(rows[:24]) == [call.id for call in ledger.list_recent_calls(start="2026-03-01", end="2026-03-01")]
    day = ledger.list_recent_calls(start="2026-03-02", end="2026-03-02", timezone="Europe/Berlin")
    assert by_age(rows[23:47]) == [call.id for call in day]


def test_a_call_with_its_attempts(ledger):
    """As values: seconds, dollars, aware moments; and as JSON can hold them."""
    row = made(Random(1), START, status="success", latency_us=1_500_000, first_token_us=None, metadata={"a": 1})
    put(ledger, [row], [made_attempt(row, 2), made_attempt(row, 1)])
    call, tried = ledger.get_call(row["id"]), ledger.get_attempts(row["id"])

    assert (START, 1.5, None, row["cost"], {"a": 1}) == (call.begun_at, call.latency, call.first_token, call.cost, call.metadata)
    assert [(1, False, 429), (2, True, 429)] == [(attempt.number, attempt.retry, attempt.http_status) for attempt in tried]
    assert ("2026-03-01T00:00:00+00:00", "0.000000000001") == (call.as_dict()["begun_at"], tried[0].as_dict()["cost"])
    assert (None, []) == (ledger.get_call("nobody"), ledger.get_attempts("nobody"))


@IN_BOTH
def test_of_one_order_an_index_leads_there(ledger):
    """An id at the origin is looked up, not searched for."""
    with ledger.engine.connect() as connection:
        explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET enable_seqscan = off"))
        plan = connection.execute(
            text(f"{explain} SELECT id FROM llmdispatcher_calls WHERE id_at_origin = 'x' ORDER BY begun_at DESC, id DESC LIMIT 5")
        )

        assert "ix_llmdispatcher_calls_id_at_origin" in str(plan.all())


WRONG = [{"limit": 0}, {"limit": 10_001}, {"limit": True}, {"offset": -1}, {"status": "fine"}]
WRONG += [{"before": "yesterday"}, {"before": 7}, {"before": "2026-03-01T00:00:00/x"}]


@each("wrong", WRONG)
def test_what_cannot_be_meant(ledger, wrong):
    """The error names the field and the remedy."""
    with pytest.raises(InvalidRequest, match=f"^{next(iter(wrong))}: .*; give"):
        ledger.list_recent_calls(**wrong)
