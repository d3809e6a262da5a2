"""What the error responses of all formats share: the status of each class of error, and how a client finds the class again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from .decoding import written
from .errors import fault

_STATUSES: Mapping[type[DispatchError], int] = {
    AuthenticationError: 401,
    QuotaExceeded: 402,
    BudgetExceeded: 402,
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
_OTHERWISE = 502
_CODES: Mapping[type[DispatchError], str] = {
    AuthenticationError: "invalid_api_key",
    QuotaExceeded: "enforced_spend_limit_reached",
    ModelNotFound: "model_not_found",
    RateLimitError: "ramp_limit_exceeded",
    ContextWindowExceeded: "context_length_exceeded",
    ContentFiltered: "content_filter",
}
"""What tells a class where status and wording mean another."""


def refused(
    error: DispatchError,
    document: Callable[[int, str | None], Mapping[str, Any]],
    statuses: Mapping[type[DispatchError], int] | None = None,
) -> tuple[int, bytes]:
    """Status and body of an error; ``document`` writes it, with a code only where it would be read as another class without.

    ``statuses`` are the format's own, where they differ. The status that a vendor gave stays.
    """
    known = {**_STATUSES, **(statuses or {})}
    usual = next((status for kind, status in known.items() if isinstance(error, kind)), _OTHERWISE)
    status = error.status if error.status is not None and 400 <= error.status < 600 else usual
    body = written(document(status, None))
    if type(error) not in _CODES or type(fault(status, {}, body)) is type(error):
        return status, body
    return status, written(document(status, _CODES[type(error)]))
