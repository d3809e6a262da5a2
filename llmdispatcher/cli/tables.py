"""Tables for people, as wide as the terminal; nothing is cut off if the output is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .._text import escaped
from .terminal import tell_json

if TYPE_CHECKING:
    from rich.console import Console

    from .settings import Settings


_PIPE_WIDTH = 120
_NUMBERS = frozenset("0123456789.,–-+%$ ")


def console(width: int | None = None, *, no_color: bool = False) -> Console:
    """Return a console on stdout, as wide as the terminal; elsewhere it has *width* columns."""
    from rich.console import Console  # late: help draws no tables

    return Console(width=None if sys.stdout.isatty() else width or _PIPE_WIDTH, no_color=no_color or None, highlight=False)


def cell(value: Any, spec: str = "") -> str:
    """The formatted value; a dash for ``None``."""
    return "–" if value is None else format(value, spec)


def print_records(settings: Settings, as_json: Any, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Print records, as JSON with ``--json``, else as a table; False where there is none to draw."""
    if settings.json:
        tell_json(as_json)
    elif rows:
        print_rows(heads, rows, no_color=settings.no_color)
    return settings.json or bool(rows)


def print_rows(heads: Sequence[str], rows: Iterable[Sequence[str]], *, no_color: bool = False) -> None:
    """Print a table; columns of numbers are aligned to the right."""
    from rich.box import SIMPLE  # late: help draws no tables
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    cells = [[escaped(cell) for cell in row] for row in rows]
    table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
    for column, head in enumerate(heads):
        numbers = bool(cells) and all(set(row[column]) <= _NUMBERS for row in cells)
        table.add_column(head, justify="right" if numbers else "left", overflow="fold")
    for row in cells:
        table.add_row(*[Text(cell) for cell in row])
    widths = [
        max([cell_len(line) for cell in (head, *(row[column] for row in cells)) for line in cell.split("\n")] or [0])
        for column, head in enumerate(heads)
    ]
    console(max(_PIPE_WIDTH, sum(widths) + 4 * len(heads)), no_color=no_color).print(table)
