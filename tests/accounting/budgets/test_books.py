"""Where budgets are kept: nothing overshoots, each is settled once, what is nobody's expires, and a database may be away."""

import os
import threading
import time

import pytest

from llmdispatcher import open_ledger
from llmdispatcher.accounting.budgets import database as clerk
from llmdispatcher.accounting.budgets.database import SWEEP, DatabaseBook
from llmdispatcher.accounting.budgets.store import BookAway, Claim, MemoryBook

from .conftest import NOW, PATIENCE, account, opened, reservation, totals

KEY = ("b", "", 0)


def test_what_is_reserved_is_taken_from_the_account(book):
    """And is spent by what it really was."""
    held = reservation(1, 700)

    assert book.reserve(held, NOW, PATIENCE) is None
    assert {KEY: (0, 700)} == totals(book)
    book.settle(held, 250)
    assert {KEY: (250, 0)} == totals(book)


def test_who_has_not_so_much_left_is_told(book):
    """With what is spent and reserved, and nothing is taken."""
    book.reserve(reservation(1, 700), NOW, PATIENCE)
    short = book.reserve(reservation(2, 301), NOW, PATIENCE)

    assert (KEY, 0, 700) == (short.account.key, short.spent, short.reserved)
    assert book.reserve(reservation(3, 300), NOW, PATIENCE) is None
    assert {KEY: (0, 1000)} == totals(book)


def test_several_accounts_are_taken_together_or_not_at_all(book):
    """The second has no room, so the first keeps its money."""
    roomy, tight = Claim(account("b"), 1000), Claim(account("c"), 10)
    short = book.reserve(reservation(1, 500, roomy, tight), NOW, PATIENCE)

    assert ("c", "", 0) == short.account.key
    assert {(0, 0)} >= set(totals(book).values())
    assert book.reserve(reservation(2, 10, roomy, tight), NOW, PATIENCE) is None
    assert {KEY: (0, 10), ("c", "", 0): (0, 10)} == totals(book)


def test_a_reservation_is_settled_once(book):
    """Whoever comes later is not heard; nor is who never reserved."""
    held = reservation(1, 700)
    book.reserve(held, NOW, PATIENCE)
    for spent in (250, 700, 0):
        book.settle(held, spent)
    book.settle(reservation(9, 5), 5)

    assert {KEY: (250, 0)} == totals(book)


def test_more_may_be_spent_than_was_reserved(book):
    """What a vendor has billed is true, and the next one is refused."""
    held = reservation(1, 10)
    book.reserve(held, NOW, PATIENCE)
    book.settle(held, 1500)

    assert {KEY: (1500, 0)} == totals(book)
    assert book.reserve(reservation(2, 0), NOW, PATIENCE) is not None


def test_shares_and_periods_have_accounts_of_their_own(book):
    """A call that began before midnight is settled in the day in which it began."""
    today, tomorrow = account(begins=NOW - 100, ends=NOW), account(begins=NOW, ends=NOW + SWEEP)
    other = account(share="ann", begins=NOW, ends=NOW + SWEEP)
    late = reservation(1, 900, Claim(today, 1000))
    book.reserve(late, NOW - 50, PATIENCE)
    assert book.reserve(reservation(2, 900, Claim(tomorrow, 1000)), NOW, PATIENCE) is None
    assert book.reserve(reservation(3, 900, Claim(other, 1000)), NOW, PATIENCE) is None
    book.settle(late, 900)

    assert {today.key: (900, 0), tomorrow.key: (0, 900), other.key: (0, 900)} == totals(book, NOW - 50)
    assert {tomorrow.key: (0, 900), other.key: (0, 900)} == totals(book, NOW)


def test_a_hundred_threads_never_overshoot(book):
    """Of a thousand wishes for 7 of 1000 exactly 142 are granted."""
    granted, lock, start = [], threading.Lock(), threading.Barrier(100)

    def work(first):
        start.wait()
        for number in range(first, first + 10):
            if book.reserve(reservation(number, 7), NOW, PATIENCE) is None:
                with lock:
                    granted.append(number)

    threads = [threading.Thread(target=work, args=(10 * number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 142 == len(granted)
    assert {KEY: (0, 994)} == totals(book)
    for number in granted:
        book.settle(reservation(number, 7), 3)
    assert {KEY: (142 * 3, 0)} == totals(book)


def _in_child(work):
    """The exit status of ``work`` in a forked child."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(work())
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
def test_four_processes_never_overshoot(book):
    """Forked from one that had used the book: each takes what it can, and all together no more than there is."""
    book.reserve(reservation(0, 6), NOW, PATIENCE)

    def work():
        return len([n for n in range(40) if book.reserve(reservation(os.getpid() * 1000 + n, 7), NOW, PATIENCE) is None])

    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(_in_child(work))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 142 == sum(statuses), statuses
    assert {KEY: (0, 1000)} == totals(book)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_does_not_hold_what_its_parent_has_reserved():
    """In memory each counts on for itself: what was spent stays, calls under way are the parent's."""
    book = MemoryBook()
    spent, held = reservation(1, 100), reservation(2, 300)
    for one in (spent, held):
        book.reserve(one, NOW)
    book.settle(spent, 100)

    assert 0 == _in_child(lambda: 0 if totals(book) == {KEY: (100, 0)} else 1)
    assert {KEY: (100, 300)} == totals(book)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
def test_what_a_killed_process_has_reserved_is_spent_in_the_end(book, place):
    """When its time is over, in full; a settlement that comes after all puts the difference right."""
    gone = reservation(1, 600, until=NOW + 10)
    book.reserve(gone, NOW, PATIENCE)
    other = opened(place)

    assert {KEY: (0, 600)} == totals(other, NOW + 5)
    assert {KEY: (600, 0)} == totals(other, NOW + 11)
    assert other.reserve(reservation(2, 401), NOW + 12, PATIENCE) is not None
    book.settle(gone, 50)
    assert {KEY: (50, 0)} == totals(book, NOW + 13)
    other.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
def test_processes_share_what_is_spent(book, place):
    """By the name of the budget."""
    other = opened(place)
    held = reservation(1, 1000)
    book.reserve(held, NOW, PATIENCE)

    assert other.reserve(reservation(2, 1), NOW, PATIENCE) is not None
    book.settle(held, 999)
    assert {KEY: (999, 0)} == totals(book)
    assert other.reserve(reservation(3, 1), NOW, PATIENCE) is None
    other.close()


class Flaky:
    """A place that is away while it is told so, and that can be slow."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.away = False
        self.slow = threading.Lock()

    def transaction(self):
        if self.away:
            raise ConnectionError("gone")
        with self.slow:
            return self.ledger.transaction()

    def migrate(self):
        if self.away:
            raise ConnectionError("gone")
        return self.ledger.migrate()


@pytest.fixture
def flaky(tmp_path, monkeypatch):
    monkeypatch.setattr(clerk, "AGAIN", 0.01)
    with open_ledger(str(tmp_path / "budgets.db")) as ledger:
        yield Flaky(ledger)


def test_a_database_that_is_away_is_told_at_once(flaky):
    """And used again when it is back."""
    book = DatabaseBook(flaky)
    flaky.away = True
    with pytest.raises(BookAway, match="ConnectionError"):
        book.reserve(reservation(1, 7), NOW, PATIENCE)
    flaky.away = False

    assert book.reserve(reservation(2, 7), NOW, PATIENCE) is None
    assert {KEY: (0, 7)} == totals(book)
    book.close()


def test_what_cannot_be_settled_now_is_settled_when_the_database_is_back(flaky):
    """Nobody waits for that, and nothing is lost; what was never booked is added."""
    book, held, unbooked = DatabaseBook(flaky), reservation(1, 700), reservation(2, 50)
    book.reserve(held, NOW, PATIENCE)
    flaky.away = True
    began = time.monotonic()
    book.settle(held, 250)
    book.settle(unbooked, 30, booked=False)
    assert time.monotonic() - began < 15
    with pytest.raises(BookAway):
        totals(book)
    flaky.away = False

    assert {KEY: (280, 0)} == totals(book)
    book.close()


def test_a_database_that_does_not_answer_is_not_waited_for(flaky):
    """Longer than the patience; what it does too late is undone."""
    book = DatabaseBook(flaky)
    totals(book)
    with flaky.slow:
        began = time.monotonic()
        with pytest.raises(BookAway, match=r"within 0\.1 s"):
            book.reserve(reservation(1, 7), NOW, 0.1)
        assert time.monotonic() - began < 15
    until = time.monotonic() + PATIENCE
    while totals(book) != {KEY: (0, 0)} and totals(book) and time.monotonic() < until:
        pass

    assert {(0, 0)} >= set(totals(book).values())
    book.close()


def test_a_closed_book_opens_again(book):
    """As the vendors' connections do."""
    book.reserve(reservation(1, 7), NOW, PATIENCE)
    book.close()

    assert {KEY: (0, 7)} == totals(book)


def test_memory_forgets_periods_that_have_ended(monkeypatch):
    """But not what is still to come back from them."""
    monkeypatch.setattr("llmdispatcher.accounting.budgets.store._FEW", 100)
    book = MemoryBook()
    held = reservation(10**6, 1, Claim(account(begins=1, ends=2), 1000))
    book.reserve(held, 1)
    for number in range(2000):
        one = reservation(number, 1, Claim(account(begins=number * 10, ends=number * 10 + 5), 1000))
        book.reserve(one, number * 10)
        book.settle(one, 1)

    assert len(book._state) < 1000
    assert {1} == {one.reserved for one in book.balances(["b"], 1) if one.account.begins == 1}
