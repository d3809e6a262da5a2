"""What the gateway sees of its vendors: whom it is asking now, who answered last, and who fails."""

from __future__ import annotations

from datetime import datetime

import attrs

from ...dispatcher import Dispatcher
from ...runtime import Clock, new_lock
from ...types import AttemptRecord, AttemptStart, Observer

_FAILING = frozenset(
    {"AuthenticationError", "DeadlineExceeded", "MalformedReply", "QuotaExceeded", "StreamInterrupted", "VendorUnavailable"}
)
"""Classes of errors that speak against a vendor; the others are the request's, the caller's, or a limit's."""
_GOOD = ("healthy", "available", "rate_limited")
_FINDINGS = {"unknown": "available", **{word: word for word in _GOOD}}
"""By a finding of a health check: the word for it here; every other one is an error."""


@attrs.define(eq=False)
class _SeenState:
    """One vendor: its attempts under way, how the last one ended, and when."""

    asking: set[tuple[str, int]] = attrs.field(factory=set)
    state: str | None = None
    at: float = 0.0
    last_error_at: datetime | None = None


class VendorWatch(Observer):
    """Hears of every attempt; safe under threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = new_lock()
        self._seen: dict[str, _SeenState] = {}

    def on_attempt_start(self, start: AttemptStart) -> None:
        """Count an attempt under way."""
        with self._lock:
            seen = self._seen.get(start.vendor) or self._seen.setdefault(start.vendor, _SeenState())
            seen.asking.add((start.call_id, start.number))

    def on_attempt(self, record: AttemptRecord) -> None:
        """Note how an attempt ended."""
        at, state = self._clock.monotonic(), "healthy"
        if record.error is not None:
            state = "rate_limited" if record.error == "RateLimitError" else "error" if record.error in _FAILING else ""
        with self._lock:
            seen = self._seen.get(record.vendor) or self._seen.setdefault(record.vendor, _SeenState())
            seen.asking.discard((record.call_id, record.number))
            if state:
                seen.state, seen.at = state, at
            if state and record.error is not None:
                seen.last_error_at = self._clock.now()

    def active(self, vendor: str) -> int:
        """Attempts under way at a vendor."""
        seen = self._seen.get(vendor)
        return len(seen.asking) if seen is not None else 0

    def last_error_at(self, vendor: str) -> datetime | None:
        """When a vendor failed last."""
        seen = self._seen.get(vendor)
        return seen.last_error_at if seen is not None else None

    def state(self, dispatcher: Dispatcher, name: str) -> str:
        """How a vendor is, as "healthy", "available" (nobody knows better), "rate_limited" or "error"; asks nobody.

        Counts the newer of its last attempt and of its last health check.
        """
        vendor = dispatcher.get_vendor(name)
        if vendor is None or not vendor.is_available():
            return "error"
        seen, found = self._seen.get(name), dispatcher.health().get(name)
        told = _FINDINGS.get(found.status, "error") if found is not None else "available"
        if seen is not None and seen.state is not None:
            age = self._clock.monotonic() - seen.at
            if found is None or found.age is None or found.age >= age:
                told = seen.state
        if told in ("healthy", "available") and _is_used_up(dispatcher, name):
            return "rate_limited"
        return told

    def states(self, dispatcher: Dispatcher) -> dict[str, str]:
        """How all vendors are, by their names."""
        return {name: self.state(dispatcher, name) for name in dispatcher.get_vendors()}


def is_good(state: str) -> bool:
    """Whether a vendor of that state can be asked, now or in a while."""
    return state in _GOOD


def _is_used_up(dispatcher: Dispatcher, name: str) -> bool:
    status = dispatcher.get_rate_limit_status(name)
    return status.requests_remaining == 0 or status.tokens_remaining == 0
