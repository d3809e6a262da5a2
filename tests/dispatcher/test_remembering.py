"""A dispatcher with a cache: what was asked once is not asked again, and every call still has its outcome."""

import threading
from decimal import Decimal

import pytest

from llmdispatcher import Config, Dispatcher, OpenAIVendor, Request, Response, ResponseCache, Usage, VendorUnavailable
from llmdispatcher.testing import FakeVendor, ManualClock, VendorSimulator

from ..threads import in_threads

ASK = Request("m", "Why?")


def dispatcher(*answers, clock=None, outcomes=None, **cache):
    settings = {"clock": clock} if clock is not None else {}
    made = Dispatcher(Config(cache=ResponseCache(**cache)), observers=[outcomes.append] if outcomes is not None else [], **settings)
    vendor = FakeVendor(*answers)
    made.register_vendor(vendor)
    return made, vendor


def test_the_same_question_is_asked_once():
    """The second answer is marked, costs nothing, and has an outcome of its own."""
    outcomes = []
    answer = Response(content="Because.", finish_reason="stop", usage=Usage(input_tokens=3, output_tokens=2, cost=Decimal("0.5")))
    made, vendor = dispatcher(answer, outcomes=outcomes)
    with made:
        first, second = made.send(ASK), made.send(ASK)
        stats = made.get_stats()

    assert (["Because.", "Because."], 1) == ([first.content, second.content], vendor.hits)
    assert [(False, Decimal("0.5")), (True, Decimal(0))] == [(each.cached, each.usage.cost) for each in (first, second)]
    assert [False, True] == [outcome.cached for outcome in outcomes]
    assert (2, 2, 1, Decimal("0.5")) == (stats.total_requests, stats.successful_requests, stats.cache_hits, stats.total_cost)


def test_streams_and_calls_share_answers():
    """A stream that ended is the answer of a call, and a call's that of a stream."""
    made, vendor = dispatcher("one two three")
    with made:
        with made.send_streaming(ASK) as stream:
            streamed = "".join(chunk.content for chunk in stream)
        plain = made.send(ASK)
        with made.send_streaming(ASK) as stream:
            replayed = "".join(chunk.content for chunk in stream)
            again = stream.response()

    assert (["one two three"] * 3, 1) == ([streamed, plain.content, replayed], vendor.hits)
    assert (True, True) == (plain.cached, again.cached)


def test_a_failure_is_not_remembered():
    """Only an answer is."""
    made, vendor = dispatcher(VendorUnavailable("down", retry_here=False), "up again")
    with made:
        with pytest.raises(VendorUnavailable):
            made.send(ASK)
        assert "up again" == made.send(ASK).content

    assert 2 == vendor.hits


def test_a_request_may_say_no_and_time_runs_out():
    """``cache=False`` asks, and so does a call after the answer's time."""
    clock = ManualClock()
    made, vendor = dispatcher("fine", clock=clock, ttl=60)
    with made:
        made.send(ASK)
        made.send(Request("m", "Why?", cache=False))
        clock.advance(61)
        made.send(ASK)

    assert 3 == vendor.hits


def test_many_that_ask_the_same_at_once_ask_once():
    """Thirty threads, one call to the vendor, thirty answers and outcomes."""
    outcomes, barrier, answers = [], threading.Barrier(30), []
    with VendorSimulator(responses="hello", latency=0.2) as simulator:
        made = Dispatcher(Config(cache=ResponseCache()), observers=[outcomes.append])
        made.register_vendor(OpenAIVendor(api_key="sk-cache-0123456789", base_url=simulator.openai_url, trust_env=False))

        def ask():
            barrier.wait()
            answers.append(made.send(Request("gpt-4o", "same")).content)

        in_threads(ask, 30)
        made.close()

    assert (["hello"] * 30, 1, 30) == (answers, simulator.hits, len(outcomes))


def test_structured_answers_are_parsed_anew():
    """What is remembered is the text; what it stands for is made for each caller."""
    made, vendor = dispatcher('{"a": 1}')
    request = Request("m", "JSON", response_format={"type": "json_object"})
    with made:
        first, second = made.send(request), made.send(request)
        with made.send_streaming(request) as stream:
            third = stream.response()

    assert ([{"a": 1}] * 3, 1) == ([each.parsed for each in (first, second, third)], vendor.hits)
    assert first.parsed is not second.parsed


def test_the_cache_is_at_hand():
    """To be cleared, and to tell how often it served."""
    made, vendor = dispatcher("fine")
    with made:
        made.send(ASK)
        made.send(ASK)
        stats = made.cache.stats()
        made.cache.clear()
        made.send(ASK)

    assert (1, 1, 2) == (stats.hits, stats.stores, vendor.hits)


def test_without_one_nothing_is_remembered():
    """A cache is asked for, not given."""
    made = Dispatcher()
    vendor = FakeVendor("fine")
    made.register_vendor(vendor)
    made.send(ASK)
    made.send(ASK)

    assert (None, 2) == (made.cache, vendor.hits)
