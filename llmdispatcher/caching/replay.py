"""Streams and the cache: an entry given again piece by piece, and a stream that is kept once it has ended well."""

from __future__ import annotations

from collections.abc import Callable, Generator

from ..chunks import OpenStream, StreamChunk, unfold
from ..errors import DispatchError
from ..response_values import Response


class Replayed:
    """An entry as a stream; ``finish`` gives the whole answer by ``recall``, as a plain call would."""

    def __init__(self, response: Response, recall: Callable[[Response], Response], fail: Callable[[DispatchError], object]) -> None:
        self._response = response
        self._recall = recall
        self._fail = fail
        self.vendor = response.vendor
        self.model = response.model
        self.movable = True
        self.batches = _replayed(response)
        self.close = self.batches.close

    def finish(self, _folded: Response) -> Response:
        """Settle as a hit."""
        return self._recall(self._response)

    def fail(self, error: DispatchError, _partial: Response) -> None:
        """Settle as a failure: the reader has stopped it."""
        self._fail(error)


def _replayed(response: Response) -> Generator[list[StreamChunk]]:
    yield list(unfold(response))


class Recorded:
    """A stream on its way; ``keep`` is given the answer when it has ended, settled and passed every check."""

    def __init__(self, opened: OpenStream, keep: Callable[[Response], object]) -> None:
        self._opened = opened
        self._keep = keep
        self.vendor = opened.vendor
        self.model = opened.model
        self.movable = opened.movable
        self.batches = opened.batches
        self.close = opened.close

    def finish(self, response: Response) -> Response:
        """Settle as a success, then keep it."""
        finished = self._opened.finish(response)
        self._keep(finished)
        return finished

    def fail(self, error: DispatchError, partial: Response) -> None:
        """Settle as a failure; nothing is kept."""
        self._opened.fail(error, partial)
