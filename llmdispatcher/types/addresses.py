"""Addresses that a user writes: a vendor's base URL, a Redis server, a model's name in a path.

That of a ledger's database is read in ``accounting/ledger/address.py``, since it means what it means to libpq. No error here
shows an address, which may hold a password.
"""

from __future__ import annotations

import re
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

import attrs

from ..errors import ConfigError, InvalidRequest
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


@attrs.frozen(kw_only=True)
class ServerAddress:
    """The address of a Redis server, such as ``redis://user:password@host:6379/0`` or ``unix:///run/redis.sock?db=1``.

    User and password are decoded, ``path`` is as it was written; ``host`` has its port, and is empty where there is a socket.
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
        if not _is_host(host) or not all(middle for _, middle, _ in pairs):
            raise _unreadable(field)
        return cls(
            scheme=found[1].lower(),
            user=Secret(unquote(user)) if at else None,
            password=Secret(unquote(password)) if colon else None,
            host=host,
            path=found[3],
            query=tuple([(unquote(name), Secret(unquote(value))) for name, _, value in pairs]),
        )

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
    return ServerAddress.of(store, "store").shown if isinstance(store, str) and is_server(store) else store


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
