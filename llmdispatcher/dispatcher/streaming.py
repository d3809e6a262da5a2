"""Streams: the handle that a caller gets, the state that its readers share, and the thread that ends idle streams.

A worker thread opens the stream and feeds its channels. When somebody iterates the handle, the worker hands the open stream over
and ends. From then on the iterating thread reads the vendor itself, which saves two thread switches a chunk. It holds the stream
only while it reads. Taking the stream is atomic, so two threads never read it at once. If the reader leaves, cancels, or is not
back at the deadline, or if somebody reads a channel, a worker reads on.

:class:`Watch` is one thread for all streams that no worker reads. It learns through a ``SimpleQueue``, which finalizers and signal
handlers may use, that a reader has left, and starts the worker. It starts with the first such stream and ends soon after the last.

Readers and workers refer to the :class:`Feed`, never to the handle, so the handle can be collected when a caller drops it: its
finalizer then cancels the call. The finalizer, ``close()`` and signal handlers all do the same: they cancel, without a lock.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import itertools
import math
import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Protocol, Self

from ..errors import Cancelled, DispatchError, Overloaded, StreamInterrupted
from ..runtime import Channel, ChannelClosed, Deadline, new_lock, on_fork
from ..types import ChunkSource, Fold, Response, StreamChunk, Usage

_LINGER = 0.1
"""Seconds to stay when there is nothing to watch: a thread costs more to start than to keep for a moment."""
_GLANCE = 1.0
"""Seconds; a clock that is moved by hand is looked at that often."""
_AGAIN = 0.05
"""Seconds until the next look at a stream that should have ended by itself."""


class Watched(Protocol):
    """A stream without a worker."""

    deadline: Deadline

    def resume(self) -> None:
        """Let a worker go on, unless somebody is reading."""


class Watch:
    """Streams without workers, and the thread that watches them."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._reset()
        on_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._live: dict[int, Watched] = {}
        self._news: queue.SimpleQueue[Watched | None] = queue.SimpleQueue()
        self._on_duty = False
        self._next = math.inf

    def add(self, stream: Watched) -> bool:
        """Watch a stream; False where no thread can be started for it."""
        with self._lock:
            self._live[id(stream)] = stream
            idle, self._on_duty = not self._on_duty, True
        try:
            if idle:
                threading.Thread(target=self._run, args=(self._news,), name="llmdispatcher-watch", daemon=True).start()
            elif stream.deadline.at < self._next:
                self._news.put(None)
        except (RuntimeError, MemoryError):
            self._on_duty = False
            self.remove(stream)
            return False
        return True

    def remove(self, stream: Watched) -> None:
        """Watch it no more; takes no lock."""
        if self._live.pop(id(stream), None) is not None and not self._live:
            self._news.put(None)

    def tell(self, stream: Watched) -> None:
        """Its reader is gone, or it was cancelled; takes no lock."""
        self._news.put(stream)

    def _run(self, news: queue.SimpleQueue[Watched | None]) -> None:
        while True:
            left = self._look()
            try:
                stream = news.get(timeout=_LINGER if left is None else left)
            except queue.Empty:
                if left is None and self._off_duty():
                    return
            else:
                if stream is not None:
                    stream.resume()
                stream = None

    def _off_duty(self) -> bool:
        with self._lock:
            self._on_duty = bool(self._live)
            return not self._on_duty

    def _look(self) -> float | None:
        """Resume what is past its deadline; seconds until the next look, ``None`` if there is nothing to watch."""
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


WATCH = Watch()
"""That of this process."""


CHANNEL_SIZE = 256
"""Chunks that wait for a slow reader before the vendor is held back."""

CLOSED = "the stream was closed by its reader"
_numbers = itertools.count(1)


class Feed:
    """One stream, without the handle that its reader holds."""

    __slots__ = (
        "__weakref__",
        "_channelled",
        "_context",
        "_fed",
        "_laid_down",
        "_listening",
        "_over",
        "_pid",
        "_readers",
        "content",
        "created_at",
        "deadline",
        "done",
        "error",
        "failure",
        "fold",
        "model",
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
        self.created_at: datetime = deadline.clock.now()
        self.response: Response | None = None
        self.failure: DispatchError | None = None
        self.traceback: TracebackType | None = None
        self._laid_down: collections.deque[ChunkSource] = collections.deque()
        self._readers: list[None] = []
        self._channelled = self._over = False
        self._fed = False  # whether a worker laid the stream down, so that the channel may hold what comes first
        self._listening: int | None = None
        self._context = contextvars.copy_context()
        self._pid = os.getpid()

    def here(self) -> Self:
        """This, in the process that began the stream; raises in a forked child, which has the handle but not the worker."""
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
        self._channelled = True
        self.resume()

    def go_on(self) -> None:
        """Go on where nobody iterates."""
        if not self._readers:
            self.resume()

    def resume(self) -> None:
        """Let a worker go on with what lies there; nothing where somebody reads.

        Where no thread can be started it lies on, until it is over: then it is ended here, which takes no time.
        """
        try:
            stream = self._laid_down.pop()
        except IndexError:
            return
        try:
            self._work(self._feed, stream)
        except (RuntimeError, MemoryError):
            if self.deadline.cancelled or self.deadline.remaining() <= 0:
                self._feed(stream)
            else:
                self._laid_down.append(stream)

    def begin(self) -> None:
        """Somebody iterates from now on, until he says :meth:`end`."""
        self._readers.append(None)
        if len(self._readers) > 1:
            self.feed_channels()

    def end(self) -> None:
        """He does so no longer."""
        self._readers.pop()
        if self._laid_down:
            WATCH.tell(self)

    def arrival(self) -> list[StreamChunk] | None:
        """What comes next, ``None`` at the end: from the channel, and once the worker has laid the stream down from the vendor."""
        while True:
            batch = self._read() or self.content.take_all(self._laid_down)
            if batch is None or batch:
                return batch

    def _read(self) -> list[StreamChunk] | None:
        """The next chunks, read by the thread that wants them; ``None`` where that is not its turn, or nothing more comes."""
        try:
            stream = self._laid_down.pop()
        except IndexError:
            return None
        try:
            batch = None if self._fed and self.content.queue else self._next(stream)
        except BaseException as interruption:
            self._fail(stream, Cancelled(f"the reader was interrupted by {type(interruption).__name__}"))
            raise
        if not self._over:
            self._fed = batch is None
            self._laid_down.append(stream)
            if self._channelled:
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
            self.vendor, self.model = stream.vendor, stream.model
            self._feed(stream)

    def _feed(self, stream: ChunkSource) -> None:
        """Put what comes into the channel, to the end or until somebody iterates."""
        try:
            while (batch := self._next(stream)) is not None:
                self.content.put_all(batch, self.deadline.check)
                if self._readers and stream.movable and not self._channelled and self._watched():
                    self._fed = True
                    self._laid_down.append(stream)
                    self.content.wake()
                    self.go_on()  # whoever was here may have left meanwhile, and found nothing lying here to go on with
                    return
        except BaseException as error:  # noqa: BLE001 - as above
            self._fail(stream, error)

    def _watched(self) -> bool:
        """Whether the thread of :data:`WATCH` knows of the stream, so that it may be left without a reader."""
        if self._listening is None and WATCH.add(self):
            self._listening = self.deadline.cancellation.subscribe(lambda: WATCH.tell(self))
        return self._listening is not None

    def _next(self, stream: ChunkSource) -> list[StreamChunk] | None:
        """The next chunks, or ``None`` at an end that is settled; what is raised that is not ours is for the caller to settle."""
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
        self._over = True
        self.response, self.failure = response, failure
        self.traceback = failure.__traceback__ if failure is not None else None
        if self._listening is not None:
            self.deadline.cancellation.unsubscribe(self._listening)
            WATCH.remove(self)
        with contextlib.suppress(ChannelClosed):  # a reader may have closed a channel himself
            if failure is not None:
                self.error.put(failure)
            self.done.put(response is not None)
        for channel in (self.content, self.error, self.done):
            channel.close()


def interrupted(error: BaseException, partial: Response) -> DispatchError:
    """What a failure after the first chunk means to the reader: the caller's own end stays, all else is an interruption."""
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


class StreamingResponse:
    """An answer while it arrives: iterate it, or read its channels; keep the handle as long as you read.

    ``content_channel`` yields :class:`~llmdispatcher.StreamChunk`, ``error_channel`` at most one error,
    ``done_channel`` exactly one bool, True for a complete answer. Iterating raises what went wrong: each time, in each thread, the
    same exception, which is also that of ``error_channel`` and ``Outcome.error``. Leaving the ``with`` block, :meth:`close` and
    dropping the handle stop the vendor. Several threads may iterate: each chunk goes to one.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        cancel = feed.deadline.cancellation.cancel  # not the feed: a failure holds the frames that hold this handle
        weakref.finalize(self, cancel, CLOSED).atexit = False

    @property
    def content_channel(self) -> Channel[StreamChunk]:
        """The chunks, in order."""
        self._feed.here().feed_channels()
        return self._feed.content

    @property
    def done_channel(self) -> Channel[bool]:
        """One item at the end: whether the answer is complete."""
        self._feed.here().go_on()
        return self._feed.done

    @property
    def error_channel(self) -> Channel[DispatchError]:
        """The error, if there is one, put before ``done_channel`` says False."""
        self._feed.here().go_on()
        return self._feed.error

    @property
    def vendor(self) -> str | None:
        """Who answers; ``None`` until the first chunk."""
        return self._feed.vendor

    @property
    def model(self) -> str | None:
        """The model that answers; ``None`` until the first chunk."""
        return self._feed.model

    @property
    def created_at(self) -> datetime:
        """When the call began, UTC."""
        return self._feed.created_at

    @property
    def usage(self) -> Usage:
        """The usage reported so far; final, and priced, once the stream has ended."""
        feed = self._feed
        return feed.response.usage if feed.response is not None else feed.fold.usage or Usage()

    @property
    def cost(self) -> Decimal | None:
        """US dollars, once the stream has ended; ``None`` before, or where the price is unknown."""
        return self.usage.cost

    @property
    def partial(self) -> Response:
        """The answer as far as it has come, whether or not it was read, whether or not the stream failed."""
        return self._feed.response or self._feed.fold.response()

    def response(self) -> Response:
        """The whole answer; waits for the end, reads what nobody has read, and raises what went wrong."""
        feed = self._feed.here()
        feed.begin()
        try:
            while feed.arrival() is not None and not feed.deadline.cancelled:
                pass
        finally:
            feed.end()
        return self._outcome()

    def close(self) -> None:
        """Stop the vendor now; idempotent, safe from any thread and from a signal handler."""
        self._feed.abandon()

    def _outcome(self) -> Response:
        feed = self._feed
        if feed.response is not None:
            return feed.response
        if feed.failure is not None:
            # The same exception each time, like that of a Future. Each raise adds frames, so it begins with the first ones again.
            raise feed.failure.with_traceback(feed.traceback)
        raise Cancelled(feed.deadline.cancellation.reason or CLOSED)

    def __iter__(self) -> Iterator[StreamChunk]:
        feed = self._feed.here()
        cancellation = feed.deadline.cancellation
        feed.begin()
        try:
            while (batch := feed.arrival()) is not None:
                for chunk in batch:
                    if cancellation.cancelled:
                        raise Cancelled(cancellation.reason)
                    yield chunk
                del batch
        finally:
            feed.end()
        self._outcome()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"StreamingResponse(vendor={self.vendor!r}, model={self.model!r}, done={self._feed.content.closed})"


def start(deadline: Deadline, begin: Callable[[], ChunkSource]) -> StreamingResponse:
    """A handle on the stream that ``begin`` opens in a thread of its own; raises :class:`Overloaded` when none can start."""
    feed = Feed(deadline)
    feed.start(begin)
    return StreamingResponse(feed)
