"""What a call tells of itself: its attempts, its trace, the plan beforehand; who hears it, and what its workers see."""

import contextvars
import json
import logging
import pickle
import sys
import threading
from decimal import Decimal

import pytest

from llmdispatcher import (
    AllTargetsFailed,
    Capabilities,
    CircuitBreaker,
    CircuitOpen,
    ConfigError,
    CostOptimization,
    Dispatcher,
    FailureClass,
    Hedge,
    Observer,
    OpenAIVendor,
    RateLimit,
    RateLimitError,
    Request,
    Response,
    ResponseCache,
    RetryPolicy,
    StreamChunk,
    StreamInterrupted,
    Usage,
    VendorUnavailable,
)
from llmdispatcher.testing import OK, FakeVendor, ManualClock, VendorSimulator, faults

from ..conftest import PATIENCE
from .parts import dispatcher_of

ASK = Request("m", "hi", max_tokens=100)


def silent(_request):
    return VendorUnavailable("silent", phase="first_byte", sent=True)


def down(_request):
    return VendorUnavailable("down", status=500)


KEY = "sk-0123456789abcdef"


def dispatcher(*vendors, **settings):
    return dispatcher_of(*vendors, **{"retry_policy": RetryPolicy(max_retries=1, initial_delay=0), **settings})


def fakes(*scripts):
    return [FakeVendor(*script, name=name) for name, script in zip("abc", scripts, strict=False)]


def failed(made, request=ASK, **options):
    with pytest.raises(Exception) as caught:
        made.send(request, **options)
    return caught.value


def fresh(error):
    """The same error once more; one that was raised has facts of its call."""
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize(
    ("policy", "asked", "error"),
    [
        (True, ["a", "b", "a", "b"], AllTargetsFailed),
        ("elsewhere", ["a", "b"], AllTargetsFailed),
        (False, ["a"], VendorUnavailable),
    ],
)
def test_what_may_be_billed_is_asked_again_only_by_policy(policy, asked, error):
    """Anybody once more, others only, or nobody."""
    vendors = fakes([silent] * 3, [silent] * 3)
    made = dispatcher(*vendors, retry_policy=RetryPolicy(max_retries=2, initial_delay=0, retry_ambiguous=policy))

    failure = failed(made)

    assert (error, asked) == (type(failure), [attempt.vendor for attempt in failure.trace])


@pytest.mark.parametrize("policy", [True, "elsewhere", False])
def test_what_was_never_sent_is_asked_again_under_any_policy(policy):
    """Nobody can have billed it."""
    vendors = fakes([VendorUnavailable("refused", sent=False), "yes"])

    response = dispatcher(*vendors, retry_policy=RetryPolicy(initial_delay=0, retry_ambiguous=policy)).send(ASK)

    assert [FailureClass.UNSENT, None] == [attempt.failure_class for attempt in response.trace]


def test_the_policy_for_ambiguous_failures_is_checked():
    """A word that is not known is named."""
    with pytest.raises(ConfigError, match="retry_ambiguous: 'never' is not known"):
        RetryPolicy(retry_ambiguous="never")


def test_an_attempt_tells_target_class_time_bytes_cost_and_connection():
    """Over real sockets: the second call goes over the kept connection."""
    with VendorSimulator(responses="one two").script(faults.status(503), OK, OK) as simulator:
        vendor = OpenAIVendor(api_key=KEY, base_url=simulator.openai_url, trust_env=False)
        with dispatcher(vendor) as made:
            first, second = (made.send(Request("gpt-4o", "hi", max_tokens=9)).trace for _ in range(2))

    assert [("openai:gpt-4o", "rejected", 503), ("openai:gpt-4o", None, None)] == [
        (attempt.target, attempt.failure_class, attempt.status) for attempt in first
    ]
    assert [False, True] == [first[0].reused, second[0].reused]
    assert all(attempt.bytes_sent > 100 < attempt.bytes_received for attempt in (*first, *second))
    assert [None, True, True] == [cost and cost > 0 for cost in (first[0].cost, first[1].cost, second[0].cost)]
    assert first.cost == first[1].cost
    assert first[0].started <= first[1].started


def test_bytes_are_counted_exactly():
    """What the server was sent is what the record says, for a plain call and for a stream."""
    with VendorSimulator(responses="one two") as simulator:
        vendor = OpenAIVendor(api_key=KEY, base_url=simulator.openai_url, trust_env=False)
        with dispatcher(vendor) as made:
            request = Request("gpt-4o", "hi", max_tokens=9)
            (plain,), (streamed,) = made.send(request).trace, made.send_streaming(request).response().trace

    assert streamed.bytes_received > plain.bytes_received > plain.bytes_sent > 0
    assert len('"stream": true') < streamed.bytes_sent - plain.bytes_sent + 100


def test_a_vendor_of_ones_own_has_no_bytes():
    """Nobody counted them."""
    (attempt,) = dispatcher(*fakes(["yes"])).send(ASK).trace

    assert (None, None, None) == (attempt.bytes_sent, attempt.bytes_received, attempt.reused)


def test_the_key_is_told_by_its_number():
    """The first was refused, the second answered; neither is to be seen."""
    keys = ["sk-first-0123456789", "sk-second-0123456789"]
    with VendorSimulator(responses="yes").script(faults.wrong_key(), OK) as simulator:
        vendor = OpenAIVendor(api_key=keys, base_url=simulator.openai_url, trust_env=False)
        with dispatcher(vendor) as made:
            trace = made.send(Request("gpt-4o", "hi")).trace

    assert [2] == [attempt.key for attempt in trace]
    assert not any(key in f"{trace}{trace!r}{trace.as_dict()}" for key in keys)


def test_an_interrupted_stream_costs_what_it_had_reported():
    """And may cost more."""

    class Cut:
        name, capabilities = "cut", Capabilities(models=("gpt-4o",))
        kind = "openai"

        def send(self, request, deadline):
            raise NotImplementedError

        def is_available(self):
            return True

        def stream(self, request, deadline):
            yield StreamChunk(content="half", usage=Usage(input_tokens=1_000_000, output_tokens=1))
            raise StreamInterrupted("cut")

    outcomes = []
    with pytest.raises(StreamInterrupted) as caught:
        dispatcher(Cut(), observers=[outcomes.append]).send_streaming(Request("gpt-4o", "hi")).response()

    (attempt,) = caught.value.trace
    assert ("committed", True) == (attempt.failure_class, attempt.possibly_billed)
    assert attempt.cost == outcomes[0].cost > 1


def test_the_loser_of_a_hedge_is_possibly_billed():
    """Its answer was paid for, perhaps, and nobody has read it; the winner's trace tells of both."""
    slow, quick = FakeVendor(name="a", latency=30), FakeVendor(name="b")

    response = dispatcher(slow, quick, hedge=Hedge(after=0.02, share=1)).send(ASK, timeout=10)

    told = {attempt.vendor: (attempt.hedge, attempt.error, attempt.possibly_billed) for attempt in response.trace}
    assert {"a": (False, "Cancelled", True), "b": (True, None, False)} == told


def test_a_failed_call_hangs_its_trace_on_the_error():
    """With every attempt, the plan and the reasons; and it travels with the error between processes."""
    made = dispatcher(*fakes([silent] * 2, [RateLimitError("slow", status=429)] * 2), retry_policy=RetryPolicy(max_retries=0))

    error = fresh(failed(made))

    assert [("a", "ambiguous"), ("b", "rejected")] == [(attempt.vendor, attempt.failure_class) for attempt in error.trace]
    assert ["a:m", "b:m"] == [str(target) for target in error.trace.plan.targets]


def test_a_trace_is_readable_for_people_and_machines():
    """Who, in which order, why, how it went; as text and as JSON."""
    made = dispatcher(*fakes([silent], ["yes"]), default_vendor="a", cost_optimization=None)

    trace = made.send(ASK).trace

    told = json.loads(json.dumps(trace.as_dict()))
    assert "1. a:m  (default vendor)" in str(trace)
    assert "a:m  failed with VendorUnavailable (ambiguous) after" in str(trace)
    assert "b:m  answered after" in str(trace)
    assert (["a:m", "b:m"], True) == ([attempt["target"] for attempt in told["attempts"]], told["possibly_billed"])
    assert ["a:m", "b:m"] == [candidate["target"] for candidate in told["candidates"]]


def test_who_is_passed_over_is_told_with_the_reason():
    """Its circuit was open as its turn came."""
    clock = ManualClock()
    a, b = fakes([down] * 10, [])
    made = dispatcher(a, b, clock=clock, retry_policy=RetryPolicy(max_retries=0), circuit_breaker=CircuitBreaker(open_time=8))
    for _ in range(10):
        made.send(ASK)

    trace = made.send(ASK).trace

    assert [("a:m", "circuit open for another 8.0 s")] == [(passed.target, passed.reason) for passed in trace.skipped]
    assert ["open", "closed"] == [trace.plan.status(target).circuit for target in trace.plan.targets]


def test_an_answer_from_memory_says_so():
    """No attempts, but a plan."""
    made = dispatcher(*fakes(["yes"]), cache=ResponseCache())
    request = Request("m", "hi", temperature=0)
    made.send(request)

    trace = made.send(request).trace

    assert (0, True, True) == (len(trace), trace.cached, "answered from memory" in str(trace))


def test_explain_tells_scores_circuits_parking_limits_and_hedges():
    """All that a call would find, without sending anything."""
    clock = ManualClock()
    parked, plain = fakes([RateLimitError("slow", status=429, retry_after=30)], [])
    parked.rate_limit = RateLimit(requests_per_minute=10)
    made = dispatcher(
        parked,
        plain,
        clock=clock,
        hedge=Hedge(after=2),
        cost_optimization=CostOptimization(vendor_costs={"a": "0.01", "b": "0.02"}),
    )
    made.send(ASK)
    hits = parked.hits + plain.hits

    plan = made.explain(ASK)

    first, second = plan.as_dict()["candidates"]
    assert ("a:m", 30.0, "closed", 9) == (
        first["target"],
        first["cooldown"],
        first["circuit"],
        first["limits"]["requests_remaining"],
    )
    assert Decimal(first["cost"]) < Decimal(second["cost"])
    assert {"target": "a:m", "beside": "b:m", "after": 2} == plan.as_dict()["hedge"]
    assert "cooling down for another 30.0 s; 9 of 10 requests left" in str(plan)
    assert json.dumps(plan.as_dict())
    assert hits == parked.hits + plain.hits


def test_explain_tells_how_long_a_circuit_stays_open_and_that_it_is_tried_then():
    """Open for another so many seconds, then half-open."""
    clock = ManualClock()
    (a,) = fakes([down] * 10)
    made = dispatcher(a, clock=clock, retry_policy=RetryPolicy(max_retries=0))
    for _ in range(10):
        failed(made)

    told = [str(made.explain(ASK)).partition(")  ")[2]]
    clock.advance(5)
    told.append(str(made.explain(ASK)).partition(")  ")[2])

    assert ["circuit open for another 5.0 s", "circuit half-open"] == told


@pytest.mark.parametrize(("strict", "expected"), [(True, CircuitOpen), (False, VendorUnavailable)])
def test_a_strict_circuit_breaker_asks_nobody(strict, expected):
    """Where all are left alone, CircuitOpen tells for how long; else the least bad is asked."""
    clock = ManualClock()
    (a,) = fakes([down] * 20)
    made = dispatcher(a, clock=clock, retry_policy=RetryPolicy(max_retries=0), circuit_breaker=CircuitBreaker(strict=strict))
    for _ in range(10):
        failed(made)

    error = failed(made)

    assert (expected, 5.0 if strict else None, 10 if strict else 11) == (type(error), error.retry_after, a.hits)


def test_a_strict_circuit_breaker_still_fails_over_and_lets_its_probe_out():
    """CircuitOpen is for the call that has nobody else, until the time is over."""
    clock = ManualClock()
    a, b = fakes([*[down] * 10, "well again"], [])
    made = dispatcher(a, b, clock=clock, retry_policy=RetryPolicy(max_retries=0), circuit_breaker=CircuitBreaker(strict=True))
    for _ in range(10):
        made.send(ASK)

    answered = [made.send(ASK).vendor]
    clock.advance(5)
    answered.append(made.send(ASK).vendor)

    assert ["b", "a"] == answered


class Both(Observer):
    def __init__(self):
        self.heard = []

    def on_attempt(self, record):
        self.heard.append(("attempt", record.vendor, record.error))

    def on_outcome(self, outcome):
        self.heard.append(("outcome", outcome.vendor, outcome.error))


class Unrelated:
    """No Observer, but with its methods."""

    def __init__(self):
        self.records = []

    def on_attempt(self, record):
        self.records.append(record)


def test_observers_hear_attempts_and_outcomes():
    """In their order, whether they are listeners, look like one, or are functions."""
    both, unrelated, outcomes = Both(), Unrelated(), []

    dispatcher(*fakes([silent], ["yes"]), observers=[both, unrelated, outcomes.append]).send(ASK)

    assert [("attempt", "a", "VendorUnavailable"), ("attempt", "b", None), ("outcome", "b", None)] == both.heard
    assert (2, 1) == (len(unrelated.records), len(outcomes))


@pytest.mark.parametrize("event", ["on_call_start", "on_attempt_start", "on_attempt", "on_outcome"])
def test_an_observer_that_exits_ends_no_call_of_a_thread(caplog, event):
    """As sys.exit() in a callback does: the call has its answer; in the main thread it passes, as from a signal's handler."""
    leaving = type("Leaving", (Observer,), {event: lambda *_: sys.exit(3)})()
    answers = []
    with Dispatcher(observers=[leaving]) as dispatcher:
        dispatcher.register_vendor(FakeVendor(name="v"))
        thread = threading.Thread(target=lambda: answers.append(dispatcher.send(Request("v:m", "hi")).content))
        thread.start()
        thread.join(PATIENCE)
        assert 1 == len(answers)
        assert "an observer failed" in caplog.text
        with pytest.raises(SystemExit):
            dispatcher.send(Request("v:m", "hi"))


def test_what_an_observer_raises_is_logged_and_felt_by_nobody(caplog):
    """Neither by the caller nor by the observers after it."""

    class Broken(Observer):
        def on_attempt(self, record):
            raise RuntimeError("no attempt for me")

        def on_outcome(self, outcome):
            raise RuntimeError("no outcome for me")

    both = Both()
    with caplog.at_level(logging.ERROR):
        response = dispatcher(*fakes(["yes"]), observers=[Broken(), both]).send(ASK)

    assert ("yes", 2) == (response.content, len(both.heard))
    assert "no attempt for me" in caplog.text
    assert "no outcome for me" in caplog.text


def test_an_observer_that_hears_nothing_is_refused():
    """At once, by its place in the list."""
    with pytest.raises(ConfigError, match=r"observers\[1\]: int is no function"):
        Dispatcher(observers=[print, 7])


TENANT = contextvars.ContextVar("tenant", default="nobody")


class Seeing:
    """A vendor that answers with what it sees of the caller's context."""

    capabilities = Capabilities(models=("m",))

    def __init__(self, name="a", silent=False):
        self.name = name
        self._silent = silent

    def is_available(self):
        return True

    def send(self, request, deadline):
        if self._silent:
            deadline.sleep(30)
        return Response(content=TENANT.get(), finish_reason="stop")

    def stream(self, request, deadline):
        yield StreamChunk(content=TENANT.get())
        yield StreamChunk(content=f" {TENANT.get()}", finish_reason="stop")


@pytest.fixture
def tenant():
    token = TENANT.set("blue")
    yield
    TENANT.reset(token)


@pytest.mark.usefixtures("tenant")
def test_a_streams_worker_sees_the_callers_context():
    """From the first chunk to the last, and its observers at the end."""
    seen = []

    text = dispatcher(Seeing(), observers=[lambda _outcome: seen.append(TENANT.get())]).send_streaming(ASK).response().content

    assert ("blue blue", ["blue"]) == (text, seen)


@pytest.mark.usefixtures("tenant")
def test_both_legs_of_a_hedged_call_see_the_callers_context():
    """The second answers what it sees."""
    made = dispatcher(Seeing("a", silent=True), Seeing("b"), hedge=Hedge(after=0.02, share=1))

    assert ("b", "blue") == ((response := made.send(ASK, timeout=10)).vendor, response.content)


@pytest.mark.usefixtures("tenant")
def test_the_workers_of_map_see_the_callers_context():
    """Every one of them."""
    answers = dispatcher(Seeing()).map([ASK] * 20, max_workers=4)

    assert {"blue"} == {response.content for response in answers}


@pytest.mark.usefixtures("tenant")
def test_what_a_worker_sets_is_not_seen_by_the_caller():
    """The context is a copy."""

    class Setting(Seeing):
        def stream(self, request, deadline):
            TENANT.set("red")
            yield StreamChunk(content="x", finish_reason="stop")

    dispatcher(Setting()).send_streaming(ASK).response()

    assert "blue" == TENANT.get()
