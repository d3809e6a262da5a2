"""``usage``: show what was used and what it cost, as a table, a sparkline, or a picture.

Pictures are bars in an SVG that is written here, or a PNG where matplotlib is installed.
"""

from __future__ import annotations

import csv
import importlib.util
import itertools
import math
import sys
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import click

from ..._text import escaped
from ...types import dollars_text
from .. import records
from ..options import COUNT, FILE, make_command
from ..settings import Settings
from ..tables import cell, print_rows
from ..terminal import OK, UsageError, plain, say, tell, tell_json
from .ask import dollars

if TYPE_CHECKING:
    from ...accounting import UsageBucket, UsageStats

Point = tuple[str, Decimal]
"""A period's name, and US dollars."""

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 960, 400, 80, 60, 50
_LABELS = 8


def check_picture(path: Path) -> None:
    """Raise :class:`UsageError` for a picture that cannot be drawn."""
    kind = path.suffix.lower()
    if kind not in (".svg", ".png"):
        raise UsageError(f"--plot: {path}: what kind of picture is that? use a name that ends in .svg or .png")
    if kind == ".png" and importlib.util.find_spec("matplotlib") is None:
        raise UsageError(
            "--plot: a PNG needs matplotlib: pip install 'llmdispatcher[plot]'; a name that ends in .svg needs nothing"
        )


def draw_picture(path: Path, points: Sequence[Point], *, title: str) -> None:
    """Write a picture that can be drawn: :func:`check_picture`."""
    if path.suffix.lower() == ".svg":
        path.write_text(svg(points, title), encoding="utf-8")
    else:
        _png(path, points, title)


def svg(points: Sequence[Point], title: str) -> str:
    """Return an SVG with a bar for each period, whose tooltip is the amount."""
    most = max([amount for _, amount in points] or [Decimal(0)]) or Decimal(1)
    room = (_WIDTH - _LEFT - 20) / max(1, len(points))
    every = max(1, -(-len(points) // _LABELS))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="28">{escape(title)}</text>',
        *_axis(most),
        *[line for place, point in enumerate(points) for line in _bar(place, point, room, most, named=place % every == 0)],
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _axis(most: Decimal) -> list[str]:
    floor = _HEIGHT - _BOTTOM
    lines = []
    for part in range(5):
        y = floor - part * (floor - _TOP) / 4
        amount = most * part / 4
        lines.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">${dollars_text(amount)}</text>')
    return lines


def _bar(place: int, point: Point, room: float, most: Decimal, *, named: bool) -> list[str]:
    name, amount = point
    floor = _HEIGHT - _BOTTOM
    height = float(amount / most) * (floor - _TOP)
    x, wide = _LEFT + place * room + room * 0.1, room * 0.8
    title = f"<title>{escape(name)}: ${amount:f}</title>"
    lines = [f'<rect x="{x:.1f}" y="{floor - height:.1f}" width="{wide:.1f}" height="{height:.1f}" fill="#4472c4">{title}</rect>']
    if named:
        lines.append(f'<text x="{x + wide / 2:.1f}" y="{floor + 20}" text-anchor="middle">{escape(name)}</text>')
    return lines


def _png(path: Path, points: Sequence[Point], title: str) -> None:
    figures: Any = import_module("matplotlib.figure")
    figure = figures.Figure(figsize=(9.6, 4), layout="constrained")
    axes = figure.subplots()
    axes.bar([name for name, _ in points], [float(amount) for _, amount in points], color="#4472c4")
    axes.set_title(title, fontsize=9)
    axes.set_ylabel("US$")
    every = max(1, -(-len(points) // _LABELS))
    axes.set_xticks(range(0, len(points), every))
    figure.savefig(path, format="png", dpi=100)


_BARS = "▁▂▃▄▅▆▇█"


def sparkline(amounts: Sequence[Decimal], width: int) -> str:
    """Draw a bar for each amount, from 0 to the greatest; more amounts than *width* are drawn as the means of equal shares."""
    count = min(len(amounts), width)
    edges = [place * len(amounts) // count for place in range(count + 1)] if count else []
    heights = [float(sum(amounts[begin:end])) / (end - begin) for begin, end in itertools.pairwise(edges)]
    most = max([0.0, *heights]) or 1.0
    return "".join([_BARS[math.ceil(max(0.0, height) / most * (len(_BARS) - 1))] for height in heights])


_PERIODS = ("day", "week", "month")
_BY = ("model", "vendor", "origin", "alias", "user", "tag")


@make_command(
    "usage",
    examples=(
        "llmdispatcher usage",
        "llmdispatcher usage --days 7 --by user",
        "llmdispatcher usage --group-by month --start 2026-01-01 --csv > usage.csv",
        "llmdispatcher usage --group-by day --plot usage.svg",
        "llmdispatcher usage --by model --json",
    ),
)
@click.option("--days", type=COUNT, default=30, show_default=True, metavar="N", help="The last N days, without --start and --end.")
@click.option("--group-by", type=click.Choice(_PERIODS), help="A line for each period.")
@click.option("--by", type=click.Choice(_BY), help="A line for each value of this.  [default: model, without --group-by]")
@records.with_filters
@click.option(
    "--timezone", default="UTC", show_default=True, metavar="ZONE", help="The time zone of the days, such as Europe/Zurich."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--plot", type=FILE, metavar="FILE", help="Draw the cost of each period; .svg, or .png with the extra `plot`.")
def command(settings: Settings, **given: Any) -> int:
    """Show the number of calls, their tokens and their cost, from the ledger.

    On a terminal a row of bars shows the cost of each day. Calls without a known price cost 0 here, and their number is shown.
    """
    by = given["by"] or (None if given["group_by"] else "model")
    asked = records.filters_of(given) | {"days": given["days"], "timezone": given["timezone"]}
    if given["plot"] is not None:
        check_picture(given["plot"])
    with records.open_ledger(settings) as ledger:
        stats = ledger.get_usage_stats(**asked, group_by=given["group_by"], by=by)
        drawn = given["plot"] is not None or sys.stdout.isatty()
        course = ledger.get_usage_stats(**asked, group_by=given["group_by"] or "day") if drawn else stats
    if given["plot"] is not None:
        _draw(given["plot"], course, settings)
    if settings.json:
        tell_json(stats.as_dict())
    elif given["as_csv"]:
        _write_csv(stats)
    else:
        _show(stats, course, settings)
    return OK


def _show(stats: UsageStats, course: UsageStats, settings: Settings) -> None:
    heads = [head for head in (stats.group_by, stats.by) if head]
    heads += ["calls", "failed", "tokens in", "tokens out", "US$", "seconds"]
    rows = [_row(bucket, stats) for bucket in stats.buckets]
    if rows:
        print_rows([str(head) for head in heads], rows, no_color=settings.no_color)
    if sys.stdout.isatty() and course.buckets:
        tell(f"{sparkline([bucket.total_cost for bucket in course.buckets], width=60)}  US$ by {course.group_by}")
    tell(*closing(stats).split("\n"))


def closing(stats: UsageStats) -> str:
    """Return one sentence about the whole span."""
    parts = [
        f"{stats.total_calls:,} calls",
        f"{stats.input_tokens:,} tokens in, {stats.output_tokens:,} out",
        dollars(stats.total_cost),
    ]
    parts += [f"{stats.unpriced_calls:,} without a known price"] if stats.unpriced_calls else []
    parts += [] if stats.complete else ["a part of it was deleted by retention"]
    last = stats.end - timedelta(microseconds=1)  # the end itself does not belong to the span
    return f"{stats.start:%Y-%m-%d} to {last:%Y-%m-%d} ({stats.timezone}): {'; '.join(parts)}"


def _row(bucket: UsageBucket, stats: UsageStats) -> list[str]:
    names = [bucket.period or ""] if stats.group_by else []
    names += [plain(bucket.value or "–")] if stats.by else []
    failed = bucket.total_calls - bucket.successful_calls
    return [*names, f"{bucket.total_calls:,}", f"{failed:,}", f"{bucket.input_tokens:,}", f"{bucket.output_tokens:,}",
            dollars_text(bucket.total_cost, 4), cell(bucket.average_latency, ".2f")]  # fmt: skip


def _write_csv(stats: UsageStats) -> None:
    rows = [bucket.as_dict() for bucket in stats.buckets]
    heads = list(rows[0]) if rows else ["period", "value", "total_calls", "total_cost"]
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(heads)
    table.writerows([[_cell(row[head]) for head in heads] for row in rows])


def _cell(value: Any) -> Any:
    """Quote what a spreadsheet would take for a formula, and escape what would control a terminal."""
    if isinstance(value, str) and sys.stdout.isatty():
        value = escaped(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _draw(path: Path, course: UsageStats, settings: Settings) -> None:
    if not course.buckets:
        raise UsageError("--plot: no call matches, so there is nothing to draw; choose other filters")
    points = [(bucket.period or "", bucket.total_cost) for bucket in course.buckets]
    draw_picture(path, points, title=closing(course))
    if not settings.quiet:
        say(f"drawn: {path}")
