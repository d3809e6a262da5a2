"""A request to stop that any thread, signal handler or finalizer may make at any moment.

There is no lock here: listeners live in a dict whose ``popitem`` is atomic, so each is told exactly once, and
``cancel`` can neither block nor deadlock, not even from ``weakref.finalize`` in the middle of ``subscribe``.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable

_keys = itertools.count()


class Cancellation:
    """Go's context, the cancelling half: pass it as ``cancel=`` and call :meth:`cancel` from any thread."""

    __slots__ = ("__weakref__", "_listeners", "cancelled", "reason")

    def __init__(self) -> None:
        self.cancelled = False
        self.reason = ""
        self._listeners: dict[int, Callable[[], None]] = {}

    def cancel(self, reason: str = "the caller cancelled the call") -> None:
        """Stop whatever watches this; idempotent, never blocks, and the first reason stays."""
        if not self.cancelled:
            self.reason = reason
            self.cancelled = True
        self._tell()

    def subscribe(self, listener: Callable[[], None]) -> int:
        """Call ``listener`` once when cancelled, at once if that has happened; returns a key for :meth:`unsubscribe`.

        A listener must neither block nor raise: it may run in a signal handler or a finalizer.
        """
        key = next(_keys)
        self._listeners[key] = listener
        if self.cancelled:
            self._tell()
        return key

    def follow(self, other: Cancellation) -> None:
        """Be cancelled when ``other`` is; holds no reference that keeps this one alive."""
        own = weakref.ref(self)

        def pass_on() -> None:
            follower = own()
            if follower is not None:
                follower.cancel(other.reason)

        key = other.subscribe(pass_on)
        weakref.finalize(self, other.unsubscribe, key).atexit = False

    def unsubscribe(self, key: int) -> None:
        """Forget a listener; one that was told already is no error."""
        self._listeners.pop(key, None)

    def _tell(self) -> None:
        while True:
            try:
                _, listener = self._listeners.popitem()
            except KeyError:
                return
            listener()

    def __repr__(self) -> str:
        return f"Cancellation(cancelled={self.cancelled})"
