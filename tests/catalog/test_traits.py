"""Families of models: every row is whole, and says the same whatever name a model goes by."""

import re

import pytest

from llmdispatcher import catalog
from llmdispatcher.catalog.facts import families
from llmdispatcher.types import EFFORTS
from llmdispatcher.wire.base import LIMITS, QUIRKS

OURS = {"sampling_without_effort", "tools_by_responses"}
"""Quirks that the vendor looks at, no codec."""


def test_a_family_is_whole():
    """Its vendors exist, its quirks, lacks and efforts are known words, its facts have a source and a date."""
    vendors = {row.name for row in catalog.vendor_rows()}
    for family in families():
        assert {*family.vendors} <= vendors, family
        assert family.quirks <= {*QUIRKS, *OURS}, family
        assert {*family.efforts} <= {*EFFORTS}, family
        assert family.api in (None, "responses"), family
        assert family.lacks <= {*catalog.CAPABILITIES}, family
        assert family.limits.keys() <= LIMITS.keys(), family
        assert family.quirks or family.lacks or family.efforts or family.api or family.limits, family
        assert family.source.startswith("https://"), family
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", family.date), family


def test_the_quirks_of_vendors_are_known_words():
    """A mistyped quirk or limit would be passed over in silence."""
    for row in catalog.vendor_rows():
        assert {*row.quirks} <= {*QUIRKS, *OURS}, row.name
        assert row.limits.keys() <= LIMITS.keys(), row.name


def test_families_add_up():
    """A model is of every family that its name is of."""
    pro = catalog.traits_of("openai", "gpt-5-pro-2025-10-06")

    assert {"max_completion_tokens", "no_sampling", "no_stop"} <= pro.quirks
    assert "responses" == pro.api


@pytest.mark.parametrize("name", ["gemini-2.5-pro", "models/gemini-2.5-pro", "google/gemini-2.5-pro", "Gemini-2.5-Pro"])
def test_a_model_is_known_by_all_its_names(name):
    """Prefixes and case make no other model."""
    assert {"thinking_budget", "no_form_beside_tools", "text_results"} == catalog.traits_of("google", name).quirks


def test_a_newer_family_decides_the_efforts():
    """The last row that lists them counts."""
    assert ("none", "low", "medium", "high", "xhigh", "max") == catalog.traits_of("openai", "gpt-5.6-sol").efforts


def test_a_name_that_nobody_knows_has_no_traits():
    """Nothing is guessed from a likeness."""
    assert catalog.traits_of("openai", "another-own") == catalog.traits_of("openai", "my-own")
    assert catalog.Traits() == catalog.traits_of("somebody", "gpt-5")


@pytest.mark.parametrize(
    ("kind", "model", "lacks"),
    [
        ("openai", "gpt-4o", {"reasoning", "audio"}),
        ("openai", "gpt-4o-audio-preview", {"reasoning"}),
        ("azure", "gpt-4", {"reasoning", "audio", "documents", "vision", "json_schema"}),
        ("anthropic", "claude-sonnet-5", {"audio"}),
        ("google", "gemini-2.0-flash", {"reasoning"}),
        ("google", "gemini-2.5-pro", set()),
        ("groq", "gpt-4", set()),
    ],
)
def test_what_a_model_is_known_to_lack(kind, model, lacks):
    """Known at that vendor; everything else is taken to be able."""
    assert lacks == catalog.traits_of(kind, model).lacks
