"""Vendors that were found down by asking them on purpose, not by a call: left alone until they answer, or the finding is too old.

A finding is weaker than a call: it is not taken in where a call has succeeded meanwhile, and a call that succeeds nevertheless ends
it. No lock: single steps of a dict are atomic. Moments are monotonic seconds and handed in.
"""

from __future__ import annotations

import math


class Outages:
    """Who is down until when, and who has answered a call when."""

    def __init__(self) -> None:
        self.down: dict[str, float] = {}
        self.watched = False
        """Whether anybody asks: else answers of calls need not be noted."""
        self._answered: dict[str, float] = {}

    def answered(self, vendor: str, now: float, *, forced: bool) -> None:
        """A call has succeeded; one that was ``forced``, since nobody else was left, ends the outage."""
        self._answered[vendor] = now
        if forced:
            self.down.pop(vendor, None)

    def found(self, vendor: str, since: float, until: float) -> bool:
        """Leave a vendor alone until then; False where a call has succeeded ``since`` the trouble was first seen."""
        if self._answered.get(vendor, -math.inf) >= since:
            return False
        self.down[vendor] = until
        return True

    def over(self, vendor: str) -> None:
        """The vendor answers again."""
        self.down.pop(vendor, None)

    def until(self, vendor: str, now: float) -> float:
        """The moment when the vendor may be asked again; minus infinity where it may be asked now."""
        until = self.down.get(vendor, -math.inf)
        return until if until > now else -math.inf
