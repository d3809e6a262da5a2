"""A vendor that says what it is told to, and remembers what it was asked."""

import threading
import traceback

import pytest

from llmdispatcher import (
    Capabilities,
    ConfigError,
    Deadline,
    DeadlineExceeded,
    Dispatcher,
    EmbeddingRequest,
    Embeddings,
    RateLimitError,
    Request,
    Response,
    StreamChunk,
    ToolCall,
    VendorUnavailable,
)
from llmdispatcher.testing import FakeVendor, ManualClock
from llmdispatcher.types import fold

from ..cases import each
from ..threads import in_threads

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

    in_threads(ask, 8)

    assert (400, set(map(str, range(400)))) == (vendor.hits, set(answers))
    assert "FakeVendor(name='fake', hits=400)" == repr(vendor)


def asked_by(vendor):
    """A dispatcher with one vendor."""
    dispatcher = Dispatcher({"retry_policy": {"max_retries": 0}})
    dispatcher.register_vendor(vendor)
    return dispatcher


def test_texts_have_vectors():
    """Equal ones equal vectors, of length 1 and of as many numbers as were asked for."""
    with asked_by(FakeVendor()) as dispatcher:
        made = dispatcher.embed("m", ["a", "b", "a"], dimensions=3)

    assert made.vectors[0] == made.vectors[2] != made.vectors[1]
    assert [3, 3, 3] == [len(vector) for vector in made.vectors]
    assert pytest.approx(1) == sum(number * number for number in made.vectors[0])
    assert ("fake", "m", 3) == (made.vendor, made.model, made.usage.input_tokens)


@each(
    "given",
    [
        [[1.0, 0.0]],
        Embeddings(vectors=((1.0, 0.0),)),
        lambda request: [[1.0, 0.0] for _ in request.texts],
        lambda _request: Embeddings(vectors=((1.0, 0.0),)),
    ],
)
def test_vectors_can_be_given(given):
    """As numbers, as the whole answer, or by a function of the request."""
    with asked_by(FakeVendor(vectors=given)) as dispatcher:
        assert ((1.0, 0.0),) == dispatcher.embed("m", "a").vectors


def test_its_models_and_tokens_are_told():
    """Those that its capabilities name, and those that its answers count; or what a test gives."""
    with asked_by(FakeVendor(capabilities=Capabilities(models=("m-1", "n-*")))) as dispatcher:
        assert ("m-1",) == dispatcher.list_models("fake")
        assert (3, "vendor") == ((count := dispatcher.count_tokens(Request("m-1", "Hello there"))).tokens, count.source)
        assert 3 == dispatcher.send(Request("m-1", "Hello there")).usage.input_tokens
    with asked_by(FakeVendor(models=["a", "b"], tokens=lambda request: len(request.messages))) as dispatcher:
        assert ("a", "b") == dispatcher.list_models("fake")
        assert 1 == dispatcher.count_tokens(REQUEST).tokens


@each(
    "settings, ask",
    [
        ({"vectors": VendorUnavailable("down")}, lambda dispatcher: dispatcher.embed("m", "a")),
        ({"models": VendorUnavailable("down")}, lambda dispatcher: dispatcher.list_models("fake")),
        ({"tokens": VendorUnavailable("down")}, lambda dispatcher: dispatcher.count_tokens(REQUEST)),
    ],
)
def test_they_can_fail(settings, ask):
    """Again and again."""
    with asked_by(FakeVendor(**settings)) as dispatcher:
        for _ in range(2):
            with pytest.raises(VendorUnavailable, match="down"):
                ask(dispatcher)


def test_the_record_is_bounded():
    """By the setting; all requests are counted."""
    vendor = FakeVendor(keep=3)
    for number in range(5):
        vendor.send(Request("m", str(number)), Deadline.after(9))
    vendor.embed(EmbeddingRequest("m", ["x"]), Deadline.after(9))

    assert (6, ["3", "4"], ("x",)) == (vendor.hits, [one.messages[0].text for one in vendor.seen[:2]], vendor.seen[2].texts)
    silent = FakeVendor(keep=0)
    sent(silent)
    assert (1, []) == (silent.hits, silent.seen)
    for wrong in (-1, 1.5, True, None):
        with pytest.raises(ConfigError, match="keep: "):
            FakeVendor(keep=wrong)


def test_a_text_is_given_as_often_as_is_asked_for():
    """Whole and streamed, and its tokens count so often."""
    request, one = Request("m", "hi", n=3), FakeVendor("four")
    for answer in (one.send(request, Deadline.after(30)), fold(one.stream(request, Deadline.after(30)))):
        assert [(0, "four", "stop"), (1, "four", "stop"), (2, "four", "stop")] == [
            (choice.index, choice.content, choice.finish_reason) for choice in answer.choices
        ]
        assert 3 == answer.usage.output_tokens
