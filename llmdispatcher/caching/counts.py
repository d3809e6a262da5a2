"""What a cache has done, counted exactly under threads."""

from __future__ import annotations

from decimal import Decimal

import attrs

from ..catalog.prices import EXACT
from ..locks import new_lock


@attrs.frozen(kw_only=True)
class CacheStats:
    """What a cache has done in this process: ``shared`` answers came from a call under way, ``hits`` from the store.

    ``errors`` are failures of the store, ``saved_cost`` is US dollars that hits and shared answers did not cost.
    """

    hits: int = 0
    misses: int = 0
    shared: int = 0
    stores: int = 0
    evictions: int = 0
    errors: int = 0
    saved_cost: Decimal = Decimal(0)

    @property
    def hit_rate(self) -> float:
        """Answers that nobody was asked for, as a fraction of all looked up, 0 to 1; 0 before the first."""
        spared = self.hits + self.shared
        return spared / (spared + self.misses) if spared else 0.0


class Tally:
    """The running counts of a cache."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._counts: dict[str, int] = {}
        self._saved = Decimal(0)

    def add(self, name: str, step: int = 1) -> None:
        """Count one thing more."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + step

    def spared(self, how: str, cost: Decimal | None) -> None:
        """Count an answer that nobody was asked for, and what it cost the first time."""
        with self._lock:
            self._counts[how] = self._counts.get(how, 0) + 1
            if cost:
                self._saved = EXACT.add(self._saved, cost)

    def snapshot(self) -> CacheStats:
        """All counts of one moment."""
        with self._lock:
            return CacheStats(**self._counts, saved_cost=self._saved)
