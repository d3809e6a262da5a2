"""The status of a call's candidates at one moment: circuit, cooldown, what is left of their limits, and which would be a hedge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from ..catalog import Target
from .breaker import Breakers
from .hedge import Hedges
from .limits import Limits
from .rate_limit import RateLimitStatus
from .retry import Cooldowns


@attrs.frozen(kw_only=True)
class TargetStatus:
    """One target at one moment; times are seconds from then on, ``str()`` is for people and empty where nothing is held against it.

    ``circuit`` is ``"closed"``, ``"open"`` or ``"half-open"``, for another ``circuit_for`` seconds. ``cooldown`` tells for how
    many seconds the target asked to be left alone, ``limits`` what may still be asked in this minute; ``None`` where that was
    not looked at.
    """

    target: Target
    circuit: str = "closed"
    circuit_for: float = 0.0
    cooldown: float = 0.0
    limits: RateLimitStatus | None = None

    def __str__(self) -> str:
        told = []
        if self.circuit != "closed":
            left = f" for another {self.circuit_for:.1f} s" if self.circuit_for > 0 else ""
            told.append(f"circuit {self.circuit}{left}")
        if self.cooldown > 0:
            told.append(f"cooling down for another {self.cooldown:.1f} s")
        return "; ".join(told + _left(self.limits))

    def as_dict(self) -> dict[str, Any]:
        """Return the status as JSON can hold it."""
        told: dict[str, Any] = {"circuit": self.circuit, "circuit_for": self.circuit_for, "cooldown": self.cooldown}
        return told | {"limits": attrs.asdict(self.limits) if self.limits is not None else None}


@attrs.frozen(kw_only=True)
class HedgePlan:
    """Who would be asked beside the first target, after how many seconds of silence; ``None`` while too little is known of that."""

    target: Target
    beside: Target
    after: float | None

    def __str__(self) -> str:
        if self.after is None:
            return f"no hedge yet: too little is known of how long {self.target} takes"
        return f"hedge: when {self.target} is silent for {self.after:.3g} s, {self.beside} is asked beside it"

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON can hold it."""
        return {"target": str(self.target), "beside": str(self.beside), "after": self.after}


def standing(target: Target, breakers: Breakers, cooldowns: Cooldowns, now: float, limits: Limits | None = None) -> TargetStatus:
    """Return the status of a target now, with its rate limits if ``limits`` is given."""
    return TargetStatus(
        target=target,
        circuit=breakers.state(target, now),
        circuit_for=max(0.0, breakers.ready_at(target, now) - now),
        cooldown=max(0.0, cooldowns.ready_at(target, now) - now),
        limits=limits.status(target, now) if limits is not None and limits.in_use else None,
    )


def hedge_plan(hedges: Hedges | None, targets: Sequence[Target]) -> HedgePlan | None:
    """Who would be asked beside whom; ``None`` without hedging, or without a second target.

    Another model that stands in for the one asked for is for failures, not for slowness.
    """
    if hedges is None or len(targets) < 2 or targets[1].stands_in_for:
        return None
    return HedgePlan(target=targets[0], beside=targets[1], after=hedges.delay(targets[0]))


def _left(status: RateLimitStatus | None) -> list[str]:
    if status is None:
        return []
    told = [
        f"{left:,} of {most:,} {what} left" if most is not None else f"{left:,} {what} left, it says"
        for left, most, what in (
            (status.requests_remaining, status.requests_limit, "requests"),
            (status.tokens_remaining, status.tokens_limit, "tokens"),
        )
        if left is not None
    ]
    told += [f"{one.remaining:,} of {one.limit:,} {one.unit.replace('_', ' ')} in any {one.period} left" for one in status.windows]
    return [", ".join(told)] if told else []
