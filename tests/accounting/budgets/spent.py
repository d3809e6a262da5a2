"""A dispatcher with budgets over a simulated vendor, and a store that remembers how each reservation ended."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from llmdispatcher import Budget, Config, Dispatcher, OpenAIVendor, Request, RetryPolicy
from llmdispatcher.accounting.budgets.budget import plain_dollars
from llmdispatcher.accounting.budgets.store import AccountBalance, Booking, MemoryBudgetStore
from llmdispatcher.catalog import model_facts
from llmdispatcher.testing import VendorSimulator

ASK = Request("gpt-4o", "Why is the sky blue?", max_tokens=100)
AT_ONCE = RetryPolicy(initial_delay=0.0, max_delay=0.0)
KEY = "sk-spending-0123456789"


class RememberingStore(MemoryBudgetStore):
    """Notes what was granted, and with what each was settled."""

    def __init__(self) -> None:
        super().__init__()
        self.granted: dict[str, Decimal] = {}
        self.settled: list[tuple[str, Decimal]] = []
        self.changed = threading.Condition()

    def reserve(self, wanted: Booking, now: int = 0, patience: float = 0.0) -> AccountBalance | None:
        short = super().reserve(wanted, now, patience)
        if short is None:
            self.granted[wanted.id] = plain_dollars(wanted.amount)
        return short

    def settle(self, held: Booking, spent: int, *, booked: bool = True) -> None:
        super().settle(held, spent, booked=booked)
        with self.changed:
            self.settled.append((held.id, plain_dollars(spent)))
            self.changed.notify_all()

    def await_settled(self) -> None:
        """Until what was granted is settled."""
        with self.changed:
            assert self.changed.wait_for(lambda: {one for one, _ in self.settled} >= self.granted.keys(), 10.0)

    @property
    def words(self) -> list[str]:
        """How each reservation ended, in order: "nothing", "bound", or "cost"."""
        assert len(self.settled) == len(self.granted), "each is settled once"
        assert {one for one, _ in self.settled} == self.granted.keys()
        return ["nothing" if not spent else "bound" if spent == self.granted[one] else "cost" for one, spent in self.settled]


def dispatcher(
    *simulators: VendorSimulator,
    budgets: Sequence[Any] = (Budget(limit="100"),),
    vendor: type[OpenAIVendor] = OpenAIVendor,
    **config: Any,
) -> Dispatcher:
    """One vendor for each simulator, named v0, v1, ..."""
    settings = {"retry_policy": AT_ONCE, "timeout": 10.0, **config}
    made = Dispatcher(Config(budgets=budgets, **settings))
    for number, simulator in enumerate(simulators):
        made.register_vendor(vendor(name=f"v{number}", api_key=KEY, base_url=simulator.openai_url, trust_env=False))
    return made


def remembering(made: Dispatcher) -> RememberingStore:
    """Have a dispatcher keep its budgets in such a store."""
    spending = made._attempt_loop.spending
    assert spending is not None
    spending.store = store = RememberingStore()
    return store


def price(model: str = "gpt-4o") -> Any:
    """What the catalog says."""
    facts = model_facts("openai", model)
    assert facts is not None
    return facts.price
