"""What a streamed chunk costs with all policies on, and with a ledger; whole calls of these kinds are in ``calls``."""

from __future__ import annotations

import tempfile

from llmdispatcher import Dispatcher, Request

from .calls import EVERYTHING, LEDGER, Rows, always_new, dispatcher_for, everything_on
from .measure import cpu_per_call
from .server import STREAM_CHUNKS, vendor
from .streams import BAR_RAW, RAW, _raw


def chunks() -> Rows:
    """A whole stream of 1,000 chunks, against the same bar as the plain dispatcher's."""
    with tempfile.TemporaryDirectory() as folder, vendor() as url:
        full, new, kept = everything_on(url), always_new(), dispatcher_for(url, ledger=f"{folder}/calls.db")
        ways = {EVERYTHING: lambda: _read(full, new()), LEDGER: lambda: _read(kept, new())}
        taken = cpu_per_call({RAW: _raw(url), **ways}, 5)
    rows: Rows = []
    for name in ways:
        rows.append((f"{name}, CPU per chunk", taken[name] / STREAM_CHUNKS * 1e6, None, "µs"))
        rows.append((f"{name} / {RAW}", taken[name] / taken[RAW], BAR_RAW, "x"))
    return rows


def _read(dispatcher: Dispatcher, request: Request) -> int:
    with dispatcher.send_streaming(request) as stream:
        return sum(len(chunk.content) for chunk in stream)
