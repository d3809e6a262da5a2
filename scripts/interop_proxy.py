"""LiteLLM's proxy in front of the simulator: its configuration, its process, and when it is ready."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from llmdispatcher.testing import VendorSimulator

ROUTES: Mapping[str, str] = {"openai": "openai/gpt-5", "anthropic": "anthropic/claude-sonnet-5", "gemini": "gemini/gemini-3-pro"}
"""The proxy's ways to the simulator, and the model behind each."""
_READY = 120.0


@attrs.frozen
class Proxy:
    """Where it listens, and the only key that it takes."""

    url: str
    key: str = attrs.field(repr=False)


@contextlib.contextmanager
def proxy(command: str, simulator: VendorSimulator) -> Iterator[Proxy]:
    """A running proxy, its settings and log in a directory that goes with it."""
    with tempfile.TemporaryDirectory() as place, socket.create_server(("127.0.0.1", 0)) as taken:
        port, key = taken.getsockname()[1], f"sk-{secrets.token_hex(24)}"
        settings, log = Path(place, "config.yaml"), Path(place, "log")
        settings.write_text(json.dumps(_settings(simulator, key)))  # JSON is YAML
        taken.close()
        arguments = [command, "--config", str(settings), "--host", "127.0.0.1", "--port", str(port)]
        with (
            log.open("wb") as output,
            subprocess.Popen(arguments, stdout=output, stderr=output, env=_environment(), cwd=place) as process,
        ):
            try:
                _await(process, port, log)
                yield Proxy(f"http://127.0.0.1:{port}", key)
            finally:
                process.terminate()


def _settings(simulator: VendorSimulator, key: str) -> dict[str, Any]:
    bases = {
        "openai": simulator.openai_url,
        "anthropic": simulator.anthropic_url,
        "gemini": f"{simulator.url}/v1beta/models/gemini-3-pro",
    }
    models = [
        {"model_name": route, "litellm_params": {"model": model, "api_base": bases[route], "api_key": "fake"}}
        for route, model in ROUTES.items()
    ]
    return {
        "model_list": models,
        "general_settings": {"master_key": key},
        "litellm_settings": {"telemetry": False, "num_retries": 0, "drop_params": True},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
    }


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**kept, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "PYTHONUTF8": "1"}


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _READY
    while time.monotonic() < end and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("GET", "/health/readiness")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.2)
    raise SystemExit(f"the proxy does not come up:\n{log.read_text()[-3000:]}")
