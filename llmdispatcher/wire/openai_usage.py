"""What an answer consumed, as OpenAI's chat format and its compatible servers tell it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import attrs

from ..response_values import Usage
from .payload import count, mapping

_REPORTED = "vendor_reported"


def usage_of(document: Mapping[str, Any]) -> Usage:
    """The canonical usage; prompt tokens include cached ones, completion tokens reasoning (xAI's do not, as their total shows)."""
    raw = document.get("usage")
    if not isinstance(raw, dict):
        return Usage()
    into, out = mapping(raw.get("prompt_tokens_details")), mapping(raw.get("completion_tokens_details"))
    told = (raw.get("prompt_tokens"), raw.get("completion_tokens"), out.get("reasoning_tokens"), into.get("cached_tokens"))
    prompt, completion, reasoning, read = [count(number) if number else 0 for number in told]
    if reasoning and count(raw.get("total_tokens")) == prompt + completion + reasoning:
        completion += reasoning
    read = read or count(raw.get("prompt_cache_hit_tokens"))
    write = long = 0
    if "cache_write_tokens" in into:
        write = count(into["cache_write_tokens"])
        long = count(mapping(into.get("cache_write_tokens_details")).get("ttl_12h_tokens"))
    return Usage(
        input_tokens=max(prompt, read + write),
        output_tokens=completion,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_long_tokens=min(long, write),
        reasoning_tokens=min(reasoning, completion),
        audio_input_tokens=count(into.get("audio_tokens")),
        audio_output_tokens=count(out.get("audio_tokens")),
        cost=_reported_cost(raw["cost"]) if "cost" in raw else None,
        raw=raw,
    )


def _reported_cost(value: Any) -> Decimal | None:
    if isinstance(value, dict):
        value = value.get("total_cost")
    if value is None or isinstance(value, bool):
        return None
    try:
        cost = Decimal(str(value))
    except InvalidOperation:
        return None
    return cost if cost.is_finite() else None


_COUNTS = tuple([field.name for field in attrs.fields(Usage) if field.name.endswith("_tokens")])


def written_usage(usage: Usage) -> Mapping[str, Any] | None:
    """What was consumed: a record of this format as it came, else one with the same counts; ``None`` where nothing is known."""
    if not usage.raw and not usage.total_tokens:
        return None
    known = usage_of({"usage": dict(usage.raw)}) if "prompt_tokens" in usage.raw else None
    if known is not None and all(getattr(known, name) == getattr(usage, name) for name in _COUNTS):
        return usage.raw
    into: dict[str, Any] = {"cached_tokens": usage.cache_read_tokens}
    if usage.cache_write_tokens:
        into["cache_write_tokens"] = usage.cache_write_tokens
    if usage.cache_write_long_tokens:
        long = usage.cache_write_long_tokens
        into["cache_write_tokens_details"] = {"ttl_30m_tokens": usage.cache_write_tokens - long, "ttl_12h_tokens": long}
    told = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {**into, "audio_tokens": usage.audio_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": usage.audio_output_tokens},
    }
    return {**told, "cost": float(usage.cost)} if usage.cost is not None and usage.cost_status == _REPORTED else told
