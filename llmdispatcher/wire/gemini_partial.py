"""Arguments of a call that Google streams in pieces, put together. https://ai.google.dev/api/caching#FunctionCall"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{1,4})\]|\[(?:'([^']*)'|\"([^\"]*)\")\]")
_VALUES = ("stringValue", "numberValue", "boolValue")
_MOST_STEPS = 64


class Arguments:
    """The object that grows piece by piece: each piece names a place in it, and a value or the next words of a text."""

    __slots__ = ("_open", "_root")

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._root: dict[str, Any] = dict(given)
        self._open: str | None = None  # the place of a text that goes on

    def add(self, piece: Mapping[str, Any]) -> None:
        """Take in a piece; one that names no place is left out."""
        path = piece.get("jsonPath")
        steps = _steps(path) if isinstance(path, str) else []
        if not steps or not isinstance(path, str) or not ("nullValue" in piece or any(name in piece for name in _VALUES)):
            return
        value = next((piece[name] for name in _VALUES if name in piece), None)
        goes_on = self._open == path and isinstance(value, str)
        self._put(steps, value, append=goes_on)
        self._open = path if piece.get("willContinue") is True else None

    def _put(self, steps: list[str | int], value: Any, *, append: bool) -> None:
        place: Any = self._root
        for step, following in pairwise(steps):
            inner = _at(place, step)
            if not isinstance(inner, list if isinstance(following, int) else dict):
                inner = [] if isinstance(following, int) else {}
                _set(place, step, inner)
            place = inner
        known = _at(place, steps[-1])
        _set(place, steps[-1], known + value if append and isinstance(known, str) else value)

    def value(self) -> dict[str, Any]:
        """The object so far."""
        return self._root


def _steps(path: str) -> list[str | int]:
    """The names and numbers of ``$.a[0]['b']``; none where it is no such path."""
    found = list(_STEP.finditer(path, 1))
    if not path.startswith("$") or "".join([step.group() for step in found]) != path[1:] or len(found) > _MOST_STEPS:
        return []
    steps: list[str | int] = []
    for step in found:
        dotted, number, single, double = step.groups()
        steps.append(int(number) if number is not None else next(name for name in (dotted, single, double) if name is not None))
    return steps if steps and isinstance(steps[0], str) else []


def _at(place: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return place[step] if step < len(place) else None
    return place.get(step)


def _set(place: Any, step: str | int, value: Any) -> None:
    if isinstance(step, int):
        place.extend([None] * (step + 1 - len(place)))
    place[step] = value
