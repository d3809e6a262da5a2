"""What an attempt takes before it asks, and gives back afterwards: the one place for both.

An attempt takes a place in the rate limits, a reservation of the budgets, a permit of the target's circuit, a token of the retry
budget, and a count of the balancer. It ends in one of two ways: :meth:`AttemptResources.cancel` where nothing was sent, else
:meth:`~AttemptResources.release` when the target is not asked any more, and :meth:`~AttemptResources.settle` with what was used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import attrs

from ..accounting import CallBudget, Reservation, Spending
from ..catalog import Target
from ..errors import BudgetExceeded, DispatchError, VendorUnavailable
from ..resilience import FREE, Breakers, Budgets, Cooldowns, Limits, NextAttempt, RateLimitSlot, standing
from ..routing import Balancer, input_tokens, output_tokens
from ..runtime import Deadline, KeyAssignment
from ..types import Request, Usage
from ..vendors import VendorInfo


@attrs.define(eq=False, kw_only=True)
class AttemptPolicies:
    """What the attempts of all calls of a dispatcher take from, and report to."""

    vendors: Mapping[str, VendorInfo]
    breakers: Breakers
    budgets: Budgets
    balancer: Balancer | None = None
    limits: Limits = attrs.field(factory=Limits)
    cooldowns: Cooldowns = attrs.field(factory=Cooldowns)
    spending: Spending | None = None


class Denial(NamedTuple):
    """Why a target is not asked now: its limits have no place before ``ready_at``, a budget is ``over``, or its circuit is open.

    ``why`` names the limit, if it is not one of a minute.
    """

    reason: str
    ready_at: float | None = None
    over: BudgetExceeded | None = None
    why: str = ""


class AttemptResources:
    """What one attempt has taken. ``slot`` may hold a place that its call has waited for, before anything else is taken."""

    __slots__ = ("_policies", "_released", "_target", "lease", "permit", "reservation", "slot")

    def __init__(self, policies: AttemptPolicies) -> None:
        self._policies = policies
        self._target: Target | None = None
        self._released = False
        self.slot: RateLimitSlot | None = None
        self.reservation: Reservation | None = None
        self.permit = FREE
        self.lease: KeyAssignment | None = None
        """Which of its keys the vendor uses; ``None`` leaves the choice to the vendor."""

    def acquire(self, turn: NextAttempt, request: Request, budget: CallBudget | None, deadline: Deadline) -> Denial | None:
        """Take all that asking needs, or nothing: then say why."""
        policies, target, clock = self._policies, turn.target, deadline.clock
        now = clock.monotonic()
        if policies.limits.in_use:
            self.slot = self.slot or RateLimitSlot(deadline.at)
            output = output_tokens(request)
            taken = policies.limits.take(target, input_tokens(request) + output, now, self.slot, output)
            if isinstance(taken, float):
                return Denial(_full(taken - now, self.slot.why), ready_at=taken, why=self.slot.why)
        if budget is not None and policies.spending is not None:
            over = self._reserve(policies.spending, budget, target, deadline)
            now = clock.monotonic()
            if over is not None:
                self.cancel(now)
                return Denial(over.message, over=over)
        if not turn.retry:
            policies.budgets.called(target, now)
        may_ask = not turn.retry or policies.budgets.spend(target, now)
        permit = policies.breakers.admit(target, now, forced=turn.forced) if may_ask else None
        if permit is None:
            self.cancel(now)
            return Denial(str(standing(target, policies.breakers, policies.cooldowns, now)) or "its retry budget is spent")
        self.permit, self._target = permit, target
        self.lease = policies.limits.lease(target, self.slot, clock.monotonic) if self.slot is not None else None
        if self.reservation is not None:
            self.lease = self.reservation.lease(self.lease)
        if policies.balancer is not None:
            policies.balancer.begin(target)
        return None

    def _reserve(self, spending: Spending, budget: CallBudget, target: Target, deadline: Deadline) -> BudgetExceeded | None:
        """Reserve what asking may cost, for one of the vendor's keys where a budget counts by key."""
        self.reservation = Reservation(budget, spending)
        keys: Sequence[int] = ()
        if spending.by_key:
            own = self.slot.key if self.slot is not None else None
            keys = (own,) if own is not None else self._policies.vendors[target.vendor].awake_keys()
        return spending.reserve(self.reservation, target, keys, deadline)

    def cancel(self, now: float) -> None:
        """Give back all that was taken for a request that was not sent."""
        self.release(DispatchError("it was not sent"), now, now)
        self.give_back_slot(now)
        self.slot = None
        if self.reservation is not None:
            self.reservation.give_back()
            self.reservation = None

    def give_back_slot(self, now: float) -> None:
        """Give back the place in the limits."""
        if self.slot is not None:
            self._policies.limits.give_back(self.slot, now)

    def release(self, error: DispatchError | None, now: float, started: float, *, timed_out: bool = False) -> None:
        """Give back what was taken, and report how asking the target ended, once: later calls do nothing.

        Time that ran out since ``started``, of the call or of a limit, speaks against the target.
        """
        if self._released or self._target is None:
            return
        self._released = True
        policies, target = self._policies, self._target
        if self.slot is not None:
            policies.limits.ended(self.slot, error)
        timed_out = timed_out or (isinstance(error, VendorUnavailable) and error.timed_out)
        policies.breakers.report(target, self.permit, error, now, waited=now - started if timed_out else None)
        if policies.balancer is not None:
            policies.balancer.end(target)

    def settle(self, usage: Usage, now: float) -> None:
        """Replace the estimate in the limits by the tokens that the answer used; no tokens keep the estimate."""
        if self.slot is not None:
            self._policies.limits.settle(self.slot, usage.total_tokens or None, now, usage.output_tokens)


def _full(seconds: float, why: str) -> str:
    """Why a target without a place in its limits is not asked now; ``why`` names the limit, if it is not one of a minute."""
    text = f"its limits have no place for another {seconds:.1f} s" if seconds < math.inf else "its limits have no place now"
    return f"{text} ({why})" if why else text
