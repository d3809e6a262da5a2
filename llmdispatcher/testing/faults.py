"""Faults as values: ``sim.script(faults.silent(), faults.status(503), OK)``. Each can misbehave in every format.

First the faults of HTTP: the connection, the head, and the framing, encoding and size of the body (rows N, H, B1-B7 of the fault
matrix, docs/reliability.md). Then what a body says, and how a stream proceeds and ends (B8-B10, S); a request for a whole response
meets the faults of streams in the parts of its JSON. Then refusals, with the vendor's own error body (R). ``UNREACHABLE`` has the
addresses where nothing answers; ``FAULTS`` and ``PEER_FAULTS`` are for tests that run through all faults. It is one file, since it
is a catalogue: each fault is a few lines and uses no other.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from email.utils import format_datetime
from types import MappingProxyType

import attrs

from ..runtime import SYSTEM_CLOCK
from ..types import Response
from .answers import SimulatedResponse
from .fault_context import Fault as Fault
from .fault_context import FaultContext as FaultContext
from .fault_context import cut, fault, send_all
from .formats.base import ApiError, dumps
from .loopback import LoopbackServer, Peer


@fault()
def trickled_body(peer: Peer, context: FaultContext, interval: float = 0.05, size: int = 1) -> bool:
    """A body that comes byte by byte, faster than any read timeout (B1)."""
    pieces = context.pieces()
    body = b"".join(pieces.all)
    peer.head(200, ("Content-Type", pieces.content_type), ("Content-Length", str(len(body))), *context.headers)
    peer.trickle(body, interval, size)
    return True


@fault(endless=True)
def trickled_chunk_size(peer: Peer, context: FaultContext, interval: float = 0.05) -> bool:
    """A chunk-size line that comes byte by byte and never ends (B5)."""
    context.start(peer)
    peer.trickle(b"0" * 60_000, interval)
    return True


def long_chunk_size(size: int = 70_000) -> Fault:
    """A chunk-size line of 70 KB (B5)."""
    return _odd_chunk("long_chunk_size", b"0" * size + b"5\r\nhello\r\n0\r\n\r\n")


def bad_chunk_size() -> Fault:
    """A chunk size that is no number (B3)."""
    return _odd_chunk("bad_chunk_size", b"zz\r\nhello\r\n0\r\n\r\n")


@fault("reset_after_{words}_words")
def reset_midway(peer: Peer, context: FaultContext, words: int = 0) -> bool:
    """RST after so many words (B2)."""
    send_all(peer, cut(context.start(peer), words))
    peer.reset()
    return True


@fault()
def fin_in_chunk(peer: Peer, context: FaultContext, words: int = 3) -> bool:
    """FIN within a chunk that was announced longer (B3)."""
    said = b"".join(cut(context.start(peer), words))
    peer.send(b"%x\r\n%s" % (len(said) + 100, said))
    return True


@fault()
def fin_before_last_chunk(peer: Peer, context: FaultContext) -> bool:
    """The whole answer, then FIN in place of the empty chunk that ends it (B3)."""
    send_all(peer, context.start(peer).all)
    return True


@fault()
def short_body(peer: Peer, context: FaultContext) -> bool:
    """Fewer bytes than the Content-Length says, then FIN (B4)."""
    pieces = context.pieces()
    body = b"".join(pieces.all)
    peer.head(200, ("Content-Type", pieces.content_type), ("Content-Length", str(len(body))), *context.headers)
    peer.send(body[: len(body) // 2])
    return True


@fault()
def eof_cut(peer: Peer, context: FaultContext, words: int = 3) -> bool:
    """A body without length or chunks, cut after so many words: to HTTP a clean end (B4)."""
    pieces = context.pieces()
    peer.head(200, ("Content-Type", pieces.content_type), ("Connection", "close"), *context.headers)
    peer.send(b"".join(cut(pieces, words)))
    return True


@fault()
def gzip_bomb(peer: Peer, context: FaultContext, mebibytes: int = 1024) -> bool:
    """About a thousandth of it on the wire, blanks when unpacked (B6)."""
    member, unpacked = _zip_blanks(8 << 20)
    kind = context.pieces().content_type
    length = len(member) * -(-(mebibytes << 20) // unpacked)
    peer.head(200, ("Content-Type", kind), ("Content-Encoding", "gzip"), ("Content-Length", str(length)))
    for _ in range(length // len(member)):
        peer.send(member)
    return True


@fault()
def gzip_cut(peer: Peer, context: FaultContext) -> bool:
    """Half of a gzipped body under a Content-Length that fits the half: many clients take it for complete (B7)."""
    packed = gzip.compress(context.encode())
    half = packed[: len(packed) // 2]
    peer.reply(200, half, ("Content-Encoding", "gzip"), *context.headers, content_type=context.pieces().content_type)
    return True


@fault("mislabelled_{encoding}")
def mislabelled(peer: Peer, context: FaultContext, encoding: str = "gzip") -> bool:
    """A plain body labelled with an encoding: gzip, or br and zstd, which no client asked for (B7)."""
    kind = context.pieces().content_type
    peer.reply(200, context.encode(), ("Content-Encoding", encoding), *context.headers, content_type=kind)
    return True


@fault()
def chained_encodings(peer: Peer, context: FaultContext, depth: int = 6) -> bool:
    """A body gzipped so many times over (B7)."""
    body = context.encode()
    for _ in range(depth):
        body = gzip.compress(body)
    encodings = ", ".join(["gzip"] * depth)
    peer.reply(200, body, ("Content-Encoding", encodings), *context.headers, content_type=context.pieces().content_type)
    return True


@fault()
def unframed(peer: Peer, context: FaultContext) -> bool:
    """A healthy answer without length or chunks, ended by FIN: no fault to those who read the end marker."""
    pieces = context.pieces()
    peer.head(200, ("Content-Type", pieces.content_type), ("Connection", "close"), *context.headers)
    peer.send(b"".join(pieces.all))
    return True


@fault()
def bytewise(peer: Peer, context: FaultContext) -> None:
    """A healthy answer in chunks of one byte: every cut between events, characters and line ends at once (S1)."""
    body = b"".join(context.start(peer).all)
    peer.send(b"".join([b"1\r\n%c\r\n" % byte for byte in body]))
    peer.chunk(b"")


@functools.lru_cache(maxsize=1)
def _zip_blanks(size: int) -> tuple[bytes, int]:
    return gzip.compress(b" " * size), size


@fault("{name}")
def _odd_chunk(peer: Peer, context: FaultContext, name: str, data: bytes) -> bool:
    context.start(peer)
    peer.send(data)
    return True


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
    """A mute https server: the handshake gets no answer (N6)."""
    return mute("https")


UNREACHABLE: Mapping[str, Callable[[], AbstractContextManager[str]]] = MappingProxyType(
    {"N1": refused, "N2": black_hole, "N6": mute_tls, "N7": mute}
)
"""By row of the fault matrix (docs/reliability.md): ``with UNREACHABLE["N2"]() as url: ...``"""


@fault(endless=True)
def silent(peer: Peer, _: FaultContext) -> bool:
    """Reads the request and says nothing (H1)."""
    return peer.hang_up()


@fault(endless=True)
def trickled_head(peer: Peer, _: FaultContext, interval: float = 0.05) -> bool:
    """A head that comes byte by byte and never ends (H2)."""
    peer.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    peer.trickle(b"a" * 60_000, interval)
    return True


@fault(endless=True)
def trickled_status_line(peer: Peer, _: FaultContext, interval: float = 0.05) -> bool:
    """A status line that comes byte by byte and never ends (H2)."""
    peer.trickle(b"HTTP/1.1 200 " + b"O" * 60_000, interval)
    return True


@fault(endless=True)
def endless_continue(peer: Peer, _: FaultContext, interval: float = 0.01) -> bool:
    """``100 Continue`` for ever (H3)."""
    while not peer.wait(interval):
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    return True


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


@fault()
def length_and_chunked(peer: Peer, context: FaultContext) -> bool:
    """Transfer-Encoding and a Content-Length that contradicts it (H5)."""
    body = context.encode()
    head = ("Content-Type", context.pieces().content_type), ("Transfer-Encoding", "chunked"), ("Content-Length", "7")
    peer.head(200, *head, *context.headers)
    peer.chunk(body)
    peer.chunk(b"")
    return True


@fault()
def two_lengths(peer: Peer, context: FaultContext) -> bool:
    """Two Content-Lengths that differ (H5)."""
    body = context.encode()
    lengths = ("Content-Length", str(len(body))), ("Content-Length", str(len(body) // 2))
    peer.head(200, ("Content-Type", context.pieces().content_type), *lengths)
    peer.send(body)
    return True


def folded_header() -> Fault:
    """A header continued on a second line, as HTTP stopped to allow, before a healthy answer (H5)."""
    return _healthy_after("folded_header", b"X-Folded: one\r\n two\r\n")


def bare_return_in_header() -> Fault:
    """A carriage return within a header's value, before a healthy answer (H5)."""
    return _healthy_after("bare_return_in_header", b"X-Odd: one\rX-Injected: two\r\n")


@fault("redirect_{status}")
def redirect(peer: Peer, _: FaultContext, status: int = 307, location: str = "http://127.0.0.1:1/elsewhere") -> None:
    """A redirect, which a client that bears a key must not follow (H6)."""
    peer.reply(status, b"", ("Location", location))


@fault()
def reset_before_head(peer: Peer, _: FaultContext) -> bool:
    """RST instead of an answer."""
    peer.reset()
    return True


@fault()
def close_before_head(_: Peer, __: FaultContext) -> bool:
    """FIN instead of an answer."""
    return True


@fault()
def stale(peer: Peer, context: FaultContext) -> bool:
    """Closes without a byte where the connection was used before, answers well on a fresh one (N9); use it with ``always``."""
    if context.request.reused:
        return True
    body = context.encode()
    peer.reply(200, body, *context.headers, content_type=context.pieces().content_type)
    return False


@fault("{name}")
def _raw(peer: Peer, _: FaultContext, name: str, data: bytes) -> bool:
    peer.send(data)
    return True


@fault("{name}")
def _healthy_after(peer: Peer, context: FaultContext, name: str, header: bytes) -> bool:
    body = context.encode()
    kind = context.pieces().content_type.encode()
    peer.send(b"HTTP/1.1 200 OK\r\n%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (header, kind, len(body), body))
    return True


_PAGE = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body><h1>Please log in to the network</h1></body></html>"
_MARK = "SPOILEDHERE"

OVERLOADED = ApiError(503)


@fault()
def giant_json(peer: Peer, context: FaultContext, mebibytes: int = 200) -> bool:
    """One endless string of JSON (B8), in one event where a stream was asked for."""
    pieces = context.start(peer)
    send_all(peer, [*pieces.opening, (b"data: " if context.request.stream else b"") + b'{"text":"'])
    block = b"a" * (1 << 20)
    for _ in range(mebibytes):
        peer.chunk(block)
    send_all(peer, [b'"}\n\n'])
    peer.chunk(b"")
    return True


def deep_json(depth: int = 100_000) -> Fault:
    """JSON nested deeper than any parser's stack (B8)."""
    return _spoil_json("deep_json", lambda body: b'{"deep":' + b"[" * depth + b"]" * depth + b"," + body[1:])


def huge_integer(digits: int = 5_000) -> Fault:
    """A number of more digits than Python converts (B8)."""
    return _spoil_json("huge_integer", lambda body: b'{"huge":' + b"9" * digits + b"," + body[1:])


def not_a_number() -> Fault:
    """NaN and Infinity, which JSON does not have (B8)."""
    return _spoil_json("not_a_number", lambda body: b'{"odd":[NaN,-Infinity],' + body[1:])


def duplicate_keys() -> Fault:
    """Every key twice, first empty (B8)."""
    empty = b'{"choices":[],"content":[],"candidates":[],"delta":{},"usage":null,'
    return _spoil_json("duplicate_keys", lambda body: empty + body[1:])


def lone_surrogate() -> Fault:
    """Half of a character, escaped (B8)."""
    return _spoil_text("lone_surrogate", b"\\ud83d")


def invalid_utf8() -> Fault:
    """Bytes that are no UTF-8 within the text (S6)."""
    return _spoil_text("invalid_utf8", b"\xff\xc3\x28")


@fault()
def malformed_json(peer: Peer, context: FaultContext, words: int = 3) -> None:
    """One event whose JSON is cut, the rest fine (S7); of a whole answer's JSON the second half is missing."""
    pieces = context.start(peer)
    if context.request.stream:
        bad = [event.rstrip()[:-9] + b"\n\n" for event in pieces.deltas[-1:]]
        send_all(peer, [*pieces.opening, *pieces.deltas[:words], *bad, *pieces.deltas[words:], *pieces.closing])
    else:
        send_all(peer, pieces.deltas[: len(pieces.deltas) // 2])
    peer.chunk(b"")


@fault("html_{status}")
def html(peer: Peer, _: FaultContext, status: int = 200) -> None:
    """A web page where an answer belongs: a captive portal, a proxy's error page (B9)."""
    peer.reply(status, _PAGE, content_type="text/html; charset=utf-8")


@fault("empty_200")
def empty(peer: Peer, context: FaultContext) -> None:
    """A 200 with nothing in it (B9)."""
    peer.reply(200, b"", *context.headers, content_type=context.pieces().content_type)


@fault("no_content_204")
def no_content(peer: Peer, _: FaultContext) -> None:
    """A 204 (B9)."""
    peer.head(204)


@fault()
def error_in_200(peer: Peer, context: FaultContext, api_error: ApiError = OVERLOADED) -> None:
    """The vendor's error body under status 200, as JSON even where a stream was asked for (B10)."""
    peer.reply(200, dumps(context.form.error(api_error)[1]), *context.headers)


def error_event(words: int | None = None, api_error: ApiError = OVERLOADED) -> Fault:
    """An error in the stream: as its first event, or after so many words (B10). A whole answer gets the error's body under 200."""

    def act(peer: Peer, context: FaultContext) -> None:
        if not context.request.stream:
            peer.reply(200, dumps(context.form.error(api_error)[1]), *context.headers)
            return
        pieces = context.start(peer)
        before = [] if words is None else [*pieces.opening, *pieces.deltas[:words]]
        send_all(peer, [*before, context.form.error_event(api_error)])
        peer.chunk(b"")

    return Fault("error_event_first" if words is None else f"error_event_after_{words}_words", act)


@fault("{name}")
def _spoil_json(peer: Peer, context: FaultContext, name: str, spoil: Callable[[bytes], bytes]) -> None:
    pieces = context.pieces()
    if not context.request.stream:
        peer.reply(200, spoil(context.body()), *context.headers)
        return
    peer.start_stream(*context.headers, content_type=pieces.content_type)
    first = pieces.deltas[0] if pieces.deltas else b"data: {}\n\n"
    begins = first.index(b"{")
    send_all(peer, [*pieces.opening, first[:begins] + spoil(first[begins:]), *pieces.deltas[1:], *pieces.closing])
    peer.chunk(b"")


@fault("{name}")
def _spoil_text(peer: Peer, context: FaultContext, name: str, replacement: bytes) -> None:
    answer = context.compose()
    healthy = SimulatedResponse(answer.content) if isinstance(answer, Response) else answer
    pieces = context.pieces(attrs.evolve(healthy, text=f"{_MARK} {healthy.text}"))
    peer.start_stream(*context.headers, content_type=pieces.content_type)
    send_all(peer, [b"".join(pieces.all).replace(_MARK.encode(), replacement)])
    peer.chunk(b"")


_LINE_END = re.compile(rb"\r\n|\n")


@fault("eof_after_{words}_words")
def eof_after(peer: Peer, context: FaultContext, words: int = 9) -> None:
    """A clean end after so many words, without the format's end marker (S4)."""
    send_all(peer, cut(context.start(peer), words))
    peer.chunk(b"")


@fault("cut_after_{words}_words")
def cut_after(peer: Peer, context: FaultContext, words: int = 9) -> bool:
    """The connection closes after so many words, in the middle of the chunked body."""
    send_all(peer, cut(context.start(peer), words))
    return True


@fault()
def cut_before_words(peer: Peer, context: FaultContext) -> bool:
    """The connection closes when only the role was announced: nothing was said yet."""
    send_all(peer, context.start(peer).opening)
    return True


@fault("stall_after_{words}_words", endless=True)
def stall_after(peer: Peer, context: FaultContext, words: int = 9) -> bool:
    """So many words, then silence (S10 with one word)."""
    send_all(peer, cut(context.start(peer), words))
    return peer.hang_up()


@fault("trickle_{seconds:g}_s")
def trickle(peer: Peer, context: FaultContext, seconds: float = 0.6) -> bool:
    """A healthy answer, a word every so many seconds: alive to every idle limit, too slow for the whole call."""
    for event in context.start(peer).all:
        peer.chunk(event)
        if peer.wait(seconds):
            return True
    peer.chunk(b"")
    return False


@fault(endless=True)
def pings_for_ever(peer: Peer, context: FaultContext, interval: float = 0.1) -> bool:
    """Signs of life, but never a word (S9)."""
    context.start(peer)
    ping = context.form.ping if context.request.stream else b" "
    while not peer.wait(interval):
        peer.chunk(ping)
    return True


@fault()
def data_after_end(peer: Peer, context: FaultContext) -> None:
    """More words after the end marker (S8)."""
    pieces = context.start(peer)
    send_all(peer, [*pieces.all, *pieces.deltas[:3]])
    peer.chunk(b"")


@fault(endless=True)
def kept_open(peer: Peer, context: FaultContext) -> bool:
    """A complete answer, then neither an end of the body nor of the connection (S8)."""
    send_all(peer, context.start(peer).all)
    return peer.hang_up()


@fault()
def truncated_last_event(peer: Peer, context: FaultContext) -> None:
    """The last event without the blank line that completes it (S3)."""
    send_all(peer, [b"".join(context.start(peer).all).rstrip(b"\r\n")])
    peer.chunk(b"")


def crlf() -> Fault:
    """A healthy stream with CR LF line ends (S2)."""
    return _respell("crlf", lambda body: _LINE_END.sub(b"\r\n", body))


def cr_only() -> Fault:
    """A healthy stream with bare CR line ends (S2)."""
    return _respell("cr_only", lambda body: _LINE_END.sub(b"\r", body))


def mixed_line_ends() -> Fault:
    """A healthy stream whose events end in turn with LF LF, CR LF LF and CR CR (S2)."""

    def mixed(body: bytes) -> bytes:
        events = _LINE_END.sub(b"\n", body).split(b"\n\n")
        ends = (b"\n\n", b"\r\n\n", b"\r\r")
        return b"".join(event + ends[number % 3] for number, event in enumerate(events) if event)

    return _respell("mixed_line_ends", mixed)


def byte_order_mark() -> Fault:
    """A healthy stream after a BOM (S2)."""
    return _respell("byte_order_mark", lambda body: b"\xef\xbb\xbf" + body)


def comments() -> Fault:
    """A healthy stream with a comment before every event (S2)."""
    return _respell("comments", lambda body: b": hello\n\n" + body.replace(b"\n\n", b"\n\n: PROCESSING\n\n"))


def odd_fields() -> Fault:
    """A healthy stream among unknown fields, a bad ``retry``, an ``id`` with NUL, ``data`` without a colon (S2)."""
    odd = b"foo: bar\nretry: soon\nid: a\x00b\nbaz\n\n"
    return _respell("odd_fields", lambda body: odd + body)


def giant_line(mebibytes: int = 8) -> Fault:
    """One line of so many MiB before a healthy stream (S5)."""
    return _respell("giant_line", lambda body: b": " + b"x" * (mebibytes << 20) + b"\n\n" + body)


def many_comments(count: int = 1_000_000) -> Fault:
    """So many comment lines before a healthy stream (S5)."""
    return _respell("many_comments", lambda body: b":\n" * count + b"\n" + body)


@fault()
def many_events(peer: Peer, context: FaultContext, count: int = 100_000) -> bool:
    """A healthy stream with the same word so many times (S5)."""
    pieces = context.start(peer)
    send_all(peer, pieces.opening)
    block = pieces.deltas[0] * 100 if pieces.deltas else b""
    for _ in range(count // 100):
        peer.chunk(block)
    send_all(peer, pieces.closing)
    peer.chunk(b"")
    return False


@fault("{name}")
def _respell(peer: Peer, context: FaultContext, name: str, respell: Callable[[bytes], bytes]) -> None:
    """The healthy stream in another spelling; a whole answer stays as it is."""
    body = b"".join(context.start(peer).all)
    send_all(peer, [respell(body) if context.request.stream else body])
    peer.chunk(b"")


Header = tuple[str, str | Callable[[], str]]
"""A header whose value is text, or worked out when it is sent."""


def status(code: int, *headers: Header, kind: str = "", message: str = "") -> Fault:
    """A status with the vendor's error body; ``kind`` as in :class:`ApiError`."""
    return refusal(f"status_{code}", ApiError(code, kind, message=message), *headers)


@fault("{name}")
def refusal(peer: Peer, context: FaultContext, name: str, api_error: ApiError, *headers: Header) -> None:
    """Any trouble in the vendor's own words, with extra headers."""
    context.refuse(peer, api_error, [(key, value if isinstance(value, str) else value()) for key, value in headers])


def rate_limit(retry_after: float | str | None = None, *headers: Header) -> Fault:
    """A 429; ``retry_after`` goes into the header of that name as it is, and into Google's ``retryDelay`` if it is a number."""
    if retry_after is None:
        return refusal("rate_limit", ApiError(429), *headers)
    if isinstance(retry_after, str):
        return refusal(f"rate_limit_{retry_after}", ApiError(429), ("Retry-After", retry_after), *headers)
    said = f"{retry_after:g}"
    return refusal(f"rate_limit_{said}_s", ApiError(429, delay=f"{said}s"), ("Retry-After", said), *headers)


def rate_limit_until(seconds: float) -> Fault:
    """A 429 whose Retry-After is a date so many seconds from now, rounded up; negative for one in the past."""

    def date() -> str:
        return format_datetime((SYSTEM_CLOCK.now() + timedelta(seconds=seconds + 0.999)).replace(microsecond=0), usegmt=True)

    return refusal(f"rate_limit_date_{seconds:g}", ApiError(429), ("Retry-After", date))


def rate_limit_ms(milliseconds: int | str, retry_after: str | None = None) -> Fault:
    """A 429 with ``retry-after-ms``, which counts before a ``Retry-After`` beside it."""
    name, hint = f"rate_limit_{milliseconds}_ms", ("retry-after-ms", str(milliseconds))
    if retry_after is None:
        return refusal(name, ApiError(429), hint)
    return refusal(f"{name}_beside_{retry_after}", ApiError(429), hint, ("Retry-After", retry_after))


@fault("retry_delay_{delay}")
def retry_delay(peer: Peer, context: FaultContext, delay: str = "46s") -> None:
    """A 429 as Google sends it, with the delay in the body alone; other formats put it into Retry-After."""
    header = [] if context.form.name == "gemini" else [("Retry-After", delay.rstrip("s"))]
    context.refuse(peer, ApiError(429, delay=delay), header)


def quota() -> Fault:
    """A 429 that waiting does not cure: credit or daily quota is spent (R3)."""
    return refusal("quota", ApiError(429, "quota"))


def overloaded() -> Fault:
    """A 529, Anthropic's word for too busy."""
    return refusal("overloaded", ApiError(529))


def bad_request() -> Fault:
    """A 400 about the request itself."""
    return refusal("bad_request", ApiError(400))


def context_overflow() -> Fault:
    """A 400: the conversation is longer than the model's window."""
    return refusal("context_overflow", ApiError(400, "context"))


def filtered() -> Fault:
    """A 400: the vendor's policy refuses the prompt."""
    return refusal("filtered", ApiError(400, "filter"))


def model_missing() -> Fault:
    """A 404: this vendor does not have the model."""
    return refusal("model_missing", ApiError(404, "model"))


def wrong_key() -> Fault:
    """The vendor's answer to a key that it does not know."""
    return refusal("wrong_key", ApiError(401, "key"))


_TRANSIENT = (408, 409, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
_FINAL = (400, 401, 402, 403, 404, 413, 422, 451)

FAULTS: Mapping[str, tuple[Fault, ...]] = MappingProxyType(
    {
        "N9": (stale(), close_before_head()),
        "H1": (silent(),),
        "H2": (trickled_head(), trickled_status_line()),
        "H3": (endless_continue(),),
        "H4": (long_header(), many_headers(), bad_status_line(), http_0_9()),
        "H5": (length_and_chunked(), two_lengths(), folded_header(), bare_return_in_header()),
        "H6": tuple(redirect(code) for code in (301, 302, 303, 307, 308)),
        "B1": (trickled_body(),),
        "B2": (reset_before_head(), reset_midway(0), reset_midway(3)),
        "B3": (fin_in_chunk(), fin_before_last_chunk(), bad_chunk_size()),
        "B4": (short_body(), eof_cut()),
        "B5": (trickled_chunk_size(), long_chunk_size()),
        "B6": (gzip_bomb(),),
        "B7": (gzip_cut(), mislabelled("gzip"), mislabelled("br"), mislabelled("zstd"), chained_encodings()),
        "B8": (giant_json(), deep_json(), huge_integer(), not_a_number(), duplicate_keys(), lone_surrogate()),
        "B9": (html(), empty(), no_content()),
        "B10": (error_in_200(), error_event(), error_event(3)),
        "S1": (bytewise(),),
        "S2": (crlf(), cr_only(), mixed_line_ends(), byte_order_mark(), comments(), odd_fields()),
        "S3": (truncated_last_event(),),
        "S4": (eof_after(3), cut_after(3), cut_before_words()),
        "S5": (giant_line(), many_events(), many_comments()),
        "S6": (invalid_utf8(),),
        "S7": (malformed_json(),),
        "S8": (data_after_end(), kept_open()),
        "S9": (pings_for_ever(),),
        "S10": (stall_after(1),),
        "R1": (
            rate_limit("2"),
            rate_limit("1.5"),
            rate_limit_until(2),
            rate_limit_ms(350),
            rate_limit_ms(350, retry_after="90"),
            rate_limit(2),
            retry_delay("2s"),
        ),
        "R2": (
            *(rate_limit(odd) for odd in ("-1", "0", "1000000000", "inf", "nan", "abc", "")),
            rate_limit_until(-3600),
            rate_limit("1", ("Retry-After", "90")),
            rate_limit_ms("nan"),
            retry_delay("soon"),
        ),
        "R3": (rate_limit(), quota()),
        "R4": (*(status(code) for code in _TRANSIENT), html(502)),
        "R5": (*(status(code) for code in _FINAL), context_overflow(), filtered(), model_missing()),
        "R6": (status(503, ("x-should-retry", "false")), status(400, ("x-should-retry", "true"))),
    }
)
"""By row of the fault matrix (docs/reliability.md): the variants of each row that a server can do on an accepted connection."""

PEER_FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "clean EOF after 9 words, no end marker": eof_after(9),
        "connection cut after 9 words": cut_after(9),
        "cut after role chunk only": cut_before_words(),
        "stall after 9 words": stall_after(9),
        "trickle 0.6 s/chunk (12.6 s)": trickle(0.6),
        "malformed SSE line, rest fine": malformed_json(),
        "in-band error before text": error_event(),
        "silent server": silent(),
        '200 with {"error"} body': error_in_200(),
        "502 HTML": html(502),
        "429 Retry-After: 2": rate_limit(2),
        "429 Retry-After: 90": rate_limit(90),
        "429 insufficient_quota": quota(),
        "400 bad request": bad_request(),
    }
)
"""By name: what users of other clients met."""


# All faults, without a list that names each once more.
__all__ = [
    name
    for name, value in list(globals().items())
    if not name.startswith("_")
    and (getattr(value, "__module__", "") == __name__ or isinstance(value, MappingProxyType) or value in (Fault, FaultContext))
]
