"""The formats that clients speak, and what a failure is to a client in its own format.

A vendor's words reach a client where the request itself is wrong. Of a refused key, a limit or a broken vendor it hears in words
of ours, since theirs name accounts and organizations that are not the client's.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

import attrs

from ...catalog import model_facts
from ...errors import (
    AllTargetsFailed,
    AuthenticationError,
    BudgetExceeded,
    Cancelled,
    CircuitOpen,
    ConfigError,
    ContentFiltered,
    ContextWindowExceeded,
    CostUnknown,
    DeadlineExceeded,
    DispatchError,
    InvalidRequest,
    LedgerError,
    ModelNotFound,
    Overloaded,
    QuotaExceeded,
    RateLimitError,
    StreamInterrupted,
    VendorUnavailable,
)
from ...wire import ANTHROPIC_MESSAGES, GEMINI, OLLAMA_CHAT, OPENAI_CHAT, OPENAI_RESPONSES, Codec
from .completions import OPENAI_COMPLETIONS
from .unreached import words_of_unreached

MOST_WORDS = 2000
"""Characters of an error's text."""
_ACCOUNTS = re.compile(
    r"\b(?:org-|proj_|sk-|acct_|asst_|gsk_|xai-|hf_|AIza|ya29\.|AKIA|ASIA|llmr_pk_)[\w-]+"
    r"|\buser-(?=\w*\d)\w{12,}"
    r"|\barn:aws[\w-]*:[^\s\"'<>]+"
    r"|\bprojects?/[\w-]+"
    r"|\b(?:[\w-]+\.)+(?:azure\.com|azure\.us|azuredatabricks\.net|databricks\.com|snowflakecomputing\.com|amazonaws\.com)\b"
    r"|(?<=[Bb]earer )[^\s\"']+",
)
"""What names an account, or is a key: of vendors whose words a client may read."""

_KEYS = re.compile(r"(?<![A-Za-z0-9])(?:llmr_pk_|sk-|gsk_|xai-|hf_|AIza|ya29\.)[\w-]{24,}")


def without_keys(text: str) -> str:
    """A text of a client's, such as the name of a session, without what looks like a key: it is written down."""
    return _KEYS.sub("***", text)


@attrs.frozen(kw_only=True)
class ClientFormat:
    """The format of one API: its codec, what keeps a silent stream open, and the header of a request's id."""

    codec: Codec
    heartbeat: bytes
    id_header: str = "X-Request-Id"
    event_after: float = math.inf
    """Seconds of silence after which an event is written in place of a heartbeat, for clients that wait for events alone."""


CHAT = ClientFormat(codec=OPENAI_CHAT, heartbeat=b": ping\n\n")
COMPLETIONS = ClientFormat(codec=OPENAI_COMPLETIONS, heartbeat=b": ping\n\n")
RESPONSES = ClientFormat(codec=OPENAI_RESPONSES, heartbeat=b": ping\n\n", event_after=120.0)  # Codex leaves after 300 s without one
MESSAGES = ClientFormat(codec=ANTHROPIC_MESSAGES, heartbeat=b'event: ping\ndata: {"type": "ping"}\n\n', id_header="request-id")
GOOGLE = ClientFormat(codec=GEMINI, heartbeat=b": ping\r\n\r\n")
OLLAMA = ClientFormat(codec=OLLAMA_CHAT, heartbeat=b"\n")
MANAGEMENT = ClientFormat(codec=OPENAI_CHAT, heartbeat=b"")
"""The gateway's own API, whose errors are ``{"detail", "error"}``."""


NO_PATH = "there is nothing at this path; GET /openapi.json lists the paths"
ITS_MODELS = "GET /v1/models lists those that it may"


class GatewayError(DispatchError):
    """A request that the gateway itself refuses; ``status`` and ``code`` are those of its answer, ``param`` the field."""

    param: str | None = None
    allow: str | None = None
    """The methods that a path takes, where another was used."""


def error_for_client(error: DispatchError, form: ClientFormat | None = None) -> DispatchError:
    """The error as a client is told of it, with the status that it has here, and in the words that clients of a format act on."""
    if isinstance(error, GatewayError):
        return error
    if error.code == "model_not_allowed" and error.sent is False:  # of ours; a vendor's code comes with a status
        text = f"model: this key may not ask for any target of this model; {ITS_MODELS}"
        return GatewayError(text, status=403, code=error.code, param="model")
    if error.code in _STORES:
        return GatewayError(error.message, status=503, code=error.code, retry_after=_SOON)
    error = _deciding(error)
    if form is MESSAGES and isinstance(error, ContextWindowExceeded):
        return ContextWindowExceeded(_overflow(error), status=400)
    if isinstance(error, ConfigError) and (error.model is None or error.vendor is not None):  # no name that a client can correct
        return DispatchError("this gateway is not set up for that; tell whoever runs it", status=500, code="not_configured")
    for kinds, told, status, words in _TOLD:
        if isinstance(error, kinds):
            said = words_of_unreached(error) or (words or _words(error)).replace(_LATER, when_to_try_again(error.retry_after))
            seen = told(said, status=status, retry_after=error.retry_after)
            return seen.with_facts(code=_CODES.get(told) or (error.code if words is None else None))
    if isinstance(error, AuthenticationError) and error.code in _OF_CLIENTS:
        return GatewayError(_OF_CLIENTS[error.code], status=401, code=error.code)
    if isinstance(error, AuthenticationError):
        return DispatchError("the vendor refuses this gateway's key; tell whoever runs it", status=502, code="vendor_key_refused")
    return DispatchError("the vendor's answer cannot be used; try again", status=502)


_REFUSED = "client_credentials_refused"
_OF_CLIENTS: Mapping[str | None, str] = {
    _REFUSED: "the vendor refuses your own credentials; sign in there again",
    "client_credentials_missing": "the vendor takes your own credentials: send them as its clients do, and the key of this"
    " gateway as x-llmdispatcher-key",
}
"""What a client hears of credentials that are its own."""
_STORES = frozenset({"store_unavailable", "budget_unavailable"})
_SOON = 5.0
"""Seconds until a client should try again while a database of the gateway's is away."""
_LATER = "try again later"
_Kinds = type[DispatchError] | tuple[type[DispatchError], ...]
_TOLD: tuple[tuple[_Kinds, type[DispatchError], int | None, str | None], ...] = (
    (ContextWindowExceeded, ContextWindowExceeded, 400, None),
    (ContentFiltered, ContentFiltered, 400, None),
    ((ConfigError, ModelNotFound), ModelNotFound, 404, None),  # what a client can cause of the first is the name of a model
    (InvalidRequest, InvalidRequest, 400, None),
    (BudgetExceeded, BudgetExceeded, 402, None),
    (QuotaExceeded, QuotaExceeded, 429, "the vendor's account has no credit or quota left; tell whoever runs this gateway"),
    (RateLimitError, RateLimitError, 429, f"the vendor's rate limit is reached; {_LATER}"),
    (DeadlineExceeded, DeadlineExceeded, 504, "no answer came in time; try again, or ask for less"),
    (Cancelled, Overloaded, None, "the gateway is stopping; try again"),
    (LedgerError, Overloaded, None, "the record of this call cannot be kept; try again"),
    (CostUnknown, DispatchError, 502, "what this call costs is not known, and this gateway must know it"),
    ((VendorUnavailable, CircuitOpen, Overloaded, AllTargetsFailed), Overloaded, None, "no vendor can answer now; try again"),
    (StreamInterrupted, DispatchError, 502, "the vendor broke the answer off; try again"),
)
"""By class of error: the class, the status (``None``: the format's own) and the words of the answer (``None``: the error's)."""
_CODES: Mapping[type[DispatchError], str] = {
    BudgetExceeded: "budget_exceeded",
    ContextWindowExceeded: "context_length_exceeded",
    ContentFiltered: "content_filter",
    ModelNotFound: "model_not_found",
}


def _overflow(error: DispatchError) -> str:
    """The sentence by which Anthropic's clients know that they must compact: with the vendor's numbers, else the model's window."""
    found = sorted({int(number.replace(",", "")) for number in _NUMBER.findall(error.message)}, reverse=True)
    counts = [number for number in found if _LEAST_WINDOW <= number <= _MOST_WINDOW]
    if len(counts) < 2:
        facts = model_facts(error.vendor or "", error.model or "") if not counts else None
        window = counts[0] if counts else facts.context_window if facts is not None else 0
        counts = [window + 1, window] if window else []
    return f"prompt is too long: {counts[0]} tokens > {counts[1]} maximum" if counts else "prompt is too long"


def _too_long_before(error: DispatchError) -> DispatchError | None:
    """The overflow of a target that was asked before the one whose error a call ended with."""
    attempts = error.trace.attempts if error.trace is not None else ()
    found = next((one for one in attempts if one.error == ContextWindowExceeded.__name__), None)
    if found is None:
        return None
    return ContextWindowExceeded("the conversation is longer than the model's window", vendor=found.vendor, model=found.model)


_NUMBER = re.compile(r"(?<![\w.,-])(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{3,9})(?![\w-]|\.[0-9])")
_LEAST_WINDOW, _MOST_WINDOW = 512, 100_000_000
"""Tokens: what a number is between in a vendor's words about a window."""


def _deciding(error: DispatchError) -> DispatchError:
    """Of several failures the one that a client can do something about: first of all that its conversation is too long."""
    if isinstance(error, ContextWindowExceeded):
        return error
    failures = error.failures if isinstance(error, AllTargetsFailed) else ()
    too_long = next((one for one in failures if isinstance(one, ContextWindowExceeded)), None) or _too_long_before(error)
    if too_long is not None or not isinstance(error, AllTargetsFailed):
        return too_long or error
    mine = next((one for one in error.failures if isinstance(one, InvalidRequest | ContentFiltered) or one.code == _REFUSED), None)
    if mine is not None:
        return mine
    limits = [one for one in error.failures if isinstance(one, RateLimitError | QuotaExceeded)]
    if limits and len(limits) == len(error.failures):
        return next((one for one in limits if isinstance(one, RateLimitError)), limits[0])
    return error


def _words(error: DispatchError) -> str:
    return _ACCOUNTS.sub("***", error.message)[:MOST_WORDS]


def write_error(form: ClientFormat, error: DispatchError, request_id: str | None = None) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer that tells of an error."""
    seen = error_for_client(error, form)
    seen = seen.with_facts(request_id=request_id)
    if form is MANAGEMENT:
        return _management(seen)
    is_openai = form.codec.name.startswith("openai")
    if is_openai and (isinstance(seen, GatewayError | BudgetExceeded) or type(seen) is DispatchError):
        return _openai(seen)
    if isinstance(seen, GatewayError):
        seen = _as_vendor_error(seen)
    status, body = form.codec.write_error(seen)
    return status, error_headers(seen), body


def _management(error: DispatchError) -> tuple[int, dict[str, str], bytes]:
    """An error of the gateway's own API."""
    status = error.status or 503
    told = {
        "type": "invalid_request_error" if status < 500 else "server_error",
        "message": error.message,
        "code": error.code,
        "param": getattr(error, "param", None),
        "request_id": error.request_id,
    }
    return status, error_headers(error), json.dumps({"detail": error.message, "error": told}).encode()


def _openai(error: DispatchError) -> tuple[int, dict[str, str], bytes]:
    """A refusal of the gateway's own in OpenAI's form, with a code of ours."""
    status = error.status or 500
    word = _OPENAI_TYPES.get(status) or ("invalid_request_error" if status < 500 else "server_error")
    told = {"message": error.message, "type": word, "param": getattr(error, "param", None), "code": error.code}
    return status, error_headers(error), json.dumps({"error": told}).encode()


_OPENAI_TYPES: Mapping[int, str] = {402: "insufficient_quota", 429: "rate_limit_error"}


def _as_vendor_error(error: GatewayError) -> DispatchError:
    """A refusal of the gateway's own as the class of error that has its status in other formats."""
    status = error.status or 500
    kinds: Mapping[int, type[DispatchError]] = {401: AuthenticationError, 403: AuthenticationError, 429: RateLimitError}
    made = kinds.get(status, InvalidRequest if status < 500 else VendorUnavailable)
    return made(error.message, status=status, code=error.code, request_id=error.request_id, retry_after=error.retry_after)


_LONGEST_WAIT = 86_400.0
"""Seconds that a client is told to wait at most; a vendor may have said more."""


def when_to_try_again(wait: float | None) -> str:
    """The end of a message about a limit, in OpenAI's words: some clients see no header, and look there for the seconds."""
    return _LATER if wait is None else f"try again in {_seconds(wait)}s"


def _seconds(wait: float) -> int:
    return max(1, math.ceil(min(wait, _LONGEST_WAIT)))


def error_headers(error: DispatchError) -> dict[str, str]:
    """The headers of such an answer: when to try again, and whether an SDK should."""
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["Retry-After"] = f"{_seconds(error.retry_after)}"
    if isinstance(error, BudgetExceeded | QuotaExceeded) or error.code in _NO_RETRY:
        headers["x-should-retry"] = "false"
    if isinstance(error, GatewayError) and error.allow is not None:
        headers["Allow"] = error.allow
    return headers


def as_codex_acts(error: DispatchError, answer: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, str], bytes]:
    """An answer of :func:`write_error` as Codex ends its turn by it: it knows no ``x-should-retry``.

    A spent budget is its 429 ``usage_limit_reached``, which shows when to come back; what else is not to be tried again is 400.
    Any other status it tries again, up to 25 times, and waits as long as ``Retry-After`` says.
    """
    status, headers, body = answer
    if headers.get("x-should-retry") != "false" or status == 429:
        return answer
    headers.pop("Retry-After", None)
    if not isinstance(error, BudgetExceeded):
        return 400, headers, body
    told = {**json.loads(body)["error"], "type": "usage_limit_reached"}
    if error.ends is not None:
        told["resets_at"] = int(error.ends.timestamp())
    return 429, headers, json.dumps({"error": told}).encode()


_NO_RETRY = frozenset({"vendor_key_refused", "model_not_allowed", "model_unpriced"})
STATUS_TEXTS: Mapping[int, str] = {
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    421: "Misdirected Request",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    426: "Upgrade Required",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    529: "Overloaded",
}
