"""Faults of HTTP: the connection, the head, and the framing, encoding and size of the body (fault matrix, rows N, H, B1–B7).

``UNREACHABLE`` has the addresses where nothing answers, for what goes wrong before a request is read (N1, N2, N6, N7).
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType

from ..loopback import LoopbackServer, Peer
from .base import Fault, FaultContext, cut, last_chunk, send_all


def trickled_body(interval: float = 0.05, size: int = 1) -> Fault:
    """A body that comes byte by byte, faster than any read timeout (B1)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        pieces = context.pieces()
        body = b"".join(pieces.all)
        peer.head(200, ("Content-Type", pieces.content_type), ("Content-Length", str(len(body))), *context.headers)
        peer.trickle(body, interval, size)
        return True

    return Fault("trickled_body", act)


def trickled_chunk_size(interval: float = 0.05) -> Fault:
    """A chunk-size line that comes byte by byte and never ends (B5)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        context.start(peer)
        peer.trickle(b"0" * 60_000, interval)
        return True

    return Fault("trickled_chunk_size", act, endless=True)


def long_chunk_size(size: int = 70_000) -> Fault:
    """A chunk-size line of 70 KB (B5)."""
    return _odd_chunk("long_chunk_size", b"0" * size + b"5\r\nhello\r\n0\r\n\r\n")


def bad_chunk_size() -> Fault:
    """A chunk size that is no number (B3)."""
    return _odd_chunk("bad_chunk_size", b"zz\r\nhello\r\n0\r\n\r\n")


def reset_midway(words: int = 0) -> Fault:
    """RST after so many words (B2)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        send_all(peer, cut(context.start(peer), words))
        peer.reset()
        return True

    return Fault(f"reset_after_{words}_words", act)


def fin_in_chunk(words: int = 3) -> Fault:
    """FIN within a chunk that was announced longer (B3)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        said = b"".join(cut(context.start(peer), words))
        peer.send(b"%x\r\n%s" % (len(said) + 100, said))
        return True

    return Fault("fin_in_chunk", act)


def fin_before_last_chunk() -> Fault:
    """The whole answer, then FIN in place of the empty chunk that ends it (B3)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        send_all(peer, context.start(peer).all)
        return True

    return Fault("fin_before_last_chunk", act)


def short_body() -> Fault:
    """Fewer bytes than the Content-Length says, then FIN (B4)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        pieces = context.pieces()
        body = b"".join(pieces.all)
        peer.head(200, ("Content-Type", pieces.content_type), ("Content-Length", str(len(body))), *context.headers)
        peer.send(body[: len(body) // 2])
        return True

    return Fault("short_body", act)


def eof_cut(words: int = 3) -> Fault:
    """A body without length or chunks, cut after so many words: to HTTP a clean end (B4)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        pieces = context.pieces()
        peer.head(200, ("Content-Type", pieces.content_type), ("Connection", "close"), *context.headers)
        peer.send(b"".join(cut(pieces, words)))
        return True

    return Fault("eof_cut", act)


def gzip_bomb(mebibytes: int = 1024) -> Fault:
    """About a thousandth of it on the wire, blanks when unpacked (B6)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        member, unpacked = _blanks(8 << 20)
        kind = context.pieces().content_type
        length = len(member) * -(-(mebibytes << 20) // unpacked)
        peer.head(200, ("Content-Type", kind), ("Content-Encoding", "gzip"), ("Content-Length", str(length)))
        for _ in range(length // len(member)):
            peer.send(member)
        return True

    return Fault("gzip_bomb", act)


def gzip_cut() -> Fault:
    """Half of a gzipped body under a Content-Length that fits the half: many clients take it for complete (B7)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        packed = gzip.compress(context.encode())
        half = packed[: len(packed) // 2]
        peer.reply(200, half, ("Content-Encoding", "gzip"), *context.headers, content_type=context.pieces().content_type)
        return True

    return Fault("gzip_cut", act)


def mislabelled(encoding: str = "gzip") -> Fault:
    """A plain body that claims an encoding: gzip that is none, or br and zstd that nobody asked for (B7)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        kind = context.pieces().content_type
        peer.reply(200, context.encode(), ("Content-Encoding", encoding), *context.headers, content_type=kind)
        return True

    return Fault(f"mislabelled_{encoding}", act)


def chained_encodings(depth: int = 6) -> Fault:
    """A body gzipped so many times over (B7)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        body = context.encode()
        for _ in range(depth):
            body = gzip.compress(body)
        encodings = ", ".join(["gzip"] * depth)
        peer.reply(200, body, ("Content-Encoding", encodings), *context.headers, content_type=context.pieces().content_type)
        return True

    return Fault("chained_encodings", act)


def unframed() -> Fault:
    """A healthy answer without length or chunks, ended by FIN: no fault to those who read the end marker."""

    def act(peer: Peer, context: FaultContext) -> bool:
        pieces = context.pieces()
        peer.head(200, ("Content-Type", pieces.content_type), ("Connection", "close"), *context.headers)
        peer.send(b"".join(pieces.all))
        return True

    return Fault("unframed", act)


def bytewise() -> Fault:
    """A healthy answer in chunks of one byte: every cut between events, characters and line ends at once (S1)."""

    def act(peer: Peer, context: FaultContext) -> None:
        body = b"".join(context.start(peer).all)
        peer.send(b"".join([b"1\r\n%c\r\n" % byte for byte in body]))
        last_chunk(peer)

    return Fault("bytewise", act)


@functools.lru_cache(maxsize=1)
def _blanks(size: int) -> tuple[bytes, int]:
    return gzip.compress(b" " * size), size


def _odd_chunk(name: str, data: bytes) -> Fault:
    def act(peer: Peer, context: FaultContext) -> bool:
        context.start(peer)
        peer.send(data)
        return True

    return Fault(name, act)


# A queue of length 0 still takes one or two connections; these fill it.
_PENDING = 4


@contextlib.contextmanager
def refused() -> Iterator[str]:
    """A port that is taken but does not listen: every connect is refused at once (N1)."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """A port whose queue is full: a connect is neither accepted nor refused (N2, Linux)."""
    with contextlib.ExitStack() as open_sockets:
        listener = open_sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(_PENDING):
            pending = open_sockets.enter_context(socket.socket())
            pending.setblocking(False)
            pending.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def mute(scheme: str = "http") -> Iterator[str]:
    """A server that accepts and neither reads nor writes: an upload larger than the buffers stalls (N7)."""
    with LoopbackServer(lambda _peer, _request: True, greet=_say_nothing, receive_buffer=4096) as server:
        yield f"{scheme}://127.0.0.1:{server.port}"


def _say_nothing(peer: Peer) -> None:
    peer.wait()


def mute_tls() -> AbstractContextManager[str]:
    """The same behind https: the handshake gets no answer (N6)."""
    return mute("https")


UNREACHABLE: Mapping[str, Callable[[], AbstractContextManager[str]]] = MappingProxyType(
    {"N1": refused, "N2": black_hole, "N6": mute_tls, "N7": mute}
)
"""By row of the fault matrix (docs/reliability.md): ``with UNREACHABLE["N2"]() as url: ...``"""


def silent() -> Fault:
    """Reads the request and says nothing (H1)."""

    def act(peer: Peer, _: FaultContext) -> bool:
        return peer.hang_up()

    return Fault("silent", act, endless=True)


def trickled_head(interval: float = 0.05) -> Fault:
    """A head that comes byte by byte and never ends (H2)."""

    def act(peer: Peer, _: FaultContext) -> bool:
        peer.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        peer.trickle(b"a" * 60_000, interval)
        return True

    return Fault("trickled_head", act, endless=True)


def trickled_status_line(interval: float = 0.05) -> Fault:
    """A status line that comes byte by byte and never ends (H2)."""

    def act(peer: Peer, _: FaultContext) -> bool:
        peer.trickle(b"HTTP/1.1 200 " + b"O" * 60_000, interval)
        return True

    return Fault("trickled_status_line", act, endless=True)


def endless_continue(interval: float = 0.01) -> Fault:
    """``100 Continue`` for ever (H3)."""

    def act(peer: Peer, _: FaultContext) -> bool:
        while not peer.wait(interval):
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    return Fault("endless_continue", act, endless=True)


def many_headers(count: int = 200) -> Fault:
    """More header lines than a client should take (H4)."""
    lines = b"".join(b"X-Flood-%d: 1\r\n" % number for number in range(count))
    return _raw("many_headers", b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 2\r\n\r\n{}")


def long_header(size: int = 70_000) -> Fault:
    """One header line longer than 64 KiB (H4)."""
    return _raw("long_header", b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * size + b"\r\nContent-Length: 2\r\n\r\n{}")


def bad_status_line() -> Fault:
    """A status that is no number (H4)."""
    return _raw("bad_status_line", b"HTTP/1.1 fine thanks\r\nContent-Length: 2\r\n\r\n{}")


def http_0_9() -> Fault:
    """A body without any head (H4)."""
    return _raw("http_0_9", b"<html>an answer from the past</html>")


def length_and_chunked() -> Fault:
    """Transfer-Encoding and a Content-Length that contradicts it (H5)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        body = context.encode()
        head = ("Content-Type", context.pieces().content_type), ("Transfer-Encoding", "chunked"), ("Content-Length", "7")
        peer.head(200, *head, *context.headers)
        peer.chunk(body)
        peer.chunk(b"")
        return True

    return Fault("length_and_chunked", act)


def two_lengths() -> Fault:
    """Two Content-Lengths that differ (H5)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        body = context.encode()
        lengths = ("Content-Length", str(len(body))), ("Content-Length", str(len(body) // 2))
        peer.head(200, ("Content-Type", context.pieces().content_type), *lengths)
        peer.send(body)
        return True

    return Fault("two_lengths", act)


def folded_header() -> Fault:
    """A header continued on a second line, as HTTP stopped to allow, before a healthy answer (H5)."""
    return _healthy_after("folded_header", b"X-Folded: one\r\n two\r\n")


def bare_return_in_header() -> Fault:
    """A carriage return within a header's value, before a healthy answer (H5)."""
    return _healthy_after("bare_return_in_header", b"X-Odd: one\rX-Injected: two\r\n")


def redirect(status: int = 307, location: str = "http://127.0.0.1:1/elsewhere") -> Fault:
    """A redirect, which a client that bears a key must not follow (H6)."""

    def act(peer: Peer, _: FaultContext) -> None:
        peer.reply(status, b"", ("Location", location))

    return Fault(f"redirect_{status}", act)


def reset_before_head() -> Fault:
    """RST instead of an answer."""

    def act(peer: Peer, _: FaultContext) -> bool:
        peer.reset()
        return True

    return Fault("reset_before_head", act)


def close_before_head() -> Fault:
    """FIN instead of an answer."""

    def act(_: Peer, __: FaultContext) -> bool:
        return True

    return Fault("close_before_head", act)


def stale() -> Fault:
    """Closes without a byte where the connection was used before, answers well on a fresh one (N9); use it with ``always``."""

    def act(peer: Peer, context: FaultContext) -> bool:
        if context.request.reused:
            return True
        body = context.encode()
        peer.reply(200, body, *context.headers, content_type=context.pieces().content_type)
        return False

    return Fault("stale", act)


def _raw(name: str, data: bytes) -> Fault:
    def act(peer: Peer, _: FaultContext) -> bool:
        peer.send(data)
        return True

    return Fault(name, act)


def _healthy_after(name: str, header: bytes) -> Fault:
    def act(peer: Peer, context: FaultContext) -> bool:
        body = context.encode()
        kind = context.pieces().content_type.encode()
        peer.send(b"HTTP/1.1 200 OK\r\n%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (header, kind, len(body), body))
        return True

    return Fault(name, act)
