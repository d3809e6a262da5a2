"""Encode answers, streams of JSON lines and errors of Ollama's chat API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ...errors import DispatchError
from ...types import (
    ReasoningPart,
    Response,
    StreamChunk,
    TextPart,
    ToolCall,
    Usage,
    parse_text,
    unfold,
)
from ..base import EPOCH, Inbound
from ..decoding import CallBuffer
from ..encoding import input_of, tell_others, tell_unwritten, written
from ..openai_chat.fields import openai_logprobs
from ..server_errors import refused
from .request import done_reason, raw_usage

_TAIL = b'},"done":false}\n'
"""What ends the lines that a stream mostly consists of; of those only the text is still to be written."""


def write_response(response: Response, _asked: Inbound | None = None) -> bytes:
    """The body of a whole answer; this format repeats nothing of the request."""
    writer = OllamaChatWriter()
    for chunk in unfold(response):
        writer.learn(chunk)
    return writer.in_one(response.created_at or EPOCH)


def _head(model: str, created: datetime) -> bytes:
    """What such a line begins with, up to its text."""
    line = {"model": model, "created_at": _format_time(created), "message": {"role": "assistant", "content": ""}}
    return written(line).removesuffix(b'""}}')


def _format_time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _is_text(chunk: StreamChunk) -> bool:
    """Whether a chunk says a piece of the text and nothing else that this format has a place for."""
    other = chunk.reasoning or chunk.refusal or chunk.tool_calls or chunk.logprobs or chunk.citations or chunk.choice
    return bool(chunk.content) and not other and chunk.usage is None and chunk.finish_reason is chunk.finish_reason_raw is None


class _OllamaCall(CallBuffer):
    """A call under way; it is told once it is whole."""

    __slots__ = ("_place",)

    def __init__(self, place: int) -> None:
        super().__init__()
        self._place = place

    def entry(self) -> dict[str, Any]:
        """The call as it is told."""
        function = {"index": self._place, "name": self.name, "arguments": input_of(self.arguments.text, self.kind)}
        return {"id": self.id, "function": function}


class OllamaChatWriter:
    """A line for each piece; calls are told whole, before what is said after them or at the end."""

    __slots__ = (
        "_calls",
        "_content",
        "_created",
        "_finish",
        "_grown",
        "_head",
        "_logprobs",
        "_model",
        "_owed",
        "_thinking",
        "_usage",
    )

    def __init__(self, asked: Inbound | None = None) -> None:
        self._model = asked.request.model if asked is not None else ""
        self._created = asked.created_at if asked is not None else EPOCH
        self._head = _head(self._model, self._created)
        self._calls: dict[int, _OllamaCall] = {}
        self._owed: dict[int, _OllamaCall] = {}  # those that are not told yet
        self._grown: set[int] = set()  # those that may be whole now
        self._content: list[str] = []
        self._thinking: list[str] = []
        self._logprobs: list[Any] = []
        self._finish = done_reason(None, None)
        self._usage: Usage | None = None

    def write(self, chunk: StreamChunk) -> bytes:
        """The lines that one chunk becomes; an answer beside the first has no place."""
        if not self._calls and _is_text(chunk) and chunk.model in (None, self._model):
            return self._head + written(chunk.content) + _TAIL
        known = self._write_held() if (chunk.content or chunk.reasoning or chunk.refusal) and not chunk.choice else b""
        self.learn(chunk)
        said = self._message()
        return known + self._line(said, done=False) if len(said) > 2 or said["content"] or self._logprobs else known

    def learn(self, chunk: StreamChunk) -> None:
        """Take in what a chunk says."""
        if chunk.choice:
            return
        if chunk.model and chunk.model != self._model:
            self._model, self._head = chunk.model, _head(chunk.model, self._created)
        self._content += [text for text in (chunk.content, chunk.refusal) if text]
        self._thinking += [chunk.reasoning] if chunk.reasoning else []
        self._logprobs += openai_logprobs(chunk.logprobs) if chunk.logprobs else ()
        for delta in chunk.tool_calls:
            if delta.index not in self._calls:
                self._calls[delta.index] = self._owed[delta.index] = _OllamaCall(len(self._calls))
            self._calls[delta.index].learn(delta)
            self._grown.add(delta.index)
        tell_others(chunk.parts, TextPart, ReasoningPart, ToolCall)
        if chunk.citations:
            tell_unwritten({"type": "citation"})
        self._usage = chunk.usage or self._usage
        if chunk.finish_reason is not None or chunk.finish_reason_raw is not None:
            self._finish = done_reason(chunk.finish_reason, chunk.finish_reason_raw)

    def end(self) -> bytes:
        """The calls that are still owed, and the last line."""
        return self._write_held(even_broken=True) + self._line(self._message(), done=True)

    def in_one(self, created: datetime) -> bytes:
        """All of it as one document."""
        message = self._message()
        calls = self._entries(even_broken=True)
        return self._line({**message, "tool_calls": calls} if calls else message, done=True, created=created).rstrip()

    def fail(self, error: DispatchError) -> bytes:
        """The line that tells of a failure in the middle of a stream."""
        status, body = refusal(error)
        return written({**parse_text(body.decode()), "status_code": status}) + b"\n"

    def _message(self) -> dict[str, Any]:
        """What was taken in and not told yet, but for calls."""
        message = {"role": "assistant", "content": "".join(self._content)}
        if self._thinking:
            message["thinking"] = "".join(self._thinking)
        self._content, self._thinking = [], []
        return message

    def _write_held(self, *, even_broken: bool = False) -> bytes:
        calls = self._entries(even_broken=even_broken)
        return self._line({"role": "assistant", "content": "", "tool_calls": calls}, done=False) if calls else b""

    def _entries(self, *, even_broken: bool) -> list[dict[str, Any]]:
        grown, self._grown = sorted(self._grown & self._owed.keys()), set()
        ready = list(self._owed) if even_broken else [index for index in grown if self._owed[index].is_whole]
        return [self._owed.pop(index).entry() for index in ready]

    def _line(self, message: Mapping[str, Any], *, done: bool, created: datetime | None = None) -> bytes:
        line: dict[str, Any] = {"model": self._model, "created_at": _format_time(created or self._created), "message": message}
        if self._logprobs:
            line["logprobs"], self._logprobs = self._logprobs, []
        line["done"] = done
        if done:
            line |= {"done_reason": self._finish, **raw_usage(self._usage)}
        return written(line) + b"\n"


def refusal(error: DispatchError) -> tuple[int, bytes]:
    """Status and body of an error; a code is added only where it would be read as another class without."""
    return refused(error, lambda _status, code: {"error": error.message, **({"code": code} if code else {})})
