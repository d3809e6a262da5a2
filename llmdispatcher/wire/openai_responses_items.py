"""The items that OpenAI's responses format makes a conversation of, as parts of a turn, and back.

One item is a message, a thought, a call, the result of one, or a block that only this format knows. What a message item says
besides its text (id, status, phase) hangs on each of its text parts as ``item``: parts with the same one were one item.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..messages import OtherPart, Part, ReasoningPart, TextPart, ToolCall
from ..parts import Extra
from .payload import mapping, own, text_of

NAME = "openai_responses"
CALLS: Mapping[str, tuple[str, str]] = {"function_call": ("function", "arguments"), "custom_tool_call": ("custom", "input")}
"""Items that are calls: what kind of call, and where its arguments stand."""
SAID = {"output_text": "text", "input_text": "text", "text": "text", "refusal": "refusal"}
"""What an assistant's message is made of: where each part has its text."""
MADE_UP = "rs_made_"
"""How the ids of thoughts begin that came from another format: clients send them back, vendors know nothing of them."""
THEIRS = ("_output", "_response")
"""How the types of items end that answer what the assistant asked for."""

_ITEM_OF = {kind: (item, field) for item, (kind, field) in CALLS.items()}
_EMPTY_UNLESS_SAID = ("annotations", "logprobs")


def rest(data: Mapping[str, Any], *known: str) -> dict[str, Any]:
    """The fields that are not known, null and empty lists of annotations left out."""
    return {
        name: value
        for name, value in data.items()
        if name not in known and value is not None and (value or name not in _EMPTY_UNLESS_SAID)
    }


def noted(fields: Mapping[str, Any]) -> Extra:
    """Further fields as ``extra`` of a part."""
    return {NAME: fields} if fields else {}


def read_item(item: Mapping[str, Any]) -> list[Part]:
    """What an item of the assistant's is in our words; one of an unknown type is kept whole."""
    kind = text_of(item.get("type")) or "message"
    if kind == "message":
        return read_message(item)
    if kind == "reasoning":
        return [read_thought(item)]
    return [read_call(item) if kind in CALLS else OtherPart(origin=NAME, data=item)]


def read_message(item: Mapping[str, Any]) -> list[Part]:
    """The texts of an assistant's message; content of another type becomes a message of its own, kept whole."""
    content, about = item.get("content"), rest(item, "type", "role", "content")
    if isinstance(content, str):
        return [TextPart(text=content, extra=noted({"item": about} if about else {}))]
    parts: list[Part] = []
    for entry in content if isinstance(content, list) else ():
        field = SAID.get(text_of(mapping(entry).get("type")))
        if field is not None and isinstance(entry.get(field), str):
            parts.append(_text(entry, field, about))
        else:
            parts.append(OtherPart(origin=NAME, data={**item, "content": [entry]}))
    return parts


def _text(entry: Mapping[str, Any], field: str, about: Mapping[str, Any]) -> TextPart:
    fields = rest(entry, field, *(("type",) if entry["type"] == "output_text" else ()))
    for name in _EMPTY_UNLESS_SAID:
        if not (isinstance(fields.get(name), list) and all(isinstance(each, dict) for each in fields[name])):
            fields.pop(name, None)  # whatever that was
    return TextPart(text=entry[field], extra=noted({**fields, "item": about} if about else fields))


def read_thought(item: Mapping[str, Any]) -> ReasoningPart:
    """A reasoning item; how its text is divided is kept where it is not one summary."""
    thought = ReasoningPart(
        text=thought_text(item),
        encrypted=text_of(item.get("encrypted_content")) or None,
        id=text_of(item.get("id")) or None,
        origin=NAME,
        extra=noted(rest(item, "type", "id", "encrypted_content", "summary")),
    )
    if item.get("summary") != _summary(thought):
        fields = {**own(thought, NAME), "summary": item.get("summary") or []}
        return ReasoningPart(text=thought.text, encrypted=thought.encrypted, id=thought.id, origin=NAME, extra=noted(fields))
    return thought


def thought_text(item: Mapping[str, Any]) -> str:
    """The text of a thought: its summaries, and what it says in full where a vendor tells that."""
    told = [item.get("summary"), item.get("content")]
    return "".join([text_of(mapping(entry).get("text")) for entries in told if isinstance(entries, list) for entry in entries])


def read_call(item: Mapping[str, Any]) -> ToolCall:
    """A call of a function or of a tool that takes free text."""
    kind, field = CALLS[item["type"]]
    arguments = item.get(field)
    return ToolCall(
        name=text_of(item.get("name")),
        arguments=json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict) else text_of(arguments),
        id=text_of(item.get("call_id")) or text_of(item.get("id")) or None,
        kind=kind,
        extra=noted(rest(item, "type", "call_id", "name", field)),
    )


def written_items(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """The items of an assistant's turn, in order; parts that have no place in one are left to the caller."""
    items: list[dict[str, Any]] = []
    texts: list[TextPart] = []
    for part in parts:
        if texts and not (isinstance(part, TextPart) and _about(part) == _about(texts[0])):
            items.append(_message(texts))
            texts = []
        if isinstance(part, TextPart):
            texts.append(part)
        else:
            items.extend(_item(part))
    return [*items, _message(texts)] if texts else items


def _item(part: Part) -> list[dict[str, Any]]:
    if isinstance(part, ReasoningPart):
        return [written_thought(part)]
    if isinstance(part, ToolCall):
        return [written_call(part)]
    return [dict(part.data)] if isinstance(part, OtherPart) else []


def _about(part: TextPart) -> Mapping[str, Any]:
    return mapping(own(part, NAME).get("item"))


def _message(texts: Sequence[TextPart]) -> dict[str, Any]:
    about = _about(texts[0])
    if len(texts) == 1 and not own(texts[0], NAME):
        return {"role": "assistant", "content": texts[0].text}
    return {"type": "message", "role": "assistant", "content": [written_text(part, "output_text") for part in texts], **about}


def written_text(part: TextPart, kind: str) -> dict[str, Any]:
    """A text part of a message."""
    fields = rest(own(part, NAME), "item")
    kind = fields.pop("type", kind)
    return {"type": kind, SAID.get(kind, "text"): part.text, **fields}


def written_thought(part: ReasoningPart) -> dict[str, Any]:
    """A reasoning item."""
    proof = rest({"id": part.id, "encrypted_content": part.encrypted})
    return {"type": "reasoning", **proof, "summary": _summary(part), **own(part, NAME)}


def _summary(part: ReasoningPart) -> list[dict[str, Any]]:
    return [{"type": "summary_text", "text": part.text}] if part.text else []


def written_call(call: ToolCall) -> dict[str, Any]:
    """A call."""
    kind, field = _ITEM_OF.get(call.kind, _ITEM_OF["function"])
    return {"type": kind, "call_id": call.id, "name": call.name, field: call.arguments, **own(call, NAME)}
