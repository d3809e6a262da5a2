"""Change a TOML file and keep its comments. It is loaded when such a file is saved, since it needs tomlkit, an extra."""

from __future__ import annotations

import tomllib
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array, InlineTable, Table

from ..._text import room_logger
from . import writing
from .reading import Contents, Source

logger = room_logger("catalog")


def changed(source: Source, contents: Contents) -> str:
    """The text that was read, with what has changed in it."""
    wanted: dict[str, Any] = tomllib.loads(source.text)
    writing.apply(wanted, source.contents, contents, writing.itself)
    text = _edited(source, contents)
    if text is not None and _means(text) == wanted:
        return text
    logger.warning("the lockfile's tables stand in an order in which its comments cannot be kept; its values are")
    return tomlkit.dumps(wanted)


def _edited(source: Source, contents: Contents) -> str | None:
    """The text with the changes in place; ``None`` for one of the rare shapes that tomlkit reads and cannot change."""
    try:
        document = tomlkit.parse(source.text)
        writing.apply(document, source.contents, contents, _item)
        return tomlkit.dumps(document)
    except (TOMLKitError, ValueError, TypeError, LookupError):
        return None


def _item(value: Any, inside: Any) -> Any:
    """An item for the tree; a table that is new has a blank line behind it, but for what is put into a single line."""
    if isinstance(inside, Array | InlineTable):
        return value
    item = tomlkit.item(value)
    if isinstance(item, Table) and value:
        item.add(tomlkit.nl())
    return item


def _means(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
