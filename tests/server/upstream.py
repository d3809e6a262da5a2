"""A vendor that answers with given bytes and keeps what it was sent, byte for byte."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import attrs

from ..conftest import PATIENCE


@attrs.frozen
class Heard:
    """One request as it arrived; names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@attrs.frozen(kw_only=True)
class Said:
    """One answer: its pieces, each sent as one chunk; one that is callable is waited for, and ``broken`` ends without the last."""

    pieces: Sequence[bytes | Callable[[], object]]
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = attrs.field(factory=dict)
    broken: bool = False


def whole(body: bytes, **more: object) -> Said:
    """An answer in one piece."""
    return Said(pieces=[body], **more)


def streamed(*pieces: bytes | Callable[[], object], lines: bool = False, **more: object) -> Said:
    """A stream of events, or of JSON lines."""
    return Said(pieces=pieces, content_type="application/x-ndjson" if lines else "text/event-stream", **more)


class Upstream(ThreadingHTTPServer):
    """Gives the answers in ``answers``, one after the other, and the last again and again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[Heard] = []
        self.answers: list[Said] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """A client that leaves is no failure."""

    def next(self) -> Said:
        """The next answer."""
        with self._lock:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): text for name, text in self.headers.items()}
        self.server.heard.append(Heard(self.command, self.path, headers, body))
        said = self.server.next()
        self.send_response(said.status)
        for name, text in {"Content-Type": said.content_type, "Transfer-Encoding": "chunked", **said.headers}.items():
            self.send_header(name, text)
        self.end_headers()
        for piece in said.pieces:
            if callable(piece):
                piece()
            elif piece:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
        if said.broken:
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_DELETE = do_PUT = do_POST


@contextlib.contextmanager
def upstream() -> Iterator[Upstream]:
    """One that runs."""
    server = Upstream()
    running = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="upstream")
    running.start()
    try:
        yield server
    finally:
        server.shutdown()
        running.join(PATIENCE)
        server.server_close()
