"""The turns of a request in OpenAI's chat format, read."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InvalidRequest
from ..messages import ROLES, AudioPart, FilePart, ImagePart, Message, OtherPart, Part, TextPart, ToolCall, VideoPart
from ..parts import data_url
from .anthropic_words import cache_of
from .openai_calls import arguments_in
from .openai_turns import REFUSAL
from .openai_words import AS, BARE, FIELD, LEGACY, NAME, REASONING, block_of, noted, rest, thought_of, thoughts_in
from .payload import mapping

_MESSAGE = ("role", "content", "name", "tool_calls", "function_call", "tool_call_id", REFUSAL, *REASONING)


def turn_of(message: Any, where: str) -> Message:
    """One turn."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise InvalidRequest(f"{where}: this is no message; give {{'role': ..., 'content': ...}}")
    role, extra = message["role"], rest(message, *_MESSAGE)
    if role == "function":  # the result of a call, before calls had ids
        role, extra = "tool", {**extra, "role": role}
    if role not in ROLES:
        raise InvalidRequest(f"{where}.role: {role!r} is not a role; use one of {', '.join(ROLES)}")
    refused, calls = message.get(REFUSAL), _calls(message, where)
    content, empty = message.get("content"), None if calls or refused else ""
    if not content and content != empty:
        extra["content"] = content
    return Message(
        role,
        _said(message, content, refused, where),
        name=_text(message.get("name"), f"{where}.name"),
        tool_calls=calls,
        tool_call_id=_text(message.get("tool_call_id"), f"{where}.tool_call_id"),
        extra=noted(extra),
    )


def _text(value: Any, where: str) -> str | None:
    if not isinstance(value, str | None):
        raise InvalidRequest(f"{where}: {type(value).__name__} is not text; give a string")
    return value


def _said(message: Mapping[str, Any], content: Any, refused: Any, where: str) -> str | list[Part]:
    """What was said: text as text, else parts, thoughts first."""
    thoughts = thoughts_in(message)
    before: list[Part] = [thought_of(thoughts)] if thoughts else []
    after: list[Part] = [TextPart(text=refused, extra={NAME: {AS: FIELD}})] if isinstance(refused, str) and refused else []
    if isinstance(content, list):
        return [*before, *[part_of(part, f"{where}.content.{place}") for place, part in enumerate(content)], *after]
    if not isinstance(content, str | None):
        raise InvalidRequest(f"{where}.content: {type(content).__name__} is not text; give a string or a list of parts")
    empty = not content and message["role"] not in ("assistant", "tool", "function")
    if before or after or empty:
        return [*before, *([TextPart(text=content or "")] if content or empty else []), *after]
    return content or ""


def _calls(message: Mapping[str, Any], where: str) -> list[ToolCall]:
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise InvalidRequest(f"{where}.tool_calls: this is not a list of calls; give [{{'id': ..., 'function': {{...}}}}]")
    legacy = message.get("function_call")
    if isinstance(legacy, dict) and not calls:
        return [_call({"function": legacy, AS: LEGACY}, where)]
    return [_call(call, where) for call in calls]


def _call(call: Mapping[str, Any], where: str) -> ToolCall:
    kind = "custom" if call.get("type") == "custom" else "function"
    named = mapping(call.get(kind))
    name, argument = named.get("name"), "input" if kind == "custom" else "arguments"
    if not isinstance(name, str):
        raise InvalidRequest(f"{where}.tool_calls: a call has no name; give {{'id': ..., 'function': {{'name': ...}}}}")
    further, inner = rest(call, "id", "type", kind), rest(named, "name", argument)
    return ToolCall(
        id=_text(call.get("id"), f"{where}.tool_calls.id"),
        name=name,
        arguments=arguments_in(named.get(argument)),
        kind=kind,
        extra=noted({**further, kind: inner} if inner else further),
    )


def part_of(part: Any, where: str) -> Part:
    """One part of a content; one of an unknown type is kept whole."""
    if isinstance(part, str):
        return TextPart(text=part, extra={NAME: {AS: BARE}})
    if not isinstance(part, dict):
        raise InvalidRequest(f"{where}: {type(part).__name__} is not a part; give {{'type': 'text', 'text': ...}}")
    kind = part.get("type")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    read = reader(part) if reader is not None else None
    return OtherPart(origin=NAME, data=part) if read is None else read


def _plain(part: Mapping[str, Any]) -> Part | None:
    if not isinstance(part.get("text"), str):
        return None
    further = rest(part, "type", "text")
    cache = cache_of(further.get("cache_control"))
    if cache is not None:
        del further["cache_control"]
    return TextPart(text=part["text"], cache=cache, extra=noted(further))


def _refusal(part: Mapping[str, Any]) -> Part | None:
    text = part.get(REFUSAL)
    return TextPart(text=text, extra={NAME: {AS: REFUSAL, **rest(part, "type", REFUSAL)}}) if isinstance(text, str) else None


def _inner(part: Mapping[str, Any], kind: str, *known: str) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The object that a part is about, also where it is only a URL, and the further fields of both."""
    inner, further = part.get(kind), rest(part, "type", kind)
    if isinstance(inner, str):
        return {"url": inner}, {**further, AS: BARE}
    left = rest(mapping(inner), *known)
    return mapping(inner), {**further, kind: left} if left else further


def _image(part: Mapping[str, Any]) -> Part | None:
    image, further = _inner(part, "image_url", "url", "detail")
    url, detail = image.get("url"), image.get("detail")
    if not isinstance(url, str) or not isinstance(detail, str | None):
        return None
    cache = cache_of(further.get("cache_control"))
    if cache is not None:
        del further["cache_control"]
    return ImagePart(url=url, detail=detail, cache=cache, extra=noted(further))


def _video(part: Mapping[str, Any]) -> Part | None:
    video, further = _inner(part, "video_url", "url")
    return VideoPart(url=video["url"], extra=noted(further)) if isinstance(video.get("url"), str) else None


def _audio(part: Mapping[str, Any]) -> Part | None:
    """A recording; one that is not exactly what would be written of it is kept whole, such as Mistral's by URL."""
    audio = mapping(part.get("input_audio"))
    encoded, form = audio.get("data"), audio.get("format")
    if not isinstance(encoded, str) or not isinstance(form, str):
        return None
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    if base64.b64encode(data).decode() != encoded:
        return None
    left, further = rest(audio, "data", "format"), rest(part, "type", "input_audio")
    return AudioPart(data=data, format=form, extra=noted({**further, "input_audio": left} if left else further))


def _file(part: Mapping[str, Any]) -> Part | None:
    file, further = _inner(part, "file", "file_id", "file_data", "filename")
    told, data, name = file.get("file_id"), file.get("file_data"), file.get("filename")
    if AS in further or not isinstance(name, str | None):
        return None
    cache = cache_of(further.get("cache_control"))
    if cache is not None:
        del further["cache_control"]
    if isinstance(told, str) and data is None:
        return FilePart(file_id=told, name=name, cache=cache, extra=noted(further))
    if told is not None or not isinstance(data, str) or not data.startswith(("data:", "http://", "https://")):
        return None
    whole = data_url(data)
    if whole is None or data != f"data:{whole[0]};base64,{base64.b64encode(whole[1]).decode()}":
        return FilePart(url=data, name=name, cache=cache, extra=noted({AS: "file", **further}))
    return FilePart(data=whole[1], media_type=whole[0], name=name, cache=cache, extra=noted(further))


def _document(part: Mapping[str, Any]) -> Part | None:
    """Mistral's documents by their URL."""
    url, name = part.get("document_url"), part.get("document_name")
    if not isinstance(url, str) or not isinstance(name, str | None):
        return None
    further = rest(part, "type", "document_url", "document_name")
    return FilePart(url=url, name=name, extra={NAME: {AS: "document_url", **further}})


def _thinking(part: Mapping[str, Any]) -> Part | None:
    return block_of(part)


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Part | None]] = {
    "text": _plain,
    REFUSAL: _refusal,
    "image_url": _image,
    "video_url": _video,
    "input_audio": _audio,
    "file": _file,
    "document_url": _document,
    "thinking": _thinking,
}
