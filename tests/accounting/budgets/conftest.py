"""Stores to keep budgets in: memory, a file of SQLite, a real PostgreSQL; and what the tests reserve."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from llmdispatcher import Ledger, Request, open_ledger
from llmdispatcher.accounting.budgets import database as worker
from llmdispatcher.accounting.budgets.database import DatabaseBudgetStore
from llmdispatcher.accounting.budgets.store import Account, Booking, BudgetStore, Claim, MemoryBudgetStore
from llmdispatcher.catalog import Target

from ..conftest import address

KINDS = ("memory", "sqlite", "postgresql")
NOW = 1_800_000_000_000_000
"""Microseconds since the epoch."""
PATIENCE = 40.0
"""Seconds; a machine that is busy with other tests makes tables slowly, and has a hundred threads wait for each other."""
REQUEST = Request("gpt-4o", "hi", max_tokens=100)


def account(budget: str = "b", share: str = "", begins: int = 0, ends: int = 0) -> Account:
    return Account(budget, share, begins, ends)


def reservation(number: int, amount: int, *claims: Claim, until: int = NOW + 60_000_000) -> Booking:
    return Booking(f"{number:032x}", claims or (Claim(account(), 1000),), amount, until)


_ledgers: list[Ledger] = []


def opened(place: str) -> DatabaseBudgetStore:
    """A store in the database of a ledger, which is closed after the test."""
    _ledgers.append(open_ledger(place))
    return DatabaseBudgetStore(_ledgers[-1])


@pytest.fixture(autouse=True)
def _closed_ledgers() -> Iterator[None]:
    yield
    while _ledgers:
        _ledgers.pop().close()


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that has answered before has as long as one that has not; of its own 5 s the tests would see a busy machine."""
    monkeypatch.setattr(worker, "PATIENCE", PATIENCE)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(kind: str, request: pytest.FixtureRequest, tmp_path: Any) -> str | None:
    """The address of a database that nobody has used; ``None`` for memory."""
    if kind == "memory":
        return None
    return address(request, kind, tmp_path)


@pytest.fixture
def store(place: str | None) -> Iterator[BudgetStore]:
    made: BudgetStore = MemoryBudgetStore() if place is None else opened(place)
    yield made
    made.close()


def totals(store: BudgetStore, now: int = NOW) -> dict[tuple[str, str, int], tuple[int, int]]:
    """What is spent and reserved, by account."""
    return {one.account.key: (one.spent, one.reserved) for one in store.balances(["b", "c"], now, PATIENCE)}


def target(vendor: str = "openai", model: str = "gpt-4o", **facts: Any) -> Target:
    return Target(vendor=vendor, model=model, kind=vendor, **facts)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def in_child(work: Callable[[], int]) -> int:
    """The exit status of ``work`` in a forked child."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(work())
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
