"""Rows of a registry go over the packaged ones, count at once, and can be taken away again."""

import threading
from decimal import Decimal

import pytest

from llmdispatcher import Dispatcher, Request, Response, Usage, get_model, list_models
from llmdispatcher.catalog import model_facts, model_names
from llmdispatcher.catalog.models import overlay, owner
from llmdispatcher.testing import FakeVendor
from llmdispatcher.types import cost_of as cost

DEARER = {"openai": {"gpt-4o": {"price": {"input": "5", "output": "20"}}}}
NEW = {
    "openai": {
        "gpt-77": {"price": {"input": "1", "output": "2"}, "can": ["tools"], "context_window": 1000, "aliases": ["gpt-77-x"]}
    }
}


@pytest.fixture(autouse=True)
def _without():
    yield
    overlay(None)


def price(ref):
    return get_model(ref).price.input


def test_a_row_counts_from_now_on_and_can_be_undone():
    """A look-up before, one under the overlay, one after it."""
    before = get_model("gpt-4o")
    overlay(DEARER, "openai v7 registry")
    under = get_model("gpt-4o")
    overlay(None)

    assert (Decimal("2.5"), Decimal(5)) == (before.price.input, under.price.input)
    assert ("catalog 2026-11-21", "openai v7 registry") == (before.price_version, under.price_version)
    assert before == get_model("gpt-4o")


def test_what_a_row_does_not_say_stays():
    """Limits, capabilities and names are those of the package; the price is another, so its tiers are gone."""
    overlay(DEARER, "v7")
    facts = model_facts("openai", "gpt-4o-2024-08-06")

    assert (128000, 16384, True, {}) == (facts.context_window, facts.max_tokens, facts.supports_vision, facts.price.tiers)
    assert "gpt-4o" in model_names("openai")


def test_a_price_that_agrees_keeps_what_the_package_knows_beside_it():
    """A registry lists less than there is; batch and long requests stay priced."""
    overlay({"openai": {"gpt-5.4": {"price": {"input": "2.5", "output": "15", "cache_read": "0.3"}}}}, "v7")
    facts = get_model("gpt-5.4").price

    assert Decimal("0.3") == facts.cache_read
    assert Decimal("1.25") == facts.tiers["batch"].input
    assert [272000] == [above for above, _ in facts.bands]


def test_a_row_may_be_of_another_name_of_a_model():
    """A dated name gets a row of its own; the plain one keeps what it had."""
    overlay({"openai": {"gpt-4o-2024-08-06": {"price": {"input": "9", "output": "9"}}}}, "v7")

    assert [Decimal(9), Decimal("2.5")] == [price("openai:gpt-4o-2024-08-06"), price("openai:gpt-4o")]
    assert "gpt-4o-2024-08-06" == get_model("gpt-4o-2024-08-06").listed
    assert 128000 == get_model("gpt-4o-2024-08-06").context_window


def test_new_models_and_new_vendors_are_known():
    """By name, alias, vendor and capability; nobody chooses them unasked, since nobody checked them."""
    overlay({**NEW, "acme": {"acme-1": {"price": {"input": "1", "output": "1"}}}}, {"openai": "openai v8", "acme": "acme v1"})

    assert "gpt-77" == get_model("openai:gpt-77-x").listed
    assert ["acme-1"] == [facts.model for facts in list_models("acme")]
    assert "gpt-77" in [facts.model for facts in list_models("openai", ["tools"])]
    assert ("acme v1", "openai v8") == (get_model("acme:acme-1").price_version, get_model("gpt-77").price_version)
    assert "gpt-77" not in model_names("openai")


def test_only_the_last_overlay_counts():
    """A registry hands over all that it has, each time."""
    overlay(DEARER, "v7")
    overlay(NEW, "v8")

    assert Decimal("2.5") == price("gpt-4o")


def test_whom_a_name_belongs_to_is_asked_anew():
    """Nothing of another edition is remembered."""
    assert owner("gpt-77") == "openai"
    overlay({"anthropic": {"gpt-77": {"price": {"input": "1", "output": "1"}, "checked": True}}}, "v1")
    assert owner("gpt-77") == "anthropic"
    overlay(None)
    assert owner("gpt-77") == "openai"


def test_a_dispatcher_bills_by_the_rows_that_count_now():
    """Targets that it knows already get the new prices, too."""
    usage = Usage(input_tokens=1_000_000)
    fake = FakeVendor(Response(content="x", usage=usage), name="openai")
    fake.kind = "openai"
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(fake)

        def ask():
            found = dispatcher.send(Request("gpt-4o", "hi")).usage
            return found.cost, found.price_version

        asked = [ask()]
        overlay(DEARER, "openai v7 registry")
        asked.append(ask())
        overlay(None)
        asked.append(ask())

    packaged = (Decimal("2.5"), "catalog 2026-11-21")
    assert [packaged, (Decimal(5), "openai v7 registry"), packaged] == asked


def test_threads_see_one_edition_or_the_other():
    """Never a price of one under the version of the other."""
    seen, stop = set(), threading.Event()

    def look():
        while not stop.is_set():
            facts = get_model("gpt-4o")
            seen.add((facts.price_version, cost(Usage(input_tokens=1_000_000), facts.price)))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        overlay(DEARER, "v7")
        get_model("gpt-4o")
        overlay(None)
    stop.set()
    for thread in threads:
        thread.join()

    assert seen <= {("v7", Decimal(5)), ("catalog 2026-11-21", Decimal("2.5"))}
    assert seen
