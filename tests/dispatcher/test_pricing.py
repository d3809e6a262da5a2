"""Every answer says what it cost and by which prices, or why nobody knows; ``strict_cost`` takes no such answer."""

import json
from datetime import UTC, datetime
from decimal import Context, Decimal, localcontext

import attrs
import pytest

from llmdispatcher import (
    Config,
    ConfigError,
    CostDetails,
    CostOptimization,
    CostUnknown,
    Dispatcher,
    Embeddings,
    FailureClass,
    Hedge,
    Message,
    OpenAICompatibleVendor,
    OpenAIVendor,
    Request,
    Response,
    RetryPolicy,
    StreamChunk,
    StreamInterrupted,
    ToolCall,
    Usage,
    VendorUnavailable,
    vendor,
)
from llmdispatcher.testing import FakeVendor, ManualClock, VendorSimulator
from llmdispatcher.types.response import COST_STATUSES

from ..conftest import PATIENCE
from . import parts

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


def dispatcher_of(*vendors, **settings):
    return parts.dispatcher_of(*vendors, retry_policy=ONCE, **{"clock": ManualClock(), **settings})


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
    (Of("azure", answer(Usage(input_tokens=5))), Request("azure:jais-30b-chat", "hi"), (None, "no_price", CATALOG)),
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


@pytest.mark.parametrize(
    ("usage", "status"),
    [
        (Usage(input_tokens=1_000_000), "priced"),  # tools of the vendor's may read a window several times
        (Usage(input_tokens=10**9), "implausible_count"),
        (Usage(input_tokens=3, output_tokens=10**7), "implausible_count"),
        (Usage(input_tokens=3, cost=Decimal("0.9"), cost_status="vendor_reported"), "vendor_reported"),
        (Usage(input_tokens=3, cost=Decimal(20), cost_status="vendor_reported"), "implausible_cost"),
        (Usage(input_tokens=1_000_000, cost=Decimal(20), cost_status="vendor_reported"), "vendor_reported"),
    ],
)
def test_no_answer_is_booked_for_far_more_than_its_model_can_use(usage, status):
    """Ten times what the model takes and gives, ten times the price and a dollar: a single number closes no budget of others."""
    with dispatcher_of(Of("openai", answer(usage)), budgets=[{"limit": "100"}]) as dispatcher:
        assert status == dispatcher.send(ASK).usage.cost_status
        assert dispatcher.get_budgets()[0].spent < 21


CACHED = Usage(input_tokens=1_000_000, output_tokens=300, cache_read_tokens=500_000, reasoning_tokens=100)
DETAILS = CostDetails(
    input=Decimal("1.25"), cache_read=Decimal("0.625"), output=Decimal("0.002"), reasoning=Decimal("0.001")
)  # of gpt-4o: 2.5, 1.25 and 10 dollars a million


@pytest.mark.parametrize("way", ["whole", "stream"])
def test_an_answer_says_what_its_cost_was_paid_for(way):
    """The usage, its attempt and its trace; they add up to the cost, to the last digit."""
    with dispatcher_of(Of("openai", answer(CACHED))) as dispatcher:
        response = dispatcher.send(ASK) if way == "whole" else streamed(dispatcher)

    assert (DETAILS, DETAILS.total) == (response.usage.cost_details, response.usage.cost)
    assert [DETAILS] == [attempt.cost_details for attempt in response.trace]
    assert (DETAILS, DETAILS.total) == (response.trace.cost_details, response.trace.cost)
    written = json.loads(json.dumps(response.trace.as_dict()))
    for details in (written["cost_details"], written["attempts"][0]["cost_details"]):
        assert dict(DETAILS) == {name: Decimal(text) for name, text in details.items()}


def test_a_cost_that_the_vendor_reports_is_undivided():
    """One sum is known, and no more; it stays one where a vendor of one's own changes it."""
    reported = attrs.evolve(MILLION, cost=Decimal("0.7"), cost_status="vendor_reported")
    with dispatcher_of(Of("openrouter", answer(reported))) as dispatcher:
        usage = dispatcher.send(Request("some/model", "hi")).usage

    assert (Decimal("0.7"), Decimal("0.7")) == (usage.cost_details.other, usage.cost_details.total)


def test_details_that_do_not_add_up_are_not_told():
    """Whoever changes a cost and not its details has one sum."""
    stale = attrs.evolve(Usage(input_tokens=1, cost=Decimal(1)), cost=Decimal(2))
    with dispatcher_of(Of("openrouter", answer(stale))) as dispatcher:
        usage = dispatcher.send(Request("some/model", "hi")).usage

    assert (Decimal(2), Decimal(2)) == (usage.cost, usage.cost_details.total)


@pytest.mark.parametrize("usage", [Usage(), MILLION])
def test_a_cost_that_nobody_knows_has_no_details(usage):
    """None, as the cost is."""
    with dispatcher_of(FakeVendor(answer(usage), name="mine")) as dispatcher:
        found = dispatcher.send(ASK)

    assert (None, None) == (found.usage.cost_details, found.trace[0].cost_details)


def test_an_answer_from_memory_has_paid_for_nothing():
    """Its details are zero, as its cost is."""
    with dispatcher_of(Of("openai", answer(CACHED)), cache={}) as dispatcher:
        request = Request("gpt-4o", "hi", temperature=0.0)
        dispatcher.send(request)
        usage = dispatcher.send(request).usage

    assert (Decimal(0), CostDetails()) == (usage.cost, usage.cost_details)


def test_details_of_sums_add_up():
    """Whatever is added: priced, reported, unknown and nothing, in any decimal context."""
    priced = attrs.evolve(CACHED, cost=DETAILS.total, cost_status="priced", cost_details=DETAILS)
    reported = Usage(output_tokens=5, cost=Decimal("0.1234567890123456789012345678901"))
    with localcontext(Context(prec=3)):
        both = priced + reported + Usage()

    assert Decimal("2.0014567890123456789012345678901") == both.cost == both.cost_details.total
    assert (DETAILS.input, reported.cost) == (both.cost_details.input, both.cost_details.other)
    assert None is (both + MILLION).cost_details


def test_vectors_say_what_they_were_paid_for():
    """Batches of texts as one."""
    usage = attrs.evolve(MILLION, cost=Decimal("0.02"), cost_status="priced", cost_details=CostDetails(input=Decimal("0.02")))
    both = Embeddings.join([Embeddings(vectors=((1.0,),), usage=usage)] * 2)
    with dispatcher_of(Of("openai", MILLION)) as dispatcher:
        one = dispatcher.embed("text-embedding-3-small", "a text").usage

    assert (Decimal("0.04"), Decimal("0.04")) == (both.usage.cost, both.usage.cost_details.input)
    assert CostDetails(input=Decimal("0.02")) == one.cost_details


def test_a_run_of_tools_says_what_all_its_answers_were_paid_for():
    """Two answers, one bill."""
    wanting = Response(tool_calls=(ToolCall(id="1", name="clock", arguments="{}"),), usage=CACHED, finish_reason="tool_calls")

    def clock() -> str:
        """The time."""
        return "noon"

    with dispatcher_of(Of("openai", wanting, answer(CACHED))) as dispatcher:
        usage = dispatcher.run_tools(Request("gpt-4o", [Message.user("What time is it?")], tools=[clock])).usage

    assert 2 * DETAILS.total == usage.cost == usage.cost_details.total
    assert 2 * DETAILS.cache_read == usage.cost_details.cache_read


def test_a_trace_has_the_details_of_failures_too():
    """A broken stream that told its usage was paid for, and so was the answer after it."""
    broken = [StreamChunk(content="x", usage=CACHED), VendorUnavailable("gone", status=503)]
    vendors = [Of("openai", broken), Of("openai", answer(CACHED), name="second")]
    with dispatcher_of(*vendors, continuation=True) as dispatcher:
        response = streamed(dispatcher)

    assert 2 * DETAILS.total == response.trace.cost == response.trace.cost_details.total
    assert response.usage.cost == response.usage.cost_details.total
    assert [DETAILS, DETAILS] == [attempt.cost_details for attempt in response.trace]


def test_a_hedged_call_tells_the_details_of_the_way_that_won():
    """The other was stopped before it could tell what it had used."""

    class Slow(Of):
        def send(self, request, deadline):
            deadline.sleep(PATIENCE)
            return super().send(request, deadline)

    dispatcher = Dispatcher(Config(retry_policy=ONCE, hedge=Hedge(after=0.01, share=1.0)))
    for one in (Slow("openai", answer(CACHED)), Of("openai", answer(CACHED), name="second")):
        dispatcher.register_vendor(one)
    with dispatcher:
        response = dispatcher.send(ASK)

    assert ("second", DETAILS) == (response.vendor, response.usage.cost_details)
    assert DETAILS.total == response.trace.cost_details.total


LOCAL = ["ollama", "vllm", "llamacpp", "lmstudio", "local"]


@pytest.mark.parametrize("usage", [Usage(), MILLION], ids=["untold", "told"])
@pytest.mark.parametrize("kind", LOCAL)
def test_a_server_of_ones_own_costs_nothing(kind, usage):
    """Whichever model, and whether or not it tells what it used: 0, which is known."""
    with dispatcher_of(Of(kind, answer(usage)), strict_cost=True) as dispatcher:
        usages = [dispatcher.send(Request("my-model", "hi")).usage, streamed(dispatcher, Request("my-model", "hi")).usage]

    assert [(Decimal(0), "priced", CATALOG)] * 2 == [told(used) for used in usages]
    assert [CostDetails()] * 2 == [used.cost_details for used in usages]


@pytest.mark.parametrize("kind", LOCAL)
def test_a_server_of_ones_own_passes_budgets_caps_and_strict_cost(kind):
    """All at once, over a real socket."""
    with VendorSimulator() as simulator:
        config = {"budgets": [{"limit": "0.01"}], "cost_optimization": CostOptimization(max_cost="0.000001"), "strict_cost": True}
        with Dispatcher(config) as dispatcher:
            dispatcher.register_vendor(vendor(kind, api_key="test-key", base_url=simulator.url))
            usage = dispatcher.send(Request("my-model", "hi", max_tokens=5)).usage
            budget = dispatcher.get_budgets()[0]

    assert (Decimal(0), "priced", CATALOG) == told(usage)
    assert (Decimal(0), Decimal(0)) == (budget.spent, budget.reserved)


def test_a_server_of_ones_own_comes_first_where_money_counts():
    """By the mode, and by the optimizer."""
    vendors = [Of("openai", answer()), Of("vllm", answer(), name="mine")]
    for config in ({"mode": "cost_saving"}, {"cost_optimization": CostOptimization(prefer_cheap=True)}):
        with dispatcher_of(*vendors, **config) as dispatcher:
            assert ["mine", "openai"] == [target.vendor for target in dispatcher.explain(ASK).targets]


@pytest.mark.parametrize(
    "made",
    [
        OpenAICompatibleVendor(name="paid", api_key="k", base_url="https://api.example.com/v1"),
        vendor("vllm", base_url="https://8.8.8.8/v1"),
        vendor("ollama", base_url="https://ollama.com", api_key="k"),
    ],
    ids=["compatible", "vllm", "ollama"],
)
def test_the_same_at_a_public_address_is_not_free(made):
    """Somebody may be paid there: no price is known, and budgets refuse it before anything is sent."""
    with dispatcher_of(made, budgets=[{"limit": "1"}]) as dispatcher:
        plan = dispatcher.explain(Request("llama3", "hi"))

    assert [None] == [target.price for target in plan.targets]
    assert "no price of" in plan.budgets[0].refusal


def test_a_model_of_ollamas_cloud_is_not_free():
    """The server on this machine hands it on."""
    with dispatcher_of(Of("ollama", answer())) as dispatcher:
        usage = dispatcher.send(Request("gpt-oss:120b-cloud", "hi")).usage

    assert (None, "no_price") == (usage.cost, usage.cost_status)


def unpriced(caplog):
    return [record.getMessage() for record in caplog.records if "is not known and is left out of the totals" in record.getMessage()]


def test_an_unpriced_call_says_so_once_for_each_model(caplog):
    """With the reason; priced and free calls say nothing."""
    vendors = [Of("openai", answer()), Of("vllm", answer(), name="mine"), FakeVendor(answer(Usage()), name="silent")]
    with dispatcher_of(*vendors) as dispatcher:
        for model in ("openai:gpt-98", "openai:gpt-99", "openai:gpt-4o", "mine:my-model", "silent:my-model"):
            for _ in range(3):
                dispatcher.send(Request(model, "hi"))
                streamed(dispatcher, Request(model, "hi"))

    assert ["openai:gpt-98", "openai:gpt-99", "silent:my-model"] == [text.split("'")[1] for text in unpriced(caplog)]
    assert ["the catalog does not know the model", "the answer does not tell what it used"] == [
        text.partition(": ")[2].partition(";")[0] for text in unpriced(caplog)[1:]
    ]


def test_a_failure_that_used_nothing_is_not_unpriced(caplog):
    """Only what may have been paid for is told."""
    gone = FakeVendor(VendorUnavailable("gone", status=503), name="mine")
    with dispatcher_of(gone) as dispatcher, pytest.raises(VendorUnavailable):
        dispatcher.send(ASK)

    assert [] == unpriced(caplog)
