"""One answer as each format writes it, whole and streamed; written for these tests, in the vendors' own manner."""

from __future__ import annotations

import json
from typing import Any


def sse(*events: Any, named: bool = False) -> bytes:
    """Events as a server sends them; a string is sent as it is."""
    lines = []
    for event in events:
        name = f"event: {event['type']}\n" if named else ""
        lines.append(f"{name}data: {event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)}\n\n")
    return "".join(lines).encode()


ARGUMENTS = '{"city": "Zürich", "note": "😀"}'
_CHAT_USAGE = {
    "prompt_tokens": 40,
    "completion_tokens": 25,
    "total_tokens": 65,
    "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 9},
}


def _chat_chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5", "choices": choices, **more}


def _chat_call(**function: Any) -> dict[str, Any]:
    opening = {"id": "call_1", "type": "function"} if "name" in function else {}
    return {"tool_calls": [{"index": 0, **opening, "function": function}]}


CHAT_WHOLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Grüezi, let me look.",
                "reasoning_content": "The user wants weather.",
                "refusal": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}],
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": _CHAT_USAGE,
}
CHAT_STREAM = b": a comment\n\n" + sse(
    _chat_chunk({"role": "assistant", "content": "", "refusal": None}, usage=None),
    _chat_chunk({"reasoning_content": "The user "}),
    _chat_chunk({"reasoning_content": "wants weather."}),
    _chat_chunk({"content": "Grüezi, "}),
    _chat_chunk({"content": "let me look."}),
    _chat_chunk(_chat_call(name="weather", arguments="")),
    _chat_chunk(_chat_call(arguments=ARGUMENTS[:9])),
    _chat_chunk(_chat_call(arguments=ARGUMENTS[9:])),
    _chat_chunk({}, "tool_calls"),
    _chat_chunk(usage=_CHAT_USAGE),
    "[DONE]",
)
_RESPONSES_USAGE = {
    "input_tokens": 40,
    "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 5},
    "output_tokens": 25,
    "output_tokens_details": {"reasoning_tokens": 9},
    "total_tokens": 65,
}
_THOUGHT = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "The user wants weather."}]}
_TEXT = {"type": "output_text", "text": "Grüezi, let me look.", "annotations": [], "logprobs": []}
_MESSAGE = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [_TEXT]}
_CALL = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1", "name": "weather"}
RESPONSES_WHOLE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "model": "gpt-5",
    "output": [_THOUGHT, _MESSAGE, {**_CALL, "arguments": ARGUMENTS}],
    "usage": _RESPONSES_USAGE,
}


def _event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **fields}


def _piece(kind: str, item: str, place: int, delta: str) -> dict[str, Any]:
    return _event(f"{kind}.delta", item_id=item, output_index=place, content_index=0, delta=delta, obfuscation="x7")


def _added(place: int, item: dict[str, Any]) -> dict[str, Any]:
    return _event("output_item.added", output_index=place, item=item)


def _done(place: int) -> dict[str, Any]:
    return _event("output_item.done", output_index=place, item=RESPONSES_WHOLE["output"][place])


RESPONSES_STREAM = sse(
    _event("created", response={**RESPONSES_WHOLE, "status": "in_progress", "output": [], "usage": None}),
    _event("in_progress", response={**RESPONSES_WHOLE, "status": "in_progress", "output": [], "usage": None}),
    _added(0, {**_THOUGHT, "summary": []}),
    _event("reasoning_summary_part.added", item_id="rs_1", output_index=0, summary_index=0, part={"text": ""}),
    _event("reasoning_summary_text.delta", item_id="rs_1", output_index=0, summary_index=0, delta="The user "),
    {"type": "keepalive"},
    _event("reasoning_summary_text.delta", item_id="rs_1", output_index=0, summary_index=0, delta="wants weather."),
    _event("reasoning_summary_text.done", item_id="rs_1", output_index=0, summary_index=0, text="The user wants weather."),
    _done(0),
    _added(1, {**_MESSAGE, "content": [], "status": "in_progress"}),
    _piece("output_text", "msg_1", 1, "Grüezi, "),
    _piece("output_text", "msg_1", 1, "let me look."),
    _event("output_text.done", item_id="msg_1", output_index=1, content_index=0, text="Grüezi, let me look."),
    _done(1),
    _added(2, {**_CALL, "status": "in_progress", "arguments": ""}),
    _piece("function_call_arguments", "fc_1", 2, ARGUMENTS[:9]),
    _piece("function_call_arguments", "fc_1", 2, ARGUMENTS[9:]),
    _event("function_call_arguments.done", item_id="fc_1", output_index=2, arguments=ARGUMENTS),
    _done(2),
    _event("completed", response=RESPONSES_WHOLE),
    named=True,
)
_CLAUDE_USAGE = {
    "input_tokens": 25,
    "cache_read_input_tokens": 10,
    "cache_creation_input_tokens": 5,
    "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3},
    "output_tokens": 25,
    "output_tokens_details": {"thinking_tokens": 9},
}
_CLAUDE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5", "stop_sequence": None}
CLAUDE_WHOLE = {
    **_CLAUDE,
    "content": [
        {"type": "thinking", "thinking": "The user wants weather.", "signature": "c2ln"},
        {"type": "text", "text": "Grüezi, let me look."},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": json.loads(ARGUMENTS)},
    ],
    "stop_reason": "tool_use",
    "usage": _CLAUDE_USAGE,
}


def _start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _delta(index: int, kind: str, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **delta}}


def _stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


CLAUDE_STREAM = sse(
    {
        "type": "message_start",
        "message": {**_CLAUDE, "content": [], "stop_reason": None, "usage": {**_CLAUDE_USAGE, "output_tokens": 1}},
    },
    _start(0, type="thinking", thinking="", signature=""),
    {"type": "ping"},
    _delta(0, "thinking_delta", thinking="The user "),
    _delta(0, "thinking_delta", thinking="wants weather."),
    _delta(0, "signature_delta", signature="c2ln"),
    _stop(0),
    _start(1, type="text", text=""),
    _delta(1, "text_delta", text="Grüezi, "),
    _delta(1, "text_delta", text="let me look."),
    _stop(1),
    _start(2, type="tool_use", id="call_1", name="weather", input={}),
    _delta(2, "input_json_delta", partial_json=""),
    _delta(2, "input_json_delta", partial_json=ARGUMENTS[:9]),
    _delta(2, "input_json_delta", partial_json=ARGUMENTS[9:]),
    _stop(2),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {"output_tokens": 25}},
    {"type": "message_stop"},
    named=True,
)


def _gemini(*parts: dict[str, Any], finish: str | None = None, usage: dict[str, Any] | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    counted = {"promptTokenCount": 40, "totalTokenCount": 40, "cachedContentTokenCount": 10, **(usage or {})}
    return {"candidates": [candidate], "usageMetadata": counted, "modelVersion": "gemini-3.6-flash", "responseId": "r1"}


_GEMINI_USAGE = {"candidatesTokenCount": 16, "thoughtsTokenCount": 9, "totalTokenCount": 65}
_GEMINI_CALL = {"functionCall": {"id": "call_1", "name": "weather", "args": json.loads(ARGUMENTS)}, "thoughtSignature": "c2ln"}
GEMINI_WHOLE = _gemini(
    {"text": "The user wants weather.", "thought": True},
    {"text": "Grüezi, let me look."},
    _GEMINI_CALL,
    finish="STOP",
    usage=_GEMINI_USAGE,
)
GEMINI_PIECES = [
    _gemini({"text": "The user ", "thought": True}),
    _gemini({"text": "wants weather.", "thought": True}),
    _gemini({"text": "Grüezi, "}),
    _gemini({"text": "let me look."}, _GEMINI_CALL),
    _gemini({"text": ""}, finish="STOP", usage=_GEMINI_USAGE),
]
GEMINI_STREAM = sse(*GEMINI_PIECES).replace(b"\n", b"\r\n")


def lines(*documents: Any) -> bytes:
    """One document a line; a string is sent as it is."""
    return "".join([f"{line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)}\n" for line in documents]).encode()


_OLLAMA_CALL = {"id": "call_1", "function": {"index": 0, "name": "weather", "arguments": json.loads(ARGUMENTS)}}
OLLAMA_USAGE = {"total_duration": 9, "load_duration": 1, "prompt_eval_count": 40, "eval_count": 25}


def _ollama(done: bool = False, **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": "", **message}
    end = {"done_reason": "stop", **OLLAMA_USAGE} if done else {}
    return {"model": "qwen3", "created_at": "2026-11-21T00:00:00Z", "message": said, "done": done, **end}


OLLAMA_WHOLE = _ollama(True, content="Grüezi, let me look.", thinking="The user wants weather.", tool_calls=[_OLLAMA_CALL])
OLLAMA_STREAM = lines(
    _ollama(thinking="The user "),
    _ollama(thinking="wants weather."),
    "",
    _ollama(content="Grüezi, "),
    _ollama(content="let me look."),
    _ollama(tool_calls=[_OLLAMA_CALL]),
    _ollama(True),
).removesuffix(b"\n")

WHOLE = {
    "openai_chat": CHAT_WHOLE,
    "openai_responses": RESPONSES_WHOLE,
    "anthropic_messages": CLAUDE_WHOLE,
    "gemini": GEMINI_WHOLE,
    "ollama_chat": OLLAMA_WHOLE,
}
STREAMS = {
    "openai_chat": CHAT_STREAM,
    "openai_responses": RESPONSES_STREAM,
    "anthropic_messages": CLAUDE_STREAM,
    "gemini": GEMINI_STREAM,
    "ollama_chat": OLLAMA_STREAM,
}
SAID = {
    "openai_chat": _chat_chunk({"content": "said"}),
    "openai_responses": _piece("output_text", "msg_1", 0, "said"),
    "anthropic_messages": _delta(0, "text_delta", text="said"),
    "gemini": _gemini({"text": "said"}),
    "ollama_chat": _ollama(content="said"),
}
"""One event of a stream that says "said"."""


def framed(codec: str, *events: Any) -> bytes:
    """Events as a stream of that format has them."""
    return lines(*events) if codec == "ollama_chat" else sse(*events)
