"""Write a JSON schema in the part of JSON Schema that a vendor takes; what it does not take is told in the description.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs (as its SDKs rewrite schemas),
https://platform.openai.com/docs/guides/structured-outputs, https://ai.google.dev/gemini-api/docs/structured-output,
https://github.com/MoonshotAI/walle/blob/main/docs/mfjs-spec.md
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import attrs

from ..types import SCHEMA_WORDS, has_null
from .words import words

_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_SHAPE = frozenset({"type", "enum", "const", "title", "properties", "required", "additionalProperties", "items"})
_SILENT = frozenset(words("description deprecated readOnly writeOnly discriminator examples example propertyOrdering"))
"""What is no demand on a value."""
_DEFINITIONS = ("$defs", "definitions")
_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})


@attrs.frozen(kw_only=True)
class Dialect:
    """What a vendor takes: ``keywords`` beside those of shape, ``formats`` of texts.

    ``closed`` is that every object must name all that it may have, ``complete`` that all of it is required; ``least`` are the
    values that ``minItems`` may have. ``recursive`` is whether a schema may refer to itself, ``constants`` whether it may say
    ``const``.
    """

    keywords: frozenset[str] = frozenset()
    formats: frozenset[str] | None = _FORMATS
    closed: bool = True
    complete: bool = False
    recursive: bool = False
    constants: bool = True
    least: tuple[int, ...] | None = None


ANTHROPIC = Dialect(keywords=frozenset({"allOf", "minItems"}), least=(0, 1))
OPENAI_STRICT = Dialect(
    keywords=_BOUNDS | {"pattern", "minItems", "maxItems", "minLength", "maxLength"},
    formats=_FORMATS - {"uri"},
    complete=True,
    recursive=True,
)
GEMINI = Dialect(
    keywords=frozenset({"minimum", "maximum", "minItems", "maxItems", "prefixItems", "$id", "$anchor"}),
    formats=None,
    closed=False,
    recursive=True,
    constants=False,
)


def fit_schema(schema: Any, dialect: Dialect) -> dict[str, Any] | None:
    """Write a schema in a vendor's dialect; ``None`` where the dialect cannot express it, such as an object with any fields."""
    try:
        return _Fitting(schema, dialect).whole()
    except (_Inexpressible, RecursionError):
        return None


_CHOICES = ("anyOf", "oneOf", "allOf")


def object_schema(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema of a function's arguments as vendors want one: an object with properties, without choices at its root.

    Of several objects to choose from, as servers of tools write them, the arguments are those of all, and required is what each
    requires.
    """
    schema = _at_root(schema)
    choices = any(name in schema for name in _CHOICES)
    if schema.get("type") == "object" and isinstance(schema.get("properties"), Mapping) and not choices:
        return schema
    made = {**_without(schema, "required", *_CHOICES), "type": "object"}
    properties, required = dict(_object(schema.get("properties"))), _names(schema.get("required"))
    for name in _CHOICES:
        options = [_target(schema, option) for option in _names(schema.get(name)) if isinstance(option, Mapping)]
        for option in reversed(options):
            properties = {**_object(option.get("properties")), **properties}
        wanted = [_names(option.get("required")) for option in options]
        common = [field for named in wanted for field in named if name == "allOf" or all(field in other for other in wanted)]
        for field in common:
            if field not in required:
                required.append(field)
    return {**made, "properties": properties, **({"required": required} if required else {})}


def ensure_object(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema of arguments that is one of an object, which servers want that take choices at its root."""
    return schema if schema.get("type") == "object" else object_schema(schema)


def _at_root(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema that is no reference to another one in it."""
    target = _target(schema, schema) if "$ref" in schema else schema
    return schema if target is schema else {**_combine(_without(schema, "$ref"), target)}


def _target(root: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a schema refers to; itself where it refers to nothing that is there."""
    met = 0
    found: Any = schema
    while isinstance(found, Mapping) and isinstance(found.get("$ref"), str) and met < _MOST_STEPS:
        found, met = resolve_pointer(root, found["$ref"]), met + 1
    return found if isinstance(found, Mapping) and met < _MOST_STEPS else schema


_MOST_STEPS = 10


def resolve_pointer(root: Any, ref: str) -> Any:
    """What a reference within a document stands for; ``None`` for any other, and for the whole document."""
    found = root if ref[:1] == "#" else None
    for step in ref[1:].split("/")[1:]:
        step = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            found = found.get(step) if isinstance(found, Mapping) else None
    return None if found is root else found


def _without(schema: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name not in names}


def _combine(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """What two schemas say of one value, as far as one can say it; the second's words count."""
    made = {**first, **second}
    if "properties" in first and "properties" in second:
        made["properties"] = {**_object(first["properties"]), **_object(second["properties"])}
    if "required" in first and "required" in second:
        known = _names(first["required"])
        made["required"] = [*known, *[name for name in _names(second["required"]) if name not in known]]
    return made


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _names(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


_VALUES = frozenset({"enum", "const", "default", "examples"})
_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions"})
_NOT_NULL = SCHEMA_WORDS - {"const", "default"}


def without_nulls(schema: Any) -> Any:
    """A schema without keywords that are null, as programs in Go write what is not there; the same one where there are none."""
    try:
        return _without_nulls(schema) if has_null(schema) else schema
    except RecursionError:  # which JSON cannot carry either
        return schema


def _without_nulls(schema: Any) -> Any:
    if isinstance(schema, list):
        listed = list(map(_without_nulls, schema))
        return schema if all(map(operator.is_, listed, schema)) else listed
    if not isinstance(schema, Mapping):
        return schema
    kept = {name: _without_nulls_in(name, inner) for name, inner in schema.items() if inner is not None or name not in _NOT_NULL}
    return schema if len(kept) == len(schema) and all(map(operator.is_, kept.values(), schema.values())) else kept


def _without_nulls_in(name: str, inner: Any) -> Any:
    if not isinstance(inner, dict | list) or name in _VALUES:
        return inner
    if name not in _BY_NAME or not isinstance(inner, dict):
        return _without_nulls(inner)
    named = {key: _without_nulls(value) for key, value in inner.items() if value is not None}
    return inner if len(named) == len(inner) and all(map(operator.is_, named.values(), inner.values())) else named


def with_items(schema: Any) -> Any:
    """A schema whose lists say what is in them, as OpenAI wants it; the same one where all do."""
    if isinstance(schema, list):
        listed = [with_items(inner) for inner in schema]
        return schema if all(map(operator.is_, listed, schema)) else listed
    if not isinstance(schema, Mapping):
        return schema
    changes = {name: fit for name, inner in schema.items() if name not in _VALUES and (fit := with_items(inner)) is not inner}
    if schema.get("type") == "array" and "items" not in schema:
        changes["items"] = {}
    return {**schema, **changes} if changes else schema


NOT_STRICT = "cannot be kept with this schema; list and require all fields, and allow no others"


class _Inexpressible(Exception):
    """Something that a dialect cannot say."""


class _Fitting:
    """One schema on its way into a dialect."""

    def __init__(self, root: Any, dialect: Dialect) -> None:
        self._root = root
        self._dialect = dialect
        self._finite: set[str] = set()

    def whole(self) -> dict[str, Any]:
        root = self._root
        if not self._dialect.recursive:
            self._refuse_circles(root, ())
        return self._schema(root)

    def _refuse_circles(self, schema: Any, met: tuple[str, ...]) -> None:
        if isinstance(schema, list):
            for inner in schema:
                self._refuse_circles(inner, met)
        if not isinstance(schema, Mapping):
            return
        ref = schema.get("$ref")
        if isinstance(ref, str):
            if ref in met:
                raise _Inexpressible
            if ref not in self._finite:
                self._refuse_circles(self._resolve(ref), (*met, ref))
                self._finite.add(ref)
        for name, inner in schema.items():
            if name not in _DEFINITIONS:
                self._refuse_circles(list(inner.values()) if name == "properties" and isinstance(inner, Mapping) else inner, met)

    def _resolve(self, ref: str) -> Any:
        found = resolve_pointer(self._root, ref)
        if found is None:
            raise _Inexpressible
        return found

    def _schema(self, schema: Any) -> dict[str, Any]:
        if not isinstance(schema, Mapping):
            raise _Inexpressible
        made: dict[str, Any] = {
            name: {inner: self._schema(described) for inner, described in schema[name].items()}
            for name in _DEFINITIONS
            if isinstance(schema.get(name), Mapping)
        }
        if isinstance(schema.get("$ref"), str):
            self._resolve(schema["$ref"]) if schema["$ref"] != "#" or not self._dialect.recursive else None
            return {"$ref": schema["$ref"], **made}
        rest = _without(schema, *_DEFINITIONS)
        kinds = rest.get("type")
        if isinstance(kinds, list) and self._dialect.closed:
            return {**made, **self._fit_kinds(rest, kinds)}
        return {**made, **self._plain(rest)}

    def _fit_kinds(self, rest: Mapping[str, Any], kinds: list[Any]) -> dict[str, Any]:
        about = {name: rest[name] for name in ("description", "title") if name in rest}
        rest = _without(rest, *about)
        if len(kinds) == 1:
            return {**self._plain({**rest, "type": kinds[0]}), **about}
        options = [{"type": kind} if kind == "null" else self._plain(_for_kind(rest, kind)) for kind in kinds]
        return {**about, "anyOf": options}

    def _plain(self, rest: Mapping[str, Any]) -> dict[str, Any]:
        dialect, made, notes = self._dialect, dict[str, Any](), dict[str, Any]()
        choices = rest.get("anyOf") or rest.get("oneOf") or ()
        if not isinstance(choices, list | tuple):
            raise _Inexpressible
        for name, value in rest.items():
            if name in ("anyOf", "oneOf"):
                made["anyOf"] = [self._schema(option) for option in choices]
            elif name == "allOf":
                made |= self._all_of(value)
            elif name == "const" and not dialect.constants:
                made["enum"] = [value]
            elif self._takes(name, value):
                made[name] = self._within(name, value)
            elif name not in _SILENT and name[:1] != "$" and name[:2] != "x-":
                notes[name] = value
        self._close(made)
        return _with_description(made, rest.get("description"), notes)

    def _all_of(self, value: Any) -> dict[str, Any]:
        options = [self._schema(option) for option in value] if isinstance(value, list) else []
        if len(options) == 1:
            return options[0]
        if "allOf" not in self._dialect.keywords and self._dialect.closed:
            raise _Inexpressible
        return {"allOf": options}

    def _takes(self, name: str, value: Any) -> bool:
        dialect = self._dialect
        if name == "format":
            return dialect.formats is None or (isinstance(value, str) and value in dialect.formats)
        if name == "minItems" and dialect.least is not None:
            return value in dialect.least
        return name in _SHAPE or name in dialect.keywords

    def _within(self, name: str, value: Any) -> Any:
        if name == "properties" and isinstance(value, Mapping):
            return {inner: self._schema(described) for inner, described in value.items()}
        if name == "items" and (self._dialect.closed or isinstance(value, Mapping)):
            return self._schema(value)
        return value

    def _close(self, made: dict[str, Any]) -> None:
        """An object must name all that it may have."""
        if not self._dialect.closed:
            return
        if made.get("type") == "object" or "properties" in made:
            named, required = made.get("properties"), _names(made.get("required"))
            more = made.get("additionalProperties")
            if isinstance(more, Mapping) or (named is None and more is not False):
                raise _Inexpressible
            if self._dialect.complete and not (
                all(isinstance(name, str) for name in required) and {*required} == {*_object(named)}
            ):
                raise _Inexpressible
            made["additionalProperties"] = False
        elif not made.keys() & {"type", "enum", "const", "anyOf", "allOf", "$ref"}:
            raise _Inexpressible


_OF_KIND: Mapping[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}),
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "number": _BOUNDS,
    "integer": _BOUNDS,
}
_ANY_KIND = frozenset().union(*_OF_KIND.values())


def _for_kind(rest: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """What a schema of several kinds says of one of them."""
    foreign = _ANY_KIND - _OF_KIND.get(kind, frozenset()) if isinstance(kind, str) else frozenset()
    return {**{name: value for name, value in rest.items() if name not in foreign}, "type": kind}


def _with_description(made: dict[str, Any], description: Any, notes: Mapping[str, Any]) -> dict[str, Any]:
    words = [description] if isinstance(description, str) and description else []
    if notes:
        words.append("{" + ", ".join([f"{name}: {json.dumps(value, default=str)}" for name, value in notes.items()]) + "}")
    return {**made, "description": "\n\n".join(words)} if words else made


def type_schema(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema as Moonshot takes it, which refuses what JSON Schema allows: types and the like beside choices and references,
    references to anything but a definition, values without a type, required fields that are not described.

    https://github.com/MoonshotAI/walle/blob/main/docs/validation-principles.md
    """
    try:
        return _Typing(schema).whole()
    except RecursionError:  # for the vendor to judge
        return schema


_TYPES = ("string", "integer", "number", "boolean", "null", "object", "array")
_ABOUT = ("title", "description")
_CONDITIONS = frozenset({"if", "then", "else", "not", "oneOf"})
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_.-]+")


class _Typing:
    """One schema on its way to Moonshot."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._names: dict[str, str] = {}
        self._definitions: dict[str, Any] = {}

    def whole(self) -> dict[str, Any]:
        made = self._schema(_at_root(self._root))
        return {**made, "$defs": self._definitions} if self._definitions else made

    def _schema(self, schema: Any) -> dict[str, Any]:
        if not isinstance(schema, Mapping):  # true and false are schemas
            return {}
        about = {name: schema[name] for name in _ABOUT if isinstance(schema.get(name), str)}
        if isinstance(schema.get("$ref"), str):
            return self._reference(schema["$ref"], about)
        rest = _without(schema, "$schema", "$id", "allOf", *_DEFINITIONS, *_ABOUT)
        for option in _names(schema.get("allOf")):
            rest = _combine(rest, _without(_target(self._root, _object(option)), *_ABOUT))
        name = next((name for name in ("anyOf", "oneOf") if _names(rest.get(name))), None)
        if name is None:
            return self._plain(_without(rest, "anyOf", "oneOf"), about)
        options = _names(rest.pop(name))
        if rest:  # what is said of all of them
            options = [_combine(rest, _target(self._root, _object(option))) for option in options]
        return {**about, "anyOf": [self._schema(option) for option in options]}

    def _reference(self, ref: str, about: Mapping[str, Any]) -> dict[str, Any]:
        if resolve_pointer(self._root, ref) is None and ref != "#":
            return dict(about)
        reference = {"$ref": "#" if ref == "#" else f"#/$defs/{self._name(ref)}"}
        return {**about, "anyOf": [reference]} if about else reference

    def _name(self, ref: str) -> str:
        """The name of the definition for what is referred to."""
        if ref not in self._names:
            plain = _NOT_IN_NAMES.sub("_", ref.rpartition("/")[2]) or "_"
            name = plain if plain not in self._definitions else f"{plain}_{len(self._definitions)}"
            self._names[ref], self._definitions[name] = name, {}
            self._definitions[name] = self._schema(resolve_pointer(self._root, ref))
        return self._names[ref]

    def _plain(self, rest: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
        """A schema without choices."""
        notes = {name: rest[name] for name in _CONDITIONS if name in rest}
        about = _with_description(dict(about), about.get("description"), notes)
        rest = _without(rest, *_CONDITIONS)
        kinds = rest.pop("type", None)
        kinds = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind in _TYPES]
        values = _names(rest.pop("enum", None)) or ([rest["const"]] if "const" in rest else [])
        rest = _without(rest, "const")
        if values:
            return {**about, **_enumeration(rest, kinds, values)}
        if not kinds:
            kinds = [kind for kind, mark in (("object", "properties"), ("array", "items")) if mark in rest][:1]
        if len(kinds) > 1 and not _ANY_KIND.isdisjoint(rest):
            return {**about, "anyOf": [self._within(_for_kind(rest, kind)) for kind in kinds]}
        made = self._within(rest)
        return {**({"type": kinds[0] if len(kinds) == 1 else kinds} if kinds else {}), **about, **made}

    def _within(self, rest: Mapping[str, Any]) -> dict[str, Any]:
        """What a schema says of what is in a value."""
        made = _without(rest, "properties", "required", "items", "additionalProperties")
        named = {name: self._schema(inner) for name, inner in _object(rest.get("properties")).items()}
        if isinstance(rest.get("properties"), Mapping):
            made["properties"] = named
        required = list(dict.fromkeys([name for name in _names(rest.get("required")) if isinstance(name, str) and name in named]))
        if required:
            made["required"] = required
        items, more = rest.get("items"), rest.get("additionalProperties")
        if isinstance(items, list) and items:
            made["items"] = {"anyOf": [self._schema(inner) for inner in items]} if len(items) > 1 else self._schema(items[0])
        elif isinstance(items, Mapping):
            made["items"] = self._schema(items)
        if isinstance(more, Mapping | bool):
            made["additionalProperties"] = self._schema(more) if isinstance(more, Mapping) else more
        return made


def _kind_of(value: Any) -> str:
    """The type of a value."""
    kinds = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (type(None), "null"), (Mapping, "object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "array")


def _enumeration(rest: Mapping[str, Any], kinds: list[str], values: list[Any]) -> dict[str, Any]:
    """What has one of those values: of one type, or of one and null; else a choice of each type's."""
    found = list(dict.fromkeys(map(_kind_of, values)))
    if "number" in found or kinds == ["number"]:
        found = list(dict.fromkeys(["number" if kind == "integer" else kind for kind in found]))
    if {"object", "array"} & {*found}:
        return _with_description(dict(rest), rest.get("description"), {"enum": values})
    if len(found) == 1:
        return {"type": found[0], "enum": values, **rest}
    if len(found) == 2 and "null" in found:
        return {"type": found, "enum": values, **rest}
    choices = []
    for kind in found:
        of_kind = [value for value in values if kind == _kind_of(value) or (kind == "number" and _kind_of(value) == "integer")]
        choices.append({**_for_kind(rest, kind), **({} if kind == "null" else {"enum": of_kind})})
    return {"anyOf": choices}
