"""The words between codecs and transport: HttpCall, HttpReply, and the two protocols of a wire format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import attrs

from ..chunks import StreamChunk
from ..types import Request, Response


@attrs.frozen(kw_only=True)
class HttpCall:
    """One HTTP request, ready to be sent: ``url`` is absolute, ``headers`` are complete but for Content-Length."""

    method: str = "POST"
    url: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=False)


@attrs.define(eq=False, kw_only=True)
class HttpReply:
    """One HTTP answer, whose body is read by iterating ``chunks`` (decoded, as they arrive, bounded in sum).

    ``headers`` have lower-case names. Whoever holds a reply closes it; reading to the end closes it too.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    chunks: Iterator[bytes] = attrs.field(repr=False)
    close: Callable[[], None] = attrs.field(default=lambda: None, repr=False)

    @property
    def ok(self) -> bool:
        """Whether the vendor took the request (2xx)."""
        return 200 <= self.status < 300

    def read(self) -> bytes:
        """The rest of the body in one piece; closes the reply."""
        try:
            return b"".join(self.chunks)
        finally:
            self.close()


class StreamDecoder(Protocol):
    """Turns the bytes of one stream into chunks, whatever the cuts between them.

    After an error is raised, or after :meth:`finish`, a decoder is of no further use.
    """

    done: bool
    """Whether the format's end marker was seen: nothing more needs to be read."""
    ended: bool
    """Whether the answer is complete as it stands, although more may come: a finish reason was seen."""

    def feed(self, data: bytes) -> list[StreamChunk]:
        """The chunks that ``data`` completes. Raises what an error inside the stream stands for, or :class:`MalformedReply`.

        Where chunks came before the error they are returned, and :meth:`check` raises it.
        """

    def check(self) -> None:
        """Raise the error that came right behind the chunks of the last :meth:`feed`, if one did."""

    def finish(self) -> list[StreamChunk]:
        """What is left at the end of the body. Raises :class:`StreamInterrupted` where the end marker is missing."""


class Codec(Protocol):
    """One wire format, both ways; a value without state, shared by all threads."""

    name: str

    def path(self, model: str, *, stream: bool) -> str:
        """The path below the vendor's base URL, with its query, such as ``"/chat/completions"``."""

    def encode(self, request: Request, *, stream: bool, quirks: frozenset[str] = frozenset()) -> bytes:
        """The JSON body. Raises :class:`InvalidRequest` for what the format cannot express.

        ``quirks`` tell what the model refuses or calls differently: ``"no_sampling"``, ``"max_completion_tokens"``.
        """

    def decode(self, body: bytes) -> Response:
        """A whole answer. Raises :class:`MalformedReply`, or what an error inside a 200 stands for."""

    def decoder(self) -> StreamDecoder:
        """A fresh decoder for one stream."""
