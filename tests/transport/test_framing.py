"""HTTP/1.1 as pure bytes: heads and bodies, cut anywhere."""

from __future__ import annotations

import pytest

from llmdispatcher import MalformedReply
from llmdispatcher.transport.http1 import Chunked, Endless, Head, HeadReader, Sized, framing_of

from ..cases import each

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A: 1\r\nx-a:  2 \r\n\r\n"
CHUNKS = b"5;ext=1\r\nhello\r\n1\r\n \r\nA\r\nworld12345\r\n0\r\nTrailer: x\r\n\r\n"


def head(*lines: str, first: str = "HTTP/1.1 200 OK") -> Head:
    read = HeadReader().feed("\r\n".join([first, *lines, "", ""]).encode("latin-1"))
    assert read is not None
    return read


@each("cut", range(1, len(HEAD)))
def test_a_head_may_be_cut_anywhere(cut):
    """Every cut of a head gives the same head, and leaves the body that came with it."""
    reader = HeadReader()

    assert reader.feed(HEAD[:cut]) is None
    found = reader.feed(HEAD[cut:] + b"body")

    assert Head(status=200, headers={"content-type": "text/plain", "x-a": "1, 2"}, keep_alive=True) == found
    assert b"body" == reader.rest


def test_bare_line_feeds_end_lines_too():
    """A server that ends lines with LF alone is understood."""
    assert {"a": "1"} == HeadReader().feed(b"HTTP/1.0 200\nA: 1\n\n").headers


def test_folded_headers_are_unfolded():
    """A value over two lines is one value (RFC 9112 section 5.2)."""
    assert "one two" == head("A: one", "  two").headers["a"]


def test_interim_answers_are_skipped():
    """100 Continue and 103 Early Hints come before the answer, not instead of it."""
    found = HeadReader().feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + HEAD)

    assert 200 == found.status


@each(
    "bad",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 11,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"<html>no HTTP at all</html>\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: x\0y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: x\ry\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: 1\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 65536,
    ],
)
def test_what_is_no_head_is_refused(bad):
    """A head that is none, or without end, raises instead of being guessed at."""
    with pytest.raises(MalformedReply):
        HeadReader().feed(bad)


@each(
    "lines, first, kept",
    [
        ((), "HTTP/1.1 200 OK", True),
        (("Connection: close",), "HTTP/1.1 200 OK", False),
        (("Connection: x, Close",), "HTTP/1.1 200 OK", False),
        ((), "HTTP/1.0 200 OK", False),
        (("Connection: keep-alive",), "HTTP/1.0 200 OK", True),
    ],
)
def test_a_connection_is_kept_as_its_version_says(lines, first, kept):
    """HTTP/1.1 keeps a connection unless told to close, HTTP/1.0 closes it unless told to keep."""
    assert kept == head(*lines, first=first).keep_alive


@each(
    "lines, method, status, kind",
    [
        (("Content-Length: 5",), "POST", 200, Sized),
        (("Content-Length: 5, 5",), "POST", 200, Sized),
        (("Transfer-Encoding: Chunked",), "POST", 200, Chunked),
        ((), "POST", 200, Endless),
        ((), "POST", 204, Sized),
        (("Content-Length: 5",), "HEAD", 200, Sized),
    ],
)
def test_a_head_tells_how_its_body_ends(lines, method, status, kind):
    """Length, chunks or the end of the connection: RFC 9112 section 6.3."""
    assert kind is type(framing_of(head(*lines, first=f"HTTP/1.1 {status} X"), method))


@each(
    "lines",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: -5",),
        ("Content-Length: five",),
        ("Content-Length: +5",),
        ("Content-Length:",),
    ],
)
def test_a_head_that_contradicts_itself_is_refused(lines):
    """Two ways to end a body are one way to smuggle another answer in."""
    with pytest.raises(MalformedReply):
        framing_of(head(*lines), "POST")


@each("cut", range(len(CHUNKS)))
def test_chunks_may_be_cut_anywhere(cut):
    """Every cut of a chunked body gives the same payload, and its end is seen exactly at its end."""
    body = Chunked()

    payload = body.feed(CHUNKS[:cut])
    assert not body.done
    payload += body.feed(CHUNKS[cut:])

    assert (b"hello world12345", True, False) == (payload, body.done, body.excess)


def test_chunks_byte_by_byte():
    """One byte at a time is as good as all at once."""
    body = Chunked()

    assert b"hello world12345" == b"".join(body.feed(CHUNKS[n : n + 1]) for n in range(len(CHUNKS)))


@each(
    "bad",
    [
        b"x\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"+5\r\n",
        b"1_0\r\n",
        b"\r\n",
        b"3\r\nabcd\r\n",
        b"1" * 5000,
        b"1;" + b"x" * 5000 + b"\r\n",
        b"0\r\n" + b"A: 1\r\n" * 2000,
        b"F" * 16 + b"\r\n",
    ],
)
def test_what_is_no_chunk_is_refused(bad):
    """A size that is no plain hexadecimal number, a line without end, or a file of trailers raises."""
    body = Chunked()

    with pytest.raises(MalformedReply):
        body.feed(bad) and body.feed(b"")


def test_payload_before_nonsense_is_not_lost():
    """What came before a fault is delivered whatever the cuts; the fault comes after it."""
    body = Chunked()

    assert b"abc" == body.feed(b"3\r\nabc\r\nnonsense\r\n")
    with pytest.raises(MalformedReply):
        body.feed(b"")


def test_more_than_the_body_is_noticed():
    """Bytes after the end belong to nobody: the connection must not be used again."""
    chunked, sized = Chunked(), Sized(3)

    chunked.feed(CHUNKS + b"HTTP/1.1")
    assert b"abc" == sized.feed(b"abcd")

    assert (True, True) == (chunked.excess, sized.excess)
