"""A route of the gateway, and ``/openapi.json``: what it serves, as OpenAPI 3.1 describes it, made of the table of its routes.

Bodies of the vendors' own formats are described by what the gateway itself needs of them; all else in them passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ... import __version__
from ..policies import OF_KEYS
from .answers import StreamedAnswer, WholeAnswer
from .formats import CHAT, COMPLETIONS, GOOGLE, MANAGEMENT, MESSAGES, OLLAMA, RESPONSES, ClientFormat

_GROUP = re.compile(r"\(\?P<(\w+)>((?:[^()]|\([^()]*\))*)\)")
_GOOGLE_METHODS = ("generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents")
_GOOGLE_HEAD, _GOOGLE_TAIL = "/v1(?:beta)?/(?P<kind>models|tunedModels)/", ":(?P<method>[A-Za-z]+)"
_TEXT: Mapping[str, Any] = {"type": "string"}
_OBJECT: Mapping[str, Any] = {"type": "object"}
_FAILURES: Mapping[int, str] = {
    400: "The request is wrong; the error names the field.",
    401: "No key, or one that is not good any more.",
    402: "A budget is used up.",
    403: "The key may not do that.",
    404: "There is no such thing for this key.",
    408: "The body did not come in time.",
    409: "What is asked for is so already.",
    413: "The body is too long.",
    421: "This host is not served here.",
    422: "The vendor cannot use the request.",
    426: "There are no WebSockets.",
    429: "A limit of the key, or of the vendor; see Retry-After.",
    500: "The gateway is not set up for that.",
    502: "The vendor's answer cannot be used, or it refuses the gateway.",
    503: "No vendor can be asked, or too much is asked at once; see Retry-After.",
    504: "The vendor did not answer in time.",
    529: "The vendor is overloaded (Anthropic's status).",
}
_MESSAGE: Mapping[str, Any] = {
    "type": "object",
    "properties": {"role": {"enum": ["user", "assistant"]}, "content": _TEXT},
    "required": ["role", "content"],
}
_CONVERSATION: Mapping[str, Any] = {"model": _TEXT, "messages": {"type": "array", "items": _MESSAGE, "minItems": 1}}
_VECTORS: Mapping[str, Any] = {"model": _TEXT, "input": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}}
_CONTENTS: Mapping[str, Any] = {
    "contents": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": {"role": {"enum": ["user", "model"]}, "parts": {"type": "array", "minItems": 1, "items": _OBJECT}},
            "required": ["parts"],
        },
    }
}
_LIMIT: Mapping[str, Any] = {"type": "integer", "minimum": 1}
_BODIES: Mapping[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
    "/v1/chat/completions": ({**_CONVERSATION, "max_tokens": _LIMIT, "stream": {"type": "boolean"}}, ("model",)),
    "/v1/completions": (
        {"model": _TEXT, "prompt": _TEXT, "max_tokens": _LIMIT, "stream": {"type": "boolean"}},
        ("model", "prompt"),
    ),
    "/v1/responses": (
        {
            "model": _TEXT,
            "input": {"anyOf": [_TEXT, {"type": "array"}]},
            "max_output_tokens": _LIMIT,
            "stream": {"type": "boolean"},
        },
        ("model", "input"),
    ),
    "/v1/messages": (
        {**_CONVERSATION, "max_tokens": _LIMIT, "stream": {"type": "boolean"}},
        ("model", "messages", "max_tokens"),
    ),
    "/v1/messages/count_tokens": (_CONVERSATION, ("model", "messages")),
    "/v1/embeddings": (_VECTORS, ("model", "input")),
    "/api/embed": (_VECTORS, ("model", "input")),
    "/api/chat": ({**_CONVERSATION, "stream": {"type": "boolean"}}, ("model", "messages")),
    "/api/v1/keys": ({name: {} for name in ("label", "scopes", "team", "member", *OF_KEYS)}, ("label",)),
    ":generateContent": (_CONTENTS, ("contents",)),
    ":streamGenerateContent": (_CONTENTS, ("contents",)),
    ":countTokens": (_CONTENTS, ("contents",)),
}
"""What the gateway needs of a body, by the end of its path: its fields, and those that must be there."""
_STREAMED: Mapping[str, str] = {
    **dict.fromkeys(("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"), "text/event-stream"),
    ":streamGenerateContent": "text/event-stream",
    "/api/chat": OLLAMA.codec.content_type,
}
_ERRORS: Mapping[str, tuple[tuple[ClientFormat, ...], Mapping[str, Any]]] = {
    "ErrorOfOpenAI": ((CHAT, COMPLETIONS, RESPONSES), {"error": {"type": "object", "required": ["message", "type"]}}),
    "ErrorOfAnthropic": ((MESSAGES,), {"type": {"const": "error"}, "error": {"type": "object", "required": ["message", "type"]}}),
    "ErrorOfGoogle": ((GOOGLE,), {"error": {"type": "object", "required": ["code", "message", "status"]}}),
    "ErrorOfOllama": ((OLLAMA,), {"error": _TEXT}),
    "Error": ((MANAGEMENT,), {"detail": _TEXT, "error": {"type": "object", "required": ["message", "type", "code"]}}),
}


class PathRoute(NamedTuple):
    """A row of the table: method, pattern of the path, the format of its answers, the scope that a key needs, and the work."""

    method: str
    pattern: re.Pattern[str]
    form: ClientFormat
    scope: str | None
    work: Callable[..., WholeAnswer | StreamedAnswer]
    face: str = ""
    passes: bool = False
    """Whether bodies pass as they are, and every method counts."""


def describe(routes: Iterable[PathRoute]) -> dict[str, Any]:
    """The description of these routes."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for path, parameters in _paths_of(route.pattern.pattern):
            paths.setdefault(path, {})[route.method.lower()] = _operation(route, path, parameters)
    return {
        "openapi": "3.1.0",
        "info": {"title": "llmdispatcher gateway", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {
                name: {"type": "object", "properties": fields, "required": list(fields)}
                for name, (_forms, fields) in _ERRORS.items()
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "google": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
            },
        },
    }


def _paths_of(pattern: str) -> Iterable[tuple[str, list[dict[str, Any]]]]:
    """The paths that a pattern stands for, with the parameters in them."""
    if pattern.startswith(_GOOGLE_HEAD):
        for method in _GOOGLE_METHODS:
            yield from _paths_of(f"/v1beta/models/{pattern[len(_GOOGLE_HEAD) : -len(_GOOGLE_TAIL)]}:{method}")
        return
    found = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{'[^/]+' if inner == '.+' else inner}$"},
        }
        for name, inner in _GROUP.findall(pattern)
    ]
    yield re.sub(r"\\(.)", r"\1", _GROUP.sub(r"{\1}", pattern)), found


def _operation(route: PathRoute, path: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    error = next(name for name, (forms, _fields) in _ERRORS.items() if route.form in forms)
    codes = list(_FAILURES) if route.scope is not None else [421, 426, *([503] if path == "/readyz" else [])]
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{error}"}}}
    if path == "/v1/models" or path.startswith("/v1/models/"):  # whose format the headers choose
        content = {"application/json": {"schema": _OBJECT}}
    if path == "/readyz":
        content = {"application/json": {"schema": _OBJECT}, "text/plain": {"schema": _TEXT}}
    doc = (getattr(route.work, "__doc__", None) or "").strip().partition("\n")[0]
    made: dict[str, Any] = {
        "summary": doc or f"{route.method} {path}",
        "responses": {
            **{f"{status}": {"description": "The answer.", "content": _answers(route, path)} for status in _good(route, path)},
            **{f"{code}": {"description": _FAILURES[code], "content": content} for code in codes},
        },
        "security": [{"bearer": []}, {"key": []}, {"google": []}] if route.scope is not None else [],
    }
    if route.scope is not None:
        made["description"] = f"Needs the scope {' or '.join(route.scope.split('|'))}."
    if path == "/proxy/usage":
        names = ("session", "key", "start", "end", "by", "organization")
        parameters = [{"name": name, "in": "query", "schema": _TEXT} for name in names]
    if parameters:
        made["parameters"] = parameters
    if route.method in ("POST", "PATCH") and not path.endswith("/rotate"):
        made["requestBody"] = _body(route, path)
    return made


def _good(route: PathRoute, path: str) -> tuple[int, ...]:
    return (201,) if (route.method, path) == ("POST", "/api/v1/keys") else (200,)


def _answers(route: PathRoute, path: str) -> dict[str, Any]:
    if route.passes:
        return {"*/*": {}}
    if path in ("/livez", "/readyz"):
        return {"text/plain": {"schema": _TEXT}}
    if path == "/proxy/providers":
        return {"application/json": {"schema": {"type": "array", "items": _TEXT}}}
    streamed = next((kind for end, kind in _STREAMED.items() if path.endswith(end)), None)
    return {"application/json": {"schema": _OBJECT}, **({streamed: {}} if streamed is not None else {})}


def _body(route: PathRoute, path: str) -> dict[str, Any]:
    if route.passes:
        return {"content": {"*/*": {}}}
    fields, required = next((body for end, body in _BODIES.items() if path.endswith(end)), ({}, ()))
    if path.startswith("/api/v1/keys/"):
        fields, required = {name: {} for name in OF_KEYS}, ()
    schema = {"type": "object", "properties": dict(fields), "required": list(required)}
    return {"required": True, "content": {"application/json": {"schema": schema}}}
