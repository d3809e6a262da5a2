"""The address of a ledger: a path of an SQLite file, a URL of a PostgreSQL database, or an application's SQLAlchemy engine.

A password is never shown. How an address of PostgreSQL is read: ``types/databases.py``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ...errors import ConfigError
from ...runtime import state_folder, user_path
from ...types import DatabaseAddress, is_server

_NOWHERE = "postgresql (connected by the application)"
"""Shown for an engine whose URL names no database, since the application connects it by a function."""

_NO_FILE = (
    "ledger: this is the address of a server in a form that is not read here (it is not shown, it may hold a password); write"
    " postgresql://user:password@host/name, with / ? # @ in the password as %2F %3F %23 %40, and begin an unusual path with ./ or /"
)
_KIND = re.compile(r"[a-z][a-z0-9+]{1,30}")


@attrs.frozen(kw_only=True)
class Address:
    """``path`` is the file, if it is one; ``shown`` is safe to show.

    ``server`` are libpq's parameters, ``settings`` what each transaction sets in PostgreSQL, by name. ``schema`` is where the
    tables are, created if it is missing; without it they are where ``search_path`` leads.
    """

    shown: str
    path: Path | None = None
    schema: str | None = None
    server: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    settings: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    @property
    def spool(self) -> Path:
        """The folder where rows wait while the database is unavailable: beside the file, in the user's state folder, or temporary.

        Raises :class:`ConfigError`, which names ``spool=``, if there is none, or if nothing tells one database from another.
        """
        if self.path is not None:
            return self.path.with_name(self.path.name + ".spool")
        if self.shown == _NOWHERE:
            raise ConfigError(
                "engine: its URL does not say which database it leads to; give spool=, a folder for this ledger alone"
            )
        schema = self.settings.get("search_path")
        of = self.shown if schema is None else f"{self.shown}#{schema}"  # two schemas are two ledgers
        name = hashlib.sha256(of.encode()).hexdigest()[:16]
        return state_folder("spool") / "ledger" / name

    def check_folder(self) -> None:
        """Raise :class:`ConfigError` if the file's folder is missing: a misspelt path would begin another ledger."""
        folder = self.path.parent if self.path is not None else None
        try:
            if folder is not None:
                folder.stat()
        except FileNotFoundError:
            raise ConfigError(f"ledger: the folder {str(folder)!r} is not there; make it, or correct the path") from None
        except OSError:
            pass  # the first call tells what is wrong with it


def address(value: Any, schema: str | None = None) -> Address:
    """Read a path (``calls.db``, ``sqlite:///calls.db``) or ``postgresql://user@host/name``. Raises :class:`ConfigError`."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"ledger: {type(value).__name__} is no place; give a path, or postgresql://user@host/name")
    if DatabaseAddress.is_one(value):
        found = DatabaseAddress.of(value, "ledger")
        return _with_schema(Address(shown=found.shown, server=found.server, settings=found.settings), schema)
    kind, colon, rest = value.strip().partition("://")
    kind = kind.lower()
    if colon and kind == "sqlite":
        return _with_schema(_parse_file(rest.removeprefix("/")), schema)
    if (colon and _KIND.fullmatch(kind)) or kind.startswith("file:"):
        kind = kind.partition(":")[0]
        raise ConfigError(f"ledger: {kind!r} is no kind of database that it knows; give a path, or postgresql://user@host/name")
    return _with_schema(_parse_file(value), schema)


def address_of(engine: Any, schema: str | None = None) -> Address:
    """The address of a SQLAlchemy engine. Raises :class:`ConfigError` for one that a ledger cannot use."""
    dialect = DatabaseAddress.dialect_of(engine)
    if dialect == "sqlite":
        return _with_schema(_parse_file((engine.url.database or "").partition("?")[0].removeprefix("file:")), schema)
    if dialect != "postgresql":
        raise ConfigError(f"engine: {dialect!r} is no kind of database that a ledger knows; use SQLite or PostgreSQL")
    shown = DatabaseAddress.describe(engine)
    return _with_schema(Address(shown=shown if shown != "postgresql:///" else _NOWHERE), schema)


def _with_schema(found: Address, schema: str | None) -> Address:
    if schema is None:
        return found
    quoted = DatabaseAddress.quote_schema(schema)
    if found.path is not None:
        raise ConfigError(f"schema: {schema!r} is for PostgreSQL; an SQLite file has no schemas, so leave it out")
    return attrs.evolve(found, schema=schema, settings={**found.settings, "search_path": quoted})


def _parse_file(path: str) -> Address:
    if path in ("", ":memory:"):
        raise ConfigError("ledger: a database in memory cannot be shared or kept; give the path of a file")
    if is_server(path):  # a file of that name would show the password
        raise ConfigError(_NO_FILE)
    found = user_path(path, "ledger").absolute()
    return Address(shown=str(found), path=found)
