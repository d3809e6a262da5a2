"""A request in OpenAI's responses format, read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InvalidRequest
from ..messages import Tool, VendorTool
from ..types import EFFORTS, Request
from .asked import object_in, popped
from .base import Inbound
from .openai_responses_items import NAME, noted, rest
from .openai_responses_request import LOGPROBS
from .openai_responses_turns import instructions_of, turns_of
from .payload import mapping

_TEXTS = {"user": "user", "service_tier": "service_tier", "prompt_cache_key": "prompt_cache_key"}
_COUNTS = {"max_output_tokens": "max_tokens", "top_logprobs": "top_logprobs"}
_SUMMARIES = ("auto", "concise", "detailed")
_WORDS = ("auto", "none", "required")


def inbound(body: bytes) -> Inbound:
    """The request in a body; what has no name in ours stays in ``extra_params``."""
    fields = {name: value for name, value in object_in(body, "'model' and 'input'").items() if value is not None}
    model = popped(fields, "model", str, "")
    stream = popped(fields, "stream", bool, False)
    messages = [*instructions_of(fields), *turns_of(fields)]
    if not messages and not fields:
        raise InvalidRequest("input: there is none; give a text or a list of items such as {'role': 'user', 'content': ...}")
    known: dict[str, Any] = {}
    for reader in _READERS:
        known |= reader(fields)
    request = Request(model, messages, **known, extra_params=fields, wire_format=NAME)
    return Inbound(request=request, stream=stream)


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """Texts, numbers and flags; a number that is out of our bounds is the vendor's to judge."""
    found: dict[str, Any] = {}
    for name, bound in (("temperature", 2), ("top_p", 1)):
        if 0 <= _number(fields, name, -1) <= bound:
            found[name] = fields.pop(name)
    for name, ours in _COUNTS.items():
        value = _number(fields, name, -1)
        if isinstance(value, int) and value >= 0:
            found[ours] = fields.pop(name)
    for name, ours in _TEXTS.items():
        if isinstance(fields.get(name), str):
            found[ours] = fields.pop(name)
    if isinstance(fields.get("parallel_tool_calls"), bool):
        found["parallel_tool_calls"] = fields.pop("parallel_tool_calls")
    if LOGPROBS in _popped_back(fields, "include"):
        found["logprobs"] = True
    return found


def _popped_back(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name, [])
    if not isinstance(value, list):
        raise InvalidRequest(f"{name}: {type(value).__name__} is not a list; give one, or leave it out")
    return value


def _number(fields: Mapping[str, Any], name: str, default: float) -> float:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"{name}: {type(value).__name__} is not a number; give one, or leave it out")
    return value


def _taken(fields: dict[str, Any], name: str, inner: str, fits: Callable[[Any], bool]) -> Any:
    """One field out of a mapping whose others stay where they are; ``None`` where it is not what fits."""
    whole = fields.get(name)
    if not isinstance(whole, dict) or not fits(whole.get(inner)):
        return None
    left = {key: value for key, value in whole.items() if key != inner and value is not None}
    if left:
        fields[name] = left
    else:
        del fields[name]
    return whole[inner]


def _reasoning(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "reasoning_effort": _taken(fields, "reasoning", "effort", lambda value: value in EFFORTS),
        "reasoning_summary": _taken(fields, "reasoning", "summary", lambda value: value in _SUMMARIES),
    }


def _format(fields: dict[str, Any]) -> dict[str, Any]:
    wanted = _taken(fields, "text", "format", _known_format)
    if wanted is None or wanted["type"] != "json_schema":
        return {"response_format": wanted}
    return {"response_format": {"type": "json_schema", "json_schema": rest(wanted, "type")}}


def _known_format(value: Any) -> bool:
    kind = mapping(value).get("type")
    return kind == "json_schema" or (kind in ("text", "json_object") and len(value) == 1)


def _tools(fields: dict[str, Any]) -> dict[str, Any]:
    tools = [_tool(tool) for tool in popped(fields, "tools", list, [])]
    choice = fields.get("tool_choice")
    if isinstance(choice, str) and choice in _WORDS:
        return {"tools": tools, "tool_choice": fields.pop("tool_choice")}
    if mapping(choice).get("type") == "function" and isinstance(mapping(choice).get("name"), str):
        name = fields.pop("tool_choice")["name"]
        return {"tools": tools, "tool_choice": {"type": "function", "function": {"name": name}}}
    return {"tools": tools}


def _tool(tool: Any) -> Tool | VendorTool:
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
        raise InvalidRequest("tools: a tool has no type; give {'type': 'function', 'name': ..., 'parameters': {...}}")
    if tool["type"] != "function":
        return VendorTool(origin=NAME, data=tool)
    name, parameters = tool.get("name"), tool.get("parameters") or {}
    described = isinstance(tool.get("description"), str | None) and isinstance(tool.get("strict"), bool | None)
    if not isinstance(name, str) or not name or not isinstance(parameters, dict) or not described:
        raise InvalidRequest(
            "tools: a function has no name or a field of a wrong kind; give {'type': 'function', 'name': ..., 'parameters': {...}}"
        )
    return Tool(
        name=name,
        description=tool.get("description"),
        parameters=parameters,
        strict=tool.get("strict"),
        extra=noted(rest(tool, "type", "name", "description", "parameters", "strict")),
    )


_READERS = (_plain, _reasoning, _format, _tools)
