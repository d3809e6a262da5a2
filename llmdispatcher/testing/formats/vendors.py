"""The simulated formats: OpenAI chat (and Azure's), OpenAI responses, Anthropic, Gemini, Ollama (WIRE.md §1–§5).

Both of OpenAI's formats have one table of errors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from ...types import Response
from ...wire import ANTHROPIC_MESSAGES, GEMINI, OLLAMA_CHAT, OPENAI_CHAT, OPENAI_RESPONSES
from ..answers import SimulatedResponse
from .base import ApiError, ErrorTexts, Format, Names, Pieces, SimulatedRequest, bearer, dumps, out_of_range

VERSIONS = ("2023-06-01", "2026-10-21")

_ANTHROPIC_ERRORS: ErrorTexts = {
    "context": "prompt is too long: 210000 tokens > 200000 maximum",
    "filter": "Output blocked by content filtering policy",
    "model": "model: not found",
    "quota": ("The organization has reached its enforced spend limit.", "enforced_spend_limit_reached"),
    400: "The request is not valid.",
    401: "invalid x-api-key",
    402: "Your credit balance is too low to access the API.",
    403: "Your API key does not have permission to use the specified resource.",
    404: "Not Found",
    413: "Request exceeds the maximum size",
    429: "This request would exceed your account's rate limit. Please try again later.",
    504: "Request timed out.",
    529: "Overloaded",
    0: "Internal server error",
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
    errors = _ANTHROPIC_ERRORS
    key_header = "x-api-key"
    ping = b'event: ping\ndata: {"type":"ping"}\n\n'

    def check(self, request: SimulatedRequest) -> ApiError | None:
        """Check version, JSON, required fields, roles, ranges, in this order."""
        version = request.headers.get("anthropic-version")
        if version is None:
            return ApiError(400, message="anthropic-version: header is required")
        if version not in VERSIONS:
            return ApiError(400, message=f'anthropic-version: "{version}" is not a valid version')
        asked = request.json
        if not isinstance(asked, dict):
            return ApiError(400, message="The request body is not valid JSON")
        return self._missing(asked) or _wrong_turns(asked["messages"]) or _wrong_sampling(asked, version)

    def pieces(self, request: SimulatedRequest, answer: SimulatedResponse | Response) -> Pieces:
        """Encode with a ping before the first word."""
        pieces = super().pieces(request, answer)
        return attrs.evolve(pieces, opening=[*pieces.opening, self.ping])

    def _missing(self, asked: Mapping[str, Any]) -> ApiError | None:
        for field in ("model", "max_tokens", "messages"):
            if asked.get(field) is None:
                return ApiError(400, message=f"{field}: Field required")
        if out_of_range(asked, "max_tokens", 1, 1 << 20):
            return ApiError(400, message="max_tokens: Input should be greater than or equal to 1")
        return None


def _wrong_turns(messages: Any) -> ApiError | None:
    if not isinstance(messages, list) or not messages:
        return ApiError(400, message="messages: at least one message is required")
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant"):
            return ApiError(400, message=f"messages.{number}.role: unexpected role {role!r}; system is a top-level field")
        if not message.get("content"):
            return ApiError(400, message=f"messages.{number}: content must be non-empty")
    return None  # the assistant may begin: since October 2024 (anthropic-sdk-typescript, issues 565 and 622)


def _wrong_sampling(asked: Mapping[str, Any], version: str) -> ApiError | None:
    for name in ("temperature", "top_p", "top_k"):
        if name in asked and version != VERSIONS[0]:
            return ApiError(400, message=f"{name}: not supported in version {version}")
    for name in ("temperature", "top_p"):
        if out_of_range(asked, name, 0, 1):
            return ApiError(400, message=f"{name}: range: 0..1")
    return None


_GEMINI_ERRORS: ErrorTexts = {
    "key": "API key not valid. Please pass a valid API key.",
    "model": "models/unknown is not found for this API version, or is not supported for generateContent.",
    "quota": "You exceeded your current quota, please check your plan and billing details.",
    "context": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "filter": "The prompt was blocked.",
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
    0: "The service failed.",
}
_RPC = "type.googleapis.com/google.rpc."
_GEMINI_RANGES = {"temperature": (0, 2), "topP": (0, 1), "maxOutputTokens": (1, 1 << 20), "candidateCount": (1, 8)}


class GeminiFormat(Format):
    """``/v1/models/{model}:generateContent`` and ``:streamGenerateContent``, v1beta and any prefix too."""

    name = "gemini"
    codec = GEMINI
    names = Names(call=None, call_proof="c2ln")
    separator = b"\r\n\r\n"
    errors = _GEMINI_ERRORS
    key_header = "x-goog-api-key"
    ping = b": ping\r\n\r\n"

    def check(self, request: SimulatedRequest) -> ApiError | None:
        """Check JSON, contents, roles, parts, ranges, in this order."""
        return self.check_conversation(request.json)

    def check_conversation(self, asked: Any) -> ApiError | None:
        """Check contents, roles, parts and ranges of a conversation, in this order."""
        if not isinstance(asked, dict):
            return ApiError(400, message="Invalid JSON payload received. Unable to parse the body.")
        return _wrong_contents(asked.get("contents")) or _wrong_config(asked.get("generationConfig") or {})

    def pieces(self, request: SimulatedRequest, answer: SimulatedResponse | Response) -> Pieces:
        """Encode a full response per event; without ``alt=sse`` they are one JSON array."""
        pieces = super().pieces(request, answer)
        if "alt=sse" in request.path:
            return pieces
        events = [self._events(piece) for piece in pieces.all]
        listed = [event.removeprefix(b"data: ").rstrip() for found in events for event in found]
        return Pieces([b"["], [event + b",\r\n" for event in listed[:-1]], [listed[-1] + b"]"], "application/json; charset=UTF-8")

    def error(self, api_error: ApiError) -> tuple[int, dict[str, Any]]:
        """Add the details; a wrong key is a 400, as at Google."""
        if api_error.kind == "key":
            api_error = ApiError(400, "key", message=api_error.message)
        status, body = super().error(api_error)
        details = _details(api_error)
        return status, {"error": {**body["error"], "details": details} if details else body["error"]}


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
    for name, (low, high) in _GEMINI_RANGES.items():
        if out_of_range(config, name, low, high):
            return ApiError(
                400, message=f"* GenerateContentRequest.generation_config.{name}: must be in the range [{low}, {high}]."
            )
    return None


_OLLAMA_ERRORS: ErrorTexts = {
    "model": "model 'unknown' not found",
    "quota": "you have reached your weekly usage limit, upgrade for higher limits",
    "context": "the input length exceeds the context length",
    400: "invalid request",
    401: "unauthorized",
    404: "not found",
    429: "too many requests",
    503: "server busy, please try again. maximum pending requests exceeded",
    0: "internal server error",
}


class OllamaFormat(Format):
    """``/api/chat``, in lines of JSON."""

    name = "ollama"
    codec = OLLAMA_CHAT
    names = Names(call="call_")
    separator = b"\n"
    errors = _OLLAMA_ERRORS
    ping = b"\n"

    def key(self, headers: Mapping[str, str]) -> str | None:
        """Return a bearer token, or a stand-in: a local server asks for none."""
        return bearer(headers) or "none"

    def check(self, request: SimulatedRequest) -> ApiError | None:
        """Check JSON and model; an empty conversation only loads the model."""
        if not isinstance(request.json, dict):
            return ApiError(400, message="invalid character at the beginning of value")
        return None if request.model else ApiError(400, message="model is required")


_OPENAI_ERRORS: ErrorTexts = {
    "model": ("The model does not exist or you do not have access to it.", "model_not_found"),
    "quota": ("You exceeded your current quota; check your plan and billing details.", "insufficient_quota"),
    "context": (
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 131072 tokens.",
        "context_length_exceeded",
    ),
    "filter": ("The prompt was rejected by the safety system.", "content_policy_violation"),
    400: "The request is not valid.",
    401: ("Incorrect API key provided.", "invalid_api_key"),
    402: ("The account is not active; check its billing details.", "billing_not_active"),
    403: "You are not allowed to sample from this model.",
    404: "There is nothing at this address.",
    408: "The request timed out.",
    409: "The resource is locked by another request.",
    413: "The request is larger than the limit.",
    422: "The request could not be processed.",
    429: ("Rate limit reached for requests per min. Please try again later.", "rate_limit_exceeded"),
    451: ("This country or region is not supported.", "unsupported_country_region_territory"),
    503: "The engine is currently overloaded, please try again later.",
    0: "The server had an error while processing your request.",
}
ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_CHAT_RANGES = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "max_tokens": (1, 1 << 20),
    "max_completion_tokens": (1, 1 << 20),
    "n": (1, 128),
}


class OpenAIFormat(Format):
    """``/v1/chat/completions``, and any prefix before ``/chat/completions``."""

    name = "openai"
    codec = OPENAI_CHAT
    names = Names(answer="chatcmpl-", call="call_", tier="default")
    errors = _OPENAI_ERRORS
    ping = b": keep-alive\n\n"

    def check(self, request: SimulatedRequest) -> ApiError | None:
        """Check JSON, model, messages, roles, ranges, in this order."""
        asked = request.json
        if not isinstance(asked, dict):
            return ApiError(400, message="We could not parse the JSON body of your request.")
        if not request.model:
            return ApiError(400, message="you must provide a model parameter")
        if not isinstance(asked.get("stream_options") or {}, dict):
            return ApiError(400, param="stream_options")
        return _wrong_messages(asked.get("messages")) or _wrong_numbers(asked, _CHAT_RANGES)

    def error(self, api_error: ApiError) -> tuple[int, dict[str, Any]]:
        """Add the parameter, which the library's errors do not have."""
        status, body = super().error(api_error)
        body["error"]["param"] = api_error.param or ("model" if api_error.kind == "model" else None)
        return status, body


_SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
_VERDICT = {"prompt_index": 0, "content_filter_results": _SAFE}
_PROMPT = b"data: %s\n\n" % dumps(
    {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [_VERDICT]}
)


class AzureFormat(OpenAIFormat):
    """OpenAI's format at ``/openai/deployments/{name}/chat/completions?api-version=`` or ``/openai/v1/chat/completions``."""

    name = "azure"
    id_header = "apim-request-id"
    key_header = "api-key"

    def check(self, request: SimulatedRequest) -> ApiError | None:
        """Check, too, that a deployment's address has an ``api-version``."""
        if "/deployments/" in request.path and "api-version=" not in request.path:
            return ApiError(404)
        return super().check(request)

    def body(self, request: SimulatedRequest, answer: SimulatedResponse | Response) -> bytes:
        """Encode with the filter's verdict on the response."""
        made = json.loads(super().body(request, answer))
        for choice in made["choices"]:
            choice["content_filter_results"] = _SAFE
        return dumps(made)

    def pieces(self, request: SimulatedRequest, answer: SimulatedResponse | Response) -> Pieces:
        """Encode with the filter's verdict on the prompt first, and one with every piece."""
        pieces = super().pieces(request, answer)
        return attrs.evolve(
            pieces,
            opening=[_PROMPT, *_with_verdicts(pieces.opening, {})],
            deltas=_with_verdicts(pieces.deltas, _SAFE),
            closing=_with_verdicts(pieces.closing, {}),
        )

    def error(self, api_error: ApiError) -> tuple[int, dict[str, Any]]:
        """Return Azure's own error if its gateway answers before OpenAI does."""
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


def _with_verdicts(events: Iterable[bytes], verdict: Mapping[str, Any]) -> list[bytes]:
    """Add a verdict to every choice. Its beginning is nowhere else, since text has its quotes escaped."""
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


def _wrong_numbers(asked: Mapping[str, Any], ranges: Mapping[str, tuple[int, int]]) -> ApiError | None:
    for name, (low, high) in ranges.items():
        if out_of_range(asked, name, low, high):
            text = f"Invalid '{name}': expected a value from {low} to {high}."
            return ApiError(400, message=text, param=name, code="decimal_out_of_range")
    return None


_RESPONSES_RANGES = {"temperature": (0, 2), "top_p": (0, 1), "max_output_tokens": (1, 1 << 20)}


class ResponsesFormat(Format):
    """``/v1/responses``, and any prefix before ``/responses``."""

    name = "openai_responses"
    codec = OPENAI_RESPONSES
    names = Names(answer="resp_", call="call_", tier="default")
    errors = _OPENAI_ERRORS
    key_header = "api-key"
    ping = b": keep-alive\n\n"

    def error_event(self, api_error: ApiError) -> bytes:
        """Return the event alone, since the response has begun already."""
        return next(event for event in self._events(super().error_event(api_error)) if event.startswith(b"event: error"))

    def check(self, request: SimulatedRequest) -> ApiError | None:
        """Check JSON, model, input, ranges, in this order."""
        asked = request.json
        if not isinstance(asked, dict):
            return ApiError(400, message="We could not parse the JSON body of your request.")
        if not request.model:
            return ApiError(400, message="Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
        if not asked.get("input") and not asked.get("prompt"):
            return ApiError(400, message="Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
        return _wrong_numbers(asked, _RESPONSES_RANGES)
