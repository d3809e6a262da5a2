"""Lists of words for tables, written as texts with blanks between the words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def words(*texts: str) -> tuple[str, ...]:
    """Return the words of all texts, in order."""
    return tuple(" ".join(texts).split())


def by_word(table: Mapping[T, Iterable[str]]) -> dict[str, T]:
    """Return what each word stands for, of a table that has the words of each meaning."""
    return {word: meaning for meaning, texts in table.items() for word in words(*texts)}
