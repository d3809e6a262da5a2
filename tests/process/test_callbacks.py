"""P6: whatever a function of the user's raises, each call ends at once with one outcome: isolated, or as an error of its own."""

import itertools
import sys
import time
import types

import pytest

from llmdispatcher import (
    AllTargetsFailed,
    AuthenticationError,
    Balance,
    Config,
    ConfigError,
    Dispatcher,
    DispatchError,
    OpenAIVendor,
    Request,
    ResponseCache,
    RetryPolicy,
    VendorUnavailable,
)
from llmdispatcher.dispatcher import tokens as tokens_module
from llmdispatcher.testing import FakeVendor, VendorSimulator

from ..conftest import PATIENCE, SLACK
from ..threads import in_threads

ASK = Request("any-model", "hello", user="ann")


class Broken(Exception):
    """What the user's functions raise."""


def broken(*_arguments, **_settings):
    raise Broken("sk-secret-in-a-text")


class Observer:
    """Fails at everything it hears."""

    on_attempt = staticmethod(broken)
    on_outcome = staticmethod(broken)


class BrokenBefore:
    before = staticmethod(broken)


class BrokenAfter:
    after = staticmethod(broken)


def sent(dispatcher):
    return dispatcher.send(ASK, timeout=50).content


def streamed(dispatcher):
    with dispatcher.send_streaming(ASK, timeout=50) as stream:
        return "".join([chunk.content for chunk in stream])


def mapped(dispatcher):
    return next(dispatcher.map([ASK], timeout=50)).content


WAYS = [sent, streamed, mapped]


def ended(way, *vendors, observers=(), **config):
    """What came of one call: its text or its error, and the outcomes that were heard."""
    outcomes = []
    with Dispatcher(Config(**config), observers=[*observers, outcomes.append]) as dispatcher:
        for vendor in vendors or (FakeVendor("fine", name="a"), FakeVendor("fine", name="b")):
            dispatcher.register_vendor(vendor)
        started = time.monotonic()
        try:
            end = way(dispatcher)
        except Exception as error:
            end = error
        assert time.monotonic() - started < SLACK
        assert [] == dispatcher._in_flight._here()
    return end, outcomes


@pytest.mark.parametrize("way", WAYS)
def test_observers_are_isolated(way, caplog):
    """An observer that raises at attempts and outcomes is logged; the answer comes, and the next observer hears of it."""
    end, outcomes = ended(way, observers=[Observer(), broken])

    assert ("fine", [None]) == (end, [outcome.error for outcome in outcomes])
    assert "an observer failed" in caplog.text


@pytest.mark.parametrize("way", WAYS)
def test_a_strategy_that_fails_is_named(way):
    """The call ends with a ConfigError that tells class and place but not the text, and with one outcome."""
    end, outcomes = ended(way, balance=Balance(strategy=broken))

    assert isinstance(end, ConfigError)
    assert "Broken at test_callbacks.py" in str(end)
    assert (None, None) == (end.__cause__, end.__context__)
    assert ["ConfigError"] == [type(outcome.error).__name__ for outcome in outcomes]


@pytest.mark.parametrize("way", WAYS)
def test_a_strategy_that_gives_nonsense_is_told(way):
    """So is one that does not give targets."""
    end, outcomes = ended(way, balance=Balance(strategy=lambda _now: 7))

    assert (ConfigError, 1) == (type(end), len(outcomes))


@pytest.mark.parametrize("way", WAYS)
def test_a_guard_that_fails_before_lets_nothing_out(way):
    """Its exception reaches the caller, no vendor is asked, nothing is left under way."""
    vendor = FakeVendor("fine")
    end, _ = ended(way, vendor, guards=[BrokenBefore()])

    assert (Broken, 0) == (type(end), vendor.hits)


@pytest.mark.parametrize("way", WAYS)
def test_a_guard_that_fails_after_ends_the_call(way):
    """Its exception reaches the caller, through a stream as the cause of a StreamInterrupted; one outcome was counted."""
    end, outcomes = ended(way, FakeVendor("fine"), guards=[BrokenAfter()])

    assert Broken in (type(end), type(end.__cause__))
    assert 1 == len(outcomes)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", [broken, lambda: None, lambda: 7, lambda: "bad\nkey"], ids=["raises", "None", "7", "newline"])
def test_a_token_source_that_fails_is_an_error_of_its_own(way, source):
    """Nothing is sent; alone the vendor fails with a typed error that tells no text, and its circuit does not count it."""
    with VendorSimulator(responses="fine") as simulator:
        vendor = OpenAIVendor(api_key=source, base_url=simulator.openai_url, trust_env=False)
        end, outcomes = ended(way, vendor, retry_policy=RetryPolicy(max_retries=0))

        assert isinstance(end, AuthenticationError | ConfigError)
        assert "sk-secret" not in str(end)
        assert (1, 0) == (len(outcomes), simulator.hits)


@pytest.mark.parametrize("way", WAYS)
def test_a_token_source_that_fails_lets_another_vendor_answer(way):
    """Without a key the call moves on."""
    first = OpenAIVendor(api_key=broken, base_url="http://127.0.0.1:9/v1", trust_env=False, models=["any-model"])
    end, outcomes = ended(way, first, FakeVendor("fine", name="b"))

    assert ("fine", ["AuthenticationError", None]) == (end, [attempt.error for attempt in outcomes[0].attempts])


@pytest.mark.parametrize("way", WAYS)
def test_a_jitter_that_fails_ends_the_call(way):
    """The failure's wait cannot be told: the caller hears it, once."""
    policy = RetryPolicy(max_retries=3, jitter=broken)
    end, outcomes = ended(way, FakeVendor(VendorUnavailable("down")), retry_policy=policy)

    assert Broken in (type(end), type(end.__cause__))
    assert 1 == len(outcomes)


@pytest.mark.parametrize("way", WAYS)
def test_a_tenant_function_that_fails_switches_the_cache_off(way):
    """The call is answered by its vendor as if there were no cache."""
    end, outcomes = ended(way, cache=ResponseCache(tenant=broken))

    assert ("fine", [False]) == (end, [outcome.cached for outcome in outcomes])


@pytest.mark.parametrize("way", WAYS)
def test_a_vendor_of_ones_own_that_fails_is_translated(way):
    """Class and place of its exception are told; another vendor answers."""
    end, outcomes = ended(way, FakeVendor(Broken("sk-secret"), name="a"), FakeVendor("fine", name="b"))

    assert ("fine", ["VendorUnavailable", None]) == (end, [attempt.error for attempt in outcomes[0].attempts])


def test_a_vendor_whose_model_names_fail_is_named():
    """What a vendor raises while the request is routed ends the call, typed."""
    vendor = FakeVendor("fine")
    vendor.model_for = broken
    end, outcomes = ended(sent, vendor)

    assert (ConfigError, 1) == (type(end), len(outcomes))


def test_a_tokenizer_that_fails_is_done_without(monkeypatch):
    """tiktoken raises in the middle of a text: the estimate is by characters."""
    encoding = types.SimpleNamespace(encode=broken)
    monkeypatch.setitem(sys.modules, "tiktoken", types.SimpleNamespace(get_encoding=lambda _name: encoding))
    tokens_module._counter.cache_clear()
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(FakeVendor(tokens=lambda _request: None))
        count = dispatcher.count_tokens(ASK)
    tokens_module._counter.cache_clear()

    assert ("characters", 6) == (count.source, count.tokens)


def test_permits_come_back_whatever_fails():
    """After a hundred calls whose guards, observers and keys fail, by eight threads, a good call is answered at once."""
    fails, turns = [True], itertools.count()

    class Moody:
        def after(self, request, response):
            return broken() if fails[0] else response

    with Dispatcher(Config(guards=[Moody()]), observers=[broken]) as dispatcher, VendorSimulator(responses="fine") as simulator:
        vendor = OpenAIVendor(
            api_key=lambda: broken() if fails[0] and next(turns) % 2 else "sk-process-0123456789",
            base_url=simulator.openai_url,
            trust_env=False,
            pool_size=2,
        )
        dispatcher.register_vendor(vendor)
        request = Request("gpt-4o", "hi")

        def call():
            for _ in range(13):
                with pytest.raises((Broken, DispatchError, AllTargetsFailed)):
                    dispatcher.send(request, timeout=50)

        in_threads(call, 8)
        fails[0] = False

        assert "fine" == dispatcher.send(request, timeout=PATIENCE).content
