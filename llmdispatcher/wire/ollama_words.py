"""The words of Ollama's chat that both directions share: names, reasons, usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..response_values import Usage
from .payload import count

NAME = "ollama_chat"

FINISH = {"stop": "stop", "length": "length"}
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

_COUNTED = (
    "prompt_eval_count",
    "eval_count",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
)


def usage_of(document: Mapping[str, Any]) -> Usage | None:
    """The canonical usage of a last line; durations are in nanoseconds and stay raw."""
    raw = {name: document[name] for name in _COUNTED if name in document}
    if not raw:
        return None
    return Usage(input_tokens=count(raw.get("prompt_eval_count")), output_tokens=count(raw.get("eval_count")), raw=raw)


def raw_usage(usage: Usage | None) -> dict[str, Any]:
    """The usage as Ollama writes it: its own record where there is one, else one made of the canonical counts."""
    if usage is None or (not usage.raw and usage.counts == Usage().counts):
        return {}
    own = usage_of(usage.raw)
    if own is not None and own.counts == usage.counts:
        return dict(usage.raw)
    return {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}


def finish_of(raw: Any, *, called: bool) -> str:
    """The common word for a reason; old servers name none, and none of them tells a call from a plain end."""
    reason = FINISH.get(raw, raw.lower()) if isinstance(raw, str) and raw else "stop"
    return "tool_calls" if called and reason == "stop" else reason


def done_reason(reason: str | None, raw: str | None) -> str:
    """The reason for a common word; the vendor's own where it is one of this format."""
    if raw is not None and reason in (finish_of(raw, called=False), finish_of(raw, called=True)) and raw == raw.lower():
        return raw
    return "stop" if reason in (None, "tool_calls") else str(reason)
