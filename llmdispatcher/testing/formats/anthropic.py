"""Anthropic messages, from the vendor's side (WIRE.md §3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ...response_values import Response
from ...wire.anthropic_messages import ANTHROPIC_MESSAGES
from ..answers import SimulatedResponse
from .answering import Names
from .base import ApiError, Format, Pieces, SimulatedRequest, bearer, dumps, out_of_range

VERSIONS = ("2023-06-01", "2026-10-21")

_USUAL = {
    400: "The request is not valid.",
    401: "invalid x-api-key",
    402: "Your credit balance is too low to access the API.",
    403: "Your API key does not have permission to use the specified resource.",
    404: "Not Found",
    413: "Request exceeds the maximum size",
    429: "This request would exceed your account's rate limit. Please try again later.",
    504: "Request timed out.",
    529: "Overloaded",
}
_SPECIAL = {
    "context": "prompt is too long: 210000 tokens > 200000 maximum",
    "filter": "Output blocked by content filtering policy",
    "model": "model: not found",
    "quota": "The organization has reached its enforced spend limit.",
}


class AnthropicFormat(Format):
    """``/v1/messages``, and any prefix before ``/messages``."""

    name = "anthropic"
    id_header = "request-id"
    codec = ANTHROPIC_MESSAGES
    names = Names(
        answer="msg_",
        call="toolu_",
        tier="standard",
        origin=ANTHROPIC_MESSAGES.name,
        thought_proof="sig_",
        stop="stop_sequence",
        early_usage=True,
    )

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The ``x-api-key`` header, or a bearer token."""
        return headers.get("x-api-key") or bearer(headers)

    def check(self, request: SimulatedRequest) -> ApiError | None:
        """Version, JSON, required fields, roles, ranges, in this order."""
        version = request.headers.get("anthropic-version")
        if version is None:
            return ApiError(400, message="anthropic-version: header is required")
        if version not in VERSIONS:
            return ApiError(400, message=f'anthropic-version: "{version}" is not a valid version')
        asked = request.json
        if not isinstance(asked, dict):
            return ApiError(400, message="The request body is not valid JSON")
        return self._missing(asked) or _wrong_turns(asked["messages"]) or _wrong_sampling(asked, version)

    def words(self, api_error: ApiError) -> tuple[str, str | None]:
        """A status has one message; a spent budget has a code."""
        usual = _USUAL.get(api_error.status, "Internal server error")
        return _SPECIAL.get(api_error.kind, usual), "enforced_spend_limit_reached" if api_error.kind == "quota" else None

    def pieces(self, request: SimulatedRequest, answer: SimulatedResponse | Response) -> Pieces:
        """With a ping before the first word."""
        pieces = super().pieces(request, answer)
        return attrs.evolve(pieces, opening=[*pieces.opening, self.ping()])

    def ping(self) -> bytes:
        """The ``ping`` event."""
        return b'event: ping\ndata: {"type":"ping"}\n\n'

    def _missing(self, asked: Mapping[str, Any]) -> ApiError | None:
        for field in ("model", "max_tokens", "messages"):
            if asked.get(field) is None:
                return ApiError(400, message=f"{field}: Field required")
        if out_of_range(asked, "max_tokens", 1, 1 << 20):
            return ApiError(400, message="max_tokens: Input should be greater than or equal to 1")
        return None


class AnthropicCount(AnthropicFormat):
    """``/v1/messages/count_tokens``: how long a conversation is."""

    name = "anthropic_count"

    def body(self, request: SimulatedRequest, answer: SimulatedResponse | Response) -> bytes:
        """The count alone."""
        return dumps({"input_tokens": self._facts(request).input_tokens})

    def _missing(self, asked: Mapping[str, Any]) -> ApiError | None:
        return super()._missing({"max_tokens": 1, **asked})


def _wrong_turns(messages: Any) -> ApiError | None:
    if not isinstance(messages, list) or not messages:
        return ApiError(400, message="messages: at least one message is required")
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant"):
            return ApiError(400, message=f"messages.{number}.role: unexpected role {role!r}; system is a top-level field")
        if not message.get("content"):
            return ApiError(400, message=f"messages.{number}: content must be non-empty")
    return None if messages[0]["role"] == "user" else ApiError(400, message='messages: first message must use the "user" role')


def _wrong_sampling(asked: Mapping[str, Any], version: str) -> ApiError | None:
    for name in ("temperature", "top_p", "top_k"):
        if name in asked and version != VERSIONS[0]:
            return ApiError(400, message=f"{name}: not supported in version {version}")
    for name in ("temperature", "top_p"):
        if out_of_range(asked, name, 0, 1):
            return ApiError(400, message=f"{name}: range: 0..1")
    return None
