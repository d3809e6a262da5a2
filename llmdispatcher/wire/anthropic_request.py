"""Turns, parts and tools as Anthropic's messages write them. https://platform.claude.com/docs/en/api/messages"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import InvalidRequest
from ..messages import Content, FilePart, ImagePart, Message, Part, ReasoningPart, TextPart, Tool, ToolCall
from ..types import Request
from .payload import LEADING_ROLES

_OWN = (None, "anthropic_messages")
_CHOICES = {"auto": "auto", "none": "none", "required": "any", "any": "any"}


def encoded_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The turns without the system's. Results of tools become blocks of one user turn: the format wants all of a round together."""
    turns: list[dict[str, Any]] = []
    results: list[dict[str, Any]] | None = None
    for message in messages:
        if message.role == "tool":
            if results is None:
                results = []
                turns.append({"role": "user", "content": results})
            results.append(_result(message))
        elif message.role not in LEADING_ROLES:
            results = None
            turns.append({"role": message.role, "content": _content(message)})
    if not turns:
        raise InvalidRequest("messages: Anthropic needs at least one message that is not a system message")
    return turns


def _result(message: Message) -> dict[str, Any]:
    if message.tool_call_id is None:
        raise InvalidRequest("message.tool_call_id: a tool message to Anthropic must name the call that it answers")
    result: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": message.tool_call_id,
        "content": message.content if isinstance(message.content, str) else [_part(part) for part in message.content],
    }
    if message.is_error is not None:
        result["is_error"] = message.is_error
    return result


def _content(message: Message) -> Any:
    if isinstance(message.content, str) and not message.tool_calls:
        return message.content
    return [*_blocks(message.content), *(_call(call) for call in message.tool_calls)]


def _blocks(content: Content) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [_part(part) for part in content if not (isinstance(part, ReasoningPart) and part.origin not in _OWN)]


def _call(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = call.parsed
    except ValueError:
        raise InvalidRequest(f"message.tool_calls: the arguments of {call.name!r} are not JSON, as Anthropic wants them") from None
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments if arguments is not None else {}}


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImagePart):
        return {"type": "image", "source": _source(part.url, part.data, part.media_type, "image")}
    if isinstance(part, FilePart):
        return _document(part)
    if isinstance(part, ReasoningPart):
        if part.encrypted is not None:
            return {"type": "redacted_thinking", "data": part.encrypted}
        return {"type": "thinking", "thinking": part.text, "signature": part.signature or ""}
    raise InvalidRequest(f"message.content: Anthropic takes no {type(part).__name__}; send text, images or documents")


def _document(part: FilePart) -> dict[str, Any]:
    document: dict[str, Any] = {"type": "document"}
    if part.file_id is not None:
        document["source"] = {"type": "file", "file_id": part.file_id}
    elif part.media_type == "text/plain" and part.data is not None:
        document["source"] = {"type": "text", "media_type": "text/plain", "data": part.data.decode("utf-8", "replace")}
    else:
        document["source"] = _source(part.url, part.data, part.media_type, "file")
    if part.name is not None:
        document["title"] = part.name
    return document


def _source(url: str | None, data: bytes | None, media_type: str | None, kind: str) -> dict[str, Any]:
    if url is not None and url.startswith("data:"):
        head, _, encoded = url[5:].partition(",")
        return {"type": "base64", "media_type": head.partition(";")[0], "data": encoded}
    if url is not None:
        return {"type": "url", "url": url}
    if data is None or media_type is None:
        raise InvalidRequest(f"message.content: the {kind} has neither a url nor data with a media_type; give one of them")
    return {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}


def encoded_tools(request: Request) -> dict[str, Any]:
    """The fields that say which tools there are, which must be used, and what form the answer has."""
    fields: dict[str, Any] = {}
    if request.tools:
        fields["tools"] = [_tool(tool) for tool in request.tools if isinstance(tool, Tool)]
    if request.tool_choice is not None:
        fields["tool_choice"] = _choice(request.tool_choice)
    if request.response_format is not None:
        fields |= _format(request.response_format)
    return fields


def _tool(tool: Tool) -> dict[str, Any]:
    encoded: dict[str, Any] = {"name": tool.name, "input_schema": tool.parameters or {"type": "object", "properties": {}}}
    if tool.description is not None:
        encoded["description"] = tool.description
    if tool.strict is not None:
        encoded["strict"] = tool.strict
    return encoded


def _choice(choice: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(choice, str):
        if choice not in _CHOICES:
            raise InvalidRequest(f"tool_choice: {choice!r} is not a choice; use auto, none, required or a function's name")
        return {"type": _CHOICES[choice]}
    function = choice.get("function")
    if isinstance(function, Mapping) and function.get("name"):
        return {"type": "tool", "name": function["name"]}
    return dict(choice)


def _format(response_format: Mapping[str, Any]) -> dict[str, Any]:
    kind, described = response_format.get("type"), response_format.get("json_schema")
    if kind == "text":
        return {}
    if kind == "json_schema" and isinstance(described, Mapping) and "schema" in described:
        return {"output_config": {"format": {"type": "json_schema", "schema": described["schema"]}}}
    raise InvalidRequest(f"response_format: Anthropic has no {kind!r}; give a 'json_schema' with its 'schema'")
