"""Routing rules: who is asked first, by what the request says. The cost of a look-up does not grow with the rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import attrs

from ..errors import ConfigError
from ..types import Request
from . import checks

CAPABILITIES = ("streaming", "vision", "tools")
_REMEMBERED_MODELS = 1024


def _capabilities(_instance: Any, _attribute: Any, value: tuple[str, ...]) -> None:
    for name in value:
        if name not in CAPABILITIES:
            raise ConfigError(f"requires: {name!r} is not a capability; use {', '.join(CAPABILITIES)}")


def _condition(value: Any) -> RoutingCondition:
    return checks.build(RoutingCondition, value, "condition")


@attrs.frozen(kw_only=True)
class RoutingCondition:
    """What a request must be like; an absent field asks for nothing, an empty condition matches everything.

    ``model_pattern`` is a glob on the model's name. ``max_tokens`` and ``temperature`` are upper bounds: a request that says less,
    or nothing, is within them. ``requires`` names capabilities that the request uses ("streaming", "vision", "tools");
    ``metadata`` must be contained in the request's.
    """

    model_pattern: str | None = None
    max_tokens: int | None = attrs.field(default=None, validator=checks.whole)
    temperature: float | None = attrs.field(default=None, validator=checks.at_least(0))
    user: str | None = None
    requires: tuple[str, ...] = attrs.field(default=(), converter=tuple, validator=_capabilities)
    metadata: Mapping[str, Any] = attrs.field(factory=dict)

    def admits(self, request: Request, needs: frozenset[str]) -> bool:
        """Whether the request is like this, model pattern and user aside (the table has looked at those)."""
        if self.max_tokens and request.max_tokens is not None and request.max_tokens > self.max_tokens:
            return False
        if self.temperature and request.temperature is not None and request.temperature > self.temperature:
            return False
        return needs.issuperset(self.requires) and self.metadata.items() <= request.metadata.items()


@attrs.frozen(kw_only=True)
class RoutingRule:
    """Requests like ``condition`` go to ``vendor`` first; a higher ``priority`` is looked at earlier, ties in the order given."""

    condition: RoutingCondition = attrs.field(factory=RoutingCondition, converter=_condition)
    vendor: str = attrs.field(validator=checks.name)
    priority: int = 0
    enabled: bool = True
    name: str | None = None

    @property
    def label(self) -> str:
        """What explanations call it."""
        return self.name or f"{self.condition.model_pattern or 'any model'} → {self.vendor}, priority {self.priority}"


@attrs.frozen
class _Shelf:
    """The rules that one model name can match: those for everybody, and for each named user those and his own."""

    anybody: tuple[RoutingRule, ...]
    by_user: Mapping[str, tuple[RoutingRule, ...]]


class RuleTable:
    """The enabled rules in order, looked up by model and user before any condition is judged."""

    def __init__(self, rules: Iterable[RoutingRule] = ()) -> None:
        self.rules = tuple(sorted((rule for rule in rules if rule.enabled), key=lambda rule: -rule.priority))
        self._shelves: dict[str, _Shelf] = {}

    def matching(self, request: Request, needs: frozenset[str]) -> list[RoutingRule]:
        """The rules that the request matches, the most important first."""
        if not self.rules:
            return []
        shelf = self._shelves.get(request.model) or self._shelve(request.model)
        rules = shelf.by_user.get(request.user, shelf.anybody) if request.user is not None else shelf.anybody
        return [rule for rule in rules if rule.condition.admits(request, needs)]

    def _shelve(self, model: str) -> _Shelf:
        if len(self._shelves) >= _REMEMBERED_MODELS:
            self._shelves.clear()
        fitting = [rule for rule in self.rules if _fits(rule.condition.model_pattern, model)]
        users = {rule.condition.user for rule in fitting} - {None}
        shelf = _Shelf(
            anybody=tuple(rule for rule in fitting if rule.condition.user is None),
            by_user={user: tuple(rule for rule in fitting if rule.condition.user in (None, user)) for user in users if user},
        )
        self._shelves[model] = shelf
        return shelf


def _fits(pattern: str | None, model: str) -> bool:
    return pattern is None or fnmatchcase(model, pattern)
