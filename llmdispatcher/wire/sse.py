"""Server-sent events, fed in pieces of any size: sseclient-py reads the fields, and the guard in front of it keeps to the standard.

sseclient-py 1.9.0 alone dispatches a truncated last event, mixes up line ends, loses the first event after a byte order
mark, raises on bad UTF-8, has no limits and is quadratic on a giant line (measured). So it gets whole events only: newlines
normalized, comments removed, text valid, sizes bounded. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs
from sseclient import Event, SSEClient

from ..errors import MalformedReply

MAX_LINE = 1 << 20
MAX_EVENT = 8 << 20
MAX_EVENT_LINES = 1024
_BOM = b"\xef\xbb\xbf"
_COMMENT = re.compile(rb"^:[^\n]*\n", re.MULTILINE)
_BORDER = re.compile(rb"(?<=\})[ \t]*\n(?=(?:(?:event|id|retry):[^\n]*\n)*data:(?: ?data:)* ?(?:\{|\[DONE\]))")
"""Where an object ends and another begins, which no JSON has: an event's end, although no empty line says so."""
_FEW_LINES = 8
"""Of an event that such an end is looked for in; those of a vendor that sends no empty lines have two or three."""


def to_text(data: bytes) -> str:
    """The bytes as text. Those within JSON that are no UTF-8 are named as it names halves: a server may cut a character in two."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        if b'"' not in data:
            return data.decode("utf-8", "replace")
        return data.decode("utf-8", "surrogateescape").encode("utf-8", "backslashreplace").decode()


class DataEvent:
    """An event that has only data, such as a line of JSON."""

    __slots__ = ("data",)
    event = "message"

    def __init__(self, data: bytes) -> None:
        self.data = to_text(data)


class _SilentLogger:
    """Stands in for a logger: what the client would log of a stream is a piece of an answer."""

    def debug(self, *_: object) -> None:
        """Say nothing."""


class _WholeEvents(SSEClient):
    """Trusts its source to hand over one whole event at a time."""

    _logger = _SilentLogger()
    _char_enc = "utf-8"

    def __init__(self, events: list[bytes]) -> None:  # the client's own does nothing but look for a logger
        self._split_events = events

    def _read(self) -> Iterator[bytes]:
        return iter(self._split_events)


@attrs.define(eq=False, repr=False)
class SseParser:
    """Bytes in, events out; each event has ``event`` (its name, "message" by default) and ``data``.

    An event has ``most`` bytes at most. A line has no more than :data:`MAX_LINE`, unless larger events are allowed: a picture is
    one line.
    """

    _most: int = MAX_EVENT
    _most_line: int = attrs.Factory(lambda self: MAX_LINE if self._most <= MAX_EVENT else self._most, takes_self=True)
    _start: bytes | None = b""  # the first bytes, until it is clear that they are no byte order mark
    _between_events: bool = False
    _carriage_return: bool = False
    _partial: list[bytes] = attrs.Factory(list)  # a line that has not ended
    _partial_size: int = 0
    _pending: list[bytes] = attrs.Factory(list)  # lines of an event that has not ended
    _pending_size: int = 0
    _pending_lines: int = 0
    _strays: list[bytes] = attrs.Factory(list)

    def feed(self, data: bytes) -> list[Event | DataEvent]:
        """The events that ``data`` completes. Raises :class:`MalformedReply` for a line or an event that is too long."""
        if self._between_events and data[-2:] == b"\n\n":
            if data[:6] == b"data: " and data.find(b"\n") == len(data) - 2 <= MAX_LINE and b"\r" not in data:
                return [DataEvent(data[6:-2])]  # one event of one line, as most come
            if not _is_special(data):
                return _parse_events(self._split_events(data[:-2]))
        try:
            return self._feed_pieces(data)
        finally:
            self._between_events = not (self._pending or self._partial or self._carriage_return or self._start is not None)

    def _feed_pieces(self, data: bytes) -> list[Event | DataEvent]:
        data = self._normalise(data)
        end = data.rfind(b"\n") + 1
        if not end:
            self._hold(data)
            return []
        lines = b"".join([*self._partial, data[:end]]) if self._partial else data[:end]
        self._partial, self._partial_size = [], 0
        self._hold(data[end:])
        return self._events(lines)

    def rest(self) -> bytes:
        """What the standard discards: bare JSON where events belong, and what has come in after the last whole event."""
        return b"\n\n".join([*self._strays, b"".join([*self._pending, *self._partial])])

    def _normalise(self, data: bytes) -> bytes:
        if self._start is not None:
            data = self._start + data
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._start = data
                return b""
            self._start = None
            data = data.removeprefix(_BOM)
        if self._carriage_return and data:
            self._carriage_return = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._carriage_return = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data

    def _hold(self, piece: bytes) -> None:
        if piece:
            self._partial.append(piece)
            self._partial_size += len(piece)
            if self._partial_size > self._most_line:
                raise self._long_line()

    def _events(self, lines: bytes) -> list[Event | DataEvent]:
        if len(lines) > self._most_line and max(map(len, lines.split(b"\n"))) > self._most_line:
            raise self._long_line()
        if lines.startswith(b":") or b"\n:" in lines:
            lines = _COMMENT.sub(b"", lines)
        if not (lines.startswith(b"\n") or b"\n\n" in lines):
            return self._split_unparted(lines)
        text = b"".join(self._pending) + lines
        self._pending, self._pending_size, self._pending_lines = [], 0, 0
        end = text.rfind(b"\n\n") + 2
        if end < 2:  # nothing but an empty line before an event's first
            self._keep_lines(text.removeprefix(b"\n"))
            return []
        self._keep_lines(text[end:])
        events = self._split_events(text[:end])
        strays = [event for event in events if event[:1] in (b"{", b"[")]
        if strays:
            self._strays += strays
            self._check(sum(map(len, self._strays)), len(self._strays))
        return _parse_events(events)

    def _split_unparted(self, lines: bytes) -> list[Event | DataEvent]:
        """Lines without an empty one between them: more of one event, or several that a proxy took the empty lines from."""
        if self._pending_lines >= _FEW_LINES or not (self._pending or b"}\n" in lines[:-1]):
            self._keep_lines(lines)
            return []
        *events, rest = _BORDER.split(b"".join([*self._pending, lines]))
        self._pending, self._pending_size, self._pending_lines = [], 0, 0
        self._keep_lines(rest)
        return _parse_events(self._split_events(b"\n\n".join(events))) if events else []

    def last(self) -> list[Event | DataEvent]:
        """The event that was still under way, as if it had ended."""
        text = b"".join([*self._pending, *self._partial]).strip(b"\n")
        return _parse_events(self._split_events(text)) if text and text[:1] not in (b"{", b"[") else []

    def _keep_lines(self, lines: bytes) -> None:
        if lines:
            self._pending.append(lines)
            self._pending_size += len(lines)
            self._pending_lines += lines.count(b"\n")
            self._check(self._pending_size, self._pending_lines)

    def _split_events(self, text: bytes) -> list[bytes]:
        text = text if text.isascii() else to_text(text).encode()
        events = text.split(b"\n\n")
        if len(text) > MAX_EVENT_LINES:
            for event in events:
                if len(event) > MAX_EVENT_LINES:
                    self._check(len(event), event.count(b"\n"))
        return events

    def _check(self, size: int, lines: int) -> None:
        if size > self._most or lines > MAX_EVENT_LINES:
            text = f"an event of the stream is larger than {self._most:,} bytes or {MAX_EVENT_LINES} lines"
            raise MalformedReply(text, sent=True)

    def _long_line(self) -> MalformedReply:
        text = f"a line of the stream is longer than {self._most_line:,} bytes; the vendor does not speak server-sent events"
        return MalformedReply(text, sent=True)


def _parse_events(events: list[bytes]) -> list[Event | DataEvent]:
    """Whole events; those of a single ``data`` line, which most formats send alone, have no fields to be told apart."""
    parsed: list[Event | DataEvent] = []
    for event in events:
        if event[:6] == b"data: " and b"\n" not in event:
            parsed.append(DataEvent(event[6:]))
        elif event:
            # llama.cpp and FastChat write the data of an error in a field called error
            named = [b"event: error\ndata:" + each[6:] if each[:6] == b"error:" else each for each in events]
            return list(_WholeEvents(named).events())
    return parsed


def _is_special(data: bytes) -> bool:
    """Whether whole events need more than being split: a line too long, comments, bare JSON, other line ends."""
    if len(data) > MAX_LINE or data[0] in b":{[" or b"\r" in data:
        return True
    one_line = data.find(b"\n") == len(data) - 2
    return not one_line and (b"\n:" in data or b"\n\n{" in data or b"\n\n[" in data)
