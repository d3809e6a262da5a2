"""The codec of Ollama's chat API, and its decoders. https://docs.ollama.com/api/chat"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ...errors import DispatchError, MalformedReply, StreamInterrupted
from ...types import MOST_MEMBERS, ReasoningPart, Request, Response, StreamChunk, ToolCallDelta, fold
from ..base import Bounds, Inbound
from ..decoding import LineDecoder, dump, mapping, parse_object, text_of
from ..errors import fault_inside
from .request import NAME, encoded, finish_of, ollama_usage
from .server import ChatWriter, inbound, refusal, whole

_LINES = re.compile(rb"\}[ \t\r]*\n\s*\{")
"""What stands between two documents, and nowhere in one."""


class OllamaChat:
    """The codec; without state."""

    name = NAME
    content_type = "application/x-ndjson"

    def path(self, model: str, *, stream: bool) -> str:
        """The model travels in the body, so the path is always the same."""
        return "/api/chat"

    def encode(self, request: Request, *, stream: bool, quirks: frozenset[str] = frozenset()) -> bytes:
        """The JSON body of a request; ``stream`` is always said, since it is the default of this format."""
        return dump({**encoded(request, quirks), "stream": stream}, request, self.name)

    def decode(self, body: bytes, members: int = MOST_MEMBERS) -> Response:
        """A whole answer; also one that came in lines, although nobody asked for a stream."""
        return read_body(body, OllamaDecoder(), members)

    def decoder(self) -> OllamaDecoder:
        """A fresh decoder for one stream."""
        return OllamaDecoder()

    def read_request(self, body: bytes, path: str = "") -> Inbound:
        """The request in a body."""
        return inbound(body)

    def write_response(self, response: Response) -> bytes:
        """The body of a whole answer."""
        return whole(response)

    def writer(self, asked: Inbound | None = None) -> ChatWriter:
        """A fresh writer for one stream."""
        return ChatWriter(asked)

    def write_error(self, error: DispatchError) -> tuple[int, bytes]:
        """Status and body of a refusal."""
        return refusal(error)


OLLAMA_CHAT = OllamaChat()


def read_body(body: bytes, decoder: OllamaDecoder, members: int = MOST_MEMBERS) -> Response:
    """A whole answer, in one document or in lines."""
    decoder.bounds = Bounds(size=len(body), members=members)
    if _LINES.search(body):
        return fold([*decoder.feed(body), *decoder.finish()])
    return fold(decoder.finish_plain(body))


class OllamaDecoder(LineDecoder):
    """One line for each piece of an answer; the last is ``done``. Calls come whole, mostly without ids, which are made up then."""

    __slots__ = ("_answered", "_calls", "_thought")
    END_MARKER = '"done": true'

    def __init__(self) -> None:
        super().__init__()
        self._answered = False
        self._calls = 0
        self._thought: list[str] = []

    def message_of(self, document: Mapping[str, Any]) -> Any:
        """What a line says, as a message."""
        return document.get("message")

    def read_event(self, document: Mapping[str, Any]) -> StreamChunk | list[StreamChunk] | None:
        """One line."""
        message = self.message_of(document)
        if type(message) is dict:
            self._answered = True
        else:
            message = {}
        content, thought, calls = message.get("content"), message.get("thinking"), message.get("tool_calls")
        if document.get("done") is True:
            self.ended = self.done = True
        elif not (thought or calls or self._thought):
            return StreamChunk(
                content=content if type(content) is str else "",
                model=text_of(document.get("model")) or None,
                logprobs=_logprobs(document),
            )
        return [*self._thinking(text_of(thought), bool(content or calls or self.done)), self._saying(document, content, calls)]

    def _thinking(self, text: str, over: bool) -> list[StreamChunk]:
        """A piece of a thought, whole as a part once it is over: the vendor wants it back."""
        if text:
            self._thought.append(text)
        if not (over and self._thought):
            return [StreamChunk(reasoning=text)] if text else []
        part = ReasoningPart(text="".join(self._thought), origin=NAME)
        self._thought = []
        return [StreamChunk(reasoning=text, parts=(part,))]

    def _saying(self, document: Mapping[str, Any], content: Any, calls: Any) -> StreamChunk:
        deltas = tuple([self._call(mapping(call)) for call in calls]) if isinstance(calls, list) else ()
        raw = document.get("done_reason")
        return StreamChunk(
            content=text_of(content),
            tool_calls=deltas,
            finish_reason=finish_of(raw, called=self._calls > 0) if self.done else None,
            finish_reason_raw=text_of(raw) or None,
            usage=ollama_usage(document) if self.done else None,
            model=text_of(document.get("model")) or None,
            logprobs=_logprobs(document),
        )

    def _call(self, call: Mapping[str, Any]) -> ToolCallDelta:
        place, self._calls = self._calls, self._calls + 1
        function = mapping(call.get("function"))
        given = function.get("arguments")
        return ToolCallDelta(
            index=place,
            id=text_of(call.get("id")) or f"call_{place}",
            name=text_of(function.get("name")) or None,
            arguments=given if isinstance(given, str) else json.dumps(given or {}, ensure_ascii=False),
        )

    def finish_plain(self, body: bytes) -> list[StreamChunk]:
        """The chunks of an answer in one piece, which must be complete as well."""
        document = parse_object(body, self.bounds.members)
        if document.get("error"):
            raise fault_inside(document)
        said = self.read_event(document)
        if not self._answered:
            raise MalformedReply("the vendor's answer has no message", sent=True)
        if not self.ended:
            raise StreamInterrupted(f"the answer ended without {self.END_MARKER}", sent=True)
        return said if isinstance(said, list) else [said] if said is not None else []

    def read_whole(self, body: bytes) -> Response:
        """A whole answer."""
        return OLLAMA_CHAT.decode(body, self.bounds.members)


def _logprobs(document: Mapping[str, Any]) -> tuple[Any, ...]:
    found = document.get("logprobs")
    return tuple(found) if type(found) is list else ()
