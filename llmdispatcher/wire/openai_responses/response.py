"""Decode answers and streams of OpenAI's Responses API. https://platform.openai.com/docs/api-reference/responses"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from ...types import MOST_MEMBERS, Citation, OtherPart, ReasoningPart, Response, StreamChunk, TextPart, ToolCallDelta, Usage, fold
from ..decoding import (
    Counter,
    arguments_in,
    cite,
    mapping,
    missing,
    number_in,
    parse_object,
    recount,
    says,
    says_more,
    text_of,
    words_of,
)
from ..encoding import own
from ..errors import fault_inside, tells
from ..finish import error_of, finish_of
from ..openai_chat.fields import READ, WRITTEN, first, openai_chat_usage, span_of
from ..streams import EventDecoder
from ..words import words
from .request import CALLS, NAME, noted, read_call, read_item

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
    into_all, reasoning = count(raw.get("input_tokens")), count(out.get("reasoning_tokens"))
    beyond = count(raw.get("total_tokens")) - into_all - output
    if read + write and beyond == read + write:  # a gateway to Anthropic
        into_all += beyond
    elif reasoning and beyond == reasoning:  # which xAI counts beside the answer
        output += beyond
    return counter.usage(
        input_tokens=max(into_all, read + write),
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_long_tokens=long,
        reasoning_tokens=min(output, reasoning),
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


def refusal_of(parts: Iterable[object]) -> str:
    """The text of all refusals in a message."""
    return "".join([part.text for part in parts if isinstance(part, TextPart) and _is_refusal(part)])


def _is_refusal(part: TextPart) -> bool:
    return own(part, NAME).get("type") == "refusal"


def text_parts(parts: Iterable[object]) -> list[TextPart]:
    """The text parts of a message that say something, each with what hangs on it but the logprobs, which an answer has apart."""
    return [
        attrs.evolve(part, extra=noted({name: value for name, value in own(part, NAME).items() if name != "logprobs"}))
        for part in parts
        if isinstance(part, TextPart) and part.text and not _is_refusal(part)
    ]


def logprobs_of(parts: Iterable[object]) -> tuple[Any, ...]:
    """The entries of all tokens of a message."""
    found = [own(part, NAME).get("logprobs") for part in parts if isinstance(part, TextPart)]
    return tuple([entry for entries in found if isinstance(entries, list) for entry in entries])


def with_annotations(texts: list[TextPart], annotations: list[Any]) -> list[TextPart]:
    """The texts with the annotations of separate events, where the finished message has none."""
    if not annotations or not texts or any("annotations" in own(part, NAME) for part in texts):
        return texts
    return [attrs.evolve(texts[0], extra=noted({**own(texts[0], NAME), "annotations": annotations})), *texts[1:]]


def citations_of(texts: Iterable[TextPart], start: int) -> tuple[Citation, ...]:
    """What a message rests on; its text begins at character ``start`` of the answer."""
    found: list[Citation] = []
    for part in texts:
        annotations = own(part, NAME).get("annotations")
        listed = annotations if isinstance(annotations, list) else []
        found += [_citation(entry, start) for entry in listed if isinstance(entry, dict) and says_more(entry, "type")]
        start += len(part.text)
    return tuple(found)


def _citation(entry: Mapping[str, Any], start: int) -> Citation:
    begin, end = (None if place is None else start + place for place in span_of(entry))
    title = text_of(entry.get("title")) or entry.get("filename")
    return cite(entry, url=entry.get("url"), title=title, span=(begin, end))


ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done"})
_PIECES = {
    "output_text": ("message", "text", "text"),
    "audio.transcript": ("message", "text", ""),
    "output_audio_transcript": ("message", "text", "transcript"),
    "refusal": ("message", "refusal", "refusal"),
    **dict.fromkeys(words("reasoning_summary_text reasoning_text reasoning reasoning_summary"), ("reasoning", "thought", "text")),
    "function_call_arguments": ("function_call", "arguments", "arguments"),
    "custom_tool_call_input": ("custom_tool_call", "arguments", "input"),
}
"""Of what item the pieces are that an event is named for, of which of its fields, and where the whole field stands at its end."""
_DELTAS = {f"response.{name}.delta": (kind, field) for name, (kind, field, _) in _PIECES.items()}
_DONES = {f"response.{name}.done": piece for name, piece in _PIECES.items() if piece[2]}
_PARTS = {
    "output_text": ("message", "text", "text"),
    "text": ("message", "text", "text"),
    "refusal": ("message", "refusal", "refusal"),
    "reasoning_text": ("reasoning", "thought", "text"),
    "summary_text": ("reasoning", "thought", "text"),
}
"""What a part that has ended says, by its type."""


def decode(body: bytes, members: int = MOST_MEMBERS) -> Response:
    """A whole answer, or as much as there is of one that the vendor is still working at."""
    document = parse_object(body, members)
    if document.get("status") == "failed" or tells(document.get("error")):
        raise fault_inside(document)
    if not (isinstance(document.get("output"), list) or text_of(document.get("output_text"))):
        raise missing(document, "output")
    decoder = ResponsesDecoder()
    chunks = decoder.outcome(document)
    decoder.raise_if_broken()
    return fold(chunks)


@attrs.define(eq=False, repr=False)
class _Item:
    """An item of a stream that is not complete, with its pieces by field and content index."""

    kind: str
    id: str | None = None
    pieces: dict[tuple[str, int | None], list[str]] = attrs.field(factory=dict)
    place: int | None = None  # in the output
    slot: int | None = None  # its place among the calls
    call_id: str | None = None
    named: bool = False  # whether the call's id and name were told
    annotations: list[Any] = attrs.field(factory=list)
    logprobs: list[Any] = attrs.field(factory=list)
    begun_as: Mapping[str, Any] = attrs.field(factory=dict)  # what was told of a call when it was added
    done: bool = False

    def is_elsewhere(self, place: int | None) -> bool:
        """Whether it stands at another place than this one."""
        return None not in (self.place, place) and self.place != place

    def text_so_far(self, field: str, place: int | None = None) -> str:
        """The text of a field so far, at one content index or at all."""
        return "".join([piece for (of, at), found in self.pieces.items() if of == field and place in (None, at) for piece in found])

    def missing(self, field: str, whole: str, place: int | None = None) -> str:
        """The part of the whole text that was not streamed; empty where the whole contradicts the pieces."""
        so_far = self.text_so_far(field, place)
        return whole[len(so_far) :] if whole.startswith(so_far) else ""


class ResponsesDecoder(EventDecoder):
    """response.created … response.completed, .incomplete or .failed.

    What the deltas left out is taken from the finished item, and from the whole response at the end: a server may send any of them
    alone. Items are known by id, else by their place in the output.
    """

    __slots__ = ("_calls", "_length", "_loose", "_names", "_places", "_run", "_streamed", "_usage")
    END_MARKER = "response.completed, response.incomplete or response.failed"
    ANSWER = "delta"
    TYPED = True

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[int, _Item] = {}
        self._names: dict[str, _Item] = {}
        self._loose: dict[str, _Item] = {}  # of which deltas told neither id nor place, by kind
        self._calls = 0
        self._streamed: list[_Item] = []  # what the whole response has not named yet
        self._run: dict[_Item, None] = {}  # whose text is in the run of text that is still open
        self._usage: Mapping[str, Any] | None = None
        self._length = 0  # of the text of finished messages, which citations are counted from

    def failure_in(self, name: str, document: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """An error event, or the end of a response that failed."""
        kind, response = text_of(document.get("type")), mapping(document.get("response"))
        if kind == "response.failed" or (kind in ENDS and (response.get("status") == "failed" or tells(response.get("error")))):
            return response
        return document if kind == "error" else super().failure_in(name, document)

    def read_event(self, document: Mapping[str, Any]) -> StreamChunk | list[StreamChunk] | None:
        """What one event says."""
        kind = text_of(document.get("type"))
        if kind in _DELTAS:
            return self._delta(document, *_DELTAS[kind])
        if kind in _DONES:
            of, field, key = _DONES[kind]
            item, place = self._item(document, of), _place(document)
            return self._say(item, field, place, item.missing(field, _text(field, document.get(key)), place))
        reader = _READERS.get(kind)
        if reader is None and document.get("object") == "response" and isinstance(document.get("output"), list):
            return self._end({"response": document})  # a whole answer in place of a stream
        return reader(self, document) if reader is not None else None if kind else self._untyped(document)

    def _untyped(self, document: Mapping[str, Any]) -> StreamChunk | None:
        """What an event of no type says: what was used, or nothing that can be read."""
        usage = mapping(document.get("usage"))
        self.skipped += not usage and says(document)
        self._count(usage or None)
        return StreamChunk(usage=openai_responses_usage(self._usage)) if usage and self._usage else None

    def _part_done(self, document: Mapping[str, Any]) -> StreamChunk | None:
        """What a part that has ended says beyond its deltas."""
        part = mapping(document.get("part"))
        found = _PARTS.get(text_of(part.get("type")))
        if found is None:
            return None
        of, field, key = found
        item, place = self._item(document, of), _place(document)
        return self._say(item, field, place, item.missing(field, words_of(part.get(key)), place))

    def _delta(self, document: Mapping[str, Any], kind: str, field: str) -> StreamChunk | None:
        item = self._item(document, kind)
        logprobs = document.get("logprobs")
        if isinstance(logprobs, list):
            item.logprobs += logprobs
        text = _text(field, document.get("delta"))
        if field == "arguments" and text.strip() == "{}" and not item.text_so_far(field):
            return None  # before the arguments, or all of them, as the finished item says
        return self._say(item, field, _place(document), text)

    def _say(self, item: _Item, field: str, place: int | None, text: str) -> StreamChunk | None:
        if not text:
            return None
        item.pieces.setdefault((field, place), []).append(text)
        if field == "text":
            self._run[item] = None
            return StreamChunk(content=text, item=item.id)
        if field == "thought":
            return StreamChunk(reasoning=text, item=item.id)
        if field == "refusal":
            return StreamChunk(refusal=text)
        return StreamChunk(tool_calls=(ToolCallDelta(index=self._slot(item), arguments=text),))

    def _slot(self, item: _Item) -> int:
        if item.slot is None:
            item.slot, self._calls = self._calls, self._calls + 1
            self._run.clear()
        return item.slot

    def _item(self, document: Mapping[str, Any], kind: str) -> _Item:
        name, place = document.get("item_id"), document.get("output_index")
        return self._find(name, place, kind) or self._add(name, place, kind)

    def _find(self, name: Any, place: Any, kind: str) -> _Item | None:
        place = number_in(place)
        item = self._names.get(name) if isinstance(name, str) else None
        there = self._places.get(place) if place is not None else None
        if item is None or (there is not None and there.id == name):  # two items may have one id
            item = there
        if item is None and name is None and place is None:
            item = self._loose.get(kind)
        return item if item is not None and item.kind == kind else None

    def _add(self, name: Any, place: Any, kind: str) -> _Item:
        item = _Item(kind=kind, id=text_of(name) or None, place=number_in(place))
        if item.id is not None:
            self._names[item.id] = item
        if item.place is not None:
            self._places[item.place] = item
        if item.id is None and item.place is None:
            self._loose[kind] = item
        return item

    def _match(self, raw: Mapping[str, Any], place: Any) -> _Item:
        """Find the item that a whole one completes, by id or index, among items without either, or by its text; else add one."""
        kind, name = _kind(raw), raw.get("id")
        known = self._find(name, place, kind) or self._loose.pop(kind, None) or self._find_renamed(raw, kind)
        if known in self._streamed:
            self._streamed.remove(known)
        return known or self._add(name, place, kind)

    def _find_renamed(self, raw: Mapping[str, Any], kind: str) -> _Item | None:
        """The item that a whole one is, where a server gives it another id and place than its pieces had."""
        if kind in CALLS:
            call = read_call(raw)
            field, whole, call_id = "arguments", call.arguments, call.id
        elif kind in ("message", "reasoning"):
            field, call_id = "text" if kind == "message" else "thought", None
            whole = "".join([part.text for part in read_item(raw) if isinstance(part, TextPart | ReasoningPart)])
        else:
            return None
        for item in self._streamed or [item for item in self._items() if not item.done]:
            so_far = item.text_so_far(field)
            repeats = so_far == whole if item.done else whole.startswith(so_far)
            if item.kind == kind and item.call_id == call_id and repeats and (so_far or call_id):
                return item
        return None

    def _items(self) -> list[_Item]:
        return list(dict.fromkeys((*self._places.values(), *self._names.values())))

    def _read_facts(self, document: Mapping[str, Any]) -> StreamChunk:
        response = mapping(document.get("response"))
        self._count(response.get("usage"))
        return StreamChunk(model=text_of(response.get("model")) or None, response_id=text_of(response.get("id")) or None)

    def _count(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self._usage = recount(self._usage or {}, usage)

    def _item_added(self, document: Mapping[str, Any]) -> StreamChunk | None:
        raw, place = mapping(document.get("item")), document.get("output_index")
        kind = _kind(raw)
        item = self._find(raw.get("id"), place, kind)
        if item is None or item.done or (kind in CALLS and item.is_elsewhere(number_in(place))):
            item = self._add(raw.get("id"), place, kind)
        if kind not in CALLS or not text_of(raw.get("name")):
            return None
        item.begun_as = raw
        return self._call(item, raw, whole=False)

    def _call(self, item: _Item, raw: Mapping[str, Any], *, whole: bool) -> StreamChunk:
        call = read_call(raw)
        slot, first = self._slot(item), not item.named
        item.call_id = item.call_id or call.id
        item.named = item.named or bool(call.name)
        delta = ToolCallDelta(
            index=slot,
            id=call.id if first else None,
            name=call.name if first else None,
            arguments=item.missing("arguments", call.arguments) if whole else "",
            kind=call.kind if first else None,
            extra=call.extra or None,
        )
        return StreamChunk(tool_calls=(delta,))

    def _annotate(self, document: Mapping[str, Any]) -> None:
        self._item(document, "message").annotations.append(document.get("annotation"))

    def _item_done(self, document: Mapping[str, Any]) -> list[StreamChunk]:
        raw, place = mapping(document.get("item")), document.get("output_index")
        item = self._match(raw, place)
        if item.done and item.id != raw.get("id"):
            item = self._add(raw.get("id"), place, _kind(raw))
        return self._finish(item, raw)

    def _finish(self, item: _Item, raw: Mapping[str, Any]) -> list[StreamChunk]:
        if item.done:
            return []
        item.done = True
        if item.kind in CALLS:
            says_anything = item.slot is not None or says([raw.get(name) for name in ("name", "arguments", "input")])
            return [self._call(item, raw, whole=True)] if says_anything else []
        if item.kind == "message":
            return self._message(item, raw)
        if not (item.pieces or says_more(raw, "type")):
            return []
        part = read_item(raw)[0]
        self._run.clear()
        if not isinstance(part, ReasoningPart):
            return [StreamChunk(parts=(part,))]
        thought = self._say(item, "thought", None, item.missing("thought", part.text)) or StreamChunk()
        if not part.text and item.pieces:
            part = attrs.evolve(part, text=item.text_so_far("thought"))
        return [attrs.evolve(thought, parts=(part,), item=item.id)]

    def _message(self, item: _Item, raw: Mapping[str, Any]) -> list[StreamChunk]:
        parts = read_item(raw)
        texts = with_annotations(text_parts(parts), item.annotations)
        whole = "".join([part.text for part in texts])
        is_open = self._run.keys() == {item} or not item.text_so_far("text")  # nothing else stands between its pieces
        rest_of_text = self._say(item, "text", None, item.missing("text", whole)) or StreamChunk()
        fits = is_open and self._run.keys() == {item} and whole == item.text_so_far("text")
        chunk = attrs.evolve(
            rest_of_text,
            parts=tuple(texts) if fits else (),
            refusal=item.missing("refusal", refusal_of(parts)) or None,
            citations=citations_of(texts, self._length),
            logprobs=logprobs_of(parts) or tuple(item.logprobs),
            item=item.id,
        )
        self._length += len(item.text_so_far("text"))
        others = tuple([part for part in parts if isinstance(part, OtherPart)])
        if fits or others:
            self._run.clear()
        return [chunk, StreamChunk(parts=others)] if others else [chunk]

    def _end(self, document: Mapping[str, Any]) -> list[StreamChunk]:
        response = mapping(document.get("response"))
        self.ended = True
        self.done = self.failure_in("", document) is None
        status = text_of(document.get("type")).removeprefix("response.")
        status = "completed" if status in ("", "done") else status
        self._count(document.get("usage"))
        return self.outcome(response if says(response.get("status")) else {**response, "status": status})

    def outcome(self, response: Mapping[str, Any]) -> list[StreamChunk]:
        """The chunks for what a whole response adds to the events before it."""
        chunks: list[StreamChunk] = []
        output, self._streamed = response.get("output"), self._items()
        for place, raw in enumerate(output if isinstance(output, list) else ()):
            if isinstance(raw, dict):
                chunks += self._finish(self._match(raw, place), raw)
        for item in self._items():
            if item.begun_as and not item.done:  # a call whose beginning told all of it
                chunks += self._finish(item, item.begun_as)
        if not chunks and not self._length and not self._run and (text := words_of(response.get("output_text"))):
            chunks.append(StreamChunk(content=text))  # as SDKs put it together, and some gateways write it
        status = text_of(response.get("status")) or "completed"
        self._count(response.get("usage"))
        reason = mapping(response.get("incomplete_details")).get("reason") if status == "incomplete" else None
        self._broken = error_of("cancelled" if status == "cancelled" else reason)
        chunks.append(
            StreamChunk(
                finish_reason=finish(status, response, called=self._calls > 0),
                finish_reason_raw=status or None,
                usage=with_searches(openai_responses_usage(self._usage), output) if self._usage is not None else None,
                model=text_of(response.get("model")) or None,
                response_id=text_of(response.get("id")) or None,
                service_tier=text_of(response.get("service_tier")) or None,
            )
        )
        return chunks

    def read_whole(self, body: bytes) -> Response:
        """A server that ignores ``stream`` answers in one piece."""
        return decode(body, self.bounds.members)


_READERS = {
    **dict.fromkeys(("response.created", "response.in_progress", "response.queued"), ResponsesDecoder._read_facts),
    "response.output_item.added": ResponsesDecoder._item_added,
    "response.output_item.done": ResponsesDecoder._item_done,
    "response.content_part.done": ResponsesDecoder._part_done,
    "response.reasoning_summary_part.done": ResponsesDecoder._part_done,
    "response.output_text.annotation.added": ResponsesDecoder._annotate,
    **dict.fromkeys(ENDS, ResponsesDecoder._end),
}


def _kind(item: Mapping[str, Any]) -> str:
    return text_of(item.get("type")) or "message"


def _text(field: str, value: Any) -> str:
    """A piece of a field as text."""
    return arguments_in(value) if field == "arguments" else words_of(value)


def _place(document: Mapping[str, Any]) -> int:
    """Which part of its item an event is about; servers that say it only at the end mean the first."""
    return number_in(document.get("content_index", document.get("summary_index"))) or 0
