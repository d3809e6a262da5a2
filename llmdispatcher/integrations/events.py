"""An answer as server-sent events, for the body of an HTTP response of any WSGI framework, and errors as statuses of HTTP."""

from __future__ import annotations

import json
import math
import queue
from collections.abc import Iterator, Mapping
from typing import Any

from llmdispatcher import (
    AllTargetsFailed,
    BudgetExceeded,
    Cancelled,
    ChannelClosed,
    CircuitOpen,
    ConfigError,
    ContentFiltered,
    ContextWindowExceeded,
    DeadlineExceeded,
    DispatchError,
    InvalidRequest,
    LedgerError,
    ModelNotFound,
    Overloaded,
    RateLimitError,
    Response,
    StreamChunk,
    StreamingResponse,
)

HEADERS: Mapping[str, str] = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}
"""Headers of a response with events: no proxy stores them or waits for more before it passes them on."""
HEARTBEAT = b":\n\n"
"""A comment, which browsers ignore; a server that cannot write it notices that the client has left."""

_STATUSES: tuple[tuple[type[DispatchError], int], ...] = (
    (ConfigError, 500),
    (LedgerError, 500),
    (ContextWindowExceeded, 413),
    (ModelNotFound, 404),
    (InvalidRequest, 400),
    (ContentFiltered, 400),
    (BudgetExceeded, 429),
    (RateLimitError, 503),
    (Overloaded, 503),
    (CircuitOpen, 503),
    (Cancelled, 503),  # this process ends, if it was not the caller
    (DeadlineExceeded, 504),
)


def stream_events(stream: StreamingResponse, *, heartbeat: float = 15.0, patience: float = 10.0) -> Iterator[bytes]:
    """Return the events of a stream, as the body of a response with :data:`HEADERS`.

    Waits for the first output, ``patience`` seconds at most: what fails before is raised, as a :class:`DispatchError`, so that the
    response can have a status. Then come ``data: {"content": "..."}`` for each piece (``"reasoning"`` for thoughts), a comment
    after ``heartbeat`` seconds of silence, and at the end ``event: done`` with vendor, model, usage and cost, or ``event: error``
    with the class of the error. Closing the iterator stops the vendor; a server does so when it cannot write the next event. Raises
    :class:`ValueError` for seconds that cannot be.
    """
    if not (heartbeat > 0 and patience >= 0):
        stream.close()
        raise ValueError(f"heartbeat is {heartbeat!r} and patience {patience!r}; give seconds > 0 and ≥ 0")
    first = HEARTBEAT
    try:
        first = _piece(stream.content_channel.get(timeout=patience))
    except ChannelClosed:
        stream.response()  # raises what went wrong
    except queue.Empty:
        pass
    body = _events(stream, first, heartbeat)
    next(body)
    return body


def _events(stream: StreamingResponse, first: bytes, heartbeat: float) -> Iterator[bytes]:
    channel = stream.content_channel
    with stream:
        yield b""  # for stream_events alone: a body that is closed before it is read, as for HEAD, must leave the ``with`` block
        yield first
        while True:
            try:
                chunk = channel.get(timeout=heartbeat)
            except ChannelClosed:
                break
            except queue.Empty:
                yield HEARTBEAT
            else:
                yield _piece(chunk)
        try:
            yield _event(_summary(stream.response()), "done")
        except DispatchError as error:
            yield _event(error_body(error), "error")


def _piece(chunk: StreamChunk) -> bytes:
    """A piece as an event; one without text is a heartbeat."""
    if not (chunk.content or chunk.reasoning):
        return HEARTBEAT
    texts = {"content": chunk.content, "reasoning": chunk.reasoning}
    return _event({name: text for name, text in texts.items() if text})


def _event(data: Mapping[str, Any], name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name is not None else ""
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def _summary(response: Response) -> dict[str, Any]:
    usage = response.usage
    return {
        "vendor": response.vendor,
        "model": response.model,
        "finish_reason": response.finish_reason,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost": f"{usage.cost:f}" if usage.cost is not None else None,
    }


def error_status(error: DispatchError) -> int:
    """Return the status of a response that tells of an error: 4xx for what the client can change, 5xx for the rest."""
    if isinstance(error, AllTargetsFailed) and isinstance(error.__cause__, DispatchError):
        error = error.__cause__
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 502)


def error_headers(error: DispatchError) -> dict[str, str]:
    """Return the headers of a response that tells of an error: ``Retry-After``, in whole seconds, where the error knows when."""
    return {"Retry-After": f"{max(1, math.ceil(error.retry_after))}"} if error.retry_after is not None else {}


def error_body(error: DispatchError) -> dict[str, Any]:
    """Return what a client is told of an error: its class. Its text is for the log, since it may name vendors and limits."""
    return {"error": type(error).__name__}
