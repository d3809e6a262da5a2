"""A dispatcher with everything switched on, a vendor that misbehaves, a healthy one, and the invariants of all that is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs

from llmdispatcher import Config, Dispatcher, Outcome, RateLimit, Request, RetryPolicy
from llmdispatcher.runtime.deadline import SystemClock
from llmdispatcher.testing import Fault, VendorSimulator

from ..conftest import PATIENCE, SLACK
from .conftest import MODELS, PROMPT, Result, leaks, listen, vendor_at
from .insides import disagreements, parked, remembered, residue
from .test_rows import ANSWER

FIRST, SECOND = "openai", "anthropic"
DAY = 86_500.0
CALM: Mapping[str, Any] = {
    "retry_policy": RetryPolicy(max_retries=2, initial_delay=0.02),
    "balance": {"strategy": "priority", "priorities": {FIRST: 0, SECOND: 1}},
}
ROOMY = RateLimit(requests_per_minute=1_000, tokens_per_minute=10_000_000, max_in_flight=8)
"""Limits that are counted and never reached."""


class Later(SystemClock):
    """The machine's clock, which can be put forward between two calls."""

    ahead = 0.0

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic() + self.ahead


@attrs.frozen(kw_only=True)
class Plan:
    """What is made: settings over :data:`CALM`, one vendor or two, the seconds of the first one's limits and of a whole call."""

    settings: Mapping[str, Any]
    helped: bool
    each: float
    timeout: float


@attrs.define
class Stage:
    """What is asked of whom, and what came of it; ``parks`` is who was ever left alone, ``stored`` the entries after each call."""

    row: str
    fault: Fault
    streamed: bool
    timeout: float
    faulty: VendorSimulator
    healthy: VendorSimulator
    clock: Later
    dispatcher: Dispatcher
    outcomes: list[Outcome]
    seen: list[Result] = attrs.field(factory=list)
    parks: set[str] = attrs.field(factory=set)
    stored: list[int] = attrs.field(factory=list)
    fresh: int = 0

    def ask(self) -> None:
        """One call."""
        request = Request(model=MODELS[FIRST], messages=PROMPT, max_tokens=200)
        self.seen.append(listen(self.dispatcher, request, self.outcomes, streamed=self.streamed, timeout=self.timeout))
        self.parks |= parked(self.dispatcher)
        self.stored.append(len(remembered(self.dispatcher)))

    def wait_a_day(self) -> None:
        """Put the clock forward; limits, budgets and circuits have forgotten the calls so far."""
        self.clock.ahead += DAY
        self.fresh = len(self.outcomes)

    @property
    def recent(self) -> list[Outcome]:
        """The calls of today."""
        return self.outcomes[self.fresh :]

    @property
    def told(self) -> list[str]:
        """What each caller saw: who answered, or the error's name."""
        return [_who(outcome) if outcome.error is None else type(outcome.error).__name__ for outcome in self.outcomes]

    @property
    def attempts(self) -> list[int]:
        """How many there were in each call."""
        return [len(outcome.attempts) for outcome in self.outcomes]

    def broken(self) -> list[str]:
        """The invariants that do not hold, as far as they are seen while the dispatcher lives."""
        return [
            *[f"I1: took {seen.seconds:.2f} s of {self.timeout} s" for seen in self.seen if seen.seconds > self.timeout + SLACK],
            *self._ends(),
            *self._counts(),
            *[f"I5: {leak}" for seen in self.seen for leak in leaks(seen.error, self._texts())],
            *[f"I6: {wrong}" for wrong in disagreements(self.dispatcher, self.recent)],
            *[f"I7: {held}" for held in residue(self.dispatcher)],
        ]

    def _ends(self) -> list[str]:
        seen = [result.error for result in self.seen]
        heard = [outcome.error for outcome in self.outcomes]
        return [] if seen == heard else [f"I2: callers saw {seen}, an observer {heard}"]

    def _counts(self) -> list[str]:
        records = [record for outcome in self.outcomes for record in outcome.attempts]
        sent = sum(record.sent is not False for record in records)
        again = sum(record.resent for record in records)  # the first of the two may have come to a closed connection
        hits = self.faulty.hits + self.healthy.hits
        return [] if sent <= hits <= sent + again else [f"I4: {sent} (+{again}) requests written down, {hits} came in"]

    def _texts(self) -> str:
        """All that is kept of the calls, as text."""
        dispatcher = self.dispatcher
        kept = [self.outcomes, dispatcher.get_stats(), dispatcher, dispatcher.config, remembered(dispatcher)]
        return "".join([repr(thing) for thing in kept] + [str(seen.error.trace) for seen in self.seen if seen.error is not None])


def _who(outcome: Outcome) -> str:
    if outcome.cached:
        return "memory"
    hedged = any(record.hedge and record.error is None for record in outcome.attempts)
    return "first" if outcome.vendor == FIRST else "hedge" if hedged else "second"


@contextmanager
def staged(plan: Plan, row: str, fault: Fault, *, streamed: bool) -> Iterator[Stage]:
    """The two vendors, and a dispatcher towards them; all is closed afterwards."""
    with ExitStack() as stack:
        faulty, healthy = [stack.enter_context(VendorSimulator(responses=ANSWER)) for _ in range(2)]
        outcomes: list[Outcome] = []
        clock = Later()
        config = Config(**{**CALM, **plan.settings})
        dispatcher = stack.enter_context(Dispatcher(config, observers=[outcomes.append], clock=clock))
        dispatcher.register_vendor(vendor_at(faulty, FIRST, rate_limit=ROOMY, each=plan.each))
        if plan.helped:
            second = vendor_at(healthy, SECOND, default_model=MODELS[SECOND], rate_limit=ROOMY, each=PATIENCE)
            dispatcher.register_vendor(second)
        yield Stage(row, fault, streamed, plan.timeout, faulty, healthy, clock, dispatcher, outcomes)
