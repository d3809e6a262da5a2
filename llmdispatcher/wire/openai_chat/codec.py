"""The codec of OpenAI's chat completions API, as OpenAI, Azure and every compatible server speak it.

https://platform.openai.com/docs/api-reference/chat; deviations of compatible servers are those recorded from real traffic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import DispatchError, InvalidRequest, MalformedReply
from ...types import MOST_MEMBERS, Request, Response, StreamChunk, fold
from ..base import Inbound, StreamDecoder
from ..decoding import EventDecoder, dump, mapping, parse_object
from ..errors import fault_inside
from ..openai_responses.errors import refusal
from ..quirks import TagSplitter
from .fields import NAME
from .request import encoded
from .response import ChoiceReader, failed, sources_in
from .server_request import inbound
from .server_response import ChatWriter, whole


class OpenAIChat:
    """The codec; without state. ``think_tags`` is for models that write their thoughts into the text, between tags."""

    name = NAME
    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, *, think_tags: bool = False) -> None:
        self._tagged = think_tags

    def path(self, model: str, *, stream: bool) -> str:
        """The model travels in the body, so the path is always the same."""
        return "/chat/completions"

    def encode(self, request: Request, *, stream: bool, quirks: frozenset[str] = frozenset()) -> bytes:
        """The JSON body of a request."""
        return dump(encoded(request, stream=stream, quirks=quirks), request, self.name)

    def decode(self, body: bytes, members: int = MOST_MEMBERS) -> Response:
        """A whole answer, of all its choices."""
        document = parse_object(body, members)
        if document.get("error"):
            raise fault_inside(document)
        choices = document.get("choices")
        if not isinstance(choices, list) or not choices:
            raise MalformedReply("the vendor's answer has no choices", sent=True)
        chunks = _whole(document, [mapping(choice) for choice in choices])
        return fold(TagSplitter().all(chunks) if self._tagged else chunks)

    def decoder(self) -> StreamDecoder:
        """A fresh decoder for one stream."""
        return TaggedDecoder() if self._tagged else ChatDecoder()

    def read_request(self, body: bytes, path: str = "") -> Inbound:
        """The request in a body; Azure has the model in the path."""
        try:
            return inbound(body, path)
        except RecursionError:
            raise InvalidRequest("body: nested too deeply; send a flatter document") from None

    def write_response(self, response: Response) -> bytes:
        """The body of a whole answer."""
        return whole(response)

    def writer(self, asked: Inbound | None = None) -> ChatWriter:
        """A fresh writer for one stream."""
        return ChatWriter(asked)

    def write_error(self, error: DispatchError) -> tuple[int, bytes]:
        """Status and body of a refusal."""
        return refusal(error)


OPENAI_CHAT = OpenAIChat()
OPENAI_CHAT_TAGGED = OpenAIChat(think_tags=True)
"""The same for models with the quirk ``think_tags``."""


def _whole(document: Mapping[str, Any], choices: Sequence[Mapping[str, Any]]) -> list[StreamChunk]:
    """The chunks that a whole answer is worth; its choices are numbered as they stand."""
    chunks: list[StreamChunk] = []
    for place, choice in enumerate(choices):
        failed(choice)
        reader = ChoiceReader(place, whole=True)
        said = {**choice, "delta": choice["message"] if "message" in choice else choice.get("delta")}
        read = reader.read(said, document)
        chunks += [*(read if isinstance(read, list) else [read]), *reader.rest()]
    sources = sources_in(document)
    return [*chunks, StreamChunk(citations=sources)] if sources else chunks


_MOST_CHOICES = 1024
"""Of one answer; vendors give 128 at most."""


class ChatDecoder(EventDecoder):
    """chat.completion.chunk events; complete at ``[DONE]``, or at the end of the body once a finish reason was seen."""

    __slots__ = ("_choices", "_first", "_sourced", "_told")
    END_MARKER = "[DONE] or a finish reason"

    def __init__(self) -> None:
        super().__init__()
        self._first = ChoiceReader(0)
        self._choices = {0: self._first}
        self._sourced: Mapping[str, Any] | None = None  # the last event that named the sources of the answer
        self._told = False  # whether they were said

    def read_event(self, document: Mapping[str, Any]) -> StreamChunk | list[StreamChunk]:
        """What one event says; usage is taken from wherever a server puts it."""
        choices: Any = document.get("choices")
        choice = choices[0] if choices and type(choices) is list else None
        sourced = "search_results" in document or "citations" in document
        if type(choice) is not dict or choices[1:] or choice.get("index") or sourced or self._sourced is not None:
            return self._unusual(choices, document, sourced=sourced)
        failed(choice)
        read = self._first.read(choice, document)
        if choice.get("finish_reason") is not None:
            self.ended = all(reader.finished for reader in self._choices.values())
        return read

    def _unusual(self, choices: Any, document: Mapping[str, Any], *, sourced: bool) -> list[StreamChunk]:
        """An event without a choice, such as the one that tells the usage, with several, or with sources of the whole answer."""
        chunks: list[StreamChunk] = []
        listed = [mapping(choice) for choice in choices] if isinstance(choices, list) else []
        for choice in listed or [{}]:
            failed(choice)
            index = choice.get("index")
            place = index if isinstance(index, int) and 0 < index < _MOST_CHOICES else 0
            if place not in self._choices:
                self._choices[place] = ChoiceReader(place)
            read = self._choices[place].read(choice, document)
            chunks += read if isinstance(read, list) else [read]
        self.ended = all(reader.finished for reader in self._choices.values())
        if document.get("usage") and not listed:  # the end, also of thoughts that nothing was said after
            chunks = [*[chunk for reader in self._choices.values() for chunk in reader.rest()], *chunks]
        return chunks + self._sources(document if sourced else None)

    def _sources(self, document: Mapping[str, Any] | None) -> list[StreamChunk]:
        """The sources of the answer, which every event repeats, once: when the answer is complete."""
        self._sourced = self._sourced if document is None else document
        if not self.ended or self._told or not self._sourced:
            return []
        self._told = True
        return [StreamChunk(citations=sources_in(self._sourced))]

    def read_whole(self, body: bytes) -> Response:
        """A server that ignores ``stream`` answers in one piece."""
        return OPENAI_CHAT.decode(body, self.bounds.members)


class TaggedDecoder(ChatDecoder):
    """The same for a model that writes its thoughts into the text."""

    __slots__ = ("_tags",)

    def __init__(self) -> None:
        super().__init__()
        self._tags = TagSplitter()

    def read_event(self, document: Mapping[str, Any]) -> list[StreamChunk]:
        """What one event says, thoughts told from the text."""
        read = super().read_event(document)
        return [piece for chunk in (read if isinstance(read, list) else [read]) for piece in self._tags.split(chunk)]

    def _take(self, name: str, data: str, chunks: list[StreamChunk]) -> None:
        super()._take(name, data, chunks)
        if self.done:
            chunks += self._tags.rest()

    def finish(self) -> list[StreamChunk]:
        """What is left, and what might have been the beginning of a tag."""
        return [*super().finish(), *self._tags.rest()]

    def read_whole(self, body: bytes) -> Response:
        """A server that ignores ``stream`` answers in one piece."""
        return OPENAI_CHAT_TAGGED.decode(body, self.bounds.members)
