"""Tools out of Python functions: the schema from the annotations, the words from the docstring."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, overload

import attrs

from .errors import InvalidRequest
from .json_schema import Field, bare, first_paragraph, hints_of, is_strict, object_schema
from .messages import Tool

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

    Annotations give the schema of its arguments (see :mod:`llmdispatcher.json_schema`), the docstring's first paragraph its
    description, and its lines on parameters (Google's ``Args:`` or ``:param x:``) theirs, unless ``Annotated`` describes them.
    A parameter with a default may be left out; with ``strict`` the model must give each. Raises :class:`InvalidRequest`
    for a function that a model cannot call, or cannot call strictly.
    """
    if function is None:
        return functools.partial(_made, name=name, description=description, strict=strict)
    return _made(function, name=name, description=description, strict=strict)


def _made(function: Callable[..., Any], *, name: str | None, description: str | None, strict: bool | None) -> FunctionTool:
    if isinstance(function, FunctionTool):
        wanted = function.strict if strict is None else strict
        return _made(function.function, name=name or function.name, description=description or function.description, strict=wanted)
    called: str = name or str(getattr(function, "__name__", type(function).__name__))
    if not callable(function) or inspect.isclass(function):
        raise InvalidRequest(f"tools: {called} is not a function; give one, Tool(...), or {{'name': ..., 'parameters': ...}}")
    if not _NAME.fullmatch(called):
        raise InvalidRequest(f"tools: {called!r} is no name for a tool (letters, digits, _ and -, up to 64); give tool(..., name=)")
    if inspect.iscoroutinefunction(function):
        raise InvalidRequest(f"tools: {called} is a coroutine function; give an ordinary one")
    said = inspect.getdoc(_whole(function)) or ""
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
    hints = hints_of(_annotated(function), f"tools: {called}")
    fields, more = [], False
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            more = True
            continue
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise InvalidRequest(f"tools: {called}: a model names its arguments, which {parameter.name!r} does not allow")
        if parameter.name not in hints:
            raise InvalidRequest(f"tools: {called}: {parameter.name!r} has no type; annotate it, as in '{parameter.name}: str'")
        given = parameter.default is not parameter.empty
        described = lines.get(parameter.name)
        fields.append(Field(name=parameter.name, hint=hints[parameter.name], required=not given, description=described))
    return fields, more


def _whole(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a partial calls."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _annotated(function: Callable[..., Any]) -> Any:
    """What bears the annotations: the function, or the ``__call__`` of an object."""
    whole = _whole(function)
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
