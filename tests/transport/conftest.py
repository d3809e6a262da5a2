"""Servers that misbehave on the loopback, transports to them, and the invariant that nothing is left behind."""

from __future__ import annotations

import gc
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from llmdispatcher.cancellation import Cancellation
from llmdispatcher.clock import Deadline
from llmdispatcher.errors import DispatchError
from llmdispatcher.http_values import HttpCall, HttpReply
from llmdispatcher.testing.loopback import Handler, LoopbackServer
from llmdispatcher.transport import Limits, Transport

OVERSHOOT = 0.3
"""Seconds past a deadline or a cancel that a busy machine may need; docs promise 0.05."""


UNTOLD = Limits()


class Line:
    """One server, and a transport to it."""

    def __init__(self, server: LoopbackServer, transport: Transport) -> None:
        self.server = server
        self.transport = transport

    def call(self, path: str = "/x", body: bytes = b"{}", **headers: str) -> HttpCall:
        return HttpCall(url=self.server.url + path, headers={"Authorization": "Bearer key", **headers}, body=body)

    def open(self, seconds: float | None = 10.0, *, cancel: Cancellation | None = None, **options: Any) -> HttpReply:
        return self.transport.open(self.call(**options), Deadline.after(seconds, cancellation=cancel))

    def get(self, **options: Any) -> bytes:
        return self.open(**options).read()

    def failure(self, seconds: float | None = 10.0, **options: Any) -> DispatchError:
        with pytest.raises(DispatchError) as caught:
            self.open(seconds, **options).read()
        return caught.value


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "vendor.test").configure_cert(context)
    return context


@pytest.fixture(params=["tcp", "tls"])
def secure(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "tls")


def _counts() -> tuple[int, int]:
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


def _more(before: tuple[int, int]) -> bool:
    return any(now > then for now, then in zip(_counts(), before, strict=True))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Threads and descriptors are back at their count within a second (invariant I3)."""
    before = _counts()
    yield
    if _more(before):
        gc.collect()
    until = time.monotonic() + 1.0
    pause = threading.Event()
    while _more(before) and time.monotonic() < until:
        pause.wait(0.005)
    assert not _more(before), f"descriptors and threads before and after: {before}, {_counts()}"


@pytest.fixture
def serve(nothing_left: None, ca_file: str, server_tls: ssl.SSLContext) -> Iterator[Callable[..., Line]]:
    lines: list[Line] = []

    def make(handler: Handler, *, secure: bool = False, limits: Limits = UNTOLD, pool_size: int = 8, **options: Any) -> Line:
        server = LoopbackServer(handler, tls=server_tls if secure else None, **options)
        lines.append(Line(server, Transport(server.url, limits=limits, pool_size=pool_size, ca_bundle=ca_file)))
        return lines[-1]

    yield make
    for line in lines:
        line.transport.close()
        line.server.close()


@pytest.fixture
def overshoot() -> float:
    return OVERSHOOT
