"""Servers that misbehave on the loopback, transports to them, and the invariant that nothing is left behind."""

from __future__ import annotations

import contextlib
import gc
import signal
import ssl
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from llmdispatcher import Cancellation, Deadline, DispatchError
from llmdispatcher.testing import LoopbackServer
from llmdispatcher.testing.loopback import Handler
from llmdispatcher.transport import IoLimits, Transport
from llmdispatcher.types import HttpCall, HttpReply

OVERSHOOT = 15.0
"""Seconds past a deadline or a cancel that a busy machine may need; what must not be waited for takes four times as long.

How much it is on a machine that has time is what ``test_network_faults.py`` measures.
"""
LONG = 60.0
"""Seconds that nobody waits for: deadlines of calls that end before them, and peers that say nothing."""


UNTOLD = IoLimits()


class Line:
    """One server, and a transport to it."""

    def __init__(self, server: LoopbackServer, transport: Transport) -> None:
        self.server = server
        self.transport = transport

    def call(self, path: str = "/x", body: bytes = b"{}", **headers: str) -> HttpCall:
        return HttpCall(url=self.server.url + path, headers={"Authorization": "Bearer key", **headers}, body=body)

    def open(self, seconds: float | None = LONG, *, cancel: Cancellation | None = None, **options: Any) -> HttpReply:
        return self.transport.open(self.call(**options), Deadline.after(seconds, cancellation=cancel))

    def get(self, **options: Any) -> bytes:
        return self.open(**options).read()

    def failure(self, seconds: float | None = LONG, **options: Any) -> DispatchError:
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


def _held() -> Counter[str]:
    """The descriptors of this process, by what they are of, and its threads."""
    held = Counter(f"{thread.name} {thread.ident}" for thread in threading.enumerate())
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the folder's own
            held[str(link.readlink())] += 1
    return held


@pytest.fixture(scope="package", autouse=True)
def nothing_of_others() -> None:
    """What tests of other folders left to the garbage collector is gone before these count what they hold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(autouse=True)
def nothing_left(nothing_of_others: None) -> Iterator[None]:
    """Threads and descriptors that come with a test go with it (invariant I3)."""
    before = _held()
    yield
    if _held() - before:
        gc.collect()
    until = time.monotonic() + OVERSHOOT
    while (more := _held() - before) and time.monotonic() < until:
        time.sleep(0.002)
    assert not more, "descriptors and threads that are left"


@pytest.fixture
def serve(nothing_left: None, ca_file: str, server_tls: ssl.SSLContext) -> Iterator[Callable[..., Line]]:
    lines: list[Line] = []

    def make(handler: Handler, *, secure: bool = False, limits: IoLimits = UNTOLD, pool_size: int = 8, **options: Any) -> Line:
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


def _is_calling(thread: int) -> bool:
    """Whether a thread is within a function of the package."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("llmdispatcher."):
            return True
        frame = frame.f_back
    return False


@pytest.fixture
def once_waiting() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Does something in another thread as soon as the one that asks for it stays within a call."""
    over, threads = threading.Event(), list[threading.Thread]()

    def ask(act: Callable[[], object]) -> None:
        caller = threading.get_ident()

        def watch() -> None:
            seen = 0
            while seen < 4:
                if over.wait(0.004):
                    return
                seen = seen + 1 if _is_calling(caller) else 0
            act()

        threads.append(threading.Thread(target=watch))
        threads[-1].start()

    yield ask
    over.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def interrupted(once_waiting: Callable[[Callable[[], object]], None]) -> Iterator[Callable[[Callable[..., object]], None]]:
    """Runs a signal handler in this thread, the main one, as soon as it stays within a call."""
    before, here = signal.getsignal(signal.SIGUSR1), threading.get_ident()

    def ask(handler: Callable[..., object]) -> None:
        signal.signal(signal.SIGUSR1, handler)
        once_waiting(lambda: signal.pthread_kill(here, signal.SIGUSR1))

    yield ask
    signal.signal(signal.SIGUSR1, before)
