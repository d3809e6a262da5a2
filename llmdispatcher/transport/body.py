"""The body of an answer as an iterator: decompressed, bounded, incremental, and safe to close from any thread at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..errors import Cancelled, DispatchError, MalformedReply
from .connection import WireResponse
from .context import FOREIGN, Scope, clean, translated
from .http1 import Inflater
from .sockets import RECEIVE

_CLOSED = "the answer was closed by its reader"


class Body:
    """Pieces of one body. Its end, an error and :meth:`close` each give the connection back or close it, once.

    ``_reading`` and ``_closed`` settle what happens when one thread closes while another reads: the reader sets the first and then
    tests the second, the closer the other way round, so at least one of them notices. ``_duty`` holds the right to clean up;
    who takes it out has it, so the two never work on one socket.
    """

    __slots__ = ("_closed", "_done", "_duty", "_inflater", "_left", "_most", "_packed_left", "_raw", "_reading", "_scope")

    def __init__(self, raw: Any, scope: Scope, inflater: Inflater | None, most: int) -> None:
        self._raw = raw
        self._scope = scope
        self._inflater = inflater
        self._most = self._left = self._packed_left = most
        self._reading = self._closed = self._done = False
        self._duty = [True]

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
            if self._inflater is None:
                data: bytes = self._raw.read1(RECEIVE, decode_content=False)
            else:
                data = self._unpacked(self._inflater)
            self._left -= len(data)
            if self._left < 0:
                raise self._too_long()
        except FOREIGN as foreign:
            failure = self._failed(foreign)
        except BaseException:
            self._drop()
            raise
        else:
            self._reading = False
            if not data:
                self._done = True
                self._clean(self._raw.close)
                raise StopIteration
            if self._closed:
                self._drop()
            return data
        raise clean(failure)

    def close(self) -> None:
        """Stop reading; idempotent, never blocks for more than 10 ms."""
        if self._closed or self._done:
            return
        self._closed = True
        if self._reading:
            self._scope.wake()
        else:
            self._clean(self._raw.settle if isinstance(self._raw, WireResponse) else self._raw.close)

    def _unpacked(self, inflater: Inflater) -> bytes:
        while True:
            if self._closed:
                raise Cancelled(_CLOSED)
            ended = self._scope.ended()  # one read may unpack to a thousand pieces, and no socket looks at the time in between
            if ended is not None:
                raise ended
            piece = inflater.piece()
            if piece:
                return piece
            packed = self._raw.read1(RECEIVE, decode_content=False)
            if not packed:
                inflater.finish()
                return b""
            self._packed_left -= len(packed)
            if self._packed_left < 0:
                raise self._too_long()
            inflater.feed(packed)

    def _too_long(self) -> MalformedReply:
        return MalformedReply(f"the answer is longer than {self._most:,} bytes; ask for less, or raise max_body", sent=True)

    def _failed(self, foreign: Exception) -> DispatchError:
        failure = translated(foreign, self._scope)
        if self._closed and not isinstance(failure, Cancelled):
            failure = Cancelled(_CLOSED)
        self._drop()
        return failure

    def _drop(self) -> None:
        self._closed, self._reading = True, False
        self._clean(self._raw.close)

    def _clean(self, end: Callable[[], None]) -> None:
        try:
            self._duty.pop()
        except IndexError:
            return
        try:
            end()
        finally:
            self._scope.leave()

    def __del__(self) -> None:
        if not self._done:
            self._drop()


def words_of(body: Body) -> Iterator[bytes]:
    """The body of a refusal up to the first error; status and headers are enough."""
    try:
        yield from body
    except Cancelled:
        raise
    except DispatchError:
        return
