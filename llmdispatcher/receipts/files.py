"""Receipts as files: JSON and JSON Lines, alone or with the rows of their calls; whatever holds receipts, read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

import attrs

from ..errors import ConfigError, InvalidRequest
from .canonical import parsed
from .checking import CertifiedCall
from .forms import CERTIFIED, faults
from .receipt import Receipt

Source = Receipt | Mapping[str, Any] | Path | str | Iterable[Receipt | Mapping[str, Any]]
"""A receipt, its fields, JSON of one or of a list, several receipts in their order, or the path of a file of JSON or JSON Lines."""


@attrs.frozen
class Item:
    """A receipt's fields, as they are; the rows of its calls where they came along; what was wrong with reading them."""

    document: Any
    calls: tuple[CertifiedCall, ...] | None = None
    faults: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class Read:
    """What a source held: one receipt, or several as a chain."""

    items: tuple[Item, ...]
    chain: bool


def read(source: Source) -> Read:
    """Everything in a source; what is no receipt becomes an item that says so.

    Raises :class:`InvalidRequest` for a text that is not JSON, :class:`ConfigError` for a file that cannot be read.
    """
    if isinstance(source, Path):
        return _of_file(source)
    if isinstance(source, str):
        return _of_value(parsed(source, "receipts"))
    if isinstance(source, Receipt | Mapping):
        return Read((_item(source),), chain=False)
    return Read(tuple(map(_item, source)), chain=True)


def _of_file(path: Path) -> Read:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"receipts: {path} cannot be read ({error.strerror}); give a file of JSON or JSON Lines") from None
    if path.suffix != ".jsonl":
        return _of_value(parsed(content, str(path)))
    return Read(tuple([_line(line, number) for number, line in enumerate(content.splitlines(), 1) if line.strip()]), chain=True)


def _line(line: bytes, number: int) -> Item:
    try:
        return _item(parsed(line, f"line {number}"))
    except InvalidRequest as error:
        return Item(None, None, (("", error.message),))


def _of_value(value: Any) -> Read:
    if isinstance(value, list):
        return Read(tuple(map(_item, value)), chain=True)
    return Read((_item(value),), chain=False)


def _item(given: Any) -> Item:
    if isinstance(given, Receipt):
        return Item(given.as_dict())
    if not isinstance(given, Mapping) or "receipt" not in given:
        return Item(dict(given) if isinstance(given, Mapping) else given)
    entries = given.get("calls")
    if not isinstance(entries, list):
        return Item(given["receipt"], None, (("calls", "it is not a list"),))
    found = tuple(
        [(path, text) for number, entry in enumerate(entries) for path, text in faults(entry, CERTIFIED, f"calls[{number}]")]
    )
    calls = None if found else tuple([CertifiedCall(entry["call_id"], entry["digest"], entry["row"]) for entry in entries])
    return Item(given["receipt"], calls, found)


def written(items: Iterable[tuple[Receipt, Iterable[CertifiedCall] | None]], file: TextIO, *, lines: bool) -> int:
    """Write JSON Lines, or a list in JSON; each receipt alone, or with the rows of its calls. Tells how many receipts."""
    count = 0
    for count, (receipt, calls) in enumerate(items, 1):
        file.write("" if lines else "[\n" if count == 1 else ",\n")
        file.write(receipt.text if calls is None else _bundle(receipt, calls))
        file.write("\n" if lines else "")
    file.write("" if lines else "\n]\n" if count else "[]\n")
    return count


def _bundle(receipt: Receipt, calls: Iterable[CertifiedCall]) -> str:
    entries = [json.dumps({"call_id": call.call_id, "digest": call.digest, "row": call.facts}) for call in calls]
    return f'{{"receipt":{receipt.text},"calls":[{",".join(entries)}]}}'
