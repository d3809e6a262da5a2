"""The decoders of streams: how bytes become events, events become documents, and what a stream may be.

A format's own decoder (its ``response.py``) says what a document means. https://github.com/ndjson/ndjson-spec
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import attrs

from ..errors import DispatchError, MalformedReply, StreamInterrupted, to_raise
from ..types import MOST_DEPTH, Response, StreamChunk, TooMuch, count_members, mend, parse_several, parse_text, repair, unfold
from .base import ENVELOPE, STREAMED, Bounds
from .decoding import most_objects, parse, says
from .errors import MAX_EXCERPT, excerpt, fault_inside, read, tells, tells_beside, tells_of_failure
from .sse import DataEvent, SseParser, to_text
from .words import words


@attrs.define(eq=False, repr=False)
class EventDecoder(ABC):
    """A stream of JSON events; a format says what each means (:meth:`read_event`) and reads a whole answer (:meth:`read_whole`).

    A server that answers a stream request with plain JSON, with JSON lines, or with a list of all events is understood as well.
    Single events that are no JSON objects are skipped and counted (``skipped``); a stream of nothing but those is malformed, and
    so is one beyond its ``bounds``, which whoever reads it may set before the first :meth:`feed`.
    """

    END_MARKER: ClassVar[str]
    """What ends a stream of this format, for the error text."""
    ANSWER: ClassVar[str]
    """The field that only events with a piece of an answer have; in one without, an error is looked for in every shape."""
    TYPED: ClassVar[bool] = False
    """Whether an event says what it is in its ``type``."""
    BY_LINES: ClassVar[bool] = False
    """Whether the format's own streams are JSON lines: then one whole line shows that a body is a stream."""
    ENDS_BY_DONE: ClassVar[bool] = False
    """Whether ``[DONE]`` alone ends an answer; where a format has an end of its own, a gateway may write it behind any stream."""

    done: bool = False
    ended: bool = False
    skipped: int = 0
    bounds: Bounds = attrs.Factory(Bounds)
    _failure: DispatchError | None = None
    _broken: DispatchError | None = None  # what a finish reason told that is a failure
    _sse: SseParser | LineParser | None = None
    _plain: list[bytes] = attrs.Factory(list)  # a body that has not shown yet what it is, or is no event stream
    _is_plain: bool = False
    _is_object: bool = False  # whether such a body begins as an object
    _one_line: bool = False  # whether its first line is whole
    _halves: Halves = attrs.Factory(lambda: Halves())
    _good: int = 0
    _size: int = 0  # bytes of a plain body, or of events without their envelopes
    _members: int = 0

    def feed(self, data: bytes) -> list[StreamChunk]:
        """The chunks that ``data`` completes."""
        parser = self._sse
        if parser is None:
            opened = self._detect_stream(data)
            if opened is None:
                return []
            parser, data = opened
            self._sse, self._plain = parser, []
        if self._failure is not None:
            raise to_raise(self._failure)
        chunks: list[StreamChunk] = []
        try:
            for event in parser.feed(data):
                self._take(event.event, event.data, chunks)
        except DispatchError as failure:
            if not chunks:
                raise
            self._failure = failure
        return chunks

    def _detect_stream(self, data: bytes) -> tuple[SseParser | LineParser, bytes] | None:
        """The parser for a stream and its first bytes, as soon as it shows itself to be one; till then all is kept."""
        self._keep(data)
        if self._is_plain:
            return None
        if not self._is_object:  # all that came so far is blank
            start = data.lstrip(_BLANKS)[:1]
            self._is_object = start == b"{"
            self._is_plain = start in (b"[", b"<")
            if self._is_plain or not start:
                return None
            if not self._is_object:
                self._size = 0
                return SseParser(self.bounds.size), b"".join(self._plain)
        return self._second_line(data)

    def _second_line(self, data: bytes) -> tuple[SseParser | LineParser, bytes] | None:
        """The parser for lines, once a second document begins behind the line of the first."""
        if not self._one_line:
            if b"\n" not in data:
                return None
            line, _, data = b"".join(self._plain).lstrip(_BLANKS).partition(b"\n")
            self._one_line, self._is_plain = True, line.rstrip().endswith(_GOES_ON)
        start = data.lstrip()
        if self._is_plain or not (start or self.BY_LINES):
            return None
        self._is_plain = not (self.BY_LINES or start.startswith((b"{", b"[", b"d")))
        if self._is_plain:
            return None
        self._size = 0
        return LineParser(self.bounds.size), b"".join(self._plain).lstrip(_BLANKS)

    def _keep(self, data: bytes) -> None:
        self._plain.append(data)
        self._size += len(data)
        if self._size > self.bounds.size:
            raise _too_long(self.bounds)

    def check(self) -> None:
        """Raise the error that came right behind the chunks of the last :meth:`feed`, if one did."""
        if self._failure is not None:
            raise to_raise(self._failure)

    def _take(self, name: str, data: str, chunks: list[StreamChunk]) -> None:
        if self.done:
            chunks += self._late_usage(data)
        else:
            self._take_next(name, data, chunks)

    def _take_next(self, name: str, data: str, chunks: list[StreamChunk]) -> None:
        if data.startswith(_DONE):
            self._raise_if_all_malformed()
            chunks += self._flush_all()
            if not (self.ended or self.ENDS_BY_DONE):
                raise StreamInterrupted(f"the stream ended without {self.END_MARKER}", sent=True)
            self.ended = self.done = True
            chunks += self._late_usage(data.partition("\n")[2])
            return
        self._weigh(data)
        try:
            document = parse_text(data, None, lenient=True, halves=True)
            documents = document if isinstance(document, list) else [document]
        except ValueError:
            documents = self._split_documents(name, data, chunks)
        if not (self._halves.held or "\\ud" in data or "\\uD" in data):
            for document in documents:
                self._take_document(name, document, chunks)
            return
        for document in documents:
            self._take_document(name, self._halves.join(document), chunks)
        if self.done:
            chunks += self._flush_all()

    def _late_usage(self, data: str) -> list[StreamChunk]:
        """The usage in an event behind the end marker, if it arrived together with it. All else in such events is ignored."""
        skipped = self.skipped
        try:
            document = parse_text(data, self.bounds.members, lenient=True)
            found = self.read_event(document) if isinstance(document, dict) else None
        except (ValueError, DispatchError):
            return []
        self.done, self.skipped = True, skipped
        chunks = found if isinstance(found, list) else [found]
        return [StreamChunk(usage=chunk.usage) for chunk in chunks if chunk is not None and chunk.usage is not None]

    def _split_documents(self, name: str, data: str, chunks: list[StreamChunk]) -> list[Any]:
        """Split data that is no single document: ``data:`` may be repeated, or the empty line between events be missing."""
        lines = [_AGAIN.sub("", line, count=1) for line in data.split("\n") if line.strip()]
        if "".join(lines) != data and all(line.startswith(_EVENTS) for line in lines):
            for line in lines:
                self._take(name, line, chunks)
            return []
        if name == "error":
            raise fault_inside({"error": excerpt(data.encode("utf-8", "replace"))}).shortened(MAX_EXCERPT) from None
        documents = parse_several(data)
        if documents is None and (fixed := repair(data)) is not None:
            documents = parse_several(fixed)
        if documents is None:
            self.skipped += 1
        return [one for document in documents or () for one in (document if isinstance(document, list) else [document])]

    def _take_document(self, name: str, document: Any, chunks: list[StreamChunk]) -> None:
        if not isinstance(document, dict):
            if name == "error":
                raise fault_inside({"error": document})
            self.skipped += says(document)
            return
        self._good += 1
        if self.TYPED and "type" not in document and name != "message":
            document = {**document, "type": name}  # which some gateways say in the event's name alone
        failure = self.failure_in(name, document)
        if failure is None or failure.get("usage"):  # some servers bill in the same event what they then refuse
            found = self.read_event(document)
            if isinstance(found, list):
                chunks += found
            elif found is not None:
                chunks.append(found)
        if failure is not None:
            raise fault_inside(failure)
        if self._broken is not None:
            raise self._broken

    def raise_if_broken(self) -> None:
        """Raise the failure that the finish reason named, if it named one."""
        if self._broken is not None:
            raise self._broken

    def _weigh(self, data: str) -> None:
        """Refuse an event that makes the stream too much, before it is decoded; of a small one only its brackets are counted."""
        bounds, members = self.bounds, data.count("{") + data.count("[")
        if members > MOST_DEPTH or len(data) > ENVELOPE:
            try:
                members = count_members(data, bounds.members, most_objects(bounds.members))
            except TooMuch as much:
                raise MalformedReply(f"an event of the stream {much}", sent=True) from None
            self._size += max(0, len(data) - ENVELOPE)
            if self._size > bounds.size:
                raise _too_long(bounds)
        self._members += members
        if self._members > STREAMED * bounds.members:
            raise MalformedReply(f"the events of the stream have more than {STREAMED * bounds.members:,} members", sent=True)

    def failure_in(self, name: str, document: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What tells of a failure in an event, if something does."""
        if name == "error" or ("error" in document and tells(document["error"])):
            return document
        if document.get(self.ANSWER):
            return document if tells_beside(document) else None
        return document if tells_of_failure(document) else None

    def finish(self) -> list[StreamChunk]:
        """What is left at the end of the body. Raises :class:`StreamInterrupted` where the end marker is missing."""
        self.check()
        if self._sse is None:
            return self.finish_plain(b"".join(self._plain))
        chunks: list[StreamChunk] = []
        for event in self._sse.last():
            if _is_whole(event.data):
                self._take(event.event, event.data, chunks)
        self._raise_trailing_error(self._sse.rest())
        if not self.ended:
            self._raise_if_all_malformed()
            raise StreamInterrupted(f"the stream ended without {self.END_MARKER}", sent=True)
        return chunks if self.done else [*chunks, *self._flush_all()]

    def _flush_all(self) -> list[StreamChunk]:
        """What was held back till the end."""
        chunks: list[StreamChunk] = []
        for document in self._halves.rest():
            self._take_document("", document, chunks)
        return [*chunks, *self.flush()]

    def flush(self) -> list[StreamChunk]:
        """What a format held back till the end of the stream."""
        return []

    def _raise_if_all_malformed(self) -> None:
        if self.skipped and not self._good:
            raise MalformedReply(f"none of the stream's {self.skipped} events, from event 1 on, is a JSON object", sent=True)

    def _raise_trailing_error(self, rest: bytes) -> None:
        """Google may append an error as bare JSON lines, which are no event."""
        if rest.lstrip()[:1] in (b"{", b"["):
            self.skipped += 1
            try:
                document = parse(rest)
            except MalformedReply:
                return
            if read(document) is not None:
                raise fault_inside(document)

    def finish_plain(self, body: bytes) -> list[StreamChunk]:
        """The chunks of a body that is no event stream: a whole answer, or all events at once."""
        documents = _several(body, self.bounds.members)
        if len(documents) < 2:
            self.ended = self.done = True
            return list(unfold(self.read_whole(body)))
        chunks = self.take_documents(body, documents)
        if not self.ended:
            raise StreamInterrupted(f"the stream ended without {self.END_MARKER}", sent=True)
        return chunks

    def take_documents(self, body: bytes, documents: Sequence[Any]) -> list[StreamChunk]:
        """The chunks of all documents of a body, with what is held back till the end."""
        text = to_text(body)
        if "\\ud" in text or "\\uD" in text:
            documents = [self._halves.join(document) for document in documents]
        chunks: list[StreamChunk] = []
        for document in documents:
            self._take_document("", document, chunks)
        return [*chunks, *self._flush_all()]

    @abstractmethod
    def read_event(self, document: Mapping[str, Any]) -> StreamChunk | list[StreamChunk] | None:
        """What one event says; sets ``ended`` (complete as it stands) and ``done`` (nothing more is to come)."""

    @abstractmethod
    def read_whole(self, body: bytes) -> Response:
        """A whole answer."""


def _too_long(bounds: Bounds) -> MalformedReply:
    return MalformedReply(f"the stream is longer than {bounds.size:,} bytes; ask for less, or raise max_body", sent=True)


_DONE = ("[DONE]", '"[DONE]"')
"""What ends a stream; some servers write it as JSON."""
_AGAIN = re.compile(r"\s*(?:data:\s*)*")
_EVENTS = ("{", "[")
_BLANKS = b"\xef\xbb\xbf \t\r\n"
_GOES_ON = (b"{", b"[", b",", b":")
"""What a line of one document over several lines ends with."""


def _is_whole(data: str) -> bool:
    """Whether an event that nothing ended was not cut short."""
    text = _AGAIN.sub("", data, count=1)
    try:
        return text.startswith("[DONE]") or isinstance(parse_text(text, lenient=True), dict)
    except ValueError:
        return "\n" in text and all(map(_is_whole, text.split("\n")))


def documents_in(body: bytes, members: int) -> Sequence[Any]:
    """The documents of a body: the entries of a list, several one behind another, or the one that it is.

    Halves of characters are left as they are. Raises :class:`MalformedReply` for a body that is none.
    """
    return _several(body, members) or [parse(body, members, halves=True)]


def _several(body: bytes, members: int) -> Sequence[Any]:
    """The documents of a body that has several: a list, or one behind another; none of a body that has not."""
    text = to_text(body.lstrip(_BLANKS))
    if text.startswith("["):
        listed: list[Any] = parse(body, members, halves=True)
        return listed
    return (parse_several(text, members) or ()) if _BETWEEN.search(body) else ()


_BETWEEN = re.compile(rb"\}\s*\{")


_GROWING = frozenset(
    words(
        "arguments content delta input partial_json reasoning reasoning_content reasoning_text refusal response summary text",
        "thinking transcript",
    )
)
"""The fields whose texts grow from event to event."""
_PLACES = frozenset({"content_index", "index", "item_id", "output_index", "summary_index", "thought", "type"})
"""What tells of an event, or of a member of a list in it, which text it is about."""
_Path = tuple[Any, ...]
_REPLACEMENT = "\ufffd"


_HALF = re.compile(
    "(?:[\ud800-\udbff]|(?<![\ud800-\udbff])(?:[\udcc2-\udcdf]|[\udce0-\udcef][\udc80-\udcbf]?|[\udcf0-\udcf4][\udc80-\udcbf]{0,2}))\\Z"
)
_OCTETS = re.compile("(?<![\ud800-\udbff])[\udc80-\udcff]+")


class Halves:
    """Joins the halves of characters that stand in two events, since a server cuts text by UTF-16 units, or by bytes.

    The first half is taken out of the text that it ends, and waits for the next piece of that text, whatever comes between. Where
    no second one follows it becomes the replacement character.
    """

    __slots__ = ("_events", "held")

    def __init__(self) -> None:
        self.held: dict[_Path, tuple[str, _Path, int]] = {}  # by the text that it ends: the half, where that stands, in which event
        self._events = 0

    def join(self, document: Any) -> Any:
        """The document to read in place of one."""
        self._events += 1
        for path, parent, name in _texts(document, ()):
            known, text = _text_key(path), parent[name]
            if text and known in self.held:
                text = self.held.pop(known)[0] + text
            half = _HALF.search(text[-_LONGEST:])
            if half is not None and len(self.held) < _MOST_HELD:
                self.held[known] = (half.group(), path, self._events)
                text = text[: -len(half.group())]
            parent[name] = _OCTETS.sub(_decode_octets, text)
        return mend(document)

    def rest(self) -> list[Any]:
        """The documents that are owed at the end: of each event, all halves that it left."""
        held, self.held = self.held, {}
        documents: dict[int, Any] = {}
        for _, path, event in held.values():
            documents[event] = _put_half(documents.get(event), path)
        return list(documents.values())


def _text_key(path: _Path) -> _Path:
    """The key of a text: its path without types and first indices, which a server may send only once."""
    return tuple([tuple([at for at in step if at[0] != "type" and at[1]]) if isinstance(step, tuple) else step for step in path])


_MOST_HELD = 100
"""Texts that end in half a character; no server has nearly as many under way."""
_LONGEST = 4
"""A character before a half of three bytes."""


def _decode_octets(found: re.Match[str]) -> str:
    return found.group().encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _texts(value: Any, path: _Path) -> Iterator[tuple[_Path, Any, Any]]:
    """Every text in an event that may grow: by what it is known, and where it stands."""
    if isinstance(value, dict):
        about = tuple([(name, place) for name, place in value.items() if name in _PLACES and not isinstance(place, dict | list)])
        for name, inner in value.items():
            if isinstance(inner, str) and name in _GROWING:
                yield (*path, about, name), value, name
            elif isinstance(inner, dict | list) and name != "logprobs":
                yield from _texts(inner, (*path, about, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _texts(inner, (*path, place))


def _put_half(value: Any, path: _Path) -> Any:
    """The event that a text stands in, with half a character for that text, and nothing else but what is in ``value`` already."""
    if not path:
        return _REPLACEMENT
    if isinstance(path[0], int):
        entries = value or []
        entries += [{} for _ in range(path[0] + 1 - len(entries))]
        entries[path[0]] = _put_half(entries[path[0]], path[1:])
        return entries
    fields = value or dict(path[0])
    fields[path[1]] = _put_half(fields.get(path[1]), path[2:])
    return fields


class LineParser:
    """Bytes in, lines of at most ``most`` bytes out, whatever the cuts between them."""

    __slots__ = ("_most", "_partial", "_size")

    def __init__(self, most: int) -> None:
        self._most = most
        self._partial: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[DataEvent]:
        """The lines that ``data`` completes, without the empty ones. Raises :class:`MalformedReply` for one that is too long."""
        end = data.rfind(b"\n") + 1
        if not end:
            self._hold(data)
            return []
        whole = b"".join([*self._partial, data[:end]]) if self._partial else data[:end]
        self._partial, self._size = [], 0
        if end < len(data):
            self._hold(data[end:])
        return [DataEvent(line) for line in map(bytes.strip, whole.split(b"\n")) if line]

    def _hold(self, piece: bytes) -> None:
        self._partial.append(piece)
        self._size += len(piece)
        if self._size > self._most:
            raise MalformedReply(f"a line of the stream is longer than {self._most:,} bytes", sent=True)

    def last(self) -> list[DataEvent]:
        """The line that nothing ended."""
        line, self._partial = self.rest().strip(), []
        return [DataEvent(line)] if line else []

    def rest(self) -> bytes:
        """The beginning of a line that has not ended."""
        return b"".join(self._partial)
