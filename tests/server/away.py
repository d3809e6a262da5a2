"""Servers that are taken away in a test: killed, or stopped so that they hang."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HOW = ("kill", "stop")
"""Kill the server, or stop its processes, so that it takes connections and never answers."""


@contextlib.contextmanager
def away(server: Any, how: str) -> Iterator[None]:
    """Within it the server does not answer; afterwards it does again."""
    if how == "kill":
        server.stop()
        try:
            yield
        finally:
            server.start()
        return
    processes = _processes(server._process.pid)
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


def _processes(parent: int) -> list[int]:
    """A process and all below it."""
    found, below = [parent], [parent]
    while below:
        below = [child for one in below for child in _children(one)]
        found += below
    return found


def _children(process: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(one) for task in Path(f"/proc/{process}/task").iterdir() for one in (task / "children").read_text().split()]
    return []
