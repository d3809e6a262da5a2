"""Reads what an answer consumed off whatever a vendor's SDK returned: an object or a mapping, whole or in pieces.

Known by the names of its fields alone, so that no SDK is loaded; the counting itself is that of the wire formats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..response_values import Usage
from ..wire import anthropic_words, gemini_words, ollama_words, openai_responses_answer, openai_usage
from .units import TOKENS

_GEMINI = {
    "prompt_token_count": "promptTokenCount",
    "candidates_token_count": "candidatesTokenCount",
    "thoughts_token_count": "thoughtsTokenCount",
    "cached_content_token_count": "cachedContentTokenCount",
    "tool_use_prompt_token_count": "toolUsePromptTokenCount",
}
_DETAILS = (
    "prompt_tokens_details",
    "completion_tokens_details",
    "input_tokens_details",
    "output_tokens_details",
    "cache_creation",
    "cache_write_tokens_details",
)
_COUNTS = (
    *TOKENS,
    *_GEMINI,
    *_GEMINI.values(),
    *("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "cached_input_tokens", "audio_tokens"),
    *("cache_read_input_tokens", "cache_creation_input_tokens", "ephemeral_1h_input_tokens", "thinking_tokens"),
    *("ttl_30m_tokens", "ttl_12h_tokens", "prompt_cache_hit_tokens", "prompt_eval_count", "eval_count", "cost"),
)
_HOLDERS = ("usage", "usage_metadata", "usageMetadata")
_INSIDE = ("message", "response")  # of an event in a stream
_ANTHROPIC = {"cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"}

Raw = dict[str, Any]


def raw_usage(answer: Any) -> Raw:
    """The counts that an answer, an event or a usage has, by the names they have there; empty where there are none."""
    if isinstance(answer, Usage):
        return {"usage": answer}
    for holder in (answer, *[_get(answer, name) for name in _INSIDE]):
        for name in _HOLDERS:
            held = _get(holder, name)
            if isinstance(held, Usage):
                return {"usage": held}
            counts = _counts(held)
            if counts:
                return counts
    return _counts(answer)


def usage_of(raw: Raw) -> Usage | None:
    """What the counts mean; ``None`` where nothing is counted."""
    if not raw:
        return None
    own = raw.get("usage")
    return own if isinstance(own, Usage) else _reader(raw)(raw)


def model_of(answer: Any) -> str | None:
    """The model that an answer or an event names."""
    for holder in (answer, *[_get(answer, name) for name in _INSIDE]):
        for name in ("model", "model_version", "modelVersion"):
            model = _get(holder, name)
            if isinstance(model, str) and model:
                return model
    return None


def _reader(raw: Raw) -> Callable[[Raw], Usage]:
    if raw.keys() & _ANTHROPIC:
        return anthropic_words.usage_of
    if "prompt_tokens" in raw or "completion_tokens" in raw:
        return lambda counts: openai_usage.usage_of({"usage": counts})
    if "promptTokenCount" in raw or "candidatesTokenCount" in raw:
        return gemini_words.usage_of
    if "prompt_eval_count" in raw or "eval_count" in raw:
        return lambda counts: ollama_words.usage_of(counts) or Usage()
    return _plain if raw.keys() & {*TOKENS[2:], "cached_input_tokens"} else openai_responses_answer.usage_of


def _plain(raw: Raw) -> Usage:
    """Our own names, and llmring's."""
    named = {**raw, "cache_read_tokens": raw.get("cache_read_tokens", raw.get("cached_input_tokens", 0))}
    counts: dict[str, Any] = {name: int(named.get(name, 0)) for name in TOKENS}
    return Usage(**counts)


def _counts(held: Any, depth: int = 2) -> Raw:
    """Numbers and groups of numbers, whatever else there is left out; an object may have no end."""
    found: Raw = {}
    for name in _COUNTS:
        value = _get(held, name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            found[_GEMINI.get(name, name)] = value
    for name in _DETAILS:
        inner = _counts(_get(held, name), depth - 1) if held is not None and depth else None
        if inner:
            found[name] = inner
    return found


def _get(holder: Any, name: str) -> Any:
    if holder is None or isinstance(holder, str | bytes | int | float | list | tuple):
        return None
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
