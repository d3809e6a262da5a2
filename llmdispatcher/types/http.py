"""An HTTP request and its answer as values, exchanged between wire formats and transport."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import attrs


@attrs.frozen(kw_only=True)
class HttpCall:
    """One HTTP request, ready to be sent: ``url`` is absolute, ``headers`` are complete but for Content-Length.

    ``secrets`` are words of the headers that an error must not show, beside those that the vendor knows.
    ``max_body`` is the most decoded bytes that the answer may have; ``None`` leaves it to the transport's limits.
    """

    method: str = "POST"
    url: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    max_body: int | None = None
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)


@attrs.define(eq=False, kw_only=True)
class HttpReply:
    """One HTTP answer, whose body is read by iterating ``chunks`` (decoded, as they arrive, bounded in sum).

    The body of a refusal (any status but 2xx) is what can be read of it within bounds: it ends early where it is broken, long or
    slow, and raises nothing but :class:`~llmdispatcher.Cancelled`.

    ``headers`` have lower-case names. Whoever holds a reply closes it; reading to the end closes it too. ``hurry`` bounds the
    seconds of silence before the next piece. ``secrets`` are those of its call.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    chunks: Iterator[bytes] = attrs.field(repr=False)
    close: Callable[[], None] = attrs.field(default=lambda: None, repr=False)
    hurry: Callable[[float], None] = attrs.field(default=lambda _seconds: None, repr=False)
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)

    def read(self) -> bytes:
        """The rest of the body in one piece; closes the reply."""
        try:
            return b"".join([*self.chunks])
        finally:
            self.close()
