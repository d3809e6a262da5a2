"""An upgrade and a rollback of two hosts under streams: the short form of ``upgrade.py``."""

from __future__ import annotations

import pytest

pytest.importorskip("granian", reason="granian is not installed; scripts/test installs it")
pytest.importorskip("alembic", reason="Alembic is not installed; scripts/test installs it")

from .upgrade import deployment, next_version, upgrade_and_roll_back


@pytest.mark.timeout(600)
def test_an_upgrade_and_a_rollback_break_no_stream(postgres, redis_server, tmp_path):
    """Of 50 streams at a time none is broken and none refused; ledger, records and budgets have what the vendor served.

    The version before starts on the tables of the next, and a small budget is never exceeded.
    """
    further = next_version(tmp_path / "next")
    with deployment(postgres.database(), redis_server.url, tmp_path, pace=40.0) as made:
        assert 100 < upgrade_and_roll_back(made, further)["streams"]
