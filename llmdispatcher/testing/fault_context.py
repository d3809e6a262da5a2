"""What a fault is, and the context that it is given."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Concatenate, ParamSpec

import attrs

from ..types import Response
from .answers import SimulatedResponse
from .formats.base import ApiError, Format, Pieces, SimulatedRequest, dumps
from .loopback import Peer

# A whole response is split into this many parts, so that it can be stalled, cut and trickled like a stream.
_PARTS = 20


@attrs.frozen(kw_only=True)
class FaultContext:
    """One request that a fault answers: its format, the healthy response, and the headers."""

    request: SimulatedRequest
    form: Format
    compose: Callable[[], SimulatedResponse | Response] = attrs.field(repr=False)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers of every response."""
        return ((self.form.id_header, f"req_{self.request.id}"),)

    def body(self, response: SimulatedResponse | Response | None = None) -> bytes:
        """Return the healthy response as one JSON object, whether or not a stream was asked for."""
        return self.form.body(self.request, response or self.compose())

    def pieces(self, response: SimulatedResponse | Response | None = None) -> Pieces:
        """Return the healthy response as it is sent: events, or for a whole response the parts of its JSON."""
        if self.request.stream:
            return self.form.pieces(self.request, response or self.compose())
        body = self.body(response)
        size = -(-len(body) // _PARTS)
        parts = [body[at : at + size] for at in range(0, len(body), size)]
        return Pieces([], parts[:-1], parts[-1:], "application/json")

    def encode(self) -> bytes:
        """Return all bytes of the healthy response."""
        return b"".join(self.pieces().all)

    def refuse(self, peer: Peer, api_error: ApiError, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Send the vendor's error response."""
        status, body = self.form.error(api_error)
        peer.reply(status, dumps(body), *self.headers, *headers)

    def start(self, peer: Peer, content_type: str | None = None) -> Pieces:
        """Send the head of a chunked response; returns the pieces of its body."""
        pieces = self.pieces()
        peer.start_stream(*self.headers, content_type=content_type or pieces.content_type)
        return pieces


Act = Callable[[Peer, FaultContext], bool | None]
"""Answers one request with a fault; a true result closes the connection."""


@attrs.frozen
class Fault:
    """One way to misbehave; a value that can be scripted any number of times.

    ``endless``: it goes on until the client gives up or the simulator closes.
    """

    name: str
    act: Act = attrs.field(repr=False, eq=False)
    endless: bool = attrs.field(default=False, kw_only=True)


_P = ParamSpec("_P")


def fault(
    name: str = "", *, endless: bool = False
) -> Callable[[Callable[Concatenate[Peer, FaultContext, _P], bool | None]], Callable[_P, Fault]]:
    """Turn a function that answers a request into one that returns a :class:`Fault`.

    The new function takes the parameters behind the peer and the context. *name*, where ``{words}`` stands for an argument, is the
    fault's name; without it, the function's name is.
    """

    def decorate(act: Callable[Concatenate[Peer, FaultContext, _P], bool | None]) -> Callable[_P, Fault]:
        signature = inspect.Signature([*inspect.signature(act).parameters.values()][2:], return_annotation="Fault")

        @functools.wraps(act)
        def make(*given: _P.args, **named: _P.kwargs) -> Fault:
            arguments = signature.bind(*given, **named)
            arguments.apply_defaults()
            full_name = (name or act.__name__).format(**arguments.arguments)
            return Fault(full_name, lambda peer, context: act(peer, context, *given, **named), endless=endless)

        make.__signature__ = signature  # type: ignore[attr-defined]  # what `inspect` reads
        return make

    return decorate


def cut(pieces: Pieces, words: int) -> list[bytes]:
    """Return the events up to so many words, without the end."""
    return [*pieces.opening, *pieces.deltas[:words]]


def send_all(peer: Peer, events: Iterable[bytes]) -> None:
    """Send events as chunks, all at once."""
    peer.send(b"".join([b"%x\r\n%s\r\n" % (len(event), event) for event in events if event]))
