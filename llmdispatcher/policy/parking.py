"""Targets that asked to be left alone until a moment, across calls: a 429's hint, a spent quota."""

from __future__ import annotations

import math

import attrs

from ..errors import DispatchError, QuotaExceeded
from ..locks import new_lock
from .target import Target

QUOTA_REST = 600.0
"""Seconds for which a target whose quota is spent is left alone when it gives no hint of its own."""
LONGEST_REST = 86_400.0
"""Seconds; a hint beyond a day is a mistake or malice, and must not remove a target for good."""
_MOST = 10_000


def rest_of(error: DispatchError) -> float:
    """Seconds for which a failed target wants to be left alone; 0 where it does not say."""
    rest = error.retry_after
    if rest is None:
        rest = QUOTA_REST if isinstance(error, QuotaExceeded) else 0.0
    return min(rest, LONGEST_REST) if rest > 0 else 0.0


@attrs.frozen
class _Parked:
    """Until when (monotonic), and the facts of the failure that told so."""

    until: float
    kind: type[DispatchError]
    status: int | None
    code: str | None


class Parking:
    """Who is parked until when; safe under threads, bounded. Moments are monotonic seconds and handed in."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._parked: dict[tuple[str, str], _Parked] = {}

    @property
    def in_use(self) -> bool:
        """Whether anybody was ever parked and not forgotten since."""
        return bool(self._parked)

    def park(self, target: Target, until: float, error: DispatchError) -> None:
        """Leave the target alone until then; a parking that lasts longer stays."""
        with self._lock:
            known = self._parked.get(target.key)
            if known is not None and known.until >= until:
                return
            if known is None and len(self._parked) >= _MOST:
                del self._parked[min(self._parked, key=lambda key: self._parked[key].until)]
            self._parked[target.key] = _Parked(until, type(error), error.status, error.code)

    def ready_at(self, target: Target, now: float) -> float:
        """The moment when the target may be asked again; minus infinity where it may be asked now."""
        parked = self._parked.get(target.key)
        if parked is None:
            return -math.inf
        if parked.until > now:
            return parked.until
        self._forget(target, parked)
        return -math.inf

    def refusal(self, target: Target, now: float) -> DispatchError | None:
        """What a call hears that would have needed this target: the same kind of error, without asking the vendor again."""
        parked = self._parked.get(target.key)
        if parked is None or parked.until <= now:
            return None
        left = parked.until - now
        return parked.kind(
            f"left alone for another {left:.1f} s, as it asked after an earlier call; come back then or register another vendor",
            vendor=target.vendor,
            model=target.model,
            status=parked.status,
            code=parked.code,
            retry_after=left,
            sent=False,
        )

    def _forget(self, target: Target, parked: _Parked) -> None:
        with self._lock:
            if self._parked.get(target.key) is parked:
                del self._parked[target.key]
