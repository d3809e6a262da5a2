"""Rows reach the tables once, whatever their order and however often they come, and the sums of each day are theirs."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import attrs
import pytest
from sqlalchemy import text

from llmdispatcher import Ledger
from llmdispatcher.accounting.ledger.call import ATTEMPT, CALL, Row
from llmdispatcher.accounting.ledger.database import RowWriter
from llmdispatcher.accounting.ledger.process import Identity, this_process
from llmdispatcher.runtime import SYSTEM_CLOCK, new_id
from llmdispatcher.testing import ManualClock

from ..conftest import IN_BOTH


def store_of(ledger: Ledger, writer: str = "a" * 32, identity: Identity | None = None, clock: Any = SYSTEM_CLOCK) -> RowWriter:
    """Where a process of that name writes."""
    store = RowWriter(ledger._connected(), clock, writer, Path("refused.json"), identity)
    store.beat()
    return store


def call(status: str = "success", **fields: Any) -> Row:
    """A call's row."""
    found: dict[str, Any] = dict.fromkeys(CALL)
    found |= {"id": new_id(SYSTEM_CLOCK), "model": "m", "vendor": "v", "streamed": False, "cached": False, "hedged": False}
    found |= {"attempts": 1, "status": status, **fields}
    found["begun_at"] = int(found["id"][:16], 16)
    return tuple(found[name] for name in CALL)


def attempt(of: Row, status: str = "success", **fields: Any) -> Row:
    """An attempt's row."""
    found: dict[str, Any] = dict.fromkeys(ATTEMPT)
    found |= {"call_id": of[0], "number": 1, "begun_at": of[1], "vendor": "v", "model": "m", "status": status}
    found |= {"retry": False, "failover": False, "hedge": False, "continuation": False, "possibly_billed": False, **fields}
    return tuple(found[name] for name in ATTEMPT)


def ended(row: Row, **fields: Any) -> Row:
    """The same call at its end."""
    return tuple({**dict(zip(CALL, row, strict=True)), "status": "success", **fields}[name] for name in CALL)


def asked(ledger: Ledger, question: str) -> list[tuple[Any, ...]]:
    """What the database answers."""
    with ledger.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(question))]


@IN_BOTH
def test_whatever_the_order_the_end_counts(ledger):
    """An intent, its end and the end again: one row, with the end's figures, and one in the day's sums."""
    store = store_of(ledger)
    for order in permutations(range(3)):
        intent = call("open", origin=repr(order))
        end = ended(intent, cost=42, input_tokens=7)
        rows = [intent, end, end]
        for place in order:
            store.write(([rows[place]], []))

    assert [("success", 42, 7)] * 6 == asked(ledger, "SELECT status, cost, input_tokens FROM llmdispatcher_calls")
    assert [(1, 1, 42, 7, 0)] * 6 == asked(ledger, "SELECT calls, success, cost, input_tokens, unpriced FROM llmdispatcher_daily")


@IN_BOTH
def test_all_in_one_batch_is_the_same(ledger):
    """An intent and its end may come together, as they do out of a spool."""
    intent = call("open")
    attempts = [attempt(intent, "open"), attempt(intent), attempt(intent, "open")]
    store_of(ledger).write(([intent, ended(intent), intent], attempts))

    assert [("success",)] == asked(ledger, "SELECT status FROM llmdispatcher_calls")
    assert [("success",)] == asked(ledger, "SELECT status FROM llmdispatcher_attempts")
    assert [(1,)] == asked(ledger, "SELECT calls FROM llmdispatcher_daily")


def test_an_open_call_is_in_no_sum(ledger):
    """What has not ended has not cost anything yet."""
    store_of(ledger).write(([call("open")], []))

    assert [] == asked(ledger, "SELECT * FROM llmdispatcher_daily")


@IN_BOTH
def test_a_repeated_batch_changes_nothing(ledger):
    """A commit of which nobody knows whether it was heard is made again."""
    rows = [call(cost=10, origin=f"app{number % 3}") for number in range(50)]
    attempts = [attempt(row, cost=10) for row in rows]
    store = store_of(ledger)
    for _ in range(3):
        store.write((rows, attempts))

    assert [(50, 500)] == asked(ledger, "SELECT count(*), sum(cost) FROM llmdispatcher_calls")
    assert [(50,)] == asked(ledger, "SELECT count(*) FROM llmdispatcher_attempts")
    assert [(50, 500)] == asked(ledger, "SELECT sum(calls), sum(cost) FROM llmdispatcher_daily")


@IN_BOTH
def test_a_failed_batch_leaves_nothing(ledger):
    """Rows and sums are one transaction."""
    good, bad = call(cost=1), call(model=None)
    with pytest.raises(Exception, match=r"(?i)null"):
        store_of(ledger)._write_batch([good, bad], [])

    assert [(0,)] == asked(ledger, "SELECT count(*) FROM llmdispatcher_calls")
    assert [] == asked(ledger, "SELECT * FROM llmdispatcher_daily")


@IN_BOTH
def test_what_a_dead_process_left_is_unknown(ledger):
    """Its open calls and attempts are marked, counted, and may have been billed; what had ended stays."""
    gone = attrs.evolve(this_process(), pid=2**22 + 1)
    theirs = store_of(ledger, "b" * 32, gone)
    left, over = call("open"), call()
    theirs.write(([left, over], [attempt(left, "open"), attempt(over)]))

    assert 1 == store_of(ledger).reconcile()
    assert [("success",), ("unknown",)] == asked(ledger, "SELECT status FROM llmdispatcher_calls ORDER BY status")
    assert [("success", False), ("unknown", True)] == [
        (status, bool(billed))
        for status, billed in asked(ledger, "SELECT status, possibly_billed FROM llmdispatcher_attempts ORDER BY status")
    ]
    assert [(2, 1, 1)] == asked(ledger, "SELECT calls, success, unknown FROM llmdispatcher_daily")
    assert [("a" * 32,)] == asked(ledger, "SELECT id FROM llmdispatcher_writers")


def test_what_lives_is_left_alone(ledger):
    """Another writer of this very process, which lives, keeps its open calls."""
    store_of(ledger, "b" * 32).write(([call("open")], []))

    assert 0 == store_of(ledger).reconcile()


def test_a_process_elsewhere_is_dead_when_its_lease_is_over(ledger):
    """A pid of another machine says nothing; its heartbeat does."""
    clock = ManualClock()
    elsewhere = Identity("another machine", 1, 1)
    store_of(ledger, "b" * 32, elsewhere, clock).write(([call("open")], []))
    store = store_of(ledger, clock=clock)
    clock.advance(59)
    assert 0 == store.reconcile()
    clock.advance(2)

    assert 1 == store.reconcile()


@IN_BOTH
def test_who_was_thought_dead_may_still_tell(ledger):
    """An end that comes after all takes the place of "unknown", in the sums too."""
    intent = call("open")
    theirs = store_of(ledger, "b" * 32, attrs.evolve(this_process(), pid=2**22 + 1))
    theirs.write(([intent], [attempt(intent, "open")]))
    assert 1 == store_of(ledger).reconcile()
    theirs.write(([ended(intent, cost=5)], [attempt(intent, cost=5)]))

    assert [("success", 5)] == asked(ledger, "SELECT status, cost FROM llmdispatcher_calls")
    assert [("success", 5)] == asked(ledger, "SELECT status, cost FROM llmdispatcher_attempts")
    assert [(1, 1, 0, 5, 0)] == asked(ledger, "SELECT calls, success, unknown, cost, unpriced FROM llmdispatcher_daily")


def test_an_intent_that_comes_after_the_funeral_is_marked_too(ledger):
    """A spool may bring open rows of a process that has been forgotten already."""
    store_of(ledger).write(([call("open")], []), "c" * 32)

    assert 1 == store_of(ledger).reconcile()


@IN_BOTH
def test_any_text_may_be_in_a_row(ledger):
    """Words of SQL, quotes and foreign letters are just texts."""
    nasty = "'; DROP TABLE calls; -- \" % %s :x \\ ü 漢 🙂"
    store_of(ledger).write(([call("open", origin=nasty)], []))
    row = call(origin=nasty, metadata='{"a": "%s :x"}')
    store_of(ledger).write(([row], [attempt(row, vendor=nasty)]))

    assert [(nasty,), (nasty,)] == asked(ledger, "SELECT origin FROM llmdispatcher_calls")
    assert [(nasty,)] == asked(ledger, "SELECT origin FROM llmdispatcher_daily")
