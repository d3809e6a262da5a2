"""Databases of every older version, with rows: the upgrade loses none, also of processes that start at once, or that are killed."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, text

from llmdispatcher import Ledger, open_ledger
from llmdispatcher.accounting.ledger.database import known_versions, newest_version
from llmdispatcher.accounting.ledger.schema import PREFIX, VERSION_TABLE
from tests.stored.samples import SAMPLES, sample

OLDER = known_versions()[:-1]
SAMPLED = "0004"
"""The version of the samples."""
START = "import sys; from llmdispatcher import open_ledger; open_ledger(sys.argv[1]).close()"
KILLED = """
import os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from llmdispatcher import open_ledger

@event.listens_for(Engine, "after_cursor_execute")
def kill(_connection, _cursor, statement, *_):
    if sys.argv[2] in statement:
        os.kill(os.getpid(), signal.SIGKILL)

open_ledger(sys.argv[1]).close()
"""

pytestmark = pytest.mark.timeout(240)  # a busy machine opens databases slowly


def bring(connection: Connection, version: str) -> None:
    """Bring the tables of a sample to another version, by its migrations."""
    settings = Config()
    settings.set_main_option("script_location", "llmdispatcher:accounting/ledger/migrations")
    settings.attributes["connection"] = connection
    (command.upgrade if version > SAMPLED else command.downgrade)(settings, version)


@pytest.fixture(params=["sqlite", "postgresql"])
def old_ledger(request, tmp_path):
    """A function that makes a database of an older version with the rows of the sample, and gives its address."""

    def make(version):
        if request.param == "sqlite":
            address = str(sample("ledger.db", tmp_path))
        else:
            psycopg = pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
            address = request.getfixturevalue("postgres").database()
            with psycopg.connect(address, autocommit=True) as connection:
                connection.execute((SAMPLES / "ledger.postgresql.sql").read_text(encoding="utf-8"))
        if version != SAMPLED:
            with Ledger(address) as ledger, ledger.transaction() as connection:
                bring(connection, version)
        return address

    return make


def rows(address):
    """All rows by table, by today's names; each as its columns and values."""
    with Ledger(address) as ledger, ledger.engine.connect() as connection:
        names = set(inspect(connection).get_table_names()) - {VERSION_TABLE}
        return {
            name.removeprefix(PREFIX): [dict(row) for row in connection.execute(text(f"SELECT * FROM {name}")).mappings()]
            for name in names
        }


def lost(before, after):
    """The rows that are not there any more with all that was in them."""
    return [
        (table, row)
        for table, had in before.items()
        for row in had
        if not any(row.items() <= one.items() for one in after.get(table, ()))
    ]


@pytest.mark.parametrize("version", OLDER)
def test_an_upgrade_keeps_each_row_and_sum(old_ledger, version):
    """From every version; nothing is there twice."""
    address = old_ledger(version)
    before = rows(address)
    assert before["calls"]
    assert before["daily"]
    with open_ledger(address) as ledger:
        checked = ledger.check_rollups()
    after = rows(address)

    assert checked.exact or version == "0001", checked  # which has no mark of the day whose calls were deleted
    assert [] == lost(before, after)
    assert {table: len(had) for table, had in before.items()} == {table: len(after[table]) for table in before}


@pytest.mark.parametrize("version", ["0004", "0005", "0006"])
def test_of_two_processes_that_start_at_once_one_upgrades(old_ledger, version):
    """And the other waits for it; neither fails."""
    address = old_ledger(version)
    before = rows(address)
    processes = [subprocess.Popen([sys.executable, "-c", START, address], stderr=subprocess.PIPE) for _ in range(2)]
    errors = [process.communicate(timeout=200)[1].decode() for process in processes]

    assert ["", ""] == errors
    assert [] == lost(before, rows(address))
    with Ledger(address) as ledger, ledger.engine.connect() as connection:
        assert [newest_version()] == list(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars())


@pytest.mark.parametrize("statement", ["RENAME TO", "ADD COLUMN warned", "llmdispatcher_models", "version_num='0006'"])
def test_an_upgrade_that_was_killed_is_finished_at_the_next_start(old_ledger, statement):
    """Wherever it was: within a version, or between two of them."""
    address = old_ledger(SAMPLED)
    before = rows(address)
    killed = subprocess.run([sys.executable, "-c", KILLED, address, statement], stderr=subprocess.PIPE, timeout=200, check=False)
    assert -signal.SIGKILL == killed.returncode, killed.stderr.decode()
    with open_ledger(address) as ledger:
        checked = ledger.check_rollups()
        assert newest_version() == ledger.migrate()

    assert checked.exact, checked
    assert [] == lost(before, rows(address))
