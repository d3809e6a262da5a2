"""A registry's documents, a server that publishes them and can misbehave, and a catalog without anything over it."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmdispatcher import Registry
from llmdispatcher.catalog.models import apply_registry
from llmdispatcher.testing import LoopbackServer, ManualClock, Peer, WireRequest

WIRE = os.environ.get("LLMDISPATCHER_WIRE_CORPUS")
SAMPLE = (Path(WIRE).parent if WIRE else Path(__file__).resolve().parents[4] / "shared") / "data" / "registry"
DAY = 86_400.0


def row(vendor: str = "openai", name: str = "gpt-x", **fields: Any) -> dict[str, Any]:
    """One published row."""
    plain = {
        "provider": vendor,
        "model_name": name,
        "display_name": name,
        "description": "",
        "dollars_per_million_tokens_input": 2.0,
        "dollars_per_million_tokens_output": 8.0,
        "max_input_tokens": 128_000,
        "max_output_tokens": 16_000,
        "supports_vision": True,
        "supports_function_calling": True,
        "is_active": True,
    }
    return {**plain, **fields}


def document(vendor: str = "openai", version: int = 1, rows: Any = None, **fields: Any) -> bytes:
    """One published document of these rows."""
    rows = [row(vendor)] if rows is None else rows
    models = {f"{vendor}:{one['model_name']}": one for one in rows}
    plain = {"provider": vendor, "version": version, "updated_at": "2025-12-31T00:00:00", "models": models}
    return json.dumps({**plain, **fields}).encode()


class Site:
    """A registry's web server: ``pages`` by path; a path in ``odd`` is answered by that function instead."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.odd: dict[str, Callable[[Peer, WireRequest], bool | None]] = {}
        self.etags = True
        self._lock = threading.Lock()
        self._server: LoopbackServer | None = LoopbackServer(self._answer)
        self.url = self._server.url
        self._seen = self._server.requests

    def publish(self, vendor: str = "openai", version: int = 1, rows: Any = None, **fields: Any) -> bytes:
        """Make a version the current one, and keep it under its number."""
        body = document(vendor, version, rows, **fields)
        self.pages[f"/{vendor}/models.json"] = self.pages[f"/{vendor}/v/{version}/models.json"] = body
        return body

    def asked(self, ending: str = "") -> list[str]:
        """The paths that were asked for, in order."""
        return [request.target for request in self._seen if request.target.endswith(ending)]

    def headers(self, name: str) -> list[str | None]:
        """A header of each request."""
        return [request.headers.get(name) for request in self._seen]

    def close(self) -> None:
        """Stop the server."""
        if self._server is not None:
            self._server.close()

    def _answer(self, peer: Peer, request: WireRequest) -> bool | None:
        if request.target in self.odd:
            return self.odd[request.target](peer, request)
        body = self.pages.get(request.target)
        if body is None:
            peer.reply(404, b"not here")
            return None
        tag = f'"{hashlib.sha256(body).hexdigest()[:12]}"'
        if self.etags and request.headers.get("if-none-match") == tag:
            peer.head(304, ("ETag", tag))
            return None
        peer.reply(200, body, *([("ETag", tag)] if self.etags else []))
        return None


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make(site: Site, clock: ManualClock, tmp_path: Path) -> Iterator[Callable[..., Registry]]:
    """Makes registries of the site, or of another source, that share a cache and the clock."""
    made: list[Registry] = []

    def make(source: Any = None, **settings: Any) -> Registry:
        plain = {"cache_dir": tmp_path / "cache", "clock": clock, "vendors": ["openai"], "timeout": 30.0}
        made.append(Registry(source or site.url, **{**plain, **settings}))
        return made[-1]

    yield make
    for registry in made:
        registry.close()


@pytest.fixture(autouse=True)
def bare_catalog() -> Iterator[None]:
    """What a test puts over the catalog goes with it."""
    yield
    apply_registry({}, {})


@pytest.fixture(scope="session")
def published() -> Path:
    """The published sample."""
    if not SAMPLE.is_dir():
        pytest.skip("the published sample of a registry (shared/data/registry) is not on this machine")
    return SAMPLE
