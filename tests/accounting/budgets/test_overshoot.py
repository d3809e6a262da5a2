"""However many ask at once, in threads and in processes: what the vendor has served never costs more than the limit."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import attrs
import pytest

from llmdispatcher import Budget, BudgetExceeded, Dispatcher, Usage, open_ledger
from llmdispatcher.testing import VendorSimulator
from llmdispatcher.testing.formats.base import input_tokens
from llmdispatcher.types import cost_of as cost

from .spent import ASK, dispatcher, price

LIMIT = Decimal("0.03")
THREADS = 50
PROCESSES = 3


@pytest.fixture
def simulator():
    with VendorSimulator(responses=" ".join(["word"] * 100), latency=0.005) as made:
        yield made


def served(simulator):
    """What all that was served costs, by the simulator's own count of tokens and the catalog's price."""
    into = input_tokens([ASK.messages[0].text])
    return simulator.hits * cost(Usage(input_tokens=into, output_tokens=100), price())


def exhaust(made, asked=30):
    """Ask until there is no money; how many were answered."""
    answered = 0
    for _ in range(asked):
        try:
            made.send(ASK)
        except BudgetExceeded:
            return answered
        answered += 1
    return answered


def ledger_of(place):
    return {} if place is None else {"ledger": place}


def test_fifty_threads_never_overshoot(simulator, place):
    """Each asks until it is refused; in the end nothing is reserved, and what was spent is what was served."""
    made = Dispatcher({"budgets": [Budget(limit=LIMIT, period="total")], "timeout": 50.0}, **ledger_of(place))
    made.register_vendor(dispatcher(simulator).get_vendor("v0"))
    start = threading.Barrier(THREADS)

    def work(_):
        start.wait()
        return exhaust(made)

    with made, ThreadPoolExecutor(THREADS) as threads:
        answers = sum(threads.map(work, range(THREADS)))
        status = made.get_budgets()[0]

    assert simulator.hits == answers > 0
    assert (served(simulator), Decimal(0)) == (status.spent, status.reserved)
    assert served(simulator) <= LIMIT


def child(simulator, place, pipe):
    """Ten threads of one more process, each of which asks until it is refused; tells how many were answered."""
    made = Dispatcher({"budgets": [Budget(limit=LIMIT, period="total")], "timeout": 100.0}, ledger=place)
    made.register_vendor(dispatcher(simulator).get_vendor("v0"))
    with made, ThreadPoolExecutor(10) as threads:
        answers = sum(threads.map(lambda _: exhaust(made), range(10)))
    os.write(pipe, f"{answers}\n".encode())


@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
def test_processes_never_overshoot(simulator, place):
    """Each with threads of its own; together they spend one budget."""
    with open_ledger(place) as ledger:
        ledger.migrate()
    reading, writing = os.pipe()
    pids = []
    for _ in range(PROCESSES):
        pids.append(os.fork())
        if pids[-1] == 0:
            try:
                child(simulator, place, writing)
            finally:
                os._exit(0)
    os.close(writing)
    for pid in pids:
        os.waitpid(pid, 0)
    with os.fdopen(reading) as told:
        answers = [int(line) for line in told]
    with Dispatcher({"budgets": [Budget(limit=LIMIT, period="total")]}, ledger=place) as made:
        status = made.get_budgets()[0]

    assert (PROCESSES, simulator.hits) == (len(answers), sum(answers))
    assert (served(simulator), Decimal(0)) == (status.spent, status.reserved)
    assert 0 < served(simulator) <= LIMIT


def test_threads_of_several_users_keep_each_to_their_own(simulator):
    """And to what all have together."""
    made = dispatcher(simulator, budgets=[Budget(limit="0.02", per="user"), Budget(limit="0.05")])
    users = ["ann", "ben", "cat", "dan"]
    start = threading.Barrier(40)

    def work(user):
        start.wait()
        cost = Decimal(0)
        for _ in range(30):
            try:
                cost += made.send(attrs.evolve(ASK, user=user)).usage.cost
            except BudgetExceeded:
                break
        return cost

    with made, ThreadPoolExecutor(40) as threads:
        costs = list(threads.map(work, users * 10))
        everybody = {status.share: status.spent for status in made.get_budgets() if status.budget == "user/day"}

    counts = {user: sum(costs[number::4]) for number, user in enumerate(users)}
    assert counts == {user: everybody.get(user, 0) for user in users}  # whoever came too late has a share of 0, or none
    assert all(spent <= Decimal("0.02") for spent in counts.values())
    assert 0 < sum(counts.values()) <= Decimal("0.05")
