"""Shapes: which keys and kinds of values JSON has, whatever the values are; and where stored texts lie."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

SHAPES = Path(__file__).parent / "shapes"
AGAIN = "python -m tests.stored.write"

_KINDS = {type(None): "null", bool: "true or false", int: "int", float: "float", str: "text"}


class Shaper:
    """Takes the shapes of values; of classes of values it collects the fields. Below keys in ``data`` the names are data."""

    def __init__(self, data: Iterable[str] = ()) -> None:
        self._data = frozenset(data)
        self._classes: dict[str, list[Any]] = {}

    def shape(self, value: Any) -> Any:
        """The keys and kinds of a value. All items of a list are told as one, an object by its class."""
        if isinstance(value, Mapping):
            return {str(key): self._member(str(key), inner) for key, inner in value.items()}
        if attrs.has(type(value)):
            return self._object(value)
        if isinstance(value, list | tuple | set | frozenset):
            return [_joined([self.shape(item) for item in value])] if value else []
        return _KINDS.get(type(value), type(value).__name__)

    def classes(self) -> dict[str, Any]:
        """The fields of each class that was met."""
        return {name: _joined(found) for name, found in self._classes.items()}

    def _object(self, value: Any) -> str:
        name = type(value).__name__
        known = self._classes.setdefault(name, [])
        fields = [field.name for field in attrs.fields(type(value)) if not field.name.startswith("_")]
        known.append({field: self._member(field, getattr(value, field)) for field in fields})
        return name

    def _member(self, key: str, value: Any) -> Any:
        if key in self._data and isinstance(value, Mapping):
            return {"*": _joined([self.shape(inner) for inner in value.values()])} if value else {}
        return self.shape(value)


def _joined(shapes: list[Any]) -> Any:
    """Several shapes as one: a key that is not in all is marked, kinds that differ are listed."""
    mappings, lists = [[one for one in shapes if isinstance(one, kind)] for kind in (dict, list)]
    kinds = sorted({kind for one in shapes if isinstance(one, str) for kind in one.split(" | ")})
    found: list[Any] = [" | ".join(kinds)] if kinds else []
    if mappings:
        found.append(_joined_mappings(mappings))
    if lists:
        items = [item for one in lists for item in one]
        found.append([_joined(items)] if items else [])
    return found[0] if len(found) == 1 else {"(either)": found}


def _joined_mappings(found: list[dict[str, Any]]) -> dict[str, Any]:
    keys = dict.fromkeys(key.removesuffix("?") for one in found for key in one)
    told = {}
    for key in keys:
        theirs = [one.get(key, one.get(f"{key}?")) for one in found if key in one or f"{key}?" in one]
        told[key if all(key in one for one in found) else f"{key}?"] = _joined(theirs)
    return told


def as_text(value: Any) -> str:
    """A stored JSON text, sorted, so that a difference is easy to read."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def difference(name: str, now: str) -> str:
    """How a text differs from what is stored; empty where it does not."""
    path = SHAPES / name
    stored = path.read_text(encoding="utf-8") if path.exists() else ""
    if stored == now:
        return ""
    lines = difflib.unified_diff(stored.splitlines(), now.splitlines(), f"stored {name}", "now", lineterm="", n=4)
    return "\n".join([f"{name} is not what is stored. If that is meant: {AGAIN}, and review the difference.", *lines])
