"""Proxies: their addresses, the variables of the environment that name them, and how each kind is asked for a tunnel.

An HTTP proxy, over TLS or not, forwards requests for ``http://`` addresses and opens a tunnel to others by CONNECT (RFC 9110,
section 9.3.6). A SOCKS proxy opens a tunnel to all (RFC 1928, RFC 1929, https://www.openssh.com/txt/socks4a.protocol). The
handshakes are made here, since those of urllib3 and PySocks wait per operation, and not within the call's deadline.
"""

from __future__ import annotations

import os
import re
import struct
from base64 import b64encode
from collections.abc import Mapping
from ipaddress import IPv4Address, ip_address
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

import attrs
from requests.utils import should_bypass_proxies

from .._version import __version__
from ..errors import MalformedReply, VendorUnavailable
from ..types import PROXY_FORM, Secret, proxy_parts
from .context import IoContext, hang_up_error
from .http1 import HeadReader

_REMOTE = {"socks4": "socks4a", "socks5": "socks5h"}
_OTHER_SCHEMES = ("Negotiate", "NTLM", "Kerberos", "Digest", "Bearer")
_SOCKS_REFUSALS = {
    1: "it failed inside",
    2: "its rules do not allow this connection",
    3: "it cannot reach the network",
    4: "it cannot reach the host",
    5: "the host refuses the connection",
    6: "the connection took too long",
    7: "it does not know the command",
    8: "it does not know this kind of address",
}
_FINAL = (2, 7, 8)
"""Refusals of SOCKS that the same request is bound to get again."""


@attrs.frozen(kw_only=True)
class Proxy:
    """A proxy. ``field`` is the setting, or the variable of the environment, that names it; ``login`` is user and password."""

    scheme: str
    host: str
    port: int
    login: tuple[str, str] | None = attrs.field(default=None, repr=False)
    field: str = "proxy"

    @classmethod
    def of(cls, address: str, field: str = "proxy") -> Proxy:
        """Read an address. Raises :class:`ConfigError`, which does not quote it: it may hold a password."""
        scheme, host, port, login = proxy_parts(address, field)
        return cls(scheme=scheme, host=host, port=port, login=login, field=field)

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS."""
        return self.scheme.startswith("socks")

    @property
    def resolves(self) -> bool:
        """Whether it resolves names itself."""
        return self.scheme not in _REMOTE

    @property
    def authority(self) -> str:
        """Host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What a request to it has beside its own headers."""
        if self.login is None:
            return {}
        return {"Proxy-Authorization": f"Basic {b64encode(':'.join(self.login).encode('latin-1')).decode()}"}

    @property
    def secrets(self) -> tuple[str, ...]:
        """What it may echo of its login: the password, and both forms of the header."""
        if self.login is None:
            return ()
        user, password = self.login
        return tuple(map(Secret, (password or user, f"{user}:{password}", *[text[6:] for text in self.headers.values()])))

    def login_error(self, headers: Mapping[str, str], context: IoContext) -> VendorUnavailable:
        """The error for status 407. Another vendor, whose address needs no proxy, may be asked."""
        offered = re.findall(r"[a-z]+", headers.get("proxy-authenticate", "").lower())
        others = [name for name in _OTHER_SCHEMES if name.lower() in offered]
        if others and "basic" not in offered:
            what = f"the proxy wants a login by {others[0]} (407), and only Basic is supported"
            todo = f"go by a local proxy that logs in for you, and name it in {self.field}"
        elif self.login is None:
            what, todo = (
                "the proxy wants a user and password (407)",
                f"write them into {self.field}, as {self.scheme}{PROXY_FORM[4:]}",
            )
        else:
            what, todo = f"the proxy wants a user and password (407), and refuses those of {self.field}", "correct them"
        return _refused(what, todo, context, status=407, retry_here=False)


def _refused(what: str, todo: str, context: IoContext, **facts: Any) -> VendorUnavailable:
    return VendorUnavailable(f"{context.host}: {what}; {todo}", phase="connect", sent=False, **facts)


def environment_proxy(url: str) -> Proxy | None:
    """The proxy for a URL from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY (lower case first), as they are now."""
    scheme = urlsplit(url).scheme
    proxies = {name: Secret(address) for name, address in getproxies_environment().items() if address}
    field = scheme if scheme in proxies else "all"
    if field not in proxies or should_bypass_proxies(url, no_proxy=None):
        return None
    return Proxy.of(proxies[field], f"{field.upper()}_PROXY")


def environment_bundles() -> dict[str, str]:
    """Where the environment has the certificates of CAs: the variables that count, with their paths.

    Read are REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, and, both together as OpenSSL reads them, SSL_CERT_FILE and SSL_CERT_DIR.
    """
    for names in (("REQUESTS_CA_BUNDLE",), ("CURL_CA_BUNDLE",), ("SSL_CERT_FILE", "SSL_CERT_DIR")):
        found = {name: path for name in names if (path := os.environ.get(name))}
        if found:
            return found
    return {}


def open_tunnel(sock: Any, proxy: Proxy, host: str, port: int, context: IoContext) -> None:
    """Have the proxy at the other end of ``sock`` connect to ``host``, a name or an address, within the context's limits."""
    replies = _Replies(sock, context)
    if not proxy.is_socks:
        _connect(replies, proxy, host, port)
    elif proxy.scheme.startswith("socks5"):
        _connect_socks5(replies, proxy, host, port)
    else:
        _connect_socks4(replies, proxy, host, port)
    if replies.rest:
        raise _refused("the proxy sent more than the answer to the handshake", f"check {proxy.field}", context, retry_here=False)


class _Replies:
    """What a proxy sends during a handshake."""

    def __init__(self, sock: Any, context: IoContext) -> None:
        self.rest = b""
        self.context = context
        self._sock = sock

    def send(self, data: bytes) -> None:
        """Write a part of the handshake."""
        self.context.meter.sent += len(data)
        self._sock.sendall(data)

    def more(self) -> bytes:
        """The next bytes. Raises where the proxy has closed the connection."""
        data: bytes = self._sock.receive(self.context.left(), once=True)
        self.context.meter.received += len(data)
        if not data:
            raise hang_up_error(self.context)
        return data

    def take(self, count: int) -> bytes:
        """The next so many bytes."""
        while len(self.rest) < count:
            self.rest += self.more()
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken


def _connect(replies: _Replies, proxy: Proxy, host: str, port: int) -> None:
    context = replies.context
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = {"Host": place, "User-Agent": f"llmdispatcher/{__version__}", **proxy.headers}
    lines = [f"CONNECT {place} HTTP/1.1", *map(": ".join, headers.items()), "", ""]
    replies.send("\r\n".join(lines).encode("latin-1"))
    reader = HeadReader()
    try:
        while (head := reader.feed(replies.more())) is None:
            pass
    except MalformedReply:
        raise _refused("what answers is no HTTP proxy", f"check {proxy.field}", context, retry_here=False) from None
    if head.status == 407:
        raise proxy.login_error(head.headers, context)
    if not 200 <= head.status < 300:
        lasting = head.status < 500 and head.status not in (408, 429)
        todo = f"ask who runs the proxy, check {proxy.field}, or ask another vendor"
        raise _refused(f"the proxy refused the tunnel ({head.status})", todo, context, retry_here=not lasting)
    replies.rest = reader.rest


def _connect_socks5(replies: _Replies, proxy: Proxy, host: str, port: int) -> None:
    context = replies.context
    replies.send(b"\x05\x01\x00" if proxy.login is None else b"\x05\x02\x00\x02")
    version, method = replies.take(2)
    if version != 5 or method not in (0, 2, 255):
        raise _refused("what answers does not speak SOCKS 5", f"check {proxy.field}", context, retry_here=False)
    if proxy.login is None and method:
        todo = f"write them into {proxy.field}, as {proxy.scheme}{PROXY_FORM[4:]}"
        raise _refused("the proxy wants a user and password", todo, context, retry_here=False)
    if method == 255:
        raise _refused("the proxy takes no login by user and password", f"check {proxy.field}", context, retry_here=False)
    if method == 2:
        user, password = [part.encode() for part in proxy.login or ("", "")]
        replies.send(b"\x01%c%b%c%b" % (len(user), user, len(password), password))
        if replies.take(2)[1]:
            raise _refused("the proxy refused the user and password", f"correct them in {proxy.field}", context, retry_here=False)
    replies.send(b"\x05\x01\x00" + _socks_address(host) + struct.pack(">H", port))
    _version, code, _reserved, kind = replies.take(4)
    if code:
        _raise_socks_refusal(_SOCKS_REFUSALS.get(code, f"code {code}"), code in _FINAL, proxy, context)
    replies.take({1: 4, 3: 0, 4: 16}.get(kind, 0) or replies.take(1)[0])
    replies.take(2)


def _socks_address(host: str) -> bytes:
    try:
        packed = ip_address(host.partition("%")[0]).packed
    except ValueError:
        name = host.encode("ascii")[:255]
        return b"\x03%c%b" % (len(name), name)
    return (b"\x01" if len(packed) == 4 else b"\x04") + packed


def _connect_socks4(replies: _Replies, proxy: Proxy, host: str, port: int) -> None:
    context, user = replies.context, (proxy.login or ("", ""))[0].encode()
    try:
        address = IPv4Address(host).packed
        name = b""
    except ValueError:
        if ":" in host:
            _raise_socks_refusal("SOCKS 4 knows no IPv6; use socks5h://", True, proxy, context)
        address, name = b"\0\0\0\1", host.encode("ascii") + b"\0"
    replies.send(b"\x04\x01" + struct.pack(">H", port) + address + user + b"\0" + name)
    version, code = replies.take(8)[:2]
    if version:
        raise _refused("what answers does not speak SOCKS 4", f"check {proxy.field}", context, retry_here=False)
    if code != 90:
        _raise_socks_refusal(f"code {code}", code in (92, 93), proxy, context)


def _raise_socks_refusal(why: str, lasting: bool, proxy: Proxy, context: IoContext) -> None:
    todo = f"check {proxy.field}, or ask another vendor"
    raise _refused(f"the proxy refused the connection: {why}", todo, context, retry_here=not lasting)
