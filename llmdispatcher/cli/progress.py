"""How far a run has come: a bar on a terminal, a line now and then elsewhere. Both are told from worker threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .terminal import UsageError, say

_LINES = 10


@contextmanager
def progress(total: int) -> Iterator[Callable[[], None]]:
    """A function to call after each prompt."""
    if sys.stderr.isatty():
        with _bar(total) as advance:
            yield advance
    else:
        yield _lines(total)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[], None]]:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    except ImportError:
        raise without_rich() from None
    columns = (TextColumn("dispatching"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task("", total=total)
        yield lambda: shown.advance(task)


def _lines(total: int) -> Callable[[], None]:
    lock = threading.Lock()
    done = 0

    def advance() -> None:
        nonlocal done
        with lock:
            done += 1
            if done == total or done * _LINES // total > (done - 1) * _LINES // total:
                say(f"{done} of {total} done")

    return advance


def without_rich() -> UsageError:
    """What to tell a user who installed the library alone."""
    return UsageError("the command line needs rich: pip install 'llmdispatcher[cli]', or ask for --json")
