"""Takes an agent through a session and judges it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from .agents import Agent, Place
from .script import BROKEN, LAST, MENDED, NOTES, STEPS, prompt
from .service import UPSTREAMS, Service
from .upstream import Session

_PATIENCE = 180.0


@attrs.define
class Cell:
    """What came of one client on one upstream."""

    client: str
    upstream: str
    version: str = ""
    turns: int = 0
    ms: float = 0.0
    cached: float | None = None
    failures: list[str] = attrs.field(factory=list)


def run_agent(agent: Agent, upstream: str, served: Service, binaries: Path, place: Path, say: Callable[[str], None]) -> Cell:
    """Go through all steps; the cell has what failed."""
    cell = Cell(agent.name, upstream)
    folder, home = place / "work", place / "home"
    for one in (folder, home):
        one.mkdir(parents=True)
    write_files(folder)
    where = Place(folder, home, served.url, served.key, UPSTREAMS[upstream])
    session = Session(served.vendors[upstream], str(folder), full_after=agent.full_after)
    began = time.monotonic()
    for step in STEPS:
        started = time.monotonic()
        failure = agent.lacks.get(step) or _step(agent, where, binaries, session, step)
        if failure:
            cell.failures.append(f"{step}: {failure}")
        cell.turns += not failure
        outcome = f"FAILED: {failure}" if failure else "ok"
        say(f"{agent.name} on {upstream}: {step} {outcome} ({time.monotonic() - started:.1f} s)")
    cell.ms = (time.monotonic() - began) * 1000
    judge(cell, session, folder)
    return cell


def judge(cell: Cell, session: Session, folder: Path | None) -> None:
    """Add what the upstream missed, and what is wrong with the file at the end."""
    cell.failures += session.wrong
    if folder is not None and (left := (folder / "calc.py").read_text()) != MENDED + LAST:
        cell.failures.append(f"calc.py ends as {left!r}")
    cell.cached = session.cached_share


def _step(agent: Agent, place: Place, binaries: Path, session: Session, step: str) -> str:
    """What went wrong in a step; empty where nothing did."""
    agent.configure(place, step)
    words = agent.words(place, prompt(step), first=step == next(iter(STEPS)))
    if step == "interrupt":
        return _interrupt(agent, place, binaries, session, words)
    failure = _run(agent, place, binaries, words)
    if step == "overflow" and step not in session.answered and (compact := agent.compact(place)) is not None:
        failure = _run(agent, place, binaries, compact) or _run(agent, place, binaries, words)
    if step == "overflow" and step in session.answered:
        return ""  # it told its user of the refusal, which may be its exit code too
    return failure or ("" if step in session.answered else "the upstream was not asked")


def _start(agent: Agent, place: Place, binaries: Path, words: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
    with output.open("wb") as out:
        return subprocess.Popen(
            [str(binaries / agent.command), *words], cwd=place.folder, env=agent.environment(place),
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def _run(agent: Agent, place: Place, binaries: Path, words: Sequence[str]) -> str:
    output = place.home / "output"
    with _start(agent, place, binaries, words, output) as process:
        try:
            code = process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process, signal.SIGKILL)
    if code == 0:
        return ""
    said = output.read_text(errors="replace")[-600:]
    return f"{'no end in time' if code is None else f'exit {code}'}: {said}"


def _interrupt(agent: Agent, place: Place, binaries: Path, session: Session, words: Sequence[str]) -> str:
    """Break a long answer off, as a user does with Ctrl-C; the vendor must be stopped."""
    with _start(agent, place, binaries, words, place.home / "output") as process:
        try:
            if not session.interrupting.wait(_PATIENCE):
                return "the upstream was not asked"
            os.killpg(process.pid, signal.SIGINT)
            if not session.left.wait(15):
                return "the vendor was not stopped within 15 s"
            process.wait(30)
        except subprocess.TimeoutExpired:
            return "it does not end within 30 s"
        finally:
            _end(process, signal.SIGKILL)
    return ""


def _end(process: subprocess.Popen[bytes], number: int) -> None:
    """End an agent and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def write_files(folder: Path) -> None:
    """The files of a session."""
    (folder / "notes.txt").write_text(NOTES + "\n")
    (folder / "calc.py").write_text(BROKEN)
    (folder / "picture.png").write_bytes(_picture())


def _picture() -> bytes:
    """A small red square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    size = 32
    head = size.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    rows = b"".join([b"\0" + b"\xd0\x20\x20" * size for _ in range(size)])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
