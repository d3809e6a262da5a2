"""The part of writing that keeps the comments of a TOML file; loaded where one is saved, since tomlkit is an extra."""

from __future__ import annotations

import logging
import tomllib
from typing import Any

import tomlkit
from tomlkit.items import Array, Table

from . import writing
from .reading import Source
from .values import Contents

logger = logging.getLogger(__name__)


def changed(source: Source, contents: Contents) -> str:
    """The text that was read, with what has changed in it."""
    document = tomlkit.parse(source.text)
    writing.apply(document, source.contents, contents, _item)
    wanted: dict[str, Any] = tomllib.loads(source.text)
    writing.apply(wanted, source.contents, contents, writing.itself)
    text = tomlkit.dumps(document)
    if _means(text) == wanted:
        return text
    logger.warning("the lockfile's tables stand in an order in which its comments cannot be kept; its values are")
    return tomlkit.dumps(wanted)


def _item(value: Any, inside: Any = None) -> Any:
    """An item for the tree; a table that is new has a blank line behind it, but in a list in one line."""
    if isinstance(inside, Array):
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
