"""Faults of a body's framing, encoding and size, for whole answers and streams alike (RELIABILITY.md B1–B7)."""

from __future__ import annotations

import functools
import gzip

from ..loopback import Peer
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
