"""The gate of the conductor: what an attempt may cost at most is reserved before it is sent, and settled when it has ended."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from ..clock import Clock, Deadline
from ..errors import BudgetExceeded
from ..policy.optimize import shown
from ..policy.target import Target
from ..types import Request
from .book import Account, Balance, Book, BookAway, Claim, Reservation
from .bound import bound, costs_nothing, has_price
from .budget import Budget, dollars, picodollars
from .hold import Hold, Purse
from .memory import MemoryBook
from .periods import EPOCH, Period, period_at
from .status import BudgetForecast, BudgetStatus

logger = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds that a call waits for the place where budgets are kept, within its deadline, at most; the place may be sooner away."""
LEASE = 600.0
"""Seconds after its deadline when a reservation is believed to be a dead process's."""
WITHOUT_DEADLINE = 86_400.0
"""Seconds that a call without a deadline is believed to take at most."""
_MICROSECOND = timedelta(microseconds=1)


@attrs.frozen
class _Case:
    """One target that is about to be asked, and the budgets that it concerns; ``amount`` is what it may cost, in picodollars."""

    target: Target
    claims: tuple[tuple[Budget, Claim], ...]
    amount: int
    now: datetime


class _Ids:
    """Names of reservations that no process gives twice: 16 hex digits of chance, which a forked child draws anew, and a count."""

    def __init__(self) -> None:
        self._pid, self._prefix, self._count = 0, "", itertools.count()

    def next(self) -> str:
        """The next one, of 32 digits."""
        if self._pid != os.getpid():
            self._prefix, self._pid = os.urandom(8).hex(), os.getpid()
        return f"{self._prefix}{next(self._count):016x}"


class Spending:
    """The budgets of a dispatcher and the book that they are kept in; safe under threads and after a fork."""

    def __init__(self, budgets: Sequence[Budget], clock: Clock, book: Book | None = None) -> None:
        self.budgets = tuple(budgets)
        self.book = book if book is not None else MemoryBook()
        self._clock = clock
        self._ids = _Ids()
        self._by_call = any(budget.period == "call" for budget in self.budgets)
        self.by_key = any(budget.per == "key" or "key" in budget.match for budget in self.budgets)
        """Whether it matters which of a vendor's keys is shown."""
        self._periods: dict[str, Period] = {}

    def purse(self, request: Request, origin: str | None = None) -> Purse:
        """What a call that begins carries; ``origin`` is for a request that names none."""
        return Purse(request, origin, MemoryBook() if self._by_call else None)

    def hold(self, purse: Purse) -> Hold:
        """Where an attempt's reservation is noted."""
        return Hold(purse, self.book)

    def reserve(self, hold: Hold, purse: Purse, target: Target, keys: Sequence[int], deadline: Deadline) -> BudgetExceeded | None:
        """Reserve what asking ``target`` may cost; or, nothing reserved, why it must not be asked.

        ``keys`` are the numbers of the vendor's keys that may be shown, in order, where a budget counts by them: the first with
        money is the one to show (:meth:`Hold.lease`). The error has ``try_elsewhere`` where another target may be asked instead.
        What is reserved is noted in ``hold`` before it is taken, so that an interruption at any point leaves it to be given back.
        """
        if not (self.by_key and keys):
            return self._reserve(hold, purse, target, None, deadline)
        hold.move = lambda numbers: self._moved(hold, purse, target, numbers, deadline)
        refusals = []
        for key in keys:
            refusal = self._reserve(hold, purse, target, key, deadline)
            if refusal is None:
                hold.key = key
                return None
            refusals.append(refusal)
        return refusals[0]

    def _moved(self, hold: Hold, purse: Purse, target: Target, keys: Sequence[int], deadline: Deadline) -> int | None:
        """Another key with money, after one was refused, which costs nothing."""
        hold.give_back()
        hold.key = None
        self.reserve(hold, purse, target, keys, deadline)
        return hold.key

    def _reserve(self, hold: Hold, purse: Purse, target: Target, key: int | None, deadline: Deadline) -> BudgetExceeded | None:
        case = self._case(purse, target, key)
        if isinstance(case, BudgetExceeded) or case is None:
            return case
        until = _micros(case.now) + int(1e6 * (min(deadline.remaining(), WITHOUT_DEADLINE) + LEASE))
        own = tuple([claim for budget, claim in case.claims if budget.period == "call"])
        if own and purse.book is not None:
            hold.of_call = Reservation(self._ids.next(), own, case.amount, until)
            short = purse.book.reserve(hold.of_call)
            if short is not None:
                hold.of_call = None
                return _exceeded(case, short)
        shared = tuple([claim for budget, claim in case.claims if budget.period != "call"])
        refusal = self._book(hold, case, Reservation(self._ids.next(), shared, case.amount, until), deadline) if shared else None
        if refusal is not None:
            hold.give_back()
        return refusal

    def _book(self, hold: Hold, case: _Case, wanted: Reservation, deadline: Deadline) -> BudgetExceeded | None:
        patience = min(PATIENCE, deadline.remaining())
        hold.shared = wanted
        try:
            short = self.book.reserve(wanted, _micros(case.now), patience)
        except BookAway as away:
            hold.shared = None
            deadline.check()
            return self._unbooked(hold, case, wanted, away)
        if short is None:
            return None
        hold.shared = None
        return _exceeded(case, short)

    def _unbooked(self, hold: Hold, case: _Case, wanted: Reservation, away: BookAway) -> BudgetExceeded | None:
        """What follows where the book is away: a refusal, or the call goes on and is booked when it is back."""
        strict = next((budget for budget, _ in case.claims if budget.on_error == "refuse"), None)
        if strict is None:
            logger.warning("budgets: %s; %s is asked nevertheless, as on_error says", away, case.target)
            hold.shared, hold.booked = wanted, False
            return None
        text = f'budget {strict.name!r} cannot be looked at: {away}; bring it back, or allow calls without it by on_error="allow"'
        return BudgetExceeded(text, budget=strict.name, limit=strict.limit, sent=False, **_asked(case.target))

    def statuses(self) -> tuple[BudgetStatus, ...]:
        """Every account in its present period; budgets that count by call have none. Raises :class:`BudgetExceeded` if away."""
        now = self._clock.now()
        lasting = {budget.name: budget for budget in self.budgets if budget.period != "call"}
        try:
            found = self.book.balances(list(lasting), _micros(now), PATIENCE) if lasting else []
        except BookAway as away:
            raise BudgetExceeded(f"budgets cannot be looked at: {away}", sent=False) from None
        present = {name: self._account(budget, "", now) for name, budget in lasting.items()}
        found = [one for one in found if one.account.begins == present[one.account.budget].begins]
        seen = {one.account.key for one in found}
        idle = [Balance(one, 0, 0) for one in present.values() if lasting[one.budget].per == "dispatcher" and one.key not in seen]
        place = list(lasting).index
        ordered = sorted([*found, *idle], key=lambda one: (place(one.account.budget), one.account.share))
        return tuple([_status(lasting[one.account.budget], one) for one in ordered])

    def outlook(self, request: Request, targets: Iterable[Target]) -> tuple[BudgetForecast, ...]:
        """What asking each of these targets would reserve now, and what would be in the way; reserves nothing."""
        purse, told = Purse(request), []
        for target in targets:
            case = self._case(purse, target, None)
            if case is None:
                continue
            refusal = case if isinstance(case, BudgetExceeded) else self._refusal(case)
            reserves = None if isinstance(case, BudgetExceeded) or not has_price(target) else dollars(case.amount)
            told.append(
                BudgetForecast(target=str(target), reserves=reserves, refusal=refusal.message if refusal is not None else "")
            )
        return tuple(told)

    def _refusal(self, case: _Case) -> BudgetExceeded | None:
        """What would be in the way of a case as things stand."""
        try:
            known = self.book.balances([budget.name for budget, _ in case.claims], _micros(case.now), PATIENCE)
        except BookAway:
            known = []
        held = {one.account.key: one for one in known}
        for _, claim in case.claims:
            balance = held.get(claim.account.key, Balance(claim.account, 0, 0))
            if balance.spent + balance.reserved + case.amount > claim.limit:
                return _exceeded(case, balance)
        return None

    def _case(self, purse: Purse, target: Target, key: int | None) -> _Case | BudgetExceeded | None:
        """What there is to reserve; ``None`` where no budget is concerned or nothing costs anything."""
        facts = {**purse.facts, "vendor": target.vendor, "model": str(target), "key": f"{target.vendor}#{key or 1}"}
        concerned = [budget for budget in self.budgets if budget.concerns(facts)]
        if not concerned or costs_nothing(target):
            return None
        now, amount = self._clock.now(), 0
        if has_price(target):
            amount = picodollars(bound(purse.measure, purse.request, target, now))
        else:
            strict = next((budget for budget in concerned if budget.unpriced == "refuse"), None)
            if strict is not None:
                return _unpriced(strict, target)
        claims = [(budget, Claim(self._account(budget, budget.share(facts), now), budget.most)) for budget in concerned]
        return _Case(target, tuple(claims), amount, now)

    def _account(self, budget: Budget, share: str, now: datetime) -> Account:
        """An account in the present period, which is worked out once."""
        period = self._periods.get(budget.name)
        if period is None or not period.covers(now):
            period = self._periods[budget.name] = period_at(budget.period, budget.clocks, now)
        return Account(budget.name, share, _micros(period.begins), _micros(period.ends) if period.ends is not None else 0)

    def close(self) -> None:
        """Let go of the book's connections."""
        self.book.close()


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // _MICROSECOND


def _status(budget: Budget, balance: Balance) -> BudgetStatus:
    account = balance.account
    return BudgetStatus(
        budget=budget.name,
        share=account.share,
        limit=budget.limit,
        spent=dollars(balance.spent),
        reserved=dollars(balance.reserved),
        begins=EPOCH + account.begins * _MICROSECOND,
        ends=EPOCH + account.ends * _MICROSECOND if account.ends else None,
    )


def _asked(target: Target) -> dict[str, Any]:
    return {"vendor": target.vendor, "model": target.model}


def _exceeded(case: _Case, balance: Balance) -> BudgetExceeded:
    """The error of a case that an account has no money for."""
    budget = next(budget for budget, claim in case.claims if claim.account.key == balance.account.key)
    status = _status(budget, balance)
    whose = f" of {status.share!r}" if status.share else ""
    when = f"; its period ends {status.ends:%Y-%m-%d %H:%M:%S} UTC" if status.ends is not None else ""
    return BudgetExceeded(
        f"budget {budget.name!r}{whose}: {shown(status.spent)} of {shown(budget.limit)} are spent, {shown(status.reserved)} are"
        f" reserved, and this may cost up to {shown(dollars(case.amount))}{when}; set max_tokens, or raise limit",
        budget=budget.name,
        limit=budget.limit,
        spent=status.spent,
        reserved=status.reserved,
        needed=dollars(case.amount),
        ends=status.ends,
        retry_after=max(0.0, (status.ends - case.now).total_seconds()) if status.ends is not None else None,
        try_elsewhere=budget.on_exceed == "next_target",
        sent=False,
        **_asked(case.target),
    )


def _unpriced(budget: Budget, target: Target) -> BudgetExceeded:
    """The error of a target whose price nobody knows."""
    return BudgetExceeded(
        f"budget {budget.name!r}: no price is known, so it cannot be kept;"
        ' ask a model with a price, or allow others by unpriced="allow"',
        budget=budget.name,
        limit=budget.limit,
        try_elsewhere=budget.on_exceed == "next_target",
        sent=False,
        **_asked(target),
    )
