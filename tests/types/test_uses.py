"""What a type checker says of a user's program: nothing where it is right, and something in each line with a mistake."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
from mypy import api

from llmdispatcher import EmbeddingRequest, VendorConfig
from llmdispatcher.types import EmbeddingSettings
from llmdispatcher.vendors import VendorSettings

ROOT = Path(__file__).parents[2]
USES = "tests/types/uses"


def test_mistakes_are_found_and_nothing_else(monkeypatch):
    """By `mypy --strict`, in which users run it."""
    monkeypatch.chdir(ROOT)
    said, failure, _status = api.run(["--strict", "--hide-error-context", USES])
    found = {(place, int(line)) for place, line in re.findall(r"^(\S+\.py):(\d+): error:", said, re.MULTILINE)}
    lines = (ROOT / USES / "wrong.py").read_text(encoding="utf-8").splitlines()
    wrong = {(f"{USES}/wrong.py", number) for number, line in enumerate(lines, 1) if line.endswith("# wrong")}

    assert "" == failure
    assert (len(wrong), set()) == (len(found), wrong ^ found), said
    assert len(wrong) > 50


def test_settings_are_the_fields_of_their_class():
    """A keyword is known to type checkers if, and only if, the class has it."""
    vendor = {field.name for field in attrs.fields(VendorConfig)}
    embedding = {field.name for field in attrs.fields(EmbeddingRequest)} - {"model", "texts"}

    assert (vendor, embedding) == (VendorSettings.__annotations__.keys(), EmbeddingSettings.__annotations__.keys())
