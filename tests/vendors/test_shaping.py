"""What a vendor refuses is shaped to what it takes: the body that each vendor of the catalog gets of odd requests."""

import json
import re

import pytest

from llmdispatcher import (
    AudioPart,
    Deadline,
    FilePart,
    ImagePart,
    InvalidRequest,
    Message,
    OpenAIVendor,
    ReasoningPart,
    Request,
    TextPart,
    Tool,
    ToolCall,
    catalog,
)
from llmdispatcher.testing import LoopbackServer
from llmdispatcher.vendors.http import fit_to_model
from llmdispatcher.wire import CODECS, ToolNames

from ..cases import each

PNG = b"\x89PNG\r\n\x1a\n"
TOOL = Tool(name="f", description="d", parameters={"type": "object", "properties": {}})


def body(kind, request):
    """What goes to a vendor."""
    traits = catalog.traits_of(kind, request.model)
    names = ToolNames.of(request, traits.limits.get("tool_name"))
    codec = CODECS[catalog.vendor_row(kind).codec]
    return json.loads(codec.encode(fit_to_model(names.rename(request), traits), stream=False, quirks=traits.quirks))


def round_of(told, *more, name="f", answer="r"):
    """One round of a tool."""
    call = ToolCall(name=name, arguments="{}", id=told)
    return [Message.user("q"), Message("assistant", "", tool_calls=[call]), Message("tool", answer, tool_call_id=told), *more]


def read(source, asked, path=""):
    """A client's request."""
    return CODECS[source].read_request(json.dumps(asked).encode(), path).request


IDS = {"openai": ".{1,40}", "azure": ".{1,40}", "mistral": "[a-zA-Z0-9]{9}"}


@each("kind", list(IDS))
@each("told", ["call_" + "x" * 90, "toolu_01A-b_c", "functions.f:0", "é" * 50, None, ""])
def test_ids_of_calls_have_the_form_that_a_vendor_takes(kind, told):
    """And the result names the same id as its call, in this request and in the next."""
    messages = body(kind, Request("m", round_of(told), tools=[TOOL]))["messages"]

    assert re.fullmatch(IDS[kind], messages[1]["tool_calls"][0]["id"])
    assert messages[1]["tool_calls"][0]["id"] == messages[2]["tool_call_id"]
    assert messages == body(kind, Request("m", round_of(told), tools=[TOOL]))["messages"]


def test_an_id_that_fits_is_left_alone():
    """What a vendor made itself it gets back."""
    assert "D681PevKs" == body("mistral", Request("m", round_of("D681PevKs")))["messages"][1]["tool_calls"][0]["id"]


def test_ids_that_come_again_are_told_apart():
    """Some servers count anew in every answer, and Anthropic refuses an id that it has seen."""
    turns = body("anthropic", Request("claude-haiku-4-5", [*round_of("call_0"), *round_of("call_0", answer="s")]))["messages"]
    calls = [block["id"] for turn in turns for block in turn["content"] if isinstance(block, dict) and block["type"] == "tool_use"]
    results = [
        block["tool_use_id"] for turn in turns for block in turn["content"] if isinstance(block, dict) and "tool_use_id" in block
    ]

    assert 2 == len(set(calls))
    assert calls == results


def test_ids_that_differ_in_strange_characters_alone_stay_apart():
    """`a.b` and `a:b` are two calls."""
    calls = [ToolCall(name="f", arguments="{}", id=told) for told in ("a.b", "a:b")]
    results = [Message("tool", told, tool_call_id=told) for told in ("a:b", "a.b")]
    turns = body(
        "anthropic", Request("claude-haiku-4-5", [Message.user("q"), Message("assistant", "", tool_calls=calls), *results])
    )
    first, second = [block["id"] for block in turns["messages"][1]["content"]]

    assert first != second
    assert {first: "a.b", second: "a:b"} == {block["tool_use_id"]: block["content"] for block in turns["messages"][2]["content"]}


def test_an_id_that_is_made_up_is_no_other_calls():
    """A name that is taken is not given again."""
    calls = [ToolCall(name="f", arguments="{}"), ToolCall(name="f", arguments="{}", id="call_0")]
    turns = body("anthropic", Request("claude-haiku-4-5", [Message.user("q"), Message("assistant", "", tool_calls=calls)]))

    assert ["call_1", "call_0"] == [block["id"] for block in turns["messages"][1]["content"]]


def test_responses_takes_64_characters():
    """Whatever vendor has the format."""
    told = "call_" + "x" * 90
    items = json.loads(CODECS["openai_responses"].encode(Request("gpt-5", round_of(told)), stream=False))["input"]

    assert items[1]["call_id"] == items[2]["call_id"]
    assert len(items[1]["call_id"]) <= 64


NAMES = ["mcp__" + "x" * 90, "server.read/file", "1st", "größe", "a b"]
PLAIN = {
    "openai": "[a-zA-Z0-9_-]{1,64}",
    "groq": "[a-zA-Z0-9_-]{1,64}",
    "anthropic": "[a-zA-Z0-9_-]{1,128}",
    "google": "[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}",
}


def names_in(document):
    """All names of functions in a body, wherever they stand."""
    if isinstance(document, dict):
        found = [document["name"]] if isinstance(document.get("name"), str) else []
        return found + [name for value in document.values() for name in names_in(value)]
    return [name for value in document for name in names_in(value)] if isinstance(document, list) else []


@each("kind", list(PLAIN))
@each("name", NAMES)
def test_names_of_tools_have_the_form_that_a_vendor_takes(kind, name):
    """In the tools, the choice, and the calls of the history; the same name everywhere."""
    request = Request("m", round_of("c1", name=name), tools=[Tool(name=name), Tool(name="other")], tool_choice=name)
    found = set(names_in(body(kind, request))) - {"other"}

    assert 1 == len(found)
    assert re.fullmatch(PLAIN[kind], found.pop())


def test_names_that_become_the_same_stay_apart():
    """`a.b` is not the tool `a_b`."""
    tools = body("openai", Request("m", "q", tools=[Tool(name="a.b"), Tool(name="a_b"), Tool(name="a/b")]))["tools"]

    assert 3 == len({tool["function"]["name"] for tool in tools})
    assert "a_b" == tools[1]["function"]["name"]


@each("stream", [False, True])
@each("name", NAMES[:2])
def test_an_answer_has_the_names_that_the_tools_have(name, stream):
    """Whole and streamed: the caller looks its function up by the name that it gave."""
    seen = []

    def handler(peer, wire):
        seen.append(json.loads(wire.body)["tools"][0]["function"]["name"])
        call = {"index": 0, "id": "c", "type": "function", "function": {"name": seen[0], "arguments": "{}"}}
        if not stream:
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
            peer.reply(200, json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode())
            return
        chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
        peer.start_stream()
        peer.chunk(b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n")
        peer.chunk(b"")

    with LoopbackServer(handler) as server:
        vendor = OpenAIVendor(api_key="sk-0123456789", base_url=server.url, trust_env=False)
        request = Request("gpt-4o", "q", tools=[Tool(name=name)])
        if stream:
            named = [delta.name for chunk in vendor.stream(request, Deadline.after(30)) for delta in chunk.tool_calls if delta.name]
        else:
            named = [call.name for call in vendor.send(request, Deadline.after(30)).tool_calls]
        vendor.close()

    assert [name] == named
    assert seen != [name]


def test_blank_texts_are_not_sent_to_anthropic():
    """It refuses them, wherever they stand."""
    call = ToolCall(name="f", arguments="{}", id="c1")
    told = [
        Message.system(" "),
        Message.user(TextPart(text="hi"), TextPart(text="\t")),
        Message("assistant", "\n\n", tool_calls=[call]),
        Message("tool", (TextPart(text=" "),), tool_call_id="c1"),
        Message("assistant", " "),
        Message.user("go"),
    ]
    sent = body("anthropic", Request("claude-haiku-4-5", told, stop=["\n", "", "###"]))

    assert "system" not in sent
    assert [{"type": "text", "text": "hi"}] == sent["messages"][0]["content"]
    assert ["tool_use"] == [block["type"] for block in sent["messages"][1]["content"]]
    assert [{"type": "tool_result", "tool_use_id": "c1"}, {"type": "text", "text": "go"}] == sent["messages"][2]["content"]
    assert ["###"] == sent["stop_sequences"]


def test_a_clients_blank_texts_are_not_sent_either():
    """Its history may be another model's, whom it was led to before."""
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": [{"type": "text", "text": "\n\n"}]}]
    request = read("anthropic_messages", {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [*turns, turns[0]]})

    assert "\\n" not in json.dumps(body("anthropic", request))


def test_a_turn_that_is_gone_on_with_has_no_blanks_at_its_end():
    """Anthropic refuses a prefill that has."""
    sent = body("anthropic", Request("claude-haiku-4-5", [Message.user("q"), Message("assistant", "The answer is: \n")]))

    assert {"role": "assistant", "content": "The answer is:"} == sent["messages"][-1]


SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": 1, "maximum": 5, "description": "how many"},
        "s": {"type": ["string", "null"], "minLength": 2, "format": "phone"},
        "k": {"type": "object", "properties": {"x": {"const": 1}}, "additionalProperties": True},
        "l": {"type": "array", "items": {"$ref": "#/$defs/A", "description": "d"}, "minItems": 2, "uniqueItems": True},
        "o": {"oneOf": [{"type": "string", "pattern": "a+"}, {"type": "number", "multipleOf": 2}]},
    },
    "required": ["n"],
    "$defs": {"A": {"type": "object", "properties": {"d": {"type": "string", "default": "", "format": "date"}}}},
}


def form(schema, **more):
    return {"type": "json_schema", "json_schema": {"name": "A", "schema": schema, **more}}


def words_in(schema):
    """All keywords of a schema."""
    if isinstance(schema, list):
        return {word for item in schema for word in words_in(item)}
    if not isinstance(schema, dict):
        return set()
    inner = [value for name, value in schema.items() if name not in ("properties", "$defs")]
    inner += [value for name in ("properties", "$defs") for value in schema.get(name, {}).values()]
    return {*schema, *words_in(inner)}


def test_a_schema_for_anthropic():
    """Every object is closed; what is not known there is told in the description."""
    told = body("anthropic", Request("claude-sonnet-4-6", "q", response_format=form(SCHEMA)))["output_config"]["format"]["schema"]

    assert {"type", "properties", "required", "additionalProperties", "description", "anyOf", "const", "items", "$ref", "$defs"} | {
        "format"
    } == words_in(told)
    assert [False] * 3 == [part["additionalProperties"] for part in (told, told["properties"]["k"], told["$defs"]["A"])]
    assert "how many\n\n{minimum: 1, maximum: 5}" == told["properties"]["n"]["description"]
    assert [{"type": "string", "description": '{minLength: 2, format: "phone"}'}, {"type": "null"}] == told["properties"]["s"][
        "anyOf"
    ]
    assert "date" == told["$defs"]["A"]["properties"]["d"]["format"]


@each(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": {}}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}}},
    ],
)
def test_a_schema_that_anthropic_cannot_say_is_asked_for_by_a_tool(schema):
    """Whose arguments may have any schema."""
    sent = body("anthropic", Request("claude-sonnet-4-6", "q", response_format=form(schema)))

    assert "output_config" not in sent
    assert schema == sent["tools"][0]["input_schema"]


def test_a_strict_schema_for_openai():
    """Objects are closed, and what strict mode refuses is told in words."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": 1, "default": "x"}}, "required": ["a"]}
    sent = body("openai", Request("gpt-4o", "q", tools=[Tool(name="f", strict=True)], response_format=form(schema, strict=True)))

    assert {
        "type": "object",
        "properties": {"a": {"type": "string", "minLength": 1, "description": '{default: "x"}'}},
        "required": ["a"],
        "additionalProperties": False,
    } == sent["response_format"]["json_schema"]["schema"]
    assert {"type": "object", "properties": {}, "additionalProperties": False} == sent["tools"][0]["function"]["parameters"]


def test_a_schema_that_cannot_be_kept_strictly_is_named_or_kept_less_strictly():
    """Optional fields are nothing that strict mode knows."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    asked = {"response_format": form(schema, strict=True), "tools": [Tool(name="f", parameters=schema, strict=True)]}
    with pytest.raises(InvalidRequest, match="strict of 'f': cannot be kept with this schema"):
        body("openai", Request("gpt-4o", "q", **asked))
    sent = body("openai", Request("gpt-4o", "q", **asked, drop_params=True))

    assert (False, schema) == (sent["response_format"]["json_schema"]["strict"], sent["response_format"]["json_schema"]["schema"])
    assert sent["tools"][0]["function"]["strict"] is False
    assert body("vllm", Request("m", "q", **asked))["response_format"]["json_schema"]["strict"] is True


def test_a_schema_for_google():
    """A constant is an enumeration there, and a reference stands alone."""
    config = body("google", Request("gemini-3-pro", "q", response_format=form(SCHEMA)))["generationConfig"]
    told = config["responseJsonSchema"]["properties"]

    assert [1] == told["k"]["properties"]["x"]["enum"]
    assert {"$ref": "#/$defs/A"} == told["l"]["items"]
    assert (1, 5) == (told["n"]["minimum"], told["n"]["maximum"])


STRICT = ("openai", "azure", "groq", "mistral", "cerebras", "fireworks", "nvidia", "huggingface")
FOREIGN = {
    "model": "m",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "q", "cache_control": {"type": "ephemeral"}, "x": 1}], "id": "m1"},
        {
            "role": "assistant",
            "content": "a",
            "annotations": [],
            "reasoning_content": "because",
            "reasoning_details": [{"type": "reasoning.text", "text": "b"}],
            "provider_specific_fields": {"a": 1},
            "tool_calls": [
                {
                    "index": 0,
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                    "extra_content": {"a": 1},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "r", "timestamp": 1},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "parameters": {}, "confirm": True}, "cache_control": {"type": "ephemeral"}}
    ],
}


@each("kind", STRICT)
def test_strict_servers_get_no_fields_of_others(kind):
    """They answer 400 or 422 to a field that they do not know."""
    sent = body(kind, read("openai_chat", FOREIGN))
    call = sent["messages"][1]["tool_calls"][0]

    assert {"role", "content", "tool_calls", "tool_call_id"} == {name for message in sent["messages"] for name in message}
    assert {"id", "type", "function"} == call.keys()
    assert {"type": "text", "text": "q"} == sent["messages"][0]["content"][0]
    assert [{"type": "function", "function": {"name": "f", "parameters": {}}}] == sent["tools"]


def test_others_get_what_the_client_wrote():
    """Who writes the format knows its server."""
    sent = body("openrouter", read("openai_chat", FOREIGN))

    assert FOREIGN["messages"][1]["reasoning_details"] == sent["messages"][1]["reasoning_details"]
    assert "m1" == sent["messages"][0]["id"]
    assert "cache_control" in sent["tools"][0]


@each("kind", [row.name for row in catalog.vendor_rows() if row.codec == "openai_chat"])
def test_cache_marks_go_where_they_are_known(kind):
    """On parts and tools."""
    request = Request("m", [Message.user(TextPart(text="long", cache="5m"))], tools=[Tool(name="f", cache="1h")])

    assert (kind in ("openrouter", "databricks", "local")) == ("cache_control" in json.dumps(body(kind, request)))


@each("kind", ["openai", "mistral", "groq", "openrouter", "vllm"])
def test_pictures_in_results_follow_in_a_users_message(kind):
    """After all results of the round; a result is text in OpenAI's format."""
    calls = [ToolCall(name="look", arguments="{}", id=told) for told in ("aaaaaaaa1", "aaaaaaaa2")]
    image = ImagePart(data=PNG, media_type="image/png")
    results = [
        Message("tool", (TextPart(text="here"), image), tool_call_id="aaaaaaaa1"),
        Message("tool", "none", tool_call_id="aaaaaaaa2"),
    ]
    sent = body(kind, Request("m", [Message.user("q"), Message("assistant", "", tool_calls=calls), *results]))["messages"]

    assert ["user"] == [message["role"] for message in sent if "image_url" in json.dumps(message)]
    assert ["tool", "tool"] == [message["role"] for message in sent[2:4]]
    assert "image_url" in json.dumps(sent[-1])
    assert "here" in json.dumps(sent[2])


def test_pictures_stay_in_results_where_they_are_taken():
    """By Anthropic, by Gemini 3 and by the Responses API."""
    result = Message("tool", (ImagePart(data=PNG, media_type="image/png"),), tool_call_id="c1", name="f")
    asked = [*round_of("c1")[:2], result]

    assert "image" in json.dumps(body("anthropic", Request("claude-haiku-4-5", asked))["messages"][-1]["content"][0]["content"])
    assert "inlineData" in json.dumps(
        body("google", Request("gemini-3-pro", asked))["contents"][-1]["parts"][0]["functionResponse"]
    )
    older = body("google", Request("gemini-2.5-flash", asked))["contents"]
    assert ["functionResponse" in older[-2]["parts"][0], "inlineData" in older[-1]["parts"][-1]] == [True, True]


MEDIA = {
    "a wrong name": ("data:image/jpg;base64,aGk=", "image/jpeg", "aGk="),
    "capitals": ("DATA:IMAGE/PNG;BASE64,aGk=", "image/png", "aGk="),
    "parameters": ("data:image/png;charset=utf-8;base64,aGk=", "image/png", "aGk="),
    "no padding": ("data:image/jpg;base64,aGk", "image/jpeg", "aGk="),
    "percent signs": ("data:image/gif;base64,aGk%3D", "image/gif", "aGk="),
    "lines": ("data:image/pjpeg;base64,aG\nk=", "image/jpeg", "aGk="),
}


@each("said", list(MEDIA))
def test_media_types_have_their_registered_names(said):
    """In every format that has them."""
    url, kind, data = MEDIA[said]
    asked = [Message.user(ImagePart(url=url), "what is it?")]

    assert {"type": "base64", "media_type": kind, "data": data} == body("anthropic", Request("m", asked))["messages"][0]["content"][
        0
    ]["source"]
    assert {"mimeType": kind, "data": data} == body("google", Request("m", asked))["contents"][0]["parts"][0]["inlineData"]
    assert f"data:{kind};base64,{data}" == body("openai", Request("m", asked))["messages"][0]["content"][0]["image_url"]["url"]
    items = json.loads(CODECS["openai_responses"].encode(Request("m", asked), stream=False))["input"]
    assert f"data:{kind};base64,{data}" == items[0]["content"][0]["image_url"]


@each("url", ["data:text/plain,hello%20w", "data:,hello%20w", "data:text/plain;charset=utf-8;base64,aGVsbG8gdw=="])
def test_a_data_url_of_text_is_text(url):
    """Percent-encoded or base64."""
    block = body("anthropic", Request("m", [Message.user(FilePart(url=url))]))["messages"][0]["content"][0]

    assert {"type": "text", "media_type": "text/plain", "data": "hello w"} == block["source"]


@each(
    "kind, model, asked, sent",
    [
        ("anthropic", "claude-haiku-4-5", {"temperature": 1.6}, {"temperature": 1.0}),
        ("anthropic", "claude-3-5-haiku-latest", {"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5, "top_p": 0.5}),
        ("anthropic", "claude-opus-4-1", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}),
        ("anthropic", "claude-sonnet-4-6", {"top_p": 0.9}, {"top_p": 0.9}),
        ("mistral", "mistral-large-latest", {"temperature": 2}, {"temperature": 1.5}),
        ("moonshot", "kimi-k2.6", {"temperature": 0.7, "top_p": 0.5}, {}),
        ("moonshot", "kimi-k2-0905-preview", {"temperature": 1.7}, {"temperature": 1.0}),
    ],
)
def test_sampling_stays_within_what_a_model_takes(kind, model, asked, sent):
    """The nearest that it takes; what it takes nothing of is left out."""
    seen = body(kind, Request(model, "q", **asked))

    assert sent == {name: seen[name] for name in ("temperature", "top_p", "n") if name in seen}


@each("kind", ["openai", "azure", "anthropic"])
def test_long_names_of_users_become_short_ones(kind):
    """The same user has the same one."""
    long, other = ["user_" + letter * 300 for letter in "ab"]
    told = {
        json.dumps([found.get("user"), found.get("metadata")])
        for user in (long, long, other)
        if (found := body(kind, Request("m", "q", user=user)))
    }

    assert 2 == len(told)
    assert all(long not in text and 64 <= len(text) <= 300 for text in told)


@each("kind, most", [("openai", 4), ("groq", 4), ("google", 5), ("deepseek", 16)])
def test_more_stop_sequences_than_a_vendor_takes_are_named_or_dropped(kind, most):
    """Which of them count decides what the answer is."""
    stops = [str(number) for number in range(most + 1)]
    with pytest.raises(InvalidRequest, match=rf"stop: {most + 1} sequences: are more than the {most} .*drop_params"):
        body(kind, Request("m", "q", stop=stops))
    sent = body(kind, Request("m", "q", stop=stops, drop_params=True))

    assert stops[:most] == (sent.get("stop") or sent["generationConfig"]["stopSequences"])


def test_what_groq_refuses_is_named_or_dropped():
    """Its page lists what "will result in a 400 error"."""
    for field, asked in (("n: 2 choices", {"n": 2}), ("logprobs", {"logprobs": True}), ("top_logprobs", {"top_logprobs": 2})):
        with pytest.raises(InvalidRequest, match=field):
            body("groq", Request("m", "q", **asked))
        assert not body("groq", Request("m", "q", **asked, drop_params=True)).keys() & asked.keys()
    [turn] = body("groq", Request("m", [Message("user", "q", name="ann")], n=1))["messages"]

    assert {"role": "user", "content": "q"} == turn


@each("kind", ["openai", "anthropic", "google", "ollama", "groq"])
@each("choice", ["auto", "none", None])
def test_a_choice_among_no_tools_is_not_sent(kind, choice):
    """Nor whether several may be called at once."""
    sent = body(kind, Request("m", "q", tool_choice=choice, parallel_tool_calls=False))

    assert not sent.keys() & {"tool_choice", "parallel_tool_calls", "toolConfig"}


def test_a_call_that_nothing_could_make_is_named():
    """The tools were forgotten."""
    with pytest.raises(InvalidRequest, match="tool_choice: 'required': asks for a call, and the request has no tools"):
        body("openai", Request("gpt-4o", "q", tool_choice="required"))


def test_names_of_authors_are_what_openai_takes():
    """An empty one is none."""
    told = [Message("user", "q", name="Ann B. <ann>"), Message("user", "q", name=""), Message("user", "q", name="é-1")]

    assert ["Ann_B_ann_", None, "é-1"] == [message.get("name") for message in body("openai", Request("m", told))["messages"]]


FOREIGN_ROUND = round_of("call_1")
THOUGHT = ReasoningPart(text="t", signature="s", origin="anthropic_messages")


@each(
    "turns, thinks",
    [
        (FOREIGN_ROUND, "disabled"),
        ([*FOREIGN_ROUND, Message.user("go on")], "disabled"),  # which Anthropic reads as one turn with the result
        ([*FOREIGN_ROUND, Message("assistant", "done"), Message.user("and now?")], "enabled"),
        ([FOREIGN_ROUND[0], Message("assistant", (THOUGHT,), tool_calls=FOREIGN_ROUND[1].tool_calls), FOREIGN_ROUND[2]], "enabled"),
        ([Message.user("q")], "enabled"),
    ],
)
def test_a_round_that_began_without_thoughts_goes_on_without(turns, thinks):
    """Anthropic wants a thought before the calls of the round under way, and another vendor's model left none."""
    request = Request("claude-sonnet-4-5", turns, tools=[TOOL], reasoning_effort="high", temperature=0.5)
    sent = body("anthropic", request)

    assert thinks == sent["thinking"]["type"]
    assert ("temperature" in sent) == (thinks == "disabled")


@each("kind", ["google", "vertex"])
@each("wanted", [form({"type": "object", "properties": {"a": {"type": "string"}}}), {"type": "json_object"}])
def test_older_geminis_take_functions_or_a_json_form(kind, wanted):
    """The form is told in words beside functions; Gemini 3 takes both."""
    older = body(kind, Request("gemini-2.5-flash", "q", tools=[TOOL], response_format=wanted))

    assert "responseMimeType" not in older.get("generationConfig", {})
    assert "JSON" in json.dumps(older["systemInstruction"])
    assert "responseMimeType" in body(kind, Request("gemini-3-pro", "q", tools=[TOOL], response_format=wanted))["generationConfig"]
    assert "responseMimeType" in body(kind, Request("gemini-2.5-flash", "q", response_format=wanted))["generationConfig"]


def test_gemma_is_told_its_instructions_by_the_user():
    """It knows no system instruction, and no form of an answer."""
    told = [Message.system("be brief"), Message.user("hi")]
    sent = body("google", Request("gemma-3-27b-it", told, response_format={"type": "json_object"}))

    assert "systemInstruction" not in sent
    assert "responseMimeType" not in sent.get("generationConfig", {})
    assert [("user", True)] == [(turn["role"], "be brief" in json.dumps(turn)) for turn in sent["contents"]]
    assert "systemInstruction" in body("google", Request("gemma-4-27b-it", told))


@each("turns, roles", [("uuau", "uau"), ("suusa", "ssua"), ("uaau", "uau"), ("ua", "ua")])
def test_perplexity_hears_the_user_and_the_assistant_by_turns(turns, roles):
    """Instructions first, and nothing that was said is lost."""
    words = {"u": "user", "a": "assistant", "s": "system"}
    told = [Message(words[letter], f"text {place}") for place, letter in enumerate(turns)]
    sent = body("perplexity", Request("sonar", told))["messages"]

    assert [words[letter] for letter in roles] == [message["role"] for message in sent]
    assert all(message.text in json.dumps(sent) for message in told)


def test_turns_of_parts_are_joined_too():
    """A picture stays a picture."""
    told = [Message.user("look:"), Message.user(ImagePart(url="https://example.com/a.png"))]
    sent = body("perplexity", Request("sonar", told))["messages"]

    assert [["text", "image_url"]] == [[part["type"] for part in message["content"]] for message in sent]


def test_mistral_hears_the_assistant_before_the_next_user():
    """It refuses a user's message right after a tool's."""
    sent = body("mistral", Request("m", round_of("aaaaaaaa1", Message.user("go"))))["messages"]

    assert ["user", "assistant", "tool", "assistant", "user"] == [message["role"] for message in sent]


@each("kind", ["google", "vertex"])
def test_calls_of_others_are_signed_with_the_placeholder_for_gemini_3(kind):
    """On the first call of a step; a real signature stays, and older models need none."""
    calls = [ToolCall(name=name, arguments="{}", id=name) for name in "fg"]
    own = [ToolCall(name="h", arguments="{}", id="h", signature="c2ln")]
    told = [Message.user("q"), Message("assistant", "", tool_calls=calls), Message("assistant", "", tool_calls=own)]
    parts = [part for turn in body(kind, Request("gemini-3-pro", told))["contents"] for part in turn["parts"]]

    assert ["skip_thought_signature_validator", None, "c2ln"] == [part.get("thoughtSignature") for part in parts[1:]]
    assert "thoughtSignature" not in json.dumps(body(kind, Request("gemini-2.5-pro", told[:2])))


@each("name", ["openai_chat", "anthropic_messages", "openai_responses"])
@each("stream", [False, True])
def test_a_signature_goes_through_clients_of_other_formats(name, stream):
    """Out with an answer, back with the next request, and never to another vendor."""
    event = {
        "candidates": [
            {"content": {"parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"}]}, "index": 0}
        ]
    }
    event["candidates"][0]["finishReason"] = "STOP"
    if stream:
        decoder, writer = CODECS["gemini"].decoder(), CODECS[name].writer()
        chunks = [*decoder.feed(b"data: " + json.dumps(event).encode() + b"\n\n"), *decoder.finish()]
        assert b"c2ln" in b"".join([writer.write(chunk) for chunk in chunks]) + writer.end()
    answer = json.loads(CODECS[name].write_response(CODECS["gemini"].decode(json.dumps(event).encode())))
    asked = {
        "openai_chat": lambda: {"messages": [{"role": "user", "content": "q"}, answer["choices"][0]["message"]]},
        "anthropic_messages": lambda: {
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": answer["content"]}],
        },
        "openai_responses": lambda: {"input": [{"role": "user", "content": "q"}, *answer["output"]]},
    }[name]()
    request = read(name, {"model": "gemini-3-pro", **asked})
    back = body("google", request)["contents"][1]["parts"][-1]

    assert "c2ln" == back["thoughtSignature"]
    for kind in ("anthropic", "openai", "groq"):
        assert "c2ln" not in json.dumps(body(kind, request))
    assert b"c2ln" not in CODECS["openai_responses"].encode(request, stream=False)


def test_a_prompts_cache_key_goes_where_it_is_known():
    """Groq, Mistral and NVIDIA refuse it."""
    request = Request("m", "q", prompt_cache_key="k" * 70)

    assert 64 == len(body("openai", request)["prompt_cache_key"])
    assert all("prompt_cache_key" not in body(kind, request) for kind in ("groq", "mistral", "nvidia"))


def test_recordings_in_results_follow_like_pictures():
    """Whatever is no text."""
    result = Message("tool", (AudioPart(data=b"x", format="wav"),), tool_call_id="c1")
    sent = body("openai", Request("m", [*round_of("c1")[:2], result]))["messages"]

    assert ["tool", "user"] == [message["role"] for message in sent[2:]]


CHOICE = {"oneOf": [{"properties": {"a": {}, "b": {}}, "required": ["a", "b"]}, {"properties": {"b": {}}, "required": ["b"]}]}


@each(
    "schema, sent",
    [
        ({}, {"type": "object", "properties": {}}),
        ({"type": "object"}, {"type": "object", "properties": {}}),
        ({"properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}}),
        (CHOICE, {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"]}),
        ({"allOf": CHOICE["oneOf"]}, {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a", "b"]}),
    ],
)
def test_arguments_are_an_object(schema, sent):
    """OpenAI and Anthropic refuse arguments of another kind, without properties, or with a choice at their root."""
    request = Request("m", "q", tools=[Tool(name="f", parameters=schema)])

    assert sent == body("openai", request)["tools"][0]["function"]["parameters"]
    assert sent == body("anthropic", request)["tools"][0]["input_schema"]


def test_lists_say_what_is_in_them():
    """OpenAI refuses arguments with a list of nobody knows what; values that look like a schema stay."""
    given = {"type": "object", "properties": {"l": {"type": "array", "default": [{"type": "array"}]}, "type": {"type": "string"}}}
    sent = body("openai", Request("m", "q", tools=[Tool(name="f", parameters=given)]))["tools"][0]["function"]["parameters"]

    assert {**given, "properties": {**given["properties"], "l": {**given["properties"]["l"], "items": {}}}} == sent


@each("name, sent", [(None, "response"), ("My answer!", "My_answer_"), ("x" * 80, "x" * 64), ("ok", "ok")])
def test_a_form_has_a_name_that_servers_take(name, sent):
    """It is wanted, and has a form of its own."""
    wanted = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}, **({} if name is None else {"name": name})}}

    assert sent == body("openai", Request("gpt-4o", "q", response_format=wanted))["response_format"]["json_schema"]["name"]


def test_a_clients_words_of_before_tools_stay_as_they_are():
    """Functions had no ids."""
    asked = {
        "model": "gpt-4o",
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "r"},
        ],
        "functions": [{"name": "f", "parameters": {"type": "object", "properties": {}}}],
    }

    assert asked["messages"] == body("openai", read("openai_chat", asked))["messages"]
    assert asked["messages"][::2] == body("openai", read("openai_chat", {**asked, "messages": asked["messages"][::2]}))["messages"]


@each("zero", [None, "", {}, {"name": "", "arguments": ""}, {"name": None}])
def test_a_zero_call_of_a_client_is_none(zero):
    """Programs in Go write every field."""
    said = {
        "role": "assistant",
        "content": "hi",
        "function_call": zero,
        "tool_calls": [{"id": "", "type": "", "function": zero or {}}],
    }
    asked = {"model": "m", "messages": [{"role": "user", "content": "q", "name": ""}, said], "n": 0, "user": "", "tool_choice": ""}
    asked["messages"].insert(0, {"role": "system", "content": "s", "reasoning_content": "", "refusal": ""})
    request = read("openai_chat", asked)

    assert () == request.messages[2].tool_calls
    assert [{"role": "user", "content": "q"}, {"role": "assistant", "content": "hi"}] == body("openai", request)["messages"][1:]
    assert "s" == json.loads(CODECS["anthropic_messages"].encode(request, stream=False))["system"]


def test_a_text_beside_zero_media_is_a_text():
    """Google's format has a field for each kind of part."""
    part = {"text": "hi", "functionCall": None, "inlineData": {"mimeType": "", "data": ""}, "thoughtSignature": ""}
    request = read("gemini", {"contents": [{"role": "user", "parts": [part]}]}, "/v1/models/m:generateContent")

    assert "hi" == request.messages[0].text


@each("kind", ["mistral", "moonshot", "perplexity", "xai"])
def test_turns_that_say_nothing_are_not_sent(kind):
    """Some servers refuse an assistant's turn without text and calls; one with calls stays."""
    told = [Message.user("q"), Message("assistant", "\n"), Message.user("r"), *round_of("aaaaaaaa1")[1:]]
    sent = body(kind, Request("m", told))["messages"]

    assert [True] == ["tool_calls" in message for message in sent if message["role"] == "assistant"]
    assert "q" in json.dumps(sent[0])


def test_content_beside_calls_is_a_text_for_xai():
    """Which refuses null there; OpenAI wants it."""
    assert ["", None] == [body(kind, Request("m", round_of("c1")))["messages"][1]["content"] for kind in ("xai", "openai")]


def test_an_empty_text_among_others_is_not_sent():
    """Moonshot refuses it; a text that stands alone stays."""
    told = [Message.user(TextPart(text=""), TextPart(text="a"), ImagePart(url="https://example.com/a.png"))]

    assert ["text", "image_url"] == [part["type"] for part in body("moonshot", Request("m", told))["messages"][0]["content"]]
