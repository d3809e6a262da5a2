"""Calls in flight as callers feel them: elsewhere at once, or a wait for the call before; and every end gives the place back."""

import gc
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from llmdispatcher import (
    Cancellation,
    Cancelled,
    CircuitBreaker,
    Config,
    DeadlineExceeded,
    Dispatcher,
    DispatchError,
    Hedge,
    InvalidRequest,
    OpenAIVendor,
    RateLimit,
    RateLimitError,
    Request,
    RetryPolicy,
    VendorUnavailable,
)
from llmdispatcher.testing import FakeVendor, VendorSimulator

from ..conftest import PATIENCE, SLACK
from .parts import Gated, dispatcher_of, in_thread, soon

REQUEST = Request("m", "hi")
ONE = RateLimit(max_in_flight=1)


def limited(*answers, name="v", rate_limit=ONE, **settings):
    vendor = FakeVendor(*answers, name=name, **settings)
    vendor.rate_limit = rate_limit
    return vendor


def dispatcher(*vendors, **settings):
    return dispatcher_of(*vendors, **{"timeout": 2 * PATIENCE, "retry_policy": RetryPolicy(max_retries=0), **settings})


def free(made, vendor="v"):
    """Whether nobody is in flight, and nobody waits."""
    status = made.get_rate_limit_status(vendor)
    return (status.in_flight, status.waiting) == (0, 0)


def test_another_target_is_asked_rather_than_waited_for():
    """While the first vendor has its one call, the next goes to the second."""
    busy = Gated(ONE, name="a")
    made = dispatcher(busy, FakeVendor("from b", name="b"))
    first = in_thread(lambda: made.send(REQUEST))
    assert soon(lambda: busy.busy == 1)
    content = made.send(REQUEST).content
    busy.answer(first)

    assert ("from b", 1) == (content, busy.hits)


def test_without_another_target_calls_wait_for_each_other():
    """Twenty at once, three at a time, and all are answered."""
    vendor, answers = Gated(RateLimit(max_in_flight=3), name="v"), []
    made = dispatcher(vendor)
    threads = [in_thread(lambda: answers.append(made.send(REQUEST).content)) for _ in range(20)]
    assert soon(lambda: made.get_rate_limit_status("v").waiting == 17)
    status = made.get_rate_limit_status("v")
    vendor.answer(*threads, calls=20)

    assert (3, 3, 17) == (status.in_flight_limit, status.in_flight, status.waiting)
    assert (20, 3, True) == (len(answers), vendor.most, free(made))


def test_a_call_that_waits_ends_at_its_deadline():
    """With the name of whom it waited for; and leaves the queue."""
    vendor = Gated(ONE, name="v")
    made = dispatcher(vendor)
    first = in_thread(lambda: made.send(REQUEST))
    assert soon(lambda: vendor.busy == 1)
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="v:m"):
        made.send(REQUEST, timeout=0.1)
    taken = time.monotonic() - begun
    vendor.answer(first)

    assert (True, True, 1) == (0.09 < taken < SLACK, free(made), vendor.hits)


def test_a_call_that_waits_can_be_cancelled():
    """It is woken by that."""
    vendor, cancel = Gated(ONE, name="v"), Cancellation()
    made = dispatcher(vendor)
    first = in_thread(lambda: made.send(REQUEST))
    assert soon(lambda: vendor.busy == 1)
    canceller = in_thread(lambda: (soon(lambda: made.get_rate_limit_status("v").waiting == 1), cancel.cancel()))
    with pytest.raises(Cancelled):
        made.send(REQUEST, cancel=cancel)
    vendor.answer(first, canceller)

    assert free(made)


def test_a_call_waits_for_a_place_or_for_a_backoff_whichever_is_first():
    """The other target has failed and is ready again before the first has a place."""
    busy = Gated(ONE, name="a")
    flaky = limited(VendorUnavailable("down", status=503), "back", name="b", rate_limit=None)
    made = dispatcher(busy, flaky, retry_policy=RetryPolicy(max_retries=1, initial_delay=0.05))
    first = in_thread(lambda: made.send(REQUEST))
    assert soon(lambda: busy.busy == 1)
    content = made.send(REQUEST).content
    busy.answer(first)

    assert ("back", True) == (content, free(made, "a"))


def test_a_call_takes_the_place_that_comes_before_the_backoff_ends():
    """The retry that it had planned is not counted."""
    busy = Gated(ONE, name="a")
    failing = limited(VendorUnavailable("down", status=503), name="b", rate_limit=None)
    made = dispatcher(busy, failing, retry_policy=RetryPolicy(max_retries=1, initial_delay=8.0))
    first = in_thread(lambda: made.send(REQUEST))
    assert soon(lambda: busy.busy == 1)
    answers = []
    second = in_thread(lambda: answers.append(made.send(REQUEST).vendor))
    assert soon(lambda: made.get_rate_limit_status("a").waiting == 1)
    busy.answer(first, second, calls=2)

    assert (["a"], 1) == (answers, failing.hits)


@pytest.mark.parametrize(
    "failure",
    [
        InvalidRequest("wrong", status=400),
        RateLimitError("429", status=429),
        VendorUnavailable("refused", sent=False),
        RuntimeError("a vendor's own"),
        KeyboardInterrupt(),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_every_failure_gives_the_place_back(failure):
    """The next call finds it."""
    made = dispatcher(limited(failure, "fine"), retry_policy=RetryPolicy(max_retries=0))
    with pytest.raises((DispatchError, KeyboardInterrupt)):
        made.send(REQUEST)

    assert (True, "fine", True) == (free(made), made.send(REQUEST).content, free(made))


def test_an_open_circuit_takes_no_place():
    """Whoever may not ask gives back what it had taken."""
    failing = limited(VendorUnavailable("down", status=500), rate_limit=RateLimit(max_in_flight=1, requests_per_minute=50))
    made = dispatcher(failing, FakeVendor("b", name="b"), circuit_breaker=CircuitBreaker(min_calls=2))
    answers = [made.send(REQUEST).content for _ in range(5)]
    status = made.get_rate_limit_status("v")

    assert (["b"] * 5, 2, 0, 48) == (answers, failing.hits, status.in_flight, status.requests_remaining)


def test_a_stream_has_its_place_until_it_ends():
    """Not just until it begins."""
    made = dispatcher(limited(["word "] * 1000))
    stream = made.send_streaming(REQUEST)
    next(iter(stream))
    during = made.get_rate_limit_status("v").in_flight
    stream.response()

    assert (1, True) == (during, free(made))


@pytest.mark.parametrize("end", ["close", "drop", "cancel", "break"])
def test_a_stream_that_is_left_gives_its_place_back(end):
    """Closed, dropped, cancelled, or broken off by the vendor."""
    cancel = Cancellation()
    chunks = (["one ", VendorUnavailable("gone")],) if end == "break" else (["word "] * 5000,)
    made = dispatcher(limited(*chunks))
    stream = made.send_streaming(REQUEST, cancel=cancel)
    chunk = next(iter(stream))
    if end == "close":
        stream.close()
    elif end == "cancel":
        cancel.cancel()
    elif end == "drop":
        del stream, chunk
        gc.collect()

    assert soon(lambda: free(made))


def test_a_streams_place_comes_back_from_a_real_connection():
    """Read by the caller's own thread, and left there in the middle."""
    with VendorSimulator() as simulator:
        made = dispatcher(OpenAIVendor(api_key="k", base_url=simulator.openai_url, rate_limit=ONE))
        request = Request("gpt-4o-mini", "hi")
        whole = made.send_streaming(request).response().content
        for chunk in (left := made.send_streaming(request)):
            assert chunk is not None
            break
        del left
        gc.collect()
        assert soon(lambda: free(made, "openai"))
        again = made.send(request).content
        made.close()

    assert (True, True) == (bool(whole), bool(again))


@pytest.mark.parametrize("streamed", [False, True])
def test_the_loser_of_a_hedged_call_gives_its_place_back(streamed):
    """Also where it answers after all."""
    slow, fast = limited("slow", name="a", latency=0.3), limited("fast", name="b")
    made = dispatcher(slow, fast, hedge=Hedge(after=0.05, share=1.0))
    answer = made.send_streaming(REQUEST).response() if streamed else made.send(REQUEST)
    assert soon(lambda: free(made, "a") and free(made, "b"))

    assert "fast" == answer.content


def test_an_observer_may_ask_the_same_vendor():
    """By the time it hears of a call the place is free again."""
    heard = []

    def observe(outcome):
        if not heard:
            heard.append(outcome)
            heard.append(made.send(REQUEST, timeout=2.0).content)

    made = Dispatcher(Config(timeout=5.0), observers=[observe])
    made.register_vendor(limited("fine"))
    made.send(REQUEST)

    assert "fine" == heard[1]


def test_the_allowed_calls_adapt_to_refusals():
    """As the vendor's 429 tells; seen in the status."""
    made = dispatcher(limited(RateLimitError("429", status=429), "fine", rate_limit=RateLimit(adaptive={"initial": 10})))
    before = made.get_rate_limit_status("v").in_flight_limit
    with pytest.raises(RateLimitError):
        made.send(REQUEST)

    assert (10, 7) == (before, made.get_rate_limit_status("v").in_flight_limit)


def test_ctrl_c_ends_the_wait():
    """And leaves the queue to others."""
    vendor = Gated(ONE, name="v")
    made = dispatcher(vendor)
    first = in_thread(lambda: made.send(REQUEST))
    assert soon(lambda: vendor.busy == 1)
    main = threading.main_thread().ident
    waits = partial(soon, lambda: made.get_rate_limit_status("v").waiting == 1)
    pressing = in_thread(lambda: (waits(), signal.pthread_kill(main, signal.SIGINT)))
    with pytest.raises(KeyboardInterrupt):
        made.send(REQUEST)
    vendor.answer(first, pressing)

    assert (True, 1) == (free(made), vendor.hits)


def test_a_drained_dispatcher_ends_those_that_wait():
    """None of them is left to its deadline."""
    vendor, errors = Gated(ONE, name="v"), []
    made = dispatcher(vendor)

    def ask():
        try:
            made.send(REQUEST)
        except DispatchError as error:
            errors.append(type(error))

    first = in_thread(ask)
    assert soon(lambda: vendor.busy == 1)
    second = in_thread(ask)
    assert soon(lambda: made.get_rate_limit_status("v").waiting == 1)
    made.close()
    second.join(PATIENCE)
    vendor.answer(first)

    assert (Cancelled, False) == (errors[0], second.is_alive())


def test_nothing_of_a_server_is_loaded_where_none_is_configured():
    """Neither the package ``limits`` nor ``redis``, with any other limit."""
    program = """
import sys
from llmdispatcher import Dispatcher, RateLimit, Request
from llmdispatcher.testing import FakeVendor
vendor = FakeVendor("fine")
vendor.kind = "local"  # of a vendor without a price the log would say so
vendor.rate_limit = RateLimit(requests_per_minute=9, tokens_per_minute=900, max_in_flight=2, adaptive=True)
with Dispatcher() as dispatcher:
    dispatcher.register_vendor(vendor)
    dispatcher.send(Request("m", "hi"))
    dispatcher.get_rate_limit_status("fake")
print(sorted({"limits", "redis", "llmdispatcher.resilience.shared_rate_limit"} & set(sys.modules)))
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)

    assert ("[]\n", "") == (told.stdout, told.stderr)
