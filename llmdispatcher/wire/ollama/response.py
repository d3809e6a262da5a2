"""Decode answers and streams of Ollama's chat API. https://docs.ollama.com/api/chat"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import StreamInterrupted
from ...types import MOST_MEMBERS, ReasoningPart, Response, StreamChunk, ToolCallDelta, fold
from ..base import Bounds
from ..decoding import CALL, arguments_in, made_id, mapping, missing, recount, says, text_of, words_of
from ..finish import error_of
from ..streams import EventDecoder, documents_in
from .request import NAME, finish_of, ollama_usage

_LINES = re.compile(rb"\}[ \t\r]*\n\s*\{")
"""What stands between two documents, and nowhere in one."""


def decode(body: bytes, members: int = MOST_MEMBERS) -> Response:
    """Decode a whole answer, also one in JSON lines."""
    return read_body(body, OllamaDecoder(), members)


def read_body(body: bytes, decoder: OllamaDecoder, members: int = MOST_MEMBERS) -> Response:
    """A whole answer, in one document or in lines."""
    decoder.bounds = Bounds(size=len(body), members=members)
    if _LINES.search(body):
        return fold([*decoder.feed(body), *decoder.finish()])
    return fold(decoder.finish_plain(body))


class OllamaDecoder(EventDecoder):
    """One line for each piece of an answer; the last is ``done``. Calls come whole, mostly without ids, which are made up then."""

    __slots__ = ("_calls", "_content", "_counts", "_has_answered", "_sent_calls", "_thinking_content", "_thought")
    END_MARKER = '"done": true'
    ANSWER = "created_at"
    BY_LINES = True

    def __init__(self) -> None:
        super().__init__()
        self._has_answered = False
        self._calls = 0
        self._counts: Mapping[str, Any] = {}  # told before the last line
        self._content: list[str] = []
        self._thought: list[str] = []  # under way
        self._thinking_content: list[str] = []
        self._sent_calls: list[Any] = []

    def message_of(self, document: Mapping[str, Any]) -> Any:
        """What a line says, as a message."""
        return document.get("message")

    def read_event(self, document: Mapping[str, Any]) -> StreamChunk | list[StreamChunk] | None:
        """One line."""
        message = self.message_of(document)
        if type(message) is dict:
            self._has_answered = True
        else:
            message = {}
        if ("eval_count" in document or "prompt_eval_count" in document) and not _is_done(document):
            self._counts = recount(self._counts, document)
        content, calls = message.get("content"), message.get("tool_calls")
        thought = message.get("thinking") or message.get("reasoning_content") or message.get("reasoning")
        if calls:
            calls = [call for call in (calls if isinstance(calls, list) else [calls]) if _is_call(call)]
        if _is_done(document):
            self.ended = self.done = True
            content, thought = _without_repeated(self._content, content), _without_repeated(self._thinking_content, thought)
            calls = None if calls == self._sent_calls else calls
        elif not (thought or calls or self._thought):
            text = content if type(content) is str else words_of(content)
            self._content.append(text)
            return StreamChunk(content=text, model=text_of(document.get("model")) or None, logprobs=_logprobs(document))
        self._content.append(words_of(content))
        self._thinking_content.append(words_of(thought))
        self._sent_calls += calls or ()
        over = bool(words_of(content) or calls or self.done)
        return [*self._thinking(words_of(thought), over), self._saying(document, content, calls)]

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
        deltas = tuple([self._call(call) for call in calls or ()])
        raw = document.get("done_reason")
        self._broken = error_of(raw)
        return StreamChunk(
            content=words_of(content),
            tool_calls=deltas,
            finish_reason=finish_of(raw, called=self._calls > 0) if self.done else None,
            finish_reason_raw=text_of(raw) or None,
            usage=ollama_usage(recount(self._counts, document)) if self.done else None,
            model=text_of(document.get("model")) or None,
            logprobs=_logprobs(document),
        )

    def _call(self, call: Mapping[str, Any]) -> ToolCallDelta:
        place, self._calls = self._calls, self._calls + 1
        function = _function_of(call)
        given = function.get("arguments")
        return ToolCallDelta(
            index=place,
            id=words_of(call.get("id") or None) or made_id(CALL),
            name=text_of(function.get("name")) or None,
            arguments=arguments_in(given or {}),
        )

    def finish_plain(self, body: bytes) -> list[StreamChunk]:
        """The chunks of an answer that is no lines, which must be complete as well."""
        documents = documents_in(body, self.bounds.members)
        chunks = self.take_documents(body, documents)
        if not self._has_answered:
            raise missing(documents[0] if len(documents) == 1 else documents, "message")
        if not self.ended:
            raise StreamInterrupted(f"the answer ended without {self.END_MARKER}", sent=True)
        return chunks

    def read_whole(self, body: bytes) -> Response:
        """A whole answer."""
        return decode(body, self.bounds.members)


def _is_done(document: Mapping[str, Any]) -> bool:
    """Whether a line is the last; some servers write 1 or a text."""
    return document.get("done") in (True, "true")


def _without_repeated(pieces: Sequence[str], text: Any) -> Any:
    """The text of the last line, or nothing where it repeats the text of all lines before it."""
    nonempty = [piece for piece in pieces if piece]
    return "" if len(nonempty) > 1 and text == "".join(nonempty) else text


def _function_of(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """The function that a call names, which some servers write into the call itself."""
    return mapping(call.get("function")) or call


def _is_call(call: Any) -> bool:
    """Whether an entry names a function, or says anything to one."""
    function = _function_of(mapping(call))
    return bool(text_of(function.get("name"))) or says(function.get("arguments"))


def _logprobs(document: Mapping[str, Any]) -> tuple[Any, ...]:
    found = document.get("logprobs")
    return tuple(found) if type(found) is list else ()
