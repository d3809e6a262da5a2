"""By which names the gateway is reached, whose word counts for a client's address, and which pages of a browser may ask it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from ...errors import ConfigError
from .formats import GatewayError

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MOST_HOPS = 64
_METHODS = "GET, HEAD, POST, PATCH, DELETE, OPTIONS"
_UNIX = "unix"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@attrs.frozen(kw_only=True)
class HostRules:
    """``hosts`` are the names that a request may be for; ``None`` is any, and what ``Host`` says decides nothing then.

    ``proxies`` are the networks of proxies whose ``X-Forwarded-For`` counts, ``unix`` those that come by a socket of the system.
    ``cors_origins`` are the pages that a browser may let ask the gateway, ``"*"`` all; none of them is sent cookies.
    """

    hosts: frozenset[str] | None = None
    proxies: tuple[Network, ...] = ()
    unix: bool = False
    cors_origins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, host: str, public_url: str | None, proxies: str | None, origins: str | None) -> HostRules:
        """The rules of a server that listens on ``host``, by texts as the environment has them.

        On the loopback only requests for this machine's names or the public address are answered: a page of the web whose name
        leads there is refused. Elsewhere the public address has to be told. Raises :class:`ConfigError` for a mistake.
        """
        name = _public_host(public_url) if public_url else None
        here = host == "localhost" or host.startswith("unix:") or _is_loopback(host)
        if not here and name is None:
            raise ConfigError(
                f"host: {host} can be reached from elsewhere, so the address that clients use has to be told; set"
                " LLMDISPATCHER_PUBLIC_URL, such as https://gateway.example.com, or give --public-url"
            )
        named = frozenset({*_LOOPBACK, host.lower(), *([name] if name else [])}) if here else None
        networks, unix = _networks(proxies or "")
        return cls(hosts=named, proxies=networks, unix=unix, cors_origins=_origins(origins or ""))

    def check(self, environ: Mapping[str, Any]) -> None:
        """Raise :class:`GatewayError` for a request that is for another host."""
        told = environ.get("HTTP_HOST")
        if self.hosts is None or not told:
            return
        name = _host_of(told)
        if name not in self.hosts and not _is_loopback(name):
            text = "this host is not served here; ask 127.0.0.1, or have LLMDISPATCHER_PUBLIC_URL name it"
            raise GatewayError(text, status=421, code="misdirected_request")

    def address(self, environ: Mapping[str, Any]) -> str:
        """Where a request comes from: the last address of ``X-Forwarded-For`` that is no trusted proxy, if the peer is one."""
        peer = str(environ.get("REMOTE_ADDR") or "")
        if not self._trusts(peer):
            return peer
        hops = str(environ.get("HTTP_X_FORWARDED_FOR") or "").split(",")[-_MOST_HOPS:]
        last = peer
        for hop in reversed(hops):
            found = _ip_of(hop.strip())
            if found is None:
                return last  # what stands before a word that is no address is nobody's word
            last = str(found)
            if not self._trusts(last):
                return last
        return last

    def _trusts(self, address: str) -> bool:
        found = _ip_of(address)
        if found is None:
            return self.unix and address in ("", _UNIX, "unix:")
        return any(found.version == network.version and found in network for network in self.proxies)

    def cross_origin(self, environ: Mapping[str, Any]) -> dict[str, str]:
        """The headers that let a page of another origin read an answer; none for other pages, and outside of a browser."""
        origin = environ.get("HTTP_ORIGIN")
        if not origin or not self.cors_origins or not (origin in self.cors_origins or "*" in self.cors_origins):
            return {}
        return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": "*"}

    def preflight(self, environ: Mapping[str, Any]) -> dict[str, str] | None:
        """The answer's headers where a browser asks beforehand; ``None`` for no such question, or of a page that may not ask."""
        asked = environ.get("REQUEST_METHOD") == "OPTIONS" and environ.get("HTTP_ACCESS_CONTROL_REQUEST_METHOD")
        allowed = self.cross_origin(environ)
        if not asked or not allowed:
            return None
        wanted = str(environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS") or "")[:1024]
        headers = wanted if wanted.isascii() and wanted.isprintable() else ""
        return {
            "Access-Control-Allow-Origin": allowed["Access-Control-Allow-Origin"],
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": headers or "authorization, content-type, x-api-key",
            "Access-Control-Max-Age": "600",
        }


def _public_host(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        name, _port = parts.hostname, parts.port
    except ValueError:
        parts, name = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not name or "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(f"LLMDISPATCHER_PUBLIC_URL: {url[:80]!r} is no address; give one such as https://gateway.example.com")
    return name.lower()


def _networks(text: str) -> tuple[tuple[Network, ...], bool]:
    found: list[Network] = []
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word.lower() == _UNIX:
            continue
        try:
            found.append(ipaddress.ip_network(word))
        except ValueError as error:
            told = f"LLMDISPATCHER_TRUSTED_PROXIES: {word[:60]!r} is no network ({error}); give such as 10.0.0.0/8, 127.0.0.1, unix"
            raise ConfigError(told) from None
    return tuple(found), any(word.lower() == _UNIX for word in words)


def _origins(text: str) -> frozenset[str]:
    found = [word.strip().rstrip("/") for word in text.split(",") if word.strip()]
    for word in found:
        parts = urlsplit(word)
        if word != "*" and (parts.scheme not in ("http", "https") or not parts.netloc or parts.path or "@" in word):
            raise ConfigError(f"LLMRING_CORS_ORIGINS: {word[:60]!r} is no origin; give such as https://app.example.com, or *")
    return frozenset(found)


def _host_of(told: str) -> str:
    """The name in a Host header, without its port."""
    text = told.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


def _ip_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, with or without a port; of one of IPv4 that is written as IPv6, that."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _is_loopback(host: str) -> bool:
    found = _ip_of(host)
    return found is not None and found.is_loopback
