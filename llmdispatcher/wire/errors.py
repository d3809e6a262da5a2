"""Make an error of the library from a vendor's refusal: its status, headers and body, by tables for all formats.

Only this file knows status codes of vendors. The order of judgement: the vendor's own code where it is unmistakable, then the
wording of its message where vendors hide one failure behind another's status, then the status. A retry delay is read in every form
that vendors use; it is in seconds and never negative.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import attrs

from .. import errors
from ..runtime import SYSTEM_CLOCK
from ..types import RateLimitRemaining, parse_text
from .error_tables import AMBIGUOUS, CLIENT, CODES, FINAL_STATUSES, KIND_STATUSES, STANDS_FOR, STATUSES, WORDINGS
from .words import by_word, words

_GO_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
_DRAFT = re.compile(r"\br(?:emaining)?=0\s*[;,]\s*(?:t|reset)=(\d{1,9})\b")
"""A used-up limit in the IETF drafts' ``ratelimit`` header, as Hugging Face sends it."""
_RETRY_AFTER = ("retry-after", "x-retry-after", "retry-after-seconds", "x-ratelimit-retry-after")
_RESETS = words(
    "x-ratelimit-reset-requests x-ratelimit-reset-tokens anthropic-ratelimit-requests-reset anthropic-ratelimit-tokens-reset",
    "anthropic-ratelimit-input-tokens-reset anthropic-ratelimit-output-tokens-reset",
    "x-ratelimit-reset-tokens-minute x-ratelimit-reset-requests-day",  # Cerebras, in seconds
    "x-ratelimit-reset",  # OpenRouter, in milliseconds since 1970; Moonshot
    "x-ratelimit-reset-after ratelimit-reset x-rate-limit-reset",  # in seconds; the second of earlier drafts of the IETF's header
)
_WORD_UNITS = (("ms", 1e-3), ("mil", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0))
_AMOUNT = re.compile(
    r"(\d{1,9}(?:\.\d{1,12})?)\s{0,3}(milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)(?![a-z])"
)
_WAIT = re.compile(
    r"(?:try(?:ing)? again|retry(?:ing)?|retry[-_ ]?delay|wait(?:ing)?|resets?|available(?: again)?"
    r"|cool(?:ing)?[- ]?down|back[- ]?off)\b"
    rf"[^.0-9]{{0,40}}((?:{_AMOUNT.pattern}[\s,]{{0,3}}(?:and\s)?){{1,4}})"
)
_WAIT_BEFORE = re.compile(rf"\b(?:in|after) ((?:{_AMOUNT.pattern}\s?){{1,4}})[,;:]? (?:please |and |then )?(?:re)?try\b")
_NUMBER_OF_SECONDS = re.compile(
    r"retry[-_ ]?after(?:[-_ ](?:seconds|secs))?[\"' ]{0,2}[:=]\s{0,2}(\d{1,9}(?:\.\d{1,12})?)(?![\d.]*[-:/\w])"
)
"""A wait in words: "try again in 7m12s" (OpenAI, Groq), "retry after 22 seconds" (Azure), "wait 60 seconds" (GitHub Models)."""
_CHINESE_UNITS = {"\u6beb\u79d2": 1e-3, "\u79d2": 1.0, "\u5206": 60.0, "\u5c0f\u65f6": 3_600.0, "\u5929": 86_400.0}
_WAIT_IN_CHINESE = re.compile(
    rf"(\d{{1,9}}(?:\.\d{{1,12}})?)\s{{0,3}}({'|'.join(_CHINESE_UNITS)})\u949f?\s?(?:\u4e4b|\u4ee5)?\u540e"
)
"""A wait in Chinese words: "in 20 seconds, try again"."""
_WAITS = by_word(
    {
        1.0: (
            "retryafter retryafterseconds retryaftersecs retryafterinseconds retryin retrydelay resetafter resetin resetsin",
            "resetseconds waitseconds waittime cooldownseconds",
            "resetsinseconds estimatedtime",  # OpenAI's subscriptions; Hugging Face, while a model is loaded
        ),
        1e-3: ("retryafterms retryaftermilliseconds",),
    }
)
"""Fields of an error that tell a wait, in small letters and without separators, with the seconds of their unit."""
_SEPARATORS = str.maketrans("", "", "-_ ")
_HOLDERS = ("metadata", "details", "detail", "data", "headers", "parameters")
"""Further members that may hold them, beside the error and the document."""


def retry_after(headers: Mapping[str, str], body: Any, now: datetime, *, limited: bool, message: str = "") -> float | None:
    """Seconds to wait, by the best source there is; ``None`` where nothing usable is said.

    ``headers`` have lower-case names, ``body`` is the parsed answer, ``now`` is aware. In order: ``retry-after-ms``,
    ``retry-after`` (seconds, a duration or a date), Google's RetryInfo, a field such as an estimated loading time, the wait that
    the message names in words, and, for a rate-limited call only, the latest reset of an exhausted limit. A zero in one source
    does not hide a positive value in the next. Dates are measured against the answer's own, since the clocks of vendor and caller
    may differ.
    """
    waits = _waits(headers, body, now, message)
    usable = [wait for wait in (*waits, _resets(headers, now) if limited else None) if wait is not None and math.isfinite(wait)]
    return next((wait for wait in usable if wait > 0), usable[0] if usable else None)


def _waits(headers: Mapping[str, str], body: Any, now: datetime, message: str) -> Iterator[float | None]:
    milliseconds = _number(headers.get("retry-after-ms"))
    yield None if milliseconds is None else milliseconds / 1000
    yield from [_seconds_or_date(headers[name], headers, now) for name in _RETRY_AFTER if name in headers]
    yield _longest(duration(entry.get("retryDelay")) for entry in details(body))
    yield _field_wait(body)
    yield _wait_in_words(message)


def _longest(waits: Iterable[float | None]) -> float | None:
    return max((wait for wait in waits if wait is not None), default=None)


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


def _seconds_or_date(value: str, headers: Mapping[str, str], now: datetime) -> float | None:
    for part in (value, *value.split(",", 1)[:1]):  # two headers of the same name arrive joined by a comma
        seconds = _number(part.strip())
        seconds = _wait_in_words(f"wait {part}") if seconds is None else seconds
        if seconds is not None:
            return seconds
    date = _date(value)
    return None if date is None else _until(date, headers, now)


def _field_wait(body: Any) -> float | None:
    """The wait in a field of the document, of its error, or of the metadata of either."""
    document = body if isinstance(body, Mapping) else {}
    error = document.get("error")
    error = error if isinstance(error, Mapping) else {}
    held = [place.get(name) for place in (document, error) for name in _HOLDERS]
    places = [place for place in (document, error, *held) if isinstance(place, Mapping)]
    fields = [(str(name).lower().translate(_SEPARATORS), value) for place in places for name, value in place.items()]
    return _longest(_span(value, _WAITS[name]) for name, value in fields if name in _WAITS)


def _span(value: Any, unit: float) -> float | None:
    """Seconds of a number of units, or of a text that names its own, such as ``"20s"``."""
    number = None if isinstance(value, bool) else _number(value)
    if number is not None:
        return number * unit
    return _wait_in_words(f"wait {value}") if isinstance(value, str) else None


def _wait_in_words(text: str) -> float | None:
    """Seconds of the wait that a message names."""
    text = text[:MAX_MESSAGE].lower()
    found = _WAIT.search(text) or _WAIT_BEFORE.search(text)
    if found is None:
        plain, found = _NUMBER_OF_SECONDS.search(text), _WAIT_IN_CHINESE.search(text)
        if plain is not None:
            return float(plain.group(1))
        return None if found is None else float(found.group(1)) * _CHINESE_UNITS[found.group(2)]
    return sum(
        float(amount) * next(unit for name, unit in _WORD_UNITS if word.startswith(name))
        for amount, word in _AMOUNT.findall(found.group(1))
    )


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
    seconds = sum(float(number) * _GO_UNITS[unit] for number, unit in parts)
    return seconds if math.isfinite(seconds) else None


def details(body: Any) -> list[Mapping[str, Any]]:
    """The entries of Google's ``error.details``, also where the error stands in a list, as streams without SSE bring it."""
    if isinstance(body, list):
        body = next((item for item in body if isinstance(item, Mapping)), None)
    error = body.get("error") if isinstance(body, Mapping) else None
    entries = error.get("details") if isinstance(error, Mapping) else None
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []


_COUNTS = (
    ("x-ratelimit-{what}-requests", "requests"),
    ("anthropic-ratelimit-requests-{what}", "requests"),
    ("x-ratelimit-{what}-tokens", "tokens"),
    ("anthropic-ratelimit-tokens-{what}", "tokens"),
)
_REMAINING = frozenset(pattern.format(what="remaining") for pattern, _ in _COUNTS)
_LITTLE = 0.1


def rate_limit_remaining(headers: Mapping[str, str], now: datetime) -> RateLimitRemaining | None:
    """What the vendor says is left of its limits, where that is less than a tenth; ``None`` where it is more, or not told.

    Of a limit that is not told, only that nothing is left of it.
    """
    if _REMAINING.isdisjoint(headers):
        return None
    remaining_of: dict[str, Any] = {}
    for pattern, name in _COUNTS:
        remaining = headers.get(pattern.format(what="remaining"))
        if remaining is None or name in remaining_of:
            continue
        left, most = _number(remaining), _number(headers.get(pattern.format(what="limit")))
        if left is not None and left < (1 if most is None else _LITTLE * most):
            remaining_of |= {name: int(left), f"{name}_reset": _reset(headers.get(pattern.format(what="reset")), headers, now)}
    return RateLimitRemaining(**remaining_of) if remaining_of else None


_MOMENT, _LAST_MOMENT, _MILLISECONDS = 1e9, 2.5e11, 1e12
"""A reset from here on is a moment, in seconds since 1970 (the last in the year 9892), or in milliseconds."""


def _reset(value: str | None, headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds until a reset: a number or duration of seconds, or a moment."""
    if value is None:
        return None
    number = _number(value)
    if number is None:
        try:
            moment = datetime.fromisoformat(value) if value[:4].isdigit() else _date(value)
        except ValueError:
            moment = None
        return duration(value) if moment is None else _until(moment, headers, now)
    while number > _MILLISECONDS:  # or microseconds, or nanoseconds
        number /= 1_000
    return number if number < _MOMENT else _until(datetime.fromtimestamp(min(number, _LAST_MOMENT), UTC), headers, now)


def _resets(headers: Mapping[str, str], now: datetime) -> float | None:
    """The latest reset among the limits that are used up."""
    waits: list[float | None] = [float(seconds) for seconds in _DRAFT.findall(headers.get("ratelimit", ""))]
    for name in _RESETS:
        value = headers.get(name)
        remaining = _number(headers.get(name.replace("reset", "remaining").removesuffix("-after")))
        if value is None or (remaining is not None and remaining > 0):
            continue
        waits.append(_reset(value, headers, now))
    return _longest(waits)


MAX_MESSAGE = 2_000
MAX_EXCERPT = 200
_READ = 4 * MAX_MESSAGE
"""Characters of a vendor's words that are looked at; an error is cut (:meth:`DispatchError.shortened`) when it has been masked."""
NO_REASON = "the vendor gives no reason"
LONG_HINT = 3_600.0
"""Seconds; a limit that ends later is no limit of a minute. It is a spent quota only if the vendor's words say so."""

_DAILY = re.compile(
    r"per[- _](day|week|month)|\b[tr]pd\b|ByDay\b|\b(daily|weekly|monthly) .{0,30}(limit|quota|allocation|cap)\b", re.IGNORECASE
)
"""Of a limit that is over tomorrow, or later: OpenRouter's free models, GitHub, Bedrock, Moonshot."""
_ASKED_LIMIT = re.compile(r"\blimit:? (\d{1,12}),? requested:? (\d{1,12})", re.IGNORECASE)

_TWO_DAYS = 172_800.0

REMEDIES: Mapping[type[errors.DispatchError], str] = {
    errors.AuthenticationError: "check the API key and what it is allowed to use",
    errors.QuotaExceeded: f"add credit or raise the limit in the vendor's console, or {errors.ANOTHER_VENDOR}",
    errors.RateLimitError: f"slow down, or {errors.ANOTHER_VENDOR}",
    errors.ModelNotFound: "check the model's name, the deployment and the base URL",
    errors.ContextWindowExceeded: "shorten the conversation or use a model with a larger window",
    errors.ContentFiltered: "change the wording; the vendor's policy refused it",
    errors.VendorUnavailable: f"the vendor is in trouble; retry later, or {errors.ANOTHER_VENDOR}",
}


_PROXY_LOGIN = 407
_PROXY_TODO = "set proxy= or HTTPS_PROXY to http://user:password@host:port, or name another vendor as fallback_vendor"


@attrs.frozen(kw_only=True, repr=False)
class Refusal:
    """What a body says of its error, whatever its shape."""

    message: str
    codes: tuple[str, ...] = ()
    status: int | None = None
    request_id: str | None = None
    most: int = MAX_MESSAGE
    """Characters of it that an error shows."""
    shape: str = "error"
    """Where the error stood: in ``"error"`` (or in nothing), ``"errors"``, ``"base_resp"``, or beside ``"object": "error"``."""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    """Those of an upstream that it repeats, with lower-case names."""
    upstream: Any = None
    """The document of an upstream's error, which another vendor has wrapped."""
    upstream_status: int | None = None


def fault(status: int, headers: Mapping[str, str], body: bytes, now: datetime | None = None) -> errors.DispatchError:
    """The error that an answer with a status other than 2xx stands for; ``headers`` have lower-case names."""
    if status < 400:
        return _redirect_error(status, headers)
    document = _parse_or_none(body.decode("utf-8", "replace").removeprefix("\ufeff"))
    refusal = read(document) or Refusal(message=excerpt(body) or f"HTTP status {status} with no text", most=MAX_EXCERPT)
    return _error(refusal, status, headers, document, now)


def fault_inside(document: Any, headers: Mapping[str, str] | None = None, now: datetime | None = None) -> errors.DispatchError:
    """The error that an error object inside a 200, or inside a stream, stands for."""
    refusal = read(document) or Refusal(message=NO_REASON)
    status = refusal.status or next((STANDS_FOR[code.lower()] for code in refusal.codes if code.lower() in STANDS_FOR), None)
    return _error(refusal, status, headers or {}, document, now)


def _error(
    refusal: Refusal, known_status: int | None, headers: Mapping[str, str], document: Any, now: datetime | None
) -> errors.DispatchError:
    outer, document = document, document if refusal.upstream is None else refusal.upstream
    headers = {**refusal.headers, **headers}
    if "x-amzn-errortype" in headers:  # Bedrock: "ThrottlingException:http://..."
        refusal = attrs.evolve(refusal, codes=(*refusal.codes, headers["x-amzn-errortype"].partition(":")[0]))
    kind = _kind(refusal, known_status, document)
    status = known_status or KIND_STATUSES.get(kind, 500)
    limited = status == 429 or kind is errors.RateLimitError
    hint = retry_after(headers, document, now or SYSTEM_CLOCK.now(), limited=limited, message=refusal.message)
    hint = _field_wait(outer) if hint is None else hint
    daily = _DAILY.search(refusal.message) is not None and (hint is None or hint > LONG_HINT)
    if kind is errors.RateLimitError and (daily or _is_quota_spent(document, refusal, hint or 0.0)):
        kind = errors.QuotaExceeded
    remedy = REMEDIES.get(kind) if status != _PROXY_LOGIN else f"a proxy on the way wants a login: {_PROXY_TODO}"
    if kind is errors.RateLimitError and hint is not None and hint > LONG_HINT:
        wait = f"{hint / 3_600:,.1f} hours" if hint < _TWO_DAYS else f"{hint / 86_400:,.1f} days"
        remedy = f"come back in {wait}, or {errors.ANOTHER_VENDOR}"
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


def _kind(refusal: Refusal, status: int | None, document: Any) -> type[errors.DispatchError]:
    """The class of an error; of one inside a 200 whose status is not known each wording counts."""
    if status == _PROXY_LOGIN:
        return errors.VendorUnavailable
    for code in (code.lower() for code in refusal.codes):
        kind = CODES.get(f"{refusal.shape}:{code}" if code.isdigit() else code.rpartition("#")[2])  # behind Amazon's service
        if kind is not None:
            return kind
    # Google words the limits of a minute and of a day alike; its details tell them apart (_quota_spent).
    google_limit = status == 429 and ("RESOURCE_EXHAUSTED" in refusal.codes or bool(details(document)))
    text = " ".join([*refusal.codes, refusal.message])[:_READ]
    for pattern, statuses, kind in WORDINGS:
        found = pattern.search(text) if status is None or status in statuses else None
        if found is not None and not (google_limit and found.group().lower() in AMBIGUOUS):
            return kind
    for family in (code.lower().partition(".")[0] for code in refusal.codes if "." in code):  # AuthFailure.SecretIdNotFound
        if family in CODES:
            return CODES[family]
    if status in CLIENT - {401, 402} and any(STANDS_FOR.get(code.lower()) == 429 for code in refusal.codes):
        return errors.RateLimitError
    if refusal.upstream_status is not None and refusal.upstream_status >= 500 and status in CLIENT - {401, 402, 429}:
        return errors.VendorUnavailable
    return STATUSES.get(status or 500, errors.VendorUnavailable if status is None or status >= 500 else errors.InvalidRequest)


def _retry_here(refusal: Refusal, status: int, headers: Mapping[str, str]) -> bool | None:
    """What overrules the class: the vendor's own word, or a failure that the same request is bound to repeat."""
    advice = headers.get("x-should-retry", "").lower()
    if advice in ("true", "false"):
        return advice == "true"
    limits = _ASKED_LIMIT.search(refusal.message[:MAX_MESSAGE])
    beyond = limits is not None and int(limits.group(2)) > int(limits.group(1))
    final = beyond or status in FINAL_STATUSES or "request too large" in refusal.message[:MAX_MESSAGE].lower()
    return False if final else None


def _is_quota_spent(document: Any, refusal: Refusal, hint: float) -> bool:
    """Google's daily limits, limits of zero, and a quota of its words that comes back in hours: seconds of waiting do not help."""
    if "limit: 0" in refusal.message or (hint > LONG_HINT and "quota" in refusal.message.lower()):
        return True
    for entry in details(document):
        violations = entry.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            is_quota = isinstance(violation, Mapping)
            if is_quota and ("PerDay" in str(violation.get("quotaId")) or violation.get("quotaValue") == "0"):
                return True
    return any(entry.get("reason") == "QUOTA_EXHAUSTED" for entry in details(document))


_SILENT = frozenset(
    {
        *words("ok okay success succeeded successful none null nil no_error n/a undefined 200 20000"),
        *("", "no error", "\u6210\u529f"),
    }
)
"""Words and codes of an error object that tells of no error."""
_MESSAGES = words(
    "message msg faultstring detail error_msg error_message errorMessage error_description status_msg Message err_msg errMsg",
    "errmsg ErrorMessage err description title reason",
)
"""What vendors call the text of an error; the last three say it only where nothing else does."""
_NUMBERS = words(
    "status_code statusCode code status raw_status_code http_code http_status http_status_code httpStatus httpStatusCode httpCode",
    "error_code errorCode",
)
_BARE = frozenset({"id", "Message", "message", "msg", "detail", "request_id", "requestId"})
_NAMED = re.compile(r"error|exception|fail", re.IGNORECASE)
_HOLDS = re.compile(r"(error|exception|fault|failure)$", re.IGNORECASE)
"""What a member is called that holds an error: ``throttlingException`` (Bedrock), ``Error`` (Hunyuan), ``fault`` (Apigee)."""
_AROUND = frozenset({"Response", "response", "data", "result"})
"""What may stand around such a member."""
_ABOUT = frozenset({"err", "header"})
"""Members that tell of an error by their code and message (Spark)."""
_WRAPPED = 2
"""How many wrappings of an error in another are opened."""
_MOST_WRAPPED = 1 << 16
_WORD = re.compile(r"[a-z]+(?:_[a-z]+)+")
"""A code in place of a text."""


def tells(error: Any) -> bool:
    """Whether an error tells of a failure. Null, an empty object, and one of zeros, blanks and words of success do not."""
    if isinstance(error, Mapping):
        return any(tells(value) for name, value in error.items() if not (value is True and name in ("success", "ok")))
    if isinstance(error, list | tuple):
        return any(map(tells, error))
    if isinstance(error, bool) or error is None:
        return bool(error)
    word = str(error).strip(" \t\r\n.!\u3002").lower()
    return word not in _SILENT and word.strip("0") != ""


_FAILING = words(
    "error errors base_resp detail err error_code error_msg errorMessage err_code err_msg errcode errmsg exception fault Error"
)
"""Fields that only an error has; :func:`tells` judges what they say."""


BESIDE = ("base_resp", "errors", "error_code")
"""Other places than ``error`` where an error may stand beside an answer."""


def tells_beside(document: Mapping[str, Any]) -> bool:
    """Whether an error stands beside an answer, in another place than ``error``."""
    return any(name in document and tells(document[name]) for name in BESIDE)


def tells_of_failure(document: Mapping[str, Any]) -> bool:
    """Whether a document, of which nothing is an answer, is an error in one of the shapes that have no error object."""
    if document.get("success") is False or any(document.get(name) == "error" for name in ("object", "type", "result")):
        return True
    if any(name in document and tells(document[name]) for name in _FAILING):
        return True
    message = _message(document)
    if not isinstance(message, str):  # an object is a message of a conversation
        return _inner_error(document) is not None
    codes = [document[name] for name in ("code", "__type", "status_code", "statusCode") if name in document]
    words = [word for name in ("type", "status") if isinstance(word := document.get(name), str)]
    named = any(map(_NAMED.search, words)) or _status(document) is not None
    return named or any(map(tells, codes)) or document.keys() <= _BARE


def _inner_error(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The error in a member with a name such as ``throttlingException``, with that name as its type; ``None`` without one."""
    for name, inner in document.items():
        if not isinstance(inner, Mapping):
            continue
        if _HOLDS.search(name) and tells(inner):
            return inner if "type" in inner else {**inner, "type": name}
        if name in _AROUND and (held := _inner_error(inner)) is not None:
            return held
        if name in _ABOUT and _message(inner) is not None and tells(inner.get("code", True)):
            return inner
    return None


def read(document: Any, wrapped: int = _WRAPPED) -> Refusal | None:
    """What an error body says: an error object, an error string, a flat object, or a list around one of them.

    ``None`` where it says nothing. An error that wraps that of an upstream, such as OpenRouter's, says both.
    """
    if isinstance(document, list):
        return next((refusal for item in document if (refusal := read(item, wrapped)) is not None), None)
    if not isinstance(document, Mapping):
        return None
    shape, source, message = _source(document)
    if message is None and (source is document or not tells(source)):
        return None
    codes, told_id = _codes(source), document.get("request_id")
    refusal = Refusal(
        message=_text(message) if message else f"the vendor gives no reason beyond {codes[0]!r}" if codes else NO_REASON,
        codes=codes,
        status=_status(source) or _status(document),
        request_id=_clean(told_id) if isinstance(told_id, str) and told_id else None,
        shape=shape,
    )
    return _unwrap(_with_bracketed_code(refusal), source, wrapped) if wrapped else refusal


def _source(document: Mapping[str, Any]) -> tuple[str, Mapping[str, Any], Any]:
    """The shape of an error, the object that holds its codes, and its message."""
    error, base = document.get("error"), document.get("base_resp")
    if isinstance(error, Mapping) and tells(error):
        message = _message(error)
        return _source(error) if message is None and tells(error.get("error")) else ("error", error, message)
    several = error if isinstance(error, list) else document.get("errors")
    listed = several if isinstance(several, list) else [several]
    first = next((entry for entry in listed if isinstance(entry, Mapping | str) and tells(entry)), None)
    if first is not None:
        return ("errors", first, _message(first)) if isinstance(first, Mapping) else ("errors", document, listed)
    if isinstance(base, Mapping) and tells(base):
        return "base_resp", base, _message(base)
    message = _message(document)
    if (
        (message is None or not isinstance(message, str))
        and not isinstance(error, str)
        and (held := _inner_error(document)) is not None
    ):
        return "error", held, _message(held)
    shape = "object" if document.get("object") == "error" else "error"
    return shape, document, error if isinstance(error, str) and tells(error) and message is None else message


def _message(source: Mapping[str, Any]) -> Any:
    return next((source[name] for name in _MESSAGES if name in source and tells(source[name])), None)


def _with_bracketed_code(refusal: Refusal) -> Refusal:
    """MiniMax names its code at the end of its words: "insufficient balance (1008)"."""
    found = re.search(r"\(([12]\d{3})\)\s{0,3}$", refusal.message[-16:])
    known = found is not None and refusal.shape != "base_resp" and f"base_resp:{found.group(1)}" in CODES
    return attrs.evolve(refusal, codes=(*refusal.codes, f"base_resp:{found.group(1)}")) if known and found else refusal


def _unwrap(refusal: Refusal, source: Mapping[str, Any], wrapped: int) -> Refusal:
    """Add what the upstream of a gateway says: in ``metadata`` (OpenRouter), or as JSON at the end of the gateway's words."""
    metadata = source.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    headers = metadata.get("headers")
    if isinstance(headers, Mapping):
        refusal = attrs.evolve(refusal, headers={str(name).lower(): str(value) for name, value in headers.items()})
    raw, outer = metadata.get("raw"), refusal.message
    if not tells(raw):
        raw, outer = _embedded_error(refusal.message)
        if raw is None:
            return refusal
    document = _parse_or_none(raw[:_MOST_WRAPPED]) if isinstance(raw, str) else raw
    inner = read(document, wrapped - 1)
    if inner is None:
        return attrs.evolve(refusal, message=_clean(f"{outer}: {_text(raw)}"[:_READ]))
    return attrs.evolve(
        refusal,
        message=f"{outer}: {inner.message}"[:_READ] if outer else inner.message,
        codes=tuple(sorted((*inner.codes, *refusal.codes), key=str.isdigit)),
        status=refusal.status or inner.status,
        headers={**refusal.headers, **inner.headers},
        upstream=document if inner.upstream is None else inner.upstream,
        upstream_status=inner.upstream_status or inner.status,
    )


def _embedded_error(message: str) -> tuple[Any, str]:
    """The JSON object that words end with, if it is an error, and the words before it."""
    text = message[:_MOST_WRAPPED].rstrip("'\"` \r\n")
    start = text.find("{")
    document = _parse_or_none(text[start:]) if start >= 0 and text.endswith("}") else None
    if not isinstance(document, Mapping) or read(document, 0) is None:
        return None, message
    return document, re.sub(r"[\s:\-]{0,8}(b?['\"])?$", "", text[:start][-MAX_EXCERPT:])


def _parse_or_none(text: str) -> Any:
    try:
        return parse_text(text, lenient=True)
    except ValueError:
        return None


def _codes(source: Mapping[str, Any]) -> tuple[str, ...]:
    """The vendor's codes as it wrote them, the one to show first; a bare number, which mostly repeats the status, last."""
    nested = [part for name in ("innererror", "details", "metadata") if isinstance(part := source.get(name), Mapping)]
    inner = [part.get(key) for part in nested for key in ("error_code", "code", "error_type")]
    reasons = [entry.get("reason") for entry in details({"error": source})]
    flagged = ["flagged_input" for part in nested if tells(part.get("flagged_input"))]
    own = [source.get(name) for name in ("code", "error_code", "status_code", "Code", "__type", "errorCode", "err_code", "errcode")]
    own += [error for error in (source.get("error"),) if isinstance(error, str) and _WORD.fullmatch(error)]  # OAuth's
    types = [source.get(name) for name in ("type", "error_type", "errorType", "status")]
    codes = [*own, *inner, *types, *reasons, *flagged]
    words = [_clean(code) for code in codes if isinstance(code, str) and code]
    words += [str(code) for code in codes if type(code) is int and abs(code) < 1_000_000]
    return tuple(sorted(dict.fromkeys(words), key=str.isdigit))


def _status(source: Mapping[str, Any]) -> int | None:
    for value in map(source.get, _NUMBERS):
        if isinstance(value, str) and re.fullmatch(r"[45]\d\d(\.0|\s.*)?", value, re.DOTALL):
            value = int(value[:3])
        if isinstance(value, float) and value.is_integer():
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
    names = ("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid")
    return next((headers[name] for name in names if name in headers), None)


def excerpt(body: bytes) -> str:
    """The beginning of a body that is not JSON, in one line, for an error of 200 characters; a web page is only named."""
    text = body[:_READ].decode("utf-8", "replace")
    if re.search(r"<\s*(!doctype|html|head|body)", text, re.IGNORECASE):
        title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
        return f"a web page instead of an answer: {_to_one_line(title.group(1)) if title else 'no title'}"
    return _to_one_line(text)


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def _to_one_line(text: str) -> str:
    return " ".join(_CONTROLS.sub(" ", text).split())


def _redirect_error(status: int, headers: Mapping[str, str]) -> errors.DispatchError:
    try:
        host = _to_one_line(urlsplit(headers.get("location", "")).hostname or "") or "somewhere else"
    except ValueError:
        host = "an address that is none"
    text = f"the vendor redirects (status {status}) to {host}; redirects are not followed: set base_url to where it should go"
    return errors.MalformedReply(text, status=status, retry_here=False, sent=True).shortened(MAX_MESSAGE)


_OF_A_MODEL = re.compile(r"model|deployment|engine", re.IGNORECASE)


def is_about_model(error: errors.DispatchError) -> bool:
    """Whether a refusal speaks of a model; a bare "Not Found" may be about the address instead."""
    return _OF_A_MODEL.search(f"{error.code} {error.message}") is not None
