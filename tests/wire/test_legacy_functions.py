"""OpenAI's words of before tools: ``functions``, ``function_call``, role ``function``; of library users, and of clients."""

import json

import attrs
import pytest

from llmdispatcher import InvalidRequest, Request, Response, StreamChunk, Tool, ToolCall
from llmdispatcher.catalog import traits_of
from llmdispatcher.types import ToolCallDelta
from llmdispatcher.wire import CODECS

from ..cases import each

FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
TOOL = Tool(name="f", description="d", parameters=FUNCTION["parameters"])
CONVERSATION = [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}},
    {"role": "function", "name": "f", "content": "r"},
]
CHAT = CODECS["openai_chat"]
EVERY_CODEC = each("codec", CODECS)


def body(codec, request, quirks=frozenset()):
    return json.loads(codec.encode(request, stream=False, quirks=quirks))


def asked(**more):
    return CHAT.read_request(json.dumps({"model": "m", "messages": CONVERSATION, "functions": [FUNCTION], **more}).encode())


@each(
    "choice, wanted",
    [(None, None), ("auto", "auto"), ("none", "none"), ({"name": "f"}, {"type": "function", "function": {"name": "f"}})],
)
def test_a_library_users_functions_are_tools(choice, wanted):
    """And stay so in copies of the request."""
    old = Request("m", "q", functions=[FUNCTION], function_call=choice)
    new = Request("m", "q", tools=[TOOL], tool_choice=wanted)

    assert new == old == attrs.evolve(attrs.evolve(old, model="x"), model="m")


def test_functions_come_behind_tools():
    """Whoever is half way to the newer words loses none of them."""
    request = Request("m", "q", tools=[Tool(name="t")], functions=[FUNCTION])

    assert ["t", "f"] == [tool.name for tool in request.tools]


@each(
    "fields, named",
    [
        ({"functions": [{"description": "d"}]}, "name"),
        ({"functions": [FUNCTION], "function_call": {"nome": "f"}}, "function_call"),
        ({"functions": [FUNCTION], "function_call": 7}, "function_call"),
        ({"tools": [TOOL], "tool_choice": "auto", "function_call": "auto"}, "function_call"),
        ({"messages": [{"role": "function", "content": "r"}]}, "name"),
        ({"messages": [{"role": "assistant", "function_call": {"arguments": "{}"}}]}, "function_call"),
    ],
)
def test_mistakes_in_the_older_words_are_named(fields, named):
    """With what to write instead."""
    with pytest.raises(InvalidRequest, match=named):
        Request("m", **{"messages": "q", **fields})


@EVERY_CODEC
def test_a_library_users_older_conversation_is_that_of_tools_in_every_format(codec):
    """The call gets an id where the format wants one, and its result the same."""
    old = Request("m", CONVERSATION, functions=[FUNCTION], max_tokens=9)
    call = {"id": "call_0", "function": {"name": "f", "arguments": '{"a": 1}'}}
    result = {"role": "tool", "name": "f", "tool_call_id": "call_0", "content": "r"}
    new = Request("m", [CONVERSATION[0], {"role": "assistant", "tool_calls": [call]}, result], tools=[TOOL], max_tokens=9)
    named = codec.name in ("gemini", "ollama_chat")  # which go by the function's name

    assert _without_ids(body(codec, new)) == _without_ids(body(codec, old)) if named else body(codec, new) == body(codec, old)


def _without_ids(value):
    if isinstance(value, dict):
        return {name: _without_ids(inner) for name, inner in value.items() if name not in ("id", "tool_call_id")}
    return [_without_ids(inner) for inner in value] if isinstance(value, list) else value


def test_an_answer_tells_its_first_call_in_the_older_words():
    """As the documents' ``response.function_call`` has it."""
    calls = (ToolCall(name="f", arguments='{"a":1}', id="x"), ToolCall(name="g", arguments="{}", id="y"))

    assert {"name": "f", "arguments": '{"a":1}'} == Response(tool_calls=calls).function_call
    assert Response(content="a").function_call is None


ANSWER = Response(tool_calls=(ToolCall(name="f", arguments='{"a":1}', id="toolu_1"),), finish_reason="tool_calls")
OLD_CALL = ToolCall(name="f", arguments='{"a":1}', extra={"openai_chat": {"as": "legacy"}})


@each(
    "answer",
    [
        ANSWER,
        attrs.evolve(ANSWER, finish_reason_raw="tool_use"),
        attrs.evolve(ANSWER, tool_calls=(*ANSWER.tool_calls, ToolCall(name="g", arguments="{}", id="toolu_2"))),
        attrs.evolve(ANSWER, tool_calls=(OLD_CALL,), finish_reason_raw="function_call"),
    ],
)
def test_a_client_that_asked_with_functions_is_answered_so(answer):
    """Whichever vendor answered: one call, and the word for it."""
    [choice] = json.loads(CHAT.write_response(answer, asked()))["choices"]

    assert ({"name": "f", "arguments": '{"a":1}'}, "function_call") == (choice["message"]["function_call"], choice["finish_reason"])
    assert "tool_calls" not in choice["message"]


def test_a_client_that_asked_with_tools_is_answered_so():
    """Even where the vendor answers in the older words: the call has an id."""
    with_tools = asked(functions=None, tools=[{"type": "function", "function": FUNCTION}])
    answer = attrs.evolve(ANSWER, tool_calls=(OLD_CALL,), finish_reason_raw="function_call")
    [choice] = json.loads(CHAT.write_response(answer, with_tools))["choices"]

    assert "tool_calls" == choice["finish_reason"]
    assert choice["message"]["tool_calls"][0]["id"]
    assert "function_call" not in choice["message"]


PIECES = [
    StreamChunk(model="m", tool_calls=(ToolCallDelta(index=0, id="toolu_1", name="f"),)),
    StreamChunk(tool_calls=(ToolCallDelta(index=0, arguments='{"a"'),)),
    StreamChunk(tool_calls=(ToolCallDelta(index=0, arguments=":1}"), ToolCallDelta(index=1, id="toolu_2", name="g"))),
    StreamChunk(tool_calls=(ToolCallDelta(index=1, arguments="{}"),)),
    StreamChunk(finish_reason="tool_calls", finish_reason_raw="tool_use"),
]


@each("ends", [True, False])
def test_a_stream_to_a_client_that_asked_with_functions_has_them(ends):
    """Piece by piece; the second call has no place there."""
    writer = CHAT.writer(asked(stream=True))
    events = b"".join([*[writer.write(chunk) for chunk in (PIECES if ends else PIECES[:-1])], writer.end()]).decode()
    told = [json.loads(line[6:])["choices"][0] for line in events.splitlines() if line.startswith("data: {")]
    calls = [choice["delta"]["function_call"] for choice in told if "function_call" in choice["delta"]]

    assert ["f"] == [call["name"] for call in calls if "name" in call]
    assert '{"a":1}' == "".join([call["arguments"] for call in calls])
    assert "function_call" == told[-1]["finish_reason"]
    assert "tool_calls" not in events


def test_towards_openai_a_clients_functions_stay_what_they_were():
    """Word for word."""
    sent = body(CHAT, asked(function_call={"name": "f"}).request, traits_of("openai", "gpt-4o").quirks)

    assert {"functions": [FUNCTION], "function_call": {"name": "f"}, "messages": CONVERSATION} == {
        name: sent[name] for name in ("functions", "function_call", "messages")
    }


@each("kind", ["groq", "mistral", "openrouter", "vllm"])
def test_towards_servers_that_know_tools_alone_a_clients_functions_are_tools(kind):
    """With ids for the call and its result, the same one."""
    sent = body(CHAT, asked(function_call={"name": "f"}).request, traits_of(kind, "m").quirks)
    call, result = sent["messages"][1]["tool_calls"][0], sent["messages"][2]

    assert {"functions", "function_call"}.isdisjoint(sent)
    assert ([{"type": "function", "function": FUNCTION}], {"type": "function", "function": {"name": "f"}}) == (
        sent["tools"],
        sent["tool_choice"],
    )
    assert ("tool", call["id"], "f") == (result["role"], result["tool_call_id"], call["function"]["name"])


@each("codec", [codec for codec in CODECS.values() if codec is not CHAT])
def test_towards_other_formats_a_clients_functions_are_those_formats_tools(codec):
    """As those of a client that asks with tools."""
    sent = json.dumps(body(codec, attrs.evolve(asked().request, max_tokens=9)))

    assert '"f"' in sent
    assert not any(word in sent for word in ("legacy", '"role": "function"'))
