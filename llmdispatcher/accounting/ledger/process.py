"""Processes: how the ledger handles a fork, and how a process is identified so that others can tell whether it still runs.

A fork in the middle of an import would leave the child with a half-loaded module. So a fork waits for the thread that loads the
ledger's libraries, and then for the users of those libraries. What is loaded later joins this module's fork hook instead of
registering its own, since a hook that is registered while a fork waits here would run after the fork, not before it.

A pid alone identifies no process: it is valid on one machine or in one container only, and is used again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path

import attrs

from ...runtime import on_fork

PATIENCE = 5.0
"""Seconds that a fork waits for an import; a thread that imports what the forking thread itself is importing never ends."""

LOADING = threading.RLock()
"""Held while a library is imported, and while the process forks."""

_hooks: list[Callable[[], Callable[[bool], None]]] = []
_resumes: list[Callable[[bool], None]] = []

# The logging module's own hook must be there before ours: the last one runs first, and its lock is taken by who imports.
logging.getLogger("llmdispatcher.accounting")


def at_fork(before: Callable[[], Callable[[bool], None]]) -> None:
    """Call ``before`` ahead of each fork, and what it returns after the fork, with whether this is the child."""
    _hooks.append(before)


def _before_fork() -> None:
    LOADING.acquire(timeout=PATIENCE)
    _resumes[:] = [before() for before in _hooks]


def _after_fork_in_parent() -> None:
    for resume in _resumes:
        resume(False)
    with contextlib.suppress(RuntimeError):  # it was not waited for any longer
        LOADING.release()


def _after_fork_in_child() -> None:
    LOADING._at_fork_reinit()  # type: ignore[attr-defined]  # as the standard library does it for its own; typeshed omits it
    for resume in _resumes:
        resume(True)


on_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


_PROC = Path("/proc")


@attrs.frozen
class Identity:
    """``place`` is where the pid is valid: host, boot and namespace; ``started`` is the process's start in clock ticks."""

    place: str
    pid: int
    started: int


def this_process() -> Identity:
    """The identity of this process."""
    pid = os.getpid()
    return Identity(_place_of_pids(), pid, _start_of(pid) or 0)


def is_dead(other: Identity, here: Identity) -> bool | None:
    """Whether another process is certainly dead; ``None`` if that cannot be seen from here."""
    if not other.started or not here.started or other.place != here.place:
        return None
    return _start_of(other.pid) != other.started


def _place_of_pids() -> str:
    boot = namespace = ""
    with contextlib.suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    with contextlib.suppress(OSError):
        namespace = str((_PROC / "self/ns/pid").readlink())
    return f"{platform.node()} {boot} {namespace}"


def _start_of(pid: int) -> int | None:
    """The start of a living process; ``None`` for a dead one, or a zombie."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return int(fields[19]) if fields[0] not in "ZX" else None
    return None
