"""Proxies on the loopback: HTTP, HTTP over TLS, SOCKS 4 and 5. Every name leads to this machine."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from base64 import b64decode
from typing import Any

import attrs

from llmdispatcher.testing import LoopbackServer

LOGIN = ("app", "pass word:1")


@attrs.define
class RunningProxy:
    """``asked`` are the places that it was asked to connect to, as they were named; ``logins`` what it was shown."""

    scheme: str
    login: bool = False
    refusal: bytes | int | None = None
    challenge: str = 'Basic realm="office"'
    asked: list[str] = attrs.field(factory=list)
    logins: list[str] = attrs.field(factory=list)
    ports: dict[int, int] = attrs.field(factory=dict)
    """Ports that lead to another one."""
    server: Any = None

    def start(self, tls: ssl.SSLContext) -> None:
        if self.scheme.startswith("socks"):
            self.server = LoopbackServer(lambda _peer, _request: True, greet=self._socks)
        else:
            self.server = LoopbackServer(self._http, tls=tls if self.scheme == "https" else None)

    def url(self, login: tuple[str, str] | None = None) -> str:
        user = f"{login[0]}:{login[1].replace(' ', '%20').replace(':', '%3A')}@" if login else ""
        return f"{self.scheme}://{user}127.0.0.1:{self.server.port}"

    def _dial(self, host: str, port: int) -> socket.socket:
        self.asked.append(f"{host}:{port}")
        sock = socket.socket()  # create_connection would ask the resolver, which tests replace
        sock.connect(("127.0.0.1", self.ports.get(port, port)))
        return sock

    def _http(self, peer: Any, request: Any) -> bool | None:
        shown = request.headers.get("proxy-authorization", "")
        self.logins.append(b64decode(shown.removeprefix("Basic ")).decode("latin-1"))
        if self.login and self.logins[-1] != ":".join(LOGIN):
            peer.reply(407, b"<title>Who are you?</title>", ("Proxy-Authenticate", self.challenge), ("Connection", "close"))
            return True
        if isinstance(self.refusal, int):
            peer.reply(self.refusal, b"no", ("Connection", "close"))
            return True
        if request.method != "CONNECT":
            return self._forward(peer, request)
        host, _, port = request.target.rpartition(":")
        with self._dial(host, int(port)) as upstream:
            peer.send(b"HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\n")
            relay(peer.sock, upstream)
        return True

    def _forward(self, peer: Any, request: Any) -> None:
        host, _, port = request.target.removeprefix("http://").partition("/")[0].rpartition(":")
        with self._dial(host, int(port)) as upstream:
            path = "/" + request.target.split("/", 3)[3]
            kept = {name: text for name, text in request.headers.items() if not name.startswith("proxy-")}
            lines = [f"{request.method} {path} HTTP/1.1", *map(": ".join, (kept | {"connection": "close"}).items()), "", ""]
            upstream.sendall("\r\n".join(lines).encode("latin-1") + request.body)
            upstream.settimeout(0.02)
            while not peer.wait(0):
                with contextlib.suppress(TimeoutError):
                    data = upstream.recv(65536)
                    if not data:
                        return
                    peer.send(data)

    def _socks(self, peer: Any) -> None:
        sock, reader = peer.sock, peer.sock.makefile("rb", buffering=0)
        version = reader.read(1)[0]
        try:
            where = self._socks5(peer, reader) if version == 5 else self._socks4(reader)
            if where is None:
                return
            refused = isinstance(self.refusal, int)
            if not refused:
                with self._dial(*where) as upstream:
                    peer.send(b"\x05\0\0\x03\x04here\0\1" if version == 5 else b"\0\x5a" + bytes(6))
                    relay(sock, upstream)
                return
            peer.send(b"\x05%c\0\1%b" % (self.refusal, bytes(6)) if version == 5 else b"\0%c%b" % (self.refusal, bytes(6)))
        finally:
            reader.close()
            sock.shutdown(socket.SHUT_RDWR)

    def _socks5(self, peer: Any, reader: Any) -> tuple[str, int] | None:
        methods = reader.read(reader.read(1)[0])
        wanted = b"\2" if self.login else b"\0"
        peer.send(b"\5" + (wanted if wanted in methods else b"\xff"))
        if wanted not in methods:
            return None
        if self.login:
            reader.read(1)
            user, password = reader.read(reader.read(1)[0]).decode(), reader.read(reader.read(1)[0]).decode()
            self.logins.append(f"{user}:{password}")
            peer.send(b"\1" + (b"\0" if (user, password) == LOGIN else b"\1"))
            if (user, password) != LOGIN:
                return None
        _version, _command, _reserved, kind = reader.read(4)
        host = reader.read(reader.read(1)[0]).decode() if kind == 3 else socket.inet_ntoa(reader.read(4))
        return host, int.from_bytes(reader.read(2))

    def _socks4(self, reader: Any) -> tuple[str, int]:
        _command, port, address = reader.read(1), int.from_bytes(reader.read(2)), reader.read(4)
        words = []
        for _ in range(2 if address[:3] == b"\0\0\0" else 1):
            word = b""
            while (sign := reader.read(1)) not in (b"\0", b""):
                word += sign
            words.append(word.decode())
        self.logins.append(words[0])
        return (words[1] if len(words) > 1 else socket.inet_ntoa(address)), port


def relay(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes on in both directions until an end closes."""
    while True:
        pending = [end for end in (one, other) if isinstance(end, ssl.SSLSocket) and end.pending()]
        for end in pending or select.select([one, other], [], [])[0]:
            try:
                data = end.recv(65536)
                if data:
                    (other if end is one else one).sendall(data)
            except OSError:
                data = b""
            if not data:
                return
