"""Encode responses and streams as OpenAI's chat completions API sends them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ...errors import DispatchError
from ...types import (
    AudioPart,
    Choice,
    Citation,
    ImagePart,
    Part,
    ReasoningPart,
    Response,
    StreamChunk,
    TextPart,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from ..base import Inbound
from ..decoding import CALL, made_id, mapping, parse
from ..encoding import own, tell_others, tell_unwritten, with_signature, written
from ..finish import canonical_reason, finish_of, reason_for
from ..server_errors import openai_refusal
from ..shapes import ABSENT, Shape, fitted, is_count, is_text
from .fields import (
    AS,
    CITATION,
    LEGACY,
    NAME,
    SOURCE,
    details_in,
    how,
    is_legacy,
    openai_logprobs,
    openai_tier,
    place_in,
    written_usage,
)
from .request import is_block, joined_thoughts, written_call, written_part

NO_ID = "chatcmpl-0"
"""The id of an answer that came without one."""
_WORDS = ("stop", "length", "tool_calls", "content_filter", "function_call")


def write_response(response: Response, asked: Inbound | None = None) -> bytes:
    """The body of a whole answer; calls are written as ``function_call`` where the request has ``functions``."""
    usage, legacy = written_usage(response.usage), _asked_legacy(asked)
    choices = [_choice(choice, legacy) for choice in response.choices]
    told, sources = cited(response.citations)
    choices[0]["message"]["annotations"] = told
    return written(
        {
            "id": response.response_id or NO_ID,
            "object": "chat.completion",
            "created": 0 if response.created_at is None else int(response.created_at.timestamp()),
            "model": response.model,
            "choices": choices,
            **({} if usage is None else {"usage": usage}),
            **({"service_tier": tier} if (tier := openai_tier(response.service_tier)) else {}),
            **sources,
        }
    )


def _asked_legacy(asked: Inbound | None) -> bool | None:
    """Whether the request has ``functions`` instead of ``tools``; ``None`` where it has neither, or is not known."""
    return is_legacy(asked.request.tools) if asked is not None and asked.request.tools else None


def _choice(choice: Choice, legacy: bool | None) -> dict[str, Any]:
    text = choice.content or (None if choice.tool_calls or choice.refusal else "")
    tell_others(choice.parts, *_WRITTEN)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": choice.refusal}
    message |= _thoughts(choice)
    calls = [with_id(call, legacy) for call in choice.tool_calls]
    old = bool(calls) and (legacy or (legacy is None and len(calls) == 1 and how(calls[0]) == LEGACY))
    if old:  # ``function_call`` holds one call: of several, the first
        message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
    elif calls:
        message["tool_calls"] = [{**written_call(call), **with_signature(call.signature)} for call in calls]
    images = pictures(choice.parts)
    if images:
        message["images"] = images
    message |= sound_of(choice.parts)
    return {
        "index": choice.index,
        "message": message,
        "logprobs": {"content": openai_logprobs(choice.logprobs), "refusal": None} if choice.logprobs else None,
        "finish_reason": _in_words(finish_word(choice.finish_reason, choice.finish_reason_raw, called=bool(calls)), legacy),
    }


_WRITTEN = (TextPart, ReasoningPart, ToolCall, ImagePart, AudioPart)
"""What has a place here, where content is text."""


def _thoughts(choice: Choice) -> dict[str, Any]:
    """Thoughts beside the content: in the fields that they came in, else in the spelling that most servers use."""
    own = [part for part in choice.parts if isinstance(part, ReasoningPart) and part.origin == NAME]
    if own and not any(map(is_block, own)):
        return joined_thoughts(own)
    return {"reasoning_content": choice.reasoning} if choice.reasoning else {}


def _in_words(reason: str, legacy: bool | None) -> str:
    """Why an answer ended, for a client that knows functions alone, or tools alone."""
    if legacy is None or reason not in ("tool_calls", "function_call"):
        return reason
    return "function_call" if legacy else "tool_calls"


def with_id(call: ToolCall, legacy: bool | None = None) -> ToolCall:
    """The call with an id, which clients count on; ``function_call`` has none."""
    return call if call.id or (legacy is not False and how(call) == LEGACY) else attrs.evolve(call, id=made_id(CALL))


def finish_word(reason: str | None, raw: str | None, *, called: bool) -> str:
    """Why an answer ended, in a word of this format: the vendor's own if it is one."""
    reason = reason_for(reason, called=called)
    if raw in _WORDS and finish_of(raw) == reason:
        return raw
    return canonical_reason(reason) or ("tool_calls" if called else "stop")


def pictures(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Pictures that a model made, as OpenRouter sends them."""
    return [written_part(part) for part in parts if isinstance(part, ImagePart) and (part.url or (part.data and part.media_type))]


def sound_of(parts: Sequence[Part]) -> dict[str, Any]:
    """A spoken answer, with the id and the end that its vendor gave it."""
    spoken = next((part for part in parts if isinstance(part, AudioPart)), None)
    if spoken is None:
        return {}
    known = fitted({name: value for name, value in own(spoken, NAME).items() if name != AS}, _SOUND)
    sound = {"data": base64.b64encode(spoken.data).decode(), "transcript": spoken.transcript or ""}
    return {"audio": {"id": made_id("audio_"), "expires_at": 0, **known, **sound}}


_SOUND: Shape = {"id": (is_text, ABSENT), "expires_at": (is_count, ABSENT)}


def cited(citations: Sequence[Citation]) -> tuple[list[Mapping[str, Any]], dict[str, Any]]:
    """The annotations of a message, and the fields beside it: Perplexity's sources are those of the whole answer."""
    by_kind: dict[bool, list[Citation]] = {True: [], False: []}
    for citation in citations:
        by_kind["url" in citation.raw and "type" not in citation.raw].append(citation)
    listed, told = by_kind[True], list(map(_annotation, by_kind[False]))
    results = [citation.raw for citation in listed if len(citation.raw) > 1]
    beside = {"citations": [citation.url for citation in listed]} if listed else {}
    return [one for one in told if one is not None], {**beside, "search_results": results} if results else beside


def _annotation(citation: Citation) -> Mapping[str, Any] | None:
    if citation.raw.get("type") == CITATION and is_text(mapping(citation.raw.get(CITATION)).get("url")):
        source = citation.raw[CITATION]
        place = place_in(source.get("start_index"), source.get("end_index"))
        return {**citation.raw, CITATION: {**fitted(source, SOURCE), **place}}
    if not citation.url:
        tell_unwritten({"type": "citation"})
        return None
    told = {"url": citation.url, "title": citation.title, **place_in(citation.start, citation.end)}
    return {"type": CITATION, CITATION: fitted(told if citation.text is None else {**told, "content": citation.text}, SOURCE)}


_DONE = b"data: [DONE]\n\n"


class ChatWriter:
    """Chunks in, events out; thoughts are always spelt ``reasoning_content``, which is known before they are complete."""

    def __init__(self, asked: Inbound | None = None) -> None:
        self._tells_usage, self._legacy = asked is None or asked.stream_usage, _asked_legacy(asked)
        self._created = 0 if asked is None else int(asked.created_at.timestamp())
        self._model = self._id = self._tier = ""
        self._usage: Usage | None = None
        self._choices: dict[int, _Choice] = {}

    def write(self, chunk: StreamChunk) -> bytes:
        """The events that one chunk becomes; the first that says anything opens its choice."""
        self._model, self._id = self._model or chunk.model or "", self._id or chunk.response_id or ""
        self._tier, self._usage = openai_tier(chunk.service_tier) or self._tier, chunk.usage or self._usage
        annotations, beside = cited(chunk.citations) if chunk.citations else ([], {})
        choice, opening = self._choices.get(chunk.choice), b""
        if choice is None:
            if not (self._id or chunk.has_output or chunk.content or chunk.reasoning or chunk.parts or chunk.finish_reason):
                return b""
            self._id = self._id or NO_ID
            choice, opening = self._open_choice(chunk.choice)
        delta = choice.delta(chunk)
        if annotations:
            delta["annotations"] = annotations
        said = self._event(chunk.choice, delta, chunk.logprobs, beside) if delta or beside or chunk.logprobs else b""
        if chunk.finish_reason is None or choice.finished:
            return opening + said
        choice.finished = True
        word = _in_words(finish_word(chunk.finish_reason, chunk.finish_reason_raw, called=choice.called), self._legacy)
        return opening + said + self._event(chunk.choice, {}, finish=word)

    def _open_choice(self, index: int) -> tuple[_Choice, bytes]:
        self._choices[index] = _Choice(self._legacy)
        return self._choices[index], self._event(index, {"role": "assistant", "content": ""})

    def _event(
        self,
        index: int,
        delta: Mapping[str, Any],
        logprobs: tuple[Any, ...] = (),
        beside: Mapping[str, Any] | None = None,
        *,
        finish: str | None = None,
    ) -> bytes:
        choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": finish}
        if logprobs:
            choice["logprobs"] = {"content": openai_logprobs(logprobs), "refusal": None}
        return self._document([choice], beside or {})

    def _document(self, choices: list[Any], more: Mapping[str, Any]) -> bytes:
        head = {"id": self._id or NO_ID, "object": "chat.completion.chunk", "created": self._created, "model": self._model}
        head["choices"] = choices
        return _framed({**head, **({"service_tier": self._tier} if self._tier else {}), **more})

    def end(self) -> bytes:
        """Why choices ended that did not say so, the usage if it was asked for, and the end marker."""
        opening = b"" if self._choices else self._open_choice(0)[1]
        owed = [(index, choice) for index, choice in self._choices.items() if not choice.finished]
        ends = [
            self._event(index, {}, finish=_in_words(finish_word(None, None, called=choice.called), self._legacy))
            for index, choice in owed
        ]
        usage = written_usage(self._usage) if self._usage is not None and self._tells_usage else None
        told = b"" if usage is None else self._document([], {"usage": usage})
        return b"".join([opening, *ends, told, _DONE])

    def fail(self, error: DispatchError) -> bytes:
        """The event that tells of a failure in the middle of a stream; it has no status of its own, so the error names it."""
        status, body = openai_refusal(error)
        return _framed({"error": {**parse(body)["error"], "status": status}})


def _framed(document: Mapping[str, Any]) -> bytes:
    return b"data: " + written(document) + b"\n\n"


class _Choice:
    """What was written of one choice."""

    __slots__ = ("_kinds", "_legacy", "finished")

    def __init__(self, legacy: bool | None) -> None:
        self._kinds: dict[int, str] = {}  # of its calls
        self._legacy = legacy
        self.finished = False

    @property
    def called(self) -> bool:
        """Whether it has calls."""
        return bool(self._kinds)

    def delta(self, chunk: StreamChunk) -> dict[str, Any]:
        """What a chunk says, as this format has it."""
        delta: dict[str, Any] = {"content": chunk.content} if chunk.content else {}
        if chunk.reasoning:
            delta["reasoning_content"] = chunk.reasoning
        if chunk.refusal:
            delta["refusal"] = chunk.refusal
        if chunk.tool_calls:
            delta |= self._calls(chunk.tool_calls)
        if chunk.parts:
            delta |= _of_parts(chunk)
        return delta

    def _calls(self, deltas: tuple[ToolCallDelta, ...]) -> dict[str, Any]:
        told = self._kinds.get(0) == LEGACY or _own(deltas[0]).get(AS) == LEGACY
        if self._legacy or (self._legacy is None and deltas[0].index == 0 and told):
            first = [delta for delta in deltas if delta.index == 0]  # these words tell of one call
            self._kinds[0] = LEGACY
            if not first:
                return {}
            named = {} if first[0].name is None else {"name": first[0].name}
            return {"function_call": {**named, "arguments": "".join([delta.arguments for delta in first])}}
        return {"tool_calls": [self._call(delta) for delta in deltas]}

    def _call(self, delta: ToolCallDelta) -> dict[str, Any]:
        begins = delta.index not in self._kinds
        kind = self._kinds.setdefault(delta.index, delta.kind or "function")
        named = {} if delta.name is None else {"name": delta.name}
        further = {name: value for name, value in _own(delta).items() if name != AS}
        piece = {kind: {**named, "input" if kind == "custom" else "arguments": delta.arguments}, **further}
        head = {"id": delta.id or made_id(CALL), "type": kind} if begins else {}
        return {"index": delta.index, **head, **piece, **with_signature(delta.signature)}


def _own(delta: ToolCallDelta) -> Mapping[str, Any]:
    return (delta.extra or {}).get(NAME) or {}


def _of_parts(chunk: StreamChunk) -> dict[str, Any]:
    """What finished parts add to the text that was written of them already."""
    delta: dict[str, Any] = {}
    tell_others(chunk.parts, *_WRITTEN)
    thoughts = [part for part in chunk.parts if isinstance(part, ReasoningPart) and part.origin == NAME and not is_block(part)]
    details = [detail for part in thoughts for detail in details_in(own(part, NAME))]
    if details:
        delta["reasoning_details"] = details
    images = pictures(chunk.parts)
    return {**delta, **({"images": images} if images else {}), **sound_of(chunk.parts)}
