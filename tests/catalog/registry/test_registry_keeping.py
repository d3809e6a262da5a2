"""A dispatcher's registry: one thread that starts with the first call, and no call that is worse off for it."""

from __future__ import annotations

import gc
import os
import threading
import time
from decimal import Decimal
from itertools import pairwise
from statistics import median

import pytest

from llmdispatcher import Cancellation, Cancelled, Config, ConfigError, Dispatcher, Message, OpenAIVendor, Registry, Request

from .conftest import document, row

NAME = "llmdispatcher-registry"
ASK = Request("openai:gpt-x", [Message("user", "hi")])
PATIENCE = 30.0
SLACK = 20.0
"""Seconds that a busy machine may need for what it does at once when it has time; what is not to be waited for takes 60."""


def running():
    """The registry threads of this process."""
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def soon(claim):
    """Whether something becomes true."""
    end = time.monotonic() + PATIENCE
    while not claim() and time.monotonic() < end:
        time.sleep(0.01)
    return claim()


@pytest.fixture
def dispatch(vendor_simulator):
    """Makes dispatchers of one simulated vendor."""
    made = []

    def dispatch(registry):
        made.append(Dispatcher({"registry": registry}))
        made[-1].register_vendor(OpenAIVendor(api_key="simulated", base_url=vendor_simulator.openai_url))
        return made[-1]

    yield dispatch
    for dispatcher in made:
        dispatcher.close()


@pytest.fixture(autouse=True)
def no_registry_thread_left():
    """Each test ends its own."""
    yield
    assert soon(lambda: not running())


def cost_of(usage, into, out):
    """Dollars at these prices for a million tokens."""
    return (usage.input_tokens * Decimal(into) + usage.output_tokens * Decimal(out)) / 1_000_000


def test_calls_are_counted_at_its_prices(site, make, dispatch):
    """From the first call on, with the version; a stream too."""
    site.publish(version=7)
    dispatcher = dispatch(make())
    usage = dispatcher.send(ASK).usage

    assert (cost_of(usage, 2, 8), "priced", "registry openai 7") == (usage.cost, usage.cost_status, usage.price_version)
    stream = dispatcher.send_streaming(ASK)
    list(stream)
    assert "registry openai 7" == stream.usage.price_version


def test_nothing_happens_before_the_first_call(site, make, dispatch):
    """No thread, no question."""
    dispatch(make()).explain(ASK)

    assert ([], []) == (running(), site.asked())


def test_one_thread_for_all(site, make, dispatch):
    """Two dispatchers with many calls share it; the last that closes ends it."""
    site.publish(version=7)
    registry = make()
    one, two = dispatch(registry), dispatch(registry)
    for dispatcher in (one, two) * 5:
        dispatcher.send(ASK)

    assert 1 == len(running())
    assert 1 == len(site.asked("models.json"))
    one.close()
    two.send(ASK)
    assert 1 == len(running())
    two.close()
    assert soon(lambda: not running())


def test_a_dropped_dispatcher_takes_its_thread_with_it(site, dispatch, tmp_path, vendor_simulator):
    """Also without close."""
    dispatcher = Dispatcher({"registry": str(tmp_path)})
    dispatcher.register_vendor(OpenAIVendor(api_key="simulated", base_url=vendor_simulator.openai_url))
    (tmp_path / "openai").mkdir()
    (tmp_path / "openai" / "models.json").write_bytes(document(version=3))
    assert "registry openai 3" == dispatcher.send(ASK).usage.price_version
    assert 1 == len(running())
    vendor = dispatcher.get_vendor("openai")
    del dispatcher
    gc.collect()

    assert soon(lambda: not running())
    vendor.close()


def test_a_registry_that_was_closed_goes_on_with_the_next_call(site, make, dispatch):
    """Closing is not the end, as with everything that a dispatcher shares."""
    site.publish(version=7)
    registry = make()
    dispatcher = dispatch(registry)
    dispatcher.send(ASK)
    registry.close()
    assert soon(lambda: not running())
    dispatcher.send(ASK)

    assert 1 == len(running())


def stalled(site):
    """A registry that takes questions and never answers."""
    site.odd["/openai/models.json"] = lambda peer, _: peer.wait()


def test_a_silent_registry_costs_the_first_call_little(site, make, dispatch):
    """It waits for as long as it was told, the next ones not at all; none of them fails."""
    stalled(site)
    dispatcher = dispatch(make(wait=0.5))
    began = time.monotonic()
    first = dispatcher.send(ASK).usage
    moments = [time.monotonic()]
    for _ in range(9):
        dispatcher.send(ASK)
        moments.append(time.monotonic())

    assert 0.5 <= moments[0] - began < SLACK
    assert median(after - before for before, after in pairwise(moments)) < 0.45, "a busy machine makes few calls slow, not most"
    assert first.price_version is None or not first.price_version.startswith("registry")


def test_a_short_call_is_not_used_up_by_waiting(site, make, dispatch):
    """It needs its time for the vendor."""
    stalled(site)
    began = time.monotonic()

    assert dispatch(make(wait=60)).send(ASK, timeout=10.0).usage is not None
    assert time.monotonic() - began < 9


def test_what_is_on_disk_is_not_waited_for(site, make, dispatch):
    """However old it is, and however long the registry takes to confirm it."""
    site.publish(version=7)
    make().load()
    stalled(site)
    registry = make(wait=60, ttl=0.001)
    began = time.monotonic()

    assert "registry openai 7" == dispatch(registry).send(ASK, timeout=600).usage.price_version
    assert time.monotonic() - began < SLACK, "a tenth of the call's time would be 60"


def test_the_wait_can_be_cancelled(site, make, dispatch):
    """At once."""
    stalled(site)
    dispatcher, cancel = dispatch(make(wait=60)), Cancellation()
    timer = threading.Timer(0.1, cancel.cancel)
    timer.start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        dispatcher.send(ASK, timeout=600, cancel=cancel)

    assert time.monotonic() - began < SLACK
    timer.join()


def test_new_prices_come_by_themselves(site, tmp_path, dispatch):
    """When the old ones are due."""
    site.publish(version=7)
    dispatcher = dispatch(Registry(site.url, cache_dir=tmp_path, vendors=["openai"], ttl=0.5))
    assert cost_of(dispatcher.send(ASK).usage, 2, 8) == dispatcher.send(ASK).usage.cost
    site.publish(version=8, rows=[row(dollars_per_million_tokens_input=1.0)])

    assert soon(lambda: "registry openai 8" == dispatcher.send(ASK).usage.price_version)
    usage = dispatcher.send(ASK).usage
    assert cost_of(usage, 1, 8) == usage.cost


def test_without_a_thread_calls_go_on(site, make, dispatch, monkeypatch):
    """A machine that has none left: the catalog counts, and later calls try again."""
    site.publish(version=7)
    dispatcher = dispatch(make())
    start = threading.Thread.start

    def none_left(self):
        if self.name == NAME:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", none_left)
    assert dispatcher.send(ASK) is not None
    monkeypatch.setattr(threading.Thread, "start", start)
    assert soon(lambda: dispatcher.send(ASK).usage.price_version == "registry openai 7")


def test_a_mistake_of_ours_ends_no_call(site, make, dispatch, monkeypatch, caplog):
    """Whatever is raised in the thread is logged there, and the thread lives."""
    site.publish(version=7)
    monkeypatch.setattr("llmdispatcher.catalog.registry.client.catalog_rows", lambda *_: 1 / 0)
    dispatcher = dispatch(make())

    assert dispatcher.send(ASK) is not None
    assert "a round ended badly" in caplog.text
    assert 1 == len(running())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_a_keeper_of_its_own(site, make, dispatch):
    """Started by its first call, whatever the parent's was doing."""
    site.publish(version=7)
    dispatcher = dispatch(make())
    dispatcher.send(ASK)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            version = dispatcher.send(ASK).usage.price_version
            code = 0 if version == "registry openai 7" and len(running()) == 1 else 2
        finally:
            os._exit(code)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("wrong", ["http://example.com", 5, ["x"]])
def test_a_wrong_registry_is_a_wrong_configuration(wrong):
    """Told when the configuration is made."""
    with pytest.raises(ConfigError, match="registry"):
        Config(registry=wrong)


def test_a_registry_may_be_named_by_its_address(tmp_path):
    """Or be one, or a folder's path."""
    registry = Registry(tmp_path)

    assert registry is Config(registry=registry).registry
    assert str(tmp_path) == str(Config(registry=tmp_path).registry.source)
    assert "https://registry.example.com" == str(Config(registry="https://registry.example.com/").registry.source)


LOCKFILE = """
version = "1.0"
created_at = 2026-01-01T00:00:00Z
updated_at = 2026-01-01T00:00:00Z
default_profile = "default"

[profiles.default]
name = "default"
[profiles.default.registry_versions]
openai = 7
google = 0

[profiles.next]
name = "next"
[profiles.next.registry_versions]
openai = 8
"""
PINNED = {
    "default": (None, {}, "registry openai 7"),
    "next": ("next", {}, "registry openai 8"),
    "the registry's own": ("next", {"openai": 6}, "registry openai 6"),
}


@pytest.mark.parametrize(("profile", "own", "expected"), PINNED.values(), ids=PINNED)
def test_a_lockfile_pins_versions(site, make, vendor_simulator, tmp_path, profile, own, expected):
    """Those of the profile in use, where the registry has no pin of its own; the registry itself stays as it is."""
    for version in (6, 7, 8, 9):
        site.publish(version=version)
    (tmp_path / "llmdispatcher.lock").write_text(LOCKFILE)
    registry = make(versions=own)
    with Dispatcher({"registry": registry, "lockfile": str(tmp_path / "llmdispatcher.lock"), "profile": profile}) as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key="simulated", base_url=vendor_simulator.openai_url))

        assert expected == dispatcher.send(ASK).usage.price_version
    assert own == registry.versions


def test_a_lockfile_that_is_missing_is_the_calls_matter(site, make, vendor_simulator, tmp_path):
    """It raises what it raises without a registry."""
    site.publish()
    with Dispatcher({"registry": make(), "lockfile": str(tmp_path / "none.lock")}) as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key="simulated", base_url=vendor_simulator.openai_url))
        with pytest.raises(ConfigError, match="lock"):
            dispatcher.send(ASK)
