"""One call: rules, retries, failover, one deadline, exactly one outcome."""

import signal
import threading
from decimal import Decimal

import pytest

from llmdispatcher import (
    AllTargetsFailed,
    AuthenticationError,
    BudgetExceeded,
    Cancellation,
    Cancelled,
    Capabilities,
    ConfigError,
    DeadlineExceeded,
    Dispatcher,
    InvalidRequest,
    MalformedReply,
    ModelNotFound,
    Observer,
    OpenAIVendor,
    QuotaExceeded,
    RateLimitError,
    Request,
    Response,
    RetryPolicy,
    Usage,
    VendorUnavailable,
)
from llmdispatcher.testing import FakeVendor, ManualClock, VendorSimulator

from ..conftest import PATIENCE
from ..threads import in_threads
from . import parts

ASK = Request(model="any-model", messages="hello")


def down(**facts):
    return VendorUnavailable("down", status=503, **facts)


def dispatcher_of(*vendors, **settings):
    return parts.dispatcher_of(*vendors, **{"clock": ManualClock(), **settings})


def test_an_answer_tells_who_gave_it_and_how():
    """Vendor, model, ref, latency, time and trace are on the response."""
    fake = FakeVendor("hi", name="a", latency=2.0)
    response = dispatcher_of(fake).send(ASK)

    assert ("hi", "a", "any-model", "a:any-model", 2.0) == (
        response.content,
        response.vendor,
        response.model,
        response.ref,
        response.latency,
    )
    assert response.created_at is not None
    assert [("a", None)] == [(attempt.vendor, attempt.error) for attempt in response.trace]


def test_a_failure_moves_on_to_the_next_vendor_without_waiting():
    """Another free target is asked at once; the backoff is for coming back."""
    clock = ManualClock()
    first, second = FakeVendor(down(), name="a"), FakeVendor("from b", name="b")

    response = dispatcher_of(first, second, clock=clock).send(ASK)

    assert ("b", 1, 1, []) == (response.vendor, first.hits, second.hits, clock.sleeps)
    assert [False, True] == [attempt.failover for attempt in response.trace]


def test_a_lone_vendor_is_asked_again_after_its_backoff():
    """Exponential waits of 1, 2 and 4 seconds, then the error with the count of attempts."""
    clock = ManualClock()
    fake = FakeVendor(down(), name="a")

    with pytest.raises(VendorUnavailable) as caught:
        dispatcher_of(fake, clock=clock).send(ASK)

    assert (4, 4, [1.0, 2.0, 4.0]) == (fake.hits, caught.value.attempts, clock.sleeps)


def test_each_vendor_hit_is_counted_exactly_once():
    """What the vendor saw is what the trace and the statistics say."""
    first, second = FakeVendor(down(), down(), "a at last", name="a"), FakeVendor(down(), name="b")
    dispatcher = dispatcher_of(first, second)

    response = dispatcher.send(ASK)
    stats = dispatcher.get_stats()

    assert first.hits + second.hits == len(response.trace)
    assert (first.hits, second.hits) == (stats.vendor_stats["a"].requests, stats.vendor_stats["b"].requests)


def test_returns_to_a_target_are_bounded_by_max_retries_however_many_targets():
    """With two dead vendors and two retries there are two first tries and two returns."""
    vendors = [FakeVendor(down(), name="a"), FakeVendor(down(), name="b")]

    with pytest.raises(AllTargetsFailed) as caught:
        dispatcher_of(*vendors, retry_policy=RetryPolicy(max_retries=2)).send(ASK)

    assert ([2, 2], 4, 4) == ([vendor.hits for vendor in vendors], len(caught.value.failures), caught.value.attempts)


def test_no_retries_means_one_hit():
    """max_retries=0 is obeyed."""
    fake = FakeVendor(down())

    with pytest.raises(VendorUnavailable):
        dispatcher_of(fake, retry_policy=RetryPolicy(max_retries=0)).send(ASK)

    assert 1 == fake.hits


def test_a_hint_is_never_undercut():
    """A vendor that asks for 7 seconds is left alone for 7 seconds although the backoff would be one."""
    clock = ManualClock()
    fake = FakeVendor(RateLimitError("slow down", status=429, retry_after=7.0), "ok")

    dispatcher_of(fake, clock=clock).send(ASK)

    assert [7.0] == clock.sleeps


def test_a_hint_beyond_the_deadline_is_not_waited_for():
    """The call ends at once with the hint, instead of sleeping into its deadline."""
    clock = ManualClock()
    fake = FakeVendor(RateLimitError("slow down", status=429, retry_after=20.0), "ok")

    with pytest.raises(RateLimitError) as caught:
        dispatcher_of(fake, clock=clock, timeout=10).send(ASK)

    assert (20.0, [], 1) == (caught.value.retry_after, clock.sleeps, fake.hits)


def test_a_long_hint_is_not_waited_for_even_without_a_deadline():
    """Nobody sleeps for 90 seconds because a header says so."""
    clock = ManualClock()
    fake = FakeVendor(RateLimitError("slow down", status=429, retry_after=90.0), "ok")

    with pytest.raises(RateLimitError):
        dispatcher_of(fake, clock=clock, timeout=None).send(ASK)

    assert [] == clock.sleeps


def test_a_parked_target_is_left_alone_by_later_calls_too():
    """A 429's hint holds for the next call: it goes elsewhere first, and comes back when the time is over."""
    clock = ManualClock()
    first = FakeVendor(RateLimitError("slow down", status=429, retry_after=30.0), "a again", name="a")
    second = FakeVendor("b", name="b")
    dispatcher = dispatcher_of(first, second, clock=clock)

    answers = [dispatcher.send(ASK).vendor, dispatcher.send(ASK).vendor]
    clock.advance(31)
    answers.append(dispatcher.send(ASK).vendor)

    assert (["b", "b", "a"], 2) == (answers, first.hits)


def test_when_all_are_parked_the_call_says_so_without_asking():
    """The same kind of error comes back with what is left of the minute and of what the vendor asked for; it is not hit."""
    clock = ManualClock()
    fake = FakeVendor(RateLimitError("slow down", status=429, retry_after=90.0))
    dispatcher = dispatcher_of(fake, clock=clock)
    with pytest.raises(RateLimitError):
        dispatcher.send(ASK)
    clock.advance(10)

    with pytest.raises(RateLimitError, match=r"left alone for another 50\.0 s") as caught:
        dispatcher.send(ASK)

    assert (80.0, 1, 0) == (caught.value.retry_after, fake.hits, caught.value.attempts)


@pytest.mark.parametrize("hint", [3_000.0, 1e20])
def test_the_only_vendor_is_not_parked_for_hours(hint):
    """After a minute one call tries it; its answer frees it for all."""
    clock = ManualClock()
    fake = FakeVendor(RateLimitError("slow down", status=429, retry_after=hint), "ok")
    dispatcher = dispatcher_of(fake, clock=clock)
    for _ in range(2):
        with pytest.raises(RateLimitError):
            dispatcher.send(ASK)
    clock.advance(60.0)

    assert ["ok"] * 2 == [dispatcher.send(ASK).content for _ in range(2)]
    assert ([], 3) == (clock.sleeps, fake.hits)


def test_a_vendor_that_refuses_the_try_is_tried_by_one_call_a_minute():
    """The other calls of that minute do not ask it."""
    clock = ManualClock()
    fake = FakeVendor(RateLimitError("slow down", status=429, retry_after=3_000.0))
    dispatcher = dispatcher_of(fake, clock=clock)
    for _ in range(180):
        with pytest.raises(RateLimitError):
            dispatcher.send(ASK)
        clock.advance(1.0)

    assert 3 == fake.hits


def test_a_spent_quota_keeps_its_words_and_its_remedy():
    """The vendor has asked for nothing, and the next call does not say that it has."""
    fake = FakeVendor(QuotaExceeded("your credit is used up", status=429, code="insufficient_quota", remedy="add credit"))
    dispatcher = dispatcher_of(fake)
    for _ in range(2):
        with pytest.raises(QuotaExceeded, match=r"your credit is used up.*add credit") as told:
            dispatcher.send(ASK)

    assert ("asked for" in str(told.value), 60.0, 1) == (False, told.value.retry_after, fake.hits)


@pytest.mark.parametrize("hint", [7_200.0, 90.0, 30.0])
def test_what_a_vendor_asked_for_is_told_to_later_calls(hint):
    """Not the shorter time after which one call tries it."""
    clock = ManualClock()
    fake = FakeVendor(RateLimitError("slow down", status=429, retry_after=hint))
    dispatcher = dispatcher_of(fake, clock=clock, retry_policy=RetryPolicy(max_retries=0))
    told = []
    for _ in range(2):
        with pytest.raises(RateLimitError) as caught:
            dispatcher.send(Request("any-model", "hi"), timeout=5.0)
        told.append(caught.value.retry_after)
        clock.advance(10.0)

    assert [hint, hint - 10.0] == told


def test_the_longest_cooldown_is_a_setting():
    """An hour, for whoever wants that."""
    clock = ManualClock()
    fake = FakeVendor(RateLimitError("slow down", status=429, retry_after=3_000.0), "ok")
    dispatcher = dispatcher_of(fake, clock=clock, retry_policy=RetryPolicy(max_cooldown=3_600.0))
    with pytest.raises(RateLimitError):
        dispatcher.send(ASK)
    clock.advance(2_000.0)
    with pytest.raises(RateLimitError, match=r"another 1000\.0 s"):
        dispatcher.send(ASK)

    assert 1 == fake.hits


def test_a_spent_quota_is_not_asked_again_and_parks_the_target():
    """One hit, no retry; the next call goes elsewhere."""
    spent = FakeVendor(QuotaExceeded("no credit", status=429), name="a")
    other = FakeVendor("b", name="b")
    dispatcher = dispatcher_of(spent, other)

    answers = [dispatcher.send(ASK).vendor, dispatcher.send(ASK).vendor]

    assert (["b", "b"], 1) == (answers, spent.hits)


def test_a_bad_request_is_asked_of_nobody_else():
    """What is wrong with the request is wrong everywhere."""
    first, second = FakeVendor(InvalidRequest("bad schema", status=400), name="a"), FakeVendor(name="b")

    with pytest.raises(InvalidRequest) as caught:
        dispatcher_of(first, second).send(ASK)

    assert (1, 0, 1, "a") == (first.hits, second.hits, caught.value.attempts, caught.value.vendor)


def test_a_refused_key_moves_on_but_is_not_retried():
    """401 at one vendor: the next one answers."""
    first, second = FakeVendor(AuthenticationError("no", status=401), name="a"), FakeVendor(name="b")

    assert "b" == dispatcher_of(first, second).send(ASK).vendor
    assert 1 == first.hits


def test_the_users_retryable_errors_are_retried():
    """A text in retryable_errors makes a final error worth another try."""
    fake = FakeVendor(InvalidRequest("flaky proxy said 400", status=400), "ok")

    response = dispatcher_of(fake, retry_policy=RetryPolicy(retryable_errors=["Flaky Proxy"])).send(ASK)

    assert ("ok", 2) == (response.content, fake.hits)


def test_a_wait_that_does_not_fit_the_deadline_is_not_begun():
    """The last failure is raised as soon as it is clear that there is no time for another try."""
    clock = ManualClock()
    fake = FakeVendor(down())

    with pytest.raises(VendorUnavailable):
        dispatcher_of(fake, clock=clock, timeout=2.5).send(ASK)

    assert ([1.0], 2) == (clock.sleeps, fake.hits)


def test_one_deadline_covers_waits_attempts_and_failover():
    """A slow vendor cannot hold a call past its timeout, retries included."""
    clock = ManualClock()
    slow = FakeVendor(down(), name="a", latency=4.0)
    slower = FakeVendor("late", name="b", latency=100.0)

    with pytest.raises(DeadlineExceeded) as caught:
        dispatcher_of(slow, slower, clock=clock, timeout=10).send(ASK)

    assert (10.0, 2) == (sum(clock.sleeps), caught.value.attempts)


def test_a_calls_own_timeout_wins_over_the_configuration():
    """timeout= is for the whole call."""
    clock = ManualClock()

    with pytest.raises(DeadlineExceeded, match="its 3 s"):
        dispatcher_of(FakeVendor(latency=100.0), clock=clock).send(ASK, timeout=3)


def test_cancelling_ends_a_wait():
    """A cancel during the backoff is the end of the call."""
    cancel = Cancellation()
    clock = ManualClock(on_wait=lambda seconds: cancel.cancel("no longer needed"))

    with pytest.raises(Cancelled, match="no longer needed"):
        dispatcher_of(FakeVendor(down()), clock=clock).send(ASK, cancel=cancel)


def test_a_cancelled_call_asks_nobody():
    """Cancelled before it began is cancelled."""
    cancel, fake = Cancellation(), FakeVendor()
    cancel.cancel()

    with pytest.raises(Cancelled):
        dispatcher_of(fake).send(ASK, cancel=cancel)

    assert 0 == fake.hits


def test_several_failed_vendors_are_all_told():
    """The error lists who failed and how, and the shortest hint."""
    vendors = [FakeVendor(AuthenticationError("bad key"), name="a"), FakeVendor(RateLimitError("slow", retry_after=50.0), name="b")]

    with pytest.raises(AllTargetsFailed, match=r"a:any-model: bad key.*b:any-model: slow") as caught:
        dispatcher_of(*vendors, retry_policy=RetryPolicy(max_retries=0)).send(ASK)

    assert 50.0 == caught.value.retry_after


def test_a_vendor_of_ones_own_may_raise_anything():
    """A foreign exception is a vendor failure: the next vendor answers, and alone it comes out typed with its cause."""
    broken, fine = FakeVendor(ZeroDivisionError("oops"), name="a"), FakeVendor("b", name="b")

    assert "b" == dispatcher_of(broken, fine).send(ASK).vendor
    with pytest.raises(VendorUnavailable, match=r"raised ZeroDivisionError at doubles\.py:\d+") as caught:
        dispatcher_of(FakeVendor(ZeroDivisionError("a secret"))).send(ASK)
    assert (None, False) == (caught.value.__cause__, "a secret" in str(caught.value))


def test_a_vendor_that_returns_no_response_is_malformed():
    """What is not a Response is not an answer."""

    class Careless(FakeVendor):
        def send(self, request, deadline):
            return "just text"

    with pytest.raises(MalformedReply, match="returned str"):
        dispatcher_of(Careless(), retry_policy=RetryPolicy(max_retries=0)).send(ASK)


def test_an_interruption_is_counted_and_passed_on():
    """KeyboardInterrupt is not swallowed, and the statistics still add up."""
    dispatcher = dispatcher_of(FakeVendor(KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        dispatcher.send(ASK)

    stats = dispatcher.get_stats()
    assert (1, 1, 1) == (stats.total_requests, stats.failed_requests, stats.vendor_stats["fake"].requests)


def test_observers_hear_every_outcome_and_cannot_break_a_call(caplog):
    """One that raises is logged; the answer arrives and the others hear."""
    heard = []

    def broken(outcome):
        raise RuntimeError("my own bug")

    dispatcher = dispatcher_of(FakeVendor("ok", InvalidRequest("no")), observers=[broken, heard.append])
    dispatcher.send(ASK)
    with pytest.raises(InvalidRequest):
        dispatcher.send(ASK)

    assert [None, "InvalidRequest"] == [outcome.error and type(outcome.error).__name__ for outcome in heard]
    assert "an observer failed" in caplog.text


def test_the_callers_request_is_never_changed():
    """Whatever model the vendor maps to, the request stays as it was written."""

    class Mapped(FakeVendor):
        def model_for(self, model):
            return "their-name"

    fake = Mapped(name="a")
    request = Request(model="my-name", messages="hi", temperature=0.0)
    response = dispatcher_of(fake).send(request)

    assert ("my-name", "their-name", "their-name") == (request.model, fake.seen[0].model, response.model)


def test_a_cost_that_the_vendor_reports_is_kept():
    """What the vendor says it billed wins over any table."""
    usage = Usage(input_tokens=10, output_tokens=5, cost=Decimal("0.01"), cost_status="vendor_reported")
    dispatcher = dispatcher_of(FakeVendor(Response(content="x", usage=usage)))

    assert Decimal("0.01") == dispatcher.send(ASK).usage.cost
    assert Decimal("0.01") == dispatcher.get_stats().total_cost


def test_an_unknown_price_says_why_there_is_no_cost():
    """No silent zero."""
    usage = dispatcher_of(FakeVendor("x", name="a")).send(ASK).usage

    assert (None, "unknown_model") == (usage.cost, usage.cost_status)


def test_a_pinned_vendor_is_the_only_one_asked():
    """``"b:model"`` goes to b; b's failure is the call's."""
    first, second = FakeVendor(name="a"), FakeVendor(down(), name="b")

    with pytest.raises(VendorUnavailable):
        dispatcher_of(first, second, retry_policy=RetryPolicy(max_retries=0)).send(Request(model="B: tiny", messages="hi"))

    assert (0, ["tiny"]) == (first.hits, [request.model for request in second.seen])


def test_send_to_vendor_skips_routing_but_not_retries():
    """The named vendor is asked, again if need be, and nobody else."""
    first, second = FakeVendor(name="a"), FakeVendor(down(), "second try", name="b")

    response = dispatcher_of(first, second, default_vendor="a").send_to_vendor("b", ASK)

    assert ("second try", 0, 2) == (response.content, first.hits, second.hits)


def test_send_to_an_unknown_vendor_names_those_there_are():
    """A typo is answered with the choices."""
    with pytest.raises(ConfigError, match="'c' is not registered; there are a, b"):
        dispatcher_of(FakeVendor(name="a"), FakeVendor(name="b")).send_to_vendor("c", ASK)


def test_without_vendors_the_error_says_what_to_do():
    """The first mistake of a new user has a remedy."""
    with pytest.raises(ConfigError, match="register_vendor"):
        dispatcher_of().send(ASK)


def test_a_model_that_nobody_has_names_every_vendor():
    """The reasons are in the error."""
    fake = FakeVendor(name="a", capabilities=Capabilities(models=("small-*",)))

    with pytest.raises(ModelNotFound, match="a does not have any-model"):
        dispatcher_of(fake).send(ASK)


def test_an_unavailable_vendor_is_skipped_with_its_reason():
    """is_available() is asked, and explain tells."""
    dispatcher = dispatcher_of(FakeVendor(name="a", available=False), FakeVendor(name="b"))

    assert "b" == dispatcher.send(ASK).vendor
    assert "a  skipped: is not available" in str(dispatcher.explain(ASK))


def test_a_vendor_that_cannot_say_whether_it_is_available_is_not(caplog):
    """An exception in is_available is logged and costs nobody the call."""

    class Confused(FakeVendor):
        def is_available(self):
            raise OSError("no idea")

    assert "b" == dispatcher_of(Confused(name="a"), FakeVendor(name="b")).send(ASK).vendor
    assert "could not say" in caplog.text


def test_a_cap_that_nothing_keeps_is_a_budget_error():
    """max_cost is hard: an unknown price cannot keep it."""
    with pytest.raises(BudgetExceeded, match="price unknown"):
        dispatcher_of(FakeVendor(name="a"), cost_optimization={"max_cost": "0.05"}).send(ASK)


def test_refused_calls_are_counted_too():
    """success + failed = total, whoever refused."""
    dispatcher = dispatcher_of(FakeVendor(name="a", available=False))

    with pytest.raises(VendorUnavailable):
        dispatcher.send(ASK)

    assert (1, 1) == (dispatcher.get_stats().total_requests, dispatcher.get_stats().failed_requests)


def test_counts_are_exact_under_threads():
    """8 threads, 400 calls, every second one failing: nothing lost, nothing doubled."""
    fake = FakeVendor("ok", InvalidRequest("no"), cycle=True, name="a")
    dispatcher = dispatcher_of(fake)
    barrier = threading.Barrier(8)

    def call():
        barrier.wait()
        for _ in range(50):
            try:
                dispatcher.send(ASK)
            except InvalidRequest:
                continue

    in_threads(call, 8)
    stats = dispatcher.get_stats()

    assert (400, 200, 200, 0.5) == (stats.total_requests, stats.successful_requests, stats.failed_requests, stats.success_rate)
    assert 400 == fake.hits == stats.vendor_stats["a"].requests


@pytest.mark.parametrize("member", ["name", "capabilities", "send", "stream", "is_available"])
def test_what_lacks_a_member_is_no_vendor(member):
    """Registration names what is missing."""
    members = {"name": "x", "capabilities": Capabilities(), "send": None, "stream": None, "is_available": None}
    del members[member]

    with pytest.raises(ConfigError, match=f"has no '{member}'"):
        dispatcher_of(type("Half", (), members)())


def test_two_vendors_need_two_names():
    """The second of a kind is given a name of its own; azure and azure-openai are one name."""
    dispatcher = dispatcher_of(FakeVendor(name="azure"))

    with pytest.raises(ConfigError, match="registered already"):
        dispatcher.register_vendor(FakeVendor(name="azure-openai"))


def test_vendors_are_listed_in_order_of_registration():
    """Names in order; the vendor or None."""
    second = FakeVendor(name="b")
    dispatcher = dispatcher_of(FakeVendor(name="c"), second)

    assert (["c", "b"], second, None) == (dispatcher.get_vendors(), dispatcher.get_vendor("b"), dispatcher.get_vendor("x"))


def test_a_closed_dispatcher_refuses_calls():
    """Closing twice is fine; calling afterwards says what happened."""
    with dispatcher_of(FakeVendor()) as dispatcher:
        pass
    dispatcher.close()

    with pytest.raises(ConfigError, match="closed"):
        dispatcher.send(ASK)


def test_what_is_no_request_is_refused():
    """A dict in place of a Request is named."""
    with pytest.raises(InvalidRequest, match="dict is not a Request"):
        dispatcher_of(FakeVendor()).send({"model": "x"})


def test_its_text_lists_its_vendors():
    """For people who debug."""
    assert "Dispatcher(vendors=['a'])" == repr(dispatcher_of(FakeVendor(name="a")))


def test_a_vendor_registered_during_a_choice_is_not_missed():
    """What was chosen without the new vendor is not remembered."""

    class Registering(FakeVendor):
        def model_for(self, model):
            if dispatcher.get_vendor("late") is None:
                dispatcher.register_vendor(FakeVendor(name="late"))
            return model

    dispatcher = dispatcher_of(Registering(name="a"))
    dispatcher.explain(ASK)

    assert ["a", "late"] == [target.vendor for target in dispatcher.explain(ASK).targets]


def test_what_a_callers_signal_handler_raises_is_his():
    """An alarm's exception in the middle of a call goes up as it is; nobody is asked again because of it."""

    class SoftLimit(Exception):
        pass

    def ring(*_):
        raise SoftLimit

    with VendorSimulator(latency=5.0) as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key="sk-0123456789", base_url=simulator.openai_url, trust_env=False))
        main = threading.main_thread().ident
        alarm = threading.Thread(target=lambda: simulator.await_hits(1, PATIENCE) and signal.pthread_kill(main, signal.SIGALRM))
        before = signal.signal(signal.SIGALRM, ring)
        try:
            alarm.start()  # when the call waits: what is raised while a weak reference goes is lost
            with pytest.raises(SoftLimit):
                dispatcher.send(Request("gpt-4o", "hi"))
        finally:
            alarm.join()
            signal.signal(signal.SIGALRM, before)

        assert (1, 1) == (simulator.hits, dispatcher.get_stats().failed_requests)


def test_a_signal_handler_may_look_at_the_statistics():
    """A handler that interrupts a call can ask what a dashboard asks, whatever lock the call holds."""
    dispatcher, looks = dispatcher_of(FakeVendor("ok")), []
    before = signal.signal(signal.SIGALRM, lambda *_: looks.append(dispatcher.get_stats()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        while len(looks) < 50:
            dispatcher.send(ASK)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert len(looks) >= 50


def test_a_target_that_another_call_had_parked_is_not_asked():
    """A call that waits out its backoff sees what another call was told meanwhile."""
    clock = ManualClock()
    fake = FakeVendor(down(), RateLimitError("slow down", status=429, retry_after=20.0), "late", name="a")
    dispatcher = dispatcher_of(fake, clock=clock)
    other = []

    def meanwhile(seconds):
        clock.on_wait = None
        with pytest.raises(RateLimitError) as caught:
            dispatcher.send(ASK, timeout=5)
        other.append(caught.value)

    clock.on_wait = meanwhile
    response = dispatcher.send(ASK)

    assert ("late", 3, 1) == (response.content, fake.hits, len(other))
    assert clock.sleeps[-1] > 15


@pytest.mark.parametrize(
    ("wrong", "text"),
    [({"timeout": "5"}, "timeout: '5'"), ({"timeout": True}, "timeout: True"), ({"cancel": threading.Event()}, "cancel: Event")],
)
def test_wrong_arguments_are_named(wrong, text):
    """Not by Python's own error from somewhere inside."""
    with pytest.raises(ConfigError, match=text):
        dispatcher_of(FakeVendor()).send(ASK, **wrong)


@pytest.mark.parametrize("name", [None, "", 7])
def test_a_vendor_needs_a_name(name):
    """What rules call it."""
    with pytest.raises(ConfigError, match="the name"):
        dispatcher_of(FakeVendor(name=name))


def test_a_vendor_without_a_key_says_what_to_set(monkeypatch):
    """The first mistake with a real vendor is a configuration error that names the variable."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    with pytest.raises(ConfigError, match=r"openai: no API key; pass api_key=\.\.\. or set OPENAI_API_KEY"):
        dispatcher_of(OpenAIVendor()).send(Request("gpt-4o", "hi"))


@pytest.mark.parametrize("model", [None, "any-model"])
def test_a_vendor_can_be_left_alone(model):
    """For a time, whole or for one model; it is asked where nobody else is left."""
    first, second, clock = FakeVendor("one", name="a"), FakeVendor("two", name="b"), ManualClock()
    dispatcher = Dispatcher(clock=clock)
    for vendor in (first, second):
        dispatcher.register_vendor(vendor)
    dispatcher.leave_alone("A", model=model, seconds=60)
    other = Request("other-model", "hi")

    assert ["b", "a" if model else "b"] == [dispatcher.send(request).vendor for request in (ASK, other)]
    assert "a" == dispatcher.send_to_vendor("a", ASK).vendor
    dispatcher.leave_alone("a", model=model, seconds=60)
    clock.advance(61)
    assert "a" == dispatcher.send(ASK).vendor


@pytest.mark.parametrize("field", ["default_vendor", "fallback_vendor"])
def test_a_mistyped_vendor_in_the_configuration_is_told(field, caplog):
    """The call goes on with those there are; the explanation and the log name the typo."""
    dispatcher = dispatcher_of(FakeVendor(name="a"), **{field: "opnai"})

    assert "a" == dispatcher.send(ASK).vendor
    assert f"opnai  skipped: the {field} is not registered; there are a" in str(dispatcher.explain(ASK))
    assert "'opnai' is not registered" in caplog.text


def test_a_listener_hears_attempts_and_outcomes():
    """Each as it happens, frozen; one that raises is felt by nobody."""
    heard = []

    class Ear(Observer):
        def on_attempt(self, record):
            heard.append((record.vendor, record.error))
            raise RuntimeError("a listener of no use")

        def on_outcome(self, outcome):
            heard.append(type(outcome).__name__)

    with Dispatcher(observers=[Ear()]) as dispatcher:
        dispatcher.register_vendor(FakeVendor(VendorUnavailable("down", retry_here=False), name="a"))
        dispatcher.register_vendor(FakeVendor("hi", name="b"))
        assert "hi" == dispatcher.send(Request("m", "hi")).content

    assert [("a", "VendorUnavailable"), ("b", None), "Outcome"] == heard
