"""A row of numbers as a row of little bars, for people who look at a terminal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal

from .errors import InvalidRequest

BARS = "▁▂▃▄▅▆▇█"
"""Eight heights; ``"_.:-=+*#"`` does on a terminal without them."""

Number = float | Decimal


def sparkline(values: Iterable[Number | None], *, width: int | None = None, bars: str = BARS) -> str:
    """One character for each value; the tallest bar is the greatest value, the lowest is 0 (or the least, if that is negative).

    ``None`` and what is not finite is a blank. More values than ``width`` are drawn together, each character the mean of its
    share, so that a peak keeps its place. Raises :class:`~llmdispatcher.errors.InvalidRequest` for a width below 1 or no bars.
    """
    if width is not None and width < 1:
        raise InvalidRequest(f"width: {width!r} has no room; give at least 1")
    if not bars:
        raise InvalidRequest("bars: an empty text draws nothing; give characters from the lowest to the tallest")
    heights = [_height(value) for value in values]
    if width is not None and len(heights) > width:
        heights = [_mean(share) for share in _shares(heights, width)]
    known = [height for height in heights if height is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    return "".join([" " if height is None else bars[_step(height, low, high, len(bars))] for height in heights])


def _height(value: Number | None) -> float | None:
    if value is None:
        return None
    try:
        height = float(value)
    except (OverflowError, ValueError):  # an int beyond any float, a signalling NaN
        return None
    return height if math.isfinite(height) else None


def _shares(heights: Sequence[float | None], width: int) -> list[Sequence[float | None]]:
    edges = [place * len(heights) // width for place in range(width + 1)]
    return [heights[begin:end] for begin, end in itertools.pairwise(edges)]


def _mean(share: Sequence[float | None]) -> float | None:
    known = [height for height in share if height is not None]
    return math.fsum(height / len(known) for height in known) if known else None


def _step(height: float, low: float, high: float, steps: int) -> int:
    """Which bar: the lowest for the low end alone, so that a little is told from nothing."""
    share = (height / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.0
    return min(steps - 1, math.ceil(share * (steps - 1)))
