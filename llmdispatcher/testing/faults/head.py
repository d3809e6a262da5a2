"""Faults before the body: silence, heads that never end or make no sense, connections that break (RELIABILITY.md N, H)."""

from __future__ import annotations

from ..loopback import Peer
from .base import Fault, FaultContext


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
