"""One key does harm, another asks: how late the other's answers are, whether health is told, and whether the key can be revoked.

The harm is 200 uploads that never end, 200 streams that nobody reads, and bodies of 30 MB of ``[[],[],...]``, all at once.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from .calls import Rows
from .gateway import CHAT, MESSAGES, QUESTION, connect, request_head
from .gateway_servers import Server, ours
from .server import vendor

CROWD = 200
ASKED = 400
NESTED = b"[" + b"[]," * 10_000_000 + b"[]]"


def attack() -> Rows:
    """Everything."""
    with tempfile.TemporaryDirectory() as name, vendor(chunks=1000) as url, ours(url, Path(name), threads=512) as server:
        good, bad = server.keys[0], server.keys[1]
        _ask(server, good, ASKED // 4)
        idle = _ask(server, good, ASKED)
        with _harm(server, bad):
            busy = _ask(server, good, ASKED)
            health = _health(server)
            revoked = _revoke(server, bad)
        after = _ask(server, good, ASKED // 4)
    return [
        ("another key idle, p99", _p99(idle) * 1e3, None, "ms"),
        ("another key under attack, p99", _p99(busy) * 1e3, None, "ms"),
        ("another key's p99, under attack / idle", _p99(busy) / _p99(idle), 2.0, "x"),
        ("another key's median, under attack / idle", statistics.median(busy) / statistics.median(idle), None, "x"),
        ("/livez under attack, slowest of 50", max(health) * 1e3, 100.0, "ms"),
        ("seconds until the key is refused after it was revoked", revoked, 2.5, "s"),
        ("another key afterwards, p99", _p99(after) * 1e3, None, "ms"),
    ]


def _p99(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


def _ask(server: Server, key: str, times: int) -> list[float]:
    """The seconds of plain answers, one after another on one connection."""
    body = json.dumps(QUESTION).encode()
    raw = request_head(server.url, {"Authorization": f"Bearer {key}"}, CHAT, body) + body
    taken = []
    with connect(server.url) as line:
        for _ in range(times):
            began = time.perf_counter()
            line.sendall(raw)
            answer = line.recv(65536)
            taken.append(time.perf_counter() - began)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise OSError(f"{answer[:400]!r}")
    return taken


def _health(server: Server) -> list[float]:
    taken = []
    for _ in range(50):
        with connect(server.url) as line:
            began = time.perf_counter()
            line.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            if not line.recv(65536).startswith(b"HTTP/1.1 200"):
                raise OSError("/livez failed")
            taken.append(time.perf_counter() - began)
    return taken


def _revoke(server: Server, key: str) -> float:
    """Revoke a key as the command line does, and ask with it until it is refused."""
    raw = f"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    found = server.store.find(key)
    if found is None or not server.store.revoke(found.id):
        raise OSError("the key could not be revoked")
    began = time.perf_counter()
    while time.perf_counter() - began < 30:
        with connect(server.url) as line:
            line.sendall(raw)
            if line.recv(65536).startswith(b"HTTP/1.1 401"):
                return time.perf_counter() - began
        time.sleep(0.05)
    return 30.0


@contextlib.contextmanager
def _harm(server: Server, key: str) -> Iterator[None]:
    over = threading.Event()
    lines = _silent(server, key)
    work = (lambda: _trickle(lines[1::2], over), lambda: _nest(server, key, over))
    workers = [threading.Thread(target=one, daemon=True) for one in work]
    for worker in workers:
        worker.start()
    time.sleep(2.0)
    try:
        yield
    finally:
        over.set()
        for line in lines:
            line.close()
        for worker in workers:
            worker.join(30)


def _silent(server: Server, key: str) -> list[socket.socket]:
    """Connections of which every other is an upload that has begun, and the rest are streams that nobody reads."""
    shown = {"Authorization": f"Bearer {key}"}
    upload = request_head(server.url, {**shown, "Content-Length": "1000000"}, CHAT, b"") + b'{"model": "'
    stream = json.dumps({**QUESTION, "stream": True}).encode()
    unread = request_head(server.url, shown, CHAT, stream) + stream
    host, port = server.url.removeprefix("http://").split(":")
    lines = []
    for number in range(2 * CROWD):
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect((host, int(port)))
        line.sendall(upload if number % 2 else unread)
        lines.append(line)
    return lines


def _trickle(lines: Sequence[socket.socket], over: threading.Event) -> None:
    """Send a little of each upload each second."""
    while not over.wait(1.0):
        for line in lines:
            with contextlib.suppress(OSError):
                line.send(b"x" * 1200, socket.MSG_DONTWAIT)


def _nest(server: Server, key: str, over: threading.Event) -> None:
    """Send bodies of empty lists, one after another."""
    head = request_head(server.url, {"Authorization": f"Bearer {key}"}, MESSAGES, NESTED)
    while not over.is_set():
        with contextlib.suppress(OSError), connect(server.url) as line:
            line.sendall(head)
            for start in range(0, len(NESTED), 1 << 20):
                line.sendall(NESTED[start : start + (1 << 20)])
                if over.is_set():
                    return
            line.recv(65536)
