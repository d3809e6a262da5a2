"""Choose where the budgets of a dispatcher are kept: in its ledger's database if it has one, otherwise in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...runtime import Clock
from .budget import Budget
from .reservation import Spending


def spending_of(budgets: Sequence[Budget], ledger: Any, clock: Clock) -> Spending | None:
    """What keeps these budgets, ``None`` where there are none. ``ledger`` has the database that other processes share."""
    if not budgets:
        return None
    if not hasattr(ledger, "transaction"):
        return Spending(budgets, clock, None)
    from .database import DatabaseBook  # late: it needs SQLAlchemy

    return Spending(budgets, clock, DatabaseBook(ledger))
