"""The vendors of the soak: one process, three temperaments by path, each answer a function of what was asked, all requests counted.

``steady`` fails now and then in every way there is, ``shaky`` most of the time, ``slow`` is late with some answers. A request is
counted when it was read whole. A connection that has served before is never closed without a byte: the transport would rightly
send the request once more without counting an attempt, and the two counts could not be compared.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import random
import re
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import attrs

_ASKED = re.compile(rb'"content": ?"ask (\d+)"')
_WORDS = [f" word{number}" for number in range(12)]
_SECONDS_SLOW = 0.05
_SECONDS_SILENT = 1.0


def answer_to(number: int) -> str:
    """What every vendor of the soak says when it is asked ``ask <number>``."""
    return f"{number}:{''.join(_WORDS)}"


def _head(status: str, length: int, *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {length}", *more, "", ""]
    return "\r\n".join(lines).encode()


def _said(status: str, body: bytes, *headers: str) -> bytes:
    return _head(status, len(body), *headers) + body


def _refusal(status: str, kind: str, *headers: str) -> bytes:
    return _said(status, json.dumps({"error": {"message": f"soak: {kind}", "type": kind, "code": kind}}).encode(), *headers)


_USAGE = {"prompt_tokens": 9, "completion_tokens": 24, "total_tokens": 33}
_PLAIN = json.dumps(
    {
        "id": "chatcmpl-soak",
        "object": "chat.completion",
        "created": 1760729356,
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "@@"}, "finish_reason": "stop"}],
        "usage": _USAGE,
    }
)
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _plain(number: int) -> bytes:
    return _said("200 OK", _PLAIN.replace("@@", answer_to(number)).encode())


def _event(**choice: object) -> bytes:
    record = {"id": "chatcmpl-soak", "object": "chat.completion.chunk", "model": "gpt-4o", "choices": [{"index": 0, **choice}]}
    return b"data: " + json.dumps(record).encode() + b"\n\n"


_WORD_EVENTS = [_event(delta={"content": word}) for word in _WORDS]
_ENDING = [
    _event(delta={}, finish_reason="stop"),
    b'data: {"id":"chatcmpl-soak","choices":[],"usage":' + json.dumps(_USAGE).encode() + b"}\n\n",
    b"data: [DONE]\n\n",
]
_ERROR_EVENT = b'data: {"error":{"message":"soak: overloaded","type":"server_error","code":"overloaded"}}\n\n'


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _first(number: int) -> bytes:
    return _event(delta={"role": "assistant", "content": f"{number}:"})


@attrs.define(eq=False)
class _Scene:
    """One request and the connection that it came on."""

    sock: socket.socket
    number: int
    streamed: bool
    reused: bool
    chance: random.Random

    def ok(self) -> None:
        """The answer, a stream in three writes."""
        if not self.streamed:
            return self.sock.sendall(_plain(self.number))
        self.sock.sendall(_STREAM_HEAD + _chunk(_first(self.number)))
        self.sock.sendall(_chunk(b"".join(_WORD_EVENTS[:6])))
        return self.sock.sendall(_chunk(b"".join([*_WORD_EVENTS[6:], *_ENDING])) + b"0\r\n\r\n")

    def reset(self) -> None:
        """RST instead of FIN; the caller's thread closes."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Act = Callable[[_Scene], bool]
"""Answers one request; True closes the connection."""


def _ok(scene: _Scene) -> bool:
    scene.ok()
    return False


def _says(*texts: bytes, close: bool = False) -> Act:
    def act(scene: _Scene) -> bool:
        scene.sock.sendall(scene.chance.choice(texts))
        return close

    return act


def _slow(scene: _Scene) -> bool:
    time.sleep(_SECONDS_SLOW)
    return _ok(scene)


def _silent(scene: _Scene) -> bool:
    """Not a byte until the client goes away, or for longer than it waits."""
    scene.sock.settimeout(_SECONDS_SILENT)
    with contextlib.suppress(OSError):
        scene.sock.recv(1)
    if scene.reused:
        scene.sock.sendall(b"H")
    return True


def _reset(scene: _Scene) -> bool:
    if scene.reused:
        scene.sock.sendall(b"HTTP/1.1 200 O")
    scene.reset()
    return True


def _cut(scene: _Scene) -> bool:
    """A clean end, or a reset, in the middle of an answer."""
    if scene.streamed:
        words = scene.chance.randrange(6)
        scene.sock.sendall(_STREAM_HEAD + _chunk(_first(scene.number)) + b"".join(map(_chunk, _WORD_EVENTS[:words])))
    else:
        scene.sock.sendall(_plain(scene.number)[: scene.chance.randrange(20, 300)])
    if scene.chance.random() < 0.5:
        scene.reset()
    return True


def _odd_stream(scene: _Scene) -> bool:
    """An error in the place of the first event, or lines that are no JSON between good ones."""
    if not scene.streamed:
        return _ok(scene)
    if scene.chance.random() < 0.5:
        scene.sock.sendall(_STREAM_HEAD + _chunk(_ERROR_EVENT) + b"0\r\n\r\n")
    else:
        events = [_first(scene.number), *_WORD_EVENTS[:4], b"data: {not json\n\n", b": ping\n\n", *_WORD_EVENTS[4:], *_ENDING]
        scene.sock.sendall(_STREAM_HEAD + b"".join(map(_chunk, events)) + b"0\r\n\r\n")
    return False


def _stale(scene: _Scene) -> bool:
    """A good answer, after which the connection is closed without a word: the next user of it finds it dead."""
    scene.ok()
    return True


_JUNK = _says(
    b"\x16\x03\x01\x02\x00\x01 no HTTP at all\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5, 7\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
    _said("200 OK", b"<html>captive portal</html>"),
    _said("200 OK", b'{"choices": [{"message": {"content": '),
    _said("200 OK", b"[" * 5_000),
    _said("200 OK", b'{"error": {"message": "inside a 200", "type": "server_error"}}'),
    _said("200 OK", b""),
    _said("502 Bad Gateway", b"<html>502</html>"),
    close=True,
)
_FAULTS: dict[Act, float] = {
    _says(_refusal("503 Service Unavailable", "unavailable")): 3,
    _says(_refusal("429 Too Many Requests", "rate_limit_exceeded", "retry-after-ms: 5")): 1,
    _says(_refusal("500 Internal Server Error", "server_error"), _refusal("529 Overloaded", "overloaded")): 2,
    _reset: 3,
    _cut: 3,
    _odd_stream: 2,
    _JUNK: 3,
    _stale: 2,
    _slow: 1,
    _silent: 0.1,
}


def _mixed(faulty: float) -> tuple[list[Act], list[float]]:
    """What a vendor does, and how often, when that share of its answers is faulty."""
    total = sum(_FAULTS.values())
    return [_ok, *_FAULTS], [1 - faulty, *(faulty * weight / total for weight in _FAULTS.values())]


TEMPERAMENTS: dict[str, tuple[list[Act], list[float]]] = {
    "steady": _mixed(0.05),
    "shaky": _mixed(0.7),
    "slow": ([_ok, _slow], [0.9, 0.1]),
}


class SoakVendors:
    """The process, seen from outside: addresses, and counts when asked."""

    def __init__(self, pipe: Connection, port: int) -> None:
        self._pipe = pipe
        self._port = port

    def url(self, temperament: str) -> str:
        """The base URL of the vendor of that temperament."""
        return f"http://127.0.0.1:{self._port}/{temperament}/v1"

    def counts(self) -> dict[str, int]:
        """Requests read whole, by temperament."""
        self._pipe.send(None)
        counted: dict[str, int] = self._pipe.recv()
        return counted


@contextlib.contextmanager
def soak_vendors() -> Iterator[SoakVendors]:
    """Running vendors."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # else nobody would notice that the process is gone
    try:
        yield SoakVendors(ours, ours.recv())
    finally:
        process.kill()
        process.join()


class _Server:
    """One thread for each connection."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self.port: int = self._listener.getsockname()[1]

    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    def run(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._answer, args=(sock,), daemon=True).start()

    def _answer(self, sock: socket.socket) -> None:
        chance, reused, over = random.Random(), False, False
        with sock, contextlib.suppress(OSError), sock.makefile("rb") as reader:
            while not over and (start := reader.readline()):
                length = 0
                while (line := reader.readline()) not in (b"\r\n", b""):
                    if line[:15].lower() == b"content-length:":
                        length = int(line[15:])
                body = reader.read(length)
                asked = _ASKED.search(body)
                if len(body) < length or asked is None:
                    return
                temperament = start.split(b"/", 2)[1].decode()
                with self._lock:
                    self._counts[temperament] += 1
                acts, weights = TEMPERAMENTS[temperament]
                scene = _Scene(sock, int(asked[1]), b'"stream":true' in body.replace(b" ", b""), reused, chance)
                over, reused = chance.choices(acts, weights)[0](scene), True


def _serve(pipe: Connection) -> None:
    for interruption in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interruption, signal.SIG_IGN)  # the soak is to end first, and to ask for the counts
    server = _Server()
    threading.stack_size(256 * 1024)
    threading.Thread(target=server.run, daemon=True).start()
    pipe.send(server.port)
    with contextlib.suppress(EOFError):
        while True:
            pipe.recv()
            pipe.send(server.counts())
