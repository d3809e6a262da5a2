"""Rows of calls as a receipt certifies them: the facts and the digest of each call, the digest and the summary of all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Context, Decimal
from functools import reduce
from typing import Any

import attrs

from ...errors import InvalidRequest
from ..ledger.call import CALL as CALL_COLUMNS
from ..units import moment
from .format import CALL, canonical, digest, moment_text, money_text

ROW_FIELDS = CALL_COLUMNS
"""The columns of a call that its digest covers; the writer's id is not one of them.

Signed digests depend on this list: a new column needs another version of receipts.
"""

_EXACT = Context(prec=100)
"""Sums must not depend on a program's own decimal precision."""

_SHOWN = tuple([name for name in CALL if name != "total_tokens"])


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum of amounts."""
    return reduce(_EXACT.add, amounts, Decimal(0))


def facts_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON can hold it, exactly: times and costs as texts, metadata as the digest of its JSON.

    Times may be microseconds, costs picodollars, metadata a JSON text, as in the database. A value that cannot be read stays
    as it is, so that the digest differs.
    """
    facts = {name: row[name] for name in ROW_FIELDS}
    return facts | {name: convert(facts[name]) for name, convert in _FACTS.items() if facts[name] is not None}


def _moment(value: Any) -> Any:
    try:
        return moment_text(moment(value) if type(value) is int else value)
    except (OverflowError, AttributeError):
        return value


def _money(value: Any) -> Any:
    if type(value) is int:
        value = _EXACT.scaleb(Decimal(value), -12)
    return money_text(value) if isinstance(value, Decimal) else value


def _flag(value: Any) -> Any:
    return bool(value) if value in (0, 1) else value


def _metadata(value: Any) -> Any:
    """The digest of the JSON value, which may hold numbers without a canonical form."""
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
    return digest(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


_FACTS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("begun_at", "ended_at"), _moment),
    **dict.fromkeys(("streamed", "cached", "hedged"), _flag),
    "cost": _money,
    "metadata": _metadata,
}


def row_digest(facts: Mapping[str, Any]) -> str:
    """The digest of one row's facts."""
    return digest(canonical(facts))


def call_fields(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a single receipt shows of its call; the digest covers the others, such as the user."""
    return {**{name: facts[name] for name in _SHOWN}, "total_tokens": _tokens(facts)}


def _tokens(facts: Mapping[str, Any]) -> int:
    return (facts["input_tokens"] or 0) + (facts["output_tokens"] or 0)


def calls_digest(rows: Iterable[tuple[str, str]]) -> str:
    """The digest of ids and row digests in any order: one line for each, sorted by id."""
    total = hashlib.sha256()
    for call_id, one in sorted(rows):
        total.update(f"{call_id} {one}\n".encode())
    return f"sha256:{total.hexdigest()}"


@attrs.define
class _Sum:
    calls: int = 0
    tokens: int = 0
    cost: Decimal = Decimal(0)

    def add(self, facts: Mapping[str, Any], cost: Decimal) -> None:
        self.calls += 1
        self.tokens += _tokens(facts)
        self.cost = exact_sum((self.cost, cost))

    def as_dict(self) -> dict[str, Any]:
        return {"calls": self.calls, "tokens": self.tokens, "cost": money_text(self.cost)}


class CallTotals:
    """Sums up calls, one after the other."""

    def __init__(self) -> None:
        self._all = _Sum()
        self._input = self._output = self._unpriced = 0
        self._start = self._end = ""
        self._models: dict[str, _Sum] = {}
        self._aliases: dict[str, _Sum] = {}

    def add(self, facts: Mapping[str, Any]) -> None:
        """Add one row."""
        cost = Decimal(facts["cost"] or 0)
        self._input += facts["input_tokens"] or 0
        self._output += facts["output_tokens"] or 0
        self._unpriced += facts["cost"] is None
        begun = facts["begun_at"]
        self._start = min(self._start or begun, begun)
        self._end = max(self._end, begun)
        self._all.add(facts, cost)
        model = f"{facts['vendor']}:{facts['model']}" if facts["vendor"] else str(facts["model"])
        self._models.setdefault(model, _Sum()).add(facts, cost)
        if facts["alias"]:
            self._aliases.setdefault(facts["alias"], _Sum()).add(facts, cost)

    def summary(self) -> dict[str, Any]:
        """The field ``summary``; raises :class:`InvalidRequest` without a call."""
        if not self._all.calls:
            raise InvalidRequest("calls: there is none to certify; settle calls first, or choose others")
        return {
            "total_calls": self._all.calls,
            "input_tokens": self._input,
            "output_tokens": self._output,
            "total_tokens": self._all.tokens,
            "total_cost": money_text(self._all.cost),
            "unpriced_calls": self._unpriced,
            "start": self._start,
            "end": self._end,
            "by_model": {name: one.as_dict() for name, one in sorted(self._models.items())},
            "by_alias": {name: one.as_dict() for name, one in sorted(self._aliases.items())},
        }
