"""``scripts/strangers gateway``: every client on every kind of upstream, one after another, and a table of what came of each.

A session is ten turns: read, edit, run, two tools at once, a picture, thoughts, an interrupt, 429 and 529, a full window, going on.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import attrs

from llmdispatcher.testing import OK

from ..strangers_run import SPECS, compatcanary, schemathesis
from .agent_session import Cell, run_agent
from .agents import AGENTS
from .libraries import JAVASCRIPT, PYTHON, environment_of, run_library
from .script import STEPS
from .service import POOLS, UPSTREAMS, Service, service

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / ".clients"
CLIENTS = (*PYTHON, *JAVASCRIPT, *AGENTS)
LEAST_CACHED = 0.8
_EXAMPLES = 60
"""Generated requests for each operation, where none are named."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them; 1 where a cell failed."""
    parser = argparse.ArgumentParser(prog="scripts/strangers gateway", description=__doc__)
    parser.add_argument("--client", action="append", choices=[*CLIENTS], help="only this one; may be repeated")
    parser.add_argument("--upstream", action="append", choices=[*UPSTREAMS], help="only this one; may be repeated")
    parser.add_argument("--server", default="granian", help="what serves the gateway: granian or waitress")
    parser.add_argument("--json", action="store_true", help="print JSON for programs in place of the table")
    parser.add_argument(
        "--keep", metavar="FOLDER", type=Path, help="keep the clients' folders and the requests of failed cells here"
    )
    parser.add_argument("--examples", type=int, default=0, help="run the suites too, with so many generated requests an operation")
    parser.add_argument("--suites", action="store_true", help="the suites alone, without sessions")
    options = parser.parse_args(arguments)
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory(prefix="strangers-") as made, service(Path(made), server=options.server) as served:
        for name in () if options.suites else options.client or CLIENTS:
            for upstream in options.upstream or list(UPSTREAMS)[:3]:
                cell = _cell(name, upstream, served, Path(made, f"{name}-{upstream}"))
                cells.append(cell)
                share = "" if cell.cached is None else f", {cell.cached:.0%} out of the cache"
                _say(f"  {cell.client} on {upstream}: {'FAILED' if cell.failures else 'ok'}{share}")
                if options.keep is not None:
                    _keep(options.keep / f"{name}-{upstream}", Path(made, f"{name}-{upstream}"), served, upstream)
                if cell.failures:
                    _say(f"  {cell.client} on {upstream} FAILED; the gateway's log ends with:\n{served.log.read_text()[-1500:]}")
        suites = _suites(served, options.examples or _EXAMPLES) if options.suites or options.examples else {}
    if options.json:
        print(json.dumps({"cells": [attrs.asdict(cell) for cell in cells], "suites": suites}, indent=1))
    else:
        print(table(cells), *[f"{name}: {told}" for name, (_, told) in suites.items()], sep="\n")
    return 1 if any(cell.failures for cell in cells) or not all(good for good, _ in suites.values()) else 0


def _suites(served: Service, examples: int) -> dict[str, tuple[bool, str]]:
    """Conformance suites of others against the gateway."""
    for vendor in served.vendors.values():
        vendor.always(OK)
    told: dict[str, tuple[bool, str]] = {}
    for upstream, pool in POOLS.items():
        name = f"compatcanary, {upstream}"
        told[name] = compatcanary(served.url, served.key, pool)
        _say(f"{name}: {told[name][1]}")
    with tempfile.TemporaryDirectory() as folder:
        for vendor_name in SPECS:
            name = f"schemathesis, {vendor_name}"
            told[name] = schemathesis(vendor_name, served.url, examples, folder, served.key)
            _say(f"{name}: {told[name][1]}")
    return told


def _cell(name: str, upstream: str, served: Service, place: Path) -> Cell:
    package = ROOT / "scripts" / "clients"
    if name in AGENTS:
        installed(PLACE / "agents", package / "agents.package.json")
        cell = run_agent(AGENTS[name], upstream, served, PLACE / "agents" / "node_modules" / ".bin", place, _say)
        cell.version = _version(PLACE / "agents", AGENTS[name].package)
    elif name in JAVASCRIPT:
        installed(PLACE / "libraries", package / "libraries.package.json")
        cell = run_library(name, upstream, served, PLACE / "libraries", place, _say)
    else:
        cell = run_library(name, upstream, served, ROOT / environment_of(name), place, _say)
    if cell.cached is not None and cell.cached < LEAST_CACHED:
        cell.failures.append(f"only {cell.cached:.0%} of the input came out of the upstream's cache")
    return cell


def installed(place: Path, package: Path) -> None:
    """Install what a package.json pins, once."""
    wanted, has = package.read_bytes(), place / "package.json"
    if has.exists() and has.read_bytes() == wanted and (place / "node_modules").exists():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is not installed (Debian and Ubuntu: apt install npm)")
    _say(f"installing {package.name} into {place.relative_to(ROOT)} ...")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    shutil.copyfile(package, has)
    subprocess.run([npm, "install", "--no-audit", "--no-fund", "--loglevel=error"], cwd=place, check=True, stdout=sys.stderr)


def _version(place: Path, package: str) -> str:
    return str(json.loads((place / "node_modules" / package / "package.json").read_text())["version"])


def _keep(folder: Path, made: Path, served: Service, upstream: str) -> None:
    """For whoever looks at a failure: what the client left, and what the vendor was asked."""
    shutil.copytree(made, folder, dirs_exist_ok=True, symlinks=True)
    asked = [{"path": one.path, "json": one.json} for one in served.vendors[upstream].requests]
    (folder / "requests.json").write_text(json.dumps(asked, indent=1))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(cells: Sequence[Cell]) -> str:
    """The cells as a table of Markdown, with what failed below."""
    lines = ["| client | version | upstream | turns | result | cached | ms |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for cell in cells:
        cached = "" if cell.cached is None else f"{cell.cached:.0%}"
        result = "FAILED" if cell.failures else "ok"
        turns = f"{cell.turns} of {len(STEPS)}"
        lines.append(f"| {cell.client} | {cell.version} | {cell.upstream} | {turns} | {result} | {cached} | {cell.ms:,.0f} |")
    failures = [f"{cell.client} on {cell.upstream}: {failure}" for cell in cells for failure in cell.failures]
    when = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    return "\n".join([f"{when}, {sum(not cell.failures for cell in cells)} of {len(cells)} cells ok", "", *lines, "", *failures])


if __name__ == "__main__":
    raise SystemExit(main())
