"""The tables are made once, by whoever comes first."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from llmdispatcher import ConfigError, Ledger, LedgerError, open_ledger
from llmdispatcher.accounting.ledger.database import OLDEST, known_versions, newest_version, upgrade
from llmdispatcher.accounting.ledger.schema import PREFIX, VERSION_TABLE, metadata
from tests.cases import each
from tests.stored.samples import SAMPLES


@pytest.mark.parametrize("migrated", [True, False], ids=["migrated", "made"])
def test_the_tables_are_what_the_code_says(new_store, migrated):
    """Whether they were made at once or came by all migrations, with no difference."""
    with Ledger(new_store) as ledger:
        if migrated:
            with ledger.transaction() as connection:
                upgrade(connection)
        ledger.migrate()
        with ledger.engine.connect() as connection:
            options = {"version_table": VERSION_TABLE, "compare_type": False}
            if connection.dialect.name == "sqlite":  # where the name of a key cannot be changed
                options["include_object"] = lambda _object, _name, kind, _reflected, _other: kind != "unique_constraint"
            context = MigrationContext.configure(connection, opts=options)

            assert [] == compare_metadata(context, metadata)


def test_made_and_migrated_files_are_alike(tmp_path: Path):
    """To the letter, but for the names of keys, which SQLite cannot change and knows only inside their table."""
    said = []
    for name in ("made", "migrated"):
        with Ledger(tmp_path / name) as ledger:
            if name == "migrated":
                with ledger.transaction() as connection:
                    upgrade(connection)
            ledger.migrate()
            with ledger.engine.connect() as connection:
                found = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
                said.append({each: _plain(sql) for each, sql in found})

    assert said[0] == said[1]


def _plain(sql: str) -> str:
    """Without quotes, white space, and the prefix in the names of keys."""
    return re.sub(rf"CONSTRAINT ([pu][kq]_){PREFIX}", r"CONSTRAINT \1", " ".join(sql.replace('"', "").split()))


def to(connection: Connection, version: str) -> None:
    """Bring tables to an older version, as its own migrations would have made them."""
    settings = Config()
    settings.set_main_option("script_location", "llmdispatcher:accounting/ledger/migrations")
    settings.attributes["connection"] = connection
    (command.downgrade if inspect(connection).has_table(VERSION_TABLE) else command.upgrade)(settings, version)


@pytest.mark.parametrize("version", ["0003", "0004"])
def test_an_older_ledger_is_brought_up_to_date(new_store, version):
    """Its calls are there afterwards, and newer tables, too; nothing has its old name any more."""
    with Ledger(new_store) as ledger:
        with ledger.transaction() as connection:
            to(connection, "0005")
        ledger.record("openai", "gpt-4o", id="kept")
        with ledger.transaction() as connection:
            to(connection, version)
            assert {"calls", "daily"} <= set(inspect(connection).get_table_names())
    with Ledger(new_store) as ledger:
        before = [call.model for call in ledger.list_recent_calls()]

        assert newest_version() == ledger.migrate()
        assert ["gpt-4o"] == before == [call.model for call in ledger.list_recent_calls()]
        with ledger.engine.connect() as connection:
            assert 0 == connection.scalar(text("SELECT count(*) FROM llmdispatcher_budgets"))
            assert {VERSION_TABLE, *metadata.tables} == set(inspect(connection).get_table_names())
            assert all(PREFIX in index["name"] for table in metadata.tables for index in inspect(connection).get_indexes(table))


def test_old_names_are_changed_where_the_version_stands(postgres):
    """An application's tables of the same names, in a schema that is searched before, are not touched; keys are renamed, too."""
    psycopg = pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
    url = postgres.database()
    with psycopg.connect(url) as connection:
        connection.execute((SAMPLES / "ledger.postgresql.sql").read_text(encoding="utf-8"))
        connection.execute("CREATE SCHEMA tester")  # "$user", which stands before public
        connection.execute("CREATE TABLE tester.calls (id integer CONSTRAINT pk_calls PRIMARY KEY, caller text)")
        connection.execute("CREATE INDEX ix_calls_begun_at ON tester.calls (caller)")
    open_ledger(url).close()
    with psycopg.connect(url) as connection:
        names = "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'i')"
        ours = {name for (name,) in connection.execute(names, ["public"])}
        theirs = {name for (name,) in connection.execute(names, ["tester"])}

    assert {"calls", "pk_calls", "ix_calls_begun_at"} == theirs
    assert all(PREFIX in name for name in ours)


def test_migrating_again_does_nothing(new_store):
    """A second time gives the same version."""
    with Ledger(new_store) as ledger:
        assert [newest_version(), newest_version()] == [ledger.migrate(), ledger.migrate()]


def test_the_versions_are_one_line():
    """Each version has a number of its own and follows the one before."""
    assert [f"{number:04d}" for number in range(1, len(known_versions()) + 1)] == known_versions()


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("new_store", "older"), [("sqlite", False), ("postgresql", True)], indirect=["new_store"], ids=["nothing", "an older version"]
)
def test_many_processes_that_start_together_migrate_once(new_store, older):
    """Of three processes each finds the tables at the newest version, and none fails."""
    if older:
        with Ledger(new_store) as ledger, ledger.transaction() as connection:
            to(connection, "0004")
    program = "import sys; from llmdispatcher import open_ledger; ledger = open_ledger(sys.argv[1]); ledger.close()"
    processes = [subprocess.Popen([sys.executable, "-c", program, new_store], stderr=subprocess.PIPE) for _ in range(3)]
    errors = [process.communicate(timeout=200)[1].decode() for process in processes]

    assert [""] * 3 == errors
    with Ledger(new_store) as ledger, ledger.engine.connect() as connection:
        assert [newest_version()] == list(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars())


def test_many_threads_migrate_once(new_store):
    """Threads with ledgers of their own do not get in each other's way."""
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda _: open_ledger(new_store).close(), range(6)))


def test_a_newer_schema_is_refused(new_store):
    """A database from the future is told as such and left alone."""
    with open_ledger(new_store) as ledger:
        with ledger.transaction() as connection:
            connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999', oldest = '9998'"))

        with pytest.raises(LedgerError, match=r"schema 9999 is newer than \d+, .*upgrade llmdispatcher"):
            ledger.migrate()


def test_a_newer_schema_that_this_version_may_use(new_store):
    """Calls are written and read, nothing is migrated, and a second program starts on it, too."""
    open_ledger(new_store).close()
    with Ledger(new_store) as newer, newer.transaction() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
        connection.execute(text("ALTER TABLE llmdispatcher_calls ADD COLUMN further VARCHAR(64)"))
        assert OLDEST == connection.scalar(text(f"SELECT oldest FROM {VERSION_TABLE}"))
    for number in (1, 2):
        with open_ledger(new_store) as ledger:
            ledger.record("openai", "gpt-4o", id=f"call-{number}")
            assert newest_version() == ledger.migrate()
            assert number == len(ledger.list_recent_calls())
            with ledger.transaction() as connection:
                assert "9999" == connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))


def test_an_older_schema_is_told_its_oldest_program(new_store):
    """Once it is brought up to date, as tables that are new."""
    with Ledger(new_store) as ledger:
        with ledger.transaction() as connection:
            to(connection, "0006")
        ledger.migrate()
        with ledger.transaction() as connection:
            assert OLDEST == connection.scalar(text(f"SELECT oldest FROM {VERSION_TABLE}"))


def test_nothing_is_opened_at_construction(tmp_path: Path):
    """A ledger that is not used makes no file."""
    Ledger(tmp_path / "ledger.db").close()

    assert [] == list(tmp_path.iterdir())


def test_the_file_is_its_owners_alone(tmp_path: Path):
    """Mode 0600, of the companions too."""
    with open_ledger(tmp_path / "ledger.db") as ledger, ledger.engine.connect():
        assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}


@each("value", ["", ":memory:", "sqlite://", "mysql://localhost/x", "sqlite+aiosqlite:///x", "file:./x.db", 7])
def test_no_place_for_a_ledger(value):
    """What names no file and no server is refused when it is given."""
    with pytest.raises(ConfigError, match=r"^ledger: "):
        Ledger(value)
