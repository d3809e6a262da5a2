"""Faults of content: what a body says (fault matrix, rows B8–B10, S6, S7), and how a stream proceeds and ends (S).

Content: no JSON, hostile JSON, web pages, errors under a 200. Streams: they end too early, too late, never, or in an odd spelling.
A request for a whole response meets the faults of streams in the parts of its JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs

from ...types import Response
from ..answers import SimulatedResponse
from ..formats.base import ApiError, dumps
from ..loopback import Peer
from .base import Fault, FaultContext, cut, last_chunk, send_all

_PAGE = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body><h1>Please log in to the network</h1></body></html>"
_MARK = "SPOILEDHERE"

OVERLOADED = ApiError(503)


def giant_json(mebibytes: int = 200) -> Fault:
    """One endless string of JSON (B8), in one event where a stream was asked for."""

    def act(peer: Peer, context: FaultContext) -> bool:
        pieces = context.start(peer)
        send_all(peer, [*pieces.opening, (b"data: " if context.request.stream else b"") + b'{"text":"'])
        block = b"a" * (1 << 20)
        for _ in range(mebibytes):
            peer.chunk(block)
        send_all(peer, [b'"}\n\n'])
        last_chunk(peer)
        return True

    return Fault("giant_json", act)


def deep_json(depth: int = 100_000) -> Fault:
    """JSON nested deeper than any parser's stack (B8)."""
    return _spoiled_json("deep_json", lambda body: b'{"deep":' + b"[" * depth + b"]" * depth + b"," + body[1:])


def huge_integer(digits: int = 5_000) -> Fault:
    """A number of more digits than Python converts (B8)."""
    return _spoiled_json("huge_integer", lambda body: b'{"huge":' + b"9" * digits + b"," + body[1:])


def not_a_number() -> Fault:
    """NaN and Infinity, which JSON does not have (B8)."""
    return _spoiled_json("not_a_number", lambda body: b'{"odd":[NaN,-Infinity],' + body[1:])


def duplicate_keys() -> Fault:
    """Every key twice, first empty (B8)."""
    empty = b'{"choices":[],"content":[],"candidates":[],"delta":{},"usage":null,'
    return _spoiled_json("duplicate_keys", lambda body: empty + body[1:])


def lone_surrogate() -> Fault:
    """Half of a character, escaped (B8)."""
    return _spoiled_text("lone_surrogate", b"\\ud83d")


def invalid_utf8() -> Fault:
    """Bytes that are no UTF-8 within the text (S6)."""
    return _spoiled_text("invalid_utf8", b"\xff\xc3\x28")


def malformed_json(words: int = 3) -> Fault:
    """One event whose JSON is cut, the rest fine (S7); of a whole answer's JSON the second half is missing."""

    def act(peer: Peer, context: FaultContext) -> None:
        pieces = context.start(peer)
        if context.request.stream:
            bad = [event.rstrip()[:-9] + b"\n\n" for event in pieces.deltas[-1:]]
            send_all(peer, [*pieces.opening, *pieces.deltas[:words], *bad, *pieces.deltas[words:], *pieces.closing])
        else:
            send_all(peer, pieces.deltas[: len(pieces.deltas) // 2])
        last_chunk(peer)

    return Fault("malformed_json", act)


def html(status: int = 200) -> Fault:
    """A web page where an answer belongs: a captive portal, a proxy's error page (B9)."""

    def act(peer: Peer, _: FaultContext) -> None:
        peer.reply(status, _PAGE, content_type="text/html; charset=utf-8")

    return Fault(f"html_{status}", act)


def empty() -> Fault:
    """A 200 with nothing in it (B9)."""

    def act(peer: Peer, context: FaultContext) -> None:
        peer.reply(200, b"", *context.headers, content_type=context.pieces().content_type)

    return Fault("empty_200", act)


def no_content() -> Fault:
    """A 204 (B9)."""

    def act(peer: Peer, _: FaultContext) -> None:
        peer.head(204)

    return Fault("no_content_204", act)


def error_in_200(api_error: ApiError = OVERLOADED) -> Fault:
    """The vendor's error body under status 200, as JSON even where a stream was asked for (B10)."""

    def act(peer: Peer, context: FaultContext) -> None:
        peer.reply(200, dumps(context.form.error(api_error)[1]), *context.headers)

    return Fault("error_in_200", act)


def error_event(words: int | None = None, api_error: ApiError = OVERLOADED) -> Fault:
    """An error in the stream: as its first event, or after so many words (B10). A whole answer gets the error's body under 200."""

    def act(peer: Peer, context: FaultContext) -> None:
        if not context.request.stream:
            peer.reply(200, dumps(context.form.error(api_error)[1]), *context.headers)
            return
        pieces = context.start(peer)
        before = [] if words is None else [*pieces.opening, *pieces.deltas[:words]]
        send_all(peer, [*before, context.form.error_event(api_error)])
        last_chunk(peer)

    return Fault("error_event_first" if words is None else f"error_event_after_{words}_words", act)


def _spoiled_json(name: str, spoil: Callable[[bytes], bytes]) -> Fault:
    def act(peer: Peer, context: FaultContext) -> None:
        pieces = context.pieces()
        if not context.request.stream:
            peer.reply(200, spoil(context.body()), *context.headers)
            return
        peer.start_stream(*context.headers, content_type=pieces.content_type)
        first = pieces.deltas[0] if pieces.deltas else b"data: {}\n\n"
        begins = first.index(b"{")
        send_all(peer, [*pieces.opening, first[:begins] + spoil(first[begins:]), *pieces.deltas[1:], *pieces.closing])
        last_chunk(peer)

    return Fault(name, act)


def _spoiled_text(name: str, replacement: bytes) -> Fault:
    def act(peer: Peer, context: FaultContext) -> None:
        answer = context.compose()
        said = SimulatedResponse(answer.content) if isinstance(answer, Response) else answer
        pieces = context.pieces(attrs.evolve(said, text=f"{_MARK} {said.text}"))
        peer.start_stream(*context.headers, content_type=pieces.content_type)
        send_all(peer, [b"".join(pieces.all).replace(_MARK.encode(), replacement)])
        last_chunk(peer)

    return Fault(name, act)


_LINE_END = re.compile(rb"\r\n|\n")


def eof_after(words: int = 9) -> Fault:
    """A clean end after so many words, without the format's end marker (S4)."""

    def act(peer: Peer, context: FaultContext) -> None:
        send_all(peer, cut(context.start(peer), words))
        last_chunk(peer)

    return Fault(f"eof_after_{words}_words", act)


def cut_after(words: int = 9) -> Fault:
    """The connection closes after so many words, in the middle of the chunked body."""

    def act(peer: Peer, context: FaultContext) -> bool:
        send_all(peer, cut(context.start(peer), words))
        return True

    return Fault(f"cut_after_{words}_words", act)


def cut_before_words() -> Fault:
    """The connection closes when only the role was announced: nothing was said yet."""

    def act(peer: Peer, context: FaultContext) -> bool:
        send_all(peer, context.start(peer).opening)
        return True

    return Fault("cut_before_words", act)


def stall_after(words: int = 9) -> Fault:
    """So many words, then silence (S10 with one word)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        send_all(peer, cut(context.start(peer), words))
        return peer.hang_up()

    return Fault(f"stall_after_{words}_words", act, endless=True)


def trickle(seconds: float = 0.6) -> Fault:
    """A healthy answer, a word every so many seconds: alive to every idle limit, too slow for the whole call."""

    def act(peer: Peer, context: FaultContext) -> bool:
        for event in context.start(peer).all:
            peer.chunk(event)
            if peer.wait(seconds):
                return True
        last_chunk(peer)
        return False

    return Fault(f"trickle_{seconds:g}_s", act)


def pings_for_ever(interval: float = 0.1) -> Fault:
    """Signs of life, but never a word (S9)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        context.start(peer)
        ping = context.form.ping() if context.request.stream else b" "
        while not peer.wait(interval):
            peer.chunk(ping)
        return True

    return Fault("pings_for_ever", act, endless=True)


def data_after_end() -> Fault:
    """More words after the end marker (S8)."""

    def act(peer: Peer, context: FaultContext) -> None:
        pieces = context.start(peer)
        send_all(peer, [*pieces.all, *pieces.deltas[:3]])
        last_chunk(peer)

    return Fault("data_after_end", act)


def kept_open() -> Fault:
    """A complete answer, then neither an end of the body nor of the connection (S8)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        send_all(peer, context.start(peer).all)
        return peer.hang_up()

    return Fault("kept_open", act, endless=True)


def truncated_last_event() -> Fault:
    """The last event without the blank line that completes it (S3)."""

    def act(peer: Peer, context: FaultContext) -> None:
        send_all(peer, [b"".join(context.start(peer).all).rstrip(b"\r\n")])
        last_chunk(peer)

    return Fault("truncated_last_event", act)


def crlf() -> Fault:
    """A healthy stream with CR LF line ends (S2)."""
    return _respelled("crlf", lambda body: _LINE_END.sub(b"\r\n", body))


def cr_only() -> Fault:
    """A healthy stream with bare CR line ends (S2)."""
    return _respelled("cr_only", lambda body: _LINE_END.sub(b"\r", body))


def mixed_line_ends() -> Fault:
    """A healthy stream whose events end in turn with LF LF, CR LF LF and CR CR (S2)."""

    def mixed(body: bytes) -> bytes:
        events = _LINE_END.sub(b"\n", body).split(b"\n\n")
        ends = (b"\n\n", b"\r\n\n", b"\r\r")
        return b"".join(event + ends[number % 3] for number, event in enumerate(events) if event)

    return _respelled("mixed_line_ends", mixed)


def byte_order_mark() -> Fault:
    """A healthy stream after a BOM (S2)."""
    return _respelled("byte_order_mark", lambda body: b"\xef\xbb\xbf" + body)


def comments() -> Fault:
    """A healthy stream with a comment before every event (S2)."""
    return _respelled("comments", lambda body: b": hello\n\n" + body.replace(b"\n\n", b"\n\n: PROCESSING\n\n"))


def odd_fields() -> Fault:
    """A healthy stream among unknown fields, a bad ``retry``, an ``id`` with NUL, ``data`` without a colon (S2)."""
    odd = b"foo: bar\nretry: soon\nid: a\x00b\nbaz\n\n"
    return _respelled("odd_fields", lambda body: odd + body)


def giant_line(mebibytes: int = 8) -> Fault:
    """One line of so many MiB before a healthy stream (S5)."""
    return _respelled("giant_line", lambda body: b": " + b"x" * (mebibytes << 20) + b"\n\n" + body)


def many_comments(count: int = 1_000_000) -> Fault:
    """So many comment lines before a healthy stream (S5)."""
    return _respelled("many_comments", lambda body: b":\n" * count + b"\n" + body)


def many_events(count: int = 100_000) -> Fault:
    """A healthy stream with the same word so many times (S5)."""

    def act(peer: Peer, context: FaultContext) -> bool:
        pieces = context.start(peer)
        send_all(peer, pieces.opening)
        block = pieces.deltas[0] * 100 if pieces.deltas else b""
        for _ in range(count // 100):
            peer.chunk(block)
        send_all(peer, pieces.closing)
        last_chunk(peer)
        return False

    return Fault("many_events", act)


def _respelled(name: str, respell: Callable[[bytes], bytes]) -> Fault:
    """The healthy stream in another spelling; a whole answer stays as it is."""

    def act(peer: Peer, context: FaultContext) -> None:
        body = b"".join(context.start(peer).all)
        send_all(peer, [respell(body) if context.request.stream else body])
        last_chunk(peer)

    return Fault(name, act)
