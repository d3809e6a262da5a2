"""What many calls want at the same time is done in few statements: as if each had come alone."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmdispatcher.accounting.budgets.database import SWEEP, Job
from llmdispatcher.accounting.budgets.store import Claim

from .conftest import NOW, PATIENCE, account, opened, reservation, totals

KEY = ("b", "", 0)


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request):
    """Those with a thread that does jobs."""
    return request.param


@contextlib.contextmanager
def gathered(store, jobs):
    """Have so many jobs wait while the thread is busy, and then all done in one transaction."""
    began, gate = threading.Event(), threading.Event()
    store._worker.submit(Job(lambda _connection: (began.set(), gate.wait(PATIENCE))))
    assert began.wait(PATIENCE)
    with ThreadPoolExecutor(jobs) as threads:
        yield threads
        end = time.monotonic() + PATIENCE
        while store._worker._queue.qsize() < jobs:
            assert time.monotonic() < end
            time.sleep(0.005)
        gate.set()


def reserve(store, bookings):
    """Whether each was granted."""
    with gathered(store, len(bookings)) as threads:
        found = [threads.submit(store.reserve, one, NOW, PATIENCE) for one in bookings]
    return [one.result() is None for one in found]


def test_a_sum_for_which_there_is_room(store):
    """Each is granted, and can be settled alone."""
    totals(store)
    held = [reservation(number, 100 + number) for number in range(5)]

    assert [True] * 5 == reserve(store, held)
    assert {KEY: (0, 510)} == totals(store)
    store.settle(held[3], 7)
    assert {KEY: (7, 407)} == totals(store)


def test_a_sum_for_which_there_is_no_room(store):
    """As many as fit, of both accounts, and no more."""
    totals(store)
    claims = (Claim(account("b"), 1000), Claim(account("c"), 350))

    assert 3 == sum(reserve(store, [reservation(number, 100, *claims) for number in range(5)]))
    assert {KEY: (0, 300), ("c", "", 0): (0, 300)} == totals(store)


def test_other_accounts_are_apart(store):
    """Shares, limits and sliding periods, in one transaction."""
    totals(store)
    ann, sliding = Claim(account(share="ann"), 150), Claim(account("c", begins=NOW, ends=NOW + SWEEP), 250, since=NOW - SWEEP)
    wanted = [reservation(number, 100, claim) for number, claim in enumerate([ann, sliding, Claim(account(), 1000)] * 3)]

    granted = reserve(store, wanted)
    assert (1, 2, 3) == tuple(sum(granted[first::3]) for first in range(3))
    assert {KEY: (0, 300), ("b", "ann", 0): (0, 100), ("c", "", NOW): (0, 200)} == totals(store)


def test_settlements_together(store):
    """Of what is held, has expired, was settled before, was never booked, and the same one twice."""
    held = [reservation(number, 100) for number in range(3)]
    for one in held:
        assert store.reserve(one, NOW, PATIENCE) is None
    late = reservation(8, 200, until=NOW - 1)
    assert store.reserve(late, NOW - 10, PATIENCE) is None
    totals(store, NOW)  # it counts as spent now
    store.settle(held[0], 10)
    assert {KEY: (210, 200)} == totals(store)
    never = reservation(9, 50, Claim(account("c"), 1000))
    with gathered(store, 6) as threads:
        for one, spent, booked in [
            (held[0], 99, True),
            (held[1], 20, True),
            (held[1], 99, True),
            (held[2], 0, True),
            (late, 150, True),
            (never, 40, False),
        ]:
            threads.submit(store.settle, one, spent, booked=booked).result()

    assert {KEY: (10 + 20 + 150, 0), ("c", "", 0): (40, 0)} == totals(store)


def test_a_warning_is_told_once(store):
    """Of several settlements in one transaction."""
    told = []
    store.on_warning = lambda claim, balance: told.append((claim.warn, balance.spent))
    held = [reservation(number, 100, Claim(account(), 1000, warn=250)) for number in range(4)]
    for one in held:
        store.reserve(one, NOW, PATIENCE)
    with gathered(store, 4) as threads:
        for one in held:
            threads.submit(store.settle, one, 100).result()
    totals(store)

    assert [(250, 400)] == told


def test_a_value_that_no_database_takes_stops_nobody(place):
    """Each is then done alone."""
    store = opened(place)
    totals(store)
    huge, small = reservation(1, 2**70), reservation(2, 100)
    with gathered(store, 3) as threads:
        found = [threads.submit(store.reserve, one, NOW, PATIENCE) for one in (small, huge, reservation(3, 100))]

    assert (None, None) == (found[0].result(), found[2].result())
    assert found[1].exception() is not None or found[1].result() is not None
    assert {KEY: (0, 200)} == totals(store)
    store.close()
