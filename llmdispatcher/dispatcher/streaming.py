"""Streams: the handle that a caller gets, the state that its readers share, and the thread that ends idle streams.

A worker thread opens the stream and feeds its channels. When somebody iterates the handle, the worker hands the open stream over
and ends. From then on the iterating thread reads the vendor itself, which saves two thread switches a chunk. It holds the stream
only while it reads. If the reader leaves, cancels, or is not back at the deadline, or if somebody reads a channel, a worker reads
on. So a stream is in one of five phases, and moves between them along these edges only:

| from | to | when |
| --- | --- | --- |
| OPENING | FEEDING | the vendor has begun to answer |
| OPENING | OVER | no vendor has |
| FEEDING | IDLE | somebody iterates: the worker leaves the stream to him; or the worker's thread cannot be started |
| FEEDING | OVER | the answer has ended, or failed |
| IDLE | READING | whoever iterates takes the stream, for one read |
| IDLE | FEEDING | nobody iterates any more, time is up, the call was cancelled, or a channel is read: a worker takes it |
| READING | IDLE | the read has brought something |
| READING | OVER | the answer has ended, or failed |
| OVER | OVER | Ctrl-C came in the middle of the end |

Only whoever holds the stream moves it. An idle stream lies in a deque of one place; taking it out is atomic, so two threads never
hold it at once.

:class:`StreamReaper` is one thread for all idle streams. It learns through a ``SimpleQueue``, which finalizers and signal handlers
may use, that a reader has left, and starts the worker. It starts with the first such stream and ends soon after the last.

Readers and workers refer to the :class:`StreamState`, never to the handle, so the handle can be collected when a caller drops it:
its finalizer then cancels the call. The finalizer, ``close()`` and signal handlers all do the same: they cancel, without a lock.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import enum
import itertools
import math
import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Generic, Self

from ..errors import Cancelled, DispatchError, Overloaded, StreamInterrupted
from ..runtime import Channel, ChannelClosed, Deadline, new_lock, on_fork
from ..types import ChunkSource, Fold, Parsed, Response, StreamChunk, Usage

_LINGER = 0.1
"""Seconds to stay when there is nothing to watch: a thread costs more to start than to keep for a moment."""
_GLANCE = 1.0
"""Seconds; a clock that is moved by hand is looked at that often."""
_AGAIN = 0.05
"""Seconds until the next look at a stream that should have ended by itself."""


class StreamReaper:
    """The streams without a worker, and the thread that gives one to those that nobody reads any more."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._reset()
        on_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._live: dict[int, StreamState] = {}
        self._news: queue.SimpleQueue[StreamState | None] = queue.SimpleQueue()
        self._is_running = False
        self._next = math.inf

    def add(self, stream: StreamState) -> bool:
        """Watch a stream; False where no thread can be started for it."""
        with self._lock:
            self._live[id(stream)] = stream
            is_first, self._is_running = not self._is_running, True
        try:
            if is_first:
                threading.Thread(target=self._run, args=(self._news,), name="llmdispatcher-reaper", daemon=True).start()
            elif stream.deadline.at < self._next:
                self._news.put(None)
        except (RuntimeError, MemoryError):
            self._is_running = False
            self.remove(stream)
            return False
        return True

    def remove(self, stream: StreamState) -> None:
        """Watch it no more; takes no lock."""
        if self._live.pop(id(stream), None) is not None and not self._live:
            self._news.put(None)

    def tell(self, stream: StreamState) -> None:
        """Say that its reader has left, or that it was cancelled; takes no lock."""
        self._news.put(stream)

    def _run(self, news: queue.SimpleQueue[StreamState | None]) -> None:
        while True:
            left = self._look()
            try:
                stream = news.get(timeout=_LINGER if left is None else left)
            except queue.Empty:
                if left is None and self._stops():
                    return
            else:
                if stream is not None:
                    stream.resume()
                stream = None

    def _stops(self) -> bool:
        with self._lock:
            self._is_running = bool(self._live)
            return not self._is_running

    def _look(self) -> float | None:
        """Resume the streams past their deadline. Return seconds until the next look, ``None`` if there is nothing to watch."""
        self._next = math.inf  # whoever comes while we look makes us look again
        left, streams = _GLANCE, list(self._live.values())
        for stream in streams:
            remaining = stream.deadline.remaining()
            if remaining <= 0:
                stream.resume()
            left = min(left, max(remaining, _AGAIN))
        if not streams:
            return None
        self._next = min([stream.deadline.at for stream in streams])
        return left


REAPER = StreamReaper()
"""The one reaper of this process, for all its dispatchers."""


CHANNEL_SIZE = 256
"""Chunks that wait for a slow reader before the vendor is held back."""

CLOSED = "the stream was closed by its reader"
_numbers = itertools.count(1)


class StreamPhase(enum.Enum):
    """Who holds a stream: the worker that opens it, one that feeds the channels, nobody, or a thread that iterates."""

    OPENING = "opening"
    FEEDING = "feeding"
    IDLE = "idle"
    READING = "reading"
    OVER = "over"


_OPENING, _FEEDING, _IDLE, _READING, _OVER = StreamPhase
MOVES: Mapping[StreamPhase, frozenset[StreamPhase]] = {
    _OPENING: frozenset({_FEEDING, _OVER}),
    _FEEDING: frozenset({_IDLE, _OVER}),
    _IDLE: frozenset({_READING, _FEEDING}),
    _READING: frozenset({_IDLE, _OVER}),
    _OVER: frozenset({_OVER}),
}
"""Where a stream may go from each phase."""


class StreamState:
    """One stream, without the handle that its reader holds."""

    __slots__ = (
        "__weakref__",
        "_context",
        "_idle",
        "_listening",
        "_pid",
        "_readers",
        "_to_channels",
        "content",
        "created_at",
        "deadline",
        "done",
        "dropped",
        "error",
        "failure",
        "fold",
        "model",
        "phase",
        "response",
        "traceback",
        "vendor",
    )

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.content: Channel[StreamChunk] = Channel(CHANNEL_SIZE)
        self.done: Channel[bool] = Channel(1)
        self.error: Channel[DispatchError] = Channel(1)
        self.fold = Fold()
        self.vendor: str | None = None
        self.model: str | None = None
        self.dropped: tuple[str, ...] = ()
        self.created_at: datetime = deadline.clock.now()
        self.response: Response | None = None
        self.failure: DispatchError | None = None
        self.traceback: TracebackType | None = None
        self.phase = StreamPhase.OPENING
        self._idle: collections.deque[ChunkSource] = collections.deque()
        self._readers: list[None] = []
        self._to_channels = False  # whether somebody reads a channel, so that a worker is to feed them to the end
        self._listening: int | None = None
        self._context = contextvars.copy_context()
        self._pid = os.getpid()

    def _move(self, phase: StreamPhase) -> None:
        if phase not in MOVES[self.phase]:
            raise RuntimeError(f"a stream cannot go from {self.phase.value} to {phase.value}")
        self.phase = phase

    def _lay_down(self, stream: ChunkSource) -> None:
        """Leave the stream to whoever takes it next."""
        self._move(_IDLE)
        self._idle.append(stream)

    def here(self) -> Self:
        """Return itself. Raises in a forked child, which has the handle but not the worker."""
        if self._pid != os.getpid() and self.response is None:
            raise StreamInterrupted("the stream belongs to the process that forked this one; ask for a new one here")
        return self

    def start(self, begin: Callable[[], ChunkSource]) -> None:
        """Open the stream and feed the channels, in a thread of its own; raises :class:`Overloaded` when none can start."""
        try:
            self._work(self._open, begin)
        except (RuntimeError, MemoryError):
            text = "no thread can be started for another stream; close some streams or raise the process's limit"
            raise Overloaded(text) from None

    def abandon(self) -> None:
        """Stop whoever reads; called by signal handlers too, so it takes no lock."""
        self.deadline.cancellation.cancel(CLOSED)

    def feed_channels(self) -> None:
        """Feed the channels to the end, whoever iterates: somebody reads them."""
        self._to_channels = True
        self.resume()

    def go_on(self) -> None:
        """Let a worker read on if nobody iterates."""
        if not self._readers:
            self.resume()

    def resume(self) -> None:
        """Let a worker go on with an idle stream.

        Where no thread can be started it stays idle, until its time is over: then it is ended here, which takes no time.
        """
        try:
            stream = self._idle.pop()
        except IndexError:
            return
        self._move(_FEEDING)
        try:
            self._work(self._feed, stream)
        except (RuntimeError, MemoryError):
            if self.deadline.cancelled or self.deadline.remaining() <= 0:
                self._feed(stream)
            else:
                self._lay_down(stream)

    def begin(self) -> None:
        """Somebody iterates from now on, until he says :meth:`end`."""
        self._readers.append(None)
        if len(self._readers) > 1:
            self.feed_channels()

    def end(self) -> None:
        """Leave: a worker reads on where nobody else iterates."""
        self._readers.pop()
        if self._idle:
            REAPER.tell(self)

    def arrival(self) -> list[StreamChunk] | None:
        """The next chunks, ``None`` at the end: from the channel, or from the vendor if the stream is idle."""
        while True:
            batch = self._read() or self.content.take_all(self._idle)
            if batch is None or batch:
                return batch

    def _read(self) -> list[StreamChunk] | None:
        """The next chunks, read by the thread that wants them; ``None`` where that is not its turn, or nothing more comes."""
        try:
            stream = self._idle.pop()
        except IndexError:
            return None
        self._move(_READING)
        try:
            batch = None if self.content.queue else self._next(stream)  # what a worker has put into the channel comes first
        except BaseException as interruption:
            self._fail(stream, Cancelled(f"the reader was interrupted by {type(interruption).__name__}"))
            raise
        if self.phase is _READING:
            self._lay_down(stream)
            if self._to_channels:
                self.resume()
        return batch

    def _work(self, task: Callable[[Any], None], *arguments: object) -> None:
        threading.Thread(
            target=self._context.copy().run,
            args=(task, *arguments),
            name=f"llmdispatcher-stream-{next(_numbers)}",
            daemon=True,
        ).start()

    def _open(self, begin: Callable[[], ChunkSource]) -> None:
        try:
            stream = begin()
        except DispatchError as error:
            self._end(failure=error)
        except BaseException as error:  # noqa: BLE001 - the thread ends here: whatever it is, the reader must hear of it
            self._end(failure=interrupted(error, self.fold.response()))
        else:
            self.vendor, self.model, self.dropped = stream.vendor, stream.model, getattr(stream, "dropped", ())
            self._move(_FEEDING)
            self._feed(stream)

    def _feed(self, stream: ChunkSource) -> None:
        """Put what comes into the channel, to the end or until somebody iterates."""
        try:
            while (batch := self._next(stream)) is not None:
                self.content.put_all(batch, self.deadline.check)
                if self._readers and stream.movable and not self._to_channels and self._watched():
                    self._lay_down(stream)
                    self.content.wake()
                    self.go_on()  # whoever was here may have left meanwhile, and found no idle stream to go on with
                    return
        except BaseException as error:  # noqa: BLE001 - as above
            self._fail(stream, error)

    def _watched(self) -> bool:
        """Whether the thread of :data:`REAPER` knows of the stream, so that it may be left without a reader."""
        if self._listening is None and REAPER.add(self):
            self._listening = self.deadline.cancellation.subscribe(lambda: REAPER.tell(self))
        return self._listening is not None

    def _next(self, stream: ChunkSource) -> list[StreamChunk] | None:
        """The next chunks, ``None`` at the end, which is settled then. The caller settles an error that is not one of ours."""
        try:
            batch = next(stream.batches, None)
        except DispatchError as error:
            self._fail(stream, error)
            return None
        if batch is None:
            self._finish(stream)
            return None
        add = self.fold.add
        for chunk in batch:
            add(chunk)
        return batch

    def _finish(self, stream: ChunkSource) -> None:
        try:
            response = self._context.copy().run(stream.finish, self.fold.response())
        except DispatchError as error:
            self._end(failure=error)
        except Exception as error:  # noqa: BLE001 - as above
            self._end(failure=interrupted(error, self.fold.response()))
        else:
            if response.vendor not in (None, self.vendor):  # it went on elsewhere
                self.vendor, self.model = response.vendor, response.model
            self._end(response=response)

    def _fail(self, stream: ChunkSource, error: BaseException) -> None:
        partial = self.fold.response()
        failure = interrupted(error, partial)
        try:
            stream.close()
            self._context.copy().run(stream.fail, failure, partial)
        finally:
            self._end(failure=failure)

    def _end(self, *, response: Response | None = None, failure: DispatchError | None = None) -> None:
        """Tell the readers that nothing more comes."""
        self._move(_OVER)
        self.response, self.failure = response, failure
        self.traceback = failure.__traceback__ if failure is not None else None
        if self._listening is not None:
            self.deadline.cancellation.unsubscribe(self._listening)
            REAPER.remove(self)
        with contextlib.suppress(ChannelClosed):  # a reader may have closed a channel himself
            if failure is not None:
                self.error.put(failure)
            self.done.put(response is not None)
        for channel in (self.content, self.error, self.done):
            channel.close()


def interrupted(error: BaseException, partial: Response) -> DispatchError:
    """The error that a reader gets for a failure after the first chunk.

    One that neither a retry nor another vendor would mend stays as it is; any other becomes a :class:`StreamInterrupted`.
    """
    if isinstance(error, ChannelClosed):
        return Cancelled("the stream's channel was closed by its reader")
    if not isinstance(error, DispatchError):
        failure = StreamInterrupted(f"the stream's worker failed with {type(error).__name__}", partial=partial)
        failure.__cause__ = error
        return failure
    if not (error.retry_here or error.try_elsewhere):
        return error
    if isinstance(error, StreamInterrupted):
        error.partial = partial
        error.remedy = error.remedy or f"after {len(partial.content)} characters; error.partial holds them"
        return error
    facts = {name: getattr(error, name) for name in ("vendor", "model", "status", "code", "request_id", "phase")}
    text = f"the answer broke off after {len(partial.content)} characters: {error.message}; error.partial holds them"
    failure = StreamInterrupted(text, partial=partial, **facts)
    failure.__cause__ = error
    return failure


class StreamingResponse(Generic[Parsed]):
    """An answer while it arrives: iterate it, or read its channels; keep the handle as long as you read.

    ``content_channel`` yields :class:`~llmdispatcher.StreamChunk`, ``error_channel`` at most one error,
    ``done_channel`` exactly one bool, True for a complete answer. Iterating raises what went wrong: each time, in each thread, the
    same exception, which is also that of ``error_channel`` and ``Outcome.error``. Leaving the ``with`` block, :meth:`close` and
    dropping the handle stop the vendor. Several threads may iterate: each chunk goes to one.
    """

    def __init__(self, state: StreamState) -> None:
        self._state = state
        cancel = state.deadline.cancellation.cancel  # not the state: a failure holds the frames that hold this handle
        weakref.finalize(self, cancel, CLOSED).atexit = False

    @property
    def content_channel(self) -> Channel[StreamChunk]:
        """The chunks, in order."""
        self._state.here().feed_channels()
        return self._state.content

    @property
    def done_channel(self) -> Channel[bool]:
        """One item at the end: whether the answer is complete."""
        self._state.here().go_on()
        return self._state.done

    @property
    def error_channel(self) -> Channel[DispatchError]:
        """The error, if there is one, put before ``done_channel`` says False."""
        self._state.here().go_on()
        return self._state.error

    @property
    def vendor(self) -> str | None:
        """Who answers; ``None`` until the first chunk."""
        return self._state.vendor

    @property
    def model(self) -> str | None:
        """The model that answers; ``None`` until the first chunk."""
        return self._state.model

    @property
    def dropped(self) -> tuple[str, ...]:
        """What of the request was not sent to who answers; empty until the first chunk."""
        return self._state.dropped

    @property
    def created_at(self) -> datetime:
        """When the call began, UTC."""
        return self._state.created_at

    @property
    def usage(self) -> Usage:
        """The usage reported so far; final, and priced, once the stream has ended."""
        state = self._state
        return state.response.usage if state.response is not None else state.fold.usage or Usage()

    @property
    def cost(self) -> Decimal | None:
        """US dollars, once the stream has ended; ``None`` before, or where the price is unknown."""
        return self.usage.cost

    @property
    def partial(self) -> Response[Parsed]:
        """The answer as far as it has come, whether or not it was read, whether or not the stream failed."""
        return self._state.response or self._state.fold.response()

    def response(self) -> Response[Parsed]:
        """The whole answer; waits for the end, reads what nobody has read, and raises what went wrong."""
        state = self._state.here()
        state.begin()
        try:
            while state.arrival() is not None and not state.deadline.cancelled:
                pass
        finally:
            state.end()
        return self._outcome()

    def close(self) -> None:
        """Stop the vendor now; idempotent, safe from any thread and from a signal handler."""
        self._state.abandon()

    def _outcome(self) -> Response:
        state = self._state
        if state.response is not None:
            return state.response
        if state.failure is not None:
            # The same exception each time, like that of a Future. Each raise adds frames, so it begins with the first ones again.
            raise state.failure.with_traceback(state.traceback)
        raise Cancelled(state.deadline.cancellation.reason or CLOSED)

    def __iter__(self) -> Iterator[StreamChunk]:
        state = self._state.here()
        cancellation = state.deadline.cancellation
        state.begin()
        try:
            while (batch := state.arrival()) is not None:
                for chunk in batch:
                    if cancellation.cancelled:
                        raise Cancelled(cancellation.reason)
                    yield chunk
                del batch
        finally:
            state.end()
        self._outcome()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"StreamingResponse(vendor={self.vendor!r}, model={self.model!r}, done={self._state.content.closed})"


def start(deadline: Deadline, begin: Callable[[], ChunkSource]) -> StreamingResponse:
    """A handle on the stream that ``begin`` opens in a thread of its own; raises :class:`Overloaded` when none can start."""
    state = StreamState(deadline)
    state.start(begin)
    return StreamingResponse(state)
