"""Budgets and limits over two hosts of two workers each: the short form of ``exactness.py``."""

from __future__ import annotations

import pytest

pytest.importorskip("granian", reason="granian is not installed; scripts/test installs it")

from .exactness import budget_is_exact, failures_lose_nothing, fleet, limits_are_exact


@pytest.fixture(scope="module")
def made(postgres, redis_server, tmp_path_factory):
    """Two hosts."""
    with fleet(postgres.database(), redis_server.url, tmp_path_factory.mktemp("fleet"), threads=16) as running:
        yield running


@pytest.mark.parametrize("strict", [True, False])
def test_a_budget_over_hosts(made, strict):
    """Never over with ``strict``, else by no more than the calls under way; what is spent is what was served."""
    assert 0 < budget_is_exact(made, strict=strict, answers=20, calls=80, threads=32)["answered"] < 80


def test_limits_over_hosts(made):
    """No more requests in a minute, nor calls in flight, than the key may have."""
    limits_are_exact(made, requests_per_minute=30, calls=90, threads=32)


def test_failures_under_load_lose_nothing(made, postgres, redis_server):
    """Workers killed, Redis and PostgreSQL restarted: all that was served is spent, or reserved by calls that were killed."""
    failures_lose_nothing(made, postgres, redis_server, calls=64, threads=16, pause=0.5)
