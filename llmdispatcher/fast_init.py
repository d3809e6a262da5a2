"""Frozen attrs classes whose objects are made as fast as those of other classes.

attrs fills the fields of a frozen object through ``object.__setattr__``, one call and one look-up for each. A call makes a dozen
objects with twenty fields, a stream one for every chunk: a tenth of what they cost. Here an object belongs to a twin of its class
until its fields are filled, which has the same slots and may be written to.
"""

from __future__ import annotations

import linecache
import re
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type[Any])

_BEGIN = "    _setattr = _cached_setattr_get(self)\n"
_STORE = re.compile(r"^( +)_setattr\('(\w+)', (.*)\)$", re.MULTILINE)
_INIT = re.compile(r"^def __init__\(self.*?(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


def fast_init(kind: Kind) -> Kind:
    """Have a frozen attrs class fill its fields by plain assignment; all else about it stays as it is.

    For classes with slots, without a base, and with ``weakref_slot=False``, since CPython lets no object with such a slot change
    its class. Where attrs writes its ``__init__`` in another way than is known here, that one stays, and so it does for subclasses.
    """
    slow = kind.__init__
    found = _INIT.search("".join(linecache.getlines(slow.__code__.co_filename)))
    head, begin, body = found[0].partition(_BEGIN) if found else ("", "", "")
    stores = list(_STORE.finditer(body))
    if not begin or not stores or kind.__bases__ != (object,) or "__weakref__" in kind.__slots__:
        return kind
    end = stores[-1].end()
    names = slow.__code__.co_varnames[1 : slow.__code__.co_argcount + slow.__code__.co_kwonlyargcount]
    source = "".join(
        [
            head,
            "    if self.__class__ is not _kind:\n",
            f"        return _slow(self, {', '.join([f'{name}={name}' for name in names])})\n",
            "    _set(self, '__class__', _twin)\n",
            _STORE.sub(r"\1self.\2 = \3", body[:end]),
            "\n    self.__class__ = _kind",
            body[end:],  # validators, and what comes after them
        ]
    )
    twin = type(kind.__name__, (), {"__slots__": kind.__slots__, "__module__": kind.__module__})
    scope = {**slow.__globals__, "_kind": kind, "_twin": twin, "_slow": slow, "_set": object.__setattr__}
    exec(compile(source, f"<fast init of {kind.__qualname__}>", "exec"), scope)  # noqa: S102 - attrs' own text, rewritten
    fast = scope["__init__"]
    fast.__qualname__, fast.__annotations__, fast.__doc__ = slow.__qualname__, slow.__annotations__, slow.__doc__
    kind.__init__ = fast
    return kind
