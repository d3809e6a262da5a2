"""OpenAI chat completions and Azure's dialect of them, from the vendor's side (WIRE.md §1 and §5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from ...response_values import Response
from ...wire.openai_chat import OPENAI_CHAT
from ..answers import SimulatedResponse
from .answering import Names
from .base import ApiError, Format, Pieces, SimulatedRequest, bearer, dumps, out_of_range
from .openai_words import words

ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_RANGES = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "max_tokens": (1, 1 << 20),
    "max_completion_tokens": (1, 1 << 20),
}


class OpenAIFormat(Format):
    """``/v1/chat/completions``, and any prefix before ``/chat/completions``."""

    name = "openai"
    codec = OPENAI_CHAT
    names = Names(answer="chatcmpl-", call="call_", tier="default")

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The bearer token."""
        return bearer(headers)

    def check(self, request: SimulatedRequest) -> ApiError | None:
        """JSON, model, messages, roles, ranges, in this order."""
        asked = request.json
        if not isinstance(asked, dict):
            return ApiError(400, message="We could not parse the JSON body of your request.")
        if not request.model:
            return ApiError(400, message="you must provide a model parameter")
        if not isinstance(asked.get("stream_options") or {}, dict):
            return ApiError(400, param="stream_options")
        return _wrong_messages(asked.get("messages")) or _wrong_numbers(asked)

    def words(self, api_error: ApiError) -> tuple[str, str | None]:
        """Those of all of OpenAI's formats."""
        return words(api_error)

    def error(self, api_error: ApiError) -> tuple[int, dict[str, Any]]:
        """With the parameter that it is about, which errors of ours do not tell apart."""
        status, body = super().error(api_error)
        body["error"]["param"] = api_error.param or ("model" if api_error.kind == "model" else None)
        return status, body

    def ping(self) -> bytes:
        """A comment, as OpenAI-compatible servers send it."""
        return b": keep-alive\n\n"


_SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
_VERDICT = {"prompt_index": 0, "content_filter_results": _SAFE}
_PROMPT = b"data: %s\n\n" % dumps(
    {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [_VERDICT]}
)


class AzureFormat(OpenAIFormat):
    """The same over ``/openai/deployments/{name}/chat/completions?api-version=`` or ``/openai/v1/chat/completions``."""

    name = "azure"
    id_header = "apim-request-id"

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The ``api-key`` header, or a bearer token."""
        return headers.get("api-key") or bearer(headers)

    def check(self, request: SimulatedRequest) -> ApiError | None:
        """Also that a deployment's address has its ``api-version``."""
        if "/deployments/" in request.path and "api-version=" not in request.path:
            return ApiError(404)
        return super().check(request)

    def body(self, request: SimulatedRequest, answer: SimulatedResponse | Response) -> bytes:
        """With the filter's verdict on the answer."""
        return _filtered(super().body(request, answer), _SAFE)

    def pieces(self, request: SimulatedRequest, answer: SimulatedResponse | Response) -> Pieces:
        """The filter's verdict on the prompt comes first, and one with every piece."""
        pieces = super().pieces(request, answer)
        return attrs.evolve(
            pieces,
            opening=[_PROMPT, *_each(pieces.opening, {})],
            deltas=_each(pieces.deltas, _SAFE),
            closing=_each(pieces.closing, {}),
        )

    def error(self, api_error: ApiError) -> tuple[int, dict[str, Any]]:
        """Azure's own words where its gateway answers before OpenAI does."""
        if api_error.kind == "filter":
            return api_error.status, {"error": _FILTERED}
        code, message = _AZURE.get(api_error.kind or str(api_error.status), (None, ""))
        if code is None or api_error.code:
            return super().error(api_error)
        return api_error.status, {"error": {"code": code, "message": api_error.message or message}}


_AZURE = {
    "401": ("401", "Access denied due to invalid subscription key or wrong API endpoint."),
    "key": ("401", "Access denied due to invalid subscription key or wrong API endpoint."),
    "404": ("404", "Resource not found"),
    "model": ("DeploymentNotFound", "The API deployment for this resource does not exist."),
    "429": ("RateLimitReached", "Your requests have exceeded the call rate limit. Please retry later."),
}
_FILTERED = {
    "message": "The response was filtered due to the prompt triggering the content management policy.",
    "type": None,
    "param": "prompt",
    "code": "content_filter",
    "status": 400,
    "innererror": {
        "code": "ResponsibleAIPolicyViolation",
        "content_filter_result": {**_SAFE, "violence": {"filtered": True, "severity": "medium"}},
    },
}
_CHOICE = b'"choices":[{'


def _filtered(document: bytes, verdict: Mapping[str, Any]) -> bytes:
    """A verdict in every choice; what opens it stands nowhere else, since text has its quotes escaped."""
    return document.replace(_CHOICE, b'%s"content_filter_results":%s,' % (_CHOICE, dumps(verdict)))


def _each(events: Iterable[bytes], verdict: Mapping[str, Any]) -> list[bytes]:
    opened = b'%s"content_filter_results":%s,' % (_CHOICE, dumps(verdict))
    return [event.replace(_CHOICE, opened) for event in events]


def _wrong_messages(messages: Any) -> ApiError | None:
    if messages is None:
        text = "Missing required parameter: 'messages'."
        return ApiError(400, message=text, param="messages", code="missing_required_parameter")
    if not isinstance(messages, list) or not messages:
        text = "Invalid 'messages': expected an array with minimum length 1."
        return ApiError(400, message=text, param="messages", code="empty_array")
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            text = f"Invalid value: {role!r}. Supported values are: {', '.join(map(repr, ROLES))}."
            return ApiError(400, message=text, param=f"messages[{number}].role", code="invalid_value")
    return None


def _wrong_numbers(asked: Mapping[str, Any]) -> ApiError | None:
    for name, (low, high) in _RANGES.items():
        if out_of_range(asked, name, low, high):
            text = f"Invalid '{name}': expected a value from {low} to {high}."
            return ApiError(400, message=text, param=name, code="decimal_out_of_range")
    return None
