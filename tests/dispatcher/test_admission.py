"""The limit of calls under way, with real threads: everybody has his end, nobody starves, and no place is lost."""

import contextlib
import gc
import os
import random
import signal
import threading
import time
from functools import partial

import pytest

from llmdispatcher import (
    Admission,
    AuthenticationError,
    Cancellation,
    Cancelled,
    DispatchError,
    Embeddings,
    Hedge,
    InvalidRequest,
    MaxLengthGuard,
    OpenAIVendor,
    Overloaded,
    Request,
    RetryPolicy,
    Usage,
    VendorUnavailable,
)
from llmdispatcher.testing import FAULTS, FakeVendor, ManualClock, VendorSimulator

from ..conftest import PATIENCE, SLACK
from .parts import Gated, dispatcher_of, in_thread, soon

ASK = Request("m", "hi")


def dispatcher(*vendors, **settings):
    return dispatcher_of(*vendors, **{"timeout": 2 * PATIENCE, "retry_policy": RetryPolicy(max_retries=0), **settings})


def now(made):
    """How many run, and how many wait."""
    stats = made.get_stats()
    return stats.running_requests, stats.waiting_requests


def free(made):
    return (0, 0) == now(made) and not made._admission._guests and not made._in_flight._calls


def asked(made, ends, request=ASK, **settings):
    """One call, and how it ended."""
    try:
        ends.append(made.send(request, **settings).content)
    except DispatchError as error:
        ends.append(error)


def kinds(ends):
    return [end if isinstance(end, str) else type(end).__name__ for end in ends]


def test_two_hundred_callers_of_whom_fifty_may():
    """P1: never more than fifty are under way; who waits is answered in time, or told that it is too much, and for how long."""
    vendor, ends, outcomes, clock = Gated(), [], [], ManualClock(blocking=True)
    made = dispatcher(vendor, observers=[outcomes.append], clock=clock, admission=Admission(max_calls=50, max_wait=1.0))
    threads = [in_thread(asked, made, ends) for _ in range(200)]
    assert soon(lambda: now(made) == (50, 150))
    vendor.gate.release(100)
    assert soon(lambda: len(ends) == 100 and now(made) == (50, 50))
    clock.advance(1.0)
    assert soon(lambda: len(ends) == 150)
    vendor.answer(*threads, calls=50)
    refused = [end for end in ends if isinstance(end, Overloaded)]

    assert (150, 50, 50, 200) == (ends.count("fine"), len(refused), vendor.most, len(outcomes))
    assert free(made)
    assert all(0 < error.retry_after < 60 and error.sent is False and error.attempts == 0 for error in refused)


def test_a_wait_ends_with_the_deadline():
    """As overload, with one outcome and no attempt; the vendor has not heard of it."""
    vendor, outcomes = Gated(), []
    made = dispatcher(vendor, observers=[outcomes.append], admission=1)
    first = in_thread(asked, made, [])
    assert soon(lambda: vendor.busy == 1)
    began = time.monotonic()
    with pytest.raises(Overloaded) as caught:
        made.send(ASK, timeout=0.1)
    taken = time.monotonic() - began
    vendor.answer(first)

    assert (True, 1, True) == (0.09 < taken < SLACK, vendor.hits, free(made))
    assert [[], [True]] == [list(caught.value.trace), [isinstance(o.error, Overloaded) for o in outcomes if not o.attempts]]


def test_a_small_tenant_does_not_starve_behind_a_flood():
    """A hundred calls of one wait; the three of another are next by turns, not after them."""
    vendor, ends = Gated(), []
    made = dispatcher(vendor, admission=2)
    flood = [in_thread(asked, made, ends, Request("m", "hi", user="flood")) for _ in range(102)]
    assert soon(lambda: now(made) == (2, 100))
    small = [in_thread(asked, made, ends, Request("m", "hi", user="small")) for _ in range(3)]
    assert soon(lambda: now(made) == (2, 103))
    for asked_so_far in range(3, 12):
        vendor.gate.release()
        assert soon(lambda count=asked_so_far: len(vendor.order) == count)
    vendor.answer(*flood, *small, calls=200)

    assert ["flood", "small"] * 3 == vendor.order[2:8]
    assert (105, True) == (ends.count("fine"), free(made))


def test_a_call_that_waits_can_be_cancelled():
    """At once, and it has one outcome."""
    vendor, cancel, ends, outcomes = Gated(), Cancellation(), [], []
    made = dispatcher(vendor, admission=1, observers=[outcomes.append])
    first = in_thread(asked, made, [])
    assert soon(lambda: vendor.busy == 1)
    second = in_thread(partial(asked, made, ends, cancel=cancel))
    assert soon(lambda: now(made) == (1, 1))
    began = time.monotonic()
    cancel.cancel()
    second.join(PATIENCE)
    taken = time.monotonic() - began
    vendor.answer(first)

    assert (["Cancelled"], True, 2, True) == (kinds(ends), taken < SLACK, len(outcomes), free(made))


def test_a_hundred_threads_in_a_storm_of_cancels():
    """Calls that are cancelled before, while and after they wait, by other threads: each has one end, and every place is back."""
    vendor, ends, outcomes = FakeVendor("fine", latency=0.001), [], []
    made = dispatcher(vendor, observers=[outcomes.append], admission=Admission(max_calls=10, max_wait=0.5))
    cancels: list[Cancellation] = []
    over = threading.Event()

    def storm():
        dice = random.Random(7)
        while not over.is_set():
            if cancels:
                cancels[dice.randrange(len(cancels))].cancel()
            time.sleep(0.0002)

    def caller(number):
        for turn in range(10):
            cancel = Cancellation()
            cancels.append(cancel)
            request = Request("m", "hi", user=str(number % 5))
            if turn % 3 == 2:
                with contextlib.suppress(DispatchError), made.send_streaming(request, cancel=cancel) as stream:
                    for _ in stream:
                        break
                ends.append("stream")
            else:
                asked(made, ends, request, cancel=cancel)

    storms = [in_thread(storm) for _ in range(2)]
    threads = [in_thread(caller, number) for number in range(100)]
    for thread in threads:
        thread.join(PATIENCE)
    over.set()
    for thread in storms:
        thread.join(PATIENCE)
    assert soon(lambda: free(made))

    assert (1_000, 1_000) == (len(ends), len(outcomes))
    assert {"fine", "Cancelled", "stream", "Overloaded"} >= set(kinds(ends)) >= {"fine", "Cancelled", "stream"}


@pytest.mark.parametrize("end", ["close", "drop", "cancel", "break", "read"])
def test_a_stream_has_its_place_until_it_ends(end):
    """Read, closed, dropped, cancelled, or broken off by the vendor; until then nobody else is let in."""
    cancel = Cancellation()
    words = ["word "] * (20 if end == "read" else 5_000)
    made = dispatcher(
        FakeVendor(["one ", VendorUnavailable("gone")] if end == "break" else words), admission=Admission(max_calls=1, max_wait=0)
    )
    stream = made.send_streaming(ASK, cancel=cancel)
    chunk = next(iter(stream))
    during = now(made)
    if end in ("close", "read"):
        (stream.close if end == "close" else stream.response)()
    elif end == "cancel":
        cancel.cancel()
    elif end == "drop":
        del stream, chunk
        gc.collect()
    assert soon(lambda: free(made))

    assert end in ("break", "read") or during == (1, 0)


def test_a_stream_over_a_real_connection_that_is_left_gives_its_place_back():
    """Read by the caller's own thread, and left there in the middle."""
    with VendorSimulator(responses=" ".join(["word"] * 2_000), tokens_per_second=100) as simulator:
        vendor = OpenAIVendor(api_key="k", base_url=simulator.openai_url)
        made = dispatcher(vendor, admission=Admission(max_calls=1, max_wait=0))
        request = Request("gpt-4o-mini", "hi")
        for chunk in (left := made.send_streaming(request)):
            assert chunk is not None
            break
        with pytest.raises(Overloaded):
            made.send_streaming(request)
        del left
        gc.collect()
        assert soon(lambda: free(made))
        again = made.send_streaming(request)
        chunk = next(iter(again))
        made.close()

    assert chunk is not None


def test_a_stream_waits_before_it_begins():
    """In the caller's thread: no thread is started for a stream that may not begin."""
    vendor, streams = Gated(), []
    made = dispatcher(vendor, admission=1)
    first = in_thread(asked, made, [])
    assert soon(lambda: vendor.busy == 1)
    before = set(threading.enumerate())  # one that an earlier test has left may end meanwhile
    second = in_thread(lambda: streams.append(made.send_streaming(ASK)))
    assert soon(lambda: now(made) == (1, 1))
    more = set(threading.enumerate()) - before
    vendor.answer(first, second, calls=2)

    assert ({second}, "fine") == (more, streams[0].response().content)


@pytest.mark.parametrize(
    "failure",
    [
        InvalidRequest("wrong", status=400),
        AuthenticationError("no", status=401),
        VendorUnavailable("refused", sent=False),
        RuntimeError("a vendor's own"),
        KeyboardInterrupt(),
        MemoryError(),
    ],
    ids=lambda failure: type(failure).__name__,
)
@pytest.mark.parametrize("streamed", [False, True], ids=["call", "stream"])
def test_every_failure_gives_the_place_back(failure, streamed):
    """The next call finds it, and each has its one outcome."""
    outcomes = []
    made = dispatcher(FakeVendor(failure, "fine"), admission=Admission(max_calls=1, max_wait=0.5), observers=[outcomes.append])
    with pytest.raises((DispatchError, KeyboardInterrupt, MemoryError)):
        made.send_streaming(ASK).response() if streamed else made.send(ASK)
    assert soon(lambda: free(made))

    assert ("fine", 2, True) == (made.send(ASK).content, len(outcomes), free(made))


def broken(*_):
    raise RuntimeError("of the user's")


@pytest.mark.parametrize(
    "settings",
    [{"guards": [MaxLengthGuard(request=1)]}, {"guards": [MaxLengthGuard(response=1)]}, {"balance": broken}],
    ids=["request refused", "answer refused", "strategy"],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["call", "stream"])
def test_what_ends_a_call_early_or_late_gives_the_place_back(settings, streamed):
    """A guard before or after, a function of the user's."""
    made = dispatcher(FakeVendor("fine", name="a"), FakeVendor("fine", name="b"), admission=1, **settings)
    for _ in range(3):
        with pytest.raises(DispatchError):
            made.send_streaming(ASK).response() if streamed else made.send(ASK)
    assert soon(lambda: free(made))


def test_an_answer_from_memory_has_a_place_too():
    """And gives it back."""
    made = dispatcher(FakeVendor("fine"), cache={}, admission=1)
    answers = [made.send(ASK).content for _ in range(3)] + [made.send_streaming(ASK).response().content for _ in range(3)]
    assert soon(lambda: free(made))

    assert (["fine"] * 6, 5) == (answers, made.get_stats().cache_hits)


def test_streams_that_share_an_answer_have_a_place_each():
    """Also the one that leaves early."""
    made = dispatcher(FakeVendor(["word "] * 50, latency=0.05), cache={}, admission=3)
    streams = [made.send_streaming(ASK) for _ in range(3)]
    during = now(made)
    streams[0].close()
    assert soon(lambda: now(made)[0] == 2)
    answers = {stream.response().content for stream in streams[1:]}
    assert soon(lambda: free(made))

    assert ((3, 0), {"word " * 50}) == (during, answers)


@pytest.mark.parametrize("streamed", [False, True], ids=["call", "stream"])
def test_a_hedged_call_is_one_call(streamed):
    """Both of its ways have one place together."""
    made = dispatcher(
        FakeVendor("slow", name="a", latency=0.3),
        FakeVendor("fast", name="b"),
        hedge=Hedge(after=0.02, share=1.0),
        admission=Admission(max_calls=1, max_wait=0),
    )
    answer = made.send_streaming(ASK).response() if streamed else made.send(ASK)
    assert soon(lambda: free(made))

    assert "fast" == answer.content


class Embedding(FakeVendor):
    """A vendor that makes vectors, and fails the first time."""

    def embed(self, request, deadline):
        self.failed = getattr(self, "failed", 0) + 1
        if self.failed == 1:
            raise RuntimeError("a vendor's own")
        return Embeddings(vectors=[[0.5]] * len(request.texts), usage=Usage())


def test_embeddings_are_calls():
    """They are refused and leave like any other."""
    made = dispatcher(Embedding(["word "] * 5_000), admission=Admission(max_calls=1, max_wait=0))
    stream = made.send_streaming(ASK)
    with pytest.raises(Overloaded):
        made.embed("m", "hi")
    stream.close()
    assert soon(lambda: free(made))
    with pytest.raises((DispatchError, RuntimeError)):
        made.embed("m", "hi")
    vectors = made.embed("m", "hi").vectors

    assert (1, True) == (len(vectors), free(made))


def test_an_observer_may_ask_again():
    """By the time it hears of a call, the place is free."""
    heard = []

    def observe(outcome):
        if not heard:
            heard.append(outcome)
            heard.append(made.send(ASK).content)

    made = dispatcher(FakeVendor("fine"), observers=[observe], admission=Admission(max_calls=1, max_wait=0))
    made.send(ASK)

    assert "fine" == heard[1]


def test_ctrl_c_ends_the_wait():
    """And leaves the line to others; the call has its outcome."""
    vendor, outcomes = Gated(), []
    made = dispatcher(vendor, admission=1, observers=[outcomes.append])
    first = in_thread(asked, made, [])
    assert soon(lambda: vendor.busy == 1)
    main = threading.main_thread().ident
    pressing = in_thread(lambda: (soon(lambda: now(made) == (1, 1)), signal.pthread_kill(main, signal.SIGINT)))
    with pytest.raises(KeyboardInterrupt):
        made.send(ASK)
    vendor.answer(first, pressing)

    assert (True, 1, ["interrupted by KeyboardInterrupt"]) == (
        free(made),
        vendor.hits,
        [outcome.error.message for outcome in outcomes if outcome.error is not None],
    )


@pytest.mark.usefixtures("untraced")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_moment_loses_no_place():
    """Hundreds of them, wherever they hit: in the door, on the way, in the end of a call. One that hits a finalizer is lost."""
    made = dispatcher(FakeVendor("fine"), admission=Admission(max_calls=2, max_wait=1.0))
    main, over, armed = threading.main_thread().ident, threading.Event(), threading.Event()

    def press():
        dice = random.Random(11)
        while not over.wait(dice.random() * 0.002):
            if armed.is_set():
                signal.pthread_kill(main, signal.SIGINT)
                armed.clear()

    pressing = in_thread(press)
    interrupted = 0
    try:
        for _ in range(300):
            try:
                armed.set()
                while armed.is_set():
                    made.send(ASK)
                time.sleep(0.01)
            except KeyboardInterrupt:
                interrupted += 1
    finally:
        over.set()
        pressing.join(PATIENCE)

    assert (True, "fine") == (free(made), made.send(ASK).content)
    assert interrupted > 200


def test_closing_ends_those_that_wait():
    """None of them is left to its deadline; with a drain they may still have their turn."""
    vendor, ends = Gated(), []
    made = dispatcher(vendor, admission=1)
    threads = [in_thread(asked, made, ends) for _ in range(3)]
    assert soon(lambda: now(made) == (1, 2))
    closing = in_thread(lambda: made.close(drain=10))
    vendor.gate.release(2)
    assert soon(lambda: len(ends) == 2)
    made.close()
    for thread in (*threads, closing):
        thread.join(PATIENCE)

    assert (["fine", "fine", "Cancelled"], True) == (kinds(ends), free(made))


def test_a_forked_child_has_all_places():
    """Those of the parent's calls are the parent's; and a call within which the fork was made takes none away in the child."""
    vendor = Gated()
    made = dispatcher(vendor, admission=Admission(max_calls=2, max_wait=0))
    threads = [in_thread(asked, made, []) for _ in range(2)]
    assert soon(lambda: vendor.busy == 2)
    child = os.fork()
    if child == 0:
        try:
            vendor.gate = threading.Semaphore(2)
            answers = [made.send(ASK).content for _ in range(2)]
            os._exit(0 if answers == ["fine", "fine"] and now(made) == (0, 0) else 2)
        except BaseException:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    during = now(made)
    vendor.answer(*threads, calls=2)

    assert (0, (2, 0), True) == (status, during, free(made))


def test_no_place_is_lost_in_a_storm_of_faults():
    """Every fault that there is, in calls and streams of twenty threads: in the end nobody runs and nobody waits."""
    outcomes = []
    with VendorSimulator(responses="one two three") as simulator:
        made = dispatcher(
            OpenAIVendor(api_key="k", base_url=simulator.openai_url),
            observers=[outcomes.append],
            timeout=0.3,
            admission=Admission(max_calls=8, max_wait=0.2),
            circuit_breaker={"min_calls": 100_000},
        )
        storm = [fault for row in FAULTS.values() for fault in row]
        random.Random(5).shuffle(storm)
        simulator.script(*storm)

        def caller(number):
            for turn in range(8):
                request = Request("gpt-4o-mini", "hi", user=str(number % 4))
                with contextlib.suppress(DispatchError):
                    made.send_streaming(request).response() if turn % 2 else made.send(request)

        threads = [in_thread(caller, number) for number in range(20)]
        for thread in threads:
            thread.join(PATIENCE)
        assert soon(lambda: free(made))
        made.close()

    assert (160, True) == (len(outcomes), len({type(outcome.error) for outcome in outcomes}) > 3)


def test_without_a_limit_there_is_no_door():
    """The counts are there nevertheless."""
    vendor, ends = Gated(), []
    made = dispatcher(vendor)
    threads = [in_thread(asked, made, ends) for _ in range(3)]
    assert soon(lambda: vendor.busy == 3)
    during = now(made)
    vendor.answer(*threads, calls=3)

    assert (None, (3, 0), (0, 0)) == (made._admission, during, now(made))


def test_cancelled_before_it_is_let_in():
    """A call that is cancelled already does not wait at all."""
    vendor, cancel = Gated(), Cancellation()
    made = dispatcher(vendor, admission=1)
    first = in_thread(asked, made, [])
    assert soon(lambda: vendor.busy == 1)
    cancel.cancel("no")
    with pytest.raises(Cancelled, match="no"):
        made.send(ASK, cancel=cancel)
    vendor.answer(first)

    assert free(made)
