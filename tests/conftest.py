"""What holds for every test: nothing leaves the machine, no thread that would hold the process is left behind."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Blocked as an entry point in pyproject.toml and loaded here, so that coverage sees the package being imported.
pytest_plugins = ["llmdispatcher.testing.plugin", "tests.loopback_redis", "tests.loopback_postgres", "tests.loopback_telemetry"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell that runs the tests in the background has them ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup has them ignore the end of the terminal
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

_SLOW = [HealthCheck.too_slow]  # by the clock on the wall, in which a busy machine lets a test that draws its examples wait
settings.register_profile("calm", deadline=None, suppress_health_check=_SLOW, derandomize=True, database=None)
settings.load_profile("calm")

CORPUS = Path(os.environ.get("LLMDISPATCHER_WIRE_CORPUS") or Path(__file__).resolve().parents[2] / "shared" / "wire")
PATIENCE = 20.0
"""Seconds that a thread has to end after its test, and that a test waits for what must come: used up only where it does not."""
SLACK = 15.0
"""Seconds by which a busy machine may be late at what must not wait; what must not be waited for lasts far longer."""


def pytest_collection_finish() -> None:
    """Take what collecting made out of every later search for garbage, each of which would look at half a million objects."""
    gc.collect()
    gc.freeze()


class LeftTheMachine(AssertionError):
    """A test tried to reach an address that is not this machine's."""


def is_local(family: int, address: Any) -> bool:
    """Whether a socket of this family stays on the machine when it connects there."""
    if family not in (socket.AF_INET, socket.AF_INET6):
        return True
    host = str(address[0])
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(scope="session")
def outward() -> Iterator[list[str]]:
    """Every address outside that something tried to connect to; the attempts fail at once."""
    seen: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for verb in ("connect", "connect_ex"):
            real = getattr(socket.socket, verb)

            def guarded(self: socket.socket, address: Any, real: Any = real) -> Any:
                if not is_local(self.family, address):
                    seen.append(str(address))
                    raise LeftTheMachine(f"a test tried to connect to {address}")
                return real(self, address)

            patch.setattr(socket.socket, verb, guarded)
        yield seen


@pytest.fixture(autouse=True)
def stays_at_home(outward: list[str]) -> Iterator[None]:
    """Fails a test that tried to leave the machine, even where the code under test swallowed the error."""
    outward.clear()
    yield
    assert [] == outward, "tests never leave the loopback"


def _holding() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.daemon}


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fails a test that leaves a thread which would keep the process from ending."""
    before = _holding()
    yield
    end = time.monotonic() + PATIENCE
    for thread in _holding() - before:
        thread.join(max(0.0, end - time.monotonic()))
    assert [] == sorted(thread.name for thread in _holding() - before), "threads left behind"


@pytest.fixture
def untraced() -> Iterator[None]:
    """Not measured by coverage: its own lock may be held by another thread at a fork, and stays held after a Ctrl-C.

    (pytest-cov's mark for that, no_cover, does nothing in a worker of pytest-xdist.)
    """
    mine, others = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    yield
    threading.settrace(others)
    sys.settrace(mine)


@pytest.fixture
def unlogged() -> Iterator[None]:
    """For tests that fork: a file that pytest logs to may be held by another thread just then, and stays held in the child."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def simulator() -> Iterator[Any]:
    """All vendors, on the loopback; imported here so that coverage sees it."""
    from llmdispatcher.testing import VendorSimulator

    with VendorSimulator() as running:
        yield running


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of recorded exchanges with vendors; a test that needs it is skipped where it is not at hand."""
    if not (CORPUS / "exchanges").is_dir():
        pytest.skip(f"no recorded exchanges at {CORPUS}; LLMDISPATCHER_WIRE_CORPUS can name their folder")
    return CORPUS
