"""Slices of budgets: what one process has reserved in advance of the accounts of a key that asks often.

A call of such a key takes its reservation out of the slice, in memory. A thread exchanges the slice every :data:`EVERY` seconds in
one transaction: what was spent is booked, what calls under way hold stays reserved, and what the next calls will want is reserved
anew, but never more than a hundredth of what the accounts have left. Money in a slice is reserved for all other processes, so a
strict budget is never exceeded; near its end there is no slice, and each call has a transaction of its own. The key is looked at in
the same transaction, and a slice that could not be exchanged for :data:`GOOD_FOR` seconds is not used.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import attrs

from ..accounting import AccountBalance, Booking, BookingExchange, BudgetStoreUnavailable, Claim, DatabaseBudgetStore
from ..runtime import Clock, new_lock

EVERY = 0.1
"""Seconds between two exchanges."""
GOOD_FOR = 1.5
OFTEN = 16
"""Reservations in a second from which on a key has a slice."""
_QUIET = 5
"""Exchanges without a call after which a slice is given back."""
_MOST_COUNTED = 10_000

SliceKey = tuple[str, tuple[Claim, ...]]
"""The id of a key, and what it reserves from."""


@attrs.define(eq=False)
class Slice:
    """What one process has reserved of some accounts; picodollars."""

    key: SliceKey
    refuses: Callable[[Any], str | None]
    held: Booking
    ceiling: int = 0
    """What may be in use and spent together."""
    in_use: int = 0
    spent: int = 0
    taken: int = 0
    wanted: int = 0
    until: int = 0
    good_until: float = 0.0
    quiet: int = 0


@attrs.frozen(eq=False)
class SliceShare:
    """What one call has taken of a slice."""

    slice: Slice
    amount: int


class Slices:
    """The slices of one process; safe under threads, and empty after a fork. The thread runs while there are any.

    ``store`` opens the store, ``noted`` hears what the accounts of claims hold.
    """

    def __init__(
        self,
        store: Callable[[], DatabaseBudgetStore],
        clock: Clock,
        noted: Callable[[Sequence[Claim], Sequence[AccountBalance]], None],
    ) -> None:
        self._store, self._clock, self._noted = store, clock, noted
        self._lock = new_lock()
        self._reset()

    def _reset(self) -> None:
        self._slices: dict[SliceKey, Slice] = {}
        self._counts: dict[SliceKey, tuple[float, int]] = {}
        self._wakes = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def take(self, key: SliceKey, amount: int, until: int) -> SliceShare | None:
        """Reserve out of the slice of a key; ``None`` where there is none, or too little in it."""
        with self._lock:
            if self._pid != os.getpid():
                self._reset()
            found = self._slices.get(key)
            if found is None or found.good_until < self._clock.monotonic():
                return None
            found.taken += amount
            if found.in_use + found.spent + amount > found.ceiling:
                return None
            found.in_use += amount
            found.until = max(found.until, until)
            return SliceShare(found, amount)

    def settle(self, share: SliceShare, spent: int) -> None:
        """Replace what a call has taken by what it spent."""
        with self._lock:
            one = share.slice
            one.in_use -= share.amount
            one.spent += spent
            if self._pid == os.getpid() and self._slices.get(one.key) is one:
                self._wake()

    def count(self, key: SliceKey, amount: int, until: int, refuses: Callable[[Any], str | None]) -> None:
        """Count a reservation that had a transaction of its own; a key that makes many gets a slice."""
        with self._lock:
            now = self._clock.monotonic()
            since, count = self._counts.get(key, (now, 0))
            if now - since >= 1.0:
                since, count = now, 0
            if len(self._counts) >= _MOST_COUNTED:
                self._counts.clear()
            self._counts[key] = (since, count + 1)
            if count + 1 < OFTEN or self._closing:
                return
            one = self._slices.get(key)
            if one is None:
                one = self._slices[key] = Slice(key, refuses, Booking("", key[1], 0, until))
            one.until, one.quiet = max(one.until, until), 0
            one.wanted = max(one.wanted, OFTEN * amount)
            self._wake()

    def flush(self) -> None:
        """Have what was spent booked before what the store is asked next."""
        with self._lock:
            owed = [(one, one.spent) for one in self._slices.values() if one.spent and self._pid == os.getpid()]
            for one, spent in owed:
                one.spent, one.ceiling = 0, one.ceiling - spent
        for one, spent in owed:
            self._store().settle(Booking(os.urandom(16).hex(), one.key[1], 0, one.until), spent, booked=False)

    def close(self) -> None:
        """Give all slices back, as far as no calls are under way."""
        with self._lock:
            thread = self._thread if self._pid == os.getpid() else None
            self._closing = True
            self._wakes.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(2.0)
        with self._lock:
            self._closing = False

    def _wake(self) -> None:
        self._wakes.set()
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="llmdispatcher-slices", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads: each call has a transaction of its own
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._wakes.wait()
            if not self._closing:
                pause.wait(EVERY)
            with self._lock:
                closing, slices = self._closing, list(self._slices.values())
                self._wakes.clear()
            asked = self._clock.monotonic()
            wanted = [(one, exchange) for one in slices if (exchange := self._exchange(one, closing)) is not None]
            pending = [(one, exchange, self._store().exchange(exchange)) for one, exchange in wanted]
            for one, exchange, done in pending:
                self._finish(one, exchange, asked, done)
            with self._lock:
                if closing or not self._slices:
                    self._thread = None
                    return
                if any(one.held.amount > one.in_use or one.wanted or not one.in_use for one in self._slices.values()):
                    self._wakes.set()

    def _exchange(self, one: Slice, closing: bool) -> BookingExchange | None:
        """What is to be exchanged; until that is done no more than what it keeps can be taken."""
        with self._lock:
            one.quiet = 0 if one.taken else one.quiet + 1
            one.wanted = 0 if closing or one.quiet > _QUIET else max(2 * one.taken, one.wanted * 3 // 4)
            if not one.wanted and not one.spent and one.held.amount == one.in_use:
                if not one.in_use:
                    self._slices.pop(one.key, None)
                return None
            left, spent = max(0, one.ceiling - one.in_use - one.spent), one.spent
            kept = one.in_use + min(left, one.wanted // 2)
            one.taken, one.spent, one.ceiling = 0, 0, kept
            following = Booking(os.urandom(16).hex(), one.key[1], kept, one.until)
            more = max(0, one.wanted + one.in_use - kept)
        return BookingExchange(held=one.held, following=following, spent=spent, more=more, refuses=one.refuses)

    def _finish(self, one: Slice, exchange: BookingExchange, asked: float, done: Future[tuple[int, list[AccountBalance]]]) -> None:
        """Wait for an exchange, which the store tries until it is done."""
        try:
            amount, balances = done.result()
        except BudgetStoreUnavailable:  # it refuses the values, has logged that, and has changed nothing
            amount, balances = 0, []
        with self._lock:
            one.held, one.ceiling = attrs.evolve(exchange.following, amount=amount), amount
            one.good_until = asked + GOOD_FOR
        if balances:
            self._noted(one.key[1], balances)
