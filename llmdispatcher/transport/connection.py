"""Connections, pools and the requests adapter of one origin: they write a request, read the answer, and return or close the socket.

Pool, proxy and TLS are chosen once for an origin. urllib3 does pools, proxies, tunnels and TLS with its verification.
``HTTPAdapter.send`` is not overridden, so ``responses`` and other tools that hook it see each call.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest, Response
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import PoolManager, ProxyManager, Retry, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import BaseHTTPResponse
from urllib3.util.ssl_ import create_urllib3_context

from ..errors import ConfigError, DispatchError
from ..runtime import new_lock
from .context import FOREIGN, HANG_UPS, Scope, Stale, broken_off, current, translated
from .dns import RESOLVER
from .http1 import Framing, Head, HeadReader, framing_of
from .request import Origin, Prepared
from .sockets import Governed, Slots, TLSSocket, dial

_SMALL = 65536
"""Bodies up to this many bytes travel in one write with their head."""
_GRACE = 0.01
"""Seconds to wait, when a reader stops, for the end of a body that has been read to its last chunk."""


class WireResponse(BaseHTTPResponse):
    """An answer on the wire, in the place of urllib3's: :meth:`read1` gives the payload as it comes, packed as it came."""

    def __init__(self, connection: _Connection, scope: Scope, head: Head, framing: Framing, rest: bytes) -> None:
        # The base class would copy the headers twice; these are all the fields that its users read.
        self.headers = head.headers  # type: ignore[assignment]  # a plain dict with lower-case names
        self.status = head.status
        self.version = 11
        self.version_string = "HTTP/1.1"
        self.reason = None
        self.length_remaining = None
        self._retries = None
        self._request_url = None
        self._pool: Any = None
        self._connection: Any = None
        self._framing = framing
        self._keep = head.keep_alive
        self._rest = rest
        self._scope = scope
        self._held = [connection]
        self._sock = connection.governed()
        framing.excess = framing.excess or bool(framing.done and rest)

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        """The payload of one receive, nothing at the end of the body; raises what broke it."""
        framing, scope = self._framing, self._scope
        payload = b""
        while not payload and not framing.done:
            if framing.fault is not None:
                raise framing.fault
            data, self._rest = self._rest, b""
            if not data:
                data = self._sock.receive(scope.listen())
                scope.meter.received += len(data)
            if data:
                payload = framing.feed(data)
            elif not framing.end():
                raise broken_off(scope)
        if framing.done:
            self._give_back()
        return payload

    def settle(self) -> None:
        """Stop reading: keep the connection if the end of the body is there, or comes at once, else close it."""
        framing, data = self._framing, self._rest
        whole = False
        try:
            framing.feed(data)
            if self._held and not framing.done and framing.between() and self._scope.ended() is None:
                framing.feed(self._sock.glance(_GRACE))
            whole = True
        except DispatchError:
            pass  # whatever comes after what was read, nobody needs it
        finally:
            framing.excess = framing.excess or not whole
            self._give_back()

    def close(self) -> None:
        """Close the connection, wherever the body is."""
        self._framing.excess = True
        self._give_back()

    def _give_back(self) -> None:
        try:
            if not self._held:
                return
            connection = self._held.pop()
        except (IndexError, AttributeError):
            return
        if self._framing.excess or not self._framing.done or not self._keep:
            connection.close()
        connection.since = self._scope.now()
        self._pool._put_conn(connection)


class _Connection(HTTPConnection):
    """What HTTP and HTTPS share; ``served`` counts the answers that came over the present socket, which is idle ``since`` then."""

    served = 0
    since = 0.0

    @property
    def is_connected(self) -> bool:
        """Whether the socket is open, and the peer has said nothing that nobody asked for, such as goodbye."""
        return self.sock is not None and not self.governed().has_news()

    def governed(self) -> Governed:
        """The socket, which is one of ours whenever it is connected."""
        sock = self.sock
        assert isinstance(sock, Governed)
        return sock

    def _new_conn(self) -> Governed:
        scope = current()
        scope.enter("dns", scope.connect)
        host, port = self.host, self.port or self.default_port
        addresses = RESOLVER.addresses(host, port, scope)
        if scope.admit is not None:
            scope.admit(addresses)
        scope.phase = "connect"
        sock, address = dial(addresses, self.socket_options or (), scope)
        if address is not addresses[0]:
            RESOLVER.prefer(host, port, address)
        return sock

    def connect(self) -> None:
        """Resolve, connect, tunnel and shake hands under the scope; raises only errors of ours."""
        self.served = 0
        try:
            super().connect()
        except FOREIGN as foreign:
            failure = translated(foreign, current())
        else:
            return
        self.close()
        raise failure

    def request(  # type: ignore[override]  # urllib3's own signature, less what only its own body kinds need
        self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, **_options: Any
    ) -> None:
        """Write the request; a peer that closes meanwhile may have answered, so that is left to :meth:`getresponse`."""
        scope = current()
        self._method = method
        scope.meter.reused = self.sock is not None
        if self.sock is None:
            self.connect()
        sock = self.governed()
        if sock.scope is not scope:
            sock.adopt(scope)
        lines = [f"{name}: {value}" for name, value in (headers or {}).items()]
        head = "\r\n".join([f"{method} {url} HTTP/1.1", *lines, "", ""]).encode("latin-1")
        scope.enter("send", scope.limits.first_byte)
        scope.meter.sent += len(head) + len(body or b"")
        try:
            self._write(sock, head, body or b"")
        except HANG_UPS:
            return
        except OSError as foreign:
            failure = translated(foreign, scope)
        else:
            return
        raise failure

    def _write(self, sock: Governed, head: bytes, body: bytes) -> None:
        if len(body) <= _SMALL:
            sock.sendall(head + body)
        else:
            sock.sendall(head)
            sock.sendall(body)

    def getresponse(self) -> BaseHTTPResponse:  # type: ignore[override]  # urllib3's pool takes any of its base class
        """Read the head of the answer."""
        sock, scope = self.governed(), current()
        scope.enter("first_byte", scope.limits.first_byte)
        reader = HeadReader()
        head = None
        while head is None:
            data = self._received(sock, scope, began=bool(reader.rest))
            head = reader.feed(data)
        self.served += 1
        return WireResponse(self, scope, head, framing_of(head, self._method or "POST"), reader.rest)

    def _received(self, sock: Governed, scope: Scope, *, began: bool) -> bytes:
        try:
            data = sock.receive(scope.left(), once=True)
        except HANG_UPS as foreign:
            failure: Exception = translated(foreign, scope)
        except OSError as foreign:
            raise translated(foreign, scope) from None
        else:
            if data:
                scope.meter.received += len(data)
                return data
            failure = broken_off(scope)
        if self.served and not began and scope.ended() is None:
            raise Stale
        raise failure

    def close(self) -> None:
        """Close; whoever is about to cancel the call is waited for, so that no other socket gets this descriptor meanwhile."""
        if isinstance(self.sock, Governed):
            self.sock.let_go()
        super().close()


class PlainConnection(_Connection):
    """HTTP over TCP."""


class TLSConnection(_Connection, HTTPSConnection):
    """HTTP over TLS."""


class _Pool(HTTPConnectionPool):
    QueueCls = Slots

    def urlopen(  # type: ignore[override]  # urllib3 has more, which is handed on
        self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, **options: Any
    ) -> BaseHTTPResponse:
        """One exchange. Without a proxy urllib3's own way is not taken: the scope has the time-outs, and nothing is retried."""
        if self.proxy is not None:
            return super().urlopen(method, url, body, headers, **options)
        connection = None
        try:
            connection = self._get_conn()
            connection.request(method, url, body, headers)
            response: WireResponse = connection.getresponse()
        except BaseException:
            if connection is not None:
                connection.close()
            self._put_conn(None)
            raise
        response._pool = self
        return response

    def _get_conn(self, timeout: float | None = None) -> Any:
        scope = current()
        scope.placed = False
        connection: Any = super()._get_conn(timeout)  # one of ours
        scope.placed = True
        kept = scope.limits.kept
        if scope.fresh or (connection.sock is not None and kept is not None and scope.now() - connection.since >= kept):
            connection.close()
        return connection

    def _put_conn(self, conn: Any) -> None:
        """Disown first: from here on another call may have the socket.

        urllib3 also puts ``None`` back for a caller who never got a place, an interrupted one, say: the pool would grow.
        """
        if conn is None and not current().placed:
            return
        if conn is not None and isinstance(conn.sock, Governed) and not conn.sock.let_go():
            conn.close()
        super()._put_conn(conn)

    def close(self) -> None:
        """Close the idle connections and send away who waits for one."""
        slots = self.pool
        super().close()
        if isinstance(slots, Slots):
            slots.close()


class PlainPool(_Pool):
    """Connections to one origin over HTTP."""

    ConnectionCls = PlainConnection  # type: ignore[assignment]  # urllib3's protocol knows only its own response


class TLSPool(_Pool, HTTPSConnectionPool):
    """Connections to one origin over HTTPS."""

    ConnectionCls = TLSConnection  # type: ignore[assignment]  # urllib3's protocol knows only its own response


POOLS = {"http": PlainPool, "https": TLSPool}


NO_RETRIES = Retry(total=0, connect=0, read=False, redirect=0, status=0, other=0, respect_retry_after_header=False)
NO_TIMEOUT: Any = Timeout(connect=None, read=None)
"""The scope's sockets know theirs. ``HTTPAdapter.send`` takes such an object; its type hints forget to say so."""

_contexts: dict[str, ssl.SSLContext] = {}
_contexts_lock = new_lock()


class OriginAdapter(HTTPAdapter):
    """Sends to one origin, over at most ``pool_size`` connections."""

    def __init__(self, origin: Origin, *, pool_size: int, proxy: str | None, ca_bundle: str | None) -> None:
        self._proxy = proxy
        self._absolute = bool(proxy) and origin.scheme == "http"
        self._ssl = tls_context(ca_bundle) if origin.scheme == "https" else None
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=NO_RETRIES, pool_block=True)
        self.pool: HTTPConnectionPool = self.poolmanager.connection_from_url(origin.url)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        """Use our pools, behind the proxy if there is one."""
        options |= {"num_pools": connections, "maxsize": maxsize, "block": block, "ssl_context": self._ssl}
        if self._proxy is None:
            self.poolmanager = PoolManager(**options)
        else:
            self.poolmanager = ProxyManager(self._proxy, proxy_headers=self.proxy_headers(self._proxy), **options)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def get_connection_with_tls_context(self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """The one pool."""
        return self.pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing to do: the pool's TLS context verifies, and no call can change that."""

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """The path, or the whole URL for a proxy that forwards."""
        return request.target if isinstance(request, Prepared) and not self._absolute else str(request.url)

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """A response without cookies, around the raw one."""
        response = LeanResponse()
        response.status_code = resp.status
        response.headers = resp.headers
        response.raw = resp
        response.url = req.url  # type: ignore[assignment]  # requests types it as never None
        response.request = req
        return response

    def close(self) -> None:
        """Close the idle connections."""
        self.pool.close()
        super().close()


class LeanResponse(Response):
    """A requests response that begins without the cookie jar and header dict that nobody reads here."""

    def __init__(self) -> None:
        self._content = False  # type: ignore[assignment]  # as requests itself begins
        self._content_consumed = False
        self._next = None
        self.history = []
        self.reason = None  # type: ignore[assignment]  # as requests itself begins
        self.encoding = None
        self.elapsed = timedelta(0)


def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """The context for a CA file or directory, made once per process: loading the certificates takes longer than a call."""
    path = str(Path(ca_bundle).expanduser()) if ca_bundle else DEFAULT_CA_BUNDLE_PATH
    with _contexts_lock:
        context = _contexts.get(path)
        if context is None:
            context = _contexts[path] = _verifying(path)
    return context


def _verifying(path: str) -> ssl.SSLContext:
    context = create_urllib3_context(ssl_minimum_version=ssl.TLSVersion.TLSv1_2)
    context.sslsocket_class = TLSSocket
    try:
        if Path(path).is_dir():
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except OSError:
        raise ConfigError(
            f"ca_bundle: {path!r} holds no CA certificates that can be read; give a PEM file or a directory"
        ) from None
    return context
