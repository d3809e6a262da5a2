"""What a batch may cost, by model, before it is sent; and what it has cost, while it runs and at its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs

from ..dispatcher import Dispatcher, Plan, Stats
from ..errors import DispatchError
from ..routing import CostOptimization, tokens_of
from ..runtime import new_lock
from ..types import Request, TokenLimits, dollars_text
from .prompts import InvalidLine, Prompt, PromptLine

_PRICES = CostOptimization(prefer_cheap=False)
NOBODY = "nobody has "
"""The beginning of the name of an estimate for prompts without a target."""


@attrs.define(eq=False)
class ModelEstimate:
    """The prompts for one target; ``cost`` is US dollars of those whose price is known, ``unpriced`` counts the others.

    ``unlimited`` counts the prompts without ``max_tokens``, and ``assumed_tokens`` is what ``output_tokens`` has for them: longer
    answers cost more.
    """

    prompts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0
    unlimited: int = 0
    assumed_tokens: int = 0


def estimate_cost(dispatcher: Dispatcher, lines: Iterable[PromptLine]) -> dict[str, ModelEstimate]:
    """Estimate what the prompts may cost, by the target that would be asked first; nothing is sent.

    Output is ``max_tokens``. Where a prompt sets none, 500 tokens are assumed and no limit is sent, so that it may cost more.
    """
    estimates: dict[str, ModelEstimate] = {}
    for line in lines:
        if isinstance(line, InvalidLine):
            continue
        plan = plan_of(dispatcher, line)
        target = next(iter(plan.targets), None) if plan is not None else None
        estimate = estimates.setdefault(str(target or _name_without_target(line, plan)), ModelEstimate())
        tokens = tokens_of(line.routing_request)
        cost = _PRICES.estimate(target, tokens) if target is not None else Decimal(0)
        estimate.prompts += 1
        estimate.input_tokens += tokens.input_tokens
        estimate.output_tokens += tokens.output_tokens
        estimate.cost += cost or 0
        estimate.unpriced += cost is None
        if isinstance(line.request, Request) and TokenLimits.of(line.request.extra_params).most(line.request.max_tokens) is None:
            estimate.unlimited += 1
            estimate.assumed_tokens += tokens.output_tokens
    return estimates


def plan_of(dispatcher: Dispatcher, prompt: Prompt) -> Plan | None:
    """Return the plan of a prompt, ``None`` if it cannot be routed."""
    try:
        return dispatcher.explain(prompt.routing_request)
    except DispatchError:
        return None


def _name_without_target(prompt: Prompt, plan: Plan | None) -> str:
    """The name of the estimate; the list of a local vendor, read when it is asked, may still have the model."""
    unread = plan.unread if plan is not None else ()
    return f"{unread[0]}:{prompt.request.model}, if it has it" if unread else f"{NOBODY}{prompt.request.model}"


def total_cost(estimates: Mapping[str, ModelEstimate]) -> Decimal:
    """Return the sum of the estimates in US dollars, as far as prices are known."""
    return sum([estimate.cost for estimate in estimates.values()], Decimal(0))


class RunningTotal:
    """How far a batch has come and what it has cost; safe under threads."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._done = self._failed = 0
        self._cost = Decimal(0)

    def add(self, *, cost: Decimal | None = None, failed: bool = False) -> tuple[int, str]:
        """Count one more prompt; returns how many have ended, and the failures and the cost so far as text."""
        with self._lock:
            self._done += 1
            self._failed += failed
            self._cost += cost or 0
            return self._done, str(self)

    def __str__(self) -> str:
        return f"{f'{self._failed} failed, ' if self._failed else ''}US$ {dollars_text(self._cost, 4)}"


@attrs.frozen(kw_only=True)
class Tally:
    """The numbers of one run; ``seconds`` is wall time, ``before`` counts the answers of earlier runs among the ``answered``.

    ``invalid`` of the failed are lines that cannot be read and were not asked. ``left_out`` has a sentence for each vendor that is
    no longer asked, since it refused key or account; ``stopped`` has one for each reason, except signals, why prompts were not
    sent. ``simulated``: the vendors were simulated.
    """

    stats: Stats
    vendors: tuple[str, ...]
    prompts: int
    answered: int
    before: int = 0
    failed: int
    invalid: int = 0
    seconds: float
    answers: Path
    simulated: bool = False
    left_out: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        """Prompts that neither were answered nor failed, since the run was stopped."""
        return self.prompts - self.answered - self.failed

    @property
    def rate(self) -> float:
        """Prompts a second that this run asked."""
        return (self.answered - self.before + self.failed - self.invalid) / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        return {
            "prompts": self.prompts,
            "answered": self.answered,
            "answered_before": self.before,
            "failed": self.failed,
            "seconds": round(self.seconds, 3),
            "calls_per_second": round(self.rate, 2),
            "answers": str(self.answers),
            "simulated": self.simulated,
            "left_out": list(self.left_out),
            "stopped": list(self.stopped),
            "stats": attrs.asdict(self.stats),
        }
