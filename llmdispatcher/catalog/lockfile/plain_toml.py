"""A small TOML writer without dependencies, for new files and for the text in messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')


def document(tree: Mapping[str, Any], *tables: str) -> str:
    """Return a file, or the table of that path: values first, then a section for each table and each entry of a list of tables."""
    return "\n".join(_section(tree, tables)).strip("\n") + "\n"


def _section(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    inner = {key: value for key, value in tree.items() if isinstance(value, Mapping) or _is_tables(value)}
    plain = {key: value for key, value in tree.items() if key not in inner}
    if path and (plain or not inner):
        yield f"\n[{_dotted(path)}]"
    yield from [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in inner.items():
        if isinstance(value, Mapping):
            yield from _section(value, (*path, key))
            continue
        for entry in value:
            yield f"\n[[{_dotted((*path, key))}]]"
            yield from [f"{_key(name)} = {_value(item)}" for name, item in entry.items()]


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


def _dotted(path: Sequence[str]) -> str:
    return ".".join(map(_key, path))


def _key(key: str) -> str:
    return key if _BARE.match(key) else _text(key)


def _text(value: str) -> str:
    return '"' + _ESCAPED.sub(lambda found: _ESCAPES.get(found[0]) or f"\\u{ord(found[0]):04x}", value) + '"'


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "{" + ", ".join([f"{_key(key)} = {_value(item)}" for key, item in value.items()]) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)
