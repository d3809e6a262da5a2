"""The rows of a LiteLLM proxy's database, of a plain dump of PostgreSQL or of JSON.

Tables and columns: schema.prisma of LiteLLM 1.109 (2026-11). A key's ``token`` is the SHA-256 of the key in hex.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

from ..errors import ConfigError
from .policies import read_moment

_PREFIX = "LiteLLM_"
WANTED = ("BudgetTable", "OrganizationTable", "TeamTable", "UserTable", "TeamMembership", "VerificationToken", "ProxyModelTable")
"""The tables whose rows are kept, without their prefix; of the others the rows are counted."""
MOST_ROWS = 1_000_000
_MOST_JSON = 512 << 20
_COPY = re.compile(r'COPY (?:[\w"]+\.)?"?(?P<table>\w+)"? \((?P<columns>[^)]*)\) FROM stdin;')
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPE = re.compile(r"\\(.)")
_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,{}"]+)')


@attrs.frozen
class Dump:
    """The rows of the wanted tables by table, and how many the others have. The ``repr`` shows none."""

    rows: Mapping[str, Sequence[DumpRow]] = attrs.field(repr=False)
    others: Mapping[str, int]


class DumpRow:
    """One row, whose columns are read as what they are; a column that is absent, or no such value, is ``None``."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = columns

    def text(self, name: str) -> str | None:
        """A text that is not blank."""
        value = self._columns.get(name)
        return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip() else None

    def number(self, name: str) -> float | None:
        """A number from 0."""
        value = self._columns.get(name)
        try:
            number = float(value) if value is not None and not isinstance(value, bool) else math.nan
        except (TypeError, ValueError):
            return None
        return number if 0 <= number < 1e15 else None

    def flag(self, name: str) -> bool:
        """Whether it is true."""
        return self._columns.get(name) in (True, "t", "true")

    def texts(self, name: str) -> list[str]:
        """The texts of an array, or of a JSON list."""
        value = self._columns.get(name)
        if isinstance(value, str) and value.startswith("{"):
            items = [_ESCAPE.sub(r"\1", quoted) if quoted else plain for quoted, plain in _ITEM.findall(value[1:-1])]
            return [item for item in items if item != "NULL"]
        value = _parsed(value)
        return [str(item) for item in value] if isinstance(value, list) else []

    def table(self, name: str) -> dict[str, Any]:
        """A JSON object; empty where there is none."""
        value = _parsed(self._columns.get(name))
        return value if isinstance(value, dict) else {}

    def objects(self, name: str) -> list[dict[str, Any]]:
        """The objects of a JSON list."""
        value = _parsed(self._columns.get(name))
        return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []

    def moment(self, name: str) -> datetime | None:
        """A time, UTC where it has no zone."""
        value = self._columns.get(name)
        try:
            return read_moment(name, value) if isinstance(value, str) else None
        except ConfigError:
            return None


def _parsed(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value


def read_dump(path: Path) -> Dump:
    """Read a dump that ``pg_dump`` wrote as plain text, or an object of JSON with a list of rows for each table.

    Raises :class:`ConfigError` for a file that is neither.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
        if head.startswith(b"PGDMP") or head[:2] == b"\x1f\x8b":
            raise ConfigError(f"{path}: packed; make it with `pg_dump --data-only --format=plain`")
        if head.lstrip()[:1] == b"{":
            return _of_json(path)
        with path.open(encoding="utf-8", newline="\n") as lines:
            return _collect(path, _copied(path, lines))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8; make it with `pg_dump --encoding=UTF8`") from None


def _of_json(path: Path) -> Dump:
    if path.stat().st_size > _MOST_JSON:
        raise ConfigError(f"{path}: more than {_MOST_JSON:,} bytes; give a dump of pg_dump")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    tables = {str(name): rows for name, rows in found.items() if isinstance(rows, list)}
    return _collect(path, ((name, row) for name, rows in tables.items() for row in rows if isinstance(row, dict)))


def _collect(path: Path, found: Iterable[tuple[str, Mapping[str, Any]]]) -> Dump:
    rows: dict[str, list[DumpRow]] = {name: [] for name in WANTED}
    others: dict[str, int] = {}
    kept = 0
    for table, row in found:
        name = table.removeprefix(_PREFIX)
        if name not in rows:
            others[name] = others.get(name, 0) + 1
            continue
        kept += 1
        if kept > MOST_ROWS:
            raise ConfigError(f"{path}: more than {MOST_ROWS:,} rows of organisations, teams, users and keys")
        rows[name].append(DumpRow(row))
    if not kept and not others:
        raise ConfigError(f"{path}: no table of LiteLLM is in it; make it with `pg_dump --data-only --format=plain`")
    return Dump(rows, others)


def _copied(path: Path, lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of all COPY blocks, each with its table."""
    table, columns = "", [""]
    for line in lines:
        if table:
            if line == "\\.\n":
                table = ""
            elif table.removeprefix(_PREFIX) not in WANTED:
                yield table, {}
            else:
                values = line.removesuffix("\n").split("\t")
                yield table, {name: _value(text) for name, text in zip(columns, values, strict=False)}
        elif (block := _COPY.match(line)) is not None and block["table"].startswith(_PREFIX):
            table, columns = block["table"], [name.strip().strip('"') for name in block["columns"].split(",")]
        elif line.startswith("INSERT INTO") and _PREFIX in line[:80]:
            raise ConfigError(f"{path}: it has INSERTs; make it without --inserts and --column-inserts")
    if table:
        raise ConfigError(f"{path}: it ends within {table}; make it anew")


def _value(text: str) -> str | None:
    if text == "\\N":
        return None
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), text) if "\\" in text else text
