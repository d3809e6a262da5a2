"""OpenAI's chat format as a vendor speaks it: answers, streams and refusals written, and understood by our own client."""

import json
from functools import partial

import attrs

from llmdispatcher import (
    Choice,
    Citation,
    ImagePart,
    OtherPart,
    ReasoningPart,
    Request,
    Response,
    StreamChunk,
    TextPart,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from llmdispatcher.types import unfold
from llmdispatcher.wire import OPENAI_CHAT, Inbound
from llmdispatcher.wire.encoding import telling_dropped

from ..cases import each
from .corpus import through

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


THOUGHT = ReasoningPart(
    text="t", origin=NAME, extra={NAME: {"reasoning": "t", "reasoning_details": [{"type": "reasoning.text", "text": "t"}]}}
)
BLOCK = ReasoningPart(text="t", origin=NAME, extra={NAME: {"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}})
PROVEN = ToolCall(id="d", name="f", arguments="{}", extra={NAME: {"extra_content": {"x": 1}}})
SOURCE = {"url": "https://x.example", "title": "x"}
CALL = ToolCall(id="c", name="f", arguments='{"a": 1}')
USAGE = Usage(input_tokens=9, output_tokens=5, cache_read_tokens=3, cache_write_tokens=2, reasoning_tokens=1)


@each(
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
)
def test_an_answer_is_read_as_it_was_written(answer):
    """Whole; and as a stream, but for how its thoughts were spelt."""
    answer = attrs.evolve(answer, model="m", response_id="r", finish_reason=answer.finish_reason or "stop")
    answer = attrs.evolve(answer, finish_reason_raw=answer.finish_reason)
    again = OPENAI_CHAT.decode(OPENAI_CHAT.write_response(answer))
    passed = through(OPENAI_CHAT, unfold(answer))

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
    reference = OtherPart(origin=NAME, data={"type": "reference", "reference_ids": [1]})
    answer = Response(content="Hi", parts=(TextPart(text="Hi"), reference))

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


@each(
    "reason, raw, expected",
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
    calls = (CALL,) if reason == "tool_calls" else ()
    assert (
        expected == written(Response(tool_calls=calls, finish_reason=reason, finish_reason_raw=raw))["choices"][0]["finish_reason"]
    )


@each(
    "usage", [USAGE, Usage(input_tokens=9, output_tokens=5, cache_write_tokens=4, cache_write_long_tokens=3, audio_output_tokens=1)]
)
def test_usage_counts_the_same_when_it_is_read_again(usage):
    """Whoever told it first."""
    again = OPENAI_CHAT.decode(OPENAI_CHAT.write_response(Response(content="Hi", usage=usage))).usage

    assert usage == attrs.evolve(again, raw={})


def test_no_usage_stays_none():
    """Nothing is made up of it."""
    assert "usage" not in written(Response(content="Hi", usage=Usage()))
