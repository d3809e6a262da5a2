"""The settings of hedging: the delay after which a second target is asked, and the share of calls that may be doubled."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs

from ..catalog import Target
from ..errors import ConfigError
from ..runtime import new_lock
from ..types import at_least, suggest
from .retry import Budgets, RetryBudget, Wakes

_REMEMBERED = 128
_ENOUGH = 20
_MOST = 10_000


@suggest
@attrs.frozen(kw_only=True)
class Hedge:
    """Ask one more target when the first is silent for unusually long; the first content wins.

    The delay is ``after`` seconds, or without it the 95th percentile of what the target took lately, at least ``min_delay``; a
    target that answered fewer than 20 times is not hedged then. At most ``share`` of all calls are doubled. Each hedge may be
    billed by both vendors.
    """

    after: float | None = attrs.field(default=None, validator=at_least(0))
    min_delay: float = attrs.field(default=1.0, validator=at_least(0))
    share: float = attrs.field(default=0.05, validator=at_least(0))

    @share.validator
    def _part(self, _attribute: Any, value: float) -> None:
        if value > 1:
            raise ConfigError(f"share: {value!r} is more than all calls; give a part of them, such as 0.05 for one in twenty")


class Hedges:
    """The latest latencies of each target, and how many hedges are left; safe under threads, bounded."""

    def __init__(self, policy: Hedge) -> None:
        self.policy = policy
        self.wakes = Wakes()
        self._lock = new_lock()
        self._taken: dict[tuple[str, str], deque[float]] = {}
        self._budgets = Budgets(RetryBudget(ratio=policy.share, per_second=0.01, window=100.0))
        self._all = Target(vendor="*", model="*")

    def observe(self, target: Target, seconds: float) -> None:
        """Record the seconds of one answer, or until the first token of a stream."""
        with self._lock:
            if target.key not in self._taken and len(self._taken) >= _MOST:
                del self._taken[next(iter(self._taken))]
            self._taken.setdefault(target.key, deque(maxlen=_REMEMBERED)).append(seconds)

    def delay(self, target: Target) -> float | None:
        """Seconds of silence after which this target is hedged; ``None`` while too little is known of it."""
        if self.policy.after is not None:
            return self.policy.after
        with self._lock:
            taken = sorted(self._taken.get(target.key, ()))
        if len(taken) < _ENOUGH:
            return None
        return max(self.policy.min_delay, taken[int(0.95 * (len(taken) - 1))])

    def called(self, now: float) -> None:
        """Count a call; hedges may be a share of the calls."""
        self._budgets.called(self._all, now)

    def spend(self, now: float) -> bool:
        """Take one hedge; return False where none is left."""
        return self._budgets.spend(self._all, now)
