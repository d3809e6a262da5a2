"""Tables of words, written as texts with blanks between the words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def words(*texts: str) -> tuple[str, ...]:
    """Return the words of all texts, in order."""
    return tuple(" ".join(texts).split())


def by_word(table: Mapping[T, Iterable[str]]) -> dict[str, T]:
    """Return the meaning of each word; the table has the words of each meaning."""
    return {word: meaning for meaning, texts in table.items() for word in words(*texts)}
