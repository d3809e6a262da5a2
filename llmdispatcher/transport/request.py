"""Outgoing requests: the one origin that a vendor's credentials may go to, and requests checked to be valid HTTP."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import SplitResult, quote, urlsplit
from urllib.request import getproxies_environment

import attrs
from requests.models import PreparedRequest
from requests.utils import get_auth_from_url, should_bypass_proxies
from urllib3.exceptions import LocationValueError
from urllib3.util import parse_url

from ..errors import ConfigError
from ..types import HttpCall, Secret, secret_address

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_APPROVED = 8
_TARGETS = 256
"""Request targets that are remembered; a vendor has a few for each model."""
_PLAIN = "%/:=&?~+!$,;'@()*[]-._"
"""What an address may hold beside letters and digits."""


@attrs.frozen
class Origin:
    """Scheme, host and port; ``url`` is what every URL of the vendor begins with."""

    url: str
    scheme: str
    host: str
    authority: str

    @classmethod
    def of(cls, base_url: str) -> Origin:
        """The origin of ``base_url``. Raises :class:`ConfigError`, which does not quote it: it may hold a password."""
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError:
            raise ConfigError("base_url: this is not a URL; use one such as 'https://api.example.com/v1'") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                "base_url: this has no http or https scheme, or no host; use one such as 'https://api.example.com/v1'"
            )
        if "@" in parts.netloc or not parts.netloc.isascii() or not parts.netloc.isprintable():
            raise ConfigError("base_url: user, password and unusual letters do not belong into the host; use api_key= or headers=")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        authority = host if port is None else f"{host}:{port}"
        return cls(f"{parts.scheme}://{parts.netloc}", parts.scheme, parts.hostname, authority)

    def covers(self, url: str) -> bool:
        """Whether ``url`` is at this origin, so that the vendor's key may go there."""
        return url.startswith(self.url) and url[len(self.url) : len(self.url) + 1] in ("", "/", "?")


def target_of(parts: SplitResult) -> str:
    """The request target: path and query, quoted so that no server can take a part of it for a line's end."""
    return quote(f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}", safe=_PLAIN)


class Prepared(PreparedRequest):
    """A request for ``HTTPAdapter.send``, without cookies, hooks and settings; ``target`` is :func:`target_of` its URL."""

    def __init__(self, call: HttpCall, target: str, headers: dict[str, str]) -> None:
        self.method = call.method
        self.url = call.url
        self.headers = headers  # type: ignore[assignment]  # a plain dict: its names are as we want them
        self.body = call.body
        self.target = target
        self.hooks = {}
        self._cookies = None
        self._body_position = None


class RequestChecker:
    """Checks the requests of one origin; remembers header sets and addresses that it has checked."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._approved: list[dict[str, str]] = []
        self._targets: dict[str, str] = {}

    def check(self, call: HttpCall) -> str:
        """The request target of ``call``. Raises :class:`ConfigError` before anything is sent."""
        target = self._targets.get(call.url) or self._add_target(call.url)
        if call.headers not in self._approved:
            self._check_headers(call.headers)
        return target

    def _add_target(self, url: str) -> str:
        if not self._origin.covers(url):
            raise ConfigError("url: it lies outside of the vendor's base_url, where its key must not go")
        target = target_of(urlsplit(url))
        targets = self._targets if len(self._targets) < _TARGETS else {}
        self._targets = {**targets, url: target}  # a new one: other threads are reading the old
        return target

    def _check_headers(self, headers: Mapping[str, str]) -> None:
        for name, value in headers.items():
            if not _NAME.fullmatch(name) or name.lower() in _OURS:
                raise ConfigError(f"headers: {name!r} is no name that a header of a request may have here")
            if not isinstance(value, str) or not _VALUE.fullmatch(value):
                raise ConfigError(
                    f"headers: the value of {name!r} cannot be sent; remove line ends, outer blanks and letters beyond latin-1"
                )
        self._approved = [*self._approved[1 - _APPROVED :], dict(headers)]


def environment_proxy(base_url: str) -> tuple[str | None, str | None]:
    """Proxy and CA bundle for ``base_url`` from the standard environment variables, as they are now.

    Read are HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY (lower case first), REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE and
    SSL_CERT_FILE. Call it once, when a dispatcher is built.
    """
    bundle = next((path for path in map(os.environ.get, ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")) if path), None)
    parts = urlsplit(base_url)
    proxies = getproxies_environment()
    if should_bypass_proxies(base_url, no_proxy=None):
        return None, bundle
    return proxies.get(parts.scheme) or proxies.get("all"), bundle


def check_proxy(proxy: str | None) -> str | None:
    """A proxy as urllib3 takes it. Raises :class:`ConfigError`, which does not quote it: it may hold a password."""
    if not proxy:
        return None
    url = secret_address(proxy if "://" in proxy else f"http://{proxy}") or ""
    if not url.lower().startswith("http://"):
        raise ConfigError("proxy: only http:// proxies are supported; use one such as 'http://proxy.example:3128'")
    # https://www.rfc-editor.org/rfc/rfc7617 leaves the encoding of a login open, requests takes latin-1
    if not _is_readable(url) or any(sign > "\u00ff" for text in get_auth_from_url(url) for sign in text):
        raise ConfigError(
            "proxy: its address cannot be read; write http://user:password@host:port, and / ? # @ in a password as %2F %3F %23 %40"
        )
    return url


def by_proxy(proxy: str | None) -> str:
    """What an error says of the proxy, without its login; nothing where there is none."""
    if proxy is None:
        return ""
    parts = urlsplit(proxy)
    return f" by the proxy {parts.hostname}:{parts.port or 80}"


def proxy_login(proxy: str | None) -> tuple[str, ...]:
    """What a proxy may echo of its login: the password, and both forms of the header."""
    user, password = get_auth_from_url(proxy or "")
    login = f"{user}:{password}"
    if login == ":":
        return ()
    return tuple(map(Secret, (password or user, login, b64encode(login.encode("latin-1")).decode())))


def _is_readable(url: str) -> bool:
    """Whether both parsers see the same host and port, and nothing behind them that may be the rest of a password."""
    try:
        parts, read = urlsplit(url), parse_url(url)
        same_port = parts.port == read.port
    except (ValueError, LocationValueError):
        return False
    host = (read.host or "").strip("[]").lower()
    return bool(host) and host == parts.hostname and same_port and not (parts.path.strip("/") or parts.query or parts.fragment)
