"""Every public name with its signature, without the modules that types come from, so that a move changes nothing."""

from __future__ import annotations

import enum
import functools
import inspect
import re
import types
from collections.abc import Iterator
from typing import Any

import attrs

import llmdispatcher
from llmdispatcher import DispatchError, errors, testing

_PATHS = re.compile(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_QUOTES = re.compile(r"'([^']*)'")


def names() -> str:
    """The public names, room by room."""
    rooms = {
        "llmdispatcher": llmdispatcher.__all__,
        "llmdispatcher.testing": testing.__all__,
        "llmdispatcher.testing.faults": testing.faults.__all__,
        "llmdispatcher.errors": [name for name, _ in error_classes()],
    }
    return "".join(f"{room}\n" + "".join(f"  {name}\n" for name in sorted(found)) for room, found in rooms.items())


def error_classes() -> list[tuple[str, type[Any]]]:
    """The classes that the module of errors defines, by name."""
    own = [(name, found) for name, found in vars(errors).items() if inspect.isclass(found) and not name.startswith("_")]
    return sorted((name, found) for name, found in own if found.__module__ == errors.__name__)


def signatures() -> str:
    """Every function and class of the package's public rooms, with all public members."""
    others = [name for name, found in error_classes() if getattr(llmdispatcher, name, None) is not found]
    return "\n".join([*_of("llmdispatcher", llmdispatcher), *_of("llmdispatcher.errors", errors, others)]) + "\n"


def signatures_of_testing() -> str:
    """The same for what tests may use."""
    return "\n".join([*_of("llmdispatcher.testing", testing), *_of("llmdispatcher.testing.faults", testing.faults)]) + "\n"


def signature(function: Any) -> str:
    """Parameters, defaults and annotations of something that can be called."""
    try:
        found = inspect.signature(function)
    except ValueError:
        return "(...)"
    maker = function.__init__ if isinstance(function, type) else function
    known = getattr(inspect.unwrap(maker), "__globals__", {})
    parameters = [_keywords(one, known) or _parameter(one) for one in found.parameters.values()]
    marks = _marked(list(found.parameters.values()), parameters)
    back = "" if found.return_annotation is inspect.Signature.empty else f" -> {_annotation(found.return_annotation)}"
    return f"({', '.join(marks)}){back}"


def class_lines(found: type[Any], indent: str = "  ") -> Iterator[str]:
    """A class's signature, fields and public members, those of its own bases too."""
    if issubclass(found, enum.Enum):
        yield from (f"{indent}{one.name} = {one.value!r}" for one in found)
    else:
        yield f"{indent}__init__{signature(found)}"
    fields = {field.name: field for field in attrs.fields(found)} if attrs.has(found) else {}
    yield from (f"{indent}{name}: {_annotation(_written(found, name))}  (field)" for name in fields if not name.startswith("_"))
    for name in sorted(dir(found)):
        told = _member(found, name) if not name.startswith("_") and name not in fields else None
        if told is not None:
            yield f"{indent}{told}"


def _of(room: str, module: Any, names: list[str] | None = None) -> Iterator[str]:
    for name in sorted(names if names is not None else module.__all__):
        value = getattr(module, name)
        if inspect.isclass(value):
            yield f"class {room}.{name}({', '.join(base.__name__ for base in value.__bases__ if base is not object)})"
            yield from class_lines(value)
        elif inspect.isfunction(value):
            yield f"def {room}.{name}{signature(value)}"
        elif isinstance(value, types.ModuleType):
            yield f"module {room}.{name}"
        else:
            yield f"{room}.{name}: {_annotation(type(value))}"


def _member(found: type[Any], name: str) -> str | None:
    """One line for a member; ``None`` for what a class has from the standard library, and for values of an enumeration."""
    owner = next((one for one in found.__mro__ if name in vars(one)), None)
    if owner is None or not owner.__module__.startswith("llmdispatcher") or (owner is DispatchError and found is not owner):
        return None  # the facts that all errors have are told once
    raw = vars(owner)[name]
    if isinstance(raw, types.MemberDescriptorType) or (issubclass(found, enum.Enum) and name in found.__members__):
        return None
    if isinstance(raw, property):
        back = inspect.signature(raw.fget).return_annotation if raw.fget is not None else Any
        return f"{name} -> {_annotation(back)}  (property)"
    if isinstance(raw, functools.cached_property):
        return f"{name} -> {_annotation(inspect.signature(raw.func).return_annotation)}  (property)"
    if isinstance(raw, classmethod | staticmethod):
        return f"{name}{signature(getattr(found, name))}  ({type(raw).__name__})"
    if callable(raw):
        return f"{name}{signature(raw)}"
    return f"{name} = {_value(raw)}"


def _written(kind: type[Any], name: str) -> Any:
    """The type of a field as it is written; cattrs, once it has seen a class, has put the types themselves into its fields."""
    return next(base.__annotations__[name] for base in kind.__mro__ if name in vars(base).get("__annotations__", {}))


def _parameter(one: inspect.Parameter) -> str:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(one.kind, "")
    told = f"{stars}{one.name}"
    if one.annotation is not inspect.Parameter.empty:
        told += f": {_annotation(one.annotation)}"
    return told if one.default is inspect.Parameter.empty else f"{told} = {_value(one.default)}"


def _keywords(one: inspect.Parameter, known: dict[str, Any]) -> str | None:
    """Keywords that a ``TypedDict`` lists, written out; ``None`` for any other parameter."""
    text = str(one.annotation)
    if one.kind is not inspect.Parameter.VAR_KEYWORD or not text.startswith("Unpack["):
        return None
    listed = eval(text.removeprefix("Unpack[").removesuffix("]"), known).__annotations__
    texts = {name: getattr(kind, "__forward_arg__", kind) for name, kind in listed.items()}
    return f"**{one.name}: {{{', '.join(f'{name}: {_annotation(kind)}' for name, kind in sorted(texts.items()))}}}"


def _marked(found: list[inspect.Parameter], told: list[str]) -> list[str]:
    """With the ``/`` and the ``*`` where they belong."""
    marked = []
    only_names = any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in found)
    for number, one in enumerate(found):
        if one.kind is inspect.Parameter.KEYWORD_ONLY and not only_names:
            marked.append("*")
            only_names = True
        marked.append(told[number])
        last = number + 1 == len(found) or found[number + 1].kind is not inspect.Parameter.POSITIONAL_ONLY
        if one.kind is inspect.Parameter.POSITIONAL_ONLY and last:
            marked.append("/")
    return marked


def _annotation(found: Any) -> str:
    text = found if isinstance(found, str) else inspect.formatannotation(found)
    return _PATHS.sub("", _QUOTES.sub(r"\1", text) if "ForwardRef" in text else text)


def _value(found: Any) -> str:
    """A default or a constant; of an object only its class, since its repr may be long or hold an address."""
    if found is None or isinstance(found, bool | int | float | str | bytes):
        return repr(found) if not isinstance(found, enum.Enum) else f"{type(found).__name__}.{found.name}"
    if isinstance(found, tuple | frozenset | dict) and not found:
        return repr(found)
    if isinstance(found, tuple):
        return f"({', '.join(_value(one) for one in found)},)"
    if found is attrs.NOTHING or type(found).__name__ == "_Nothing":
        return "..."
    if inspect.isclass(found) or inspect.isfunction(found):
        return f"<{found.__name__}>"
    return _ADDRESS.sub("", f"<{type(found).__name__}>")
