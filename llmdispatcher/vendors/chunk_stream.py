"""The chunks of one HTTP answer, as reads of the transport bring them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

from .._text import room_logger
from ..errors import DeadlineExceeded, DispatchError, MalformedReply, VendorUnavailable
from ..runtime import AttemptMetrics, Clock
from ..transport import clean
from ..types import Choice, HttpReply, StreamChunk
from ..wire import StreamDecoder, raise_broken, rate_limit_remaining

LAST_WORDS = 5.0
"""Seconds to wait after a complete answer: only its usage or the end mark may still come."""

logger = room_logger("vendors")
Explain = Callable[[DispatchError, HttpReply], DispatchError]
ENDS = frozenset({"stop", "length", "tool_calls", "content_filter"})

Ended = TypeVar("Ended", StreamChunk, Choice)


def ends_in(said: Iterable[Ended]) -> list[Ended]:
    """The chunks or choices that end an answer. Raises :class:`MalformedReply` for an end with a call that cannot be read."""
    ends = [one for one in said if one.finish_reason is not None]
    for one in ends:
        if one.finish_reason not in ENDS:
            raise_broken(one.finish_reason_raw)
    return ends


class ChunkStream:
    """The chunks of one HTTP answer: iterate them, or take all that one read brought with :meth:`batches`.

    ``answers`` is how many were asked for: of several the next may begin long after the first is complete. ``meter``, where it is
    set, counts the events that could not be read. ``dropped`` are the fields and parts of the request that were not sent.
    """

    def __init__(
        self,
        reply: HttpReply,
        decoder: StreamDecoder,
        clock: Clock,
        progress: float | None,
        explained: Explain,
        *,
        answers: int = 1,
    ) -> None:
        self.meter: AttemptMetrics | None = None
        self.dropped: tuple[str, ...] = ()
        self.rate_limit_remaining = rate_limit_remaining(reply.headers, clock.now())
        self._missing = set(range(answers)) if answers > 1 else set()
        self._complete_error = explained
        self._reply = reply
        self._arrivals = iter(reply.chunks)
        self._decoder = decoder
        self._clock = clock
        self._progress = progress

    def batches(self) -> Generator[list[StreamChunk]]:
        """Lists of chunks as they arrive; closes the reply at the end, whatever the end is.

        Raises :class:`VendorUnavailable` with phase ``"idle"`` when only pings come for longer than the progress limit, before the
        answer is complete. An error has no frame and no cause that holds what the vendor said, which may be the key.
        """
        reply, decoder, arrivals = self._reply, self._decoder, self._arrivals
        try:
            last = self._clock.monotonic()
            while True:
                try:
                    data = arrivals.__next__()  # faster than next(), which enters the interpreter anew
                except StopIteration:
                    break
                except (VendorUnavailable, MalformedReply, DeadlineExceeded) as error:
                    self._raise_unless_complete(error)
                    break
                chunks = decoder.feed(data)
                if chunks:
                    yield chunks
                    decoder.check()
                    last = self._clock.monotonic()
                    if decoder.ended or self._missing:
                        self._count(chunks)
                if decoder.done:
                    return
                if not chunks and self._only_pings(last):
                    break
                del data, chunks  # the wait may be long: what nobody needs is given back while the processor knows where it is
            rest = decoder.finish()
            if rest:
                yield rest
                ends_in(rest)
        except DispatchError as error:
            data = b""  # the error holds this frame
            raise clean(self._complete_error(error, reply)) from None
        finally:
            self._close()

    def _close(self) -> None:
        """Give the reply back, and log how many events of the stream could not be read."""
        skipped = self._decoder.skipped
        if skipped:
            logger.warning("%d events of a stream could not be read and are missing in the answer", skipped)
            if self.meter is not None:
                self.meter.skipped += skipped
        self._reply.close()

    def _count(self, chunks: list[StreamChunk]) -> None:
        """Record which answers have ended; after the last of them the rest of the stream must come soon."""
        self._missing.difference_update([chunk.choice for chunk in ends_in(chunks)])
        if self._complete() and not self._decoder.done:
            self._reply.hurry(LAST_WORDS)

    def _complete(self) -> bool:
        """Whether all answers have ended, so that only usage or the end mark may still come."""
        return self._decoder.ended and not self._missing

    def _raise_unless_complete(self, error: DispatchError) -> None:
        """Raise it, unless the answer is complete: then losing the connection, or the time, loses nothing."""
        if not self._complete():
            raise error

    def _only_pings(self, last: float) -> bool:
        """Whether a vendor that only sends pings is done: its answer is complete, and usage or end mark are overdue."""
        silence = self._clock.monotonic() - last
        if self._complete():
            return silence > LAST_WORDS
        if self._progress is not None and silence > self._progress:
            text = (
                f"the stream is alive but has said nothing for {self._progress:g} s; raise progress_timeout or ask another vendor"
            )
            raise VendorUnavailable(text, phase="idle", sent=True, timed_out=True)
        return False

    def __iter__(self) -> Iterator[StreamChunk]:
        for batch in self.batches():
            yield from batch
