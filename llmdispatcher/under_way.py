"""The calls of one dispatcher that are under way: whoever closes it may wait for them a while, and cancels those that are left."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from typing import Protocol

from .cancellation import Cancellation
from .clock import Clock
from .errors import ConfigError


class Admitting(Protocol):
    """Whoever lets only so many calls in."""

    def leave(self, cancellation: Cancellation) -> None:
        """A call has left; idempotent."""

    def status(self) -> tuple[int, int]:
        """How many calls were let in, and how many wait."""


class UnderWay:
    """Calls between their beginning and their outcome, known by what cancels them.

    No lock: single steps of a dict are atomic, and a signal handler may call, or close, in the middle of any of them. Each call
    is kept with its process, since a forked child inherits those of threads that it does not have.
    """

    def __init__(self, clock: Clock, door: Admitting | None = None) -> None:
        self._clock = clock
        self._door = door
        self._calls: dict[Cancellation, int] = {}
        self._gates: tuple[threading.Lock, ...] = ()
        self._closed = False

    def begin(self, cancellation: Cancellation) -> None:
        """A call begins. Raises :class:`ConfigError` once closed."""
        self._calls[cancellation] = os.getpid()
        if self._closed:  # asked only now, so that whoever closes it either is seen here or sees this call
            self.end(cancellation)
            raise ConfigError("the dispatcher is closed; make a new one")

    def end(self, cancellation: Cancellation) -> None:
        """A call has its outcome, and gives its place back; idempotent."""
        if self._door is not None:
            self._door.leave(cancellation)
        self._calls.pop(cancellation, None)
        if self._gates and not self._any():
            for gate in self._gates:
                with contextlib.suppress(RuntimeError):  # open already
                    gate.release()

    def count(self) -> tuple[int, int]:
        """How many calls of this process are under way, and how many wait to be let in."""
        return self._door.status() if self._door is not None else (len(self._here()), 0)

    def close(self, seconds: float) -> None:
        """Let no call begin any more, wait so many seconds at most for those under way, and cancel the rest."""
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise ConfigError(f"drain: {seconds!r} is not a number of seconds ≥ 0")
        self._closed = True
        if seconds:
            self._wait(seconds)
        for cancellation in self._here():
            cancellation.cancel("the dispatcher was closed")

    def _wait(self, seconds: float) -> None:
        gate = threading.Lock()
        gate.acquire()
        self._gates = (*self._gates, gate)
        if self._any():
            self._clock.wait(gate, seconds)

    def _any(self) -> bool:
        return os.getpid() in list(self._calls.values())

    def _here(self) -> list[Cancellation]:
        """The calls of this process, as of one moment."""
        here = os.getpid()
        return [cancellation for cancellation, process in list(self._calls.items()) if process == here]
