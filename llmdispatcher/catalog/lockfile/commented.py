"""Change a TOML file and keep its comments. This module needs tomlkit, an extra, so it is loaded when such a file is saved."""

from __future__ import annotations

import tomllib
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array, InlineTable, Table

from ..._text import room_logger
from . import writing
from .reading import Contents, LockfileText

logger = room_logger("catalog")


def change_text(source: LockfileText, contents: Contents) -> str:
    """Return the text that was read, with the changes."""
    wanted: dict[str, Any] = tomllib.loads(source.text)
    writing.apply(wanted, source.contents, contents, writing.as_is)
    text = _edit(source, contents)
    if text is not None and _parse(text) == wanted:
        return text
    logger.warning("the lockfile's tables stand in an order in which its comments cannot be kept; its values are")
    return tomlkit.dumps(wanted)


def _edit(source: LockfileText, contents: Contents) -> str | None:
    """The text with the changes in place; ``None`` for a rare shape that tomlkit reads and cannot change."""
    try:
        document = tomlkit.parse(source.text)
        writing.apply(document, source.contents, contents, _make_item)
        return tomlkit.dumps(document)
    except (TOMLKitError, ValueError, TypeError, LookupError):
        return None


def _make_item(value: Any, inside: Any) -> Any:
    """An item for the tree; a new table has a blank line behind it, unless it is inline."""
    if isinstance(inside, Array | InlineTable):
        return value
    item = tomlkit.item(value)
    if isinstance(item, Table) and value:
        item.add(tomlkit.nl())
    return item


def _parse(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
