"""Failover that is switched off: one target is asked, and no other learns of the request."""

from __future__ import annotations

import pytest

from llmdispatcher import (
    Config,
    Dispatcher,
    InvalidRequest,
    RateLimit,
    RateLimitError,
    Request,
    StreamInterrupted,
    VendorUnavailable,
)
from llmdispatcher.testing import FakeVendor

from ..cases import each
from .parts import dispatcher_of


def _down(name):
    return FakeVendor(VendorUnavailable("away", status=503), name=name)


def _asked(vendor):
    return vendor.hits


QUICK = {"max_retries": 1, "initial_delay": 0.0, "max_delay": 0.0}


@each(
    "configured, wish, answered",
    [(True, None, True), (True, False, False), (False, None, False), (False, True, True)],
)
def test_a_request_says_otherwise_than_the_configuration(configured, wish, answered):
    """Without failover the first target alone is asked, and asked again; the error tells who was left out."""
    first, second = _down("openai"), FakeVendor("fine", name="azure")
    with dispatcher_of(first, second, failover=configured, retry_policy=QUICK, default_vendor="openai") as dispatcher:
        request = Request("gpt-4o", "Hello", failover=wish)
        if answered:
            assert "azure" == dispatcher.send(request).vendor
            return
        for send in (dispatcher.send, lambda request: dispatcher.send_streaming(request).response()):
            with pytest.raises(VendorUnavailable, match="azure was not asked: azure:gpt-4o: failover is off"):
                send(request)
        assert (4, 0) == (_asked(first), _asked(second))  # two calls, with one return each
        plan = dispatcher.explain(request)
    assert ["openai:gpt-4o"] == [str(target) for target in plan.targets]
    assert "azure  skipped: azure:gpt-4o: failover is off" in str(plan)


def test_without_failover_no_pool_fallback_hedge_or_continuation_leaves_the_first_target():
    """Every way to a second target is shut by the one switch."""
    for more in (
        {"pools": {"smart": {"models": ["openai:a", "azure:b"], "on": ["context", "policy", "quota", "auth"]}}},
        {"fallback_vendor": "azure"},
        {"hedge": True, "continuation": True},
        {"balance": "round_robin"},
    ):
        first, second = _down("openai"), _down("azure")
        made = dispatcher_of(first, second, failover=False, retry_policy=QUICK, **more)
        with made as dispatcher, pytest.raises(VendorUnavailable):
            dispatcher.send(Request("smart" if "pools" in more else "m", "Hello"))
        assert 0 in (_asked(first), _asked(second)), more
        assert 2 == _asked(first) + _asked(second), more


def test_the_switch_is_checked(tmp_path):
    """What is no switch is told with its field; a file has the same field."""
    with pytest.raises(InvalidRequest, match="failover"):
        Request("m", "Hello", failover="no")
    with pytest.raises(Exception, match="failover: 'no'"):
        Config(failover="no")
    file = tmp_path / "app.toml"
    file.write_text('failover = false\n[vendors.openai]\napi_key = "k"\n', encoding="utf-8")
    with Dispatcher.from_file(file) as dispatcher:
        assert dispatcher.config.failover is False


def test_a_stream_that_breaks_off_is_not_taken_elsewhere():
    """Neither by a continuation; what was said is in the error."""
    first, second = FakeVendor(["The answer", VendorUnavailable("gone")], name="openai"), FakeVendor("is 42.", name="azure")
    settings = {"continuation": True, "default_vendor": "openai", "retry_policy": {"max_retries": 0}}
    with dispatcher_of(first, second, failover=False, **settings) as dispatcher, pytest.raises(StreamInterrupted) as raised:
        dispatcher.send_streaming(Request("m", "Hello")).response()
    assert ("The answer", 0) == (raised.value.partial.content, second.hits)


def test_a_limit_of_the_first_target_ends_the_call_with_its_name():
    """A day's wait is longer than the deadline; with failover another target would be asked."""
    first, second = FakeVendor("one", name="openai"), FakeVendor("two", name="azure")
    first.rate_limit = RateLimit(requests_per_day=1)
    with dispatcher_of(first, second, failover=False, default_vendor="openai") as dispatcher:
        assert "one" == dispatcher.send(Request("m", "Hello")).content
        with pytest.raises(RateLimitError, match="its rate limit of 1 requests in any 24h has no place") as raised:
            dispatcher.send(Request("m", "Hello"))
        assert 86_000 < raised.value.retry_after < 87_000
        assert "0 of 1 requests in any 24h left" in str(dispatcher.explain(Request("m", "Hello")))
        assert "two" == dispatcher.send(Request("m", "Hello", failover=True)).content
        dispatcher.reset_rate_limit("openai")
        assert "one" == dispatcher.send(Request("m", "Hello")).content
