"""Addresses that a user writes: a vendor's base URL, Redis servers, a model's name in a path.

That of a PostgreSQL database is read in ``databases.py``, since it means what it means to libpq. No error here shows an address,
which may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from inspect import iscoroutinefunction
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

import attrs

from ..errors import ConfigError, InvalidRequest
from .databases import DatabaseAddress
from .secret import Secret

_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.DOTALL)
_HOST = re.compile(r"(?:[^\s:\[\]@,]*|\[[0-9A-Fa-f:.%]+\])(?::(\d{0,5}))?")
_NAME = re.compile(r"[^\s;,<>\"'`|^{}\\]+")
_KEYWORD = re.compile(r"(?:password|passwd|pwd)\s*=|(?:^|\s)(?:host|hostaddr|port|user|dbname|service)\s*=", re.IGNORECASE)
"""libpq's keyword form, ``host=db user=me password=...``, and that of other drivers."""
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_SCHEME = re.compile(
    r"[a-z][a-z0-9+.-]+:/|(?:^|[/\\])(?:postgres(?:ql)?|mysql|mariadb|rediss?|unix|sqlite)(?:\+\w*)?:", re.IGNORECASE
)
"""The beginning of an address; a path that was made of one has a single slash, and may have a folder before it."""
_PORT = re.compile(r"[^:@]+:\d+(?::|$)")
_AT_PORT = re.compile(r"@[\w.\[\]-]+:\d+(?:/|$)")
_SECRET_PARAMETER = re.compile(r"pass|user|token|secret|key", re.IGNORECASE)
_NO_PASSWORD = re.compile(
    r"(?:postgres(?:ql)?(?:\+psycopg)?://(?:[\w.-]+@)?|[a-z][a-z0-9+.-]*://)[\w.-]*(?::\d+)?(?:,[\w.-]*(?::\d+)?)*(?:/[\w./-]*)?",
    re.IGNORECASE,
)
"""An address that certainly has none. A user alone may be the password, but not in PostgreSQL."""
_HARMLESS = re.compile(r"(?:\w{2,8}:/*)?(?:[A-Za-z0-9-]{1,19}\.)+[A-Za-z]{2,19}(?::\d{1,5})?(?:/[\w.-]{0,19})*")
"""A host that lacks its ``https://``; a key that stands where an address should looks otherwise."""
_MOST = 512
_REDIS: Mapping[str, int] = {
    "redis": 6379,
    "rediss": 6379,
    "unix": 0,
    "redis+cluster": 6379,
    "rediss+cluster": 6379,
    "redis+sentinel": 26379,
    "rediss+sentinel": 26379,
}
"""The schemes of Redis, with the port of a host that names none."""
_REDIS_FORMS = (
    "redis://host:6379/0, rediss://... (TLS), unix:///run/redis.sock, redis+cluster://host:6379,host2:6379"
    " or redis+sentinel://host:26379,host2:26379/service/0"
)
_DATABASE = re.compile(r"/?(\d{0,5})")
_SERVICE = re.compile(r"/([^/]+)(?:/(\d{0,5}))?")
_PREFIX = re.compile(r"[^{}]*(?:\{[^{}]+\}[^{}]*)?")
"""The beginning of keys: a tag in braces, by which a cluster chooses the slot of a key, is whole and not empty."""


@attrs.frozen(kw_only=True)
class ServerAddress:
    """The address of a Redis server, such as ``redis://user:password@host:6379/0`` or ``unix:///run/redis.sock?db=1``.

    User and password are decoded, ``path`` is as it was written; ``host`` has its port, and is empty where there is a socket. The
    schemes ``...+cluster`` and ``...+sentinel`` have several hosts, with commas between them.
    """

    scheme: str
    user: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    host: str = ""
    path: str = ""
    query: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)

    @classmethod
    def of(cls, text: str, field: str) -> Self:
        """Read an address; ``field`` is where it stands. Raises :class:`ConfigError`."""
        found = _PARTS.fullmatch(text.strip())
        if found is None or not found[0].isprintable() or "@" in found[3] + (found[4] or "") or _KEYWORD.search(found[3]):
            raise _unreadable(field)
        who, at, host = found[2].rpartition("@")
        user, colon, password = who.partition(":")
        pairs = [pair.partition("=") for pair in (found[4] or "").split("&") if pair]
        hosts = host.split(",") if found[1].lower().endswith(("+cluster", "+sentinel")) else [host]
        if not all(map(_is_host, hosts)) or not all(middle for _, middle, _ in pairs):
            raise _unreadable(field)
        return cls(
            scheme=found[1].lower(),
            user=Secret(unquote(user)) if at else None,
            password=Secret(unquote(password)) if colon else None,
            host=host,
            path=found[3],
            query=tuple([(unquote(name), Secret(unquote(value))) for name, _, value in pairs]),
        )

    @classmethod
    def redis(cls, text: str, field: str) -> Self:
        """Read the address of Redis servers. Raises :class:`ConfigError` for one that names no server, service or database."""
        found = cls.of(text, field)
        if found.scheme not in _REDIS:
            raise ConfigError(
                f"{field}: this is not an address of Redis (it is not shown, it may hold a password); use {_REDIS_FORMS}"
            )
        if found.kind == "sentinel" and _SERVICE.fullmatch(found.path) is None:
            raise ConfigError(
                f"{field}: the address of Sentinels needs the name of the service that they watch, and may have the number of a"
                " database: redis+sentinel://host:26379,host2:26379/service/0"
            )
        others = [value for name, value in found.query if name == "db" and value != "0"]
        if found.kind == "cluster" and (others or found.path not in ("", "/", "/0")):
            raise ConfigError(f"{field}: a Redis Cluster has the database 0 alone; leave the number of another out")
        if found.kind == "server" and found.scheme != "unix" and _DATABASE.fullmatch(found.path) is None:
            raise ConfigError(f"{field}: what stands behind the host is the number of a database, such as redis://host:6379/0")
        if found.kind != "server" and any(not name for name, _ in found.hosts):
            raise ConfigError(f"{field}: a host is missing; use {_REDIS_FORMS}")
        return found

    @staticmethod
    def is_redis(text: str) -> bool:
        """Whether a text begins as the address of Redis servers."""
        return "://" in text and text.partition("://")[0].strip().lower() in _REDIS

    @property
    def kind(self) -> str:
        """What Redis servers they are: "server", "cluster", or "sentinel"."""
        return self.scheme.partition("+")[2] or "server"

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """The hosts, without brackets, and their ports."""
        pairs = [re.fullmatch(r"\[?(.*?)\]?(?::(\d*))?", host) for host in self.host.split(",")]
        return tuple([(pair[1], int(pair[2] or _REDIS[self.scheme])) for pair in pairs if pair is not None])

    @property
    def service(self) -> str:
        """The name of the service that Sentinels watch, else empty."""
        found = _SERVICE.fullmatch(self.path) if self.kind == "sentinel" else None
        return unquote(found[1]) if found is not None else ""

    @property
    def first_url(self) -> str:
        """The address of one server as redis-py reads it: of a cluster or Sentinels, of the first host."""
        if self.kind == "server":
            return self.url
        found = _SERVICE.fullmatch(self.path) if self.kind == "sentinel" else None
        database = (found[2] or "0") if found is not None else "0"
        first = self.host.partition(",")[0]
        return attrs.evolve(self, scheme=self.scheme.partition("+")[0], host=first, path=f"/{database}").url

    @property
    def url(self) -> str:
        """The whole address, to connect to: special characters in user, password and parameters are escaped.

        A :class:`Secret` where it has a user or a password.
        """
        password = f":{quote(self.password, safe='')}" if self.password is not None else ""
        who = f"{quote(self.user, safe='')}{password}@" if self.user is not None else ""
        query = "&".join([f"{quote(name, safe='')}={quote(value, safe='/:,')}" for name, value in self.query])
        url = f"{self.scheme}://{who}{self.host}{self.path}{query and f'?{query}'}"
        secret = self.user is not None or any(_SECRET_PARAMETER.search(name) for name, _ in self.query)
        return Secret(url, self.shown) if secret else url

    @property
    def shown(self) -> str:
        """The address without its parameters and password. A user without a password is left out too: it may be the password."""
        known = self.password and re.fullmatch(r"[\w.-]+", self.user or "")
        who = f"{self.user}@" if known else ""
        return f"{self.scheme}://{who}{self.host}{self.path}"


def is_server(text: str) -> bool:
    """Whether a text is meant as the address of a server and not as a path, which may begin with ``./``."""
    text = unquote(text).strip()
    if "://" in text or text.startswith("//") or _KEYWORD.search(text) or _SCHEME.search(text) or _AT_PORT.search(text):
        return True
    head = re.split(r"[/\\]", text, maxsplit=1)[0]
    if ":" not in head or _DRIVE.match(text) is not None:
        return False
    return "@" in text or _PORT.match(head) is not None


def mask_store(store: Any) -> Any:
    """A store, or the setting that names one, as it may be shown: a server's address without its password."""
    if isinstance(store, Secret):
        return store.shown
    if isinstance(store, str) and DatabaseAddress.is_one(store):
        return DatabaseAddress.of(store, "store").shown
    return ServerAddress.of(store, "store").shown if isinstance(store, str) and is_server(store) else store


def redis_client(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validate a client of redis-py that an application has made, or ``None``."""
    if value is None:
        return
    if not all(callable(getattr(value, name, None)) for name in ("get", "set", "scan_iter", "unlink", "register_script")):
        raise ConfigError(
            f"{attribute.name}: {type(value).__name__} is no client of Redis; give a redis.Redis or redis.RedisCluster"
        )
    if iscoroutinefunction(getattr(type(value), "execute_command", None)):
        raise ConfigError(f"{attribute.name}: this is a client for asyncio; give a redis.Redis or redis.RedisCluster")


def redis_prefix(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validate what stands before all keys on a Redis server."""
    if not isinstance(value, str) or not value.isprintable() or " " in value or len(value) > _MOST or not _PREFIX.fullmatch(value):
        raise ConfigError(
            f"{attribute.name}: {value!r} cannot stand before keys; give a text such as 'app:', without blanks, and with no braces"
            " but one whole tag such as '{app}:', which puts all keys into one slot of a cluster"
        )


def secret_address(value: str | None) -> str | None:
    """A setting as it is kept: an address that may have a password becomes a :class:`Secret`; others stay as they are."""
    if not isinstance(value, str) or not is_server(value):
        return value
    return value if _NO_PASSWORD.fullmatch(value.strip()) else Secret(value)


def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    return found is not None and int(found[1] or 0) < 1 << 16


def _unreadable(field: str) -> ConfigError:
    return ConfigError(
        f"{field}: this address cannot be read (it is not shown, it may hold a password); it has the form scheme://user:password@host/name,"
        " where / ? # @ in a password are written as %2F %3F %23 %40; a path with such signs begins with ./ or /"
    )


def base_url(value: str, field: str = "base_url") -> str:
    """A vendor's address as paths are added to it: scheme in lower case, no slash at the end. Raises :class:`ConfigError`."""
    text = value.strip()
    scheme, _, rest = text.partition("://")
    try:
        parts = urlsplit(f"{scheme.lower()}://{rest}")
        named = _NAME.fullmatch(parts.hostname or "") is not None and (parts.port is None or parts.port > 0)
    except ValueError:
        named = False
    if not named or scheme.lower() not in ("http", "https"):
        told = repr(text) if _HARMLESS.fullmatch(text) else "the value"
        lacks_scheme = "://" not in text and ":/" not in text
        todo = (
            "it lacks http:// or https:// at its beginning"
            if text and lacks_scheme
            else "write http:// or https://, a host, and a port up to 65535 if it has one"
        )
        raise ConfigError(f"{field}: {told} is not an address; {todo}")
    if "@" in parts.netloc or not parts.netloc.isascii():
        raise ConfigError(f"{field}: user, password and unusual letters do not belong into the host; use api_key= or headers=")
    if "?" in rest or "#" in rest:
        raise ConfigError(
            f"{field}: it has a query or a fragment, which begin with ? and #; leave them out, and use api_version= or headers="
        )
    if not rest.isprintable() or set(rest) & set(" \\") or not _leads_down(unquote(parts.path)):
        raise ConfigError(f"{field}: it has blanks, backslashes, dots for a folder (..) or signs that no address has; correct it")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _leads_down(path: str) -> bool:
    """Whether a path has no segment that leads up or stays."""
    return not any(segment.partition(";")[0] in (".", "..") for segment in path.split("/"))


def name_in_path(model: str, *, safe: str = "/") -> str:
    """A model's name, quoted for a path. Raises :class:`InvalidRequest` for one that would lead elsewhere."""
    strange = not model.isprintable() or len(model) > _MOST or set(model) & set("?#%\\ ")
    if strange or ".." in model or any(segment in ("", ".") for segment in model.split("/")):
        raise InvalidRequest(
            f"model: {model[:80]!r} cannot be part of an address, which has no blanks and none of ? # % \\ .. in a name;"
            " give the name as its vendor lists it"
        )
    return quote(model, safe=safe)
