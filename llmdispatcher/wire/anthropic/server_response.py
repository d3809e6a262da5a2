"""Encode responses, errors and streams as Anthropic's Messages API sends them.

A stream consists of named events, each of which belongs to a content block by its index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import CircuitOpen, DispatchError, Overloaded
from ...types import (
    Citation,
    OtherPart,
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
from ..decoding import CALL, CallBuffer, made_id, text_of
from ..encoding import input_of, own, tell_unwritten, with_signature, written
from ..limits import plain_id
from ..server_errors import refused
from ..shapes import ABSENT, entries, fit, kinds
from .fields import DIRECT, NAME, raw_usage, stop_reason, web_citation

NO_ID = "msg_0"
"""Names an answer that came without a name."""
_CALLED = "tool_use"
"""The kind of block that a client answers with a result."""


def write_response(response: Response, _asked: Inbound | None = None) -> bytes:
    """The body of a whole answer; this format repeats nothing of the request."""
    usage = raw_usage(response.usage, response.service_tier)
    blocks = _blocks(response)
    called = any(block["type"] == _CALLED for block in blocks)
    reason = stop_reason(response.finish_reason, response.finish_reason_raw, called=called)
    return written(_message(response.response_id, response.model, blocks, reason, usage))


def _message(name: str | None, model: str, content: list[dict[str, Any]], reason: str | None, usage: Any) -> dict[str, Any]:
    """A message with all the fields that the vendor's schema wants."""
    return {
        "id": name or NO_ID,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": usage,
    }


def _blocks(response: Response) -> list[dict[str, Any]]:
    said: tuple[Part, ...] = (TextPart(text=response.content),) if response.content else ()
    parts = response.parts or (*said, *response.tool_calls)
    blocks: list[dict[str, Any]] = []
    if response.reasoning and not any(isinstance(part, ReasoningPart) and part.text for part in parts):
        blocks.append(_thinking(response.reasoning))
    for part in parts:
        blocks += _call(part) if isinstance(part, ToolCall) else _block(part)
    if not any(isinstance(part, TextPart) and own(part, NAME).get("citations") for part in parts):
        _cite(blocks, response.citations)
    return [*blocks, {"type": "text", "text": response.refusal, "citations": []}] if response.refusal else blocks


def _cite(blocks: list[dict[str, Any]], citations: Sequence[Citation]) -> None:
    """Sources that another vendor named are those of the text as a whole; Anthropic's own stand in their blocks."""
    text = next((block for block in reversed(blocks) if block["type"] == "text"), None)
    sources = [web_citation(citation) for citation in citations if citation.url and text is not None]
    if len(sources) < len(citations):
        tell_unwritten({"type": "citation"})
    if sources and text is not None:
        text["citations"] = sources


def _block(part: Part) -> list[dict[str, Any]]:
    if isinstance(part, TextPart):
        return _whole_block({"type": "text", "text": part.text, **own(part, NAME)})
    if isinstance(part, ReasoningPart):
        return _thought(part)
    if isinstance(part, OtherPart) and part.origin == NAME:
        return _whole_block(part.data)
    tell_unwritten(part)
    return []


def _whole_block(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A block, and those in it, with all that clients count on; none of what they could not read."""
    whole = fit(block, kinds("anthropic")["block"])
    if whole is not ABSENT:
        return [whole]
    text = text_of(block.get("text"))
    if not text:
        tell_unwritten(block)
    return [{"type": "text", "text": text, "citations": []}] if text else []


def _thought(part: ReasoningPart) -> list[dict[str, Any]]:
    """A thought; another format's proof of it would only be taken for one of Anthropic's."""
    native = part.origin in (None, NAME)
    if native and part.encrypted is not None:
        return [{"type": "redacted_thinking", "data": part.encrypted}]
    return [_thinking(part.text, (part.signature if native else None) or "")] if part.text or native else []


def _thinking(text: str, signature: str = "") -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": signature}


def _call(call: ToolCall) -> list[dict[str, Any]]:
    head = {"type": _CALLED, "id": plain_id(call.id or made_id(CALL)), "name": call.name, "caller": DIRECT}
    further = {**with_signature(call.signature), **own(call, NAME)}
    return _whole_block({**head, "input": input_of(call.arguments, call.kind), **further})


_STATUSES: Mapping[type[DispatchError], int] = {Overloaded: 529, CircuitOpen: 529}
_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def refusal(error: DispatchError) -> tuple[int, bytes]:
    """Status and body of an error."""
    return refused(error, lambda status, code: error_document(error, status, code), _STATUSES)


def error_document(error: DispatchError, status: int, code: str | None = None) -> dict[str, Any]:
    """What is said of an error."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    told: dict[str, Any] = {"type": kind, "message": error.message}
    if code is not None:
        told["details"] = {"error_code": code}
    return {"type": "error", "error": told, "request_id": error.request_id}


_EMPTY: Mapping[str, Mapping[str, Any]] = {
    "text": {"type": "text", "text": "", "citations": None},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}
_HEAD = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":'
_GROWTH: Mapping[str, bytes] = {
    "text": _HEAD + b'{"type":"text_delta","text":%s}}\n\n',
    "thinking": _HEAD + b'{"type":"thinking_delta","thinking":%s}}\n\n',
}
"""The events that a stream mostly consists of; only the text is still to be written."""


class _AnthropicCall(CallBuffer):
    """A call under way; it is told from its name on, and its arguments with it."""

    __slots__ = ("_told", "closed", "index", "is_object")

    def __init__(self) -> None:
        super().__init__()
        self._told = 0  # pieces of its arguments
        self.is_object: bool | None = None  # whether they begin as the object that the format wants; None before they begin
        self.index = -1
        self.closed = False

    def learn(self, delta: ToolCallDelta) -> None:
        """Take in a piece."""
        super().learn(delta)
        if self.is_object is None and (begin := delta.arguments.lstrip()):
            self.is_object = begin[0] == "{"

    def waiting(self) -> list[str]:
        """The pieces of its arguments that were not told yet."""
        pieces = self.arguments.pieces[self._told :]
        self._told += len(pieces)
        return pieces


class MessagesWriter:
    """message_start … message_stop. One block is open at a time, but calls whose arguments come by turns."""

    __slots__ = (
        "_asked",
        "_called",
        "_calls",
        "_cited",
        "_count",
        "_finish",
        "_grown",
        "_id",
        "_kind",
        "_model",
        "_out",
        "_started",
        "_texts",
        "_tier",
        "_tier_told",
        "_usage",
    )

    def __init__(self, asked: Inbound | None = None) -> None:
        self._asked = asked
        self._called = False  # whether a call was told
        self._calls: dict[int, _AnthropicCall] = {}
        self._cited = False  # whether the sources stand in their blocks, as in an answer of Anthropic's own
        self._grown: dict[int, _AnthropicCall] = {}  # those that may be whole now
        self._texts: dict[int, _AnthropicCall] = {}  # those that are nothing but text, which ends with whatever follows
        self._count = 0  # blocks so far
        self._kind: str | None = None  # of the last block, where it is open and no call
        self._out: list[bytes] = []
        self._started = False
        self._model: str | None = None
        self._id: str | None = None
        self._tier: str | None = None
        self._tier_told: str | None = None
        self._usage: Usage | None = None
        self._finish: tuple[str | None, str | None] = None, None

    def write(self, chunk: StreamChunk) -> bytes:
        """The events that one chunk becomes; an answer beside the first has no place."""
        if chunk.choice:
            return b""
        self._learn(chunk)
        if self._model is not None:
            self._start()
        for kind, text in (("thinking", chunk.reasoning), ("text", chunk.content), ("text", chunk.refusal)):
            if text:
                self._grow(kind, text)
        for delta in chunk.tool_calls:
            self._call(delta)
        for part in chunk.parts:
            self._part(part)
        if chunk.citations and not self._cited:
            self._cite(chunk.citations)
        return self._flushed()

    def _cite(self, citations: Sequence[Citation]) -> None:
        """Sources that another vendor named, if the text that they are for is still open."""
        sources = [web_citation(citation) for citation in citations if citation.url and self._kind == "text"]
        for source in sources:
            self._delta("citations_delta", self._count - 1, citation=source)
        if len(sources) < len(citations):
            tell_unwritten({"type": "citation"})

    def end(self) -> bytes:
        """What is still owed, and the end marker."""
        self._start()
        self._close(last=True)
        usage = raw_usage(self._usage or Usage(), self._tier if self._tier != self._tier_told else None)
        reason = stop_reason(*self._finish, called=self._called)
        delta = {"stop_reason": reason, "stop_sequence": None, "stop_details": None, "container": None}
        self._emit("message_delta", delta=delta, usage=usage)
        self._emit("message_stop")
        return self._flushed()

    def fail(self, error: DispatchError) -> bytes:
        """The event that tells of a failure in the middle of a stream."""
        return b"event: error\ndata: " + refusal(error)[1] + b"\n\n"

    def _learn(self, chunk: StreamChunk) -> None:
        self._model, self._id = self._model or chunk.model, self._id or chunk.response_id
        self._tier, self._usage = chunk.service_tier or self._tier, chunk.usage or self._usage
        if chunk.finish_reason is not None or chunk.finish_reason_raw is not None:
            self._finish = chunk.finish_reason, chunk.finish_reason_raw

    def _flushed(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _emit(self, kind: str, **fields: Any) -> None:
        self._out.append(b"event: %s\ndata: %s\n\n" % (kind.encode(), written({"type": kind, **fields})))

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        model = self._model or (self._asked.request.model if self._asked is not None else "")
        self._tier_told = self._tier if self._usage else None
        usage = raw_usage(self._usage or Usage(), self._tier_told)
        self._emit("message_start", message=_message(self._id, model, [], None, usage))

    def _open(self, block: Mapping[str, Any]) -> int:
        self._start()
        self._called = self._called or block["type"] == _CALLED
        self._emit("content_block_start", index=self._count, content_block=block)
        self._count += 1
        return self._count - 1

    def _delta(self, kind: str, index: int, **fields: Any) -> None:
        self._emit("content_block_delta", index=index, delta={"type": kind, **fields})

    def _grow(self, kind: str, text: str) -> None:
        if self._kind != kind:
            self._close()
            self._open(_EMPTY[kind])
            self._kind = kind
        self._out.append(_GROWTH[kind] % (self._count - 1, written(text)))

    def _close(self, *, last: bool = False) -> None:
        """End what is open, but a call that there will be more of."""
        self._close_text()
        self._close_whole()
        for call in (self._calls if last else self._texts).values():
            if not call.closed:
                self._close_call(call)
        self._texts.clear()

    def _close_whole(self) -> None:
        for call in self._grown.values():
            if not call.closed and call.is_whole:
                self._close_call(call)
        self._grown.clear()

    def _close_text(self) -> None:
        if self._kind is not None:
            self._emit("content_block_stop", index=self._count - 1)
            self._kind = None

    def _call(self, delta: ToolCallDelta) -> None:
        call = self._calls.get(delta.index)
        if call is None:
            self._close_text()
            self._close_whole()
            call = self._calls[delta.index] = _AnthropicCall()
        call.learn(delta)
        (self._texts if call.kind == "custom" else self._grown)[delta.index] = call
        if call.name and call.kind != "custom" and not call.closed:
            self._tell(call)

    def _tell(self, call: _AnthropicCall) -> None:
        if call.index < 0:
            self._close_text()
            further = with_signature(call.signature)
            further |= call.extra.get(NAME, {}) if isinstance(call.extra, Mapping) else {}
            head = {"type": _CALLED, "id": plain_id(call.id), "name": call.name, "caller": DIRECT}
            block = fit({**head, "input": {}, **further}, kinds("anthropic")[_CALLED])
            if block is ABSENT:
                call.closed = True
                tell_unwritten(head)
                return
            call.index = self._open(block)
        for text in filter(None, call.waiting()) if call.is_object else ():
            self._delta("input_json_delta", call.index, partial_json=text)

    def _close_call(self, call: _AnthropicCall) -> None:
        call.closed = True
        if not call.name:
            tell_unwritten({"type": _CALLED})
            return
        self._tell(call)
        if call.index < 0:
            return
        waiting = "".join(call.waiting())
        if waiting or call.kind == "custom":
            given = json.dumps(input_of(waiting, call.kind), ensure_ascii=False)
            self._delta("input_json_delta", call.index, partial_json=given)
        self._emit("content_block_stop", index=call.index)

    def _part(self, part: Part) -> None:
        if isinstance(part, TextPart):
            self._hang(part)
        elif isinstance(part, ReasoningPart):
            self._prove(part)
        elif not isinstance(part, ToolCall):
            for block in _block(part):
                self._close()
                self._kind = "other"
                self._open(block)
                self._close()

    def _hang(self, part: TextPart) -> None:
        """What hangs on a text that was told before."""
        own_citations = own(part, NAME).get("citations") or []
        self._cited = self._cited or bool(own_citations)
        citations = entries(own_citations, kinds("anthropic")["citation"])
        if self._kind != "text" and citations:
            self._close()
            self._open(_EMPTY["text"])
            self._kind = "text"
        for citation in citations:
            self._delta("citations_delta", self._count - 1, citation=citation)
        if self._kind == "text":
            self._close_text()

    def _prove(self, part: ReasoningPart) -> None:
        """What proves a thought that was told before, or stands for one; another format's proof is none here."""
        native = part.origin in (None, NAME)
        if native and part.encrypted is not None:
            self._close()
            self._open({"type": "redacted_thinking", "data": part.encrypted})
            self._kind = "other"
        elif native and self._kind != "thinking":
            self._close()
            self._open(_EMPTY["thinking"])
            self._kind = "thinking"
            if part.text:
                self._delta("thinking_delta", self._count - 1, thinking=part.text)
        if native and part.signature and self._kind == "thinking":
            self._delta("signature_delta", self._count - 1, signature=part.signature)
        if self._kind in ("thinking", "other"):
            self._close_text()
