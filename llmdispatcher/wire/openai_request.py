"""Turns, parts and tools as OpenAI's chat format writes them. https://platform.openai.com/docs/api-reference/chat/create"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from ..errors import InvalidRequest
from ..messages import AudioPart, FilePart, ImagePart, Message, Part, ReasoningPart, TextPart, Tool


def encoded_message(message: Message) -> dict[str, Any]:
    """One turn. Raises :class:`InvalidRequest` for a part that the format has no place for."""
    encoded: dict[str, Any] = {"role": message.role, "content": _encoded_content(message.content)}
    if message.tool_calls:
        encoded["content"] = encoded["content"] or None
        encoded["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.name is not None:
        encoded["name"] = message.name
    if message.tool_call_id is not None:
        encoded["tool_call_id"] = message.tool_call_id
    return encoded


def _encoded_content(content: str | Sequence[Part]) -> Any:
    """Text or parts; thoughts have no place here, not even OpenAI's own, and are left out."""
    if isinstance(content, str):
        return content
    said = [part for part in content if not isinstance(part, ReasoningPart)]
    if len(said) < len(content) and all(isinstance(part, TextPart) for part in said):
        return "".join(part.text for part in said if isinstance(part, TextPart))
    return [_part(part) for part in said]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImagePart):
        url = part.url if part.url is not None else _data_url(part.data, part.media_type, "image")
        return {"type": "image_url", "image_url": {"url": url} if part.detail is None else {"url": url, "detail": part.detail}}
    if isinstance(part, AudioPart):
        return {"type": "input_audio", "input_audio": {"data": base64.b64encode(part.data).decode(), "format": part.format}}
    if isinstance(part, FilePart) and part.url is None:
        return {"type": "file", "file": _file(part)}
    what = "a file by URL" if isinstance(part, FilePart) else f"a {type(part).__name__}"
    raise InvalidRequest(
        f"message.content: OpenAI's chat format does not carry {what}; send text, images, audio, or a file's data or id"
    )


def _data_url(data: bytes | None, media_type: str | None, kind: str) -> str:
    if data is None or media_type is None:
        raise InvalidRequest(f"message.content: the {kind} has neither a url nor data with a media_type; give one of them")
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _file(part: FilePart) -> dict[str, Any]:
    if part.file_id is not None:
        return {"file_id": part.file_id}
    return {"filename": part.name or "file", "file_data": _data_url(part.data, part.media_type, "file")}


def encoded_tool(tool: Tool) -> dict[str, Any]:
    """A function that the model may call."""
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}
