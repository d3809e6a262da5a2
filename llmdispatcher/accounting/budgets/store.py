"""Stores of budgets: the protocol that every store implements, and the store in memory for one process.

An account holds what is spent and what is reserved. Changes to several accounts are made all together or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
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
    """An account to reserve from, which may hold ``limit`` picodollars, spent and reserved together."""

    account: Account
    limit: int


@attrs.frozen
class AccountBalance:
    """What an account holds, in picodollars."""

    account: Account
    spent: int
    reserved: int


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

    def close(self) -> None:
        """Close connections; the store opens new ones if it is used again."""


_FEW = 4096
_NOTHING = (0, 0)


class MemoryBudgetStore:
    """Accounts and reservations behind one lock. After a fork parent and child count on for themselves.

    A change is one ``dict.update``, which Ctrl-C cannot cut in two: balances are kept by account, reservations by their id.
    """

    def __init__(self) -> None:
        self._lock = new_lock()
        self._state: dict[Any, Any] = {}
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
                if spent + reserved + wanted.amount > claim.limit:
                    return AccountBalance(claim.account, spent, reserved)
                change[key] = (spent, reserved + wanted.amount)
                self._accounts[key] = claim.account
            change[wanted.id] = wanted
            state.update(change)
            if len(state) >= self._tidy_at:
                self._tidy(now)
            return None

    def settle(self, held: Booking, spent: int, *, booked: bool = True) -> None:
        """Replace a reservation by what was spent."""
        with self._lock:
            if self._pid != os.getpid():
                self._reset_after_fork()
            if self._state.get(held.id) is None:
                return
            change: dict[Any, Any] = {held.id: None}
            for claim in held.claims:
                before, reserved = self._state.get(claim.account.key, _NOTHING)
                change[claim.account.key] = (before + spent, reserved - held.amount)
            self._state.update(change)
            self._state.pop(held.id, None)

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
        self._tidy_at = max(_FEW, 2 * len(self._state))

    def _reset_after_fork(self) -> None:
        """Drop what is reserved, in a forked child: the calls under way belong to the parent."""
        kept = {key: (value[0], 0) for key, value in self._state.items() if type(value) is tuple}
        self._state, self._pid = kept, os.getpid()


def _is_running(account: Account, now: int) -> bool:
    return not account.ends or account.ends > now
