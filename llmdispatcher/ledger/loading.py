"""How a fork is passed: it waits for the thread that loads a ledger's libraries, and then for who is at work with them.

A child of a moment in the middle of an import has half a module for ever. What is loaded later than this room joins its hook
instead of making its own: one that is made while a fork already waits here would be run after the fork, and not before it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable

PATIENCE = 5.0
"""Seconds that a fork waits for an import; a thread that imports what the forking thread itself is importing never ends."""

LOADING = threading.RLock()
"""Held while a library is imported, and while a process forks."""

_halts: list[Callable[[], Callable[[bool], None]]] = []
_halted: list[Callable[[bool], None]] = []

logging.getLogger(__name__)  # its own hook must be there before ours: the last one runs first, and its lock is taken by who imports


def at_fork(halt: Callable[[], Callable[[bool], None]]) -> None:
    """Have a function called before each fork; what it gives is called after it, and told whether it is the child."""
    _halts.append(halt)


def _before() -> None:
    LOADING.acquire(timeout=PATIENCE)
    _halted[:] = [halt() for halt in _halts]


def _in_parent() -> None:
    for go_on in _halted:
        go_on(False)
    with contextlib.suppress(RuntimeError):  # it was not waited for any longer
        LOADING.release()


def _in_child() -> None:
    LOADING._at_fork_reinit()  # type: ignore[attr-defined]  # as the standard library does it for its own; typeshed omits it
    for go_on in _halted:
        go_on(True)


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
