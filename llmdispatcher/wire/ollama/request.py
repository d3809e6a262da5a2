"""Encode a request for Ollama's chat API, with the names, finish reasons and usage that both directions share."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from ...types import ImagePart, Message, OtherPart, ReasoningPart, Request, TextPart, Tool, ToolCall, Usage, VendorTool, data_url
from ..decoding import Counter, says
from ..encoding import arguments_of, dump, leave_out, merge_fields, own, own_tools, part_kind, present, tell_thought
from ..finish import canonical_reason, ends
from ..finish import finish_of as canonical_finish
from ..limits import with_names
from ..openai_chat.fields import openai_chat_usage
from ..schemas import ensure_object
from ..shaping import adapt_request
from ..words import words

NAME = "ollama_chat"

DONE_REASONS = ("stop", "length", "load", "unload")
"""All that clients know."""
LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""The level of thought for an effort."""

THINKS = {"think": True}
"""The mark in ``request.metadata`` of a request that was read: it asked for thoughts, of no level."""

SETTINGS = (
    ("max_tokens", "num_predict"),
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("seed", "seed"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
)
"""Our names of what is in ``options``, and theirs."""

_COUNTED = words("prompt_eval_count eval_count total_duration load_duration prompt_eval_duration eval_duration")


def ollama_usage(document: Mapping[str, Any]) -> Usage | None:
    """The canonical usage of a last line; durations are in nanoseconds and stay raw."""
    raw = {name: document[name] for name in _COUNTED if name in document}
    if says(document.get("usage")) and not (raw.get("prompt_eval_count") or raw.get("eval_count")):  # of a gateway
        return openai_chat_usage(document)
    if not raw:
        return None
    counter = Counter()
    into, out = counter.count(raw.get("prompt_eval_count")), counter.count(raw.get("eval_count"))
    return counter.usage(input_tokens=into, output_tokens=out, raw=raw)


def raw_usage(usage: Usage | None) -> dict[str, Any]:
    """The usage as Ollama writes it: its own record where there is one, else one made of the canonical counts."""
    if usage is None or (not usage.raw and usage.counts == Usage().counts):
        return {}
    own = ollama_usage(usage.raw)
    if own is not None and own.counts == usage.counts:
        return dict(usage.raw)
    return {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}


def finish_of(raw: Any, *, called: bool) -> str | None:
    """The common word for a reason. Old servers send no reason, and no server distinguishes a call from a plain end."""
    return canonical_finish(raw if ends(raw) else "stop", called=called)


def done_reason(reason: str | None, raw: str | None) -> str:
    """The reason for a common word; the vendor's own where it is one of this format."""
    if raw in DONE_REASONS and reason in (finish_of(raw, called=False), finish_of(raw, called=True)):
        return raw
    common = canonical_reason(reason)
    return "stop" if common in (None, "tool_calls") else common


def encode(request: Request, *, stream: bool, quirks: frozenset[str] = frozenset()) -> bytes:
    """The JSON body of a request; it always has ``stream``, whose default in this format is true."""
    shaped = adapt_request(request, quirks, NAME)
    if (shaped.n or 1) > 1:
        leave_out(shaped, NAME, "n")
    if shaped.parallel_tool_calls is False:
        leave_out(shaped, NAME, "parallel_tool_calls")
    fields: dict[str, Any] = {"model": shaped.model} if shaped.model else {}
    fields["messages"] = _messages(shaped)
    fields |= _tools(shaped)
    fields |= _format(shaped)
    fields |= _thinking(shaped, quirks)
    options = {theirs: value for name, theirs in SETTINGS if (value := getattr(shaped, name)) is not None}
    if shaped.stop:
        options["stop"] = list(shaped.stop)
    if options:
        fields["options"] = options
    if shaped.logprobs is not None or shaped.top_logprobs is not None:
        fields |= present(logprobs=shaped.logprobs, top_logprobs=shaped.top_logprobs)
    return dump({**fields, "stream": stream}, request, NAME)


def _thinking(request: Request, quirks: frozenset[str]) -> dict[str, Any]:
    """Whether to think, and how much; models without levels only know whether."""
    effort, budget = request.reasoning_effort, request.reasoning_tokens
    if effort is None and budget is None:
        return {}
    if effort == "none" or budget == 0:
        return {"think": False}
    if request.wire_format == NAME:
        return {"think": True if request.metadata.get(NAME) == THINKS else effort}
    return {"think": True if effort is None or "no_effort" in quirks else LEVELS[effort]}


def _format(request: Request) -> dict[str, Any]:
    response_format = request.response_format
    kind = (response_format or {"type": "text"}).get("type")
    described = (response_format or {}).get("json_schema")
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"format": "json"}
    if kind == "json_schema" and isinstance(described, Mapping) and "schema" in described:
        return {"format": described["schema"]}
    leave_out(request, NAME, "response_format", f"has no {kind!r} here; give 'json_object', or a 'json_schema' with its 'schema'")
    return {}


def _tools(request: Request) -> dict[str, Any]:
    """The tools. The format has no tool choice, so ``none`` sends no tools."""
    choice = request.tool_choice
    if choice == "none":
        return {}
    if choice not in (None, "auto"):
        leave_out(request, NAME, "tool_choice", "cannot be forced here")
    return {"tools": tools} if request.tools and (tools := [_tool(request, tool) for tool in own_tools(request, NAME)]) else {}


def _tool(request: Request, tool: Tool | VendorTool) -> dict[str, Any]:
    if isinstance(tool, VendorTool):
        return dict(tool.data)
    function: dict[str, Any] = {"name": tool.name, **present(description=tool.description)}
    if request.wire_format != NAME:
        function["parameters"] = ensure_object(tool.parameters)
    elif tool.parameters:
        function["parameters"] = tool.parameters
    if tool.strict is not None and request.wire_format == NAME:
        function["strict"] = tool.strict
    return merge_fields({"type": "function", "function": function}, own(tool, NAME))


def _messages(request: Request) -> list[dict[str, Any]]:
    """The turns. A result names its function, by the call that it answers if the message has no name."""
    turns = []
    for message in request.messages if request.wire_format == NAME else with_names(request.messages):
        named = present(tool_name=message.name, tool_call_id=message.tool_call_id) if message.role == "tool" else {}
        turns.append({**_turn(request, message), **named, **own(message, NAME)})
    return turns


def _turn(request: Request, message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": "system" if message.role == "developer" else message.role}
    parts = message.parts
    turn["content"] = "\n".join([part.text for part in parts if isinstance(part, TextPart)])
    thoughts = [part.text for part in parts if isinstance(part, ReasoningPart) and part.origin in (None, NAME)]
    if any(thoughts):
        turn["thinking"] = "".join(thoughts)
    images = _images(request, parts)
    if images:
        turn["images"] = images
    if message.tool_calls:
        turn["tool_calls"] = [_call(request, call) for call in message.tool_calls]
    return turn


def _images(request: Request, parts: Iterable[object]) -> list[str]:
    found = []
    for part in parts:
        if isinstance(part, ImagePart):
            embedded = data_url(part.url) if part.data is None and part.url is not None else None
            data = part.data if embedded is None else embedded[1]
            if data is None:
                why = "Ollama fetches no images; give the bytes, as ImagePart(data=..., media_type=...)"
                leave_out(request, NAME, "message.content: 'ImagePart'", why)
            else:
                found.append(base64.b64encode(data).decode())
        elif isinstance(part, ReasoningPart):
            if part.origin not in (None, NAME):
                tell_thought(request, NAME, part)
        elif isinstance(part, OtherPart):
            leave_out(request, NAME, f"message.content: {part_kind(part)!r}", f"is known to {part.origin} alone")
        elif not isinstance(part, TextPart | ToolCall):
            leave_out(request, NAME, f"message.content: {part_kind(part)!r}", "is not taken by Ollama, only text and images are")
    return found


def _call(request: Request, call: ToolCall) -> dict[str, Any]:
    entry: dict[str, Any] = {"function": {"name": call.name, "arguments": arguments_of(request, call, "Ollama")}}
    return merge_fields(entry if not call.id else {"id": call.id, **entry}, own(call, NAME))
