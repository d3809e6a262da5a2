"""Streams of one JSON document a line. https://github.com/ndjson/ndjson-spec"""

from __future__ import annotations

from typing import NamedTuple

from ..chunks import StreamChunk
from ..errors import MalformedReply
from .payload import EventDecoder, EventParser

MAX_LINE = 8 << 20
"""A whole answer may come in one line, with all that its calls say."""
_BLANKS = b"\xef\xbb\xbf \t\r\n"
_GOES_ON = (b"{", b"[", b",", b":")
"""What a line of one document over several lines ends with."""


class Line(NamedTuple):
    """One line, as an event of a stream."""

    data: str
    event: str = "message"


class LineParser:
    """Bytes in, lines out, whatever the cuts between them."""

    __slots__ = ("_partial", "_size")

    def __init__(self) -> None:
        self._partial: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Line]:
        """The lines that ``data`` completes, without the empty ones. Raises :class:`MalformedReply` for one over 8 MiB."""
        end = data.rfind(b"\n") + 1
        if not end:
            self._hold(data)
            return []
        whole = b"".join([*self._partial, data[:end]]) if self._partial else data[:end]
        self._partial, self._size = [], 0
        if end < len(data):
            self._hold(data[end:])
        return [Line(line.decode("utf-8", "replace")) for line in map(bytes.strip, whole.split(b"\n")) if line]

    def _hold(self, piece: bytes) -> None:
        self._partial.append(piece)
        self._size += len(piece)
        if self._size > MAX_LINE:
            raise MalformedReply(f"a line of the stream is longer than {MAX_LINE} bytes", sent=True)

    def rest(self) -> bytes:
        """The beginning of a line that has not ended."""
        return b"".join(self._partial)


class LineDecoder(EventDecoder):
    """A stream of JSON lines; one document over several lines is a whole answer, server-sent events are understood too."""

    __slots__ = ()

    def _opened(self, data: bytes) -> tuple[EventParser, bytes] | None:
        """A stream of lines shows itself by its first one."""
        if not self._plain:
            data = data.lstrip(_BLANKS)
            if not data:
                return None
        if self._is_plain or (self._plain or [data])[0][:1] != b"{":
            return super()._opened(data)
        self._plain.append(data)
        return self._first_line() if b"\n" in data else None

    def _first_line(self) -> tuple[EventParser, bytes] | None:
        data = b"".join(self._plain)
        self._is_plain = data.partition(b"\n")[0].rstrip().endswith(_GOES_ON)
        return None if self._is_plain else (LineParser(), data)

    def finish(self) -> list[StreamChunk]:
        """What is left at the end of the body; its last line needs no line end."""
        self.check()
        is_sse = self._sse is not None and not isinstance(self._sse, LineParser)
        last = [] if self.done or self._is_plain or is_sse else self.feed(b"\n")
        return [*last, *super().finish()]
