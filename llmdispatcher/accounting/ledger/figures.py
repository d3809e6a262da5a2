"""What queries return, as values: the totals of a time span and of each of its buckets, and models with their prices."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import attrs

from ...types import EXACT, Price

MOST_RANKED = 100_000
"""Percentiles are computed of at most this many calls; for more they would read every row."""


@attrs.frozen(kw_only=True)
class UsageFigures:
    """The sums of a number of calls. Costs are US dollars; calls without a known cost count as zero and as ``unpriced_calls``.

    ``successful_calls`` and those that ended as ``errors``, ``timeouts``, ``rate_limited``, ``cancelled`` or ``unknown`` add up
    to ``total_calls``; calls in progress are not counted. ``cached_calls`` were answered from the cache. ``attempts`` is how
    often a vendor was asked. Latencies are seconds, ``None`` without calls.
    """

    total_calls: int = 0
    successful_calls: int = 0
    errors: int = 0
    timeouts: int = 0
    rate_limited: int = 0
    cancelled: int = 0
    unknown: int = 0
    cached_calls: int = 0
    streamed_calls: int = 0
    hedged_calls: int = 0
    unpriced_calls: int = 0
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_long_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    total_cost: Decimal = Decimal(0)
    average_latency: float | None = None
    average_first_token: float | None = None

    @property
    def total_requests(self) -> int:
        """The number of calls, ``total_calls`` by another name."""
        return self.total_calls

    @property
    def total_tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens

    @property
    def avg_cost_per_call(self) -> Decimal:
        """US dollars; 0 without calls."""
        return EXACT.divide(self.total_cost, self.total_calls) if self.total_calls else Decimal(0)

    @property
    def success_rate(self) -> Decimal | None:
        """Successful calls as a fraction of all, 0 to 1; ``None`` without calls."""
        return EXACT.divide(self.successful_calls, self.total_calls) if self.total_calls else None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON can hold them; US dollars are texts."""
        shown = {field.name: getattr(self, field.name) for field in attrs.fields(UsageFigures)}
        rate = self.success_rate
        return shown | {
            "total_requests": self.total_requests,
            "total_tokens": self.total_tokens,
            "total_cost": f"{self.total_cost:f}",
            "avg_cost_per_call": f"{self.avg_cost_per_call:.12f}",
            "success_rate": float(rate) if rate is not None else None,
        }


@attrs.frozen(kw_only=True)
class UsageBucket(UsageFigures):
    """The figures of one ``period``, of one ``value`` of the dimension ``by``, or of both; ``None`` if not asked for.

    ``value`` is ``""`` for calls without one.
    """

    start: datetime
    end: datetime
    period: str | None = None
    value: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the bucket as JSON can hold it; moments and US dollars are texts."""
        own = {"period": self.period, "value": self.value, "start": self.start.isoformat(), "end": self.end.isoformat()}
        return own | super().as_dict()


@attrs.frozen(kw_only=True)
class UsageStats(UsageFigures):
    """The figures of a span, and its ``buckets``. The span ends before ``end``; moments are in the zone of the query.

    ``p50_latency`` and ``p95_latency`` (seconds) are ``None`` for more than :data:`MOST_RANKED` calls. ``complete`` is False if
    rows were needed that retention has deleted; their calls are then missing from the figures.
    """

    start: datetime
    end: datetime
    timezone: str
    group_by: str | None = None
    by: str | None = None
    unique_models: int = 0
    unique_origins: int = 0
    p50_latency: float | None = None
    p95_latency: float | None = None
    complete: bool = True
    buckets: tuple[UsageBucket, ...] = ()

    @property
    def summary(self) -> UsageStats:
        """These figures without their buckets."""
        return attrs.evolve(self, buckets=())

    def as_dict(self) -> dict[str, Any]:
        """Return the statistics as JSON can hold them: a ``summary`` and a list of ``buckets``."""
        names = ("timezone", "group_by", "by", "unique_models", "unique_origins", "p50_latency", "p95_latency", "complete")
        own = {"start": self.start.isoformat(), "end": self.end.isoformat()} | {name: getattr(self, name) for name in names}
        return {"summary": own | super().as_dict(), "buckets": [bucket.as_dict() for bucket in self.buckets]}


@attrs.frozen(kw_only=True)
class LedgerModel:
    """A model in a ledger's database; for the fields see :class:`~llmdispatcher.ModelFacts`, from which it was written.

    Prices are US dollars for a million tokens, ``None`` where they are not known; ``price_row`` has all of the price, as the
    catalog has it. ``inactive_from`` is when its vendor ceased to serve it, as far as was known, ``None`` if it does;
    ``updated_at`` is when something of it last changed here.
    """

    vendor: str
    model: str
    kind: str = "chat"
    context_window: int | None = None
    max_tokens: int | None = None
    capabilities: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()
    input_price: Decimal | None = None
    output_price: Decimal | None = None
    cache_read_price: Decimal | None = None
    cache_write_price: Decimal | None = None
    price_row: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    price_version: str | None = None
    released: date | None = None
    deprecated: date | None = None
    source: str | None = None
    source_date: str | None = None
    inactive_from: datetime | None = None
    created_at: datetime
    updated_at: datetime

    @property
    def ref(self) -> str:
        """``"vendor:model"``, as a request can name it."""
        return f"{self.vendor}:{self.model}"

    @property
    def price(self) -> Price | None:
        """The whole price, with its bands, tiers and hours; ``None`` if it is not known."""
        return Price.from_row(self.price_row) if self.price_row is not None else None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them; US dollars, days and times are texts, sets are sorted lists."""
        return {field.name: _json_value(getattr(self, field.name)) for field in attrs.fields(type(self))}


def _json_value(value: Any) -> Any:
    if isinstance(value, frozenset | tuple):
        return sorted(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, date) else value


@attrs.frozen(kw_only=True)
class ModelsReport:
    """What a refresh of the models did: how many the catalog knows, and how many rows were ``added``, ``changed`` and ``ended``.

    ``ended`` are those that the catalog no longer has; their rows stay, with ``inactive_from``.
    """

    models: int
    added: int
    changed: int
    ended: int
