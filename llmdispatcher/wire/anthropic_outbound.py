"""An answer as Anthropic writes it in one piece, and a refusal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import CircuitOpen, DispatchError, Overloaded
from ..json_text import parse_text
from ..messages import OtherPart, Part, ReasoningPart, TextPart, ToolCall
from ..response_values import Citation, Response
from .anthropic_words import NAME, raw_usage, stop_reason, web_citation
from .payload import own, written
from .refusing import refused

NO_ID = "msg_0"
"""Names an answer that came without a name."""


def whole(response: Response) -> bytes:
    """The body of a whole answer."""
    return written(
        {
            "id": response.response_id or NO_ID,
            "type": "message",
            "role": "assistant",
            "model": response.model,
            "content": _blocks(response),
            "stop_reason": stop_reason(response.finish_reason, response.finish_reason_raw),
            "stop_sequence": None,
            "usage": raw_usage(response.usage, response.service_tier),
        }
    )


def _blocks(response: Response) -> list[dict[str, Any]]:
    said: tuple[Part, ...] = (TextPart(text=response.content),) if response.content else ()
    parts = response.parts or (*said, *response.tool_calls)
    blocks: list[dict[str, Any]] = []
    if response.reasoning and not any(isinstance(part, ReasoningPart) and part.text for part in parts):
        blocks.append(_thinking(response.reasoning))
    calls = 0
    for part in parts:
        blocks += _call(part, calls) if isinstance(part, ToolCall) else _block(part)
        calls += isinstance(part, ToolCall)
    _cite(blocks, response.citations)
    return [*blocks, {"type": "text", "text": response.refusal}] if response.refusal else blocks


def _cite(blocks: list[dict[str, Any]], citations: Iterable[Citation]) -> None:
    """Sources that another vendor named are those of the text as a whole; Anthropic's own stand in their blocks."""
    text = next((block for block in reversed(blocks) if block["type"] == "text"), None)
    sources = [web_citation(citation) for citation in citations if citation.url]
    if sources and text is not None and not any("citations" in block for block in blocks):
        text["citations"] = sources


def _block(part: Part) -> list[dict[str, Any]]:
    if isinstance(part, TextPart):
        return [{"type": "text", "text": part.text, **own(part, NAME)}]
    if isinstance(part, ReasoningPart):
        return _thought(part)
    return [dict(part.data)] if isinstance(part, OtherPart) and part.origin == NAME else []


def _thought(part: ReasoningPart) -> list[dict[str, Any]]:
    """A thought; another format's proof of it would only be taken for one of Anthropic's."""
    native = part.origin in (None, NAME)
    if native and part.encrypted is not None:
        return [{"type": "redacted_thinking", "data": part.encrypted}]
    return [_thinking(part.text, (part.signature if native else None) or "")] if part.text or native else []


def _thinking(text: str, signature: str = "") -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": signature}


def _call(call: ToolCall, place: int) -> list[dict[str, Any]]:
    head = {"type": "tool_use", "id": call.id or f"call_{place}", "name": call.name}
    return [{**head, "input": input_of(call.arguments, call.kind), **own(call, NAME)}]


def input_of(arguments: str, kind: str | None) -> dict[str, Any]:
    """Arguments as the object that the format wants; what is none is put into one."""
    if kind == "custom":
        return {"input": arguments}
    try:
        value = parse_text(arguments) if arguments.strip() else {}
    except ValueError:
        value = arguments
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"input": value}


_STATUSES: Mapping[type[DispatchError], int] = {Overloaded: 529, CircuitOpen: 529}
_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def refusal(error: DispatchError) -> tuple[int, bytes]:
    """Status and body of an error."""
    return refused(error, lambda status, code: error_document(error, status, code), _STATUSES)


def error_document(error: DispatchError, status: int, code: str | None = None) -> dict[str, Any]:
    """What is said of an error."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    told: dict[str, Any] = {"type": kind, "message": error.message}
    if code is not None:
        told["details"] = {"error_code": code}
    return {"type": "error", "error": told, "request_id": error.request_id}
