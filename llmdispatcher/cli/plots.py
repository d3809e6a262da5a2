"""Pictures of costs over time: a line for each series, as an SVG that is written here, or a PNG where matplotlib is installed."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import attrs

from .._text import escaped
from .tables import money_cells
from .terminal import UsageError

_MOST_SERIES = 8
_LABELS = 8
_MOST_MARKED = 62
"""Periods up to which each amount has a dot."""
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a4fbf", "#222222", "#888888")
"""Of Okabe and Ito, told apart by colour-blind readers, too; the last one is that of all others together."""

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BOTTOM, _TOP = 960, 440, 90, 250, 64, 64


@attrs.frozen(kw_only=True)
class Plot:
    """US dollars by period: ``series`` has the amounts of each name, one for each of ``periods``."""

    title: str
    subtitle: str
    axis: str
    """What the periods are, such as "day (UTC)"."""
    unit: str
    """What the amounts are, such as "US$ per day"."""
    periods: Sequence[str]
    series: Mapping[str, Sequence[Decimal]]

    def draw(self, path: Path) -> None:
        """Write the picture; :func:`check_picture` says whether it can be drawn."""
        if path.suffix.lower() == ".svg":
            path.write_text(self.svg(), encoding="utf-8")
        else:
            self._png(path)

    def _lines(self) -> list[tuple[str, Sequence[Decimal], str]]:
        """The name with its sum, the amounts and the colour of each line: the dearest first, the smallest ones as one."""
        ordered = sorted(self.series.items(), key=lambda one: (-sum(one[1]), one[0]))
        shown, rest = ordered[:_MOST_SERIES], ordered[_MOST_SERIES:]
        if len(rest) == 1:
            shown, rest = ordered, []
        if rest:
            sums = [sum(amounts, Decimal(0)) for amounts in zip(*[amounts for _, amounts in rest], strict=True)]
            shown = [*shown, (f"{len(rest)} others", sums)]
        totals, _ = money_cells([sum(amounts, Decimal(0)) for _, amounts in shown])
        names = [f"{escaped(name)}: US$ {total}" for (name, _), total in zip(shown, totals, strict=True)]
        return [(name, amounts, colour) for name, (_, amounts), colour in zip(names, shown, _COLOURS, strict=False)]

    def _labelled(self) -> range:
        """The places of the periods that have a label."""
        return range(0, len(self.periods), max(1, -(-len(self.periods) // _LABELS)))

    def svg(self) -> str:
        """Return an SVG whose dots have the amounts as their tooltips."""
        lines = self._lines()
        ticks = ticks_of(max([amount for _, amounts, _ in lines for amount in amounts], default=Decimal(0)))
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="13">',
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
            _svg_text(_LEFT, 26, self.title, 'font-size="16" font-weight="bold"'),
            _svg_text(_LEFT, 46, self.subtitle, 'fill="#555"'),
            _svg_text(20, (_HEIGHT - _BOTTOM + _TOP) / 2, self.unit, _turned(20, (_HEIGHT - _BOTTOM + _TOP) / 2)),
            _svg_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 14, self.axis, 'text-anchor="middle"'),
        ]
        for amount, text in zip(ticks, money_cells(ticks)[0], strict=True):
            y = _y(amount, ticks[-1])
            parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
            parts.append(_svg_text(_LEFT - 8, y + 4, text, 'text-anchor="end"'))
        for place in self._labelled():
            x, floor = self._x(place), _HEIGHT - _BOTTOM
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 5}" stroke="#888"/>')
            parts.append(_svg_text(x, floor + 20, self.periods[place], 'text-anchor="middle"'))
        for number, line in enumerate(lines):
            parts += [*self._svg_line(line, ticks[-1]), *_svg_legend(number, line)]
        return "\n".join([*parts, "</svg>"]) + "\n"

    def _x(self, place: int) -> float:
        wide = _WIDTH - _RIGHT - _LEFT
        return _LEFT + (wide / 2 if len(self.periods) == 1 else 12 + place * (wide - 24) / (len(self.periods) - 1))

    def _svg_line(self, line: tuple[str, Sequence[Decimal], str], most: Decimal) -> list[str]:
        name, amounts, colour = line
        points = [(self._x(place), _y(amount, most)) for place, amount in enumerate(amounts)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
        for (x, y), period, amount in zip(points, self.periods, amounts, strict=True):
            tip = escape(f"{period}, {name.rpartition(': US$ ')[0]}: US$ {amount.normalize():f}")
            size = 3 if len(amounts) <= _MOST_MARKED else 1.5
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{colour}"><title>{tip}</title></circle>')
        return parts

    def _png(self, path: Path) -> None:
        matplotlib: Any = import_module("matplotlib")
        figures: Any = import_module("matplotlib.figure")
        # Names are no formulas between dollar signs. A font may lack letters of a name, which are drawn as boxes.
        with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            figure = figures.Figure(figsize=(9.6, 4.4), layout="constrained")
            figure.suptitle(f"{self.title}\n{self.subtitle}", fontsize=10, x=0.01, horizontalalignment="left")
            drawn, names = self._png_lines(figure.subplots())
            figure.legend(drawn, names, loc="outside right upper", frameon=False, fontsize=9)
            figure.savefig(path, format="png", dpi=100)

    def _png_lines(self, axes: Any) -> tuple[list[Any], list[str]]:
        """Draw the lines and the axes; returns the lines with their names."""
        lines, places = self._lines(), list(self._labelled())
        ticks = ticks_of(max([amount for _, amounts, _ in lines for amount in amounts], default=Decimal(0)))
        drawn = [
            axes.plot(range(len(self.periods)), [float(one) for one in amounts], color=colour, marker="o", markersize=3.5)[0]
            for _, amounts, colour in lines
        ]
        axes.set_xlabel(self.axis)
        axes.set_ylabel(self.unit)
        labels = [self.periods[place] for place in places]
        axes.set_xticks(places, labels, rotation=30, horizontalalignment="right", rotation_mode="anchor")
        axes.set_yticks([float(tick) for tick in ticks], money_cells(ticks)[0])
        axes.set_ylim(0, float(ticks[-1]))
        axes.grid(axis="y", color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
        texts = ["\n".join(_legend(name)) for name, _, _ in lines]
        return drawn, [f" {text}" if text.startswith("_") else text for text in texts]  # it leaves out what begins with _


def check_picture(path: Path) -> None:
    """Raise :class:`UsageError` for a picture that cannot be drawn."""
    kind = path.suffix.lower()
    if kind not in (".svg", ".png"):
        raise UsageError(f"--plot: {path}: what kind of picture is that? use a name that ends in .svg or .png")
    if kind == ".png" and importlib.util.find_spec("matplotlib") is None:
        raise UsageError(
            "--plot: a PNG needs matplotlib: pip install 'llmdispatcher[plot]'; a name that ends in .svg needs nothing"
        )


def ticks_of(most: Decimal) -> list[Decimal]:
    """Return round amounts from 0 to the first that is not below ``most``, four to seven of them."""
    if most <= 0:
        return [Decimal(0), Decimal(1)]
    rough = most / 5
    unit = Decimal(1).scaleb(rough.adjusted())
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    count = int((most / step).to_integral_value(ROUND_CEILING))
    return [step * number for number in range(count + 1)]


def _y(amount: Decimal, most: Decimal) -> float:
    floor = _HEIGHT - _BOTTOM
    return floor - float(amount / most) * (floor - _TOP)


def _svg_text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'


def _turned(x: float, y: float) -> str:
    return f'text-anchor="middle" transform="rotate(-90 {x:.1f} {y:.1f})"'


def _svg_legend(number: int, line: tuple[str, Sequence[Decimal], str]) -> list[str]:
    """A line of the legend, with the whole name in its tooltip."""
    name, _, colour = line
    x, y = _WIDTH - _RIGHT + 16, _TOP + 8 + number * 36
    shown, amount = _legend(name)
    return [
        f'<line x1="{x}" x2="{x + 18}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>',
        f'<text x="{x + 26}" y="{y + 4}">{escape(shown)}<title>{escape(name)}</title></text>',
        _svg_text(x + 26, y + 20, amount, 'fill="#555" font-size="12"'),
    ]


def _legend(name: str) -> tuple[str, str]:
    """The two lines of a name with its sum; a name that is too long is cut in its middle."""
    model, _, amount = name.rpartition(": ")
    return model if len(model) <= 30 else f"{model[:18]}…{model[-11:]}", amount
