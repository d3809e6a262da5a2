"""Hedging: ask a second target when the first is silent for too long; the first with output wins.

Each branch runs in its own thread with its own cancellation below the call's deadline. The loser is cancelled and its attempt
recorded as lost; if it answers nevertheless, its answer is dropped. A stream is hedged up to its first output only.
"""

from __future__ import annotations

import contextvars
import itertools
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

from ..errors import Cancelled, DispatchError
from ..resilience import Hedges, hedge_plan
from ..routing import Route
from .call import Call

T = TypeVar("T")
Walk = Callable[[Call, Route], T]
_GLANCE = 1.0
"""Seconds; CPython can miss a signal that comes just as a wait without end begins, so no wait is without end."""
_numbers = itertools.count(1)


@attrs.define(eq=False)
class _Branch(Generic[T]):
    """One way of asking: its call, and how it ended."""

    call: Call
    answer: T | None = None
    error: BaseException | None = None


class _Race(Generic[T]):
    """The branches of one call; decided once."""

    def __init__(self, call: Call, walk: Walk[T], discard: Callable[[T], None]) -> None:
        self._call = call
        self._walk = walk
        self._discard = discard
        self._lock = threading.Lock()
        self._over = False
        self._ended: queue.SimpleQueue[_Branch[T]] = queue.SimpleQueue()
        self.branches: list[_Branch[T]] = []
        self.running = 0

    def now(self) -> float:
        """Monotonic seconds."""
        return self._call.deadline.clock.monotonic()

    def start(self, route: Route, *, hedge: bool = False) -> bool:
        """one more branch; False where no thread can be started for it."""
        branch: _Branch[T] = _Branch(self._call.branch(hedge=hedge))
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._run, branch, route), name=f"llmdispatcher-hedge-{next(_numbers)}", daemon=True
        )
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            return False
        self.branches.append(branch)
        self.running += 1
        return True

    def _run(self, branch: _Branch[T], route: Route) -> None:
        try:
            branch.answer = self._walk(branch.call, route)
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, where it is raised
            branch.error = error
        with self._lock:
            late = self._over
            if not late:
                self._ended.put(branch)
        if late and branch.answer is not None:
            self._discard(branch.answer)

    def wait(self, seconds: float | None) -> _Branch[T] | None:
        """The next branch that ends; ``None`` when none does in so many seconds. Raises when the call's own time is over."""
        left = seconds
        while True:
            step = min(_GLANCE, self._call.deadline.check(), *([left] if left is not None else []))
            try:
                branch = self._ended.get(timeout=step)
            except queue.Empty:
                left = None if left is None else left - step
                if left is not None and left <= 0:
                    return None
                continue
            self.running -= 1
            return branch

    def decide(self, winner: _Branch[T] | None) -> None:
        """Stop all branches but the winner; the answer of one that ends later is dropped."""
        with self._lock:
            self._over = True
        for branch in self.branches:
            if branch is not winner:
                branch.call.lose(Cancelled("another target answered first" if winner is not None else "the call is over"))
        while not self._ended.empty():
            late = self._ended.get()
            if late is not winner and late.answer is not None:
                self._discard(late.answer)


def ask_hedged(hedges: Hedges, call: Call, route: Route, walk: Walk[T], discard: Callable[[T], None]) -> T:
    """Return what the first branch that answers brings; where none does, settle the call and raise."""
    now = call.deadline.clock.monotonic
    hedges.called(now())
    plan = hedge_plan(hedges, route.targets)
    delay = plan.after if plan is not None else None
    race: _Race[T] = _Race(call, walk, discard)
    if delay is None or not race.start(route):
        return walk(call, route)
    winner: _Branch[T] | None = None
    try:
        winner = _winner(race, hedges, route, delay)
    except DispatchError as error:
        call.fail(error)
        raise
    except BaseException as interruption:
        call.fail(DispatchError(f"interrupted by {type(interruption).__name__}"))
        raise
    finally:
        race.decide(winner)
    call.adopt(winner.call)
    if winner.error is not None:
        raise winner.error
    return winner.answer  # type: ignore[return-value]  # a branch without an error has an answer


def _winner(race: _Race[T], hedges: Hedges, route: Route, delay: float) -> _Branch[T]:
    """Wait for a branch that answers, or for the last to fail."""
    branch = race.wait(delay)
    if branch is None:
        with hedges.wakes.turn(race.now()) as later:  # only now: a call that is answered in time takes no turn
            branch = race.wait(later) if later else None
    if branch is None and hedges.spend(race.now()):
        race.start(attrs.evolve(route, steps=(*route.steps[1:], route.steps[0])), hedge=True)
    while branch is None or (branch.error is not None and race.running):
        branch = race.wait(None)
    return branch
