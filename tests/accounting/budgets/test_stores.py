"""Stores of budgets: nothing overshoots, each reservation is settled once, and a database may be unavailable."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest

from llmdispatcher import open_ledger
from llmdispatcher.accounting.budgets import database as worker
from llmdispatcher.accounting.budgets.database import SWEEP, DatabaseBudgetStore
from llmdispatcher.accounting.budgets.store import BudgetStoreUnavailable, Claim, MemoryBudgetStore

from .conftest import NOW, PATIENCE, account, in_child, opened, reservation, totals

KEY = ("b", "", 0)


def test_an_account_with_too_little_is_returned(store):
    """With what is spent and reserved; nothing is taken."""
    store.reserve(reservation(1, 700), NOW, PATIENCE)
    short = store.reserve(reservation(2, 301), NOW, PATIENCE)

    assert (KEY, 0, 700) == (short.account.key, short.spent, short.reserved)
    assert store.reserve(reservation(3, 300), NOW, PATIENCE) is None
    assert {KEY: (0, 1000)} == totals(store)


def test_several_accounts_are_taken_together_or_not_at_all(store):
    """The second has no room, so the first keeps its money."""
    roomy, tight = Claim(account("b"), 1000), Claim(account("c"), 10)
    short = store.reserve(reservation(1, 500, roomy, tight), NOW, PATIENCE)

    assert ("c", "", 0) == short.account.key
    assert {(0, 0)} >= set(totals(store).values())
    assert store.reserve(reservation(2, 10, roomy, tight), NOW, PATIENCE) is None
    assert {KEY: (0, 10), ("c", "", 0): (0, 10)} == totals(store)


def test_a_reservation_is_taken_and_settled_once(store):
    """By what was really spent; later settlements, and those of nothing reserved, change nothing."""
    held = reservation(1, 700)
    assert store.reserve(held, NOW, PATIENCE) is None
    assert {KEY: (0, 700)} == totals(store)
    for spent in (250, 700, 0):
        store.settle(held, spent)
    store.settle(reservation(9, 5), 5)

    assert {KEY: (250, 0)} == totals(store)


def test_more_may_be_spent_than_was_reserved(store):
    """A vendor may bill more than was reserved; the next call is refused."""
    held = reservation(1, 10)
    store.reserve(held, NOW, PATIENCE)
    store.settle(held, 1500)

    assert {KEY: (1500, 0)} == totals(store)
    assert store.reserve(reservation(2, 0), NOW, PATIENCE) is not None


def test_shares_and_periods_have_accounts_of_their_own(store):
    """A call that began before midnight is settled in the day in which it began."""
    today, tomorrow = account(begins=NOW - 100, ends=NOW), account(begins=NOW, ends=NOW + SWEEP)
    other = account(share="ann", begins=NOW, ends=NOW + SWEEP)
    late = reservation(1, 900, Claim(today, 1000))
    store.reserve(late, NOW - 50, PATIENCE)
    assert store.reserve(reservation(2, 900, Claim(tomorrow, 1000)), NOW, PATIENCE) is None
    assert store.reserve(reservation(3, 900, Claim(other, 1000)), NOW, PATIENCE) is None
    store.settle(late, 900)

    assert {today.key: (900, 0), tomorrow.key: (0, 900), other.key: (0, 900)} == totals(store, NOW - 50)
    assert {tomorrow.key: (0, 900), other.key: (0, 900)} == totals(store, NOW)


def test_a_hundred_threads_never_overshoot(store):
    """Of three hundred wishes for 7 of 1000 exactly 142 are granted."""
    start = threading.Barrier(100)

    def work(first):
        start.wait()
        return [number for number in range(first, first + 3) if store.reserve(reservation(number, 7), NOW, PATIENCE) is None]

    with ThreadPoolExecutor(100) as threads:
        granted = list(chain.from_iterable(threads.map(work, range(0, 300, 3))))

    assert 142 == len(granted)
    assert {KEY: (0, 994)} == totals(store)
    for number in granted:
        store.settle(reservation(number, 7), 3)
    assert {KEY: (142 * 3, 0)} == totals(store)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
def test_four_processes_never_overshoot(store):
    """Forked from one that had used the store: each takes what it can, and all together no more than there is."""
    store.reserve(reservation(0, 6), NOW, PATIENCE)

    def work():
        return len([n for n in range(40) if store.reserve(reservation(os.getpid() * 1000 + n, 7), NOW, PATIENCE) is None])

    with ThreadPoolExecutor(4) as threads:
        statuses = list(threads.map(lambda _: in_child(work), range(4)))

    assert 142 == sum(statuses), statuses
    assert {KEY: (0, 1000)} == totals(store)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_does_not_hold_what_its_parent_has_reserved():
    """In memory each counts on for itself: what was spent stays, calls under way are the parent's."""
    store = MemoryBudgetStore()
    spent, held = reservation(1, 100), reservation(2, 300)
    for one in (spent, held):
        store.reserve(one, NOW)
    store.settle(spent, 100)

    assert 0 == in_child(lambda: 0 if totals(store) == {KEY: (100, 0)} else 1)
    assert {KEY: (100, 300)} == totals(store)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
def test_what_a_killed_process_has_reserved_is_spent_in_the_end(store, place):
    """When its time is over, in full; a settlement that comes after all puts the difference right."""
    gone = reservation(1, 600, until=NOW + 10)
    store.reserve(gone, NOW, PATIENCE)
    other = opened(place)

    assert {KEY: (0, 600)} == totals(other, NOW + 5)
    assert {KEY: (600, 0)} == totals(other, NOW + 11)
    assert other.reserve(reservation(2, 401), NOW + 12, PATIENCE) is not None
    store.settle(gone, 50)
    assert {KEY: (50, 0)} == totals(store, NOW + 13)
    other.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
def test_processes_share_what_is_spent(store, place):
    """By the name of the budget."""
    other = opened(place)
    held = reservation(1, 1000)
    store.reserve(held, NOW, PATIENCE)

    assert other.reserve(reservation(2, 1), NOW, PATIENCE) is not None
    store.settle(held, 999)
    assert {KEY: (999, 0)} == totals(store)
    assert other.reserve(reservation(3, 1), NOW, PATIENCE) is None
    other.close()


class Flaky:
    """A database that can be made unavailable, or slow."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.unavailable = False
        self.slow = threading.Lock()

    def transaction(self):
        if self.unavailable:
            raise ConnectionError("gone")
        with self.slow:
            return self.ledger.transaction()

    def migrate(self):
        if self.unavailable:
            raise ConnectionError("gone")
        return self.ledger.migrate()


@pytest.fixture
def flaky(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "RETRY_AFTER", 0.01)
    with open_ledger(str(tmp_path / "budgets.db")) as ledger:
        yield Flaky(ledger)


def test_a_database_that_is_away_is_told_at_once(flaky):
    """And used again when it is back."""
    store = DatabaseBudgetStore(flaky)
    flaky.unavailable = True
    with pytest.raises(BudgetStoreUnavailable, match="ConnectionError"):
        store.reserve(reservation(1, 7), NOW, PATIENCE)
    flaky.unavailable = False

    assert store.reserve(reservation(2, 7), NOW, PATIENCE) is None
    assert {KEY: (0, 7)} == totals(store)
    store.close()


def test_what_cannot_be_settled_now_is_settled_when_the_database_is_back(flaky):
    """Nobody waits for that, and nothing is lost; what was never booked is added."""
    store, held, unbooked = DatabaseBudgetStore(flaky), reservation(1, 700), reservation(2, 50)
    store.reserve(held, NOW, PATIENCE)
    flaky.unavailable = True
    began = time.monotonic()
    store.settle(held, 250)
    store.settle(unbooked, 30, booked=False)
    assert time.monotonic() - began < 15
    with pytest.raises(BudgetStoreUnavailable):
        totals(store)
    flaky.unavailable = False

    assert {KEY: (280, 0)} == totals(store)
    store.close()


def test_a_database_that_does_not_answer_is_not_waited_for(flaky):
    """Longer than the patience; what it does too late is undone."""
    store = DatabaseBudgetStore(flaky)
    totals(store)
    with flaky.slow:
        began = time.monotonic()
        with pytest.raises(BudgetStoreUnavailable, match=r"within 0\.1 s"):
            store.reserve(reservation(1, 7), NOW, 0.1)
        assert time.monotonic() - began < 15
    until = time.monotonic() + PATIENCE
    while totals(store) != {KEY: (0, 0)} and totals(store) and time.monotonic() < until:
        pass

    assert {(0, 0)} >= set(totals(store).values())
    store.close()


def test_a_closed_store_opens_again(store):
    """As the vendors' connections do."""
    store.reserve(reservation(1, 7), NOW, PATIENCE)
    store.close()

    assert {KEY: (0, 7)} == totals(store)


def test_memory_forgets_periods_that_have_ended(monkeypatch):
    """But not what is still to come back from them."""
    monkeypatch.setattr("llmdispatcher.accounting.budgets.store._FEW", 100)
    store = MemoryBudgetStore()
    held = reservation(10**6, 1, Claim(account(begins=1, ends=2), 1000))
    store.reserve(held, 1)
    for number in range(2000):
        one = reservation(number, 1, Claim(account(begins=number * 10, ends=number * 10 + 5), 1000))
        store.reserve(one, number * 10)
        store.settle(one, 1)

    assert len(store._state) < 1000
    assert {1} == {one.reserved for one in store.balances(["b"], 1) if one.account.begins == 1}
