"""Decode answers and streams of Anthropic's Messages API, version 2023-06-01. https://platform.claude.com/docs/en/api/messages"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from ...types import MOST_MEMBERS, OtherPart, Part, ReasoningPart, Response, StreamChunk, TextPart, ToolCallDelta, fold, parse_text
from ..decoding import (
    arguments_in,
    cite,
    mapping,
    missing,
    number_in,
    parse_object,
    raise_error,
    says,
    says_more,
    text_of,
    words_of,
)
from ..finish import ends, error_of, finish_of
from ..streams import EventDecoder
from .fields import NAME, STRUCTURE, anthropic_usage, tier_of

_THOUGHTS = ("thinking", "redacted_thinking")


def decode(body: bytes, members: int = MOST_MEMBERS) -> Response:
    """A whole answer."""
    document = parse_object(body, members)
    blocks = document.get("content")
    if blocks is None and finish_of(document.get("stop_reason")) in ("content_filter", "length"):
        blocks = []
    if not isinstance(blocks, list | dict | str):
        raise missing(document, "content")
    raise_error(document)
    decoder = MessagesDecoder()
    chunks = [
        chunk
        for event in _events(document, blocks if isinstance(blocks, list) else [blocks])
        for chunk in decoder.read_event(event)
    ]
    decoder.raise_if_broken()
    return fold(chunks)


class MessagesDecoder(EventDecoder):
    """message_start … message_stop; complete with a stop reason, over at message_stop. Unknown events are skipped."""

    __slots__ = ("_blocks", "_calls", "_length", "_run", "_structured", "_thinking", "_usage")
    END_MARKER = "message_stop or a stop reason"
    ANSWER = "delta"
    TYPED = True

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[int, _Block] = {}  # under way, by index
        self._thinking: int | None = None  # the index of a thought under way
        self._calls = 0
        self._structured = False
        self._run: list[str] = []  # the text since the last finished part or call
        self._length = 0  # of all text so far
        self._usage: dict[str, Any] = {}

    def read_event(self, document: Mapping[str, Any]) -> list[StreamChunk]:
        """What one event says."""
        kind = text_of(document.get("type")) or _event_kind(document)
        reader = _READERS.get(kind)
        if reader is None and kind == "message" and not (self._length or self._calls) and isinstance(document.get("content"), list):
            return [chunk for event in _events(document, document["content"]) for chunk in self.read_event(event)]  # all at once
        return reader(self, document) if reader is not None else [] if kind else self._untyped(document)

    def _untyped(self, document: Mapping[str, Any]) -> list[StreamChunk]:
        """What an event of no type says: what was used, or nothing that can be read."""
        usage = mapping(document.get("usage"))
        self.skipped += not usage and says(document)
        self._count(usage)
        return [StreamChunk(**self._use())] if usage else []

    def _message_start(self, document: Mapping[str, Any]) -> list[StreamChunk]:
        message = mapping(document.get("message"))
        self._count(message.get("usage"))
        model, response_id = text_of(message.get("model")) or None, text_of(message.get("id")) or None
        return [StreamChunk(model=model, response_id=response_id, **self._use())]

    def _count(self, usage: Any) -> None:
        """Take in counts, which are cumulative; null and zero do not replace earlier values."""
        first = not self._usage
        for name, value in mapping(usage).items() if says(usage) else ():
            if says(value) or first or (value is not None and not says(self._usage.get(name))):
                self._usage[name] = value

    def _use(self) -> dict[str, Any]:
        return {"usage": anthropic_usage(self._usage), "service_tier": tier_of(self._usage)} if self._usage else {}

    def _block_start(self, document: Mapping[str, Any]) -> list[StreamChunk]:
        index = _index(document)
        before = self._stop_blocks(self._thinking, index) if self._blocks else []
        block = self._blocks[index] = _Block(mapping(document.get("content_block")))
        if block.kind == "tool_use":
            return before + self._call_start(block)
        if block.kind in ("text", ""):
            return before + self._text_start(block)
        if block.kind in _THOUGHTS:
            self._thinking = index
            before += block.sign(block.fields) + self._think(block, words_of(block.fields.get("thinking")))
        return before

    def _stop_blocks(self, *places: int | None) -> list[StreamChunk]:
        """End blocks that have no stop event: another block begins at their index or after a thought, or the answer ends."""
        return [chunk for place in places for chunk in self._stop(place)]

    def _call_start(self, block: _Block) -> list[StreamChunk]:
        fields = block.fields
        if fields.get("name") == STRUCTURE:
            self._structured = block.is_answer = True
            return self._boundary()
        if not text_of(fields.get("name")) and not says(fields.get("input")) and not block.text:
            return []  # no call, unless there is more of it
        self._run = []
        block.slot, self._calls = self._calls, self._calls + 1
        extra = {name: value for name, value in fields.items() if name not in _CALL and value is not None}
        delta = ToolCallDelta(
            index=block.slot,
            id=words_of(fields.get("id") or None) or None,
            name=text_of(fields.get("name")) or None,
            extra={NAME: extra} if extra else None,
        )
        return [StreamChunk(tool_calls=(delta,))]

    def _text_start(self, block: _Block) -> list[StreamChunk]:
        boundary, listed = self._boundary(), block.fields.get("citations")
        citations = listed if isinstance(listed, list) else []
        block.citations = [citation for citation in citations if isinstance(citation, dict) and says_more(citation, "type")]
        return boundary + self._say(block, words_of(block.fields.get("text")))

    def _boundary(self) -> list[StreamChunk]:
        """Separate a text block from the one right before it, so that each keeps its own citations."""
        return [self._finish(TextPart(text="".join(self._run)))] if self._run else []

    def _finish(self, part: Part) -> StreamChunk:
        self._run = []
        return StreamChunk(parts=(part,))

    def _say(self, block: _Block, text: str) -> list[StreamChunk]:
        if not text:
            return []
        block.text.append(text)
        self._run.append(text)
        self._length += len(text)
        return [StreamChunk(content=text)]

    def _think(self, block: _Block, text: str) -> list[StreamChunk]:
        if not text:
            return []
        block.text.append(text)
        return [StreamChunk(reasoning=text)]

    def _block_delta(self, document: Mapping[str, Any]) -> list[StreamChunk]:
        delta = mapping(document.get("delta"))
        block, boundary = self._blocks.get(_index(document)), []
        if block is None:  # some servers send no start
            block = self._blocks[_index(document)] = _Block({})
            boundary = self._boundary()
        kind = text_of(delta.get("type")) or next((kind for name, kind in _DELTA_OF.items() if name in delta), "")
        return boundary + _DELTAS.get(kind, MessagesDecoder._other_delta)(self, block, delta)

    def _citations_delta(self, block: _Block, delta: Mapping[str, Any]) -> list[StreamChunk]:
        if says_more(mapping(delta.get("citation")), "type"):
            block.citations.append(delta["citation"])
        return []

    def _input_delta(self, block: _Block, delta: Mapping[str, Any]) -> list[StreamChunk]:
        text = arguments_in(delta.get("partial_json"))
        if not block.text and text.strip() == "{}":  # before the arguments, or in place of them, as the block's input is
            return []
        if block.is_answer:
            return self._say(block, text)
        if not text:
            return []
        block.text.append(text)
        begun = self._call_start(block) if block.slot < 0 and block.kind == "tool_use" else []
        return [*begun, StreamChunk(tool_calls=(ToolCallDelta(index=block.slot, arguments=text),))] if block.slot >= 0 else []

    def _other_delta(self, block: _Block, delta: Mapping[str, Any]) -> list[StreamChunk]:
        """Complete a block that is kept whole: texts are appended, other values replace earlier ones."""
        if block.is_other:
            for name, value in delta.items():
                known = block.fields.get(name)
                if name != "type" and value is not None:
                    block.fields[name] = known + value if isinstance(known, str) and isinstance(value, str) else value
        return []

    def _block_stop(self, document: Mapping[str, Any]) -> list[StreamChunk]:
        place = _index(document)
        block = self._blocks.get(place)
        if block is not None and "content_block" in document and not block.text:
            block.fields |= {name: value for name, value in mapping(document["content_block"]).items() if says(value)}
        return self._stop(place)

    def _stop(self, place: int | None) -> list[StreamChunk]:
        block = None if place is None else self._blocks.pop(place, None)
        if block is None:
            return []
        if place == self._thinking:
            self._thinking = None
        if block.kind == "tool_use":
            return self._call_stop(block)
        if block.kind in ("text", ""):
            return self._text_stop(block)
        if block.kind in _THOUGHTS:
            signature, data = "".join(block.signature) or None, text_of(block.fields.get("data")) or None
            thought = ReasoningPart(text="".join(block.text), signature=signature, encrypted=data, origin=NAME)
            return [self._finish(thought)] if thought.text or thought.signature or thought.encrypted else []
        return [self._finish(_other(block))]

    def _call_stop(self, block: _Block) -> list[StreamChunk]:
        if block.text or (block.slot < 0 and not block.is_answer):
            return []
        given = block.fields.get("input")
        arguments = arguments_in(given or {})
        if block.is_answer:
            return self._say(block, arguments)
        return [StreamChunk(tool_calls=(ToolCallDelta(index=block.slot, arguments=arguments),))]

    def _text_stop(self, block: _Block) -> list[StreamChunk]:
        if not block.citations:
            return []
        text = "".join(self._run)
        start = self._length - len(text)
        citations = []
        for raw in block.citations:
            url, title = text_of(raw.get("url")) or raw.get("source"), text_of(raw.get("title")) or raw.get("document_title")
            citations.append(cite(raw, url=url, title=title, text=raw.get("cited_text"), span=(start, self._length)))
        part = TextPart(text=text, extra={NAME: {"citations": block.citations}})
        return [attrs.evolve(self._finish(part), citations=tuple(citations))]

    def _message_delta(self, document: Mapping[str, Any]) -> list[StreamChunk]:
        delta = mapping(document.get("delta"))
        raw = delta.get("stop_reason")
        self._count(document.get("usage"))
        if "usage" in delta:
            self._count(delta["usage"])
        if not ends(raw):
            return [StreamChunk(**self._use())]
        over = self._stop_blocks(*self._blocks)
        self.ended, self._broken = True, error_of(raw)
        answered = self._structured and not self._calls and raw == "tool_use"
        reason = finish_of(raw)
        reason = "stop" if answered else "tool_calls" if self._calls and reason == "stop" else reason
        return [*over, StreamChunk(finish_reason=reason, finish_reason_raw=raw, **self._use())]

    def _message_stop(self, document: Mapping[str, Any]) -> list[StreamChunk]:
        self.ended = self.done = True
        over = self._stop_blocks(*self._blocks)
        usage = document.get("usage") or (None if self._usage else document.get(_METRICS))
        if not usage:
            return over
        self._count(usage)
        return [*over, StreamChunk(**self._use())]

    def flush(self) -> list[StreamChunk]:
        """The blocks that nothing ended."""
        return self._stop_blocks(*self._blocks)

    def read_whole(self, body: bytes) -> Response:
        """A server that ignores ``stream`` answers in one piece."""
        return decode(body, self.bounds.members)


_CALL = ("type", "id", "name", "input")
_METRICS = "amazon-bedrock-invocationMetrics"
"""Where Bedrock counts, also for models that tell no usage."""
_READERS: Mapping[str, Callable[[MessagesDecoder, Mapping[str, Any]], list[StreamChunk]]] = {
    "message_start": MessagesDecoder._message_start,
    "content_block_start": MessagesDecoder._block_start,
    "content_block_delta": MessagesDecoder._block_delta,
    "content_block_stop": MessagesDecoder._block_stop,
    "message_delta": MessagesDecoder._message_delta,
    "message_stop": MessagesDecoder._message_stop,
}


class _Block:
    """A block under way."""

    __slots__ = ("citations", "fields", "is_answer", "kind", "signature", "slot", "text")

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = dict(fields)
        self.kind = text_of(fields.get("type")) or next((kind for name, kind in _BLOCK_OF.items() if says(fields.get(name))), "")
        self.text: list[str] = []
        self.signature: list[str] = []
        self.citations: list[Mapping[str, Any]] = []
        self.slot = -1  # place among the calls
        self.is_answer = False  # a call that stands for a structured answer

    def sign(self, fields: Mapping[str, Any]) -> list[StreamChunk]:
        """Take in a piece of a thought's signature, which says nothing by itself."""
        self.signature.append(text_of(fields.get("signature")))
        return []

    @property
    def is_other(self) -> bool:
        """Whether it is kept whole."""
        return self.kind not in ("", "text", "tool_use", *_THOUGHTS)


_DELTAS: Mapping[str, Callable[[MessagesDecoder, _Block, Mapping[str, Any]], list[StreamChunk]]] = {
    "text_delta": lambda self, block, delta: self._say(block, words_of(delta.get("text"))),
    "thinking_delta": lambda self, block, delta: self._think(block, words_of(delta.get("thinking"))),
    "signature_delta": lambda _self, block, delta: block.sign(delta),
    "citations_delta": MessagesDecoder._citations_delta,
    "input_json_delta": MessagesDecoder._input_delta,
}


_DELTA_OF = {
    "text": "text_delta",
    "partial_json": "input_json_delta",
    "thinking": "thinking_delta",
    "signature": "signature_delta",
    "citation": "citations_delta",
}
"""What a delta is that tells no type, by the field that it has; and so of a block, and of an event."""
_BLOCK_OF = {"name": "tool_use", "thinking": "thinking", "data": "redacted_thinking"}
_EVENT_OF = {"message": "message_start", "content_block": "content_block_start", "delta": "content_block_delta"}


def _event_kind(document: Mapping[str, Any]) -> str:
    kind = next((kind for name, kind in _EVENT_OF.items() if name in document), "")
    return "message_delta" if kind == "content_block_delta" and "stop_reason" in mapping(document["delta"]) else kind


def _events(document: Mapping[str, Any], blocks: list[Any]) -> Iterator[Mapping[str, Any]]:
    """The events that a stream would have brought a whole answer in."""
    yield {"type": "message_start", "message": document}
    for index, block in enumerate(blocks):
        content = {"type": "text", "text": block} if isinstance(block, str) else block
        yield {"type": "content_block_start", "index": index, "content_block": content}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": document.get("stop_reason")}}


def _index(document: Mapping[str, Any]) -> int:
    index = document.get("index")
    return index if type(index) is int else number_in(index) or 0


def _other(block: _Block) -> OtherPart:
    data = block.fields
    if block.text:  # the input of a tool that the vendor runs
        with contextlib.suppress(ValueError):
            data = {**data, "input": parse_text("".join(block.text))}
    return OtherPart(origin=NAME, data=data)
