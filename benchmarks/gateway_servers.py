"""The gateways that are compared: ours, and those of others where they are installed; each in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from llmdispatcher.server import KeyStore

PATIENCE = 90.0
PORTKEY = "node_modules/@portkey-ai/gateway/build/start-server.js"
KEYS = 5
_TICKS = os.sysconf("SC_CLK_TCK")


@attrs.frozen(kw_only=True)
class Server:
    """A gateway that runs: its address, the headers of a request to it, and the number of its first process."""

    name: str
    url: str
    headers: Mapping[str, str]
    pid: int
    keys: Sequence[str] = ()
    store: KeyStore = attrs.field(default=None, repr=False)

    @property
    def processes(self) -> list[int]:
        """Its process and those below it."""
        return _tree(self.pid)

    def cpu(self) -> float:
        """Seconds that its processes have used."""
        taken = 0.0
        for pid in self.processes:
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                taken += (int(fields[11]) + int(fields[12])) / _TICKS
        return taken

    def rss(self) -> float:
        """Megabytes of the largest of its processes, which is a worker."""
        sizes = [0]
        for pid in self.processes:
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                sizes.append(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")))
        return max(sizes) / 1024


def _tree(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def _running(
    command: Sequence[str], folder: Path, *, address: str, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, once it answers at ``address``; ended at the end."""
    log = folder / f"{Path(command[1]).name}-{os.getpid()}-{time.monotonic_ns()}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, env={**os.environ, **environment})
    try:
        end = time.monotonic() + PATIENCE
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > end:
                raise OSError(f"{command[0]} does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@contextlib.contextmanager
def ours(
    vendor: str, folder: Path, *, database: str | None = None, workers: int = 1, threads: int = 128, name: str = "llmdispatcher"
) -> Iterator[Server]:
    """Ours, with everything on: keys with limits and a budget, and a ledger; in SQLite, or in the PostgreSQL of ``database``."""
    home = folder / f"home-{time.monotonic_ns()}"
    home.mkdir()
    place = database or str(home / "server.db")
    config = home / "llm.toml"
    ledger = database or str(home / "calls.db")
    config.write_text(f'ledger = "{ledger}"\n\n[vendors.openai]\napi_key = "sk-bench"\nbase_url = "{vendor}/v1"\npool_size = 600\n')
    store = KeyStore(place)
    limits: dict[str, Any] = {
        "requests_per_minute": 10**9,
        "tokens_per_minute": 10**12,
        "in_flight": 1000,
        "budget": "100000/month",
    }
    keys = [store.create(f"bench {number}", **limits)[1] for number in range(KEYS)]
    port = free_port()
    command = [sys.executable, "-m", "llmdispatcher", "serve", "--config", str(config), "--port", str(port), "--database", place]
    command += ["--workers", str(workers), "--threads", str(threads), "--drain", "1"]
    environment = {"LLMDISPATCHER_HOME": str(home), "PYTHONPATH": str(Path.cwd())}
    with _running(command, folder, address=f"http://127.0.0.1:{port}/livez", environment=environment) as process:
        headers = {"Authorization": f"Bearer {keys[0]}"}
        yield Server(name=name, url=f"http://127.0.0.1:{port}", headers=headers, pid=process.pid, keys=keys, store=store)
    store.close()


@contextlib.contextmanager
def portkey(vendor: str, folder: Path, place: Path) -> Iterator[Server]:
    """Portkey's, as it starts; ``place`` is the folder in which ``npm i @portkey-ai/gateway`` was run."""
    port = free_port()
    command = ["node", str(place / PORTKEY), f"--port={port}", "--headless"]
    headers = {"Authorization": "Bearer sk-bench", "x-portkey-provider": "openai", "x-portkey-custom-host": f"{vendor}/v1"}
    environment = {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1", "NODE_ENV": "production"}
    with _running(command, folder, address=f"http://127.0.0.1:{port}/", environment=environment) as process:
        yield Server(name="Portkey", url=f"http://127.0.0.1:{port}", headers=headers, pid=process.pid)


@contextlib.contextmanager
def litellm(vendor: str, folder: Path, program: Path) -> Iterator[Server]:
    """LiteLLM's, as it starts, without a database; ``program`` is the ``litellm`` of its environment."""
    port = free_port()
    config = folder / "litellm.json"  # JSON is YAML, too
    params = {"model": "openai/gpt-4o", "api_base": f"{vendor}/v1", "api_key": "sk-bench"}
    config.write_text(json.dumps({"model_list": [{"model_name": "gpt-4o", "litellm_params": params}]}))
    command = [str(program.with_name("python")), str(program), "--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
    key = f"sk-{secrets.token_hex(32)}"  # without one it does not start
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1", "LITELLM_MASTER_KEY": key}
    with _running(command, folder, address=f"http://127.0.0.1:{port}/health/liveliness", environment=environment) as process:
        yield Server(name="LiteLLM", url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}, pid=process.pid)
