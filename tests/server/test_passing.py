"""Same format, same bytes: what a client sends arrives as it was sent, and what the vendor says comes back as it was said."""

from __future__ import annotations

import json
from typing import Any

import attrs

from llmdispatcher.server.gateway.tenant import TenantHashes

from ..cases import each
from .upstream import streamed, whole

INVENTED = {"x_new": {"a": [1, 2.50, 1e5, None, "é😀"], "b": {"c": {"d": True}}}, "x_text": "as it is", "x_zero": 0}


CHAT = {
    "model": "gpt-4o-mini",
    "messages": [
        {"role": "system", "content": "Be brief.", **INVENTED},
        {"role": "user", "content": [{"type": "text", "text": "Why?", **INVENTED}, {"type": "x_part", **INVENTED}]},
        {
            "role": "assistant",
            "content": None,
            "x_thought": INVENTED,
            "tool_calls": [{"id": "call_1", "type": "function", "x": 1, "function": {"name": "f", "arguments": "{}", "x": [1]}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "42", **INVENTED},
    ],
    "tools": [{"type": "function", "x": 1, "function": {"name": "f", "parameters": {"type": "object", "x-y": 1}, **INVENTED}}],
    "tool_choice": "auto",
    "temperature": 0.70,
    "response_format": {"type": "json_object", **INVENTED},
    **INVENTED,
}
RESPONSES = {
    "model": "gpt-4o-mini",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Why?", **INVENTED}], **INVENTED},
        {
            "type": "reasoning",
            "id": "rs_1",
            "encrypted_content": "AAA=",
            "summary": [{"type": "summary_text", "text": "so"}],
            "x": 1,
        },
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}", **INVENTED},
        {"type": "function_call_output", "call_id": "call_1", "output": "42", **INVENTED},
        {"type": "x_item", **INVENTED},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, **INVENTED}, {"type": "web_search", "x": 1}],
    "reasoning": {"effort": "low", **INVENTED},
    "include": ["reasoning.encrypted_content", "x.new"],
    **INVENTED,
}
MESSAGES = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 1000,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "x": 1}, **INVENTED}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Why?", **INVENTED}], **INVENTED},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "EqQB/sig==", **INVENTED},
                {"type": "redacted_thinking", "data": "Ab+/=", "x": 1},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"file_id": "of the tool"}, **INVENTED},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "42", **INVENTED}]},
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {"file_id": {}}}, "defer_loading": True, **INVENTED}],
    "thinking": {"type": "enabled", "budget_tokens": 512, **INVENTED},
    "context_management": {"edits": [INVENTED]},
    **INVENTED,
}
GEMINI = {
    "contents": [
        {"role": "user", "parts": [{"text": "Why?", **INVENTED}], **INVENTED},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"x_y": 1}}, "thoughtSignature": "c2ln", **INVENTED}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"a": 1}, **INVENTED}}]},
    ],
    "systemInstruction": {"parts": [{"text": "Be brief."}], **INVENTED},
    "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}, **INVENTED}]}],
    "generationConfig": {"temperature": 0.50, "thinkingConfig": {"thinkingBudget": 10, **INVENTED}, **INVENTED},
    **INVENTED,
}
OLLAMA = {"model": "llama3", "messages": [{"role": "user", "content": "Why?", **INVENTED}], "options": {**INVENTED}, **INVENTED}

CHAT_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini-2024",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "So.", **INVENTED}, "finish_reason": "stop", **INVENTED}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "x_details": INVENTED},
    **INVENTED,
}
RESPONSES_ANSWER = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-4o-mini-2024",
    "output": [
        {"type": "reasoning", "id": "rs_2", "encrypted_content": "BBB=", "summary": [], **INVENTED},
        {
            "type": "message",
            "id": "m",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "So.", **INVENTED}],
            "x": 1,
        },
    ],
    "usage": {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11, **INVENTED},
    **INVENTED,
}
MESSAGES_ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-2025",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "sig/+", **INVENTED},
        {"type": "text", "text": "So.", **INVENTED},
    ],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 9, "output_tokens": 2, "x_cache": INVENTED},
    **INVENTED,
}
GEMINI_ANSWER = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"text": "So.", "thoughtSignature": "c2k=", **INVENTED}]},
            "x": 1,
            "finishReason": "STOP",
        }
    ],
    "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11, **INVENTED},
    "modelVersion": "gemini-2.5-flash-1",
    **INVENTED,
}
OLLAMA_ANSWER = {
    "model": "llama3",
    "created_at": "2026-01-01T00:00:00Z",
    "message": {"role": "assistant", "content": "So.", **INVENTED},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 9,
    "eval_count": 2,
    **INVENTED,
}


@attrs.frozen(kw_only=True)
class Case:
    """One format: where it is asked whole and as a stream, and what is said."""

    path: str
    vendor_path: str
    body: dict[str, Any]
    answer: dict[str, Any]
    stream_path: str = ""
    vendor_stream_path: str = ""
    stream: bytes = b""
    ask_stream: dict[str, Any] = attrs.field(factory=lambda: {"stream": True})
    ask_whole: dict[str, Any] = attrs.field(factory=dict)


def sse(*events: Any, end: str = "\n\n") -> bytes:
    """Events as a vendor writes them: a document, one with its name, or text as it is."""
    out = ""
    for event in events:
        if isinstance(event, str):
            out += event
            continue
        name = f"event: {event['type']}{end[: len(end) // 2]}" if "type" in event else ""
        out += f"{name}data: {json.dumps(event)}{end}"
    return out.encode()


def chat_piece(**delta: Any) -> dict[str, Any]:
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "model": "gpt-4o-mini-2024",
        "choices": [{"index": 0, "delta": delta, **INVENTED}],
        **INVENTED,
    }


CHAT_STREAM = sse(
    ": a comment\n\n",
    chat_piece(role="assistant", content=""),
    chat_piece(content="So "),
    'data:{"x_unknown": 1}\n\n',
    chat_piece(content="it is é😀.", obfuscation="xx"),
    {"id": "c1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"id": "c1", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}, **INVENTED},
    "data: [DONE]\n\n",
)
RESPONSES_STREAM = sse(
    {"type": "response.created", "sequence_number": 0, "response": {**RESPONSES_ANSWER, "status": "in_progress", "output": []}},
    {"type": "response.x_new", "sequence_number": 1, **INVENTED},
    {"type": "response.output_item.added", "sequence_number": 2, "output_index": 0, "item": RESPONSES_ANSWER["output"][1]},
    {
        "type": "response.output_text.delta",
        "sequence_number": 3,
        "output_index": 0,
        "content_index": 0,
        "item_id": "m",
        "delta": "So.",
        **INVENTED,
    },
    ": keep-alive\n\n",
    {"type": "response.completed", "sequence_number": 4, "response": RESPONSES_ANSWER},
    {"type": "response.x_after", **INVENTED},
)
MESSAGES_STREAM = sse(
    {"type": "message_start", "message": {**MESSAGES_ANSWER, "content": [], "stop_reason": None}, **INVENTED},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}, **INVENTED},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm", **INVENTED}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "EqQB/+"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "x_event", **INVENTED},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "So."}, **INVENTED},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "x_delta", **INVENTED}},
    {"type": "content_block_stop", "index": 1},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}, "context_management": INVENTED},
    {"type": "message_stop", **INVENTED},
)
GEMINI_STREAM = sse(
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "So", **INVENTED}]}, **INVENTED}], **INVENTED},
    {"x_only": INVENTED},
    GEMINI_ANSWER,
    end="\r\n\r\n",
)
OLLAMA_STREAM = b"".join(
    json.dumps(line).encode() + b"\n"
    for line in (
        {**OLLAMA_ANSWER, "done": False, "done_reason": None},
        {"x_line": 1, "done": False},
        {**OLLAMA_ANSWER, "message": {"role": "assistant", "content": ""}},
    )
)
CASES = {
    "chat": Case(
        path="/v1/chat/completions",
        vendor_path="/v1/chat/completions",
        body=CHAT,
        answer=CHAT_ANSWER,
        stream=CHAT_STREAM,
        ask_stream={"stream": True, "stream_options": {"include_usage": True, "x": 1}},
    ),
    "responses": Case(
        path="/v1/responses", vendor_path="/v1/responses", body=RESPONSES, answer=RESPONSES_ANSWER, stream=RESPONSES_STREAM
    ),
    "messages": Case(
        path="/v1/messages?beta=true",
        vendor_path="/v1/messages?beta=true",
        body=MESSAGES,
        answer=MESSAGES_ANSWER,
        stream=MESSAGES_STREAM,
    ),
    "google": Case(
        path="/v1beta/models/gemini-2.5-flash:generateContent",
        vendor_path="/v1beta/models/gemini-2.5-flash:generateContent",
        stream_path="/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        vendor_stream_path="/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        body=GEMINI,
        answer=GEMINI_ANSWER,
        stream=GEMINI_STREAM,
        ask_stream={},
    ),
    "ollama": Case(
        path="/api/chat",
        vendor_path="/api/chat",
        body=OLLAMA,
        answer=OLLAMA_ANSWER,
        stream=OLLAMA_STREAM,
        ask_whole={"stream": False},
    ),
}


def as_sent(document: dict[str, Any]) -> bytes:
    """A body as no encoder of ours would write it."""
    return b" " + json.dumps(document, indent=1, ensure_ascii=len(document) % 2 == 0).encode() + b"\n"


@each("form", list(CASES))
def test_a_whole_answer_and_its_request_are_the_same_at_both_ends(passing, form):
    """With invented fields at every depth; the vendor's usage is counted beside it."""
    case = CASES[form]
    body, said = as_sent({**case.body, **case.ask_whole}), as_sent(case.answer)
    passing.vendor.heard.clear()
    passing.vendor.answers = [whole(said)]
    got = passing.post(case.path, body)

    assert (200, said) == (got.status_code, got.content), got.text
    assert [(case.vendor_path, body)] == [(heard.path, heard.body) for heard in passing.vendor.heard]
    assert form == "ollama" or float(got.headers["x-llmdispatcher-cost"]) > 0


@each("form", list(CASES))
def test_a_stream_and_its_request_are_the_same_at_both_ends(passing, form):
    """With unknown events, comments and pings in their order, and what comes behind the end."""
    case = CASES[form]
    body = as_sent({**case.body, **case.ask_stream})
    passing.vendor.heard.clear()
    passing.vendor.answers = [streamed(case.stream, lines=form == "ollama")]
    got = passing.post(case.stream_path or case.path, body)

    assert (200, case.stream) == (got.status_code, got.content)
    assert [(case.vendor_stream_path or case.vendor_path, body)] == [(heard.path, heard.body) for heard in passing.vendor.heard]


def parsed(heard: bytes) -> Any:
    """What a vendor was sent, as a document."""
    return json.loads(heard)


def test_the_model_s_name_alone_changes(passing):
    """A name with its vendor before it becomes the vendor's; all other bytes stay, also where the name stands in a message."""
    body = b'{"messages":[{"role":"user","content":"openai:gpt-4o-mini"}] , "model" :  "openai:gpt-4o-mini", "z": 1.0}'
    passing.vendor.answers = [whole(json.dumps(CHAT_ANSWER).encode())]
    passing.post("/v1/chat/completions", body)

    assert body.replace(b'"openai:gpt-4o-mini", "z"', b'"gpt-4o-mini", "z"') == passing.vendor.heard[0].body


def hashed(app, value):
    """The value that a vendor gets of the only organization."""
    return TenantHashes(app.keys).hash_for(app.keys.all()[0].organization, value)


@each(
    "form, more, path",
    [
        ("chat", {"user": "ann@example.com"}, ("user",)),
        ("chat", {"prompt_cache_key": "s\u00e9ssion 1"}, ("prompt_cache_key",)),
        ("responses", {"user": "ann@example.com"}, ("user",)),
        ("chat", {"safety_identifier": "ann"}, ("safety_identifier",)),
        ("responses", {"safety_identifier": "ann"}, ("safety_identifier",)),
        ("responses", {"prompt_cache_key": "session 1"}, ("prompt_cache_key",)),
        ("messages", {"metadata": {"x": 1, "user_id": "ann@example.com"}}, ("metadata", "user_id")),
    ],
)
def test_names_of_users_and_sessions_go_out_hashed_by_organization(passing, form, more, path):
    """Two organizations may have the same names; all else of the body stays."""
    case = CASES[form]
    passing.vendor.answers, body = [whole(json.dumps(case.answer).encode())], {**case.body, **more}
    passing.vendor.heard.clear()
    passing.post(case.path, body)
    text = json.dumps(more[path[0]] if len(path) == 1 else more[path[0]][path[1]])
    value = json.loads(text)

    expected = json.dumps(body).replace(f'"{path[-1]}": {text}', f'"{path[-1]}": "{hashed(passing.app, value)}"')
    assert expected.encode() == passing.vendor.heard[0].body


def test_a_body_that_is_encoded_anew_has_them_hashed_too(passing):
    """As that of a model which calls a setting otherwise."""
    passing.vendor.answers = [whole(json.dumps(CHAT_ANSWER).encode())]
    body = {"model": "o3", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}], "safety_identifier": "ann"}
    passing.post("/v1/chat/completions", body)
    sent = parsed(passing.vendor.heard[0].body)

    assert ({"max_completion_tokens"}, hashed(passing.app, "ann")) == (sent.keys() - body.keys(), sent["safety_identifier"])


def test_another_format_gets_them_hashed_too(passing):
    """By the codecs."""
    passing.vendor.answers = [whole(json.dumps(MESSAGES_ANSWER).encode())]
    body = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "a"}], "user": "ann@example.com"}
    got = passing.post("/v1/chat/completions", body)

    assert "So." == got.json()["choices"][0]["message"]["content"]
    sent = parsed(passing.vendor.heard[0].body)
    assert hashed(passing.app, "ann@example.com") == sent["metadata"]["user_id"]


def test_usage_that_the_client_did_not_ask_for_is_counted_and_not_passed(passing):
    """OpenAI's chat tells it on request alone: the request asks, and its event does not reach the client."""
    passing.vendor.answers = [streamed(CHAT_STREAM)]
    body = json.dumps({**CHAT, "stream": True}).encode()
    got = passing.post("/v1/chat/completions", body)
    usage = sse({"id": "c1", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}, **INVENTED})

    assert CHAT_STREAM.replace(usage, b"") == got.content != CHAT_STREAM
    assert body[:-1] + b', "stream_options": {"include_usage": true}}' == passing.vendor.heard[0].body
    assert 11 == passing.app.dispatcher.get_stats().total_tokens


def test_anthropic_s_headers_go_to_anthropic_alone(passing):
    """With the flag of its address."""
    headers = {"anthropic-beta": "context-1m-2025-08-07,x-2", "anthropic-version": "2024-01-01", "x-other": "mine", "cookie": "a=b"}
    passing.vendor.answers = [whole(json.dumps(MESSAGES_ANSWER).encode()), whole(json.dumps(CHAT_ANSWER).encode())]
    passing.post("/v1/messages?beta=true&x=1", MESSAGES, headers=headers)
    told = passing.post("/v1/messages?beta=true", {**MESSAGES, "model": "gpt-4o-mini"}, headers=headers)
    ours, theirs = passing.vendor.heard

    assert ("/v1/messages?beta=true", "2024-01-01") == (ours.path, ours.headers["anthropic-version"])
    assert headers["anthropic-beta"] == ours.headers["anthropic-beta"]
    assert "sk-of-the-gateway" == ours.headers["x-api-key"]
    assert not {"x-other", "cookie"} & (ours.headers.keys() | theirs.headers.keys())
    assert ("/v1/chat/completions", set()) == (theirs.path, {name for name in theirs.headers if name.startswith("anthropic")})
    assert "anthropic-beta" in told.headers["x-llmdispatcher-dropped"]
    passing.vendor.answers = [whole(json.dumps(MESSAGES_ANSWER).encode())]
    assert 200 == passing.post("/v1/messages", MESSAGES, headers={"anthropic-beta": "a\x80b"}).status_code
    assert "anthropic-beta" not in passing.vendor.heard[-1].headers


LIMITS = {"x-ratelimit-remaining-requests": "41", "x-request-id": "req_vendor", "set-cookie": "a=b", "openai-organization": "org-x"}


@each("stream", [False, True])
def test_ids_and_limits_of_the_vendor(passing, stream):
    """Its id comes back under our name for it, its limits under theirs where the format is the same; the request's id is ours."""
    said = streamed(CHAT_STREAM, headers=LIMITS) if stream else whole(json.dumps(CHAT_ANSWER).encode(), headers=LIMITS)
    passing.vendor.answers = [said]
    same = passing.post("/v1/chat/completions", {**CHAT, "stream": stream})
    other = passing.post("/v1/messages", {**MESSAGES, "model": "gpt-4o-mini", "stream": stream})

    for got, name in ((same, "X-Request-Id"), (other, "request-id")):
        assert "req_vendor" == got.headers["x-llmdispatcher-vendor-request-id"]
        assert got.headers[name] == got.headers["x-llmdispatcher-request-id"] != "req_vendor"
        assert not {"set-cookie", "openai-organization"} & {name.lower() for name in got.headers}
    assert ("41", None) == (same.headers.get("x-ratelimit-remaining-requests"), other.headers.get("x-ratelimit-remaining-requests"))
    assert "thinking" in other.headers["x-llmdispatcher-dropped"]


def test_a_refusal_tells_the_vendor_s_id(passing):
    """In words of ours."""
    passing.vendor.answers = [whole(b'{"error": {"message": "org-secret is over"}}', status=429, headers=LIMITS)]
    got = passing.post("/v1/chat/completions", CHAT)

    assert (429, "req_vendor") == (got.status_code, got.headers["x-llmdispatcher-vendor-request-id"])
    assert "org-secret" not in got.text
    assert "req_vendor" != got.headers["X-Request-Id"]


TWICE = [
    b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "a"}], "store": true, "store": false}',
    b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}, "file":{}}]}]}',
    b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "a", "x": {"file_id": "file-other"}}]}',
]


@each("body", TWICE)
def test_a_body_that_two_readers_may_understand_differently_does_not_pass(passing, body):
    """It is encoded anew, from what was checked."""
    passing.vendor.answers = [whole(json.dumps(CHAT_ANSWER).encode())]
    passing.vendor.heard.clear()
    got = passing.post("/v1/chat/completions", body)

    assert 200 == got.status_code, got.text
    assert body != passing.vendor.heard[0].body
    sent = parsed(passing.vendor.heard[0].body)
    assert ("gpt-4o-mini", False) == (sent["model"], "file-other" in json.dumps(sent) or bool(sent.get("store")))


def test_a_name_in_another_case_is_none_that_was_not_looked_at(passing):
    """Some servers take both for one."""
    body = b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "a"}], "MODEL": "gpt-5-pro"}'

    assert 400 == passing.post("/v1/chat/completions", body).status_code
    google = {"contents": [{"role": "user", "parts": [{"text": "a"}]}], "cached_content": "cachedContents/another's"}
    assert 400 == passing.post("/v1beta/models/gemini-2.5-flash:generateContent", google).status_code
    assert [] == passing.vendor.heard
