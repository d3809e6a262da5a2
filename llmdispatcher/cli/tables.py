"""Rows for people: a table that fits the terminal, and does not cut anything off where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .settings import Settings
from .terminal import plain

_PIPE_WIDTH = 120
_NUMBERS = frozenset("0123456789.,–-+%$ ")


def console(settings: Settings, width: int | None = None) -> Console:
    """Stdout, as wide as the terminal or as ``width``."""
    return Console(width=None if sys.stdout.isatty() else width or _PIPE_WIDTH, no_color=settings.no_color or None, highlight=False)


def print_rows(heads: Sequence[str], rows: Iterable[Sequence[str]], settings: Settings) -> None:
    """A table on stdout; columns of numbers stand to the right."""
    told = [[plain(cell) for cell in row] for row in rows]
    table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
    for place, head in enumerate(heads):
        numbers = bool(told) and all(set(row[place]) <= _NUMBERS for row in told)
        table.add_column(head, justify="right" if numbers else "left", overflow="fold")
    for row in told:
        table.add_row(*[Text(cell) for cell in row])
    widths = [
        max([cell_len(line) for cell in (head, *(row[place] for row in told)) for line in cell.split("\n")] or [0])
        for place, head in enumerate(heads)
    ]
    console(settings, max(_PIPE_WIDTH, sum(widths) + 4 * len(heads))).print(table)
