"""StreamingResponse: the handle on an answer that arrives. What its readers share is the :class:`~llmdispatcher.feed.Feed`.

Whoever reads on knows only the feed, never the handle, so that dropping the handle is noticed: a finalizer then cancels
the call. That finalizer, ``close()`` and a signal handler all do the same lock-free thing, they cancel.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Self

from .channel import Channel
from .chunks import OpenStream, StreamChunk
from .clock import Deadline
from .errors import Cancelled, DispatchError
from .feed import CLOSED, Feed
from .response_values import Response, Usage


class StreamingResponse:
    """An answer while it arrives: iterate it, or read its channels; keep the handle as long as you read.

    ``content_channel`` yields :class:`~llmdispatcher.chunks.StreamChunk`, ``error_channel`` at most one error,
    ``done_channel`` exactly one bool, True for a complete answer. Iterating raises what went wrong. Leaving the ``with``
    block, :meth:`close` and dropping the handle stop the vendor. Several threads may iterate: each chunk goes to one.
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
            raise feed.failure
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


def start(deadline: Deadline, begin: Callable[[], OpenStream]) -> StreamingResponse:
    """A handle on the stream that ``begin`` opens in a thread of its own; raises :class:`Overloaded` when none can start."""
    feed = Feed(deadline)
    feed.start(begin)
    return StreamingResponse(feed)
