"""Calls and attempts of the ledger: the values that a user reads, and the rows that are written.

Rows are tuples of plain values. The writer's thread makes them from what calls hand to it. A row is "open" from before the first
byte is sent until its end is known. Of two rows with the same key, the one that is not open counts, in whatever order they come.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from ...types import AttemptRecord, Outcome
from ..units import TOKENS, picodollars

if TYPE_CHECKING:
    from ...catalog import Target
    from ...runtime import Deadline
    from ...types import CallOrigin, Request


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
        """Input and output tokens together, as far as they are known."""
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    @property
    def cursor(self) -> str:
        """The call's place in the list, for ``list_recent_calls(before=...)``."""
        return f"{self.begun_at.isoformat()}/{self.id}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them; US dollars and times are texts."""
        return _json_record(self)


@attrs.frozen(kw_only=True)
class LedgerAttempt:
    """One attempt at one vendor; see :class:`~llmdispatcher.AttemptRecord`. ``number`` counts from 1 in the order of asking."""

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
        """Return the fields as JSON can hold them; US dollars and times are texts."""
        return _json_record(self)


@attrs.frozen(kw_only=True)
class RecordedCall:
    """A call that was recorded by hand. ``new`` is False if its id was known already, and nothing was changed."""

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
    """What became of the rows of an import: ``rows == imported + known + failed``; ``known`` calls were recorded before.

    ``problems`` describes the first thousand rows that failed.
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
    """How many rows retention has deleted, or would delete (``dry_run``), all from before ``before``; the daily totals stay."""

    before: datetime
    calls: int = 0
    attempts: int = 0
    dry_run: bool = False


@attrs.frozen(kw_only=True)
class ErasureReport:
    """What the erasure of a user has changed, or would change (``dry_run``).

    ``calls`` have no user, ``id_at_origin`` and metadata any more, the totals of ``days`` are those of no user, ``accounts`` of
    budgets have another name. ``certified`` of the calls have receipts. ``left`` says what still tells of the user, and why.
    """

    calls: int = 0
    days: int = 0
    accounts: int = 0
    certified: int = 0
    left: tuple[str, ...] = ()
    dry_run: bool = False


def _json_record(record: Any) -> dict[str, Any]:
    return {field.name: _json_value(getattr(record, field.name)) for field in attrs.fields(type(record))}


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, datetime) else value


Row = tuple[Any, ...]


def _columns(record: type) -> tuple[str, ...]:
    names = [field.name for field in attrs.fields(record)]
    return tuple([f"{name}_us" if name in ("latency", "first_token") else name for name in names])


CALL = _columns(LedgerCall)
"""The columns of a call's row, in their order; the writer's id is put behind them when they are written."""

ATTEMPT = _columns(LedgerAttempt)
"""The columns of an attempt's row."""

STATUS = CALL.index("status")
ATTEMPT_STATUS = ATTEMPT.index("status")

MOST_BYTES = 500
"""Bytes of one text. Five of them are the key of a daily total, and a key of PostgreSQL has at most 2,704 bytes."""
MOST_STATUS = 32_767
"""The largest HTTP status that the column holds; a user's own vendor may report anything."""
MOST_METADATA = 4096
MOST_DEPTH = 4
_MOST_WHOLE = 10**100
MOST_ITEMS = 64

_NO_TOKENS = (None,) * len(TOKENS)
_tokens = attrgetter(*TOKENS)
_STATUS_OF = {
    "DeadlineExceeded": "timeout",
    "RateLimitError": "rate_limited",
    "Cancelled": "cancelled",
    "DispatchError": "cancelled",  # the bare class is an interruption, such as Ctrl-C
}


class CallView(Protocol):
    """What a ledger reads of a call before an attempt; the dispatcher's own class is in a higher room."""

    id: str
    request: Request
    deadline: Deadline
    started: float
    streamed: bool
    hedge: bool

    def whose(self) -> CallOrigin:
        """The origin, user, alias and profile of the call."""


class AttemptView(Protocol):
    """What a ledger reads of an attempt before it is made; ``of`` is its call's id."""

    of: str
    number: int
    target: Target
    started: float
    retry: bool
    failover: bool
    continuation: bool


def start_micros(call_id: str) -> int:
    """The microsecond at which a call began."""
    return int(call_id[:16], 16)


def start_rows(call: CallView, attempt: AttemptView) -> tuple[Row, Row]:
    """The rows of a call and of an attempt that is about to be made."""
    at = start_micros(call.id)
    whose, target = call.whose(), attempt.target
    texts = clean_all(whose.origin, whose.id_at_origin, whose.user, whose.alias, whose.profile, target.vendor, target.model)
    metadata = metadata_json(call.request.metadata) if call.request.metadata else None
    flags = (call.streamed, False, call.hedge, attempt.number)
    of_call = (call.id, at, None, *texts, "open", None, *_NO_TOKENS, None, None, None, None, None, *flags, metadata)
    begins = at + int((attempt.started - call.started) * 1_000_000)
    reasons = (attempt.retry, attempt.failover, call.hedge, attempt.continuation)
    start = (attempt.of, attempt.number, begins, *texts[-2:], "open", None, None, *reasons)
    return of_call, (*start, None, False, None, None, None, None, None)


def attempt_row(record: AttemptRecord) -> tuple[None, Row]:
    """The row of an attempt that has ended."""
    error, status = record.error, record.status
    return None, (
        record.call_id,
        record.number,
        start_micros(record.call_id) + int(record.started * 1_000_000),
        *clean_all(record.vendor, record.model),
        "success" if error is None else _STATUS_OF.get(error, "error"),
        error,
        status if type(status) is int and 0 <= status <= MOST_STATUS else None,
        record.retry,
        record.failover,
        record.hedge,
        record.continuation,
        record.sent,
        record.possibly_billed,
        picodollars(record.cost) if record.cost is not None else None,
        int(record.latency * 1_000_000),
        int(record.first_token * 1_000_000) if record.first_token is not None else None,
        record.bytes_sent,
        record.bytes_received,
    )


def call_row(outcome: Outcome) -> tuple[Row, None]:
    """The row of a call that has ended."""
    at = start_micros(outcome.call_id)
    took = int(outcome.latency * 1_000_000)
    attempts, usage, error = outcome.attempts, outcome.usage, outcome.error
    vendor, model = outcome.vendor, outcome.model
    if vendor is None and attempts:
        vendor, model = attempts[-1].vendor, attempts[-1].model
    priced = (usage.cost_status, usage.price_version) if usage is not None else (None, None)
    row = (
        outcome.call_id,
        at,
        at + took,
        *clean_all(outcome.origin, outcome.id_at_origin, outcome.user, outcome.alias, outcome.profile, vendor, model),
        status_of(error) if error is not None else "success",
        type(error).__name__ if error is not None else None,
        *(_tokens(usage) if usage is not None else _NO_TOKENS),
        _cost(outcome),
        *clean_all(*priced),
        took,
        int(outcome.first_token * 1_000_000) if outcome.first_token is not None else None,
        outcome.streamed,
        outcome.cached,
        len(attempts) > 1 and any(attempt.hedge for attempt in attempts),
        len(attempts),
        metadata_json(outcome.metadata) if outcome.metadata else None,
    )
    return row, None


def _cost(outcome: Outcome) -> int | None:
    """Picodollars of all attempts, failed ones included, as far as they are known; ``None`` if the response's own cost is not.

    A call of which nothing was sent costs nothing.
    """
    own = outcome.cost
    if own is None and outcome.error is None:
        return None
    if own is None and all(attempt.sent is False for attempt in outcome.attempts):
        return 0
    if len(outcome.attempts) > 1:
        known = [attempt.cost for attempt in outcome.attempts if attempt.cost is not None]
        own = sum(known[1:], known[0]) if known else own
    return picodollars(own) if own is not None else None


def fold(calls: Iterable[Row], attempts: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """Keep one row for each call and each attempt: of several with one key, the one that is not open."""
    ends: dict[str, Row] = {}
    for row in calls:
        if row[STATUS] != "open" or row[0] not in ends:
            ends[row[0]] = row
    attempt_row: dict[tuple[str, int], Row] = {}
    for row in attempts:
        if row[ATTEMPT_STATUS] != "open" or row[:2] not in attempt_row:
            attempt_row[row[0], row[1]] = row
    return list(ends.values()), list(attempt_row.values())


def status_of(error: BaseException) -> str:
    """The status of a call that ended with this error; of several failures with one status, that one."""
    several = {status_of(failure) for failure in getattr(error, "failures", ())}
    return several.pop() if len(several) == 1 else _STATUS_OF.get(type(error).__name__, "error")


def clean(text: str | None) -> str | None:
    """A text that any database takes: without NUL, in whole characters, of :data:`MOST_BYTES` at most."""
    return clean_all(text)[0]


def clean_all(*texts: str | None) -> tuple[str | None, ...]:
    return tuple(
        [
            text
            if text is None or (len(text) <= MOST_BYTES and text.isascii() and "\0" not in text)
            else str(text).replace("\0", "").encode("utf-8", "replace")[:MOST_BYTES].decode("utf-8", "ignore")
            for text in texts
        ]
    )


def metadata_json(metadata: Mapping[str, Any]) -> str | None:
    """Metadata as JSON of at most :data:`MOST_METADATA` bytes; what is too deep or too much is left out, no JSON becomes its type.

    ``None`` if it is empty or cannot be read at all: a call must not lose its row by it.
    """
    if not metadata:
        return None
    try:
        if "tags" in metadata:
            tags = metadata["tags"]
            own = sorted(map(str, tags)) if isinstance(tags, set | frozenset) else tags
            rest = {key: value for key, value in metadata.items() if key != "tags"}
            metadata = {"tags": own, **rest}  # first, since what stands last is left out first
        kept = {clean(str(key)): _plain_value(value, MOST_DEPTH) for key, value in islice(metadata.items(), MOST_ITEMS)}
    except (ValueError, TypeError, RuntimeError):  # a key of a user's own class, a mapping that is changed meanwhile
        return None
    while True:
        text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        if len(text.encode()) <= MOST_METADATA:
            return text
        kept.popitem()


def _plain_value(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < _MOST_WHOLE else "<int>"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return clean(value)
    if depth and isinstance(value, Mapping):
        return {clean(str(key)): _plain_value(inner, depth - 1) for key, inner in islice(value.items(), MOST_ITEMS)}
    if depth and isinstance(value, list | tuple):
        return [_plain_value(inner, depth - 1) for inner in islice(value, MOST_ITEMS)]
    return f"<{type(value).__name__}>"  # not its repr, which may hold anything
