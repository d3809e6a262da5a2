"""A vendor that is not reached: what its client, the log and the record of the request tell of the cause.

A client hears what happened, in words of ours. Where the vendor was looked for, which is the operator's own configuration, stands
in the log and in the records that an operator reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..._text import escaped, room_logger
from ...errors import AllTargetsFailed, DispatchError, VendorUnavailable
from ...runtime import Clock, new_lock
from ...types import AttemptRecord

logger = room_logger("server")

_PHASES: Mapping[str, str] = {
    "dns": "the vendor's name is not known",
    "connect": "the vendor cannot be connected to",
    "tls": "there is no secure connection to the vendor",
    "send": "the connection to the vendor broke",
    "first_byte": "the connection to the vendor broke before it answered",
    "idle": "the connection to the vendor broke while it answered",
}
_LATE: Mapping[str, str] = {
    "dns": "the vendor's name was not found in time",
    "connect": "no connection to the vendor was made in time",
    "tls": "no secure connection to the vendor was made in time",
    "send": "the vendor did not take the request in time",
    "first_byte": "the vendor did not begin to answer in time",
    "idle": "the vendor fell silent while it answered",
    "total": "the vendor did not answer in time",
}
"""What happened by phase: where something broke, and where time ran out."""
_REFUSED = "connection refused"
_QUIET = 60.0
"""Seconds in which a cause is logged once for each target."""
_MOST_TARGETS = 1000


def words_of_unreached(error: DispatchError) -> str | None:
    """What a client is told of vendors that were not reached, all in one way; ``None`` for other failures."""
    failures = error.failures if isinstance(error, AllTargetsFailed) else (error,)
    found = {_what(one) for one in failures}
    what = found.pop() if len(found) == 1 else None
    return None if what is None else f"no vendor can answer now: {what}; try again, or tell whoever runs this gateway"


def _what(error: DispatchError) -> str | None:
    if not isinstance(error, VendorUnavailable) or error.status is not None or error.phase is None:
        return None
    if error.timed_out:
        return _LATE.get(error.phase)
    if error.phase == "connect" and _REFUSED in error.message:
        return "the connection to the vendor is refused"
    return _PHASES.get(error.phase)


def without_causes(decision: Mapping[str, Any]) -> dict[str, Any]:
    """A decision as those read it who do not run the gateway: without the addresses of its vendors."""
    attempts = decision.get("attempts")
    if not isinstance(attempts, list):
        return dict(decision)
    return {**decision, "attempts": [{name: value for name, value in one.items() if name != "cause"} for one in attempts]}


class UnreachedVendors:
    """Logs why vendors are not reached, each cause of a target once a minute; safe under threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, new_lock()
        self._told: dict[tuple[str, str], float] = {}

    def hear(self, request_id: str, attempts: Iterable[AttemptRecord]) -> None:
        """Look at the attempts of a request that is over."""
        for attempt in attempts:
            if attempt.cause is not None and self._is_news(attempt.target, attempt.cause):
                logger.warning("%s: %.200s is not reached: %.500s", request_id, attempt.target, escaped(attempt.cause))

    def _is_news(self, target: str, cause: str) -> bool:
        now = self._clock.monotonic()
        with self._lock:
            if now - self._told.get((target, cause), -_QUIET) < _QUIET:
                return False
            if len(self._told) >= _MOST_TARGETS:
                self._told.clear()
            self._told[target, cause] = now
        return True
