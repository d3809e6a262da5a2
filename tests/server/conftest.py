"""A gateway over a simulated vendor, served by waitress in a thread of the test."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
import requests

pytest.importorskip("waitress", reason="waitress is not installed; scripts/test installs it")
pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed; scripts/test installs it")
from waitress import wasyncore
from waitress.server import create_server

from llmdispatcher import AnthropicVendor, Config, Dispatcher, GoogleVendor, HttpVendor, OpenAIVendor
from llmdispatcher.server import Gateway, GatewaySettings, KeyStore, create_app
from llmdispatcher.server.waitress import limit_clients
from llmdispatcher.testing import VendorSimulator

from ..conftest import PATIENCE
from ..sdks.conftest import anthropic_sdk, google_sdk, openai_sdk  # noqa: F401 - fixtures of this folder, too
from .upstream import Upstream, upstream

HELLO = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}


@attrs.define
class Served:
    """A gateway that runs, the key of a client, and the simulated vendor behind it."""

    app: Gateway
    url: str
    key: str
    simulator: VendorSimulator

    def post(self, path: str, body: Any, *, key: str | None = None, **more: Any) -> requests.Response:
        """Send a body, with the key as a bearer."""
        headers = {"Authorization": f"Bearer {key or self.key}", **more.pop("headers", {})}
        return requests.post(self.url + path, json=body, headers=headers, timeout=30, **more)

    def get(self, path: str, *, key: str | None = None, **more: Any) -> requests.Response:
        """Fetch a path, with the key as a bearer."""
        headers = {"Authorization": f"Bearer {key or self.key}", **more.pop("headers", {})}
        return requests.get(self.url + path, headers=headers, timeout=30, **more)


def wait_until(happened: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "it has not happened in time"
        time.sleep(0.02)


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """The address of a WSGI application that waitress serves."""
    given = {"channel_request_lookahead": 1, "ident": "", "cleanup_interval": 0, "clear_untrusted_proxy_headers": False}
    server = create_server(app, host="127.0.0.1", port=0, threads=8, **given)
    limit_clients(server)
    stopped = threading.Event()

    def run() -> None:
        while not stopped.is_set():
            wasyncore.loop(timeout=0.05, use_poll=True, map=server._map, count=1)

    running = threading.Thread(target=run, name="waitress")
    running.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.task_dispatcher.shutdown()
        stopped.set()
        running.join(PATIENCE)
        wasyncore.close_all(server._map, ignore_all=True)


@pytest.fixture
def dispatcher(simulator: VendorSimulator) -> Iterator[Dispatcher]:
    """All three of them."""
    made = Dispatcher(Config(default_vendor="openai", retry_policy={"max_retries": 0}))
    made.register_vendor(OpenAIVendor(api_key="sk-of-the-gateway", base_url=simulator.openai_url))
    made.register_vendor(AnthropicVendor(api_key="sk-of-the-gateway", base_url=simulator.anthropic_url))
    made.register_vendor(GoogleVendor(api_key="sk-of-the-gateway", base_url=simulator.google_url))
    with made:
        yield made


@pytest.fixture
def keys(tmp_path: Any) -> Iterator[KeyStore]:
    """The keys, in a file."""
    store = KeyStore(tmp_path / "server.db")
    store.create("the SDKs", secret="k")  # the key that their drivers show
    yield store
    store.close()


@pytest.fixture
def settings() -> GatewaySettings:
    """Those of the gateway; a test module may have others."""
    return GatewaySettings(threads=8)


@pytest.fixture
def served(dispatcher: Dispatcher, keys: KeyStore, simulator: VendorSimulator, settings: GatewaySettings) -> Iterator[Served]:
    """The gateway."""
    _, secret = keys.create("a test")
    app = create_app(dispatcher, keys=keys, settings=settings)
    with serving(app) as url:
        yield Served(app, url, secret, simulator)


@pytest.fixture
def vendor() -> Iterator[Upstream]:
    """A vendor that answers with given bytes."""
    with upstream() as running:
        yield running


@attrs.frozen
class Passing:
    """A gateway over recording vendors."""

    app: Gateway
    url: str
    key: str
    vendor: Upstream

    def post(self, path: str, body: Any, **more: Any) -> requests.Response:
        """Send bytes, or a document."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json", **more.pop("headers", {})}
        return requests.post(self.url + path, data=data, headers=headers, timeout=PATIENCE, **more)


def dispatcher_over(url: str, **config: Any) -> Dispatcher:
    """All formats, each at the same address."""
    made = Dispatcher(Config(default_vendor="openai", **{"retry_policy": {"max_retries": 0}, **config}))
    made.register_vendor(OpenAIVendor(api_key="sk-of-the-gateway", base_url=f"{url}/v1"))
    made.register_vendor(AnthropicVendor(api_key="sk-of-the-gateway", base_url=url))
    made.register_vendor(GoogleVendor(api_key="sk-of-the-gateway", base_url=f"{url}/v1beta"))
    made.register_vendor(HttpVendor(kind="ollama", base_url=url, api_key="none"))
    return made


@pytest.fixture
def passing(vendor: Upstream, keys: Any) -> Iterator[Passing]:
    """The gateway."""
    _, secret = keys.create("a test")
    with dispatcher_over(vendor.url) as made:
        app = create_app(made, keys=keys, settings=GatewaySettings(threads=8))
        with serving(app) as url:
            yield Passing(app, url, secret, vendor)
