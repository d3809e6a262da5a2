"""What a streamed chunk costs with everything on that keeps something between calls; a plain call of that kind is in ``calls``."""

from __future__ import annotations

from llmdispatcher import Dispatcher, Request

from .calls import EVERYTHING, Rows, always_new, everything_on
from .measure import cpu_per_call
from .server import STREAM_CHUNKS, vendor
from .streams import BAR_RAW, RAW, _raw


def chunks() -> Rows:
    """A whole stream of 1,000 chunks, against the same bar as the plain dispatcher's."""
    with vendor() as url:
        full, new = everything_on(url), always_new()
        taken = cpu_per_call({RAW: _raw(url), EVERYTHING: lambda: _read(full, new())}, 5)
    return [
        (f"{EVERYTHING}, CPU per chunk", taken[EVERYTHING] / STREAM_CHUNKS * 1e6, None, "µs"),
        (f"{EVERYTHING} / {RAW}", taken[EVERYTHING] / taken[RAW], BAR_RAW, "x"),
    ]


def _read(dispatcher: Dispatcher, request: Request) -> int:
    with dispatcher.send_streaming(request) as stream:
        return sum(len(chunk.content) for chunk in stream)
