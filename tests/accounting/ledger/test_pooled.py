"""PgBouncer before the database, in transaction mode: each transaction may be served by another connection of the server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from llmdispatcher import (
    BudgetExceeded,
    Dispatcher,
    Ledger,
    OpenAIVendor,
    Receipts,
    Request,
    Response,
    SigningKey,
    Usage,
    open_ledger,
)
from llmdispatcher.testing import FakeVendor

pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")

ASK = Request("gpt-4o", "hi", max_tokens=10)
ANSWER = Response(content="x", usage=Usage(input_tokens=3, output_tokens=2))
PATIENCE = 60.0
"""Seconds for a busy machine."""
WORK = """
import os, sys
from llmdispatcher import Dispatcher, Ledger, OpenAIVendor, Request
import llmdispatcher.accounting.ledger.database, psycopg  # once for all

def work(number):
    with Ledger(sys.argv[1], spool=f"{sys.argv[2]}/{number}") as ledger:
        budget = {"limit": "100", "name": "plenty"}
        with Dispatcher({"budgets": [budget]}, ledger=ledger) as dispatcher:
            dispatcher.register_vendor(OpenAIVendor(api_key="simulated", base_url=sys.argv[3], trust_env=False))
            for _ in range(15):
                dispatcher.send(Request("gpt-4o", "hi", max_tokens=10), timeout=60)
            assert ledger.flush(60)
        assert (0, 0) == (ledger.stats().spooled, ledger.stats().dropped), ledger.stats()

children = []
for number in range(4):
    pid = os.fork()
    if not pid:
        work(number)
        sys.exit()
    children.append(pid)
sys.exit(any(os.waitpid(pid, 0)[1] for pid in children))
"""


@pytest.fixture
def url(pgbouncer) -> str:
    """A database that nobody has used, behind the pooler."""
    return pgbouncer.database(tables=True)


@pytest.fixture
def ledger(url) -> Iterator[Ledger]:
    """A ledger behind the pooler."""
    with open_ledger(url) as ledger:
        yield ledger


def test_everything_a_ledger_can_do(ledger, tmp_path):
    """Calls, statistics, exports, receipts in pages, retention and sums, each more often than it takes to prepare a statement."""
    with Dispatcher(ledger=ledger) as dispatcher:
        dispatcher.register_vendor(FakeVendor(ANSWER, name="openai"))
        for _ in range(12):
            dispatcher.send(ASK)
            assert ledger.flush(PATIENCE)
    receipts = Receipts(ledger, SigningKey.generate())
    for number in range(8):
        ledger.record("openai", "gpt-4o", id=f"{number:032x}", input_tokens=1, output_tokens=1)
        receipts.create(f"{number:032x}")

    assert (20, 20) == (ledger.get_usage_stats().total_calls, len(ledger.list_recent_calls()))
    assert receipts.verify().valid
    assert 20 == ledger.export_usage_logs(tmp_path / "calls.jsonl").rows
    assert 20 == ledger.import_usage_logs(tmp_path / "calls.jsonl").known
    assert 0 == ledger.prune(timedelta(days=90)).calls
    assert (1, True) == (ledger.rebuild_rollups(), ledger.check_rollups().exact)
    assert (0, None) == (ledger.stats().spooled, ledger.stats().unavailable)


@pytest.mark.timeout(240)
def test_processes_with_a_budget(ledger, url, tmp_path, vendor_simulator):
    """More processes than the pooler has connections: nothing is refused or waits on disk, and the sums are right."""
    command = [sys.executable, "-c", WORK, url, str(tmp_path), vendor_simulator.openai_url]
    done = subprocess.run(command, stderr=subprocess.PIPE, timeout=200, check=False)

    assert (0, "") == (done.returncode, done.stderr.decode())
    stats = ledger.get_usage_stats()
    assert 60 == stats.total_calls
    with Dispatcher({"budgets": [{"limit": "100", "name": "plenty"}]}, ledger=ledger) as dispatcher:
        (status,) = dispatcher.get_budgets()
    assert (stats.total_cost, Decimal(0)) == (status.spent, status.reserved)


def test_a_budget_is_never_overspent(ledger, url, vendor_simulator):
    """Threads of two ledgers that share it get what there is, and not more."""
    with Ledger(url) as other, ThreadPoolExecutor(8) as threads:
        made = []
        for each in (ledger, other):
            made.append(Dispatcher({"budgets": [{"limit": "0.004", "name": "small"}], "timeout": 60}, ledger=each))
            made[-1].register_vendor(OpenAIVendor(api_key="simulated", base_url=vendor_simulator.openai_url, trust_env=False))

        def ask(number: int) -> bool:
            try:
                made[number % 2].send(ASK)
            except BudgetExceeded:
                return False
            return True

        answered = list(threads.map(ask, range(40)))
        assert ledger.flush(PATIENCE)
        assert other.flush(PATIENCE)
        made[1].close()  # which settles what it has reserved
        (status,) = made[0].get_budgets()
        made[0].close()

    assert 0 < sum(answered) < 40
    assert status.spent == ledger.get_usage_stats().total_cost <= Decimal("0.004")


def test_nothing_outlives_a_transaction(ledger, url):
    """Whoever gets the server's connection next finds no setting, no lock and no statement of the ledger's."""
    psycopg = pytest.importorskip("psycopg")
    with Ledger(url, schema="other") as other:
        other.migrate()
        for _ in range(10):
            other.record("openai", "gpt-4o", input_tokens=1)
            ledger.record("openai", "gpt-4o", input_tokens=1)
            ledger.list_recent_calls()
    with psycopg.connect(url, prepare_threshold=None) as connection:
        names = (
            "search_path",
            "statement_timeout",
            "lock_timeout",
            "idle_in_transaction_session_timeout",
            "default_transaction_read_only",
        )
        settings = [connection.execute(f"SHOW {name}").fetchone()[0] for name in names]
        prepared = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0]
        locks = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()[0]

    assert ['"$user", public', "0", "0", "0", "off"] == settings
    assert (0, 0) == (prepared, locks)
    assert (10, 10) == (len(ledger.list_recent_calls()), len(other.list_recent_calls()))
    other.close()


def test_each_transaction_has_its_limits(ledger):
    """A statement cannot run for ever, and a lock is not waited for for ever, though no connection is told so."""
    with ledger.transaction() as connection:
        shown = [connection.scalar(text(f"SHOW {name}")) for name in ("statement_timeout", "lock_timeout")]

    assert ["30s", "5s"] == shown
