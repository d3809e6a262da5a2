"""StreamingResponse: the queue.Queue channels of one answer and the worker thread that feeds them.

The worker knows only the shared half, never the handle, so that dropping the handle is noticed: a finalizer then cancels
the call. That finalizer, ``close()`` and a signal handler all do the same lock-free thing, they cancel; it is
the worker, woken by its socket, that ends the channels.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Protocol, Self

from .channel import Channel, ChannelClosed
from .chunks import Fold, StreamChunk
from .clock import Deadline
from .errors import Cancelled, DispatchError, Overloaded, StreamInterrupted
from .types import Response, Usage

CHANNEL_SIZE = 256
"""Chunks that wait for a slow reader before the vendor is held back."""

_numbers = itertools.count(1)


class OpenStream(Protocol):
    """An answer that has begun, as the conductor hands it over."""

    vendor: str
    model: str
    batches: Generator[list[StreamChunk]]

    def finish(self, response: Response) -> Response:
        """Settle as a success; gives the response with cost, latency and trace filled in."""

    def fail(self, error: DispatchError, partial: Response) -> None:
        """Settle as a failure."""


class _Shared:
    """What the worker and the handle both hold."""

    __slots__ = ("content", "created_at", "deadline", "done", "error", "failure", "fold", "model", "pid", "response", "vendor")

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.content: Channel[StreamChunk] = Channel(CHANNEL_SIZE)
        self.done: Channel[bool] = Channel(1)
        self.error: Channel[DispatchError] = Channel(1)
        self.fold = Fold()
        self.vendor: str | None = None
        self.model: str | None = None
        self.created_at: datetime = deadline.clock.now()
        self.response: Response | None = None
        self.failure: DispatchError | None = None
        self.pid = os.getpid()

    def here(self) -> Self:
        """This, in the process that began the stream; raises in a forked child, which has the handle but not the worker."""
        if self.pid != os.getpid() and self.response is None:
            raise StreamInterrupted("the stream belongs to the process that forked this one; ask for a new one here")
        return self

    def abandon(self) -> None:
        """Stop the worker; called by finalizers too, so it takes no lock."""
        self.deadline.cancellation.cancel("the stream was closed by its reader")

    def end(self) -> None:
        """Tell the readers that nothing more comes."""
        with contextlib.suppress(ChannelClosed):  # a reader may have closed a channel himself
            if self.failure is not None:
                self.error.put(self.failure)
            self.done.put(self.response is not None)
        for channel in (self.content, self.error, self.done):
            channel.close()


class StreamingResponse:
    """An answer while it arrives: iterate it, or read its channels; keep the handle as long as you read.

    ``content_channel`` yields :class:`~llmdispatcher.chunks.StreamChunk`, ``error_channel`` at most one error,
    ``done_channel`` exactly one bool, True for a complete answer. Iterating raises what went wrong. Leaving the ``with``
    block, :meth:`close` and dropping the handle stop the vendor. Several threads may iterate: each chunk goes to one.
    """

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        weakref.finalize(self, shared.abandon).atexit = False

    @property
    def content_channel(self) -> Channel[StreamChunk]:
        """The chunks, in order."""
        return self._shared.here().content

    @property
    def done_channel(self) -> Channel[bool]:
        """One item at the end: whether the answer is complete."""
        return self._shared.here().done

    @property
    def error_channel(self) -> Channel[DispatchError]:
        """The error, if there is one, put before ``done_channel`` says False."""
        return self._shared.here().error

    @property
    def vendor(self) -> str | None:
        """Who answers; ``None`` until the first chunk."""
        return self._shared.vendor

    @property
    def model(self) -> str | None:
        """The model that answers; ``None`` until the first chunk."""
        return self._shared.model

    @property
    def created_at(self) -> datetime:
        """When the call began, UTC."""
        return self._shared.created_at

    @property
    def usage(self) -> Usage:
        """The usage reported so far; final, and priced, once the stream has ended."""
        shared = self._shared
        return shared.response.usage if shared.response is not None else shared.fold.usage or Usage(cost_status="no usage reported")

    @property
    def cost(self) -> Decimal | None:
        """US dollars, once the stream has ended; ``None`` before, or where the price is unknown."""
        return self.usage.cost

    @property
    def partial(self) -> Response:
        """The answer as far as it has come, whether or not it was read, whether or not the stream failed."""
        return self._shared.response or self._shared.fold.response()

    def response(self) -> Response:
        """The whole answer; waits for the end, reads what nobody has read, and raises what went wrong."""
        self._shared.here()
        for _ in self._shared.content.batches():
            if self._shared.deadline.cancelled:
                break
        return self._outcome()

    def close(self) -> None:
        """Stop the vendor now; idempotent, safe from any thread and from a signal handler."""
        self._shared.abandon()

    def _outcome(self) -> Response:
        shared = self._shared
        if shared.response is not None:
            return shared.response
        if shared.failure is not None:
            raise shared.failure
        raise Cancelled(shared.deadline.cancellation.reason or "the stream was closed by its reader")

    def __iter__(self) -> Iterator[StreamChunk]:
        shared = self._shared
        cancellation = shared.deadline.cancellation
        shared.here()
        for batch in shared.content.batches():
            for chunk in batch:
                if cancellation.cancelled:
                    raise Cancelled(cancellation.reason)
                yield chunk
        self._outcome()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"StreamingResponse(vendor={self.vendor!r}, model={self.model!r}, done={self._shared.content.closed})"


def start(deadline: Deadline, begin: Callable[[], OpenStream]) -> StreamingResponse:
    """Run ``begin`` and pump what it opens in a daemon thread of its own; raises :class:`Overloaded` when no thread can start."""
    shared = _Shared(deadline)
    context = contextvars.copy_context()
    worker = threading.Thread(
        target=context.run, args=(_pump, shared, begin), name=f"llmdispatcher-stream-{next(_numbers)}", daemon=True
    )
    try:
        worker.start()
    except RuntimeError:
        raise Overloaded("no thread can be started for another stream; close some streams or raise the process's limit") from None
    return StreamingResponse(shared)


def _pump(shared: _Shared, begin: Callable[[], OpenStream]) -> None:
    try:
        opened = begin()
        shared.vendor, shared.model = opened.vendor, opened.model
        _deliver(shared, opened)
    except DispatchError as error:
        shared.failure = error
    except BaseException as error:  # noqa: BLE001 - the thread ends here: whatever it is, the reader must hear of it
        shared.failure = _interrupted(error, shared.fold.response())
        shared.failure.__cause__ = error
    finally:
        shared.end()


def _deliver(shared: _Shared, opened: OpenStream) -> None:
    try:
        _forward(shared, opened.batches)
    except BaseException as error:  # noqa: BLE001 - as above
        partial = shared.fold.response()
        failure = _interrupted(error, partial)
        opened.fail(failure, partial)
        raise failure from (error if failure is not error else None)
    shared.response = opened.finish(shared.fold.response())


def _forward(shared: _Shared, batches: Generator[list[StreamChunk]]) -> None:
    add, put, check = shared.fold.add, shared.content.put_all, shared.deadline.check
    with contextlib.closing(batches):
        for batch in batches:
            for chunk in batch:
                add(chunk)
            put(batch, check)


def _interrupted(error: BaseException, partial: Response) -> DispatchError:
    """What a failure after the first chunk means to the reader: the caller's own end stays, all else is an interruption."""
    if isinstance(error, ChannelClosed):
        return Cancelled("the stream's channel was closed by its reader")
    if not isinstance(error, DispatchError):
        return StreamInterrupted(f"the stream's worker failed with {type(error).__name__}", partial=partial)
    if not (error.retry_here or error.try_elsewhere):
        return error
    if isinstance(error, StreamInterrupted):
        error.partial = partial
        return error
    facts = {name: getattr(error, name) for name in ("vendor", "model", "status", "code", "request_id", "phase")}
    text = f"the answer broke off after {len(partial.content)} characters: {error.message}; error.partial holds them"
    return StreamInterrupted(text, partial=partial, **facts)
