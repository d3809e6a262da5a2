"""The exceptions of OpenAI's SDK: each failure is raised as one of them and as the library's own at once.

The hierarchy is the SDK's, so handlers may stand in any order. Where the package ``openai`` is imported, a failure is an
instance of its class too, for code that still catches ``openai.RateLimitError``. Attributes are the SDK's (``status_code``,
``response.headers``, ``request_id``, ``body``, ``code``, ``param``, ``type``) beside those of
:class:`~llmdispatcher.DispatchError`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import llmdispatcher as ours
from llmdispatcher import DispatchError
from llmdispatcher.integrations.errors import Shape, cause_of, errors_shaped


class OpenAIError(Exception):
    """Any failure; a mistake in the configuration, such as a missing key, is this and nothing more."""


class APIError(OpenAIError):
    """A failure of a call."""

    message: str
    body: dict[str, Any] | None
    code: str | None
    param: str | None
    type: str | None


class APIResponseValidationError(APIError):
    """An answer that cannot be read."""

    status_code: int


class APIStatusError(APIError):
    """A vendor's refusal, or what a vendor would have refused: it has a ``status_code`` of 4xx or 5xx."""

    response: Any
    status_code: int
    request_id: str | None


class APIConnectionError(APIError):
    """No answer: no connection, or one that broke."""


class APITimeoutError(APIConnectionError):
    """No answer in time."""


class BadRequestError(APIStatusError):
    """Status 400: the request is wrong."""


class AuthenticationError(APIStatusError):
    """Status 401: the key is refused."""


class PermissionDeniedError(APIStatusError):
    """Status 403."""


class NotFoundError(APIStatusError):
    """Status 404: such as a model that is not there."""


class ConflictError(APIStatusError):
    """Status 409."""


class UnprocessableEntityError(APIStatusError):
    """Status 422."""


class RateLimitError(APIStatusError):
    """Status 429: too many requests, or no money left, by a vendor's limits or by a budget of ours."""


class InternalServerError(APIStatusError):
    """Status 5xx: the vendor has failed, or a circuit is open, or this process has no capacity (503)."""


class LengthFinishReasonError(OpenAIError):
    """A structured answer was cut off; ``completion`` is what there is of it."""

    def __init__(self, *, completion: Any) -> None:
        super().__init__("the answer was cut off by the limit of its length; raise max_tokens")
        self.completion = completion


class ContentFilterFinishReasonError(OpenAIError):
    """A structured answer was filtered; ``completion`` is what there is of it."""

    def __init__(self, *, completion: Any = None) -> None:
        super().__init__("the answer was stopped by the vendor's content filter")
        self.completion = completion


_BY_STATUS: Mapping[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}
_STATUSES: tuple[tuple[type[DispatchError], int], ...] = (
    (ours.InvalidRequest, 400),
    (ours.ContentFiltered, 400),
    (ours.AuthenticationError, 401),
    (ours.ModelNotFound, 404),
    (ours.RateLimitError, 429),
    (ours.QuotaExceeded, 429),
    (ours.BudgetExceeded, 429),
    (ours.CircuitOpen, 503),
    (ours.Overloaded, 503),
)
"""What a vendor would have answered to a call that failed without an answer."""
_OTHERS: tuple[tuple[type[DispatchError], type[OpenAIError]], ...] = (
    (ours.ConfigError, OpenAIError),
    (ours.MalformedReply, APIResponseValidationError),
    (ours.DeadlineExceeded, APITimeoutError),
    (ours.Cancelled, APIConnectionError),
)
"""The failures that no status tells of."""


class _Headers(dict[str, str]):
    """Headers by name, whatever its case."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


errors_of_sdk = partial(errors_shaped, lambda error: _shape_of(error))
"""Raise the library's errors as the SDK's too: ``with errors_of_sdk(): ...``."""


def _shape_of(error: DispatchError) -> Shape:
    """The SDK's class, that of the package itself too where it is imported, and the attributes."""
    cause = cause_of(error)
    shape, status = _class_and_status(cause)
    real = getattr(sys.modules.get("openai"), shape.__name__, None)
    shapes = (shape, real) if isinstance(real, type) and issubclass(real, Exception) else (shape,)
    told = {"retry-after": _whole(error.retry_after), "x-request-id": cause.request_id}
    headers = _Headers({name: fact for name, fact in told.items() if fact is not None})
    said = {"message": cause.message, "code": cause.code, "type": cause.code, "param": None}
    facts: dict[str, Any] = {"code": cause.code, "type": cause.code, "param": None, "request": None, "status_code": status}
    facts |= {"response": SimpleNamespace(status_code=status, headers=headers), "body": said if cause.status is not None else None}
    return shapes, facts


def _whole(seconds: float | None) -> str | None:
    return f"{math.ceil(seconds)}" if seconds is not None else None


def _class_and_status(error: DispatchError) -> tuple[type[OpenAIError], int | None]:
    """The SDK's class, and the status, of an error; without a status there was no answer."""
    if isinstance(error, ours.StreamInterrupted):  # by an error within it, else by a silence or the end of the connection
        late = getattr(error.__cause__, "timed_out", False)
        return APIError if error.status is not None else APITimeoutError if late else APIConnectionError, error.status
    for kind, shape in _OTHERS:
        if isinstance(error, kind):
            return shape, error.status or 200 if shape is APIResponseValidationError else error.status
    status = error.status
    if status is None:
        status = next((code for kind, code in _STATUSES if isinstance(error, kind)), None)
    if status is None and isinstance(error, ours.VendorUnavailable):
        return (APITimeoutError if error.timed_out else APIConnectionError), None
    if status is None or status < 400:
        return APIError, status
    return _BY_STATUS.get(status, InternalServerError if status >= 500 else APIStatusError), status
