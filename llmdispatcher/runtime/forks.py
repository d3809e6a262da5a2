"""Forks: what is called around one, where processes can fork, and locks that survive it.

:func:`new_lock` makes locks that are open in a forked child, where the thread that held one at the fork does not exist
(https://docs.python.org/3/library/os.html#os.register_at_fork). Such a lock guards values that are replaced as a whole, so the
child sees the state before or after a change, never half of one.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager

_locks: weakref.WeakSet[AbstractContextManager[bool]] = weakref.WeakSet()


def on_fork(**hooks: Callable[[], object]) -> None:
    """Call functions around each fork: ``before``, ``after_in_parent``, ``after_in_child``. Windows has no forks, and no hooks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(**hooks)


def new_lock() -> AbstractContextManager[bool]:
    """A lock that is open again in a forked child, and that a signal handler may take in the middle of its own thread's work."""
    lock = threading.RLock()
    _locks.add(lock)
    return lock


def _open_all() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # as the standard library does it for its own; typeshed omits it


on_fork(after_in_child=_open_all)
