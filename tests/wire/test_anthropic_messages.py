"""Anthropic's messages: blocks, named events, and a usage that leaves the cache out."""

import json

import pytest

from llmdispatcher import (
    Citation,
    ImagePart,
    InvalidRequest,
    MalformedReply,
    Message,
    OtherPart,
    ReasoningPart,
    Request,
    TextPart,
    Tool,
    ToolCall,
    VendorTool,
)
from llmdispatcher.wire import ANTHROPIC_MESSAGES
from llmdispatcher.wire.anthropic.request import DEFAULT_MAX_TOKENS

from ..cases import each
from .corpus import decode_stream
from .recordings import CLAUDE_WHOLE, sse


def sent(*messages, stream=False, quirks=(), **fields):
    """What is sent for a request."""
    request = Request("m", messages or (Message.user("Hi"),), **fields)
    return json.loads(ANTHROPIC_MESSAGES.encode(request, stream=stream, quirks=frozenset(quirks)))


def told(*names, quirks=(), **fields):
    """Some fields of what is sent."""
    body = sent(quirks=quirks, **fields)
    return {name: body[name] for name in names if name in body}


def answered(**fields):
    """A whole answer, changed."""
    return ANTHROPIC_MESSAGES.decode(json.dumps({**CLAUDE_WHOLE, **fields}).encode())


STOP = [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}, {"type": "message_stop"}]


def streamed(*events):
    """The answer of a stream that ends well."""
    answer, error = decode_stream(ANTHROPIC_MESSAGES, [sse(*events, *STOP, named=True)])
    assert error is None, error
    return answer


def test_a_request_with_everything():
    """What the format has a place for."""
    assert {
        "model": "m",
        "system": "a\n\nb",
        "messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "v"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 7,
        "service_tier": "standard_only",
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
        "stop_sequences": ["x"],
        "metadata": {"user_id": "me"},
        "stream": True,
    } == sent(
        Message.system("a"),
        Message.user("u"),
        Message("developer", "b"),
        Message.assistant("v"),
        max_tokens=9,
        temperature=0.5,
        top_p=0.25,
        stop="x",
        user="me",
        top_k=7,
        service_tier="default",
        prompt_cache="1h",
        n=1,
        logprobs=False,
        stream=True,
    )


@each(
    "name, value",
    [("seed", 1), ("frequency_penalty", 1.0), ("presence_penalty", -1.0), ("n", 2), ("logprobs", True), ("top_logprobs", 3)],
)
def test_what_has_no_place_is_refused_or_dropped(name, value):
    """An answer without it would be another than was asked for; a caller may allow that."""
    with pytest.raises(InvalidRequest, match=f"^{name}: "):
        sent(**{name: value})
    assert sent() == sent(**{name: value}, drop_params=True)


def test_the_limit_is_always_sent():
    """The format wants one."""
    assert (DEFAULT_MAX_TOKENS, 1) == (sent()["max_tokens"], sent(max_tokens=1)["max_tokens"])


def test_text_parts_are_sent_as_blocks():
    """Also where there are several."""
    assert [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}] == sent(Message.user("a", "b"))["messages"][0]["content"]


@each(
    "messages, fields, name",
    [
        ([Message.system("x")], {}, "messages"),
        ([Message.system("x", ImagePart(url="https://x.example")), Message.user("x")], {}, "system"),
        ([Message.user("x"), Message.tool("42")], {}, "tool_call_id"),
        ([Message.user("x"), Message.assistant(tool_calls=[ToolCall(name="f", id="1", arguments="{")])], {}, "arguments of 'f'"),
        ([Message.user(ImagePart())], {}, "neither a url nor data"),
        ([Message.user("x")], {"tool_choice": "perhaps"}, "tool_choice: 'perhaps'"),
        ([Message.user("x")], {"response_format": {"type": "yaml"}}, "response_format: .* 'yaml'"),
    ],
)
def test_what_cannot_be_sent_is_named(messages, fields, name):
    """Nothing is dropped in silence."""
    with pytest.raises(InvalidRequest, match=name):
        sent(*messages, **fields)


@each(
    "raw, expected",
    [
        ("end_turn", "tool_calls"),
        ("stop_sequence", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        (None, None),
    ],
)
def test_the_reason_is_in_our_words_and_theirs(raw, expected):
    """Whatever has no common word keeps its own; a call is never a plain end."""
    answer = answered(stop_reason=raw)

    assert (expected, raw) == (answer.finish_reason, answer.finish_reason_raw)


def test_input_counts_what_the_cache_gave_and_took():
    """Anthropic's own count leaves both out."""
    usage = answered().usage

    assert (40, 10, 5, 3, 25, 9) == (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_long_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    )


def test_later_counts_complete_earlier_ones():
    """The end says what the start could not know; a null says nothing."""
    start = {"type": "message_start", "message": {"id": "i", "model": "m", "usage": {"input_tokens": 7, "output_tokens": 1}}}
    late = {"type": "message_delta", "delta": {}, "usage": {"input_tokens": None, "cache_read_input_tokens": 3, "output_tokens": 4}}
    usage = streamed(start, late).usage

    assert (10, 3, 5) == (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens)


def test_blocks_of_anthropics_own_tools_are_no_calls_of_ours():
    """The server ran them itself."""
    own = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    start = {"type": "content_block_start", "index": 0, "content_block": own}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"q": 1}'}}

    assert ((), ()) == (streamed(start, delta).tool_calls, answered(content=[own]).tool_calls)


def test_unknown_events_and_deltas_are_skipped():
    """New ones come without notice."""
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}
    answer = streamed(
        {"type": "novelty", "x": 1}, text, {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta"}}
    )

    assert "x" == answer.content


def test_it_is_over_at_message_stop():
    """Nothing more needs to be read, even from a connection that stays open."""
    decoder = ANTHROPIC_MESSAGES.decoder()
    decoder.feed(sse(*STOP, named=True))

    assert (True, []) == (decoder.done, decoder.finish())


def test_an_answer_without_content_is_malformed():
    """An object that is no message."""
    with pytest.raises(MalformedReply):
        answered(content=None)


@each(
    "asked, expected",
    [
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"reasoning_effort": "minimal"}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        ({"reasoning_effort": "xhigh"}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}),
        ({"reasoning_tokens": 4000}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}),
        (
            {"reasoning_effort": "low", "reasoning_summary": "detailed"},
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
        ),
    ],
)
def test_a_model_that_adapts_is_told_the_effort(asked, expected):
    """It takes no budget; the nearest effort stands for one."""
    assert expected == told("thinking", "output_config", quirks=["adaptive_thinking"], **asked)


@each(
    "asked, budget, limit",
    [
        ({"reasoning_effort": "low"}, 1024, DEFAULT_MAX_TOKENS),
        ({"reasoning_effort": "high"}, 16_384, 16_384 + DEFAULT_MAX_TOKENS),
        ({"reasoning_effort": "medium", "max_tokens": 9000}, 4096, 9000),
        ({"reasoning_effort": "medium", "max_tokens": 500}, 4096, 4596),
        ({"reasoning_tokens": 2000, "reasoning_effort": "max"}, 2000, DEFAULT_MAX_TOKENS),
        ({"reasoning_tokens": 7}, 1024, DEFAULT_MAX_TOKENS),
    ],
)
def test_other_models_are_told_a_budget(asked, budget, limit):
    """By the effort, or as asked for; the limit of the answer leaves room for it."""
    assert {"thinking": {"type": "enabled", "budget_tokens": budget}, "max_tokens": limit} == told(
        "thinking", "max_tokens", **asked
    )


def test_what_anthropic_refuses_beside_thoughts_is_left_out():
    """A temperature only tunes; that a tool must be called does not."""
    names = ("temperature", "top_k", "top_p", "tool_choice")
    fields = {"reasoning_effort": "low", "temperature": 0.5, "top_k": 3, "top_p": 0.5}

    assert {} == told(*names, **fields)
    assert {"top_p": 0.95} == told(*names, reasoning_effort="low", top_p=0.95)
    with pytest.raises(InvalidRequest, match="tool_choice: cannot be forced"):
        sent(reasoning_effort="low", tool_choice="required", tools=[SEARCH])
    assert {"tool_choice": {"type": "auto"}} == told(
        "tool_choice", reasoning_effort="low", tool_choice="required", tools=[SEARCH], drop_params=True
    )


SEARCH = Tool(name="search", parameters={"type": "object"})
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}


@each(
    "fields, choice",
    [
        ({"parallel_tool_calls": False, "tools": [SEARCH]}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True, "tools": [SEARCH]}, None),
        ({"parallel_tool_calls": False}, None),
        ({"parallel_tool_calls": False, "tool_choice": "none", "tools": [SEARCH]}, {"type": "none"}),
        (
            {"parallel_tool_calls": False, "tool_choice": "search", "tools": [SEARCH]},
            {"type": "tool", "name": "search", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False, "tools": [SEARCH], "quirks": ["no_parallel_tools"]}, None),
    ],
)
def test_one_call_at_a_time_is_part_of_the_choice(fields, choice):
    """There is no field of its own for it."""
    assert choice == told("tool_choice", **fields).get("tool_choice")


@each(
    "quirk, fields, name",
    [("no_stop", {"stop": "x"}, "stop"), ("no_forced_tools", {"tool_choice": "required", "tools": [SEARCH]}, "tool_choice")],
)
def test_what_a_model_refuses_and_an_answer_depends_on_is_refused(quirk, fields, name):
    """Before it is sent."""
    with pytest.raises(InvalidRequest, match=name):
        sent(quirks=[quirk], **fields)


def test_a_model_that_continues_nobody_is_asked_by_the_user():
    """The beginning of an answer cannot be dropped without changing what is asked."""
    turns = [Message.user("x"), Message.assistant("{")]

    assert "assistant" == sent(*turns)["messages"][-1]["role"]
    with pytest.raises(InvalidRequest, match="messages: "):
        sent(*turns, quirks=["no_prefill"], drop_params=True)


@each(
    "fields, choice",
    [
        ({}, {"type": "tool", "name": "respond_with_structure"}),
        ({"tools": [SEARCH]}, {"type": "any"}),
        ({"tools": [SEARCH], "tool_choice": "none"}, {"type": "tool", "name": "respond_with_structure"}),
        ({"reasoning_effort": "low"}, {"type": "auto"}),
        ({"quirks": ["no_forced_tools"]}, {"type": "auto"}),
    ],
)
def test_a_model_without_schemas_answers_by_a_tool(fields, choice):
    """It must call it, or is told to where nothing can be forced."""
    quirks = ["no_json_schema", *fields.pop("quirks", [])]
    body = sent(response_format=SCHEMA, quirks=quirks, **fields)

    assert choice == body["tool_choice"]
    assert {"type": "object"} == body["tools"][-1]["input_schema"]
    assert (choice == {"type": "auto"}) == ("system" in body)


def test_a_model_without_schemas_knows_no_strict_tools():
    """They came together."""
    strict = Tool(name="f", strict=True)

    assert [True, None] == [sent(tools=[strict], quirks=quirks)["tools"][0].get("strict") for quirks in ([], ["no_json_schema"])]


def test_an_answer_by_a_tool_is_text():
    """Whole and streamed, as if the model had known the schema."""
    call = {"type": "tool_use", "id": "t", "name": "respond_with_structure", "input": {}}
    whole = answered(content=[{**call, "input": {"a": 1}}], stop_reason="tool_use")
    pieces = [{"type": "content_block_start", "index": 0, "content_block": call}]
    pieces += [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": text}}
        for text in ('{"a"', ": 1}")
    ]
    end = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}}
    streamed_answer, _ = decode_stream(ANTHROPIC_MESSAGES, [sse(*pieces, end, {"type": "message_stop"}, named=True)])

    assert [('{"a": 1}', "stop", ())] * 2 == [
        (answer.content, answer.finish_reason, answer.tool_calls) for answer in (whole, streamed_answer)
    ]


def test_marks_for_the_cache_are_written_where_they_stand():
    """On instructions, parts and tools."""
    marked = TextPart(text="x", cache="1h")
    body = sent(Message.system(marked), Message.user(marked), tools=[Tool(name="f", cache="5m")])
    block = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}

    assert ([block], [block], {"type": "ephemeral"}) == (
        body["system"],
        body["messages"][0]["content"],
        body["tools"][0]["cache_control"],
    )


def test_calls_without_ids_and_their_results_find_each_other():
    """By the name where one is told, else in order; an id that Anthropic would refuse is written so that it does not."""
    turns = [
        Message.user("x"),
        Message.assistant(tool_calls=[ToolCall(name="f"), ToolCall(name="g"), ToolCall(name="h", id="functions.h:0")]),
        Message.tool("of g", name="g"),
        Message.tool("of f"),
        Message.tool("of h", "functions.h:0"),
        Message.assistant(tool_calls=[ToolCall(name="f")]),
        Message.tool("again"),
    ]
    _, called, answered_, *later = sent(*turns)["messages"]

    assert ["call_0", "call_1", "functions_h_0"] == [block["id"] for block in called["content"]]
    assert [("call_1", "of g"), ("call_0", "of f"), ("functions_h_0", "of h")] == [
        (block["tool_use_id"], block["content"]) for block in answered_["content"]
    ]
    assert ("call_2", "call_2") == (later[0]["content"][0]["id"], later[1]["content"][0]["tool_use_id"])


def test_turns_of_one_role_are_one_and_results_come_first():
    """The format wants roles to alternate, and the results right after their calls."""
    turns = [
        Message.user("a"),
        Message.user("b"),
        Message.assistant(tool_calls=[ToolCall(name="f", id="1")]),
        Message.user("c"),
        Message.tool("d", "1"),
    ]
    first, _, last = sent(*turns)["messages"]

    assert ["a", "b"] == [block["text"] for block in first["content"]]
    assert ["tool_result", "text"] == [block["type"] for block in last["content"]]


def test_what_another_format_alone_knows_is_refused_or_dropped():
    """Its blocks and tools; its thoughts are left out, and with them a turn of nothing else."""
    block = OtherPart(origin="gemini", data={"type": "code"})
    tool = VendorTool(origin="gemini", data={"googleSearch": {}})
    thought = Message("assistant", [ReasoningPart(text="hm", origin="gemini")])

    for fields in ({"tools": [tool]}, {"messages": [Message.user("x", block)]}):
        with pytest.raises(InvalidRequest, match="gemini"):
            sent(*fields.pop("messages", ()), **fields)
    assert sent(Message.user("x")) == sent(Message.user("x"), thought, tools=[tool], drop_params=True)


def test_a_result_may_be_a_picture():
    """Results have parts as other turns have."""
    picture = ImagePart(file_id="f")
    turns = [
        Message.user("x"),
        Message.assistant(tool_calls=[ToolCall(name="f", id="1")]),
        Message("tool", [picture], tool_call_id="1"),
    ]

    assert [{"type": "image", "source": {"type": "file", "file_id": "f"}}] == sent(*turns)["messages"][2]["content"][0]["content"]


CITED = {"type": "web_search_result_location", "url": "u", "title": "t", "cited_text": "c", "encrypted_index": "e"}
TEXTS = [
    {"type": "text", "text": "Plain, "},
    {"type": "text", "text": "proven", "citations": [CITED]},
    {"type": "text", "text": "."},
]


def test_citations_belong_to_their_text():
    """The answer says which of its characters rest on what, and the text goes back with what hangs on it."""
    answer = answered(content=TEXTS)
    citation = Citation(url="u", title="t", text="c", start=7, end=13, raw=CITED)

    assert ("Plain, proven.", (citation,)) == (answer.content, answer.citations)
    assert TEXTS == sent(Message.user("x"), answer.message)["messages"][1]["content"]


def test_citations_are_streamed_piece_by_piece():
    """The same answer as in one piece."""
    pieces = []
    for index, block in enumerate(TEXTS):
        pieces += [
            {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": block["text"]}},
        ]
        pieces += [
            {"type": "content_block_delta", "index": index, "delta": {"type": "citations_delta", "citation": citation}}
            for citation in block.get("citations", ())
        ]
        pieces.append({"type": "content_block_stop", "index": index})
    whole, answer = answered(content=TEXTS), streamed(*pieces)

    assert (whole.parts, whole.citations) == (answer.parts, answer.citations)


def test_blocks_that_only_anthropic_knows_are_put_together_from_their_pieces():
    """An input that comes as text, and what a later delta completes."""
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    pieces = [
        {"type": "content_block_start", "index": 0, "content_block": search},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"query": '}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '"x"}'}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "compaction", "content": None}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "compaction_delta", "content": "In short"}},
        {"type": "content_block_stop", "index": 1},
    ]
    blocks = [{**search, "input": {"query": "x"}}, {"type": "compaction", "content": "In short"}]

    assert blocks == [part.data for part in streamed(*pieces).parts]
    assert streamed(*pieces).parts == answered(content=blocks).parts


def test_a_call_keeps_who_made_it():
    """A field that other formats do not have, sent back as it came."""
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "direct"}}
    message = answered(content=[block]).message

    assert [block] == sent(Message.user("x"), message)["messages"][1]["content"]


def test_the_service_tier_is_told():
    """It stands in the usage."""
    assert "priority" == answered(usage={"output_tokens": 1, "service_tier": "priority"}).service_tier
