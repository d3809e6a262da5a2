"""Answers as OpenAI's responses format writes them: the response object and its items."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..messages import ImagePart, OtherPart, Part, ReasoningPart, TextPart, ToolCall
from ..response_values import Citation, Response, Usage
from .openai_responses_answer import INCOMPLETE
from .openai_responses_items import CALLS, MADE_UP, NAME, written_items

STATUSES = ("completed", "incomplete", "in_progress", "queued", "cancelled", "failed")
_REASONS = {word: reason for reason, word in reversed(INCOMPLETE.items())}
_IDS = {
    "message": "msg_",
    "reasoning": MADE_UP,
    "function_call": "fc_",
    "custom_tool_call": "ctc_",
    "image_generation_call": "ig_",
}


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


def hang(items: Iterable[dict[str, Any]], citations: Sequence[Citation], logprobs: Sequence[Any], start: int = 0) -> None:
    """Puts onto the text of messages what an answer has apart from it; annotations that are there already stay alone.

    The first message begins at character ``start`` of the answer.
    """
    messages = [item for item in items if isinstance(item.get("content"), str | list) and "role" in item]
    for item in messages:
        if isinstance(item["content"], str):
            item["content"] = [{"type": "output_text", "text": item["content"]}]
    entries = [entry for item in messages for entry in item["content"] if is_text(entry)]
    if citations and entries and not any(entry.get("annotations") for entry in entries):
        _annotate(entries, citations, start)
    if logprobs and entries:
        entries[-1]["logprobs"] = list(logprobs)


def _annotate(entries: Sequence[dict[str, Any]], citations: Sequence[Citation], start: int) -> None:
    """Each citation goes to the text that it begins in, and counts from there."""
    begins = [start + sum(len(entry["text"]) for entry in entries[:number]) for number in range(len(entries))]
    for citation in citations:
        first, last = citation.start or 0, citation.end or 0
        place = max([number for number, begin in enumerate(begins) if begin <= first], default=0)
        annotation = {"start_index": max(0, first - begins[place]), "end_index": max(0, last - begins[place])}
        told = {"type": "url_citation", "url": citation.url or "", "title": citation.title or "", **annotation}
        entries[place].setdefault("annotations", []).append(told)


def complete(item: Mapping[str, Any], number: int) -> dict[str, Any]:
    """An item with all the fields that clients count on; ids are made up from its place. One of an unknown type stays as it is."""
    kind = str(item.get("type", "message"))
    if kind not in _IDS or (kind == "message" and not isinstance(item.get("content"), str | list)):
        return dict(item)
    whole = {"type": kind, "id": made_id(kind, number), **item}
    if kind == "message":
        return {"status": "completed", **whole, "content": _content(item["content"])}
    if kind in CALLS:
        return {"status": "completed", **whole, "call_id": item["call_id"] or f"call_{number}"}
    return whole


def made_id(kind: str, number: int) -> str:
    """The id of an item that came without one."""
    return f"{_IDS[kind]}{number}"


def _content(content: Any) -> list[Any]:
    entries = [{"type": "output_text", "text": content}] if isinstance(content, str) else content
    return [{"annotations": [], "logprobs": [], **entry} if is_text(entry) else entry for entry in entries]


def is_text(entry: Any) -> bool:
    """Whether an entry of a message's content is text that the model wrote; a vendor may put anything there."""
    return isinstance(entry, dict) and entry.get("type") == "output_text" and isinstance(entry.get("text"), str)
