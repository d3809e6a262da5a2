"""Amounts as bars of text."""

from __future__ import annotations

import pytest

from llmdispatcher.cli.commands.usage import sparkline

CASES = {
    "eight even steps are the eight bars": (range(8), "▁▂▃▄▅▆▇█"),
    "a row without any cost is flat, not full": ([0, 0, 0], "▁▁▁"),
    "a little is not nothing": ([0, 1, 1_000_000], "▁▂█"),
    "the base is 0, not the least amount": ([5, 5], "██"),
    "amounts keep their places, and shares are means": ([0] * 8 + [9] * 4 + [0] * 4, "▁▁▁▁██▁▁"),
    "no amounts, no bars": ([], ""),
}


@pytest.mark.parametrize(("amounts", "bars"), CASES.values(), ids=CASES)
def test_amounts_are_bars(amounts, bars):
    """In the order of time, never more than there is room for."""
    assert bars == sparkline(amounts, width=8)
