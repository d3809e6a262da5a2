"""Models and prices of the catalog in the database, on both kinds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import text

from llmdispatcher import InvalidRequest, Ledger, LedgerError, get_model, list_models, open_ledger
from llmdispatcher.catalog import overlay
from llmdispatcher.testing import ManualClock

from ..conftest import IN_BOTH

PRICE = {"input": Decimal("0.1"), "output": "0.4000001"}
MINE = {"mine": {"small": {"price": PRICE, "aliases": ["tiny"], "context_window": 32_000}}}


@pytest.fixture
def own_rows():
    yield overlay
    overlay(None)


@IN_BOTH
def test_the_catalog_is_written(store, own_rows):
    """All of it, once: a model is what the catalog says of it, with its whole price; amounts are exact."""
    own_rows(MINE, "our contract")
    with Ledger(store) as ledger:
        first, again = ledger.refresh_models(), ledger.refresh_models()
        facts, model = get_model("openai:gpt-4o"), ledger.get_model("openai", "gpt-4o")
        own, aliased = ledger.get_model("mine", "small"), ledger.get_model("mine", "tiny")
        with ledger.reading() as connection:
            cheap = connection.execute(
                text("SELECT model FROM llmdispatcher_models WHERE vendor = 'mine' AND input_price = 100000000000")
            ).scalar_one()

    assert len(list_models(active_only=False)) == first.models == first.added
    assert (0, 0, 0) == (again.added, again.changed, again.ended)
    assert (facts.ref, facts.price, facts.context_window, facts.capabilities, facts.price_version) == (
        model.ref,
        model.price,
        model.context_window,
        model.capabilities,
        model.price_version,
    )
    assert (facts.price.input, facts.price.cache_read) == (model.input_price, model.cache_read_price)
    assert (Decimal("0.1"), Decimal("0.4000001"), 32_000, "our contract") == (
        own.input_price,
        own.output_price,
        own.context_window,
        own.price_version,
    )
    assert own == aliased
    assert "small" == cheap
    assert ("0.1", ["tiny"]) == (own.as_dict()["input_price"], own.as_dict()["aliases"])


@IN_BOTH
def test_a_change_is_written_and_what_is_gone_stays(store, own_rows):
    """As inactive, from when that was first seen; a model that comes back is active again."""
    with Ledger(store) as ledger:
        ledger.clock = clock = ManualClock()
        own_rows(MINE, "1")
        ledger.refresh_models()
        made = ledger.get_model("mine", "small")
        clock.advance(3600)
        own_rows({"mine": {"small": {"price": {"input": "1", "output": "2"}}}}, "2")
        told = [ledger.refresh_models()]
        dearer = ledger.get_model("mine", "small")
        clock.advance(3600)
        own_rows(None)
        told += [ledger.refresh_models(), ledger.refresh_models()]
        gone, listed, everything = (
            ledger.get_model("mine", "small"),
            ledger.list_models("mine"),
            ledger.list_models("mine", active_only=False),
        )
        own_rows(MINE, "1")
        told.append(ledger.refresh_models())
        back = ledger.list_models("mine")

    assert [(0, 1, 0), (0, 0, 1), (0, 0, 0), (0, 1, 0)] == [(one.added, one.changed, one.ended) for one in told]
    assert (Decimal(1), made.created_at, 3600) == (
        dearer.input_price,
        dearer.created_at,
        (dearer.updated_at - made.updated_at).total_seconds(),
    )
    assert ([], [gone], 7200) == (listed, everything, (gone.inactive_from - made.created_at).total_seconds())
    assert [None] == [one.inactive_from for one in back]


def test_models_that_are_served_no_longer_are_left_out(store, own_rows):
    """By the day that the vendor named, which may come to pass after the refresh; else from when that was first seen."""
    price = {"price": {"input": "1", "output": "2"}}
    ends = {"a": {}, "b": {"ends": "2026-02-01"}, "c": {"ends": "2025-06-30"}, "d": {"retired": True}}
    own_rows({"mine": {name: {**price, **end} for name, end in ends.items()}})
    with open_ledger(store) as ledger:
        ledger.clock = clock = ManualClock()
        ledger.refresh_models()
        january = [one.model for one in ledger.list_models(" Mine ")]
        clock.advance(31 * 86_400)
        february = [one.model for one in ledger.list_models("mine")]
        ledger.refresh_models()
        ends = {one.model: one.inactive_from for one in ledger.list_models("mine", active_only=False)}

    assert (["a", "b"], ["a"]) == (january, february)
    assert ends == {
        "a": None,
        "b": datetime(2026, 2, 1, tzinfo=UTC),
        "c": datetime(2025, 6, 30, tzinfo=UTC),
        "d": datetime(2026, 1, 1, tzinfo=UTC),
    }


@IN_BOTH
def test_many_refresh_at_once(store, own_rows):
    """From ledgers of their own: each row is written once."""
    own_rows(MINE, "1")
    with Ledger(store, timeout=60.0) as ledger:
        ledger.migrate()

        def work(_):
            with Ledger(store, timeout=60.0) as own:
                return own.refresh_models().added

        with ThreadPoolExecutor(4) as pool:
            added = sorted(pool.map(work, range(4)))
        count = len(ledger.list_models(active_only=False))

    assert [0, 0, 0, count] == added


def test_costs_come_from_the_catalog_alone(store):
    """A price that somebody changes in the database costs nobody anything."""
    with open_ledger(store) as ledger:
        ledger.refresh_models()
        with ledger.transaction() as connection:
            connection.execute(text("UPDATE llmdispatcher_models SET input_price = 0, output_price = 0, price = NULL"))
        ledger.record("openai", "gpt-4o", input_tokens=1_000_000, output_tokens=0, id="one")
        call = ledger.get_call(ledger.list_recent_calls()[0].id)
        mended = ledger.refresh_models()

    assert get_model("openai:gpt-4o").price.input == call.cost
    assert mended.changed


def test_an_older_ledger_without_models_says_what_to_do(store):
    """Where it may not be written; names that are none are told."""
    with open_ledger(store) as ledger:
        empty = ledger.list_models(), ledger.get_model("openai", "gpt-4o")
        with ledger.transaction() as connection:
            connection.execute(text("DROP TABLE llmdispatcher_models"))
        with pytest.raises(LedgerError, match=r"migrate\(\)"):
            ledger.list_models()
        with pytest.raises(InvalidRequest, match="models: 'gpt-4o' is no ModelFacts"):
            ledger.refresh_models(["gpt-4o"])
        for ask in (lambda: ledger.list_models(7), lambda: ledger.list_models(" "), lambda: ledger.get_model("openai", None)):
            with pytest.raises(InvalidRequest, match="names no"):
                ask()

    assert ([], None) == empty
