"""Decode a client's request to OpenAI's Responses API: instructions, input items, settings.

All items of the assistant between two turns of others become one message, its items in order.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import InvalidRequest
from ...types import EFFORTS, AudioPart, FilePart, ImagePart, Message, OtherPart, Part, Request, TextPart, Tool, VendorTool
from ..base import EMPTY_TURN, Inbound
from ..decoding import decode_base64, mapping
from ..encoding import own
from ..server_fields import compact, is_hollow, read_object, take, take_inner, take_numbers, take_typed, without_blank, without_null
from ..shaping import read_data_url
from .request import CALLS, LOGPROBS, NAME, SAID, THEIRS, noted, read_item, rest

_ROLES = ("system", "developer", "user", "assistant")
_RESULTS = ("function_call_output", "custom_tool_call_output")
_FILLED = frozenset({*CALLS, *_RESULTS, "input_audio", "input_file", "input_image", "reasoning"})


def read_instructions(fields: dict[str, Any]) -> list[Message]:
    """The system message that ``instructions`` stand for."""
    instructions = fields.pop("instructions", None)
    if instructions is not None and not isinstance(instructions, str):
        raise InvalidRequest(f"instructions: {type(instructions).__name__} is no text; give a string")
    return [] if not instructions else [Message("system", instructions, extra=noted({"instructions": True}))]


def read_turns(fields: dict[str, Any]) -> list[Message]:
    """The turns of ``input``, which may be missing where the vendor keeps the conversation."""
    given = fields.pop("input", None) or []
    if isinstance(given, str):
        return [Message.user(given)]
    if not isinstance(given, list):
        raise InvalidRequest(f"input: {type(given).__name__} is no conversation; give a text or a list of items")
    turns: list[Message] = []
    parts: list[Part] = []  # of the assistant's, since the last turn of another
    for item in without_blank(given):
        kind = _kind(item)
        if kind in _FILLED and len(item) > 1 and is_hollow(item):
            continue
        turn = _read_other_turn(item, kind)
        further = _read_assistant(item, kind) if turn is None else []
        if parts and (turn is not None or _melts(parts[-1], further[0])):
            turns.append(Message("assistant", parts))
            parts = []
        turns += [] if turn is None else [turn]
        parts += further
    return [*turns, Message("assistant", parts)] if parts else turns


def _kind(item: Any) -> str:
    if not isinstance(item, dict) or not any(isinstance(item.get(name), str) for name in ("type", "role", "id")):
        raise InvalidRequest("input: an item has neither a role nor a type; give {'role': 'user', 'content': ...}")
    kind = item.get("type") or ("message" if "role" in item else "item_reference")
    if not isinstance(kind, str):
        raise InvalidRequest(f"input: {type(kind).__name__} is no type of an item; give a word such as 'message'")
    return kind


def _read_other_turn(item: Mapping[str, Any], kind: str) -> Message | None:
    """The turn that an item is by itself; ``None`` for an item of the assistant's."""
    if kind == "message" and item.get("role") != "assistant":
        return _read_message(item)
    if kind in _RESULTS:
        return _read_result(item, kind)
    return _keep_whole(item) if kind.endswith(THEIRS) else None


def _melts(last: Part, first: Part) -> bool:
    """Whether a message would melt into the one before it; then it begins a turn of its own."""
    return isinstance(first, TextPart) and isinstance(last, TextPart) and _about(first) == _about(last)


def _about(part: TextPart) -> Any:
    return own(part, NAME).get("item")


def _keep_whole(item: Mapping[str, Any]) -> Message:
    return Message("user", [OtherPart(origin=NAME, data=item)])


def _read_assistant(item: Mapping[str, Any], kind: str) -> list[Part]:
    """What an item of the assistant's says; a message with content of another type is kept whole."""
    if kind == "item_reference":
        return [OtherPart(origin=NAME, data=item)]
    if kind in CALLS and not all(isinstance(item.get(name), str) for name in ("call_id", "name", CALLS[kind][1])):
        raise InvalidRequest(f"input: a call lacks its id, name or arguments; give call_id, name and {CALLS[kind][1]} as strings")
    if kind != "message":
        return read_item(item)
    content = item.get("content")
    if not isinstance(content, str | list):
        raise InvalidRequest("input: the content of a message is neither a text nor a list of parts")
    known = isinstance(content, str) or (content and all(_is_text(entry) for entry in content))
    return read_item(item) if known else [OtherPart(origin=NAME, data={"type": "message", **item})]


def _is_text(entry: Any) -> bool:
    field = SAID.get(str(mapping(entry).get("type")))
    return field is not None and isinstance(entry.get(field), str)


def _read_message(item: Mapping[str, Any]) -> Message:
    role, content = item.get("role"), item.get("content")
    if role not in _ROLES:
        raise InvalidRequest(f"input: {role!r} is not a role; use one of {', '.join(_ROLES)}")
    if not content and isinstance(content, list):
        return _keep_whole({"type": "message", **item})
    return Message(role, _read_content(content) or EMPTY_TURN, extra=noted(rest(item, "type", "role", "content")))


def _read_result(item: Mapping[str, Any], kind: str) -> Message:
    call = item.get("call_id")
    if not isinstance(call, str):
        raise InvalidRequest("input: the result of a call does not name its call; give its call_id")
    fields = rest(item, "call_id", "output", *(("type",) if kind == _RESULTS[0] else ()))
    output = item.get("output")
    return Message("tool", "" if output is None else _read_content(output), tool_call_id=call, extra=noted(fields))


def _read_content(content: Any) -> str | list[Part]:
    if isinstance(content, str):
        return content
    content = without_null(content) if isinstance(content, list) else content
    if not isinstance(content, list):
        raise InvalidRequest(f"input: content is {type(content).__name__}; give a text or a list of parts")
    for entry in content:
        if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
            raise InvalidRequest("input: a part of a message has no type; give {'type': 'input_text', 'text': ...}")
    return [_read_part(entry) for entry in content if entry["type"] not in _FILLED or not is_hollow(entry)]


def _read_part(entry: Mapping[str, Any]) -> Part:
    reader = _PART_READERS.get(entry["type"])
    part = reader(entry) if reader is not None else None
    return part if part is not None else OtherPart(origin=NAME, data=entry)


def _read_text(entry: Mapping[str, Any]) -> Part | None:
    if not isinstance(entry.get("text"), str):
        raise InvalidRequest("input: a text part has no text; give {'type': 'input_text', 'text': ...}")
    return TextPart(text=entry["text"], extra=noted(rest(entry, "text", *(("type",) if entry["type"] == "input_text" else ()))))


def _read_image(entry: Mapping[str, Any]) -> Part | None:
    if not _texts(entry, "image_url", "file_id", "detail"):
        return None
    url = entry.get("image_url")
    found = read_data_url(url)
    return ImagePart(
        url=url if found is None else None,
        file_id=entry.get("file_id"),
        media_type=found[0] if found else None,
        data=found[1] if found else None,
        detail=entry.get("detail"),
        extra=noted(rest(entry, "type", "image_url", "file_id", "detail")),
    )


def _read_file(entry: Mapping[str, Any]) -> Part | None:
    if not _texts(entry, "file_data", "file_id", "file_url", "filename"):
        return None
    data, name = entry.get("file_data"), entry.get("filename")
    found = read_data_url(data)
    further = rest(entry, "type", "file_id", "file_url", "filename", *(("file_data",) if found else ()))
    if found is None and (plain := decode_base64(data)):  # whose type only the name tells
        found = mimetypes.guess_type(name or "")[0] or "application/octet-stream", plain
    return FilePart(
        url=entry.get("file_url"),
        file_id=entry.get("file_id"),
        media_type=found[0] if found else None,
        data=found[1] if found else None,
        name=name,
        extra=noted(further),
    )


def _read_audio(entry: Mapping[str, Any]) -> Part | None:
    audio = mapping(entry.get("input_audio"))
    data = decode_base64(audio.get("data"))
    if not data or not isinstance(audio.get("format"), str) or len(audio) > 2 or len(entry) > 2:
        return None
    return AudioPart(data=data, format=audio["format"])


def _texts(entry: Mapping[str, Any], *names: str) -> bool:
    """Whether each of the fields is text or missing, and one is there."""
    values = [entry.get(name) for name in names]
    return any(values) and all(value is None or isinstance(value, str) for value in values)


_PART_READERS: Mapping[str, Callable[[Mapping[str, Any]], Part | None]] = {
    "input_text": _read_text,
    "output_text": _read_text,
    "text": _read_text,
    "input_image": _read_image,
    "input_file": _read_file,
    "input_audio": _read_audio,
}


_NUMBERS = {name: name for name in ("temperature", "top_p", "max_tokens", "top_logprobs")} | {"max_tokens": "max_output_tokens"}
_SUMMARIES = ("auto", "concise", "detailed")
_WORDS = ("auto", "none", "required")


def read_request(body: bytes, path: str = "") -> Inbound:
    """The request in a body; what has no name in ours stays in ``extra_params``."""
    fields = compact(read_object(body, "'model' and 'input'"), "max_output_tokens", "max_tool_calls")
    model = take(fields, "model", str, "")
    stream = take(fields, "stream", bool, False)
    messages = [*read_instructions(fields), *read_turns(fields)]
    if not messages and not fields:
        raise InvalidRequest("input: there is none; give a text or a list of items such as {'role': 'user', 'content': ...}")
    known = take_numbers(fields, _NUMBERS.items())
    for reader in _FIELD_READERS:
        known |= reader(fields)
    request = Request(model, messages, **known, extra_params=fields, wire_format=NAME)
    return Inbound(request=request, stream=stream)


def _read_plain(fields: dict[str, Any]) -> dict[str, Any]:
    """Texts and flags."""
    found = take_typed(fields, str, "user", "service_tier", "prompt_cache_key")
    found |= take_typed(fields, bool, "parallel_tool_calls")
    included = fields.get("include", [])
    if not isinstance(included, list):
        raise InvalidRequest(f"include: {type(included).__name__} is not a list; give one, or leave it out")
    return {**found, "logprobs": True} if LOGPROBS in included else found


def _read_reasoning(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "reasoning_effort": take_inner(fields, "reasoning", "effort", lambda value: value in EFFORTS),
        "reasoning_summary": take_inner(fields, "reasoning", "summary", lambda value: value in _SUMMARIES),
    }


def _read_format(fields: dict[str, Any]) -> dict[str, Any]:
    wanted = take_inner(fields, "text", "format", _known_format)
    if wanted is None or wanted["type"] != "json_schema":
        return {"response_format": wanted}
    return {"response_format": {"type": "json_schema", "json_schema": rest(wanted, "type")}}


def _known_format(value: Any) -> bool:
    kind = mapping(value).get("type")
    return kind == "json_schema" or (kind in ("text", "json_object") and len(value) == 1)


def _read_tools(fields: dict[str, Any]) -> dict[str, Any]:
    tools = [_read_tool(tool, f"tools[{place}]") for place, tool in enumerate(take(fields, "tools", list, []))]
    choice = fields.get("tool_choice")
    if isinstance(choice, str) and choice in _WORDS:
        return {"tools": tools, "tool_choice": fields.pop("tool_choice")}
    if mapping(choice).get("type") == "function" and isinstance(mapping(choice).get("name"), str):
        name = fields.pop("tool_choice")["name"]
        return {"tools": tools, "tool_choice": {"type": "function", "function": {"name": name}}}
    return {"tools": tools}


_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "code_interpreter": ("container",),
    "computer_use_preview": ("environment", "display_width", "display_height"),
    "custom": ("name",),
    "file_search": ("vector_store_ids",),
    "mcp": ("server_label",),
    "namespace": ("name",),
}
"""What OpenAI requires of its tools, beside their type. https://platform.openai.com/docs/api-reference/responses/create"""


def _read_tool(tool: Any, where: str) -> Tool | VendorTool:
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
        raise InvalidRequest(f"{where}: a tool has no type; give {{'type': 'function', 'name': ..., 'parameters': {{...}}}}")
    if tool["type"] not in ("", "function"):
        lacking = next((name for name in _REQUIRED.get(tool["type"], ()) if tool.get(name) is None), None)
        if lacking is not None:
            raise InvalidRequest(f"{where}.{lacking}: this is missing; a tool of type {tool['type']!r} must give it")
        return VendorTool(origin=NAME, data=tool)
    if isinstance(tool.get("function"), dict) and "name" not in tool:  # as OpenAI's chat API has it
        tool = {**{name: value for name, value in tool.items() if name != "function"}, **tool["function"]}
    name, parameters = tool.get("name"), tool.get("parameters") or {}
    described = isinstance(tool.get("description"), str | None) and isinstance(tool.get("strict"), bool | None)
    if not isinstance(name, str) or not name or not isinstance(parameters, dict) or not described:
        raise InvalidRequest(
            f"{where}: a function has no name or a field of a wrong kind;"
            " give {'type': 'function', 'name': ..., 'parameters': {...}}"
        )
    return Tool(
        name=name,
        description=tool.get("description"),
        parameters=parameters,
        strict=tool.get("strict"),
        extra=noted(compact(rest(tool, "type", "name", "description", "parameters", "strict"))),
    )


_FIELD_READERS = (_read_plain, _read_reasoning, _read_format, _read_tools)
