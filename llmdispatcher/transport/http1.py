"""HTTP/1.1 as a client reads it, without I/O: bytes in, head and payload out, however the bytes are divided.

It is stricter than http.client, since attacks use what that accepts. These raise :class:`MalformedReply`: both a length and chunks,
two lengths, a chunk size that is no number, a head without end, too many interim answers. An answer whose end other readers may
see elsewhere (a length twice, a folded header, chunks in HTTP/1.0) is read, and its connection is not used again. Compressed bodies
are decompressed piece by piece as they arrive, so a decompression bomb is detected before it expands.
"""

from __future__ import annotations

import re
import zlib

import attrs

from ..errors import MalformedReply, to_raise

MAX_HEAD = 65536
MAX_HEADERS = 100
MAX_INTERIM = 10
MAX_LINE = 4096
"""Bytes of a chunk-size line, extensions included, and of all trailers together."""
MAX_DIGITS = 18
"""Digits of a Content-Length."""

_LENGTH = re.compile(f"[0-9]{{1,{MAX_DIGITS}}}")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\r\n\0\v\f]*)?")
_FIELD = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\0\v\f]*)")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_LINE_END = re.compile(rb"\r?\n")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]{0,64}(?:;[^\r\n]{0,4000})?\r\n")
"""Never longer than MAX_LINE, so that the result does not depend on where the bytes are cut."""


@attrs.frozen(kw_only=True)
class Head:
    """The beginning of an answer; header names are lower case, repeated ones joined by a comma."""

    status: int
    headers: dict[str, str] = attrs.field(repr=False)
    keep_alive: bool


class Framing:
    """Finds the payload in the bytes of a body.

    ``excess`` means that the connection must not be used again: more came than the body has, or the head or the trailers leave
    its end in doubt. ``fault`` is what was wrong behind the payload that :meth:`feed` has returned; the next feed raises it.
    """

    __slots__ = ("done", "excess", "fault")
    done: bool
    excess: bool
    fault: MalformedReply | None

    def feed(self, data: bytes) -> bytes:
        """The payload in ``data``, perhaps none."""
        raise NotImplementedError

    def end(self) -> bool:
        """Whether a closed connection ends this body as it should."""
        return False

    def may_end(self) -> bool:
        """Whether the end of the body may be all that is still to come."""
        return False


class HeadReader:
    """Reads one final head, skipping interim ones; :attr:`rest` is what came after it."""

    rest = b""
    _interim = 0
    _doubtful = False

    def feed(self, data: bytes) -> Head | None:
        """The head that ``data`` completes, or ``None`` while it is not whole."""
        start = max(0, len(self.rest) - 3)
        data = self.rest + data if self.rest else data
        while True:
            end = _HEAD_END.search(data, start)
            if (end.end() if end else len(data)) > MAX_HEAD:
                raise MalformedReply(f"the head of the answer is longer than {MAX_HEAD} bytes; is base_url an HTTP API?")
            if end is None:
                self.rest = data
                return None
            head = _parse_head(data[: end.start()])
            data, start = data[end.end() :], 0
            if head.status >= 200:
                self.rest = data
                return attrs.evolve(head, keep_alive=False) if self._doubtful else head
            self._skip_interim(head.status, head.headers)

    def _skip_interim(self, status: int, headers: dict[str, str]) -> None:
        self._interim += 1
        if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
            self._doubtful = True  # there may be a body, which is not read
        if status == 101 or self._interim > MAX_INTERIM:
            raise MalformedReply(
                f"the vendor sent {self._interim} interim answers, the last with status {status}, and no final one"
            )


def _parse_head(block: bytes) -> Head:
    folded = b"\n " in block or b"\n\t" in block
    if folded:
        first, fields = _LINE_END.split(block, maxsplit=1)
        lines = _LINE_END.split(_FOLD.sub(b" ", fields))
    else:
        first, *lines = _LINE_END.split(block)
    status = _STATUS.fullmatch(first)
    if status is None:
        raise MalformedReply("the answer does not begin like HTTP/1.1; is base_url an HTTP API, and its scheme right?")
    if len(lines) > MAX_HEADERS:
        raise MalformedReply(f"the answer has {len(lines)} headers, more than {MAX_HEADERS}")
    headers: dict[str, str] = {}
    match = _FIELD.fullmatch
    for line in lines:
        field = match(line.decode("latin-1"))
        if field is None:
            raise MalformedReply("the answer has a header line that is none")
        name, value = field[1].lower(), field[2].rstrip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    keep_alive = _keeps_alive(status[1], headers) if "connection" in headers else status[1] == b"1"
    return Head(status=int(status[2]), headers=headers, keep_alive=keep_alive and not folded)


def _keeps_alive(minor: bytes, headers: dict[str, str]) -> bool:
    """What the header ``Connection`` asks for."""
    if minor == b"0" and "transfer-encoding" in headers:
        return False  # RFC 9112 section 6.1: such a framing is faulty
    options = [option.strip(" \t") for option in headers["connection"].lower().split(",")]
    return "close" not in options and (minor == b"1" or "keep-alive" in options)


def framing_of(head: Head, method: str) -> Framing:
    """How the body of this answer is delimited (RFC 9112 section 6.3); raises where the head contradicts itself.

    A refusal with such a head has no body: its status and headers say enough, and the connection is not used again.
    """
    coding, length = head.headers.get("transfer-encoding"), head.headers.get("content-length")
    if method == "HEAD" or head.status in (204, 304):
        plain = length is None or length == "0" or (head.status != 204 and _LENGTH.fullmatch(length) is not None)
        return Sized(0, excess=coding is not None or not plain)
    if coding is not None:
        if length is None and coding.lower() == "chunked":
            return Chunked()
        fault = "the answer's Content-Length and Transfer-Encoding contradict each other, or are unknown"
    elif length is None:
        return Endless()
    elif _LENGTH.fullmatch(length):
        return Sized(int(length))
    else:
        lengths = {each.strip(" \t") for each in length.split(",")}
        first = lengths.pop()
        if not lengths and _LENGTH.fullmatch(first):
            return Sized(int(first), excess=True)  # given more than once: http.client then reads until the connection closes
        fault = f"the answer's Content-Length is not one number of at most {MAX_DIGITS} digits"
    if head.status < 300:
        raise MalformedReply(fault)
    return Sized(0, excess=True)


class Sized(Framing):
    """A body of ``length`` bytes."""

    __slots__ = ("left",)

    def __init__(self, length: int, *, excess: bool = False) -> None:
        self.fault: MalformedReply | None = None
        self.left = length
        self.done = length == 0
        self.excess = excess

    def feed(self, data: bytes) -> bytes:
        self.left -= len(data)
        if self.left <= 0:
            self.done = True
            if self.left < 0:
                self.excess = True
                return data[: self.left]
        return data


class Endless(Framing):
    """A body that ends with the connection; only its format can tell whether it is whole."""

    __slots__ = ()

    def __init__(self) -> None:
        self.fault: MalformedReply | None = None
        self.done = False
        self.excess = True

    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> bool:
        self.done = True
        return True


class Chunked(Framing):
    """A body in chunks. ``_left`` counts the payload that this chunk still has; ``_held`` is an unfinished line.

    States: size line -> payload -> line end -> size line ...; a size of 0 -> trailers -> done.
    """

    __slots__ = ("_held", "_left", "_state")

    def __init__(self) -> None:
        self.fault: MalformedReply | None = None
        self.done = False
        self.excess = False
        self._held = b""
        self._left = 0
        self._state = "size"

    def feed(self, data: bytes) -> bytes:
        if self.fault is not None:
            raise to_raise(self.fault)
        if self._held:
            data, self._held = self._held + data, b""
        elif self._state == "size" and (line := _SIZE_LINE.match(data)) is not None:
            start = line.end()
            if len(data) - start - 2 == int(line[1], 16) > 0 and data.endswith(b"\r\n"):
                return data[start:-2]  # one chunk and no more, as most events come
        payload: list[bytes] = []
        try:
            self._split(data, payload)
        except MalformedReply as fault:
            if not payload:
                raise
            self.fault = fault
        return payload[0] if len(payload) == 1 else b"".join(payload)

    def _split(self, data: bytes, payload: list[bytes]) -> None:
        position, length = self._whole_chunks(data, payload), len(data)
        while position < length and not self.done:
            if self._state == "payload":
                piece = data[position : position + self._left]
                payload.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = "gap"
                continue
            end = data.find(b"\n", position)
            if end < 0:
                self._hold(data[position:])
                break
            self._line(data[position:end])
            position = end + 1
        if self.done and position < length:
            self.excess = True

    def _whole_chunks(self, data: bytes, payload: list[bytes]) -> int:
        """Take the chunks that are whole, as most are, without changes of state; returns where they end."""
        position = 0
        while self._state == "size" and (line := _SIZE_LINE.match(data, position)) is not None:
            start = line.end()
            stop = start + int(line[1], 16)
            if stop == start or data[stop : stop + 2] != b"\r\n":
                break
            payload.append(data[start:stop])
            position = stop + 2
        return position

    def may_end(self) -> bool:
        """Whether all payload so far belongs to whole chunks."""
        return self._state != "payload"

    def _hold(self, line: bytes) -> None:
        if len(line) > MAX_LINE:
            raise MalformedReply(f"the answer has a chunk line longer than {MAX_LINE} bytes")
        self._held = line

    def _line(self, line: bytes) -> None:
        """Take a line without its LF; only trailers may lack the CR, like headers."""
        if self._state == "gap":
            if line != b"\r":
                raise MalformedReply("the answer has a chunk longer than its size")
            self._state = "size"
        elif self._state == "size":
            self._begin(line)
        elif line in (b"", b"\r"):
            self.done = True
        else:
            if _FIELD.fullmatch(line.removesuffix(b"\r").decode("latin-1")) is None:
                self.excess = True  # it may be the next answer
            self._left += len(line)
            if self._left > MAX_LINE:
                raise MalformedReply(f"the answer has trailers of more than {MAX_LINE} bytes")

    def _begin(self, line: bytes) -> None:
        size = _SIZE_LINE.fullmatch(line + b"\n")
        if size is None:
            raise MalformedReply("the answer has a chunk without a size")
        self._left = int(size[1], 16)
        self._state = "payload" if self._left else "trailers"


PIECE = 262144
"""Most bytes to unpack at once."""

_GZIP = 16 + zlib.MAX_WBITS


class Inflater:
    """Unpacks gzip (several members too) or deflate (with or without its zlib wrapper)."""

    __slots__ = ("_began", "_encoding", "_packed", "_unpack")

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._packed = b""
        self._began = False
        self._unpack = zlib.decompressobj(_GZIP)

    def feed(self, data: bytes) -> None:
        """Take packed bytes; :meth:`piece` returns them unpacked."""
        if not self._began and data:
            self._began = True
            if self._encoding == "deflate":
                wrapped = data[0] & 0x0F == 8 and data[0] >> 4 <= 7
                self._unpack = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        self._packed += data

    def piece(self) -> bytes:
        """The next unpacked piece, or nothing when more must be fed. Raises :class:`MalformedReply`."""
        while self._packed:
            if self._unpack.eof:
                self._unpack = self._next_member()
            try:
                piece = self._unpack.decompress(self._packed, PIECE)
            except zlib.error:
                raise MalformedReply(f"the answer is labelled {self._encoding} and is not") from None
            self._packed = self._unpack.unconsumed_tail or self._unpack.unused_data
            if piece:
                return piece
        return b""

    def finish(self) -> None:
        """End the body. Raises :class:`MalformedReply` where the packed data is cut off."""
        if self._began and not self._unpack.eof:
            raise MalformedReply(f"the answer's {self._encoding} data is cut off")

    def _next_member(self) -> zlib._Decompress:
        if self._encoding == "deflate":
            raise MalformedReply("the answer has data after its end")
        return zlib.decompressobj(_GZIP)


def inflater_for(encoding: str) -> Inflater | None:
    """What unpacks a Content-Encoding; ``None`` where nothing is packed. Raises :class:`MalformedReply` for other encodings."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity", "none", "utf-8"):  # servers that mean a charset, or nothing
        return None
    if encoding in ("gzip", "x-gzip", "deflate"):
        return Inflater(encoding)
    raise MalformedReply(
        "the answer has a Content-Encoding other than gzip, deflate or identity, which were all that was asked for"
    )
