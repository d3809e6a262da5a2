"""Over the catalog: prices count as published; what a registry does not know or has wrong keeps no call from being sent."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from llmdispatcher import Price, catalog
from llmdispatcher.catalog import model_facts
from llmdispatcher.catalog.registry.document import RegistryModel, read_edition
from llmdispatcher.catalog.registry.status import price_row

from .conftest import document, row

KNOWN = "gpt-4o-mini"


def model(**fields):
    """A row, read."""
    return RegistryModel.from_row("openai", "openai:gpt-x", json.loads(json.dumps(row(**fields))))


def priced(packaged=None, **fields):
    """The price that a row means."""
    return Price.from_row(price_row(model(**fields), packaged))


def put(make, site, *rows, **fields):
    """Publish rows and put them over the catalog."""
    site.publish(version=7, rows=list(rows), **fields)
    registry = make()
    registry.load()
    assert registry.apply()
    return registry


def test_all_prices_of_a_row():
    """Each into its class."""
    price = priced(
        dollars_per_million_tokens_cache_read=0.2,
        dollars_per_million_tokens_cache_write_5m=2.5,
        dollars_per_million_tokens_cache_write_1h=4,
        dollars_per_million_tokens_output_thinking=9,
    )
    told = (price.input, price.output, price.cache_read, price.cache_write, price.cache_write_long, price.reasoning)

    assert tuple(map(Decimal, ("2", "8", "0.2", "2.5", "4", "9"))) == told


def test_long_requests_raise_cached_tokens_alike():
    """By the factor of plain input."""
    price = priced(
        dollars_per_million_tokens_cache_read=0.2,
        long_context_threshold_tokens=200_000,
        dollars_per_million_tokens_input_long_context=4,
        dollars_per_million_tokens_output_long_context=12,
    )
    ((above, dearer),) = price.bands

    assert (200_000, 4, 12, Decimal("0.4")) == (above, dearer.input, dearer.output, dearer.cache_read)


PACKAGED = Price.from_row(
    {
        "input": "2",
        "output": "8",
        "cache_read": "0.5",
        "audio_input": "40",
        "calls": {"web_search": "0.01"},
        "tiers": {"batch": {"input": "1", "output": "4"}},
        "bands": [{"above": 272_000, "input": "4", "output": "12"}],
    }
)


def test_other_prices_keep_sounds_and_searches():
    """Of which no registry tells; tiers and bands of the old price go."""
    price = priced(PACKAGED, dollars_per_million_tokens_input=3.0)

    assert (3, 40, Decimal("0.01")) == (price.input, price.audio_input, price.calls["web_search"])
    assert ({}, ()) == (price.tiers, price.bands)
    assert 3 == price.cache_read


@pytest.mark.parametrize("none", ["input", "output"])
def test_half_a_price_is_none(none):
    """Nothing is guessed, and nothing is free by omission."""
    assert price_row(model(**{f"dollars_per_million_tokens_{none}": None}), None) is None


def test_vectors_have_no_output():
    """Their input alone is a price."""
    row_ = price_row(model(dollars_per_million_tokens_output=None, api_endpoint="embeddings"), None)

    assert {"input": "2", "output": "0"} == row_


def test_a_known_model_is_priced_by_the_registry(make, site):
    """And keeps what else is known of it; the edition and its source are named."""
    before = model_facts("openai", KNOWN)
    put(make, site, row(name=KNOWN, dollars_per_million_tokens_input=0.01))
    now = model_facts("openai", KNOWN)

    assert (Decimal("0.01"), "registry openai 7", site.url) == (now.price.input, now.price_version, now.source)
    assert (before.quirks, before.kind, before.checked) == (now.quirks, now.kind, now.checked)


def test_the_same_price_keeps_tiers(make, site):
    """Where a registry agrees, the catalog's finer prices stay."""
    before = model_facts("openai", KNOWN).price
    plain = {"dollars_per_million_tokens_input": float(before.input), "dollars_per_million_tokens_output": float(before.output)}
    put(make, site, row(name=KNOWN, **plain))

    assert before.tiers
    assert before.tiers == model_facts("openai", KNOWN).price.tiers


def test_a_new_model_is_known(make, site):
    """With its aliases and limits; what it is not said to do, it may do all the same."""
    put(make, site, row(name="gpt-99", model_aliases=["gpt-99-latest"], supports_streaming=False, deprecated_date="2099-01-01"))
    facts = catalog.get_model("openai:gpt-99-latest")

    assert ("gpt-99", 128_000, True) == (facts.listed, facts.context_window, facts.supports_vision)
    assert facts.supports_streaming
    assert "gpt-99" not in catalog.model_names("openai"), "nobody is asked for it unasked"


HOSTILE = {
    "tiny window": {"max_input_tokens": 1},
    "tiny answer": {"max_output_tokens": 1},
    "no abilities": {"supports_vision": False, "supports_function_calling": False, "supports_streaming": False},
    "vectors only": {"api_endpoint": "embeddings"},
}


@pytest.mark.parametrize("fields", HOSTILE.values(), ids=HOSTILE)
def test_a_registry_cannot_forbid(make, site, fields):
    """What would keep calls from a known model is not taken from it."""
    before = model_facts("openai", KNOWN)
    put(make, site, row(name=KNOWN, **fields))
    now = model_facts("openai", KNOWN)

    assert (before.context_window, before.max_tokens, before.kind) <= (now.context_window, now.max_tokens, now.kind)
    assert now.capabilities >= before.capabilities
    assert now.lacks <= before.lacks


def test_an_alias_that_the_catalog_has_as_a_model(make, site):
    """Is priced by the model that has it in the registry."""
    put(make, site, row(name=f"{KNOWN}-2099-01-01", model_aliases=[KNOWN], dollars_per_million_tokens_input=0.5))
    facts = model_facts("openai", KNOWN)

    assert (KNOWN, Decimal("0.5"), "registry openai 7") == (facts.listed, facts.price.input, facts.price_version)


def test_other_vendors_stay(make, site):
    """As they were packaged."""
    put(make, site, row())

    assert model_facts("anthropic", "claude-sonnet-4-5").price_version.startswith("catalog ")


def test_retired_models_are_not_offered(make, site):
    """But priced."""
    put(make, site, row(name="gone", is_active=False), row(name="here"))
    listed = [facts.model for facts in catalog.list_models("openai")]

    assert ("here" in listed, "gone" in listed) == (True, False)
    assert model_facts("openai", "gone").price is not None


def test_nothing_held_nothing_put(make):
    """The packaged catalog stays, as the same object."""
    edition = catalog.CURRENT.snapshot

    assert not make().apply()
    assert edition is catalog.CURRENT.snapshot


def test_the_same_again_is_not_put_again(make, site):
    """Targets that dispatchers remember stay good."""
    registry = put(make, site, row())
    edition = catalog.CURRENT.snapshot
    registry.refresh()

    assert edition is catalog.CURRENT.snapshot


def test_every_row_can_be_read_as_facts(make, site):
    """Whatever passes the reader passes the catalog: a row with everything at its bounds."""
    extremes = {
        f"dollars_per_million_tokens_{name}": value
        for name, value in {
            "input": 1e-12,
            "output": 10_000,
            "cache_read": 0,
            "cache_write_5m": 5e-324,
            "output_thinking": 0.1,
        }.items()
    }
    long = {"long_context_threshold_tokens": 1, "dollars_per_million_tokens_input_long_context": 10_000}
    body = document(rows=[row(name="all", **extremes, **long), row(name="free", **dict.fromkeys(extremes, 0), **long)])
    site.pages["/openai/models.json"] = body
    registry = make()
    registry.load()
    registry.apply()

    assert 2 == len(read_edition("openai", body).models)
    assert Decimal("1e-12") == model_facts("openai", "all").price.input
    assert 0 == model_facts("openai", "free").price.output
