"""Servers in processes of their own, as an operator starts them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import requests

from ..conftest import PATIENCE
from ..orphans import mortal
from .conftest import HELLO


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def environment(home: Path, **more: str) -> dict[str, str]:
    """A small one, whose home is a folder of the test."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")}
    return {**kept, "HOME": str(home), "PYTHONUTF8": "1", **more}


def run(home: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "llmdispatcher", *words]
    return subprocess.run(command, env=environment(home, **more), capture_output=True, text=True, timeout=120, check=False)


@attrs.frozen
class Running:
    """A server that runs: its address, its home, its process, a key."""

    url: str
    home: Path
    process: subprocess.Popen[bytes]
    key: str

    @property
    def log(self) -> str:
        """What it has written."""
        return (self.home / "log").read_text(encoding="utf-8", errors="replace")

    def ask(self, model: str = "smart", **more: object) -> requests.Response:
        """Ask for a model."""
        streamed = {"stream": True} if more.get("stream") else {}
        headers = {"x-api-key": self.key, "Connection": "close"}
        body = {**HELLO, "model": model, **streamed}
        return requests.post(f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=60, **more)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something; fail with the log where it does not come."""
        end = time.monotonic() + 5 * PATIENCE
        while not condition():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.05)


@contextlib.contextmanager
def serving(home: Path, server: str, config: Path, *words: str, workers: int = 1, **variables: str) -> Iterator[Running]:
    """``serve`` with granian or waitress, or the same application in gunicorn, until the end of the block."""
    port, place = free_port(), str(home / "keys.db")
    key = json.loads(run(home, "server", "key", "create", "test", "--database", place, "--json").stdout)["key"]
    if server == "gunicorn":
        options = json.dumps({"config": str(config), "threads": 8, "database": place})
        command = [sys.executable, "-m", "gunicorn", "-k", "gthread", "--threads", "8", "-w", str(workers), "--no-control-socket"]
        command += ["-b", f"127.0.0.1:{port}", *words, "llmdispatcher.server.serve:make_worker()"]
        variables = {**variables, "LLMDISPATCHER_SERVE": options}
    else:
        command = [sys.executable, "-m", "llmdispatcher", "serve", "--server", server, "--config", str(config)]
        command += ["--port", str(port), "--database", place, "--workers", str(workers), "--threads", "16", *words]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            mortal(command, ending=signal.SIGTERM), env=environment(home, **variables), stdout=log, stderr=log, cwd=home
        )
    running = Running(f"http://127.0.0.1:{port}", home, process, key)
    try:
        running.until(lambda: is_ready(running.url))
        yield running
    finally:
        end(process)


def is_ready(url: str) -> bool:
    """Whether it takes requests."""
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{url}/readyz", timeout=20).status_code == 200
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server with its workers, which outlive a main process that is killed: a second signal ends them at once."""
    for _ in range(2):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.send_signal(signal.SIGTERM)
            process.wait(1)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE * 3)
    process.kill()
    process.wait()
