"""Where a ledger is: a path of an SQLite file or a URL of a PostgreSQL database. The password is never shown."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import attrs

from ...errors import ConfigError
from ...types import ServerAddress, is_server

SERVERS = ("postgresql", "postgres", "postgresql+psycopg")
_KIND = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


@attrs.frozen(kw_only=True)
class Address:
    """``url`` is SQLAlchemy's, ``path`` the file where there is one, ``shown`` what may be shown to people."""

    url: str = attrs.field(repr=False)
    shown: str
    path: Path | None = None

    @property
    def spool(self) -> Path:
        """The folder where rows wait while the database is away: beside the file, or in the user's own state folder."""
        if self.path is not None:
            return self.path.with_name(self.path.name + ".spool")
        name = hashlib.sha256(self.shown.encode()).hexdigest()[:16]
        return Path("~/.local/state/llmdispatcher/ledger").expanduser() / name


def address(value: Any) -> Address:
    """Read a path (``calls.db``, ``sqlite:///calls.db``) or ``postgresql://user@host/name``. Raises :class:`ConfigError`."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"ledger: {type(value).__name__} is no place; give a path, or postgresql://user@host/name")
    found = _KIND.match(value.strip())
    kind = found[1].lower() if found is not None else ""
    if not is_server(value) and kind not in SERVERS:  # a path may have a colon
        return _file(value)
    if kind == "sqlite":
        path = value.strip().partition("://")[2]
        return _file(path[1:] if path.startswith("/") else path)
    if "://" in value and kind not in SERVERS:
        raise ConfigError(f"ledger: {kind!r} is no kind of database that it knows; give a path, or postgresql://user@host/name")
    return _server(ServerAddress.of(value, "ledger"))


def _file(path: str) -> Address:
    if path in ("", ":memory:"):
        raise ConfigError("ledger: a database in memory cannot be shared or kept; give the path of a file")
    found = Path(path).expanduser().absolute()
    return Address(url=f"sqlite+pysqlite:///{found}", shown=str(found), path=found)


def _server(given: ServerAddress) -> Address:
    """Several hosts are parameters of the URL, as SQLAlchemy takes them."""
    shown = attrs.evolve(given, scheme="postgresql").shown
    told = attrs.evolve(given, scheme="postgresql+psycopg")
    if len(given.hosts) > 1:
        hosts, ports = zip(*[_place(host) for host in given.hosts], strict=True)
        more = (("host", ",".join(hosts)), *((("port", ",".join(ports)),) if any(ports) else ()))
        told = attrs.evolve(told, hosts=(), query=(*given.query, *more))
    return Address(url=told.url, shown=shown)


def _place(host: str) -> tuple[str, str]:
    """A host without the brackets of IPv6, and its port."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, ""
    return name.removeprefix("[").removesuffix("]"), port
