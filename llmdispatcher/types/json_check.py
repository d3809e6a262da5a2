"""Check JSON values against schemas, and tell where they do not fit, in the words of the schema and never in those of the value.

:func:`schema_check` is for schemas of users. With the extra ``schema``, jsonschema-rs checks them: every keyword of the draft that
``$schema`` names (2020-12 without it), patterns in linear time, those with lookaround and references back up to a limit. It follows
references within the schema only. Without the extra, :func:`mismatch` checks the keywords in :data:`_KEYWORDS`, and a schema with
another one, or with a pattern that may take long, is refused. Schemas that are made of classes are always checked by
:func:`mismatch`. https://json-schema.org/draft/2020-12/json-schema-validation
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any
from urllib.parse import unquote

from ..errors import InvalidRequest
from .patterns import Costly, cheap_pattern

Check = Callable[[Any, str], str | None]
"""What is wrong with a value that has this name, or ``None``."""

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
    ("minProperties", "object", lambda value, limit: len(value) >= limit, "has fewer than {} keys"),
    ("maxProperties", "object", lambda value, limit: len(value) <= limit, "has more than {} keys"),
    ("pattern", "string", lambda value, limit: cheap_pattern(limit).search(value) is not None, "does not match {!r}"),
)
"""Keyword, the kind it is for, the test, and what is said where it fails."""


def mismatch(value: Any, schema: Any, name: str = "the answer") -> str | None:
    """What is wrong first, with its place below ``name``; ``None`` for a value that fits.

    The text holds what the schema says and kinds of values, never a value or a key of the value's own. ``schema`` has the keywords
    of :data:`_KEYWORDS`; others are ignored, and one that is none, where a word has a value that it cannot have, demands nothing.
    """
    try:
        return next(_Check(schema).wrongs(value, schema, name), None)
    except RecursionError:
        return f"{name} or its schema is nested too deeply"
    except _TooLong:
        return f"{name} takes too long to check: its schema has forms within forms"
    except (TypeError, AttributeError, ValueError):
        return None


def schema_check(schema: Any, field: str) -> Check:
    """The check of a schema, which is remembered.

    Raises :class:`InvalidRequest` with ``field``, place and remedy for one that cannot be checked: no JSON schema, a reference that
    leads out of it, and without the extra a keyword or pattern that needs it.
    """
    if isinstance(schema, Mapping) and schema and schema.keys().isdisjoint(SCHEMA_WORDS):
        raise InvalidRequest(f"{field}: none of its keys is a word of JSON Schema; see {_DRAFT}")
    try:
        text = json.dumps(schema, default=_plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{field}: it cannot be written as JSON ({error}); give a schema of plain dicts and lists") from None
    try:
        engine = import_module("jsonschema_rs")
    except ImportError:
        engine = None
    return _made(text, field, engine)


def _plain(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is in it")


@functools.lru_cache(maxsize=256)
def _made(text: str, field: str, engine: Any) -> Check:
    schema = json.loads(text)
    if engine is not None:
        return _Engine(engine, schema, field).mismatch
    _Demands(schema, field).check()
    return lambda value, name: mismatch(value, schema, name)


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def kind_of(value: Any) -> str:
    """JSON's word for the kind of a value."""
    return next((kind for kind, fits in _KINDS.items() if fits(value)), type(value).__name__)


def _resolved(root: Any, reference: str) -> Any:
    """What a reference within a schema means; ``None`` for one that leads nowhere."""
    found = root
    for step in unquote(reference.removeprefix("#")).split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            found = found.get(step) if isinstance(found, Mapping) else None
    return found


class _TooLong(Exception):
    """A check has taken more than :data:`_MOST_STEPS`."""


_MOST_STEPS = 500_000
"""Schemas that one value and what is in it are compared with; forms that refer to forms multiply them with each level."""


class _Check:
    """One schema, to find what its references mean."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._steps = 0

    def wrongs(self, value: Any, schema: Any, at: str) -> Iterator[str]:
        """All that is wrong, one by one."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise _TooLong
        if schema is False:
            yield f"{at} must not be there"
        if not isinstance(schema, Mapping):
            return
        if "$ref" in schema:
            yield from self.wrongs(value, _resolved(self._root, schema["$ref"]), at)
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
        found = _resolved(self._root, schema["$ref"]) if isinstance(schema, Mapping) and "$ref" in schema else schema
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
    """Equal as JSON, at every depth: True is not 1."""
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_same, value, other))
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(_same(value[name], other[name]) for name in value)
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def _is_schema(value: Any) -> bool:
    return isinstance(value, bool | dict)


def _are_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_schema, value))


def _are_named(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_schema, value.values()))


def _is_length(value: Any) -> bool:
    return _KINDS["integer"](value) and value >= 0


def _are_kinds(value: Any) -> bool:
    return bool(value) and all(isinstance(kind, str) and kind in _KINDS for kind in ([value] if isinstance(value, str) else value))


_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_OTHER_DRAFTS = frozenset(
    {
        "https://json-schema.org/draft/2019-09/schema",
        *[f"http://json-schema.org/draft-0{number}/schema" for number in (4, 6, 7)],
    }
)
"""Those that the extra knows."""
_KEYWORDS: Mapping[str, Callable[[Any], bool]] = {
    "$schema": lambda value: isinstance(value, str) and value.removesuffix("#") == _DRAFT,
    "$ref": lambda value: isinstance(value, str),
    "$defs": _are_named,
    "definitions": _are_named,
    "type": lambda value: isinstance(value, str | list) and _are_kinds(value),
    "enum": lambda value: isinstance(value, list),
    "const": lambda _value: True,
    "properties": _are_named,
    "required": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    "additionalProperties": _is_schema,
    "items": _is_schema,
    "prefixItems": _are_schemas,
    "minimum": _KINDS["number"],
    "maximum": _KINDS["number"],
    "exclusiveMinimum": _KINDS["number"],
    "exclusiveMaximum": _KINDS["number"],
    "minLength": _is_length,
    "maxLength": _is_length,
    "minItems": _is_length,
    "maxItems": _is_length,
    "minProperties": _is_length,
    "maxProperties": _is_length,
    "pattern": lambda value: isinstance(value, str),
    "anyOf": _are_schemas,
    "oneOf": _are_schemas,
    "allOf": _are_schemas,
    "not": _is_schema,
}
"""The keywords that :func:`mismatch` knows, and what values they may have."""
_ANNOTATIONS = frozenset(
    {
        "$comment",
        "contentEncoding",
        "contentMediaType",
        "default",
        "deprecated",
        "description",
        "discriminator",
        "example",
        "examples",
        "format",
        "propertyOrdering",
        "readOnly",
        "title",
        "writeOnly",
    }
)
"""Words that demand nothing; of ``format`` the draft says so. ``discriminator`` is OpenAPI's, ``propertyOrdering`` Google's."""
SCHEMA_WORDS = frozenset(
    {
        *_KEYWORDS,
        *_ANNOTATIONS,
        *_KINDS,
        *("$anchor", "$dynamicAnchor", "$dynamicRef", "$id", "$vocabulary", "contains", "contentSchema", "dependentRequired"),
        *("dependentSchemas", "else", "if", "maxContains", "minContains", "multipleOf", "patternProperties", "propertyNames"),
        *("then", "unevaluatedItems", "unevaluatedProperties", "uniqueItems"),
        *("$recursiveAnchor", "$recursiveRef", "additionalItems", "dependencies", "id"),  # of older drafts
    }
)
"""The words of JSON Schema: its keywords, and the kinds of values."""
_EXTRA = "install llmdispatcher[schema], which checks all of JSON Schema"


class _Demands:
    """Whether :func:`mismatch` understands all that a schema demands."""

    def __init__(self, root: Any, field: str) -> None:
        self._root = root
        self._field = field
        self._seen: set[int] = set()

    def check(self) -> None:
        """Raise :class:`InvalidRequest` for the first word that it does not understand."""
        todo = [(self._root, self._field)]
        while todo:
            schema, at = todo.pop()
            if isinstance(schema, bool) or id(schema) in self._seen:
                continue
            if not isinstance(schema, dict):
                raise InvalidRequest(f"{at}: {kind_of(schema)} is no JSON schema; give an object or a boolean")
            self._seen.add(id(schema))
            for word, value in schema.items():
                if word not in _ANNOTATIONS and not (word == "$id" and schema is self._root):
                    todo += self._inner(word, value, f"{at}.{word}")

    def _inner(self, word: str, value: Any, at: str) -> list[tuple[Any, str]]:
        """The schemas in a word's value, each with its place."""
        fits = _KEYWORDS.get(word)
        if word in ("$dynamicRef", "$recursiveRef") and isinstance(value, str):
            self._within(value, at)
        if fits is None:
            raise InvalidRequest(f"{at}: the keyword {word!r} is not checked without an extra; leave it out, or {_EXTRA}")
        if not fits(value):
            remedy = _EXTRA if isinstance(value, str) and value.removesuffix("#") in _OTHER_DRAFTS else "leave it out"
            what = f"{value!r} is not {_DRAFT!r}; {remedy}" if word == "$schema" else f"this is no value of {word!r}; see {_DRAFT}"
            raise InvalidRequest(f"{at}: {what}")
        if word == "pattern":
            self._search(value, at)
        if word == "$ref":
            return [(self._target(value, at), at)]
        if fits is _are_named:
            return [(inner, f"{at}.{name}") for name, inner in value.items()]
        if fits is _are_schemas:
            return [(inner, f"{at}[{number}]") for number, inner in enumerate(value)]
        return [(value, at)] if fits is _is_schema else []

    def _search(self, pattern: str, at: str) -> None:
        try:
            cheap_pattern(pattern)
        except Costly as costly:
            raise InvalidRequest(f"{at}: {pattern!r} is not checked without an extra: {costly}; simplify it, or {_EXTRA}") from None

    def _within(self, reference: str, at: str) -> None:
        """Raise where a reference leads out of the schema: no extra follows it, unless a part of the schema has this ``$id``."""
        if not reference.startswith("#") and not any(key in ("$id", "id") for key in _keys(self._root)):
            raise InvalidRequest(
                f"{at}: {reference!r} leads out of the schema and is never followed; put what it means under '$defs'"
            )

    def _target(self, reference: str, at: str) -> Any:
        self._within(reference, at)
        if reference != "#" and not reference.startswith("#/"):
            raise InvalidRequest(f"{at}: {reference!r} is not followed; refer to '#/$defs/...', or {_EXTRA}")
        found = _resolved(self._root, reference)
        if not _is_schema(found):
            raise InvalidRequest(f"{at}: {reference!r} leads to no schema; define it under '$defs'")
        return found


_SIZE = 1 << 18
"""Bytes of a compiled pattern; a search takes as many steps for each character at most as a pattern has states."""
_BACKTRACKS = 1_000
_MOST_WITH_LOOKAROUND = 65_536
"""Characters of all texts in a value, where patterns need more than the linear engine: searching them a thousand times takes half a
second, in which other threads wait."""
_MOST_TELLING = 6
"""Levels of a value in which the place of a mistake is looked for, where forms refer to forms: each level multiplies the places."""
_REFERRING = ('"$ref"', '"$dynamicRef"', '"$recursiveRef"')
_COMBINING = ('"anyOf"', '"oneOf"', '"allOf"', '"not"', '"if"', '"contains"', '"dependentSchemas"')
_SCHEMA_ONLY = frozenset(
    {
        "const",
        "enum",
        "type",
        "required",
        "pattern",
        "format",
        "multipleOf",
        "uniqueItems",
        "contains",
        *[row[0] for row in _LIMITS],
    }
)
"""Keywords of which jsonschema-rs says what the schema wants, and, its ``mask`` set, nothing of the value."""


def _refuse(address: str) -> Any:
    raise ValueError(f"{address} is not looked up")


class _Engine:
    """A schema that jsonschema-rs has compiled."""

    def __init__(self, library: Any, schema: Any, field: str) -> None:
        self._library = library
        self._limited = False
        try:
            linear = library.RegexOptions(size_limit=_SIZE, dfa_size_limit=_SIZE)
            self._validator = self._compiled(schema, linear)
        except library.ValidationError:
            self._limited = True
            limited = library.FancyRegexOptions(backtrack_limit=_BACKTRACKS, size_limit=_SIZE, dfa_size_limit=_SIZE)
            try:
                self._validator = self._compiled(schema, limited)
            except library.ValidationError as error:
                raise InvalidRequest(_unfit_schema(error, field)) from None
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequest(f"{field}: it is no JSON schema: {error}; see {_DRAFT}") from None
        text = json.dumps(schema)
        self._declared = frozenset(_names(schema))
        self._around = any(word in text for word in _REFERRING) and any(word in text for word in _COMBINING)

    def _compiled(self, schema: Any, patterns: Any) -> Any:
        return self._library.validator_for(schema, retriever=_refuse, pattern_options=patterns, mask="the value")

    def mismatch(self, value: Any, name: str) -> str | None:
        """What is wrong first: its place, the keyword, and what the schema wants."""
        depth, characters = _extent(value)
        if self._limited and characters > _MOST_WITH_LOOKAROUND:
            return f"{name} has more than {_MOST_WITH_LOOKAROUND} characters, too many for a pattern with lookaround"
        try:
            if self._validator.is_valid(value):
                return None
            if self._around and depth > _MOST_TELLING:
                return f"{name} does not fit its schema"
            return self._told(next(self._validator.iter_errors(value)), name)
        except (ValueError, RecursionError, StopIteration):
            return f"{name} cannot be checked"

    def _told(self, error: Any, name: str) -> str:
        at = name + "".join([f"[{step}]" if isinstance(step, int) else self._step(step) for step in error.instance_path])
        word = error.kind.name if error.kind.name != "falseSchema" else error.schema_path[-1] if error.schema_path else False
        if isinstance(error.kind, self._library.ValidationErrorKind.BacktrackLimitExceeded):
            return f"{at} takes too long to compare with its {word!r}; simplify the pattern"
        return f"{at} does not fit {word!r}" + (f": {error.message}" if word in _SCHEMA_ONLY else "")

    def _step(self, key: str) -> str:
        return f".{key}" if key in self._declared else ".*"


def _unfit_schema(error: Any, field: str) -> str:
    """What is wrong with a schema, in words of its own."""
    at = ".".join([field, *map(str, error.instance_path)])
    if error.kind.name == "$ref" or "referencing" in type(error.kind).__name__.lower():
        return f"{at}: a reference or '$schema' leads out of it, or nowhere, and is not followed; put what it means under '$defs'"
    if type(error.kind).__name__ == "Format":
        return f"{at}: the pattern is no regular expression of ECMA-262, or too large; simplify it"
    return f"{at}: it is no JSON schema ({error.kind.name!r}); see {_DRAFT}"


def _keys(value: Any) -> Iterator[str]:
    """All keys, at every depth."""
    todo = [value]
    while todo:
        inner = todo.pop()
        if isinstance(inner, dict):
            yield from inner
            todo += inner.values()
        elif isinstance(inner, list):
            todo += inner


def _names(schema: Any) -> Iterator[str]:
    """The names of members that a schema says itself."""
    todo = [schema]
    while todo:
        inner = todo.pop()
        if isinstance(inner, dict):
            yield from inner.get("properties", ()) if isinstance(inner.get("properties"), dict) else ()
            todo += inner.values()
        elif isinstance(inner, list):
            todo += inner


def _extent(value: Any) -> tuple[int, int]:
    """How many levels a value has, and how many characters its texts and keys."""
    depth, characters, level = 0, 0, [value]
    while level:
        depth += 1
        characters += sum([len(inner) for inner in level if isinstance(inner, str)])
        characters += sum([len(key) for inner in level if isinstance(inner, dict) for key in inner])
        level = [
            one
            for inner in level
            if isinstance(inner, dict | list)
            for one in (inner.values() if isinstance(inner, dict) else inner)
        ]
    return depth, characters
