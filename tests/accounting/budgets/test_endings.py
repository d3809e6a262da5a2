"""However a call ends, its reservation is settled once: with the cost, with the bound, or with nothing."""

import signal
import subprocess
import sys
import textwrap
import threading
import time
from decimal import Decimal

import attrs
import pytest

from llmdispatcher import (
    Budget,
    BudgetExceeded,
    Cancellation,
    Cancelled,
    Capabilities,
    ContentFiltered,
    DeadlineExceeded,
    DispatchError,
    Hedge,
    InvalidRequest,
    OpenAIVendor,
    RetryPolicy,
    open_ledger,
)
from llmdispatcher.accounting.budgets.database import DatabaseBudgetStore
from llmdispatcher.resilience import Breakers
from llmdispatcher.testing import FakeVendor, VendorSimulator, faults
from tests.cases import each

from .conftest import PATIENCE
from .spent import ASK, KEY, dispatcher, remembering

NO_RETRY = RetryPolicy(max_retries=0)
WORDS = " ".join(["word"] * 400)


@pytest.fixture
def simulator():
    with VendorSimulator(responses=WORDS) as made:
        yield made


def ended(made, call, *expected):
    """How the reservations ended when ``call`` was made; it raises one of ``expected``, if any."""
    store = remembering(made)
    with made:
        if expected:
            with pytest.raises(expected):
                call(made)
        else:
            call(made)
        store.await_settled()
        assert Decimal(0) == made.get_budgets()[0].reserved
    return store.words


def send(made):
    return made.send(ASK)


def test_an_answer_is_spent_by_its_cost(simulator):
    """Usage by price, and the record tells both."""
    made = dispatcher(simulator)
    store = remembering(made)
    with made:
        response = made.send(ASK)
        status = made.get_budgets()[0]

    record = response.trace[0]
    assert (response.usage.cost, Decimal(0)) == (status.spent, status.reserved)
    assert (response.usage.cost, next(iter(store.granted.values()))) == (record.cost, record.reserved)
    assert ["cost"] == store.words


@each(
    "fault, word",
    [
        (faults.bad_request(), "nothing"),
        (faults.wrong_key(), "nothing"),
        (faults.model_missing(), "nothing"),
        (faults.filtered(), "nothing"),
        (faults.context_overflow(), "nothing"),
        (faults.quota(), "nothing"),
        (faults.rate_limit(), "nothing"),
        (faults.status(500), "nothing"),
        (faults.status(503), "nothing"),
        (faults.overloaded(), "nothing"),
        (faults.html(), "bound"),
        (faults.malformed_json(), "bound"),
        (faults.close_before_head(), "bound"),
        (faults.reset_before_head(), "bound"),
        (faults.short_body(), "bound"),
        (faults.reset_midway(), "bound"),
    ],
)
def test_a_failure_is_spent_by_what_it_leaves_open(simulator, fault, word):
    """A refusal costs nothing; what was sent and not answered may be billed."""
    simulator.always(fault)

    assert [word] == ended(dispatcher(simulator, retry_policy=NO_RETRY), send, DispatchError)


def test_what_was_never_sent_costs_nothing(simulator):
    """Nobody listens there."""
    simulator.close()

    assert ["nothing"] == ended(dispatcher(simulator, retry_policy=NO_RETRY), send, DispatchError)


def test_what_a_mistake_keeps_from_being_sent_costs_nothing(simulator):
    """The vendor's format cannot express it, which is seen when it is written."""

    class Plain(OpenAIVendor):
        def send(self, request, deadline):
            raise InvalidRequest("top_k: it has none")

    assert ["nothing"] == ended(dispatcher(simulator, vendor=Plain), send, InvalidRequest)
    assert 0 == simulator.hits


def test_a_call_that_is_out_of_time_may_be_billed(simulator):
    """It was sent, which takes longer than the time of the first of these calls where the machine is busy."""
    simulator.latency = 60.0
    for seconds in (0.2, 2.0, 20.0):
        words = ended(dispatcher(simulator, timeout=seconds), send, DeadlineExceeded)
        if simulator.hits:
            break

    assert ["bound"] == words


def test_a_cancelled_call_may_be_billed(simulator):
    """From another thread, when it had been sent."""
    simulator.latency = 60.0
    cancel = Cancellation()

    def call(made):
        threading.Thread(target=lambda: (simulator.await_hits(1, 30), cancel.cancel("enough"))).start()
        made.send(ASK, cancel=cancel)

    assert ["bound"] == ended(dispatcher(simulator), call, Cancelled)


def test_ctrl_c_leaves_nothing_reserved(simulator):
    """In the middle of the wait for the answer."""
    simulator.latency = 60.0

    def call(made):
        threading.Thread(
            target=lambda: (simulator.await_hits(1, 30), signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))
        ).start()
        made.send(ASK)

    assert ["bound"] == ended(dispatcher(simulator), call, KeyboardInterrupt)


def test_an_interruption_before_anything_was_sent_is_settled(simulator, monkeypatch):
    """Wherever a signal comes: here between the reservation and the request."""

    def interrupted(*_, **_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(Breakers, "admit", interrupted)

    assert ["nothing"] == ended(dispatcher(simulator), send, KeyboardInterrupt)


def test_each_retry_reserves_for_itself(simulator):
    """Two refusals, and an answer."""
    simulator.script(faults.status(503), faults.status(503))

    assert ["nothing", "nothing", "cost"] == ended(dispatcher(simulator), send)


def test_the_next_target_reserves_for_itself(simulator):
    """The first may be billed, the second has answered."""
    with VendorSimulator(responses="ok") as second:
        simulator.always(faults.reset_before_head())
        assert ["bound", "cost"] == ended(dispatcher(simulator, second), send)


def test_a_stream_is_spent_by_its_cost(simulator):
    """When it has ended."""
    assert ["cost"] == ended(dispatcher(simulator), lambda made: made.send_streaming(ASK).response())


@pytest.mark.parametrize("how", ["close", "forget"])
def test_a_stream_that_nobody_reads_to_its_end_may_be_billed(simulator, how):
    """Whether it is closed, or goes out of scope."""
    simulator.tokens_per_second = 20

    def call(made):
        stream = made.send_streaming(ASK)
        next(iter(stream))
        if how == "close":
            stream.close()

    assert ["bound"] == ended(dispatcher(simulator), call)


def test_a_stream_that_is_cut_may_be_billed(simulator):
    """Part of an answer was delivered."""
    simulator.script(faults.cut_after(3))

    assert ["bound"] == ended(dispatcher(simulator), lambda made: made.send_streaming(ASK).response(), DispatchError)


def test_a_stream_that_goes_on_elsewhere_reserves_again(simulator):
    """For the conversation and the beginning of the answer."""
    simulator.script(faults.cut_after(3))
    with VendorSimulator(responses="and more") as second:
        made = dispatcher(simulator, second, continuation=True)
        store = remembering(made)
        with made:
            made.send_streaming(ASK).response()
            store.await_settled()
    first, other = store.granted.values()

    assert ["bound", "cost"] == store.words
    assert first < other


@pytest.mark.parametrize("streamed", [False, True])
def test_both_legs_of_a_hedge_reserve(simulator, streamed):
    """The loser may be billed, since it was sent."""
    simulator.latency = 60.0
    with VendorSimulator(responses="ok") as quick:
        made = dispatcher(simulator, quick, hedge=Hedge(after=0.05))

        def call(made):
            return made.send_streaming(ASK).response() if streamed else made.send(ASK)

        assert ["bound", "cost"] == sorted(ended(made, call))


def test_an_answer_from_memory_costs_nothing(simulator):
    """And reserves nothing."""

    simulator.responses = "ok"

    def call(made):
        first, second = [made.send(attrs.evolve(ASK, cache=True)) for _ in range(2)]
        assert (False, True) == (first.cached, second.cached)

    assert ["cost"] == ended(dispatcher(simulator, cache={}), call)


def test_an_answer_that_a_guard_refuses_is_paid_for(simulator):
    """It was made."""

    class Strict:
        def after(self, request, response):
            raise ContentFiltered("no")

    assert ["cost"] == ended(dispatcher(simulator, guards=[Strict()]), send, ContentFiltered)


def test_an_answer_without_usage_is_spent_by_its_bound(simulator):
    """Nobody knows better."""

    class Silent(OpenAIVendor):
        def send(self, request, deadline):
            return attrs.evolve(
                super().send(request, deadline),
                usage=attrs.evolve(super().send(request, deadline).usage, input_tokens=0, output_tokens=0),
            )

    assert ["bound"] == ended(dispatcher(simulator, vendor=Silent), send)


def test_an_open_circuit_reserves_nothing(simulator):
    """What was reserved for a target that may not be asked is given back."""
    made = dispatcher(simulator, retry_policy=NO_RETRY, circuit_breaker={"strict": True, "min_calls": 1, "failure_rate": 0.5})
    simulator.always(faults.status(503))

    def call(made):
        for _ in range(2):
            with pytest.raises(DispatchError):
                made.send(ASK)

    assert {"nothing"} == set(ended(made, call))
    assert 1 == simulator.hits


def test_a_killed_process_is_paid_for_in_the_end(tmp_path, simulator):
    """Its reservation stands until its time is over, and is spent then; 100 s is what it had."""
    simulator.latency = 100.0
    place = str(tmp_path / "ledger.db")
    script = f"""
        from llmdispatcher import *
        made = Dispatcher(Config(budgets=[Budget(limit="1", period="total")], timeout=100.0), ledger={place!r})
        made.register_vendor(OpenAIVendor(api_key={KEY!r}, base_url={simulator.openai_url!r}, trust_env=False))
        made.send(Request("gpt-4o", "Why?", max_tokens=100))
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    try:
        assert simulator.await_hits(1, 30.0)
    finally:
        child.kill()
        child.wait()
    with open_ledger(place) as ledger:
        store, now = DatabaseBudgetStore(ledger), int(time.time() * 1e6)
        before = store.balances(["dispatcher/total"], now, PATIENCE)
        after = store.balances(["dispatcher/total"], now + 701_000_000, PATIENCE)
        store.close()

    assert [(0, True)] == [(one.spent, one.reserved > 0) for one in before]
    assert [(before[0].reserved, 0)] == [(one.spent, one.reserved) for one in after]


def test_further_models_of_unknown_price_need_a_budget_that_allows_them(simulator):
    """A request that was read from a wire format may name some, which the vendor asks in the place of its own."""
    asked = attrs.evolve(ASK, extra_params={"models": ["other"]}, wire_format="openai_chat")
    refusing, allowing = (dispatcher(simulator, budgets=[Budget(limit="100", unpriced=word)]) for word in ("refuse", "allow"))
    with refusing, allowing:
        with pytest.raises(BudgetExceeded):
            refusing.send(asked)
        allowing.send(asked)

    assert 1 == len(simulator.requests)


def test_a_vendor_of_ones_own_needs_a_price(simulator):
    """Without one its calls are refused, or allowed as the budget says; what it reports is counted."""
    made = dispatcher(budgets=[Budget(limit="1")])
    own = FakeVendor("hi", name="own", capabilities=Capabilities(models=("mine",)))
    made.register_vendor(own)
    with made, pytest.raises(BudgetExceeded, match=r"no price of own:mine is known, .* llmdispatcher.catalog.overlay"):
        made.send(attrs.evolve(ASK, model="mine"))
    allowing = dispatcher(budgets=[Budget(limit="1", unpriced="allow")])
    allowing.register_vendor(own)
    with allowing:
        assert "hi" == allowing.send(attrs.evolve(ASK, model="mine")).content

    assert 1 == own.hits
