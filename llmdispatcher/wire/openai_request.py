"""A request as OpenAI's chat format writes it. https://platform.openai.com/docs/api-reference/chat/create"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import attrs

from ..errors import InvalidRequest
from ..messages import Message, Tool, VendorTool
from ..types import Request
from .anthropic_words import cache_control
from .openai_turns import Turns
from .openai_words import LEGACY, NAME, how, with_own
from .payload import leave_out, mapping, written
from .quirks import without_effort, without_refused

_PLAIN = (
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "n",
    "logprobs",
    "top_logprobs",
    "max_tokens",
    "user",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "prompt_cache_key",
    "service_tier",
)
_plain = attrgetter(*_PLAIN)
_CHOICES = ("auto", "none", "required")
GROUP, TEXT = "reasoning", "text"
"""How a request spelt its effort or its stop: within OpenRouter's ``reasoning``; as one text."""


def encoded(request: Request, *, stream: bool, quirks: frozenset[str]) -> dict[str, Any]:
    """All fields; the names of some are those that the request had when it was read in this format, if the quirks name none."""
    request = without_effort(without_refused(_with_words(request, quirks), quirks, NAME), quirks)
    spelt = request.metadata.get(NAME, {})
    names = {**spelt, **_renamed(quirks)}
    payload: dict[str, Any] = {"model": request.model} if request.model else {}
    if request.messages:
        turns = Turns(request, quirks)
        payload["messages"] = [turns.written(message) for message in request.messages]
    for name, value in zip(_PLAIN, _plain(request), strict=True):
        if value is not None and names.get(name) != GROUP:
            payload[names.get(name, name)] = value
    if request.stop:
        payload["stop"] = request.stop[0] if spelt.get("stop") == TEXT else list(request.stop)
    if spelt or request.reasoning_tokens is not None:
        payload |= _reasoning(request, grouped=GROUP in spelt.values())
    if request.tools or request.tool_choice is not None:
        payload |= _tools(request) | _choice(request, quirks)
    return {**payload, **_streaming(quirks)} if stream else payload


def _with_words(request: Request, quirks: frozenset[str]) -> Request:
    """For vendors that promise JSON but know no schemas: what form it is to have is told in words."""
    form = request.response_format
    if "no_json_schema" not in quirks or form is None or form.get("type") != "json_schema":
        return request
    schema = written(mapping(form.get("json_schema")).get("schema", {})).decode()
    told = Message.system(f"Answer with one JSON document, and nothing else, that fits this JSON schema: {schema}")
    return attrs.evolve(request, response_format={"type": "json_object"}, messages=(told, *request.messages))


def _renamed(quirks: frozenset[str]) -> dict[str, str]:
    names = {"max_tokens": "max_completion_tokens"} if "max_completion_tokens" in quirks else {}
    names |= {"max_tokens": "max_tokens"} if "no_max_completion_tokens" in quirks else {}
    return {**names, "seed": "random_seed"} if "random_seed" in quirks else names


def _reasoning(request: Request, *, grouped: bool) -> dict[str, Any]:
    """OpenRouter's group of settings, where the request was written so; a budget of tokens has a place nowhere else."""
    if not grouped:
        if request.reasoning_tokens is not None:
            leave_out(request, NAME, "reasoning_tokens")
        return {}
    told = {"effort": "reasoning_effort", "max_tokens": "reasoning_tokens"}
    fields = {theirs: getattr(request, ours) for theirs, ours in told.items()}
    return {GROUP: {name: value for name, value in fields.items() if value is not None}}


def _streaming(quirks: frozenset[str]) -> dict[str, Any]:
    return {"stream": True} if "no_stream_options" in quirks else {"stream": True, "stream_options": {"include_usage": True}}


def _tools(request: Request) -> dict[str, Any]:
    """The tools, those of before there were tools apart."""
    kept = [tool for tool in request.tools if isinstance(tool, Tool) or _is_ours(request, tool)]
    legacy = [tool for tool in kept if isinstance(tool, Tool) and how(tool) == LEGACY]
    tools = [_tool(request, tool) for tool in kept if tool not in legacy]
    fields: dict[str, Any] = {"functions": [_tool(request, tool)["function"] for tool in legacy]} if legacy else {}
    return {**fields, "tools": tools} if tools else fields


def _is_ours(request: Request, tool: VendorTool) -> bool:
    if tool.origin != NAME:
        leave_out(request, NAME, f"tools: {tool.data.get('type', 'a tool')!r}", f"is a tool of {tool.origin}")
    return tool.origin == NAME


def _tool(request: Request, tool: Tool | VendorTool) -> dict[str, Any]:
    """A function that the model may call, or a tool of the vendor's own."""
    if isinstance(tool, VendorTool):
        return dict(tool.data)
    function: dict[str, Any] = {"name": tool.name}
    if tool.parameters or request.wire_format != NAME:
        function["parameters"] = tool.parameters
    for name in ("description", "strict"):
        if getattr(tool, name) is not None:
            function[name] = getattr(tool, name)
    entry = with_own({"type": "function", "function": function}, tool)
    return entry if tool.cache is None else {**entry, "cache_control": cache_control(tool.cache)}


def _choice(request: Request, quirks: frozenset[str]) -> dict[str, Any]:
    choice = request.tool_choice
    if choice is None:
        return {}
    wanted = _named(request, choice) if isinstance(choice, str) else choice
    if "no_forced_tools" in quirks and wanted not in ("auto", "none"):
        leave_out(request, NAME, "tool_choice", "cannot be forced here")
        wanted = "auto"
    if any(isinstance(tool, Tool) and how(tool) == LEGACY for tool in request.tools):
        return {"function_call": wanted if isinstance(wanted, str) else wanted.get("function", wanted)}
    return {"tool_choice": wanted}


def _named(request: Request, choice: str) -> str | Mapping[str, Any]:
    """A word, or the one tool that is meant by its name; ``any`` is Mistral's word, which only a request from there keeps."""
    if choice in _CHOICES or (choice == "any" and request.wire_format == NAME):
        return choice
    if choice == "any":
        return "required"
    for tool in request.tools:
        custom = tool.data.get("custom") if isinstance(tool, VendorTool) else None
        if isinstance(tool, Tool) and tool.name == choice:
            return {"type": "function", "function": {"name": choice}}
        if isinstance(custom, Mapping) and custom.get("name") == choice:
            return {"type": "custom", "custom": {"name": choice}}
    raise InvalidRequest(f"tool_choice: {choice!r} is not a choice; use auto, none, required or a function's name")
