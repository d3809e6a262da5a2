"""Ollama's own chat, from its side."""

from __future__ import annotations

from collections.abc import Mapping

from ...wire.ollama_chat import OLLAMA_CHAT
from .answering import Names
from .base import ApiError, Format, SimulatedRequest, bearer

_USUAL = {
    400: "invalid request",
    401: "unauthorized",
    404: "not found",
    429: "too many requests",
    503: "server busy, please try again. maximum pending requests exceeded",
}
_SPECIAL = {
    "model": "model 'unknown' not found",
    "quota": "you have reached your weekly usage limit, upgrade for higher limits",
    "context": "the input length exceeds the context length",
}


class OllamaFormat(Format):
    """``/api/chat``, in lines of JSON."""

    name = "ollama"
    codec = OLLAMA_CHAT
    names = Names(call="call_")
    separator = b"\n"

    def key(self, headers: Mapping[str, str]) -> str | None:
        """A bearer token; at home nobody asks for one."""
        return bearer(headers) or "none"

    def check(self, request: SimulatedRequest) -> ApiError | None:
        """JSON and model; an empty conversation only loads the model."""
        if not isinstance(request.json, dict):
            return ApiError(400, message="invalid character at the beginning of value")
        return None if request.model else ApiError(400, message="model is required")

    def words(self, api_error: ApiError) -> tuple[str, str | None]:
        """A message is all there is."""
        return _SPECIAL.get(api_error.kind) or _USUAL.get(api_error.status, "internal server error"), None

    def ping(self) -> bytes:
        """An empty line."""
        return b"\n"
