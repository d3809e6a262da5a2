"""Where a ledger is: a path of an SQLite file, the address of a PostgreSQL database, or an engine of SQLAlchemy's that exists.

A password is never shown. An address of PostgreSQL means what it means to libpq, several hosts and sockets included
(https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING). What its ``options`` set is said in each transaction:
a pooler such as PgBouncer takes no options when a connection starts, and gives each transaction another one.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import attrs

from ...errors import ConfigError
from ...runtime import state_folder, user_path
from ...types import is_server

SERVERS = ("postgresql", "postgres", "postgresql+psycopg")

_NOWHERE = "postgresql (connected by the application)"
"""What is shown of an engine whose URL names no database, since a function of the application's connects it."""

_SHOWN = ("host", "port", "user", "dbname", "service")
"""What an address may say behind its ``?`` and is no secret, but tells one database from another."""


@attrs.frozen(kw_only=True)
class Address:
    """``path`` is the file where there is one, ``shown`` what may be shown to people.

    ``server`` are libpq's parameters, ``settings`` what each transaction sets in PostgreSQL, by name. ``schema`` is where the
    tables are to be, made where it is not there; else they are where ``search_path`` leads.
    """

    shown: str
    path: Path | None = None
    schema: str | None = None
    server: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    settings: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    @property
    def spool(self) -> Path:
        """The folder where rows wait while the database is away: beside the file, in the user's state folder, or a temporary one.

        Raises :class:`ConfigError`, which names ``spool=``, where there is none, or nothing tells one database from another.
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


def address(value: Any, schema: str | None = None) -> Address:
    """Read a path (``calls.db``, ``sqlite:///calls.db``) or ``postgresql://user@host/name``. Raises :class:`ConfigError`."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"ledger: {type(value).__name__} is no place; give a path, or postgresql://user@host/name")
    kind, colon, rest = value.strip().partition("://")
    kind = kind.lower()
    if colon and kind in SERVERS:
        return _in_schema(_server(rest), schema)
    if not colon and (is_server(value) or kind.partition(":")[0] in SERVERS):  # a file of that name would show the password
        raise ConfigError("ledger: the address of a server is written as postgresql://user@host/name")
    if (colon and kind != "sqlite") or kind.startswith("file:"):
        raise ConfigError(f"ledger: {kind!r} is no kind of database that it knows; give a path, or postgresql://user@host/name")
    return _in_schema(_file(value if not colon else rest.removeprefix("/")), schema)


def address_of(engine: Any, schema: str | None = None) -> Address:
    """Where an engine of SQLAlchemy's leads to. Raises :class:`ConfigError` for one that a ledger cannot use."""
    dialect = getattr(engine, "dialect", None)
    if dialect is None or not hasattr(engine, "pool"):
        raise ConfigError(f"engine: {type(engine).__name__} is no Engine; give what sqlalchemy.create_engine() returns")
    if dialect.is_async:
        raise ConfigError(f"engine: {dialect.driver} is a driver for asyncio; give an engine of postgresql+psycopg or sqlite")
    if dialect.name == "sqlite":
        return _in_schema(_file((engine.url.database or "").partition("?")[0].removeprefix("file:")), schema)
    if dialect.name != "postgresql":
        raise ConfigError(f"engine: {dialect.name!r} is no kind of database that a ledger knows; use SQLite or PostgreSQL")
    url = engine.url
    host = f"{url.host or ''}:{url.port}" if url.port else url.host or ""
    given = {name: ",".join(told) if isinstance(told, tuple) else told for name, told in url.query.items()}
    shown = _shown(quote(url.username or ""), host, quote(url.database or ""), given)
    return _in_schema(Address(shown=shown if shown != "postgresql:///" else _NOWHERE), schema)


def _in_schema(found: Address, schema: str | None) -> Address:
    if schema is None:
        return found
    if not isinstance(schema, str) or not schema.strip() or "\0" in schema:
        raise ConfigError(f"schema: {schema!r} is no name; give that of a schema in PostgreSQL, such as 'llm'")
    if found.path is not None:
        raise ConfigError(f"schema: {schema!r} is for PostgreSQL; an SQLite file has no schemas, so leave it out")
    quoted = schema.replace('"', '""')
    return attrs.evolve(found, schema=schema, settings={**found.settings, "search_path": f'"{quoted}"'})


def _file(path: str) -> Address:
    if path in ("", ":memory:"):
        raise ConfigError("ledger: a database in memory cannot be shared or kept; give the path of a file")
    found = user_path(path, "ledger").absolute()
    return Address(shown=str(found), path=found)


def _server(rest: str) -> Address:
    parts = re.fullmatch(r"([^/?#]*)(?:/([^?#@]*))?(?:\?([^#]*))?", rest)
    asked = _query(parts[3]) if parts is not None else None
    if parts is None or asked is None:  # without the value, which may have the password
        raise ConfigError("ledger: the address cannot be read; write / ? # @ in its user or password as %2F %3F %23 %40")
    login, _, place = parts[1].rpartition("@")
    user, _, password = login.partition(":")
    name, query = parts[2] or "", dict(asked)
    others = [value for key, value in asked if key == "host"]
    hosts, ports = _hosts(others or [place])
    query |= {"host": ",".join(others)} if others else {}
    told = {"user": unquote(user), "password": unquote(password), "dbname": unquote(name), **query, "host": hosts}
    told["port"] = ports if ports.strip(",") else query.get("port", "")
    settings, told["options"] = _settings(query.get("options", ""))
    server = {key: value for key, value in told.items() if value}
    return Address(shown=_shown(user, place, parts[2], query), server=server, settings=settings)


def _query(text: str | None) -> list[tuple[str, str]] | None:
    """What stands behind the ``?``; ``None`` where that is the rest of a password."""
    try:
        asked = parse_qsl(text or "", keep_blank_values=True, strict_parsing=bool(text))
    except ValueError:
        return None
    return None if any("@" in value and name not in ("host", "user", "password") for name, value in asked) else asked


def _hosts(places: list[str]) -> tuple[str, str]:
    """libpq's lists of hosts and ports: ``a:1,b`` is ``a,b`` and ``1,``."""
    pairs = [_host(place) for place in ",".join(places).split(",")]
    return ",".join([unquote(host) for host, _ in pairs]), ",".join([port for _, port in pairs])


def _host(place: str) -> tuple[str, str]:
    """A host and its port. One that begins with a slash is the folder of a socket, and may have colons."""
    if place.startswith(("/", "@")) or (place.count(":") > 1 and not place.startswith("[")):
        return place, ""
    found = re.fullmatch(r"(?:\[([^\]]*)\]|([^:]*))(?::(\d*))?", place)
    if found is None:
        raise ConfigError(
            "ledger: the address's host cannot be read; write host, host:port or [IPv6 address]:port, with commas between several"
        )
    return found[1] or found[2] or "", found[3] or ""


def _settings(options: str) -> tuple[dict[str, str], str]:
    """What ``options`` set (``-c name=value``, ``--name=value``), and the rest, which only the start of a connection can take."""
    words = re.findall(r"(?:\\.|[^\s\\])+", options)
    settings: dict[str, str] = {}
    rest: list[str] = []
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word += words.pop(0)
        found = re.fullmatch(r"-(?:c|-)([A-Za-z_][\w.-]*)=(.*)", re.sub(r"\\(.)", r"\1", word), re.DOTALL)
        if found is None:
            rest.append(word)
        else:
            settings[found[1].replace("-", "_")] = found[2]
    return settings, " ".join(rest)


def _shown(user: str, place: str, name: str | None, query: Mapping[str, str]) -> str:
    """An address without its password, and with what tells it from another."""
    told = "&".join([f"{key}={quote(query[key], safe='/:,')}" for key in _SHOWN if query.get(key)])
    return f"postgresql://{f'{user}@' if user else ''}{place}{'' if name is None else f'/{name}'}{f'?{told}' if told else ''}"
