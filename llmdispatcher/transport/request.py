"""Outgoing requests: the one origin that a vendor's credentials may go to, and requests checked to be valid HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, quote, urlsplit

import attrs
from requests.models import PreparedRequest

from ..errors import ConfigError
from ..types import HttpCall

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_PORTS = {"http": 80, "https": 443}
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
    port: int
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
        return cls(f"{parts.scheme}://{parts.netloc}", parts.scheme, parts.hostname, port or _PORTS[parts.scheme], authority)

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
