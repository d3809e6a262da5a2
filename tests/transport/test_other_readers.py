"""Our HTTP/1.1 reader beside h11 and http.client: the same answer, or both refuse; ``DIFFERENCES`` lists the intended exceptions.

Where h11 and http.client disagree, h11 decides. A connection is used again only where none of the readers sees another end.

``LLMDISPATCHER_FUZZ_EXAMPLES=100000`` tries so many random answers instead of the few that are always the same.
"""

from __future__ import annotations

import http.client
import io
import itertools
import os
import re
from types import SimpleNamespace

import attrs
import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdispatcher import Deadline, DispatchError
from llmdispatcher.transport.body import Body
from llmdispatcher.transport.context import IoContext, IoLimits
from llmdispatcher.transport.http1 import MAX_HEAD, HeadReader, framing_of

from ..cases import each

LONGER = int(os.environ.get("LLMDISPATCHER_FUZZ_EXAMPLES", "0"))


@attrs.frozen
class Read:
    """What a reader took for one whole answer, whether it would use the connection again, and the bytes on the wire."""

    status: int
    body: bytes
    headers: dict[str, str] | None = None
    kept: bool = False
    length: int | None = None

    @property
    def message(self):
        return self.status, self.body


class Wire:
    """A socket and its connection, for a peer that sends these pieces and then closes."""

    since = 0.0

    def __init__(self, pieces):
        self.pieces = [piece for piece in pieces if piece]
        self.closed = False

    def receive(self, _seconds=None):
        return self.pieces.pop(0) if self.pieces else b""

    def close(self):
        self.closed = True


def ours(pieces, method="POST"):
    """Read as :mod:`llmdispatcher.transport` does, receive by receive; ``None`` for an answer that is refused or not whole."""
    wire, context = Wire(pieces), IoContext(Deadline.after(None), IoLimits(), "vendor.test")
    returned = []
    try:
        reader, head = HeadReader(), None
        while head is None:
            data = wire.receive()
            if not data:
                return None
            head = reader.feed(data)
        read = Body(wire, wire, context, head, framing_of(head, method), rest=reader.rest)
        read.most = len(b"".join(pieces))
        read._pool = SimpleNamespace(_put_conn=returned.append)
        body = b"".join(read)
    except DispatchError:
        return None
    finally:
        context.leave()
    assert returned == [wire]
    # What is left to receive makes the pool drop the connection: `DeadlineSocket.is_readable`.
    return Read(head.status, body, head.headers, kept=not wire.closed and not wire.pieces)


def h11s(data, method="POST"):
    """Read with h11, the stricter of the two."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "vendor.test")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    head, body, closed = None, [], False
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if closed:
                    return None
                closed = True
                connection.receive_data(b"")
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                break
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None
    headers = {}
    for name, value in head.headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    kept = connection.their_state is h11.DONE and not closed
    return Read(head.status_code, b"".join(body), headers, kept, len(data) - len(connection.trailing_data[0]))


def stdlibs(data, method="POST"):
    """Read with http.client, the more lenient; helped with interim answers other than 100 and with blanks after a value."""
    file = io.BytesIO(data)

    def readline(limit):
        return re.sub(rb"(?<=[^ \t\r\n])[ \t]+(?=\r?\n\Z)", b"", file.readline(limit))

    kept_open = SimpleNamespace(readline=readline, read=file.read, flush=file.flush, close=lambda: None)
    sock = SimpleNamespace(makefile=lambda _mode: kept_open)
    try:
        while True:
            response = http.client.HTTPResponse(sock, method=method)
            response.begin()
            if not 100 <= response.status < 200 or response.status == 101:
                break
        body = response.read()
    except (http.client.HTTPException, ValueError, OverflowError, MemoryError):
        return None
    headers = None  # not compared: the email package reads whatever stands there
    return Read(response.status, body, headers, not response.will_close, file.tell())


@attrs.frozen
class Difference:
    """An answer that we treat other than h11 on purpose, found by ``pattern``.

    We ``refuse`` what it reads, ``read`` what it refuses, or ``read nothing``: no body, and the connection is not kept.
    """

    we: str
    pattern: str
    reason: str

    def applies(self, data, method="POST"):
        return re.search(self.pattern.encode("latin-1"), method.encode() + b"\n" + data, re.IGNORECASE | re.DOTALL) is not None


DIFFERENCES = {
    "two framings": Difference(
        "refuse",
        r"\ncontent-length:.*\ntransfer-encoding:|\ntransfer-encoding:.*\ncontent-length:",
        "one of them is a forgery (RFC 9112 section 6.1 lets a user agent treat it as an error); h11 believes the chunks",
    ),
    "another version": Difference("refuse", r"\nHTTP/(?!1\.[01] )", "HTTP/1.0 and 1.1 are all that is spoken here"),
    "a long head": Difference(
        "refuse", r"\n[^\n]{65000}", "MAX_HEAD holds for whole heads too; h11 bounds those that are not whole"
    ),
    "too many headers": Difference(
        "refuse", r"(?:\n[^\n:]+:[^\n]*){101}", "MAX_HEADERS bounds what is held; h11 bounds bytes alone"
    ),
    "too many interim answers": Difference(
        "refuse", r"(?:HTTP/1\.1 1\d\d.*){11}", "MAX_INTERIM bounds the wait; h11 skips without end"
    ),
    "a long chunk line": Difference(
        "refuse",
        r"\n[0-9a-f]+(?:[ \t]{65}|[ \t]*;[^\n]{4000})",
        "MAX_LINE bounds what nobody reads; h11 bounds only what is not whole",
    ),
    "a chunk size of many digits": Difference("refuse", r"\n[0-9a-f]{16,}", "15 digits are 1 EiB; h11 takes 20"),
    "a length of many digits": Difference("refuse", r"\ncontent-length:[ \t]*\d{19}", "18 digits are 1 EB; h11 takes 20"),
    "a bare CR in an extension": Difference(
        "refuse", r"\n[0-9a-f]+;[^\n]*\r[^\n]", "RFC 9112 section 2.2: invalid, or to be replaced"
    ),
    "a blank before an extension": Difference("read", r"\n[0-9a-f]+[ \t]+;", "RFC 9112 section 7.1.1: a recipient must parse it"),
    "trailers that are none": Difference(
        "read", r"\n0+[ \t]*(?:;[^\n]*)?\r\n(?!\r?\n)", "the payload is whole and paid for; the connection is not kept"
    ),
    "an interim answer with a body": Difference(
        "read",
        r"\nHTTP/1\.[01] 1[^\n]*\n(?:[^\n]*[^\r\n][^\n]*\n)*?(?:content-length|transfer-encoding):",
        "its framing is not used; the connection is not kept",
    ),
    "a refusal with a bad framing": Difference(
        "read nothing", r"\nHTTP/1\.[01] [3-9]", "status and headers say enough; the connection is not kept"
    ),
    "no body with a bad framing": Difference(
        "read nothing",
        r"^HEAD\n|\nHTTP/1\.[01] (?:204|304)",
        "the framing is not used (RFC 9112 section 6.3); the connection is not kept",
    ),
}


FRAMING = ("content-length", "transfer-encoding")


def is_same(one, other):
    """Whether two readers have read the same answer; h11 writes the fields of framing anew."""
    if one is None or other is None or one.message != other.message:
        return False
    return other.headers is None or _own(one.headers) == _own(other.headers)


def _own(headers):
    return {name: value for name, value in headers.items() if name not in FRAMING}


def is_meant(we, data, method):
    return any(each.we == we and each.applies(data, method) for each in DIFFERENCES.values())


def compare(pieces, method="POST"):
    """Read with all three, and fail where we stand alone; returns what we have read."""
    data = b"".join(pieces)
    mine, strict, lenient = ours(pieces, method), h11s(data, method), stdlibs(data, method)
    said = f"{data[:2000]!r}\nours {mine}\nh11 {strict}\nhttp.client {lenient}"
    if mine is None:
        assert strict is None or is_meant("refuse", data, method), f"refused: {said}"
        return None
    nothing = not mine.body and not mine.kept and is_meant("read nothing", data, method)
    assert is_same(mine, strict) or nothing or is_meant("read", data, method), f"another answer than h11's: {said}"
    assert is_same(mine, strict) or nothing or is_same(mine, lenient), f"an answer that nobody else reads: {said}"
    if mine.kept:
        readers = [each for each in (strict, lenient) if each is not None]
        assert all(is_same(mine, each) and each.length == len(data) for each in readers), f"kept, though not all agree: {said}"
        assert any(each.kept for each in readers), f"kept, as nobody else would: {said}"
    return mine


START = b"HTTP/1.1 200 OK\r\n"
LENGTH = START + b"Content-Length: 5\r\n"
CHUNKS = START + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"

some = st.sampled_from
EOL = some([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\n\n", b"\r\n ", b"\r\n\t", b""])
FIRST = some(
    [b"HTTP/1.1 200 OK"] * 12
    + [b"HTTP/1.1 %d X" % status for status in (100, 101, 103, 199, 201, 204, 205, 206, 304, 307, 400, 429, 500, 599, 999)]
    + [
        b"HTTP/1.0 200 OK",
        b"HTTP/1.0 204 X",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 ",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.2 200 OK",
    ]
    + [
        b"HTTP/0.9 200 OK",
        b"HTTP/2 200",
        b"http/1.1 200 OK",
        b"HTTP/1.1 0200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 +20 X",
        b"HTTP/1.1 000 X",
    ]
    + [b"HTTP/1.1 099 X", b"ICY 200 OK", b" HTTP/1.1 200 OK", b"HTTP/1.1 200 O\0K", b"HTTP/1.1 200 \x0b", b"HTTP/1.1 200 \xe9\x01"]
)
VALUE = some(
    [b"0", b"3", b"5", b"5", b"05", b"+5", b"-5", b"5,5", b"5, 5", b"5, 6", b"5,", b"5 5", b"5.0", b"0x5", b"5_0", b"", b"\xb25"]
) | some(
    [b"chunked"] * 6
    + [
        b"Chunked",
        b"chunked,",
        b",chunked",
        b"chunked, chunked",
        b"gzip, chunked",
        b"chunked, gzip",
        b"identity",
        b"xchunked",
        b"chunked;a=b",
    ]
    + [
        b'"chunked"',
        b"chun ked",
        b"close",
        b"keep-alive",
        b"Keep-Alive, close",
        b"x, CLOSE",
        b"closed",
        b"9" * 25,
        b"0" * 18 + b"5",
    ]
)
SPACE = some([b"", b" ", b" ", b" ", b" ", b"\t", b"  ", b"\x0b", b"\x0c", b"\xa0", b"\x85", b"\0", b"\x1f"])
NAME = some(
    [b"Content-Length", b"Transfer-Encoding"] * 4
    + [
        b"content-length",
        b"Connection",
        b"Connection",
        b"Keep-Alive",
        b"X-A",
        b"X-A",
        b"Content-Length ",
        b" Content-Length",
        b"Content_Length",
    ]
    + [b"", b"X\xc4", b"X\0", b"Trailer", b"X A", b"Transfer-Encoding\x0b"]
)
FIELD = st.tuples(
    NAME, some([b":"] * 12 + [b"", b" :", b"::"]), SPACE, VALUE, some([b""] * 8 + [b" ", b"\t", b"\x0b", b"\xa0", b"\x1c"])
).map(b"".join)
PLAIN_FIELD = some(
    [
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 0",
        b"Connection: close",
        b"Connection: keep-alive",
        b"X-A: b c",
    ]
)
LINES = st.lists(st.tuples(PLAIN_FIELD | PLAIN_FIELD | FIELD, EOL).map(b"".join), max_size=4).map(b"".join)
HEAD = st.tuples(FIRST, EOL, LINES, some([b"\r\n"] * 8 + [b"\n", b"\r\n\r\n", b" \r\n", b""])).map(b"".join)
SIZED = some([b"hello", b"hello", b"hell", b"", b"hello\r\n", b"hello" + START])
SIZE = some(
    [b"5"] * 8
    + [
        b"5;a=b",
        b"5 ;a",
        b"5;",
        b'5; a="x"',
        b"5;\0",
        b"5;a\rb",
        b"5 ",
        b"05",
        b"+5",
        b"-5",
        b"0x5",
        b" 5",
        b"5_0",
        b"",
        b"g",
        b"6",
        b"4",
    ]
) | some([b"0" * 14 + b"5", b"0" * 15 + b"5", b"0" * 30 + b"5", b"F" * 15, b"F" * 16, b"f" * 20, b"5,\xb5", b"5;" + b"x" * 5000])
CHUNK = st.tuples(SIZE, EOL, some([b"hello"] * 6 + [b"hell", b"hello!", b"he\r\n0", b""]), EOL).map(b"".join) | st.just(
    b"5\r\nhello\r\n"
)
TRAILERS = some(
    [b"\r\n"] * 6 + [b"X: y\r\n\r\n", b"X: y\n\n", b"none\r\n\r\n", b" X: y\r\n\r\n", b"X: y\r\n z\r\n\r\n", b"X : y\r\n\r\n"]
) | some(
    [
        b"\n",
        b"\r",
        b"",
        START + b"X: y\r\n\r\n",
        b"Content-Length: 3\r\n\r\n",
        b"X: \0\r\n\r\n",
        b"\r\nmore",
        b"\r\n" + LENGTH + b"\r\nhello",
    ]
)
LAST = st.tuples(some([b"0"] * 8 + [b"00", b"0;a=b", b"0 ", b"-0", b"0x0", b"0" * 20]), EOL, TRAILERS).map(b"".join)
CHUNKED = st.tuples(st.lists(CHUNK, max_size=3).map(b"".join), LAST | st.just(END)).map(b"".join)
USUAL = some([LENGTH + b"\r\n", CHUNKS, START + b"\r\n"])
INTERIM = some(
    [b""] * 8
    + [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 X\r\nLink: a\r\n\r\n", b"HTTP/1.1 100 X\r\nContent-Length: 5\r\n\r\n"]
)
WHOLE = st.tuples(INTERIM, HEAD | HEAD | USUAL, SIZED | CHUNKED | CHUNKED).map(b"".join)
BYTES = some(
    [
        b"",
        b"\r",
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b"\0",
        b"\x0b",
        b"\x85",
        b"\xff",
        b":",
        b",",
        b";",
        b"0",
        b"5",
        b"f",
        b"-",
        b"\r\n0\r\n\r\n",
    ]
)
PLACE = st.integers(0, 400)


def damage(data, accidents):
    """Put something else in place of up to three bytes."""
    for place, size, other in accidents:
        at = place % (len(data) + 1)
        data = data[:at] + other + data[at + size :]
    return data


def cut(data, places):
    """The pieces of ``data`` between these places."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:stop] for start, stop in itertools.pairwise(edges)]


ANSWERS = st.builds(damage, WHOLE, st.lists(st.tuples(PLACE, st.integers(0, 3), BYTES), max_size=2))


@settings(max_examples=LONGER or 300, derandomize=not LONGER)
@given(data=ANSWERS, places=st.lists(PLACE, max_size=8), method=some(["POST", "POST", "GET", "HEAD"]))
def test_any_answer_is_read_as_others_read_it(data, places, method):
    """However it is broken, and cut into receives anywhere: we read what h11 or http.client read, or refuse."""
    assert compare([data], method) == compare(cut(data, places), method)


def answer(*fields, first=b"HTTP/1.1 200 OK", body=b"hello"):
    return b"\r\n".join([first, *fields, b"", body])


def chunked(body, *fields, first=b"HTTP/1.1 200 OK"):
    return answer(b"Transfer-Encoding: chunked", *fields, first=first, body=body)


HELLO = b"5\r\nhello\r\n"
SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"

KEPT = {
    "a length": answer(b"Content-Length: 5"),
    "a length with blanks around": answer(b"Content-Length: \t 5 \t"),
    "a length with zeros": answer(b"Content-Length: 0005"),
    "chunks": chunked(HELLO + END),
    "chunked with blanks around": answer(b"Transfer-Encoding: \tchunked \t", body=HELLO + END),
    "chunked in capitals": answer(b"transfer-ENCODING:CHUNKED", body=HELLO + END),
    "chunk extensions": chunked(b"5;a=b\r\nhello\r\n0;c\r\n\r\n"),
    "a blank before an extension": chunked(b"5 ;a=b\r\nhello\r\n0 ;c\r\n\r\n"),
    "a blank after the size": chunked(b"5 \r\nhello\r\n" + END),
    "a size with zeros": chunked(b"0000005\r\nhello\r\n000\r\n\r\n"),
    "trailers": chunked(HELLO + b"0\r\nX: y\r\nZ:\r\n\r\n"),
    "lines of the head that end with LF": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nLink: a\r\n\r\n" + answer(b"Content-Length: 5"),
    "an interim answer of length 0": b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n" + answer(b"Content-Length: 5"),
    "no reason": answer(b"Content-Length: 5", first=b"HTTP/1.1 200"),
    "an empty reason": answer(b"Content-Length: 5", first=b"HTTP/1.1 200 "),
    "HTTP/1.0 that stays": answer(b"Content-Length: 5", b"Connection: Keep-Alive", first=b"HTTP/1.0 200 OK"),
    "control characters in a value": answer(b"Content-Length: 5", b"X-A: \x01\x7f\xff"),
    "99 headers": answer(b"Content-Length: 5", *[b"X: y"] * 98),
}
"""What leaves no doubt: ``hello``, and the connection is used again."""

NOT_KEPT = {
    "two equal lengths": answer(b"Content-Length: 5", b"Content-Length: 5"),
    "one length twice": answer(b"Content-Length: 5, 5"),
    "no length": answer(),
    "connection: close": answer(b"Content-Length: 5", b"Connection: x, Close"),
    "HTTP/1.0": answer(b"Content-Length: 5", first=b"HTTP/1.0 200 OK"),
    "chunks in HTTP/1.0": chunked(HELLO + END, b"Connection: keep-alive", first=b"HTTP/1.0 200 OK"),
    "a folded value": answer(b"Content-Length: 5", b"X: a\r\n b"),
    "a folded length": answer(b"Content-Length:\r\n 5"),
    "a folded coding": answer(b"Transfer-Encoding:\r\n\tchunked", body=HELLO + END),
    "an interim answer with a length": b"HTTP/1.1 100 X\r\nContent-Length: 5\r\n\r\n" + answer(b"Content-Length: 5"),
    "an interim answer with a coding": b"HTTP/1.1 103 X\r\nTransfer-Encoding: gzip\r\n\r\n" + answer(b"Content-Length: 5"),
    "more than the length": answer(b"Content-Length: 5", body=b"hello!"),
    "a second answer after the length": answer(b"Content-Length: 5", body=b"hello" + SECOND),
    "a second answer after the chunks": chunked(HELLO + END + SECOND),
    "an empty line after the chunks": chunked(HELLO + END + b"\r\n"),
    "a second answer as trailers": chunked(HELLO + b"0\r\n" + SECOND[:-3]),
    "a trailer without a colon": chunked(HELLO + b"0\r\nX\r\n\r\n"),
    "a trailer with a blank before the colon": chunked(HELLO + b"0\r\nX : y\r\n\r\n"),
    "a trailer with NUL": chunked(HELLO + b"0\r\nX: \0\r\n\r\n"),
}
"""``hello``, but somebody else could see the end elsewhere, or the peer closes: the connection is not used again."""

EMPTY = {
    "204": (answer(first=b"HTTP/1.1 204 No Content", body=b""), "POST", True),
    "204 of length 0": (answer(b"Content-Length: 0", first=b"HTTP/1.1 204 No Content", body=b""), "POST", True),
    "204 with a length": (answer(b"Content-Length: 5", first=b"HTTP/1.1 204 No Content"), "POST", False),
    "204 with a length and no body": (answer(b"Content-Length: 5", first=b"HTTP/1.1 204 X", body=b""), "POST", False),
    "204 with chunks": (chunked(HELLO + END, first=b"HTTP/1.1 204 X"), "POST", False),
    "204 with a coding and no body": (chunked(b"", first=b"HTTP/1.1 204 X"), "POST", False),
    "304 with a length": (answer(b"Content-Length: 5", first=b"HTTP/1.1 304 X", body=b""), "GET", True),
    "304 with chunks": (chunked(HELLO + END, first=b"HTTP/1.1 304 X"), "GET", False),
    "304 with a length that is none": (answer(b"Content-Length: -5", first=b"HTTP/1.1 304 X", body=b""), "GET", False),
    "HEAD with a length": (answer(b"Content-Length: 5", body=b""), "HEAD", True),
    "HEAD with two lengths": (answer(b"Content-Length: 5, 6", body=b""), "HEAD", False),
    "HEAD with a body": (answer(b"Content-Length: 5"), "HEAD", False),
    "205 of length 0": (answer(b"Content-Length: 0", first=b"HTTP/1.1 205 X", body=b""), "POST", True),
    "a length of 0": (answer(b"Content-Length: 0", body=b""), "POST", True),
    "no chunks": (chunked(END), "POST", True),
    "a refusal with a length and chunks": (chunked(HELLO + END, b"Content-Length: 5", first=b"HTTP/1.1 429 X"), "POST", False),
    "a refusal with two lengths": (answer(b"Content-Length: 5, 6", first=b"HTTP/1.1 500 X"), "POST", False),
}
"""No body: the answer, the method that asked for it, and whether the connection is used again."""

REFUSED = {
    "two lengths": answer(b"Content-Length: 5", b"Content-Length: 6"),
    "two lengths in one": answer(b"Content-Length: 5, 6"),
    "a length and a comma": answer(b"Content-Length: 5,"),
    "a length with a sign": answer(b"Content-Length: +5"),
    "a negative length": answer(b"Content-Length: -5"),
    "a hexadecimal length": answer(b"Content-Length: 0x5"),
    "a length with an underscore": answer(b"Content-Length: 5_0"),
    "a length with a fraction": answer(b"Content-Length: 5.0"),
    "two numbers": answer(b"Content-Length: 5 5"),
    "an empty length": answer(b"Content-Length:"),
    "a length of 19 digits": answer(b"Content-Length: 0000000000000000005"),
    "a length of 5000 digits": answer(b"Content-Length: " + b"0" * 5000 + b"5"),
    "a length with a no-break space": answer(b"Content-Length: 5\xa0"),
    "a length with a line separator": answer(b"Content-Length: 5\x85"),
    "a length with a vertical tab": answer(b"Content-Length: 5\x0b"),
    "a length with a separator character": answer(b"Content-Length: 5\x1c"),
    "one length twice with a no-break space": answer(b"Content-Length: 5\xa0, 5"),
    "a length that is cut": answer(b"Content-Length: 6"),
    "a length and chunks": chunked(HELLO + END, b"Content-Length: 5"),
    "chunked twice": chunked(HELLO + END, b"Transfer-Encoding: chunked"),
    "chunked twice in one": answer(b"Transfer-Encoding: chunked, chunked", body=HELLO + END),
    "gzip and chunks": answer(b"Transfer-Encoding: gzip, chunked", body=HELLO + END),
    "chunks and identity": answer(b"Transfer-Encoding: chunked, identity", body=HELLO + END),
    "identity": answer(b"Transfer-Encoding: identity"),
    "a word like chunked": answer(b"Transfer-Encoding: xchunked", body=HELLO + END),
    "chunked with a parameter": answer(b"Transfer-Encoding: chunked;a=b", body=HELLO + END),
    "chunked in quotes": answer(b'Transfer-Encoding: "chunked"', body=HELLO + END),
    "chunked with a no-break space": answer(b"Transfer-Encoding: chunked\xa0", body=HELLO + END),
    "chunked with a vertical tab": answer(b"Transfer-Encoding:\x0bchunked", body=HELLO + END),
    "an empty coding": answer(b"Transfer-Encoding:", body=HELLO + END),
    "a blank before the colon": answer(b"Content-Length : 5"),
    "a first header with a blank before": answer(b" Content-Length: 5"),
    "a status line over two lines": b"HTTP/1.1\r\n 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "a name with NUL": answer(b"Content-Length: 5", b"X\0: y"),
    "a value with NUL": answer(b"Content-Length: 5", b"X: \0"),
    "a value with a form feed": answer(b"Content-Length: 5", b"X: a\x0cb"),
    "a value with a bare CR": answer(b"X: a\rContent-Length: 5"),
    "a line that ends with two CR": answer(b"Content-Length: 5\r"),
    "a line without a colon": answer(b"Content-Length: 5", b"X"),
    "a header without a name": answer(b"Content-Length: 5", b": x"),
    "101 headers": answer(b"Content-Length: 5", *[b"X: y"] * 100),
    "a head of 64 KiB": answer(b"Content-Length: 5", b"X: " + b"y" * MAX_HEAD),
    "11 interim answers": b"HTTP/1.1 103 X\r\n\r\n" * 11 + answer(b"Content-Length: 5"),
    "another protocol": b"HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n" + answer(b"Content-Length: 5"),
    "HTTP/1.2": answer(b"Content-Length: 5", first=b"HTTP/1.2 200 OK"),
    "HTTP/0.9": b"hello",
    "HTTP/2": answer(b"Content-Length: 5", first=b"HTTP/2 200"),
    "an empty line first": b"\r\n" + answer(b"Content-Length: 5"),
    "a status of four digits": answer(b"Content-Length: 5", first=b"HTTP/1.1 0200 OK"),
    "a status with a sign": answer(b"Content-Length: 5", first=b"HTTP/1.1 +20 OK"),
    "a tab before the status": answer(b"Content-Length: 5", first=b"HTTP/1.1\t200 OK"),
    "a size with a sign": chunked(b"+5\r\nhello\r\n" + END),
    "a negative size": chunked(b"-5\r\nhello\r\n" + END),
    "a size with 0x": chunked(b"0x5\r\nhello\r\n" + END),
    "a size with an underscore": chunked(b"0_5\r\nhello\r\n" + END),
    "a blank before the size": chunked(b" 5\r\nhello\r\n" + END),
    "no size": chunked(b"\r\nhello\r\n" + END),
    "a size beyond all": chunked(b"F" * 16 + b"\r\nhello\r\n" + END),
    "a size that overflows to 5": chunked(b"10000000000000005\r\nhello\r\n" + END),
    "a size of 16 digits": chunked(b"0000000000000005\r\nhello\r\n" + END),
    "a size line of LF": chunked(b"5\nhello\r\n" + END),
    "a size line of CR": chunked(b"5\rhello\r\n" + END),
    "chunks that end with LF": chunked(b"5\r\nhello\n" + END),
    "chunked lines of LF alone": chunked(b"5\nhello\n0\n\n"),
    "a last chunk of LF": chunked(HELLO + b"0\n\r\n"),
    "two other bytes after a chunk": chunked(b"5\r\nhelloXX" + END),
    "a chunk longer than its size": chunked(b"4\r\nhello\r\n" + END),
    "a chunk shorter than its size": chunked(b"6\r\nhello\r\n" + END),
    "an extension with LF": chunked(b"5;a\nb\r\nhello\r\n" + END),
    "an extension with CR": chunked(b"5;a\rb\r\nhello\r\n" + END),
    "an extension of 5000 bytes": chunked(b"5;" + b"a" * 5000 + b"\r\nhello\r\n" + END),
    "many blanks after the size": chunked(b"5" + b" " * 1000 + b"\r\nhello\r\n" + END),
    "trailers of 5000 bytes": chunked(HELLO + b"0\r\n" + b"X: yyyy\r\n" * 600 + b"\r\n"),
    "no end of the trailers": chunked(HELLO + b"0\r\nX: y\r\n"),
    "no last chunk": chunked(HELLO),
}
"""What could hide another answer, has no end, or is none."""

CASES = {
    **{name: (data, "POST", Read(200, b"hello", kept=True)) for name, data in KEPT.items()},
    **{name: (data, "POST", Read(200, b"hello", kept=False)) for name, data in NOT_KEPT.items()},
    **{name: (data, method, Read(int(data[9:12]), b"", kept=kept)) for name, (data, method, kept) in EMPTY.items()},
    **{name: (data, "POST", None) for name, data in REFUSED.items()},
}


@each("data, method, expected", CASES.values())
def test_known_cases_are_read_as_they_must_be(data, method, expected):
    """Each kind of trick and accident: what is read of it, and whether the connection is used again; in one piece and in many."""
    for pieces in ([data], cut(data, range(0, len(data), 1 if len(data) < 1000 else 97))):
        read = compare(pieces, method)
        assert expected == (read and attrs.evolve(read, headers=None))


@each("whole", [KEPT["a length"], KEPT["trailers"], KEPT["interim answers"]])
def test_an_answer_cut_at_any_place_is_refused(whole):
    """All of it or nothing: no place is taken for the end before the end."""
    assert [None] * len(whole) == [compare([whole[:at]]) for at in range(len(whole))]


@each("name", list(DIFFERENCES))
def test_each_difference_is_one(name):
    """A row is there for an answer that h11 reads in another way, and goes when there is none any more."""
    difference = DIFFERENCES[name]
    found = [(ours([data], method), h11s(data, method)) for data, method, _ in CASES.values() if difference.applies(data, method)]
    if difference.we == "refuse":
        assert any(mine is None and strict is not None for mine, strict in found)
    else:
        assert any(mine is not None and not is_same(mine, strict) for mine, strict in found)
