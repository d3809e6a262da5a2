"""Statistics of calls: counts, latencies and cost, exact under threads and read as one consistent snapshot."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import attrs

from ..runtime import new_lock
from ..types import EXACT, AttemptRecord, Outcome, Usage

WINDOW = 4096
"""Percentiles are over this many latest latencies."""


@attrs.frozen(kw_only=True)
class _Figures:
    """What calls and vendors have alike."""

    retries: int = 0
    failovers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_cost: Decimal = Decimal(0)
    average_latency: float = 0.0
    p50_latency: float = 0.0
    p95_latency: float = 0.0
    p99_latency: float = 0.0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@attrs.frozen(kw_only=True)
class VendorStats(_Figures):
    """One vendor; ``requests`` counts every time it was asked. Latencies are seconds of answered attempts."""

    requests: int = 0
    successes: int = 0
    failures: int = 0
    errors: Mapping[str, int] = attrs.field(factory=dict)

    @property
    def success_rate(self) -> float:
        """Answered attempts as a fraction of all, 0 to 1; 0 before the first."""
        return self.successes / self.requests if self.requests else 0.0


@attrs.frozen(kw_only=True)
class Stats(_Figures):
    """All calls that have ended: ``successful_requests + failed_requests == total_requests``; cancelled ones count as failed.

    ``running_requests`` and ``waiting_requests`` (for :class:`~llmdispatcher.Admission`) have not ended yet.
    ``cache_hits`` of all were answered from memory, without tokens or cost. Latencies are seconds of whole calls that
    succeeded, costs US dollars; calls without a known cost count as zero.
    """

    total_requests: int = 0
    successful_requests: int = 0
    failed_requests: int = 0
    cancelled_requests: int = 0
    running_requests: int = 0
    waiting_requests: int = 0
    cache_hits: int = 0
    vendor_stats: Mapping[str, VendorStats] = attrs.field(factory=dict)

    @property
    def success_rate(self) -> float:
        """Answered calls as a fraction of all, 0 to 1; 0 before the first."""
        return self.successful_requests / self.total_requests if self.total_requests else 0.0

    @property
    def average_cost(self) -> Decimal:
        """US dollars per answered call."""
        return self.total_cost / self.successful_requests if self.successful_requests else Decimal(0)


@attrs.frozen
class _Latencies:
    """Latencies as of one moment: how many, their sum, the latest few for percentiles."""

    count: int
    total: float
    latest: list[float]

    def figures(self) -> dict[str, Any]:
        """The fields of a snapshot that latencies fill; sorts, so it is asked outside of the lock."""
        if not self.count:
            return {}
        ordered = sorted(self.latest)
        last = len(ordered) - 1
        return {
            "average_latency": self.total / self.count,
            "p50_latency": ordered[round(last * 0.50)],
            "p95_latency": ordered[round(last * 0.95)],
            "p99_latency": ordered[round(last * 0.99)],
        }


class _Counts:
    """The running numbers of one vendor, or of all calls."""

    __slots__ = (
        "cancelled",
        "cost",
        "errors",
        "failed",
        "failovers",
        "input_tokens",
        "latest",
        "output_tokens",
        "retries",
        "seconds",
        "succeeded",
    )

    def __init__(self) -> None:
        self.succeeded = self.failed = self.cancelled = self.retries = self.failovers = 0
        self.input_tokens = self.output_tokens = 0
        self.cost = Decimal(0)
        self.errors: dict[str, int] = {}
        self.seconds = 0.0
        self.latest: deque[float] = deque(maxlen=WINDOW)

    def ended(self, error: str | None, latency: float, usage: Usage | None = None) -> None:
        if usage is not None:
            self.spent(usage)
        if error is None:
            self.succeeded += 1
            self.seconds += latency
            self.latest.append(latency)
            return
        self.failed += 1
        self.cancelled += error == "Cancelled"
        self.errors[error] = self.errors.get(error, 0) + 1

    def moved(self, attempt: AttemptRecord) -> None:
        self.retries += attempt.retry
        self.failovers += attempt.failover

    def spent(self, usage: Usage) -> None:
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        if usage.cost is not None:
            self.cost = EXACT.add(self.cost, usage.cost)

    def latencies(self) -> _Latencies:
        return _Latencies(self.succeeded, self.seconds, list(self.latest))

    def shared(self) -> dict[str, Any]:
        """The fields that calls and vendors have alike."""
        return {
            "retries": self.retries,
            "failovers": self.failovers,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_cost": self.cost,
        }

    def of_calls(self) -> dict[str, Any]:
        """The fields of :class:`Stats`."""
        return {
            "total_requests": self.succeeded + self.failed,
            "successful_requests": self.succeeded,
            "failed_requests": self.failed,
            "cancelled_requests": self.cancelled,
            **self.shared(),
        }

    def of_vendor(self) -> dict[str, Any]:
        """The fields of :class:`VendorStats`."""
        return {
            "requests": self.succeeded + self.failed,
            "successes": self.succeeded,
            "failures": self.failed,
            "errors": dict(self.errors),
            **self.shared(),
        }


class StatsBook:
    """Writes down every outcome, once; safe under threads."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._all = _Counts()
        self._hits = 0
        self._vendors: dict[str, _Counts] = {}

    def record(self, outcome: Outcome) -> None:
        """Take in the end of one call with all its attempts."""
        with self._lock:
            error, usage = outcome.error, None if outcome.cached else outcome.usage
            self._all.ended(type(error).__name__ if error is not None else None, outcome.latency, usage)
            if outcome.cached:
                self._hits += 1
                return
            for attempt in outcome.attempts:
                counts = self._vendors.get(attempt.vendor)
                if counts is None:
                    counts = self._vendors[attempt.vendor] = _Counts()
                counts.ended(attempt.error, attempt.latency)
                if attempt.retry or attempt.failover:
                    counts.moved(attempt)
                    self._all.moved(attempt)
            if usage is not None and outcome.vendor is not None and outcome.vendor in self._vendors:
                self._vendors[outcome.vendor].spent(usage)

    def snapshot(self, running: int = 0, waiting: int = 0) -> Stats:
        """All numbers of one moment; whoever knows how many calls have not ended yet hands that in."""
        with self._lock:
            calls, latencies = self._all.of_calls(), self._all.latencies()
            hits = self._hits
            vendors = [(name, counts.of_vendor(), counts.latencies()) for name, counts in self._vendors.items()]
        return Stats(
            **calls,
            **latencies.figures(),
            running_requests=running,
            waiting_requests=waiting,
            cache_hits=hits,
            vendor_stats={name: VendorStats(**fields, **observed.figures()) for name, fields, observed in vendors},
        )
