"""Anthropic messages, from the vendor's side (WIRE.md §3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..answers import Answer, arguments, pieces, texts
from .base import Pieces, SimulatedRequest, Trouble, bearer, dumps, input_tokens, out_of_range

VERSIONS = ("2023-06-01", "2026-10-21")

_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_USUAL = {
    400: ("invalid_request_error", "The request is not valid."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "Not Found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your account's rate limit. Please try again later."),
    504: ("timeout_error", "Request timed out."),
    529: ("overloaded_error", "Overloaded"),
}
_SPECIAL = {
    "context": "prompt is too long: 210000 tokens > 200000 maximum",
    "filter": "Output blocked by content filtering policy",
    "quota": "The organization has reached its enforced spend limit.",
}


class AnthropicFormat:
    """``/v1/messages``, and any prefix before ``/messages``."""

    name = "anthropic"
    id_header = "request-id"

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The ``x-api-key`` header, or a bearer token."""
        return headers.get("x-api-key") or bearer(headers)

    def check(self, request: SimulatedRequest) -> Trouble | None:
        """Version, JSON, required fields, roles, ranges, in this order."""
        version = request.headers.get("anthropic-version")
        if version is None:
            return Trouble(400, message="anthropic-version: header is required")
        if version not in VERSIONS:
            return Trouble(400, message=f'anthropic-version: "{version}" is not a valid version')
        asked = request.json
        if not isinstance(asked, dict):
            return Trouble(400, message="The request body is not valid JSON")
        return _missing(asked) or _wrong_turns(asked["messages"]) or _wrong_sampling(asked, version)

    def turns(self, asked: Mapping[str, Any]) -> list[str]:
        """The system's words and the content of every message."""
        system = [texts(asked["system"])] if asked.get("system") else []
        return system + [texts(message) for message in asked.get("messages") or ()]

    def limits(self, asked: Mapping[str, Any]) -> tuple[int | None, Sequence[str]]:
        """``max_tokens`` and ``stop_sequences``."""
        return asked.get("max_tokens"), asked.get("stop_sequences") or ()

    def body(self, request: SimulatedRequest, answer: Answer) -> dict[str, Any]:
        """A ``message``."""
        return {
            **self._frame(request),
            "content": [_whole(block) for block in _blocks(request, answer)],
            **_stopped(answer),
            "usage": {**self._read(request), **_written(answer)},
        }

    def pieces(self, request: SimulatedRequest, answer: Answer) -> Pieces:
        """Named events from ``message_start`` to ``message_stop``, with a ping after the first block's start."""
        message = {**self._frame(request), "content": [], "stop_reason": None, "stop_sequence": None}
        message["usage"] = {**self._read(request), "output_tokens": 1}
        inside = [event for number, block in enumerate(_blocks(request, answer)) for event in _streamed(number, block)]
        opening = [_event("message_start", message=message), inside[0], self.ping()]
        ended = _event("message_delta", delta=_stopped(answer), usage=_written(answer))
        return Pieces(opening, inside[1:-1], [inside[-1], ended, _event("message_stop")])

    def error(self, trouble: Trouble) -> tuple[int, dict[str, Any]]:
        """``{"type": "error", "error": {type, message}, "request_id"}``."""
        kind, message = _USUAL.get(trouble.status, ("api_error", "Internal server error"))
        fault: dict[str, Any] = {"type": kind, "message": trouble.message or _SPECIAL.get(trouble.kind, message)}
        if trouble.kind == "quota":
            fault["details"] = {"error_code": "enforced_spend_limit_reached"}
        if trouble.kind == "model" and not trouble.message:
            fault["message"] = "model: not found"
        return trouble.status, {"type": "error", "error": fault, "request_id": "req_simulated"}

    def error_event(self, trouble: Trouble) -> bytes:
        """The ``error`` event."""
        return _event("error", error=self.error(trouble)[1]["error"])

    def ping(self) -> bytes:
        """The ``ping`` event."""
        return _event("ping")

    def _frame(self, request: SimulatedRequest) -> dict[str, Any]:
        return {"model": request.model, "id": f"msg_{request.id}", "type": "message", "role": "assistant"}

    def _read(self, request: SimulatedRequest) -> dict[str, Any]:
        return {
            "input_tokens": input_tokens(self.turns(request.json)),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "service_tier": "standard",
        }


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), dumps({"type": kind, **fields}))


def _blocks(request: SimulatedRequest, answer: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.reasoning:
        blocks.append({"type": "thinking", "thinking": answer.reasoning, "signature": f"sig_{request.id}"})
    if answer.text or not answer.tool_calls:
        blocks.append({"type": "text", "text": answer.text})
    for number, call in enumerate(answer.tool_calls):
        identity = call.id or f"toolu_{request.id}{number}"
        blocks.append({"type": "tool_use", "id": identity, "name": call.name, "input": arguments(call), "raw": call.arguments})
    return blocks


def _whole(block: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key != "raw"}


def _streamed(number: int, block: dict[str, Any]) -> list[bytes]:
    empty, deltas = _CUTS[block["type"]](block)
    said = [_event("content_block_delta", index=number, delta=delta) for delta in deltas]
    return [
        _event("content_block_start", index=number, content_block={**_whole(block), **empty}),
        *said,
        _event("content_block_stop", index=number),
    ]


_Cut = tuple[dict[str, Any], list[dict[str, Any]]]


def _text(block: dict[str, Any]) -> _Cut:
    return {"text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]


def _thinking(block: dict[str, Any]) -> _Cut:
    thought = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
    return {"thinking": "", "signature": ""}, [*thought, {"type": "signature_delta", "signature": block["signature"]}]


def _tool_use(block: dict[str, Any]) -> _Cut:
    raw = block["raw"]
    parts = ["", *(raw[at : at + 8] for at in range(0, len(raw), 8))]
    return {"input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]


_CUTS = {"text": _text, "thinking": _thinking, "tool_use": _tool_use}


def _stopped(answer: Answer) -> dict[str, Any]:
    if answer.stop_sequence is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": answer.stop_sequence}
    return {"stop_reason": _STOP.get(answer.reason, answer.reason), "stop_sequence": None}


def _written(answer: Answer) -> dict[str, Any]:
    thought = {"output_tokens_details": {"thinking_tokens": answer.reasoning_tokens}} if answer.reasoning else {}
    return {"output_tokens": answer.output_tokens + answer.reasoning_tokens, **thought}


def _missing(asked: Mapping[str, Any]) -> Trouble | None:
    for field in ("model", "max_tokens", "messages"):
        if asked.get(field) is None:
            return Trouble(400, message=f"{field}: Field required")
    if out_of_range(asked, "max_tokens", 1, 1 << 20):
        return Trouble(400, message="max_tokens: Input should be greater than or equal to 1")
    return None


def _wrong_turns(messages: Any) -> Trouble | None:
    if not isinstance(messages, list) or not messages:
        return Trouble(400, message="messages: at least one message is required")
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant"):
            return Trouble(400, message=f"messages.{number}.role: unexpected role {role!r}; system is a top-level field")
        if not message.get("content"):
            return Trouble(400, message=f"messages.{number}: content must be non-empty")
    return None if messages[0]["role"] == "user" else Trouble(400, message='messages: first message must use the "user" role')


def _wrong_sampling(asked: Mapping[str, Any], version: str) -> Trouble | None:
    for name in ("temperature", "top_p", "top_k"):
        if name in asked and version != VERSIONS[0]:
            return Trouble(400, message=f"{name}: not supported in version {version}")
    for name in ("temperature", "top_p"):
        if out_of_range(asked, name, 0, 1):
            return Trouble(400, message=f"{name}: range: 0..1")
    return None
