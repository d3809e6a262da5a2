"""The words of Google's format that both directions share: names, reasons, tokens, kinds of sound."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..response_values import Usage
from .payload import count, mapping, text_of

NAME = "gemini"
RESPONSE_SCHEMA = "responseSchema"
THINKING_BUDGET = "thinkingBudget"
"""Marks in ``request.metadata`` of a request that was read: how a schema was spelt, and that the model may choose its budget."""

FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "MODEL_ARMOR",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
        ),
        "content_filter",
    ),
}
LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH", "max": "XHIGH"}
BUDGETS = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": -1}
"""The tokens of thought for an effort, where a model goes by tokens; -1 leaves it to the model."""

SETTINGS = (
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("max_tokens", "maxOutputTokens"),
    ("n", "candidateCount"),
    ("seed", "seed"),
    ("frequency_penalty", "frequencyPenalty"),
    ("presence_penalty", "presencePenalty"),
    ("logprobs", "responseLogprobs"),
    ("top_logprobs", "logprobs"),
)
"""Our name and Google's."""

VERBATIM = frozenset(
    {
        "args",
        "response",
        "parameters",
        "parametersJsonSchema",
        "responseSchema",
        "responseJsonSchema",
        "_responseJsonSchema",
        "labels",
        "headers",
        "partMetadata",
    }
)
"""What is not the format's own: whoever wrote it chose the names in it, and its nulls are said on purpose."""

_SOUNDS = {
    "audio/mpeg": "mp3",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/vnd.wave": "wav",
    "audio/mp4": "m4a",
    "audio/x-m4a": "m4a",
    "audio/x-flac": "flac",
    "audio/x-aiff": "aiff",
}
_TRAFFIC = {"ON_DEMAND": "standard", "ON_DEMAND_FLEX": "flex", "ON_DEMAND_PRIORITY": "priority"}
_AFTER_A_LETTER = re.compile(r"(?<=[A-Za-z0-9])_+([A-Za-z0-9])")


def camel(value: Any) -> Any:
    """The format's own names as Google writes them (it takes ``snake_case`` too), without what is null."""
    if isinstance(value, dict):
        named = [(in_camel(name), inner) for name, inner in value.items() if inner is not None]
        return {name: inner if name in VERBATIM else camel(inner) for name, inner in named}
    return [camel(item) for item in value] if isinstance(value, list) else value


def in_camel(name: str) -> str:
    """``top_p`` as ``topP``."""
    return _AFTER_A_LETTER.sub(lambda found: found.group(1).upper(), name) if "_" in name else name


def listed(value: Any) -> list[Any]:
    """A list, or what stands in its place as if it were the only one in it, which Google takes too."""
    return value if isinstance(value, list) else [] if value is None else [value]


def sound_of(media_type: str) -> str:
    """The format of a recording by its media type."""
    return _SOUNDS.get(media_type, media_type.removeprefix("audio/"))


def finish_of(raw: Any, *, called: bool) -> str | None:
    """The common word for why an answer ended; a call still ends with ``STOP``."""
    if not isinstance(raw, str):
        return None
    reason = FINISH.get(raw, raw.lower())
    return "tool_calls" if called and reason == "stop" else reason


def finish_word(reason: str | None, raw: str | None) -> str | None:
    """Google's word for a common one; the vendor's own where it is one of this format."""
    if reason == "tool_calls":
        return "STOP"
    if raw is not None and FINISH.get(raw) == reason:
        return raw
    return next((word for word, common in FINISH.items() if common == reason), None if reason is None else reason.upper())


def usage_of(raw: Mapping[str, Any]) -> Usage:
    """The canonical usage: thoughts are billed output beside the candidates, prompts of tools are further input."""
    thoughts = count(raw.get("thoughtsTokenCount"))
    into = count(raw.get("promptTokenCount")) + count(raw.get("toolUsePromptTokenCount"))
    return Usage(
        input_tokens=into,
        output_tokens=count(raw.get("candidatesTokenCount")) + thoughts,
        cache_read_tokens=min(into, count(raw.get("cachedContentTokenCount"))),
        reasoning_tokens=thoughts,
        audio_input_tokens=_of("AUDIO", raw.get("promptTokensDetails")),
        audio_output_tokens=_of("AUDIO", raw.get("candidatesTokensDetails")),
        audio_cache_read_tokens=_of("AUDIO", raw.get("cacheTokensDetails")),
        image_input_tokens=_of("IMAGE", raw.get("promptTokensDetails")),
        image_output_tokens=_of("IMAGE", raw.get("candidatesTokensDetails")),
        raw=raw,
    )


def _of(modality: str, details: Any) -> int:
    if not isinstance(details, list):
        return 0
    return sum([count(entry.get("tokenCount")) for entry in map(mapping, details) if entry.get("modality") == modality])


def raw_usage(usage: Usage, tier: str | None) -> dict[str, Any]:
    """The usage as Google writes it: its own record, or one made of the counts; empty where nothing is known."""
    raw = usage.raw
    known = any(name.endswith("TokenCount") or name in ("trafficType", "serviceTier") for name in raw)
    if known and usage_of(raw).counts == usage.counts:
        return dict(raw)
    if not usage.total_tokens:
        return {}
    answer = max(0, usage.output_tokens - usage.reasoning_tokens)
    made: dict[str, Any] = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": answer,
        "totalTokenCount": usage.total_tokens,
    }
    if usage.cache_read_tokens:
        made["cachedContentTokenCount"] = usage.cache_read_tokens
    if usage.reasoning_tokens:
        made["thoughtsTokenCount"] = usage.reasoning_tokens
    made |= {name: told for name, audio, images in _DETAILS if (told := _details(getattr(usage, audio), getattr(usage, images)))}
    return {**made, "serviceTier": tier} if tier is not None else made


_DETAILS = (
    ("promptTokensDetails", "audio_input_tokens", "image_input_tokens"),
    ("candidatesTokensDetails", "audio_output_tokens", "image_output_tokens"),
)


def _details(audio: int, images: int) -> list[dict[str, Any]]:
    return [{"modality": name, "tokenCount": tokens} for name, tokens in (("AUDIO", audio), ("IMAGE", images)) if tokens]


def tier_of(raw: Mapping[str, Any]) -> str | None:
    """The service tier that a usage names."""
    tier = raw.get("serviceTier")
    if tier and type(tier) is str:
        return tier
    traffic = text_of(raw.get("trafficType"))
    return _TRAFFIC.get(traffic, traffic.lower()) or None
