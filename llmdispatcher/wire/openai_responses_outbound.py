"""Answers as OpenAI's responses format writes them: in one piece, as a stream of events, or as an error."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import (
    AuthenticationError,
    ContentFiltered,
    ContextWindowExceeded,
    DeadlineExceeded,
    DispatchError,
    InvalidRequest,
    MalformedReply,
    ModelNotFound,
    QuotaExceeded,
    RateLimitError,
)
from ..messages import ImagePart, OtherPart, Part, ReasoningPart, TextPart, ToolCall
from ..types import Citation, Response, Usage
from .faults import CODES
from .openai_responses_answer import INCOMPLETE
from .openai_responses_items import CALLS, NAME, written_items

STATUSES = ("completed", "incomplete", "in_progress", "queued", "cancelled", "failed")
_REASONS = {word: reason for reason, word in reversed(INCOMPLETE.items())}
_IDS = {"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc", "image_generation_call": "ig"}

KINDS: tuple[tuple[type[DispatchError], int, str, str], ...] = (
    (ContextWindowExceeded, 400, "invalid_request_error", "context_length_exceeded"),
    (InvalidRequest, 400, "invalid_request_error", "invalid_request_error"),
    (ContentFiltered, 400, "invalid_request_error", "content_filter"),
    (AuthenticationError, 401, "authentication_error", "invalid_api_key"),
    (ModelNotFound, 404, "invalid_request_error", "model_not_found"),
    (QuotaExceeded, 429, "insufficient_quota", "insufficient_quota"),
    (RateLimitError, 429, "rate_limit_error", "rate_limit_exceeded"),
    (DeadlineExceeded, 504, "server_error", "timeout_error"),
    (MalformedReply, 502, "server_error", "server_error"),
    (DispatchError, 503, "server_error", "server_error"),
)
"""Status, type and code of an error that has none of its own; the first class that fits."""


def refusal(error: DispatchError) -> tuple[int, dict[str, Any]]:
    """Status and body of a refusal."""
    status, kind, code = next(row[1:] for row in KINDS if isinstance(error, row[0]))
    if error.status is not None and 400 <= error.status < 600:
        status = error.status
    return status, {"error": {"message": error.message, "type": kind, "param": None, "code": code_of(error, code)}}


def code_of(error: DispatchError, usual: str) -> str:
    """The vendor's own code, unless another class of error would be read from it or none at all."""
    told = error.code
    if told is None or told.isdigit():
        return usual
    if usual in CODES and CODES.get(told.lower()) is not CODES[usual]:
        return usual
    return told


def whole(response: Response) -> dict[str, Any]:
    """An answer in one piece."""
    items = [complete(item, number) for number, item in enumerate(output_of(response))]
    return envelope(response, items)


def envelope(response: Response, items: Sequence[Mapping[str, Any]], status: str | None = None) -> dict[str, Any]:
    """The response object around its items; settings of the request that an answer would repeat are told as the defaults."""
    status = status or status_of(response)
    reason = _REASONS.get(response.finish_reason or "", response.finish_reason)
    return {
        "id": response.response_id or "resp_0",
        "object": "response",
        "created_at": int(response.created_at.timestamp()) if response.created_at is not None else 0,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": reason} if status == "incomplete" and reason not in (None, "incomplete") else None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "model": response.model,
        "output": list(items),
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": response.service_tier,
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": None,
        "truncation": "disabled",
        "usage": written_usage(response.usage),
        "user": None,
        "metadata": {},
    }


def status_of(response: Response) -> str:
    """The format's word for how an answer ended; its own where it was one."""
    if response.finish_reason_raw in STATUSES:
        return str(response.finish_reason_raw)
    return "incomplete" if response.finish_reason in _REASONS else "completed"


def written_usage(usage: Usage) -> dict[str, Any] | None:
    """What was consumed; nothing where nothing is known."""
    if not (usage.raw or usage.input_tokens or usage.output_tokens):
        return None
    into: dict[str, Any] = {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": usage.cache_write_tokens}
    if usage.cache_write_long_tokens:
        long = usage.cache_write_long_tokens
        into["cache_write_tokens_details"] = {"ttl_30m_tokens": usage.cache_write_tokens - long, "ttl_12h_tokens": long}
    if usage.audio_input_tokens:
        into["audio_tokens"] = usage.audio_input_tokens
    out = {"reasoning_tokens": usage.reasoning_tokens}
    if usage.audio_output_tokens:
        out["audio_tokens"] = usage.audio_output_tokens
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": into,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": out,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def output_of(response: Response) -> list[dict[str, Any]]:
    """The items of a whole answer."""
    said: tuple[Part, ...] = (TextPart(text=response.content),) if response.content else ()
    parts = list(response.parts or (*said, *response.tool_calls))
    if response.reasoning and not response.reasoning_parts:
        parts.insert(0, ReasoningPart(text=response.reasoning))
    items = written_items([part for part in map(placed, parts) if part is not None])
    hang(items, response.citations, response.logprobs)
    if response.refusal:
        items.append({"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": response.refusal}]})
    return items


def placed(part: Part) -> Part | None:
    """A part as this format has it: another format's thought is its text alone, a picture is a call that made it."""
    if isinstance(part, TextPart | ToolCall):
        return part
    if isinstance(part, ReasoningPart):
        return part if part.origin in (None, NAME) else ReasoningPart(text=part.text) if part.text else None
    if isinstance(part, OtherPart):
        return part if part.origin == NAME else None
    if isinstance(part, ImagePart) and part.data is not None:
        made = base64.b64encode(part.data).decode()
        return OtherPart(origin=NAME, data={"type": "image_generation_call", "status": "completed", "result": made})
    return None


def hang(items: Iterable[dict[str, Any]], citations: Sequence[Citation], logprobs: Sequence[Any]) -> None:
    """Puts onto the text of messages what an answer has apart from it; annotations that are there already stay alone."""
    messages = [item for item in items if "content" in item and "role" in item]
    for item in messages:
        if isinstance(item["content"], str):
            item["content"] = [{"type": "output_text", "text": item["content"]}]
    entries = [entry for item in messages for entry in item["content"] if entry["type"] == "output_text"]
    if citations and entries and not any(entry.get("annotations") for entry in entries):
        entries[0]["annotations"] = [annotation_of(citation) for citation in citations]
    if logprobs and entries:
        entries[-1]["logprobs"] = list(logprobs)


def annotation_of(citation: Citation) -> dict[str, Any]:
    """A citation as an annotation of text."""
    return {
        "type": "url_citation",
        "url": citation.url or "",
        "title": citation.title or "",
        "start_index": citation.start or 0,
        "end_index": citation.end or 0,
    }


def complete(item: Mapping[str, Any], number: int) -> dict[str, Any]:
    """An item with all the fields that clients count on; ids are made up from its place. One of an unknown type stays as it is."""
    kind = str(item.get("type", "message"))
    if kind not in _IDS:
        return dict(item)
    whole = {"type": kind, "id": made_id(kind, number), **item}
    if kind == "message":
        return {"status": "completed", **whole, "content": _content(item["content"])}
    if kind in CALLS:
        return {"status": "completed", **whole, "call_id": item["call_id"] or f"call_{number}"}
    return whole


def made_id(kind: str, number: int) -> str:
    """The id of an item that came without one."""
    return f"{_IDS[kind]}_{number}"


def _content(content: Any) -> list[Any]:
    entries = [{"type": "output_text", "text": content}] if isinstance(content, str) else content
    return [{"annotations": [], "logprobs": [], **entry} if entry["type"] == "output_text" else entry for entry in entries]
