"""Targets that asked to be left alone until a moment, across calls: a 429's hint, a spent quota."""

from __future__ import annotations

import threading

import attrs

from ..errors import DispatchError, QuotaExceeded
from .target import Target

QUOTA_REST = 600.0
"""Seconds for which a target whose quota is spent is left alone when it gives no hint of its own."""
_MOST = 10_000


@attrs.frozen
class Parked:
    """Until when (monotonic), and the failure that told so."""

    until: float
    kind: type[DispatchError]
    status: int | None
    code: str | None

    def error(self, target: Target, now: float) -> DispatchError:
        """What a call hears that would have needed this target: the same kind of error, without asking the vendor again."""
        left = self.until - now
        text = f"left alone for another {left:.1f} s, as it asked after an earlier call; come back then or register another vendor"
        return self.kind(
            text, vendor=target.vendor, model=target.model, status=self.status, code=self.code, retry_after=left, sent=False
        )


class Parking:
    """Who is parked until when; safe under threads, bounded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parked: dict[tuple[str, str], Parked] = {}

    def note(self, target: Target, error: DispatchError, now: float) -> None:
        """Park the target if the error tells to come back later."""
        rest = error.retry_after
        if rest is None and isinstance(error, QuotaExceeded):
            rest = QUOTA_REST
        if not rest or error.sent is False:
            return
        with self._lock:
            if len(self._parked) >= _MOST:
                self._parked = {key: parked for key, parked in self._parked.items() if parked.until > now}
            self._parked[target.key] = Parked(now + rest, type(error), error.status, error.code)

    def of(self, target: Target, now: float) -> Parked | None:
        """The parking of a target, while it lasts."""
        if not self._parked:
            return None
        parked = self._parked.get(target.key)
        return parked if parked is not None and parked.until > now else None
