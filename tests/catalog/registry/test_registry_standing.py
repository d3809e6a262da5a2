"""Freshness is version and age: confirmed versions are fresh, pins are pins, what is missing is stale, and it can be asserted."""

from __future__ import annotations

import pytest

from llmdispatcher import RegistryStale
from llmdispatcher.catalog.registry.status import time_ago

from .conftest import DAY


def state(registry):
    """State and version of the one vendor."""
    status = registry.status()["openai"]
    return status.state, status.version


def test_before_anything_was_asked(make, site):
    """The packaged catalog counts, and the status asks nobody."""
    status = make().status()["openai"]

    assert "openai: packaged (catalog); the packaged catalog counts: the registry has not been asked yet" == str(status)
    assert (None, None) == (status.version, status.age_days)
    assert [] == site.asked()


def test_an_old_version_that_is_confirmed_is_fresh(site, make, clock):
    """Nobody published a newer one: its age says nothing."""
    site.publish(version=7, updated_at="2020-01-01T00:00:00")
    registry = make()
    registry.load()
    clock.advance(7_200)
    status = registry.status()["openai"]

    assert "openai 7: fresh (registry); confirmed 2 hours ago" == str(status)
    assert 2192 < status.age_days < 2193
    assert 7_200 == status.checked


def test_it_goes_stale_and_a_good_check_heals_it(site, make, clock):
    """Also on disk: another process sees the confirmation."""
    site.publish(version=7)
    registry = make()
    registry.load()
    clock.advance(DAY)
    assert ("stale", 7) == state(registry)
    registry.refresh()

    assert ("fresh", 7) == state(registry)
    assert ("fresh", 7) == state(make())


def test_a_version_without_a_time_is_stale(site, make):
    """Missing is stale."""
    site.publish(version=7, updated_at=None)
    registry = make()
    registry.load()

    assert ("stale", 7) == state(registry)
    assert "it does not say when it was published" == registry.status()["openai"].reason


def test_a_status_is_plain_values(site, make):
    """For machines."""
    site.publish(version=7)
    told = make().refresh()["openai"].as_dict()

    assert {"vendor": "openai", "state": "fresh", "version": 7, "age": DAY, "checked": 0.0, "skipped": 0} == {
        name: told[name] for name in ("vendor", "state", "version", "age", "checked", "skipped")
    }


def test_a_pin_is_fetched_once_and_for_ever(site, make, clock):
    """Whatever happens to the registry, and whoever starts."""
    site.publish(version=7)
    site.publish(version=8)
    registry = make(versions={"openai": 7})
    for _ in range(3):
        assert 7 == registry.load()["openai"].version
        clock.advance(400 * DAY)
    registry.refresh()
    later = make(versions={"openai": 7})
    later.refresh()

    assert ["/openai/v/7/models.json"] == site.asked("models.json")
    assert ("pinned", 7) == state(later)
    site.close()
    assert 7 == make(versions={"openai": 7}).load()["openai"].version


def test_a_pin_is_never_replaced(site, make):
    """Where its version cannot be had, the packaged catalog counts, not another version."""
    site.publish(version=8)
    registry = make(versions={"openai": 7})

    assert {} == registry.load()
    assert ("packaged", None) == state(registry)
    assert "version 7 is pinned and could not be had" in registry.status()["openai"].reason


def test_a_pin_that_lies_is_refused(site, make):
    """Another version under the number of the pin is not the pin."""
    site.publish(version=8)
    site.pages["/openai/v/7/models.json"] = site.pages["/openai/models.json"]

    assert {} == make(versions={"openai": 7}).load()


def test_a_pin_brings_its_vendor(site, make):
    """Also one that is not listed, in any spelling."""
    site.publish("google", 2)

    assert {"google": 2} == {vendor: one.version for vendor, one in make(vendors=[], versions={"Gemini": 2}).load().items()}


def test_further_pins_make_another_registry(site, make):
    """Such as a lockfile's; the one that is shared stays as it is."""
    site.publish(version=7)
    site.publish(version=8)
    registry = make()
    pinned = registry.with_versions({"openai": 7})

    assert (8, 7) == (registry.load()["openai"].version, pinned.load()["openai"].version)
    assert ({}, {"openai": 7}) == (registry.versions, pinned.versions)
    pinned.close()


def test_fresh_is_what_the_registry_confirms_now(site, make):
    """The assertion asks, even within the TTL, and takes what is new."""
    site.publish(version=7)
    registry = make()
    registry.load()
    site.publish(version=8)
    registry.assert_fresh("openai")

    assert 8 == registry.editions()["openai"].version


def test_silence_is_stale(site, make, clock):
    """What cannot be confirmed is not fresh, however young; the error says of whom, and how old."""
    site.publish(version=7)
    registry = make()
    registry.load()
    site.close()
    with pytest.raises(RegistryStale, match="could not confirm") as caught:
        registry.assert_fresh()

    assert ("openai", 1.0) == (caught.value.vendor, caught.value.age_days)


def test_nothing_at_all_is_stale(make, site):
    """With an age that is unknown."""
    with pytest.raises(RegistryStale) as caught:
        make().assert_fresh("openai")

    assert caught.value.age_days is None


def test_a_pin_behind_is_stale(site, make):
    """Until it is moved."""
    site.publish(version=7)
    registry = make(versions={"openai": 7})
    registry.assert_fresh()
    site.publish(version=8)
    with pytest.raises(RegistryStale, match="version 7 is pinned, and 8 is published"):
        registry.assert_fresh()

    assert "pinned to version 7; the registry publishes 8" == registry.status()["openai"].reason
    registry.with_versions({"openai": 8}).assert_fresh()


@pytest.mark.parametrize(("published", "fresh"), [("2025-12-31T00:00:00", True), ("2025-12-01T00:00:00", False), (None, False)])
def test_age_can_be_asked_for_too(site, make, published, fresh):
    """Naive times are UTC; a missing one is too old."""
    site.publish(version=7, updated_at=published)
    registry = make()
    if fresh:
        registry.assert_fresh("openai", max_age_days=1)
        return
    with pytest.raises(RegistryStale, match="1 are allowed"):
        registry.assert_fresh("openai", max_age_days=1)


def test_a_good_assertion_heals(site, make, clock):
    """Stale, asserted, fresh."""
    site.publish(version=7)
    registry = make()
    registry.load()
    clock.advance(2 * DAY)
    registry.assert_fresh()

    assert ("fresh", 7) == state(registry)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 seconds ago"), (119, "119 seconds ago"), (120, "2 minutes ago"), (7_200, "2 hours ago"), (2 * DAY, "2 days ago")],
)
def test_lengths_of_time(seconds, told):
    """As people say them."""
    assert told == time_ago(seconds)
