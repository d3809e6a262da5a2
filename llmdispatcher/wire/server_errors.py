"""Errors as a server tells them: one table for all formats, and how a client finds the class of an error again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from .. import errors
from .encoding import written
from .errors import fault, fault_inside


@attrs.frozen
class _Row:
    """How one class of error is told. ``kind`` and ``code`` are OpenAI's; ``plain_code`` is for whom another code means another
    class, and for formats without codes."""

    error: type[errors.DispatchError]
    status: int
    kind: str
    code: str
    plain_code: str | None = None


T = TypeVar("T")
_BAD, _DOWN = "invalid_request_error", "server_error"
_ROWS = (
    _Row(errors.ContextWindowExceeded, 400, _BAD, "context_length_exceeded", "context_length_exceeded"),
    _Row(errors.InvalidRequest, 400, _BAD, _BAD),
    _Row(errors.ContentFiltered, 400, _BAD, "content_filter", "content_filter"),
    _Row(errors.AuthenticationError, 401, _BAD, "invalid_api_key", "invalid_api_key"),
    _Row(errors.ModelNotFound, 404, _BAD, "model_not_found", "model_not_found"),
    _Row(errors.QuotaExceeded, 429, "insufficient_quota", "insufficient_quota", "enforced_spend_limit_reached"),
    _Row(errors.BudgetExceeded, 402, "insufficient_quota", "insufficient_quota"),
    _Row(errors.RateLimitError, 429, "requests", "rate_limit_exceeded", "ramp_limit_exceeded"),
    _Row(errors.DeadlineExceeded, 504, _DOWN, "timeout_error"),
    _Row(errors.Cancelled, 499, _DOWN, "cancelled"),
    _Row(errors.ConfigError, 500, _DOWN, _DOWN),
    _Row(errors.MalformedReply, 502, _DOWN, _DOWN),
    _Row(errors.DispatchError, 503, _DOWN, _DOWN),
)
"""The first that fits, subclasses before their base."""


def _row(error: errors.DispatchError) -> _Row:
    return next(row for row in _ROWS if isinstance(error, row.error))


def _status(error: errors.DispatchError, usual: int) -> int:
    """The status that a vendor gave stays."""
    return error.status if error.status is not None and 400 <= error.status < 600 else usual


def refused(
    error: errors.DispatchError,
    document: Callable[[int, str | None], Mapping[str, Any]],
    statuses: Mapping[type[errors.DispatchError], int] | None = None,
) -> tuple[int, bytes]:
    """Status and body of an error; ``document`` writes it, with a code only where it would be read as another class without.

    ``statuses`` are the format's own, where they differ.
    """
    row = _row(error)
    own = next((status for kind, status in (statuses or {}).items() if isinstance(error, kind)), row.status)
    status = _status(error, own)
    codes = [None] if row.plain_code is None or type(error) is not row.error else [None, row.plain_code]
    return status, _first_read(error, [written(document(status, code)) for code in codes], lambda body: fault(status, {}, body))


def openai_refusal(error: errors.DispatchError) -> tuple[int, bytes]:
    """Status and body of a refusal in OpenAI's formats, which reads back as an error of the same class."""
    row = _row(error)
    status = _status(error, row.status)

    def body(code: str) -> bytes:
        return written({"error": {"message": error.message, "type": row.kind, "param": None, "code": code}})

    return status, _first_read(error, [body(code) for code in _codes(error, row)], lambda told: fault(status, {}, told))


def failure_event(error: errors.DispatchError) -> dict[str, Any]:
    """What an error event of the Responses API says, with the status that a refusal would have had."""
    row = _row(error)
    fields = {"message": error.message, "param": None, "status": _status(error, row.status)}
    return _first_read(error, [{"code": code, **fields} for code in _codes(error, row)], fault_inside)


def _codes(error: errors.DispatchError, row: _Row) -> list[str]:
    """The codes to try in order: the vendor's own, the usual one, the unambiguous one, and as a last resort the usual one."""
    own = [error.code] if error.code and not error.code.isdigit() else []
    return [*own, row.code, row.plain_code or row.code, row.code]


def _first_read(error: errors.DispatchError, documents: Sequence[T], read: Callable[[T], errors.DispatchError]) -> T:
    """The first document that is read as the class that it is about, else the usual one."""
    found = (document for document in documents if type(read(document)) is type(error))
    return next(found, documents[-1])
