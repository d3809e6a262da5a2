"""A process may be killed at any moment: what it had said was safe is there, once, and what it left is marked as unknown."""

from __future__ import annotations

import pytest

from .killing import a_mother, check, kill_often


@pytest.fixture(scope="module")
def mother():
    with a_mother() as process:
        yield process


@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", ["sqlite", "postgresql", "pgbouncer"], indirect=True)
@pytest.mark.parametrize("strict", [True, False], ids=["strict", "behind"])
def test_killed_at_random_moments(mother, store, strict):
    """The sums of the ledger are what the vendor says it served; ``benchmarks/README.md`` has the figures of 200 kills."""
    tale = kill_often(mother, store, 2, strict=strict)

    check(tale, strict=strict)
    assert tale.acknowledged
