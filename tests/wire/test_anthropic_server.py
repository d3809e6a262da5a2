"""Anthropic's messages as a vendor speaks them: requests read, answers, streams and refusals written."""

import json

import pytest

from llmdispatcher import (
    Citation,
    InvalidRequest,
    Message,
    OtherPart,
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
from llmdispatcher.types import fold, unfold
from llmdispatcher.wire import ANTHROPIC_MESSAGES, Inbound

from ..cases import each
from .corpus import again, decode_stream, through


def read(path="/v1/messages", **fields):
    """A request as it arrives, with what every one has."""
    said = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return ANTHROPIC_MESSAGES.read_request(json.dumps(said).encode(), path)


def sent(request, stream=False, quirks=frozenset()):
    """What is sent for a request."""
    return json.loads(ANTHROPIC_MESSAGES.encode(request, stream=stream, quirks=quirks))


def written(response):
    """A whole answer as JSON."""
    return json.loads(ANTHROPIC_MESSAGES.write_response(response))


def events(chunks, asked=None):
    """The events of a stream, without their frames."""
    writer = ANTHROPIC_MESSAGES.writer(asked)
    body = b"".join([writer.write(chunk) for chunk in chunks]) + writer.end()
    frames = [frame.split("\n") for frame in body.decode().removesuffix("\n\n").split("\n\n")]
    assert all(name == f"event: {json.loads(data.removeprefix('data: '))['type']}" for name, data in frames)
    return [json.loads(data.removeprefix("data: ")) for _, data in frames]


def test_a_request_with_everything_is_read():
    """Each field has its place, whatever the format that the request goes on in."""
    inbound = read(
        system="Be brief.",
        stream=True,
        temperature=0,
        top_p=0.5,
        top_k=3,
        stop_sequences=["x"],
        metadata={"user_id": "me", "team": "a"},
        service_tier="auto",
        cache_control={"type": "ephemeral", "ttl": "1h"},
        thinking={"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}, "task_budget": 1},
        tools=[{"name": "f", "input_schema": {"type": "object"}}, {"type": "web_search_20250305", "name": "web_search"}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        container=None,
        speed="fast",
    )

    assert inbound == Inbound(
        request=Request(
            "m",
            [Message.system("Be brief."), Message.user("Hi")],
            max_tokens=9,
            temperature=0,
            top_p=0.5,
            top_k=3,
            stop=["x"],
            user="me",
            service_tier="auto",
            prompt_cache="1h",
            reasoning_tokens=1024,
            reasoning_summary="none",
            reasoning_effort="low",
            response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
            tools=[
                Tool(name="f", parameters={"type": "object"}),
                VendorTool(origin="anthropic_messages", data={"type": "web_search_20250305", "name": "web_search"}),
            ],
            tool_choice="required",
            parallel_tool_calls=False,
            extra_params={"metadata": {"team": "a"}, "output_config": {"task_budget": 1}, "speed": "fast"},
            wire_format="anthropic_messages",
        ),
        stream=True,
    )


@each(
    "path, model",
    [
        ("/v1/projects/p/locations/l/publishers/anthropic/models/claude-3-7@20250219:streamRawPredict", "claude-3-7@20250219"),
        ("/model/anthropic.claude-3-v1%3A0/invoke", "anthropic.claude-3-v1:0"),
        ("/v1/messages?beta=true", ""),
    ],
)
def test_the_model_may_be_in_the_path(path, model):
    """Two clouds have it there, and the version in the body; a request that goes back there is not told it twice."""
    request = read(path, model=None, anthropic_version="vertex-2023-10-16").request

    assert (model, False) == (request.model, "model" in sent(request))


@each(
    "fields, name",
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages.0"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages.0"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "messages.0"),
        ({"system": 7}, "system.content"),
        ({"model": 7}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"tools": {"f": 1}}, "tools"),
        ({"tools": ["f"]}, "tools.0"),
        ({"tools": [{"input_schema": {}}]}, "tools.0"),
    ],
)
def test_what_is_no_request_is_named(fields, name):
    """The field, what it is, and what it should be."""
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)

    assert name == str(caught.value).partition(":")[0]


def test_results_are_turns_of_their_own():
    """What a user says beside them stays the user's."""
    blocks = [
        {"type": "tool_result", "tool_use_id": "a", "content": "1", "cache_control": {"type": "ephemeral"}},
        {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "2"}], "is_error": True},
        {"type": "text", "text": "and?"},
    ]
    request = read(messages=[{"role": "user", "content": blocks}]).request

    assert request.messages == (
        Message("tool", "1", tool_call_id="a", extra={"anthropic_messages": {"cache_control": {"type": "ephemeral"}}}),
        Message("tool", [TextPart(text="2")], tool_call_id="b", is_error=True),
        Message.user(TextPart(text="and?")),
    )
    assert blocks == sent(request)["messages"][0]["content"]


BLOCKS = {
    "a thought": {"type": "thinking", "thinking": "hm", "signature": "s"},
    "a hidden thought": {"type": "redacted_thinking", "data": "zzz"},
    "a mark": {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    "a mark of another kind": {"type": "text", "text": "x", "cache_control": {"type": "lasting"}},
    "citations": {"type": "text", "text": "x", "citations": [{"type": "char_location", "cited_text": "y"}]},
    "a call with its caller": {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1.5}, "caller": {"type": "direct"}},
    "a vendor's tool": {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
    "base64 that is none": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVB=OR"}},
    "a document of blocks": {"type": "document", "source": {"type": "content", "content": "x"}, "citations": {"enabled": True}},
    "a document with context": {"type": "document", "source": {"type": "file", "file_id": "f"}, "title": "t", "context": "c"},
    "an image by id": {"type": "image", "source": {"type": "file", "file_id": "f"}},
    "a novelty": {"type": "hologram", "null": None},
}


@each("name", list(BLOCKS))
def test_every_block_goes_back_as_it_came(name):
    """Known or not."""
    turn = {"role": "assistant", "content": [BLOCKS[name], {"type": "text", "text": "."}]}

    assert turn == sent(read(messages=[turn]).request)["messages"][0]


def test_sources_that_another_vendor_named_are_not_sent_to_anthropic():
    """They were written without proof, which it wants; those of its own stay."""
    proven = {"type": "web_search_result_location", "url": "u", "encrypted_index": "e"}
    block = {"type": "text", "text": "x", "citations": [{**proven, "encrypted_index": ""}, proven]}

    assert [{**block, "citations": [proven]}] == sent(read(messages=[{"role": "assistant", "content": [block]}]).request)[
        "messages"
    ][0]["content"]


@each(
    "fields",
    [
        {"thinking": {"type": "adaptive"}},
        {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}},
        {"output_config": {"effort": "high"}},
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}},
        {"thinking": {"type": "enabled", "budget_tokens": 7, "novelty": 1}, "output_config": {"effort": "max"}},
        {"thinking": {"type": "between_tools"}, "output_config": {"effort": "novel"}},
        {"temperature": 5, "top_k": -1, "top_p": -1, "max_tokens": 1.5},
        {"tool_choice": {"type": "novel"}},
        {"tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": False}},
    ],
)
def test_settings_go_back_as_they_came(fields):
    """An effort alone is not an effort with thoughts, and what has no place here is kept as it is."""
    again = sent(read(**fields).request)

    assert fields == {name: again.get(name) for name in fields}


def test_an_effort_that_was_read_is_known_to_other_formats():
    """It came with adaptive thinking, or alone; neither hinders another vendor."""
    adaptive = read(thinking={"type": "adaptive"}, output_config={"effort": "high"}).request
    alone = read(output_config={"effort": "high"}).request

    assert [("high", {}), ("high", {})] == [(request.reasoning_effort, request.extra_params) for request in (adaptive, alone)]


FOREIGN = Response(
    content="Said.",
    reasoning="Thought.",
    model="m",
    tool_calls=(ToolCall(name="f", arguments='{"a": 1}'), ToolCall(name="g", arguments="free", id="x", kind="custom")),
    finish_reason="tool_calls",
    finish_reason_raw="TOOL",
    usage=Usage(input_tokens=9, cache_read_tokens=2, cache_write_tokens=3, cache_write_long_tokens=1, output_tokens=5),
)


def test_an_answer_of_another_format_is_written(numbered_ids):
    """What this one needs besides is made up."""
    assert written(FOREIGN) == {
        "id": "msg_0",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [
            {"type": "thinking", "thinking": "Thought.", "signature": ""},
            {"type": "text", "text": "Said.", "citations": []},
            {"type": "tool_use", "id": "call_0", "name": "f", "caller": {"type": "direct"}, "input": {"a": 1}},
            {"type": "tool_use", "id": "x", "name": "g", "caller": {"type": "direct"}, "input": {"input": "free"}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": {
            "input_tokens": 4,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 2,
            "output_tokens": 5,
            "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 1},
            "output_tokens_details": None,
            "server_tool_use": None,
            "service_tier": None,
            "inference_geo": None,
        },
    }


def test_an_answer_of_another_format_is_streamed(numbered_ids):
    """The same answer, in pieces."""
    streamed = through(ANTHROPIC_MESSAGES, unfold(FOREIGN)).message
    numbered_ids()

    assert streamed == again(ANTHROPIC_MESSAGES, FOREIGN).message


@each(
    "reason, raw, expected",
    [
        ("stop", "stop", "end_turn"),
        ("stop", "stop_sequence", "stop_sequence"),
        ("stop", "tool_use", "end_turn"),
        ("length", "MAX_TOKENS", "max_tokens"),
        ("content_filter", "SAFETY", "refusal"),
        ("pause_turn", "pause_turn", "pause_turn"),
        (None, None, "end_turn"),
    ],
)
def test_a_reason_is_written_in_anthropics_words(reason, raw, expected):
    """Its own word where it has the same meaning."""
    assert expected == written(Response(finish_reason=reason, finish_reason_raw=raw))["stop_reason"]


def test_a_thought_of_another_vendor_has_no_proof_here():
    """Its text is told, its signature would be taken for Anthropic's, what is hidden is of no use."""
    parts = (ReasoningPart(text="a", signature="s", origin="gemini"), ReasoningPart(encrypted="z", origin="openai_responses"))

    assert [{"type": "thinking", "thinking": "a", "signature": ""}] == written(Response(reasoning="a", parts=parts))["content"]


def test_a_thought_without_proof_is_not_sent_to_anthropic():
    """A client sends back what our server wrote of another vendor's thoughts; compatible vendors may want it."""
    turn = {"role": "assistant", "content": [{"type": "thinking", "thinking": "a", "signature": ""}, {"type": "text", "text": "b"}]}
    request = read(messages=[turn]).request

    assert [{"type": "text", "text": "b"}] == sent(request)["messages"][0]["content"]
    assert turn == sent(request, quirks=frozenset({"replay_reasoning"}))["messages"][0]


def test_sources_of_another_vendor_are_told():
    """They are those of the text as a whole, in pieces too."""
    response = Response(content="x", citations=(Citation(url="u", title="t", text="c"), Citation(title="no address")))
    source = {"type": "web_search_result_location", "url": "u", "title": "t", "cited_text": "c", "encrypted_index": ""}

    assert [{"type": "text", "text": "x", "citations": [source]}] == written(response)["content"]
    assert again(ANTHROPIC_MESSAGES, response).citations == through(ANTHROPIC_MESSAGES, unfold(response)).citations


def test_a_stream_has_its_events_in_order():
    """Numbered blocks, one after the other, between the frame of the message."""
    chunks = [
        StreamChunk(model="m", response_id="i"),
        StreamChunk(reasoning="hm"),
        StreamChunk(parts=(ReasoningPart(text="hm", signature="s", origin="anthropic_messages"),)),
        StreamChunk(content="a"),
        StreamChunk(tool_calls=(ToolCallDelta(index=0, name="f", arguments="{}"),)),
        StreamChunk(parts=(OtherPart(origin="anthropic_messages", data={"type": "container_upload", "file_id": "f"}),)),
        StreamChunk(finish_reason="stop", usage=Usage(input_tokens=1)),
    ]

    assert [
        ("message_start", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
        ("content_block_start", 3),
        ("content_block_stop", 3),
        ("message_delta", None),
        ("message_stop", None),
    ] == [(event["type"], event.get("index")) for event in events(chunks)]


def test_calls_that_come_by_turns_stay_apart():
    """Some servers announce all calls before their arguments; a name may come late."""
    deltas = [
        ToolCallDelta(index=0, id="a", name="f"),
        ToolCallDelta(index=1, id="b"),
        ToolCallDelta(index=0, arguments='{"x":'),
        ToolCallDelta(index=1, arguments='{"y":'),
        ToolCallDelta(index=1, name="g"),
        ToolCallDelta(index=0, arguments="1}"),
        ToolCallDelta(index=1, arguments="2}"),
    ]
    calls = through(ANTHROPIC_MESSAGES, [StreamChunk(tool_calls=(delta,)) for delta in deltas]).tool_calls

    assert [("a", "f", {"x": 1}), ("b", "g", {"y": 2})] == [(call.id, call.name, call.parsed) for call in calls]


def test_a_stream_of_nothing_is_a_stream():
    """It names the model that was asked for."""
    start, *rest = events([], Inbound(request=Request("m", "Hi")))

    assert ("m", ["message_delta", "message_stop"]) == (start["message"]["model"], [event["type"] for event in rest])


@each("arguments, told", [("null", {}), (" ", {}), ("[1]", {"input": [1]}), ('{"a"', None)])
def test_streamed_arguments_are_an_object_wherever_that_can_be_made(arguments, told):
    """As in a whole answer; only an object that breaks off is told as it came."""
    writer = ANTHROPIC_MESSAGES.writer()
    deltas = (ToolCallDelta(index=0, id="c", name="f"), *(ToolCallDelta(index=0, arguments=piece) for piece in arguments))
    written = b"".join([writer.write(StreamChunk(tool_calls=(delta,))) for delta in deltas]) + writer.end()
    (call,) = fold(ANTHROPIC_MESSAGES.decoder().feed(written)).tool_calls

    assert (json.dumps(told) if told is not None else arguments) == call.arguments


def test_a_result_without_a_name_or_an_id_answers_the_first_open_call():
    """Formats without ids bring results in the order of the calls."""
    turns = [Message.user("go"), Message.assistant("", tool_calls=[ToolCall(name="f")]), Message("tool", "4", name="g")]

    assert "call_0" == sent(Request("m", turns))["messages"][2]["content"][0]["tool_use_id"]


@each("names", [("f", None), (None, "f")])
def test_text_between_the_pieces_of_a_call_takes_nothing_from_it(names):
    """No piece goes to a block that is closed, or to another block, whenever the name comes."""
    pieces = [ToolCallDelta(index=0, id="c", name=name, arguments=text) for name, text in zip(names, ('{"a":', "1}"), strict=True)]
    chunks = [
        StreamChunk(tool_calls=pieces[:1]),
        StreamChunk(content="one"),
        StreamChunk(tool_calls=pieces[1:], finish_reason="tool_calls"),
        StreamChunk(content=" two"),
    ]
    writer = ANTHROPIC_MESSAGES.writer()
    body = b"".join([*map(writer.write, chunks), writer.end()])
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: ")]
    is_open: dict[int, str] = {}
    for event in events:
        if event["type"] == "content_block_start":
            is_open[event["index"]] = event["content_block"]["type"]
        elif event["type"] == "content_block_delta":
            wanted = "tool_use" if event["delta"]["type"] == "input_json_delta" else "text"
            assert wanted == is_open.get(event["index"])
        elif event["type"] == "content_block_stop":
            del is_open[event["index"]]
    answer, error = decode_stream(ANTHROPIC_MESSAGES, [body])

    assert (None, "one two", '{"a":1}') == (error, answer.content, answer.tool_calls[0].arguments)
