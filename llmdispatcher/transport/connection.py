"""The one origin that a vendor's credentials may go to: its requests, checked to be valid HTTP, its connections, pool and adapter.

Pool, proxy and TLS are chosen once for an origin. urllib3 does the pools, OpenSSL verifies certificates.
``HTTPAdapter.send`` is not overridden, so ``responses`` and other tools that replace it see each call.
"""

from __future__ import annotations

import queue
import re
from collections.abc import Callable, Mapping
from socket import AF_INET
from types import FunctionType
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import attrs
import requests.adapters
from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest, Response
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ClosedPoolError, EmptyPoolError

from ..errors import ConfigError, VendorUnavailable
from ..types import HttpCall
from .body import Body, wrap_mocked
from .context import FOREIGN, HANG_UPS, IoContext, StaleConnection, active, hang_up_error, translate
from .dns import RESOLVER, Address
from .http1 import HeadReader, framing_of
from .proxies import Proxy, open_tunnel
from .sockets import PoolQueue, dial
from .tls import SslContext, secure

_SMALL = 65536
"""Bodies up to this many bytes travel in one write with their head."""
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


@attrs.frozen(kw_only=True)
class OriginRoute:
    """How an origin is reached. ``tls`` gives the context of a new connection to it, ``proxy_tls`` is that of one to a proxy."""

    proxy: Proxy | None = None
    tls: Callable[[], SslContext] | None = None
    proxy_tls: SslContext | None = None
    forwards: bool = False
    """Whether the proxy reads the requests and passes them on."""
    resolves: bool = True
    """Whether the proxy gets the origin's name, and not an address."""


_DIRECT = OriginRoute()


class PlainConnection(HTTPConnection):
    """HTTP over TCP; ``served`` counts the answers that came over the present socket, which is idle ``since`` then."""

    sock: Any
    served = 0
    since = 0.0
    route = _DIRECT

    def _new_conn(self) -> Any:
        context: IoContext = active.context
        context.enter("dns", context.connect)
        if self.route.proxy is not None:
            return self._dial_proxy(self.route.proxy, context)
        host, port = self.host, self.port or self.default_port
        addresses = RESOLVER.addresses(host, port, context)
        if context.admit is not None:
            context.admit(addresses)
        return self._dial(host, port, addresses, context)

    def _dial(self, host: str, port: int, addresses: tuple[Address, ...], context: IoContext) -> Any:
        context.phase = "connect"
        sock, address = dial(addresses, self.socket_options or (), context)
        if address is not addresses[0]:
            RESOLVER.prefer(host, port, address)
        return sock

    def _dial_proxy(self, proxy: Proxy, context: IoContext) -> Any:
        """A connection to the proxy, which ends at the origin unless the proxy forwards."""
        route, host, port = self.route, self.host, self.port or self.default_port
        if not route.resolves:
            addresses = RESOLVER.addresses(host, port, context)
            if context.admit is not None:
                context.admit(addresses)
            host = next((str(where[0]) for family, _, _, where in addresses if family == AF_INET), str(addresses[0][3][0]))
        context.setting = proxy.field
        try:
            addresses = RESOLVER.addresses(proxy.host, proxy.port, context)
        except VendorUnavailable as error:
            text = f"{context.host}: the proxy's name cannot be resolved; check {proxy.field} and the network"
            raise VendorUnavailable(text, phase="dns", sent=False, timed_out=error.timed_out) from None
        sock = self._dial(proxy.host, proxy.port, addresses, context)
        if route.proxy_tls is not None:
            sock = secure(sock, route.proxy_tls, proxy.host, context)
        if not route.forwards:
            context.phase = "connect"
            try:
                open_tunnel(sock, proxy, host, port, context)
            except BaseException:
                sock.release()
                sock.close()
                raise
        context.setting = "base_url"
        return sock

    def connect(self) -> None:
        """Resolve, connect, tunnel and shake hands under the context; raises only errors of ours."""
        self.served = 0
        try:
            self.sock = self._new_conn()
        except FOREIGN as foreign:
            failure = translate(foreign, active.context)
        else:
            return
        self.close()
        raise failure

    def request(  # type: ignore[override]  # urllib3's own signature, less what only its own body kinds need
        self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, **_options: Any
    ) -> None:
        """Write the request; a peer that closes meanwhile may have answered, so that is left to :meth:`getresponse`."""
        context: IoContext = active.context
        self._method = method
        context.meter.reused = self.sock is not None
        if self.sock is None:
            self.connect()
        sock = self.sock
        assert sock is not None
        if sock.owner is not context:
            sock.adopt(context)
        head = "\r\n".join([f"{method} {url} HTTP/1.1", *map(": ".join, (headers or {}).items()), "", ""]).encode("latin-1")
        body = body or b""
        context.enter("send", context.limits.first_byte)
        context.meter.sent += len(head) + len(body)
        try:
            if len(body) <= _SMALL:
                sock.sendall(head + body)
            else:
                sock.sendall(head)
                sock.sendall(body)
        except HANG_UPS:
            return
        except OSError as foreign:
            failure = translate(foreign, context)
        else:
            return
        raise failure

    def getresponse(self) -> Body:  # type: ignore[override]  # all that urllib3's pool needs of a response
        """Read the head of the answer."""
        context: IoContext = active.context
        sock = self.sock
        assert sock is not None
        left = context.enter("first_byte", context.limits.first_byte)
        reader = HeadReader()
        while True:
            try:
                data = sock.receive(left, once=True)
            except HANG_UPS as foreign:
                failure: Exception = translate(foreign, context)
                break
            except OSError as foreign:
                raise translate(foreign, context) from None
            if not data:
                failure = hang_up_error(context)
                break
            context.meter.received += len(data)
            head = reader.feed(data)
            if head is not None:
                self.served += 1
                return Body(self, sock, context, head, framing_of(head, self._method or "POST"), rest=reader.rest)
            left = context.left()
        if self.served and not reader.rest and context.ended() is None:
            raise StaleConnection
        raise failure

    def close(self) -> None:
        """Close, after waiting for a thread that is cancelling the call, so that no other socket gets this descriptor meanwhile."""
        if self.sock is not None:
            self.sock.release()
        super().close()


class TLSConnection(PlainConnection, HTTPSConnection):
    """HTTP over TLS."""

    def _new_conn(self) -> Any:
        assert self.route.tls is not None
        tls = self.route.tls()  # first: what cannot be loaded needs no connection
        sock = secure(super()._new_conn(), tls, self.host, active.context)
        self.is_verified = True  # or the context's maker does not want it to be
        return sock


class PlainPool(HTTPConnectionPool):
    """Connections to one origin over HTTP."""

    ConnectionCls = PlainConnection  # type: ignore[assignment]  # urllib3's protocol knows only its own response
    QueueCls = PoolQueue
    route = _DIRECT

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()
        connection.route = self.route
        return connection

    def _get_conn(self, timeout: float | None = None) -> Any:
        """A connection of ours; one that is open may be used."""
        context: IoContext = active.context
        context.placed = False
        places = self.pool
        if places is None:
            raise ClosedPoolError(self, "closed")
        try:
            connection: Any = places.get()
        except queue.Empty:
            raise EmptyPoolError(self, "empty") from None
        context.placed = True
        if connection is None:
            return self._new_conn()
        kept = context.limits.kept
        if connection.sock is not None and (
            context.fresh
            or (kept is not None and context.now() - connection.since >= kept)
            or connection.sock.is_readable()  # which nobody has asked for; mostly, the peer has closed
        ):
            connection.close()
        return connection

    def _put_conn(self, conn: Any) -> None:
        """Disown first: from here on another call may have the socket.

        urllib3 also puts ``None`` back for a caller who never got a place, an interrupted one, say: the pool would grow.
        """
        if conn is None:
            if not active.context.placed:
                return
        elif conn.sock is not None and not conn.sock.release():
            conn.close()
        super()._put_conn(conn)

    def close(self) -> None:
        """Close the idle connections and send away who waits for one."""
        places = self.pool
        super().close()
        if isinstance(places, PoolQueue):
            places.close()


class TLSPool(PlainPool, HTTPSConnectionPool):
    """Connections to one origin over HTTPS."""

    ConnectionCls = TLSConnection  # type: ignore[assignment]  # urllib3's protocol knows only its own response


POOLS = {"http": PlainPool, "https": TLSPool}

_ADAPTERS = vars(requests.adapters)
"""Where ``HTTPAdapter.send`` is defined, unless a tool has put another function in its place."""


class OriginAdapter(HTTPAdapter):
    """Sends to one origin, over at most ``pool_size`` connections."""

    def __init__(self, origin: Origin, route: OriginRoute, *, pool_size: int) -> None:
        self._host = origin.authority
        self._forwarding: tuple[str, dict[str, str]] | None = None
        if route.forwards and route.proxy is not None:
            self._forwarding = origin.url, route.proxy.headers
        super().__init__(pool_connections=1, pool_maxsize=pool_size, pool_block=True)
        self.pool: PlainPool = POOLS[origin.scheme](origin.host, origin.port, maxsize=pool_size, block=True)
        self.pool.route = route

    def get_connection_with_tls_context(self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """The one pool."""
        return self.pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing to do: the pool's TLS context verifies, and no call can change that."""

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """The path, or the whole URL for a proxy that forwards."""
        return request.target if isinstance(request, Prepared) else str(request.url)

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """A response without cookies and encoding, around the raw one."""
        response = Response()
        response.status_code = resp.status
        response.headers = resp.headers
        response.raw = resp
        response.url = req.url  # type: ignore[assignment]  # requests types it as never None
        response.request = req
        return response

    def exchange(self, call: HttpCall, target: str, context: IoContext) -> Body:
        """Send ``call`` and read the head of its answer. The context has the time-outs, and nothing is retried.

        Only a request for a tool such as ``responses`` takes the way of requests and urllib3.
        """
        headers = {"Host": self._host, **call.headers, "Content-Length": str(len(call.body))}
        if self._forwarding is not None:
            target = f"{self._forwarding[0]}{target}"
            headers |= self._forwarding[1]
        send, pool = HTTPAdapter.send, self.pool
        if type(send) is not FunctionType or send.__globals__ is not _ADAPTERS:
            response = self.send(Prepared(call, target, headers), stream=True)
            raw = response.raw
            return raw if isinstance(raw, Body) else wrap_mocked(response.status_code, response.headers, raw, context)
        connection: PlainConnection | None = None
        try:
            connection = pool._get_conn()
            connection.request(call.method, target, call.body, headers)
            body: Body = connection.getresponse()
        except BaseException:
            if connection is not None:
                connection.close()
            pool._put_conn(None)
            raise
        body._pool = pool
        return body

    def close(self) -> None:
        """Close the idle connections."""
        self.pool.close()
        super().close()
