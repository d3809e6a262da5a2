"""Databases of ledgers, one for each test: files of SQLite, and databases of a real PostgreSQL, also behind PgBouncer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmdispatcher import Ledger, open_ledger

IN_BOTH = pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
"""For tests whose claim depends on the database; without it ``store`` and ``ledger`` are of SQLite."""


def address(request: pytest.FixtureRequest, kind: str, folder: Path, *, tables: bool = True) -> str:
    """Where a new database of this kind is: with the empty tables of a ledger, or with nothing."""
    if kind != "sqlite":
        server = request.getfixturevalue("postgres" if kind == "postgresql" else kind)
        return str(server.database(tables=tables))
    place = folder / "ledger.db"
    if tables:
        shutil.copy(request.getfixturevalue("file_with_tables"), place)
    return str(place)


@pytest.fixture(scope="session")
def file_with_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger without rows, to be copied."""
    place = tmp_path_factory.mktemp("ledger") / "ledger.db"
    open_ledger(place).close()
    return place


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a ledger without rows."""
    return address(request, getattr(request, "param", "sqlite"), tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database that has no tables."""
    return address(request, request.param, tmp_path, tables=False)


@pytest.fixture
def ledger(store: str) -> Iterator[Ledger]:
    """A ledger without rows."""
    with open_ledger(store, timeout=30.0) as opened:
        yield opened
