"""Slices of budgets: reserved in advance by a process whose key asks often."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest

from llmdispatcher import Message, Request
from llmdispatcher.accounting import Booking, BookingExchange
from llmdispatcher.catalog import Target
from llmdispatcher.errors import BudgetExceeded, DispatchError
from llmdispatcher.server import KeyStore
from llmdispatcher.server.budgets import BudgetedCall, accounts_of
from llmdispatcher.server.estimates import PricedCall
from llmdispatcher.server.slices import OFTEN, SliceShare
from llmdispatcher.types import Price, Usage

PATIENCE = 20.0
COST = Decimal("0.05")
_PRICE = Price.flat(Decimal(1000))


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    """A file, and a server."""
    return str(tmp_path / "keys.db") if request.param == "sqlite" else request.getfixturevalue("postgres").database()


@pytest.fixture
def stores(place):
    """Two processes' stores of one database."""
    made = [KeyStore(place), KeyStore(place)]
    made[0].budgets.prepare()
    yield made
    for one in made:
        one.close()


def _call(store, secret):
    key = store.find(secret)
    target = Target(vendor="openai", model="a-model", kind="openai", price=_PRICE, max_output=100)
    priced = PricedCall(key.id, None, Request("a-model", [Message("user", "hi")], max_tokens=100), [target])
    return BudgetedCall(priced=priced, accounts=tuple(accounts_of(key.levels, store.clock.now())))


def _ask(store, call):
    held = store.budgets.reserve(call)
    sliced = isinstance(held._held, SliceShare)
    held.answered(None, None, Usage(), COST)
    return sliced


def _until(condition):
    pause = threading.Event()
    for _ in range(int(PATIENCE * 50)):
        if condition():
            return
        pause.wait(0.02)
    pytest.fail("it never came")


def _ask_until_sliced(store, call):
    """How many calls were made until one came out of a slice."""
    made = [0]

    def asked():
        sliced = False
        for _ in range(OFTEN + 4):
            made[0] += 1
            sliced = _ask(store, call) or sliced
        return sliced

    _until(asked)
    return made[0]


def _balance(store, key):
    store.budgets.spent({key.id: ("key", key.budget)})
    found = store.budgets._open_store().balances(["key/month"], 0, 30.0)
    return next((one.spent, one.reserved) for one in found if one.account.share == key.id)


def _ask_until_refused(store, call):
    """How many calls were answered, and the refusal."""
    made = 0
    while True:
        try:
            _ask(store, call)
        except BudgetExceeded as error:
            return made, error
        made += 1


def test_a_key_that_asks_often_has_a_slice(stores):
    """Its calls take no transactions, what is spent is told at once in the process, and soon everywhere."""
    one, other = stores
    key, secret = one.create("often", budget="100000/month")
    made = _ask_until_sliced(one, _call(one, secret))
    assert made * COST == one.spent([key])[key.id]
    _until(lambda: made * COST == other.spent([key])[key.id])


def test_a_slice_goes_back_when_nobody_asks(stores):
    """Nothing stays reserved, and the thread ends."""
    one, _ = stores
    key, secret = one.create("often", budget="100000/month")
    _ask_until_sliced(one, _call(one, secret))
    _until(lambda: _balance(one, key)[1] == 0)
    _until(lambda: one.budgets._slices._thread is None)
    assert {} == one.budgets._slices._slices


def test_what_calls_under_way_hold_stays_reserved(stores):
    """After the slice has gone back, and until each is settled."""
    one, _ = stores
    key, secret = one.create("often", budget="100000/month")
    call = _call(one, secret)
    _ask_until_sliced(one, call)
    held = []

    def sliced():
        held.append(one.budgets.reserve(call))
        return isinstance(held[-1]._held, SliceShare)

    _until(sliced)
    amount = sum(int(each.estimate.amount.scaleb(12)) for each in held)
    _until(lambda: _balance(one, key)[1] == amount)
    for each in held:
        each.give_back()
    _until(lambda: _balance(one, key)[1] == 0)


def test_closing_gives_slices_back(stores):
    """At once, with what was spent booked."""
    one, other = stores
    key, secret = one.create("often", budget="100000/month")
    made = _ask_until_sliced(one, _call(one, secret))
    one.budgets.close()
    assert (made * int(COST.scaleb(12)), 0) == _balance(other, key)


def test_a_budget_near_its_end_has_no_slices(stores):
    """Slices shrink with what is left; two processes spend all of it, and never more."""
    one, other = stores
    key, secret = one.create("often", budget="60/month", strict=True)
    calls = [(store, _call(store, secret)) for store in stores]
    made, refused, lock = [0], [0], threading.Lock()

    def ask(store, call):
        for _ in range(200):
            try:
                _ask(store, call)
            except BudgetExceeded:
                with lock:
                    refused[0] += 1
            else:
                with lock:
                    made[0] += 1

    threads = [threading.Thread(target=ask, args=each) for each in calls * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.budgets.close()
    other.budgets.close()
    alone, told = _ask_until_refused(one, calls[0][1])
    made[0] += alone
    spent, reserved = _balance(one, key)
    assert made[0] * int(COST.scaleb(12)) == spent
    assert 0 == reserved
    assert Decimal(60) - told.needed < made[0] * COST <= 60
    assert refused[0]


def test_a_revoked_key_has_no_slice(stores):
    """It is refused as soon as its slice is exchanged."""
    one, other = stores
    key, secret = one.create("often", budget="100000/month")
    call = _call(one, secret)
    _ask_until_sliced(one, call)
    other.revoke(key.id)

    def refused():
        try:
            _ask(one, call)
        except DispatchError as error:
            return error.code == "key_revoked"
        return False

    _until(refused)


def test_an_exchange_that_nobody_heard_of_counts_once(stores):
    """The second try finds the reservation that follows, and changes nothing."""
    one, _ = stores
    key, secret = one.create("often", budget="100/month")
    call = _call(one, secret)
    assert not _ask(one, call)
    claims = tuple(one.budgets._claim(each, one.clock.now()) for each in call.accounts)
    until = int((one.clock.now().timestamp() + 600) * 1e6)
    first, second = (Booking(name, claims, 0, until) for name in ("first", "second"))
    store = one.budgets._open_store()
    opening = BookingExchange(held=first, following=second, spent=0, more=10**15, refuses=lambda _: None)
    amount = store.exchange(opening).result(PATIENCE)[0]
    assert (10**14 - 5 * 10**10) // 100 == amount
    assert amount == store.exchange(opening).result(PATIENCE)[0]
    assert (5 * 10**10, amount) == _balance(one, key)
