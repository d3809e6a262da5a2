"""Files of prompts, a clean environment, and the command run in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from llmdispatcher import catalog
from llmdispatcher.cli.main import main
from llmdispatcher.testing import VendorSimulator


@attrs.frozen
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every command works in an empty folder, with nothing to read, without a key or address in the environment."""
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMDISPATCHER_HOME", str(tmp_path / "home"))
    for name in ("LLMDISPATCHER_PROFILE", "LLMRING_PROFILE", "LLMRING_SQLITE_DB", "DATABASE_URL", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for row in catalog.vendor_rows():
        for name in (*row.key_env, *row.url_env):
            monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run a command line."""

    def run(*arguments: object) -> Result:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = int(left.code or 0)
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch, vendor_simulator: VendorSimulator) -> Iterator[VendorSimulator]:
    """A simulator that is the only vendor with a key in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", "simulated")
    monkeypatch.setenv("OPENAI_BASE_URL", vendor_simulator.openai_url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return vendor_simulator


@pytest.fixture
def prompts(away: Path) -> Callable[..., Path]:
    """Write a file of prompts; a text is a raw line, a dict is completed to a prompt."""

    def write(*lines: str | bytes | dict[str, Any], name: str = "prompts.jsonl") -> Path:
        path = away / name
        path.write_bytes(b"".join(_line(line) + b"\n" for line in lines))
        return path

    return write


def _line(line: str | bytes | dict[str, Any]) -> bytes:
    if isinstance(line, bytes):
        return line
    if isinstance(line, str):
        return line.encode()
    return json.dumps({"model": "gpt-4o-mini", "messages": "Hello", **line}).encode()


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of an answers file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
