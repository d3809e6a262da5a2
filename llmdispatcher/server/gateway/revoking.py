"""Streams end when their key does: one thread looks at the keys of all streams of this process every two seconds."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection

from ..._text import room_logger
from ...errors import DispatchError
from ...runtime import new_lock
from ..keys import KeyStore
from .answers import place_of
from .formats import GatewayError

logger = room_logger("server")

EVERY = 2.0
"""Seconds between two looks; a verdict is as old at most, and so a stream ends within five."""


class StreamKeys:
    """The streams of this process by the digest of their key; safe under threads, and after a fork."""

    def __init__(self, keys: KeyStore, every: float = EVERY) -> None:
        self._keys, self._every = keys, every
        self._lock = new_lock()
        self._streams: dict[Callable[[DispatchError], None], str] = {}
        self._looking: int | None = None

    def watch(self, digest: str, stop: Callable[[DispatchError], None]) -> Callable[[], None]:
        """Call ``stop`` when the key is good no more; returns what ends the watch."""
        with self._lock:
            self._streams[stop] = digest
            if self._looking != os.getpid():  # a thread does not come along through a fork
                self._looking = os.getpid()
                threading.Thread(target=self._look, name="llmdispatcher-stream-keys", daemon=True).start()
        return lambda: self._forget(stop)

    def _forget(self, stop: Callable[[DispatchError], None]) -> None:
        with self._lock:
            self._streams.pop(stop, None)

    def _look(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(self._every)
            with self._lock:
                streams = list(self._streams.items())
                if not streams:
                    self._looking = None
                    return
            try:
                self._end_bad(streams)
            except Exception as error:  # noqa: BLE001 - without this thread no stream would end with its key any more
                logger.error("streams are not ended with their keys at this look: %s", place_of(error))

    def _end_bad(self, streams: Collection[tuple[Callable[[DispatchError], None], str]]) -> None:
        bad = self._keys.bad_of({digest for _, digest in streams})
        for stop, digest in streams:
            if digest in bad:
                self._forget(stop)
                stop(GatewayError("the key of this stream is not good any more", status=401, code="invalid_api_key"))
