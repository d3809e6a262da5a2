"""Requests in OpenAI's chat format: read and written again, and written for what a model or vendor refuses."""

import json

import pytest

from llmdispatcher import (
    FilePart,
    ImagePart,
    InvalidRequest,
    Message,
    OtherPart,
    ReasoningPart,
    Request,
    TextPart,
    Tool,
    ToolCall,
    VendorTool,
    VideoPart,
)
from llmdispatcher.wire import OPENAI_CHAT

from ..cases import each

HI = [{"role": "user", "content": "Hi"}]
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object"}}


def read(path="", **fields):
    """A request as it arrives."""
    return OPENAI_CHAT.read_request(json.dumps({"model": "m", "messages": HI, **fields}).encode(), path)


def sent(request, stream=False, quirks=()):
    """What is sent for a request."""
    return json.loads(OPENAI_CHAT.encode(request, stream=stream, quirks=frozenset(quirks)))


def asked(*messages, **fields):
    """A request of the library's user."""
    return Request("m", messages or (Message.user("Hi"),), **fields)


def again(**fields):
    """A request, read and written."""
    inbound = read(**fields)
    return sent(inbound.request, inbound.stream)


def turn(**message):
    """A message, read and written."""
    return again(messages=[message])["messages"][0]


SETTINGS = {
    "temperature": 0.5,
    "top_p": 0.25,
    "top_k": 4,
    "frequency_penalty": 1.0,
    "presence_penalty": -1.0,
    "seed": 7,
    "n": 2,
    "logprobs": True,
    "top_logprobs": 3,
    "max_tokens": 9,
    "user": "me",
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "prompt_cache_key": "k",
    "service_tier": "flex",
    "stop": ["x", "y"],
    "response_format": {"type": "json_object"},
    "tool_choice": "required",
}


@each("name", list(SETTINGS))
def test_a_setting_has_its_field(name):
    """Read into ours, and sent from it."""
    request = read(**{name: SETTINGS[name]}).request

    assert ({}, SETTINGS[name]) == (request.extra_params, sent(asked(**{name: getattr(request, name)}))[name])


ODD = {
    "max_completion_tokens": 9,
    "random_seed": 7,
    "stop": "x",
    "temperature": 3.5,
    "top_k": -1,
    "logprobs": 5,
    "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
    "response_format": {"type": "json_object", "schema": {"type": "object"}},
    "reasoning": {"effort": "high", "max_tokens": 100, "exclude": True},
    "reasoning_effort": "default",
    "metadata": {"a": "b"},
    "logit_bias": {"1": -100},
}


@each("name", list(ODD))
def test_a_field_is_written_as_it_was_spelt(name):
    """Other names, other kinds, and values that only the vendor can judge."""
    assert ODD[name] == again(**{name: ODD[name]})[name]


def test_openrouters_group_is_understood():
    """So that another format can express it."""
    request = read(reasoning={"effort": "high", "max_tokens": 100}).request

    assert ("high", 100, {}) == (request.reasoning_effort, request.reasoning_tokens, request.extra_params)


def test_how_the_answer_is_wanted_is_no_part_of_the_request():
    """A stream, and whether it tells its usage."""
    inbound = read(stream=True, stream_options={"include_usage": True, "include_obfuscation": False})

    assert (True, True, {"stream_options": {"include_obfuscation": False}}) == (
        inbound.stream,
        inbound.stream_usage,
        inbound.request.extra_params,
    )
    assert not read(stream=True).stream_usage


def test_azures_model_is_in_the_path():
    """The deployment stands for it."""
    assert "gpt x" == read("/openai/deployments/gpt%20x/chat/completions?api-version=1", model=None).request.model


TURNS = [
    {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
    {"role": "user", "name": "n", "content": "u"},
    {"role": "user", "content": ""},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}],
    },
    {"role": "assistant", "content": None, "refusal": "no"},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    {"role": "assistant", "content": "a", "reasoning_content": "t"},
    {"role": "assistant", "content": "a", "reasoning": "t", "reasoning_details": [{"type": "reasoning.text", "text": "t"}]},
    {"role": "assistant", "content": "a", "reasoning_content": ""},
    {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}],
    },
    {"role": "assistant", "content": "a", "prefix": True, "audio": {"id": "x"}},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": "4 + 4"}}],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"g": 1}}],
    },
    {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
    {"role": "function", "name": "f", "content": "42"},
    {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "42"}]},
]


@each("message", TURNS)
def test_a_turn_is_written_as_it_was_read(message):
    """In all its spellings."""
    assert message == turn(**message)


PARTS = [
    {"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}},
    {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}},
    {"type": "image_url", "image_url": "data:image/png;base64,YWJj"},
    {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "hint": 1}, "uuid": "u"},
    {"type": "video_url", "video_url": {"url": "https://x.example/a.mp4"}},
    {"type": "input_audio", "input_audio": {"data": "YWJj", "format": "wav"}},
    {"type": "input_audio", "input_audio": "https://x.example/a.mp3"},
    {"type": "file", "file": {"file_id": "f"}},
    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,YWJj"}},
    {"type": "file", "file": {"file_data": "data:application/pdf;base64,YWJj"}},
    {"type": "file", "file": {"filename": "a.pdf", "file_data": "https://x.example/a.pdf"}},
    {"type": "document_url", "document_url": "https://x.example/a.pdf", "document_name": "a"},
    {"type": "file_url", "file_url": {"url": "https://x.example/a.pdf"}},
    "bare",
]


@each("part", PARTS)
def test_a_part_is_written_as_it_was_read(part):
    """With the fields that only some servers know."""
    assert [part] == turn(role="user", content=[part])["content"]


def test_what_is_read_is_understood():
    """By the model that all formats share."""
    [message] = read(messages=[{"role": "user", "content": [PARTS[0], PARTS[3], PARTS[8], PARTS[11], PARTS[4]]}]).request.messages

    assert (
        TextPart(text="t", cache="5m"),
        ImagePart(url="https://x.example/a.png", extra={"openai_chat": {"uuid": "u", "image_url": {"hint": 1}}}),
        FilePart(data=b"abc", media_type="application/pdf", name="a.pdf"),
        FilePart(url="https://x.example/a.pdf", name="a", extra={"openai_chat": {"as": "document_url"}}),
        VideoPart(url="https://x.example/a.mp4"),
    ) == message.content


TOOLS = [
    {"type": "function", "function": FUNCTION},
    {"type": "function", "function": {"name": "f"}},
    {"type": "function", "function": {"name": "f", "parameters": {}}},
    {"type": "function", "function": {**FUNCTION, "strict": True, "confirm": True}, "cache_control": {"type": "ephemeral"}, "x": 1},
    {"type": "custom", "custom": {"name": "f", "format": {"type": "text"}}},
    {"type": "openrouter:web_search"},
]


@each("tool", TOOLS)
def test_a_tool_is_written_as_it_was_read(tool):
    """Functions with further fields, and tools of the vendor's own."""
    assert [tool] == again(tools=[tool])["tools"]


def test_the_words_of_before_tools_are_understood_and_kept():
    """Functions are tools, a function's call is a tool's; written in this format they stay what they were."""
    old = {"functions": [FUNCTION], "function_call": {"name": "f"}}
    request, said = read(**old).request, again(**old)

    assert (["f"], {"type": "function", "function": {"name": "f"}}) == ([tool.name for tool in request.tools], request.tool_choice)
    assert old == {name: said[name] for name in said if name not in ("model", "messages")}


@each(
    "choice, expected",
    [
        ("any", "required"),
        ("auto", "auto"),
        ("f", {"type": "function", "function": {"name": "f"}}),
        ("g", {"type": "custom", "custom": {"name": "g"}}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_a_tool_is_chosen_by_a_word_or_its_name(choice, expected):
    """Whatever the user finds easiest."""
    tools = [Tool(name="f"), VendorTool(origin="openai_chat", data={"type": "custom", "custom": {"name": "g"}})]

    assert expected == sent(asked(tools=tools, tool_choice=choice))["tool_choice"]


def test_a_choice_of_nothing_is_refused():
    """With what would do."""
    with pytest.raises(InvalidRequest, match="tool_choice"):
        sent(asked(tools=[Tool(name="f")], tool_choice="g"))


@each(
    "quirk, fields",
    [
        ("no_sampling", {"temperature": 1.0, "top_k": 3, "presence_penalty": 1.0}),
        ("no_penalties", {"frequency_penalty": 1.0}),
        ("no_user", {"user": "me"}),
        ("no_effort", {"reasoning_effort": "low"}),
        ("no_parallel_tools", {"parallel_tool_calls": False}),
    ],
)
def test_what_only_tunes_is_left_out_where_it_is_refused(quirk, fields):
    """Its absence is all that the model accepts."""
    assert {"model", "messages"} == sent(asked(**fields), quirks=[quirk]).keys()


@each(
    "quirk, fields, left",
    [
        ("no_stop", {"stop": ["x"]}, {}),
        ("no_logprobs", {"logprobs": True}, {}),
        ("no_forced_tools", {"tool_choice": "required"}, {"tool_choice": "auto"}),
    ],
)
def test_what_decides_the_answer_is_refused_where_the_model_refuses_it(quirk, fields, left):
    """Unless the request allows that it is dropped."""
    with pytest.raises(InvalidRequest, match=next(iter(fields))):
        sent(asked(**fields), quirks=[quirk])
    dropped = sent(asked(**fields, drop_params=True), quirks=[quirk])

    assert left == {name: value for name, value in dropped.items() if name not in ("model", "messages")}


@each(
    "quirk, fields, expected",
    [
        ("max_completion_tokens", {"max_tokens": 9}, {"max_completion_tokens": 9}),
        ("no_max_completion_tokens", {"max_tokens": 9}, {"max_tokens": 9}),
        ("random_seed", {"seed": 7}, {"random_seed": 7}),
    ],
)
def test_some_servers_have_another_word(quirk, fields, expected):
    """The quirk counts, also over how the request spelt it."""
    for request in (asked(**fields), read(max_completion_tokens=9).request if "max_tokens" in fields else asked(**fields)):
        said = sent(request, quirks=[quirk])

        assert expected == {name: value for name, value in said.items() if name not in ("model", "messages")}


def test_developers_are_the_system_where_they_are_unknown():
    """Most servers know no other leading role."""
    assert "system" == sent(asked(Message("developer", "d")), quirks=["system_role"])["messages"][0]["role"]


def test_a_stream_has_no_options_where_they_are_refused():
    """It is a stream all the same."""
    assert {"stream": True} == {
        name: value for name, value in sent(asked(), stream=True, quirks=["no_stream_options"]).items() if name.startswith("stream")
    }


def test_thoughts_go_back_to_those_who_want_them():
    """In the fields that they came in; strict servers refuse what they do not know."""
    fields = {"reasoning": "t", "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}
    mine = ReasoningPart(text="t", origin="openai_chat", extra={"openai_chat": fields})
    request = asked(Message.assistant(mine, "a"), Message.assistant(ReasoningPart(text="own"), "b"))

    assert [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}] == sent(request)["messages"]
    assert [{"role": "assistant", "content": "a", **fields}, {"role": "assistant", "content": "b", "reasoning_content": "own"}] == [
        *sent(request, quirks=["replay_reasoning"])["messages"]
    ]


def test_thoughts_of_another_format_stay_behind():
    """No other vendor can make anything of them."""
    foreign = ReasoningPart(text="t", signature="s", origin="anthropic_messages")

    assert [{"role": "assistant", "content": "a"}] == sent(asked(Message.assistant(foreign, "a")), quirks=["replay_reasoning"])[
        "messages"
    ]


def test_calls_without_ids_get_them_by_their_order():
    """And so do their results."""
    calls = [ToolCall(name="f"), ToolCall(name="g", id="own"), ToolCall(name="h")]
    turns = sent(asked(Message.assistant(tool_calls=calls), Message.tool("1"), Message.tool("2", "own"), Message.tool("3")))[
        "messages"
    ]

    assert ["call_0", "own", "call_1"] == [call["id"] for call in turns[0]["tool_calls"]]
    assert ["call_0", "own", "call_1"] == [message["tool_call_id"] for message in turns[1:]]


@each(
    "field, fields",
    [
        ("message.content", {"messages": [Message.user(OtherPart(origin="gemini", data={"type": "x"}), "u")]}),
        ("tools", {"tools": [VendorTool(origin="gemini", data={"googleSearch": {}})]}),
        ("reasoning_tokens", {"reasoning_tokens": 9}),
    ],
)
def test_what_the_format_cannot_express_is_named_or_dropped(field, fields):
    """By the request's own choice."""
    messages = fields.pop("messages", [Message.user("u")])
    with pytest.raises(InvalidRequest, match=field):
        sent(Request("m", messages, **fields))

    assert {"model", "messages"} == sent(Request("m", messages, **fields, drop_params=True)).keys()


@each(
    "body",
    [
        b'{"model": "m"}',
        b'{"model": 1, "messages": [{"role": "user", "content": "u"}]}',
        b'{"model": "m", "messages": ["u"]}',
        b'{"model": "m", "messages": [{"role": "robot", "content": "u"}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": 5}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": [5]}]}',
        b'{"model": "m", "messages": [{"role": "assistant", "tool_calls": [5]}]}',
        b'{"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "u"}], "temperature": "hot"}',
        b'{"model": "m", "messages": [{"role": "user", "content": "u"}], "tools": [{"type": "function"}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "u"}], "stream": "yes"}',
    ],
)
def test_what_is_no_request_is_refused(body):
    """With the field that is wrong."""
    with pytest.raises(InvalidRequest):
        OPENAI_CHAT.read_request(body)


def test_a_schema_is_told_in_words_where_the_vendor_knows_none():
    """It promises JSON, and the words say which; what comes back is checked by whoever asked."""
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object", "required": ["a"]}}}
    document = sent(asked(response_format=form), quirks=["no_json_schema"])

    assert {"type": "json_object"} == document["response_format"]
    assert '{"type":"object","required":["a"]}' in document["messages"][0]["content"]
    assert form == sent(asked(response_format=form))["response_format"]
