"""Turns and blocks of Anthropic's messages, read. A block that is unknown, or says more than a part can, is kept whole."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from ..errors import InvalidRequest
from ..messages import FilePart, ImagePart, Message, OtherPart, Part, ReasoningPart, TextPart, ToolCall
from .anthropic_words import NAME, WEB, cache_of

_ROLES = ("user", "assistant", "system")


def turns_of(said: Sequence[Any]) -> list[Message]:
    """All turns; results of tools become messages of their own."""
    return [message for place, turn in enumerate(said) for message in _turn(turn, f"messages.{place}")]


def _turn(turn: Any, where: str) -> list[Message]:
    role = turn.get("role") if isinstance(turn, dict) else None
    if not isinstance(role, str) or role not in _ROLES:
        raise InvalidRequest(f"{where}: this is no message; give {{'role': 'user' or 'assistant', 'content': ...}}")
    content = turn.get("content")
    extra = {name: value for name, value in turn.items() if name not in ("role", "content") and value is not None}
    if isinstance(content, str):
        return [Message(role, content, extra={NAME: extra} if extra else {})]
    if role != "user":
        return [Message(role, parts_of(content, where), extra={NAME: extra} if extra else {})]
    messages = []
    for is_result, blocks in groupby(_listed(content, where), key=lambda block: block["type"] == "tool_result"):
        if is_result:
            messages += [_result(block, where) for block in blocks]
        else:
            messages.append(Message("user", tuple([_part(block, where) for block in blocks])))
    return messages or [Message("user", "")]


def _listed(content: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        raise InvalidRequest(f"{where}.content: {type(content).__name__} is no content; give text or a list of blocks")
    for block in content:
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise InvalidRequest(f"{where}.content: there is no block without a type; give {{'type': 'text', 'text': ...}}")
    return content


def _result(block: dict[str, Any], where: str) -> Message:
    known, extra = _split(block, "tool_use_id", "content", "is_error")
    content, answered, error = known.get("content", ()), known.get("tool_use_id"), known.get("is_error")
    if not isinstance(answered, str) or not isinstance(error, bool | None):
        raise InvalidRequest(f"{where}: a tool_result needs the tool_use_id of the call that it answers")
    return Message(
        "tool",
        content if isinstance(content, str | tuple) else parts_of(content, where),
        tool_call_id=answered,
        is_error=error,
        extra=extra,
    )


def parts_of(content: Any, where: str) -> tuple[Part, ...]:
    """The parts that a list of blocks stands for."""
    return tuple([_part(block, where) for block in _listed(content, where)])


def _part(block: dict[str, Any], where: str) -> Part:
    reader = _READERS.get(block["type"])
    part = reader(block) if reader is not None else None
    if part is None and block["type"] in ("text", "tool_use"):
        raise InvalidRequest(f"{where}.content: a block of type {block['type']!r} lacks what it is made of, or has it malformed")
    return part if part is not None else OtherPart(origin=NAME, data=block)


def _split(block: Mapping[str, Any], *names: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The known fields of a block, and the others as this format's own."""
    known = {name: block[name] for name in names if block.get(name) is not None}
    extra = {name: value for name, value in block.items() if name not in ("type", *names) and value is not None}
    return known, {NAME: extra} if extra else {}


def _marked(block: Mapping[str, Any], *names: str) -> tuple[dict[str, Any], str | None, dict[str, dict[str, Any]]]:
    """The same of a block that may have a cache mark."""
    cache = cache_of(block.get("cache_control"))
    known, extra = _split({name: value for name, value in block.items() if name != "cache_control" or cache is None}, *names)
    return known, cache, extra


def _text(block: dict[str, Any]) -> Part | None:
    known, cache, extra = _marked(_checkable(block), "text")
    text = known.get("text")
    return TextPart(text=text, cache=cache, extra=extra) if isinstance(text, str) else None


def _checkable(block: dict[str, Any]) -> dict[str, Any]:
    """A block without the sources that another vendor named: Anthropic takes back only those that it can prove."""
    cited = block.get("citations")
    if not isinstance(cited, list) or not any(_is_foreign(citation) for citation in cited):
        return block
    return {**block, "citations": [citation for citation in cited if not _is_foreign(citation)] or None}


def _is_foreign(citation: Any) -> bool:
    return isinstance(citation, dict) and citation.get("type") == WEB and not citation.get("encrypted_index")


def _image(block: dict[str, Any]) -> Part | None:
    _, cache, extra = _marked(block, "source")
    source = _source(block.get("source"))
    return ImagePart(**source, cache=cache, extra=extra) if source is not None else None


def _document(block: dict[str, Any]) -> Part | None:
    known, cache, extra = _marked(block, "source", "title")
    source, title = _source(block.get("source")), known.get("title")
    if source is None or not isinstance(title, str | None) or (source.get("media_type") or "").startswith("text/"):
        source = _plain(block.get("source"))
    if source is None or not isinstance(title, str | None):
        return None
    return FilePart(**source, name=title, cache=cache, extra=extra)


def _source(source: Any) -> dict[str, Any] | None:
    """Where bytes are, as the fields of a part; ``None`` for what these cannot say."""
    kind = source.get("type") if isinstance(source, dict) else None
    fields = {name: value for name, value in source.items() if name != "type"} if isinstance(kind, str) else {}
    if not all(isinstance(value, str) for value in fields.values()):
        return None
    if kind == "base64" and fields.keys() == {"data", "media_type"}:
        data = _bytes(fields["data"])
        if data is None:  # sent on as it is; the vendor may be less strict
            return {"url": f"data:{fields['media_type']};base64,{fields['data']}"}
        return {"data": data, "media_type": fields["media_type"]}
    if (kind, *fields) in (("url", "url"), ("file", "file_id")):
        return fields
    return None


def _plain(source: Any) -> dict[str, Any] | None:
    if not isinstance(source, dict) or source.keys() != {"type", "media_type", "data"} or source["type"] != "text":
        return None
    if source["media_type"] != "text/plain" or not isinstance(source["data"], str):
        return None
    return {"data": source["data"].encode("utf-8", "replace"), "media_type": "text/plain"}


def _bytes(encoded: str) -> bytes | None:
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == encoded else None


def _thinking(block: dict[str, Any]) -> Part | None:
    known, extra = _split(block, "thinking", "signature")
    text, signature = known.get("thinking", ""), known.get("signature", "")
    if not isinstance(text, str) or not isinstance(signature, str):
        return None
    return ReasoningPart(text=text, signature=signature or None, origin=NAME, extra=extra)


def _redacted(block: dict[str, Any]) -> Part | None:
    known, extra = _split(block, "data")
    data = known.get("data")
    return ReasoningPart(encrypted=data, origin=NAME, extra=extra) if isinstance(data, str) else None


def _call(block: dict[str, Any]) -> Part | None:
    known, extra = _split(block, "id", "name", "input")
    name, given, told = known.get("name"), known.get("input", {}), known.get("id")
    if not isinstance(name, str) or not isinstance(given, dict) or not isinstance(told, str | None):
        return None
    return ToolCall(name=name, arguments=json.dumps(given, ensure_ascii=False), id=told, extra=extra)


_READERS: Mapping[str, Callable[[dict[str, Any]], Part | None]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "tool_use": _call,
}
