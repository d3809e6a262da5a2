"""What ``extra_params`` say of limits that cost money.

Limits of tokens have a name of their own at each vendor; they are known whatever the case, and with or without underscores.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

_LIMITS = frozenset(
    {
        "maxcompletiontokens",
        "maxgeneratedtokens",
        "maxgenlen",
        "maxlength",
        "maxnewtokens",
        "maxoutputtokens",
        "maxtokens",
        "maxtokenstosample",
        "maxtokencount",
        "npredict",
        "numpredict",
    }
)
_THOUGHTS = frozenset(
    {"budgettokens", "maxthinkingtokens", "mintokens", "reasoningbudget", "thinkingbudget", "thinkingtokenbudget"}
)
_ANSWERS = frozenset({"bestof", "candidatecount", "n", "numgenerations", "numresults", "numreturnsequences"})
_TELLING = _LIMITS | _THOUGHTS | _ANSWERS
_SETTINGS = frozenset(
    {"", "config", "extrabody", "generationconfig", "inferenceconfig", "modelkwargs", "options", "parameters", "samplingparams"}
)
"""Where vendors look for limits: at the top, and in groups of these names."""
_LONGEST = 40
"""Characters of a number that is written as a text."""
_MOST = 10**18
"""More than any answer has, and few enough to reckon with; Python's whole numbers have no end."""


@attrs.frozen(kw_only=True)
class Said:
    """What ``extra_params`` say of what an answer may cost."""

    limits: tuple[int, ...] = ()
    """Limits of an answer's tokens; a negative one means that there is no end."""
    others: tuple[int, ...] = ()
    """Numbers of tokens that are no limit of an answer, such as those for thoughts; they may make it longer, never shorter."""
    answers: int = 1

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Said:
        """Look at all levels; most requests have no ``extra_params``."""
        if not params:
            return _NOTHING
        limits: list[int] = []
        others: list[int] = []
        answers = [1]
        for group, name, number in _numbers(params):
            if name in _LIMITS and group in _SETTINGS:
                limits.append(number)
            elif name in _LIMITS or name in _THOUGHTS:
                others.append(number)
            elif name in _ANSWERS and group in _SETTINGS:
                answers.append(number)
        return cls(limits=tuple(limits), others=tuple(others), answers=max(answers))

    @property
    def endless(self) -> bool:
        """Whether one of the limits takes the end away, as -1 does for local servers."""
        return min(self.limits, default=0) < 0

    def most(self, max_tokens: int | None) -> int | None:
        """The largest limit of an answer's tokens, that of the request among them; ``None`` where there is none, or no end."""
        limits = self.limits if max_tokens is None else (max_tokens, *self.limits)
        return None if self.endless else max(limits, default=None)


_NOTHING = Said()


def _numbers(params: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """The whole numbers of those names in mappings and lists, each with its group and name, also where one is written as a text."""
    todo: list[tuple[str, str, Any]] = [("", "", params)]
    while todo:
        group, name, value = todo.pop()
        if value is None and name in _LIMITS:
            yield group, name, -1  # "null" takes the request's own limit away
        elif isinstance(value, str | int | float):  # most are; to ask for a Mapping takes longer
            if name in _TELLING and (number := _whole(value)) is not None:
                yield group, name, number
        elif isinstance(value, Mapping):
            todo += [(name, _plain(inner), one) for inner, one in value.items()]
        elif isinstance(value, list | tuple):
            todo += [(group, name, one) for one in value]


def _plain(name: Any) -> str:
    return str(name).replace("_", "").replace("-", "").lower()


def _whole(value: str | float) -> int | None:
    if isinstance(value, str):  # servers are lenient: "1e5" and " +100_000.0 " are numbers to some
        try:
            value = float(value) if len(value) <= _LONGEST else math.nan
        except ValueError:
            return None
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return min(math.ceil(value), _MOST)
