"""Counts, latencies and cost: exact under threads, read as one consistent snapshot."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from decimal import Decimal

import attrs

from .outcome import AttemptRecord, Outcome

WINDOW = 4096
"""Percentiles are over this many latest latencies."""


@attrs.frozen(kw_only=True)
class VendorStats:
    """One vendor; ``requests`` counts every time it was asked. Latencies are seconds of answered attempts."""

    requests: int = 0
    successes: int = 0
    failures: int = 0
    retries: int = 0
    failovers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_cost: Decimal = Decimal(0)
    average_latency: float = 0.0
    p50_latency: float = 0.0
    p95_latency: float = 0.0
    p99_latency: float = 0.0
    errors: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Stats:
    """All calls that have ended: ``successful_requests + failed_requests == total_requests``; cancelled ones count as failed.

    Latencies are seconds of whole calls that succeeded, costs US dollars; calls without a known cost count as zero.
    """

    total_requests: int = 0
    successful_requests: int = 0
    failed_requests: int = 0
    cancelled_requests: int = 0
    retries: int = 0
    failovers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_cost: Decimal = Decimal(0)
    average_latency: float = 0.0
    p50_latency: float = 0.0
    p95_latency: float = 0.0
    p99_latency: float = 0.0
    vendor_stats: Mapping[str, VendorStats] = attrs.field(factory=dict)

    @property
    def success_rate(self) -> float:
        """Answered calls as a fraction of all, 0 to 1; 0 before the first."""
        return self.successful_requests / self.total_requests if self.total_requests else 0.0

    @property
    def average_cost(self) -> Decimal:
        """US dollars per answered call."""
        return self.total_cost / self.successful_requests if self.successful_requests else Decimal(0)


class _Series:
    """Latencies: the sum of all, the latest few for percentiles."""

    __slots__ = ("count", "latest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.latest: deque[float] = deque(maxlen=WINDOW)

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total += seconds
        self.latest.append(seconds)

    def figures(self) -> dict[str, float]:
        """The fields of a snapshot that latencies fill."""
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
        "latencies",
        "output_tokens",
        "retries",
        "succeeded",
    )

    def __init__(self) -> None:
        self.succeeded = self.failed = self.cancelled = self.retries = self.failovers = 0
        self.input_tokens = self.output_tokens = 0
        self.cost = Decimal(0)
        self.errors: dict[str, int] = {}
        self.latencies = _Series()

    def ended(self, error: str | None, latency: float) -> None:
        if error is None:
            self.succeeded += 1
            self.latencies.add(latency)
            return
        self.failed += 1
        self.cancelled += error == "Cancelled"
        self.errors[error] = self.errors.get(error, 0) + 1

    def moved(self, attempt: AttemptRecord) -> None:
        self.retries += attempt.retry
        self.failovers += attempt.failover

    def spent(self, outcome: Outcome) -> None:
        if outcome.usage is not None:
            self.input_tokens += outcome.usage.input_tokens
            self.output_tokens += outcome.usage.output_tokens
            if outcome.usage.cost is not None:
                self.cost += outcome.usage.cost


class StatsBook:
    """Writes down every outcome, once; safe under threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all = _Counts()
        self._vendors: dict[str, _Counts] = {}

    def record(self, outcome: Outcome) -> None:
        """Take in the end of one call with all its attempts."""
        with self._lock:
            self._all.ended(type(outcome.error).__name__ if outcome.error is not None else None, outcome.latency)
            self._all.spent(outcome)
            for attempt in outcome.attempts:
                counts = self._vendors.get(attempt.vendor)
                if counts is None:
                    counts = self._vendors[attempt.vendor] = _Counts()
                counts.ended(attempt.error, attempt.latency)
                counts.moved(attempt)
                self._all.moved(attempt)
            if outcome.vendor is not None and outcome.vendor in self._vendors:
                self._vendors[outcome.vendor].spent(outcome)

    def snapshot(self) -> Stats:
        """All numbers of one moment."""
        with self._lock:
            counts = self._all
            return Stats(
                total_requests=counts.succeeded + counts.failed,
                successful_requests=counts.succeeded,
                failed_requests=counts.failed,
                cancelled_requests=counts.cancelled,
                retries=counts.retries,
                failovers=counts.failovers,
                input_tokens=counts.input_tokens,
                output_tokens=counts.output_tokens,
                total_cost=counts.cost,
                vendor_stats={name: _vendor(vendor) for name, vendor in self._vendors.items()},
                **counts.latencies.figures(),
            )


def _vendor(counts: _Counts) -> VendorStats:
    return VendorStats(
        requests=counts.succeeded + counts.failed,
        successes=counts.succeeded,
        failures=counts.failed,
        retries=counts.retries,
        failovers=counts.failovers,
        input_tokens=counts.input_tokens,
        output_tokens=counts.output_tokens,
        total_cost=counts.cost,
        errors=dict(counts.errors),
        **counts.latencies.figures(),
    )
