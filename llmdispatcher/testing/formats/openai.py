"""OpenAI chat completions and Azure's dialect of them, from the vendor's side (WIRE.md §1 and §5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...clock import SYSTEM_CLOCK
from ...types import Response
from ...wire.base import Inbound
from ..answers import Answer, pieces, texts
from .base import Format, Pieces, SimulatedRequest, Trouble, bearer, dumps, input_tokens, out_of_range

ROLES = ("system", "assistant", "user", "function", "tool", "developer")

_USUAL = {
    400: ("invalid_request_error", None, "The request is not valid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("billing_error", "billing_not_active", "The account is not active; check its billing details."),
    403: ("invalid_request_error", None, "You are not allowed to sample from this model."),
    404: ("invalid_request_error", None, "There is nothing at this address."),
    408: ("timeout_error", None, "The request timed out."),
    409: ("conflict_error", None, "The resource is locked by another request."),
    413: ("invalid_request_error", None, "The request is larger than the limit."),
    422: ("invalid_request_error", None, "The request could not be processed."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests per min. Please try again later."),
    451: ("invalid_request_error", "unsupported_country_region_territory", "This country or region is not supported."),
    503: ("server_error", None, "The engine is currently overloaded, please try again later."),
}
_SPECIAL = {
    "model": ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    "quota": ("insufficient_quota", "insufficient_quota", "You exceeded your current quota; check your plan and billing details."),
    "context": (
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 131072 tokens.",
    ),
    "filter": ("invalid_request_error", "content_policy_violation", "The prompt was rejected by the safety system."),
}
_SERVER_ERROR = ("server_error", None, "The server had an error while processing your request.")


class OpenAIFormat(Format):
    """``/v1/chat/completions``, and any prefix before ``/chat/completions``."""

    name = "openai"
    id_header = "x-request-id"

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The bearer token."""
        return bearer(headers)

    def words(self, trouble: Trouble) -> tuple[str, str | None]:
        """What :meth:`error` says."""
        raise NotImplementedError

    def read(self, body: bytes, path: str) -> Inbound | None:
        """Not read in the library's words yet."""
        return None

    def check(self, request: SimulatedRequest) -> Trouble | None:
        """JSON, model, messages, roles, ranges, in this order."""
        asked = request.json
        if not isinstance(asked, dict):
            return Trouble(400, message="We could not parse the JSON body of your request.")
        if not request.model:
            return Trouble(400, message="you must provide a model parameter")
        return _wrong_messages(asked.get("messages")) or _wrong_numbers(asked)

    def turns(self, request: SimulatedRequest) -> list[str]:
        """The content of every message."""
        asked = request.json
        return [texts(message) for message in asked.get("messages") or ()]

    def limits(self, request: SimulatedRequest) -> tuple[int | None, Sequence[str]]:
        """``max_completion_tokens`` or the older ``max_tokens``, and ``stop``."""
        asked = request.json
        stop = asked.get("stop") or ()
        return asked.get("max_completion_tokens") or asked.get("max_tokens"), (stop,) if isinstance(stop, str) else stop

    def body(self, request: SimulatedRequest, answer: Answer | Response) -> bytes:
        """A ``chat.completion``."""
        assert isinstance(answer, Answer)
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None, "annotations": []}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.tool_calls:
            message["tool_calls"] = [_call(request, number, call.arguments, call) for number, call in enumerate(answer.tool_calls)]
        else:
            message["content"] = answer.text
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.reason}
        usage = self._usage(request, answer)
        return dumps({**self._frame(request, "chat.completion"), "choices": [self._choice(choice)], "usage": usage})

    def pieces(self, request: SimulatedRequest, answer: Answer | Response) -> Pieces:
        """``chat.completion.chunk`` events, the usage in one with no choices if it was asked for, then ``[DONE]``."""
        assert isinstance(answer, Answer)
        options = request.json.get("stream_options") or {}
        frame = self._frame(request, "chat.completion.chunk")
        if options.get("include_usage"):
            frame["usage"] = None

        def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return _event({**frame, "choices": [self._choice(choice)]})

        closing = [event({}, answer.reason)]
        if options.get("include_usage"):
            closing.append(_event({**frame, "choices": [], "usage": self._usage(request, answer)}))
        role = event({"role": "assistant", "content": "", "refusal": None})
        words = [event(delta) for delta in _deltas(request, answer)]
        return Pieces([*self._before(), role], words, [*closing, b"data: [DONE]\n\n"])

    def error(self, trouble: Trouble) -> tuple[int, dict[str, Any]]:
        """``{"error": {message, type, param, code}}``."""
        kind, code, message = _SPECIAL.get(trouble.kind) or _USUAL.get(trouble.status, _SERVER_ERROR)
        param = trouble.param or ("model" if trouble.kind == "model" else None)
        fault = {"message": trouble.message or message, "type": kind, "param": param, "code": trouble.code or code}
        return trouble.status, {"error": fault}

    def error_event(self, trouble: Trouble) -> bytes:
        """The body of a refusal as an event."""
        return _event(self.error(trouble)[1])

    def ping(self) -> bytes:
        """A comment, as OpenAI-compatible servers send it."""
        return b": keep-alive\n\n"

    def _frame(self, request: SimulatedRequest, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{request.id}",
            "object": kind,
            "created": int(SYSTEM_CLOCK.now().timestamp()),
            "model": request.model,
            "service_tier": "default",
            "system_fingerprint": "fp_simulated",
        }

    def _usage(self, request: SimulatedRequest, answer: Answer) -> dict[str, Any]:
        read, written = input_tokens(self.turns(request)), answer.output_tokens + answer.reasoning_tokens
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens, "audio_tokens": 0},
        }

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        return choice

    def _before(self) -> list[bytes]:
        return []


_SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}


class AzureFormat(OpenAIFormat):
    """The same over ``/openai/deployments/{name}/chat/completions?api-version=`` or ``/openai/v1/chat/completions``."""

    name = "azure"
    id_header = "apim-request-id"

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The ``api-key`` header, or a bearer token."""
        return headers.get("api-key") or bearer(headers)

    def check(self, request: SimulatedRequest) -> Trouble | None:
        """Also that a deployment's address has its ``api-version``."""
        if "/deployments/" in request.path and "api-version=" not in request.path:
            return Trouble(404)
        return super().check(request)

    def error(self, trouble: Trouble) -> tuple[int, dict[str, Any]]:
        """Azure's own words where its gateway answers before OpenAI does."""
        if trouble.kind == "filter":
            return trouble.status, {"error": _FILTERED}
        code, message = _AZURE.get(trouble.kind or str(trouble.status), (None, ""))
        if code is None or trouble.code:
            return super().error(trouble)
        return trouble.status, {"error": {"code": code, "message": trouble.message or message}}

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        return {"content_filter_results": _SAFE if choice.get("message") or choice["delta"].get("content") else {}, **choice}

    def _before(self) -> list[bytes]:
        verdict = [{"prompt_index": 0, "content_filter_results": _SAFE}]
        return [_event({"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": verdict})]


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


def _event(value: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % dumps(value)


def _call(request: SimulatedRequest, number: int, arguments: str, call: Any) -> dict[str, Any]:
    identity = call.id or f"call_{request.id}{number}"
    return {"id": identity, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _deltas(request: SimulatedRequest, answer: Answer) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = [{"reasoning_content": piece} for piece in pieces(answer.reasoning)]
    said += [{"content": piece} for piece in pieces(answer.text)]
    for number, call in enumerate(answer.tool_calls):
        said.append({"tool_calls": [{"index": number, **_call(request, number, "", call)}]})
        said += [
            {"tool_calls": [{"index": number, "function": {"arguments": call.arguments[at : at + 8]}}]}
            for at in range(0, len(call.arguments), 8)
        ]
    return said


def _wrong_messages(messages: Any) -> Trouble | None:
    if messages is None:
        text = "Missing required parameter: 'messages'."
        return Trouble(400, message=text, param="messages", code="missing_required_parameter")
    if not isinstance(messages, list) or not messages:
        text = "Invalid 'messages': expected an array with minimum length 1."
        return Trouble(400, message=text, param="messages", code="empty_array")
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            text = f"Invalid value: {role!r}. Supported values are: {', '.join(map(repr, ROLES))}."
            return Trouble(400, message=text, param=f"messages[{number}].role", code="invalid_value")
    return None


def _wrong_numbers(asked: Mapping[str, Any]) -> Trouble | None:
    ranges = {
        "temperature": (0, 2),
        "top_p": (0, 1),
        "frequency_penalty": (-2, 2),
        "presence_penalty": (-2, 2),
        "max_tokens": (1, 1 << 20),
        "max_completion_tokens": (1, 1 << 20),
    }
    for name, (low, high) in ranges.items():
        if out_of_range(asked, name, low, high):
            text = f"Invalid '{name}': expected a value from {low} to {high}."
            return Trouble(400, message=text, param=name, code="decimal_out_of_range")
    return None
