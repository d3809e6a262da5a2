"""Models are rows: complete, priced within reason, found by exact name; families place the rest."""

import json
import os
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest

from llmdispatcher import Usage, catalog, list_models
from llmdispatcher.catalog import NameClaim, claim_on, model_facts, vendor_rows
from llmdispatcher.catalog import models_of as models
from llmdispatcher.catalog import traits_of as traits
from llmdispatcher.catalog.models import owner
from llmdispatcher.types import cost_of
from scripts.catalog.gathered import facts

WIRE = os.environ.get("LLMDISPATCHER_WIRE_CORPUS")
SHARED = Path(WIRE).parent if WIRE else Path(__file__).resolve().parents[3] / "shared"
CHECKED = Path(__file__).resolve().parents[2] / "scripts" / "catalog" / "checked.json"
FACTS = SHARED / "data" / "model_facts.json"
PREFIX = {"openai": "", "anthropic": "", "google": "gemini/", "azure": "azure/"}
SAME_FACT = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_long": "cache_creation_input_token_cost_above_1hr",
    "audio_input": "input_cost_per_audio_token",
}
EVERYTHING = list_models(active_only=False)
ROWS = [(row.name, model) for row in vendor_rows() for model in models(row.name)]


def published():
    return json.loads(CHECKED.read_text("utf-8"))["vendors"]


@cache
def gathered():
    return json.loads(FACTS.read_text("utf-8"))


def test_every_checked_model_has_source_date_and_limits():
    """A row that cannot be checked, or that says nothing, is none."""
    for kind, model in ROWS:
        facts = model_facts(kind, model)
        assert facts.source.startswith("https://"), (kind, model)
        assert "2026-" == facts.date[:5], (kind, model)
        assert facts.context_window >= 4_000, (kind, model)
        assert facts.max_tokens >= 2_000, (kind, model)


def test_checked_prices_are_sane():
    """Positive, below a thousand dollars a million, reading from a cache no dearer than reading, long context no cheaper."""
    for row in ROWS:
        price = model_facts(*row).price
        assert all(Decimal(0) < amount < 1000 for amount in (price.input, price.output, price.cache_read)), row
        assert price.cache_read <= price.input <= price.output, row
        assert price.input <= price.cache_write <= price.cache_write_long < 1000, row
        for above, long in price.bands:
            assert above >= 100_000, row
            assert (long.input >= price.input, long.output >= price.output, long.cache_read >= price.cache_read) == (True,) * 3, row


def test_every_row_is_sane():
    """Source and date, no price below nothing or beyond a thousand dollars, bands ascending, batch and flex no dearer."""
    for one in EVERYTHING:
        price = one.price
        assert one.source.startswith("https://"), one.ref
        assert "2026-" == one.date[:5] or one.retired, one.ref
        if price is None:
            continue
        amounts = [price.input, price.output, price.cache_read, price.cache_write_long, price.audio_input, price.audio_output]
        assert all(0 <= amount < 1000 for amount in amounts), one.ref
        assert [above for above, _ in price.bands] == sorted({above for above, _ in price.bands}), one.ref
        for tier in ("batch", "flex"):
            assert price.tiers.get(tier, price).input <= price.input, one.ref


def test_facts_and_traits_agree():
    """What a family is known to lack none of its models is said to have; what one API alone has, that API is asked for."""
    apart = [facts.ref for facts in EVERYTHING if facts.capabilities & traits(facts.vendor, facts.model).lacks]
    elsewhere = [
        facts.ref
        for facts in EVERYTHING
        if facts.vendor in ("openai", "azure")
        and facts.kind == "responses"
        and traits(facts.vendor, facts.model).api != "responses"
    ]

    assert ([], []) == (apart, elsewhere)


@pytest.mark.skipif(not FACTS.is_file(), reason=f"no gathered facts at {FACTS}")
def test_traits_are_those_that_were_gathered():
    """No family is said to lack what the facts say that it can; what Claude refuses, the facts say that it refuses."""
    apart = []
    for vendor, model, row in facts(gathered()):
        own = traits(vendor, model)
        apart += [f"{vendor}:{model} can {word}" for word in row["can"] if word in own.lacks and vendor in PREFIX]
    for name, fact in gathered().items():
        if fact["provider"] == "anthropic":
            quirks = traits("anthropic", name).quirks
            apart += [name] if ("no_prefill" in quirks) != (fact.get("supports_assistant_prefill") is False) else []
            apart += [name] if "no_sampling" not in quirks and fact.get("supports_sampling_params") is False else []

    assert [] == apart


def test_amounts_are_written_as_text():
    """JSON numbers would pass through binary floats; dollars are strings."""
    amounts = [
        amount
        for vendor in published().values()
        for row in vendor["models"].values()
        for name, amount in [*row["price"].items(), *row["price"].get("long", {}).items()]
        if name not in ("long", "above")
    ]

    assert {str} == {type(amount) for amount in amounts}


@pytest.mark.skipif(not FACTS.is_file(), reason=f"no gathered facts at {FACTS}")
def test_prices_are_those_that_were_gathered():
    """The table agrees with the shared facts, figure by figure."""
    for kind, vendor in published().items():
        for model, row in vendor["models"].items():
            fact = gathered()[PREFIX[kind] + model]
            plain = {name: amount for name, amount in row["price"].items() if name != "long"}
            long = dict(row["price"].get("long", {}))
            mark = f"_above_{long.pop('above', 0) // 1000}k_tokens"
            for amounts, ending in ((plain, ""), (long, mark)):
                told = {name: Decimal(repr(fact[SAME_FACT[name] + ending])) * 1_000_000 for name in amounts}
                assert told == {name: Decimal(amount) for name, amount in amounts.items()}, (kind, model)
            assert (fact["max_input_tokens"], fact["max_output_tokens"]) == (row["context_window"], row["max_tokens"]), (
                kind,
                model,
            )


def test_every_vendor_has_models():
    """None of the four is a name only."""
    assert min(len(models(kind)) for kind in PREFIX) >= 10


def test_a_dated_name_is_an_alias():
    """The dated variant has the facts of the plain one, under its own name."""
    dated = model_facts("openai", "gpt-4o-2024-08-06")

    assert model_facts("openai", "gpt-4o").price == dated.price
    assert "gpt-4o-2024-08-06" == dated.model


def test_the_resource_name_of_google_is_the_model():
    """Gemini answers with "models/..." where one asked without."""
    assert model_facts("google", "gemini-2.5-pro") is model_facts("google", "models/gemini-2.5-pro")


@pytest.mark.parametrize(("kind", "model"), [("openai", "gpt-4o-2031-01-01"), ("openai", "claude-opus-5"), ("acme", "gpt-4o")])
def test_what_is_not_listed_is_not_guessed(kind, model):
    """A similar name may have another price."""
    assert None is model_facts(kind, model)


def test_reasoning_models_tell_what_they_refuse():
    """Codecs read from the facts which parameters a model takes."""
    assert "max_completion_tokens" in model_facts("openai", "gpt-5").quirks
    assert "max_completion_tokens" not in model_facts("openai", "gpt-4o").quirks
    assert not model_facts("anthropic", "claude-opus-5-5").supports_sampling_params
    assert model_facts("anthropic", "claude-haiku-4-5").supports_sampling_params


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("gpt-4o", "openai"),
        ("gpt-35-turbo", "azure"),
        ("claude-sonnet-5", "anthropic"),
        ("gemini-9-ultra", "google"),
        ("azure-openai:gpt-4o", "azure"),
        ("llama3:8b", None),
        ("my-deployment", None),
    ],
)
def test_a_name_belongs_to_a_vendor(model, kind):
    """By the vendor that it pins, by the table, by its family, or to nobody."""
    assert kind == owner(model)


@pytest.mark.parametrize(
    ("kind", "model", "claim"),
    [
        ("openai", "gpt-4o", NameClaim.LISTED),
        ("azure", "gpt-4o", NameClaim.LISTED),
        ("openrouter", "openai/gpt-4o-mini", NameClaim.LISTED),
        ("openai", "gpt-99", NameClaim.FAMILY),
        ("openai", "o7-mini", NameClaim.FAMILY),
        ("mistral", "ft:open-mistral-7b:me", NameClaim.FAMILY),
        ("openai", "claude-sonnet-5", NameClaim.FOREIGN),
        ("anthropic", "gpt-4o", NameClaim.FOREIGN),
        ("google", "gpt-4o", NameClaim.FOREIGN),
        ("azure", "gemini-2.5-pro", NameClaim.FOREIGN),
        ("openai", "anthropic:claude-sonnet-5", NameClaim.FOREIGN),
        ("openai", "my-deployment", NameClaim.UNKNOWN),
        ("openai", "gpt-oss-20b", NameClaim.UNKNOWN),
        ("deepseek", "deepseek-r1:8b", NameClaim.UNKNOWN),
        ("azure", "my-deployment", NameClaim.ANY),
        ("groq", "gpt-4o", NameClaim.ANY),
        ("acme", "claude-sonnet-5", NameClaim.ANY),
    ],
)
def test_what_is_known_about_a_vendor_and_a_name(kind, model, claim):
    """A maker has its own models and names of its families; hosts of all makers, and vendors outside the catalog, may have any."""
    assert claim is claim_on(kind, model)


def test_an_answer_of_every_listed_model_can_be_priced():
    """No row is left without a working price."""
    usage = Usage(input_tokens=1000, output_tokens=1000)

    assert all(cost_of(usage, model_facts(kind, model).price) > 0 for kind, model in ROWS)


def test_a_model_with_aliases_is_listed_once():
    """Whoever chooses among all models sees each under one name."""
    names = catalog.model_names("openai")

    assert ("gpt-4o" in names, "gpt-4o-2024-08-06" in names, len(names)) == (True, False, len({*names}))
    assert "gpt-4o" == catalog.model_facts("openai", "gpt-4o-2024-08-06").listed
    assert () == catalog.model_names("acme")
