"""Names, finish reasons and usage of Anthropic's Messages API, shared by both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...types import Citation, Usage
from ..decoding import Counter, mapping, text_of
from ..finish import canonical_reason, finish_of, reason_for
from ..openai_chat.fields import openai_chat_usage
from ..shapes import MOST_TITLE, Shape, fitted, is_count, is_text, nullable, one_of

NAME = "anthropic_messages"

STRUCTURE = "respond_with_structure"
"""The tool whose input is the answer, for models that know no JSON schema; its call is read as text."""

WEB = "web_search_result_location"
"""The kind of citation that another vendor's are written as."""

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
DIRECT = {"type": "direct"}
"""Who called a tool: the model itself, which goes without saying."""
STOP_REASONS = frozenset({*FINISH, "pause_turn", "compaction"})
"""All that clients know."""
CHOICES = {"auto": "auto", "none": "none", "required": "any", "any": "any"}


def anthropic_usage(raw: Mapping[str, Any]) -> Usage:
    """The canonical usage: Anthropic's ``input_tokens`` leaves out what was read from and written to the cache."""
    if not raw:
        return Usage()
    if not (raw.get("output_tokens") or raw.get("input_tokens")):  # a gateway's record, in another format's words
        return openai_chat_usage({"usage": dict(raw)})
    counter = Counter()
    count = counter.count
    read, write = count(raw.get("cache_read_input_tokens")), count(raw.get("cache_creation_input_tokens"))
    by_ttl = mapping(raw.get("cache_creation"))
    write = write or sum([count(by_ttl.get(name)) for name in ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")])
    used = mapping(raw.get("server_tool_use"))
    output = count(raw.get("output_tokens"))
    return counter.usage(
        input_tokens=count(raw.get("input_tokens")) + read + write,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_long_tokens=min(write, count(by_ttl.get("ephemeral_1h_input_tokens"))),
        reasoning_tokens=min(output, count(mapping(raw.get("output_tokens_details")).get("thinking_tokens"))),
        cost=counter.cost(raw.get("cost"), raw),  # OpenRouter's word
        tool_requests={name.removesuffix("_requests"): count(times) for name, times in used.items() if count(times)},
        raw=dict(raw),
    )


def raw_usage(usage: Usage, tier: str | None = None) -> dict[str, Any]:
    """The usage as Anthropic writes it: its own record where there is one, else one made of the canonical counts."""
    raw = usage.raw
    same = anthropic_usage(raw).counts == usage.counts
    read, write, long = usage.cache_read_tokens, usage.cache_write_tokens, usage.cache_write_long_tokens
    into = max(0, usage.input_tokens - read - write)
    if "output_tokens" in raw and same and "total_tokens" not in raw:
        counts = {"input_tokens": into, "output_tokens": usage.output_tokens}
        return fitted({**raw, **{name: count for name, count in counts.items() if type(raw.get(name)) is not int}}, _USAGE)
    made: dict[str, Any] = {"input_tokens": into, "cache_creation_input_tokens": write, "cache_read_input_tokens": read}
    made["output_tokens"] = usage.output_tokens
    if write:
        made["cache_creation"] = {"ephemeral_5m_input_tokens": write - long, "ephemeral_1h_input_tokens": long}
    if usage.reasoning_tokens:
        made["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return fitted({**made, "service_tier": tier}, _USAGE)


_USAGE: Shape = {
    "input_tokens": (is_count, 0),
    "cache_creation_input_tokens": (nullable(is_count), 0),
    "cache_read_input_tokens": (nullable(is_count), 0),
    "cache_creation": (dict.fromkeys(("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"), (is_count, 0)), None),
    "output_tokens": (is_count, 0),
    "output_tokens_details": ({"thinking_tokens": (is_count, 0)}, None),
    "server_tool_use": (dict.fromkeys(("web_search_requests", "web_fetch_requests"), (is_count, 0)), None),
    "service_tier": (one_of("standard", "priority", "batch"), None),
    "inference_geo": (is_text, None),
}


def stop_reason(reason: str | None, raw: str | None, *, called: bool) -> str:
    """Why an answer ended, in a word of this format: the vendor's own if it is one."""
    reason = reason_for(reason, called=called)
    if raw in STOP_REASONS and finish_of(raw) == reason:
        return raw
    return next((word for word, common in FINISH.items() if common == canonical_reason(reason)), "end_turn")


def tier_of(raw: Mapping[str, Any]) -> str | None:
    """The service tier that a usage names."""
    return text_of(raw.get("service_tier")) or None


def web_citation(citation: Citation) -> dict[str, Any]:
    """A source that another vendor named; there is nothing that proves it."""
    return {
        "type": WEB,
        "url": citation.url,
        "title": citation.title and citation.title[:MOST_TITLE],
        "cited_text": citation.text or "",
        "encrypted_index": "",
    }
