"""JSON in and out of codecs, and the decoder that all event streams share."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from ..chunks import StreamChunk, unfold
from ..errors import DispatchError, MalformedReply, StreamInterrupted
from ..types import Request, Response
from .faults import excerpt, fault_inside, read
from .sse import SseParser

_LONE_SURROGATE = re.compile(
    r"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|[c-fC-F][0-9a-fA-F]{2}(?<!\\u[dD][89abAB]..\\u....))"
)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_decode = json.JSONDecoder(parse_constant=_refuse).decode


def parse(body: bytes) -> Any:
    """The document in ``body``. Raises :class:`MalformedReply` for anything that is not JSON, with a safe excerpt."""
    try:
        return parse_text(body.decode("utf-8", "replace").removeprefix("\ufeff"))
    except ValueError:
        if not body.strip():
            raise MalformedReply("the vendor's answer is empty", sent=True) from None
        raise MalformedReply(f"the vendor's answer is not JSON: {excerpt(body)}", sent=True) from None


def parse_text(text: str) -> Any:
    """The document in ``text``; raises ``ValueError`` for anything else, too deep a nesting included."""
    if "\\ud" in text or "\\uD" in text:
        text = _LONE_SURROGATE.sub(r"\\ufffd", text)
    try:
        return _decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dump(payload: Mapping[str, Any], request: Request) -> bytes:
    """The body of a call; the request's ``extra_params`` are merged last, mappings one level deep."""
    merged = dict(payload)
    for name, value in request.extra_params.items():
        known = merged.get(name)
        merged[name] = {**known, **value} if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return json.dumps(merged, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def mapping(value: Any) -> Mapping[str, Any]:
    """``value`` if it is an object, else an empty one: vendors send null and worse where an object belongs."""
    return value if isinstance(value, dict) else {}


def count(value: Any) -> int:
    """A token count; some servers send floats, null, or nothing."""
    return int(value) if isinstance(value, int | float) and value > 0 else 0


def text_of(value: Any) -> str:
    """``value`` if it is text, else nothing."""
    return value if isinstance(value, str) else ""


class EventDecoder(ABC):
    """A stream of JSON events; a format says what each means (:meth:`read_event`) and reads a whole answer (:meth:`read_whole`).

    A server that answers a stream request with plain JSON is understood as well. Single events that are not
    JSON are skipped; a stream of nothing but those is malformed.
    """

    __slots__ = ("_bad", "_failure", "_good", "_plain", "_sse", "done", "ended")

    END_MARKER: ClassVar[str]
    """What ends a stream of this format, for the error text."""

    def __init__(self) -> None:
        self.done = False
        self.ended = False
        self._failure: DispatchError | None = None
        self._sse: SseParser | None = None
        self._plain: list[bytes] = []
        self._good = 0
        self._bad = 0

    def feed(self, data: bytes) -> list[StreamChunk]:
        """The chunks that ``data`` completes."""
        if self._sse is None:
            self._plain.append(data)
            start = b"".join(self._plain).lstrip(b"\xef\xbb\xbf \t\r\n")
            if not start or start[:1] in b"{[<":
                return []
            data, self._plain, self._sse = b"".join(self._plain), [], SseParser()
        self.check()
        chunks: list[StreamChunk] = []
        try:
            for event in self._sse.feed(data):
                if self.done:
                    break
                self._take(event.event, event.data, chunks)
        except DispatchError as failure:
            if not chunks:
                raise
            self._failure = failure
        return chunks

    def check(self) -> None:
        """Raise the error that came right behind the chunks of the last :meth:`feed`, if one did."""
        if self._failure is not None:
            raise self._failure

    def _take(self, name: str, data: str, chunks: list[StreamChunk]) -> None:
        if data.startswith("[DONE]"):
            self.ended = self.done = True
            return
        try:
            document = parse_text(data)
        except ValueError:
            self._bad += 1
            return
        self._good += 1
        if isinstance(document, list) and document:
            document = document[0]
        if not isinstance(document, dict):
            return
        if document.get("error") or name == "error":
            raise fault_inside(document)
        chunk = self.read_event(document)
        if chunk is not None:
            chunks.append(chunk)

    def finish(self) -> list[StreamChunk]:
        """What is left at the end of the body. Raises :class:`StreamInterrupted` where the end marker is missing."""
        self.check()
        if self._sse is None:
            return self.finish_plain(b"".join(self._plain))
        self._raise_trailing_error(self._sse.rest())
        if self.ended:
            return []
        if self._bad and not self._good:
            raise MalformedReply(f"none of the {self._bad} events of the stream is JSON, the first included", sent=True)
        raise StreamInterrupted(f"the stream ended without {self.END_MARKER}", sent=True)

    def _raise_trailing_error(self, rest: bytes) -> None:
        """Google may append an error as bare JSON lines, which are no event."""
        if rest.lstrip()[:1] in (b"{", b"["):
            try:
                document = parse(rest)
            except MalformedReply:
                return
            if read(document) is not None:
                raise fault_inside(document)

    def finish_plain(self, body: bytes) -> list[StreamChunk]:
        """The chunks of a body that is no event stream."""
        self.ended = self.done = True
        return [unfold(self.read_whole(body))]

    @abstractmethod
    def read_event(self, document: Mapping[str, Any]) -> StreamChunk | None:
        """What one event says; sets ``ended`` (complete as it stands) and ``done`` (nothing more is to come)."""

    @abstractmethod
    def read_whole(self, body: bytes) -> Response:
        """A whole answer."""
