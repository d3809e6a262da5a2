"""Check a JSON value against a schema, and tell where it does not fit: the part of JSON Schema that responses and arguments need.

Supported are ``type``, ``enum``, ``const``, ``properties``, ``required``, ``additionalProperties``, ``items``, ``prefixItems``, the
limits of numbers, texts and lists, ``pattern``, ``anyOf``, ``oneOf``, ``allOf``, ``not`` and references within the schema; other
keywords are ignored. https://json-schema.org/draft/2020-12/json-schema-validation
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: not isinstance(value, bool) and (isinstance(value, int) or _is_whole(value)),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
_LIMITS: tuple[tuple[str, str, Callable[[Any, Any], bool], str], ...] = (
    ("minimum", "number", lambda value, limit: value >= limit, "is less than {}"),
    ("maximum", "number", lambda value, limit: value <= limit, "is more than {}"),
    ("exclusiveMinimum", "number", lambda value, limit: value > limit, "is not more than {}"),
    ("exclusiveMaximum", "number", lambda value, limit: value < limit, "is not less than {}"),
    ("minLength", "string", lambda value, limit: len(value) >= limit, "has fewer than {} characters"),
    ("maxLength", "string", lambda value, limit: len(value) <= limit, "has more than {} characters"),
    ("minItems", "array", lambda value, limit: len(value) >= limit, "has fewer than {} items"),
    ("maxItems", "array", lambda value, limit: len(value) <= limit, "has more than {} items"),
    ("pattern", "string", lambda value, limit: re.search(limit, value) is not None, "does not match {!r}"),
)
"""Keyword, the kind it is for, the test, and what is said where it fails."""


def mismatch(value: Any, schema: Any, name: str = "the answer") -> str | None:
    """What is wrong first, with its place below ``name``; ``None`` for a value that fits.

    The text holds what the schema says and kinds of values, never a value or a key of the value's own. A schema that is none,
    where a word has a value that it cannot have, demands nothing.
    """
    try:
        return next(_Check(schema).wrongs(value, schema, name), None)
    except RecursionError:
        return f"{name} or its schema is nested too deeply"
    except (TypeError, AttributeError, ValueError, re.error):
        return None


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def kind_of(value: Any) -> str:
    """JSON's word for the kind of a value."""
    return next((kind for kind, fits in _KINDS.items() if fits(value)), type(value).__name__)


class _Check:
    """One schema, to find what its references mean."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def wrongs(self, value: Any, schema: Any, at: str) -> Iterator[str]:
        """All that is wrong, one by one."""
        if schema is False:
            yield f"{at} must not be there"
        if not isinstance(schema, Mapping):
            return
        if "$ref" in schema:
            yield from self.wrongs(value, self._resolved(schema["$ref"]), at)
        wrong_kind = _wrong_kind(value, schema, at)
        if wrong_kind is not None:
            yield wrong_kind
            return
        yield from _choices(value, schema, at)
        yield from _limits(value, schema, at)
        if isinstance(value, dict):
            yield from self._members(value, schema, at)
        elif isinstance(value, list):
            yield from self._items(value, schema, at)
        yield from self._combined(value, schema, at)

    def _fits(self, value: Any, schema: Any) -> bool:
        return next(self.wrongs(value, schema, ""), None) is None

    def _resolved(self, reference: Any) -> Any:
        """What a reference within the schema means; one that leads nowhere demands nothing."""
        found = self._root
        for step in str(reference).removeprefix("#").split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            found = found.get(step) if isinstance(found, Mapping) else None
        return found

    def _members(self, value: dict[str, Any], schema: Mapping[str, Any], at: str) -> Iterator[str]:
        declared = schema.get("properties") or {}
        missing = [name for name in schema.get("required") or () if name not in value]
        if missing:
            yield f"{at} lacks {', '.join(map(repr, missing))}"
        for name, inner in declared.items():
            if name in value:
                yield from self.wrongs(value[name], inner, f"{at}.{name}")
        rest = schema.get("additionalProperties", True)
        others = [value[name] for name in value if name not in declared]
        if others and rest is False:
            yield f"{at} has a key that is not among {', '.join(map(repr, declared)) or 'none'}"
        elif isinstance(rest, Mapping):
            for other in others:
                yield from self.wrongs(other, rest, f"{at}.*")

    def _items(self, value: list[Any], schema: Mapping[str, Any], at: str) -> Iterator[str]:
        places = schema.get("prefixItems") or ()
        for number, item in enumerate(value):
            yield from self.wrongs(item, places[number] if number < len(places) else schema.get("items", True), f"{at}[{number}]")

    def _combined(self, value: Any, schema: Mapping[str, Any], at: str) -> Iterator[str]:
        for inner in schema.get("allOf") or ():
            yield from self.wrongs(value, inner, at)
        options = schema.get("anyOf")
        if options and not any(self._fits(value, option) for option in options):
            yield self._nearest(value, options, at)
        options = schema.get("oneOf")
        fitting = sum([self._fits(value, option) for option in options or ()])
        if options and fitting != 1:
            yield f"{at} fits {fitting} of its {len(options)} forms, not one" if fitting else self._nearest(value, options, at)
        if "not" in schema and self._fits(value, schema["not"]):
            yield f"{at} has a form that it must not have"

    def _nearest(self, value: Any, options: list[Any], at: str) -> str:
        """What is wrong by the only form of the value's own kind, or that there is no such form."""
        alike = [option for option in options if _wrong_kind(value, self._meant(option), at) is None]
        if len(alike) == 1:
            return next(self.wrongs(value, alike[0], at))
        return f"{at} fits none of its {len(options)} forms"

    def _meant(self, schema: Any) -> Mapping[str, Any]:
        found = self._resolved(schema["$ref"]) if isinstance(schema, Mapping) and "$ref" in schema else schema
        return found if isinstance(found, Mapping) else {}


def _wrong_kind(value: Any, schema: Mapping[str, Any], at: str) -> str | None:
    wanted = schema.get("type")
    kinds = [wanted] if isinstance(wanted, str) else wanted or []
    known = [kind for kind in kinds if kind in _KINDS]
    if not known or any(_KINDS[kind](value) for kind in known):
        return None
    return f"{at} is of kind {kind_of(value)}, not {' or '.join(known)}"


def _choices(value: Any, schema: Mapping[str, Any], at: str) -> Iterator[str]:
    if "enum" in schema and not any(_same(value, choice) for choice in schema["enum"]):
        yield f"{at} is not one of {', '.join(map(repr, schema['enum']))}"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{at} is not {schema['const']!r}"


def _limits(value: Any, schema: Mapping[str, Any], at: str) -> Iterator[str]:
    for keyword, kind, holds, told in _LIMITS:
        if keyword in schema and _KINDS[kind](value) and not holds(value, schema[keyword]):
            yield f"{at} {told.format(schema[keyword])}"


def _same(value: Any, other: Any) -> bool:
    """Equal as JSON: True is not 1."""
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)
