"""The answer to a request: its head, and its body as an iterator, decompressed, bounded, and safe to close from any thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import Cancelled, DispatchError, MalformedReply
from .context import FOREIGN, IoContext, clean, hang_up_error, translate
from .http1 import Endless, Framing, Head, Inflater
from .sockets import RECEIVE

_CLOSED = "the answer was closed by its reader"
_GRACE = 0.01
"""Seconds to wait, when a reader stops, for the end of a body that has been read to its last chunk."""


class Body:
    """One answer, whose pieces are its body, bounded by ``most`` bytes and unpacked by ``inflater``.

    The body's end, an error and :meth:`close` each give the connection back or close it: ``_held`` has it, and the thread that
    takes it out is the only one to use its socket from then on. ``_reading`` and ``_closed`` are for a thread that closes while
    another reads: the reader sets the first and then tests the second, the closer the other way round, so at least one notices.

    It stands in for urllib3's response, too, where the request goes through a proxy: urllib3 sets ``_pool``, ``_connection`` and
    ``retries``, and logs the rest.
    """

    __slots__ = (
        "_closed",
        "_connection",
        "_context",
        "_done",
        "_framing",
        "_held",
        "_keep",
        "_packed_size",
        "_pool",
        "_reading",
        "_rest",
        "_size",
        "_sock",
        "headers",
        "inflater",
        "most",
        "retries",
        "status",
    )
    version_string, length_remaining, reason = "HTTP/1.1", None, None

    def __init__(self, connection: Any, sock: Any, context: IoContext, head: Head, framing: Framing, *, rest: bytes = b"") -> None:
        self.status = head.status
        self.headers: Mapping[str, str] = head.headers
        self.inflater: Inflater | None = None
        self.most = self._size = self._packed_size = 0
        self._reading = self._closed = False
        self._keep = head.keep_alive
        self._framing = framing
        framing.excess = framing.excess or bool(framing.done and rest)
        self._rest = rest
        self._context = context
        self._sock = sock
        self._pool: Any = None
        self._held = [connection]
        self._done = False

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> bytes:
        if self._done:
            raise StopIteration
        self._reading = True
        try:
            closed = self._closed  # which another thread may set at any moment
            if closed:
                raise Cancelled(_CLOSED)
            data = self._read() if self.inflater is None else self._unpack(self.inflater)
            self._size += len(data)
            if self._size > self.most:
                raise self._too_long()
        except FOREIGN as foreign:
            failure = self._break(foreign)
        except BaseException:
            self.drop()
            raise
        else:
            self._reading = False
            if not data or (self.inflater is None and self._framing.done):
                self._done = True
                self._context.leave()
                if not data:
                    raise StopIteration
            elif self._closed:
                self.drop()
            return data
        raise clean(failure)

    def _break(self, foreign: Exception) -> DispatchError:
        """Close after a failure, and return what it means: a reading that was closed meanwhile has been cancelled."""
        failure = translate(foreign, self._context)
        if self._closed and not isinstance(failure, Cancelled):
            failure = Cancelled(_CLOSED)
        self.drop()
        return failure

    def close(self) -> None:
        """Stop reading; idempotent, never blocks for more than 10 ms.

        The connection is kept if the end of the body is there, or comes at once.
        """
        if self._closed or self._done:
            return
        self._closed = True
        if self._reading:
            self._context.wake()
        else:
            self._end(settle=True)

    def drop(self) -> None:
        """Stop reading, and close the connection wherever the body is; idempotent."""
        self._closed, self._reading = True, False
        self._end(settle=False)

    def __del__(self) -> None:
        if not getattr(self, "_done", True):  # an interrupt may have left it half made
            self.drop()

    def _read(self) -> bytes:
        """The payload of one receive, nothing at the end of the body; raises what broke it."""
        framing, context = self._framing, self._context
        payload = b""
        while not payload and not framing.done:
            if framing.fault is not None:
                raise framing.fault
            data, self._rest = self._rest, b""
            if not data:
                data = self._sock.receive(context.enter("body", context.idle))
                context.meter.received += len(data)
            if data:
                payload = framing.feed(data)
            elif not framing.end():
                raise hang_up_error(context)
        if framing.done and self._held:
            self._give_back(self._held.pop(), whole=True)
        return payload

    def _unpack(self, inflater: Inflater) -> bytes:
        while True:
            if self._closed:
                raise Cancelled(_CLOSED)
            ended = self._context.ended()  # one read may unpack to a thousand pieces, and no socket looks at the time in between
            if ended is not None:
                raise ended
            piece = inflater.piece()
            if piece:
                return piece
            packed = self._read()
            if not packed:
                inflater.finish()
                return b""
            self._packed_size += len(packed)
            if self._packed_size > self.most:
                raise self._too_long()
            inflater.feed(packed)

    def _too_long(self) -> MalformedReply:
        return MalformedReply(f"the answer is longer than {self.most:,} bytes; ask for less, or raise max_body", sent=True)

    def _end(self, *, settle: bool) -> None:
        """Leave the caller's cancellation, and give the connection back unless that has happened."""
        self._context.leave()
        try:
            connection = self._held.pop()
        except IndexError:
            return
        whole = False
        try:
            whole = settle and self._ends_at_once()
        finally:
            self._give_back(connection, whole=whole)

    def _ends_at_once(self) -> bool:
        """Whether the end of the body is there, or comes at once."""
        framing = self._framing
        try:
            framing.feed(self._rest)
            if not framing.done and framing.may_end() and self._context.ended() is None:
                framing.feed(self._sock.receive_within(_GRACE))
        except DispatchError:
            return False
        return framing.done

    def _give_back(self, connection: Any, *, whole: bool) -> None:
        if not whole or not self._keep or self._framing.excess:
            connection.close()
        connection.since = self._context.now()
        if self._pool is not None:
            self._pool._put_conn(connection)


def read_refusal(body: Body) -> Iterator[bytes]:
    """The body of a refusal up to the first error, since its status and headers are enough."""
    try:
        yield from body
    except Cancelled:
        raise
    except DispatchError:
        return


class _Mocked:
    """Takes the place of socket and connection where a tool such as ``responses`` has answered the request."""

    since = 0.0

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def receive(self, _left: float) -> bytes:
        data: bytes = self._raw.read1(RECEIVE, decode_content=False)
        return data

    def close(self) -> None:
        self._raw.close()


def wrap_mocked(status: int, headers: Mapping[str, str], raw: Any, context: IoContext) -> Body:
    """The answer of such a tool; its body ends where ``raw`` does."""
    wire = _Mocked(raw)
    head = Head(status=status, headers={name.lower(): value for name, value in headers.items()}, keep_alive=False)
    return Body(wire, wire, context, head, Endless())
