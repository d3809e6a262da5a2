"""The pytest plugin: fixtures for simulators, fake vendors, clocks and cassettes. It loads nothing before one is used.

``--cassette-mode``, or ``cassette_mode`` in the configuration of pytest, says what the fixture ``cassette`` does: it replays
alone (``none``) unless told otherwise. The marker ``cassette(path=..., match=..., ignore=..., secrets=...)`` has its settings.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .cassette import Cassette
    from .doubles import FakeVendor, ManualClock
    from .simulator import VendorSimulator

_MODES = ("none", "once", "new", "all")
_LONGEST_NAME = 120


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--cassette-mode`` and ``cassette_mode``."""
    told = "none: replay alone; once: record where there is no file; new: record what the file lacks; all: record anew"
    group = parser.getgroup("llmdispatcher")
    group.addoption("--cassette-mode", choices=_MODES, default=None, help=f"what the fixture 'cassette' does ({told})")
    parser.addini("cassette_mode", f"what the fixture 'cassette' does without --cassette-mode ({told})", default="none")


def pytest_configure(config: pytest.Config) -> None:
    """Tell the marker."""
    told = "cassette(path=None, mode=None, match=..., ignore=..., secrets=...): settings of the fixture 'cassette'"
    config.addinivalue_line("markers", told)


@pytest.fixture
def vendor_simulator() -> Iterator[VendorSimulator]:
    """One running simulator; set its ``responses``, ``script`` and so on in the test."""
    from .simulator import VendorSimulator

    with VendorSimulator() as simulator:
        yield simulator


@pytest.fixture
def make_vendor_simulator() -> Iterator[Callable[..., VendorSimulator]]:
    """A factory of running simulators, which takes what :class:`VendorSimulator` takes; all close with the test."""
    from .simulator import VendorSimulator

    with ExitStack() as running:
        yield lambda **settings: running.enter_context(VendorSimulator(**settings))


@pytest.fixture
def fake_vendor() -> FakeVendor:
    """A vendor without a network; ``fake_vendor.script(...)`` says what it answers."""
    from .doubles import FakeVendor

    return FakeVendor()


@pytest.fixture
def cassette(request: pytest.FixtureRequest) -> Iterator[Cassette]:
    """A cassette in use: what vendors answered when the test was recorded, in ``cassettes/MODULE/TEST.json`` beside the module."""
    from .cassette import Cassette

    marker = request.node.get_closest_marker("cassette")
    settings: dict[str, Any] = {} if marker is None else dict(marker.kwargs)
    if marker is not None and marker.args:
        settings["path"] = marker.args[0]
    own = settings.pop("mode", None)
    mode = request.config.getoption("--cassette-mode") or own or request.config.getini("cassette_mode")
    path = settings.pop("path", None)
    place = _place_of(request) if path is None else request.path.parent / path
    with Cassette(place, mode=mode, **settings) as used:
        yield used


def _place_of(request: pytest.FixtureRequest) -> Path:
    """Where the cassette of a test is; of a name that no file can have, a name with a digest of it."""
    name = request.node.nodeid.partition("::")[2].replace("::", ".") or request.node.name
    plain = re.sub(r"[^\w.\[\]-]+", "_", name)
    if plain != name or len(plain) > _LONGEST_NAME:
        plain = f"{plain[:_LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return request.path.parent / "cassettes" / request.path.stem / f"{plain}.json"


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that is moved by hand."""
    from .doubles import ManualClock

    return ManualClock()
