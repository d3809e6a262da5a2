"""Vendors: the protocol that any object may fulfil, and HttpVendor = a catalog row + a codec + the transport."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import attrs

from . import catalog
from ._version import __version__
from .chunks import StreamChunk
from .clock import SYSTEM_CLOCK, Clock, Deadline
from .config import VendorConfig
from .errors import ConfigError, DispatchError, VendorUnavailable
from .types import Capabilities, Request, Response
from .wire.base import HttpCall, HttpReply, StreamDecoder
from .wire.codecs import CODECS
from .wire.faults import fault

if TYPE_CHECKING:
    from .transport import Transport


@runtime_checkable
class Vendor(Protocol):
    """Who can be asked; any object with these five members, no base class.

    Optional members that the dispatcher uses where they exist: ``kind`` (a catalog vendor, for prices), ``model_for(model)``
    (the vendor's own name for a model, or ``None`` where it does not have it) and ``close()``.
    """

    @property
    def name(self) -> str:
        """What rules and ``send_to_vendor`` call it; unique in a dispatcher."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def send(self, request: Request, deadline: Deadline) -> Response:
        """Answer, within ``deadline.remaining()`` seconds; raises a :class:`DispatchError`."""

    def stream(self, request: Request, deadline: Deadline) -> Iterator[StreamChunk]:
        """Answer in pieces; a normal end of the iterator means a complete answer."""

    def is_available(self) -> bool:
        """Whether it makes sense to ask it now; cheap, never spends money."""


class ChunkStream:
    """The chunks of one HTTP answer: iterate them, or take all that one read brought with :meth:`batches`."""

    def __init__(self, reply: HttpReply, decoder: StreamDecoder, clock: Clock, progress: float | None) -> None:
        self._reply = reply
        self._decoder = decoder
        self._clock = clock
        self._progress = progress

    def batches(self) -> Generator[list[StreamChunk]]:
        """Lists of chunks as they arrive; closes the reply at the end, whatever the end is.

        Raises :class:`VendorUnavailable` with phase ``"idle"`` when only pings come for longer than the progress limit.
        """
        reply, decoder = self._reply, self._decoder
        try:
            last = self._clock.monotonic()
            for data in reply.chunks:
                chunks = decoder.feed(data)
                if chunks:
                    yield chunks
                    last = self._clock.monotonic()
                if decoder.done:
                    return
                if not chunks:
                    self._check_progress(last)
            rest = decoder.finish()
            if rest:
                yield rest
        except DispatchError as error:
            raise error.with_facts(request_id=_request_id(reply.headers))
        finally:
            reply.close()

    def _check_progress(self, last: float) -> None:
        if self._progress is not None and self._clock.monotonic() - last > self._progress:
            text = (
                f"the stream is alive but has said nothing for {self._progress:g} s; raise progress_timeout or ask another vendor"
            )
            raise VendorUnavailable(text, phase="idle", sent=True)

    def __iter__(self) -> Iterator[StreamChunk]:
        for batch in self.batches():
            yield from batch


class HttpVendor:
    """A vendor of the catalog, reached over HTTP; safe to share between threads and after a fork.

    ``kind`` names the catalog's row. Settings come from ``config``, from keyword arguments (they win), or, for key and base
    URL, from the row's environment variables, which are read at the first use. Raises :class:`ConfigError` for a
    key or header that HTTP cannot carry, and at the first use when there is no key.
    """

    kind: ClassVar[str] = ""

    def __init__(
        self, config: VendorConfig | None = None, *, kind: str | None = None, clock: Clock = SYSTEM_CLOCK, **settings: Any
    ) -> None:
        self._kind = kind or self.kind
        row = catalog.vendor_row(self._kind)
        if row is None:
            raise ConfigError(
                f"vendor: the catalog has no {self._kind!r}; it has {', '.join(r.name for r in catalog.vendor_rows())}"
            )
        self._row = row
        self._config = VendorConfig.merged(config, settings)
        self._clock = clock
        self._codec = CODECS[row.codec]
        self._lock = threading.Lock()
        self._transport: Transport | None = None
        self._headers: dict[bool, Mapping[str, str]] = {}
        self._quirks: dict[str, frozenset[str]] = {}
        self.name: str = self._config.name or row.name
