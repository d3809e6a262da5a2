"""A stream as OpenAI's chat format writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..chunks import StreamChunk, ToolCallDelta
from ..errors import DispatchError
from ..messages import ReasoningPart
from ..response_values import Usage
from .base import Inbound
from .openai_outbound import NO_ID, cited, finish_word, is_own, pictures
from .openai_responses_refusal import refusal
from .openai_turns import is_block, written_part
from .openai_usage import written_usage
from .openai_words import AS, LEGACY, NAME, details_in
from .payload import own, parse, written

_DONE = b"data: [DONE]\n\n"


class ChatWriter:
    """Chunks in, events out; thoughts are always spelt ``reasoning_content``, which is known before they are complete."""

    def __init__(self, asked: Inbound | None = None) -> None:
        self._tells_usage = asked is None or asked.stream_usage
        self._model = self._id = self._tier = ""
        self._usage: Usage | None = None
        self._choices: dict[int, _Choice] = {}

    def write(self, chunk: StreamChunk) -> bytes:
        """The events that one chunk becomes; the first that says anything opens its choice."""
        self._model, self._id = self._model or chunk.model or "", self._id or chunk.response_id or ""
        self._tier, self._usage = chunk.service_tier or self._tier, chunk.usage or self._usage
        annotations, beside = cited(chunk.citations) if chunk.citations else ([], {})
        choice, opening = self._choices.get(chunk.choice), b""
        if choice is None:
            if not (self._id or chunk.has_output or chunk.parts or chunk.finish_reason):
                return b""
            self._id = self._id or NO_ID
            choice, opening = self._opened(chunk.choice)
        delta = choice.delta(chunk)
        if annotations:
            delta["annotations"] = annotations
        said = self._event(chunk.choice, delta, chunk.logprobs, beside) if delta or beside or chunk.logprobs else b""
        if chunk.finish_reason is None or choice.finished:
            return opening + said
        choice.finished = True
        word = finish_word(chunk.finish_reason, chunk.finish_reason_raw, called=choice.called)
        return opening + said + self._event(chunk.choice, {}, finish=word)

    def _opened(self, index: int) -> tuple[_Choice, bytes]:
        self._choices[index] = _Choice()
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
            choice["logprobs"] = {"content": list(logprobs), "refusal": None}
        return self._document([choice], beside or {})

    def _document(self, choices: list[Any], more: Mapping[str, Any]) -> bytes:
        head = {"id": self._id or NO_ID, "object": "chat.completion.chunk", "created": 0, "model": self._model, "choices": choices}
        return _framed({**head, **({"service_tier": self._tier} if self._tier else {}), **more})

    def end(self) -> bytes:
        """Why choices ended that did not say so, the usage if it was asked for, and the end marker."""
        opening = b"" if self._choices else self._opened(0)[1]
        owed = [(index, choice) for index, choice in self._choices.items() if not choice.finished]
        ends = [self._event(index, {}, finish=finish_word(None, None, called=choice.called)) for index, choice in owed]
        usage = written_usage(self._usage) if self._usage is not None and self._tells_usage else None
        told = b"" if usage is None else self._document([], {"usage": usage})
        return b"".join([opening, *ends, told, _DONE])

    def fail(self, error: DispatchError) -> bytes:
        """The event that tells of a failure in the middle of a stream; it has no status of its own, so the error names it."""
        status, body = refusal(error)
        return _framed({"error": {**parse(body)["error"], "status": status}})


def _framed(document: Mapping[str, Any]) -> bytes:
    return b"data: " + written(document) + b"\n\n"


class _Choice:
    """What was written of one choice."""

    __slots__ = ("_kinds", "finished")

    def __init__(self) -> None:
        self._kinds: dict[int, str] = {}  # of its calls
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
        if deltas[0].index == 0 and (self._kinds.get(0) == LEGACY or _own(deltas[0]).get(AS) == LEGACY):
            self._kinds[0] = LEGACY
            named = {} if deltas[0].name is None else {"name": deltas[0].name}
            return {"function_call": {**named, "arguments": deltas[0].arguments}}
        return {"tool_calls": [self._call(delta) for delta in deltas]}

    def _call(self, delta: ToolCallDelta) -> dict[str, Any]:
        begins = delta.index not in self._kinds
        kind = self._kinds.setdefault(delta.index, delta.kind or "function")
        named = {} if delta.name is None else {"name": delta.name}
        piece = {kind: {**named, "input" if kind == "custom" else "arguments": delta.arguments}, **_own(delta)}
        head = {"id": delta.id or f"call_{delta.index}", "type": kind} if begins else {}
        return {"index": delta.index, **head, **piece}


def _own(delta: ToolCallDelta) -> Mapping[str, Any]:
    return (delta.extra or {}).get(NAME) or {}


def _of_parts(chunk: StreamChunk) -> dict[str, Any]:
    """What finished parts add to the text that was written of them already."""
    delta: dict[str, Any] = {}
    blocks = [written_part(part) for part in chunk.parts if is_own(part) and not isinstance(part, ReasoningPart)]
    if blocks:
        delta["content"] = [{"type": "text", "text": chunk.content}, *blocks] if chunk.content else blocks
    thoughts = [part for part in chunk.parts if isinstance(part, ReasoningPart) and part.origin == NAME and not is_block(part)]
    details = [detail for part in thoughts for detail in details_in(own(part, NAME))]
    if details:
        delta["reasoning_details"] = details
    images = pictures(chunk.parts)
    return {**delta, "images": images} if images else delta
