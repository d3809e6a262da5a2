"""An answer as Anthropic writes it in one piece, and a refusal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import (
    AllTargetsFailed,
    AuthenticationError,
    BudgetExceeded,
    Cancelled,
    CircuitOpen,
    ConfigError,
    ContentFiltered,
    ContextWindowExceeded,
    DeadlineExceeded,
    DispatchError,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    QuotaExceeded,
    RateLimitError,
)
from ..messages import OtherPart, Part, ReasoningPart, TextPart, ToolCall
from ..types import Citation, Response
from .anthropic_words import NAME, raw_usage, stop_reason, web_citation
from .faults import fault
from .payload import own, parse_text, written

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


_STATUSES: Mapping[type[DispatchError], int] = {
    AuthenticationError: 401,
    QuotaExceeded: 402,
    BudgetExceeded: 402,
    ModelNotFound: 404,
    RateLimitError: 429,
    ContextWindowExceeded: 400,
    ContentFiltered: 400,
    InvalidRequest: 400,
    DeadlineExceeded: 504,
    Cancelled: 499,
    Overloaded: 529,
    CircuitOpen: 529,
    ConfigError: 500,
    AllTargetsFailed: 502,
}
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
_CODES: Mapping[type[DispatchError], str] = {
    AuthenticationError: "invalid_api_key",
    QuotaExceeded: "enforced_spend_limit_reached",
    ModelNotFound: "model_not_found",
    RateLimitError: "ramp_limit_exceeded",
    ContextWindowExceeded: "context_length_exceeded",
    ContentFiltered: "content_filter",
}
"""What tells a class where status and wording mean another."""


def refusal(error: DispatchError) -> tuple[int, bytes]:
    """Status and body of an error: one that reads back as the same class wherever a status of its own or a code can tell it."""
    known = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 502)
    status = error.status if error.status is not None and 400 <= error.status < 600 else known
    body = written(error_document(error, status))
    if type(error) not in _CODES or type(fault(status, {}, body)) is type(error):
        return status, body
    return status, written(error_document(error, status, _CODES[type(error)]))


def error_document(error: DispatchError, status: int, code: str | None = None) -> dict[str, Any]:
    """What is said of an error."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    told: dict[str, Any] = {"type": kind, "message": error.message}
    if code is not None:
        told["details"] = {"error_code": code}
    return {"type": "error", "error": told, "request_id": error.request_id}
