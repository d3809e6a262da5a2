"""Routing rules: choose the first target by what the request says. The cost of a look-up does not grow with the rules."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Mapping
from fnmatch import translate
from typing import Any

import attrs

from ..catalog import CAPABILITIES
from ..errors import ConfigError
from ..types import (
    Request,
    Texts,
    at_least,
    boolean,
    build,
    choices,
    integer,
    mapping,
    non_blank,
    non_negative_integer,
    optional_model,
    optional_non_blank,
    string_tuple,
    suggest,
)

_REMEMBERED = 4096
_GLOB = re.compile(r"[*?\[]")
_ABSENT = object()


def _capabilities(_instance: Any, _attribute: Any, value: tuple[str, ...]) -> None:
    for name in value:
        if name not in CAPABILITIES:
            raise ConfigError(f"requires: {name!r} is not a capability; {choices(name, CAPABILITIES, 'use {}')}")


def _comparable(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    mapping(instance, attribute, value)
    for key, wanted in value.items():
        if not isinstance(wanted, Hashable):
            raise ConfigError(
                f"metadata[{key!r}]: a {type(wanted).__name__} cannot be compared; use a text, a number or a truth value"
            )


def _requires(value: Texts) -> tuple[str, ...]:
    return string_tuple("requires", value)


def _condition(value: RoutingCondition | Mapping[str, Any] | None) -> RoutingCondition:
    return RoutingCondition() if value is None else build(RoutingCondition, value, "condition")


@suggest
@attrs.frozen(kw_only=True)
class RoutingCondition:
    """What a request must be like; an absent field asks for nothing, an empty condition matches everything.

    ``model_pattern`` is a glob on the model's name. ``max_tokens`` and ``temperature`` are upper bounds: a request that says
    less, or nothing, is within them, and a bound of 0 is none. ``requires`` names capabilities that the request uses, words of
    :data:`~llmdispatcher.catalog.CAPABILITIES`; ``metadata`` must be contained in the request's.
    """

    model_pattern: str | None = attrs.field(default=None, validator=optional_non_blank)
    max_tokens: int | None = attrs.field(default=None, validator=non_negative_integer)
    temperature: float | None = attrs.field(default=None, validator=at_least(0))
    user: str | None = attrs.field(default=None, validator=optional_non_blank)
    requires: tuple[str, ...] = attrs.field(default=(), converter=_requires, validator=_capabilities)
    metadata: Mapping[str, Hashable] = attrs.field(factory=dict, validator=_comparable)

    def admits(self, request: Request, needs: frozenset[str]) -> bool:
        """Whether the request meets the condition; the table checks the model pattern, which it has compiled."""
        if self.user is not None and self.user != request.user:
            return False
        if self.max_tokens and request.max_tokens is not None and request.max_tokens > self.max_tokens:
            return False
        if self.temperature and request.temperature is not None and request.temperature > self.temperature:
            return False
        if not needs.issuperset(self.requires):
            return False
        return all(key in request.metadata and request.metadata[key] == value for key, value in self.metadata.items())


@suggest
@attrs.frozen(kw_only=True)
class RoutingRule:
    """Requests like ``condition`` go to ``vendor`` first; a higher ``priority`` is looked at earlier, ties in the order given.

    ``model``, where given, is what that vendor is asked for instead of the request's model; of an alias, those that are its own.
    """

    condition: RoutingCondition = attrs.field(factory=RoutingCondition, converter=_condition)
    vendor: str = attrs.field(validator=non_blank)
    priority: int = attrs.field(default=0, validator=integer)
    enabled: bool = attrs.field(default=True, validator=boolean)
    name: str | None = attrs.field(default=None, validator=optional_non_blank)
    model: str | None = attrs.field(default=None, validator=optional_model)

    @property
    def label(self) -> str:
        """What explanations call it."""
        return self.name or f"{self.condition.model_pattern or 'any model'} → {self.vendor}, priority {self.priority}"


class RuleTable:
    """The rules in order. It remembers which rules a request matches, by a key of what conditions look at (:meth:`_key`).

    Two requests for the same model on the same side of every bound, alike in every user and metadata value that a rule
    names, have the same key: all rules are judged for the first of them only. A new field of a condition must be in the key.
    """

    def __init__(self, rules: Iterable[RoutingRule] = ()) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: -rule.priority))
        conditions = [rule.condition for rule in self.rules]
        self._fits = [_matcher(condition.model_pattern) for condition in conditions]
        self._users = {condition.user for condition in conditions if condition.user is not None}
        self._most_tokens = sorted({condition.max_tokens for condition in conditions if condition.max_tokens})
        self._temperatures = sorted({condition.temperature for condition in conditions if condition.temperature})
        self._metadata = _values([condition.metadata for condition in conditions])
        self._matches: dict[tuple[Any, ...], tuple[RoutingRule, ...]] = {}

    def matching(self, request: Request, needs: frozenset[str]) -> tuple[RoutingRule, ...]:
        """The rules that the request matches, the most important first, disabled ones included."""
        if not self.rules:
            return ()
        key = self._key(request, needs)
        rules = self._matches.get(key)
        return rules if rules is not None else self._judge(key, request, needs)

    def _key(self, request: Request, needs: frozenset[str]) -> tuple[Any, ...]:
        """Everything of a request that a condition looks at, hashable. Requests with equal keys match the same rules."""
        return (
            request.model.strip(),
            request.user if request.user in self._users else None,
            bisect_left(self._most_tokens, request.max_tokens) if request.max_tokens is not None else 0,
            bisect_left(self._temperatures, request.temperature) if request.temperature is not None else 0,
            needs,
            tuple([_number(numbers, request.metadata.get(name, _ABSENT)) for name, numbers in self._metadata.items()])
            if self._metadata
            else (),
        )

    def _judge(self, key: tuple[Any, ...], request: Request, needs: frozenset[str]) -> tuple[RoutingRule, ...]:
        rules = tuple(
            rule
            for rule, fits in zip(self.rules, self._fits, strict=True)
            if fits(key[0]) and rule.condition.admits(request, needs)
        )
        if len(self._matches) >= _REMEMBERED:
            self._matches.clear()
        self._matches[key] = rules
        return rules


def _matcher(pattern: str | None) -> Callable[[str], Any]:
    if pattern is None:
        return lambda _model: True
    if not _GLOB.search(pattern):
        return pattern.__eq__
    return re.compile(translate(pattern)).match


def _values(wanted: Iterable[Mapping[str, Hashable]]) -> dict[str, dict[Hashable, int]]:
    """Each metadata key that a rule names, with a number for each value that a rule wants of it."""
    values: dict[str, dict[Hashable, int]] = {}
    for metadata in wanted:
        for key, value in metadata.items():
            numbers = values.setdefault(key, {})
            numbers.setdefault(value, len(numbers))
    return values


def _number(numbers: Mapping[Hashable, int], value: Any) -> int:
    """The number of a value; -1 for a value that no rule wants."""
    try:
        return numbers.get(value, -1)
    except TypeError:  # not hashable, so equal to none
        return -1
