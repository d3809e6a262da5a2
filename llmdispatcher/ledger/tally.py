"""What a row of a call counts in the sums of its day."""

from __future__ import annotations

from typing import Any

from .rows import CALL, STATUS, Row
from .schema import DAILY_KEY, DAILY_SUMS, TOKENS
from .units import day_of

Days = dict[tuple[Any, ...], list[int]]
"""The sums, in their order, by day and key."""

_PLACES = {name: place for place, name in enumerate(CALL)}
_NUMBER = {name: place for place, name in enumerate(DAILY_SUMS)}
_BEGUN = _PLACES["begun_at"]
_KEY = tuple([_PLACES[name] for name in DAILY_KEY[1:]])
_COST, _FIRST = _PLACES["cost"], _PLACES["first_token_us"]
_SUMMED = tuple(
    [
        (_NUMBER[name], _PLACES[name])
        for name in ("cached", "streamed", "hedged", "attempts", *TOKENS, "cost", "latency_us", "first_token_us")
    ]
)
_CALLS, _UNPRICED, _FIRSTS = _NUMBER["calls"], _NUMBER["unpriced"], _NUMBER["first_tokens"]


def add(days: Days, row: Row, sign: int = 1) -> None:
    """Add what a row counts, or take it out again."""
    key = (day_of(row[_BEGUN]), *[row[place] or "" for place in _KEY])
    sums = days.get(key)
    if sums is None:
        sums = days[key] = [0] * len(DAILY_SUMS)
    sums[_CALLS] += sign
    sums[_NUMBER[row[STATUS]]] += sign
    for number, place in _SUMMED:
        amount = row[place]
        if amount:
            sums[number] += sign * amount
    if row[_COST] is None:
        sums[_UNPRICED] += sign
    if row[_FIRST] is not None:
        sums[_FIRSTS] += sign


def changes(days: Days) -> list[tuple[Any, ...]]:
    """What is to be added to the table; in one order for all, so that no two transactions wait for each other."""
    return [(*key, *days[key]) for key in sorted(days) if any(days[key])]
