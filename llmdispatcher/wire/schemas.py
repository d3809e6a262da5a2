"""Write a JSON schema in the part of JSON Schema that a vendor takes; what it does not take is told in the description.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs (as its SDKs rewrite schemas),
https://platform.openai.com/docs/guides/structured-outputs, https://ai.google.dev/gemini-api/docs/structured-output
"""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from typing import Any

import attrs

_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_SHAPE = frozenset({"type", "enum", "const", "title", "properties", "required", "additionalProperties", "items"})
_SILENT = frozenset(
    {"description", "deprecated", "readOnly", "writeOnly", "discriminator", "examples", "example", "propertyOrdering"}
)
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


def fitted_schema(schema: Any, dialect: Dialect) -> dict[str, Any] | None:
    """The schema as a vendor takes it; ``None`` where it cannot be said there, such as an object of any fields."""
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
    if schema.get("type") == "object" and "properties" in schema and not any(name in schema for name in _CHOICES):
        return schema
    made = {**{name: value for name, value in schema.items() if name not in _CHOICES}, "type": "object"}
    properties, required = dict(schema.get("properties", {})), [*schema.get("required", ())]
    for name in _CHOICES:
        options = [option for option in schema.get(name) or () if isinstance(option, Mapping)]
        for option in reversed(options):
            properties = {**option.get("properties", {}), **properties}
        wanted = [option.get("required", ()) for option in options]
        common = [field for named in wanted for field in named if name == "allOf" or all(field in other for other in wanted)]
        required += [field for field in dict.fromkeys(common) if field not in required]
    return {**made, "properties": properties, **({"required": required} if required else {})}


_VALUES = frozenset({"enum", "const", "default", "examples"})


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
                self._refuse_circles(self._resolved(ref), (*met, ref))
                self._finite.add(ref)
        for name, inner in schema.items():
            if name not in _DEFINITIONS:
                self._refuse_circles(list(inner.values()) if name == "properties" and isinstance(inner, Mapping) else inner, met)

    def _resolved(self, ref: str) -> Any:
        found: Any = self._root
        if ref[:1] != "#":
            raise _Inexpressible
        for step in ref[1:].split("/")[1:]:
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
        if found is None or found is self._root:
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
            self._resolved(schema["$ref"]) if schema["$ref"] != "#" or not self._dialect.recursive else None
            return {"$ref": schema["$ref"], **made}
        rest = {name: value for name, value in schema.items() if name not in _DEFINITIONS}
        kinds = rest.get("type")
        if isinstance(kinds, list) and self._dialect.closed:
            return {**made, **self._of_kinds(rest, kinds)}
        return {**made, **self._plain(rest)}

    def _of_kinds(self, rest: Mapping[str, Any], kinds: list[Any]) -> dict[str, Any]:
        about = {name: rest[name] for name in ("description", "title") if name in rest}
        rest = {name: value for name, value in rest.items() if name not in about}
        if len(kinds) == 1:
            return {**self._plain({**rest, "type": kinds[0]}), **about}
        options = [{"type": kind} if kind == "null" else self._plain(_for_kind(rest, kind)) for kind in kinds]
        return {**about, "anyOf": options}

    def _plain(self, rest: Mapping[str, Any]) -> dict[str, Any]:
        dialect, made, told = self._dialect, dict[str, Any](), dict[str, Any]()
        choices = rest.get("anyOf") or rest.get("oneOf")
        for name, value in rest.items():
            if name in ("anyOf", "oneOf"):
                made["anyOf"] = [self._schema(option) for option in choices or ()]
            elif name == "allOf":
                made |= self._all_of(value)
            elif name == "const" and not dialect.constants:
                made["enum"] = [value]
            elif self._takes(name, value):
                made[name] = self._within(name, value)
            elif name not in _SILENT and name[:1] != "$" and name[:2] != "x-":
                told[name] = value
        self._close(made)
        return _described(made, rest.get("description"), told)

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
            return dialect.formats is None or value in dialect.formats
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
            named = made.get("properties")
            if isinstance(made.get("additionalProperties"), Mapping) or (
                named is None and made.get("additionalProperties") is not False
            ):
                raise _Inexpressible
            if self._dialect.complete and {*made.get("required", ())} != {*(named or ())}:
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


def _described(made: dict[str, Any], description: Any, told: Mapping[str, Any]) -> dict[str, Any]:
    words = [description] if isinstance(description, str) and description else []
    if told:
        words.append("{" + ", ".join([f"{name}: {json.dumps(value, default=str)}" for name, value in told.items()]) + "}")
    return {**made, "description": "\n\n".join(words)} if words else made
