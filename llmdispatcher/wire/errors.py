"""Make an error of the library from a vendor's refusal: its status, headers and body, by tables for all formats.

Only this file knows status codes of vendors. The order of judgement: the vendor's own code where it is unmistakable, then the
wording of its message where vendors hide one failure behind another's status, then the status. A retry delay is read in every form
that vendors use; it is in seconds and never negative.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import attrs

from ..errors import (
    AuthenticationError,
    ContentFiltered,
    ContextWindowExceeded,
    DispatchError,
    InvalidRequest,
    MalformedReply,
    ModelNotFound,
    QuotaExceeded,
    RateLimitError,
    VendorUnavailable,
)
from ..runtime import SYSTEM_CLOCK
from ..types import RateLimitRemaining, parse_text

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
    the latest reset of an exhausted limit. A zero in one source does not hide a positive value in the next. Dates are measured
    against the answer's own, since the clocks of vendor and caller may differ.
    """
    sources: tuple[Callable[[], float | None], ...] = (
        lambda: _milliseconds(headers.get("retry-after-ms")),
        lambda: _seconds_or_date(headers.get("retry-after"), headers, now),
        lambda: _retry_info(body),
        lambda: _number(body.get("estimated_time")) if isinstance(body, Mapping) else None,
        lambda: _resets(headers, now) if limited else None,
    )
    said = [seconds for source in sources if (seconds := source()) is not None and math.isfinite(seconds)]
    return next((seconds for seconds in said if seconds > 0), said[0] if said else None)


def _date(value: str) -> datetime | None:
    """An HTTP date, aware; ``None`` for anything else."""
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


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


def _seconds_or_date(value: str | None, headers: Mapping[str, str], now: datetime) -> float | None:
    if value is None:
        return None
    for part in (value, *value.split(",", 1)[:1]):  # two headers of the same name arrive joined by a comma
        seconds = _number(part.strip())
        if seconds is not None:
            return seconds
    date = _date(value)
    return None if date is None else _until(date, headers, now)


def _until(moment: datetime, headers: Mapping[str, str], now: datetime) -> float:
    """Seconds from when the vendor sent its answer, by its own clock (RFC 9110, section 6.6.1), or else from ``now``."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    sent = _date(headers.get("date", ""))
    return max(0.0, (moment - (sent or now)).total_seconds())


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
            said |= {name: int(left), f"{name}_reset": _reset(headers.get(pattern.format(what="reset")), headers, now)}
    return RateLimitRemaining(**said) if said else None


def _reset(value: str | None, headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds until a reset: a duration, or a moment."""
    if value is None:
        return None
    return _rfc3339(value, headers, now) if value[:1].isdigit() and "T" in value else duration(value)


def _resets(headers: Mapping[str, str], now: datetime) -> float | None:
    """The latest reset among the limits that are used up."""
    waits: list[float | None] = [float(seconds) for seconds in _DRAFT.findall(headers.get("ratelimit", ""))]
    for name in _RESETS:
        value = headers.get(name)
        remaining = _number(headers.get(name.replace("reset", "remaining")))
        if value is None or (remaining is not None and remaining > 0):
            continue
        waits.append(_reset(value, headers, now))
    return max((wait for wait in waits if wait is not None), default=None)


def _rfc3339(value: str, headers: Mapping[str, str], now: datetime) -> float | None:
    try:
        return _until(datetime.fromisoformat(value), headers, now)
    except ValueError:
        return None


MAX_MESSAGE = 2_000
MAX_EXCERPT = 200
_READ = 4 * MAX_MESSAGE
"""Characters of a vendor's words that are looked at; an error is cut (:meth:`DispatchError.shortened`) when it has been masked."""
NO_REASON = "the vendor gives no reason"
LONG_HINT = 3_600.0
"""Seconds; a limit that ends later is no limit of a minute. It is a spent quota only if the vendor's words say so."""

STATUSES: Mapping[int, type[DispatchError]] = {
    401: AuthenticationError,
    402: QuotaExceeded,
    403: AuthenticationError,
    404: ModelNotFound,
    408: VendorUnavailable,
    409: VendorUnavailable,
    425: VendorUnavailable,
    429: RateLimitError,
    451: ContentFiltered,
}
_FINAL_STATUSES = frozenset({501, 505})

CODES: Mapping[str, type[DispatchError]] = {
    "insufficient_quota": QuotaExceeded,
    "quota_exceeded": QuotaExceeded,
    "usage_limit_reached": QuotaExceeded,
    "billing_error": QuotaExceeded,
    "billing_hard_limit_reached": QuotaExceeded,
    "billing_not_active": QuotaExceeded,
    "payment_required": QuotaExceeded,
    "enforced_spend_limit_reached": QuotaExceeded,
    "contract_spend_limit_reached": QuotaExceeded,
    "context_length_exceeded": ContextWindowExceeded,
    "exceed_context_size_error": ContextWindowExceeded,
    "model_context_window_exceeded": ContextWindowExceeded,
    "content_filter": ContentFiltered,
    "content_policy_violation": ContentFiltered,
    "responsibleaipolicyviolation": ContentFiltered,
    "model_not_found": ModelNotFound,
    "deploymentnotfound": ModelNotFound,
    "invalid_api_key": AuthenticationError,
    "ramp_limit_exceeded": RateLimitError,
}

STANDS_FOR: Mapping[str, int] = {
    "invalid_request_error": 400,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "authentication_error": 401,
    "unauthenticated": 401,
    "billing_error": 402,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "rate_limited": 429,
    "resource_exhausted": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "internal": 500,
    "internal_server_error": 500,
    "unavailable": 503,
    "provider_overloaded": 503,
    "timeout_error": 504,
    "deadline_exceeded": 504,
    "overloaded_error": 529,
}
"""The status that an error inside a 200 would have had."""

_SPENT = (
    r"exceeded your current quota|credit balance is too low|insufficient (balance|credit|funds)"
    r"|usage limits?\b|out of credits?\b|quota (is |was |has been )?(exhausted|used up)"
)
_CLIENT = range(400, 500)
_ANY = range(300, 600)
WORDINGS: tuple[tuple[re.Pattern[str], range, type[DispatchError]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), statuses, kind)
    for pattern, statuses, kind in (
        (_SPENT, _CLIENT, QuotaExceeded),
        (r"(incorrect|invalid|expired) api key|api key (is )?(not valid|invalid|expired)", _CLIENT, AuthenticationError),
        (
            r"context (length|window)|maximum context|exceeds? the (available )?context|exceed context limit|prompt (is )?too long"
            r"|input token count.{0,40}exceeds|max(imum)? context",
            _ANY,
            ContextWindowExceeded,
        ),
        (r"content (management|filtering) policy|content policy|safety system", _CLIENT, ContentFiltered),
        (
            r"not a valid model|unknown model|invalid model|unsupported model|supported api model names"
            r"|\bmodels?\b[^.]{0,200}(does not exist|not found)|\bmodel (is |was )?not (found|supported|available)",
            range(400, 405),
            ModelNotFound,
        ),
    )
)

REMEDIES: Mapping[type[DispatchError], str] = {
    AuthenticationError: "check the API key and what it is allowed to use",
    QuotaExceeded: "add credit or raise the limit in the vendor's console, or register another vendor",
    RateLimitError: "slow down, or register another vendor to fail over to",
    ModelNotFound: "check the model's name, the deployment and the base URL",
    ContextWindowExceeded: "shorten the conversation or use a model with a larger window",
    ContentFiltered: "change the wording; the vendor's policy refused it",
    VendorUnavailable: "the vendor is in trouble; retry later or register another vendor to fail over to",
}


@attrs.frozen(kw_only=True)
class Refusal:
    """What a body says of its error, whatever its shape."""

    message: str
    codes: tuple[str, ...] = ()
    status: int | None = None
    request_id: str | None = None
    most: int = MAX_MESSAGE
    """Characters of it that an error shows."""


def fault(status: int, headers: Mapping[str, str], body: bytes, now: datetime | None = None) -> DispatchError:
    """The error that an answer with a status other than 2xx stands for; ``headers`` have lower-case names."""
    if status < 400:
        return _redirected(status, headers)
    document = _document(body)
    refusal = read(document) or Refusal(message=excerpt(body) or f"HTTP status {status} with no text", most=MAX_EXCERPT)
    return _error(refusal, status, headers, document, now)


def fault_inside(document: Any, headers: Mapping[str, str] | None = None, now: datetime | None = None) -> DispatchError:
    """The error that an error object inside a 200, or inside a stream, stands for."""
    refusal = read(document) or Refusal(message=NO_REASON)
    status = refusal.status or next((STANDS_FOR[code.lower()] for code in refusal.codes if code.lower() in STANDS_FOR), 500)
    return _error(refusal, status, headers or {}, document, now)


def _error(refusal: Refusal, status: int, headers: Mapping[str, str], document: Any, now: datetime | None) -> DispatchError:
    kind = _kind(refusal, status, document)
    hint = retry_after(headers, document, now or SYSTEM_CLOCK.now(), limited=status == 429)
    if kind is RateLimitError and _quota_spent(document, refusal, hint or 0.0):
        kind = QuotaExceeded
    remedy = REMEDIES.get(kind)
    if kind is RateLimitError and hint is not None and hint > LONG_HINT:
        remedy = f"come back in {hint / 3_600:,.1f} hours, or register another vendor to fail over to"
    return kind(
        refusal.message,
        status=status,
        code=next(iter(refusal.codes), None),
        request_id=refusal.request_id or request_id(headers),
        retry_after=hint,
        remedy=remedy,
        sent=True,
        retry_here=_retry_here(refusal, status, headers),
    ).shortened(refusal.most)


def _kind(refusal: Refusal, status: int, document: Any) -> type[DispatchError]:
    for code in refusal.codes:
        if code.lower() in CODES:
            return CODES[code.lower()]
    # Google words the limits of a minute and of a day alike; its details tell them apart (_quota_spent).
    google_limit = status == 429 and ("RESOURCE_EXHAUSTED" in refusal.codes or bool(details(document)))
    for pattern, statuses, kind in WORDINGS:
        if status in statuses and pattern.search(refusal.message) and not (google_limit and kind is QuotaExceeded):
            return kind
    return STATUSES.get(status, VendorUnavailable if status >= 500 else InvalidRequest)


def _retry_here(refusal: Refusal, status: int, headers: Mapping[str, str]) -> bool | None:
    """What overrules the class: the vendor's own word, or a failure that the same request is bound to repeat."""
    told = headers.get("x-should-retry", "").lower()
    if told in ("true", "false"):
        return told == "true"
    if status in _FINAL_STATUSES or refusal.message.lower().startswith("request too large"):
        return False
    return None


def _quota_spent(document: Any, refusal: Refusal, hint: float) -> bool:
    """Google's daily limits, limits of zero, and a quota of its words that comes back in hours: seconds of waiting do not help."""
    if "limit: 0" in refusal.message or (hint > LONG_HINT and "quota" in refusal.message.lower()):
        return True
    if any(entry.get("reason") == "QUOTA_EXHAUSTED" for entry in details(document)):
        return True
    violations = [entry.get("violations") for entry in details(document)]
    return any(
        "PerDay" in str(violation.get("quotaId")) or violation.get("quotaValue") == "0"
        for listed in violations
        if isinstance(listed, list)
        for violation in listed
        if isinstance(violation, Mapping)
    )


def read(document: Any) -> Refusal | None:
    """What an error body says: an error object, an error string, a flat object, or a list around one of them."""
    if isinstance(document, list):
        return next((refusal for item in document if (refusal := read(item)) is not None), None)
    if not isinstance(document, Mapping):
        return None
    error = document.get("error")
    source = error if isinstance(error, Mapping) else document
    message = error if isinstance(error, str) and "message" not in document else source.get("message") or source.get("detail")
    if message is None and not isinstance(error, Mapping):
        return None
    codes, told_id = _codes(source), document.get("request_id")
    return Refusal(
        message=_text(message) if message else f"the vendor gives no reason beyond {codes[0]!r}" if codes else NO_REASON,
        codes=codes,
        status=_status(source),
        request_id=_clean(told_id) if isinstance(told_id, str) and told_id else None,
    )


def _codes(source: Mapping[str, Any]) -> tuple[str, ...]:
    """The vendor's codes as it wrote them, the one to show first; a bare number, which mostly repeats the status, last."""
    nested = [source.get("innererror"), source.get("details"), source.get("metadata")]
    inner = [part.get(key) for part in nested if isinstance(part, Mapping) for key in ("error_code", "code", "error_type")]
    said = [source.get("code"), *inner, source.get("type"), source.get("status")]
    words = [_clean(code) for code in said if isinstance(code, str) and code]
    words += [str(code) for code in said if type(code) is int and abs(code) < 1_000_000]
    return tuple(sorted(words, key=str.isdigit))


def _status(source: Mapping[str, Any]) -> int | None:
    for value in (source.get("status_code"), source.get("code"), source.get("status"), source.get("raw_status_code")):
        if isinstance(value, str) and re.fullmatch("[45][0-9][0-9]", value):
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
            return value
    return None


def _text(message: Any) -> str:
    return _clean(message if isinstance(message, str) else json.dumps(message, ensure_ascii=False))


def _clean(text: str) -> str:
    """Bounded, and free of what no encoding can carry: JSON can name half a character."""
    return text[:_READ].encode("utf-8", "replace").decode()


def request_id(headers: Mapping[str, str]) -> str | None:
    """The id under which the vendor knows the call."""
    for name in ("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid"):
        if name in headers:
            return headers[name]
    return None


def excerpt(body: bytes) -> str:
    """The beginning of a body that is not JSON, in one line, for an error of 200 characters; a web page is only named."""
    text = body[:_READ].decode("utf-8", "replace")
    if re.search(r"<\s*(!doctype|html|head|body)", text, re.IGNORECASE):
        title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
        return f"a web page instead of an answer: {_printable(title.group(1)) if title else 'no title'}"
    return _printable(text)


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def _printable(text: str) -> str:
    return " ".join(_CONTROLS.sub(" ", text).split())


def _document(body: bytes) -> Any:
    try:
        return parse_text(body.decode("utf-8", "replace").removeprefix("\ufeff"), lenient=True)
    except ValueError:
        return None


def _redirected(status: int, headers: Mapping[str, str]) -> DispatchError:
    try:
        host = _printable(urlsplit(headers.get("location", "")).hostname or "") or "somewhere else"
    except ValueError:
        host = "an address that is none"
    text = f"the vendor redirects (status {status}) to {host}; redirects are not followed: set base_url to where it should go"
    return MalformedReply(text, status=status, retry_here=False, sent=True).shortened(MAX_MESSAGE)
