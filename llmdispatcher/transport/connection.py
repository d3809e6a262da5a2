"""Connections and pools of ours for urllib3: they write a request, read its answer, and give the socket back or close it.

urllib3 keeps what it is best at: pools, proxies and tunnels, and TLS with its verification.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import BaseHTTPResponse

from ..errors import DispatchError
from .dns import RESOLVER
from .failures import FOREIGN, HANG_UPS, Stale, broken_off, translated
from .framing import Framing, Head, HeadReader, framing_of
from .scope import Scope, current
from .slots import Slots
from .sockets import Governed, dial

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
        self._pool._put_conn(connection)


class _Connection(HTTPConnection):
    """What HTTP and HTTPS share; ``served`` counts the answers that came over the present socket."""

    served = 0

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
        scope.enter("dns", scope.limits.connect)
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
            data = sock.receive(scope.left())
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
        connection = super()._get_conn(timeout)
        scope.placed = True
        if scope.fresh:
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
