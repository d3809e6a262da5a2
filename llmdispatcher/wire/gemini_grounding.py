"""What an answer of Google's rests on, and how likely its tokens were, both ways.

https://ai.google.dev/api/generate-content#GroundingMetadata, https://ai.google.dev/api/generate-content#LogprobsResult
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..response_values import Citation
from .payload import mapping, text_of

_KINDS = ("web", "retrievedContext", "maps", "image")
_SUPPORT = "groundingSupport"
"""What tells in a citation's own record which piece of the answer it is for."""


def citations_of(grounding: Mapping[str, Any], text: str) -> tuple[Citation, ...]:
    """The sources of an answer with the pieces that rest on them, then those that no piece names; ``text`` is the answer so far."""
    listed, supports = grounding.get("groundingChunks"), grounding.get("groundingSupports")
    chunks = [mapping(chunk) for chunk in listed] if isinstance(listed, list) else []
    found: list[Citation] = []
    cited: set[int] = set()
    for support in map(mapping, supports if isinstance(supports, list) else ()):
        places = support.get("groundingChunkIndices")
        for place in places if isinstance(places, list) else ():
            if type(place) is int and 0 <= place < len(chunks):
                cited.add(place)
                found.append(_citation(chunks[place], support, text))
    return (*found, *[_citation(chunk, {}, text) for place, chunk in enumerate(chunks) if place not in cited])


def _citation(chunk: Mapping[str, Any], support: Mapping[str, Any], text: str) -> Citation:
    source = next((mapping(chunk[kind]) for kind in _KINDS if kind in chunk), {})
    start, end = _places(mapping(support.get("segment")), text)
    told = {name: value for name, value in support.items() if name != "groundingChunkIndices"}
    return Citation(
        url=text_of(source.get("uri")) or None,
        title=text_of(source.get("title")) or None,
        text=text_of(source.get("text")) or None,
        start=start,
        end=end,
        raw={**chunk, _SUPPORT: told} if told else chunk,
    )


def _places(segment: Mapping[str, Any], text: str) -> tuple[int | None, int | None]:
    """Where a segment begins and ends in characters; Google counts bytes, and those of its part."""
    start, end = segment.get("startIndex", 0), segment.get("endIndex")
    if type(start) is not int or type(end) is not int or segment.get("partIndex") or not 0 <= start <= end:
        return None, None
    return (start, end) if text.isascii() else (_characters(text, start), _characters(text, end))


def _characters(text: str, size: int) -> int:
    return len(text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore"))


def grounding_of(citations: Iterable[Citation], text: str) -> dict[str, Any]:
    """The record that those sources are read from again; that of another vendor's is made."""
    chunks: list[Mapping[str, Any]] = []
    supports: list[dict[str, Any]] = []
    for citation in citations:
        chunk, support = _source(citation), _support(citation, text)
        if not support:
            chunks.append(chunk)
            continue
        if chunk not in chunks:
            chunks.append(chunk)
        place = chunks.index(chunk)
        if supports and {name: value for name, value in supports[-1].items() if name != "groundingChunkIndices"} == support:
            supports[-1]["groundingChunkIndices"].append(place)
        else:
            supports.append({**support, "groundingChunkIndices": [place]})
    fields = {"groundingChunks": chunks, "groundingSupports": supports}
    return {name: value for name, value in fields.items() if value}


def _is_native(citation: Citation) -> bool:
    return any(isinstance(citation.raw.get(kind), Mapping) for kind in _KINDS)


def _source(citation: Citation) -> Mapping[str, Any]:
    if _is_native(citation):
        return {name: value for name, value in citation.raw.items() if name != _SUPPORT}
    told = {"uri": citation.url, "title": citation.title}
    return {"web": {name: value for name, value in told.items() if value is not None}}


def _support(citation: Citation, text: str) -> Mapping[str, Any]:
    if _is_native(citation):
        return mapping(citation.raw.get(_SUPPORT))
    if citation.start is None or citation.end is None or not 0 <= citation.start <= citation.end:
        return {}
    said = text[citation.start : citation.end]
    start = len(text[: citation.start].encode("utf-8", "replace"))
    return {"segment": {"startIndex": start, "endIndex": start + len(said.encode("utf-8", "replace")), "text": said}}


def logprobs_of(result: Any) -> tuple[Any, ...]:
    """An entry for each token, as Google gives it, with its rivals in ``topCandidates``."""
    chosen, rivals = mapping(result).get("chosenCandidates"), mapping(result).get("topCandidates")
    if not isinstance(chosen, list):
        return ()
    beside = [mapping(entry).get("candidates") for entry in rivals] if isinstance(rivals, list) else []
    beside += [None] * (len(chosen) - len(beside))
    return tuple(
        [
            {**mapping(entry), "topCandidates": others} if isinstance(others, list) else entry
            for entry, others in zip(chosen, beside, strict=False)
        ]
    )


def logprobs_result(entries: Sequence[Any]) -> dict[str, Any]:
    """The record that those entries are read from again; OpenAI's words become Google's."""
    known = [_token(entry) for entry in entries]
    chosen = [{name: value for name, value in entry.items() if name != "topCandidates"} for entry in known]
    if not any("topCandidates" in entry for entry in known):
        return {"chosenCandidates": chosen}
    return {"chosenCandidates": chosen, "topCandidates": [{"candidates": entry.get("topCandidates", [])} for entry in known]}


def _token(entry: Any) -> dict[str, Any]:
    told = dict(mapping(entry))
    if "logprob" not in told:
        return told
    token: dict[str, Any] = {"token": told.get("token"), "logProbability": told["logprob"]}
    rivals = told.get("top_logprobs")
    return {**token, "topCandidates": [_token(rival) for rival in rivals]} if isinstance(rivals, list) else token
