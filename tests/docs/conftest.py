"""The checkout and its pages, and an environment in which every vendor is a simulated one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from llmdispatcher.catalog.models import apply_registry
from llmdispatcher.testing import VendorSimulator

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Block:
    """One block of Python in a page."""

    page: str
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> list[Block]:
    """Every block of Python in the README and in docs."""
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            line = text[: match.start()].count("\n") + 2
            found.append(Block(page.relative_to(ROOT).as_posix(), line, match[1]))
    return found


def table(page: str, heads: str) -> list[list[str]]:
    """The cells of the table in a page whose first row begins with ``heads``."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(heads))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@pytest.fixture
def vendors(monkeypatch: pytest.MonkeyPatch, vendor_simulator: VendorSimulator) -> Iterator[VendorSimulator]:
    """A simulator that all vendors of the environment are, and nothing else in the environment."""
    for name, value in {
        "OPENAI_API_KEY": "simulated",
        "OPENAI_BASE_URL": vendor_simulator.openai_url,
        "ANTHROPIC_API_KEY": "simulated",
        "ANTHROPIC_BASE_URL": vendor_simulator.anthropic_url,
        "GEMINI_API_KEY": "simulated",
        "GEMINI_BASE_URL": vendor_simulator.google_url,
        "AZURE_OPENAI_API_KEY": "simulated",
        "AZURE_OPENAI_ENDPOINT": vendor_simulator.azure_url,
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    yield vendor_simulator
    apply_registry({}, {})  # a page's registry stays in force for the process; other tests know nothing of its models
