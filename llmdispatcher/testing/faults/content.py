"""Faults of what the body says: no JSON, hostile JSON, web pages, errors under a 200 (RELIABILITY.md B8–B10, S6, S7)."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from ...response_values import Response
from ..answers import SimulatedResponse
from ..formats.base import ApiError, dumps
from ..loopback import Peer
from .base import Fault, FaultContext, last_chunk, send_all

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
