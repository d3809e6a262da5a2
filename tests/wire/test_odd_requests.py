"""Odd requests: what says nothing in a client's, what a model wrote into the history, schemas that vendors refuse."""

from __future__ import annotations

import base64
import json
import re
from contextlib import suppress

import attrs
import pytest

from llmdispatcher import FilePart, ImagePart, InvalidRequest, Message, ReasoningPart, Request, TextPart, Tool, ToolCall, VendorTool
from llmdispatcher.catalog import traits_of
from llmdispatcher.wire import telling_dropped, within_limits
from llmdispatcher.wire.codecs import CODECS
from llmdispatcher.wire.schemas import object_schema, type_schema, without_nulls
from llmdispatcher.wire.shaping import without_idle_choice

from ..cases import each

CHAT, ANTHROPIC, GEMINI, OLLAMA, RESPONSES = "openai_chat", "anthropic_messages", "gemini", "ollama_chat", "openai_responses"
USER = {"role": "user", "content": "q"}
ASKED = {
    CHAT: {"model": "x", "messages": [USER]},
    ANTHROPIC: {"model": "x", "max_tokens": 9, "messages": [USER]},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "q"}]}]},
    OLLAMA: {"model": "x", "messages": [USER]},
    RESPONSES: {"model": "x", "input": [USER]},
}
TALK = {CHAT: "messages", ANTHROPIC: "messages", GEMINI: "contents", OLLAMA: "messages", RESPONSES: "input"}
TOOLS = {
    CHAT: [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    ANTHROPIC: [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
    RESPONSES: [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}],
}


def read(source, **fields):
    request = CODECS[source].read_request(json.dumps({**ASKED[source], **fields}).encode(), "").request
    return attrs.evolve(request, model="m")


def sent(source, target, **fields):
    return json.loads(CODECS[target].encode(read(source, **fields), stream=False))


def encoded(target, *messages, quirks=(), **fields):
    return json.loads(CODECS[target].encode(Request("m", messages, **fields), stream=False, quirks=frozenset(quirks)))


EMPTY = [
    # a setting that a program in a typed language writes although it wishes nothing
    (CHAT, {"response_format": {"type": ""}}),
    (CHAT, {"response_format": {"type": "", "json_schema": {"name": "", "schema": None}}}),
    (CHAT, {"prediction": {"type": "", "content": ""}}),
    (CHAT, {"audio": {"voice": "", "format": ""}}),
    (CHAT, {"tool_choice": {"type": "", "function": {"name": ""}}}),
    (CHAT, {"function_call": {"name": ""}}),
    (CHAT, {"stop": [None, ""]}),
    (CHAT, {"reasoning": {"effort": "", "max_tokens": None}}),
    (CHAT, {"stream_options": {"include_usage": None}}),
    (CHAT, {"logprobs": None, "top_logprobs": 0}),
    (CHAT, {"modalities": []}),
    (ANTHROPIC, {"thinking": {"type": "", "budget_tokens": 0}}),
    (ANTHROPIC, {"thinking": {"type": "", "budget_tokens": 0, "display": ""}}),
    (ANTHROPIC, {"tool_choice": {"type": ""}}),
    (ANTHROPIC, {"tool_choice": {"type": "", "name": "", "disable_parallel_tool_use": False}}),
    (ANTHROPIC, {"output_config": {"effort": "", "format": {"type": "", "schema": None}}}),
    (ANTHROPIC, {"stop_sequences": [None, ""]}),
    (ANTHROPIC, {"metadata": {"user_id": ""}}),
    (ANTHROPIC, {"cache_control": {"type": ""}}),
    (ANTHROPIC, {"container": {"id": "", "skills": []}}),
    (GEMINI, {"cachedContent": ""}),
    (GEMINI, {"systemInstruction": {"role": "system", "parts": []}}),
    (GEMINI, {"generationConfig": {"maxOutputTokens": 0, "candidateCount": 0, "responseMimeType": "", "responseModalities": []}}),
    (GEMINI, {"generationConfig": {"thinkingConfig": {"thinkingLevel": ""}, "stopSequences": [""]}}),
    (GEMINI, {"toolConfig": {"functionCallingConfig": {"mode": "", "allowedFunctionNames": []}}}),
    (GEMINI, {"serviceTier": ""}),
    (OLLAMA, {"options": {"stop": [None, ""]}}),
    (OLLAMA, {"format": ""}),
    (RESPONSES, {"text": {"format": {"type": ""}}}),
    (RESPONSES, {"text": {"format": {"type": "", "name": "", "schema": None}, "verbosity": ""}}),
    (RESPONSES, {"reasoning": {"effort": "", "summary": ""}}),
    (RESPONSES, {"tool_choice": {"type": "", "name": ""}}),
    (RESPONSES, {"prompt": {"id": "", "variables": None}}),
    (RESPONSES, {"max_output_tokens": 0, "max_tool_calls": 0}),
]


@each("source, fields", EMPTY)
def test_a_setting_that_says_nothing_is_not_sent(source, fields):
    """Vendors answer 400 to most of them; the request is as one without it, in its own format and in another."""
    other = CHAT if source != CHAT else ANTHROPIC

    assert sent(source, source) == sent(source, source, **fields)
    assert sent(source, other) == sent(source, other, **fields)


SAID = [
    # a setting that says something although it holds a zero, a no or nothing
    (CHAT, {"temperature": 0, "seed": 0}),
    (CHAT, {"web_search_options": {}}),
    (CHAT, {"transforms": []}),
    (CHAT, {"reasoning": {"enabled": False}}),
    (CHAT, {"usage": {"include": False}}),
    (CHAT, {"chat_template_kwargs": {"system": ""}}),
    (CHAT, {"metadata": {"trace": ""}}),
    (CHAT, {"stop": ["a"]}),
    (ANTHROPIC, {"thinking": {"type": "disabled"}}),
    (GEMINI, {"generationConfig": {"temperature": 0, "thinkingConfig": {"thinkingBudget": 0}}}),
    (RESPONSES, {"text": {"verbosity": "low"}, "store": False}),
]


@each("source, fields", SAID)
def test_a_setting_that_says_something_is_sent(source, fields):
    """A zero, a no and an empty list may be what is wished."""
    assert {**sent(source, source), **fields} == sent(source, source, **fields)


def test_what_says_something_beside_what_does_not_is_kept():
    """In groups of settings, member by member."""
    assert {"verbosity": "low"} == sent(RESPONSES, RESPONSES, text={"format": {"type": ""}, "verbosity": "low"})["text"]
    assert {"summary": "auto"} == sent(RESPONSES, RESPONSES, reasoning={"effort": "", "summary": "auto"})["reasoning"]
    assert {"effort": "low"} == sent(ANTHROPIC, ANTHROPIC, output_config={"format": {"type": ""}, "effort": "low"})["output_config"]
    assert ["a"] == sent(CHAT, CHAT, stop=[None, "a", ""])["stop"]
    assert ["a"] == sent(GEMINI, GEMINI, generationConfig={"stopSequences": ["", "a"]})["generationConfig"]["stopSequences"]
    assert ["a"] == sent(OLLAMA, OLLAMA, options={"stop": ["", "a"]})["options"]["stop"]


IDLE = [
    (CHAT, {"tools": [], "tool_choice": "auto", "parallel_tool_calls": False}),
    (CHAT, {"tools": [], "tool_choice": "none"}),
    (CHAT, {"functions": [], "function_call": "auto"}),
    (CHAT, {"function_call": "none"}),
    (ANTHROPIC, {"tools": [], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    (ANTHROPIC, {"tools": [], "tool_choice": {"type": "none"}}),
    (GEMINI, {"tools": [], "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}}),
    (GEMINI, {"tools": [], "toolConfig": {"functionCallingConfig": {"mode": "none"}}}),
    (RESPONSES, {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}),
]


@each("source, fields", IDLE)
def test_there_is_no_choice_beside_an_empty_list_of_tools(source, fields):
    """Vendors refuse it, and clients write it."""
    assert {"tools": [], **sent(source, source)} == {"tools": [], **sent(source, source, **fields)}


def test_a_function_that_must_be_called_is_asked_for_in_todays_words_without_functions():
    """The one that is named; a server that has no such tool says so."""
    assert "function_call" not in sent(CHAT, CHAT, function_call={"name": "f"})
    tools = {"tools": TOOLS[CHAT], "function_call": "auto"}
    assert "auto" == sent(CHAT, CHAT, **tools)["function_call"]


HOLLOW = [
    # a block that only says what it would be: where it stands, and what it is
    (CHAT, "user", {"type": "image_url", "image_url": {"url": ""}}),
    (CHAT, "user", {"type": "image_url", "image_url": {"url": "", "detail": "auto"}}),
    (CHAT, "user", {"type": "image_url", "image_url": None}),
    (CHAT, "user", {"type": "video_url", "video_url": {"url": ""}}),
    (CHAT, "user", {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}),
    (CHAT, "user", {"type": "file", "file": {"file_id": "", "file_data": "", "filename": ""}}),
    (ANTHROPIC, "user", {"type": "image", "source": {"type": "", "media_type": "", "data": ""}}),
    (ANTHROPIC, "user", {"type": "image", "source": {"type": "url", "url": ""}, "cache_control": {"type": "ephemeral"}}),
    (ANTHROPIC, "user", {"type": "document", "title": "", "source": {"type": "base64", "media_type": "", "data": ""}}),
    (ANTHROPIC, "user", {"type": "tool_result", "tool_use_id": "", "content": ""}),
    (ANTHROPIC, "assistant", {"type": "tool_use", "id": "", "name": "", "input": None}),
    (ANTHROPIC, "assistant", {"type": "tool_use", "id": "", "name": "", "input": {}}),
    (GEMINI, "user", {"inlineData": {"mimeType": "image/png", "data": ""}}),
    (GEMINI, "user", {"fileData": {"mimeType": "", "fileUri": ""}}),
    (GEMINI, "user", {"functionResponse": {"name": "", "id": "", "response": {}}}),
    (GEMINI, "user", {"functionCall": None}),
    (GEMINI, "model", {"functionCall": {"name": "", "args": {}}}),
    (GEMINI, "model", {"functionCall": {"name": "", "args": None}, "thoughtSignature": ""}),
    (RESPONSES, "user", {"type": "input_image", "image_url": "", "detail": "auto"}),
    (RESPONSES, "user", {"type": "input_file", "file_data": "", "filename": ""}),
    (RESPONSES, "user", {"type": "input_audio", "input_audio": {"data": "", "format": ""}}),
]


@each("source, role, block", HOLLOW)
@each("target", [CHAT, ANTHROPIC, GEMINI, RESPONSES])
def test_a_block_that_holds_nothing_is_none(source, role, block, target):
    """It would be refused, or run as a call without a name."""
    text = {"text": "hi"} if source == GEMINI else {"type": "input_text" if source == RESPONSES else "text", "text": "hi"}
    turn = [{"role": role, "parts" if source == GEMINI else "content": blocks} for blocks in ([text, block], [text])]
    talks = [[*ASKED[source][TALK[source]], one, *ASKED[source][TALK[source]]] for one in turn]

    with_block, without = [sent(source, target, **{TALK[source]: talk}) for talk in talks]
    assert without == with_block


@each("item", ["function_call", "custom_tool_call", "function_call_output"])
@each("target", [CHAT, ANTHROPIC, RESPONSES])
def test_an_item_that_holds_nothing_is_none(item, target):
    """A call without a name, and a result of none."""
    fields = {"call_id": "", "name": "", "arguments": "", "input": "", "output": ""}

    assert sent(RESPONSES, target, input=[USER, USER]) == sent(RESPONSES, target, input=[USER, {"type": item, **fields}, USER])


def test_an_empty_picture_of_ollamas_is_none():
    """An empty text in the list."""
    assert sent(OLLAMA, OLLAMA) == sent(OLLAMA, OLLAMA, messages=[{**USER, "images": [""]}])


def test_a_turn_of_nothing_but_empty_parts_is_none():
    """Google refuses parts without data."""
    turns = [*ASKED[GEMINI]["contents"], {"role": "model", "parts": [{"functionCall": {"name": ""}}]}]

    assert sent(GEMINI, GEMINI) == sent(GEMINI, GEMINI, contents=turns)


def test_a_block_that_is_not_known_is_kept_if_it_is_empty():
    """Its presence may be what it says."""
    parts = [{"text": "q"}, {"hologram": {}}]

    assert parts == sent(GEMINI, GEMINI, contents=[{"role": "user", "parts": parts}])["contents"][0]["parts"]


@each("schema", [None, {}])
@each("target", [ANTHROPIC, CHAT])
def test_a_tool_of_a_client_without_a_schema_takes_nothing(schema, target):
    """Anthropic wants a type, and so do strict servers of OpenAI's format."""
    tool = sent(ANTHROPIC, target, tools=[{"name": "f", "input_schema": schema}])["tools"][0]

    assert {"type": "object", "properties": {}} == (tool.get("input_schema") or tool["function"]["parameters"])


EMPTY_IN_TOOLS = {
    CHAT: {"type": "", "function": {"name": "f", "strict": None}, "cache_control": {"type": ""}},
    ANTHROPIC: {"type": "", "name": "f", "input_schema": {}, "strict": None, "cache_control": {}},
    OLLAMA: {"type": "", "function": {"name": "f", "parameters": None}},
    RESPONSES: {"type": "", "name": "f", "parameters": {}, "strict": None, "cache_control": {"type": ""}},
}


@each("source", list(EMPTY_IN_TOOLS))
def test_a_field_of_a_tool_that_says_nothing_is_not_sent(source):
    """A tool of no type is a function."""
    body = json.dumps(sent(source, source, tools=[EMPTY_IN_TOOLS[source]])["tools"])

    assert '"f"' in body
    assert [] == [name for name in ('""', "null", "cache_control") if name in body]


EMPTY_IN_PARTS = [
    (CHAT, {"type": "image_url", "image_url": {"url": "u"}}, {"image_url": {"url": "u", "detail": ""}}),
    (CHAT, {"type": "text", "text": "t"}, {"cache_control": {"type": ""}}),
    (CHAT, {"type": "file", "file": {"file_id": "f1"}}, {"file": {"file_id": "f1", "file_data": "", "filename": ""}}),
    (ANTHROPIC, {"type": "document", "source": {"type": "url", "url": "u"}}, {"title": "", "cache_control": {}}),
    (ANTHROPIC, {"type": "image", "source": {"type": "url", "url": "u"}}, {"cache_control": {"type": ""}}),
]  # fmt: skip


@each("source, part, empty", EMPTY_IN_PARTS)
def test_a_field_of_a_part_that_says_nothing_is_not_sent(source, part, empty):
    """The part is as one without it."""
    bodies = [sent(source, source, messages=[{"role": "user", "content": [one]}]) for one in (part, {**part, **empty})]

    assert bodies[0] == bodies[1]


@each("kind", [{}, [], 7, None])
def test_a_part_of_an_odd_type_is_no_failure_of_ours(kind):
    """Whatever stands there."""
    part = {"type": kind, "image_url": {"url": ""}}

    assert part == sent(CHAT, CHAT, messages=[{"role": "user", "content": [part]}])["messages"][0]["content"][0]


GOOGLES_PARTS = (
    "text",
    "thought",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "thoughtSignature",
)


@each("value", [0, 5, "", "x", None, [], [1], True, 1.5, {}])
@each("role", ["user", "model"])
@each("name", GOOGLES_PARTS)
def test_a_field_of_a_part_of_google_may_be_of_any_type(name, role, value):
    """It is read, or refused as the client's mistake."""
    body = {"contents": [{"role": role, "parts": [{"text": "hi"}, {name: value}]}]}

    with suppress(InvalidRequest):
        CODECS[GEMINI].read_request(json.dumps(body).encode(), "m")


GO = {
    "type": "object",
    "description": None,
    "properties": {"a": {"type": "array", "items": {"type": "string", "enum": None}, "required": None}, "b": None},
    "required": None,
    "$defs": None,
    "additionalProperties": None,
}
PLAIN = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}


in_every_format = each(
    "codec, schema_of",
    [
        (CHAT, lambda body: body["tools"][0]["function"]["parameters"]),
        (ANTHROPIC, lambda body: body["tools"][0]["input_schema"]),
        (GEMINI, lambda body: body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]),
        (OLLAMA, lambda body: body["tools"][0]["function"]["parameters"]),
        (RESPONSES, lambda body: body["tools"][0]["parameters"]),
    ],
)


@in_every_format
def test_a_null_in_a_schema_is_absent(codec, schema_of):
    """On every level, and in the form of an answer."""
    assert PLAIN == schema_of(encoded(codec, Message.user("q"), tools=[Tool(name="f", parameters=GO)]))
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": GO}}
    told = {**ASKED[CHAT], "response_format": form}
    request = attrs.evolve(CODECS[CHAT].read_request(json.dumps(told).encode()).request, model="m")
    assert "null" not in CODECS[codec].encode(request, stream=False).decode()


def test_a_null_that_is_a_value_stays():
    """And a schema without others is not copied."""
    schema = {"type": "object", "properties": {"a": {"enum": ["x", None], "default": None}, "b": {"const": None}}}

    assert schema is without_nulls(schema)


REFERRED = {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"x": {}}, "required": ["x"]}}}


@each(
    "schema, properties, required",
    [
        ({"type": "object", "properties": None, "required": None}, {}, None),
        ({"anyOf": [{"properties": {"x": {}}, "required": None}, {"properties": None}]}, {"x": {}}, None),
        (REFERRED, {"x": {}}, ["x"]),
        ({**REFERRED, "$ref": "#/$defs/B"}, {}, None),
        ({"$defs": REFERRED["$defs"], "oneOf": [{"$ref": "#/$defs/A"}, {"properties": {"y": {}}}]}, {"x": {}, "y": {}}, None),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, {}, None),
    ],
)
def test_arguments_are_an_object_with_properties(schema, properties, required):
    """Whatever stands at the root of their schema."""
    made = object_schema(schema)

    assert ("object", properties, required) == (made["type"], made["properties"], made.get("required"))


TYPED = {
    # a schema within an object's, and what Moonshot takes
    "type beside a choice": ({"type": "string", "anyOf": [{"minLength": 1}, {"maxLength": 9}]},
                             {"anyOf": [{"type": "string", "minLength": 1}, {"type": "string", "maxLength": 9}]}),
    "fields beside a choice": (
        {"type": "object", "properties": {"x": {}, "y": {}}, "anyOf": [{"required": ["x"]}, {"required": ["y"]}]},
        {"anyOf": [{"type": "object", "properties": {"x": {}, "y": {}}, "required": [name]} for name in "xy"]},
    ),
    "one of": ({"description": "d", "oneOf": [{"type": "string"}, {"type": "null"}]},
               {"description": "d", "anyOf": [{"type": "string"}, {"type": "null"}]}),
    "all of": ({"allOf": [{"type": "object", "properties": {"x": {"type": "string"}}}, {"required": ["x"]}]},
               {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}),
    "values without a type": ({"enum": ["a", "b"]}, {"type": "string", "enum": ["a", "b"]}),
    "values of another type": ({"type": "string", "enum": [1, 2.5]}, {"type": "number", "enum": [1, 2.5]}),
    "values and null": ({"type": "string", "enum": ["a", None]}, {"type": ["string", "null"], "enum": ["a", None]}),
    "values of two types": ({"enum": ["a", 1]}, {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "integer", "enum": [1]}]}),
    "constant": ({"const": "a"}, {"type": "string", "enum": ["a"]}),
    "anything": (True, {}),
    "fields without a type": ({"properties": {"x": {}}}, {"type": "object", "properties": {"x": {}}}),
    "required that is not there": ({"type": "object", "properties": {}, "required": ["x"]}, {"type": "object", "properties": {}}),
    "tuple": ({"type": "array", "items": [{"type": "string"}, {"type": "null"}]},
              {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}}),
    "object or null": ({"type": ["object", "null"], "properties": {"x": {"type": "string"}}},
                       {"anyOf": [{"type": "object", "properties": {"x": {"type": "string"}}}, {"type": "null"}]}),
    "unknown type": ({"type": "any", "description": "d"}, {"description": "d"}),
    "reference elsewhere": ({"$ref": "https://x.example/s.json"}, {}),
    "plain": ({"type": "string", "format": "uuid", "description": "d"}, {"type": "string", "format": "uuid", "description": "d"}),
}  # fmt: skip


@each("name", list(TYPED))
def test_a_schema_for_moonshot(name):
    """Its validator answers 400 to the first of each pair. https://github.com/MoonshotAI/walle"""
    schema, fit = TYPED[name]

    assert {"type": "object", "properties": {"a": fit}} == type_schema({"type": "object", "properties": {"a": schema}})


def test_references_for_moonshot_are_to_definitions():
    """Alone, or as the only choice where something else is said; what they refer to is typed once, itself within it."""
    node = {"properties": {"next": {"$ref": "#/definitions/N"}}, "required": ["y"]}
    schema = {
        "type": "object",
        "definitions": {"N": node},
        "properties": {
            "a": {"$ref": "#/definitions/N", "type": "object", "description": "d"},
            "b": {"$ref": "#/properties/c"},
            "c": {"enum": ["x"]},
        },
    }

    assert {
        "type": "object",
        "properties": {
            "a": {"description": "d", "anyOf": [{"$ref": "#/$defs/N"}]},
            "b": {"$ref": "#/$defs/c"},
            "c": {"type": "string", "enum": ["x"]},
        },
        "$defs": {"N": {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}, "c": {"type": "string", "enum": ["x"]}},
    } == type_schema(schema)


def test_tools_and_forms_for_moonshot():
    """The root of a tool's schema is an object, that of a form what it was."""
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"a": {"enum": [1]}}}}}
    body = encoded(
        CHAT,
        Message.user("q"),
        tools=[Tool(name="f", parameters={"anyOf": [{"type": "object", "properties": {}}]})],
        response_format=form,
        quirks=["typed_schemas"],
    )

    assert {"type": "object", "properties": {}} == body["tools"][0]["function"]["parameters"]
    assert {"type": "integer", "enum": [1]} == body["response_format"]["json_schema"]["schema"]["properties"]["a"]


@each("parameters", [{}, None])
def test_a_clients_tool_without_a_schema_is_an_object_at_moonshot(parameters):
    """Also where the client wrote Moonshot's own format."""
    request = read(CHAT, tools=[{"type": "function", "function": {"name": "f", "parameters": parameters}}])
    body = json.loads(CODECS[CHAT].encode(request, stream=False, quirks=frozenset({"typed_schemas"})))

    assert {"type": "object", "properties": {}} == body["tools"][0]["function"]["parameters"]


@each("quirk", ["checked_schemas", "typed_schemas"])
@each(
    "wrong",
    [
        *({"required": value} for value in (None, 3, [[]], [{}], "x")),
        *({"properties": value} for value in (3, [[]])),
        *({"anyOf": value} for value in (3, True, "x", {"a": 1})),
        *({"type": "string", "format": value} for value in ([], {})),
        {"required": [[]], "allOf": [{"required": [[], "x"]}]},
    ],
)
def test_a_wrong_keyword_in_a_clients_schema_is_no_failure_of_ours(wrong, quirk):
    """It is for the vendor to judge, at the root of a strict schema and within it."""
    for parameters in ({**wrong, "type": "object"}, {"type": "object", "properties": {"x": wrong}, "required": ["x"]}):
        function = {"name": "f", "parameters": parameters, "strict": True}
        request = read(CHAT, tools=[{"type": "function", "function": function}])
        body = json.loads(CODECS[CHAT].encode(request, stream=False, quirks=frozenset({quirk})))

        assert "object" == body["tools"][0]["function"]["parameters"]["type"]


@in_every_format
def test_arguments_are_an_object_in_every_format(codec, schema_of):
    """Servers refuse a choice, a reference or nothing at the root of their schema."""
    for schema in (REFERRED, {"anyOf": [{"properties": {"x": {}}, "required": ["x"]}]}):
        told = schema_of(encoded(codec, Message.user("q"), tools=[Tool(name="f", parameters=schema)]))

        assert ("object", {"x": {}}, ["x"]) == (told["type"], told["properties"], told["required"])


@each("source", [GEMINI, OLLAMA])
def test_an_empty_id_of_a_call_is_none(source):
    """It is not sent back."""
    function = {"name": "f", "args" if source == GEMINI else "arguments": {"a": 1}}
    part = {"functionCall": {**function, "id": ""}} if source == GEMINI else {"id": "", "function": function}
    turn = {"role": "model", "parts": [part]} if source == GEMINI else {"role": "assistant", "tool_calls": [part]}
    talk = [*ASKED[source][TALK[source]], turn]

    assert '"id": ""' not in json.dumps(sent(source, source, **{TALK[source]: talk}))


ROUND = [
    Message.user("q"),
    Message("assistant", "", tool_calls=[ToolCall(name="f", arguments="{}"), ToolCall(name="g", arguments="{}")]),
]


@each(
    "results, names",
    [
        ([Message("tool", "1"), Message("tool", "2")], ["f", "g"]),
        ([Message("tool", "2", name="g"), Message("tool", "1")], ["g", "f"]),
    ],
)
def test_results_without_ids_find_their_calls(results, names):
    """By name, then by order, in every format; a second round has its own."""
    again = [Message("assistant", "", tool_calls=[ToolCall(name="h", arguments="{}")]), Message("tool", "3")]
    talk = [*ROUND, *results, *again]
    google = [part for turn in encoded(GEMINI, *talk)["contents"] for part in turn["parts"]]
    ollama = [turn for turn in encoded(OLLAMA, *talk)["messages"] if turn["role"] == "tool"]

    assert [*names, "h"] == [part["functionResponse"]["name"] for part in google if "functionResponse" in part]
    assert [*names, "h"] == [turn["tool_name"] for turn in ollama]
    calls = [call for turn in encoded(CHAT, *talk)["messages"] for call in turn.get("tool_calls", ())]
    named = {call["id"]: call["function"]["name"] for call in calls}
    answered = [turn["tool_call_id"] for turn in encoded(CHAT, *talk)["messages"] if turn["role"] == "tool"]
    assert [*names, "h"] == [named[told] for told in answered]


@each("target", [CHAT, RESPONSES, ANTHROPIC])
def test_calls_of_a_client_without_ids_get_them(target):
    """The result of the second call is not that of the first, also in the format that was read."""
    call = {"id": "", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    talk = [USER, {"role": "assistant", "tool_calls": [{**call, "id": "call_0"}, call]}]
    results = [{"role": "tool", "tool_call_id": told, "content": told} for told in ("call_0", "")]
    body = json.dumps(sent(CHAT, target, messages=[*talk, *results]))

    assert 2 == body.count('"call_0"') - body.count('"content": "call_0"') - body.count('"output": "call_0"')
    assert 2 == body.count('"call_1"')


def test_a_result_of_googles_may_name_its_call_by_id_alone():
    """The name is found."""
    call = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}, "id": "c"}}]}
    result = {"role": "user", "parts": [{"functionResponse": {"name": "", "id": "c", "response": {"result": "r"}}}]}
    contents = [*ASKED[GEMINI]["contents"], call, result]

    assert "f" == sent(GEMINI, GEMINI, contents=contents)["contents"][2]["parts"][0]["functionResponse"]["name"]


@each("arguments", ['{"a": NaN}', '{"a": [1e999, -Infinity]}', '{"a": -1e999}'])
@each("codec", list(CODECS))
def test_a_number_that_json_lacks_does_not_end_a_conversation(codec, arguments):
    """A model wrote it, or a tool; it goes on as text."""
    talk = [
        Message.user("q"),
        Message("assistant", "", tool_calls=[ToolCall(name="f", arguments=arguments, id="c")]),
        Message("tool", "1e999", tool_call_id="c"),
        Message("tool", '{"a": 1e999}', tool_call_id="c"),
    ]

    assert "Infinity" not in json.dumps(encoded(codec, *talk)).replace('"Infinity"', "").replace('"-Infinity"', "").replace(
        json.dumps(arguments)[1:-1], ""
    )


def test_such_a_number_of_the_caller_is_refused():
    """In a setting nobody else wrote it."""
    with pytest.raises(InvalidRequest, match="cannot be written as JSON"):
        encoded(CHAT, Message.user("q"), extra_params={"x": float("nan")})


@each("arguments", ['{"a": ', "[1]", '"text"'])
@each("target", [ANTHROPIC, GEMINI, OLLAMA])
def test_arguments_that_are_no_object_do_not_end_a_clients_conversation(target, arguments):
    """They go on within one; who calls the library is told, but by Google's format, which takes what is JSON."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    talk = [USER, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "r"}]

    assert '"input": ' in json.dumps(sent(CHAT, target, messages=talk))


def test_instructions_are_parted_where_a_model_knows_no_system():
    """By an empty line, from each other and from what the user says, as texts and as parts."""
    quirks = ["no_system"]
    told = [Message.system("One."), Message("developer", "Two.")]
    parts = [Message.system("One."), Message.system(TextPart(text="Two.", cache="5m"))]

    assert "One.\n\nTwo.\n\nq" == encoded(CHAT, *told, Message.user("q"), quirks=quirks)["messages"][0]["content"]
    assert "One.\n\nTwo." == encoded(CHAT, *told, Message.assistant("a"), quirks=quirks)["messages"][0]["content"]
    written = encoded(CHAT, *parts, Message.user("q"), quirks=quirks)["messages"][0]["content"]
    assert "One.\n\nTwo.\n\nq" == "".join([part["text"] for part in written])


FORM = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "properties": {}}}}
FORCED = {"tools": [Tool(name="f")], "tool_choice": "required", "response_format": FORM}


def test_the_tool_for_the_answer_is_told_of_whatever_else_the_choice_says():
    """One call at a time is a field beside the type."""
    quirks = ["no_json_schema", "no_forced_tools"]
    body = encoded(ANTHROPIC, Message.user("q"), response_format=FORM, parallel_tool_calls=False, quirks=quirks)

    assert {"type": "auto", "disable_parallel_tool_use": True} == body["tool_choice"]
    assert "respond_with_structure" in body["system"]


def test_a_forced_call_is_not_dropped_in_silence_beside_a_schema():
    """Where neither can be forced, whoever asked for the call is told."""
    quirks = ["no_json_schema", "no_forced_tools"]
    with pytest.raises(InvalidRequest, match="tool_choice"):
        encoded(ANTHROPIC, Message.user("q"), **FORCED, quirks=quirks)

    _, dropped = telling_dropped(lambda: encoded(ANTHROPIC, Message.user("q"), **FORCED, drop_params=True, quirks=quirks))
    assert ("tool_choice",) == dropped


def test_a_block_of_a_client_without_a_type_is_no_failure_of_ours():
    """Whatever is in a turn, results come first."""
    odd = Message("user", [TextPart(text="q", extra={ANTHROPIC: {"type": None}})])
    talk = [*ROUND, Message("tool", "1"), Message("tool", "2"), odd]

    assert encoded(ANTHROPIC, *talk)["messages"]


NOTHING = [
    (CHAT, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]}),
    (CHAT, {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": ""}}, None]}),
    (CHAT, {"role": "user", "content": []}),
    (
        ANTHROPIC,
        {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}]},
    ),
    (ANTHROPIC, {"role": "user", "content": [{"type": "document", "source": {"type": "url", "url": ""}}]}),
    (ANTHROPIC, {"role": "user", "content": []}),
    (ANTHROPIC, {"role": "user", "content": ""}),
    (OLLAMA, {"role": "user", "content": "", "images": [""]}),
    (RESPONSES, {"role": "user", "content": [{"type": "input_image", "image_url": ""}]}),
    (RESPONSES, {"role": "user", "content": ""}),
    (GEMINI, {"role": "user", "parts": [{"inlineData": {"mimeType": "", "data": ""}}]}),
]


@each("source, turn", NOTHING)
def test_a_turn_of_empty_media_alone_is_one_of_an_empty_text(source, turn):
    """Whatever else was said is asked; alone it is sent to whoever takes an empty text, and refused for whoever does not."""
    assert [{"role": "user", "content": ""}] == sent(source, CHAT, **{TALK[source]: [turn]})["messages"]
    told = sent(source, ANTHROPIC, **{TALK[source]: [*ASKED[source][TALK[source]], turn]})
    assert [{"role": "user", "content": "q"}] == told["messages"]
    with pytest.raises(InvalidRequest, match="at least one message"):
        sent(source, ANTHROPIC, **{TALK[source]: [turn]})


@each("source", [CHAT, ANTHROPIC, GEMINI, OLLAMA, RESPONSES])
def test_a_null_in_a_list_of_a_clients_is_absent(source):
    """Among turns, among tools and within a content."""
    turns = ASKED[source][TALK[source]]
    assert sent(source, CHAT) == sent(source, CHAT, **{TALK[source]: [None, *turns, None]})
    if source in TOOLS:
        assert sent(source, CHAT, tools=TOOLS[source]) == sent(source, CHAT, tools=[None, *TOOLS[source]])
    if source in (CHAT, ANTHROPIC):
        content = [{"type": "text", "text": "q"}]
        usual = sent(source, CHAT, messages=[{"role": "user", "content": content}])
        assert usual == sent(source, CHAT, messages=[{"role": "user", "content": [None, *content]}])


def test_a_turn_of_the_assistants_without_content_is_empty():
    """Anthropic's clients in typed languages write null."""
    turns = [USER, {"role": "assistant", "content": None}, {"role": "user", "content": "r"}]
    assert ["q", "", "r"] == [turn["content"] for turn in sent(ANTHROPIC, CHAT, messages=turns)["messages"]]


def test_a_tools_schema_is_looked_through_for_nulls_once():
    """What is sent of it again and again costs no further look."""
    tool = Tool(name="f", parameters={"type": "object", "properties": {"a": {"type": "string", "default": None, "title": None}}})
    assert [True, False] == [tool.has_nulls, Tool(name="f", parameters={"type": "object"}).has_nulls]
    told = encoded(CHAT, Message.user("q"), tools=[tool])["tools"][0]["function"]["parameters"]["properties"]["a"]
    assert {"type": "string", "default": None} == told


TALKED = [
    Message.user("q"),
    Message("assistant", "I look", tool_calls=[ToolCall(name="f", arguments="{}", id="c")]),
    Message("tool", "r", tool_call_id="c"),
    Message("assistant", "done"),
    Message.user("go on"),
]


def thoughts_sent(*messages, quirks, **fields):
    """What the turns of the assistant think, as they are sent."""
    told = encoded(CHAT, *messages, quirks={"replay_reasoning", *quirks}, **fields)["messages"]
    return [turn.get("reasoning_content") for turn in told if turn["role"] == "assistant"]


def test_turns_of_another_model_beside_tools_get_a_blank_thought():
    """Kimi and DeepSeek refuse those without, and empty ones: a failover within a round of tools would end there."""
    tool = Tool(name="f")
    assert [" ", " "] == thoughts_sent(*TALKED, quirks={"thoughts_beside_tools"}, tools=[tool])
    assert [" ", " "] == thoughts_sent(*TALKED, quirks={"thoughts_beside_tools"})
    assert [None, None] == thoughts_sent(*TALKED, quirks={"thoughts_beside_tools"}, tools=[tool], reasoning_effort="none")
    assert [None, None] == thoughts_sent(*TALKED, quirks=(), tools=[tool])
    assert [None] == thoughts_sent(TALKED[0], TALKED[3], TALKED[4], quirks={"thoughts_beside_tools"})


@each(
    "thought, told",
    [
        (ReasoningPart(text="own", origin=CHAT, extra={CHAT: {"reasoning_content": "own"}}), "own"),
        (ReasoningPart(text="", origin=CHAT, extra={CHAT: {"reasoning_content": ""}}), " "),
        (ReasoningPart(text="theirs", signature="s", origin=ANTHROPIC), " "),
    ],
)
def test_a_thought_that_is_there_is_sent_as_it_is(thought, told):
    """An empty one is refused, another vendor's is its own."""
    turn = Message("assistant", [thought], tool_calls=TALKED[1].tool_calls)
    assert [told] == thoughts_sent(TALKED[0], turn, TALKED[2], quirks={"thoughts_beside_tools"})


@each(
    "vendor, model, wanted",
    [
        ("moonshot", "kimi-k2.6", True),
        ("moonshot", "kimi-k2-thinking", True),
        ("moonshot", "moonshot-v1-8k", False),
        ("deepseek", "deepseek-v4-pro", True),
        ("deepseek", "deepseek-chat", False),
        ("openrouter", "moonshotai/kimi-k2.6", True),
    ],
)
def test_who_wants_thoughts_beside_tools(vendor, model, wanted):
    """By the catalog's rows."""
    assert wanted is ("thoughts_beside_tools" in traits_of(vendor, model).quirks)


@each(
    "pattern, name, told",
    [("(?!)", "ann", None), ("[a-z_]{1,5}", "ann b", "ann_b"), ("[a-z_]{1,5}", "ANN", None), ("[a-z_]{1,5}", "ann", "ann")],
)
def test_a_name_that_a_vendor_does_not_take_is_left_out(pattern, name, told):
    """Mistral takes none: a client is told so, and the result of a tool keeps its function's."""
    request = Request("m", [Message("user", "q", name=name), Message("tool", "r", name="f", tool_call_id="c")], drop_params=True)
    fitted, dropped = telling_dropped(lambda: within_limits(request, {"name": pattern}, CHAT))
    assert ([told, "f"], () if told else ("message.name",)) == ([message.name for message in fitted.messages], dropped)
    assert None is re.fullmatch(traits_of("mistral", "mistral-large-latest").limits["name"], "ann")


WHOLE = [
    (CHAT, {"max_tokens": 100.0}, "max_tokens"),
    (CHAT, {"max_completion_tokens": 100.0}, "max_tokens"),
    (ANTHROPIC, {"max_tokens": 100.0}, "max_tokens"),
    (RESPONSES, {"max_output_tokens": 100.0}, "max_tokens"),
    (OLLAMA, {"options": {"num_predict": 100.0}}, "max_tokens"),
    (GEMINI, {"generationConfig": {"maxOutputTokens": 100.0}}, "max_tokens"),
    (CHAT, {"seed": 100.0}, "seed"),
    (OLLAMA, {"options": {"seed": 100.0}}, "seed"),
]


@each("source, fields, name", WHOLE)
def test_a_whole_number_may_come_as_a_float(source, fields, name):
    """A limit that is dropped lets an answer be forty times as long."""
    value = getattr(read(source, **fields), name)
    assert (100, int) == (value, type(value))
    assert getattr(read(source, **json.loads(json.dumps(fields).replace("100.0", "0.5"))), name) is None


FLAT = {
    "type": "function",
    "name": "f",
    "description": "d",
    "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
}
NESTED = {"type": "function", "function": {name: value for name, value in FLAT.items() if name != "type"}}


@each(
    "source, tool",
    [
        (CHAT, FLAT),
        (CHAT, {name: value for name, value in FLAT.items() if name != "type"}),
        (CHAT, {"name": "f", "description": "d", "input_schema": FLAT["parameters"]}),
        (RESPONSES, NESTED),
    ],
)
def test_a_function_in_the_words_of_another_format_is_one(source, tool):
    """Editors send the tools of one of OpenAI's formats to the other."""
    usual = NESTED if source == CHAT else FLAT
    for target in (source, ANTHROPIC):
        assert sent(source, target, tools=[usual])["tools"] == sent(source, target, tools=[tool])["tools"]


@each(
    "choice, usual",
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "any"),
        ({"type": "none"}, "none"),
        ({"type": "required"}, "required"),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_a_choice_in_the_words_of_another_format_is_one(choice, usual):
    """A forced call is forced."""
    for target in (CHAT, ANTHROPIC):
        assert sent(CHAT, target, tools=TOOLS[CHAT], tool_choice=usual) == sent(CHAT, target, tools=TOOLS[CHAT], tool_choice=choice)


GROUP = {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g"}]}


@each(
    "tool, extra_params",
    [
        (VendorTool(origin=GEMINI, data={"functionDeclarations": [{"name": "g"}]}), {}),
        (VendorTool(origin=RESPONSES, data=GROUP), {}),
        (VendorTool(origin=ANTHROPIC, data={"type": "mcp_toolset", "mcp_server_name": "s"}), {}),
        (Tool(name="f"), {"mcp_servers": [{"name": "s"}]}),
    ],
)
def test_a_tool_that_others_bring_can_be_chosen(tool, extra_params):
    """A group of tools, or a server of them, does not tell their names."""
    request = Request(
        "m", "q", tools=[Tool(name="f"), tool][-1 if extra_params else 0 :], tool_choice="g", extra_params=extra_params
    )
    assert "g" == without_idle_choice(request, CHAT).tool_choice


_JPEG, _PDF = b"\xff\xd8\xff\xe0\x00\x10JFIF" + b"x" * 60, b"%PDF-1.7" + b"x" * 60


@each("target", [CHAT, ANTHROPIC, GEMINI, RESPONSES])
@each(
    "part, shown",
    [
        (ImagePart(data=_JPEG, media_type="image/png"), "image/jpeg"),
        (ImagePart(data=_JPEG, media_type="application/octet-stream"), "image/jpeg"),
        (ImagePart(url="data:image/webp;base64," + base64.b64encode(_JPEG).decode()), "image/jpeg"),
        (FilePart(data=_PDF, media_type="application/octet-stream", name="a.pdf"), "application/pdf"),
        (FilePart(url="data:binary/octet-stream;base64," + base64.b64encode(_PDF).decode(), name="a.pdf"), "application/pdf"),
    ],
)
def test_a_medium_has_the_type_that_its_bytes_show(target, part, shown):
    """Vendors compare them, and refuse bytes of no particular type."""
    body = CODECS[target].encode(Request("m", [Message("user", [part])]), stream=False).decode()

    assert shown in body
    assert not {"image/png", "image/webp", "octet-stream"} & set(re.split('[";:]', body))


@each(
    "part, media_type",
    [
        (ImagePart(data=b"BM12", media_type="image/bmp"), "image/bmp"),
        (ImagePart(data=b"x", media_type="image/heic"), "image/heic"),
        (ImagePart(url="data:image/svg+xml,%3Csvg/%3E"), "image/svg+xml"),
        (FilePart(data=b"PK", media_type="application/vnd.ms-excel"), "application/vnd.ms-excel"),
        (FilePart(data=b"x", media_type="image/tiff"), "image/tiff"),
    ],
)
def test_a_medium_that_anthropic_takes_none_of_is_refused_or_told(part, media_type):
    """A program is told before anything is sent; of a client's request it is left out."""
    request = Request("m", [Message("user", [TextPart(text="hi"), part])])
    with pytest.raises(InvalidRequest, match=re.escape(repr(media_type))):
        CODECS[ANTHROPIC].encode(request, stream=False)
    foreign = attrs.evolve(request, wire_format=CHAT)
    body, dropped = telling_dropped(lambda: json.loads(CODECS[ANTHROPIC].encode(foreign, stream=False)))

    assert [{"type": "text", "text": "hi"}] == body["messages"][0]["content"]
    assert (f"message.content: {media_type!r}",) == dropped


def test_a_picture_as_a_file_is_a_picture_for_anthropic():
    """Its documents are PDFs and texts."""
    [block] = encoded(ANTHROPIC, Message("user", [FilePart(data=_JPEG, media_type="image/jpeg", name="a.jpg")]))["messages"][0][
        "content"
    ]

    assert ("image", "image/jpeg") == (block["type"], block["source"]["media_type"])


def test_an_own_client_hears_from_anthropic_what_it_refuses():
    """The vendor judges what its own client asks."""
    source = {"type": "base64", "media_type": "image/bmp", "data": "Qk0="}
    turn = {"role": "user", "content": [{"type": "image", "source": source}]}

    assert source == sent(ANTHROPIC, ANTHROPIC, messages=[turn])["messages"][0]["content"][0]["source"]


@each("data", ["Grüezi".encode(), "Grüezi".encode("cp1252")])
def test_a_text_file_is_read_in_the_encoding_that_it_has(data):
    """No character of it is lost."""
    [block] = encoded(ANTHROPIC, Message("user", [FilePart(data=data, media_type="text/plain")]))["messages"][0]["content"]

    assert "Grüezi" == block["source"]["data"]


_ZERO = [{}, None, {"role": "", "content": None, "parts": [], "index": 0, "flag": False}]


@each("source", list(ASKED))
def test_an_entry_that_says_nothing_is_none(source):
    """Programs in Go write structs that nothing was put into: among turns and tools."""
    field, tools = TALK[source], TOOLS.get(source, [])
    request = read(source, **{field: [*_ZERO, *ASKED[source][field]]}, tools=[*_ZERO, *tools])

    assert (1, len(tools)) == (len(request.messages), len(request.tools))


def test_a_tool_whose_presence_is_the_wish_stays():
    """An empty object in an entry says that it is there; a null does not."""
    request = read(GEMINI, tools=[{"googleSearch": {}, "codeExecution": None}, {"functionDeclarations": [None, {"name": "f"}]}])

    assert [{"googleSearch": {}}, "f"] == [tool.data if isinstance(tool, VendorTool) else tool.name for tool in request.tools]


@each("target", [GEMINI, OLLAMA])
def test_results_of_calls_with_one_id_have_the_names_of_their_calls(target):
    """In the order of the calls."""
    calls = [{"id": "a", "type": "function", "function": {"name": name, "arguments": "{}"}} for name in "fg"]
    results = [{"role": "tool", "tool_call_id": "a", "content": name} for name in "fg"]
    turns = sent(CHAT, target, messages=[USER, {"role": "assistant", "content": None, "tool_calls": calls}, *results])[TALK[target]]
    if target == GEMINI:
        found = [part["functionResponse"] for part in turns[-1]["parts"]]
        told = [(one["name"], one["response"]["result"]) for one in found]
    else:
        told = [(turn["tool_name"], turn["content"]) for turn in turns[2:]]

    assert [("f", "f"), ("g", "g")] == told


@each("number", [0, -1])
@each("target", [ANTHROPIC, CHAT, GEMINI, RESPONSES])
def test_no_limit_of_ollamas_is_no_limit(number, target):
    """0 and -1 stand for none there, and are refused elsewhere."""
    default = {"max_tokens": 4096} if target == ANTHROPIC else {}
    body = sent(OLLAMA, target, options={"num_predict": number})

    assert default == {name: value for name, value in body.items() if name.startswith("max_")}
    assert "generationConfig" not in body
    assert number == sent(OLLAMA, OLLAMA, options={"num_predict": number})["options"]["num_predict"]


def test_a_thought_of_a_client_that_says_nothing_is_none():
    """OpenAI knows it by its id alone."""
    turns = [USER, {"type": "reasoning", "id": "", "summary": None, "encrypted_content": ""}, {"type": "reasoning", "summary": []}]

    assert [USER] == sent(RESPONSES, RESPONSES, input=turns)["input"]


@each(
    "source, fields, target, word",
    [
        (ANTHROPIC, {"cache_control": {"type": "ephemeral"}}, CHAT, "cache_control"),
        (ANTHROPIC, {"metadata": {"user_id": "u"}}, GEMINI, "metadata"),
        (ANTHROPIC, {"stop_sequences": ["a"]}, RESPONSES, "stop_sequences"),
        (GEMINI, {"generationConfig": {"candidateCount": 2}}, ANTHROPIC, "candidateCount"),
        (GEMINI, {"generationConfig": {"topK": 2}}, RESPONSES, "topK"),
        (GEMINI, {"generationConfig": {"frequencyPenalty": 1}}, ANTHROPIC, "frequencyPenalty"),
        (GEMINI, {"generationConfig": {"responseLogprobs": True}}, ANTHROPIC, "responseLogprobs"),
        (GEMINI, {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}, CHAT, "thinkingConfig"),
        (RESPONSES, {"reasoning": {"summary": "auto"}}, CHAT, "reasoning"),
        (CHAT, {"logprobs": True}, ANTHROPIC, "logprobs"),
    ],
)
def test_a_client_is_told_in_its_own_words_what_is_dropped(source, fields, target, word):
    """It knows no others."""
    assert (word,) == telling_dropped(lambda: sent(source, target, **fields))[1]
