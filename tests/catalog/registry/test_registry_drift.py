"""What changed between versions: by table, for people and machines, and along the immutable versions."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from llmdispatcher import ConfigError, DispatchError
from llmdispatcher.catalog.registry.document import read_edition
from llmdispatcher.catalog.registry.status import compare_editions

from .conftest import document, row


def between(before, after):
    """The changes between two lists of rows."""
    return compare_editions(
        read_edition("openai", document(version=1, rows=before)), read_edition("openai", document(version=2, rows=after))
    )


KEPT = row(name="kept")
PRICE, LIMIT = "dollars_per_million_tokens_input", "max_input_tokens"
MOVES = {
    "nothing": ([KEPT], [KEPT], {}),
    "added": ([KEPT], [KEPT, row(name="new")], {"added": ["new"]}),
    "removed": ([KEPT, row(name="old")], [KEPT], {"removed": ["old"]}),
    "deactivated": ([KEPT], [row(name="kept", is_active=False)], {"deactivated": ["kept"]}),
    "reactivated": ([row(name="kept", is_active=False)], [KEPT], {"reactivated": ["kept"]}),
    "renamed": ([row(name="a")], [row(name="b")], {"added": ["b"], "removed": ["a"]}),
}


@pytest.mark.parametrize(("before", "after", "expected"), MOVES.values(), ids=MOVES)
def test_models_come_and_go(before, after, expected):
    """Each under its word, and nothing else."""
    told = between(before, after).as_dict()

    assert expected == {name: told[name] for name in ("added", "removed", "deactivated", "reactivated", "changed") if told[name]}


FIELDS = {
    "price": ({PRICE: 2.0}, {PRICE: 1.5}, "price", "input: 2 → 1.5"),
    "new price": ({}, {"dollars_per_million_tokens_cache_read": 0.2}, "price", "cache_read: none → 0.2"),
    "limit": ({}, {LIMIT: 64_000}, "limit", "max_input_tokens: 128000 → 64000"),
    "capability": ({}, {"supports_vision": False}, "capability", "vision: yes → no"),
    "end": ({}, {"deprecated_date": "2026-06-15"}, "date", "deprecated: none → 2026-06-15"),
}


@pytest.mark.parametrize(("before", "after", "kind", "told"), FIELDS.values(), ids=FIELDS)
def test_what_changes_of_a_model(before, after, kind, told):
    """Field, kind, before and after."""
    (change,) = between([row(**before)], [row(**after)]).changed

    assert (kind, f"gpt-x {told}") == (change.kind, str(change))


def test_a_price_written_differently_is_the_same():
    """2, 2.0 and 2.00 are one price; a capability of which nothing was said before is no change."""
    assert not between([row(**{PRICE: 2})], [row(**{PRICE: 2.0}, supports_audio=False)])


def test_drift_is_told_to_people_and_machines(site, make):
    """Of the pinned version and the current one."""
    site.publish(version=7, rows=[KEPT, row(name="old")])
    site.publish(version=9, rows=[row(name="kept", **{PRICE: 1.0})])
    drift = make(versions={"openai": 7}).drift()

    assert drift
    assert "openai 7 → 9\n  removed: old\n  kept input: 2 → 1" == str(drift)
    told = json.loads(json.dumps(drift.as_dict()))
    assert {"model": "kept", "field": "input", "kind": "price", "before": "2", "after": "1"} == told["vendors"]["openai"][
        "changed"
    ][0]
    assert Decimal(1) == drift.vendors["openai"].changed[0].after


def test_drift_of_what_cannot_be_had(site, make):
    """Is unknown, with the reason; the others are told all the same."""
    site.publish(version=7)
    drift = make().drift({"openai": 7, "google": 3})

    assert not drift
    assert "openai 7 → 7: nothing differs" in str(drift)
    assert "status 404" in drift.unknown["google"]


def test_no_pins_no_drift(make):
    """Nothing is asked."""
    assert "nothing is pinned" == str(make().drift())


def test_a_changelog_goes_along_the_versions(site, make):
    """One that is missing is passed over; the changes are still all there."""
    for version, names in {1: "a", 2: "ab", 4: "abc", 5: "bc"}.items():
        site.publish(version=version, rows=[row(name=name) for name in names])
    registry = make()

    def told(since):
        return [(one.before, one.after, one.added, one.removed) for one in registry.changelog("openai", since)]

    assert [(0, 1, ("a",), ()), (1, 2, ("b",), ()), (2, 4, ("c",), ()), (4, 5, (), ("a",))] == told(0)
    assert [(2, 4, ("c",), ()), (4, 5, (), ("a",))] == told(2)
    assert [] == told(5)


def test_a_changelog_reads_each_version_once(site, make):
    """They never change."""
    for version in (1, 2, 3):
        site.publish(version=version)
    registry = make()
    registry.changelog("openai")
    registry.changelog("openai")

    assert 1 == len(site.asked("/v/1/models.json"))
    assert 1 == len(site.asked("/v/2/models.json"))


def test_a_changelog_has_an_end(site, make):
    """A registry that claims a version without end is not walked through."""
    site.publish(version=1_000_000)
    make().changelog("openai")

    assert 100 >= len(site.asked())


def test_a_changelog_of_nobody(make, site):
    """Is an error: it was asked for."""
    with pytest.raises(DispatchError):
        make().changelog("openai")


@pytest.mark.parametrize("since", [-1, "1", 1.5, True])
def test_since_is_a_version(site, make, since):
    """Or 0, for all."""
    site.publish()
    with pytest.raises(ConfigError):
        make().changelog("openai", since)


def test_checksums_are_told_and_reject_nothing(site, make):
    """A document whose checksum is wrong counts all the same."""
    site.publish(version=1, content_sha256_jcs="0" * 64)
    registry = make()

    assert {1: False} == registry.verify("openai")
    assert 1 == registry.load()["openai"].version
