"""``/v1/chat/completions`` in the words of the LLM proxy service: ``prompt`` and ``cache_enabled`` in, its fields out.

A body asks for them by a field that says so: ``cache_enabled``, a text as ``prompt``, or ``functions``. Every other body is
OpenAI's alone, and so is its answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from .answers import StreamedAnswer, WholeAnswer
from .formats import GatewayError
from .http import Task

_SIGNS = (b'"cache_enabled"', b'"prompt"', b'"functions"')
Answering = Callable[[Task], WholeAnswer | StreamedAnswer]


def in_service_format(task: Task, answering: Answering) -> WholeAnswer | StreamedAnswer:
    """Answer a task, with the service's fields beside OpenAI's own where its body asks for them. Streams have OpenAI's alone.

    Raises :class:`GatewayError` for a field of the service's that cannot be.
    """
    fields = _fields(task.body)
    if fields is None:
        return answering(task)
    incoming = task.incoming
    enabled = fields.pop("cache_enabled", True)
    if not isinstance(enabled, bool):
        raise _wrong("cache_enabled", f"{str(enabled)[:40]!r} is neither true nor false")
    if not enabled:
        incoming = attrs.evolve(incoming, environ={**incoming.environ, "HTTP_X_LLMDISPATCHER_CACHE": "false"})
    if isinstance(prompt := fields.pop("prompt", None), str):
        if fields.get("messages"):
            raise _wrong("prompt", "there are messages, too; give one of the two")
        fields["messages"] = [{"role": "user", "content": prompt}]
    body = json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
    answer = answering(attrs.evolve(task, incoming=incoming, body=body))
    if isinstance(answer, WholeAnswer) and answer.status == 200:
        return answer._replace(body=_with_fields(answer))
    return answer


def _fields(body: bytes) -> dict[str, Any] | None:
    """The fields of a body that asks for the service's; ``None`` for any other, whose mistakes are told elsewhere."""
    if not any(sign in body for sign in _SIGNS):
        return None
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    asks = "cache_enabled" in fields or isinstance(fields.get("prompt"), str) or bool(fields.get("functions"))
    return fields if asks else None


def _with_fields(answer: WholeAnswer) -> bytes:
    """The body of an answer with ``content``, ``function_call``, ``provider`` and ``cached``; ``usage`` gets a cost."""
    told = json.loads(answer.body)
    message = next((choice.get("message") for choice in told.get("choices") or ()), None) or {}
    content = message.get("content")
    told["content"] = content if isinstance(content, str) else ""
    told["function_call"] = _function_call(message)
    told["provider"] = answer.headers.get("x-llmdispatcher-vendor")
    told["cached"] = answer.headers.get("x-llmdispatcher-cached") == "true"
    if isinstance(told.get("usage"), dict) and (cost := answer.headers.get("x-llmdispatcher-cost")) is not None:
        told["usage"] |= {"cost": float(cost), "cost_text": cost}
    return json.dumps(told, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _function_call(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first call of a function, by its newer or its older name."""
    calls = [call.get("function") for call in message.get("tool_calls") or () if isinstance(call, dict)]
    found = next((call for call in calls if isinstance(call, dict)), message.get("function_call"))
    return {"name": found.get("name"), "arguments": found.get("arguments")} if isinstance(found, dict) else None


def _wrong(field: str, text: str) -> GatewayError:
    return GatewayError(f"{field}: {text}", status=400, code="invalid_request_error", param=field)
