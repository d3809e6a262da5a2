"""JSON schemas of Python's types, and tools made from Python functions.

Supported are ``str``, ``int``, ``float``, ``bool``, ``None``, ``Any``, dates and times, ``Decimal``, ``UUID``, ``Literal``,
enumerations, lists, sets, tuples, dicts, unions, and classes made with attrs, dataclasses, ``TypedDict``, ``NamedTuple`` or
Pydantic, generic ones too. ``Annotated`` describes any of them, by a text or by constraints such as ``annotated_types.Ge(0)``.
The schema of a class of Pydantic is its own ``model_json_schema()``. A class that contains itself is put under ``$defs``. A tool's
schema comes from the function's annotations, its descriptions from the docstring.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import inspect
import operator
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from importlib import import_module
from typing import Any, Final, Literal, NotRequired, Required, TypeVar, Union, overload

import attrs

from ..errors import InvalidRequest
from .message import Tool
from .patterns import Costly, cheap_pattern

Schema = dict[str, Any]

_SCALARS: Mapping[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    Any: {},
    object: {},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    time: {"type": "string", "format": "time"},
    Decimal: {"anyOf": [{"type": "number"}, {"type": "string"}]},
    list: {"type": "array", "items": {}},
    set: {"type": "array", "items": {}},
    frozenset: {"type": "array", "items": {}},
    tuple: {"type": "array", "items": {}},
    dict: {"type": "object"},
}
_LISTS = (
    *(list, set, frozenset, collections.deque),
    *(collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Set, collections.abc.MutableSet),
    *(collections.abc.Iterable, collections.abc.Collection),
)
_DICTS = (dict, collections.OrderedDict, collections.abc.Mapping, collections.abc.MutableMapping)
_WRAPPERS = (Required, NotRequired, Final, getattr(typing, "ReadOnly", Final))
"""What stands around a type and says something of its field."""
_LIMITS = {
    "ge": "minimum",
    "le": "maximum",
    "gt": "exclusiveMinimum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}
"""The attributes of constraints, as annotated_types and Pydantic name them, and the keywords of a schema."""
_LENGTHS = {"array": ("minItems", "maxItems"), "object": ("minProperties", "maxProperties")}
_JSON_TYPES: Mapping[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


@attrs.frozen(kw_only=True)
class Field:
    """One field of a class, or one parameter of a function."""

    name: str
    hint: Any
    required: bool = True
    description: str | None = None


Models = Literal["whole", "closed", "open"]
"""How much a schema says of Pydantic's classes: what they say; that, and that there are no other fields; or nothing."""


def schema_of(hint: Any, *, strict: bool = False, models: Models = "whole") -> Schema:
    """The schema of a type. With ``strict`` every field is required, as OpenAI's strict mode wants it, defaults or not.

    Raises :class:`InvalidRequest` that names what has no schema.
    """
    return _Maker(strict=strict, models=models).build(lambda maker: maker.schema(hint, type_name(hint)))


def object_schema(fields: list[Field], where: str, *, strict: bool = False, more: bool = False) -> Schema:
    """The schema of an object with these fields; ``more`` allows others."""
    return _Maker(strict=strict).build(lambda maker: maker.object(fields, where, more=more))


def type_name(hint: Any) -> str:
    """A type's name, without the names of modules."""
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__name__
    return re.sub(r"(?:\w+\.)+(?:<locals>\.)?(?=\w)", "", str(hint))


def is_type(value: Any) -> bool:
    """Whether a value is a class, or what annotations can say besides, such as ``list[int]``, a union or ``Literal``."""
    return isinstance(value, type | typing.NewType) or is_alias(value) or typing.get_origin(value) is not None


def has_fields(hint: Any) -> bool:
    """Whether a type is a class whose instances an object in JSON can stand for."""
    return isinstance(hint, type) and (
        attrs.has(hint) or dataclasses.is_dataclass(hint) or is_typed_dict(hint) or is_model(hint) or is_named_tuple(hint)
    )


def is_typed_dict(hint: Any) -> bool:
    """Whether a type is a ``TypedDict``, of ``typing`` or of typing_extensions, a generic one with its types too."""
    origin = typing.get_origin(hint) or hint
    return isinstance(origin, type) and issubclass(origin, dict) and hasattr(origin, "__total__")


def is_alias(hint: Any) -> bool:
    """Whether a type was named by ``type X = ...`` or ``TypeAliasType``, a generic one with its types too."""
    return "TypeAliasType" in (type(hint).__name__, type(typing.get_origin(hint)).__name__)


def is_named_tuple(hint: Any) -> bool:
    """Whether a type is a tuple with names."""
    return isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_field_defaults")


def is_model(hint: Any) -> bool:
    """Whether a type is a class of Pydantic, or of a library like it: one that makes its schema and checks values itself."""
    if not isinstance(hint, type) or typing.get_origin(hint) is not None:
        return False
    return callable(getattr(hint, "model_json_schema", None)) or "__pydantic_validator__" in vars(hint)


def model_adapter(kind: type) -> Any:
    """What Pydantic makes of one of its dataclasses, which lack the methods of models."""
    return import_module("pydantic").TypeAdapter(kind)


ROOT = "answer"
"""The field of the object in which a list, a choice or a number is asked for where a vendor wants an object."""


def lacks_object(schema: Any) -> bool:
    """Whether what a schema describes is no object, or may be something else."""
    if not isinstance(schema, Mapping):
        return False
    target = _follow(schema, schema.get("$ref"))
    if isinstance(target.get("type"), str | list | tuple):
        return target["type"] not in ("object", ["object"], ("object",))
    return "properties" not in target and not target.keys().isdisjoint({"enum", "const", "anyOf", "oneOf", "items", "prefixItems"})


def _follow(schema: Mapping[str, Any], ref: Any) -> Mapping[str, Any]:
    """What a reference to a definition means, that of another one too; the schema itself where there is none."""
    met: set[str] = set()
    found = schema
    while isinstance(ref, str) and ref.startswith("#/$defs/") and ref not in met:
        met.add(ref)
        inner = (schema.get("$defs") or {}).get(ref.removeprefix("#/$defs/"))
        found = inner if isinstance(inner, Mapping) else {}
        ref = found.get("$ref")
    return found


def put_into_object(schema: Mapping[str, Any]) -> Schema:
    """A schema of an object that has the value under :data:`ROOT` and nothing else."""
    definitions = {name: _moved(schema[name]) for name in ("$defs", "definitions", "$schema") if name in schema}
    inner = _moved({name: value for name, value in schema.items() if name not in definitions})
    return {"type": "object", "properties": {ROOT: inner}, "required": [ROOT], "additionalProperties": False, **definitions}


_DEFINED = ("#/$defs/", "#/definitions/")


def _moved(schema: Any) -> Any:
    """A schema whose references are right one level further down."""
    if isinstance(schema, list | tuple):
        return [_moved(inner) for inner in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {name: inner if name in ("enum", "const", "default", "examples") else _moved(inner) for name, inner in schema.items()}
    ref = made.get("$ref")
    if isinstance(ref, str) and ref[:1] == "#" and not ref.startswith(_DEFINED):
        made["$ref"] = f"#/properties/{ROOT}{ref[1:]}"
    return made


def is_strict(schema: Any) -> bool:
    """Whether OpenAI's strict mode takes a schema: each object names all that it has, all of it required, and nothing is open."""
    if isinstance(schema, list):
        return all(map(is_strict, schema))
    if not isinstance(schema, Mapping):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        named = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(named):
            return False
        return all(map(is_strict, named.values())) and is_strict(list(schema.get("$defs", {}).values()))
    if not schema.keys() & {"type", "enum", "const", "anyOf", "$ref"} or "prefixItems" in schema:
        return False
    return is_strict([value for key, value in schema.items() if key in ("items", "anyOf")])


def first_paragraph(docstring: str | None) -> str | None:
    """What a docstring says before its first empty line, in one line."""
    return " ".join((docstring or "").strip().split("\n\n")[0].split()) or None


def bare(hint: Any) -> tuple[Any, str | None]:
    """A type without what hangs on it (``Annotated``, ``NewType``, ``type`` aliases, ``Required``), and its description."""
    hint, notes = _unwrapped(hint)
    return hint, next((text for note in notes if (text := _text_of(note)) is not None), None)


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type, and all that was annotated to it."""
    notes: tuple[Any, ...] = ()
    while True:
        origin = typing.get_origin(hint)
        if origin is typing.Annotated:
            notes += hint.__metadata__
            hint = hint.__origin__
        elif origin in _WRAPPERS or getattr(origin, "_name", None) == "ReadOnly":  # of typing_extensions
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        elif type(origin).__name__ == "TypeAliasType":
            hint = origin.__value__[typing.get_args(hint)]
        else:
            return hint, notes


def _text_of(note: Any) -> str | None:
    """What a note says: a text, or the description of Pydantic's ``Field`` and of ``Doc``."""
    if isinstance(note, str):
        return note
    said = getattr(note, "description", None) or getattr(note, "documentation", None)
    return said if isinstance(said, str) else None


def _limits_of(notes: tuple[Any, ...], kind: Any) -> Schema:
    """The keywords of the constraints among the notes of a type."""
    found: Schema = {}
    for note in notes:
        for one in (note, *getattr(note, "metadata", ())):
            for name, keyword in _LIMITS.items():
                limit = getattr(one, name, None)
                if isinstance(limit, str) and name == "pattern":
                    _check_pattern(limit)
                if isinstance(limit, int | float | str) and not isinstance(limit, bool):
                    least, most = _LENGTHS.get(kind, ("minLength", "maxLength"))
                    found[{"minLength": least, "maxLength": most}.get(keyword, keyword)] = limit
    return found


def _check_pattern(pattern: str) -> None:
    try:
        cheap_pattern(pattern)
    except (Costly, re.error) as error:
        raise InvalidRequest(f"pattern: {pattern!r} cannot be checked ({error}); check it in the class itself") from None


def hints_of(thing: Any, where: str) -> dict[str, Any]:
    """The annotations of a class or function, resolved. Raises :class:`InvalidRequest` for a name that is not there."""
    try:
        return typing.get_type_hints(thing, include_extras=True)
    except (NameError, TypeError, AttributeError) as foreign:
        raise InvalidRequest(f"{where}: its annotations cannot be read ({foreign}); use names that its module knows") from None


def fields_of(kind: Any) -> Iterator[Field]:
    """The fields of a class that a caller gives; those of a generic class have the types that it was given."""
    origin = typing.get_origin(kind) or kind
    given = _variables_of(kind)
    hints = hints_of(origin, origin.__name__)
    for name, required, metadata in _declarations(origin):
        hint = _filled(hints.get(name, Any), given)
        yield Field(name=name, hint=hint, required=required, description=metadata.get("description"))


def _variables_of(kind: Any) -> dict[Any, Any]:
    """What a generic class and those above it were given for their variables."""
    origin = typing.get_origin(kind) or kind
    given = dict(zip(getattr(origin, "__parameters__", ()), typing.get_args(kind), strict=False))
    for base in getattr(origin, "__orig_bases__", ()):
        if typing.get_origin(base) not in (None, typing.Generic):
            given = {variable: _filled(hint, given) for variable, hint in _variables_of(base).items()} | given
    return given


def _filled(hint: Any, given: Mapping[Any, Any]) -> Any:
    """A type with others in place of its variables; a variable that nobody gave is anything that it is bound to."""
    if isinstance(hint, TypeVar):
        return given.get(
            hint, hint.__bound__ or (functools.reduce(operator.or_, hint.__constraints__) if hint.__constraints__ else Any)
        )
    variables = getattr(hint, "__parameters__", ())
    return hint[tuple([_filled(one, given) for one in variables])] if variables and not isinstance(hint, type) else hint


def _declarations(kind: type) -> Iterator[tuple[str, bool, Mapping[str, Any]]]:
    if attrs.has(kind):
        for field in attrs.fields(kind):
            if field.init:
                yield field.name, field.default is attrs.NOTHING, field.metadata
    elif dataclasses.is_dataclass(kind):
        for item in dataclasses.fields(kind):
            if item.init:
                given = item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING
                yield item.name, not given, item.metadata
    elif is_named_tuple(kind):
        for name in kind._fields:  # type: ignore[attr-defined]  # as all of them have
            yield name, name not in kind._field_defaults, {}  # type: ignore[attr-defined]  # as all of them have
    else:
        required: frozenset[str] = getattr(kind, "__required_keys__", frozenset())
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            marked = typing.get_origin(hint)  # where annotations are texts, the class itself has not seen the mark
            yield name, marked is Required or (marked is not NotRequired and name in required), {}


class _Maker:
    """Makes one schema; remembers which classes are being made, so that one that contains itself is seen."""

    def __init__(self, *, strict: bool, models: Models = "whole") -> None:
        self._strict = strict
        self._models = models
        self._making: list[Any] = []
        self._again: dict[Any, str] = {}
        self._defs: dict[str, Schema] = {}

    def build(self, make: Callable[[_Maker], Schema]) -> Schema:
        """What ``make`` makes, with the definitions that it refers to; a reference at the root is what it refers to."""
        try:
            made = make(self)
        except RecursionError:
            raise InvalidRequest("a type is nested too deeply, or is an alias of itself; make a class of what repeats") from None
        if not self._defs:
            return made
        root = self._defs[made["$ref"].rpartition("/")[2]] if "$ref" in made else made
        return {**root, "$defs": self._defs}

    def schema(self, hint: Any, where: str) -> Schema:
        """The schema of one type, with its description."""
        hint, notes = _unwrapped(hint)
        made = self._bare(hint, where)
        if not notes:
            return made
        description = next((text for note in notes if (text := _text_of(note)) is not None), None)
        made = {**made, **_limits_of(notes, made.get("type"))}
        return made if description is None else {**made, "description": description}

    def object(self, fields: list[Field], where: str, *, more: bool = False) -> Schema:
        """An object with these fields."""
        properties = {field.name: self._field(field, where) for field in fields}
        required = [field.name for field in fields if field.required or self._strict]
        made: Schema = {"type": "object", "properties": properties}
        return {**made, **({"required": required} if required else {}), "additionalProperties": more}

    def _field(self, field: Field, where: str) -> Schema:
        made = self.schema(field.hint, f"{where}.{field.name}")
        return made if field.description is None or "description" in made else {**made, "description": field.description}

    def _bare(self, hint: Any, where: str) -> Schema:
        if _is_known(hint):
            return dict(_SCALARS[hint])
        if is_uuid(hint):
            return {"type": "string", "format": "uuid"}
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if (values := _values_of(hint)) is not None:
            return _enumeration(values)
        if is_model(hint):
            return self._model(hint, where)
        if has_fields(origin or hint):
            return self._class(hint)
        if isinstance(hint, TypeVar):
            return self.schema(_filled(hint, {}), where)
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.schema(option, where) for option in arguments]}
        return self._container(hint, origin, arguments, where)

    def _container(self, hint: Any, origin: Any, arguments: tuple[Any, ...], where: str) -> Schema:
        """The schema of a list or dict of something. Raises :class:`InvalidRequest` for what is none."""
        if not arguments and (origin in _LISTS or origin in _DICTS):  # typing.List and the like, or tuple[()]
            return {"type": "array", "items": {}} if origin in _LISTS else {"type": "object"}
        if origin is tuple:
            return self._tuple(arguments, where)
        if origin in _LISTS:
            return {"type": "array", "items": self.schema(arguments[0], f"{where}[]")}
        if origin in _DICTS and _is_key(arguments[0]):
            return {"type": "object", "additionalProperties": self.schema(arguments[1], f"{where}{{}}")}
        if isinstance(hint, type) and hasattr(hint, "__fields__") and hasattr(hint, "parse_obj"):
            raise InvalidRequest(f"{where}: {hint.__name__} is a class of Pydantic 1; make it one of Pydantic 2")
        raise InvalidRequest(
            f"{where}: {type_name(hint)} has no JSON schema; use str, int, float, bool, lists, dicts with text"
            " keys, Literal, an Enum, or a class made with attrs, dataclasses, TypedDict or Pydantic"
        )

    def _model(self, kind: type, where: str) -> Schema:
        """The schema that a class of Pydantic makes of itself."""
        if self._models == "open":
            return {}
        try:
            made = dict(kind.model_json_schema() if hasattr(kind, "model_json_schema") else model_adapter(kind).json_schema())
        except Exception as foreign:  # noqa: BLE001 - Pydantic has many classes of errors
            told = " ".join(str(foreign).split("\n")[0].split())[:200]
            raise InvalidRequest(f"{where}: {kind.__name__} makes no JSON schema ({told})") from None
        definitions = made.pop("$defs", {})
        names = dict.fromkeys(definitions, "")
        for name, inner in definitions.items():  # two models may have the same definition, or others of the same name
            same = self._defs.get(name) == self._of_model(inner, {})
            taken = set() if same else {*self._defs, *self._again.values(), *names.values()}
            names[name] = next(one for number in range(len(taken) + 1) if (one := f"{name}{number or ''}") not in taken)
        for name, inner in definitions.items():
            self._defs[names[name]] = self._of_model(inner, names)
        root: Schema = self._of_model(made, names)
        return root

    def _of_model(self, schema: Any, names: Mapping[str, str]) -> Any:
        """A part of a model's schema under the names that its definitions have here, and strict where that is wanted."""
        if isinstance(schema, list):
            return [self._of_model(inner, names) for inner in schema]
        if not isinstance(schema, dict):
            return schema
        made = {name: inner if name in _VALUES else self._of_model(inner, names) for name, inner in schema.items()}
        if isinstance(schema.get("properties"), dict):
            made["properties"] = {name: self._of_model(inner, names) for name, inner in schema["properties"].items()}
            if self._strict:
                made["required"] = list(schema["properties"])
            if self._strict or self._models == "closed":
                made.setdefault("additionalProperties", False)
        if self._strict and made.get("default", made) is None:
            del made["default"]
        if isinstance(schema.get("$ref"), str):
            made["$ref"] = f"#/$defs/{names.get(name := schema['$ref'].rpartition('/')[2], name)}"
        if isinstance(schema.get("discriminator"), dict):
            del made["discriminator"]  # which is OpenAPI's, and refers to definitions by other names
        return made

    def _tuple(self, items: tuple[Any, ...], where: str) -> Schema:
        """Strict mode knows no places, only how many there are."""
        if len(items) == 2 and items[1] is Ellipsis:
            return {"type": "array", "items": self.schema(items[0], f"{where}[]")}
        made = [self.schema(item, f"{where}[{number}]") for number, item in enumerate(items)]
        bounds = {"minItems": len(made), "maxItems": len(made)}
        if not self._strict:
            return {"type": "array", "prefixItems": made, **bounds}
        kinds = [schema for number, schema in enumerate(made) if schema not in made[:number]]
        return {"type": "array", "items": kinds[0] if len(kinds) == 1 else {"anyOf": kinds}, **bounds}

    def _class(self, kind: Any) -> Schema:
        if kind in self._again or kind in self._making:
            return {"$ref": f"#/$defs/{self._again.setdefault(kind, self._name(kind))}"}
        self._making.append(kind)
        made = self.object(list(fields_of(kind)), type_name(kind))
        self._making.pop()
        description = _class_description(typing.get_origin(kind) or kind)
        if description is not None:
            made["description"] = description
        if kind not in self._again:
            return made
        self._defs[self._again[kind]] = made
        return {"$ref": f"#/$defs/{self._again[kind]}"}

    def _name(self, kind: Any) -> str:
        taken = {*self._again.values(), *self._defs}
        plain = _NOT_IN_NAMES.sub("_", type_name(kind)).strip("_")
        return next(name for number in range(len(taken) + 1) if (name := f"{plain}{number or ''}") not in taken)


_VALUES = frozenset({"enum", "const", "default", "examples"})
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]+")


def _values_of(hint: Any) -> list[Any] | None:
    """The values of ``Literal`` or of an enumeration; ``None`` for any other type."""
    if typing.get_origin(hint) is Literal:
        return [value.value if isinstance(value, enum.Enum) else value for value in typing.get_args(hint)]
    return [member.value for member in hint] if isinstance(hint, type) and issubclass(hint, enum.Enum) else None


def _is_key(hint: Any) -> bool:
    """Whether a text in JSON can stand for a key of this type."""
    hint = bare(hint)[0]
    values = _values_of(hint)
    return hint in (str, int, date) or is_uuid(hint) if values is None else all(isinstance(value, str) for value in values)


def is_uuid(hint: Any) -> bool:
    """Whether a type is ``uuid.UUID``, whose module is loaded by those who use it."""
    return isinstance(hint, type) and (hint.__module__, hint.__name__) == ("uuid", "UUID")


def _is_known(hint: Any) -> bool:
    try:
        return hint in _SCALARS
    except TypeError:
        return False


def _class_description(kind: type) -> str | None:
    """What a class says of itself; dataclasses and TypedDicts that say nothing have made-up or inherited words."""
    text = kind.__dict__.get("__doc__")
    made_up = (f"{kind.__name__}(", "dict(")
    return None if not text or text.startswith(made_up) else first_paragraph(text)


def _enumeration(values: list[Any]) -> Schema:
    if not values:
        raise InvalidRequest("a choice among no values; give the enumeration members")
    kinds = {type(value) for value in values}
    if len(kinds) == 1 and (kind := _JSON_TYPES.get(kinds.pop())) is not None:
        return {"type": kind, "enum": values}
    if not all(type(value) in _JSON_TYPES for value in values):
        raise InvalidRequest("a choice among values that JSON does not have; use texts, numbers, True, False or None")
    return {"enum": values}


_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SECTION = re.compile(r"^(?:Args|Arguments|Parameters):[ \t]*\n((?:[ \t]+.*\n?|[ \t]*\n)+)", re.MULTILINE)
_GOOGLE = re.compile(r"^(\s*)\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*)$")
_REST = re.compile(r"^:param\s+(?:[^:]*?\s)?\*{0,2}(\w+):[ \t]*(.*(?:\n(?!\s*:)[ \t]+\S.*)*)", re.MULTILINE)


@attrs.frozen(kw_only=True)
class FunctionTool(Tool):
    """A tool with the Python function that does what it says; calling it calls the function.

    ``arguments`` are the types that the function wants, by name.
    """

    function: Callable[..., Any] = attrs.field(repr=False)
    arguments: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What the function returns."""
        return self.function(*arguments, **named)


@overload
def tool(
    function: Callable[..., Any], *, name: str | None = ..., description: str | None = ..., strict: bool | None = ...
) -> FunctionTool: ...


@overload
def tool(
    *, name: str | None = ..., description: str | None = ..., strict: bool | None = ...
) -> Callable[[Callable[..., Any]], FunctionTool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
    """A function as a tool, also as a decorator: ``@tool`` or ``@tool(strict=True)``.

    Annotations give the schema of its arguments (see :mod:`llmdispatcher.types.schema`), the docstring's first paragraph its
    description, and its lines on parameters (Google's ``Args:`` or ``:param x:``) theirs, unless ``Annotated`` describes them.
    A parameter with a default may be left out; with ``strict`` the model must give each. Raises :class:`InvalidRequest`
    for a function that a model cannot call, or cannot call strictly.
    """
    if function is None:
        return functools.partial(_make_tool, name=name, description=description, strict=strict)
    return _make_tool(function, name=name, description=description, strict=strict)


def _make_tool(function: Callable[..., Any], *, name: str | None, description: str | None, strict: bool | None) -> FunctionTool:
    if isinstance(function, FunctionTool):
        wanted = function.strict if strict is None else strict
        return _make_tool(
            function.function, name=name or function.name, description=description or function.description, strict=wanted
        )
    called: str = name or str(getattr(function, "__name__", type(function).__name__))
    if not callable(function) or inspect.isclass(function):
        raise InvalidRequest(f"tools: {called} is not a function; give one, Tool(...), or {{'name': ..., 'parameters': ...}}")
    if not _NAME.fullmatch(called):
        raise InvalidRequest(f"tools: {called!r} is no name for a tool (letters, digits, _ and -, up to 64); give tool(..., name=)")
    if inspect.iscoroutinefunction(function):
        raise InvalidRequest(f"tools: {called} is a coroutine function; give an ordinary one")
    said = inspect.getdoc(_unwrap(function)) or ""
    fields, more = _parameters(function, called, parameter_lines(said))
    parameters = object_schema(fields, called, strict=bool(strict), more=more)
    if strict and not is_strict(parameters):
        raise InvalidRequest(
            f"tools: {called} cannot be strict: a parameter is a dict with free keys, of any type, or **; leave strict out"
        )
    return FunctionTool(
        name=called,
        description=description or first_paragraph(said),
        parameters=parameters,
        strict=strict,
        function=function,
        arguments={field.name: field.hint for field in fields},
    )


def _parameters(function: Callable[..., Any], called: str, lines: Mapping[str, str]) -> tuple[list[Field], bool]:
    """What a model can give, and whether it may give more."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise InvalidRequest(f"tools: {called} does not tell its parameters; wrap it in a function that does") from None
    hints = hints_of(_annotations_of(function), f"tools: {called}")
    fields, more = [], False
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            more = True
            continue
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise InvalidRequest(f"tools: {called}: a model names its arguments, which {parameter.name!r} does not allow")
        if parameter.name == "self" and parameter.name not in hints:
            raise InvalidRequest(f"tools: {called} is a method without its object; give that of an object, as in 'thing.{called}'")
        if parameter.name not in hints:
            raise InvalidRequest(f"tools: {called}: {parameter.name!r} has no type; annotate it, as in '{parameter.name}: str'")
        given = parameter.default is not parameter.empty
        described = lines.get(parameter.name)
        fields.append(Field(name=parameter.name, hint=hints[parameter.name], required=not given, description=described))
    return fields, more


def _unwrap(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a partial calls."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _annotations_of(function: Callable[..., Any]) -> Any:
    """What bears the annotations: the function, or the ``__call__`` of an object."""
    whole = _unwrap(function)
    return whole if inspect.isroutine(whole) else type(whole).__call__


def parameter_lines(docstring: str) -> dict[str, str]:
    """What a docstring says of each parameter, in Google's form or in reST's."""
    found = {name: " ".join(text.split()) for name, text in _REST.findall(docstring)}
    for section in _SECTION.findall(f"{docstring}\n"):
        found |= _google_lines(section)
    return {name: text for name, text in found.items() if text}


def _google_lines(section: str) -> dict[str, str]:
    """``name (type): text``, continued by lines that are indented further."""
    found: dict[str, str] = {}
    name, indent = "", None
    for line in section.splitlines():
        entry = _GOOGLE.match(line)
        if entry is not None and (indent is None or len(entry[1]) == indent):
            indent, name = len(entry[1]), entry[2]
            found[name] = entry[3].strip()
        elif name and line.strip():
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found
