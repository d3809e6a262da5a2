"""Which process this is, so that another can tell whether it still lives: a pid means something in one place, and comes again."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path

import attrs

_PROC = Path("/proc")


@attrs.frozen
class Identity:
    """``place`` is where the pid means something: host, boot and namespace; ``started`` is the process's start in clock ticks."""

    place: str
    pid: int
    started: int


def this() -> Identity:
    """The present process."""
    pid = os.getpid()
    return Identity(_place(), pid, _started(pid) or 0)


def is_dead(other: Identity, here: Identity) -> bool | None:
    """Whether another process is certainly dead; ``None`` where that cannot be seen from here."""
    if not other.started or not here.started or other.place != here.place:
        return None
    return _started(other.pid) != other.started


def _place() -> str:
    boot = namespace = ""
    with contextlib.suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    with contextlib.suppress(OSError):
        namespace = str((_PROC / "self/ns/pid").readlink())
    return f"{platform.node()} {boot} {namespace}"


def _started(pid: int) -> int | None:
    """The start of a process that lives; ``None`` for one that does not, or is only waiting to be buried."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return int(fields[19]) if fields[0] not in "ZX" else None
    return None
