"""A request in OpenAI's chat format, read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from ..errors import InvalidRequest
from ..messages import Tool, VendorTool
from ..types import EFFORTS, Request
from .anthropic_words import cache_of
from .asked import object_in, popped
from .base import Inbound
from .openai_inbound_turns import turn_of
from .openai_request import GROUP, TEXT
from .openai_words import AS, LEGACY, NAME, SPELLINGS, noted, rest
from .payload import mapping

_IN_PATH = re.compile(r"/deployments/([^/?]+)/")
_BOUNDS = {"temperature": (0, 2), "top_p": (0, 1), "frequency_penalty": (-2, 2), "presence_penalty": (-2, 2)}
_COUNTS = ("max_tokens", "top_k", "n", "top_logprobs", "seed")
_FLAGS = ("logprobs", "parallel_tool_calls")
_TEXTS = ("user", "prompt_cache_key", "service_tier")
_CHOICES = ("auto", "none", "required", "any")


def inbound(body: bytes, path: str) -> Inbound:
    """The request in a body; what has no name in ours stays in ``extra_params``."""
    fields = {name: value for name, value in object_in(body, "'model' and 'messages'").items() if value is not None}
    model = popped(fields, "model", str, "") or _model_in(path)
    stream, usage = popped(fields, "stream", bool, False), _usage_wanted(fields)
    said = popped(fields, "messages", list, [])
    if not said:
        raise InvalidRequest("messages: there are none; give a list of at least one {'role': ..., 'content': ...}")
    messages = [turn_of(message, f"messages.{place}") for place, message in enumerate(said)]
    known: dict[str, Any] = {"metadata": {}}
    for reader in _READERS:
        found = reader(fields)
        known |= {**found, "metadata": {**known["metadata"], **found.get("metadata", {})}}
    known["metadata"] = noted(known["metadata"])
    request = Request(model, messages, **known, extra_params=fields, wire_format=NAME)
    return Inbound(request=request, stream=stream, stream_usage=usage)


def _model_in(path: str) -> str:
    """Azure's deployment, which stands for the model."""
    found = _IN_PATH.search(path)
    return unquote(found.group(1)) if found else ""


def _usage_wanted(fields: dict[str, Any]) -> bool:
    """Whether a stream is to tell its usage; other options of a stream stay where they are."""
    return _taken(fields, "stream_options", "include_usage", lambda value: isinstance(value, bool)) is True


def _taken(fields: dict[str, Any], name: str, inner: str, fits: Callable[[Any], bool]) -> Any:
    """One field out of a mapping whose others stay where they are; ``None`` where it is not what fits."""
    whole = fields.get(name)
    if not isinstance(whole, dict) or not fits(whole.get(inner)):
        return None
    left = rest(whole, inner)
    if left:
        fields[name] = left
    else:
        del fields[name]
    return whole[inner]


def _numbers(fields: dict[str, Any]) -> dict[str, Any]:
    """Sampling and limits; a number that is out of our bounds is the vendor's to judge."""
    found: dict[str, Any] = {}
    for name, (low, high) in _BOUNDS.items():
        if name in fields and low <= _number(fields, name) <= high:
            found[name] = fields.pop(name)
    spelt: dict[str, Any] = {}
    for name in _COUNTS:
        said = next((spelling for spelling in SPELLINGS.get(name, (name,)) if spelling in fields), name)
        value: Any = _number(fields, said) if said in fields else None
        if type(value) is int and (value >= 0 or name == "seed"):
            found[name] = fields.pop(said)
            spelt |= {name: said} if said != name else {}
    return {**found, "metadata": spelt}


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"{name}: {type(value).__name__} is not a number; give one, or leave it out")
    return value


def _words(fields: dict[str, Any]) -> dict[str, Any]:
    """Flags and texts, and where to stop; what is of another kind has another meaning somewhere."""
    kinds = {**dict.fromkeys(_FLAGS, bool), **dict.fromkeys(_TEXTS, str)}
    found = {name: fields.pop(name) for name, kind in kinds.items() if isinstance(fields.get(name), kind)}
    stop = fields.get("stop")
    if isinstance(stop, str):
        return {**found, "stop": fields.pop("stop"), "metadata": {"stop": TEXT}}
    if isinstance(stop, list) and stop and all(isinstance(word, str) for word in stop):
        found["stop"] = fields.pop("stop")
    return found


def _thoughts(fields: dict[str, Any]) -> dict[str, Any]:
    """How much to think, said alone or in OpenRouter's group."""
    if fields.get("reasoning_effort") in EFFORTS:
        return {"reasoning_effort": fields.pop("reasoning_effort")}
    found = {
        "reasoning_effort": _taken(fields, GROUP, "effort", lambda value: value in EFFORTS),
        "reasoning_tokens": _taken(fields, GROUP, "max_tokens", lambda value: type(value) is int and value >= 0),
    }
    return {**found, "metadata": {name: GROUP for name, value in found.items() if value is not None}}


def _format(fields: dict[str, Any]) -> dict[str, Any]:
    wanted = mapping(fields.get("response_format"))
    kind = wanted.get("type")
    plain = kind in ("text", "json_object") and wanted.keys() == {"type"}
    described = kind == "json_schema" and wanted.keys() == {"type", kind} and "schema" in mapping(wanted[kind])
    return {"response_format": fields.pop("response_format")} if plain or described else {}


def _tools(fields: dict[str, Any]) -> dict[str, Any]:
    """Tools and which of them is to be called, in the words of today or in those of before tools."""
    entries, functions = popped(fields, "tools", list, []), popped(fields, "functions", list, [])
    tools = [_tool(tool, f"tools.{place}") for place, tool in enumerate(entries)]
    older = [_function({"function": tool}, f"functions.{place}", {AS: LEGACY}) for place, tool in enumerate(functions)]
    field = "function_call" if older else "tool_choice"
    choice = fields.get(field)
    if choice in _CHOICES if isinstance(choice, str) else False:
        return {"tools": [*tools, *older], "tool_choice": fields.pop(field)}
    name = mapping(choice).get("name") if older else _chosen(mapping(choice))
    if not isinstance(name, str) or not name:
        return {"tools": [*tools, *older]}
    del fields[field]
    return {"tools": [*tools, *older], "tool_choice": {"type": "function", "function": {"name": name}}}


def _chosen(choice: Mapping[str, Any]) -> Any:
    """The function that must be called, where nothing else is said."""
    function = mapping(choice.get("function"))
    plain = choice.get("type", "function") == "function" and choice.keys() <= {"type", "function"}
    return function.get("name") if plain and function.keys() == {"name"} else None


def _tool(tool: Any, where: str) -> Tool | VendorTool:
    if not isinstance(tool, dict):
        raise InvalidRequest(f"{where}: {type(tool).__name__} is not a tool; give {{'type': 'function', 'function': {{...}}}}")
    if tool.get("type") not in (None, "function"):
        return VendorTool(origin=NAME, data=tool)
    return _function(tool, where, rest(tool, "type", "function"))


def _function(tool: Mapping[str, Any], where: str, extra: dict[str, Any]) -> Tool:
    function = mapping(tool.get("function"))
    name, parameters = function.get("name"), function.get("parameters") or {}
    described = isinstance(function.get("description"), str | None) and isinstance(function.get("strict"), bool | None)
    if not isinstance(name, str) or not name or not isinstance(parameters, dict) or not described:
        raise InvalidRequest(
            f"{where}: a function has no name or a field of a wrong kind; give {{'name': ..., 'parameters': {{...}}}}"
        )
    cache = cache_of(extra.get("cache_control"))
    if cache is not None:
        del extra["cache_control"]
    further = rest(function, "name", "description", "parameters", "strict")
    further |= {"parameters": {}} if function.get("parameters") == {} else {}  # where none at all would be left out
    return Tool(
        name=name,
        description=function.get("description"),
        parameters=parameters,
        strict=function.get("strict"),
        cache=cache,
        extra=noted({**extra, "function": further} if further else extra),
    )


_READERS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (_numbers, _words, _thoughts, _format, _tools)
"""Each takes out of the fields what it knows; what is left is this format's alone."""
