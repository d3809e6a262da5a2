"""Stores of budgets: the protocol that every store implements, and the store in memory for one process.

An account holds what is spent and what is reserved. Changes to several accounts are made all together or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import attrs

from ...runtime import new_lock


@attrs.frozen
class Account:
    """One budget's account of one share in one period, from ``begins`` to ``ends``: microseconds since the epoch, 0 for never."""

    budget: str
    share: str
    begins: int
    ends: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What identifies the account."""
        return (self.budget, self.share, self.begins)


@attrs.frozen
class Claim:
    """An account to reserve from, which may hold ``limit`` picodollars, spent and reserved together.

    Of a sliding period all accounts of the budget and share that end after ``since``, which is now, may hold so much together; the
    account's end moves with each reservation. When so much is
    spent as ``warn`` (picodollars, 0 for never), a warning is due.
    """

    account: Account
    limit: int
    since: int = 0
    warn: int = 0


@attrs.frozen
class AccountBalance:
    """What an account holds, in picodollars; of a sliding period what all its accounts hold.

    ``free_at``: the microsecond at which enough will have slid out of the period; 0 for a period that does not slide, or for never.
    """

    account: Account
    spent: int
    reserved: int
    free_at: int = 0

    @classmethod
    def join(cls, claim: Claim, held: Iterable[tuple[int, int, int]], amount: int = 0) -> AccountBalance:
        """What a sliding period holds in all, of its accounts as (ends, spent, reserved), and when it has room for ``amount``."""
        rows = sorted(held)
        spent, reserved = sum([row[1] for row in rows]), sum([row[2] for row in rows])
        over, free_at = spent + reserved + amount - claim.limit, 0
        for ends, row_spent, row_reserved in rows if amount <= claim.limit else ():
            if over <= 0:
                break
            over, free_at = over - row_spent - row_reserved, ends
        return cls(claim.account, spent, reserved, free_at)


Warned = Callable[[Claim, AccountBalance], None]
"""Hears that so much is spent that a warning is due; once in each period, from whichever thread."""


@attrs.frozen
class Booking:
    """What one attempt reserves: the same ``amount`` (picodollars) of each account, all or nothing.

    ``until`` (microseconds since the epoch) is when its attempt must have ended; an older one belongs to a dead process, and
    counts as spent.
    """

    id: str
    claims: tuple[Claim, ...]
    amount: int
    until: int


class BudgetStoreUnavailable(Exception):
    """The store of budgets does not answer in time; as far as is known nothing was changed.

    ``__cause__`` is the database's own error, if there is one.
    """


class BudgetStore(Protocol):
    """Where the accounts of budgets are kept. Moments are microseconds since the epoch; ``patience`` is seconds."""

    on_warning: Warned | None

    def reserve(self, wanted: Booking, now: int, patience: float) -> AccountBalance | None:
        """Take the money, or take nothing and return the account that has too little.

        Raises :class:`BudgetStoreUnavailable`; money that was taken nevertheless is given back as soon as possible.
        """

    def settle(self, held: Booking, spent: int, *, booked: bool = True) -> None:
        """Replace a reservation by what was spent, now or as soon as possible; idempotent by its id. Raises nothing.

        A reservation that is not ``booked`` was never taken, since the store was unavailable: what it spent is added.
        """

    def balances(self, budgets: Sequence[str], now: int, patience: float) -> list[AccountBalance]:
        """Return the accounts of these budgets whose period has not ended. Raises :class:`BudgetStoreUnavailable`."""

    def reset(self, budget: str, share: str | None, now: int, patience: float) -> int:
        """Have nothing spent in the accounts of a budget (all, or those of one share) whose period has not ended.

        Returns how many shares have one; what is reserved stays. Raises :class:`BudgetStoreUnavailable`.
        """

    def close(self) -> None:
        """Close connections; the store opens new ones if it is used again."""


_FEW = 4096
_NOTHING = (0, 0)


class MemoryBudgetStore:
    """Accounts and reservations behind one lock. After a fork parent and child count on for themselves.

    A change is one ``dict.update``, which Ctrl-C cannot cut in two: balances are kept by account, reservations by their id.
    """

    def __init__(self) -> None:
        self.on_warning: Warned | None = None
        self._lock = new_lock()
        self._state: dict[Any, Any] = {}
        self._slid: dict[tuple[str, str], dict[tuple[str, str, int], None]] = {}
        self._warned: dict[tuple[str, str], int] = {}
        self._accounts: dict[tuple[str, str, int], Account] = {}
        self._tidy_at = _FEW
        self._pid = os.getpid()

    def reserve(self, wanted: Booking, now: int = 0, patience: float = 0.0) -> AccountBalance | None:
        """Take the money, or return the account that has too little."""
        with self._lock:
            if self._pid != os.getpid():
                self._reset_after_fork()
            state, change = self._state, dict[Any, Any]()
            for claim in wanted.claims:
                key = claim.account.key
                spent, reserved = state.get(key, _NOTHING)
                if claim.since:
                    whole = self._whole(claim, wanted.amount)
                    if whole.spent + whole.reserved + wanted.amount > claim.limit:
                        return whole
                elif spent + reserved + wanted.amount > claim.limit:
                    return AccountBalance(claim.account, spent, reserved)
                change[key] = (spent, reserved + wanted.amount)
                if claim.since:
                    self._slid.setdefault(key[:2], {})[key] = None
                known = self._accounts.get(key)
                if known is None or known.ends < claim.account.ends:
                    self._accounts[key] = claim.account
            change[wanted.id] = wanted
            state.update(change)
            if len(state) >= self._tidy_at:
                self._tidy(now)
            return None

    def settle(self, held: Booking, spent: int, *, booked: bool = True) -> None:
        """Replace a reservation by what was spent."""
        for claim, balance in self._settle(held, spent):
            if self.on_warning is not None:
                self.on_warning(claim, balance)

    def _settle(self, held: Booking, spent: int) -> list[tuple[Claim, AccountBalance]]:
        """Replace a reservation; return the warnings that are due."""
        with self._lock:
            if self._pid != os.getpid():
                self._reset_after_fork()
            if self._state.get(held.id) is None:
                return []
            change: dict[Any, Any] = {held.id: None}
            for claim in held.claims:
                before, reserved = self._state.get(claim.account.key, _NOTHING)
                change[claim.account.key] = (before + spent, reserved - held.amount)
            self._state.update(change)
            self._state.pop(held.id, None)
            return [(claim, balance) for claim in held.claims if claim.warn and (balance := self._due(claim)) is not None]

    def _whole(self, claim: Claim, amount: int = 0) -> AccountBalance:
        """What the accounts of a sliding period hold together; those that it has left are forgotten here."""
        own = {key: self._accounts[key].ends for key in self._slid.get(claim.account.key[:2], ()) if key in self._accounts}
        held = [(ends, *self._state.get(key, _NOTHING)) for key, ends in own.items() if ends > claim.since]
        self._slid[claim.account.key[:2]] = {key: None for key, ends in own.items() if ends > claim.since}
        return AccountBalance.join(claim, held, amount)

    def _due(self, claim: Claim) -> AccountBalance | None:
        """What is spent, if that asks for a warning which was not given in this period."""
        account = claim.account
        told = self._warned.get(account.key[:2], -1)
        if told > claim.since if claim.since else told >= account.begins:
            return None
        balance = self._whole(claim) if claim.since else AccountBalance(account, *self._state.get(account.key, _NOTHING))
        if balance.spent < claim.warn:
            return None
        self._warned[account.key[:2]] = account.ends if claim.since else account.begins
        return balance

    def reset(self, budget: str, share: str | None, now: int, patience: float = 0.0) -> int:
        """Have nothing spent in the running accounts of a budget."""
        with self._lock:
            if self._pid != os.getpid():
                self._reset_after_fork()
            chosen = [
                key
                for key, account in self._accounts.items()
                if account.budget == budget and share in (None, account.share) and _is_running(account, now)
            ]
            self._state.update({key: (0, self._state.get(key, _NOTHING)[1]) for key in chosen})
            for key in chosen:
                self._warned.pop(key[:2], None)
            return len({key[:2] for key in chosen})

    def balances(self, budgets: Sequence[str], now: int, patience: float = 0.0) -> list[AccountBalance]:
        """Return the accounts of these budgets whose period has not ended."""
        with self._lock:
            if self._pid != os.getpid():
                self._reset_after_fork()
            running = [account for account in self._accounts.values() if account.budget in budgets and _is_running(account, now)]
            return [AccountBalance(account, *self._state.get(account.key, _NOTHING)) for account in running]

    def close(self) -> None:
        """Do nothing; there are no connections."""

    def _tidy(self, now: int) -> None:
        """Forget periods that have ended and have nothing reserved."""
        for key, account in list(self._accounts.items()):
            if not _is_running(account, now) and not self._state.get(key, _NOTHING)[1]:
                del self._accounts[key]
                self._state.pop(key, None)
        shares = {key[:2] for key in self._accounts}
        self._warned = {share: told for share, told in self._warned.items() if share in shares}
        slid = {share: {key: None for key in keys if key in self._accounts} for share, keys in self._slid.items()}
        self._slid = {share: keys for share, keys in slid.items() if keys}
        self._tidy_at = max(_FEW, 2 * len(self._state))

    def _reset_after_fork(self) -> None:
        """Drop what is reserved, in a forked child: the calls under way belong to the parent."""
        kept = {key: (value[0], 0) for key, value in self._state.items() if type(value) is tuple}
        self._state, self._pid = kept, os.getpid()


def _is_running(account: Account, now: int) -> bool:
    return not account.ends or account.ends > now
