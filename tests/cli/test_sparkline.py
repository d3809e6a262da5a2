"""Numbers as bars of text."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdispatcher import InvalidRequest
from llmdispatcher.cli.commands.usage import BARS, sparkline


def test_bars_grow_with_the_values():
    """Eight even steps are the eight bars."""
    assert BARS == sparkline(range(8))


def test_zero_is_the_lowest_bar():
    """A row without anything is flat, not full."""
    assert "▁▁▁" == sparkline([0, 0, Decimal(0)])


def test_a_little_is_not_nothing():
    """One call beside a million shows."""
    assert "▁▂█" == sparkline([0, 1, 1_000_000])


def test_equal_values_are_equally_tall():
    """The base is 0, not the least of them."""
    assert "██" == sparkline([5, 5])


def test_negative_values_begin_at_the_least():
    """The lowest bar is the least value then."""
    assert "▁█" == sparkline([-3, 0])


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf, Decimal("NaN"), Decimal("sNaN"), 10**400])
def test_what_is_unknown_is_blank(unknown):
    """It has no height, and changes none of the others."""
    assert "▁ █" == sparkline([0, unknown, 2])


def test_narrow():
    """More values than columns are drawn as means, in their places."""
    assert "▁█▁" == sparkline([0, 0, 9, 9, 0, 0], width=3)


def test_wide_enough_is_left_alone():
    """A width that suffices changes nothing."""
    assert sparkline([1, 2, 3]) == sparkline([1, 2, 3], width=80)


def test_other_characters():
    """A terminal without the bars gets others."""
    assert "_.:#" == sparkline([0, 1, 2, 3], bars="_.:#")


def test_nothing():
    """No values, no bars."""
    assert "" == sparkline([])


@pytest.mark.parametrize("wrong", [{"width": 0}, {"bars": ""}])
def test_what_cannot_be_drawn(wrong):
    """The error names the field."""
    with pytest.raises(InvalidRequest, match=next(iter(wrong))):
        sparkline([1], **wrong)


@given(st.lists(st.floats() | st.integers() | st.decimals() | st.none()), st.integers(1, 40))
def test_any_numbers(values, width):
    """Whatever the numbers: as many characters as there is room for, the tallest for the greatest."""
    drawn = sparkline(values, width=width)

    assert min(len(values), width) == len(drawn)
    assert set(drawn) <= {" ", *BARS}
