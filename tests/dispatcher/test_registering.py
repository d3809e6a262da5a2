"""Vendors are registered while others plan: every look at them is at those of one moment."""

import contextlib
from types import SimpleNamespace

import pytest

from llmdispatcher import Config, ConfigError
from llmdispatcher.catalog import Alias, canonical
from llmdispatcher.dispatcher import router
from llmdispatcher.routing import route
from llmdispatcher.testing import FakeVendor
from llmdispatcher.vendors import VendorInfo

VENDORS = ("openai", "first", "second")


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """One to which another vendor comes whenever two names are compared, or a vendor is asked about a model."""
    config = Config(
        default_vendor="gone",
        fallback_vendor="second",
        pools={"mine": ["openai:gpt-4o", "first:m"]},
        routing_rules=[{"vendor": "first"}],
    )
    made = router.Router(config)

    def grow(value):
        made.vendors[f"new-{len(made.vendors)}"] = VendorInfo.of(FakeVendor(name=f"new-{len(made.vendors)}"))
        return value

    class AskedVendor(FakeVendor):
        def claim_on(self, model):
            return grow(super().claim_on(model))

    list(map(made.register, [AskedVendor(name=name) for name in VENDORS]))
    for module in (router, route):
        monkeypatch.setattr(module, "canonical", lambda name: grow(canonical(name)))
    return made


def with_alias(made):
    made._aliases = SimpleNamespace(find=lambda name, _profile: Alias(name, None, ("first:m",)))
    return made


LOOKS = {
    "find": lambda made: made.find("SECOND"),
    "known": lambda made: made.get_vendor("absent"),
    "register": lambda made: made.register(FakeVendor(name="more")),
    "register again": lambda made: made.register(FakeVendor(name="First")),
    "an alias": lambda made: with_alias(made).alias("nobody:m"),
    "a name": lambda made: made.candidates("gpt-4o"),
    "a reference": lambda made: made.candidates("first:m"),
    "a vendor that is not registered": lambda made: made.candidates("mistral:mistral-large-latest"),
    "a maker": lambda made: made.candidates("nobody/m"),
    "any model": lambda made: made.candidates("auto"),
    "a pool": lambda made: made.candidates("mine"),
    "one vendor": lambda made: made.pinned("m", "FIRST"),
    "one vendor, a pool": lambda made: made.pinned("mine", "openai"),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=list(LOOKS))
def test_a_vendor_may_be_registered_meanwhile(directory, look):
    """Nothing but what the look itself has to say is raised."""
    with contextlib.suppress(ConfigError):
        look(directory)
    assert {*directory.vendors} > {*VENDORS}
