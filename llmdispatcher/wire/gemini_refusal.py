"""A refusal as Google writes it. https://cloud.google.com/apis/design/errors"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import (
    AuthenticationError,
    BudgetExceeded,
    Cancelled,
    CircuitOpen,
    ConfigError,
    ContentFiltered,
    ContextWindowExceeded,
    DeadlineExceeded,
    DispatchError,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    QuotaExceeded,
    RateLimitError,
)
from .faults import fault
from .payload import written

_RPC = "type.googleapis.com/google.rpc."
_STATUSES: Mapping[type[DispatchError], int] = {
    AuthenticationError: 401,
    QuotaExceeded: 429,
    BudgetExceeded: 429,
    ModelNotFound: 404,
    RateLimitError: 429,
    ContextWindowExceeded: 400,
    ContentFiltered: 400,
    InvalidRequest: 400,
    DeadlineExceeded: 504,
    Cancelled: 499,
    Overloaded: 503,
    CircuitOpen: 503,
    ConfigError: 500,
}
_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_CODES: Mapping[type[DispatchError], str] = {
    AuthenticationError: "invalid_api_key",
    QuotaExceeded: "enforced_spend_limit_reached",
    ModelNotFound: "model_not_found",
    RateLimitError: "ramp_limit_exceeded",
    ContextWindowExceeded: "context_length_exceeded",
    ContentFiltered: "content_filter",
}
"""What tells a class where status and wording mean another."""


def refusal(error: DispatchError) -> tuple[int, bytes]:
    """Status and body of an error; a type is added only where it would be read as another class without."""
    known = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 502)
    status = error.status if error.status is not None and 400 <= error.status < 600 else known
    body = written(_document(error, status))
    if type(error) not in _CODES or type(fault(status, {}, body)) is type(error):
        return status, body
    return status, written(_document(error, status, {"type": _CODES[type(error)]}))


def _document(error: DispatchError, status: int, further: Mapping[str, str] | None = None) -> dict[str, Any]:
    word = _WORDS.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    told: dict[str, Any] = {"code": status, "message": error.message, "status": word, **(further or {})}
    details = _details(error, status)
    return {"error": {**told, "details": details} if details else told}


def _details(error: DispatchError, status: int) -> list[dict[str, Any]]:
    """What Google's own clients go by: which limit it was, and when to come back."""
    details: list[dict[str, Any]] = []
    if isinstance(error, AuthenticationError):
        details.append({"@type": f"{_RPC}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"})
    if isinstance(error, QuotaExceeded) and status == 429:
        violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}
        details.append({"@type": f"{_RPC}QuotaFailure", "violations": [violation]})
    if error.retry_after is not None:
        details.append({"@type": f"{_RPC}RetryInfo", "retryDelay": f"{error.retry_after:.9f}".rstrip("0").rstrip(".") + "s"})
    return details
