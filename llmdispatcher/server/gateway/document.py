"""A body as text in which single values can be replaced, while all else stays as it is, byte for byte."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

_REFERENCES = frozenset(("file_id", "file_ids", "vector_store_ids", "fileId", "fileIds", "fileSearchStoreNames", "container"))
"""Names of fields that refer to what a vendor keeps."""
_BLANKS = re.compile(r"[ \t\r\n]*")


class JsonText:
    """A JSON object as text, whose members can be replaced without touching anything else."""

    __slots__ = ("_spans", "_text", "refers", "value")

    def __init__(self, text: str, value: dict[str, Any], spans: Spans, *, refers: bool) -> None:
        self._text, self.value, self._spans, self.refers = text, value, spans, refers

    @classmethod
    def read(cls, body: bytes, *, folded: bool = False) -> JsonText | None:
        """Read a body; ``None`` where it is no object, or has a name twice.

        ``folded``: names that differ in underscores and case count as one in all objects, else in the outermost alone.
        """
        refers = False

        def make(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            nonlocal refers
            made = dict(pairs)
            if len(made) != len(pairs) or (folded and len(set(map(_fold, made))) != len(made)):
                raise ValueError("a name stands twice")
            if not refers and (not _REFERENCES.isdisjoint(made) or made.get("type") == "item_reference"):
                refers = True
            return made

        try:
            text = body.decode()
            scan = _scanner(make)
            spans = _members(text, _behind_blanks(text, 0), scan)
            value = make([(name, found) for name, _start, _end, found in spans.members])
        except (ValueError, StopIteration, IndexError, RecursionError):
            return None
        if len(set(map(_fold, value))) != len(value) or text[spans.end :].strip(" \t\r\n"):
            return None
        return cls(text, value, spans, refers=refers)

    def with_changes(self, changes: Mapping[tuple[str, ...], Any]) -> bytes:
        """The text with other values at some paths; at a path of one name that is not there a member is added."""
        text, spans = self._text, {name: (start, end) for name, start, end, _value in self._spans.members}
        cuts: list[tuple[int, int, str]] = []
        for path, value in changes.items():
            written = json.dumps(value)
            if path[0] in spans:
                start, end = spans[path[0]]
                for name in path[1:]:
                    inner = _members(text, start, _scanner(dict))
                    start, end = next((at, to) for known, at, to, _value in inner.members if known == name)
                cuts.append((start, end, written))
            else:
                comma = ", " if spans else ""
                cuts.append((self._spans.end - 1, self._spans.end - 1, f"{comma}{json.dumps(path[0])}: {written}"))
        pieces, at = [], 0
        for start, end, written in sorted(cuts):
            pieces += [text[at:start], written]
            at = end
        return "".join([*pieces, text[at:]]).encode()


_Scan = Callable[[str, int], tuple[Any, int]]


def _scanner(make: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> _Scan:
    """Reads one value at a place of a text, and tells where it ends."""
    scan: _Scan = json.JSONDecoder(object_pairs_hook=make).scan_once  # type: ignore[attr-defined]  # which json.loads uses
    return scan


def _fold(name: str) -> str:
    return name.replace("_", "").casefold()


class Spans(NamedTuple):
    """The members of one object with the places of their values, and the place behind its end."""

    members: Sequence[tuple[str, int, int, Any]]
    end: int


def _behind_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    assert found is not None, "it matches everything"
    return found.end()


def _members(text: str, at: int, scan: _Scan) -> Spans:
    """Raises :class:`ValueError`, :class:`StopIteration` or :class:`IndexError` where no object stands at a place."""
    if text[at] != "{":
        raise ValueError("no object")
    at = _behind_blanks(text, at + 1)
    members: list[tuple[str, int, int, Any]] = []
    if text[at] == "}":
        return Spans(members, at + 1)
    while True:
        if text[at] != '"':
            raise ValueError("no name")
        name, at = scan(text, at)
        at = _behind_blanks(text, at)
        if text[at] != ":":
            raise ValueError("no colon")
        start = _behind_blanks(text, at + 1)
        value, end = scan(text, start)
        members.append((name, start, end, value))
        at = _behind_blanks(text, end)
        if text[at] == "}":
            return Spans(members, at + 1)
        if text[at] != ",":
            raise ValueError("no comma")
        at = _behind_blanks(text, at + 1)
