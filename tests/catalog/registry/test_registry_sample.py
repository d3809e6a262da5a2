"""The published registry, all of it: every version of every vendor loads, is saved, and loads equal."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal

import pytest

from llmdispatcher import Registry, Usage, catalog
from llmdispatcher.catalog import model_facts
from llmdispatcher.catalog.registry.document import read_edition
from llmdispatcher.types import cost_of as cost

COUNTS = {"openai": (7, 77), "anthropic": (9, 19), "google": (5, 28)}
EDITIONS = [(vendor, version) for vendor, (newest, _) in COUNTS.items() for version in range(1, newest + 1)]


@pytest.fixture
def registry(published):
    return Registry(published)


def test_all_vendors_load(registry):
    """The manifest lists them; not a row is left out."""
    editions = registry.load()

    assert COUNTS == {vendor: (edition.version, len(edition.models)) for vendor, edition in editions.items()}
    assert [()] * 3 == [edition.skipped for edition in editions.values()]
    assert {"fresh"} == {status.state for status in registry.status().values()}


@pytest.mark.parametrize(("vendor", "version"), EDITIONS)
def test_every_version_loads_and_saves_equal(registry, vendor, version):
    """Whole, with an aware time; written in the published layout it reads as the same."""
    edition = registry.edition(vendor, version)

    assert (version, ()) == (edition.version, edition.skipped)
    assert 0 == edition.updated_at.utcoffset().total_seconds()
    assert edition == read_edition(vendor, json.dumps(edition.as_dict()).encode(), version)


def test_every_published_price_is_exact(registry):
    """Each number of each document, as its digits say."""
    for vendor, version in EDITIONS:
        edition = registry.edition(vendor, version)
        rows = json.loads(edition.body, parse_float=Decimal)["models"]
        for ref, row in rows.items():
            model = edition.models[ref.partition(":")[2]]
            assert (model.input, model.output) == (
                row["dollars_per_million_tokens_input"],
                row["dollars_per_million_tokens_output"],
            )


def test_the_current_one_is_the_newest(registry):
    """Both ways to it give the same."""
    for vendor, (newest, _) in COUNTS.items():
        assert registry.edition(vendor) == registry.edition(vendor, newest)


def test_checksums(registry):
    """All but two hold, as is known of them."""
    told = {vendor: registry.verify(vendor) for vendor in COUNTS}

    assert [("anthropic", 1), ("google", 3)] == [(name, one) for name, held in told.items() for one in held if not held[one]]


DRIFT = {
    ("google", 4): (8, 0, 2, 2),
    ("anthropic", 8): (0, 0, 0, 6),
    ("openai", 6): (19, 0, 0, 0),
    ("openai", 7): (0, 0, 0, 0),
    ("anthropic", 1): (13, 8, 6, 64),
}


@pytest.mark.parametrize(("pin", "expected"), DRIFT.items(), ids=str)
def test_drift_between_real_versions(registry, pin, expected):
    """How many are added, removed, deactivated, changed."""
    vendor, version = pin
    changes = registry.drift({vendor: version}).vendors[vendor]

    assert expected == (len(changes.added), len(changes.removed), len(changes.deactivated), len(changes.changed))
    assert (version, COUNTS[vendor][0]) == (changes.before, changes.after)


def test_a_real_change_by_name(registry):
    """Google took two models away between 4 and 5."""
    changes = registry.changelog("google", 4)[0]

    assert ("gemini-2.0-flash", "gemini-2.0-flash-lite") == changes.deactivated
    assert "gemini-2.0-flash deprecated: none → 2026-06-01" in str(changes)


def test_aliases(registry):
    """A name of its own comes first, then the largest that claims it."""
    edition = registry.edition("openai")

    assert "gpt-5" == edition.find("gpt-5").name
    assert "gpt-5-2025-08-07" == edition.find("openai:GPT-5").name
    assert "gpt-4o-2024-08-06" == edition.find("gpt-4o-2024-11-20").name


COSTS = {
    ("openai", "gpt-4o-mini", 1_000_000, 0): "0.15",
    ("openai", "gpt-5.6-luna", 100_000, 100_000): "0.14",
    ("anthropic", "claude-sonnet-4-20250514", 200_000, 0): "0.6",
    ("anthropic", "claude-sonnet-4-20250514", 200_001, 0): "1.200006",
    ("anthropic", "claude-sonnet-4-0", 300_000, 1_000): "1.8225",
    ("google", "gemini-2.5-pro", 300_000, 1_000): "0.765",
}


@pytest.mark.parametrize(("asked", "dollars"), COSTS.items(), ids=str)
def test_costs_are_the_registrys(registry, asked, dollars):
    """Over the catalog, and with the version that they are of."""
    registry.load()
    registry.apply()
    vendor, model, into, out = asked
    facts = model_facts(vendor, model)

    assert Decimal(dollars) == cost(Usage(input_tokens=into, output_tokens=out), facts.price)
    assert f"registry {vendor} {COUNTS[vendor][0]}" == facts.price_version


def test_nothing_that_the_catalog_knows_is_narrowed(registry):
    """Limits and capabilities of every model are at least what they were."""
    before = {(vendor, facts.model): facts for vendor in COUNTS for facts in catalog.all_models(vendor)}
    registry.load()
    registry.apply()

    for (vendor, model), known in before.items():
        now = model_facts(vendor, model)
        assert now.context_window >= known.context_window
        assert now.max_tokens >= known.max_tokens
        assert now.capabilities >= known.capabilities
        assert now.lacks <= known.lacks


def test_a_copy_of_it_is_as_good(published, tmp_path):
    """The pages themselves, without the folder around them."""
    shutil.copytree(published / "pages", tmp_path / "pages")
    copied = Registry(tmp_path / "pages").load()

    assert copied == Registry(tmp_path.as_uri()).load() == Registry(published).load()
