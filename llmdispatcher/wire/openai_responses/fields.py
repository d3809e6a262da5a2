"""Finish reasons, usage and citations of OpenAI's Responses API: what a response says besides its items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from ...types import Citation, Part, TextPart, Usage
from ..decoding import Counter, mapping, says, text_of
from ..encoding import own
from ..finish import finish_of
from ..openai_chat.fields import READ, WRITTEN, first, openai_chat_usage, span_of
from .request import NAME, noted

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer is incomplete, by the common word."""


def finish(status: str, response: Mapping[str, Any], *, called: bool) -> str | None:
    """The common word for why an answer ended."""
    if status == "completed":
        return "tool_calls" if called else "stop"
    if status == "incomplete":
        reason = text_of(mapping(response.get("incomplete_details")).get("reason"))
        return finish_of(reason) if reason else status
    return status.lower() or None


_USUAL = frozenset({"input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details", "total_tokens"})


def openai_responses_usage(raw: Mapping[str, Any]) -> Usage:
    """The canonical usage; input tokens include what was read from and written to the cache, output tokens the reasoning."""
    if raw and not (raw.get("input_tokens") or raw.get("output_tokens")):  # in another format's words
        return openai_chat_usage({"usage": dict(raw)})
    into, out = mapping(raw.get("input_tokens_details")), mapping(raw.get("output_tokens_details"))
    counter = Counter()
    count, cost = counter.count, counter.cost(raw.get("cost"), raw)
    read, output = count(into.get("cached_tokens")), count(raw.get("output_tokens"))
    writes = mapping(into.get("cache_write_tokens_details"))
    short, long = count(writes.get("ttl_30m_tokens")), count(writes.get("ttl_12h_tokens"))
    write = max(count(into.get("cache_write_tokens")), short + long)
    if not raw.keys() <= _USUAL:
        read, write = read or count(first(READ, into, raw)), write or count(first(WRITTEN, into, raw))
    into_all = count(raw.get("input_tokens"))
    if read + write and count(raw.get("total_tokens")) == into_all + output + read + write:  # a gateway to Anthropic
        into_all += read + write
    return counter.usage(
        input_tokens=max(into_all, read + write),
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_long_tokens=long,
        reasoning_tokens=min(output, count(out.get("reasoning_tokens"))),
        audio_input_tokens=count(into.get("audio_tokens")),
        audio_output_tokens=count(out.get("audio_tokens")),
        cost=cost,
        raw=dict(raw),
    )


def with_searches(usage: Usage, output: Any) -> Usage:
    """The usage with the searches of the web among an answer's items; opening what was found is not billed."""
    calls = [mapping(item) for item in output] if isinstance(output, list) else []
    searches = [call for call in calls if call.get("type") == "web_search_call"]
    billed = sum([(mapping(call.get("action")).get("type") or "search") == "search" for call in searches])
    return attrs.evolve(usage, tool_requests={"web_search": billed}) if billed else usage


def refusal_of(parts: Iterable[Part]) -> str:
    """The text of all refusals in a message."""
    return "".join([part.text for part in parts if isinstance(part, TextPart) and _refused(part)])


def _refused(part: TextPart) -> bool:
    return own(part, NAME).get("type") == "refusal"


def spoken(parts: Iterable[Part]) -> list[TextPart]:
    """The text parts of a message that say something, each with what hangs on it but the logprobs, which an answer has apart."""
    return [
        attrs.evolve(part, extra=noted({name: value for name, value in own(part, NAME).items() if name != "logprobs"}))
        for part in parts
        if isinstance(part, TextPart) and part.text and not _refused(part)
    ]


def logprobs_of(parts: Iterable[Part]) -> tuple[Any, ...]:
    """The entries of all tokens of a message."""
    found = [own(part, NAME).get("logprobs") for part in parts if isinstance(part, TextPart)]
    return tuple([entry for entries in found if isinstance(entries, list) for entry in entries])


def annotated(texts: list[TextPart], annotations: list[Any]) -> list[TextPart]:
    """The same with annotations that came by themselves, where the finished message has none."""
    if not annotations or not texts or any("annotations" in own(part, NAME) for part in texts):
        return texts
    return [attrs.evolve(texts[0], extra=noted({**own(texts[0], NAME), "annotations": annotations})), *texts[1:]]


def citations_of(texts: Iterable[TextPart], start: int) -> tuple[Citation, ...]:
    """What a message rests on; its text begins at character ``start`` of the answer."""
    found: list[Citation] = []
    for part in texts:
        annotations = own(part, NAME).get("annotations")
        found += (
            [_citation(entry, start) for entry in annotations if isinstance(entry, dict) and says(entry)]
            if isinstance(annotations, list)
            else []
        )
        start += len(part.text)
    return tuple(found)


def _citation(entry: Mapping[str, Any], start: int) -> Citation:
    begin, end = span_of(entry)
    return Citation(
        url=text_of(entry.get("url")) or None,
        title=text_of(entry.get("title")) or text_of(entry.get("filename")) or None,
        start=None if begin is None else start + begin,
        end=None if end is None else start + end,
        raw=entry,
    )
