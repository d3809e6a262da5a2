"""A ledger that may only be read: a snapshot, a read-only folder, an account with SELECT."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from llmdispatcher import Ledger, LedgerError, Receipts, SigningKey, open_ledger
from llmdispatcher.accounting.ledger.database import newest_version
from tests.stored.samples import SAMPLES

NOBODY = 65534


@contextmanager
def without_rights() -> Iterator[None]:
    """As one whom permissions bind; root may write everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that others may enter, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="llmdispatcher-ro-"))
    made.chmod(0o755)
    yield made
    made.chmod(0o755)
    shutil.rmtree(made)


def closed_off(folder: Path, *, file: int = 0o444, inside: int = 0o555) -> None:
    """Nobody may write any more."""
    for path in folder.iterdir():
        path.chmod(file)
    folder.chmod(inside)


def asked(path: Path) -> tuple[str, int, int]:
    """Opened and asked, in all ways."""
    with open_ledger(path) as ledger:
        version = ledger.migrate()
        count = len(ledger.export_usage_logs())
        Receipts(ledger, SigningKey.generate()).list()
        assert ledger.is_there()
        assert [] == ledger.foreign_tables()
        return version, count, ledger.get_usage_stats(start="2020-01-01", end="2030-01-01").total_calls


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
@pytest.mark.parametrize(("file", "inside"), [(0o444, 0o555), (0o444, 0o777), (0o666, 0o555)])
def test_a_file(folder, journal, file, inside):
    """Where the file, its folder, or both may not be written, however its journal is kept."""
    path = folder / "l #1?.db"
    with open_ledger(path) as ledger:
        ledger.record("openai", "gpt-4o", input_tokens=5)
        ledger.list_recent_calls()
    if journal == "DELETE":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
    asked(path)  # what has to be imported is, by one who may read it
    closed_off(folder, file=file, inside=inside)
    before = path.read_bytes()
    with without_rights():
        found = asked(path)

    assert (newest_version(), 1, 1) == found
    if (file, inside) == (0o444, 0o555):
        assert before == path.read_bytes()
        assert [path] == list(folder.iterdir())


def test_a_file_of_an_older_version(folder):
    """It cannot be migrated, and is asked under its old names."""
    path = folder / "l.db"
    path.write_bytes((SAMPLES / "ledger.db").read_bytes())
    with sqlite3.connect(path) as connection:
        count = connection.execute("SELECT count(*) FROM calls WHERE status <> 'open'").fetchone()[0]
    connection.close()
    asked(shutil.copy(path, folder / "copy.db"))
    (folder / "copy.db").unlink()
    closed_off(folder)
    with without_rights():
        version, exported, _ = asked(path)

    assert ("0004", count) == (version, exported)


def test_what_is_only_in_the_log_is_not_passed_over(folder):
    """Without a -shm the log cannot be read, and without the log the newest calls would be missing: it is told what to do."""
    path = folder / "l.db"
    with open_ledger(path) as ledger, ledger.reading():  # so that the log stays
        ledger.record("openai", "gpt-4o", input_tokens=5)
        copies = {name: (folder / name).read_bytes() for name in ("l.db", "l.db-wal")}
    other = folder / "other"
    other.mkdir()
    for name, content in copies.items():
        (other / name).write_bytes(content)
    closed_off(other)
    with (
        without_rights(),
        Ledger(other / "l.db") as ledger,
        pytest.raises(LedgerError, match=r"l\.db-wal holds calls .* copy both"),
    ):
        ledger.list_recent_calls()
    other.chmod(0o755)


def test_what_others_write_meanwhile_is_seen(folder):
    """A reader without rights keeps no view of the past."""
    path = folder / "l.db"
    with open_ledger(path) as ledger:
        ledger.record("openai", "gpt-4o", input_tokens=5)
    asked(path)
    closed_off(folder)
    with Ledger(path) as reader:
        with without_rights():
            first = len(reader.list_recent_calls())
        folder.chmod(0o755)
        path.chmod(0o644)
        with open_ledger(path) as ledger:
            ledger.record("openai", "gpt-4o", input_tokens=5)
        closed_off(folder)
        with without_rights():
            assert (1, 2) == (first, len(reader.list_recent_calls()))


@pytest.fixture
def reader_of(postgres):
    """Makes of a database's address that of an account that may only read it."""
    psycopg = pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")

    def of(url: str) -> str:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DO $$ BEGIN CREATE ROLE analyst LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
            connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO analyst")
        return url.replace("tester@", "analyst@")

    return of


def test_an_account_with_select(postgres, reader_of):
    """It reads all, and a write is a typed error."""
    url = postgres.database()
    with open_ledger(url) as ledger:
        ledger.record("openai", "gpt-4o", input_tokens=5)
    with open_ledger(reader_of(url)) as ledger:
        assert (1, 1) == (len(ledger.list_recent_calls()), ledger.get_usage_stats().total_calls)
        with pytest.raises(LedgerError, match=r"cannot be written \(InsufficientPrivilege\); it may only be read"):
            ledger.record("openai", "gpt-4o", input_tokens=5)


def test_an_account_with_select_and_an_older_version(postgres, reader_of):
    """The old names are read as they are."""
    psycopg = pytest.importorskip("psycopg")
    url = postgres.database()
    with psycopg.connect(url) as connection:
        connection.execute((SAMPLES / "ledger.postgresql.sql").read_text(encoding="utf-8"))
        count = connection.execute("SELECT count(*) FROM public.calls WHERE status <> 'open'").fetchone()[0]
    with open_ledger(reader_of(url)) as ledger:
        assert ("0004", count) == (ledger.migrate(), len(ledger.export_usage_logs()))
    with open_ledger(url) as ledger:
        assert (newest_version(), count) == (ledger.migrate(), len(ledger.export_usage_logs()))
