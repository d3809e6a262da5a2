"""Turns of a request to Google's generateContent, read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from ..errors import InvalidRequest
from ..messages import Message, OtherPart, Part, TextPart
from .gemini_parts import extra_of, part_of
from .gemini_request import object_of
from .gemini_words import NAME, listed

_ROLES = {"user": "user", "function": "user", "model": "assistant"}


def system_of(fields: dict[str, Any]) -> list[Message]:
    """The instructions as one message; what is no text stays where it is."""
    said = fields.get("systemInstruction")
    said = {"parts": [{"text": said}]} if isinstance(said, str) else said
    if not isinstance(said, dict):
        return []
    blocks = listed(said.get("parts"))
    parts = [part_of(block) for block in blocks if isinstance(block, dict)]
    if not parts or len(parts) < len(blocks) or not all(isinstance(part, TextPart) for part in parts):
        return []
    del fields["systemInstruction"]
    further = {name: value for name, value in said.items() if name != "parts"}
    return [Message("system", _content(parts), extra={NAME: further} if further else {})]


def _content(parts: list[Part]) -> str | tuple[Part, ...]:
    """The parts, or the text alone where there is nothing else."""
    only = parts[0] if len(parts) == 1 else None
    return only.text if isinstance(only, TextPart) and only.text and not only.extra else tuple(parts)


def turns_of(said: list[Any]) -> list[Message]:
    """All turns; results of functions become messages of their own."""
    return [message for place, turn in enumerate(said) for message in _turn(turn, f"contents.{place}")]


def _turn(turn: Any, where: str) -> Iterator[Message]:
    role = turn.get("role") or "user" if isinstance(turn, dict) else None
    if not isinstance(role, str) or role not in _ROLES:
        raise InvalidRequest(f"{where}: this is no turn; give {{'role': 'user' or 'model', 'parts': [...]}}")
    blocks = listed(turn.get("parts"))
    if not all(isinstance(block, dict) for block in blocks) or not (blocks or role == "model"):
        raise InvalidRequest(f"{where}.parts: this is no list of parts; give at least one {{'text': ...}}")
    further = {name: value for name, value in turn.items() if name not in ("role", "parts")}
    further |= {"role": role} if role == "function" else {}
    extra = {NAME: further} if further else {}
    if role == "model":
        yield Message("assistant", _content([part_of(block) for block in blocks]), extra=extra)
        return
    for is_result, run in groupby(blocks, key=lambda block: isinstance(block.get("functionResponse"), dict)):
        if is_result:
            for block in run:
                yield _result(block, where, role)
        else:
            yield Message("user", _content([_said(block) for block in run]), extra=extra)


def _said(block: dict[str, Any]) -> Part:
    """What a user says; a call in a user's turn is nothing that another format knows."""
    return OtherPart(origin=NAME, data=block) if "functionCall" in block else part_of(block)


def _result(block: dict[str, Any], where: str, role: str) -> Message:
    result = block["functionResponse"]
    name, told, given = result.get("name"), result.get("id"), result.get("response", {})
    seen = listed(result.get("parts"))
    if not isinstance(name, str) or not isinstance(told, str | None) or not isinstance(given, dict):
        raise InvalidRequest(f"{where}: a functionResponse needs the function's 'name' and a 'response', which is an object")
    if not all(isinstance(part, dict) for part in seen):
        raise InvalidRequest(f"{where}: the 'parts' of a functionResponse are objects such as {{'inlineData': {{...}}}}")
    text, is_error = _told(given)
    extra = extra_of(block, "functionResponse", "name", "id", "response", "parts").get(NAME, {})
    extra |= {"role": role} if role == "function" else {}
    return Message(
        "tool",
        (TextPart(text=text), *[_shown(part) for part in seen]) if seen else text,
        name=name,
        tool_call_id=told,
        is_error=is_error,
        extra={NAME: extra} if extra else {},
    )


def _shown(block: dict[str, Any]) -> Part:
    """A medium in a result; what is none is kept whole."""
    part = part_of(block)
    return (
        part
        if not isinstance(part, TextPart) and "text" not in block and "functionCall" not in block
        else OtherPart(origin=NAME, data=block)
    )


def _told(given: dict[str, Any]) -> tuple[str, bool | None]:
    """The text of a result, and whether it tells of a failure; plain where it is written back as the same object."""
    if given.keys() == {"error"} and isinstance(given["error"], str):
        return given["error"], True
    if given.keys() == {"result"}:
        value = given["result"]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if object_of(text, None) == given:
            return text, None
    return json.dumps(given, ensure_ascii=False), None
