"""The head of a refusal decides: whatever its body is, status and headers are kept, and the body takes little time and room."""

from __future__ import annotations

import gzip
import time

import pytest

from llmdispatcher import Cancellation, Cancelled
from llmdispatcher.transport.transport import MAX_REFUSAL

from ..cases import each
from .conftest import LONG

WORDS = b'{"error":{"message":"no"}}'
HINT = ("Retry-After", "7")


def sent(*headers, body=WORDS, status=429):
    """A refusal with these headers and this body, after which the server hangs up."""

    def handler(peer, request):
        peer.head(status, HINT, *headers)
        peer.send(body)
        return True

    return handler


def dripping(*headers, piece):
    """A refusal whose body comes for ever, a little at a time."""

    def handler(peer, request):
        peer.head(429, HINT, *headers)
        while not peer.wait(0.02):
            peer.send(piece)
        return True

    return handler


def silent(peer, request):
    """Announces a body, and says no more."""
    peer.head(429, HINT, ("Content-Length", "100"))
    return peer.hang_up()


def flooding(peer, request):
    """More than anybody wants to know."""
    peer.head(429, HINT, ("Transfer-Encoding", "chunked"))
    while not peer.wait(0):
        peer.chunk(b"x" * 60_000)
    return True


BROKEN = {
    "brotli": sent(("Content-Encoding", "br"), ("Content-Length", str(len(WORDS)))),
    "two encodings": sent(("Content-Encoding", "gzip, gzip"), ("Content-Length", str(len(WORDS)))),
    "gzip that is none": sent(("Content-Encoding", "gzip"), ("Content-Length", str(len(WORDS)))),
    "gzip cut off": sent(("Content-Encoding", "gzip"), ("Connection", "close"), body=gzip.compress(WORDS)[:-9]),
    "a bomb": sent(("Content-Encoding", "gzip"), ("Connection", "close"), body=gzip.compress(bytes(50_000_000))),
    "cut short": sent(("Content-Length", "40000000")),
    "a chunk cut short": sent(("Transfer-Encoding", "chunked"), body=b"10\r\n{"),
    "no chunk": sent(("Transfer-Encoding", "chunked"), body=b"zz\r\n"),
    "length and chunks": sent(("Transfer-Encoding", "chunked"), ("Content-Length", "3")),
    "two lengths": sent(("Content-Length", "3, 4")),
    "a length that is none": sent(("Content-Length", "-1")),
    "an unknown transfer coding": sent(("Transfer-Encoding", "gzip, chunked")),
    "spaces for ever": dripping(("Transfer-Encoding", "chunked"), piece=b"1\r\n \r\n"),
    "a gzip head for ever": dripping(("Content-Encoding", "gzip"), ("Connection", "close"), piece=b"\x1f\x8b\x08\x08xxxxxx"),
    "silence": silent,
    "a flood": flooding,
}


@each("handler", BROKEN.values())
def test_a_broken_body_takes_nothing_from_the_head(serve, handler):
    """Status and hint are there, the body is what could be read of it, and soon (the deadline is far away)."""
    began = time.monotonic()
    reply = serve(handler).open()
    body = reply.read()

    assert (429, "7", True) == (reply.status, reply.headers["retry-after"], len(body) <= MAX_REFUSAL)
    assert time.monotonic() - began < LONG / 2


@each("handler", [BROKEN["spaces for ever"], silent])
def test_a_short_deadline_ends_the_words_and_not_the_refusal(serve, handler):
    """A quarter of what is left is for words; also where that is over, the head has been heard."""
    reply = serve(handler).open(seconds=4.0)
    reply.read()

    assert (429, "7") == (reply.status, reply.headers["retry-after"])


def test_whole_words_are_read_and_the_connection_is_kept(serve):
    """As ever, where nothing is wrong."""

    def handler(peer, request):
        peer.reply(429, WORDS, HINT)

    line = serve(handler)
    assert [WORDS, WORDS] == [line.open().read(), line.open().read()]
    assert 1 == line.server.connections


@each("name", ["length and chunks", "cut short", "a flood"])
def test_a_connection_with_a_broken_body_is_not_used_again(serve, name):
    """Nobody knows where the next answer would begin."""
    line = serve(BROKEN[name])
    for _ in range(2):
        line.open().read()

    assert 2 == line.server.connections


def test_a_cancel_is_heard_while_a_refusal_is_read(serve):
    """It is the caller's own wish, and no fault of the body."""
    cancel = Cancellation()
    reply = serve(silent).open(cancel=cancel)
    cancel.cancel("enough")

    with pytest.raises(Cancelled, match="enough"):
        reply.read()
