"""Addresses of PostgreSQL databases, as libpq reads them, and engines of SQLAlchemy that an application has made.

An address means what it means to libpq, several hosts and sockets included
(https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING). Its ``options`` are set in each transaction: a pooler
such as PgBouncer takes no options when a connection starts, and gives each transaction another connection. No error here shows an
address, which may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote

import attrs

from ..errors import ConfigError
from .secret import Secret

_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(?:%\w+)?")
_SHOWN = ("host", "port", "user", "dbname", "service")
"""Parameters behind the ``?`` that are no secrets, and tell one database from another."""


@attrs.frozen(kw_only=True)
class DatabaseAddress:
    """A PostgreSQL database: libpq's parameters, and what each transaction sets, by name. ``shown`` is safe to show."""

    shown: str
    server: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    settings: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    @classmethod
    def of(cls, text: str, field: str) -> Self:
        """Read ``postgresql://user:password@host/name``; ``field`` is where it stands. Raises :class:`ConfigError`."""
        parts = re.fullmatch(r"([^/?#]*)(?:/([^?#@=:;&\s]*))?(?:\?([^#]*))?", text.strip().partition("://")[2])
        pairs = _parse_query(parts[3]) if parts is not None else None
        if parts is None or pairs is None:
            raise _unreadable(field)
        login, _, place = parts[1].rpartition("@")
        user, _, password = login.partition(":")
        name, query = parts[2] or "", dict(pairs)
        others = [value for key, value in pairs if key == "host"]
        hosts, ports = _parse_hosts(others or [place], field)
        query |= {"host": ",".join(others)} if others else {}
        fields = {"user": unquote(user), "password": unquote(password), "dbname": unquote(name), **query, "host": hosts}
        fields["port"] = ports if ports.strip(",") else query.get("port", "")
        is_odd = (
            any("=" in fields.get(key, "") for key in _SHOWN)
            or "://" in fields["dbname"]
            or not re.fullmatch(r"[\d,]*", fields["port"])
        )
        if is_odd or not all(map(_is_text, fields.values())):  # libpq's keyword form within an address, and what libpq cannot take
            raise _unreadable(field)
        settings, fields["options"] = _parse_options(query.get("options", ""))
        server = {key: value if key in _SHOWN else Secret(value) for key, value in fields.items() if value}
        return cls(shown=_describe(user, place, parts[2], query), server=server, settings=settings)

    @staticmethod
    def is_one(text: str) -> bool:
        """Whether a text begins as the address of a PostgreSQL database."""
        return "://" in text and text.partition("://")[0].strip().lower() in _SCHEMES

    @staticmethod
    def describe(engine: Any) -> str:
        """The address of an application's engine of PostgreSQL, without its password."""
        url = engine.url
        host = f"{url.host or ''}:{url.port}" if url.port else url.host or ""
        given = {name: ",".join(value) if isinstance(value, tuple) else value for name, value in url.query.items()}
        return _describe(quote(url.username or ""), host, quote(url.database or ""), given)

    @staticmethod
    def dialect_of(engine: Any) -> str:
        """The dialect of an engine of SQLAlchemy, such as "postgresql". Raises :class:`ConfigError` for what is none."""
        dialect = getattr(engine, "dialect", None)
        if dialect is None or not hasattr(engine, "pool"):
            raise ConfigError(f"engine: {type(engine).__name__} is no Engine; give what sqlalchemy.create_engine() returns")
        if dialect.is_async:
            raise ConfigError(f"engine: {dialect.driver} is a driver for asyncio; give an engine of postgresql+psycopg or sqlite")
        return str(dialect.name)

    @staticmethod
    def quote_schema(schema: Any) -> str:
        """The name of a schema as SQL has it. Raises :class:`ConfigError` for what is no name."""
        if not isinstance(schema, str) or not schema.strip() or "\0" in schema:
            raise ConfigError(f"schema: {schema!r} is no name; give that of a schema in PostgreSQL, such as 'llm'")
        quoted = schema.replace('"', '""')
        return f'"{quoted}"'


def _unreadable(field: str) -> ConfigError:
    """The error for a malformed address, without the address, which may have a password."""
    return ConfigError(f"{field}: the address cannot be read; write / ? # @ in its user or password as %2F %3F %23 %40")


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


def _parse_hosts(places: list[str], field: str) -> tuple[str, str]:
    """Hosts and ports as libpq lists them: ``a:1,b`` is ``a,b`` and ``1,``."""
    pairs = [_parse_host(place, field) for place in ",".join(places).split(",")]
    return ",".join([unquote(host) for host, _ in pairs]), ",".join([port for _, port in pairs])


def _parse_host(place: str, field: str) -> tuple[str, str]:
    """A host and its port. A leading slash means the folder of a socket, which may have colons."""
    if re.fullmatch(r"[/@][^@]*", place) or (place.count(":") > 1 and _IPV6.fullmatch(place)):
        return place, ""
    found = re.fullmatch(r"(?:\[([^\]@]*)\]|([^:@]*))(?::(\d*))?", place)
    if found is None or re.search("^[^/]*[@:]", unquote(found[2] or "")):  # the rest of a login
        raise ConfigError(
            f"{field}: the address's host cannot be read; write host, host:port or [IPv6 address]:port, with commas between several"
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
