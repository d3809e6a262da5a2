"""A call and an attempt as the ledger has them, as values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class LedgerCall:
    """One call. Times are UTC, latencies seconds, ``cost`` US dollars; ``None`` is unknown.

    ``status`` is "open", "success", "error", "timeout", "rate_limited", "cancelled", or "unknown" where its process died.
    """

    id: str
    begun_at: datetime
    ended_at: datetime | None = None
    origin: str | None = None
    id_at_origin: str | None = None
    user: str | None = None
    alias: str | None = None
    profile: str | None = None
    vendor: str | None = None
    model: str = ""
    status: str = "success"
    error_class: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_long_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    cost: Decimal | None = None
    cost_status: str | None = None
    price_version: str | None = None
    latency: float | None = None
    first_token: float | None = None
    streamed: bool = False
    cached: bool = False
    hedged: bool = False
    attempts: int = 0
    metadata: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def total_tokens(self) -> int:
        """Input and output together, as far as they are known."""
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    @property
    def cursor(self) -> str:
        """Its place in the list, for ``list_recent_calls(before=...)``."""
        return f"{self.begun_at.isoformat()}/{self.id}"

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it; US dollars and times are texts."""
        return _plain(self)


@attrs.frozen(kw_only=True)
class LedgerAttempt:
    """One vendor asked once; see :class:`~llmdispatcher.outcome.AttemptRecord`. ``number`` counts from 1 in the order of asking."""

    call_id: str
    number: int
    begun_at: datetime
    vendor: str
    model: str
    status: str
    error_class: str | None = None
    http_status: int | None = None
    retry: bool = False
    failover: bool = False
    hedge: bool = False
    continuation: bool = False
    sent: bool | None = None
    possibly_billed: bool = False
    cost: Decimal | None = None
    latency: float | None = None
    first_token: float | None = None
    bytes_sent: int | None = None
    bytes_received: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it; US dollars and times are texts."""
        return _plain(self)


@attrs.frozen(kw_only=True)
class RecordedCall:
    """A call that was reported by hand. ``new`` is False where its id was there already, and nothing was changed."""

    id: str
    new: bool
    begun_at: datetime
    cost: Decimal | None = None
    cost_status: str | None = None


@attrs.frozen(kw_only=True)
class ImportProblem:
    """A row that was not imported; ``line`` counts from 1, ``reason`` names the field and the remedy."""

    line: int
    reason: str


@attrs.frozen(kw_only=True)
class ImportReport:
    """What became of the rows of an import: ``rows == imported + known + failed``; ``known`` were there already.

    ``problems`` tells of those that failed, of the first thousand of them.
    """

    rows: int = 0
    imported: int = 0
    known: int = 0
    failed: int = 0
    problems: tuple[ImportProblem, ...] = ()


@attrs.frozen(kw_only=True)
class ExportReport:
    """How many calls an export has written."""

    rows: int = 0


@attrs.frozen(kw_only=True)
class PruneReport:
    """What retention has deleted, all from before ``before``; the sums by day stay."""

    before: datetime
    calls: int = 0
    attempts: int = 0


def _plain(record: Any) -> dict[str, Any]:
    return {field.name: _written(getattr(record, field.name)) for field in attrs.fields(type(record))}


def _written(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, datetime) else value
