"""Redis of the tests' own on the loopback: a server, a cluster of three, and a master with a replica that a Sentinel watches."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import SystemRandom
from typing import Any

import pytest

from tests.orphans import mortal

PATIENCE = 30.0
"""Seconds that a busy machine may need to start it or to end it."""


def quiet_port() -> int:
    """A free port below those that the kernel gives to clients: while a server is down none of them takes its place."""
    while True:
        port = SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


class Server:
    """``redis-server`` on a free port; ``options`` are further words of its command line."""

    def __init__(self, folder: Path, *options: str, config: Path | None = None) -> None:
        self._folder = folder
        self._options = options
        self._config = [] if config is None else [str(config)]
        self.port = quiet_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        if not self._config:
            settings += ["--save", "", "--appendonly", "no"]
        command = mortal(["redis-server", *self._config, *settings, *self._options])
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, "redis-server has ended"
            assert time.monotonic() < end, "redis-server does not answer"
            time.sleep(0.002)

    @property
    def is_running(self) -> bool:
        """Whether it was started, and not stopped."""
        return self._process is not None

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            finally:
                self._process.kill()
                self._process.wait()
                self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as line:
                line.sendall(b"PING\r\n")
                return line.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


PASSWORD = "gehe/im@1"
"""Of the cluster and of the servers that the Sentinel watches."""
QUOTED = "gehe%2Fim%401"


class Cluster:
    """Three masters that share the slots, with a password. Each begins with the file that it would have written itself."""

    def __init__(self, folder: Path) -> None:
        own = [f"{number:040x}" for number in (1, 2, 3)]
        self.servers: list[Server] = []
        buses = [quiet_port() for _ in own]
        for number, bus in enumerate(buses):
            place = folder / str(number)
            place.mkdir()
            options = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", str(bus)]
            self.servers.append(Server(place, *options, "--cluster-node-timeout", "2000", "--requirepass", PASSWORD))
        edges = [0, 5461, 10923, 16384]
        for number in range(3):
            lines = [
                f"{own[other]} 127.0.0.1:{server.port}@{buses[other]}"
                f" {'myself,' if other == number else ''}master - 0 0 {other + 1} connected {edges[other]}-{edges[other + 1] - 1}"
                for other, server in enumerate(self.servers)
            ]
            text = "\n".join([*lines, "vars currentEpoch 3 lastVoteEpoch 0", ""])
            (folder / str(number) / "nodes.conf").write_text(text)
        hosts = ",".join([f"127.0.0.1:{server.port}" for server in self.servers])
        self.url = f"redis+cluster://:{QUOTED}@{hosts}"

    def start(self) -> None:
        """Start those that do not run, and wait until each of them serves; a server itself waits for two seconds."""
        redis = pytest.importorskip("redis", reason="the extra 'redis' is not installed")
        for server in self.servers:
            if not server.is_running:
                server.start()
        end = time.monotonic() + PATIENCE
        for server in self.servers:
            with redis.Redis(port=server.port, password=PASSWORD) as client:
                while client.cluster("info")["cluster_state"] != "ok":
                    assert time.monotonic() < end, "the cluster does not come up"
                    time.sleep(0.02)

    def stop(self) -> None:
        """Stop all."""
        for server in self.servers:
            server.stop()


class Watched:
    """A master, its replica, and a Sentinel that makes the replica a master when the master is gone."""

    def __init__(self, folder: Path) -> None:
        options = ["--requirepass", PASSWORD, "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0"]
        self.master = Server(folder, *options)
        self.replica = Server(folder, *options, "--replicaof", f"127.0.0.1 {self.master.port}")
        settings = folder / "sentinel.conf"
        settings.write_text(
            f"sentinel monitor mymaster 127.0.0.1 {self.master.port} 1\nsentinel auth-pass mymaster {PASSWORD}\n"
            "sentinel down-after-milliseconds mymaster 200\nsentinel failover-timeout mymaster 2000\n"
        )
        self.sentinel = Server(folder, "--sentinel", config=settings)
        self.url = f"redis+sentinel://:{QUOTED}@127.0.0.1:1,127.0.0.1:{self.sentinel.port}/mymaster/0"

    def start(self) -> None:
        """Start all, and wait until the Sentinel knows of the replica."""
        for server in (self.master, self.replica, self.sentinel):
            server.start()
        self.wait("num-slaves", 1)

    def wait(self, name: str, value: object) -> None:
        """Wait until the Sentinel says so of its master."""
        redis = pytest.importorskip("redis", reason="the extra 'redis' is not installed")
        end = time.monotonic() + PATIENCE
        with redis.Redis(port=self.sentinel.port) as client:
            while (told := client.sentinel_masters()["mymaster"])[name] != value:
                assert time.monotonic() < end, f"{name} stays {told[name]}"
                time.sleep(0.01)

    def stop(self) -> None:
        """Stop all."""
        for server in (self.sentinel, self.replica, self.master):
            server.stop()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of three masters."""
    yield from _running(Cluster, tmp_path_factory)


@pytest.fixture
def redis_sentinel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A master, a replica and a Sentinel, of one test alone, since it may end the master."""
    yield from _running(Watched, tmp_path_factory)


def _running(kind: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server on this machine")
    pytest.importorskip("redis", reason="the extra 'redis' is not installed")
    made = kind(tmp_path_factory.mktemp("redis"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server, and how to stop and start it."""
    yield from _running(Server, tmp_path_factory)
