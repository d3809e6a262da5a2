"""Gemini generateContent and streamGenerateContent, from the vendor's side (WIRE.md §4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...response_values import Response
from ...wire.gemini import GEMINI
from ..answers import SimulatedResponse
from .answering import Names
from .base import ApiError, Format, Pieces, SimulatedRequest, dumps, out_of_range

_USUAL = {
    400: "Request contains an invalid argument.",
    401: "Request had invalid authentication credentials.",
    402: "Billing is not enabled for this project.",
    403: "The caller does not have permission.",
    404: "Requested entity was not found.",
    408: "The request timed out.",
    409: "The operation was aborted.",
    429: "Resource exhausted. Please try again later.",
    500: "An internal error has occurred. Please retry.",
    501: "The operation is not implemented.",
    503: "The model is overloaded. Please try again later.",
    504: "Deadline expired before operation could complete.",
}
_SPECIAL = {
    "key": "API key not valid. Please pass a valid API key.",
    "model": "models/unknown is not found for this API version, or is not supported for generateContent.",
    "quota": "You exceeded your current quota, please check your plan and billing details.",
    "context": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "filter": "The prompt was blocked.",
}
_RPC = "type.googleapis.com/google.rpc."
_RANGES = {"temperature": (0, 2), "topP": (0, 1), "maxOutputTokens": (1, 1 << 20)}


class GeminiFormat(Format):
    """``/v1/models/{model}:generateContent`` and ``:streamGenerateContent``, v1beta and any prefix too."""

    name = "gemini"
    codec = GEMINI
    names = Names(call=None, call_proof="c2ln")
    separator = b"\r\n\r\n"

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The ``x-goog-api-key`` header; a key in the address is not accepted, it would leak into logs."""
        return headers.get("x-goog-api-key")

    def check(self, request: SimulatedRequest) -> ApiError | None:
        """JSON, contents, roles, parts, ranges, in this order."""
        asked = request.json
        if not isinstance(asked, dict):
            return ApiError(400, message="Invalid JSON payload received. Unable to parse the body.")
        return _wrong_contents(asked.get("contents")) or _wrong_config(asked.get("generationConfig") or {})

    def words(self, api_error: ApiError) -> tuple[str, str | None]:
        """Status and kind have a message each, and no code."""
        return _SPECIAL.get(api_error.kind) or _USUAL.get(api_error.status, "The service failed."), None

    def pieces(self, request: SimulatedRequest, answer: SimulatedResponse | Response) -> Pieces:
        """A full response per event; a JSON array where ``alt=sse`` is missing."""
        pieces = super().pieces(request, answer)
        if "alt=sse" in request.path:
            return pieces
        events = [self._events(piece) for piece in pieces.all]
        listed = [event.removeprefix(b"data: ").rstrip() for found in events for event in found]
        return Pieces([b"["], [event + b",\r\n" for event in listed[:-1]], [listed[-1] + b"]"], "application/json; charset=UTF-8")

    def error(self, api_error: ApiError) -> tuple[int, dict[str, Any]]:
        """With the details that tell what the words do not; a wrong key is a 400 here, as it is at Google."""
        if api_error.kind == "key":
            api_error = ApiError(400, "key", message=api_error.message)
        status, body = super().error(api_error)
        details = _details(api_error)
        return status, {"error": {**body["error"], "details": details} if details else body["error"]}

    def ping(self) -> bytes:
        """A comment; Google itself sends no pings."""
        return b": ping\r\n\r\n"


class GeminiCount(GeminiFormat):
    """``:countTokens``: how long a conversation is."""

    name = "gemini_count"

    def body(self, request: SimulatedRequest, answer: SimulatedResponse | Response) -> bytes:
        """The count alone."""
        return dumps({"totalTokens": self._facts(request).input_tokens})


def _details(api_error: ApiError) -> list[dict[str, Any]]:
    details: list[dict[str, Any]] = []
    if api_error.kind == "key":
        details.append({"@type": _RPC + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"})
    if api_error.kind == "quota":
        quota = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "50"}
        details.append({"@type": _RPC + "QuotaFailure", "violations": [quota]})
    if api_error.delay:
        details.append({"@type": _RPC + "RetryInfo", "retryDelay": api_error.delay})
    return details


def _wrong_contents(contents: Any) -> ApiError | None:
    if not isinstance(contents, list) or not contents:
        return ApiError(400, message="* GenerateContentRequest.contents: contents is not specified")
    for number, content in enumerate(contents):
        if not isinstance(content, dict) or content.get("role", "user") not in ("user", "model"):
            return ApiError(400, message="Please use a valid role: user, model.")
        if not content.get("parts"):
            return ApiError(400, message=f"* GenerateContentRequest.contents[{number}].parts: contents.parts must not be empty.")
    return None


def _wrong_config(config: Mapping[str, Any]) -> ApiError | None:
    for name, (low, high) in _RANGES.items():
        if out_of_range(config, name, low, high):
            return ApiError(
                400, message=f"* GenerateContentRequest.generation_config.{name}: must be in the range [{low}, {high}]."
            )
    return None
