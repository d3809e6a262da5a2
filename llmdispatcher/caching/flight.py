"""Single flight: of many that ask the same at the same time one asks, the others wait for its answer.

```
   join ──► leads ──► landed, shared ──► every waiter has the answer
     │        └─────► failed, cancelled, or not for others ──► the next waiter leads
     └────► waits, within its own deadline ──► has the answer, leads, or gives up
```
Whoever leaves, on whatever way, leaves in one place (:meth:`Flights._leave`), so nobody waits for somebody who is gone.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, SupportsBytes, TypeVar

import attrs

from ..clock import Deadline
from ..locks import new_lock
from ..response_values import Response


@attrs.frozen(kw_only=True)
class Landed:
    """An answer, and the entry that others are given; ``shared`` is whether they may have it at all."""

    response: Response
    entry: SupportsBytes | None = None
    shared: bool = True
    hit: bool = False


class Shareable(Protocol):
    """What a flight brings."""

    @property
    def shared(self) -> bool:
        """Whether others may have it."""


T = TypeVar("T", bound=Shareable)


class _Seat(Generic[T]):
    """One caller in a flight; ``thread`` is its own, the ``gate`` is made for who waits."""

    __slots__ = ("gate", "landed", "leads", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.leads = False
        self.landed: T | None = None
        self.gate: threading.Lock

    def open(self) -> None:
        """Wake who waits; whoever comes second finds it open."""
        with contextlib.suppress(RuntimeError):
            self.gate.release()

    def wait(self, deadline: Deadline) -> None:
        """Until the gate opens. Raises :class:`Cancelled` and :class:`DeadlineExceeded`."""
        key = deadline.cancellation.subscribe(self.open)
        try:
            deadline.clock.wait(self.gate, deadline.check())
        finally:
            deadline.cancellation.unsubscribe(key)
        if self.landed is None:
            deadline.check()


class _Flight(Generic[T]):
    """Who leads, and who waits, in order."""

    __slots__ = ("leader", "waiting")

    def __init__(self, leader: _Seat[T]) -> None:
        self.leader = leader
        self.waiting: dict[_Seat[T], None] = {}


class Flights(Generic[T]):
    """The questions that are being asked now; safe under threads and after a fork."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._flights: dict[str, _Flight[T]] = {}
        self._pid = os.getpid()

    def fly(self, key: str, deadline: Deadline, ask: Callable[[], T]) -> tuple[T, bool]:
        """The answer, and whether it is another's. What ``ask`` raises is raised here alone, and nobody else is told."""
        seat: _Seat[T] = _Seat()
        try:
            if not self._join(key, seat):
                return ask(), False
            while not seat.leads:
                seat.wait(deadline)
                if seat.landed is not None:
                    return seat.landed, True
            landed = ask()
            if landed.shared:
                seat.landed = landed
            return landed, False
        finally:
            self._leave(key, seat)

    def _join(self, key: str, seat: _Seat[T]) -> bool:
        """Take a seat; False for a thread that leads this flight itself and would wait for its own end."""
        with self._lock:
            if self._pid != os.getpid():  # whoever was in a flight at a fork does not exist here
                self._flights, self._pid = {}, os.getpid()
            flight = self._flights.get(key)
            if flight is None:
                seat.leads = True
                self._flights[key] = _Flight(seat)
                return True
            if flight.leader.thread == seat.thread:
                return False
            seat.gate = threading.Lock()
            seat.gate.acquire()
            flight.waiting[seat] = None
            return True

    def _leave(self, key: str, seat: _Seat[T]) -> None:
        """Give up the seat: a leader hands out its answer, or the lead; a waiter is waited for by nobody."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is None:
                return
            flight.waiting.pop(seat, None)
            if flight.leader is not seat:
                return
            woken = self._handed_on(flight, seat.landed) if flight.waiting else ()
            if flight.leader is seat:
                del self._flights[key]
        for other in woken:
            other.open()

    @staticmethod
    def _handed_on(flight: _Flight[T], landed: T | None) -> Sequence[_Seat[T]]:
        """Whoever is to be woken: all that wait, with the answer, or without one the first, as the new leader."""
        woken = list(flight.waiting)[: None if landed is not None else 1]
        for seat in woken:
            del flight.waiting[seat]
            seat.landed = landed
            if landed is None:
                seat.leads = True
                flight.leader = seat
        return woken
