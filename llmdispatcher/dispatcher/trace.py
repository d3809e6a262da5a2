"""The trace of a call: its plan, the targets that were skipped, and every attempt, as text and as a dict."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, overload

import attrs

from .._text import escaped
from ..accounting import BudgetForecast
from ..catalog import Target
from ..resilience import HedgePlan, TargetStatus
from ..routing import UNREAD, Placing, Ranking, Route, SkippedTarget, Step
from ..types import AttemptRecord, CostDetails


@attrs.frozen(kw_only=True)
class Plan:
    """Who would be asked, or was to be asked, in which order and why; who not; and how they stood. ``str()`` is for people.

    ``statuses`` has those of the targets against which something was held or may be, by their order on the route; ``budgets``
    what asking each would reserve, where it concerns a budget.
    """

    route: Route
    statuses: tuple[TargetStatus, ...] = ()
    hedge: HedgePlan | None = None
    budgets: tuple[BudgetForecast, ...] = ()

    @property
    def model(self) -> str:
        """The model that was asked for, as it was written."""
        return self.route.model

    @property
    def steps(self) -> tuple[Step, ...]:
        """The candidates in order, each with the reason for its place."""
        return self.route.steps

    @property
    def skipped(self) -> tuple[SkippedTarget, ...]:
        """Who is no candidate, and why."""
        return self.route.skipped

    @property
    def targets(self) -> tuple[Target, ...]:
        """Whom to ask, in order."""
        return self.route.targets

    @property
    def unread(self) -> tuple[str, ...]:
        """The local vendors whose lists of models would be read before it is decided who is asked."""
        return tuple([skip.vendor for skip in self.skipped if skip.code == UNREAD])

    def status(self, target: Target) -> TargetStatus:
        """Return how a candidate stood."""
        return next((held for held in self.statuses if held.target.key == target.key), None) or TargetStatus(target=target)

    def __str__(self) -> str:
        lines = [self.route.heading]
        for place, step in enumerate(self.steps, 1):
            held = str(self.status(step.target))
            lines.append(f"  {place}. {step.target}  ({step.reason}){f'  {held}' if held else ''}")
        lines += [f"  -  {skip.vendor}  skipped: {skip.reason}" for skip in self.skipped]
        lines += [f"  ?  {self.route.hint}"] if self.route.hint else []
        if self.hedge is not None:
            lines.append(f"  {self.hedge}")
        lines += [f"  $  {outlook}" for outlook in self.budgets]
        return "\n".join([escaped(line) for line in lines])

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON can hold it; US dollars are texts."""
        return {
            "model": self.model,
            "alias": self.route.alias,
            "profile": self.route.profile,
            "candidates": [_candidate(step) | self.status(step.target).as_dict() for step in self.steps],
            "skipped": [skip.as_dict() for skip in self.skipped],
            "hint": self.route.hint or None,
            "budgets": [outlook.as_dict() for outlook in self.budgets],
            "hedge": self.hedge.as_dict() if self.hedge is not None else None,
        }


def _candidate(step: Step) -> dict[str, Any]:
    told: dict[str, Any] = {"target": str(step.target), "why": step.reason}
    if step.target.stands_in_for:
        told["stands_in_for"] = step.target.stands_in_for
    if isinstance(step.why, Ranking):
        why = step.why
        told |= {"cost": _dollars(why.cost), "seconds": _finite(why.seconds), "too_slow": why.too_slow}
    if isinstance(step.why, Placing):
        told |= {"mode": step.why.mode, "cost": _dollars(step.why.cost), "seconds": _finite(step.why.seconds)}
    return told


def _dollars(amount: Decimal | None) -> str | None:
    return f"{amount:f}" if amount is not None else None


def _finite(seconds: float | None) -> float | None:
    return seconds if seconds is not None and seconds < float("inf") else None


@attrs.frozen(kw_only=True)
class Trace(Sequence[AttemptRecord]):
    """One call: its plan and, as a sequence, its attempts in the order in which they ended. ``str()`` is for people.

    ``skipped`` has the targets whose turn came and that were not asked then; those that were no candidates are in ``plan.skipped``.
    """

    plan: Plan
    attempts: tuple[AttemptRecord, ...] = ()
    skipped: tuple[SkippedTarget, ...] = ()
    cached: bool = False
    call_id: str = ""

    @overload
    def __getitem__(self, index: int) -> AttemptRecord: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[AttemptRecord, ...]: ...

    def __getitem__(self, index: int | slice) -> AttemptRecord | tuple[AttemptRecord, ...]:
        return self.attempts[index]

    def __iter__(self) -> Iterator[AttemptRecord]:
        return iter(self.attempts)

    def __len__(self) -> int:
        return len(self.attempts)

    @property
    def cost(self) -> Decimal:
        """US dollars of all attempts, as far as they are known; ``possibly_billed`` ones may add to it."""
        return self.cost_details.total

    @property
    def cost_details(self) -> CostDetails:
        """What that cost was paid for."""
        costs = [(attempt.cost, attempt.cost_details) for attempt in self.attempts if attempt.cost is not None]
        return CostDetails.join([CostDetails.of(cost, details) for cost, details in costs])

    @property
    def possibly_billed(self) -> bool:
        """Whether a vendor may charge for an attempt that brought no whole answer."""
        return any(attempt.possibly_billed for attempt in self.attempts)

    def __str__(self) -> str:
        told = [(passed.at or 0.0, f"  +{passed.at:.3f} s  {passed.target} skipped: {passed.reason}") for passed in self.skipped]
        told += [(attempt.started, f"  +{attempt.started:.3f} s  {attempt}") for attempt in self.attempts]
        lines = [escaped(line) for _at, line in sorted(told, key=lambda entry: entry[0])]
        return "\n".join([str(self.plan), *(["  answered from memory"] if self.cached else lines)])

    def as_dict(self) -> dict[str, Any]:
        """Return the trace as JSON can hold it; US dollars are texts."""
        return {
            **self.plan.as_dict(),
            "skipped": [skip.as_dict() for skip in (*self.plan.skipped, *self.skipped)],
            "attempts": [attempt.as_dict() for attempt in self.attempts],
            "cost": _dollars(self.cost),
            "cost_details": self.cost_details.as_dict(),
            "possibly_billed": self.possibly_billed,
            "cached": self.cached,
            "call_id": self.call_id,
        }


def place_of(foreign: Exception) -> str:
    """Class and place of an exception; its text may hold what nobody is to see."""
    place = traceback.extract_tb(foreign.__traceback__)[-1]
    return f"{type(foreign).__name__} at {Path(place.filename).name}:{place.lineno}"
