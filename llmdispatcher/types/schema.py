"""JSON schemas of Python's types, and tools made from Python functions.

Supported are ``str``, ``int``, ``float``, ``bool``, ``None``, ``Any``, dates, ``Literal``, enumerations, lists, sets, tuples, dicts
with text keys, unions, and classes made with attrs, dataclasses or ``TypedDict``; ``Annotated[T, "..."]`` describes any of them. A
class that contains itself is put under ``$defs``. A tool's schema comes from the function's annotations, its descriptions from the
docstring.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from typing import Any, Literal, NotRequired, Required, Union, overload

import attrs

from ..errors import InvalidRequest
from .message import Tool

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
    list: {"type": "array", "items": {}},
    dict: {"type": "object"},
}
_LISTS = (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_JSON_TYPES: Mapping[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


@attrs.frozen(kw_only=True)
class Field:
    """One field of a class, or one parameter of a function."""

    name: str
    hint: Any
    required: bool = True
    description: str | None = None


def schema_of(hint: Any, *, strict: bool = False) -> Schema:
    """The schema of a type. With ``strict`` every field is required, as OpenAI's strict mode wants it, defaults or not.

    Raises :class:`InvalidRequest` that names what has no schema.
    """
    return _Maker(strict=strict).build(lambda maker: maker.schema(hint, getattr(hint, "__name__", str(hint))))


def object_schema(fields: list[Field], where: str, *, strict: bool = False, more: bool = False) -> Schema:
    """The schema of an object with these fields; ``more`` allows others."""
    return _Maker(strict=strict).build(lambda maker: maker.object(fields, where, more=more))


def has_fields(hint: Any) -> bool:
    """Whether a type is a class whose instances an object in JSON can stand for."""
    return isinstance(hint, type) and (attrs.has(hint) or dataclasses.is_dataclass(hint) or typing.is_typeddict(hint))


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
    description: str | None = None
    while True:
        origin = typing.get_origin(hint)
        if origin is typing.Annotated:
            description = description or next((text for text in hint.__metadata__ if isinstance(text, str)), None)
            hint = hint.__origin__
        elif origin in (Required, NotRequired):
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return hint, description


def hints_of(thing: Any, where: str) -> dict[str, Any]:
    """The annotations of a class or function, resolved. Raises :class:`InvalidRequest` for a name that is not there."""
    try:
        return typing.get_type_hints(thing, include_extras=True)
    except (NameError, TypeError, AttributeError) as foreign:
        raise InvalidRequest(f"{where}: its annotations cannot be read ({foreign}); use names that its module knows") from None


def fields_of(kind: type) -> Iterator[Field]:
    """The fields of a class that a caller gives."""
    hints = hints_of(kind, kind.__name__)
    for name, required, metadata in _declarations(kind):
        yield Field(name=name, hint=hints.get(name, Any), required=required, description=metadata.get("description"))


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
    else:
        required: frozenset[str] = getattr(kind, "__required_keys__", frozenset())
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            marked = typing.get_origin(hint)  # where annotations are texts, the class itself has not seen the mark
            yield name, marked is Required or (marked is not NotRequired and name in required), {}


class _Maker:
    """Makes one schema; remembers which classes are being made, so that one that contains itself is seen."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._making: list[type] = []
        self._again: dict[type, str] = {}
        self._defs: dict[str, Schema] = {}

    def build(self, make: Callable[[_Maker], Schema]) -> Schema:
        """What ``make`` makes, with the definitions that it refers to; a reference at the root is what it refers to."""
        made = make(self)
        if not self._defs:
            return made
        root = self._defs[made["$ref"].rpartition("/")[2]] if "$ref" in made else made
        return {**root, "$defs": self._defs}

    def schema(self, hint: Any, where: str) -> Schema:
        """The schema of one type, with its description."""
        hint, description = bare(hint)
        made = self._bare(hint, where)
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
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is Literal:
            return _enumeration([value.value if isinstance(value, enum.Enum) else value for value in arguments])
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return _enumeration([member.value for member in hint])
        if has_fields(hint):
            return self._class(hint)
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.schema(option, where) for option in arguments]}
        if origin is tuple:
            return self._tuple(arguments, where)
        if origin in _LISTS:
            return {"type": "array", "items": self.schema(arguments[0], f"{where}[]")}
        if origin in _DICTS and bare(arguments[0])[0] is str:
            return {"type": "object", "additionalProperties": self.schema(arguments[1], f"{where}{{}}")}
        raise InvalidRequest(
            f"{where}: {getattr(hint, '__name__', hint)} has no JSON schema; use str, int, float, bool, lists, dicts with text"
            " keys, Literal, an Enum, or a class made with attrs, dataclasses or TypedDict"
        )

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

    def _class(self, kind: type) -> Schema:
        if kind in self._again or kind in self._making:
            return {"$ref": f"#/$defs/{self._again.setdefault(kind, self._name(kind))}"}
        self._making.append(kind)
        made = self.object(list(fields_of(kind)), kind.__name__)
        self._making.pop()
        description = _class_description(kind)
        if description is not None:
            made["description"] = description
        if kind not in self._again:
            return made
        self._defs[self._again[kind]] = made
        return {"$ref": f"#/$defs/{self._again[kind]}"}

    def _name(self, kind: type) -> str:
        taken = set(self._again.values())
        return next(name for number in range(len(taken) + 1) if (name := f"{kind.__name__}{number or ''}") not in taken)


def _is_known(hint: Any) -> bool:
    try:
        return hint in _SCALARS
    except TypeError:
        return False


def _class_description(kind: type) -> str | None:
    """What a class says of itself; dataclasses and TypedDicts that say nothing have made-up or inherited words."""
    text = kind.__dict__.get("__doc__")
    return None if not text or text.startswith((f"{kind.__name__}(", "dict(")) else first_paragraph(text)


def _enumeration(values: list[Any]) -> Schema:
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
        arguments={field.name: bare(field.hint)[0] for field in fields},
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
