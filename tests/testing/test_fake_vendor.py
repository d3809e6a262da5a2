"""A vendor that says what it is told to, and remembers what it was asked."""

import threading
import traceback

import pytest

from llmdispatcher import (
    Capabilities,
    Deadline,
    DeadlineExceeded,
    RateLimitError,
    Request,
    Response,
    StreamChunk,
    ToolCall,
    VendorUnavailable,
)
from llmdispatcher.testing import FakeVendor, ManualClock
from llmdispatcher.types import fold

REQUEST = Request("model-1", "Hello there")


def sent(vendor):
    return vendor.send(REQUEST, Deadline.after(30))


def streamed(vendor):
    return list(vendor.stream(REQUEST, Deadline.after(30)))


def test_it_fulfils_the_protocol():
    """Five members, no base class."""
    vendor = FakeVendor(name="mine", capabilities=Capabilities(models=("m",)), available=False)

    assert ("mine", ("m",), False) == (vendor.name, vendor.capabilities.models, vendor.is_available())


def test_a_string_becomes_a_whole_answer():
    """With model, vendor, usage and finish reason."""
    answer = sent(FakeVendor("four words are here"))

    assert ("four words are here", "model-1", "fake", "stop", 3, 5) == (
        answer.content,
        answer.model,
        answer.vendor,
        answer.finish_reason,
        answer.usage.input_tokens,
        answer.usage.output_tokens,
    )


def test_the_last_answer_is_repeated():
    """A script that has run out goes on with its last word."""
    vendor = FakeVendor("a", "b")

    assert ["a", "b", "b"] == [sent(vendor).content for _ in range(3)]


def test_answers_can_go_in_circles():
    """``cycle`` starts again."""
    vendor = FakeVendor("a", "b", cycle=True)

    assert ["a", "b", "a"] == [sent(vendor).content for _ in range(3)]


def test_an_exception_is_raised():
    """In its turn, by both verbs."""
    vendor = FakeVendor(RateLimitError("slow down"))

    for ask in (sent, streamed):
        with pytest.raises(RateLimitError):
            ask(vendor)


def depth(error):
    """How many frames its traceback has."""
    return sum(1 for _ in traceback.walk_tb(error.__traceback__))


def gone(_request):
    """The same error each time."""
    return GONE


GONE = VendorUnavailable("gone", status=503)


class Odd(Exception):
    """One that cannot be made of its own arguments."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


@pytest.mark.parametrize(
    "answer", [VendorUnavailable("down"), ValueError("no"), Odd(1, 2), gone, ["a", RateLimitError("slow down")]]
)
@pytest.mark.parametrize("ask", [sent, streamed])
def test_an_error_that_is_raised_again_and_again_does_not_grow(answer, ask):
    """Its traceback would hold the frames of every call before, and what those hold."""
    vendor, depths = FakeVendor(answer), []
    for _ in range(5):
        with pytest.raises(Exception, match=r"down|no|1 and 2|gone") as caught:
            ask(vendor)
        depths.append(depth(caught.value))

    assert depths[:1] * 5 == depths


def test_what_is_found_out_about_an_error_is_not_told_of_the_next():
    """Facts of one call, such as the vendor, are no facts of the error in the script."""
    error = VendorUnavailable("down")
    vendor = FakeVendor(error)
    with pytest.raises(VendorUnavailable) as caught:
        sent(vendor)
    caught.value.with_facts(vendor="a").add_note("seen")

    assert (None, False) == (error.vendor, hasattr(error, "__notes__"))


def test_a_callable_sees_the_request():
    """And what it returns is an answer like any other."""
    vendor = FakeVendor(lambda request: f"you said {request.messages[0].text}")

    assert ["you said Hello there"] * 2 == [sent(vendor).content, fold(streamed(vendor)).content]


def test_a_response_keeps_its_own_facts():
    """Only what it leaves open is filled in."""
    answer = sent(FakeVendor(Response(content="x", model="special")))

    assert ("special", "fake") == (answer.model, answer.vendor)


def test_a_response_streams_into_itself():
    """Text, reasoning, tool calls, finish and usage survive the cut into chunks."""
    whole = Response(
        content="a b c",
        model="model-1",
        reasoning="hm",
        tool_calls=(ToolCall(name="f", arguments="{}", id="1"),),
        finish_reason="stop",
    )

    assert whole == fold(streamed(FakeVendor(whole)))


def test_chunks_come_out_until_the_exception():
    """A list that ends in an exception delivers what stands before it."""
    vendor = FakeVendor(["a", StreamChunk(content="b"), VendorUnavailable("gone")])
    seen = []

    with pytest.raises(VendorUnavailable):
        seen.extend(chunk.content for chunk in vendor.stream(REQUEST, Deadline.after(30)))
    stream = vendor.stream(REQUEST, Deadline.after(30))

    assert ["a", "b"] == [next(stream).content, next(stream).content]


def test_chunks_make_a_whole_answer_too():
    """The same list answers a plain call."""
    assert "ab" == sent(FakeVendor(["a", "b"])).content


def test_latency_passes_on_the_deadlines_clock():
    """A manual clock makes a slow vendor free."""
    clock = ManualClock()
    FakeVendor(latency=30).send(REQUEST, Deadline.after(60, clock=clock))

    assert [30] == clock.sleeps


def test_latency_can_exceed_the_deadline():
    """Then the call ends as a real one would."""
    with pytest.raises(DeadlineExceeded):
        FakeVendor(latency=90).send(REQUEST, Deadline.after(60, clock=ManualClock()))


def test_a_new_script_begins_at_once():
    """What was left of the old one is forgotten; nothing is the default answer."""
    vendor = FakeVendor("a", "b")
    vendor.script("c")
    first = sent(vendor).content
    vendor.script()

    assert ("c", "This is a fake vendor speaking.") == (first, sent(vendor).content)


def test_requests_are_counted_exactly():
    """From many threads, each answer is given once."""
    vendor = FakeVendor(*map(str, range(400)))
    barrier, answers = threading.Barrier(8), []

    def ask():
        barrier.wait()
        answers.extend([sent(vendor).content for _ in range(50)])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (400, set(map(str, range(400)))) == (vendor.hits, set(answers))
    assert "FakeVendor(name='fake', hits=400)" == repr(vendor)
