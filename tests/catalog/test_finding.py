"""Models are found by reference and by what they can; what is not found says what is near."""

from datetime import date

import pytest

import llmdispatcher
from llmdispatcher import ConfigError, ModelNotFound, get_model, list_models
from llmdispatcher.catalog import ABILITIES, CURRENT, vendor_rows

EVERYTHING = list_models(active_only=False)


@pytest.mark.parametrize(
    ("ref", "vendor", "listed"),
    [
        ("gpt-4o", "openai", "gpt-4o"),
        ("openai:gpt-4o", "openai", "gpt-4o"),
        (" OpenAI : gpt-4o-2024-08-06 ", "openai", "gpt-4o"),
        ("azure-openai:gpt-4o", "azure", "gpt-4o"),
        ("claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("gemini:models/gemini-2.5-pro", "google", "gemini-2.5-pro"),
        ("gemini-2.5-pro", "google", "gemini-2.5-pro"),
        ("mistral-large-latest", "mistral", "mistral-large-latest"),
        ("text-embedding-3-small", "openai", "text-embedding-3-small"),
        ("openrouter:openai/gpt-5", "openrouter", "openai/gpt-5"),
        ("ollama:gpt-oss:20b-cloud", "ollama", "gpt-oss:20b-cloud"),
    ],
)
def test_a_model_is_found(ref, vendor, listed):
    """By vendor and name, by its bare name at the vendor whose it is, by an alias; blanks and case of the vendor do not matter."""
    facts = get_model(ref)

    assert (vendor, listed) == (facts.vendor, facts.listed)


@pytest.mark.parametrize(
    ("ref", "near"),
    [
        ("gpt-4o-mimi", "'gpt-4o-mini'"),
        ("openai:gpt-4o-mimi", "'gpt-4o-mini'"),
        ("anthropic:claude-sonet-5", "'claude-sonnet-5'"),
        ("GPT-4O-Mini", "'gpt-4o-mini'"),
        ("qqqqqqqq", "list_models()"),
    ],
)
def test_what_is_not_there_says_what_is_near(ref, near):
    """The error names the field, the value and the likeliest names."""
    with pytest.raises(ModelNotFound) as raised:
        get_model(ref)

    assert str(raised.value).startswith(f"ref: the catalog has no model {ref!r}; ")
    assert near in str(raised.value)


@pytest.mark.parametrize("ref", ["", "  ", None, 3])
def test_what_is_no_reference_is_refused(ref):
    """Nothing is looked for where nothing is named."""
    with pytest.raises(ConfigError, match=r"ref: .* names no model; give 'vendor:model'"):
        get_model(ref)


def test_every_model_is_found_by_its_reference():
    """No row hides another, under any of its names."""
    for facts in EVERYTHING:
        for name in (facts.model, *facts.aliases):
            found = get_model(f"{facts.vendor}:{name}")
            assert (facts.vendor, facts.listed, name) == (found.vendor, found.listed, found.model)


def test_models_are_listed_by_vendor_and_capability():
    """All of what is asked for holds for each; every model comes once."""
    found = list_models("anthropic", ["vision", "tools"])
    names = [facts.model for facts in found]

    assert "claude-opus-5-5" in names
    assert {"anthropic"} == {facts.vendor for facts in found}
    assert all({"vision", "tools"} <= facts.capabilities for facts in found)
    assert len(names) == len({*names})
    assert found == list_models(vendor="Anthropic", capabilities=("vision", "tools"))


def test_one_capability_may_be_a_word():
    """A word is not taken for its letters."""
    assert list_models("openai", ["embeddings"]) == list_models("openai", "embeddings")
    assert "text-embedding-3-large" in [facts.model for facts in list_models("openai", "embeddings")]


def test_models_that_are_gone_are_left_out_unless_asked_for():
    """By the day that their vendor names, or since it says so."""
    gone = {facts.ref for facts in EVERYTHING} - {facts.ref for facts in list_models()}

    assert "deepseek:deepseek-chat" in gone
    assert "openai:gpt-4o" not in gone
    assert date(2026, 7, 24) == get_model("deepseek:deepseek-chat").deprecated


def test_a_model_is_active_until_its_day():
    """On the day that a vendor names it is gone."""
    facts = get_model("deepseek:deepseek-chat")

    assert [True, False] == [facts.is_active(day) for day in (date(2026, 7, 23), date(2026, 7, 24))]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"vendor": "opnai"}, "vendor: 'opnai' is not in the catalog; did you mean 'openai'"),
        ({"vendor": "qq"}, "vendor: 'qq' is not in the catalog; there are openai, anthropic"),
        ({"vendor": 3}, "vendor: 3 is not in the catalog; there are openai"),
        ({"capabilities": ["sight"]}, "capabilities: 'sight' is not one that is known of models; there are streaming, vision"),
    ],
)
def test_mistakes_name_field_value_and_remedy(arguments, text):
    """A mistyped word finds nothing otherwise, in silence."""
    with pytest.raises(ConfigError) as raised:
        list_models(**arguments)

    assert str(raised.value).startswith(text)


def test_the_catalog_is_wide():
    """Every vendor with a price list of its own is in it, and every word that rows use is known."""
    vendors = {facts.vendor for facts in EVERYTHING}

    assert len(EVERYTHING) > 1500
    assert vendors <= {row.name for row in vendor_rows()}
    assert {"openai", "anthropic", "google", "vertex", "azure", "groq", "mistral", "deepseek", "xai", "openrouter"} <= vendors
    assert {word for facts in EVERYTHING for word in facts.capabilities} <= {*ABILITIES}
    assert {"chat", "responses", "embedding"} == {facts.kind for facts in EVERYTHING}


def test_the_names_are_public():
    """``from llmdispatcher import get_model`` is all it takes."""
    assert llmdispatcher.get_model("gpt-4o") is CURRENT.snapshot.find("openai", "gpt-4o")


def test_a_misspelt_vendor_of_a_reference_is_told_as_that():
    """The suggestion changes the vendor and leaves the model, as a reference that can be written."""
    with pytest.raises(ModelNotFound, match=r"the catalog has no model 'opnai:gpt-4o'; did you mean 'openai:gpt-4o'\?$"):
        get_model("opnai:gpt-4o")
