"""What a target's format cannot express of a client's request is dropped and told; a library's call is refused, as ever."""

import json

import attrs
import pytest

from llmdispatcher import (
    Config,
    Deadline,
    Dispatcher,
    InvalidRequest,
    Message,
    OtherPart,
    Request,
    ResponseCache,
    TextPart,
    Tool,
    vendor,
)
from llmdispatcher.testing import VendorSimulator
from llmdispatcher.wire import CODECS

from ..cases import each

FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
PICTURE = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
MARK = {"cache_control": {"type": "ephemeral"}}
ANTHROPIC = {
    "model": "m",
    "max_tokens": 3000,
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
    "anthropic_beta": ["context-management-2025-06-27"],
    "tools": [
        {"name": "f", "input_schema": {"type": "object"}, **MARK},
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "bash_20250124", "name": "bash"},
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "q", **MARK}, {"type": "hologram", "x": 1}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "redacted_thinking", "data": "d"},
                {"type": "text", "text": "a"},
            ],
        },
        {"role": "user", "content": "more"},
    ],
}
CHAT = {
    "model": "m",
    "seed": 7,
    "n": 2,
    "logit_bias": {"1": 1},
    "prediction": {"type": "content", "content": "x"},
    "tools": [{"type": "function", "function": FUNCTION}, {"type": "custom", "custom": {"name": "g"}}],
    "tool_choice": "nobody",
    "response_format": {"type": "json_object"},
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "s"}, PICTURE]},
        {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "hologram", "x": 1}]},
    ],
}
RESPONSES = {
    "model": "m",
    "context_management": [{"type": "compaction", "compact_threshold": 9}],
    "include": ["reasoning.encrypted_content"],
    "tools": [{"type": "namespace", "name": "n", "tools": []}, {"type": "web_search"}, {"type": "function", **FUNCTION}],
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "q"}, {"type": "input_hologram", "x": 1}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
        {"role": "user", "content": "more"},
    ],
}
GEMINI = {
    "contents": [{"role": "user", "parts": [{"text": "q"}, {"hologram": {}}]}],
    "tools": [{"googleSearch": {}}],
    "safetySettings": [{"category": "c", "threshold": "t"}],
    "generationConfig": {"topK": 3, "seed": 1, "thinkingConfig": {"thinkingBudget": 1024}},
}
OLLAMA = {
    "model": "m",
    "keep_alive": "5m",
    "options": {"num_ctx": 4096, "seed": 3, "top_k": 3},
    "messages": [{"role": "user", "content": "q"}],
}
ASKED = {
    "anthropic_messages": ("", ANTHROPIC),
    "openai_chat": ("", CHAT),
    "openai_responses": ("", RESPONSES),
    "gemini": ("/v1/models/m:generateContent", GEMINI),
    "ollama_chat": ("", OLLAMA),
}
KINDS = {
    "anthropic_messages": ("anthropic", {}),
    "openai_chat": ("groq", {}),
    "openai_responses": ("openai", {"api": "responses"}),
    "gemini": ("google", {}),
    "ollama_chat": ("ollama", {}),
}
TOLD = {
    "anthropic_messages": {
        "context_management",
        "anthropic_beta",
        "message.content: 'hologram'",
        "tools: 'web_search_20250305'",
        "tools: 'bash_20250124'",
        "message.content: encrypted reasoning",
        "message.content: reasoning",
        "cache_control",
    },
    "openai_chat": {"logit_bias", "prediction", "message.content: 'hologram'", "tools: 'custom'"},
    "openai_responses": {
        "context_management",
        "include",
        "message.content: 'input_hologram'",
        "tools: 'namespace'",
        "tools: 'web_search'",
        "message.content: encrypted reasoning",
    },
    "gemini": {"safetySettings", "message.content: 'hologram'", "tools: 'googleSearch'"},
    "ollama_chat": {"keep_alive", "options"},
}
"""What no other format has a place for; some have no place for more."""


def request_of(source, model="m", **changes):
    path, body = ASKED[source]
    return attrs.evolve(CODECS[source].read_request(json.dumps(body).encode(), path).request, model=model, **changes)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("source", "target"),
    [pytest.param(source, target, id=f"{source}-{target}") for source in ASKED for target in KINDS if source != target],
)
def test_nothing_of_a_clients_request_is_refused_and_each_drop_is_named_once(source, target, streamed):
    """Whole and streamed: in the answer, and in the trace."""
    kind, settings = KINDS[target]
    with VendorSimulator(responses="one two") as simulator, Dispatcher(Config()) as dispatcher:
        url = {"anthropic": simulator.anthropic_url, "google": simulator.google_url, "ollama": simulator.url}.get(kind)
        key = {} if kind == "ollama" else {"api_key": "sk-0123456789abcdef"}
        dispatcher.register_vendor(vendor(kind, base_url=url or simulator.openai_url, trust_env=False, **key, **settings))
        asked = request_of(source, f"{kind}:m")
        response = dispatcher.send_streaming(asked).response() if streamed else dispatcher.send(asked)

    assert "one two" == response.content
    assert TOLD[source] - ({"cache_control"} if target == "anthropic_messages" else set()) <= {*response.dropped}
    assert len({*response.dropped}) == len(response.dropped)
    assert response.dropped == response.trace.attempts[-1].dropped
    assert list(response.dropped) == list(response.trace.as_dict()["attempts"][-1]["dropped"])


def encoded(request, kind="anthropic", **settings):
    """The body that goes to a vendor, and what was dropped of the request."""
    made = vendor(kind, api_key="sk-0123456789abcdef", base_url="http://127.0.0.1:9", **settings)
    call, _, _, _, dropped = made._encode(request, Deadline.after(30), stream=False)
    return json.loads(call.body), dropped


@each(
    "thinking, told",
    [
        ({"type": "enabled", "budget_tokens": 2000}, True),
        ({"type": "adaptive"}, True),
        ({"type": "between_tools"}, True),
        ({"type": "disabled"}, False),
    ],
)
@each("kind", ["openai", "mistral"])
def test_thinking_is_told_by_the_name_that_its_sender_gave_it(thinking, told, kind):
    """A budget and adaptive thought have no place in OpenAI's format; that there is to be none has."""
    asked = {**ANTHROPIC, "messages": [{"role": "user", "content": "q"}], "thinking": thinking}
    _, dropped = encoded(CODECS["anthropic_messages"].read_request(json.dumps(asked).encode()).request, kind)

    assert told == ("thinking" in dropped)


@each("marks", [4, 5, 9])
def test_of_more_cache_marks_than_anthropic_takes_the_first_and_the_last_are_kept(marks):
    """Those of tools, instructions, texts and results count alike."""
    results = [{"type": "tool_result", "tool_use_id": f"c{n}", "content": "r", **MARK} for n in range(marks - 3)]
    calls = [{"type": "tool_use", "id": f"c{n}", "name": "f", "input": {}} for n in range(marks - 3)]
    asked = {
        "model": "claude-sonnet-5",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "s", **MARK}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, **MARK}],
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": calls},
            {"role": "user", "content": [*results, {"type": "text", "text": "t", **MARK}]},
        ],
    }
    request = CODECS["anthropic_messages"].read_request(json.dumps(asked).encode()).request
    body, dropped = encoded(request)
    sent = ["cache_control" in block for block in (*body["tools"], *body["system"], *body["messages"][2]["content"])]

    assert (4, True, True, True) == (sum(sent), sent[0], *sent[-2:])
    assert ((f"cache_control: {marks} marks",) if marks > 4 else ()) == dropped


def test_a_librarys_call_with_too_many_cache_marks_is_refused():
    """By an error that names them; with ``drop_params`` it is told."""
    request = Request("claude-sonnet-5", [Message.user(*[TextPart(text="t", cache="5m")] * 6)], max_tokens=9)

    with pytest.raises(InvalidRequest, match="cache_control: 6 marks"):
        encoded(request)
    assert ("cache_control: 6 marks",) == encoded(attrs.evolve(request, drop_params=True))[1]
    assert ("cache_control: 6 marks",) == encoded(request, drop_params=True)[1]


@each(
    "kind, changes, named",
    [
        ("anthropic", {"seed": 1}, "seed"),
        ("anthropic", {"n": 2}, "n"),
        ("openai", {"messages": [Message.user(OtherPart(origin="gemini", data={"x": {}}), "u")]}, "message.content: 'x'"),
        ("google", {"parallel_tool_calls": False, "tools": [Tool(name="f")]}, "parallel_tool_calls"),
        ("mistral", {"tools": [Tool(name="f")], "tool_choice": "g"}, "tool_choice: 'g'"),
    ],
)
def test_a_librarys_call_is_refused_or_tells_what_it_allowed_to_drop(kind, changes, named):
    """``drop_params`` is the caller's word for it."""
    request = attrs.evolve(Request("m", "hi", max_tokens=9), **changes)

    with pytest.raises(InvalidRequest, match=named):
        encoded(request, kind)
    assert (named,) == encoded(attrs.evolve(request, drop_params=True), kind)[1]


@each("source", list(ASKED))
def test_a_request_for_its_own_format_drops_nothing(source):
    """What its sender wrote is sent."""
    kind, settings = KINDS[source]
    kind = "vllm" if kind == "groq" else kind
    request = request_of(source, tool_choice=None)

    assert () == encoded(request, kind, **settings)[1]


def test_an_answer_from_memory_tells_what_its_request_had_lost():
    """As it did the first time."""
    with VendorSimulator(responses="one two") as simulator, Dispatcher(Config(cache=ResponseCache())) as dispatcher:
        dispatcher.register_vendor(vendor("openai", api_key="sk-0123456789abcdef", base_url=simulator.openai_url, trust_env=False))
        asked = CODECS["anthropic_messages"].read_request(
            json.dumps({**ANTHROPIC, "tools": [], "temperature": 0, "model": "openai:gpt-4o"}).encode()
        )
        first, second = dispatcher.send(asked.request), dispatcher.send(asked.request)

    assert second.cached
    assert "thinking" in first.dropped
    assert first.dropped == second.dropped
