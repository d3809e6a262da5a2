"""When a vendor wants to be asked again, in every form in which vendors say so; always seconds, never negative."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ..response_values import RateLimitRemaining

_GO_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
_DRAFT = re.compile(r"\br=0\s*;\s*t=(\d{1,9})\b")
"""A used-up limit in the IETF draft's ``ratelimit`` header, as Hugging Face sends it."""
_RESETS = (
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-tokens-reset",
    "anthropic-ratelimit-input-tokens-reset",
    "anthropic-ratelimit-output-tokens-reset",
)


def retry_after(headers: Mapping[str, str], body: Any, now: datetime, *, limited: bool) -> float | None:
    """Seconds to wait, by the best source there is; ``None`` where nothing usable is said.

    ``headers`` have lower-case names, ``body`` is the parsed answer, ``now`` is aware. In order: ``retry-after-ms``,
    ``retry-after`` (seconds or a date), Google's RetryInfo, an estimated loading time, and, for a rate-limited call only,
    the latest reset of an exhausted limit. A zero in one source does not hide a positive value in the next.
    """
    sources: tuple[Callable[[], float | None], ...] = (
        lambda: _milliseconds(headers.get("retry-after-ms")),
        lambda: _seconds_or_date(headers.get("retry-after"), now),
        lambda: _retry_info(body),
        lambda: _number(body.get("estimated_time")) if isinstance(body, Mapping) else None,
        lambda: _resets(headers, now) if limited else None,
    )
    said = [seconds for source in sources if (seconds := source()) is not None and math.isfinite(seconds)]
    return next((seconds for seconds in said if seconds > 0), said[0] if said else None)


def _number(value: Any) -> float | None:
    """A usable count of seconds: finite and not negative."""
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _milliseconds(value: str | None) -> float | None:
    number = _number(value)
    return None if number is None else number / 1000


def _seconds_or_date(value: str | None, now: datetime) -> float | None:
    if value is None:
        return None
    for part in (value, *value.split(",", 1)[:1]):  # two headers of the same name arrive joined by a comma
        seconds = _number(part.strip())
        if seconds is not None:
            return seconds
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return _until(date, now)


def _until(moment: datetime, now: datetime) -> float:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def duration(text: Any) -> float | None:
    """Seconds of a Go or protobuf duration: ``"20ms"``, ``"6m0s"``, ``"46s"``, ``"1.5s"``."""
    if not isinstance(text, str) or not text:
        return None
    parts = _GO_PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _GO_UNITS[unit] for number, unit in parts)


def details(body: Any) -> list[Mapping[str, Any]]:
    """The entries of Google's ``error.details``, also where the error stands in a list, as streams without SSE bring it."""
    if isinstance(body, list):
        body = next((item for item in body if isinstance(item, Mapping)), None)
    error = body.get("error") if isinstance(body, Mapping) else None
    entries = error.get("details") if isinstance(error, Mapping) else None
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []


def _retry_info(body: Any) -> float | None:
    delays = [duration(entry.get("retryDelay")) for entry in details(body)]
    return max((delay for delay in delays if delay is not None), default=None)


_COUNTS = (
    ("x-ratelimit-{what}-requests", "requests"),
    ("anthropic-ratelimit-requests-{what}", "requests"),
    ("x-ratelimit-{what}-tokens", "tokens"),
    ("anthropic-ratelimit-tokens-{what}", "tokens"),
)
_REMAINING = frozenset(pattern.format(what="remaining") for pattern, _ in _COUNTS)
_LITTLE = 0.1


def rate_limit_remaining(headers: Mapping[str, str], now: datetime) -> RateLimitRemaining | None:
    """What the vendor says is left of its limits, where that is less than a tenth; ``None`` where it is more, or not told."""
    if _REMAINING.isdisjoint(headers):
        return None
    said: dict[str, Any] = {}
    for pattern, name in _COUNTS:
        remaining = headers.get(pattern.format(what="remaining"))
        if remaining is None or name in said:
            continue
        left, most = _number(remaining), _number(headers.get(pattern.format(what="limit")))
        if left is not None and (most is None or left < _LITTLE * most):
            said |= {name: int(left), f"{name}_reset": _reset(headers.get(pattern.format(what="reset")), now)}
    return RateLimitRemaining(**said) if said else None


def _reset(value: str | None, now: datetime) -> float | None:
    """Seconds until a reset: a duration, or a moment."""
    if value is None:
        return None
    return _rfc3339(value, now) if value[:1].isdigit() and "T" in value else duration(value)


def _resets(headers: Mapping[str, str], now: datetime) -> float | None:
    """The latest reset among the limits that are used up."""
    waits: list[float | None] = [float(seconds) for seconds in _DRAFT.findall(headers.get("ratelimit", ""))]
    for name in _RESETS:
        value = headers.get(name)
        remaining = _number(headers.get(name.replace("reset", "remaining")))
        if value is None or (remaining is not None and remaining > 0):
            continue
        waits.append(_reset(value, now))
    return max((wait for wait in waits if wait is not None), default=None)


def _rfc3339(value: str, now: datetime) -> float | None:
    try:
        return _until(datetime.fromisoformat(value), now)
    except ValueError:
        return None
