"""The records that a format's answers may hold, and how our servers write one that does not fit its vendor's schema.

Clients that check an answer by the published schema refuse one that lacks a field. So a missing field is filled in: with null
where the schema allows it, else with an empty list or text. A record without a field that only its vendor could know is left out,
and told (:func:`~llmdispatcher.wire.encoding.tell_unwritten`).

The kinds of records of a format are in ``answers.txt`` in its folder. A line is ``name = kind``; it goes on in indented lines.

- ``{name: kind, other?: kind}`` is a record; ``other`` is left out where it does not fit. Fields that are not named stay as they
  are, in ``{! }`` they are left out. ``...name`` stands for the fields of another record.
- ``name: kind = value`` writes ``value`` for a field that is absent or empty, and for one that holds something of another kind.
  ``else other`` writes ``other`` for the latter. The record is left out where there is no value, or ``required`` stands for one.
- ``[kind]`` is a list, without the entries that do not fit; ``all[kind]`` is a list that fits only if all its entries do.
- ``one | other``, ``"word"`` and ``/pattern/`` mean what they do elsewhere; :data:`NAMED` has ``text``, ``count`` and so on.
"""

from __future__ import annotations

import json
import pkgutil
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from .decoding import says
from .encoding import tell_unwritten

Fits = Callable[[Any], bool]
Kind = Any
"""A check (:data:`Fits`), a word, a slice that text is cut to, a list of one kind, a :data:`Shape`, or an :class:`Either`."""
Shape = Mapping[str, tuple[Any, ...]]
"""The fields of a record: a kind, what is written for one that is absent or empty, and, if that differs, of another kind.

``ABSENT`` leaves the field out, ``REQUIRED`` the record.
"""
ABSENT: Any = object()
REQUIRED: Any = object()


class Closed(dict[str, tuple[Any, ...]]):
    """A shape of records that have no other fields."""


class Either:
    """A value that is of any of these ``kinds``."""

    __slots__ = ("kinds",)

    def __init__(self, *kinds: Kind) -> None:
        self.kinds = kinds


def is_text(value: Any) -> bool:
    """Whether it is text."""
    return type(value) is str


def is_count(value: Any) -> bool:
    """Whether it is a whole number from 0 on."""
    return type(value) is int and value >= 0


def is_flag(value: Any) -> bool:
    """Whether it is true or false."""
    return type(value) is bool


def nullable(kind: Fits) -> Fits:
    """Whether it is null, or fits."""
    return lambda value: value is None or kind(value)


def within(low: float, high: float) -> Fits:
    """Whether it is a number between two others, which it may be."""
    return lambda value: type(value) in (int, float) and low <= value <= high


def one_of(*words: str) -> Fits:
    """Whether it is one of some words."""
    return lambda value: type(value) is str and value in words


def matching(pattern: str) -> Fits:
    """Whether it is text of a form."""
    form = re.compile(pattern)
    return lambda value: type(value) is str and form.fullmatch(value) is not None


def every(kind: Kind) -> Fits:
    """Whether it is a list of nothing but what fits as it is."""
    return lambda value: isinstance(value, list) and all(fit(entry, kind) == entry for entry in value)


def fitted(record: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """A vendor's record as it is written; of a shape without ``REQUIRED``."""
    written: dict[str, Any] = fit(record, shape)
    return written


def fit(value: Any, kind: Kind) -> Any:
    """A value as it is written; ``ABSENT`` for one that is not of the kind."""
    if isinstance(kind, Either):
        return next((found for one in kind.kinds if (found := fit(value, one)) is not ABSENT), ABSENT)
    if isinstance(kind, list):
        return entries(value, kind[0]) if isinstance(value, list) else ABSENT
    if isinstance(kind, Mapping):
        return _record(value, kind) if isinstance(value, Mapping) else ABSENT
    if isinstance(kind, slice):
        return value[kind] if is_text(value) else ABSENT
    fits = value == kind if isinstance(kind, str) else kind(value)
    return value if fits else ABSENT


def entries(values: list[Any], kind: Kind) -> list[Any]:
    """The entries that fit, as they are written; the others are told."""
    written = [fit(value, kind) for value in values]
    for value, one in zip(values, written, strict=True):
        if one is ABSENT and says(value):
            tell_unwritten(value)
    return [one for one in written if one is not ABSENT]


def _record(record: Mapping[str, Any], shape: Shape) -> Any:
    written = {} if isinstance(shape, Closed) else dict(record)
    for name, (kind, *instead) in shape.items():
        value = record.get(name)
        found = fit(value, kind) if name in record else ABSENT
        if found is ABSENT:
            found = instead[-1 if says(value) else 0]
        if found is REQUIRED:
            return ABSENT
        if found is not ABSENT:
            written[name] = found
        else:
            written.pop(name, None)
    return written


MOST_TITLE = 512
NAMED: Mapping[str, Kind] = {
    "any": lambda _value: True,
    "count": is_count,
    "flag": is_flag,
    "name": lambda value: is_text(value) and value != "",
    "nothing": lambda _value: False,
    "null": lambda value: value is None,
    "number": lambda value: type(value) in (int, float),
    "page": lambda value: is_count(value) and value > 0,
    "record": lambda value: isinstance(value, Mapping),
    "text": is_text,
    "texts": lambda value: isinstance(value, Mapping) and all(map(is_text, value.values())),
    "title": slice(MOST_TITLE),
    "whole": lambda value: type(value) is int,
}


@cache
def kinds(folder: str) -> Mapping[str, Kind]:
    """The kinds of records in the answers of a format, by name; ``folder`` is where its ``answers.txt`` stands."""
    known: dict[str, Kind] = dict(NAMED)
    for line in (pkgutil.get_data(__package__, f"{folder}/answers.txt") or b"").decode().replace("\n ", " ").splitlines():
        name, _, text = line.partition(" = ")
        if text and not name.startswith("#"):
            known[name] = _Notation(text, known).kind()
    return known


_TOKEN = re.compile(r'\s*(\.\.\.|all\[|\{!|/[^/]+/|"[^"]*"|\w+|\S)')


class _Notation:
    """Reads a kind from its text in ``answers.txt``."""

    def __init__(self, text: str, known: Mapping[str, Kind]) -> None:
        self._text, self._known, self._place = text, known, 0

    def kind(self) -> Kind:
        """The kind that stands next."""
        found = [self._one()]
        while self._takes("|"):
            found.append(self._one())
        return found[0] if len(found) == 1 else Either(*found)

    def _next(self) -> str:
        found = _TOKEN.match(self._text, self._place)
        self._place = found.end() if found else len(self._text)
        return found.group(1) if found else ""

    def _takes(self, sign: str) -> bool:
        place = self._place
        if self._next() == sign:
            return True
        self._place = place
        return False

    def _one(self) -> Kind:
        sign = self._next()
        if sign in ("[", "all["):
            inner = self.kind()
            self._next()
            return [inner] if sign == "[" else every(inner)
        if sign in ("{", "{!"):
            return self._fields({} if sign == "{" else Closed())
        if sign[0] in '"/':
            return sign[1:-1] if sign[0] == '"' else matching(sign[1:-1])
        return self._known[sign]

    def _fields(self, fields: dict[str, tuple[Any, ...]]) -> Shape:
        while (name := self._next()) != "}":
            if name == "...":
                fields |= self._known[self._next()]
            elif name != ",":
                missing = ABSENT if self._takes("?") else REQUIRED
                self._next()
                kind = self.kind()
                instead = self._value() if self._takes("=") else missing
                fields[name] = (kind, instead, self._value()) if self._takes("else") else (kind, instead)
        return fields

    def _value(self) -> Any:
        if self._takes("required"):
            return REQUIRED
        value, self._place = json.JSONDecoder().raw_decode(self._text, self._place + 1)
        return value
