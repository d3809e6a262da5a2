"""Turns, parts and tools as Google's generateContent writes them. https://ai.google.dev/api/caching#Content"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import InvalidRequest
from ..messages import AudioPart, Content, FilePart, ImagePart, Message, Part, ReasoningPart, TextPart, Tool, ToolCall
from ..types import Request
from .payload import LEADING_ROLES

_OWN = (None, "gemini")
_ROLES = {"user": "user", "assistant": "model"}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "any": "ANY"}


def encoded_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The turns without the system's. Results of tools become parts of one user turn, which name the function that was called."""
    turns: list[dict[str, Any]] = []
    results: list[dict[str, Any]] | None = None
    names: dict[str | None, str] = {}
    for message in messages:
        names |= {call.id: call.name for call in message.tool_calls}
        if message.role == "tool":
            if results is None:
                results = []
                turns.append({"role": "user", "parts": results})
            results.append(_result(message, names))
        elif message.role not in LEADING_ROLES:
            results = None
            turns.append({"role": _ROLES[message.role], "parts": [*_parts(message.content), *map(_call, message.tool_calls)]})
    if not turns:
        raise InvalidRequest("messages: Google needs at least one message that is not a system message")
    return turns


def _result(message: Message, names: Mapping[str | None, str]) -> dict[str, Any]:
    name = message.name or names.get(message.tool_call_id)
    if name is None:
        raise InvalidRequest("message.name: a tool message to Google names its function, or the id of an earlier call")
    response: dict[str, Any] = {"name": name, "response": _object(message)}
    if message.tool_call_id is not None:
        response["id"] = message.tool_call_id
    return {"functionResponse": response}


def _object(message: Message) -> Any:
    """The result as the object that the format wants."""
    if message.is_error:
        return {"error": message.text}
    try:
        value = json.loads(message.text)
    except (ValueError, RecursionError):
        value = message.text
    return value if isinstance(value, dict) else {"result": value}


def _call(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = call.parsed
    except ValueError:
        raise InvalidRequest(f"message.tool_calls: the arguments of {call.name!r} are not JSON, as Google wants them") from None
    function: dict[str, Any] = {"name": call.name, "args": arguments if arguments is not None else {}}
    if call.id is not None:
        function["id"] = call.id
    return {"functionCall": function} if call.signature is None else {"functionCall": function, "thoughtSignature": call.signature}


def _parts(content: Content) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"text": content}] if content else []
    return [_part(part) for part in content if not (isinstance(part, ReasoningPart) and part.origin not in _OWN)]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"text": part.text}
    if isinstance(part, AudioPart):
        return _inline(part.data, f"audio/{part.format}")
    if isinstance(part, ReasoningPart):
        thought: dict[str, Any] = {"text": part.text, "thought": True}
        return thought if part.signature is None else {**thought, "thoughtSignature": part.signature}
    if isinstance(part, ImagePart | FilePart):
        return _medium(part)
    raise InvalidRequest(f"message.content: Google takes no {type(part).__name__}")


def _medium(part: ImagePart | FilePart) -> dict[str, Any]:
    reference = part.url if part.url is not None else part.file_id if isinstance(part, FilePart) else None
    if reference is not None and reference.startswith("data:"):
        head, _, encoded = reference[5:].partition(",")
        return {"inlineData": {"mimeType": head.partition(";")[0], "data": encoded}}
    if reference is not None:
        file = {"fileUri": reference}
        return {"fileData": file if part.media_type is None else {**file, "mimeType": part.media_type}}
    if part.data is None or part.media_type is None:
        raise InvalidRequest("message.content: the image or file has neither a url nor data with a media_type; give one of them")
    return _inline(part.data, part.media_type)


def _inline(data: bytes, media_type: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": media_type, "data": base64.b64encode(data).decode()}}


def encoded_tools(request: Request) -> dict[str, Any]:
    """The fields that say which tools there are and which must be used."""
    fields: dict[str, Any] = {}
    if request.tools:
        fields["tools"] = [{"functionDeclarations": [_tool(tool) for tool in request.tools if isinstance(tool, Tool)]}]
    if request.tool_choice is not None:
        fields["toolConfig"] = {"functionCallingConfig": _choice(request.tool_choice)}
    return fields


def _tool(tool: Tool) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        declaration["description"] = tool.description
    if tool.parameters:
        declaration["parametersJsonSchema"] = tool.parameters
    return declaration


def _choice(choice: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(choice, str):
        if choice not in _MODES:
            raise InvalidRequest(f"tool_choice: {choice!r} is not a choice; use auto, none, required or a function's name")
        return {"mode": _MODES[choice]}
    function = choice.get("function")
    if isinstance(function, Mapping) and function.get("name"):
        return {"mode": "ANY", "allowedFunctionNames": [function["name"]]}
    return dict(choice)


def encoded_format(response_format: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings that make the answer JSON, of a schema if there is one."""
    if response_format is None or response_format.get("type") == "text":
        return {}
    kind, described = response_format.get("type"), response_format.get("json_schema")
    if kind == "json_object":
        return {"responseMimeType": "application/json"}
    if kind == "json_schema" and isinstance(described, Mapping) and "schema" in described:
        return {"responseMimeType": "application/json", "responseJsonSchema": described["schema"]}
    raise InvalidRequest(f"response_format: Google has no {kind!r}; use 'json_object' or 'json_schema' with a schema")
