"""Frozen attrs classes whose objects are created and changed as fast as those of mutable classes.

attrs fills the fields of a frozen object through ``object.__setattr__``, one call and one look-up for each. A call creates a dozen
objects with twenty fields and a stream one for every chunk: a tenth of what they cost. Here an object has a twin of its class, with
the same slots but mutable, until its fields are filled.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import attrs

from .keywords import keyword_error

Kind = TypeVar("Kind", bound=type[Any])
Value = TypeVar("Value")

_BEGIN = "    _setattr = _cached_setattr_get(self)\n"
_STORE = re.compile(r"^( +)_setattr\('(\w+)', (.*)\)$", re.MULTILINE)
_CHECK = re.compile(r"^( +)(__attr_validator_(\w+)\(.*\))$", re.MULTILINE)
_INIT = re.compile(r"^def __init__\(self.*?(?=^\S|\Z)", re.MULTILINE | re.DOTALL)

_ABSENT = object()

_twins: dict[type, type] = {}
_copiers: dict[type, Callable[[Any], Any]] = {}


def fast_init(kind: Kind, remedies: Mapping[str, str] = MappingProxyType({})) -> Kind:
    """Have a frozen attrs class fill its fields by plain assignment; all else about it stays as it is.

    For classes with slots, without a base, and with ``weakref_slot=False``, since CPython lets no object with such a slot change
    its class. A field that is ``None`` and may be by default is not validated. The error for a wrong keyword suggests the
    right one, or says by ``remedies`` where it belongs. Where attrs writes its ``__init__`` in another way than is known here, that
    one stays, and so it does for subclasses.
    """
    slow = kind.__init__
    found = _INIT.search("".join(linecache.getlines(slow.__code__.co_filename)))
    head, begin, body = found[0].partition(_BEGIN) if found else ("", "", "")
    stores = list(_STORE.finditer(body))
    known = begin and stores and len(stores) == body.count("_setattr(")
    if not known or kind.__bases__ != (object,) or "__weakref__" in kind.__slots__:
        return kind
    end = stores[-1].end()
    names = slow.__code__.co_varnames[1 : slow.__code__.co_argcount + slow.__code__.co_kwonlyargcount]
    optional = {field.name for field in attrs.fields(kind) if field.default is None}

    def check(line: re.Match[str]) -> str:
        return f"{line[1]}if self.{line[3]} is not None: {line[2]}" if line[3] in optional else line[0]

    source = "".join(
        [
            _refusing(head, names),
            "    if self.__class__ is not _kind:\n",
            f"        return _slow(self, {', '.join([f'{name}={name}' for name in names])})\n",
            "    _set(self, '__class__', _twin)\n",
            _STORE.sub(r"\1self.\2 = \3", body[:end]),
            "\n    self.__class__ = _kind",
            _CHECK.sub(check, body[end:]),
        ]
    )
    twin = _twins[kind] = type(kind.__name__, (), {"__slots__": kind.__slots__, "__module__": kind.__module__})
    told = {"_refusal": keyword_error, "_names": names, "_remedies": remedies, "_absent": _ABSENT, "_given": _given}
    scope = {**slow.__globals__, **told, "_kind": kind, "_twin": twin, "_slow": slow, "_set": object.__setattr__}
    fast = _compiled("__init__", source, kind, scope)
    fast.__qualname__, fast.__annotations__, fast.__doc__ = slow.__qualname__, slow.__annotations__, slow.__doc__
    fast.__wrapped__ = slow  # whose signature is the one that holds
    kind.__init__ = fast
    return kind


def _refusing(head: str, names: tuple[str, ...]) -> str:
    """The head of an ``__init__`` that suggests the right keyword for a wrong one, also for one in place of a needed one."""
    signature, _end, rest = head.partition("):\n")
    needed = [name for name in signature.split(", ")[1:] if name in names]
    for name in needed:
        signature = signature.replace(f", {name}", f", {name}=_absent", 1)
    lines = [
        f"{signature}, **_other):\n{rest}",
        "    if _other:\n",
        "        raise _refusal(_kind.__name__, _other, _names, _remedies)\n",
    ]
    if needed:
        given = ", ".join([f"{name}={name}" for name in needed])
        lines.append(f"    if {' or '.join([f'{name} is _absent' for name in needed])}:\n")
        lines.append(f"        return _slow(self, **_given({given}))\n")  # which raises what attrs raises
    return "".join(lines)


def _given(**arguments: Any) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not _ABSENT}


def evolved(value: Value, **changes: Any) -> Value:
    """What :func:`attrs.evolve` gives, without converters and validators: for changes that are of the right form already."""
    kind: Any = type(value)
    if kind not in _twins:
        return attrs.evolve(value, **changes)  # type: ignore[misc]  # which refuses what is no value of attrs
    copy: Any = (_copiers.get(kind) or _copier(kind))(value)
    for name, change in changes.items():
        setattr(copy, name, change)
    copy.__class__ = kind
    made: Value = copy
    return made


def _copier(kind: type[Any]) -> Callable[[Any], Any]:
    """What makes an object of the twin class with the same fields."""
    copied = "".join([f"    copy.{name} = value.{name}\n" for name in kind.__slots__])
    source = f"def copier(value):\n    copy = _new(_twin)\n{copied}    return copy\n"
    copier: Callable[[Any], Any] = _compiled("copier", source, kind, {"_new": object.__new__, "_twin": _twins[kind]})
    _copiers[kind] = copier
    return copier


def _compiled(name: str, source: str, kind: type, scope: dict[str, Any]) -> Any:
    exec(compile(source, f"<fast {name.strip('_')} of {kind.__qualname__}>", "exec"), scope)  # noqa: S102 - attrs' text, and ours
    return scope[name]
