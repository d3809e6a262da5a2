"""How one vendor is asked: for a whole answer, or for one that begins. Foreign exceptions of a user's vendor are translated."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

import attrs

from .chunk_stream import ChunkStream
from .chunks import StreamChunk
from .clock import Deadline
from .errors import DispatchError, MalformedReply, VendorUnavailable
from .http_vendor import HttpVendor
from .response_values import RateLimitRemaining, Response
from .types import Request
from .vendors import Vendor

Batches = Generator[list[StreamChunk]]


@attrs.frozen
class Begun:
    """An answer that has come up to its first output, if it has any. ``movable``: any thread may read on, one at a time."""

    batches: Iterator[list[StreamChunk]]
    close: Callable[[], None]
    has_output: bool
    movable: bool


def whole(vendor: Vendor, request: Request, deadline: Deadline) -> Response:
    """The vendor's answer."""
    try:
        response = vendor.send(request, deadline)
    except DispatchError:
        raise
    except Exception as foreign:  # noqa: BLE001 - a vendor of the user's own may raise anything; here it is translated
        raise _translated(vendor, foreign) from None
    if not isinstance(response, Response):
        raise MalformedReply(f"vendor {vendor.name!r} returned {type(response).__name__}; send() must return a Response")
    return response


def begun(vendor: Vendor, request: Request, deadline: Deadline, heard: Callable[[RateLimitRemaining | None], None]) -> Begun:
    """The beginning of an answer; ``heard`` is told what its head says is left. A vendor of the user's stays in its thread."""
    ours = isinstance(vendor, HttpVendor)
    batches = (_batches if ours else _foreign)(vendor, request, deadline, heard)
    held: list[StreamChunk] = []
    has_output = False
    for batch in batches:
        held += batch
        has_output = any(chunk.has_output for chunk in batch)
        if has_output:
            break
    return Begun(itertools.chain([held] if held else [], batches), batches.close, has_output, ours)


def _batches(vendor: Vendor, request: Request, deadline: Deadline, heard: Callable[[RateLimitRemaining | None], None]) -> Batches:
    """What the vendor yields, read by read where it can; no generator more than it takes, since each read goes through all."""
    stream = vendor.stream(request, deadline)
    if not isinstance(stream, ChunkStream):
        return _singly(stream, deadline)
    heard(stream.rate_limit_remaining)
    return stream.batches()


def _foreign(vendor: Vendor, request: Request, deadline: Deadline, heard: Callable[[RateLimitRemaining | None], None]) -> Batches:
    """The same of a vendor of the user's, whose exceptions are translated."""
    try:
        yield from _batches(vendor, request, deadline, heard)
    except DispatchError:
        raise
    except Exception as foreign:  # noqa: BLE001 - as above
        raise _translated(vendor, foreign) from None


def _singly(chunks: Iterable[StreamChunk], deadline: Deadline) -> Batches:
    try:
        for chunk in chunks:
            deadline.check()
            if not isinstance(chunk, StreamChunk):
                raise MalformedReply(f"stream() yielded {type(chunk).__name__}; it must yield StreamChunk objects")
            yield [chunk]
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


def _translated(vendor: Vendor, foreign: Exception) -> Exception:
    """The error for what a user's vendor raised: its class and place, not the exception, which may hold headers and prompts.

    Out of our own vendors nothing comes but our errors, and what the caller's signal handler raised: that is passed on.
    """
    if isinstance(vendor, HttpVendor):
        return foreign
    place = traceback.extract_tb(foreign.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    text = f"vendor {vendor.name!r} raised {type(foreign).__name__} at {where}; a vendor should raise a DispatchError"
    return VendorUnavailable(text, vendor=vendor.name, retry_here=False)
