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
from typing import Any, Protocol
from urllib.parse import unquote

from .._text import escaped
from ..errors import InvalidRequest
from .patterns import Costly, cheap_pattern

Late = Callable[[], bool]
"""Whether a check has no more time."""


class Check(Protocol):
    """The check of a schema."""

    def __call__(self, value: Any, name: str, late: Late | None = None) -> str | None:
        """The first mistake in a value of this name, or ``None``; as soon as ``late()`` is true, that the check takes too long."""


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
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


def mismatch(value: Any, schema: Any, name: str = "the answer", late: Late | None = None) -> str | None:
    """The first mistake, with its place below ``name``; ``None`` for a value that fits.

    It ends as soon as ``late()`` is true, which is asked every thousand steps, and after :data:`_MOST_STEPS`; then the text says
    that the check takes too long.

    The text holds what the schema says and kinds of values, never a value or a key of the value's own. ``schema`` has the keywords
    of :data:`_KEYWORDS`; others are ignored, and one that is none, where a word has a value that it cannot have, demands nothing.
    """
    try:
        return next(_Check(schema, late).wrongs(value, schema, name), None)
    except RecursionError:
        return f"{name} or its schema is nested too deeply"
    except _TooLong:
        return _too_long(name)
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
    return _build_check(text, field, engine)


def _plain(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is in it")


@functools.lru_cache(maxsize=256)
def _build_check(text: str, field: str, engine: Any) -> Check:
    schema = json.loads(text)
    if engine is not None:
        return _Engine(engine, schema, field).mismatch
    _Demands(schema, field).check()
    return lambda value, name, late=None: mismatch(value, schema, name, late)


_ARTICLES = {kind: f"{'an' if kind[0] in 'aio' else 'a'} {kind}" for kind in _KINDS if kind != "null"}


def kind_of(value: Any) -> str:
    """JSON's word for the kind of a value."""
    return next((kind for kind, fits in _KINDS.items() if fits(value)), type(value).__name__)


def _resolve(root: Any, reference: str) -> Any:
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
    """A check has taken more than :data:`_MOST_STEPS`, or its time is over."""


def _too_long(name: str) -> str:
    return f"{name} takes too long to check; simplify its schema, ask for less, or raise timeout="


_MOST_STEPS = 500_000
"""Pairs of a value and a schema that one check compares."""
_LOOK = 1_000
"""Steps between two looks at the clock."""
_APPLYING = frozenset({"$ref", "allOf", "anyOf", "oneOf", "not"})


class _Steps:
    """Counts the steps of a check, and ends it."""

    def __init__(self, late: Late | None) -> None:
        self._late = late
        self._pairs = 0
        self._since = 0

    def take(self, weight: int) -> None:
        """Count a pair that takes ``weight`` comparisons. Raises :class:`_TooLong`."""
        self._pairs += 1
        self._since += weight
        if self._since > _LOOK:
            self._since = 0
            if self._late is not None and self._late():
                raise _TooLong
        if self._pairs > _MOST_STEPS:
            raise _TooLong


class _Check:
    """One value and one schema: what its references mean, and which pairs are known, since forms within forms meet them again."""

    def __init__(self, root: Any, late: Late | None) -> None:
        self._root = root
        self._steps = _Steps(late)
        self._known: dict[tuple[int, int], tuple[bool, Any, Any]] = {}
        self._enums: dict[int, tuple[frozenset[Any], Any]] = {}
        self._forms: dict[int, tuple[Any, Any]] = {}
        self._tokens: dict[Any, Any] = {}

    def wrongs(self, value: Any, schema: Any, at: str | None) -> Iterator[str]:
        """Yield each mistake; without ``at`` the texts are empty, since only their presence counts."""
        if not isinstance(schema, Mapping):
            if schema is False:
                yield f"{at} must not be there"
            return
        key = (id(value), id(schema))
        fits, _value, _schema = self._known.get(key, (None, None, None))
        if fits or (fits is False and at is None):
            yield from () if fits else ("",)
            return
        self._steps.take(1 + len(schema.get("properties") or ()) + len(schema.get("required") or ()))
        keep = isinstance(value, dict | list) or not _APPLYING.isdisjoint(schema)
        fits = True
        for wrong in self._all(value, schema, at):
            fits = False
            if keep:
                self._known[key] = (False, value, schema)  # both stay alive, so that no other has their ids
            yield wrong
        if keep and fits:
            self._known[key] = (True, value, schema)

    def _all(self, value: Any, schema: Mapping[str, Any], at: str | None) -> Iterator[str]:
        if "$ref" in schema:
            yield from self.wrongs(value, _resolve(self._root, schema["$ref"]), at)
        wrong_kind = _wrong_kind(value, schema, at)
        if wrong_kind is not None:
            yield wrong_kind
            return
        yield from self._choices(value, schema, at)
        yield from _limits(value, schema, at)
        if isinstance(value, dict):
            yield from self._members(value, schema, at)
        elif isinstance(value, list):
            yield from self._items(value, schema, at)
        yield from self._combinations(value, schema, at)

    def _fits(self, value: Any, schema: Any) -> bool:
        return next(self.wrongs(value, schema, None), None) is None

    def _choices(self, value: Any, schema: Mapping[str, Any], at: str | None) -> Iterator[str]:
        if "enum" in schema and not self._is_among(value, schema["enum"]):
            yield "" if at is None else f"{at} is not one of {', '.join(map(repr, schema['enum']))}"
        if "const" in schema and self._form(value) != self._form(schema["const"]):
            yield "" if at is None else f"{at} is not {schema['const']!r}"

    def _is_among(self, value: Any, choices: Any) -> bool:
        forms, _kept = self._enums.get(id(choices), (None, None))
        if forms is None:
            forms = frozenset(map(self._form, choices))
            self._enums[id(choices)] = (forms, choices)
        return self._form(value) in forms

    def _form(self, value: Any) -> Any:
        """What has the same hash and is equal for values that are the same; lists and objects are looked through once."""
        if not isinstance(value, list | Mapping):
            return (bool, value) if isinstance(value, bool) else value
        form, _kept = self._forms.get(id(value), (None, None))
        if form is None:
            self._steps.take(1)
            if isinstance(value, list):
                parts: Any = (list, *map(self._form, value))
            else:
                parts = (dict, frozenset([(name, self._form(inner)) for name, inner in value.items()]))
            form = self._tokens.setdefault(parts, object())
            self._forms[id(value)] = (form, value)
        return form

    def _members(self, value: dict[str, Any], schema: Mapping[str, Any], at: str | None) -> Iterator[str]:
        declared = schema.get("properties") or {}
        missing = [name for name in schema.get("required") or () if name not in value]
        if missing:
            yield "" if at is None else f"{at} lacks {', '.join(map(repr, missing))}"
        for name, inner in declared.items():
            if name in value:
                yield from self.wrongs(value[name], inner, at and f"{at}.{escaped(name)}")
        rest = schema.get("additionalProperties", True)
        others = [value[name] for name in value if name not in declared]
        if others and rest is False:
            yield "" if at is None else f"{at} has a key that is not among {', '.join(map(repr, declared)) or 'none'}"
        elif isinstance(rest, Mapping):
            for other in others:
                yield from self.wrongs(other, rest, at and f"{at}.*")

    def _items(self, value: list[Any], schema: Mapping[str, Any], at: str | None) -> Iterator[str]:
        places = schema.get("prefixItems") or ()
        for number, item in enumerate(value):
            inner = places[number] if number < len(places) else schema.get("items", True)
            yield from self.wrongs(item, inner, at and f"{at}[{number}]")

    def _combinations(self, value: Any, schema: Mapping[str, Any], at: str | None) -> Iterator[str]:
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

    def _nearest(self, value: Any, options: list[Any], at: str | None) -> str:
        """The mistake by the only form of the value's own kind; where there is not one such form, a text that says so."""
        if at is None:
            return ""
        alike = [option for option in options if _wrong_kind(value, self._target_of(option), at) is None]
        if len(alike) == 1:
            return next(self.wrongs(value, alike[0], at))
        return f"{at} fits none of its {len(options)} forms"

    def _target_of(self, schema: Any) -> Mapping[str, Any]:
        found = _resolve(self._root, schema["$ref"]) if isinstance(schema, Mapping) and "$ref" in schema else schema
        return found if isinstance(found, Mapping) else {}


def _wrong_kind(value: Any, schema: Mapping[str, Any], at: str | None) -> str | None:
    wanted = schema.get("type")
    kinds = [wanted] if isinstance(wanted, str) else wanted or []
    known = [kind for kind in kinds if kind in _KINDS]
    if not known or any(_KINDS[kind](value) for kind in known):
        return None
    wanted = " or ".join([_ARTICLES.get(kind, kind) for kind in known])
    kind = kind_of(value)
    return f"{at} must be {wanted}, not {_ARTICLES.get(kind, kind)}"


def _limits(value: Any, schema: Mapping[str, Any], at: str | None) -> Iterator[str]:
    for keyword, kind, holds, told in _LIMITS:
        if keyword in schema and _KINDS[kind](value) and not holds(value, schema[keyword]):
            yield f"{at} {told.format(schema[keyword])}"


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
    {"https://json-schema.org/draft/2019-09/schema", *[f"http://json-schema.org/draft-0{number}/schema" for number in (4, 6, 7)]}
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
        *("$comment", "contentEncoding", "contentMediaType", "default", "deprecated", "description", "discriminator"),
        *("example", "examples", "format", "propertyOrdering", "readOnly", "title", "writeOnly"),
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
    """Checks that :func:`mismatch` understands all keywords of a schema."""

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
                    todo += self._inner(word, value, f"{at}.{escaped(word)}")

    def _inner(self, word: str, value: Any, at: str) -> list[tuple[Any, str]]:
        """The schemas in the value of a keyword, each with its place."""
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
            return [(inner, f"{at}.{escaped(name)}") for name, inner in value.items()]
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
        if not reference.startswith("#") and not any("$id" in inner or "id" in inner for inner in _objects(self._root)):
            raise InvalidRequest(
                f"{at}: {reference!r} leads out of the schema and is never followed; put what it means under '$defs'"
            )

    def _target(self, reference: str, at: str) -> Any:
        self._within(reference, at)
        if reference != "#" and not reference.startswith("#/"):
            raise InvalidRequest(f"{at}: {reference!r} is not followed; refer to '#/$defs/...', or {_EXTRA}")
        found = _resolve(self._root, reference)
        if not _is_schema(found):
            raise InvalidRequest(f"{at}: {reference!r} leads to no schema; define it under '$defs'")
        return found


_SIZE = 1 << 18
"""Bytes of a compiled pattern; a search takes as many steps for each character at most as a pattern has states."""
_BACKTRACKS = 1_000
_MOST_WITH_LOOKAROUND = 65_536
"""Characters of all texts in a value, where patterns need more than the linear engine: searching them a thousand times takes half a
second, in which other threads wait."""
_MOST_COMPARED = 2_000_000
"""Steps of jsonschema-rs, in which no other thread runs: a tenth of a second."""
_MOST_TELLING = 1_000
"""Steps of a check of which jsonschema-rs may tell the place: it keeps what is wrong by each form, some 10 kB a step."""
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_IN_PLACE = ("not", "if", "then", "else")
_LISTED = ("allOf", "anyOf", "oneOf")
_NAMED = ("dependentSchemas", "dependencies")
_COMBINING = ('"anyOf"', '"oneOf"', '"allOf"', '"not"', '"if"', '"contains"', '"dependentSchemas"')
_SCHEMA_ONLY = frozenset(
    {
        *("const", "enum", "type", "required", "pattern", "format", "multipleOf", "uniqueItems", "contains"),
        *[row[0] for row in _LIMITS],
    }
)
"""Keywords of which jsonschema-rs says what the schema wants, and, its ``mask`` set, nothing of the value."""


def _refuse(address: str) -> Any:
    raise ValueError(f"{address} is not looked up")


class _Work:
    """How many steps jsonschema-rs takes at most to compare a value with a schema, given that it remembers nothing.

    Each pair of a value and a schema is counted once here, and multiplied by how often it is met. A reference that may mean several
    schemas counts as all of them. A value that leads back to itself has no end, unless such a reference may have led there.
    """

    def __init__(self, schema: Any) -> None:
        self._resources = [schema]
        self._anchors: dict[str, list[Any]] = {}
        self._sizes: dict[int, int] = {}
        text = json.dumps(schema)
        self._in_circle = 0 if '"$dynamicRef"' in text or '"$recursiveRef"' in text else _ENDLESS
        self.combines = any(word in text for word in _COMBINING)
        self._wide = False
        self._objects = sum(1 for _inner in _objects(schema))
        self._refers = any(f'"{word}"' in text for word in _REFERENCES)
        for inner in _objects(schema):
            if isinstance(inner.get("$id", inner.get("id")), str) and inner is not schema:
                self._resources.append(inner)
                self._in_circle = 0
            for name in ("$anchor", "$dynamicAnchor"):
                if isinstance(inner.get(name), str):
                    self._anchors.setdefault(inner[name], []).append(inner)
            self._wide = self._wide or any(self._is_wide(inner.get(word)) for word in ("enum", "const"))

    def steps(self, value: Any, late: Late | None) -> int:
        """The steps, or :data:`_ENDLESS` for more than anybody waits for. Raises :class:`_TooLong`."""
        if not (self.combines or self._wide):
            return 1  # each value is compared once
        most = self._objects * _extent(value)[1]
        if not (self._refers or self._wide) and most < _MOST_COMPARED:
            return most
        counted = _Steps(late)
        root = (value, self._resources[0])
        known: dict[tuple[int, int], int] = {}
        opened: dict[tuple[int, int], tuple[int, list[tuple[Any, Any]], Any]] = {}
        todo = [root]
        while todo:
            pair = todo[-1]
            key = (id(pair[0]), id(pair[1]))
            if key in known:
                todo.pop()
            elif key not in opened:
                weight, parts = self._parts(*pair)
                counted.take(weight)
                opened[key] = (weight, parts, pair)
                todo += [one for one in parts if (id(one[0]), id(one[1])) not in known]
            else:
                weight, parts, _kept = opened[key]
                known[key] = min(weight + sum([known.get((id(one), id(inner)), self._in_circle) for one, inner in parts]), _ENDLESS)
                todo.pop()
        return known[id(value), id(root[1])]

    def _parts(self, value: Any, schema: Any) -> tuple[int, list[tuple[Any, Any]]]:
        """The steps that a pair takes itself, and the pairs in it."""
        if not isinstance(schema, dict):
            return 1, []
        inner = [schema[word] for word in _IN_PLACE if word in schema]
        for word in _LISTED:
            inner += _values(schema.get(word), list)
        for word in _NAMED:
            inner += _values(schema.get(word), dict)
        for word in _REFERENCES:
            inner += self._targets(schema.get(word))
        parts = [(value, one) for one in inner]
        if "unevaluatedItems" in schema or "unevaluatedProperties" in schema:
            parts += parts  # to know what they have evaluated
        if isinstance(value, dict):
            parts += _of_object(value, schema)
        elif isinstance(value, list):
            parts += _of_list(value, schema)
        return len(schema) + self._own_weight(value, schema), parts

    def _own_weight(self, value: Any, schema: dict[str, Any]) -> int:
        """Comparisons of keywords without schemas."""
        weight = len(_values(schema.get("required"), list))
        inside = isinstance(value, dict | list)
        weight += sum([self._size(schema.get(word)) for word in ("enum", "const") if inside or self._is_wide(schema.get(word))])
        return weight + len(value) if inside else weight

    def _is_wide(self, value: Any) -> bool:
        """Whether comparing with it takes more than one step: with a list of texts it does not."""
        return isinstance(value, dict | list) and self._size(value) > len(value) + isinstance(value, list)

    def _size(self, value: Any) -> int:
        if not isinstance(value, dict | list):
            return 1
        if id(value) not in self._sizes:
            self._sizes[id(value)] = _extent(value)[1]
        return self._sizes[id(value)]

    def _targets(self, reference: Any) -> list[Any]:
        """The schemas that a reference may mean, looked for in all resources, whatever their ``$id``."""
        if not isinstance(reference, str):
            return []
        place = reference.partition("#")[2]
        if place and not place.startswith("/"):
            return self._anchors.get(unquote(place), [])
        found = [_resolve(resource, f"#{place}") for resource in self._resources]
        return [one for one in found if _is_schema(one)]


_ENDLESS = 1 << 62


def _values(value: Any, kind: type[list[Any]] | type[dict[str, Any]]) -> list[Any]:
    if not isinstance(value, kind):
        return []
    return list(value.values()) if isinstance(value, dict) else value


def _of_object(value: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The pairs in an object."""
    declared = schema.get("properties")
    declared = declared if isinstance(declared, dict) else {}
    yield from [(value[name], inner) for name, inner in declared.items() if name in value]
    patterns = _values(schema.get("patternProperties"), dict)
    rest = [schema[word] for word in ("additionalProperties", "unevaluatedProperties") if isinstance(schema.get(word), dict)]
    for name, one in value.items():
        yield from [(one, inner) for inner in patterns]
        yield from [(one, inner) for inner in rest if name not in declared or inner is not schema.get("additionalProperties")]
        if isinstance(schema.get("propertyNames"), dict):
            yield name, schema["propertyNames"]


def _of_list(value: list[Any], schema: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The pairs in a list."""
    for word in ("prefixItems", "items"):
        yield from zip(value, _values(schema.get(word), list), strict=False)
    rest = [
        schema[word] for word in ("items", "additionalItems", "unevaluatedItems", "contains") if isinstance(schema.get(word), dict)
    ]
    for one in value:
        yield from [(one, inner) for inner in rest]


class _Engine:
    """A schema that jsonschema-rs has compiled.

    It cannot be interrupted. So its steps are counted beforehand, and where they are too many, or only the place of a mistake would
    take too long, :func:`mismatch` looks, if it understands the schema.
    """

    def __init__(self, library: Any, schema: Any, field: str) -> None:
        self._library = library
        self._limited = False
        self._schema = schema
        named = [inner["properties"] for inner in _objects(schema) if isinstance(inner.get("properties"), dict)]
        self._declared = frozenset().union(*named)
        self._work = _Work(schema)
        try:
            _Demands(schema, field).check()
            self._is_common = True
        except InvalidRequest:
            self._is_common = False
            if self._work.steps(None, None) > _MOST_COMPARED:
                raise InvalidRequest(
                    f"{field}: its forms refer to forms so often that no answer can be checked; simplify it"
                ) from None
        try:
            linear = library.RegexOptions(size_limit=_SIZE, dfa_size_limit=_SIZE)
            self._validator = self._compile(schema, linear)
        except library.ValidationError:
            self._limited = True
            limited = library.FancyRegexOptions(backtrack_limit=_BACKTRACKS, size_limit=_SIZE, dfa_size_limit=_SIZE)
            try:
                self._validator = self._compile(schema, limited)
            except library.ValidationError as error:
                raise InvalidRequest(_unfit_schema(error, field)) from None
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequest(f"{field}: it is no JSON schema: {error}; see {_DRAFT}") from None

    def _compile(self, schema: Any, patterns: Any) -> Any:
        return self._library.validator_for(schema, retriever=_refuse, pattern_options=patterns, mask="the value")

    def mismatch(self, value: Any, name: str, late: Late | None = None) -> str | None:
        """The first mistake: its place, the keyword, and what the schema wants."""
        characters = _extent(value)[0]
        if self._limited and characters > _MOST_WITH_LOOKAROUND:
            return f"{name} has more than {_MOST_WITH_LOOKAROUND} characters, too many for a pattern with lookaround"
        try:
            steps = self._work.steps(value, late)
            if steps > _MOST_COMPARED:
                return mismatch(value, self._schema, name, late) if self._is_common else _too_long(name)
            if self._validator.is_valid(value):
                return None
            if steps > _MOST_TELLING and self._work.combines:
                told = mismatch(value, self._schema, name, late) if self._is_common else None
                return told or f"{name} does not fit its schema"
            self._validator.validate(value)
        except _TooLong:
            return _too_long(name)
        except self._library.ValidationError as error:
            return self._describe(error, name)
        except (ValueError, RecursionError):
            pass
        return f"{name} cannot be checked"

    def _describe(self, error: Any, name: str) -> str:
        at = name + "".join([f"[{step}]" if isinstance(step, int) else self._step(step) for step in error.instance_path])
        word = error.kind.name if error.kind.name != "falseSchema" else error.schema_path[-1] if error.schema_path else False
        if isinstance(error.kind, self._library.ValidationErrorKind.BacktrackLimitExceeded):
            return f"{at} takes too long to compare with its {word!r}; simplify the pattern"
        return f"{at} does not fit {word!r}" + (f": {error.message}" if word in _SCHEMA_ONLY else "")

    def _step(self, key: str) -> str:
        return f".{escaped(key)}" if key in self._declared else ".*"


def _unfit_schema(error: Any, field: str) -> str:
    """The mistake in a schema, without words of the library."""
    at = escaped(".".join([field, *map(str, error.instance_path)]))
    if error.kind.name == "$ref" or "referencing" in type(error.kind).__name__.lower():
        return f"{at}: a reference or '$schema' leads out of it, or nowhere, and is not followed; put what it means under '$defs'"
    if type(error.kind).__name__ == "Format":
        return f"{at}: the pattern is no regular expression of ECMA-262, or too large; simplify it"
    return f"{at}: it is no JSON schema ({error.kind.name!r}); see {_DRAFT}"


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    """All objects in a schema, itself among them."""
    todo = [schema]
    while todo:
        inner = todo.pop()
        if isinstance(inner, dict):
            yield inner
            todo += inner.values()
        elif isinstance(inner, list):
            todo += inner


def _extent(value: Any) -> tuple[int, int]:
    """How many characters the texts and keys in a value have, and how many values it is."""
    characters, values, level = 0, 0, [value]
    while level:
        values += len(level)
        characters += sum([len(inner) for inner in level if isinstance(inner, str)])
        characters += sum([len(key) for inner in level if isinstance(inner, dict) for key in inner])
        level = [
            one
            for inner in level
            if isinstance(inner, dict | list)
            for one in (inner.values() if isinstance(inner, dict) else inner)
        ]
    return characters, values
