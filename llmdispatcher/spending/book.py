"""Where budgets are kept: accounts with what is spent and what is reserved, changed for several budgets at once or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs


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
    """The place where budgets are kept does not answer in time; nothing was changed, as far as one can tell."""


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
