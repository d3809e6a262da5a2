"""No number and no text closes a budget for others, or makes its database look broken."""

import threading
from decimal import Decimal
from itertools import chain

import pytest

from llmdispatcher import Budget, BudgetExceeded, Dispatcher, LedgerError, Request, Response, Usage
from llmdispatcher.accounting.budgets.budget import MOST_HELD
from llmdispatcher.accounting.budgets.store import BudgetStoreUnavailable, Claim
from llmdispatcher.accounting.units import MOST, MOST_SUM
from llmdispatcher.testing import FakeVendor

from .conftest import NOW, PATIENCE, account, opened, reservation, totals

ODD = Claim(account(share="\ud800"), 1000)
"""What no driver writes; a budget hands no such name to its store."""
KEY = ("b", "", 0)
IN_A_DATABASE = pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
ABSURD = [
    Usage(input_tokens=3, output_tokens=2, cost=Decimal(cost))
    for cost in ("1e308", "1e13", "9.3e6", "-5", "NaN", "Infinity", "1e30")
] + [Usage(input_tokens=count, output_tokens=2) for count in (10**14, 9 * 10**14, 10**12, -7, 10**400)]


class Priced(FakeVendor):
    """A vendor whose prices the catalog knows."""

    kind = "openai"


def asked(user):
    return Request("gpt-4o-mini", "hi", max_tokens=5, user=user)


def test_an_absurd_number_is_nobody_elses_business(place):
    """In memory and in a database: others are served, and whoever got it has spent what can be, no more and no less."""
    budget = Budget(limit="5", per="user", name="b", strict=True)
    users = [(f"mallory{number}", f"mallory{number}", f"alice{number}") for number in range(len(ABSURD))]
    answers = [Response(content="x", usage=usage) for usage in ABSURD for _ in range(3)]
    with Dispatcher({"budgets": [budget], "retry_policy": {"max_retries": 0}}, ledger=place) as made:
        made.register_vendor(Priced(*answers, name="openai"))
        for user in chain.from_iterable(users):
            assert "x" == made.send(asked(user)).content
        spent = {status.share: status.spent for status in made.get_budgets()}

    assert 2 * len(ABSURD) == len(spent)
    assert all(0 < amount < Decimal("0.01") for amount in spent.values())
    assert [] == [usage for usage, (bad, _, good) in zip(ABSURD, users, strict=True) if spent[bad] != 2 * spent[good]]


@IN_A_DATABASE
def test_one_that_no_database_takes_stops_nobody(place):
    """What is written with it is written without it, and it is not tried for ever."""
    store = opened(place)
    first, second = reservation(1, 100), reservation(2, 100)
    for one in (first, second):
        assert store.reserve(one, NOW, PATIENCE) is None
    gate, begun = threading.Event(), threading.Event()
    worker = store._worker
    writing = worker._writing

    def slow():
        begun.set()
        gate.wait(PATIENCE)
        return writing()

    worker._writing = slow
    store.settle(reservation(9, 1), 1)  # it keeps the worker busy while the others come together
    begun.wait(PATIENCE)
    store.settle(reservation(8, 1, ODD), 1)
    store.settle(second, 40)
    gate.set()

    assert {KEY: (40, 100)} == totals(store)
    assert store.reserve(reservation(3, 10), NOW, PATIENCE) is None


@IN_A_DATABASE
def test_a_reservation_that_no_database_takes_is_told_as_such(place):
    """With what the driver said as the cause."""
    store = opened(place)
    with pytest.raises(BudgetStoreUnavailable, match="cannot be used") as raised:
        store.reserve(reservation(1, 1, ODD), NOW, PATIENCE)

    assert raised.value.__cause__ is not None
    assert raised.value.__cause__.__traceback__ is None
    assert store.reserve(reservation(2, 10), NOW, PATIENCE) is None


@IN_A_DATABASE
def test_a_full_account_refuses_and_does_not_overflow(place):
    """Whatever is added to it."""
    store = opened(place)
    most = Claim(account(), MOST)
    for number in range(3):
        held = reservation(number, 0, most)
        store.reserve(held, NOW, PATIENCE)
        store.settle(held, MOST // 2)

    assert {KEY: (MOST_SUM, 0)} == totals(store)
    short = store.reserve(reservation(7, MOST // 2, most), NOW, PATIENCE)
    assert (MOST_SUM, 0) == (short.spent, short.reserved)


def test_a_database_that_cannot_be_used_says_why(tmp_path):
    """What the ledger says of it is in the text, and in the cause."""
    path = tmp_path / "folder.db"
    path.mkdir()
    budget = Budget(limit="5", name="b", strict=True)
    with Dispatcher({"budgets": [budget], "retry_policy": {"max_retries": 0}}, ledger=str(path)) as made:
        made.register_vendor(Priced(Response(content="x"), name="openai"))
        with pytest.raises(
            BudgetExceeded, match=r"budget 'b' cannot be looked at: its database cannot be used \(ledger:"
        ) as raised:
            made.send(asked("ann"))

    assert isinstance(raised.value.__cause__, BudgetStoreUnavailable)
    assert isinstance(raised.value.__cause__.__cause__, LedgerError)


def test_a_limit_beyond_all_money_is_no_limit(place):
    """And no number that the database cannot take."""
    budgets = [Budget(limit=limit, name=str(limit), strict=True) for limit in ("1e30", "9999999999", Decimal("1e400"))]
    with Dispatcher({"budgets": budgets}, ledger=place) as made:
        made.register_vendor(Priced(Response(content="x", usage=Usage(input_tokens=3)), name="openai"))
        made.send(asked("ann"))

        assert all(status.spent > 0 for status in made.get_budgets())


def test_a_wish_beyond_all_money_is_refused_as_such(place):
    """It is too dear; the database is as well as ever."""
    with Dispatcher({"budgets": [Budget(limit="1e30", name="b")], "retry_policy": {"max_retries": 0}}, ledger=place) as made:
        made.register_vendor(Priced(Response(content="x", usage=Usage(input_tokens=3)), name="openai"))
        made.send(asked("ann"))
        with pytest.raises(BudgetExceeded, match="may cost up to") as raised:
            made.send(Request("gpt-4o-mini", "hi", max_tokens=10**30))

    assert MOST_HELD >= raised.value.needed


def test_a_name_that_no_database_keeps_has_an_account_of_its_own(place):
    """Two that look alike when they are cleaned are still two."""
    users = ("half \ud800", "nul \0", "é" * 5_000, "x" * 5_000, "\ud83d\ude00" * 3)
    with Dispatcher({"budgets": [Budget(limit="5", per="user", name="b", strict=True)]}, ledger=place) as made:
        made.register_vendor(Priced(Response(content="x", usage=Usage(input_tokens=3)), name="openai"))
        for name in [name for user in users for name in (user, user, user + "\udfff", user + "\0")]:
            made.send(asked(name))
        spent = sorted(status.spent for status in made.get_budgets())

    assert 15 == len(spent)
    assert [spent[0]] * 10 + [2 * spent[0]] * 5 == spent
