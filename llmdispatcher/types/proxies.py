"""The address of a proxy, as a user or the environment writes it."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from urllib3.exceptions import LocationValueError
from urllib3.util import parse_url

from ..errors import ConfigError
from .secret import Secret

_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
PROXY_FORM = "http://user:password@host:port"


def proxy_parts(address: str, field: str) -> tuple[str, str, int, tuple[str, str] | None]:
    """Read scheme, host, port and login. Raises :class:`ConfigError`, which does not quote the address: it may hold a password."""
    address = url = Secret(address.strip() if "://" in address else f"http://{address.strip()}")
    scheme = url.partition("://")[0].lower()
    scheme = "socks5h" if scheme == "socks" else scheme  # as desktops write it; browsers take it for this
    if scheme not in _PORTS:
        raise ConfigError(
            f"{field}: a proxy's address begins with http://, https://, socks5://, socks5h://, socks4:// or socks4a://;"
            " write one such as 'http://proxy.example:3128'"
        )
    parts = _parts(url)
    login = _login(url) if parts is not None else None
    if parts is None or (login is not None and not _can_be_sent(login, scheme)):
        raise ConfigError(
            f"{field}: its address cannot be read; write {scheme}{PROXY_FORM[4:]}, and / ? # @ in a password as %2F %3F %23 %40"
        )
    return scheme, parts[0], parts[1] or _PORTS[scheme], login


def _parts(url: str) -> tuple[str, int | None] | None:
    """Host and port, where both parsers see the same, and nothing behind them that may be the rest of a password."""
    try:
        parts, read = urlsplit(url), parse_url(url)
        same_port = parts.port == read.port
    except (ValueError, LocationValueError):
        return None
    host = (read.host or "").strip("[]").lower()
    if not host or host != parts.hostname or not same_port or parts.path.strip("/") or parts.query or parts.fragment:
        return None
    return host, parts.port


def _login(url: str) -> tuple[str, str] | None:
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return (Secret(user), Secret(password)) if user or password else None


def _can_be_sent(login: tuple[str, str], scheme: str) -> bool:
    """Whether a handshake can carry user and password."""
    if scheme.startswith("socks"):
        return all(len(part.encode()) < 256 and "\0" not in part for part in login)
    # https://www.rfc-editor.org/rfc/rfc7617 leaves the encoding of a login open, requests takes latin-1
    return ":" not in login[0] and all("\x1f" < sign < "\x7f" or "\x9f" < sign < "\u0100" for part in login for sign in part)
