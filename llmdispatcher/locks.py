"""Locks that a forked child finds open: whoever held one at the fork does not exist there to release it.

https://docs.python.org/3/library/os.html#os.register_at_fork; what a lock guards here is values that are swapped whole, so
the child sees the state before or after a change, never half of one.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import AbstractContextManager

_locks: weakref.WeakSet[AbstractContextManager[bool]] = weakref.WeakSet()


def new_lock() -> AbstractContextManager[bool]:
    """A lock that is open again in a forked child, and that a signal handler may take in the middle of its own thread's work."""
    lock = threading.RLock()
    _locks.add(lock)
    return lock


def _open_all() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # as the standard library does it for its own; typeshed omits it


os.register_at_fork(after_in_child=_open_all)
