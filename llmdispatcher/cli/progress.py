"""How far a batch has come and what it has cost: a bar on a terminal, a line now and then elsewhere. Told from worker threads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Protocol

from ..locks import new_lock
from .terminal import UsageError, say

_LINES = 10


class Advance(Protocol):
    """To be called after each prompt, with what its answer cost."""

    def __call__(self, *, cost: Decimal | None = None, failed: bool = False) -> None: ...


class _Sum:
    """What has happened so far."""

    def __init__(self) -> None:
        self.lock = new_lock()
        self.done = self.failed = 0
        self.cost = Decimal(0)

    def add(self, cost: Decimal | None, failed: bool) -> None:
        self.done += 1
        self.failed += failed
        self.cost += cost or 0

    def __str__(self) -> str:
        return f"{f'{self.failed} failed, ' if self.failed else ''}US$ {self.cost:.4f}"


@contextmanager
def progress(total: int, *, quiet: bool = False, no_color: bool = False) -> Iterator[Advance]:
    """A function to call after each prompt."""
    if quiet:
        yield lambda *, cost=None, failed=False: None
    elif sys.stderr.isatty():
        with _bar(total, no_color) as advance:
            yield advance
    else:
        yield _lines(total)


@contextmanager
def _bar(total: int, no_color: bool) -> Iterator[Advance]:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    except ImportError:
        raise without_rich() from None
    told = TextColumn("{task.description}")
    columns = (TextColumn("dispatching"), BarColumn(), MofNCompleteColumn(), told, TimeElapsedColumn(), TimeRemainingColumn())
    so_far = _Sum()
    with Progress(*columns, console=Console(stderr=True, no_color=no_color or None)) as shown:
        task = shown.add_task(str(so_far), total=total)

        def advance(*, cost: Decimal | None = None, failed: bool = False) -> None:
            with so_far.lock:
                so_far.add(cost, failed)
                description = str(so_far)
            shown.update(task, advance=1, description=description)

        yield advance


def _lines(total: int) -> Advance:
    so_far = _Sum()

    def advance(*, cost: Decimal | None = None, failed: bool = False) -> None:
        with so_far.lock:
            so_far.add(cost, failed)
            done = so_far.done
            if done == total or done * _LINES // total > (done - 1) * _LINES // total:
                say(f"{done} of {total} done, {so_far}")

    return advance


def without_rich() -> UsageError:
    """What to tell a user who installed the library alone."""
    return UsageError("the command line needs rich: pip install 'llmdispatcher[cli]'")
