"""The libraries: which there are, and how one is taken through a session by its driver in ``tests/clients``."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from .agent_session import Cell, judge, write_files
from .script import STEPS, prompt
from .service import POOLS, UPSTREAMS, Service, clean_environment
from .upstream import Session

DRIVERS = Path(__file__).resolve().parents[2] / "tests" / "clients"
PYTHON = (
    "openai", "openai-responses", "anthropic", "google-genai", "langchain-openai", "langchain-anthropic", "langchain-google",
    "pydantic-ai-openai", "pydantic-ai-anthropic", "pydantic-ai-google", "instructor",
    "instructor-partial",
)  # fmt: skip
JAVASCRIPT = (
    "openai-js", "openai-responses-js", "anthropic-js", "google-genai-js", "ai-openai", "ai-anthropic", "ai-google",
    "langchain-js-openai", "langchain-js-anthropic", "langchain-js-google",
)  # fmt: skip
WITHOUT_TOOLS = ("instructor", "instructor-partial")
"""Libraries that ask for objects alone; they change no file."""
BY_NAME = ("langchain-js-google",)
"""Libraries that send pictures only to models whose name they know."""
_PATIENCE = 240.0


def environment_of(name: str) -> str:
    """The environment that holds a library; some want versions that others cannot use."""
    return next((f".venv-clients-{one}" for one in ("pydantic", "instructor") if name.startswith(one)), ".venv-clients")


def run_library(name: str, upstream: str, served: Service, home: Path, place: Path, say: Callable[[str], None]) -> Cell:
    """Go through all steps; ``home`` is the environment that holds the library."""
    cell = Cell(name, upstream)
    folder = place / "work"
    folder.mkdir(parents=True)
    write_files(folder)
    session = Session(served.vendors[upstream], str(folder))
    began = time.monotonic()
    model = (POOLS if name in BY_NAME else UPSTREAMS)[upstream]
    words = [name, served.url, served.key, model, str(folder)]
    command = [str(home / "bin" / "python"), str(DRIVERS / "session.py"), *words]
    if name in JAVASCRIPT:
        command = [shutil.which("node") or "node", str(DRIVERS / "session.mjs"), *words]
    asked = json.dumps([[step, prompt(step)] for step in STEPS])
    try:
        done = subprocess.run(
            command, input=asked + "\n", cwd=home, env=clean_environment(place), capture_output=True, text=True, timeout=_PATIENCE
        )
        told, wrong = [json.loads(line) for line in done.stdout.splitlines()], done.stderr[-600:] if done.returncode else ""
    except subprocess.TimeoutExpired as error:
        told, wrong = [json.loads(line) for line in (error.stdout or b"").splitlines()], "it does not end in time"
    cell.ms = (time.monotonic() - began) * 1000
    cell.version = told[0]["version"] if told else ""
    steps = {one["step"]: one for one in told[1:]}
    for step in STEPS:
        failure = steps.get(step, {"error": f"it did not come so far: {wrong}"}).get("error", "")
        if not failure and step not in session.answered:
            failure = "the upstream was not asked"
        if not failure and step == "interrupt" and not session.left.wait(15):
            failure = "the vendor was not stopped within 15 s"
        if failure:
            cell.failures.append(f"{step}: {failure}")
        cell.turns += not failure
    judge(cell, session, None if name in WITHOUT_TOOLS else folder)
    say(f"{name} on {upstream}: {cell.turns} of {len(STEPS)} turns, {cell.ms / 1000:.1f} s")
    return cell
