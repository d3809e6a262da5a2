"""Bodies: live, bounded, complete or not at all, and given back (rows B, S8, C3)."""

from __future__ import annotations

import gc
import gzip
import threading
import time

import pytest

from llmdispatcher import Cancellation, Cancelled, MalformedReply, VendorUnavailable
from llmdispatcher.transport import IoLimits

from ..cases import each
from .conftest import LONG

EVENT = b"data: {}\n\n"


def ok(peer, request):
    peer.reply(200, b'{"ok": true}')


def stepwise(send_one, step):
    """A handler that sends one event, waits for ``step``, and sends another."""

    def handler(peer, request):
        finish = send_one(peer)
        step.wait(LONG)
        finish()
        return True

    return handler


def chunked(peer):
    peer.start_stream()
    peer.chunk(EVENT)

    def finish():
        peer.chunk(EVENT)
        peer.chunk(b"")

    return finish


def sized(peer):
    peer.head(200, ("Content-Length", str(2 * len(EVENT))))
    peer.send(EVENT)
    return lambda: peer.send(EVENT)


def endless(peer):
    peer.head(200, ("Connection", "close"))
    peer.send(EVENT)
    return lambda: peer.send(EVENT)


def packed(peer):
    import zlib

    packer = zlib.compressobj(wbits=31)
    peer.start_stream(("Content-Encoding", "gzip"))
    peer.chunk(packer.compress(EVENT) + packer.flush(zlib.Z_SYNC_FLUSH))

    def finish():
        peer.chunk(packer.compress(EVENT) + packer.flush())
        peer.chunk(b"")

    return finish


def test_much_after_little_comes_whole_and_in_few_pieces(serve, secure):
    """Where little has come lately little is asked for, and all that there is again as soon as there is more."""
    read, much = threading.Semaphore(0), b"x" * 300_000

    def handler(peer, request):
        peer.start_stream()
        for _ in range(5):
            peer.chunk(EVENT)
            read.acquire(timeout=LONG)
        peer.chunk(much)
        peer.chunk(b"")

    pieces = []
    for piece in serve(handler, secure=secure).open().chunks:
        pieces.append(piece)
        read.release()

    assert [EVENT] * 5 == pieces[:5]
    assert much == b"".join(pieces[5:])
    assert len(pieces) < 150


@each("framing", [chunked, sized, endless, packed])
def test_a_piece_is_delivered_when_it_comes(serve, secure, framing):
    """Whatever delimits a body, its first bytes are read before its last are sent."""
    step = threading.Event()
    reply = serve(stepwise(framing, step), secure=secure).open()

    first = next(reply.chunks)
    step.set()

    assert (EVENT, EVENT) == (first, b"".join(reply.chunks))


def test_a_finished_body_gives_its_connection_back(serve, secure):
    """Reading to the end is enough for the next call to use the same connection."""
    line = serve(ok, secure=secure)
    for _ in range(5):
        line.get()

    assert 1 == line.server.connections


def test_a_body_to_the_end_of_the_connection_is_not_reused(serve):
    """An answer that ends with its connection leaves none behind."""

    def bare(peer, request):
        peer.head(200)
        peer.send(b"all of it")
        return True

    line = serve(bare)

    assert [b"all of it"] * 2 == [line.get(), line.get()]
    assert 2 == line.server.connections


@each("connection", ["close", "Close"])
def test_connection_close_is_obeyed(serve, connection):
    """A server that says close is not asked again on that connection."""
    line = serve(lambda peer, request: peer.reply(200, b"x", ("Connection", connection)))
    line.get()
    line.get()

    assert 2 == line.server.connections


@each("answer, body", [(b"200 OK\r\nContent-Length: 2\r\n\r\n{}", b"{}"), (b"204 No Content\r\n\r\n", b"")])
def test_surplus_bytes_spoil_the_connection(serve, answer, body):
    """Bytes after the end of an answer are never read as the next answer; a 204 ends with its head (H5)."""
    line = serve(lambda peer, request: peer.send(b"HTTP/1.1 " + answer + b"HTTP/1.1 200 OK\r\n"))

    assert [body, body] == [line.get(), line.get()]
    assert 2 == line.server.connections


@each(
    "cut",
    [
        b"Content-Length: 10\r\n\r\n12345",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n12",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n12\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n12\r\n0\r\n",
    ],
)
def test_a_cut_body_is_never_whole(serve, secure, cut):
    """A connection that ends before its body does is a failure, not an end (B3, B4)."""

    def handler(peer, request):
        peer.send(b"HTTP/1.1 200 OK\r\n" + cut)
        return True

    error = serve(handler, secure=secure).failure()

    assert (VendorUnavailable, "body", True, True) == (type(error), error.phase, error.sent, error.retry_here)


def test_a_reset_body_is_never_whole(serve):
    """A connection that is reset in the middle is a failure (B2)."""
    begun = threading.Event()

    def handler(peer, request):
        peer.start_stream()
        peer.chunk(EVENT)
        begun.wait(LONG)
        peer.reset()
        return True

    reply = serve(handler).open()
    next(reply.chunks)
    begun.set()
    with pytest.raises(VendorUnavailable) as caught:
        next(reply.chunks)

    assert ("body", True) == (caught.value.phase, caught.value.sent)


@each("body", [b"xyz\r\n", b"-5\r\nhello\r\n", b"1" * 70000, b"2\r\n123\r\n"])
def test_bad_chunks_are_malformed(serve, body):
    """A chunk that is none, or a size line without end, is the vendor's fault (B3, B5)."""
    line = serve(lambda peer, request: peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body) or peer.hang_up())

    assert MalformedReply is type(line.failure())


def packed_reply(encoding, body):
    return lambda peer, request: peer.reply(200, body, ("Content-Encoding", encoding))


def test_gzip_is_unpacked(serve):
    """A packed answer is read as what it says."""
    assert b"words " * 999 == serve(packed_reply("gzip", gzip.compress(b"words " * 999))).get()


@each(
    "encoding, body",
    [
        ("gzip", gzip.compress(b"words " * 999)[:-20]),
        ("gzip", b'{"not": "packed"}'),
        ("br", b"x"),
        ("zstd", b"x"),
        ("gzip, gzip, gzip, gzip, gzip, gzip", b"x"),
    ],
)
def test_bad_packing_is_malformed(serve, encoding, body):
    """Cut, false, unasked and chained encodings are refused (B7)."""
    assert MalformedReply is type(serve(packed_reply(encoding, body)).failure())


def test_a_bomb_does_not_go_off(serve):
    """What unpacks to more than max_body stops there, in small pieces (B6)."""
    bomb = gzip.compress(bytes(50_000_000))
    reply = serve(packed_reply("gzip", bomb), limits=IoLimits(max_body=1_000_000)).open()
    taken: list[int] = []

    with pytest.raises(MalformedReply):
        taken.extend(map(len, reply.chunks))

    assert sum(taken) <= 1_000_000


def test_a_cancel_ends_what_is_still_unpacked(serve):
    """What has come in packed is no reason to go on: the call's end is seen between any two pieces (I1)."""
    cancel = Cancellation()
    chunks = iter(serve(packed_reply("gzip", gzip.compress(bytes(5_000_000)))).open(cancel=cancel).chunks)
    next(chunks)
    cancel.cancel("enough")

    with pytest.raises(Cancelled, match="enough"):
        next(chunks)


def test_an_announced_giant_is_refused_at_once(serve):
    """A Content-Length above max_body is enough to know (B8)."""
    line = serve(lambda peer, request: peer.head(200, ("Content-Length", "33554433")) or peer.hang_up())

    assert MalformedReply is type(line.failure())


def test_an_endless_body_is_bounded(serve):
    """A body without a length ends at max_body too (B8)."""

    def flood(peer, request):
        peer.start_stream()
        while not peer.wait(0):
            peer.chunk(b"x" * 60000)

    assert MalformedReply is type(serve(flood, limits=IoLimits(max_body=300_000)).failure())


@each("rest", [b"0\r\n\r\n", b""])
def test_closing_after_the_last_event_keeps_the_connection(serve, secure, rest):
    """A reader that stops at its format's end marker leaves a connection that can be used again (S8)."""

    def handler(peer, request):
        peer.start_stream()
        peer.send(b"6\r\n[DONE]\r\n" + rest)
        if not rest:
            peer.send(b"0\r\n\r\n")

    line = serve(handler, secure=secure)
    for _ in range(3):
        reply = line.open()
        assert b"[DONE]" == next(reply.chunks)
        reply.close()

    assert 1 == line.server.connections


def test_closing_before_the_end_drops_the_connection(serve, secure, overshoot):
    """A server that goes on, or keeps still, after its end marker holds nobody (S8)."""

    def handler(peer, request):
        peer.start_stream()
        peer.chunk(b"[DONE]")
        return peer.hang_up()

    line = serve(handler, secure=secure)
    reply = line.open()
    next(reply.chunks)

    began = time.monotonic()
    reply.close()

    assert time.monotonic() - began < overshoot
    line.open().close()
    assert 2 == line.server.connections


def test_closing_on_nonsense_drops_the_connection(serve):
    """What follows the last event is not even looked at closely: if it is no end, the connection goes."""

    def handler(peer, request):
        peer.start_stream()
        peer.send(b"6\r\n[DONE]\r\n")
        peer.send(b"no chunk\r\n")
        return peer.hang_up()

    line = serve(handler)
    for _ in range(2):
        reply = line.open()
        assert b"[DONE]" == next(reply.chunks)
        reply.close()

    assert 2 == line.server.connections


def test_empty_packing_for_ever_is_bounded(serve):
    """Packed bytes that unpack to nothing are counted too (B6)."""

    def handler(peer, request):
        peer.head(200, ("Content-Encoding", "gzip"))
        while not peer.wait(0):
            peer.send(gzip.compress(b"") * 100)

    assert MalformedReply is type(serve(handler, limits=IoLimits(max_body=100_000)).failure())


def test_the_vendor_notices_an_early_close(serve):
    """Closing a reply stops the vendor: its connection ends."""
    noticed = threading.Event()

    def handler(peer, request):
        peer.start_stream()
        peer.chunk(EVENT)
        if peer.hang_up():
            noticed.set()
        return True

    reply = serve(handler).open()
    next(reply.chunks)
    reply.close()

    assert noticed.wait(LONG / 2)


def silent(peer, request):
    peer.start_stream()
    peer.chunk(EVENT)
    return peer.hang_up()


def test_closing_twice_is_closing_once(serve):
    """Close is idempotent, also after the end."""
    line = serve(ok)
    reply = line.open()
    reply.read()
    reply.close()
    reply.close()

    assert [] == list(reply.chunks)


def test_a_closed_reply_is_not_a_finished_one(serve):
    """Reading on after an early close raises: what was read is not all there is."""
    reply = serve(silent).open()
    next(reply.chunks)
    reply.close()

    with pytest.raises(Cancelled):
        next(reply.chunks)


def test_closing_from_another_thread_wakes_the_reader(serve, secure, once_waiting, overshoot):
    """A reader in the middle of its wait ends at once, and its place in the pool comes back (C3)."""
    line = serve(silent, secure=secure, pool_size=1)
    reply = line.open()
    next(reply.chunks)
    once_waiting(reply.close)
    began = time.monotonic()

    with pytest.raises(Cancelled):
        next(reply.chunks)

    assert time.monotonic() - began < overshoot
    line.open().close()


def test_closing_in_a_signal_handler_ends_the_read_below(serve, interrupted):
    """A handler that runs on top of the read may close it (C3)."""
    reply = serve(silent).open()
    next(reply.chunks)
    interrupted(lambda *_: reply.close())
    with pytest.raises(Cancelled):
        next(reply.chunks)


def test_an_interrupt_in_a_read_drops_the_connection(serve, interrupted):
    """Ctrl-C in the middle of an answer leaves no half-read connection behind (C4)."""
    line = serve(silent, pool_size=1)
    reply = line.open()
    next(reply.chunks)

    def interrupt(*_):
        raise KeyboardInterrupt

    interrupted(interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(reply.chunks)
    line.open().close()

    assert 2 == line.server.connections


def test_a_forgotten_reply_gives_its_place_back(serve):
    """A reply that nobody reads or closes is closed when it is collected (C1)."""
    line = serve(silent, pool_size=1)
    reply = line.open()
    cycle = [reply]
    cycle.append(cycle)
    del reply, cycle
    gc.collect()

    line.open().close()


def test_a_cancel_while_nobody_reads_is_seen_at_the_next_read(serve):
    """The cancel shuts the connection; the reader hears of it when it comes back."""
    cancellation = Cancellation()
    reply = serve(silent).open(cancel=cancellation)
    next(reply.chunks)
    cancellation.cancel()

    with pytest.raises(Cancelled):
        next(reply.chunks)


def test_an_unread_error_answer_can_be_closed(serve):
    """Any status comes back as a reply, with its headers in lower case."""
    reply = serve(lambda peer, request: peer.reply(429, b"slow down", ("Retry-After", "2"))).open()

    assert (429, "2", b"slow down") == (reply.status, reply.headers["retry-after"], reply.read())
