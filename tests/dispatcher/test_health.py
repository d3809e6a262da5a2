"""How the vendors are: asked at once, answered in words."""

import json
import time

from llmdispatcher import Dispatcher, OpenAIVendor
from llmdispatcher.testing import FakeVendor, LoopbackServer

from ..conftest import SLACK

KEY = "sk-health-0123456789"


def served(status, document, delay=0.0):
    def handle(peer, _wire):
        if not peer.wait(delay):
            peer.reply(status, json.dumps(document).encode())

    return LoopbackServer(handle)


def test_each_vendor_says_how_it_is(monkeypatch):
    """Well, refused, in trouble, without a key, and of one's own."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    well, refused, broken = (
        served(200, {"data": [{"id": "a"}]}),
        served(401, {"error": {"message": "no", "code": "invalid_api_key"}}),
        served(503, {"error": {"message": "down"}}),
    )
    with Dispatcher() as dispatcher, well, refused, broken:
        for name, server in (("well", well), ("refused", refused), ("broken", broken)):
            dispatcher.register_vendor(OpenAIVendor(name=name, api_key=KEY, base_url=server.url, trust_env=False))
        dispatcher.register_vendor(OpenAIVendor(name="keyless", base_url=well.url))
        own = FakeVendor("hi")
        own.list_models = None  # as an object of five members
        dispatcher.register_vendor(own)
        health = dispatcher.health_check()

    assert {
        "well": "healthy",
        "refused": "unauthorized",
        "broken": "unhealthy",
        "keyless": "unavailable",
        "fake": "available",
    } == {name: each.status for name, each in health.items()}
    assert ["well", "fake"] == [name for name, each in health.items() if each.ok]
    assert "1 models" == health["well"].detail
    assert "OPENAI_API_KEY" in health["keyless"].detail


def test_a_silent_vendor_holds_nobody_up():
    """All are asked at once, and none longer than the limit."""
    silent = served(200, {"data": []}, delay=60.0)
    began = time.monotonic()
    with Dispatcher() as dispatcher, silent:
        for number in range(3):
            dispatcher.register_vendor(OpenAIVendor(name=f"v{number}", api_key=KEY, base_url=silent.url, trust_env=False))
        health = dispatcher.health_check(timeout=0.3)
        assert time.monotonic() - began < SLACK

    assert ["unhealthy"] * 3 == [each.status for each in health.values()]


def test_nobody_is_well_where_there_is_nobody():
    """An empty dispatcher has no health."""
    assert {} == Dispatcher().health_check()
