"""What a vendor's schema wants of the records in an answer, and how a record that a vendor left something out of is filled in.

Clients that check an answer by the published schema refuse one that lacks a field, so the servers write no such record, whoever
sent it. What is filled in says nothing: null where the schema has it, else 0 or an empty text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Fits = Callable[[Any], bool]
Shape = Mapping[str, tuple["Fits | Shape", Any]]
"""The fields that a vendor's schema wants of a record: what fits there, or the shape of a record in it, and what stands there else.

``ABSENT`` is for a field that may be missing.
"""
ABSENT: Any = object()


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


def fitted(record: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """A record of a vendor's in which nothing is missing that clients count on, and nothing of another kind stands."""
    told = dict(record)
    for name, (kind, neutral) in shape.items():
        value = told.get(name, ABSENT)
        if isinstance(kind, Mapping) and isinstance(value, Mapping):
            told[name] = fitted(value, kind)
        elif isinstance(kind, Mapping) or value is ABSENT or not kind(value):
            told[name] = neutral
        if told[name] is ABSENT:
            del told[name]
    return told
