"""Erasure of a user: calls and sums stay, and nothing tells whose they were."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from random import Random

import pytest
from sqlalchemy import insert, select, update

from llmdispatcher import Dispatcher, InvalidRequest, LedgerError, Receipts, Request, SigningKey, open_ledger
from llmdispatcher.accounting.ledger.schema import budgets, calls, daily, reservations
from llmdispatcher.testing import FakeVendor

from ...cases import each
from ..conftest import IN_BOTH
from .made_calls import at, between, made, put

START, END = at("2026-03-01T00:00"), at("2026-03-11T00:00")
ANN = "ann@example.com"


def _put(ledger, count=60):
    chance = Random(11)
    rows = [
        made(chance, between(chance, START, END), user=chance.choice([ANN, "bob", None]), metadata={"mail": ANN, "tags": ["t"]})
        for _ in range(count)
    ]
    rows.append(made(chance, START, user=ANN, status="open", metadata={"mail": ANN}))
    put(ledger, rows, [])
    return rows


def _texts(ledger, table):
    with ledger.engine.connect() as connection:
        return str(connection.execute(select(table)).all())


@IN_BOTH
def test_a_user_is_erased_and_the_sums_stay(store):
    """In calls, daily totals and accounts; others are untouched, and totals agree with the rows."""
    with open_ledger(store) as ledger:
        rows = _put(ledger)
        theirs = [row for row in rows if row["user"] == ANN]
        with ledger.transaction() as connection:
            account = {"name": "b", "begins": START, "ends": END, "spent": Decimal(5), "reserved": Decimal(0)}
            connection.execute(insert(budgets), [{**account, "share": share} for share in (ANN, "bob")])
            held = {
                "id": "0" * 32,
                "name": "b",
                "share": ANN,
                "begins": START,
                "amount": Decimal(1),
                "expires_at": END,
                "expired": False,
            }
            connection.execute(insert(reservations), [held])
        asked = {"start": START, "end": END}
        before = ledger.get_usage_stats(by="model", group_by="day", **asked)
        users = {one.value: one.total_calls for one in ledger.get_usage_stats(by="user", **asked).buckets}

        dry = ledger.erase_user(ANN, dry_run=True)
        assert (len(theirs), 1, True) == (dry.calls, dry.accounts, dry.dry_run)
        assert users == {one.value: one.total_calls for one in ledger.get_usage_stats(by="user", **asked).buckets}
        report = ledger.erase_user(ANN)
        assert (dry.calls, dry.days, dry.accounts) == (report.calls, report.days, report.accounts)
        under_way = [row for row in theirs if row["status"] == "open"]
        assert under_way
        assert report.left[0].startswith(f"{len(under_way)} calls are under way")

        after = {one.value: one.total_calls for one in ledger.get_usage_stats(by="user", **asked).buckets}
        assert {"bob": users["bob"], "": users[""] + users[ANN]} == after
        assert before == ledger.get_usage_stats(by="model", group_by="day", **asked)
        assert ledger.check_rollups().exact
        for row in rows:
            call = ledger.get_call(row["id"])
            assert (call.user is None) == (row["user"] in (None, ANN))
            if row["user"] == ANN:
                assert (None, {}) == (call.id_at_origin, call.metadata)
            else:
                assert (row["id_at_origin"], row["metadata"]) == (call.id_at_origin, call.metadata)
        for table in (daily, budgets, reservations):
            assert ANN not in _texts(ledger, table)
        assert "'bob'" in _texts(ledger, budgets)
        assert 0 == ledger.erase_user(ANN).calls


@IN_BOTH
def test_calls_go_on_while_a_user_is_erased(store):
    """Writers and the erasure wait for each other, and totals agree with the rows."""
    with open_ledger(store, timeout=30.0) as ledger, Dispatcher(ledger=ledger) as dispatcher:
        dispatcher.register_vendor(FakeVendor("Hello.", name="openai"))

        def call(number):
            dispatcher.send(Request("m", "Hi", user=ANN if number % 2 else "bob", metadata={"mail": ANN}))
            ledger.record("openai", "gpt-4o", user=ANN, input_tokens=number)

        with ThreadPoolExecutor(4) as threads:
            calls_made = [threads.submit(call, number) for number in range(24)]
            for _ in range(4):
                ledger.erase_user(ANN)
            for one in calls_made:
                one.result()
        report = ledger.erase_user(ANN)
        assert () == report.left
        assert {"": 36, "bob": 12} == {one.value: one.total_calls for one in ledger.get_usage_stats(by="user").buckets}
        assert ledger.check_rollups().exact
        assert (0, 0) == (ledger.stats().refused, ledger.stats().dropped)


def test_nothing_of_the_user_is_left_in_the_file(tmp_path):
    """SQLite writes over what it deletes, and its log is emptied."""
    place = tmp_path / "calls.db"
    with open_ledger(place) as ledger:
        chance = Random(2)
        put(
            ledger,
            [
                made(chance, between(chance, START, END), status="success", user=ANN, id_at_origin=f"case of {ANN}")
                for _ in range(200)
            ],
            [],
        )
        broken = tmp_path / "calls.db.broken-20260101T000000000000"
        broken.write_bytes(b"rows")
        report = ledger.erase_user(ANN)
        assert (f"{broken} holds rows that are not in the database, perhaps the user's",) == report.left
        bytes_left = b"".join(file.read_bytes() for file in tmp_path.glob("calls.db*") if file.is_file())
    assert ANN.encode() not in bytes_left


@IN_BOTH
def test_receipts_of_erased_calls_still_verify(store):
    """Their digests cannot be compared any more: a warning says so, and what is altered without an erasure is still a problem."""
    with open_ledger(store) as ledger:
        chance = Random(4)
        rows = [made(chance, START + timedelta(hours=n), user=ANN, status="success") for n in range(3)]
        rows.append(made(chance, END, user="bob", status="success", id_at_origin="case 7"))
        put(ledger, rows, [])
        receipts = Receipts(ledger, SigningKey.generate())
        receipts.create(since=START, until=END)
        report = ledger.erase_user(ANN)
        assert 3 == report.certified
        assert "receipts certify 3 of the calls" in report.left[-1]
        verification = receipts.verify()
        assert verification.valid
        assert ["calls_erased"] == [one.code for one in verification.warnings]
        receipts.create(rows[3]["id"])
        ledger.erase_user("bob")
        assert receipts.verify().valid
        with ledger.transaction() as connection:
            connection.execute(update(calls).where(calls.c.id == rows[3]["id"]).values(cost=Decimal(9)))
        (problem,) = receipts.verify().problems
        assert ("call_altered", rows[3]["id"]) == (problem.code, problem.call_id)


@each("user", ["", "\0", None, 7])
def test_somebody_must_be_named(user, ledger):
    """Nobody is not erased: that would be everybody without a name."""
    with pytest.raises(InvalidRequest, match="is nobody; give the user's name"):
        ledger.erase_user(user)


def test_rows_that_wait_are_written_before(ledger, monkeypatch):
    """Where they cannot be, nothing is erased, since they would come back with the user."""
    monkeypatch.setattr(ledger, "flush", lambda timeout=0: False)
    with pytest.raises(LedgerError, match="rows wait for its database"):
        ledger.erase_user(ANN)
