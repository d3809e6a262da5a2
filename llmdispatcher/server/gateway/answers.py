"""What goes out: whole answers with the facts of the call in their headers, and streams that never fall silent."""

from __future__ import annotations

import json
import queue
import threading
import traceback
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple, Protocol

import attrs

from ..._text import room_logger
from ...dispatcher import StreamingResponse
from ...errors import DispatchError
from ...runtime import SYSTEM_CLOCK, ChannelClosed
from ...types import Embeddings, Response, StreamChunk
from ...vendors import HttpVendor
from ...wire import Inbound
from .formats import GOOGLE, GatewayError, error_for_client
from .http import BODY_SECONDS, GLANCE, GatewaySettings, Leavers, Task, can_tell_leaving, has_left
from .limits import CallCharge
from .passed_vectors import PassedEmbeddings
from .passing import PassedChunk, PassedResponse, PassingWriter, ReplyHead

logger = room_logger("server")

VENDOR_ID = "x-llmdispatcher-vendor-request-id"
_PROBE = 1.0
"""Seconds between two heartbeats of a silent stream, where only a write shows that the client has left."""


class WholeAnswer(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes
    headers: dict[str, str]


def json_answer(body: Any, status: int = 200) -> WholeAnswer:
    """A document as an answer."""
    return WholeAnswer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


class ClosableBody(Protocol):
    """The body of an answer, piece by piece."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...

    def stop(self, error: DispatchError) -> None:
        """End it with an error, from another thread."""


@attrs.frozen
class StreamedAnswer:
    """An answer that is written while it arrives; closing ``events`` ends it."""

    events: ClosableBody
    headers: dict[str, str]


def facts_of(response: Response | Embeddings) -> dict[str, str]:
    """The headers that tell of the call: vendor, model, cost in US dollars, attempts, what was left out of the request."""
    facts: dict[str, Any] = {
        "vendor": response.vendor,
        "model": response.model,
        "cost": f"{response.usage.cost:f}" if response.usage.cost is not None else None,
    }
    if isinstance(response, Response):
        facts["cached"] = "true" if response.cached else None
        facts["vendor-request-id"] = None if response.cached else response.request_id
        facts["attempts"] = len(response.trace.attempts) if response.trace else None
        facts["dropped"] = ", ".join(response.dropped) or None
    limits = response.head.limits if isinstance(response, PassedResponse) and not response.cached else {}
    if isinstance(response, PassedEmbeddings):
        limits, facts["vendor-request-id"] = response.head.limits, response.head.request_id
    return {**limits, **{f"x-llmdispatcher-{name}": header_text(f"{value}") for name, value in facts.items() if value is not None}}


def hide_own_key(headers: dict[str, str], vendor: object) -> None:
    """Take a vendor's key out of its id of an answer, which may echo it."""
    if VENDOR_ID in headers and isinstance(vendor, HttpVendor):
        headers[VENDOR_ID] = vendor.mask(headers[VENDOR_ID])


def place_of(error: BaseException) -> str:
    """The class of an error and where it was raised, for a log; its text may have a client's words in it."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return f"{type(error).__name__} in " + " < ".join([f"{PurePath(one.filename).name}:{one.lineno}" for one in reversed(frames)])


def header_text(text: str) -> str:
    """The text as a header can have it."""
    return "".join([letter if letter.isascii() and letter.isprintable() else "?" for letter in text])[:1024]


def stream_of(stream: StreamingResponse, task: Task, asked: Inbound, settings: GatewaySettings, leavers: Leavers) -> StreamedAnswer:
    """An answer as a stream. What fails before the first output is raised, within the settings' patience.

    The task is released at the end, however it ends. Google's clients that ask without ``alt=sse`` get one JSON array.
    """
    as_array = task.form is GOOGLE and "alt=sse" not in task.incoming.query
    try:
        body = Events(stream, task, asked, array=_Array() if as_array else None, settings=settings, leavers=leavers)
        body.begin(settings.patience)
    except BaseException:
        stream.close()
        raise
    facts = {name: getattr(stream, name) for name in ("vendor", "model")}
    limits: Mapping[str, str] = {}
    if (head := body.head) is not None:
        limits = head.limits
        facts |= {"vendor-request-id": head.request_id, "dropped": ", ".join(head.dropped) or None}
    headers = {
        "Content-Type": "application/json" if as_array else task.form.codec.content_type,
        "X-Accel-Buffering": "no",
        **limits,
        **{f"x-llmdispatcher-{name}": header_text(text) for name, text in facts.items() if text is not None},
    }
    return StreamedAnswer(body, headers)


class Events:
    """The bytes of a streamed answer; closing it stops the vendor, as does a client that has left.

    ``head`` is the vendor's, where it was there in time.
    """

    def __init__(
        self,
        stream: StreamingResponse,
        task: Task,
        asked: Inbound,
        *,
        array: _Array | None,
        settings: GatewaySettings,
        leavers: Leavers,
    ) -> None:
        self._stream, self._form, self._release, self._charge = stream, task.form, task.release, task.charge
        self._record, self._asked, self._whole = task.record, asked, False
        self._writer = PassingWriter(task.form.codec, asked)
        self._left = has_left(task.incoming.environ)
        self._request_id = task.incoming.request_id
        self._beat = settings.heartbeat if can_tell_leaving(task.incoming.environ) else min(settings.heartbeat, _PROBE)
        self._array = array
        self._first: StreamChunk | None = None
        self.head: ReplyHead | None = None
        self._iterator: Iterator[bytes] | None = None
        self._leavers, self._keep = leavers, task.keep
        self._given: float | None = None
        self._has_output = False
        self._drains, self._drained = settings.drains, False
        self._stopped: DispatchError | None = None

    def begin(self, patience: float) -> None:
        """Wait for the first piece, or until patience is over. Raises what went wrong before it."""
        waited = 0.0
        while waited < patience and not self._left():
            try:
                self._first = first = self._stream.content_channel.get(timeout=min(GLANCE, patience - waited))
                self.head = first.head if isinstance(first, PassedChunk) else None
                self._note(first)
                return
            except ChannelClosed:
                break
            except queue.Empty:
                waited += GLANCE
        if self._stream.content_channel.closed:
            try:
                self._stream.response()  # raises what went wrong
            except BaseException:
                self.close()
                raise

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._iterator is None:
            self._iterator = self._all()
            self._leavers.add(self._stream.close, self._is_unread)
        self._given = None
        piece = next(self._iterator)
        self._given = SYSTEM_CLOCK.monotonic()
        if self._record is not None and self._record.first_output is None and self._has_output:
            self._record.first_output = self._given - self._record.begun
        return piece

    def _note(self, chunk: StreamChunk) -> None:
        """Keep the answer's id before the client has it, which may name it at once."""
        if self._keep is not None and chunk.response_id:
            self._keep({chunk.response_id})
            self._keep = None

    def _is_unread(self) -> bool:
        """Whether the last piece has waited too long for its client; the place is kept, since the server's thread is."""
        given = self._given
        return given is not None and SYSTEM_CLOCK.monotonic() - given > BODY_SECONDS

    def close(self) -> None:
        """Stop the vendor, and give back what the request had; idempotent."""
        self._leavers.drop(self._stream.close)
        if self._drained:  # the iterator has closed it, and the server does so again
            return
        if self._charge is not None and not self._stream.done_channel.closed and self._drains(self._stream.vendor):
            self._drained = True
            threading.Thread(target=self._drain, args=(self._charge,), name="llmdispatcher-drain", daemon=True).start()
            return
        try:
            self._stream.close()
        finally:
            if self._record is not None and not self._whole:
                self._record.broken(self._asked.request, self._stream.partial)
            if self._charge is not None:
                self._settle(self._charge)
            self._release()

    def stop(self, error: DispatchError) -> None:
        """End it with an error, from another thread."""
        self._stopped = error
        self._stream.close()

    def _drain(self, charge: CallCharge) -> None:
        """Read the rest of an answer that its client has left, since the vendor bills all of it; what it cost is counted."""
        try:
            while True:
                self._stream.content_channel.get()
        except ChannelClosed:
            pass
        finally:
            self._stream.close()
            self._settle(charge)
            self._release()

    def _settle(self, charge: CallCharge) -> None:
        """Count what the stream cost, or what it had brought when it was broken off; does nothing the second time."""
        stream = self._stream
        try:
            response = stream.response() if stream.done_channel.closed else None
        except DispatchError as error:
            if not (stream.vendor or error.possibly_billed):
                charge.give_back()
                return
            response = None
        if response is not None:
            charge.answered(response)
        else:
            charge.broken(stream.vendor, stream.model, stream.partial)

    def _all(self) -> Iterator[bytes]:
        try:
            yield from map(self._framed, filter(None, self._pieces()))
            if self._array is not None:
                yield self._array.end()
        except Exception as error:  # noqa: BLE001 - with a server's log its text would go out, and the client would learn nothing
            logger.error("%s: a stream failed inside the gateway: %s", self._request_id, place_of(error))
            yield self._writer.fail(GatewayError("the gateway failed; tell whoever runs it", status=500, code="internal"))
        finally:
            self.close()

    def _framed(self, events: bytes) -> bytes:
        return events if self._array is None else self._array.add(events)

    def _pieces(self) -> Iterator[bytes]:
        """The events; heartbeats while the vendor is silent."""
        channel, writer = self._stream.content_channel, self._writer
        self._has_output = self._first is not None
        yield writer.write(self._first) if self._first is not None else self._form.heartbeat
        silent = unheard = 0.0
        while True:
            try:
                chunk = channel.get(timeout=min(GLANCE, self._beat))
            except ChannelClosed:
                break
            except queue.Empty:
                silent += GLANCE
                unheard += GLANCE
                if self._left():
                    return
                if unheard >= self._form.event_after:
                    silent = unheard = 0.0
                    yield writer.keepalive()
                elif silent >= self._beat:
                    silent = 0.0
                    yield self._form.heartbeat
                continue
            silent = unheard = 0.0
            self._note(chunk)
            if events := writer.write(chunk):
                self._has_output = True
                yield events
        try:
            self._stream.response()
        except DispatchError as error:
            yield writer.fail(self._stopped or error_for_client(error, self._form))
        else:
            self._whole = True
            yield writer.end()


class _Array:
    """Google's events as one JSON array, for clients that ask without ``alt=sse``."""

    def __init__(self) -> None:
        self._begun = False

    def add(self, events: bytes) -> bytes:
        """The elements that some events become; a heartbeat is a blank."""
        found = [line[5:].strip() for line in events.splitlines() if line.startswith(b"data:")]
        if not found:
            return b" "
        begin, self._begun = (b",\r\n" if self._begun else b"["), True
        return begin + b",\r\n".join(found)

    def end(self) -> bytes:
        """The end of the array."""
        return b"]" if self._begun else b"[]"
