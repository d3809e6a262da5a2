"""Budgets of keys: reserved before a call, settled with what it cost; one account for each key, in the keys' database.

They are the library's own budgets, with the keys as their shares, so that they hold over threads, workers and hosts. What is
reserved is an estimate: the text at three bytes a token, and ``max_tokens`` of output, or :data:`ASSUMED_OUTPUT` where a request
sets none, at the highest price of the targets that may be asked. An answer that costs more counts in full, and the next call is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from ..accounting import (
    AccountBalance,
    Budget,
    BudgetStoreUnavailable,
    DatabaseBudgetStore,
    Ledger,
    Reservation,
    Spending,
    period_at,
    plain_dollars,
)
from ..catalog import Target
from ..errors import BudgetExceeded, ConfigError, DispatchError, VendorUnavailable
from ..routing import input_tokens
from ..runtime import Clock, Deadline, new_lock
from ..types import Request, Response, Usage, cost_of

ASSUMED_OUTPUT = 4096
"""Tokens that are reserved for an answer whose request sets no ``max_tokens``."""
PERIODS = ("day", "month", "total")
"""A day or a month of UTC, or all time."""
_NAMES = {period: f"key/{period}" for period in PERIODS}
_TEXT = re.compile(r"\$?(?P<limit>[0-9]{1,9}(?:\.[0-9]{1,12})?)(?:\s*/\s*(?P<period>[a-z]+))?")
_CHARACTERS_PER_TOKEN = 4
_MARGIN = Decimal("1.1")
"""On what a stream had brought when its client left: the vendor was a little further."""
_PATIENCE = 5.0


def budget_of(text: str) -> Budget:
    """Read "5/day", "100/month" or "20", which is in all, in US dollars. Raises :class:`ConfigError` for anything else."""
    found = _TEXT.fullmatch(text.strip()) if isinstance(text, str) else None
    period = (found["period"] or "total") if found is not None else None
    if found is None or period not in PERIODS:
        raise ConfigError(f"budget: {str(text)[:40]!r} is no budget; give US dollars as in 5/day, 100/month, or 20 in all")
    return Budget(limit=found["limit"], period=period, per="id_at_origin", name=_NAMES[period], strict=True)


def budget_text(budget: Budget) -> str:
    """The text that :func:`budget_of` reads."""
    return f"{budget.limit:f}" if budget.period == "total" else f"{budget.limit:f}/{budget.period}"


class KeyReservation:
    """What one call of a key has reserved; settled once, later settlements change nothing."""

    def __init__(self, reservation: Reservation, request: Request, targets: Sequence[Target]) -> None:
        self._reservation = reservation
        self._request = request
        self._targets = targets

    def facts(self) -> dict[str, str]:
        """What was reserved, in US dollars, and the limit of the output that was assumed for it, as headers of the answer."""
        amount = self._reservation.amount
        told = {"x-llmdispatcher-reserved": f"{amount:f}"} if amount is not None else {}
        if amount is not None and self._reservation.call.assumed_output is not None:
            told["x-llmdispatcher-assumed-max-tokens"] = f"{self._reservation.call.assumed_output}"
        return told

    def answered(self, usage: Usage, cost: Decimal | None) -> None:
        """Count what an answer cost; what was reserved, where nobody knows."""
        self._reservation.settle(None, usage.cost if cost is None else cost)

    def broken(self, vendor: str | None, model: str | None, partial: Response | None) -> None:
        """Count the input, and what had been streamed, of a call that was broken off."""
        target = next((one for one in self._targets if (one.vendor, one.model) == (vendor, model)), self._targets[0])
        if target.price is None:
            self._reservation.settle(None, None)
        else:
            self._reservation.settle(None, cost_of(broken_usage(self._request, partial), target.price) * _MARGIN)

    def give_back(self) -> None:
        """Count nothing: no vendor has answered."""
        self._reservation.give_back()


def broken_usage(request: Request, partial: Response | None) -> Usage:
    """The tokens of a call that was broken off: as the vendor has told them until then, and else an estimate."""
    told = partial.usage if partial is not None else Usage()
    streamed = -(-_characters(partial) // _CHARACTERS_PER_TOKEN) if partial is not None else 0
    return Usage(
        input_tokens=told.input_tokens or input_tokens(request),
        output_tokens=max(told.output_tokens, streamed),
        cache_read_tokens=told.cache_read_tokens,
        cache_write_tokens=told.cache_write_tokens,
        cache_write_long_tokens=told.cache_write_long_tokens,
    )


def _characters(partial: Response) -> int:
    texts = [(one.content, one.reasoning, *[call.name + call.arguments for call in one.tool_calls]) for one in partial.choices]
    return sum([len(text or "") for several in texts for text in several])


class KeyBudgets:
    """The budgets of all keys of one database; safe under threads and after a fork. It is opened at the first use."""

    def __init__(self, place: str, clock: Clock) -> None:
        self._place, self._clock = place, clock
        self._lock = new_lock()
        self._ledger: Ledger | None = None
        self._store: DatabaseBudgetStore | None = None
        self._spendings: dict[Budget, Spending] = {}

    def reserve(
        self, key_id: str, budget: Budget, request: Request, targets: Sequence[Target], seconds: float | None = None
    ) -> KeyReservation:
        """Reserve what a request may cost at the dearest of the targets.

        ``seconds`` is how long it may take, ``None`` for a day: what is not settled ten minutes later belongs to a process that
        has died, and counts as spent.

        Raises :class:`BudgetExceeded` where there is too little left, or a target has no known price (code ``model_unpriced``), and
        :class:`VendorUnavailable` while the database is away.
        """
        spending = self._spending(budget)
        call = spending.new_call_budget(request)
        call.facts["id_at_origin"] = key_id
        call.estimate(ASSUMED_OUTPUT)
        target = spending.dearest(call, targets)
        if target is None:
            raise _unpriced(request.model)
        reservation = Reservation(call, spending)
        refusal = spending.reserve(reservation, target, (), Deadline.after(seconds, clock=self._clock))
        if refusal is not None:
            raise _error_of(refusal, request.model)
        return KeyReservation(reservation, request, [target, *targets])

    def spent(self, budgets: Mapping[str, Budget]) -> dict[str, Decimal]:
        """US dollars that keys have spent in the present periods of their budgets, by the keys' ids.

        Raises :class:`VendorUnavailable` while the database is away.
        """
        if not budgets:
            return {}
        now = self._clock.now()
        balances = _balances(self._open_store(), now)
        begins = {name: period_at(period, Budget(limit=0, period=period).clocks, now).begins for period, name in _NAMES.items()}
        found = {
            one.account.share: plain_dollars(one.spent)
            for one in balances
            if (budget := budgets.get(one.account.share)) is not None
            and one.account.budget == budget.name
            and one.account.begins == _micros(begins[budget.name])
        }
        return {key_id: found.get(key_id, Decimal(0)) for key_id in budgets}

    def close(self) -> None:
        """Write what waits, for at most two seconds, and close the connections; a later use opens new ones."""
        with self._lock:
            ledger, store = self._ledger, self._store
            self._ledger = self._store = None
            self._spendings = {}
        if store is not None:
            store.close()
        if ledger is not None:
            ledger.close()

    def _spending(self, budget: Budget) -> Spending:
        spending = self._spendings.get(_mark(budget))
        if spending is None:
            store = self._open_store()
            _balances(store, self._clock.now())  # makes the tables; a call would wait for these for a minute
            spending = self._spendings[_mark(budget)] = Spending((budget,), self._clock, store)
        return spending

    def _open_store(self) -> DatabaseBudgetStore:
        with self._lock:
            if self._store is None:
                self._ledger = Ledger(self._place)
                self._store = DatabaseBudgetStore(self._ledger)
            return self._store


def _balances(store: DatabaseBudgetStore, now: datetime) -> list[AccountBalance]:
    try:
        return store.balances(list(_NAMES.values()), _micros(now), _PATIENCE)
    except BudgetStoreUnavailable:
        raise _unavailable() from None


def _mark(budget: Budget) -> Any:
    return (budget.name, budget.limit)


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def _error_of(refusal: BudgetExceeded, model: str) -> DispatchError:
    """The refusal in words for the client, which knows nothing of targets and settings."""
    if refusal.code == "budget_unavailable":
        return _unavailable()
    if refusal.code == "model_unpriced":
        return _unpriced(model)
    facts: dict[str, Any] = {
        name: getattr(refusal, name) for name in ("budget", "limit", "spent", "reserved", "needed", "ends", "retry_after")
    }
    when = f"; it begins anew at {refusal.ends:%Y-%m-%d %H:%M} UTC" if refusal.ends is not None else ""
    held = f", {_usd(refusal.reserved)} are reserved by calls under way" if refusal.reserved else ""
    text = (
        f"this key has spent {_usd(refusal.spent)} of its budget of {_usd(refusal.limit)}{held},"
        f" and this call may cost {_usd(refusal.needed)}{when}"
    )
    return BudgetExceeded(text, code="budget_exceeded", sent=False, **facts)


def _unpriced(model: str) -> BudgetExceeded:
    text = f"no price of {model[:80]!r} is known, and this key has a budget"
    return BudgetExceeded(text, code="model_unpriced", sent=False)


def _usd(amount: Decimal | None) -> str:
    return f"${(amount or Decimal(0)).normalize():f}"


def _unavailable() -> VendorUnavailable:
    return VendorUnavailable("the database of the budgets cannot be asked; try again", code="budget_unavailable", sent=False)
