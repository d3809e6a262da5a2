"""What the gateway answers over HTTP is valid by the schemas that the vendors publish: whole, streamed and refused."""

from __future__ import annotations

import base64
import itertools
import json

import pytest

from llmdispatcher import Response, ToolCall, Usage
from llmdispatcher.testing import faults

from ..cases import each

published = pytest.importorskip(
    "tests.wire.published", reason="the published schemas are not installed; scripts/test installs them"
)
violations = published.violations

CHAT, RESPONSES, MESSAGES, GOOGLE = "openai_chat", "openai_responses", "anthropic_messages", "gemini"
MODELS = ("openai:gpt-5-mini", "anthropic:claude-sonnet-4-5", "google:gemini-2.5-flash")
"""One of each vendor, which thinks."""
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
KINDS = ("text", "call", "result", "object", "picture", "thought", "short", "stop")


def chat(kind, model):
    """A request of OpenAI's chat format."""
    body = {"model": model, "messages": [{"role": "user", "content": "Where is it?"}]}
    tools = {"tools": [{"type": "function", "function": {"name": "find", "parameters": SCHEMA}}]}
    function = {"name": "find", "arguments": '{"city": "Oslo"}'}
    calls = {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    answer_as = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
    return (
        body
        | {
            "text": {},
            "call": {**tools, "tool_choice": {"type": "function", "function": {"name": "find"}}},
            "result": {
                **tools,
                "messages": [*body["messages"], calls, {"role": "tool", "tool_call_id": "call_1", "content": "there"}],
            },
            "object": {"response_format": answer_as},
            "picture": {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, image]}]},
            "thought": {"reasoning_effort": "high"},
            "short": {"max_completion_tokens": 2048},
            "stop": {"stop": ["the"]},
        }[kind]
    )


def responses(kind, model):
    """The same in OpenAI's Responses format."""
    body = {"model": model, "input": "Where is it?"}
    tools = {"tools": [{"type": "function", "name": "find", "parameters": SCHEMA, "strict": True}]}
    asked = {"role": "user", "content": "Where is it?"}
    call = {"type": "function_call", "call_id": "call_1", "name": "find", "arguments": '{"city": "Oslo"}'}
    result = {"type": "function_call_output", "call_id": "call_1", "output": "there"}
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}"}
    return (
        body
        | {
            "text": {},
            "call": {**tools, "tool_choice": {"type": "function", "name": "find"}},
            "result": {**tools, "input": [asked, call, result]},
            "object": {"text": {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}}},
            "picture": {"input": [{"role": "user", "content": [{"type": "input_text", "text": "What?"}, image]}]},
            "thought": {"reasoning": {"effort": "high", "summary": "auto"}},
            "short": {"max_output_tokens": 2048},
            "stop": {"instructions": "Be short.", "metadata": {"a": "b"}, "temperature": 1},
        }[kind]
    )


def messages(kind, model):
    """The same in Anthropic's format."""
    body = {"model": model, "max_tokens": 4096, "messages": [{"role": "user", "content": "Where is it?"}]}
    tools = {"tools": [{"name": "find", "input_schema": SCHEMA}]}
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "find", "input": {"city": "Oslo"}}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "there"}]}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}
    return (
        body
        | {
            "text": {"system": "Be short."},
            "call": {**tools, "tool_choice": {"type": "tool", "name": "find"}},
            "result": {**tools, "messages": [*body["messages"], call, result]},
            "object": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            "picture": {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, image]}]},
            "thought": {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            "short": {"max_tokens": 2048},
            "stop": {"stop_sequences": ["the"]},
        }[kind]
    )


def google(kind, model):
    """The same in Google's format."""
    asked = {"role": "user", "parts": [{"text": "Where is it?"}]}
    tools = {"tools": [{"functionDeclarations": [{"name": "find", "parametersJsonSchema": SCHEMA}]}]}
    choice = {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["find"]}}}
    call = {"role": "model", "parts": [{"functionCall": {"name": "find", "args": {"city": "Oslo"}}}]}
    result = {"role": "user", "parts": [{"functionResponse": {"name": "find", "response": {"output": "there"}}}]}
    image = {"inlineData": {"mimeType": "image/png", "data": PICTURE}}
    answer_as = {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    return {"contents": [asked]} | {
        "text": {"systemInstruction": {"parts": [{"text": "Be short."}]}},
        "call": {**tools, **choice},
        "result": {**tools, "contents": [asked, call, result]},
        "object": {"generationConfig": answer_as},
        "picture": {"contents": [{"role": "user", "parts": [{"text": "What?"}, image]}]},
        "thought": {"generationConfig": {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 2000}}},
        "short": {"generationConfig": {"maxOutputTokens": 2048}},
        "stop": {"generationConfig": {"stopSequences": ["the"]}},
    }[kind]


PATHS = {CHAT: "/v1/chat/completions", RESPONSES: "/v1/responses", MESSAGES: "/v1/messages"}
BODIES = {CHAT: chat, RESPONSES: responses, MESSAGES: messages, GOOGLE: google}
UNLISTED = {"ping"}
"""Events that Anthropic's schema leaves out; its page on streams has them."""


def ask(served, form, kind, model, *, stream=False):
    """The answer of the gateway to a request in a format."""
    body = BODIES[form](kind, model)
    if form == GOOGLE:
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return served.post(f"/v1beta/models/{model}:{method}", body)
    return served.post(PATHS[form], {**body, **({"stream": True} if stream else {})})


def events_of(answer):
    """The events of a stream, each as JSON; the end marker of OpenAI's is none."""
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.headers
    data = [line.removeprefix("data:").strip() for line in answer.text.splitlines() if line.startswith("data:")]
    return [json.loads(one) for one in data if one != "[DONE]"]


def found_in(form, answer, *, stream):
    """What of an answer its format's schema does not allow."""
    if not stream:
        return violations(published.WHOLE[form], answer.json())
    events = [event for event in events_of(answer) if event.get("type") not in UNLISTED]
    assert events
    return set().union(*[violations(published.EVENT[form], event) for event in events])


@each("stream", [False, True])
@each("form", list(BODIES))
def test_an_answer_over_http_is_valid(served, form, stream):
    """Of each vendor, to eight kinds of requests: texts, calls and their results, objects, pictures, thoughts, limits, stops."""
    wrong = {}
    for model, kind in itertools.product(MODELS, KINDS):
        answer = ask(served, form, kind, model, stream=stream)
        found = {answer.text} if answer.status_code != 200 else found_in(form, answer, stream=stream)
        wrong |= {(model, kind): found} if found else {}

    assert {} == wrong


def test_an_answer_is_valid_as_an_open_response(served):
    """By the open specification of that format."""
    found = [
        violations(published.WHOLE["open_responses"], ask(served, RESPONSES, kind, model).json())
        for model, kind in itertools.product(MODELS, KINDS)
    ]

    assert set() == set().union(*found)


SCRIPTED = {
    "two calls": Response(
        content="See.", model="m", finish_reason="tool_calls", tool_calls=(ToolCall(name="find", arguments='{"city": "Oslo"}'),) * 2
    ),
    "nothing": Response(content="", model="m", finish_reason="stop"),
    "cut off": Response(content="It is", model="m", finish_reason="length"),
    "filtered": Response(content="", model="m", finish_reason="content_filter"),
    "counted": Response(content="Hi", model="m", usage=Usage(input_tokens=50, output_tokens=2, cache_read_tokens=40)),
}


@each("stream", [False, True])
@each("form", list(BODIES))
def test_an_odd_answer_over_http_is_valid(served, form, stream):
    """Nothing, several calls, what was cut off or filtered."""
    wrong = {}
    for model, (name, answered) in itertools.product(MODELS, SCRIPTED.items()):
        served.simulator.always(answered)
        answer = ask(served, form, "text", model, stream=stream)
        refused = answer.status_code == 400 and name == "filtered"
        found = {answer.text} if answer.status_code != 200 else found_in(form, answer, stream=stream)
        wrong |= {(model, name): found} if found and not refused else {}

    assert {} == wrong


def refusals(served, form):
    """Answers of the gateway that refuse: by the gateway itself, and for a vendor."""
    path = PATHS[form]
    yield served.post(path, BODIES[form]("text", MODELS[0]), key="sk-no-key-of-this-gateway")
    yield served.post(path, BODIES[form]("text", "no-such-model"))
    yield served.post(path, {"model": MODELS[0]})
    yield served.post(path, [])
    yield served.post(path + "/nothing", {})
    yield served.get(path)
    for status in (400, 401, 402, 403, 404, 413, 429, 500, 503, 529):
        served.simulator.always(faults.status(status))
        for model, stream in itertools.product(MODELS, (False, True)):
            yield ask(served, form, "text", model, stream=stream)


@each("form", list(PATHS))
def test_a_refusal_over_http_is_valid(served, form):
    """Of every status, in the format of the path."""
    found = {}
    for answer in refusals(served, form):
        assert answer.status_code >= 400, answer.text
        if said := violations(published.REFUSAL[form], answer.json()):
            found[answer.status_code, answer.text] = said

    assert {} == found


FURTHER = {
    "models of OpenAI's": ("GET", "/v1/models", None, ("openai", "ListModelsResponse")),
    "a model of OpenAI's": ("GET", f"/v1/models/{MODELS[0]}", None, ("openai", "Model")),
    "embeddings": (
        "POST",
        "/v1/embeddings",
        {"model": "text-embedding-3-small", "input": ["a", "b"]},
        ("openai", "CreateEmbeddingResponse"),
    ),
    "counted by Anthropic": (
        "POST",
        "/v1/messages/count_tokens",
        messages("text", MODELS[1]),
        ("anthropic", "CountMessageTokensResponse"),
    ),
    "models of Anthropic's": ("GET", "/v1/models", None, ("anthropic", "ListResponse_ModelInfo_")),
    "a model of Anthropic's": ("GET", f"/v1/models/{MODELS[1]}", None, ("anthropic", "ModelInfo")),
    "a model of Google's": ("GET", f"/v1beta/models/{MODELS[2]}", None, ("gemini", "Model")),
    "models of Google's": ("GET", "/v1beta/models", None, ("gemini", "ListModelsResponse")),
    "counted by Google": (
        "POST",
        f"/v1beta/models/{MODELS[2]}:countTokens",
        {"contents": google("text", "")["contents"]},
        ("gemini", "CountTokensResponse"),
    ),
    "an embedding of Google's": (
        "POST",
        "/v1beta/models/gemini-embedding-001:embedContent",
        {"content": {"parts": [{"text": "a"}]}},
        ("gemini", "EmbedContentResponse"),
    ),
}


@each("name", list(FURTHER))
def test_what_else_has_a_schema_is_valid(served, name):
    """Lists of models, embeddings, counts."""
    method, path, body, place = FURTHER[name]
    version = {"anthropic-version": "2023-06-01"} if place[0] == "anthropic" else {}
    answer = served.get(path, headers=version) if method == "GET" else served.post(path, body, headers=version)

    assert 200 == answer.status_code, answer.text
    assert set() == violations(place, answer.json())


def test_a_list_tells_what_a_model_takes(served):
    """In Anthropic's and in Google's format, where it is known; nothing is made up for ``auto``."""
    listed = served.get("/v1/models", headers={"anthropic-version": "2023-06-01"}).json()["data"]
    found = {one["id"]: (one["max_input_tokens"], one["max_tokens"]) for one in listed}
    google = served.get(f"/v1beta/models/{MODELS[2]}").json()

    assert (None, None) == found["auto"]
    window, most = found[MODELS[1]]
    assert window > most >= 64_000
    assert found[MODELS[2]] == (google["inputTokenLimit"], google["outputTokenLimit"])


def test_the_check_can_fail(served):
    """An answer without its usage is seen."""
    document = ask(served, MESSAGES, "text", MODELS[1]).json()
    del document["usage"]

    assert violations(published.WHOLE[MESSAGES], document)
