"""The watchman: one thread for all streams that their readers read themselves.

Such a stream has no worker. When its reader goes away, cancels, or is not back at the deadline, somebody must end it: the watchman
hears of it and lets a worker go on with the stream. He is told through a ``SimpleQueue``, which finalizers and signal handlers
may use too. He starts with the first such stream, and goes home soon after the last.
"""

from __future__ import annotations

import math
import os
import queue
import threading
from typing import Protocol

from .clock import Deadline
from .locks import new_lock

_LINGER = 0.1
"""Seconds to stay when there is nothing to watch: a thread costs more to start than to keep for a moment."""
_GLANCE = 1.0
"""Seconds; a clock that is moved by hand is looked at that often."""
_AGAIN = 0.05
"""Seconds until the next look at a stream that should have ended by itself."""


class Watched(Protocol):
    """A stream without a worker."""

    deadline: Deadline

    def resume(self) -> None:
        """Let a worker go on, unless somebody is reading."""


class Watch:
    """Streams without workers, and the thread that watches them."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._live: dict[int, Watched] = {}
        self._news: queue.SimpleQueue[Watched | None] = queue.SimpleQueue()
        self._on_duty = False
        self._next = math.inf

    def add(self, stream: Watched) -> bool:
        """Watch a stream; False where no thread can be started for it."""
        with self._lock:
            self._live[id(stream)] = stream
            idle, self._on_duty = not self._on_duty, True
        try:
            if idle:
                threading.Thread(target=self._run, args=(self._news,), name="llmdispatcher-watch", daemon=True).start()
            elif stream.deadline.at < self._next:
                self._news.put(None)
        except (RuntimeError, MemoryError):
            self._on_duty = False
            self.remove(stream)
            return False
        return True

    def remove(self, stream: Watched) -> None:
        """Watch it no more; takes no lock."""
        if self._live.pop(id(stream), None) is not None and not self._live:
            self._news.put(None)

    def tell(self, stream: Watched) -> None:
        """Its reader is gone, or it was cancelled; takes no lock."""
        self._news.put(stream)

    def _run(self, news: queue.SimpleQueue[Watched | None]) -> None:
        while True:
            left = self._look()
            try:
                stream = news.get(timeout=_LINGER if left is None else left)
            except queue.Empty:
                if left is None and self._off_duty():
                    return
            else:
                if stream is not None:
                    stream.resume()
                stream = None

    def _off_duty(self) -> bool:
        with self._lock:
            self._on_duty = bool(self._live)
            return not self._on_duty

    def _look(self) -> float | None:
        """Resume what is past its deadline; seconds until the next look, ``None`` if there is nothing to watch."""
        self._next = math.inf  # whoever comes while we look makes us look again
        left, streams = _GLANCE, list(self._live.values())
        for stream in streams:
            remaining = stream.deadline.remaining()
            if remaining <= 0:
                stream.resume()
            left = min(left, max(remaining, _AGAIN))
        if not streams:
            return None
        self._next = min([stream.deadline.at for stream in streams])
        return left


WATCH = Watch()
"""That of this process."""
