"""The gateway as a process of its own, with a key, in front of three simulated vendors."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from llmdispatcher.testing import VendorSimulator

UPSTREAMS: Mapping[str, str] = {
    "chat": "chat:gpt-5.4",
    "anthropic": "anthropic:claude-sonnet-5",
    "gemini": "gemini:gemini-3.1-pro-preview",
    "responses": "responses:gpt-5.4",
}
"""The kinds of upstream, each a vendor of the gateway, and the model that a client asks for to get there."""
POOLS: Mapping[str, str] = {name: f"gemini-2.5-flash-on-{name}" for name in UPSTREAMS}
"""The same by a name that clients of Google's know for one of its models: some look at the name for what it can do."""
_READY = 60.0


@attrs.frozen
class Service:
    """Where the gateway listens, its key, its log, and the vendor of each upstream."""

    url: str
    key: str = attrs.field(repr=False)
    log: Path
    vendors: Mapping[str, VendorSimulator] = attrs.field(repr=False)


@contextlib.contextmanager
def service(place: Path, *, server: str = "granian") -> Iterator[Service]:
    """A running gateway; its files are in ``place``."""
    with contextlib.ExitStack() as stack:
        vendors = {name: stack.enter_context(VendorSimulator()) for name in UPSTREAMS}
        told = {name: {"api_key": f"sk-of-the-gateway-{name}", **_vendor(name, vendor)} for name, vendor in vendors.items()}
        pools = {pool: [UPSTREAMS[name]] for name, pool in POOLS.items()}
        settings = place / "gateway.json"
        settings.write_text(json.dumps({"retry_policy": {"max_retries": 0}, "vendors": told, "pools": pools}))
        database, log, port = place / "keys.db", place / "gateway.log", _free_port()
        words = [sys.executable, "-m", "llmdispatcher", "--config", str(settings)]
        environment = clean_environment(place)
        made = subprocess.run(
            [*words, "--json", "server", "key", "create", "strangers", "--database", str(database)],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        serve = [*words, "serve", "--port", str(port), "--database", str(database), "--drain", "2", "--server", server]
        with log.open("wb") as output, subprocess.Popen(serve, env=environment, stdout=output, stderr=output) as process:
            try:
                _await(process, port, log)
                yield Service(f"http://127.0.0.1:{port}", json.loads(made.stdout)["key"], log, vendors)
            finally:
                process.terminate()


def _vendor(name: str, vendor: VendorSimulator) -> dict[str, str]:
    if name == "anthropic":
        return {"kind": "anthropic", "base_url": vendor.anthropic_url}
    if name == "gemini":
        return {"kind": "google", "base_url": vendor.google_url}
    return {"kind": "openai", "base_url": vendor.openai_url, "api": name}


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """The environment without proxies and keys of this machine's user."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")}
    return {**kept, "HOME": str(home), "PYTHONUTF8": "1", "NO_PROXY": "*", **more}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _READY
    while time.monotonic() < end and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"the gateway does not come up:\n{log.read_text()[-3000:]}")
