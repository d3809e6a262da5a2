"""The database locked, full, broken, restarted, gone: calls go on, no row is lost, and none is there twice."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import text

from llmdispatcher import Dispatcher, Ledger, LedgerError, Request, Response, Usage, open_ledger
from llmdispatcher.accounting.ledger.call import CALL
from llmdispatcher.accounting.ledger.connections import Connections
from llmdispatcher.testing import FakeVendor

ASK = Request("m", "hi")
ANSWER = Response(content="x", usage=Usage(input_tokens=3, output_tokens=2))
QUICK = 15.0
"""Seconds that no call may take on a busy machine, however long the database does."""
PATIENT = 40.0
"""Seconds that a ledger waits for its database where no call may wait with it."""


class Caller:
    """Makes calls that are written in a ledger, and keeps the ids of those that were answered."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.ids: list[str] = []
        self.seconds: list[float] = []
        self._dispatcher = Dispatcher(ledger=ledger)
        self._dispatcher.register_vendor(FakeVendor(ANSWER, name="v"))

    def call(self, times: int = 1) -> None:
        """Ask so often."""
        for _ in range(times):
            begun = time.monotonic()
            response = self._dispatcher.send(ASK)
            self.seconds.append(time.monotonic() - begun)
            self.ids.append(response.trace.call_id)

    @property
    def slowest(self) -> float:
        """Seconds of the slowest call."""
        return max(self.seconds)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Ledger]]:
    """Opens ledgers, and closes them."""
    made: list[Ledger] = []

    def opened(place: str | Path | None = None, **settings: Any) -> Ledger:
        ledger = open_ledger(place or tmp_path / "ledger.db", **{"timeout": 0.3, **settings})
        made.append(ledger)
        return ledger

    yield opened
    for ledger in made:
        ledger.close(0.5)


def ids(ledger: Ledger) -> list[str]:
    """The calls that are in the database."""
    with ledger.engine.connect() as connection:
        return list(connection.execute(text("SELECT id FROM llmdispatcher_calls ORDER BY id")).scalars())


def all_there(caller: Caller, ledger: Ledger | None = None) -> None:
    """Every call is there once, answered, with its attempt, and in the day's sums."""
    ledger = ledger or caller.ledger
    assert sorted(caller.ids) == ids(ledger)
    with ledger.engine.connect() as connection:
        count = len(caller.ids)
        assert count == connection.scalar(text("SELECT count(*) FROM llmdispatcher_calls WHERE status = 'success'"))
        assert count == connection.scalar(text("SELECT count(*) FROM llmdispatcher_attempts WHERE status = 'success'"))
        sums = connection.execute(text("SELECT sum(calls), sum(input_tokens) FROM llmdispatcher_daily")).one()
        assert (count, 3 * count) == tuple(sums)


def until(said: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_locked(opened, tmp_path):
    """Another process has the pen (D1): calls go on, rows wait on disk, and are written when it lets go."""
    ledger = opened(timeout=2)
    caller = Caller(ledger)
    caller.call(3)
    assert ledger.flush()
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        caller.call(20)
        until(lambda: ledger.stats().spooled > 0)
        assert ("SQLITE_BUSY", True) == (ledger.stats().unavailable, ledger.stats().written < 46)
        caller.call(5)
        other.execute("COMMIT")
    assert ledger.flush()

    all_there(caller)
    assert median(caller.seconds) < 1, "the database was waited for 2 s; a busy machine makes few calls slow, not most"
    assert (0, None, []) == (
        ledger.stats().dropped,
        ledger.stats().unavailable,
        list((tmp_path / "ledger.db.spool").glob("*.jsonl")),
    )


def test_no_write_begins_with_a_read(opened):
    """A transaction that writes has the pen from its beginning (D2), so it never finds that its view is old."""
    ledger = opened()
    with ledger.transaction() as first:
        first.execute(text("SELECT * FROM llmdispatcher_calls"))
        with pytest.raises(Exception, match="locked"), ledger.transaction():
            pass


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Makes the disk full for the next connections to SQLite, as far as SQLite can tell."""
    real = Connections._configure_file
    state = {"full": False}

    def introduce(self: Connections, connection: Any, record: Any) -> None:
        real(self, connection, record)
        if state["full"]:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")

    monkeypatch.setattr(Connections, "_configure_file", introduce)
    return lambda yes: state.update(full=yes)


@pytest.mark.parametrize("spool", [{}, {"max_spool_bytes": 3000}], ids=["room in the spool", "none there either"])
def test_disk_full(opened, full, spool):
    """The file cannot grow (D3): rows wait in the spool, or in memory, and are written when there is room."""
    ledger = opened(**spool)
    caller = Caller(ledger)
    caller.call()
    assert ledger.flush()
    ledger.close()
    full(True)
    caller.call(400)
    until(lambda: ledger.stats().unavailable == "SQLITE_FULL")
    assert not ledger.flush(0.1)
    full(False)
    assert ledger.flush()

    all_there(caller)
    assert caller.slowest < QUICK
    assert 0 == ledger.stats().dropped


def test_rows_that_can_be_kept_nowhere_are_counted(opened, full, caplog):
    """At the end of a process with all disks full the loss is counted and told."""
    ledger = opened(max_spool_bytes=1)
    ledger.close()
    full(True)
    caller = Caller(ledger)
    caller.call(400)
    until(lambda: ledger.stats().unavailable == "SQLITE_FULL")
    assert not ledger.flush(0.1)
    ledger.close(0.1)

    assert ledger.stats().dropped > 0
    assert "loses rows" in caplog.text
    full(False)


def spoil_header(path: Path) -> None:
    """Overwrite what SQLite knows the file by."""
    path.write_bytes(b"\xde\xad" * 50 + path.read_bytes()[100:])


def spoil_pages(path: Path) -> None:
    """Overwrite all pages after the first."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


def spoil_names(path: Path) -> None:
    """Write bytes that are no text where SQLite keeps the definitions, so that it cannot even be told what is wrong."""
    content = path.read_bytes()
    at = content.index(b"tablellmdispatcher_callsllmdispatcher_calls")
    text = content.index(b"CREATE TABLE llmdispatcher_calls", at)
    spoiled = bytearray(content)
    spoiled[at + 5 : at + 11] = b"\xff\xfe\xfd\xfc\xfb\xfa"
    spoiled[text : text + 12] = b"CREATE TABLQ"
    path.write_bytes(spoiled)


def spoil_version(path: Path) -> None:
    """Put bytes that are no text into a column of text."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE llmdispatcher_schema SET version_num = CAST(X'30FFFE' AS TEXT)")


def spoil_calls(path: Path) -> None:
    """The same in a row that another process has left open, and that is read when the next one begins."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE llmdispatcher_calls SET status = 'open', writer = 'gone', origin = CAST(X'FFFE' AS TEXT)")


def spoil_all(path: Path) -> None:
    """Leave nothing by which the file could be known."""
    path.write_bytes(b"\xde\xad" * 4096)


SPOILERS = [spoil_header, spoil_pages, spoil_names, spoil_version, spoil_calls, spoil_all]


@pytest.fixture
def broken(opened, tmp_path, spoil):
    """A ledger of some calls, and its file, which was spoilt since."""
    ledger, path = opened(), tmp_path / "ledger.db"
    Caller(ledger).call(3)
    assert ledger.flush()
    ledger.close()
    spoil(path)
    return ledger, path


@pytest.mark.parametrize("spoil", SPOILERS)
def test_corrupt(broken, tmp_path, caplog, spoil):
    """A broken file (D4), bytes that are no text too, is put aside, never deleted; a new one is begun, and no row is lost."""
    ledger, path = broken
    before = path.read_bytes()
    caller = Caller(ledger)
    caller.call(5)
    assert ledger.flush()

    all_there(caller)
    (aside,) = [file for file in tmp_path.glob("ledger.db.broken-*") if not file.name.endswith(("-wal", "-shm"))]
    assert before == aside.read_bytes() or spoil is spoil_calls  # where a sign of life is written before the row is read
    assert (1, 0, 0) == (ledger.stats().aside, ledger.stats().dropped, ledger.stats().refused)
    assert "is broken" in caplog.text


@pytest.mark.parametrize("spoil", SPOILERS[2:])
def test_a_broken_file_is_a_typed_error(broken, tmp_path, spoil):
    """Whoever only asks gets an error of ours, and nothing is put aside."""
    ledger, _path = broken
    if spoil is not spoil_calls:
        with pytest.raises(LedgerError, match="cannot be used"):
            ledger.migrate()
    if spoil is not spoil_version:
        with pytest.raises(LedgerError, match="cannot be read"):
            ledger.list_recent_calls()

    assert [] == list(tmp_path.glob("ledger.db.broken-*"))


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path):
    """A path that was mistaken harms nobody's file; it is a typed error (D5)."""
    path = tmp_path / "notes.txt"
    path.write_text("my notes" * 1000)
    ledger = Ledger(path, timeout=0.3)
    with pytest.raises(LedgerError, match="cannot be used"):
        ledger.migrate()
    caller = Caller(ledger)
    caller.call()
    until(lambda: ledger.stats().unavailable is not None)
    assert not ledger.flush(0.1)
    ledger.close(0.1)

    assert "my notes" * 1000 == path.read_text()


def test_a_place_that_cannot_be_written_is_a_typed_error(tmp_path):
    """A folder where the file should be, and a file where the folder should be (D5)."""
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "file" / "ledger.db"):
        with pytest.raises(LedgerError, match="cannot be used"):
            Ledger(place, timeout=0.3).migrate()


def test_a_file_that_was_deleted_is_made_anew(opened, tmp_path):
    """Whoever removes the file loses what was in it, and nothing else."""
    ledger = opened()
    Caller(ledger).call()
    assert ledger.flush()
    for path in tmp_path.glob("ledger.db*"):
        if path.is_file():
            path.unlink()
    caller = Caller(ledger)
    caller.call(3)
    assert ledger.flush()

    all_there(caller)


def test_a_server_that_restarts_under_load(opened, postgres):
    """Twice in the middle of writing (D6): no row is lost, none is doubled, no call fails or is slow."""
    ledger = opened(postgres.database(tables=True), timeout=PATIENT)
    postgres.checkpoint()
    callers = [Caller(ledger) for _ in range(4)]
    over: list[bool] = []

    def load(caller: Caller) -> None:
        while not over:
            caller.call()
            time.sleep(0.001)

    threads = [Thread(target=load, args=(caller,)) for caller in callers]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            before = ledger.stats().written
            until(lambda before=before: ledger.stats().written > before + 100)
            postgres.stop("immediate")
            postgres.start()
    finally:
        over.append(True)
        for thread in threads:
            thread.join()
    assert ledger.flush(30)

    together = Caller(ledger)
    together.ids = [call for caller in callers for call in caller.ids]
    all_there(together)
    assert 0 == ledger.stats().dropped
    assert max(caller.slowest for caller in callers) < QUICK


def test_a_server_that_is_gone_for_long(opened, postgres, tmp_path):
    """Rows wait on disk, within bounds (D7), in order, and come when it does."""
    ledger = opened(postgres.database(tables=True), timeout=PATIENT, spool=tmp_path / "spool")
    caller = Caller(ledger)
    caller.call(2)
    assert ledger.flush()
    postgres.checkpoint()
    postgres.stop()
    try:
        caller.call(100)
        until(lambda: ledger.stats().spooled > 0)
        caller.call(100)
        assert not ledger.flush(0.1)
        assert 0 < sum(path.stat().st_size for path in (tmp_path / "spool").iterdir()) < 2_000_000
        assert [0o600] * 1 == [path.stat().st_mode & 0o777 for path in (tmp_path / "spool").iterdir()][:1]
    finally:
        postgres.start()
    assert ledger.flush(30)

    all_there(caller)
    assert caller.slowest < QUICK


def test_a_session_that_the_server_ends(opened, postgres):
    """A connection that was closed for idling, or by an administrator, is replaced."""
    ledger = opened(postgres.database(tables=True))
    caller = Caller(ledger)
    caller.call()
    assert ledger.flush()
    import psycopg

    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'llmdispatcher ledger'")
    caller.call(3)
    assert ledger.flush()

    all_there(caller)


def test_a_server_that_may_only_be_read(opened, postgres):
    """After a failover to a standby rows wait, too."""
    url = postgres.database(tables=True)
    ledger = opened(url)
    caller = Caller(ledger)
    caller.call()
    assert ledger.flush()
    name = url.rpartition("/")[2]
    with closing(ledger.engine.connect()) as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        connection.commit()
    ledger.close()
    caller.call(3)
    until(lambda: ledger.stats().unavailable == "25006")
    assert not ledger.flush(0.1)
    with closing(ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT")) as connection:
        connection.execute(text("SET transaction_read_only = off"))
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = off"))
    ledger.close()
    assert ledger.flush()

    all_there(caller)


def test_a_row_that_no_database_takes_stops_no_other(opened, tmp_path):
    """It is kept beside the spool, for people."""
    ledger = opened(spool=tmp_path / "spool")
    caller = Caller(ledger)
    ledger._writer.put(lambda: (("f" * 32, *[None] * (len(CALL) - 1)), None))
    caller.call(3)
    assert ledger.flush()

    all_there(caller)
    assert 1 == ledger.stats().refused
    assert "f" * 32 == json.loads((tmp_path / "spool" / "refused.json").read_text())["row"][0]
