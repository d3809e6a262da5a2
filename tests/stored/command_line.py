"""What the command line promises programs: its commands, their options, and the shape of what ``--json`` prints.

The commands run in this process, in an empty folder, against a simulated vendor.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import attrs

from llmdispatcher.cli.main import main
from llmdispatcher.testing import OK, VendorSimulator, faults

from .shaping import Shaper, as_text
from .surroundings import clean
from .values import publish

DATA = frozenset({"aliases", "by_model", "by_alias", "extras", "models", "tiers", "vendor_stats"})
_OPTION = re.compile(r"^  (-{1,2}\S.*?)(?:  |$)", re.MULTILINE)
_ARGUMENT = re.compile(r"^  (\[?[A-Z\[][A-Z0-9_.,\[\]\"]*)(?:  |$)", re.MULTILINE)
_COMMAND = re.compile(r"^  ([a-z][a-z-]*)  ", re.MULTILINE)
_SECTIONS = re.compile(r"^(?=\S.*:$)", re.MULTILINE)


@attrs.frozen
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


def run(*words: object, typed: str | None = None) -> Result:
    """Run a command line in this process; ``typed`` is what comes through its stdin, if it has one."""
    out, err, given = io.StringIO(), io.StringIO(), io.StringIO(typed) if typed is not None else None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), mock.patch.object(sys, "stdin", given):
        try:
            code = main([str(word) for word in words])
        except SystemExit as left:
            code = int(left.code or 0)
    return Result(code, out.getvalue(), err.getvalue())


@contextmanager
def workplace(simulator: VendorSimulator) -> Iterator[Path]:
    """An empty folder to work in, with a simulated vendor as the only one in the environment."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        simulated = {"OPENAI_API_KEY": "simulated", "OPENAI_BASE_URL": simulator.openai_url}
        with mock.patch.dict(os.environ, clean(folder) | simulated, clear=True):
            os.chdir(folder)
            try:
                yield folder
            finally:
                os.chdir(before)


def options() -> str:
    """Every command with its arguments and options, as its help has them."""
    return "\n".join(_options(())) + "\n"


def _options(path: tuple[str, ...]) -> Iterator[str]:
    told = run(*path, "--help")
    assert told.code == 0, told.err
    sections = _SECTIONS.split(told.out)
    commands: list[str] = []
    yield " ".join(("llmdispatcher", *path))
    for section in sections[1:]:
        heading = section.splitlines()[0].removesuffix(":")
        if heading == "Arguments":
            yield from (f"  {found}" for found in _ARGUMENT.findall(section))
        elif heading == "Options" or (heading == "Global options" and not path):
            yield from (f"  {found.strip()}" for found in _OPTION.findall(section))
        elif heading not in ("Global options", "Examples"):
            commands += _COMMAND.findall(section)
    for name in commands:
        yield from _options((*path, name))


def shapes() -> str:
    """What each command prints with ``--json``, and its exit code."""
    with VendorSimulator(responses="Rayleigh scattering.") as simulator, workplace(simulator) as folder:
        return as_text(dict(_shapes(folder, simulator)))


def _shapes(folder: Path, simulator: VendorSimulator) -> Iterator[tuple[str, Any]]:
    for name, words in _commands(folder, simulator):
        ended = run(*words, "--json")
        told = _shape(ended.out, ended.err)
        yield name, {"exit code": ended.code, "stdout": told.replace(f"{folder}/", "") if isinstance(told, str) else told}
    yield "simulate", {"stdout": Shaper().shape(_simulated())}


def _shape(out: str, err: str) -> Any:
    try:
        found = json.loads(out)
    except ValueError:
        lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        found = lines or f"no JSON: {(out or err).strip()}"
    return found if isinstance(found, str) else Shaper(DATA).shape(found)


def _commands(folder: Path, simulator: VendorSimulator) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Name and words of each; what comes before a ``yield`` makes what the next one asks about."""
    ask = ("-m", "gpt-4o-mini", "Why is the sky blue?")
    yield "init-db", ("init-db",)
    yield "migrate", ("migrate",)
    yield "ask", ("ask", *ask)
    yield "ask, not streamed", ("ask", "--no-stream", *ask)
    simulator.script(faults.bad_request())
    yield "ask, failed", ("ask", *ask)
    yield "compare", ("compare", "Hello", "--models", "gpt-4o-mini,claude-haiku-4-5")
    yield "compare --dry-run", ("compare", "Hello", "--models", "gpt-4o-mini", "--dry-run")
    yield "explain", ("explain", *ask)
    yield "models", ("models", "gpt-4o")
    yield "vendors", ("vendors",)
    yield "health", ("health",)
    yield "info", ("info",)
    yield from _batches(folder, simulator)
    yield "usage", ("usage", "--group-by", "month", "--by", "model", "--start", "2026-01-01", "--end", "2049-12-31")
    yield "calls", ("calls",)
    latest = json.loads(run("calls", "--limit", "1", "--json").out)[0]["id"]
    yield "calls ID", ("calls", latest)
    yield "export", ("export", "calls.jsonl")
    yield "import", ("--sqlite", "other.db", "import", "calls.jsonl")
    yield "receipts new-key", ("receipts", "new-key")
    yield "receipts create --dry-run", ("receipts", "create", "--dry-run")
    yield "receipts create", ("receipts", "create", latest, "--tag", "shop")
    yield "receipts create, several", ("receipts", "create")
    yield "receipts list", ("receipts", "list")
    yield "receipts verify", ("receipts", "verify")
    yield "receipts export", ("receipts", "export", "receipts.jsonl")
    yield "receipts public-key", ("receipts", "public-key")
    yield from _lockfiles(folder)
    (folder / "app.toml").write_text('timeout = -1\n[vendors.eu]\nkind = "openai"\n')
    yield "config check", ("config", "check", "app.toml")
    yield "keys list", ("keys", "list")
    (folder / "cached.toml").write_text(f'[cache]\nstore = "{folder / "answers.db"}"\n')
    run("--config", "cached.toml", "ask", *ask)
    yield "cache info", ("--config", "cached.toml", "cache", "info")
    yield "cache clear", ("--config", "cached.toml", "cache", "clear", "--yes")


def _batches(folder: Path, simulator: VendorSimulator) -> Iterator[tuple[str, tuple[object, ...]]]:
    lines = [{"id": number, "model": "gpt-4o-mini", "messages": f"prompt {number}"} for number in range(2)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    yield "batch --dry-run", ("batch", "prompts.jsonl", "--dry-run")
    simulator.script(OK, faults.bad_request())
    yield "batch", ("batch", "prompts.jsonl", "--output", "out.jsonl", "--workers", "1")
    yield "batch --resume", ("batch", "prompts.jsonl", "--output", "out.jsonl", "--resume")


def _lockfiles(folder: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    yield "lock init", ("lock", "init", "llmdispatcher.lock")
    yield "bind", ("bind", "summarizer", "openai:gpt-4o,anthropic:claude-haiku-4-5")
    yield "aliases", ("aliases",)
    yield "lock validate", ("lock", "validate")
    yield "lock check", ("lock", "check", "--require", "translator")
    publish(folder / "registry", 7, 1.5)
    os.environ["LLMDISPATCHER_REGISTRY"] = str(folder / "registry")
    yield "json-refresh", ("json-refresh",)
    yield "lock bump-registry", ("lock", "bump-registry", "--vendor", "openai")


def _simulated() -> Any:
    """What ``simulate`` prints when it is up."""
    command = [sys.executable, "-m", "llmdispatcher", "simulate", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            return json.loads(process.stdout.readline())
        finally:
            process.terminate()


PARTS: dict[str, Callable[[], str]] = {"options.txt": options, "command_line.json": shapes}
"""The stored files of this module."""
