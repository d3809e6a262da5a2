"""Names, finish reasons, usage, parts, grounding and log probabilities of Google's Gemini API, in both directions.

https://ai.google.dev/api/caching#Part, https://ai.google.dev/api/generate-content#GroundingMetadata,
https://ai.google.dev/api/generate-content#LogprobsResult
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from ...errors import InvalidRequest
from ...types import AudioPart, Citation, FilePart, ImagePart, OtherPart, Part, ReasoningPart, TextPart, ToolCall, Usage, VideoPart
from ..decoding import Counter, cite, decode_base64, log_probability, mapping, says, text_of, words_of
from ..encoding import arguments_object, merge_fields, own, present, signature_of, tell_unwritten, written
from ..finish import canonical_reason, finish_of
from ..openai_chat.fields import openai_chat_usage
from ..shapes import fitted, kinds
from ..shaping import inline
from ..words import words

_SOURCE_KINDS = ("web", "retrievedContext", "maps", "image")
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
            if type(place) is int and 0 <= place < len(chunks) and says(chunks[place]):
                cited.add(place)
                found.append(_citation(chunks[place], support, text))
    return (*found, *[_citation(chunk, {}, text) for place, chunk in enumerate(chunks) if says(chunk) and place not in cited])


def _citation(chunk: Mapping[str, Any], support: Mapping[str, Any], text: str) -> Citation:
    source = next((mapping(chunk[kind]) for kind in _SOURCE_KINDS if kind in chunk), {})
    span = _places(mapping(support.get("segment")), text)
    further = {name: value for name, value in support.items() if name != "groundingChunkIndices"}
    raw = {**chunk, _SUPPORT: further} if further else chunk
    return cite(raw, url=source.get("uri"), title=source.get("title"), text=source.get("text"), span=span)


def _places(segment: Mapping[str, Any], text: str) -> tuple[int | None, int | None]:
    """Where a segment begins and ends in characters; Google counts bytes, and those of its part."""
    start, end = segment.get("startIndex", 0), segment.get("endIndex")
    if type(start) is not int or type(end) is not int or segment.get("partIndex") or not 0 <= start <= end:
        return None, None
    return (start, end) if text.isascii() else (_characters(text, start), _characters(text, end))


def _characters(text: str, size: int) -> int:
    return len(text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore"))


def grounding_of(citations: Sequence[Citation], text: str) -> dict[str, Any]:
    """The record that those sources are read from again; that of another vendor's is made."""
    known = kinds(NAME)
    chunks: list[Mapping[str, Any]] = []
    places: dict[bytes, int] = {}
    supports: list[dict[str, Any]] = []
    begins = [0, *accumulate([len(sign.encode("utf-8", "replace")) for sign in text])] if citations else []
    for citation in citations:
        chunk, support = fitted(_source(citation), known["chunk"]), fitted(_support(citation, text, begins), known["support"])
        if not any(chunk.values()):
            tell_unwritten({"type": "citation"})
            continue
        key = written(chunk)
        if not support or key not in places:
            places.setdefault(key, len(chunks))
            chunks.append(chunk)
        if not support:
            continue
        place = places[key]
        if supports and {name: value for name, value in supports[-1].items() if name != "groundingChunkIndices"} == support:
            supports[-1]["groundingChunkIndices"].append(place)
        else:
            supports.append({**support, "groundingChunkIndices": [place]})
    fields = {"groundingChunks": chunks, "groundingSupports": supports}
    return {name: value for name, value in fields.items() if value}


def _is_native(citation: Citation) -> bool:
    return any(isinstance(citation.raw.get(kind), Mapping) for kind in _SOURCE_KINDS)


def _source(citation: Citation) -> Mapping[str, Any]:
    if _is_native(citation):
        return {name: value for name, value in citation.raw.items() if name != _SUPPORT}
    return {"web": present(uri=citation.url, title=citation.title)}


def _support(citation: Citation, text: str, begins: Sequence[int]) -> Mapping[str, Any]:
    """What of the text a source is for; ``begins`` are the places of its characters, and of its end, in bytes."""
    if _is_native(citation):
        return mapping(citation.raw.get(_SUPPORT))
    if citation.start is None or citation.end is None or not 0 <= citation.start <= citation.end:
        return {}
    start, end = (begins[min(place, len(text))] for place in (citation.start, citation.end))
    return {"segment": {"startIndex": start, "endIndex": end, "text": text[citation.start : citation.end]}}


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
    known = [_token(entry) for entry in entries if isinstance(entry, Mapping)]
    chosen = list(map(_alone, known))
    if not any("topCandidates" in entry for entry in known):
        return {"chosenCandidates": chosen}
    return {"chosenCandidates": chosen, "topCandidates": [{"candidates": entry.get("topCandidates", [])} for entry in known]}


def _token(entry: Mapping[str, Any]) -> dict[str, Any]:
    told = fitted(entry, kinds(NAME)["token"])
    rivals = told.pop("topCandidates", None)
    if "logprob" in entry:
        told, rivals = {"token": words_of(entry.get("token")), "logProbability": entry["logprob"]}, entry.get("top_logprobs")
    if "logProbability" in told:
        told["logProbability"] = log_probability(told["logProbability"])
    if isinstance(rivals, list):
        told["topCandidates"] = [_alone(_token(rival)) for rival in rivals if isinstance(rival, Mapping)]
    return told


def _alone(token: Mapping[str, Any]) -> dict[str, Any]:
    """A token without its rivals."""
    return {name: value for name, value in token.items() if name != "topCandidates"}


NAME = "gemini"
RESPONSE_SCHEMA = "responseSchema"
THINKING_BUDGET = "thinkingBudget"
"""Marks in ``request.metadata`` of a request that was read: how a schema was spelt, and that the model may choose its budget."""

_FINISH = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
FINISH_REASONS = frozenset(
    words(
        "STOP MAX_TOKENS SAFETY RECITATION LANGUAGE OTHER BLOCKLIST PROHIBITED_CONTENT SPII MODEL_ARMOR IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION IMAGE_OTHER NO_IMAGE MALFORMED_FUNCTION_CALL MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS MISSING_THOUGHT_SIGNATURE CONTINUATION",
    )
)
"""All that clients know."""
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
    words(
        "args response parameters parametersJsonSchema responseSchema responseJsonSchema _responseJsonSchema labels headers",
        "partMetadata",
    )
)
"""Objects with names and nulls that the sender chose; they are kept as they are."""

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


def to_camel(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fields of an answer as Google names them; some gateways name them in ``snake_case``, as Google's libraries do."""
    return dict(camel(fields)) if "_" in "".join(fields) else fields


def in_camel(name: str) -> str:
    """``top_p`` as ``topP``."""
    return _AFTER_A_LETTER.sub(lambda found: found.group(1).upper(), name) if "_" in name else name


def listed(value: Any) -> list[Any]:
    """A list, or what stands in its place as if it were the only one in it, which Google takes too."""
    return value if isinstance(value, list) else [] if value is None else [value]


def sound_of(media_type: str) -> str:
    """The format of a recording by its media type."""
    return _SOUNDS.get(media_type, media_type.removeprefix("audio/"))


def finish_word(reason: str | None, raw: str | None) -> str | None:
    """Google's word for a common one; the vendor's own where it is one of this format."""
    if reason == "tool_calls":
        return "STOP"
    if reason is None:
        return None
    if raw in FINISH_REASONS and finish_of(raw) == reason:
        return raw
    return _FINISH.get(canonical_reason(reason) or "", "OTHER")


def gemini_usage(raw: Mapping[str, Any]) -> Usage:
    """The canonical usage: thoughts are billed output beside the candidates, prompts of tools are further input."""
    counter = Counter()
    count = counter.count
    thoughts = count(raw.get("thoughtsTokenCount"))
    into = count(raw.get("promptTokenCount")) + count(raw.get("toolUsePromptTokenCount"))
    out = count(raw.get("candidatesTokenCount") or raw.get("responseTokenCount")) + thoughts
    out = out or (max(0, count(raw.get("totalTokenCount")) - into) if into else 0)  # thoughts that only the total tells
    if not (into or out or counter.status or any(name.endswith("TokensDetails") for name in raw)):  # in another format's words
        return openai_chat_usage({"usage": raw})
    return counter.usage(
        input_tokens=into,
        output_tokens=out,
        cache_read_tokens=min(into, count(raw.get("cachedContentTokenCount"))),
        reasoning_tokens=thoughts,
        audio_input_tokens=_of("AUDIO", raw.get("promptTokensDetails"), count),
        audio_output_tokens=_of("AUDIO", raw.get("candidatesTokensDetails"), count),
        audio_cache_read_tokens=_of("AUDIO", raw.get("cacheTokensDetails"), count),
        image_input_tokens=_of("IMAGE", raw.get("promptTokensDetails"), count),
        image_output_tokens=_of("IMAGE", raw.get("candidatesTokensDetails"), count),
        raw=raw,
    )


def _of(modality: str, details: Any, count: Callable[[Any], int]) -> int:
    if not isinstance(details, list):
        return 0
    return sum([count(entry.get("tokenCount")) for entry in map(mapping, details) if entry.get("modality") == modality])


def raw_usage(usage: Usage, tier: str | None) -> dict[str, Any]:
    """The usage as Google writes it: its own record, or one made of the counts; empty where nothing is known."""
    raw = usage.raw
    known = any(name.endswith("TokenCount") or name in ("trafficType", "serviceTier") for name in raw)
    if known and gemini_usage(raw).counts == usage.counts:
        counter = Counter()
        counts = {name: counter.count(value) if name.endswith("TokenCount") else value for name, value in raw.items()}
        return fitted(counts, kinds(NAME)["usage"])
    if not usage.total_tokens:
        return {}
    answer = max(0, usage.output_tokens - usage.reasoning_tokens)
    made: dict[str, Any] = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": answer,
        "totalTokenCount": usage.total_tokens,
    }
    cached, thoughts = usage.cache_read_tokens or None, usage.reasoning_tokens or None
    made |= present(cachedContentTokenCount=cached, thoughtsTokenCount=thoughts)
    made |= {name: found for name, audio, images in _DETAILS if (found := _details(getattr(usage, audio), getattr(usage, images)))}
    word = {"default": "standard", "auto": "standard"}.get(tier or "", tier)
    return {**made, "serviceTier": word} if word in ("standard", "flex", "priority") else made


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


_STANDARD = str.maketrans("-_", "+/")


_EMPTIED = frozenset(
    words(
        "audioTranscription codeExecutionResult executableCode fileData functionCall functionResponse inlineData thought",
        "thoughtSignature",
    )
)
"""Fields of a part that are ignored when empty; clients in typed languages write all of them."""


def part_of(block: Mapping[str, Any]) -> Part:
    """The part that a block stands for; one that is unknown, or not what it should be, is kept whole."""
    block = {name: value for name, value in block.items() if value is not None and (name not in _EMPTIED or says(value))}
    kinds = [kind for kind in _READERS if kind in block]
    if len(kinds) > 1:  # programs in Go write every field
        block = {name: value for name, value in block.items() if says(value)}
        kinds = [kind for kind in _READERS if kind in block]
    part = _READERS[kinds[0]](block) if len(kinds) == 1 else None
    return part if part is not None else OtherPart(origin=NAME, data=block)


def extra_of(block: Mapping[str, Any], kind: str, *known: str) -> dict[str, dict[str, Any]]:
    """What else a block says, and beneath its own name what else that says whose fields are ``known``."""
    inner = {name: value for name, value in block[kind].items() if name not in known and value is not None}
    further = {name: value for name, value in block.items() if name != kind}
    if inner:
        further[kind] = inner
    return {NAME: further} if further else {}


def _text(block: Mapping[str, Any]) -> Part | None:
    text, signature = block["text"], block.get("thoughtSignature")
    if not isinstance(text, str):
        return None
    rest = {name: value for name, value in block.items() if name != "text"}
    if block.get("thought") is not True:
        return TextPart(text=text, extra={NAME: rest} if rest else {})
    del rest["thought"]
    signature = rest.pop("thoughtSignature") if isinstance(signature, str) else None
    return ReasoningPart(text=text, signature=signature, origin=NAME, extra={NAME: rest} if rest else {})


def _call(block: Mapping[str, Any]) -> Part | None:
    call, signature = block["functionCall"], block.get("thoughtSignature")
    if not isinstance(call, dict):
        return None
    name, given, call_id = call.get("name"), call.get("args", {}), words_of(call.get("id") or None)
    if not isinstance(name, str) or not isinstance(given, dict):
        return None
    signed = isinstance(signature, str)
    rest = {name: value for name, value in block.items() if not (signed and name == "thoughtSignature")}
    return ToolCall(
        name=name,
        arguments=json.dumps(given, ensure_ascii=False),
        id=call_id or None,
        signature=signature if signed else None,
        extra=extra_of(rest, "functionCall", "name", "args", "id"),
    )


def _inline(block: Mapping[str, Any]) -> Part | None:
    blob = block["inlineData"]
    if not isinstance(blob, dict):
        return None
    kind, data = blob.get("mimeType"), decode_blob(blob.get("data"))
    if not isinstance(kind, str) or data is None:
        return None
    extra = extra_of(block, "inlineData", "mimeType", "data")
    if kind.startswith("audio/"):
        sound = sound_of(kind)
        if f"audio/{sound}" != kind:
            extra = extra_of(block, "inlineData", "data")
        return AudioPart(data=data, format=sound, extra=extra)
    return _MEDIA_KINDS.get(kind.partition("/")[0], FilePart)(data=data, media_type=kind, extra=extra)


_MEDIA_KINDS: Mapping[str, Callable[..., Part]] = {"image": ImagePart, "video": VideoPart}


def decode_blob(encoded: Any) -> bytes | None:
    """The bytes of base64 in either alphabet, with or without padding; ``None`` for anything else."""
    if not isinstance(encoded, str):
        return None
    plain = encoded.translate(_STANDARD).rstrip("=")
    return decode_base64(plain + "=" * (-len(plain) % 4))


def _file(block: Mapping[str, Any]) -> Part | None:
    file = block["fileData"]
    uri, kind = (file.get("fileUri"), file.get("mimeType")) if isinstance(file, dict) else (None, None)
    if not isinstance(uri, str) or not isinstance(kind, str | None):
        return None
    extra = extra_of(block, "fileData", "fileUri", "mimeType")
    return _MEDIA_KINDS.get((kind or "").partition("/")[0], FilePart)(url=uri, media_type=kind, extra=extra)


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Part | None]] = {
    "text": _text,
    "functionCall": _call,
    "inlineData": _inline,
    "fileData": _file,
}


def encoded_part(part: Part) -> dict[str, Any]:
    """A part as it is written, with the further fields that it was read with."""
    if isinstance(part, OtherPart):
        return dict(part.data)
    return merge_fields(_WRITERS[type(part)](part), own(part, NAME))


def answered_part(part: Part) -> dict[str, Any]:
    """A part as it is written in an answer: without what clients could not read."""
    return fitted(encoded_part(part), kinds(NAME)["part"])


def _encode_thought(part: ReasoningPart) -> dict[str, Any]:
    return {"text": part.text, "thought": True, **present(thoughtSignature=part.signature)}


def _encode_medium(part: ImagePart | FilePart | VideoPart) -> dict[str, Any]:
    found = inline(part, "image or file")
    if found is not None:
        return {"inlineData": {"mimeType": found[0], "data": found[1]}}
    uri = part.url if part.url is not None else getattr(part, "file_id", None)
    return {"fileData": {"fileUri": uri, **present(mimeType=part.media_type)}}


def _encode_call(call: ToolCall) -> dict[str, Any]:
    try:
        given = arguments_object(call.arguments, call.kind)
    except ValueError:
        raise InvalidRequest(f"message.tool_calls: the arguments of {call.name!r} are not JSON, as Google wants them") from None
    function = {"name": call.name, "args": given, **present(id=call.id or None)}
    return {"functionCall": function, **present(thoughtSignature=signature_of(call))}


_WRITERS: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    TextPart: lambda part: {"text": part.text},
    AudioPart: lambda part: {"inlineData": {"mimeType": f"audio/{part.format}", "data": base64.b64encode(part.data).decode()}},
    ReasoningPart: _encode_thought,
    ImagePart: _encode_medium,
    FilePart: _encode_medium,
    VideoPart: _encode_medium,
    ToolCall: _encode_call,
}
