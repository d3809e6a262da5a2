"""Units of the database: picodollars, microseconds, names of accounts, to and from Python's values.

It loads nothing, not even SQLAlchemy.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PICO = 1_000_000_000_000
_MICROSECOND = timedelta(microseconds=1)
BUDGETS_LOCK = 5_463_789_210_011
"""The key of PostgreSQL's advisory lock for the accounts of budgets."""
MOST = 2**63 - 1
"""What a column of the database holds."""
MOST_SUM = 9 * 10**18
"""At which a sum ends, nine million dollars: adding to it must not overflow the column."""
DAY = 86_400_000_000
"""Microseconds of a day in UTC, which has no summer."""

STATUSES = ("open", "success", "error", "timeout", "rate_limited", "cancelled", "unknown")
"""How a call or an attempt stands; ``unknown`` is one whose process died before it could tell."""

TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_long_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
)
"""The classes of tokens, named as in :class:`~llmdispatcher.Usage`."""


def micros(moment: datetime) -> int:
    """Microseconds since the epoch, exact."""
    return (moment - EPOCH) // _MICROSECOND


def moment(micros: int) -> datetime:
    """The aware datetime of so many microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=micros)


def day_of(micros: int) -> int:
    """Days since 1970-01-01, UTC."""
    return micros // DAY


MOST_DAYS = {"day": 1, "week": 7, "month": 31}
"""The periods of whole days, with the most days that one has."""


def first_day(period: str, day: date, week_start: int = 0) -> date:
    """The first day of the day, week or month that ``day`` is in; weeks begin on the weekday ``week_start``, Monday is 0."""
    if period == "week":
        return day - timedelta(days=(day.weekday() - week_start) % 7)
    return day.replace(day=1) if period == "month" else day


def picodollars(money: Decimal) -> int:
    """Whole picodollars, no more than a column holds; what is smaller is rounded half to even."""
    return min(MOST, int((money * PICO).to_integral_value()))


def dollars(pico: int) -> Decimal:
    """The exact ``Decimal`` of so many picodollars."""
    return Decimal(pico).scaleb(-12)


_MOST_BYTES = 480


def account_name(text: str) -> str:
    """A text that any database takes; one that had to be changed ends with the digest of the original, so that it stays unique."""
    if len(text) <= _MOST_BYTES and text.isascii() and "\0" not in text:
        return text
    exact, kept = text.encode("utf-8", "surrogatepass"), text.replace("\0", "").encode("utf-8", "replace")
    if kept == exact and len(kept) <= _MOST_BYTES:
        return text
    return f"{kept[:_MOST_BYTES].decode('utf-8', 'ignore')}~{hashlib.sha256(exact).hexdigest()[:16]}"
