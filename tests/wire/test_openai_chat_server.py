"""OpenAI's chat format as a vendor speaks it: answers, streams and refusals written, and understood by our own client."""

import json
from functools import partial

import attrs
import pytest

from llmdispatcher import (
    AuthenticationError,
    Choice,
    Citation,
    ContentFiltered,
    ContextWindowExceeded,
    ImagePart,
    InvalidRequest,
    ModelNotFound,
    OtherPart,
    QuotaExceeded,
    RateLimitError,
    ReasoningPart,
    Request,
    Response,
    StreamChunk,
    TextPart,
    ToolCall,
    ToolCallDelta,
    Usage,
    VendorUnavailable,
)
from llmdispatcher.types import fold, unfold
from llmdispatcher.wire import OPENAI_CHAT, Inbound, fault
from llmdispatcher.wire.encoding import telling_dropped
from llmdispatcher.wire.openai_chat.fields import openai_tier

from .corpus import body_of, decode_stream, exchanges, needs_corpus, plainly, streamed

NAME = "openai_chat"


def written(response):
    """A whole answer as JSON."""
    return json.loads(OPENAI_CHAT.write_response(response))


def events(chunks, asked=None):
    """The events of a stream, without their frames; the end marker is checked."""
    writer = OPENAI_CHAT.writer(asked)
    body = b"".join([writer.write(chunk) for chunk in chunks]) + writer.end()
    *frames, last = body.decode().removesuffix("\n\n").split("\n\n")
    assert last == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


def through(chunks):
    """What a client of ours reads of a stream that our server wrote."""
    writer = OPENAI_CHAT.writer()
    answer, error = decode_stream(OPENAI_CHAT, [*[writer.write(chunk) for chunk in chunks], writer.end()])
    assert error is None, error
    return answer


def answers():
    """Every recorded answer, with its chunks."""
    listed = [exchange for group, found in exchanges().items() if group[0] == "chat_completions" for exchange in found]
    for exchange in listed:
        if exchange["response"]["status"] != 200 or "error" in exchange["expect"]:
            continue
        if streamed(exchange):
            decoder = OPENAI_CHAT.decoder()
            chunks = decoder.feed(body_of(exchange))
            chunks += [] if decoder.done else decoder.finish()
        else:
            chunks = list(unfold(OPENAI_CHAT.decode(body_of(exchange))))
        yield exchange["id"], chunks


def completed(response):
    """The answer with what the format wants and some vendors leave out; the end and the service tier in the format's own words.

    Null, which no schema of OpenAI's allows in a usage, is left out of it.
    """
    ended = response.finish_reason or ("tool_calls" if response.tool_calls else "stop")
    name, tier = response.response_id or "chatcmpl-0", openai_tier(response.service_tier)
    return attrs.evolve(plainly(response), finish_reason=ended, finish_reason_raw=None, response_id=name, service_tier=tier)


def in_order(response):
    """Thoughts, text and calls apart: the message of a whole answer has no place for their order."""
    fields = [dict(part.extra[NAME]) for part in response.reasoning_parts]
    others = tuple([part for part in response.parts if not isinstance(part, ReasoningPart | TextPart | ToolCall)])
    texts = "".join([part.text for part in response.reasoning_parts])
    details = [detail for own in fields for detail in own.get("reasoning_details", ())]
    return attrs.evolve(completed(response), parts=others), texts, details


@needs_corpus
def test_a_recorded_answer_is_written_as_it_was_read(capsys):
    """In one piece, every value of it."""
    read = [(name, fold(chunks)) for name, chunks in answers()]
    again = [OPENAI_CHAT.decode(OPENAI_CHAT.write_response(answer)) for _, answer in read]
    wrong = [name for (name, answer), other in zip(read, again, strict=True) if in_order(answer) != in_order(other)]
    exact = sum(answer == other for (_, answer), other in zip(read, again, strict=True))
    with capsys.disabled():
        print(f"\nopenai_chat: {len(read) - len(wrong)} of {len(read)} answers, {exact} of them with every spelling")

    assert [] == wrong


@needs_corpus
def test_a_recorded_stream_is_written_as_it_was_read(capsys):
    """Chunk by chunk; how its thoughts were spelt is known too late."""
    wrong = [name for name, chunks in answers() if in_order(fold(chunks)) != in_order(through(chunks))]
    with capsys.disabled():
        print(f"\nopenai_chat: all but {len(wrong)} streams")

    assert [] == wrong


THOUGHT = ReasoningPart(
    text="t", origin=NAME, extra={NAME: {"reasoning": "t", "reasoning_details": [{"type": "reasoning.text", "text": "t"}]}}
)
BLOCK = ReasoningPart(text="t", origin=NAME, extra={NAME: {"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}})
REFERENCE = OtherPart(origin=NAME, data={"type": "reference", "reference_ids": [1]})
PROVEN = ToolCall(id="d", name="f", arguments="{}", extra={NAME: {"extra_content": {"x": 1}}})
SOURCE = {"url": "https://x.example", "title": "x"}
FOREIGN_THOUGHT = ReasoningPart(text="t", signature="s", origin="anthropic_messages")
CALL = ToolCall(id="c", name="f", arguments='{"a": 1}')
USAGE = Usage(input_tokens=9, output_tokens=5, cache_read_tokens=3, cache_write_tokens=2, reasoning_tokens=1)


@pytest.mark.parametrize(
    "answer",
    [
        Response(content="Hi"),
        Response(content="Hi", reasoning="t", parts=(THOUGHT, TextPart(text="Hi"))),
        Response(tool_calls=(CALL, PROVEN), finish_reason="tool_calls"),
        Response(tool_calls=(ToolCall(id="c", name="f", arguments="4 + 4", kind="custom"),), finish_reason="tool_calls"),
        Response(tool_calls=(ToolCall(name="f", arguments="{}", extra={NAME: {"as": "legacy"}}),), finish_reason="tool_calls"),
        Response(refusal="no"),
        Response(content="Hi", logprobs=({"token": "Hi", "logprob": -0.5, "bytes": None, "top_logprobs": []},)),
        Response(content="Hi", service_tier="flex"),
        Response(content="a", other_choices=(Choice(index=1, content="b", finish_reason="length", finish_reason_raw="length"),)),
        Response(parts=(ImagePart(data=b"abc", media_type="image/png"),)),
        Response(content="Hi", citations=(Citation(url="https://x.example", title="x", raw=SOURCE),)),
    ],
    ids=range(11),
)
def test_an_answer_is_read_as_it_was_written(answer):
    """Whole; and as a stream, but for how its thoughts were spelt."""
    answer = attrs.evolve(answer, model="m", response_id="r", finish_reason=answer.finish_reason or "stop")
    answer = attrs.evolve(answer, finish_reason_raw=answer.finish_reason)
    again = OPENAI_CHAT.decode(OPENAI_CHAT.write_response(answer))
    passed = through(unfold(answer))

    assert answer == attrs.evolve(again, usage=Usage())
    assert (answer.content, answer.reasoning, answer.tool_calls, answer.refusal, answer.other_choices, answer.citations) == (
        passed.content,
        passed.reasoning,
        passed.tool_calls,
        passed.refusal,
        passed.other_choices,
        passed.citations,
    )


def test_a_thought_among_the_content_is_told_beside_it():
    """Content is text in OpenAI's schema, so clients do not look for blocks in it."""
    answer = Response(content="Hi", reasoning="t", parts=(BLOCK, TextPart(text="Hi")))

    assert {"content": "Hi", "reasoning_content": "t"}.items() <= written(answer)["choices"][0]["message"].items()


def test_a_part_that_is_no_text_is_left_out_and_told():
    """For the same reason; whole and streamed."""
    answer = Response(content="Hi", parts=(TextPart(text="Hi"), REFERENCE))

    for write in (OPENAI_CHAT.write_response, lambda said: b"".join(map(OPENAI_CHAT.writer().write, unfold(said)))):
        body, dropped = telling_dropped(partial(write, answer))
        assert (b"reference" in body, dropped) == (False, ("answer: 'reference'",))


FOREIGN = Response(
    content="Hi",
    model="claude",
    reasoning="t",
    parts=(
        ReasoningPart(text="t", signature="s", origin="anthropic_messages"),
        TextPart(text="Hi"),
        ToolCall(name="f", arguments="{}"),
    ),
    tool_calls=(ToolCall(name="f", arguments="{}"),),
    finish_reason="tool_calls",
    finish_reason_raw="tool_use",
    usage=USAGE,
    citations=(Citation(url="https://x.example", title="x", start=0, end=2, raw={"type": "web", "url": "https://x.example"}),),
)


def test_an_answer_of_another_format_is_whole(numbered_ids):
    """Ids are made up, the end is in a word of this format, thoughts are where most servers have them."""
    document = written(FOREIGN)
    [choice] = document["choices"]

    assert ("chatcmpl-0", "chat.completion", "claude") == (document["id"], document["object"], document["model"])
    assert {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "reasoning_content": "t",
        "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        "annotations": [
            {"type": "url_citation", "url_citation": {"url": "https://x.example", "title": "x", "start_index": 0, "end_index": 2}}
        ],
    } == choice["message"]
    assert "tool_calls" == choice["finish_reason"]


def test_a_stream_has_the_events_that_clients_wait_for():
    """The role first, then what is said, why it ended, and what it used."""
    chunks = [
        StreamChunk(model="m", response_id="r"),
        StreamChunk(reasoning="t"),
        StreamChunk(content="Hi"),
        StreamChunk(tool_calls=(ToolCallDelta(index=0, id="c", name="f"),)),
        StreamChunk(tool_calls=(ToolCallDelta(index=0, arguments="{}"),)),
        StreamChunk(finish_reason="tool_calls", finish_reason_raw="tool_use", usage=USAGE),
    ]
    told = events(chunks)

    assert {("r", "chat.completion.chunk", "m")} == {(event["id"], event["object"], event["model"]) for event in told}
    assert [
        ({"role": "assistant", "content": ""}, None),
        ({"reasoning_content": "t"}, None),
        ({"content": "Hi"}, None),
        ({"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]}, None),
        ({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}, None),
        ({}, "tool_calls"),
    ] == [(choice["delta"], choice["finish_reason"]) for event in told for choice in event["choices"]]
    assert ([], 14) == (told[-1]["choices"], told[-1]["usage"]["total_tokens"])


def test_usage_is_told_only_if_asked_for():
    """As the client said in its request."""
    asked = Inbound(request=Request("m", "Hi"), stream=True, stream_usage=False)

    assert not [event for event in events([StreamChunk(content="Hi", usage=USAGE)], asked) if "usage" in event]


def test_a_stream_that_says_nothing_ends_well():
    """With a role and a reason."""
    assert [({"role": "assistant", "content": ""}, None), ({}, "stop")] == [
        (event["choices"][0]["delta"], event["choices"][0]["finish_reason"]) for event in events([])
    ]


@pytest.mark.parametrize(
    ("reason", "raw", "expected"),
    [
        ("stop", "end_turn", "stop"),
        ("stop", "stop", "stop"),
        ("tool_calls", "stop", "tool_calls"),
        ("tool_calls", "function_call", "function_call"),
        ("length", "MAX_TOKENS", "length"),
        ("content_filter", "SAFETY", "content_filter"),
        (None, None, "stop"),
    ],
)
def test_the_end_is_told_in_a_word_of_this_format(reason, raw, expected):
    """Clients count on it: calls are never a plain end."""
    assert expected == written(Response(finish_reason=reason, finish_reason_raw=raw))["choices"][0]["finish_reason"]


@pytest.mark.parametrize(
    "usage",
    [USAGE, Usage(input_tokens=9, output_tokens=5, cache_write_tokens=4, cache_write_long_tokens=3, audio_output_tokens=1)],
)
def test_usage_counts_the_same_when_it_is_read_again(usage):
    """Whoever told it first."""
    again = OPENAI_CHAT.decode(OPENAI_CHAT.write_response(Response(content="Hi", usage=usage))).usage

    assert usage == attrs.evolve(again, raw={})


def test_no_usage_stays_none():
    """Nothing is made up of it."""
    assert "usage" not in written(Response(content="Hi", usage=Usage()))


ERRORS = [
    InvalidRequest("bad", status=400),
    InvalidRequest("large", status=413),
    AuthenticationError("key"),
    QuotaExceeded("spent"),
    RateLimitError("slow", status=429),
    ModelNotFound("model"),
    ContextWindowExceeded("long"),
    ContentFiltered("no"),
    VendorUnavailable("down", status=503),
    VendorUnavailable("down", status=529),
]


@pytest.mark.parametrize("error", ERRORS, ids=range(len(ERRORS)))
def test_a_refusal_reads_back_as_the_same(error):
    """Class, status and message; as a refusal, and in the middle of a stream."""
    status, body = OPENAI_CHAT.write_error(error)
    again = fault(status, {}, body)
    writer = OPENAI_CHAT.writer()
    _, broken = decode_stream(OPENAI_CHAT, [writer.write(StreamChunk(content="Hi")), writer.fail(error)])

    assert {"message", "type", "param", "code"} == json.loads(body)["error"].keys()
    assert (type(error), error.message, error.status or status) == (type(again), again.message, again.status)
    assert (type(error), error.message, status) == (type(broken), broken.message, broken.status)
