"""Tables for people. On a terminal a table fits its width; elsewhere each row is one line, however long, in no colour.

Where a terminal is too narrow, in this order: heads are broken at their spaces; texts are broken, the widest first; columns that
the caller can spare are left out, and a line tells which; each row becomes lines of a name and a value. The columns that a caller
calls ``whole``, which hold what people copy, are never broken.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any

import attrs

from .._text import escaped
from .terminal import tell, tell_json

if TYPE_CHECKING:
    from .settings import Settings

UNKNOWN = "–"
"""What stands for a value that nobody knows."""

_NUMBERS = frozenset("0123456789.,–-+%$ ")
_ASCII = str.maketrans("─–→×▁▂▃▄▅▆▇█", "-->x_.:-=+*#")
_GAP = 2
_LEAST, _MOST_LEAST = 10, 12
"""The width to which a text may be narrowed: the first, or that of its longest piece, up to the second."""
_MOST_PLACES = 18
_PIECES = re.compile(r"(?<=[:/_;=@|])(?=.)|(?<=[-.,])(?=[^\W\d])")
"""The places where a word may be broken: behind a mark, and behind a hyphen or a dot that a letter follows, so that dates, numbers
and versions stay whole."""


def cell(value: Any, spec: str = "") -> str:
    """The formatted value; a dash for ``None``."""
    return UNKNOWN if value is None else format(value, spec)


def money_cells(amounts: Sequence[Decimal | None]) -> tuple[list[str], str]:
    """The texts of amounts of US dollars for one column, and of their sum.

    All have the same decimals: two, or four where an amount has more, or as many as the smallest needs for two significant digits.
    The texts add up exactly to that of the sum: where rounding would leave a difference, the amounts with the largest remainders
    take it. 0 is ``0``.
    """
    known = [amount for amount in amounts if amount is not None]
    places = max([2, *map(_places, known)])
    unit = Decimal(1).scaleb(-places)
    total = sum(known, Decimal(0)).quantize(unit)
    floors = [amount.quantize(unit, ROUND_FLOOR) for amount in known]
    missing = int((total - sum(floors, Decimal(0))) / unit)
    for place in sorted(range(len(known)), key=lambda place: floors[place] - known[place])[:missing]:
        floors[place] += unit
    texts = iter([f"{floor:f}" if amount else "0" for floor, amount in zip(floors, known, strict=True)])
    return [UNKNOWN if amount is None else next(texts) for amount in amounts], f"{total:f}"


def _places(amount: Decimal) -> int:
    """The decimals for two significant digits, at least four, but no more than the amount has."""
    if not amount:
        return 0
    exponent = amount.normalize().as_tuple().exponent
    return min(max(1 - amount.adjusted(), 4), -int(exponent), _MOST_PLACES)


def drawable(text: str) -> str:
    """The text with ASCII in place of lines, bars and dashes where the encoding of stdout lacks them."""
    try:
        text.encode(sys.stdout.encoding or "utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.translate(_ASCII)
    return text


def terminal_width() -> int:
    """The columns of the terminal: those of ``COLUMNS`` if it is set, 80 if nobody knows."""
    return max(20, shutil.get_terminal_size().columns)


def is_bold(*, no_color: bool) -> bool:
    """Whether stdout is a terminal that shows bold text, and the user has nothing against it."""
    return sys.stdout.isatty() and not no_color and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_records(
    settings: Settings,
    as_json: Any,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    whole: Sequence[str] | None = None,
    spare: Sequence[str] = (),
) -> bool:
    """Print records, as JSON with ``--json``, else as a table; False where there is none to draw. See :func:`print_rows`."""
    if settings.json:
        tell_json(as_json)
    elif rows:
        print_rows(heads, rows, no_color=settings.no_color, whole=whole, spare=spare)
    return settings.json or bool(rows)


def print_result(settings: Settings, as_json: Any, text: str, write: Callable[[str], None] = tell) -> None:
    """Print what a command has done: as JSON with ``--json``, else as a line, unless ``--quiet`` is given."""
    if settings.json:
        tell_json(as_json)
    elif not settings.quiet:
        write(text)


def print_rows(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    no_color: bool = False,
    whole: Sequence[str] | None = None,
    spare: Sequence[str] = (),
    total: Sequence[str] | None = None,
) -> None:
    """Print a table; columns of numbers are aligned to the right.

    ``whole`` are the heads of columns that are never broken nor left out, else the first one; ``spare`` are those that a narrow
    terminal goes without, the first one first; ``total`` is a last row under a line of its own.
    """
    table = [[escaped(one) for one in row] for row in (*rows, *([total] if total is not None else ()))]
    fixed = heads[:1] if whole is None else whole
    columns = [_Column.of(head, [row[place] for row in table], whole=head in fixed) for place, head in enumerate(heads)]
    bold = is_bold(no_color=no_color)
    if not sys.stdout.isatty():
        lines = _table_lines(columns, [column.natural for column in columns], total=total is not None)
    else:
        lines = _fitted_lines(columns, spare, terminal_width(), total=total is not None, bold=bold)
    print(drawable("\n".join(lines)))


@attrs.frozen
class _Column:
    """A column: ``natural`` is the width that it likes to have, ``least`` the one that it can do with."""

    head: str
    cells: Sequence[str]
    number: bool
    natural: int
    narrow: int
    """The width with a broken head."""
    least: int

    @classmethod
    def of(cls, head: str, cells: Sequence[str], *, whole: bool) -> _Column:
        lines = [line for cell in cells for line in cell.split("\n")]
        number = bool(cells) and any(cells) and all(set(one) <= _NUMBERS for one in cells)
        content = max(map(_length, lines), default=0)
        narrow = max(content, *map(_length, head.split()), 0)
        pieces = [piece for line in lines for word in line.split() for piece in _PIECES.split(word)]
        least = max(min(_MOST_LEAST, max(map(_length, pieces), default=0)), min(content, _LEAST), *map(_length, head.split()), 0)
        fixed = number or whole
        return cls(head, cells, number, max(content, _length(head)), narrow, narrow if fixed else min(narrow, least))


def _fitted_lines(columns: list[_Column], spare: Sequence[str], width: int, *, total: bool, bold: bool) -> list[str]:
    """The lines of a table for a terminal."""
    for count in range(len(spare) + 1):
        kept = [column for column in columns if column.head not in spare[:count]]
        widths = _fit(kept, width)
        if widths is not None:
            left_out = [column.head for column in columns if column.head in spare[:count]]
            note = [f"No room for: {', '.join(left_out)}; --json has all."] if left_out else []
            return _table_lines(kept, widths, total=total, bold=bold) + [line for one in note for line in wrapped(one, width)]
    return _record_lines(columns, width)


def _fit(columns: Sequence[_Column], width: int) -> list[int] | None:
    """The widths with which columns fit, ``None`` if there are none."""
    room = width - _GAP * (len(columns) - 1)
    widths = [column.natural for column in columns]
    if sum(widths) > room:
        widths = [column.narrow for column in columns]
    if sum([column.least for column in columns]) > room:
        return None
    while sum(widths) > room:
        loose = [place for place, column in enumerate(columns) if widths[place] > column.least]
        widths[max(loose, key=lambda place: widths[place])] -= 1
    return widths


def _table_lines(columns: Sequence[_Column], widths: Sequence[int], *, total: bool, bold: bool = False) -> list[str]:
    rule = "─" * (sum(widths) + _GAP * (len(widths) - 1))
    heads = _row_lines(columns, [column.head for column in columns], widths)
    lines = [*([f"\x1b[1m{line}\x1b[0m" for line in heads] if bold else heads), rule]
    count = len(columns[0].cells)
    for number in range(count):
        lines += [rule] if total and number == count - 1 else []
        lines += _row_lines(columns, [column.cells[number] for column in columns], widths)
    return lines


def _row_lines(columns: Sequence[_Column], cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """The lines of one row, without spaces at their ends."""
    broken = [wrapped(one, width) for one, width in zip(cells, widths, strict=True)]
    lines = []
    for number in range(max(map(len, broken))):
        parts = []
        for column, texts, width in zip(columns, broken, widths, strict=True):
            text = texts[number] if number < len(texts) else ""
            fill = " " * (width - _length(text))
            parts.append(fill + text if column.number else text + fill)
        lines.append((" " * _GAP).join(parts).rstrip())
    return lines


def _record_lines(columns: Sequence[_Column], width: int) -> list[str]:
    """A line for each value, and an empty one between rows; what has no room beside its name stands below it."""
    label = max([_length(column.head) for column in columns]) + _GAP
    lines: list[str] = []
    for number in range(len(columns[0].cells)):
        lines += [""] if number else []
        for column in columns:
            texts, head = column.cells[number].split("\n"), column.head + " " * (label - _length(column.head))
            if column.least > width - label and max(map(_length, texts)) > width - label:
                lines += [column.head, *texts]
            else:
                parts = [part for text in texts for part in wrapped(text, width - label)]
                lines += [f"{head}{parts[0]}".rstrip(), *[" " * label + part for part in parts[1:]]]
    return lines


def print_columns(texts: Mapping[str, str], *, narrowest: int, no_color: bool = False) -> None:
    """Print texts under their names: side by side on a terminal where each gets ``narrowest`` columns, else one below the other.

    The texts are safe to print already; the names are not.
    """
    names = {escaped(name): text.expandtabs(4) for name, text in texts.items()}
    width, bold = terminal_width(), is_bold(no_color=no_color)
    each = (width - _GAP * (len(names) - 1)) // len(names)
    if sys.stdout.isatty() and len(names) > 1 and each >= narrowest:
        columns = [_Column(name, [text], False, each, each, each) for name, text in names.items()]
        print(drawable("\n".join(_table_lines(columns, [each] * len(names), total=False, bold=bold))))
        return
    for number, (name, text) in enumerate(names.items()):
        head = f"\x1b[1m{name}\x1b[0m" if bold else name
        lines = wrapped(text, width) if sys.stdout.isatty() else [text]
        print("\n".join([*([""] if number else []), head, drawable("─" * max(_length(name), 4)), *lines]))


def tell_wrapped(text: str) -> None:
    """Print a sentence of the output, on a terminal in lines that fit it."""
    tell(*(wrapped(text, terminal_width()) if sys.stdout.isatty() else [text]))


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a text that fit a width in terminal cells; broken at spaces, within a long word behind marks, else anywhere."""
    return [line for one in text.split("\n") for line in _wrap_line(one, width)]


def _wrap_line(text: str, width: int) -> list[str]:
    if _length(text) <= width:
        return [text]
    lines = [""]
    for word in re.findall(r"\s*\S+", text):
        if _length(lines[-1] + word) <= width:
            lines[-1] += word
            continue
        bare = word.lstrip() if lines != [""] else word
        if _length(bare) <= width:
            lines.append(bare)
            continue
        lines += [""] if lines[-1] else []
        for piece in _PIECES.split(bare):
            for part in _chop(piece, width):
                if _length(lines[-1] + part) <= width:
                    lines[-1] += part
                else:
                    lines.append(part)
    return lines[1:] if lines[0] == "" else lines


def _chop(text: str, width: int) -> list[str]:
    from rich.cells import chop_cells  # late: few texts are so long

    return chop_cells(text, width) if _length(text) > width else [text]


def _length(text: str) -> int:
    """The columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # late: most texts need no table of widths

    return cell_len(text)
