"""Parts of a turn as Google writes them, both ways. https://ai.google.dev/api/caching#Part"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InvalidRequest
from ..json_text import parse_text
from ..messages import AudioPart, FilePart, ImagePart, OtherPart, Part, ReasoningPart, TextPart, ToolCall, VideoPart
from .gemini_words import NAME, sound_of
from .payload import own

_STANDARD = str.maketrans("-_", "+/")


def part_of(block: Mapping[str, Any]) -> Part:
    """The part that a block stands for; one that is unknown, or not what it should be, is kept whole."""
    block = {name: value for name, value in block.items() if value is not None and not (name == "thought" and value is False)}
    kinds = [kind for kind in _READERS if kind in block]
    part = _READERS[kinds[0]](block) if len(kinds) == 1 else None
    return part if part is not None else OtherPart(origin=NAME, data=block)


def extra_of(block: Mapping[str, Any], kind: str, *known: str) -> dict[str, dict[str, Any]]:
    """What else a block says, and beneath its own name what else that says whose fields are ``known``."""
    inner = {name: value for name, value in block[kind].items() if name not in known and value is not None}
    further = {name: value for name, value in block.items() if name != kind}
    if inner:
        further[kind] = inner
    return {NAME: further} if further else {}


def _text(block: Mapping[str, Any]) -> Part | None:
    text, signature = block["text"], block.get("thoughtSignature")
    if not isinstance(text, str):
        return None
    rest = {name: value for name, value in block.items() if name != "text"}
    if block.get("thought") is not True:
        return TextPart(text=text, extra={NAME: rest} if rest else {})
    del rest["thought"]
    if isinstance(signature, str):
        del rest["thoughtSignature"]
    return ReasoningPart(
        text=text,
        signature=signature if isinstance(signature, str) else None,
        origin=NAME,
        extra={NAME: rest} if rest else {},
    )


def _call(block: Mapping[str, Any]) -> Part | None:
    call, signature = block["functionCall"], block.get("thoughtSignature")
    if not isinstance(call, dict):
        return None
    name, given, told = call.get("name"), call.get("args", {}), call.get("id")
    if not isinstance(name, str) or not isinstance(given, dict) or not isinstance(told, str | None):
        return None
    signed = isinstance(signature, str)
    rest = {name: value for name, value in block.items() if not (signed and name == "thoughtSignature")}
    return ToolCall(
        name=name,
        arguments=json.dumps(given, ensure_ascii=False),
        id=told,
        signature=signature if signed else None,
        extra=extra_of(rest, "functionCall", "name", "args", "id"),
    )


def _inline(block: Mapping[str, Any]) -> Part | None:
    blob = block["inlineData"]
    if not isinstance(blob, dict):
        return None
    kind, data = blob.get("mimeType"), decoded(blob.get("data"))
    if not isinstance(kind, str) or data is None:
        return None
    extra = extra_of(block, "inlineData", "mimeType", "data")
    if kind.startswith("audio/"):
        sound = sound_of(kind)
        if f"audio/{sound}" != kind:
            extra = extra_of(block, "inlineData", "data")
        return AudioPart(data=data, format=sound, extra=extra)
    return _KINDS.get(kind.partition("/")[0], FilePart)(data=data, media_type=kind, extra=extra)


_KINDS: Mapping[str, Callable[..., Part]] = {"image": ImagePart, "video": VideoPart}


def decoded(encoded: Any) -> bytes | None:
    """The bytes of base64 in either alphabet, with or without padding; ``None`` for what is none."""
    if not isinstance(encoded, str):
        return None
    try:
        plain = encoded.translate(_STANDARD).rstrip("=")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _file(block: Mapping[str, Any]) -> Part | None:
    file = block["fileData"]
    uri, kind = (file.get("fileUri"), file.get("mimeType")) if isinstance(file, dict) else (None, None)
    if not isinstance(uri, str) or not isinstance(kind, str | None):
        return None
    extra = extra_of(block, "fileData", "fileUri", "mimeType")
    return _KINDS.get((kind or "").partition("/")[0], FilePart)(url=uri, media_type=kind, extra=extra)


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Part | None]] = {
    "text": _text,
    "functionCall": _call,
    "inlineData": _inline,
    "fileData": _file,
}


def encoded_part(part: Part) -> dict[str, Any]:
    """A part as it is written, with the further fields that it was read with."""
    if isinstance(part, OtherPart):
        return dict(part.data)
    return merged(_WRITERS[type(part)](part), own(part, NAME))


def merged(block: dict[str, Any], further: Mapping[str, Any]) -> dict[str, Any]:
    """A block with further fields, those of a mapping in it included."""
    for name, value in further.items():
        known = block.get(name)
        block[name] = {**known, **value} if isinstance(known, dict) and isinstance(value, Mapping) else value
    return block


def _written_text(part: TextPart) -> dict[str, Any]:
    return {"text": part.text}


def _written_sound(part: AudioPart) -> dict[str, Any]:
    return _blob(part.data, f"audio/{part.format}")


def _written_thought(part: ReasoningPart) -> dict[str, Any]:
    thought: dict[str, Any] = {"text": part.text, "thought": True}
    return thought if part.signature is None else {**thought, "thoughtSignature": part.signature}


def _written_medium(part: ImagePart | FilePart | VideoPart) -> dict[str, Any]:
    reference = part.url if part.url is not None else getattr(part, "file_id", None)
    if reference is not None and reference.startswith("data:"):
        head, _, encoded = reference[5:].partition(",")
        return {"inlineData": {"mimeType": head.partition(";")[0], "data": encoded}}
    if reference is not None:
        file = {"fileUri": reference}
        return {"fileData": file if part.media_type is None else {**file, "mimeType": part.media_type}}
    if part.data is None or part.media_type is None:
        raise InvalidRequest("message.content: the image or file has neither a url nor data with a media_type; give one of them")
    return _blob(part.data, part.media_type)


def _blob(data: bytes, media_type: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": media_type, "data": base64.b64encode(data).decode()}}


def _written_call(call: ToolCall) -> dict[str, Any]:
    try:
        given = given_of(call)
    except ValueError:
        raise InvalidRequest(f"message.tool_calls: the arguments of {call.name!r} are not JSON, as Google wants them") from None
    function: dict[str, Any] = {"name": call.name, "args": given}
    if call.id is not None:
        function["id"] = call.id
    return {"functionCall": function} if call.signature is None else {"functionCall": function, "thoughtSignature": call.signature}


def given_of(call: ToolCall) -> dict[str, Any]:
    """The arguments as the object that the format wants. Raises ``ValueError`` for a text that is not JSON."""
    value: Any = call.arguments
    if call.kind != "custom":
        value = parse_text(call.arguments) if call.arguments.strip() else {}
    return value if isinstance(value, dict) else {} if value is None else {"input": value}


_WRITERS: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    TextPart: _written_text,
    AudioPart: _written_sound,
    ReasoningPart: _written_thought,
    ImagePart: _written_medium,
    FilePart: _written_medium,
    VideoPart: _written_medium,
    ToolCall: _written_call,
}
