"""Decode a client's request to Ollama's chat API."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import InvalidRequest
from ...types import (
    EFFORTS,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    Request,
    TextPart,
    Tool,
    ToolCall,
    VendorTool,
    data_url,
    detect_media_type,
)
from ..base import Inbound
from ..decoding import decode_base64, mapping, says
from ..server_fields import compact, nonempty, read_object, take, take_numbers, take_typed
from .request import NAME, SETTINGS, THINKS

_ROLES = ("system", "developer", "user", "assistant", "tool")
_NAME_OF_FORMAT = "answer"


def read_request(body: bytes, path: str = "") -> Inbound:
    """The request in a body; a stream is what an answer is unless another was asked for."""
    fields = compact(read_object(body, "'model' and 'messages'"))
    model = take(fields, "model", str, "")
    stream = take(fields, "stream", bool, True)
    turns = take(fields, "messages", list, [])
    messages = [_read_message(turn, f"messages.{place}") for place, turn in enumerate(turns)]
    known: dict[str, Any] = {}
    for reader in _READERS:
        known |= reader(fields)
    return Inbound(request=Request(model, messages, **known, extra_params=fields, wire_format=NAME), stream=stream)


def _read_options(fields: dict[str, Any]) -> dict[str, Any]:
    """Sampling and limits; what is out of our bounds, or has no name in ours, is the vendor's to judge."""
    options = {name: value for name, value in take(fields, "options", dict, {}).items() if value is not None}
    found = take_numbers(options, SETTINGS, "options.")
    stop = nonempty(options.pop("stop", []))
    if not isinstance(stop, str | list) or not all(isinstance(item, str) for item in stop):
        raise InvalidRequest("options.stop: this is not a list of strings; give one, or leave it out")
    if options:
        fields["options"] = options
    return {**found, "stop": stop}


def _read_thinking(fields: dict[str, Any]) -> dict[str, Any]:
    """Whether to think, and how much; a plain yes is remembered as such."""
    think = fields.get("think")
    if think is True:
        del fields["think"]
        return {"reasoning_effort": "medium", "metadata": {NAME: THINKS}}
    if think is False:
        del fields["think"]
        return {"reasoning_effort": "none"}
    if think in EFFORTS and think != "none":
        return {"reasoning_effort": fields.pop("think")}
    return {}


def _read_format(fields: dict[str, Any]) -> dict[str, Any]:
    wanted = fields.pop("format", "")
    if wanted == "":
        return {}
    if wanted == "json":
        return {"response_format": {"type": "json_object"}}
    if not isinstance(wanted, dict):
        raise InvalidRequest(f"format: {wanted!r} is no format; give 'json' or a JSON schema")
    return {"response_format": {"type": "json_schema", "json_schema": {"name": _NAME_OF_FORMAT, "schema": wanted}}}


def _read_tokens(fields: dict[str, Any]) -> dict[str, Any]:
    found = take_typed(fields, bool, "logprobs")
    if type(fields.get("top_logprobs")) is int and fields["top_logprobs"] >= 0:
        found["top_logprobs"] = fields.pop("top_logprobs")
    return found


def _read_tools(fields: dict[str, Any]) -> dict[str, Any]:
    return {"tools": [_read_tool(tool, f"tools.{place}") for place, tool in enumerate(take(fields, "tools", list, []))]}


def _read_tool(tool: Any, where: str) -> Tool | VendorTool:
    if not isinstance(tool, dict):
        raise InvalidRequest(f"{where}: {type(tool).__name__} is not a tool; give {{'type': 'function', 'function': {{...}}}}")
    if (tool.get("type") or "function") != "function":
        return VendorTool(origin=NAME, data=tool)
    function = mapping(tool.get("function"))
    rest = compact(function)
    name, schema = rest.pop("name", ""), rest.pop("parameters", {})
    if not isinstance(name, str) or not name or not isinstance(schema, dict):
        raise InvalidRequest(f"{where}: a tool needs a function with a name; give {{'type': 'function', 'function': {{...}}}}")
    known = {key: function[key] for key, kind in (("description", str), ("strict", bool)) if isinstance(function.get(key), kind)}
    rest = {key: value for key, value in rest.items() if key not in known}
    return Tool(name=name, parameters=schema, extra=_extra(tool, rest, "type", "function"), **known)


def _extra(entry: Mapping[str, Any], in_function: Mapping[str, Any], *known: str) -> dict[str, dict[str, Any]]:
    """Further fields of an entry and of its function."""
    further = {name: value for name, value in entry.items() if name not in known and value is not None}
    further |= {"function": dict(in_function)} if in_function else {}
    return {NAME: further} if further else {}


def _read_message(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict) or turn.get("role") not in _ROLES:
        raise InvalidRequest(f"{where}: this is no message; give {{'role': {', '.join(map(repr, _ROLES))}, 'content': ...}}")
    rest = compact({name: value for name, value in turn.items() if name != "role"})
    text, thought = _take_text(rest, "content", where), _take_text(rest, "thinking", where)
    images = [_read_image(image, where) for image in _take_list(rest, "images", where) if image is None or image]
    calls = [_read_call(call, where) for call in _take_list(rest, "tool_calls", where) if _is_call(call)]
    answered = {ours: rest.pop(name) for name, ours in _ANSWERED.items() if isinstance(rest.get(name), str)}
    texts: list[Part] = [TextPart(text=text)] if text or not (images or thought) else []
    thoughts: list[Part] = [ReasoningPart(text=thought, origin=NAME)] if thought else []
    plain = text and not (images or thought)
    return Message(
        turn["role"],
        text if plain or (calls and not (images or thought)) else (*thoughts, *texts, *images),
        tool_calls=calls,
        extra={NAME: rest} if rest else {},
        **answered,
    )


_ANSWERED = {"tool_name": "name", "tool_call_id": "tool_call_id"}


def _take_text(turn: dict[str, Any], name: str, where: str) -> str:
    value = turn.pop(name, "")
    if not isinstance(value, str):
        raise InvalidRequest(f"{where}.{name}: {type(value).__name__} is not text; give a string")
    return value


def _take_list(turn: dict[str, Any], name: str, where: str) -> list[Any]:
    value = turn.pop(name, [])
    if not isinstance(value, list):
        raise InvalidRequest(f"{where}.{name}: {type(value).__name__} is not a list; give one, or leave it out")
    return value


def _read_image(encoded: Any, where: str) -> ImagePart:
    if not isinstance(encoded, str):
        raise InvalidRequest(f"{where}.images: {type(encoded).__name__} is no image; give its bytes in base64")
    whole = data_url(encoded)
    data = whole[1] if whole is not None else decode_base64("".join(encoded.split()))
    if data is None:
        raise InvalidRequest(f"{where}.images: this is no base64; give the bytes of an image in base64")
    return ImagePart(data=data, media_type=detect_media_type(data) or (whole[0] if whole is not None else "image/png"))


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else call
    return says({**function, "index": None} if isinstance(function, dict) else function)


def _read_call(call: Any, where: str) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        raise InvalidRequest(f"{where}.tool_calls: a call has no function with a name; give {{'function': {{'name': ...}}}}")
    given, call_id = function.get("arguments"), call.get("id")
    rest = {key: value for key, value in function.items() if key not in ("name", "arguments") and value is not None}
    known = ("id", "function") if isinstance(call_id, str | None) else ("function",)
    return ToolCall(
        name=name,
        arguments=given if isinstance(given, str) else json.dumps(given or {}, ensure_ascii=False),
        id=call_id if isinstance(call_id, str) else None,
        extra=_extra(call, rest, *known),
    )


_READERS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (
    _read_options,
    _read_thinking,
    _read_format,
    _read_tokens,
    _read_tools,
)
"""Each takes the fields that it knows; the others stay as extra parameters of this format."""
