"""Ollama's chat as a server speaks it: requests read, answers, streams and refusals written."""

import base64
import json

import pytest

from llmdispatcher import (
    ImagePart,
    InvalidRequest,
    Message,
    ReasoningPart,
    Request,
    Response,
    StreamChunk,
    TextPart,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
    VendorTool,
)
from llmdispatcher.wire import OLLAMA_CHAT, Inbound

from ..cases import each

PIXEL = b"\x89PNG\r\n\x1a\n"
ENCODED = base64.b64encode(PIXEL).decode()


def read(**fields):
    """A request as it arrives, with what every one has."""
    said = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return OLLAMA_CHAT.read_request(json.dumps(said).encode(), "/api/chat")


def sent(request, stream=False, quirks=frozenset()):
    """What is sent for a request."""
    return json.loads(OLLAMA_CHAT.encode(request, stream=stream, quirks=quirks))


def documents(chunks, asked=None):
    """The lines of a stream."""
    writer = OLLAMA_CHAT.writer(asked)
    body = b"".join([writer.write(chunk) for chunk in chunks]) + writer.end()
    assert body.endswith(b"}\n")
    return [json.loads(line) for line in body.decode().splitlines()]


def test_a_request_with_everything_is_read():
    """Each field has its place, whatever the format that the request goes on in."""
    inbound = read(
        stream=False,
        think="high",
        format={"type": "object"},
        keep_alive="5m",
        logprobs=True,
        top_logprobs=2,
        options={
            "num_predict": 9,
            "temperature": 0,
            "top_p": 0.5,
            "top_k": 3,
            "seed": -1,
            "stop": ["x"],
            "presence_penalty": 1,
            "frequency_penalty": -1,
            "num_ctx": 8192,
        },
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}, {"type": "other", "x": 1}],
    )

    assert inbound == Inbound(
        request=Request(
            "m",
            [Message.user("Hi")],
            max_tokens=9,
            temperature=0,
            top_p=0.5,
            top_k=3,
            seed=-1,
            stop=["x"],
            presence_penalty=1,
            frequency_penalty=-1,
            logprobs=True,
            top_logprobs=2,
            reasoning_effort="high",
            response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
            tools=[Tool(name="f", parameters={"type": "object"}), VendorTool(origin="ollama_chat", data={"type": "other", "x": 1})],
            extra_params={"keep_alive": "5m", "options": {"num_ctx": 8192}},
            wire_format="ollama_chat",
        ),
        stream=False,
    )


TURNS = [
    {"role": "system", "content": ""},
    {"role": "user", "content": "What is it?", "images": [ENCODED]},
    {"role": "user", "content": "", "images": [ENCODED]},
    {
        "role": "assistant",
        "content": "",
        "thinking": "Hm.",
        "tool_calls": [{"type": "function", "function": {"index": 1, "name": "f", "arguments": {"a": 1.5}}}],
    },
    {"role": "assistant", "content": "Wait", "tool_calls": [{"id": "c", "function": {"name": "g", "arguments": {}}}]},
    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "g", "arguments": {}}}]},
    {"role": "tool", "content": "9", "tool_name": "f"},
    {"role": "tool", "content": "9", "tool_call_id": "c", "tool_name": "g", "weight": 2},
]


@each("turn", TURNS)
def test_a_turn_is_written_as_it_was_read(turn):
    """Pictures, thoughts, calls and results, and what has no name here."""
    assert [turn] == sent(read(messages=[turn]).request)["messages"]


def test_a_turn_is_read_for_any_format():
    """Thoughts come first, then the text, then the pictures with their kind."""
    message = read(messages=[{"role": "user", "content": "What?", "thinking": "Hm.", "images": [ENCODED]}]).request.messages[0]

    assert (
        ReasoningPart(text="Hm.", origin="ollama_chat"),
        TextPart(text="What?"),
        ImagePart(data=PIXEL, media_type="image/png"),
    ) == message.parts


@each("think", [True, False, "low", "medium", "high", "max", "deeply", 3])
def test_what_was_said_of_thoughts_is_written_back(think):
    """Yes is not the same as a level, and an unknown word is the vendor's."""
    assert think == sent(read(think=think).request)["think"]


@each("options", [{"temperature": 3.5}, {"num_predict": -1}, {"top_k": 1.5}, {"top_p": -1}, {"num_gpu": 1}])
def test_what_is_out_of_our_bounds_is_the_vendors(options):
    """It is written back as it came."""
    assert options == sent(read(options=options).request)["options"]


@each(
    "fields, name",
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages.0"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "messages.0"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": [1]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "images": ENCODED}]}, "messages.0.images"),
        ({"messages": [{"role": "user", "images": ["%%%"]}]}, "messages.0.images"),
        ({"messages": [{"role": "user", "images": [7]}]}, "messages.0.images"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": "f"}]}]}, "messages.0.tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": {"id": "x"}}]}, "messages.0.tool_calls"),
        ({"model": 7}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"options": ["x"]}, "options"),
        ({"options": {"num_predict": "9"}}, "options.num_predict"),
        ({"options": {"stop": 7}}, "options.stop"),
        ({"format": "xml"}, "format"),
        ({"tools": {"f": 1}}, "tools"),
        ({"tools": ["f"]}, "tools.0"),
        ({"tools": [{"function": {}}]}, "tools.0"),
    ],
)
def test_what_is_no_request_is_named(fields, name):
    """The field, what it is, and what it should be."""
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)

    assert name == str(caught.value).partition(":")[0]


def test_an_answer_of_another_vendor_is_written(numbered_ids):
    """With its calls, of another form of arguments too, its refusal, and the tokens that it took."""
    answer = Response(
        content="Hi",
        model="m",
        reasoning="Hm.",
        refusal="No.",
        tool_calls=(
            ToolCall(name="f", arguments='{"a": 1}', id="c1"),
            ToolCall(name="g", arguments="[1]"),
            ToolCall(name="h", arguments="{"),
            ToolCall(name="i", arguments="x", kind="custom"),
        ),
        finish_reason="tool_calls",
        finish_reason_raw="tool_use",
        usage=Usage(input_tokens=3, output_tokens=4, raw={"input_tokens": 3}),
    )

    assert {
        "model": "m",
        "created_at": "1970-01-01T00:00:00Z",
        "message": {
            "role": "assistant",
            "content": "HiNo.",
            "thinking": "Hm.",
            "tool_calls": [
                {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}},
                {"id": "call_1", "function": {"index": 1, "name": "g", "arguments": {"input": [1]}}},
                {"id": "call_2", "function": {"index": 2, "name": "h", "arguments": {"input": "{"}}},
                {"id": "call_3", "function": {"index": 3, "name": "i", "arguments": {"input": "x"}}},
            ],
        },
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 3,
        "eval_count": 4,
    } == json.loads(OLLAMA_CHAT.write_response(answer))


@each(
    "reason, raw, word",
    [
        ("stop", "end_turn", "stop"),
        ("stop", None, "stop"),
        (None, None, "stop"),
        ("length", "MAX_TOKENS", "length"),
        ("tool_calls", "stop", "stop"),
        ("content_filter", "SAFETY", "content_filter"),
        ("load", "load", "load"),
    ],
)
def test_a_reason_is_written_as_a_word_of_this_format(reason, raw, word):
    """Where it has one."""
    written = json.loads(OLLAMA_CHAT.write_response(Response(finish_reason=reason, finish_reason_raw=raw)))

    assert word == written["done_reason"]


def test_calls_are_told_whole_and_in_their_place(numbered_ids):
    """Pieces of arguments are collected; what is said after a call comes after it."""
    pieces = [
        StreamChunk(content="a", model="m"),
        StreamChunk(tool_calls=(ToolCallDelta(index=0, id="c", name="f", arguments='{"x"'),)),
        StreamChunk(tool_calls=(ToolCallDelta(index=0, arguments=": 1}"),)),
        StreamChunk(content="b"),
        StreamChunk(tool_calls=(ToolCallDelta(index=1, name="g"),), finish_reason="tool_calls"),
    ]

    assert [
        {"role": "assistant", "content": "a"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c", "function": {"index": 0, "name": "f", "arguments": {"x": 1}}}],
        },
        {"role": "assistant", "content": "b"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call_1", "function": {"index": 1, "name": "g", "arguments": {}}}],
        },
        {"role": "assistant", "content": ""},
    ] == [line["message"] for line in documents(pieces)]


def test_only_the_last_line_is_done():
    """It has the reason and the tokens."""
    *others, last = documents(
        [StreamChunk(content="a"), StreamChunk(usage=Usage(input_tokens=1)), StreamChunk(choice=1, content="x")]
    )

    assert [False] == [line["done"] for line in others]
    assert (True, "stop", 1, 0) == (last["done"], last["done_reason"], last["prompt_eval_count"], last["eval_count"])


def test_a_stream_names_the_model_that_was_asked_for():
    """Until the vendor says which one answers."""
    lines = documents([StreamChunk(content="a"), StreamChunk(content="b", model="m-2")], read())

    assert ["m", "m-2", "m-2"] == [line["model"] for line in lines]


EVERYTHING = {
    "model": "m",
    "messages": TURNS,
    "stream": False,
    "think": "high",
    "format": {"type": "object"},
    "options": {"num_predict": 9, "temperature": 0, "seed": 1, "stop": ["x"]},
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
}
