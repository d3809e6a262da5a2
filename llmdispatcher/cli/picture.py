"""A picture of costs over time: bars in an SVG of our own, or a PNG where matplotlib is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from .terminal import UsageError

Point = tuple[str, Decimal]
"""A period's name, and US dollars."""

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 960, 400, 80, 60, 50
_LABELS = 8


def check(path: Path) -> None:
    """Complain about a picture that cannot be drawn before anything else is done."""
    kind = path.suffix.lower()
    if kind not in (".svg", ".png"):
        raise UsageError(f"--plot: {path}: what kind of picture is that? use a name that ends in .svg or .png")
    if kind == ".png" and importlib.util.find_spec("matplotlib") is None:
        raise UsageError(
            "--plot: a PNG needs matplotlib: pip install 'llmdispatcher[plot]'; a name that ends in .svg needs nothing"
        )


def draw(path: Path, points: Sequence[Point], *, title: str) -> None:
    """Write the picture."""
    check(path)
    if path.suffix.lower() == ".svg":
        path.write_text(svg(points, title), encoding="utf-8")
    else:
        _png(path, points, title)


def svg(points: Sequence[Point], title: str) -> str:
    """The picture as SVG: a bar for each period, each with its amount as its tooltip."""
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
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">${float(amount):.4g}</text>')
    return lines


def _bar(place: int, point: Point, room: float, most: Decimal, *, named: bool) -> list[str]:
    name, amount = point
    floor = _HEIGHT - _BOTTOM
    height = float(amount / most) * (floor - _TOP)
    x, wide = _LEFT + place * room + room * 0.1, room * 0.8
    told = f"<title>{escape(name)}: ${amount:f}</title>"
    lines = [f'<rect x="{x:.1f}" y="{floor - height:.1f}" width="{wide:.1f}" height="{height:.1f}" fill="#4472c4">{told}</rect>']
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
