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
        """What names it."""
        return (self.budget, self.share, self.begins)


@attrs.frozen
class Claim:
    """A wish for money of an account that may hold ``limit`` picodollars, spent and reserved together."""

    account: Account
    limit: int


@attrs.frozen
class Balance:
    """What an account holds, in picodollars."""

    account: Account
    spent: int
    reserved: int


@attrs.frozen
class Reservation:
    """What one attempt asks for: the same ``amount`` (picodollars) of each account, all or nothing.

    ``until`` (microseconds since the epoch) is when whoever made it must have ended; one that is older belongs to a process that
    is gone, and counts as spent.
    """

    id: str
    claims: tuple[Claim, ...]
    amount: int
    until: int


class BookAway(Exception):
    """The place where budgets are kept does not answer in time; nothing was changed, as far as one can tell.

    Its cause is what the database said, where it said something.
    """


class Book(Protocol):
    """A place where budgets are kept. Moments are microseconds since the epoch; ``patience`` is seconds."""

    def reserve(self, wanted: Reservation, now: int, patience: float) -> Balance | None:
        """Take the money; or, nothing taken, tell the account that has not so much left.

        Raises :class:`BookAway`; whatever was taken all the same is given back as soon as that is possible.
        """

    def settle(self, held: Reservation, spent: int, *, booked: bool = True) -> None:
        """Put what was really spent in the place of a reservation, now or as soon as that is possible; idempotent by its id.

        One that is not ``booked`` was never taken, since the book was away then: what it spent is added. Raises nothing.
        """

    def balances(self, budgets: Sequence[str], now: int, patience: float) -> list[Balance]:
        """The accounts of these budgets whose period has not ended. Raises :class:`BookAway`."""

    def close(self) -> None:
        """Let go of connections; the book opens new ones if it is used again."""


_FEW = 4096
_NOTHING = (0, 0)


class MemoryBook:
    """Accounts and reservations behind one lock. After a fork parent and child count on for themselves.

    A change is one ``dict.update``, which Ctrl-C cannot cut in two: balances are kept by account, reservations by their id.
    """

    def __init__(self) -> None:
        self._lock = new_lock()
        self._state: dict[Any, Any] = {}
        self._accounts: dict[tuple[str, str, int], Account] = {}
        self._tidy_at = _FEW
        self._pid = os.getpid()

    def reserve(self, wanted: Reservation, now: int = 0, patience: float = 0.0) -> Balance | None:
        """Take the money, or tell the account that has not so much left."""
        with self._lock:
            if self._pid != os.getpid():
                self._forked()
            state, change = self._state, dict[Any, Any]()
            for claim in wanted.claims:
                key = claim.account.key
                spent, reserved = state.get(key, _NOTHING)
                if spent + reserved + wanted.amount > claim.limit:
                    return Balance(claim.account, spent, reserved)
                change[key] = (spent, reserved + wanted.amount)
                self._accounts[key] = claim.account
            change[wanted.id] = wanted
            state.update(change)
            if len(state) >= self._tidy_at:
                self._tidy(now)
            return None

    def settle(self, held: Reservation, spent: int, *, booked: bool = True) -> None:
        """Put what was really spent in the place of a reservation."""
        with self._lock:
            if self._pid != os.getpid():
                self._forked()
            if self._state.get(held.id) is None:
                return
            change: dict[Any, Any] = {held.id: None}
            for claim in held.claims:
                before, reserved = self._state.get(claim.account.key, _NOTHING)
                change[claim.account.key] = (before + spent, reserved - held.amount)
            self._state.update(change)
            self._state.pop(held.id, None)

    def balances(self, budgets: Sequence[str], now: int, patience: float = 0.0) -> list[Balance]:
        """The accounts of these budgets whose period has not ended."""
        with self._lock:
            if self._pid != os.getpid():
                self._forked()
            running = [account for account in self._accounts.values() if account.budget in budgets and _runs(account, now)]
            return [Balance(account, *self._state.get(account.key, _NOTHING)) for account in running]

    def close(self) -> None:
        """Nothing to let go of."""

    def _tidy(self, now: int) -> None:
        """Forget periods that have ended and from which nothing is to come back."""
        for key, account in list(self._accounts.items()):
            if not _runs(account, now) and not self._state.get(key, _NOTHING)[1]:
                del self._accounts[key]
                self._state.pop(key, None)
        self._tidy_at = max(_FEW, 2 * len(self._state))

    def _forked(self) -> None:
        """In a forked child the calls under way are the parent's, which pays for them."""
        kept = {key: (value[0], 0) for key, value in self._state.items() if type(value) is tuple}
        self._state, self._pid = kept, os.getpid()


def _runs(account: Account, now: int) -> bool:
    return not account.ends or account.ends > now
