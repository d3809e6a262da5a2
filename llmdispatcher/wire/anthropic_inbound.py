"""A request in Anthropic's messages, read; also one that only counts its tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from ..errors import InvalidRequest
from ..messages import Message, Tool, VendorTool
from ..types import Request
from .anthropic_inbound_turns import parts_of, turns_of
from .anthropic_words import ADAPTIVE, NAME, cache_of
from .asked import object_in, popped
from .base import Inbound

_IN_PATH = re.compile(r"/models?/(.+?)(?::\w*[rR]awPredict|/(?:invoke|converse)\S*)(?:\?|$)")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_CHOICES = {"auto": "auto", "none": "none", "any": "required"}
_DISPLAYS = {"summarized": "auto", "omitted": "none"}
_BOUNDS = {"temperature": 2, "top_p": 1}
_COUNTS = ("max_tokens", "top_k")
_NAME_OF_FORMAT = "answer"


def inbound(body: bytes, path: str) -> Inbound:
    """The request in a body; some clouds have the model in the path."""
    fields = {name: value for name, value in object_in(body, "'model', 'max_tokens' and 'messages'").items() if value is not None}
    model = popped(fields, "model", str, "") or _model_in(path)
    stream = popped(fields, "stream", bool, False)
    said = popped(fields, "messages", list, None)
    if not said:
        raise InvalidRequest("messages: there are none; give a list of at least one {'role': ..., 'content': ...}")
    messages = [*_system(fields), *turns_of(said)]
    known: dict[str, Any] = {}
    for reader in _READERS:
        known |= reader(fields)
    request = Request(model, messages, **known, extra_params=fields, wire_format=NAME)
    return Inbound(request=request, stream=stream)


def _model_in(path: str) -> str:
    found = _IN_PATH.search(path)
    return unquote(found.group(1)) if found else ""


def _system(fields: dict[str, Any]) -> list[Message]:
    system = fields.pop("system", None)
    if not system:
        return []
    return [Message("system", system if isinstance(system, str) else parts_of(system, "system"))]


def _numbers(fields: dict[str, Any]) -> dict[str, Any]:
    """Sampling and limits; a number that is out of our bounds is the vendor's to judge."""
    found: dict[str, Any] = {}
    for name in (*_BOUNDS, *_COUNTS):
        value = fields.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidRequest(f"{name}: {type(value).__name__} is not a number; give one, or leave it out")
        fits = 0 <= value <= _BOUNDS[name] if name in _BOUNDS else type(value) is int and value >= 0
        if fits and name in fields:
            found[name] = fields.pop(name)
    return found


def _words(fields: dict[str, Any]) -> dict[str, Any]:
    """Where to stop, for whom, how fast, and what to remember."""
    found: dict[str, Any] = {}
    stop = fields.pop("stop_sequences", [])
    if not isinstance(stop, list) or not all(isinstance(item, str) for item in stop):
        raise InvalidRequest("stop_sequences: this is not a list of strings; give one, or leave it out")
    user = _taken(fields, "metadata", "user_id", lambda value: isinstance(value, str))
    if isinstance(fields.get("service_tier"), str):
        found["service_tier"] = fields.pop("service_tier")
    cache = cache_of(fields.get("cache_control"))
    if cache is not None:
        del fields["cache_control"]
    return {**found, "stop": stop, "user": user, "prompt_cache": cache}


def _taken(fields: dict[str, Any], name: str, inner: str, fits: Callable[[Any], bool]) -> Any:
    """One field out of a mapping whose others stay where they are."""
    whole = fields.get(name)
    if not isinstance(whole, dict) or not fits(whole.get(inner)):
        return None
    rest = {key: value for key, value in whole.items() if key != inner and value is not None}
    if rest:
        fields[name] = rest
    else:
        del fields[name]
    return whole[inner]


def _thoughts(fields: dict[str, Any]) -> dict[str, Any]:
    """How much to think. An effort may come with adaptive thinking or alone, which the metadata remember."""
    found: dict[str, Any] = {}
    thinking = fields.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if isinstance(thinking, dict) and isinstance(kind, str) and kind in _THINKING:
        known = _THINKING[kind](thinking)
        del fields["thinking"]
        rest = {name: value for name, value in thinking.items() if name not in ("type", *known) and value is not None}
        found = {name: value for field in known.values() for name, value in field.items()}
        if rest:
            fields["thinking"] = rest
    if "reasoning_effort" not in found:
        found["reasoning_effort"] = _taken(fields, "output_config", "effort", lambda value: value in _EFFORTS)
    return found


def _disabled(_thinking: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {"type": {"reasoning_effort": "none"}}


def _enabled(thinking: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    budget = thinking.get("budget_tokens")
    if type(budget) is not int or budget < 0:
        raise InvalidRequest(f"thinking.budget_tokens: {budget!r} is not a whole number; give one, or {{'type': 'adaptive'}}")
    return {"budget_tokens": {"reasoning_tokens": budget}, **_display(thinking)}


def _adaptive(thinking: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {"type": {"metadata": {NAME: ADAPTIVE}}, **_display(thinking)}


def _display(thinking: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    display = thinking.get("display")
    return {"display": {"reasoning_summary": _DISPLAYS[display]}} if isinstance(display, str) and display in _DISPLAYS else {}


_THINKING: Mapping[str, Callable[[Mapping[str, Any]], dict[str, dict[str, Any]]]] = {
    "disabled": _disabled,
    "enabled": _enabled,
    "adaptive": _adaptive,
}
"""By kind of thinking: which of its fields are known, and what they become."""


def _format(fields: dict[str, Any]) -> dict[str, Any]:
    asked = _taken(fields, "output_config", "format", _is_schema)
    if asked is None:
        return {}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": _NAME_OF_FORMAT, "schema": asked["schema"]}}}


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "json_schema" and value.keys() == {"type", "schema"}


def _choice(fields: dict[str, Any]) -> dict[str, Any]:
    choice = fields.get("tool_choice")
    if not isinstance(choice, dict):
        return {}
    found: dict[str, Any] = {}
    rest = {name: value for name, value in choice.items() if value is not None}
    alone = rest.pop("disable_parallel_tool_use", None)
    if rest.keys() == {"type", "name"} and rest["type"] == "tool" and rest["name"]:
        found["tool_choice"] = {"type": "function", "function": {"name": rest["name"]}}
    elif rest.keys() == {"type"} and isinstance(rest["type"], str) and rest["type"] in _CHOICES:
        found["tool_choice"] = _CHOICES[rest["type"]]
    if not found or not isinstance(alone, bool | None):
        return {}
    del fields["tool_choice"]
    return {**found, "parallel_tool_calls": None if alone is None else not alone}


def _tools(fields: dict[str, Any]) -> dict[str, Any]:
    tools = popped(fields, "tools", list, ())
    return {"tools": [_tool(tool, f"tools.{place}") for place, tool in enumerate(tools)]}


def _tool(tool: Any, where: str) -> Tool | VendorTool:
    if not isinstance(tool, dict):
        raise InvalidRequest(f"{where}: {type(tool).__name__} is not a tool; give {{'name': ..., 'input_schema': ...}}")
    if tool.get("type") not in (None, "custom"):
        return VendorTool(origin=NAME, data=tool)
    rest = {name: value for name, value in tool.items() if value is not None}
    name, schema = rest.pop("name", ""), rest.pop("input_schema", {})
    if not isinstance(name, str) or not name or not isinstance(schema, dict):
        raise InvalidRequest(f"{where}: a tool needs a name and an input_schema; give {{'name': ..., 'input_schema': {{...}}}}")
    cache = cache_of(rest.get("cache_control"))
    if cache is not None:
        del rest["cache_control"]
    known = {key: rest.pop(key) for key, kind in (("description", str), ("strict", bool)) if isinstance(rest.get(key), kind)}
    return Tool(name=name, parameters=schema, cache=cache, extra={NAME: rest} if rest else {}, **known)


_READERS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (_numbers, _words, _thoughts, _format, _choice, _tools)
"""Each takes out of the fields what it knows; what is left is this format's alone."""
