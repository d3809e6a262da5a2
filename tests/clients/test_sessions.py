"""Sessions of ten turns through the gateway as a process: SDKs, each with another vendor behind; all: scripts/strangers."""

from __future__ import annotations

import os

import pytest

from scripts.clients.libraries import environment_of, run_library
from scripts.clients.run import PLACE, ROOT
from scripts.clients.script import STEPS
from scripts.clients.service import service

from ..cases import each
from ..sdks.conftest import PYTHON

pytest.importorskip("granian", reason="granian is not installed; scripts/test installs it")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """It runs as a user starts it, with one key."""
    with service(tmp_path_factory.mktemp("gateway")) as running:
        yield running


def taken_through(gateway, name, upstream, home, folder):
    """The cell of one client; fails with what it, or the upstream, missed."""
    cell = run_library(name, upstream, gateway, home, folder, lambda _: None)
    assert [] == cell.failures
    assert len(STEPS) == cell.turns
    return cell


@each("name, upstream", [("openai", "anthropic"), ("anthropic", "chat"), ("google-genai", "responses")])
def test_a_session_of_an_sdk(gateway, name, upstream, tmp_path):
    """Files, pictures, thoughts, an interrupt, 429 and 529, a full window, going on; the file is right and the prompt cached."""
    if not (PYTHON.parents[1] / ".installed").exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the SDKs are not installed: scripts/test tests/sdks does it")
    cell = taken_through(gateway, name, upstream, PYTHON.parents[1], tmp_path / name)

    assert cell.cached >= 0.8


@each("name, upstream", [("openai-responses-js", "gemini"), ("ai-anthropic", "chat")])
def test_a_session_of_a_library_of_javascript(gateway, name, upstream, tmp_path):
    """The same."""
    home = PLACE / "libraries"
    if not (home / "node_modules").exists():
        pytest.skip("the libraries of JavaScript are not installed: scripts/strangers gateway --client openai-js does it, with npm")
    cell = taken_through(gateway, name, upstream, home, tmp_path / name)

    assert cell.cached >= 0.8


@each("name, upstream", [("langchain-google", "chat"), ("pydantic-ai-anthropic", "gemini"), ("instructor-partial", "anthropic")])
def test_a_session_of_a_library_of_python(gateway, name, upstream, tmp_path):
    """The same."""
    home = ROOT / environment_of(name)
    if not (home / ".installed").exists():
        pytest.skip(f"{name} is not installed: scripts/strangers gateway --client {name} does it")
    cell = taken_through(gateway, name, upstream, home, tmp_path / name)

    assert cell.cached >= 0.8
