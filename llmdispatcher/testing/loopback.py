"""A raw HTTP/1.1 server on the loopback. Its handler writes every byte itself, so it can misbehave in any way."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable
from typing import Self

import attrs


@attrs.frozen(kw_only=True)
class WireRequest:
    """One request as it came over the socket; header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    """The number of the connection that it came on, counted from 0: equal numbers mean a reused connection."""


class Peer:
    """The server's end of one connection; what a handler writes with. Every wait ends when the server closes."""

    def __init__(self, sock: socket.socket, closing: threading.Event) -> None:
        self.sock = sock
        self._closing = closing

    def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.sock.sendall(data)

    def head(self, status: int = 200, *headers: tuple[str, str]) -> None:
        """Write a status line and headers."""
        self.send(_head(status, headers))

    def reply(self, status: int, body: bytes, *headers: tuple[str, str], content_type: str = "application/json") -> None:
        """Write a whole answer with a Content-Length."""
        self.send(_head(status, (("Content-Type", content_type), ("Content-Length", str(len(body))), *headers)) + body)

    def start_stream(self, *headers: tuple[str, str], content_type: str = "text/event-stream") -> None:
        """Write the head of a chunked stream."""
        self.head(200, ("Content-Type", content_type), ("Transfer-Encoding", "chunked"), *headers)

    def chunk(self, data: bytes) -> None:
        """Write one chunk of a chunked body; an empty one ends the body."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def trickle(self, data: bytes, interval: float, size: int = 1) -> None:
        """Write ``size`` bytes every ``interval`` seconds."""
        for start in range(0, len(data), size):
            self.send(data[start : start + size])
            if self.wait(interval):
                return

    def wait(self, seconds: float | None = None) -> bool:
        """Do nothing for ``seconds`` (None: until the server closes); True when the server is closing."""
        return self._closing.wait(seconds)

    def hang_up(self) -> bool:
        """Wait until the client closes its end (or the server closes); True when the client did."""
        self.sock.settimeout(0.05)
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                try:
                    if not self.sock.recv(65536):
                        return True
                except OSError as error:
                    if isinstance(error, TimeoutError):
                        raise
                    return True
        return False

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
}


def _head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


Handler = Callable[[Peer, WireRequest], bool | None]
"""Answers one request; a true result closes the connection."""


class LoopbackServer:
    """Runs ``handler`` for every request, one thread per connection, until :meth:`close`.

    ``requests`` lists all that came in whole, ``connections`` counts them. With ``tls`` the handshake is made
    first; ``greet`` instead takes over a fresh connection before anything is read (to stay mute, say). ``port`` 0 takes a free one.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        tls: ssl.SSLContext | None = None,
        greet: Callable[[Peer], None] | None = None,
        backlog: int = 128,
        receive_buffer: int | None = None,
        port: int = 0,
    ) -> None:
        self.handler = handler
        self.requests: list[WireRequest] = []
        self.connections = 0
        self._tls = tls
        self._greet = greet
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket()
        if receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if port:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind(("127.0.0.1", port))
        except OSError:
            self._listener.close()
            raise
        self._listener.listen(backlog)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    @property
    def url(self) -> str:
        """The base URL, without a path."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop listening, cut every connection, wait for the threads."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        # The second round is for a connection that was being accepted during the first.
        for _ in range(2):
            self._cut_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cut_all(self) -> None:
        with self._lock:
            sockets, threads = list(self._open), self._threads
        for sock in sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(5)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name=f"loopback-{self.port}", daemon=True)
        with self._lock:
            self._threads = [other for other in self._threads if other.is_alive()] + [thread]
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                if self._closing.wait(0.01):
                    return
                continue  # out of descriptors, which may be over soon
            number, self.connections = self.connections, self.connections + 1
            with self._lock:
                self._open.add(sock)
            self._start(self._serve, sock, number)

    def _serve(self, sock: socket.socket, number: int) -> None:
        current = sock
        try:
            if self._greet is not None:
                self._greet(Peer(sock, self._closing))
            if self._tls is not None:
                current = self._tls.wrap_socket(sock, server_side=True)
                with self._lock:
                    self._open.add(current)
            self._answer_all(current, number)
        except (OSError, ValueError):
            pass  # the client went away or spoke no HTTP: the test that asked for it looks at its own end
        finally:
            with self._lock:
                self._open -= {sock, current}
            current.close()

    def _answer_all(self, sock: socket.socket, number: int) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(sock, self._closing)
        reader = sock.makefile("rb")
        while not self._closing.is_set():
            request = _read_request(reader, number)
            if request is None:
                return
            self.requests.append(request)
            if self.handler(peer, request) or request.headers.get("connection", "").lower() == "close":
                return


def _read_request(reader: io.BufferedReader, number: int) -> WireRequest | None:
    start = reader.readline(65537)
    if not start.strip():
        return None
    method, target, _ = start.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    while (line := reader.readline(65537)) not in (b"\r\n", b"\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", 0)))
    return WireRequest(method=method, target=target, headers=headers, body=body, connection=number)
