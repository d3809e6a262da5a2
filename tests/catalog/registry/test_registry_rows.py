"""Rows: what is published is read exactly, and what cannot be is refused with its reason."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import pytest

from llmdispatcher.catalog.registry.document import RegistryModel

from .conftest import row


def read(**fields):
    """A row with these fields, read."""
    given = json.loads(json.dumps(row(**fields)))
    return RegistryModel.from_row("openai", f"openai:{given['model_name']}", given)


def test_a_price_is_what_is_written():
    """A float becomes the decimal that people see."""
    assert Decimal("0.075") == read(dollars_per_million_tokens_cached_input=0.075).cache_read


def test_noise_of_floats_is_cut():
    """Beyond twelve decimals there is nothing that anybody meant."""
    assert Decimal("0.3") == read(dollars_per_million_tokens_input=0.1 + 0.2).input


@pytest.mark.parametrize("name", ["cache_read", "cached_input"])
def test_both_names_of_cache_reads_count(name):
    """Vendors' documents call it differently."""
    assert Decimal("0.5") == read(**{f"dollars_per_million_tokens_{name}": 0.5}).cache_read


def test_zero_tokens_are_unknown():
    """Documents say 0 where their makers found nothing."""
    assert (None, None) == (read(max_input_tokens=0).max_input_tokens, read(max_output_tokens=None).max_output_tokens)


def test_long_prices_need_the_flag():
    """A row that says it has no prices for long requests has none."""
    long = {"long_context_threshold_tokens": 200_000, "dollars_per_million_tokens_input_long_context": 6.0}

    assert 200_000 == read(**long).long_above
    assert (None, None) == (read(**long, supports_long_context_pricing=False).long_above, read(**long).long_output)


def test_flags_are_told_apart_from_silence():
    """Yes, no, and nothing said."""
    model = read(supports_audio=False, supports_thinking=None)

    assert {"vision", "function_calling"} == model.supports
    assert {"audio"} == model.lacks


def test_days():
    """Dates, also with a time behind."""
    model = read(release_date="2025-05-14", deprecated_date="2026-06-15T00:00:00Z", is_active=False)

    assert (datetime.date(2025, 5, 14), datetime.date(2026, 6, 15), False) == (model.released, model.deprecated, model.active)


def test_a_description_is_one_bounded_line():
    """It is prose, and nobody's reason to lose a price."""
    model = read(description="one\n\ntwo " + "x" * 100_000)

    assert model.description.startswith("one two x")
    assert 2_000 == len(model.description)


def test_aliases_are_listed_once():
    """Without the model's own name."""
    assert ("a", "b") == read(model_aliases=["a", "gpt-x", "b", "a"]).aliases


def test_what_is_written_is_read_again():
    """The published layout both ways."""
    model = read(
        model_aliases=["a"],
        description="words",
        dollars_per_million_tokens_cache_read=0.2,
        dollars_per_million_tokens_cache_write_5m=2.5,
        dollars_per_million_tokens_cache_write_1h=4,
        dollars_per_million_tokens_output_thinking=9,
        long_context_threshold_tokens=200_000,
        dollars_per_million_tokens_input_long_context=4,
        dollars_per_million_tokens_output_long_context=12,
        supports_audio=False,
        deprecated_date="2026-06-15",
        api_endpoint="chat",
    )

    assert model == RegistryModel.from_row("openai", model.ref, json.loads(json.dumps(model.as_dict())))


PRICE = "dollars_per_million_tokens_input"
WRONG = {
    "negative price": ({PRICE: -0.01}, "not within 0 to"),
    "endless price": ({PRICE: 1e999}, "not within 0 to"),
    "absurd price": ({PRICE: 10_001}, "not within 0 to"),
    "huge number": ({PRICE: 10**400}, "not within 0 to"),
    "price as text": ({PRICE: "2.0"}, "is no number"),
    "price as flag": ({PRICE: True}, "is no number"),
    "price as list": ({PRICE: [2.0]}, "is no number"),
    "negative limit": ({"max_input_tokens": -1}, "not a whole number"),
    "broken limit": ({"max_input_tokens": 1.5}, "not a whole number"),
    "endless limit": ({"max_output_tokens": 10**12}, "not a whole number"),
    "threshold as text": ({"long_context_threshold_tokens": "200000"}, "not a whole number"),
    "flag as text": ({"supports_vision": "yes"}, "neither true nor false"),
    "active as number": ({"is_active": 1}, "neither true nor false"),
    "too many flags": ({f"supports_{number}": True for number in range(200)}, "too many"),
    "a flag that is no name": ({"supports_\x1b[2J": True}, "not names"),
    "long name": ({"model_name": "x" * 201}, "more than 200 letters"),
    "no name": ({"model_name": " "}, "is no text"),
    "name as number": ({"model_name": 5}, "is no text"),
    "control characters": ({"model_name": "gpt\x1b]0;x\x07"}, "control characters"),
    "line end": ({"display_name": "a\nb"}, "control characters"),
    "half a character": ({"display_name": "\ud800"}, "control characters"),
    "description as list": ({"description": ["a"]}, "is no text"),
    "escape in a description": ({"description": "\x1b[31m"}, "control characters"),
    "aliases as text": ({"model_aliases": "a"}, "no list"),
    "alias as number": ({"model_aliases": [1]}, "is no text"),
    "endless aliases": ({"model_aliases": [str(number) for number in range(65)]}, "no list"),
    "no day": ({"deprecated_date": "soon"}, "is no date"),
    "day as number": ({"release_date": 20250514}, "is no date"),
    "of another vendor": ({"provider": "anthropic"}, "do not agree"),
}


@pytest.mark.parametrize(("fields", "why"), WRONG.values(), ids=WRONG)
def test_a_wrong_row_is_refused(fields, why):
    """With the field's name, and never with its content."""
    given = row(**fields)
    with pytest.raises(ValueError, match=why):
        RegistryModel.from_row("openai", f"openai:{given['model_name']}", given)


@pytest.mark.parametrize("given", [None, [], "x", 3])
def test_a_row_is_an_object(given):
    """Anything else is refused."""
    with pytest.raises(ValueError, match="a row is an object"):
        RegistryModel.from_row("openai", "openai:x", given)


def test_the_key_must_agree():
    """A row under another's key would price the wrong model."""
    with pytest.raises(ValueError, match="do not agree"):
        RegistryModel.from_row("openai", "openai:other", row())
