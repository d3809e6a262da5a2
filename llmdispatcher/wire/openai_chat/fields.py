"""Names and usage of OpenAI's chat completions API in both directions, those of compatible servers among them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from ...types import AudioPart, Extra, ReasoningPart, Usage
from ..decoding import Counter, log_probability, mapping, says, text_of, words_of
from ..encoding import merge_fields, own
from ..shapes import ABSENT, REQUIRED, Shape, fitted, is_count, is_text
from ..words import words

_REPORTED = "vendor_reported"


_INTO = words(
    "prompt_tokens input_tokens promptTokens inputTokens promptTokenCount prompt_token_count inputTokenCount input_token_count",
    "prompt_eval_count",
)
_OUT = words(
    "completion_tokens output_tokens completionTokens outputTokens candidatesTokenCount candidates_token_count outputTokenCount",
    "generated_token_count eval_count",
)
_TOTAL = ("total_tokens", "totalTokens", "totalTokenCount", "total_token_count")
_ALL = (*_INTO, *_OUT, *_TOTAL)
READ = words(
    "cached_tokens prompt_cache_hit_tokens cache_read_input_tokens cache_read_tokens cacheReadInputTokens",
    "cacheReadInputTokenCount cachedContentTokenCount cached_content_token_count num_cached_tokens cached_input_tokens",
    "cached_prompt_tokens cacheReadTokens cachedInputTokens cachedTokens cache_read",
)
WRITTEN = words(
    "cache_write_tokens cache_creation_tokens cache_creation_input_tokens cacheWriteInputTokens cacheWriteInputTokenCount",
    "cacheWriteTokens cache_write_input_tokens cached_creation_tokens cache_creation",
)
_APART = frozenset(words("cache_read_input_tokens cache_creation_input_tokens cacheReadInputTokens cacheWriteInputTokens"))
"""The names of counts that Anthropic and Bedrock leave out of the input."""
_THOUGHTS = ("reasoning_tokens", "reasoningTokens", "thoughtsTokenCount", "thoughts_token_count", "thinking_tokens", "reasoning")
"""What vendors, servers and gateways call the same count, in the record or in its details; the first that says something counts."""


_USUAL = frozenset({"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"})
_USUAL_INTO = frozenset({"cached_tokens", "audio_tokens"})
_USUAL_OUT = frozenset({"reasoning_tokens", "audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens"})
"""All that most records have, and their details of the prompt and of the answer."""
_DETAILS_INTO = words("input_tokens_details input_token_details promptTokensDetails inputTokensDetails inputTokenDetails")
_DETAILS_OUT = words("output_tokens_details output_token_details completionTokensDetails outputTokensDetails outputTokenDetails")
_RECORDS = words("usageMetadata usage_metadata token_usage tokenUsage amazon-bedrock-invocationMetrics billed_units tokens")
"""What a record of usage is called that is not called so: by Google, LangChain, Bedrock and Cohere."""
_HOLDERS = ("x_groq", "meta", "data", "response_metadata", "usage")
"""Where it stands beside an answer."""


def usage_beside(document: Mapping[str, Any], choice: Mapping[str, Any]) -> Any:
    """The usage where it does not stand in the document, or says nothing there.

    It is in Groq's own field, in the choice, as Moonshot has it, in the message or a piece of it, under the name of another
    vendor's record, in the document itself, or in llama.cpp's timings.
    """
    beside = [mapping(document.get(name)) for name in _HOLDERS if name in document]
    holders = (*beside, choice, *[mapping(choice.get(name)) for name in ("message", "delta")])
    found = next((usage for holder in holders if says(usage := holder.get("usage"))), None)
    found = found or next((one[name] for one in (document, *holders) for name in _RECORDS if says(mapping(one.get(name)))), None)
    if found is None and (first(_INTO, document) or first(_OUT, document)):
        found = {name: document[name] for name in (*_ALL, *READ, *WRITTEN) if name in document}
    timings = mapping(document.get("timings"))
    if found is not None or not says([timings.get(name) for name in ("prompt_n", "predicted_n")]):
        return found
    count, read = Counter().count, timings.get("cache_n")
    return {
        "prompt_tokens": count(timings.get("prompt_n")) + count(read),  # which it counts apart
        "completion_tokens": count(timings.get("predicted_n")),
        "prompt_tokens_details": {"cached_tokens": count(read)},
    }


def openai_chat_usage(document: Mapping[str, Any]) -> Usage:
    """The canonical usage; prompt tokens include cached ones, completion tokens reasoning, or the total shows that they do not."""
    raw = document.get("usage")
    if not isinstance(raw, dict):
        return Usage()
    counter = Counter()
    count = counter.count
    into = mapping(raw.get("prompt_tokens_details") or raw.get("input_tokens_details"))
    out = mapping(raw.get("completion_tokens_details") or raw.get("output_tokens_details"))
    prompt, completion, total, reasoning, read = counter.counts(
        raw.get("prompt_tokens") or first(_INTO, raw),
        raw.get("completion_tokens") or first(_OUT, raw),
        raw.get("total_tokens") or first(_TOTAL, raw),
        out.get("reasoning_tokens"),
        into.get("cached_tokens"),
    )
    write = 0
    if not (raw.keys() <= _USUAL and into.keys() <= _USUAL_INTO and out.keys() <= _USUAL_OUT):
        into = into if says(into) else next((raw[name] for name in _DETAILS_INTO if says(mapping(raw.get(name)))), {})
        out = out if says(out) else next((raw[name] for name in _DETAILS_OUT if says(mapping(raw.get(name)))), {})
        reasoning = count(first(_THOUGHTS, out, raw))
        read, write = count(first(READ, into, raw)), count(first(WRITTEN, into, raw))
        prompt = prompt or count(raw.get("prompt_cache_hit_tokens")) + count(raw.get("prompt_cache_miss_tokens"))
        inner = next((raw[name] for name in _RECORDS if not (prompt or completion) and says(mapping(raw.get(name)))), None)
        if inner is not None:  # Cohere's
            return openai_chat_usage({"usage": inner})
    beyond = total - prompt - completion
    if read + write and (beyond == read + write or (not total and "prompt_tokens" not in raw and not _APART.isdisjoint(raw))):
        prompt += read + write  # Anthropic, Bedrock and gateways to them, which count what is cached beside the prompt
    elif beyond > 0 and not (prompt or completion):
        completion = beyond  # nobody says what of it is which
    elif beyond > 0 and (beyond == reasoning or not says([raw[name] for name in raw if name not in _ALL])):
        completion, reasoning = completion + beyond, beyond  # xAI's reasoning; Gemini's, which the total alone tells
    counts = {
        "input_tokens": max(prompt, read + write),
        "output_tokens": completion,
        "cache_read_tokens": read,
        "reasoning_tokens": min(reasoning, completion),
    }
    if write:
        counts["cache_write_tokens"], counts["cache_write_long_tokens"] = write, min(count(_long_writes(raw, into)), write)
    if into.get("audio_tokens"):
        counts["audio_input_tokens"] = count(into["audio_tokens"])
    if out.get("audio_tokens"):
        counts["audio_output_tokens"] = count(out["audio_tokens"])
    return counter.usage(**counts, cost=counter.cost(raw["cost"], raw) if "cost" in raw else None, raw=raw)


def first(names: tuple[str, ...], *records: Mapping[str, Any]) -> Any:
    """The first count that is there and not zero."""
    found = (record[name] for record in records for name in names if record.get(name))
    return next((value for value in found if not isinstance(value, dict | list)), None)


def _long_writes(raw: Mapping[str, Any], into: Mapping[str, Any]) -> Any:
    """What was written to the cache for an hour or more, in OpenAI's words or in Anthropic's."""
    theirs = mapping(raw.get("cache_creation") or into.get("cache_creation_token_details"))
    return mapping(into.get("cache_write_tokens_details")).get("ttl_12h_tokens") or theirs.get("ephemeral_1h_input_tokens")


_COUNTS = tuple([field.name for field in attrs.fields(Usage) if field.name.endswith("_tokens")])


def written_usage(usage: Usage) -> Mapping[str, Any] | None:
    """What was consumed: a record of this format where there is one, else one with the same counts; ``None`` for nothing known."""
    if not usage.raw and not usage.total_tokens:
        return None
    known = openai_chat_usage({"usage": dict(usage.raw)}) if "prompt_tokens" in usage.raw else None
    same = known is not None and all(getattr(known, name) == getattr(usage, name) for name in _COUNTS)
    if same and all(name in usage.raw and is_count(usage.raw[name]) for name in _COUNTED):
        return fitted(usage.raw, _USAGE)
    into: dict[str, Any] = {"cached_tokens": usage.cache_read_tokens}
    if usage.cache_write_tokens:
        into["cache_write_tokens"] = usage.cache_write_tokens
    if usage.cache_write_long_tokens:
        long = usage.cache_write_long_tokens
        into["cache_write_tokens_details"] = {"ttl_30m_tokens": usage.cache_write_tokens - long, "ttl_12h_tokens": long}
    record = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {**into, "audio_tokens": usage.audio_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": usage.audio_output_tokens},
    }
    record = {**{name: value for name, value in usage.raw.items() if same and name not in record}, **record}
    return {**record, "cost": float(usage.cost)} if usage.cost is not None and usage.cost_status == _REPORTED else record


_COUNTED = ("prompt_tokens", "completion_tokens", "total_tokens")
_USAGE: Shape = {
    "prompt_tokens_details": (dict.fromkeys(_USUAL_INTO, (is_count, ABSENT)), ABSENT),
    "completion_tokens_details": (dict.fromkeys(_USUAL_OUT, (is_count, ABSENT)), ABSENT),
}
"""What is null in a record, or no count, is left out: OpenAI's clients know no null there."""


NAME = "openai_chat"
REASONING = ("reasoning_content", "reasoning", "reasoning_details")
"""The fields of a message that hold thoughts, the better spelling first."""

AS = "as"
"""In the ``extra`` of parts, calls and tools: how the format wrote one that it can write in several ways."""
LEGACY = "legacy"
"""Of what came as ``functions``, as ``function_call`` or in the role ``function``, the names before there were tools."""
BARE = "bare"
"""Of a part that was a string where most servers want an object."""
SOUND = "audio"
"""Of a recording that a model made, which is sent back by its id."""
FIELD = "field"
"""Of a refusal that stood beside the content."""

SPELLINGS: Mapping[str, tuple[str, ...]] = {"max_tokens": ("max_completion_tokens", "max_tokens"), "seed": ("seed", "random_seed")}
"""What servers call a field; where a request says it twice, the first counts."""


def noted(fields: Mapping[str, Any]) -> Extra:
    """Further fields as ``extra``."""
    return {NAME: fields} if fields else {}


def rest(fields: Mapping[str, Any], *known: str) -> dict[str, Any]:
    """The fields that are not known, and say something."""
    return {name: value for name, value in fields.items() if name not in known and value is not None and value != ""}


def how(part: Any) -> Any:
    """How a part, call or tool was written (:data:`AS`); ``None`` for the usual way."""
    return own(part, NAME).get(AS) if getattr(part, "extra", None) else None


def is_legacy(tools: Iterable[Any]) -> bool:
    """Whether one of a request's tools came as a function."""
    return any(how(tool) == LEGACY for tool in tools)


def with_own(written: Mapping[str, Any], part: Any) -> dict[str, Any]:
    """What is written of a part, with its further fields; those of an inner mapping go into it."""
    further = own(part, NAME) if getattr(part, "extra", None) else {}
    return merge_fields(dict(written), {name: value for name, value in further.items() if name != AS})


def written_audio(part: AudioPart) -> dict[str, Any]:
    """A recording, as both of OpenAI's formats have it."""
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(part.data).decode(), "format": part.format}}


def thoughts_in(message: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a message that hold thoughts; also empty ones, which some models insist on."""
    return {name: message[name] for name in REASONING if message.get(name) is not None}


def thought_of(fields: Mapping[str, Any]) -> ReasoningPart:
    """A thought, in whichever fields it came: all are kept to be sent back."""
    details = details_in(fields)
    return ReasoningPart(
        text=thought_text(fields),
        signature=next((text for part in details if (text := text_of(part.get("signature")))), None),
        encrypted=next((text for part in details if (text := text_of(part.get("data")))), None),
        origin=NAME,
        extra={NAME: fields},
    )


def thought_text(fields: Mapping[str, Any]) -> str:
    """What was thought, in the first of the spellings that is there."""
    for name in ("reasoning_content", "reasoning"):
        if name in fields and isinstance(fields[name], str) and fields[name]:
            return str(fields[name])
    return "".join([text_of(part.get("text")) or text_of(part.get("summary")) for part in details_in(fields)])


def details_in(fields: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """OpenRouter's pieces of thought."""
    details = fields.get("reasoning_details")
    return [mapping(part) for part in details] if isinstance(details, list) else []


def block_of(block: Mapping[str, Any]) -> ReasoningPart:
    """A thought that stands among the content, as Mistral writes it."""
    return ReasoningPart(text=text_within(block.get("thinking")), origin=NAME, extra={NAME: block})


def text_within(content: Any) -> str:
    """The text of a content that is text or a list of texts."""
    if isinstance(content, list):
        return "".join([text_of(mapping(part).get("text")) for part in content])
    return text_of(content)


CITATION = "url_citation"
SOURCE: Shape = {"url": (is_text, REQUIRED), "title": (is_text, "")}
"""What OpenAI says of a source, beside its place."""


def place_in(start: Any, end: Any) -> dict[str, int]:
    """The span of text that a source supports, as both of OpenAI's formats have it: 0 to 0 where not both ends are known.

    Their schemas demand numbers; an empty span at the beginning supports no text, and is read as none again (:func:`span_of`).
    """
    known = is_count(start) and is_count(end) and start <= end
    return {"start_index": start, "end_index": end} if known else {"start_index": 0, "end_index": 0}


def span_of(source: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The span of text that a source supports; unknown where it ends before it begins, or at 0, which stands for unknown."""
    start, end = (place if is_count(place := source.get(name)) else None for name in ("start_index", "end_index"))
    return (None, None) if end is not None and (not end or end < (start or 0)) else (start, end)


_TIERS = {"standard": "default", "standard_only": "default", "on_demand": "default", "batch": "flex", "performance": "priority"}
_OPENAI_TIERS = frozenset({"auto", "default", "flex", "scale", "priority"})


def openai_tier(tier: str | None) -> str | None:
    """A service tier in OpenAI's words, or none: its clients know no others."""
    word = _TIERS.get(tier or "", tier)
    return word if word in _OPENAI_TIERS else None


def openai_logprobs(entries: Sequence[Any], *, with_bytes: bool = False) -> list[Any]:
    """What models held for likely, token by token, in OpenAI's words; Google names the same things otherwise.

    In the Responses API every token has its bytes.
    """
    return [_openai_entry(entry, with_bytes) for entry in entries if isinstance(entry, Mapping)]


def _openai_entry(entry: Mapping[str, Any], with_bytes: bool) -> Mapping[str, Any]:
    if "logProbability" in entry:
        rivals = entry.get("topCandidates")
        return {**_google_entry(entry), "top_logprobs": list(map(_google_entry, rivals)) if isinstance(rivals, list) else []}
    rivals = entry.get("top_logprobs")
    listed = [mapping(rival) for rival in rivals] if isinstance(rivals, list) else []
    known = (entry, *listed)
    if isinstance(rivals, list) and all(map(_is_entry, known)) and not (with_bytes and any(one["bytes"] is None for one in known)):
        return entry
    return {**_openai_token(entry), "top_logprobs": list(map(_openai_token, listed))}


def _google_entry(entry: Any) -> dict[str, Any]:
    token = mapping(entry)
    return _openai_token({"token": text_of(token.get("token")), "logprob": token.get("logProbability")})


def _is_entry(entry: Mapping[str, Any]) -> bool:
    logprob = entry.get("logprob")
    return (
        type(entry.get("token")) is str
        and "bytes" in entry
        and (entry["bytes"] is None or _are_octets(entry["bytes"]))
        and type(logprob) in (int, float)
        and logprob == log_probability(logprob)
    )


def _are_octets(value: Any) -> bool:
    return type(value) is list and all(type(octet) is int for octet in value)


def _openai_token(entry: Mapping[str, Any]) -> dict[str, Any]:
    token, octets = words_of(entry.get("token")), entry.get("bytes")
    octets = octets if _are_octets(octets) else list(token.encode("utf-8", "replace"))
    return {**entry, "token": token, "logprob": log_probability(entry.get("logprob")), "bytes": octets}
