"""OpenAI's responses as a vendor speaks them: requests read, answers, streams and refusals written."""

import json
import re
from datetime import UTC, datetime

import pytest

from llmdispatcher import (
    Citation,
    ImagePart,
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
from llmdispatcher.wire import OPENAI_RESPONSES, Inbound
from llmdispatcher.wire.openai_responses.server_response import complete

from ..cases import each
from .corpus import again, needs_corpus, through
from .equivalences import openai_responses as normal
from .test_round_trips import answers, counted

NAME = "openai_responses"


def read(given="Hi", **fields):
    """A request as it arrives."""
    return OPENAI_RESPONSES.read_request(json.dumps({"model": "m", "input": given, **fields}).encode()).request


def sent(request, stream=False):
    """What is sent for a request."""
    return json.loads(OPENAI_RESPONSES.encode(request, stream=stream))


def stream_of(chunks, asked=None):
    """The bytes of a stream."""
    writer = OPENAI_RESPONSES.writer(asked)
    return b"".join([*[writer.write(chunk) for chunk in chunks], writer.end()])


def events(chunks, asked=None):
    """The events of a stream."""
    lines = stream_of(chunks, asked).decode().split("\n\n")[:-1]
    return [json.loads(line.partition("\ndata: ")[2]) for line in lines]


@needs_corpus
def test_openais_own_client_understands_what_is_written():
    """Strictly, by the types of its SDK, wherever it understands the recorded answer itself."""
    types = pytest.importorskip("openai.types.responses")
    pydantic = pytest.importorskip("pydantic")
    event_type, wrong = pydantic.TypeAdapter(types.ResponseStreamEvent), []
    for name, chunks in answers(OPENAI_RESPONSES):
        items = json.loads(OPENAI_RESPONSES.write_response(fold(chunks)))
        if not valid(types.Response.model_validate, {**items, "output": [], "service_tier": None}):
            wrong.append(f"{name}: whole")
        known = all(
            valid(types.Response.model_validate, {**items, "output": [item], "service_tier": None}) for item in items["output"]
        )
        tier = valid(types.Response.model_validate, {**items, "output": []})
        if known and tier:
            wrong += [f"{name}: {event['type']}" for event in events(chunks) if not valid(event_type.validate_python, event)]

    assert [] == wrong


def valid(validate, value):
    """Whether the SDK's types allow it."""
    try:
        validate(value)
    except ValueError:
        return False
    return True


EVERYTHING = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "No jokes."}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look"},
                {"type": "input_image", "image_url": "data:image/png;base64,eHg=", "detail": "low"},
                {"type": "input_image", "file_id": "file-1"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,eHg="},
                {"type": "input_file", "filename": "b.pdf", "file_data": "eHg="},
                {"type": "input_file", "file_url": "https://example.com/c.pdf"},
                {"type": "input_audio", "input_audio": {"data": "eHg=", "format": "wav"}},
                {"type": "input_hologram", "depth": 3},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "secret"},
        {
            "type": "message",
            "role": "assistant",
            "id": "msg_1",
            "status": "completed",
            "phase": "commentary",
            "content": [{"type": "output_text", "text": "Let me look."}, {"type": "output_text", "text": " Now."}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}", "namespace": "n"},
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": "g", "input": "free"},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "done"}]},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "done"},
        {"type": "mcp_approval_request", "id": "mcpr_1", "name": "h", "arguments": "{}", "server_label": "s"},
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "I won't."}]},
        {"type": "item_reference", "id": "msg_2"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Why?"}]},
    ],
    "tools": [
        {
            "type": "function",
            "name": "f",
            "description": "d",
            "parameters": {"type": "object"},
            "strict": True,
            "defer_loading": True,
        },
        {"type": "web_search", "search_context_size": "low"},
        {"type": "custom", "name": "g"},
    ],
    "tool_choice": {"type": "function", "name": "f"},
    "parallel_tool_calls": False,
    "reasoning": {"effort": "low", "summary": "auto", "context": "all_turns"},
    "text": {"format": {"type": "json_schema", "name": "a", "schema": {"x": None}, "strict": True}, "verbosity": "low"},
    "max_output_tokens": 16,
    "temperature": 0,
    "top_p": 0.5,
    "top_logprobs": 2,
    "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
    "user": "u",
    "service_tier": "flex",
    "prompt_cache_key": "k",
    "previous_response_id": "resp_0",
    "store": False,
    "metadata": {"a": "b"},
    "stream": True,
}


def test_a_request_with_everything_is_written_as_it_was_read():
    """To the letter, but that a message says that it is one."""
    inbound = OPENAI_RESPONSES.read_request(json.dumps(EVERYTHING).encode())

    assert normal(EVERYTHING) == normal(sent(inbound.request, inbound.stream))


def test_settings_are_read_into_our_words():
    """What has none stays in ``extra_params``."""
    request = read(**{name: value for name, value in EVERYTHING.items() if name not in ("model", "input")})

    assert ("low", "auto", 16, 0, 0.5, 2, True) == (
        request.reasoning_effort,
        request.reasoning_summary,
        request.max_tokens,
        request.temperature,
        request.top_p,
        request.top_logprobs,
        request.logprobs,
    )
    assert {"type": "function", "function": {"name": "f"}} == request.tool_choice
    assert {"type": "json_schema", "json_schema": {"name": "a", "schema": {"x": None}, "strict": True}} == request.response_format
    assert {"context": "all_turns"} == request.extra_params["reasoning"]
    assert {"reasoning", "text", "include", "previous_response_id", "store", "metadata"} == request.extra_params.keys()


def test_tools_are_read_into_our_words():
    """Functions are ours, the rest is the vendor's."""
    function, search, custom = read(tools=EVERYTHING["tools"]).tools

    assert (
        Tool(name="f", description="d", parameters={"type": "object"}, strict=True, extra={NAME: {"defer_loading": True}})
        == function
    )
    assert [VendorTool(origin=NAME, data=tool) for tool in EVERYTHING["tools"][1:]] == [search, custom]


def test_what_the_assistant_did_between_two_turns_is_one_turn():
    """As another format wants it: thoughts, text and calls together, in order."""
    messages = read(EVERYTHING["input"]).messages

    assert ["developer", "user", "assistant", "tool", "tool", "assistant", "user", "assistant", "user"] == [
        message.role for message in messages
    ]
    assert [ReasoningPart, TextPart, TextPart, ToolCall, ToolCall] == [type(part) for part in messages[2].parts]
    assert ["function", "custom"] == [call.kind for call in messages[2].tool_calls]


def test_messages_without_ids_do_not_melt_together():
    """Two items stay two turns."""
    given = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]

    assert given == sent(read(given))["input"]


def test_unknown_content_of_the_assistant_is_kept_whole():
    """The item goes back as it came."""
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_smell", "smell": "rose"}]}

    assert [item] == sent(read([item]))["input"]


@each("content", ["", [], [{"type": "input_file", "file_data": "no base64!"}], [{"type": "input_image", "x": 1}]])
def test_odd_content_goes_back_as_it_came(content):
    """It is for the vendor to judge."""
    item = {"type": "message", "role": "user", "content": content}

    assert normal({"input": [item]}) == normal({"input": sent(read([item]))["input"]})


@each(
    "fields",
    [
        {"tool_choice": {"type": "web_search_preview"}},
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}},
        {"text": {"format": {"type": "grammar", "syntax": "lark"}}},
        {"reasoning": {"effort": "extreme", "summary": "none"}},
        {"temperature": 3, "top_p": 7, "max_output_tokens": -1},
        {"truncation": "auto", "background": True, "conversation": {"id": "conv_1"}},
        {"frequency_penalty": 0.5, "top_k": 3},
        {"stream_options": {"include_obfuscation": False}},
    ],
)
def test_settings_without_a_name_of_ours_go_back_as_they_came(fields):
    """Also values beyond our bounds: a vendor may accept them."""
    asked = {"model": "m", "input": [{"role": "user", "content": "Hi"}], **fields}

    assert asked == sent(read(asked["input"], **fields))


def test_a_vendor_may_keep_the_conversation():
    """No input is needed where something else names it, and no model where a prompt does."""
    inbound = OPENAI_RESPONSES.read_request(b'{"prompt": {"id": "pmpt_1"}}')

    assert {"prompt": {"id": "pmpt_1"}} == sent(inbound.request)


@each(
    "fields, name",
    [
        ({"input": 7}, "input"),
        ({"input": [7]}, "input"),
        ({"input": [{}]}, "input"),
        ({"input": [{"role": "critic", "content": "x"}]}, "input"),
        ({"input": [{"role": "user", "content": 7}]}, "input"),
        ({"input": [{"role": "user"}]}, "input"),
        ({"input": [{"role": "user", "content": ["x"]}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input"),
        ({"input": [{"role": "assistant", "content": 7}]}, "input"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input"),
        ({"input": [{"type": 7, "role": "user"}]}, "input"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": {}}]}, "input"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": {}}]}, "input"),
        ({"model": 7, "input": "Hi"}, "model"),
        ({"stream": "yes", "input": "Hi"}, "stream"),
        ({"temperature": "hot", "input": "Hi"}, "temperature"),
        ({"include": "all", "input": "Hi"}, "include"),
        ({"instructions": ["x"], "input": "Hi"}, "instructions"),
        ({"tools": "f", "input": "Hi"}, "tools"),
        ({"tools": [{"name": "f"}], "input": "Hi"}, "tools[0]"),
        ({"tools": [{"type": "function"}], "input": "Hi"}, "tools[0]"),
        ({"tools": [{"type": "code_interpreter"}], "input": "Hi"}, "tools[0].container"),
        ({"tools": [{"type": "code_interpreter", "container": None}], "input": "Hi"}, "tools[0].container"),
        ({"tools": [{"type": "web_search"}, {"type": "file_search"}], "input": "Hi"}, "tools[1].vector_store_ids"),
        ({"tools": [{"type": "mcp", "server_url": "https://a.example"}], "input": "Hi"}, "tools[0].server_label"),
        ({"tools": [{"type": "custom"}], "input": "Hi"}, "tools[0].name"),
        ({}, "input"),
    ],
)
def test_what_is_no_request_is_named(fields, name):
    """With the field, and what to give instead."""
    with pytest.raises(InvalidRequest, match=rf"^{re.escape(name)}: .+( give | use |neither)"):
        OPENAI_RESPONSES.read_request(json.dumps(fields).encode())


FOREIGN = Response(
    model="claude",
    content="a picture, and b",
    reasoning="hm",
    parts=(
        ReasoningPart(text="hm", signature="s", origin="anthropic_messages"),
        OtherPart(origin="anthropic_messages", data={"type": "server_tool_use"}),
        TextPart(text="a picture"),
        ImagePart(data=b"x", media_type="image/png"),
        ToolCall(name="f", arguments="{}"),
        TextPart(text=", and b"),
    ),
    tool_calls=(ToolCall(name="f", arguments="{}"),),
    finish_reason="length",
    finish_reason_raw="max_tokens",
    citations=(Citation(url="https://example.com", title="t", start=0, end=1),),
    logprobs=({"token": "a", "bytes": [97], "logprob": -0.1, "top_logprobs": []},),
    usage=Usage(input_tokens=9, output_tokens=5, cache_read_tokens=2, cache_write_tokens=4, cache_write_long_tokens=1),
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def test_an_answer_of_another_format_is_written(numbered_ids):
    """Ids are made up; thoughts lose the proof that is another's; the reason is in this format's words."""
    document = json.loads(OPENAI_RESPONSES.write_response(FOREIGN))

    assert ["rs_made_0", "msg_1", "ig_2", "fc_3", "msg_5"] == [item["id"] for item in document["output"]]
    assert ("call_4", "resp_0", 1767225600) == (document["output"][3]["call_id"], document["id"], document["created_at"])
    assert {"type": "reasoning", "id": "rs_made_0", "summary": [{"type": "summary_text", "text": "hm"}]} == document["output"][0]
    assert ("incomplete", {"reason": "max_output_tokens"}) == (document["status"], document["incomplete_details"])
    assert {"ttl_30m_tokens": 3, "ttl_12h_tokens": 1} == document["usage"]["input_tokens_details"]["cache_write_tokens_details"]


def test_sources_and_logprobs_of_another_vendor_are_told():
    """As annotations of the text, and beside it."""
    seen = again(OPENAI_RESPONSES, FOREIGN)

    assert ("https://example.com", "t", 0, 1) == tuple(
        getattr(seen.citations[0], name) for name in ("url", "title", "start", "end")
    )
    assert FOREIGN.logprobs == seen.logprobs


def test_an_answer_of_another_format_is_streamed():
    """The stream says what the whole answer says."""
    seen, whole = through(OPENAI_RESPONSES, unfold(FOREIGN)), again(OPENAI_RESPONSES, FOREIGN)

    assert (whole.content, whole.reasoning, whole.logprobs, whole.finish_reason, counted(whole).usage) == (
        (seen.content, seen.reasoning, seen.logprobs, seen.finish_reason, counted(seen).usage)
    )
    assert [(call.name, call.arguments) for call in whole.tool_calls] == [(call.name, call.arguments) for call in seen.tool_calls]
    assert [type(part) for part in whole.parts] == [type(part) for part in seen.parts]
    assert ["https://example.com"] == [citation.url for citation in seen.citations]


@each(
    "reason, raw, status, details",
    [
        ("stop", "end_turn", "completed", None),
        ("tool_calls", "tool_use", "completed", None),
        ("content_filter", "SAFETY", "incomplete", {"reason": "content_filter"}),
        ("pause_turn", "pause_turn", "completed", None),
        ("steered", "incomplete", "incomplete", None),
        ("incomplete", "incomplete", "incomplete", None),
        ("queued", "queued", "queued", None),
        (None, None, "completed", None),
    ],
)
def test_a_reason_is_written_in_this_formats_words(reason, raw, status, details):
    """A status of its own stays; the common words have one each."""
    response = Response(content="a", finish_reason=reason, finish_reason_raw=raw)
    document = json.loads(OPENAI_RESPONSES.write_response(response))

    assert (status, details) == (document["status"], document["incomplete_details"])
    assert status == events(unfold(response))[-1]["response"]["status"]


def test_a_thought_without_parts_is_written_first():
    """As some formats have it."""
    kinds = [item["type"] for item in json.loads(OPENAI_RESPONSES.write_response(Response(content="a", reasoning="hm")))["output"]]

    assert ["reasoning", "message"] == kinds


def test_a_refusal_is_written():
    """Alone or beside text."""
    assert (
        "no"
        == again(OPENAI_RESPONSES, Response(refusal="no")).refusal
        == through(OPENAI_RESPONSES, [StreamChunk(refusal="n"), StreamChunk(refusal="o")]).refusal
    )
    assert ("a", "no") == (lambda seen: (seen.content, seen.refusal))(
        through(OPENAI_RESPONSES, [StreamChunk(content="a"), StreamChunk(refusal="no")])
    )


def test_a_stream_has_its_events_in_order():
    """Each item begins, grows and ends; all are numbered."""
    said = [
        StreamChunk(model="m", response_id="resp_7", reasoning="hm"),
        StreamChunk(content="a"),
        StreamChunk(tool_calls=(ToolCallDelta(index=0, id="c", name="f", arguments="{"),)),
        StreamChunk(tool_calls=(ToolCallDelta(index=0, arguments="}"),)),
        StreamChunk(finish_reason="tool_calls", finish_reason_raw="tool_calls", usage=Usage(input_tokens=1, output_tokens=1)),
    ]
    seen = events(said)

    assert [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ] == [event["type"].removeprefix("response.") for event in seen]
    assert list(range(20)) == [event["sequence_number"] for event in seen]
    assert ("resp_7", "resp_7") == (seen[0]["response"]["id"], seen[-1]["response"]["id"])


def test_calls_that_grow_side_by_side_stay_apart():
    """Pieces find their call by its place, also one whose name comes late."""
    pieces = [
        ToolCallDelta(index=0, id="c0", name="f", arguments='{"a"'),
        ToolCallDelta(index=1, id="c1", arguments="{"),
        ToolCallDelta(index=0, arguments=":1}"),
        ToolCallDelta(index=1, name="g", arguments="}"),
        ToolCallDelta(index=2, id="c2", name="h", arguments="free", kind="custom"),
    ]
    seen = through(OPENAI_RESPONSES, [StreamChunk(tool_calls=(piece,)) for piece in pieces])

    assert [("f", '{"a":1}', "c0"), ("g", "{}", "c1"), ("h", "free", "c2")] == [
        (call.name, call.arguments, call.id) for call in seen.tool_calls
    ]


def test_a_stream_of_nothing_is_a_stream():
    """With the model that was asked."""
    seen = events([], Inbound(request=Request("m", "Hi"), stream=True))

    assert [("response.created", "m"), ("response.completed", "m")] == [
        (event["type"], event["response"]["model"]) for event in (seen[0], seen[-1])
    ]


def test_other_choices_are_not_in_a_stream():
    """The format has one answer."""
    assert "a" == through(OPENAI_RESPONSES, [StreamChunk(content="a"), StreamChunk(content="b", choice=1)]).content


def test_the_next_turn_carries_the_items_as_they_were():
    """What a client got it sends back, thoughts with their proof first."""
    body = json.dumps({"status": "completed", "output": EVERYTHING["input"][2:6]}).encode()
    answer = OPENAI_RESPONSES.decode(body)

    assert EVERYTHING["input"][2:6] == sent(Request("m", [Message.user("Hi"), answer.message]))["input"][1:]


def test_another_formats_thought_is_not_sent_where_nobody_knows_it():
    """A client sends back what it got, also what was another vendor's and only passed through here."""
    thought = json.loads(OPENAI_RESPONSES.write_response(FOREIGN))["output"][0]

    assert [{"role": "user", "content": "Hi"}] == sent(read([{"role": "user", "content": "Hi"}, thought]))["input"]


@each(
    "entry",
    [
        None,
        7,
        {},
        {"type": "output_text"},
        {"type": "output_text", "text": "hi", "annotations": 5, "logprobs": "x"},
        {"type": "output_text", "text": "hi", "annotations": [None]},
    ],
)
def test_junk_in_a_vendors_message_can_be_written_again(entry):
    """What a vendor should not have said is handed on or left out, whole and streamed."""
    item = {"type": "message", "role": "assistant", "content": [entry, {"type": "output_text", "text": "ok"}]}
    said = OPENAI_RESPONSES.decode(json.dumps({"id": "r", "model": "m", "status": "completed", "output": [item]}).encode())
    writer = OPENAI_RESPONSES.writer()
    b"".join([*[writer.write(chunk) for chunk in unfold(said)], writer.end()])

    assert said.content == OPENAI_RESPONSES.decode(OPENAI_RESPONSES.write_response(said)).content
    assert said.content.endswith("ok")


@each(
    "kind, told, written",
    [
        ("message", "failed", "incomplete"),
        ("message", "in_progress", "in_progress"),
        ("message", None, "completed"),
        ("function_call", "cancelled", "incomplete"),
        ("function_call", "searching", "incomplete"),
        ("file_search_call", "stopped", "incomplete"),
        ("file_search_call", "searching", "searching"),
        ("image_generation_call", [], "completed"),
        ("reasoning", "error", "incomplete"),
        ("reasoning", None, None),
    ],
)
def test_an_item_that_failed_is_not_told_to_be_complete(kind, told, written):
    """A word that its kind of item does not have says that it is not whole; without one it is."""
    item = {"type": kind, "id": "i", "status": told, "content": [], "call_id": "c", "name": "f", "arguments": "{}"}
    assert [written] == [whole.get("status") for whole in complete(item)]
