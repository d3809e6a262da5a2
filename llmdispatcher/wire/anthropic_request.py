"""A request as Anthropic's messages write it. https://platform.claude.com/docs/en/api/messages"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidRequest
from ..messages import Tool, VendorTool
from ..types import Request
from .anthropic_turns import encoded_system, encoded_turns
from .anthropic_words import ADAPTIVE, CHOICES, NAME, STRUCTURE, cache_control
from .payload import leave_out, own
from .quirks import without_refused

DEFAULT_MAX_TOKENS = 4096
"""The format wants a limit; this one is sent where the request has none."""

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 32_768, "max": 32_768}
"""The tokens of thought for an effort, where a model goes by tokens."""

_LEAST_BUDGET = 1024
_EFFORTS = {"minimal": "low"}
_TIERS = {"auto": "auto", "default": "standard_only", "standard": "standard_only", "standard_only": "standard_only"}
_NOWHERE = ("seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs")
_JSON_ONLY = "Answer with one JSON object and nothing else."
_BY_TOOL = f"Give your answer by calling the tool {STRUCTURE}."
_FORCED = ("any", "tool")


def encoded(request: Request, quirks: frozenset[str]) -> dict[str, Any]:
    """All fields but ``stream``."""
    request = without_refused(request, quirks, NAME)
    for name in _NOWHERE:
        if getattr(request, name):
            leave_out(request, NAME, name)
    if (request.n or 1) > 1:
        leave_out(request, NAME, "n")
    thoughts = _thinking(request, quirks)
    tools = _tools(request, quirks, thinks=_thinks(request, thoughts))
    return {
        **_limits(request, thoughts),
        "messages": encoded_turns(request, quirks),
        **_system(request, tools),
        **tools,
        **_sampling(request, thinks=_thinks(request, thoughts)),
        **thoughts,
        **_output(request, thoughts, quirks),
        **_advice(request),
    }


def _limits(request: Request, thoughts: Mapping[str, Any]) -> dict[str, Any]:
    """Model and limit; some clouds have the model in the path, and say the version in its place."""
    fields: dict[str, Any] = {}
    if request.model and "anthropic_version" not in request.extra_params:
        fields["model"] = request.model
    limit = request.max_tokens
    if request.wire_format == NAME:
        return fields if limit is None else {**fields, "max_tokens": limit}
    limit = DEFAULT_MAX_TOKENS if limit is None else limit
    budget = thoughts.get("thinking", {}).get("budget_tokens", 0)
    return {**fields, "max_tokens": limit if limit > budget else budget + limit}


def _system(request: Request, tools: Mapping[str, Any]) -> dict[str, Any]:
    """The instructions, with those that stand for a response format that the model does not know."""
    system = encoded_system(request)
    added = None
    if (request.response_format or {}).get("type") == "json_object":
        added = _JSON_ONLY
    elif tools.get("tool_choice") == {"type": "auto"} and any(tool.get("name") == STRUCTURE for tool in tools.get("tools", ())):
        added = _BY_TOOL
    if added is not None:
        system = (
            [*system, {"type": "text", "text": added}] if isinstance(system, list) else "\n\n".join(filter(None, [system, added]))
        )
    return {} if system is None else {"system": system}


def _thinks(request: Request, thoughts: Mapping[str, Any]) -> bool:
    """Whether what Anthropic refuses beside thoughts is to be left out; the author of a request in this format knows better."""
    return request.wire_format != NAME and thoughts.get("thinking", {}).get("type") in ("enabled", "adaptive")


def _thinking(request: Request, quirks: frozenset[str]) -> dict[str, Any]:
    effort, budget = request.reasoning_effort, request.reasoning_tokens
    if request.wire_format == NAME:
        return _thinking_as_read(request)
    if effort is None and budget is None:
        return {}
    if effort == "none" or budget == 0:
        return {"thinking": {"type": "disabled"}}
    if "adaptive_thinking" not in quirks:
        tokens = budget if budget is not None else BUDGETS[effort or "low"]
        return {"thinking": {"type": "enabled", "budget_tokens": max(_LEAST_BUDGET, tokens), **_display(request)}}
    effort = effort or next((word for word, tokens in BUDGETS.items() if budget is not None and budget <= tokens), "max")
    fields: dict[str, Any] = {"thinking": {"type": "adaptive", **_display(request)}}
    return fields if "no_effort" in quirks else {**fields, "output_config": {"effort": _EFFORTS.get(effort, effort)}}


def _thinking_as_read(request: Request) -> dict[str, Any]:
    """What a request in this format said: effort and thoughts are two things there."""
    fields: dict[str, Any] = {}
    if request.reasoning_effort == "none":
        fields["thinking"] = {"type": "disabled"}
    elif request.reasoning_effort is not None:
        fields["output_config"] = {"effort": _EFFORTS.get(request.reasoning_effort, request.reasoning_effort)}
    if request.reasoning_tokens is not None:
        fields["thinking"] = {"type": "enabled", "budget_tokens": request.reasoning_tokens, **_display(request)}
    elif request.metadata.get(NAME) == ADAPTIVE:
        fields["thinking"] = {"type": "adaptive", **_display(request)}
    return fields


def _display(request: Request) -> dict[str, str]:
    if request.reasoning_summary is None:
        return {}
    return {"display": "omitted" if request.reasoning_summary == "none" else "summarized"}


def _sampling(request: Request, *, thinks: bool) -> dict[str, Any]:
    """Temperature and its kin, and where to stop; beside thoughts only a ``top_p`` near 1 is allowed."""
    names = ("top_p",) if thinks else ("temperature", "top_p", "top_k")
    fields: dict[str, Any] = {name: getattr(request, name) for name in names if getattr(request, name) is not None}
    if thinks and fields.get("top_p", 1) < 0.95:
        del fields["top_p"]
    if request.stop:
        fields["stop_sequences"] = list(request.stop)
    return fields


def _advice(request: Request) -> dict[str, Any]:
    """What changes no answer."""
    fields: dict[str, Any] = {}
    if request.user is not None:
        fields["metadata"] = {"user_id": request.user}
    if request.prompt_cache is not None:
        fields["cache_control"] = cache_control(request.prompt_cache)
    tier = request.service_tier if request.wire_format == NAME else _TIERS.get(request.service_tier or "")
    return {**fields, "service_tier": tier} if tier is not None else fields


def _output(request: Request, thoughts: Mapping[str, Any], quirks: frozenset[str]) -> dict[str, Any]:
    """The form of the answer, beside the effort."""
    schema = _schema(request.response_format)
    if schema is None or "no_json_schema" in quirks:
        return {}
    return {"output_config": {**thoughts.get("output_config", {}), "format": {"type": "json_schema", "schema": schema}}}


def _schema(response_format: Mapping[str, Any] | None) -> Any:
    if response_format is None or response_format.get("type") in ("text", "json_object"):
        return None
    kind, described = response_format.get("type"), response_format.get("json_schema")
    if kind == "json_schema" and isinstance(described, Mapping) and "schema" in described:
        return described["schema"]
    raise InvalidRequest(f"response_format: Anthropic has no {kind!r}; give a 'json_schema' with its 'schema'")


def _tools(request: Request, quirks: frozenset[str], *, thinks: bool) -> dict[str, Any]:
    """Which tools there are, and which must be used."""
    strict = "no_json_schema" not in quirks
    tools = [_tool(request, tool, strict=strict) for tool in request.tools if isinstance(tool, Tool) or _is_ours(request, tool)]
    choice = _choice(request)
    schema = _schema(request.response_format) if "no_json_schema" in quirks else None
    if schema is not None:
        choice = (
            choice if choice.get("type") == "tool" else {"type": "any"} if tools and choice.get("type") != "none" else _STRUCTURED
        )
        tools.append({"name": STRUCTURE, "description": "The one way to give the final answer.", "input_schema": schema})
    if choice.get("type") in _FORCED and (thinks or "no_forced_tools" in quirks):
        if schema is None:
            leave_out(request, NAME, "tool_choice", "cannot be forced here" + ", beside thoughts" * thinks)
        choice = {"type": "auto"}
    choice = _one_by_one(request, choice, bool(tools))
    return {**({"tools": tools} if tools else {}), **({"tool_choice": choice} if choice else {})}


_STRUCTURED = {"type": "tool", "name": STRUCTURE}


def _is_ours(request: Request, tool: VendorTool) -> bool:
    if tool.origin == NAME:
        return True
    leave_out(request, NAME, f"tools: {tool.data.get('type', 'a tool')!r}", f"is a tool of {tool.origin}")
    return False


def _tool(request: Request, tool: Tool | VendorTool, *, strict: bool) -> dict[str, Any]:
    if isinstance(tool, VendorTool):
        return dict(tool.data)
    schema = tool.parameters or ({} if request.wire_format == NAME else {"type": "object", "properties": {}})
    fields: dict[str, Any] = {"name": tool.name, "input_schema": schema}
    if tool.description is not None:
        fields["description"] = tool.description
    if tool.strict is not None and strict:  # schemas came with it
        fields["strict"] = tool.strict
    if tool.cache is not None:
        fields["cache_control"] = cache_control(tool.cache)
    return {**fields, **own(tool, NAME)}


def _choice(request: Request) -> dict[str, Any]:
    choice = request.tool_choice
    if choice is None:
        return {}
    if isinstance(choice, str):
        if choice in CHOICES:
            return {"type": CHOICES[choice]}
        if any(isinstance(tool, Tool) and tool.name == choice for tool in request.tools):
            return {"type": "tool", "name": choice}
        raise InvalidRequest(f"tool_choice: {choice!r} is not a choice; use auto, none, required or a function's name")
    function = choice.get("function")
    if isinstance(function, Mapping) and function.get("name"):
        return {"type": "tool", "name": function["name"]}
    return dict(choice)


def _one_by_one(request: Request, choice: dict[str, Any], has_tools: bool) -> dict[str, Any]:
    """The choice, with whether several calls may be made at once."""
    parallel = request.parallel_tool_calls
    if parallel is None or choice.get("type") == "none":
        return choice
    if not choice and (parallel or not has_tools):
        return choice
    return {**(choice or {"type": "auto"}), "disable_parallel_tool_use": not parallel}
