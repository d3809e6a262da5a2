"""Every answer says what it cost and by which prices, or why nobody knows; ``strict_cost`` takes no such answer."""

from datetime import UTC, datetime
from decimal import Decimal

import attrs
import pytest

from llmdispatcher import (
    Config,
    ConfigError,
    CostUnknown,
    Dispatcher,
    Embeddings,
    FailureClass,
    OpenAIVendor,
    Request,
    Response,
    RetryPolicy,
    StreamChunk,
    StreamInterrupted,
    Usage,
    VendorUnavailable,
    vendor,
)
from llmdispatcher.testing import FakeVendor, ManualClock, VendorSimulator
from llmdispatcher.types.response import COST_STATUSES

MILLION = Usage(input_tokens=1_000_000)
CATALOG = "catalog 2026-11-21"
ASK = Request("gpt-4o", "hi")
ONCE = RetryPolicy(max_retries=0)


class Of(FakeVendor):
    """A vendor of the catalog's kind ``kind``, which can make vectors."""

    def __init__(self, kind, *answers, **settings):
        super().__init__(*answers, **{"name": kind, **settings})
        self.kind = kind

    def embed(self, asked, _deadline):
        usage = self._take(asked)
        return Embeddings(vectors=((1.0,),), model=asked.model, usage=usage)


def answer(usage=MILLION, **facts):
    return Response(content="x", usage=usage, finish_reason="stop", **facts)


def dispatcher_of(*vendors, observers=(), clock=None, **config):
    dispatcher = Dispatcher(Config(retry_policy=ONCE, **config), clock=clock or ManualClock(), observers=observers)
    for one in vendors:
        dispatcher.register_vendor(one)
    return dispatcher


def told(usage):
    return usage.cost, usage.cost_status, usage.price_version


def streamed(dispatcher, request=ASK):
    with dispatcher.send_streaming(request) as stream:
        for _ in stream:
            pass
        return stream.response()


PRICED = (Decimal("2.5"), "priced", CATALOG)
CASES = [
    (Of("openai", answer()), ASK, PRICED),
    (Of("openai", answer(Usage())), ASK, (None, "no_usage", None)),
    (Of("openai", answer()), Request("gpt-99", "hi"), (None, "unknown_model", None)),
    (Of("azure", answer()), Request("azure:jais-30b-chat", "hi"), (None, "no_price", CATALOG)),
    (FakeVendor(answer(), name="mine"), ASK, (None, "unknown_model", None)),
    (Of("openrouter", answer(attrs.evolve(MILLION, cost=Decimal("0.7"), cost_status="vendor_reported"))), ASK, None),
    (Of("azure", answer(model="gpt-4o-2024-11-20")), Request("my-deployment", "hi"), PRICED),
    (Of("openai", answer(model="gpt-4o-mini")), ASK, PRICED),
    (Of("openai", answer(service_tier="flex")), Request("gpt-5", "hi"), (Decimal("0.625"), "priced", CATALOG)),
    (Of("openai", answer()), Request("gpt-5", "hi", service_tier="priority"), (Decimal("2.5"), "priced", CATALOG)),
    (
        Of("openai", answer(service_tier="default")),
        Request("gpt-5", "hi", service_tier="flex"),
        (Decimal("1.25"), "priced", CATALOG),
    ),
]
NAMES = [
    "priced",
    "no-usage",
    "unknown",
    "no-price",
    "own-vendor",
    "reported",
    "deployment",
    "asked-name",
    "told-tier",
    "asked-tier",
    "told-over-asked",
]


@pytest.mark.parametrize(("fake", "request_", "expected"), CASES, ids=NAMES)
@pytest.mark.parametrize("way", ["whole", "stream"])
def test_an_answer_says_what_it_cost_or_why_nobody_knows(fake, request_, expected, way):
    """By the model that was asked for, at the tier that the vendor tells, else that was asked for; its own word wins."""
    with dispatcher_of(fake) as dispatcher:
        usage = (dispatcher.send(request_) if way == "whole" else streamed(dispatcher, request_)).usage

    assert (expected or (Decimal("0.7"), "vendor_reported", None)) == told(usage)
    assert usage.cost_status in COST_STATUSES


@pytest.mark.parametrize(("hour", "dollars"), [(8, "0.3"), (12, "0.15")])
def test_an_answer_costs_what_its_hour_costs(hour, dollars):
    """The clock of the dispatcher tells the hour."""

    class Then(ManualClock):
        def now(self):
            return datetime(2026, 11, 20, hour, tzinfo=UTC)

    with dispatcher_of(Of("deepseek", answer()), clock=Then()) as dispatcher:
        assert Decimal(dollars) == dispatcher.send(Request("deepseek-v4-flash", "hi")).usage.cost


def test_vectors_are_priced():
    """Embedding models have prices, too."""
    with dispatcher_of(Of("openai", MILLION)) as dispatcher:
        usage = dispatcher.embed("text-embedding-3-small", "a text").usage

    assert (Decimal("0.02"), "priced", CATALOG) == told(usage)


def test_an_answer_from_memory_costs_nothing_and_keeps_its_version():
    """Its tokens are those of the first time."""
    with dispatcher_of(Of("openai", answer()), cache={}) as dispatcher:
        request = Request("gpt-4o", "hi", temperature=0.0)
        first, second = dispatcher.send(request), dispatcher.send(request)

    assert (False, True) == (first.cached, second.cached)
    assert PRICED == told(first.usage)
    assert (Decimal(0), "priced", CATALOG) == told(second.usage)


def test_a_broken_stream_is_priced_by_what_it_told():
    """Outcome and attempt of a failure carry the cost of what was used."""
    outcomes = []
    broken = [StreamChunk(content="x", usage=MILLION), VendorUnavailable("gone", status=503)]
    with dispatcher_of(Of("openai", broken), observers=[outcomes.append]) as dispatcher, pytest.raises(StreamInterrupted):
        streamed(dispatcher)

    assert PRICED == told(outcomes[0].usage)
    assert Decimal("2.5") == outcomes[0].attempts[0].cost


@pytest.mark.parametrize("way", ["whole", "stream"])
def test_strict_no_call_goes_where_no_price_is_known(way):
    """Nothing is sent; the error says whom it is about."""
    fake = Of("openai")
    with dispatcher_of(fake, strict_cost=True) as dispatcher, pytest.raises(CostUnknown) as raised:
        dispatcher.send(Request("gpt-99", "hi")) if way == "whole" else streamed(dispatcher, Request("gpt-99", "hi"))

    assert (0, None, FailureClass.FINAL) == (fake.hits, raised.value.response, raised.value.failure_class)
    assert "strict_cost: the price of no target is known: openai: the catalog knows no price of gpt-99" in str(raised.value)


def test_strict_goes_on_to_a_target_with_a_price():
    """One vendor without a price is passed over, not the call."""
    mine, known = FakeVendor(answer(), name="mine"), Of("openai", answer())
    with dispatcher_of(mine, known, strict_cost=True) as dispatcher:
        response = dispatcher.send(ASK)

    assert ("openai", 0) == (response.vendor, mine.hits)
    assert PRICED == told(response.usage)


def test_strict_asks_a_vendor_that_tells_its_costs():
    """OpenRouter says what each answer cost, whether or not the catalog knows the model."""
    reported = attrs.evolve(MILLION, cost=Decimal("0.7"), cost_status="vendor_reported")
    with dispatcher_of(Of("openrouter", answer(reported)), strict_cost=True) as dispatcher:
        assert Decimal("0.7") == dispatcher.send(Request("some/new-model", "hi")).usage.cost


@pytest.mark.parametrize("way", ["whole", "stream"])
def test_strict_a_paid_answer_is_not_lost(way):
    """The vendor told no usage: the error holds the answer, and the call is settled as what it was, a success."""
    outcomes = []
    with dispatcher_of(Of("openai", answer(Usage())), strict_cost=True, observers=[outcomes.append]) as dispatcher:
        with pytest.raises(CostUnknown) as raised:
            dispatcher.send(ASK) if way == "whole" else streamed(dispatcher)
        stats = dispatcher.get_stats()

    error = raised.value
    assert ("x", "openai", "no_usage", FailureClass.COMMITTED) == (
        error.response.content,
        error.response.vendor,
        error.cost_status,
        error.failure_class,
    )
    assert [None] == [outcome.error for outcome in outcomes]
    assert (1, 0) == (stats.successful_requests, stats.failed_requests)


def test_strict_vectors_are_not_lost():
    """Those are in the error, too."""
    with dispatcher_of(Of("openai", Usage()), strict_cost=True) as dispatcher, pytest.raises(CostUnknown) as raised:
        dispatcher.embed("text-embedding-3-small", "a text")

    assert ((1.0,),) == raised.value.response.vectors


def test_strict_takes_answers_from_memory():
    """They cost nothing, which is known."""
    with dispatcher_of(Of("openai", answer()), strict_cost=True, cache={}) as dispatcher:
        request = Request("gpt-4o", "hi", temperature=0.0)
        dispatcher.send(request)
        assert dispatcher.send(request).cached


def test_strict_cost_is_a_yes_or_a_no():
    """A word in its place is a mistake."""
    with pytest.raises(ConfigError, match="strict_cost"):
        Config(strict_cost="yes")


def test_costs_hold_over_a_real_socket():
    """What a server tells in its usage is what is billed, plain and streamed."""
    with VendorSimulator() as simulator, Dispatcher(Config(strict_cost=True)) as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key="test-key", base_url=simulator.url))
        usages = [dispatcher.send(ASK).usage, streamed(dispatcher).usage]

    for usage in usages:
        expected = (Decimal("2.5") * usage.input_tokens + Decimal(10) * usage.output_tokens) / 1_000_000
        assert (expected, "priced", CATALOG) == told(usage)


def test_usages_add_up_with_what_they_cost():
    """Answers of one call are one bill; what is unknown of one is unknown of both."""
    one = Usage(input_tokens=1, tool_requests={"web_search": 1}, cost=Decimal(1), cost_status="priced", price_version="v1")
    two = Usage(input_tokens=2, tool_requests={"web_search": 1, "web_fetch": 2}, cost=Decimal(2), cost_status="priced")

    assert {"web_search": 2, "web_fetch": 2} == (one + two).tool_requests
    assert (Decimal(3), "priced", "v1") == told(one + two)
    assert (None, "no_price", None) == told(one + Usage(input_tokens=1))


def test_a_vendor_of_the_catalog_knows_who_tells_its_costs():
    """The row says it, the factories pass it on."""
    with Dispatcher() as dispatcher:
        for name in ("openrouter", "groq"):
            dispatcher.register_vendor(vendor(name, api_key="k"))
        targets = [dispatcher.explain(Request(f"{name}:some/model", "hi")).targets[0] for name in ("openrouter", "groq")]

    assert {"openrouter": True, "groq": False} == {target.vendor: target.reports_cost for target in targets}
