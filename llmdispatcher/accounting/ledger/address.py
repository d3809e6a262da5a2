"""The address of a ledger: a path of an SQLite file, a URL of a PostgreSQL database, or an application's SQLAlchemy engine.

A password is never shown. An address of PostgreSQL means what it means to libpq, several hosts and sockets included
(https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING). Its ``options`` are set in each transaction: a pooler
such as PgBouncer takes no options when a connection starts, and gives each transaction another connection.
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
from ...types import Secret, is_server

SERVERS = ("postgresql", "postgres", "postgresql+psycopg")

_NOWHERE = "postgresql (connected by the application)"
"""Shown for an engine whose URL names no database, since the application connects it by a function."""

_NO_FILE = (
    "ledger: this is the address of a server in a form that is not read here (it is not shown, it may hold a password); write"
    " postgresql://user:password@host/name, with / ? # @ in the password as %2F %3F %23 %40, and begin an unusual path with ./ or /"
)
_KIND = re.compile(r"[a-z][a-z0-9+]{1,30}")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(?:%\w+)?")
_SHOWN = ("host", "port", "user", "dbname", "service")
"""Parameters behind the ``?`` that are no secrets, and tell one database from another."""


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
    kind, colon, rest = value.strip().partition("://")
    kind = kind.lower()
    if colon and kind in SERVERS:
        return _with_schema(_parse_server(rest), schema)
    if colon and kind == "sqlite":
        return _with_schema(_parse_file(rest.removeprefix("/")), schema)
    if (colon and _KIND.fullmatch(kind)) or kind.startswith("file:"):
        kind = kind.partition(":")[0]
        raise ConfigError(f"ledger: {kind!r} is no kind of database that it knows; give a path, or postgresql://user@host/name")
    return _with_schema(_parse_file(value), schema)


def address_of(engine: Any, schema: str | None = None) -> Address:
    """The address of a SQLAlchemy engine. Raises :class:`ConfigError` for one that a ledger cannot use."""
    dialect = getattr(engine, "dialect", None)
    if dialect is None or not hasattr(engine, "pool"):
        raise ConfigError(f"engine: {type(engine).__name__} is no Engine; give what sqlalchemy.create_engine() returns")
    if dialect.is_async:
        raise ConfigError(f"engine: {dialect.driver} is a driver for asyncio; give an engine of postgresql+psycopg or sqlite")
    if dialect.name == "sqlite":
        return _with_schema(_parse_file((engine.url.database or "").partition("?")[0].removeprefix("file:")), schema)
    if dialect.name != "postgresql":
        raise ConfigError(f"engine: {dialect.name!r} is no kind of database that a ledger knows; use SQLite or PostgreSQL")
    url = engine.url
    host = f"{url.host or ''}:{url.port}" if url.port else url.host or ""
    given = {name: ",".join(value) if isinstance(value, tuple) else value for name, value in url.query.items()}
    shown = _describe(quote(url.username or ""), host, quote(url.database or ""), given)
    return _with_schema(Address(shown=shown if shown != "postgresql:///" else _NOWHERE), schema)


def _with_schema(found: Address, schema: str | None) -> Address:
    if schema is None:
        return found
    if not isinstance(schema, str) or not schema.strip() or "\0" in schema:
        raise ConfigError(f"schema: {schema!r} is no name; give that of a schema in PostgreSQL, such as 'llm'")
    if found.path is not None:
        raise ConfigError(f"schema: {schema!r} is for PostgreSQL; an SQLite file has no schemas, so leave it out")
    quoted = schema.replace('"', '""')
    return attrs.evolve(found, schema=schema, settings={**found.settings, "search_path": f'"{quoted}"'})


def _parse_file(path: str) -> Address:
    if path in ("", ":memory:"):
        raise ConfigError("ledger: a database in memory cannot be shared or kept; give the path of a file")
    if is_server(path):  # a file of that name would show the password
        raise ConfigError(_NO_FILE)
    found = user_path(path, "ledger").absolute()
    return Address(shown=str(found), path=found)


def _parse_server(rest: str) -> Address:
    parts = re.fullmatch(r"([^/?#]*)(?:/([^?#@=:;&\s]*))?(?:\?([^#]*))?", rest)
    pairs = _parse_query(parts[3]) if parts is not None else None
    if parts is None or pairs is None:
        raise _unreadable_error()
    login, _, place = parts[1].rpartition("@")
    user, _, password = login.partition(":")
    name, query = parts[2] or "", dict(pairs)
    others = [value for key, value in pairs if key == "host"]
    hosts, ports = _parse_hosts(others or [place])
    query |= {"host": ",".join(others)} if others else {}
    fields = {"user": unquote(user), "password": unquote(password), "dbname": unquote(name), **query, "host": hosts}
    fields["port"] = ports if ports.strip(",") else query.get("port", "")
    is_odd = (
        any("=" in fields.get(key, "") for key in _SHOWN)
        or "://" in fields["dbname"]
        or not re.fullmatch(r"[\d,]*", fields["port"])
    )
    if is_odd or not all(map(_is_text, fields.values())):  # libpq's keyword form within an address, and what libpq cannot take
        raise _unreadable_error()
    settings, fields["options"] = _parse_options(query.get("options", ""))
    server = {key: value if key in _SHOWN else Secret(value) for key, value in fields.items() if value}
    return Address(shown=_describe(user, place, parts[2], query), server=server, settings=settings)


def _unreadable_error() -> ConfigError:
    """The error for a malformed address, without the address, which may have a password."""
    return ConfigError("ledger: the address cannot be read; write / ? # @ in its user or password as %2F %3F %23 %40")


def _is_text(value: str) -> bool:
    """Whether libpq takes the text: without NUL and lone surrogates."""
    return "\0" not in value and not re.search("[\ud800-\udfff]", value)


def _parse_query(text: str | None) -> list[tuple[str, str]] | None:
    """The parameters behind the ``?``; ``None`` if that is the rest of a password."""
    try:
        pairs = parse_qsl(text or "", keep_blank_values=True, strict_parsing=bool(text))
    except ValueError:
        return None
    return None if any("@" in value and name not in ("host", "user", "password") for name, value in pairs) else pairs


def _parse_hosts(places: list[str]) -> tuple[str, str]:
    """Hosts and ports as libpq lists them: ``a:1,b`` is ``a,b`` and ``1,``."""
    pairs = [_parse_host(place) for place in ",".join(places).split(",")]
    return ",".join([unquote(host) for host, _ in pairs]), ",".join([port for _, port in pairs])


def _parse_host(place: str) -> tuple[str, str]:
    """A host and its port. A leading slash means the folder of a socket, which may have colons."""
    if re.fullmatch(r"[/@][^@]*", place) or (place.count(":") > 1 and _IPV6.fullmatch(place)):
        return place, ""
    found = re.fullmatch(r"(?:\[([^\]@]*)\]|([^:@]*))(?::(\d*))?", place)
    if found is None or re.search("^[^/]*[@:]", unquote(found[2] or "")):  # the rest of a login
        raise ConfigError(
            "ledger: the address's host cannot be read; write host, host:port or [IPv6 address]:port, with commas between several"
        )
    return found[1] or found[2] or "", found[3] or ""


def _parse_options(options: str) -> tuple[dict[str, str], str]:
    """The settings in ``options`` (``-c name=value``, ``--name=value``), and the rest, which only a new connection can take."""
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


def _describe(user: str, place: str, name: str | None, query: Mapping[str, str]) -> str:
    """An address without its password, with what tells it from another."""
    query = {**query, "user": query.get("user", "").partition(":")[0]}
    shown = "&".join([f"{key}={quote(query[key], safe='/:,')}" for key in _SHOWN if query.get(key)])
    user = quote(unquote(user).partition(":")[0])
    return f"postgresql://{f'{user}@' if user else ''}{place}{'' if name is None else f'/{name}'}{f'?{shown}' if shown else ''}"
