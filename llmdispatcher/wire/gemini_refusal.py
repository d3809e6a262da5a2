"""A refusal as Google writes it. https://cloud.google.com/apis/design/errors"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import AuthenticationError, BudgetExceeded, DispatchError, QuotaExceeded
from .refusing import refused

_RPC = "type.googleapis.com/google.rpc."
_STATUSES: Mapping[type[DispatchError], int] = {QuotaExceeded: 429, BudgetExceeded: 429}
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


def refusal(error: DispatchError) -> tuple[int, bytes]:
    """Status and body of an error; a type is added only where it would be read as another class without."""
    return refused(error, lambda status, code: _document(error, status, {"type": code} if code else None), _STATUSES)


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
