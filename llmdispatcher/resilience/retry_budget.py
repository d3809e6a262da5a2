"""The retry budget: a limit on the retries of all calls together, so that an outage is not answered with a flood of them.

Only retries of a target that failed draw on it; the first attempt at another target does not, since circuit breakers limit those.
The figures follow Finagle's budget (20 % of the calls and a few per second): a full outage costs at most a fifth more attempts than
calls, and a caller with little traffic can still retry. Times are monotonic seconds and passed in.
"""

from __future__ import annotations

import attrs

from ..catalog import Target
from ..runtime import new_lock
from ..types import at_least, boolean, suggest

_SLICES = 10
_MOST = 10_000


@suggest
@attrs.frozen(kw_only=True)
class RetryBudget:
    """Retries of one target in any ``window`` seconds: ``ratio`` of its calls, and ``per_second`` besides."""

    enabled: bool = attrs.field(default=True, validator=boolean)
    ratio: float = attrs.field(default=0.2, validator=at_least(0))
    per_second: float = attrs.field(default=1.0, validator=at_least(0))
    window: float = attrs.field(default=10.0, validator=at_least(0.001))


class _RetryCounts:
    """Calls and retries of one target, by slice of the window."""

    __slots__ = ("calls", "number", "retries")

    def __init__(self) -> None:
        self.number = 0
        self.calls = [0] * _SLICES
        self.retries = [0] * _SLICES

    def turn(self, number: int) -> int:
        """Forget what is older than the window; return the index of the present slice."""
        for passed in range(self.number + 1, min(number, self.number + _SLICES) + 1):
            self.calls[passed % _SLICES] = self.retries[passed % _SLICES] = 0
        self.number = max(self.number, number)
        return self.number % _SLICES


class Budgets:
    """The retry budget of each target; safe under threads, bounded."""

    def __init__(self, policy: RetryBudget) -> None:
        self._policy = policy
        self._lock = new_lock()
        self._counts: dict[tuple[str, ...], _RetryCounts] = {}

    def called(self, target: Target, now: float) -> None:
        """Count a first try."""
        if self._policy.enabled:
            with self._lock:
                counts = self._counts.get(target.key) or self._made(target.key)
                number = int(now / self._policy.window * _SLICES)
                counts.calls[counts.turn(number) if number > counts.number else counts.number % _SLICES] += 1

    def spend(self, target: Target, now: float) -> bool:
        """Take one retry out of the budget; False, and nothing taken, where none is left."""
        policy = self._policy
        if not policy.enabled:
            return True
        with self._lock:
            counts = self._counts.get(target.key) or self._made(target.key)
            place = counts.turn(int(now / policy.window * _SLICES))
            if sum(counts.retries) + 1 > policy.ratio * sum(counts.calls) + policy.per_second * policy.window:
                return False
            counts.retries[place] += 1
            return True

    def _made(self, key: tuple[str, ...]) -> _RetryCounts:
        if len(self._counts) >= _MOST:
            del self._counts[next(iter(self._counts))]
        counts = self._counts[key] = _RetryCounts()
        return counts
