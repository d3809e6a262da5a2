"""How a stream that goes on elsewhere ends, and what it respects: time, the reader, limits, cost, guards, hedges, the cache."""

import threading

import pytest

from llmdispatcher import (
    Cancelled,
    Config,
    CostOptimization,
    Dispatcher,
    DispatchError,
    Hedge,
    PatternGuard,
    RateLimit,
    Request,
    ResponseCache,
    VendorUnavailable,
)
from llmdispatcher.testing import FakeVendor, faults

from ..conftest import PATIENCE, SLACK
from ..matrix.conftest import PROMPT, settled, workers
from ..matrix.insides import disagreements, residue
from .broken_streams import REST, SAID, TEXT, WORDS, Stage


def test_the_deadline_holds():
    """It is one for all; the error has the break for a cause."""
    with Stage("openai", "anthropic") as stage:
        stage.simulators[0].script(faults.cut_after(WORDS))
        stage.simulators[1].always(faults.trickle(5.0))
        text, _, error = stage.read(timeout=1.2)

        assert ("DeadlineExceeded", "StreamInterrupted") == (type(error).__name__, type(error.__cause__).__name__)
        assert text.startswith(SAID)
        assert 1.2 <= stage.outcomes[0].latency < SLACK
    assert (0, 0) == settled(stage.base, threads=workers)


def read(stream, until):
    """Read a stream, and close it when it has said a word."""
    said = ""
    for chunk in stream:
        said += chunk.content
        if until in said:
            stream.close()


@pytest.mark.parametrize("words", [0, 2], ids=["while it opens", "while it speaks"])
def test_closing_meanwhile(words):
    """The reader who goes away stops the second vendor as well."""
    with Stage("openai", "anthropic") as stage:
        stage.simulators[0].script(faults.cut_after(WORDS))
        stage.simulators[1].always(faults.stall_after(words) if words else faults.silent())
        stream = stage.dispatcher.send_streaming(Request("any", PROMPT))
        closer = threading.Thread(target=lambda: stage.simulators[1].await_hits(1, PATIENCE) and not words and stream.close())
        closer.start()
        with pytest.raises(Cancelled, match="closed by its reader"):
            read(stream, until="seven")
        closer.join()

        assert ([], 1) == (residue(stage.dispatcher), len(stage.outcomes))
        assert ["StreamInterrupted", "Cancelled"] == [record.error for record in stage.outcomes[0].attempts]
    assert (0, 0) == settled(stage.base, threads=workers)


def test_an_interruption_while_the_second_opens():
    """Ctrl-C in the reader's thread ends the call, once, and gives back what was taken."""

    class Interrupting(FakeVendor):
        def stream(self, request, deadline):
            raise KeyboardInterrupt

    broken = FakeVendor(["one", " two", VendorUnavailable("cut")], name="a")
    outcomes = []
    dispatcher = Dispatcher(Config(continuation=True), observers=[outcomes.append])
    dispatcher.register_vendor(broken)
    dispatcher.register_vendor(Interrupting(name="b"))
    with pytest.raises(DispatchError):
        dispatcher.send_streaming(Request("m", "hi")).response()

    assert (0, 1) == (len(dispatcher._in_flight._calls), len(outcomes))
    assert ["a", "b"] == [record.vendor for record in outcomes[0].attempts]


def test_vendors_of_ones_own_go_on_too():
    """They are told to go on, and stay in the thread that asked them."""
    second = FakeVendor([" two three"], name="b")
    dispatcher = Dispatcher(Config(continuation=True))
    dispatcher.register_vendor(FakeVendor(["one two", VendorUnavailable("cut")], name="a"))
    dispatcher.register_vendor(second)

    assert "one two three" == dispatcher.send_streaming(Request("m", "hi")).response().content
    assert ["user", "assistant", "user"] == [turn.role for turn in second.seen[0].messages]


def test_it_goes_on_after_a_hedge():
    """Whichever way has won may be gone on from, and both ways are in the trace."""
    with Stage("openai", "anthropic", "google", hedge=Hedge(after=0.05, share=1.0)) as stage:
        stage.simulators[0].script(faults.silent())
        stage.simulators[1].responses = TEXT
        stage.simulators[1].script(faults.cut_after(WORDS))
        text, response, error = stage.read()

        assert (TEXT, None, "v2") == (text, error, response.vendor)
        assert [("v0", True), ("v1", True), ("v2", False)] == sorted(
            (record.vendor, record.error is not None) for record in stage.outcomes[0].attempts
        )
    assert (0, 0) == settled(stage.base, threads=workers)


def test_all_who_read_one_stream_read_on():
    """Where a cache lets many read the same stream it goes on for all of them, and is asked for once."""
    with Stage("openai", "anthropic", cache=ResponseCache()) as stage:
        stage.simulators[0].script(faults.cut_after(WORDS))
        joined = threading.Event()
        stage.simulators[1].responses = lambda _body: REST if joined.wait(PATIENCE) else ""
        request = Request("any", PROMPT)
        first = stage.dispatcher.send_streaming(request)
        assert stage.simulators[1].await_hits(1, PATIENCE)
        second = stage.dispatcher.send_streaming(request)
        assert SAID.startswith(next(iter(second)).content)
        joined.set()

        assert [TEXT, TEXT] == [first.response().content, second.response().content]
        assert (1, 1) == tuple(simulator.hits for simulator in stage.simulators)
    assert (0, 0) == settled(stage.base, threads=workers)


def test_limits_and_budgets_agree():
    """Each attempt has its place in the limits and its line in the budget, and nothing is held afterwards."""
    with Stage("openai", "anthropic") as stage:
        for name in ("v0", "v1"):
            stage.dispatcher._attempt_loop.limits.set(
                name, RateLimit(requests_per_minute=10, tokens_per_minute=100_000, max_in_flight=2)
            )
        stage.simulators[0].script(faults.cut_after(WORDS))
        stage.read()

        assert [] == disagreements(stage.dispatcher, stage.outcomes)


def test_a_vendor_without_a_place_is_not_asked():
    """The limits of the other hold; the break is heard at once."""
    with Stage("openai", "anthropic") as stage:
        stage.dispatcher._attempt_loop.limits.set("v1", RateLimit(requests_per_minute=1))
        stage.dispatcher.send_to_vendor("v1", Request("any", "hello"))
        stage.outcomes.clear()
        stage.simulators[0].script(faults.cut_after(WORDS))
        _, _, error = stage.read(timeout=30.0)

        assert ("StreamInterrupted", 1) == (type(error).__name__, stage.simulators[1].hits)


def test_the_cap_on_the_cost_of_a_call_holds():
    """What was spent counts: who would make the call too dear is not asked."""
    for dollars, hits in (("0.0031", 1), ("0.00304", 0)):
        cost = CostOptimization(prefer_cheap=False, max_cost=dollars)
        with Stage("openai", "anthropic", cost_optimization=cost) as stage:
            stage.simulators[0].script(faults.cut_after(WORDS))
            stage.read()

            assert hits == stage.simulators[1].hits


def test_guards_see_what_is_sent_on():
    """A guard that refuses the text so far keeps it from the other vendor."""
    guard = PatternGuard(pattern="three", where="request")
    with Stage("openai", "anthropic", guards=[guard]) as stage:
        stage.simulators[0].script(faults.cut_after(WORDS))
        _, _, error = stage.read()

        assert ("StreamInterrupted", 0) == (type(error).__name__, stage.simulators[1].hits)


def test_an_answer_of_two_is_not_remembered():
    """No model would have given it; the next one who asks the same gets one of his own."""
    with Stage("openai", "anthropic", cache=ResponseCache()) as stage:
        stage.simulators[0].script(faults.cut_after(WORDS))
        text, response, _ = stage.read()

        assert (TEXT, False, 0) == (text, response.cached, stage.dispatcher.cache.stats().stores)
