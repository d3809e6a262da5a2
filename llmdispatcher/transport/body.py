"""The body of an answer as an iterator: unpacked, bounded, live, and safe to close from any thread at any moment."""

from __future__ import annotations

from typing import Any

from ..errors import Cancelled, DispatchError, MalformedReply
from .connection import WireResponse
from .failures import clean, translated
from .inflating import Inflater
from .scope import Scope
from .sockets import RECEIVE


class Body:
    """Pieces of one body. Its end, an error and :meth:`close` each give the connection back or close it, once.

    ``_reading`` and ``_closed`` settle who cleans up when one thread closes while another reads: the reader sets the first and
    then tests the second, the closer the other way round, so at least one of them notices, and waking is harmless.
    """

    __slots__ = ("_closed", "_done", "_inflater", "_left", "_packed_left", "_raw", "_reading", "_scope")

    def __init__(self, raw: Any, scope: Scope, inflater: Inflater | None) -> None:
        self._raw = raw
        self._scope = scope
        self._inflater = inflater
        self._left = self._packed_left = scope.limits.max_body
        self._reading = self._closed = self._done = False

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> bytes:
        if self._done:
            raise StopIteration
        self._reading = True
        try:
            data = self._next()
            self._left -= len(data)
            if self._left < 0:
                raise MalformedReply(f"the answer is longer than {self._scope.limits.max_body} bytes")
        except Exception as foreign:  # noqa: BLE001 - the border: whatever it is, it becomes one of ours
            failure = self._failed(foreign)
        else:
            self._reading = False
            if self._closed and not self._done:
                self._finish()
            if data:
                return data
            self._leave()
            raise StopIteration
        raise clean(failure)

    def close(self) -> None:
        """Stop reading; idempotent, never blocks for more than 10 ms."""
        if self._closed or self._done:
            return
        self._closed = True
        if self._reading:
            self._scope.wake()
        else:
            self._finish()

    def _next(self) -> bytes:
        if self._closed:
            raise Cancelled("the answer was closed by its reader")
        if self._inflater is None:
            data: bytes = self._raw.read1(RECEIVE, decode_content=False)
            return data
        return self._unpacked(self._inflater)

    def _unpacked(self, inflater: Inflater) -> bytes:
        while True:
            piece = inflater.piece()
            if piece:
                return piece
            packed = self._raw.read1(RECEIVE, decode_content=False)
            if not packed:
                inflater.finish()
                return b""
            self._packed_left -= len(packed)
            if self._packed_left < 0:
                raise MalformedReply(f"the answer is longer than {self._scope.limits.max_body} bytes")
            inflater.feed(packed)

    def _failed(self, foreign: Exception) -> DispatchError:
        failure = translated(foreign, self._scope)
        if self._closed and not isinstance(failure, Cancelled):
            failure = Cancelled("the answer was closed by its reader")
        self._closed = True
        self._raw.close()
        self._reading = False
        self._scope.leave()
        return failure

    def _finish(self) -> None:
        if isinstance(self._raw, WireResponse):
            self._raw.settle()
        else:
            self._raw.close()
        self._scope.leave()

    def _leave(self) -> None:
        self._done = True
        self._scope.leave()

    def __del__(self) -> None:
        self.close()
