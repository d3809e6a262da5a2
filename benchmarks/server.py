"""A vendor that does not think: fixed bytes over keep-alive, in a process of its own, so that only the client is measured."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

STREAM_CHUNKS = 1_000
REST = 5.0
"""Seconds between the opening of the last paced stream and the first chunks: who opens thousands at once is busy for a while."""

COMPLETION = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1760729356,
        "model": "gpt-4o-2024-08-06",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "A measured answer. " * 14, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 75,
            "completion_tokens": 53,
            "total_tokens": 128,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
    }
).encode()


def _events() -> Iterator[bytes]:
    head = '{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1760729356,"model":"gpt-4o-2024-08-06","choices":['
    yield (head + '{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}').encode()
    for number in range(STREAM_CHUNKS):
        yield (head + f'{{"index":0,"delta":{{"content":" token{number}"}},"logprobs":null,"finish_reason":null}}]}}').encode()
    yield (head + '{"index":0,"delta":{},"finish_reason":"stop"}]}').encode()
    yield (head + '],"usage":{"prompt_tokens":75,"completion_tokens":1000,"total_tokens":1075}}').encode()
    yield b"[DONE]"


def _chunked(events: list[bytes]) -> bytes:
    body = b"".join(b"data: " + event + b"\n\n" for event in events)
    return b"%x\r\n%s\r\n" % (len(body), body)


def _stream(chunks: int) -> bytes:
    """A whole stream of so many chunks, twenty to a piece."""
    events = [*_EVENTS[: chunks + 1], *_EVENTS[-3:]]
    return STREAM_HEAD + b"".join(_chunked(events[start : start + 20]) for start in range(0, len(events), 20)) + b"0\r\n\r\n"


_EVENTS = list(_events())
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(COMPLETION), COMPLETION)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextlib.contextmanager
def vendor(pace: float = 0.0, chunks: int = 0, crowd: int = 1) -> Iterator[str]:
    """The base URL of a running vendor; with ``pace`` ``crowd`` streams send ``chunks`` events that many seconds apart.

    Each opens with a first word; the rest begins when all of them are open, spread evenly over the first ``pace`` seconds.
    """
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, pace, chunks, crowd), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection, pace: float, chunks: int, crowd: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    pipe.send(listener.getsockname()[1])
    threading.stack_size(256 * 1024)
    pacer = Pacer(pace, chunks, crowd) if pace else None
    stream = _stream(chunks or STREAM_CHUNKS)
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_answer, args=(sock, pacer, stream), daemon=True).start()


def _answer(sock: socket.socket, pacer: Pacer | None, stream: bytes) -> None:
    reader = sock.makefile("rb")
    with contextlib.suppress(OSError):
        while head := reader.readline():
            length = 0
            while (line := reader.readline()) not in (b"\r\n", b""):
                if line[:15].lower() == b"content-length:":
                    length = int(line[15:])
            body = reader.read(length) if length else head
            if b'"stream":true' not in body.replace(b" ", b""):
                sock.sendall(PLAIN)
            elif pacer is not None:
                pacer.stream(sock)
            else:
                sock.sendall(stream)


class Pacer:
    """One thread that sends all paced streams their chunks: hundreds of sleeping threads would be late themselves."""

    def __init__(self, pace: float, chunks: int, crowd: int) -> None:
        self._crowd = crowd
        self._waiting: list[tuple[socket.socket, threading.Event]] = []
        self._pace = pace
        self._chunks = chunks
        self._due: list[tuple[float, int, int, socket.socket, threading.Event]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def stream(self, sock: socket.socket) -> None:
        """Send one whole stream; returns at its end."""
        sock.sendall(STREAM_HEAD + _chunked(_EVENTS[:2]))
        over = threading.Event()
        with self._changed:
            self._waiting.append((sock, over))
            if len(self._waiting) == self._crowd:
                begin = time.monotonic() + REST
                for place, (each, end) in enumerate(self._waiting):
                    due = begin + self._pace * place / self._crowd
                    heapq.heappush(self._due, (due, next(self._numbers), self._chunks, each, end))
                self._waiting.clear()
                self._changed.notify()
        over.wait()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due or (wait := self._due[0][0] - time.monotonic()) > 0:
                    self._changed.wait(wait if self._due else None)
                due, number, left, sock, over = heapq.heappop(self._due)
            if self._send(sock, left):
                with self._changed:
                    heapq.heappush(self._due, (due + self._pace, number, left - 1, sock, over))
            else:
                over.set()

    def _send(self, sock: socket.socket, left: int) -> bool:
        """One chunk, which carries the moment of its sending (monotonic: the same scale in all processes); False after the last."""
        stamp = b'{"id":"s","model":"m","choices":[{"index":0,"delta":{"content":"%.6f"},"finish_reason":null}]}' % time.monotonic()
        try:
            sock.sendall(_chunked([stamp]) if left else _chunked(_EVENTS[-3:]) + b"0\r\n\r\n")
        except OSError:
            return False
        return left > 0
