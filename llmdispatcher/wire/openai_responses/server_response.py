"""Encode responses and streams as OpenAI's Responses API sends them: the response object, its items, its events."""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import attrs

from ...errors import DispatchError
from ...types import (
    Citation,
    Fold,
    ImagePart,
    OtherPart,
    Part,
    ReasoningPart,
    Response,
    StreamChunk,
    TextPart,
    ToolCall,
    ToolCallDelta,
    Usage,
    replace,
)
from ..base import Inbound
from ..decoding import CALL, CallBuffer, made_id, mapping, parse, text_of
from ..encoding import own, tell_unwritten, written
from ..finish import canonical_reason
from ..openai_chat.fields import CITATION, openai_logprobs, openai_tier, place_in
from ..server_errors import failure_event
from ..shapes import ABSENT, Shape, entries, fit, fitted, is_count, is_flag, is_text, kinds, one_of, within
from .request import CALLS, MADE_UP, NAME, encode, written_call, written_items, written_thought
from .response import INCOMPLETE

STATUSES = ("completed", "incomplete", "in_progress", "queued", "cancelled", "failed")
_IDS = {
    "message": "msg_",
    "reasoning": MADE_UP,
    "function_call": "fc_",
    "custom_tool_call": "ctc_",
    "image_generation_call": "ig_",
    "web_search_call": "ws_",
    "file_search_call": "fs_",
    "code_interpreter_call": "ci_",
}


def write_response(response: Response, asked: Inbound | None = None) -> bytes:
    """The body of a whole answer, with the settings of the request that it answers."""
    items = [whole for item in output_of(response) for whole in complete(item)]
    return written(envelope(response, items, settings_of(asked)))


def settings_of(asked: Inbound | None) -> dict[str, Any]:
    """What an answer repeats of its request."""
    if asked is None or asked.request.wire_format != NAME:
        return {}
    fields = mapping(parse(encode(asked.request, stream=False)))
    settings = fitted({name: value for name, value in fields.items() if name in _REPEATED}, _REPEATED)
    if "tools" in settings:
        settings["tools"] = entries(settings["tools"], kinds(NAME)["tool"])
    if "metadata" in settings:
        settings["metadata"] = {name: value for name, value in settings["metadata"].items() if is_text(value)}
    return settings


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_format(value: Any) -> bool:
    """Whether it is a form of an answer that there is."""
    kind = mapping(value).get("type")
    named = is_text(mapping(value).get("name")) and isinstance(value.get("schema"), Mapping)
    return named if kind == "json_schema" else kind in ("text", "json_object")


def _is_choice(value: Any) -> bool:
    """Whether it says which tool is to be called, in a way that there is."""
    if not isinstance(value, Mapping):
        return value in ("auto", "none", "required")
    kind, named = text_of(value.get("type")), is_text(value.get("name"))
    if kind == "allowed_tools":
        return value.get("mode") in ("auto", "required") and isinstance(value.get("tools"), list)
    return kind in _CHOSEN or (named if kind in ("function", "custom") else kind == "mcp" and is_text(value.get("server_label")))


_CHOSEN = frozenset(
    {
        *("apply_patch", "code_interpreter", "computer", "computer_use", "computer_use_preview", "file_search"),
        *("image_generation", "shell", "web_search_preview", "web_search_preview_2025_03_11"),
    }
)
_SUMMARIES = ("auto", "concise", "detailed")
_REPEATED: Shape = {
    "background": (is_flag, ABSENT),
    "instructions": (is_text, ABSENT),
    "max_output_tokens": (is_count, ABSENT),
    "max_tool_calls": (is_count, ABSENT),
    "metadata": ({}, ABSENT),
    "parallel_tool_calls": (is_flag, ABSENT),
    "previous_response_id": (is_text, ABSENT),
    "prompt_cache_key": (is_text, ABSENT),
    "reasoning": (
        {
            "effort": (one_of("none", "minimal", "low", "medium", "high", "xhigh"), None),
            "summary": (one_of(*_SUMMARIES), None),
            "generate_summary": (one_of(*_SUMMARIES), ABSENT),
        },
        ABSENT,
    ),
    "safety_identifier": (lambda value: is_text(value) and len(value) <= 64, ABSENT),
    "store": (is_flag, ABSENT),
    "temperature": (within(0, 2), ABSENT),
    "text": (
        {"format": (_is_format, {"type": "text"}), "verbosity": (one_of("low", "medium", "high"), ABSENT)},
        ABSENT,
    ),
    "tool_choice": (_is_choice, ABSENT),
    "tools": (_is_list, ABSENT),
    "top_logprobs": (lambda value: is_count(value) and value <= 20, ABSENT),
    "top_p": (within(0, 1), ABSENT),
    "truncation": (one_of("auto", "disabled"), ABSENT),
}
"""What OpenAI's schema allows: what is of another kind or out of bounds is not repeated, and told as the default."""


def envelope(
    response: Response, items: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], status: str | None = None
) -> dict[str, Any]:
    """The response object around its items; settings of the request that are not known are told as the defaults."""
    status = status or status_of(response)
    reason = INCOMPLETE.get(canonical_reason(response.finish_reason) or "")
    created = int(response.created_at.timestamp()) if response.created_at is not None else 0
    return {
        "id": response.response_id or "resp_0",
        "object": "response",
        "created_at": created,
        "completed_at": created if status == "completed" else None,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": reason} if status == "incomplete" and reason is not None else None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "model": response.model,
        "output": list(items),
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "prompt_cache_key": None,
        "safety_identifier": None,
        "service_tier": openai_tier(response.service_tier) or "default",
        "store": False,
        "temperature": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": written_usage(response.usage),
        "metadata": {},
        **settings,
    }


def status_of(response: Response) -> str:
    """The format's word for how an answer ended; its own where it was one."""
    if response.finish_reason_raw in STATUSES:
        return str(response.finish_reason_raw)
    return "incomplete" if canonical_reason(response.finish_reason) in INCOMPLETE else "completed"


def written_usage(usage: Usage) -> dict[str, Any] | None:
    """What was consumed; nothing where nothing is known."""
    if not (usage.raw or usage.input_tokens or usage.output_tokens):
        return None
    into: dict[str, Any] = {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": usage.cache_write_tokens}
    if usage.cache_write_long_tokens:
        long = usage.cache_write_long_tokens
        into["cache_write_tokens_details"] = {"ttl_30m_tokens": usage.cache_write_tokens - long, "ttl_12h_tokens": long}
    if usage.audio_input_tokens:
        into["audio_tokens"] = usage.audio_input_tokens
    out = {"reasoning_tokens": usage.reasoning_tokens}
    if usage.audio_output_tokens:
        out["audio_tokens"] = usage.audio_output_tokens
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": into,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": out,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def output_of(response: Response) -> list[dict[str, Any]]:
    """The items of a whole answer."""
    said: tuple[Part, ...] = (TextPart(text=response.content),) if response.content else ()
    parts = list(response.parts or (*said, *response.tool_calls))
    if response.reasoning and not response.reasoning_parts:
        parts.insert(0, ReasoningPart(text=response.reasoning))
    items = written_items([part for part in map(placed, parts) if part is not None])
    hang(items, response.citations, response.logprobs)
    if response.refusal:
        items.append({"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": response.refusal}]})
    return items


def placed(part: Part) -> Part | None:
    """A part as this format has it: another format's thought is its text alone, a picture is a call that made it."""
    if isinstance(part, TextPart | ToolCall):
        return part
    if isinstance(part, ReasoningPart):
        return part if part.origin in (None, NAME) else ReasoningPart(text=part.text) if part.text else None
    if isinstance(part, OtherPart) and part.origin == NAME:
        return part
    if isinstance(part, ImagePart) and part.data is not None:
        made = base64.b64encode(part.data).decode()
        return OtherPart(origin=NAME, data={"type": "image_generation_call", "status": "completed", "result": made})
    tell_unwritten(part)
    return None


def hang(items: Iterable[dict[str, Any]], citations: Sequence[Citation], logprobs: Sequence[Any], start: int = 0) -> None:
    """Puts onto the text of messages what an answer has apart from it; annotations that are there already stay alone.

    The first message begins at character ``start`` of the answer.
    """
    messages = [item for item in items if isinstance(item.get("content"), str | list) and "role" in item]
    for item in messages:
        if isinstance(item["content"], str):
            item["content"] = [{"type": "output_text", "text": item["content"]}]
    entries = [entry for item in messages for entry in item["content"] if is_output(entry)]
    if citations and entries and not any(entry.get("annotations") for entry in entries):
        _annotate(entries, citations, start)
    if logprobs and entries:
        entries[-1]["logprobs"] = openai_logprobs(logprobs)


def _annotate(entries: Sequence[dict[str, Any]], citations: Sequence[Citation], start: int) -> None:
    """Each citation goes to the text that it begins in, and counts from there."""
    begins = list(accumulate([len(entry["text"]) for entry in entries[:-1]], initial=start))
    for citation in citations:
        if not citation.url:
            tell_unwritten({"type": "citation"})
            continue
        place = max(0, bisect_right(begins, citation.start or 0) - 1)
        ends = (None if end is None else end - begins[place] for end in (citation.start, citation.end))
        told = {"type": CITATION, "url": citation.url, "title": citation.title or "", **place_in(*ends)}
        entries[place].setdefault("annotations", []).append(told)


def complete(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An item with all the fields that clients count on, ids included; none of what they could not read.

    One of an unknown type that says what a message says is written as one.
    """
    kind, known = text_of(item.get("type")), kinds(NAME)
    if not kind or (f"item.{kind}" not in known and "content" in item):
        kind = "message"
    told = {**item, "type": kind}
    if kind in _IDS and not is_text(item.get("id")):
        told["id"] = made_id(_IDS[kind])
    if kind in CALLS:
        told["call_id"] = item["call_id"] or made_id(CALL)
    if kind == "message":
        told["content"] = _content(item.get("content"))
    whole = fit(told, known.get(f"item.{kind}", "none"))
    if whole is ABSENT or (kind == "message" and item.get("content") and not whole["content"]):
        tell_unwritten(item)
        return []
    return [whole]


def _content(content: Any) -> list[Any]:
    listed = [content] if isinstance(content, str) else content if isinstance(content, list) else []
    found = [{"type": "output_text", "text": one} if isinstance(one, str) else mapping(one) for one in listed]
    return [_whole_text(one) if is_text(one.get("text")) else one for one in found]


def _whole_text(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a model wrote, in a part of whatever type."""
    logprobs = entry.get("logprobs")
    return {
        **entry,
        "type": "output_text",
        "logprobs": openai_logprobs(logprobs, with_bytes=True) if isinstance(logprobs, list) else [],
    }


def is_output(entry: Any) -> bool:
    """Whether an entry of a message's content is text that the model wrote; a vendor may put anything there."""
    return isinstance(entry, dict) and entry.get("type") == "output_text" and isinstance(entry.get("text"), str)


_EVENTS = {"function_call": "response.function_call_arguments", "custom_tool_call": "response.custom_tool_call_input"}
_WORD = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","sequence_number":%d,%s,"delta":%s,"logprobs":%s}\n\n'
)
"""The event that a stream mostly consists of."""


@attrs.define(eq=False, repr=False)
class _Open:
    """A message or a thought under way."""

    kind: str
    place: int
    id: str
    told: bool  # whether the vendor named it
    about: bytes = b""  # what every word of it repeats
    text: list[str] = attrs.field(factory=list)
    refusal: list[str] = attrs.field(factory=list)
    entries: list[str] = attrs.field(factory=list)  # the types of the parts that were begun
    texts: list[TextPart] = attrs.field(factory=list)  # as finished
    citations: list[Citation] = attrs.field(factory=list)
    logprobs: list[Any] = attrs.field(factory=list)


class _ResponsesCall(CallBuffer):
    """A call under way."""

    __slots__ = ("event", "item", "place")

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place
        self.item = self.event = ""  # its name as an item, once it is told


class ResponsesWriter:
    """response.created … response.completed; every event numbered, every item with its id and place from the first event on.

    A thought whose vendor named it stays open until it is told what proves it; calls stay open while their arguments may grow.
    """

    def __init__(self, asked: Inbound | None = None) -> None:
        self._asked = asked
        self._settings = settings_of(asked)
        self._fold = Fold()
        self._events: list[bytes] = []
        self._number = 0
        self._items: list[dict[str, Any] | None] = []
        self._open: _Open | None = None
        self._waiting: dict[str, _Open] = {}
        self._calls: dict[int, _ResponsesCall] = {}
        self._grown: set[int] = set()  # those that may be whole now
        self._closed: set[int] = set()
        self._length = 0  # of the text of closed messages, which citations are counted from

    def write(self, chunk: StreamChunk) -> bytes:
        """The events that one chunk becomes."""
        self._fold.add(chunk)
        if not chunk.choice:
            self._begin()
            self._say(chunk)
        return self._flushed()

    def end(self) -> bytes:
        """What is still owed, and the whole response."""
        self._begin()
        self._close_all()
        for thought in self._waiting.values():
            self._close(thought)
        response = self._envelope(status_of(self._fold.response()))
        kind = "incomplete" if response["status"] == "incomplete" else "completed"
        self._event(f"response.{kind}", response=response)
        return self._flushed()

    def fail(self, error: DispatchError) -> bytes:
        """An error event, and the response as failed: SDKs read the first, and Codex acts on the code of the second."""
        told = failure_event(error)
        self._event("error", **told)
        failed = {**self._envelope("failed"), "error": {"code": told["code"], "message": told["message"]}}
        self._event("response.failed", response=failed)
        return self._flushed()

    def keepalive(self) -> bytes:
        """The event by which OpenAI's own streams show that they are alive; it changes nothing that a client keeps."""
        number = self._number
        self._event("keepalive")
        self._number = number and self._number  # before the first event of the response the count begins anew
        return self._flushed()

    def _event(self, kind: str, **fields: Any) -> None:
        document = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        self._events.append(b"event: %s\ndata: %s\n\n" % (kind.encode(), written(document)))

    def _flushed(self) -> bytes:
        events, self._events = b"".join(self._events), []
        return events

    def _begin(self) -> None:
        if not self._number:
            response = {**self._envelope("in_progress"), "usage": None}
            self._event("response.created", response=response)
            self._event("response.in_progress", response=response)

    def _envelope(self, status: str) -> dict[str, Any]:
        response = self._fold.response()
        if self._asked is not None:
            response = replace(response, model=response.model or self._asked.request.model, created_at=self._asked.created_at)
        return envelope(response, [item for item in self._items if item is not None], self._settings, status)

    def _say(self, chunk: StreamChunk) -> None:
        if chunk.reasoning:
            self._think(chunk.reasoning, chunk.item or _named(chunk.parts, ReasoningPart))
        if chunk.content:
            self._speak(chunk)
        if chunk.refusal:
            self._refuse(chunk.refusal)
        if chunk.citations or chunk.logprobs:
            self._hang(chunk)
        for delta in chunk.tool_calls:
            self._call(delta)
        for part in chunk.parts:
            self._part(part)

    def _open_item(self, kind: str, name: str | None) -> _Open:
        """The open item of a kind, or a new one; a name that is not its own begins another."""
        found = self._open
        if found is not None and found.kind == kind and (name == found.id or (name is None and not found.texts)):
            return found
        self._close_all()
        place = self._placed()
        opened = self._open = _Open(kind=kind, place=place, id=name or made_id(_IDS[kind]), told=name is not None)
        item: dict[str, Any] = {"type": kind, "id": opened.id}
        item |= {"summary": []} if kind == "reasoning" else {"status": "in_progress", "role": "assistant", "content": []}
        self._event("response.output_item.added", output_index=place, item=item)
        return opened

    def _placed(self) -> int:
        self._items.append(None)
        return len(self._items) - 1

    def _think(self, text: str, name: str | None) -> None:
        opened = self._open_item("reasoning", name)
        about = {"item_id": opened.id, "output_index": opened.place, "summary_index": 0}
        if not opened.text:
            self._event("response.reasoning_summary_part.added", **about, part={"type": "summary_text", "text": ""})
        opened.text.append(text)
        self._event("response.reasoning_summary_text.delta", **about, delta=text)

    def _speak(self, chunk: StreamChunk) -> None:
        opened = self._open_item("message", chunk.item or _named(chunk.parts, TextPart))
        index = self._entry(opened, "output_text")
        opened.text.append(chunk.content)
        if not opened.about:
            opened.about = written({"item_id": opened.id, "output_index": opened.place, "content_index": index})[1:-1]
        logprobs = written(openai_logprobs(chunk.logprobs)) if chunk.logprobs else b"[]"
        self._events.append(_WORD % (self._number, opened.about, written(chunk.content), logprobs))
        self._number += 1

    def _refuse(self, text: str) -> None:
        opened = self._open if self._open is not None and self._open.kind == "message" else self._open_item("message", None)
        index = self._entry(opened, "refusal")
        opened.refusal.append(text)
        about = {"item_id": opened.id, "output_index": opened.place, "content_index": index}
        self._event("response.refusal.delta", **about, delta=text)

    def _entry(self, opened: _Open, kind: str) -> int:
        """The place of a part in its message, begun if it is new."""
        if kind not in opened.entries:
            opened.entries.append(kind)
            part = {"type": kind, "refusal": ""} if kind == "refusal" else _empty_text()
            index = len(opened.entries) - 1
            about = {"item_id": opened.id, "output_index": opened.place, "content_index": index}
            self._event("response.content_part.added", **about, part=part)
        return opened.entries.index(kind)

    def _hang(self, chunk: StreamChunk) -> None:
        if self._open is not None and self._open.kind == "message":
            self._open.citations += chunk.citations
            self._open.logprobs += chunk.logprobs

    def _call(self, delta: ToolCallDelta) -> None:
        if delta.index in self._closed:
            return
        if delta.index not in self._calls:
            self._close_open()
            for index in sorted(self._grown & self._calls.keys()):
                if self._calls[index].arguments.is_whole:
                    self._close_call(index)
            self._grown.clear()
            self._calls[delta.index] = _ResponsesCall(place=self._placed())
        call = self._calls[delta.index]
        call.learn(delta)
        self._grown.add(delta.index)
        if not call.name:
            return
        text = delta.arguments
        if not call.item:
            self._add_call(call)
            text = call.arguments.text
        if text:
            self._event(f"{call.event}.delta", item_id=call.item, output_index=call.place, delta=text)

    def _add_call(self, call: _ResponsesCall) -> None:
        [item] = complete(written_call(attrs.evolve(call.as_call(call.id), arguments="")))
        call.item, call.event = str(item["id"]), _EVENTS[item["type"]]
        self._event("response.output_item.added", output_index=call.place, item={**item, "status": "in_progress"})

    def _part(self, part: Part) -> None:
        told = placed(part)
        if isinstance(told, TextPart):
            self._finish_text(told)
        elif isinstance(told, ReasoningPart):
            self._finish_thought(told)
        elif isinstance(told, OtherPart):
            for item in complete(told.data):
                self._close_all()
                place = self._placed()
                self._event("response.output_item.added", output_index=place, item=item)
                self._done(place, item)

    def _finish_text(self, part: TextPart) -> None:
        opened = self._open
        if opened is None or opened.kind != "message" or (opened.texts and _about(opened.texts[0]) != _about(part)):
            self._speak(StreamChunk(content=part.text, parts=(part,)))
        if self._open is not None:
            self._open.texts.append(part)

    def _finish_thought(self, part: ReasoningPart) -> None:
        found = self._waiting.pop(part.id or "", None)
        if found is not None and self._open is not None and self._open.texts:
            self._close_open()  # what is finished is told in the order that it was
        if found is None and self._open is not None and self._open.kind == "reasoning" and self._open.text:
            found, self._open = self._open, None
        if found is None:
            self._close_all()
            found = self._open_item("reasoning", part.id)
            self._open = None
        self._close(found, part)

    def _close_all(self) -> None:
        self._close_open()
        for index in list(self._calls):
            self._close_call(index)

    def _close_open(self) -> None:
        opened, self._open = self._open, None
        if opened is not None and opened.kind == "reasoning" and opened.told:
            self._waiting[opened.id] = opened
        elif opened is not None:
            self._close(opened)

    def _close(self, opened: _Open, thought: ReasoningPart | None = None) -> None:
        if opened.kind == "message":
            self._close_message(opened)
            return
        text = "".join(opened.text)
        if text:
            about = {"item_id": opened.id, "output_index": opened.place, "summary_index": 0}
            self._event("response.reasoning_summary_text.done", **about, text=text)
            self._event("response.reasoning_summary_part.done", **about, part={"type": "summary_text", "text": text})
        self._done(opened.place, *complete({**written_thought(thought or ReasoningPart(text=text)), "id": opened.id}))

    def _close_message(self, opened: _Open) -> None:
        texts: Sequence[TextPart] = opened.texts or [TextPart(text="".join(opened.text))]
        items = written_items([part for part in texts if part.text]) or [{"role": "assistant", "content": []}]
        hang(items, opened.citations, opened.logprobs, self._length)
        self._length += sum([len(part.text) for part in texts])
        [item] = complete({**items[0], "id": opened.id})
        if opened.refusal:
            said = {"type": "refusal", "refusal": "".join(opened.refusal)}
            item["content"].insert(opened.entries.index("refusal"), said)
        for index, part in enumerate(item["content"]):
            self._close_entry(opened, index, part)
        self._done(opened.place, item)

    def _close_entry(self, opened: _Open, index: int, part: Mapping[str, Any]) -> None:
        about = {"item_id": opened.id, "output_index": opened.place, "content_index": index}
        for number, annotation in enumerate(part.get("annotations", ())):
            told = {"annotation_index": number, "annotation": annotation}
            self._event("response.output_text.annotation.added", **about, **told)
        if index >= len(opened.entries):
            self._event("response.content_part.added", **about, part=_empty_text())
        elif part.get("type") == "refusal":
            self._event("response.refusal.done", **about, refusal=part["refusal"])
        elif is_output(part):
            self._event("response.output_text.done", **about, text=part["text"], logprobs=part["logprobs"])
        self._event("response.content_part.done", **about, part=part)

    def _close_call(self, index: int) -> None:
        state = self._calls.pop(index)
        self._closed.add(index)
        call = state.as_call(state.id)
        if not state.item:
            self._add_call(state)
        [item] = complete({**written_call(call), "id": state.item})
        if item.get("status") == "in_progress":
            item["status"] = "completed"
        field = CALLS[item["type"]][1]
        named = {"name": call.name} if field == "arguments" else {}
        self._event(f"{state.event}.done", item_id=state.item, output_index=state.place, **named, **{field: call.arguments})
        self._done(state.place, item)

    def _done(self, place: int, item: dict[str, Any]) -> None:
        self._items[place] = item
        self._event("response.output_item.done", output_index=place, item=item)


def _empty_text() -> dict[str, Any]:
    return {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


def _about(part: TextPart) -> Mapping[str, Any]:
    return mapping(own(part, NAME).get("item"))


def _named(parts: Iterable[Part], kind: type) -> str | None:
    """The id that a finished part gives to what was said in the same chunk."""
    for part in parts:
        if isinstance(part, ReasoningPart) and kind is ReasoningPart and part.origin in (None, NAME):
            return part.id
        if isinstance(part, TextPart) and kind is TextPart:
            name = _about(part).get("id")
            return name if isinstance(name, str) else None
    return None
