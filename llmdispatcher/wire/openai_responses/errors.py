"""Errors of OpenAI's Responses API: as a refusal, and as an event of a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...errors import (
    AuthenticationError,
    BudgetExceeded,
    Cancelled,
    ConfigError,
    ContentFiltered,
    ContextWindowExceeded,
    DeadlineExceeded,
    DispatchError,
    InvalidRequest,
    MalformedReply,
    ModelNotFound,
    QuotaExceeded,
    RateLimitError,
)
from ..decoding import written
from ..errors import fault, fault_inside

_KINDS: tuple[tuple[type[DispatchError], int, str, str], ...] = (
    (ContextWindowExceeded, 400, "invalid_request_error", "context_length_exceeded"),
    (InvalidRequest, 400, "invalid_request_error", "invalid_request_error"),
    (ContentFiltered, 400, "invalid_request_error", "content_filter"),
    (AuthenticationError, 401, "invalid_request_error", "invalid_api_key"),
    (ModelNotFound, 404, "invalid_request_error", "model_not_found"),
    (QuotaExceeded, 429, "insufficient_quota", "insufficient_quota"),
    (BudgetExceeded, 402, "insufficient_quota", "insufficient_quota"),
    (RateLimitError, 429, "requests", "rate_limit_exceeded"),
    (DeadlineExceeded, 504, "server_error", "timeout_error"),
    (MalformedReply, 502, "server_error", "server_error"),
    (Cancelled, 499, "server_error", "cancelled"),
    (ConfigError, 500, "server_error", "server_error"),
    (DispatchError, 503, "server_error", "server_error"),
)
"""Status, type and code of each class that has none of its own; the first that fits."""
_UNMISTAKABLE: Mapping[type[DispatchError], str] = {RateLimitError: "ramp_limit_exceeded"}
"""What tells a class where the usual code does not, since status and wording mean another."""


def refusal(error: DispatchError) -> tuple[int, bytes]:
    """Status and body of a refusal, which reads back as an error of the same class."""
    status, kind, codes = _told(error)

    def document(code: str) -> dict[str, Any]:
        return {"error": {"message": error.message, "type": kind, "param": None, "code": code}}

    return status, written(_meant(error, codes, document, lambda body: fault(status, {}, written(body))))


def failure_event(error: DispatchError) -> dict[str, Any]:
    """What an error event says, with the status that a refusal would have had."""
    status, _, codes = _told(error)

    def document(code: str) -> dict[str, Any]:
        return {"code": code, "message": error.message, "param": None, "status": status}

    return _meant(error, codes, document, fault_inside)


def _told(error: DispatchError) -> tuple[int, str, list[str]]:
    """Status, type, and the codes that could be told: the vendor's own, the usual one, one that nothing else means."""
    status, kind, usual = next(row[1:] for row in _KINDS if isinstance(error, row[0]))
    if error.status is not None and 400 <= error.status < 600:
        status = error.status
    own = [error.code] if error.code and not error.code.isdigit() else []
    return status, kind, [*own, usual, _UNMISTAKABLE.get(type(error), usual)]


def _meant(
    error: DispatchError,
    codes: list[str],
    document: Callable[[str], dict[str, Any]],
    read: Callable[[dict[str, Any]], DispatchError],
) -> dict[str, Any]:
    """The first document that is read as the class that it is about."""
    documents = [document(code) for code in codes]
    return next((body for body in documents if type(read(body)) is type(error)), documents[len(codes) - 2])
