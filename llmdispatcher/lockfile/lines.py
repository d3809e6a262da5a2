"""In which line of a TOML or JSON text something stands, for messages; neither parser of the standard library tells."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

Path = tuple[str | int, ...]
"""Keys of tables and numbers of list entries, from the outside in."""

_DECODER = json.JSONDecoder()
_BLANK = " \t\r\n"


def written(path: Path) -> str:
    """``profiles.prod.bindings[2].models``."""
    return "".join([f"[{step}]" if isinstance(step, int) else f".{step}" for step in path]).lstrip(".")


def line_of(text: str, form: str, path: Path) -> int | None:
    """The line, counted from 1, where ``path`` or the nearest thing around it stands; ``None`` where that cannot be told."""
    if form == "json":
        return _json_line(text, path)
    best: Path = ()
    line = None
    for number, here in _toml_places(text):
        if path[: len(here)] == here and len(here) > len(best):
            best, line = here, number
    return line


def _toml_places(text: str) -> Iterator[tuple[int, Path]]:
    """What each line of a TOML text begins: a table, or a key in one."""
    table: Path = ()
    counts: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            steps = _parsed(stripped)
            if steps:
                table = _numbered(steps, counts, stripped.startswith("[["))
                yield number, table
        elif "=" in stripped:
            yield number, (*table, *_parsed(f"{stripped.partition('=')[0]} = 0"))


def _parsed(line: str) -> Path:
    """The keys that one line of TOML spells; none where it is no line of its own."""
    try:
        inner: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    steps: list[str | int] = []
    while isinstance(inner, dict | list) and inner:
        step, inner = next(iter(inner.items())) if isinstance(inner, dict) else (None, inner[0])
        steps += [step] if step is not None else []
    return tuple(steps)


def _numbered(steps: Path, counts: dict[Path, int], more: bool) -> Path:
    """A header's keys with the numbers of the list entries that it stands in; ``more`` begins a new one."""
    if more:
        counts[steps] = counts.get(steps, -1) + 1
    path: list[str | int] = []
    for place, step in enumerate(steps, 1):
        path.append(step)
        if steps[:place] in counts:
            path.append(counts[steps[:place]])
    return tuple(path)


def _json_line(text: str, path: Path) -> int | None:
    try:
        position = _descend(text, path)
    except (ValueError, IndexError):
        return None
    return text.count("\n", 0, position) + 1


def _descend(text: str, path: Sequence[str | int]) -> int:
    """Where the value at ``path`` begins, or the nearest one around it."""
    at = _past(text, 0)
    for step in path:
        inner = next((place for name, place in _members(text, at) if name == step), None)
        if inner is None:
            break
        at = inner
    return at


def _members(text: str, at: int) -> Iterator[tuple[str | int, int]]:
    """The keys, or numbers, of what stands in a JSON object or list, each with the place of its value."""
    if text[at] not in "{[":
        return
    keyed, number = text[at] == "{", 0
    at = _past(text, at + 1)
    while text[at] not in "}]":
        name: str | int = number
        if keyed:
            name, at = _DECODER.raw_decode(text, at)
            at = _past(text, _past(text, at) + 1)
        yield name, at
        _, at = _DECODER.raw_decode(text, at)
        at = _past(text, at)
        at = _past(text, at + 1) if text[at] == "," else at
        number += 1


def _past(text: str, at: int) -> int:
    """The first place from ``at`` on that is not blank."""
    while text[at] in _BLANK:
        at += 1
    return at
