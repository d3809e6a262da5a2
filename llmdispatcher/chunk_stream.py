"""The chunks of one HTTP answer, as the transport's reads bring them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from .chunks import StreamChunk
from .clock import Clock
from .errors import DeadlineExceeded, DispatchError, MalformedReply, VendorUnavailable
from .http_values import HttpReply
from .transport.failures import clean
from .wire.base import StreamDecoder
from .wire.hints import rate_limit_remaining

LAST_WORDS = 5.0
"""Seconds of silence after an answer that is complete as it stands: what may yet come is its usage, or the mark of its end."""

Explain = Callable[[DispatchError, HttpReply], DispatchError]


class ChunkStream:
    """The chunks of one HTTP answer: iterate them, or take all that one read brought with :meth:`batches`.

    ``answers`` is how many were asked for: of several the next may begin long after the first is complete.
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
        self.rate_limit_remaining = rate_limit_remaining(reply.headers, clock.now())
        self._missing = set(range(answers)) if answers > 1 else set()
        self._explained = explained
        self._reply = reply
        self._arrivals = iter(reply.chunks)
        self._decoder = decoder
        self._clock = clock
        self._progress = progress

    def batches(self) -> Generator[list[StreamChunk]]:
        """Lists of chunks as they arrive; closes the reply at the end, whatever the end is.

        Raises :class:`VendorUnavailable` with phase ``"idle"`` when only pings come for longer than the progress limit, before the
        answer is complete. An error leaves without the frames and exceptions that it met: they hold what the vendor said, which may
        be the key.
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
                    self._forgive(error)
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
        except DispatchError as error:
            raise clean(self._explained(error, reply)) from None
        finally:
            reply.close()

    def _count(self, chunks: list[StreamChunk]) -> None:
        """See which answers have ended; after the last of them what may still come must come soon."""
        self._missing.difference_update([chunk.choice for chunk in chunks if chunk.finish_reason is not None])
        if self._complete() and not self._decoder.done:
            self._reply.hurry(LAST_WORDS)

    def _complete(self) -> bool:
        """Whether there is nothing left to come but last words: of several answers all have ended."""
        return self._decoder.ended and not self._missing

    def _forgive(self, error: DispatchError) -> None:
        """Raise it, unless the answer is complete: then losing the connection, or the time, loses nothing."""
        if not self._complete():
            raise error

    def _only_pings(self, last: float) -> bool:
        """Whether a vendor that only sends pings has no more to say: its answer is complete, and its last words are overdue."""
        silence = self._clock.monotonic() - last
        if self._complete():
            return silence > LAST_WORDS
        if self._progress is not None and silence > self._progress:
            text = (
                f"the stream is alive but has said nothing for {self._progress:g} s; raise progress_timeout or ask another vendor"
            )
            raise VendorUnavailable(text, phase="idle", sent=True)
        return False

    def __iter__(self) -> Iterator[StreamChunk]:
        for batch in self.batches():
            yield from batch
