"""Encode answers, streams of JSON lines and errors of Ollama's chat API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ...errors import DispatchError
from ...types import (
    Response,
    StreamChunk,
    ToolCallDelta,
    Usage,
    parse_text,
    unfold,
)
from ..base import Inbound
from ..decoding import CALL, made_id
from ..encoding import written
from ..openai_chat.fields import openai_logprobs
from ..server_errors import refused
from .request import done_reason, raw_usage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TAIL = b'},"done":false}\n'
"""What ends the lines that a stream mostly consists of; of those only the text is still to be written."""


def write_response(response: Response, _asked: Inbound | None = None) -> bytes:
    """The body of a whole answer; this format repeats nothing of the request."""
    writer = OllamaChatWriter()
    for chunk in unfold(response):
        writer.learn(chunk)
    return writer.in_one(response.created_at or _EPOCH)


def _head(model: str) -> bytes:
    """What such a line begins with, up to its text."""
    line = {"model": model, "created_at": _told_time(_EPOCH), "message": {"role": "assistant", "content": ""}}
    return written(line).removesuffix(b'""}}')


def _told_time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _is_text(chunk: StreamChunk) -> bool:
    """Whether a chunk says a piece of the text and nothing else that this format has a place for."""
    other = chunk.reasoning or chunk.refusal or chunk.tool_calls or chunk.logprobs or chunk.choice
    return bool(chunk.content) and not other and chunk.usage is None and chunk.finish_reason is chunk.finish_reason_raw is None


class _OllamaCall:
    """A call under way; it is told once it is whole."""

    __slots__ = ("arguments", "id", "kind", "name", "told")

    def __init__(self) -> None:
        self.id = made_id(CALL)
        self.name = ""
        self.kind = "function"
        self.arguments: list[str] = []
        self.told = False

    def learn(self, delta: ToolCallDelta) -> None:
        """Take in a piece."""
        self.id, self.name, self.kind = delta.id or self.id, self.name or delta.name or "", delta.kind or self.kind
        self.arguments.append(delta.arguments)

    def given(self) -> dict[str, Any] | None:
        """The arguments as the object that the format wants; ``None`` as long as they are no JSON."""
        text = "".join(self.arguments)
        if self.kind == "custom":
            return {"input": text}
        try:
            value = parse_text(text) if text.strip() else {}
        except ValueError:
            return None
        return value if isinstance(value, dict) else {} if value is None else {"input": value}

    def entry(self, place: int) -> dict[str, Any]:
        """The call as it is told."""
        given = self.given()
        function = {"index": place, "name": self.name, "arguments": {"input": "".join(self.arguments)} if given is None else given}
        return {"id": self.id, "function": function}


class OllamaChatWriter:
    """A line for each piece; calls are told whole, before what is said after them or at the end."""

    __slots__ = ("_calls", "_content", "_finish", "_head", "_logprobs", "_model", "_thinking", "_usage")

    def __init__(self, asked: Inbound | None = None) -> None:
        self._model = asked.request.model if asked is not None else ""
        self._head = _head(self._model)
        self._calls: dict[int, _OllamaCall] = {}
        self._content: list[str] = []
        self._thinking: list[str] = []
        self._logprobs: list[Any] = []
        self._finish = done_reason(None, None)
        self._usage: Usage | None = None

    def write(self, chunk: StreamChunk) -> bytes:
        """The lines that one chunk becomes; an answer beside the first has no place."""
        if not self._calls and _is_text(chunk) and chunk.model in (None, self._model):
            return self._head + written(chunk.content) + _TAIL
        known = self._told() if (chunk.content or chunk.reasoning or chunk.refusal) and not chunk.choice else b""
        self.learn(chunk)
        said = self._message()
        return known + self._line(said, done=False) if len(said) > 2 or said["content"] or self._logprobs else known

    def learn(self, chunk: StreamChunk) -> None:
        """Take in what a chunk says."""
        if chunk.choice:
            return
        if chunk.model and chunk.model != self._model:
            self._model, self._head = chunk.model, _head(chunk.model)
        self._content += [text for text in (chunk.content, chunk.refusal) if text]
        self._thinking += [chunk.reasoning] if chunk.reasoning else []
        self._logprobs += openai_logprobs(chunk.logprobs) if chunk.logprobs else ()
        for delta in chunk.tool_calls:
            if delta.index not in self._calls:
                self._calls[delta.index] = _OllamaCall()
            self._calls[delta.index].learn(delta)
        self._usage = chunk.usage or self._usage
        if chunk.finish_reason is not None or chunk.finish_reason_raw is not None:
            self._finish = done_reason(chunk.finish_reason, chunk.finish_reason_raw)

    def end(self) -> bytes:
        """The calls that are still owed, and the last line."""
        return self._told(even_broken=True) + self._line(self._message(), done=True)

    def in_one(self, created: datetime) -> bytes:
        """All of it as one document."""
        message = self._message()
        calls = self._owed(even_broken=True)
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

    def _told(self, *, even_broken: bool = False) -> bytes:
        calls = self._owed(even_broken=even_broken)
        return self._line({"role": "assistant", "content": "", "tool_calls": calls}, done=False) if calls else b""

    def _owed(self, *, even_broken: bool) -> list[dict[str, Any]]:
        owed = []
        for place, call in enumerate(self._calls.values()):
            if not call.told and (even_broken or call.given() is not None):
                call.told = True
                owed.append(call.entry(place))
        return owed

    def _line(self, message: Mapping[str, Any], *, done: bool, created: datetime = _EPOCH) -> bytes:
        line: dict[str, Any] = {"model": self._model, "created_at": _told_time(created), "message": message}
        if self._logprobs:
            line["logprobs"], self._logprobs = self._logprobs, []
        line["done"] = done
        if done:
            line |= {"done_reason": self._finish, **raw_usage(self._usage)}
        return written(line) + b"\n"


def refusal(error: DispatchError) -> tuple[int, bytes]:
    """Status and body of an error; a code is added only where it would be read as another class without."""
    return refused(error, lambda _status, code: {"error": error.message, **({"code": code} if code else {})})
