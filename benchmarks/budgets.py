"""What budgets add to a call: everything is reserved and settled in memory, nothing is sent."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from llmdispatcher import Budget, Deadline, Request
from llmdispatcher.accounting import Reservation, Spending
from llmdispatcher.catalog import Target, target_facts
from llmdispatcher.runtime import SYSTEM_CLOCK

from .measure import cpu_per_call

Rows = list[tuple[str, float, float | None, str]]
TIMES = 5_000
BAR = 150.0
"""Microseconds."""
_ASK = Request("gpt-4o", "Why is the sky blue? " * 20, max_tokens=300, user="ann")
_TARGET = Target(vendor="openai", model="gpt-4o", kind="openai", **target_facts("openai", "gpt-4o"))
_COST = Decimal("0.0021")


def gate() -> Rows:
    """CPU of one reservation and its settlement, with one budget and with three."""
    one = Budget(limit=10**6)
    more = (Budget(limit=10**6, per="user", period="month", zone="Europe/Berlin"), Budget(limit=10**6, match={"vendor": "open*"}))
    taken = cpu_per_call(
        {"a budget": _passes(Spending([one], SYSTEM_CLOCK)), "three": _passes(Spending([one, *more], SYSTEM_CLOCK))}, 1
    )
    return [(f"the gate, {name}, CPU per call", seconds / TIMES * 1e6, BAR, "µs") for name, seconds in taken.items()]


def _passes(spending: Spending) -> Callable[[], None]:
    def repeated() -> None:
        deadline = Deadline.after(60.0)
        for _ in range(TIMES):
            reservation = Reservation(spending.new_call_budget(_ASK), spending)
            if spending.reserve(reservation, _TARGET, (), deadline) is None:
                reservation.settle(None, _COST)

    return repeated
