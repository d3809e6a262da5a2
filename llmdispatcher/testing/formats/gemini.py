"""Gemini generateContent and streamGenerateContent, from the vendor's side (WIRE.md §4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...types import Response
from ...wire.base import Inbound
from ..answers import Answer, arguments, pieces, texts
from .base import Format, Pieces, SimulatedRequest, Trouble, dumps, input_tokens, out_of_range

_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}
_STATUS = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    402: ("FAILED_PRECONDITION", "Billing is not enabled for this project."),
    403: ("PERMISSION_DENIED", "The caller does not have permission."),
    404: ("NOT_FOUND", "Requested entity was not found."),
    408: ("DEADLINE_EXCEEDED", "The request timed out."),
    409: ("ABORTED", "The operation was aborted."),
    429: ("RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later."),
    500: ("INTERNAL", "An internal error has occurred. Please retry."),
    501: ("UNIMPLEMENTED", "The operation is not implemented."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}
_WORDS = {
    "key": "API key not valid. Please pass a valid API key.",
    "model": "models/unknown is not found for this API version, or is not supported for generateContent.",
    "quota": "You exceeded your current quota, please check your plan and billing details.",
    "context": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "filter": "The prompt was blocked.",
}
_RPC = "type.googleapis.com/google.rpc."


class GeminiFormat(Format):
    """``/v1/models/{model}:generateContent`` and ``:streamGenerateContent``, v1beta and any prefix too."""

    name = "gemini"
    id_header = "x-request-id"

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The ``x-goog-api-key`` header; a key in the address is not accepted, it would leak into logs."""
        return headers.get("x-goog-api-key")

    def words(self, trouble: Trouble) -> tuple[str, str | None]:
        """What :meth:`error` says."""
        raise NotImplementedError

    def read(self, body: bytes, path: str) -> Inbound | None:
        """Not read in the library's words yet."""
        return None

    def check(self, request: SimulatedRequest) -> Trouble | None:
        """JSON, contents, roles, parts, ranges, in this order."""
        asked = request.json
        if not isinstance(asked, dict):
            return Trouble(400, message="Invalid JSON payload received. Unable to parse the body.")
        return _wrong_contents(asked.get("contents")) or _wrong_config(asked.get("generationConfig") or {})

    def turns(self, request: SimulatedRequest) -> list[str]:
        """The system instruction and every content."""
        asked = request.json
        system = [texts(asked["systemInstruction"])] if asked.get("systemInstruction") else []
        return system + [texts(content) for content in asked.get("contents") or ()]

    def limits(self, request: SimulatedRequest) -> tuple[int | None, Sequence[str]]:
        """``maxOutputTokens`` and ``stopSequences`` of ``generationConfig``."""
        asked = request.json
        config = asked.get("generationConfig") or {}
        return config.get("maxOutputTokens"), config.get("stopSequences") or ()

    def body(self, request: SimulatedRequest, answer: Answer | Response) -> bytes:
        """A whole ``GenerateContentResponse``."""
        assert isinstance(answer, Answer)
        parts = [{"text": answer.reasoning, "thought": True}] if answer.reasoning else []
        parts += [{"text": answer.text}] if answer.text or not answer.tool_calls else []
        finish = _FINISH.get(answer.reason, answer.reason)
        return dumps(_response(request, self._usage(request, answer), [*parts, *_calls(request, answer)], finish))

    def pieces(self, request: SimulatedRequest, answer: Answer | Response) -> Pieces:
        """A full response per event, the finish reason in the last; a JSON array where ``alt=sse`` is missing."""
        assert isinstance(answer, Answer)
        parts = [{"text": piece, "thought": True} for piece in pieces(answer.reasoning)]
        parts += [{"text": piece} for piece in pieces(answer.text)]
        usage = self._usage(request, answer)
        said = [_response(request, usage, [part], None) for part in [*parts, *_calls(request, answer)]]
        last = _response(request, usage, [{"text": ""}], _FINISH.get(answer.reason, answer.reason))
        if "alt=sse" in request.path:
            return Pieces([], [_event(response) for response in said], [_event(last)])
        listed = [dumps(response) + b",\r\n" for response in said]
        return Pieces([b"["], listed, [dumps(last) + b"]"], "application/json; charset=UTF-8")

    def error(self, trouble: Trouble) -> tuple[int, dict[str, Any]]:
        """``{"error": {code, message, status, details}}``; a wrong key is a 400 here, as it is at Google."""
        status = 400 if trouble.kind == "key" else trouble.status
        word, message = _STATUS.get(status, ("UNKNOWN", "The service failed."))
        fault: dict[str, Any] = {"code": status, "message": trouble.message or _WORDS.get(trouble.kind, message), "status": word}
        details = _details(trouble)
        return status, {"error": {**fault, "details": details} if details else fault}

    def error_event(self, trouble: Trouble) -> bytes:
        """The body of a refusal as an event."""
        return _event(self.error(trouble)[1])

    def ping(self) -> bytes:
        """A comment; Google itself sends no pings."""
        return b": ping\r\n\r\n"

    def _usage(self, request: SimulatedRequest, answer: Answer) -> dict[str, Any]:
        read, written, thought = input_tokens(self.turns(request)), answer.output_tokens, answer.reasoning_tokens
        usage: dict[str, Any] = {
            "promptTokenCount": read,
            "candidatesTokenCount": written,
            "totalTokenCount": read + written + thought,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": read}],
        }
        return {**usage, "thoughtsTokenCount": thought} if thought else usage


def _event(value: dict[str, Any]) -> bytes:
    return b"data: %s\r\n\r\n" % dumps(value)


def _response(request: SimulatedRequest, usage: dict[str, Any], parts: list[Any], finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": request.model, "responseId": request.id}


def _calls(request: SimulatedRequest, answer: Answer) -> list[dict[str, Any]]:
    parts = []
    for call in answer.tool_calls:
        part: dict[str, Any] = {"functionCall": {"name": call.name, "args": arguments(call)}}
        if call.id:
            part["functionCall"]["id"] = call.id
        parts.append({**part, "thoughtSignature": call.signature or f"c2ln{request.id}"})
    return parts


def _details(trouble: Trouble) -> list[dict[str, Any]]:
    details: list[dict[str, Any]] = []
    if trouble.kind == "key":
        details.append({"@type": _RPC + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"})
    if trouble.kind == "quota":
        quota = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "50"}
        details.append({"@type": _RPC + "QuotaFailure", "violations": [quota]})
    if trouble.delay:
        details.append({"@type": _RPC + "RetryInfo", "retryDelay": trouble.delay})
    return details


def _wrong_contents(contents: Any) -> Trouble | None:
    if not isinstance(contents, list) or not contents:
        return Trouble(400, message="* GenerateContentRequest.contents: contents is not specified")
    for number, content in enumerate(contents):
        if not isinstance(content, dict) or content.get("role", "user") not in ("user", "model"):
            return Trouble(400, message="Please use a valid role: user, model.")
        if not content.get("parts"):
            return Trouble(400, message=f"* GenerateContentRequest.contents[{number}].parts: contents.parts must not be empty.")
    return None


def _wrong_config(config: Mapping[str, Any]) -> Trouble | None:
    for name, (low, high) in {"temperature": (0, 2), "topP": (0, 1), "maxOutputTokens": (1, 1 << 20)}.items():
        if out_of_range(config, name, low, high):
            return Trouble(400, message=f"* GenerateContentRequest.generation_config.{name}: must be in the range [{low}, {high}].")
    return None
