"""Where a ledger is: a path of an SQLite file or a URL of a PostgreSQL database. The password is never shown."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import attrs

from ...errors import ConfigError
from ...runtime import state_folder, user_path

SERVERS = ("postgresql", "postgres", "postgresql+psycopg")


@attrs.frozen(kw_only=True)
class Address:
    """``url`` is SQLAlchemy's, ``path`` the file where there is one, ``shown`` what may be shown to people."""

    url: str = attrs.field(repr=False)
    shown: str
    path: Path | None = None

    @property
    def spool(self) -> Path:
        """The folder where rows wait while the database is away: beside the file, in the user's state folder, or a temporary one.

        Raises :class:`ConfigError`, which names ``spool=``, where there is none.
        """
        if self.path is not None:
            return self.path.with_name(self.path.name + ".spool")
        name = hashlib.sha256(self.shown.encode()).hexdigest()[:16]
        return state_folder("spool") / "ledger" / name


def address(value: Any) -> Address:
    """Read a path (``calls.db``, ``sqlite:///calls.db``) or ``postgresql://user@host/name``. Raises :class:`ConfigError`."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"ledger: {type(value).__name__} is no place; give a path, or postgresql://user@host/name")
    kind, colon, rest = value.partition("://")
    if not colon:
        return _file(value)
    if kind == "sqlite":
        return _file(rest[1:] if rest.startswith("/") else rest)
    if kind not in SERVERS:
        raise ConfigError(f"ledger: {kind!r} is no kind of database that it knows; give a path, or postgresql://user@host/name")
    return _server(rest)


def _file(path: str) -> Address:
    if path in ("", ":memory:"):
        raise ConfigError("ledger: a database in memory cannot be shared or kept; give the path of a file")
    found = user_path(path, "ledger").absolute()
    return Address(url=f"sqlite+pysqlite:///{found}", shown=str(found), path=found)


def _server(rest: str) -> Address:
    url = urlsplit(f"postgresql+psycopg://{rest}")
    host = url.netloc.rpartition("@")[2]
    user = url.username or ""
    shown = urlunsplit(("postgresql", f"{user}@{host}" if user else host, url.path, "", ""))
    return Address(url=url.geturl(), shown=shown)
