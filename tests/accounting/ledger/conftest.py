"""A new, empty database for each test: a file of SQLite, or one of a real PostgreSQL, where a test asks for it behind PgBouncer."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database that nobody has used."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    server = "postgres" if request.param == "postgresql" else request.param
    database: str = request.getfixturevalue(server).database()
    return database
