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

_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.DOTALL)
_HOST = re.compile(r"(?:[^\s:\[\]@,]*|\[[0-9A-Fa-f:.%]+\])(?::(\d{0,5}))?")
_NAME = re.compile(r"[^\s;,<>\"'`|^{}\\]+")
_LOGIN = re.compile(r"[^/\\\s:@]*:[^/\\\s]*@")
_MOST = 512


@attrs.frozen(kw_only=True)
class ServerAddress:
    """The address of a Redis server, such as ``redis://user:password@host:6379/0`` or ``unix:///run/redis.sock?db=1``.

    User and password are decoded, ``path`` is as it was written; ``host`` has its port, and is empty where there is a socket.
    """

    scheme: str
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    host: str = ""
    path: str = ""
    query: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)

    @classmethod
    def of(cls, text: str, field: str) -> Self:
        """Read an address; ``field`` is where it stands. Raises :class:`ConfigError`."""
        found = _PARTS.fullmatch(text.strip())
        if found is None or not found[0].isprintable() or "@" in found[3] + (found[4] or ""):
            raise _unreadable(field)
        who, at, host = found[2].rpartition("@")
        user, colon, password = who.partition(":")
        pairs = [pair.partition("=") for pair in (found[4] or "").split("&") if pair]
        if not _is_host(host) or not all(middle for _, middle, _ in pairs):
            raise _unreadable(field)
        return cls(
            scheme=found[1].lower(),
            user=unquote(user) if at else None,
            password=unquote(password) if colon else None,
            host=host,
            path=found[3],
            query=tuple([(unquote(name), unquote(value)) for name, _, value in pairs]),
        )

    @property
    def url(self) -> str:
        """The whole address, for whoever connects: what is special in user, password and parameters is escaped."""
        secret = f":{quote(self.password, safe='')}" if self.password is not None else ""
        who = f"{quote(self.user, safe='')}{secret}@" if self.user is not None else ""
        query = "&".join([f"{quote(name, safe='')}={quote(value, safe='/:,')}" for name, value in self.query])
        return f"{self.scheme}://{who}{self.host}{self.path}{query and f'?{query}'}"

    @property
    def shown(self) -> str:
        """What may be shown: without the password and the parameters, which may hold one."""
        who = f"{quote(self.user, safe='')}@" if self.user else ""
        return f"{self.scheme}://{who}{self.host}{self.path}"


def is_server(text: str) -> bool:
    """Whether a text is meant as the address of a server, not as a path: it has a scheme, or begins with user:password@."""
    return "://" in text or _LOGIN.match(text.strip()) is not None


def shown_store(store: Any) -> Any:
    """What may be shown of a store, or of what was given for one: the address of a server without its password."""
    return ServerAddress.of(store, "store").shown if isinstance(store, str) and is_server(store) else store


def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    return found is not None and int(found[1] or 0) < 1 << 16


def _unreadable(field: str) -> ConfigError:
    return ConfigError(
        f"{field}: this address cannot be read (it is not shown, it may hold a password); it has the form scheme://user:password@host/name,"
        " where / ? # @ in a password are written as %2F %3F %23 %40"
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
        raise ConfigError(f"{field}: {_quoted(text)} is not an address; it begins with https:// (or http://) and a host")
    if "@" in parts.netloc or not parts.netloc.isascii():
        raise ConfigError(f"{field}: user, password and unusual letters do not belong into the host; use api_key= or headers=")
    if "?" in rest or "#" in rest:
        raise ConfigError(
            f"{field}: it has a query or a fragment, which begin with ? and #; leave them out, and use api_version= or headers="
        )
    if not rest.isprintable() or set(rest) & set(" \\") or not _leads_down(unquote(parts.path)):
        raise ConfigError(f"{field}: it has blanks, backslashes, dots for a folder (..) or signs that no address has; correct it")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _quoted(text: str) -> str:
    """An address that is none, unless it may hold a secret."""
    return "the value" if set(text) & set("@?#") else repr(text[:_MOST])


def _leads_down(path: str) -> bool:
    """Whether a path goes nowhere but down."""
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
