"""The exceptions of LiteLLM, by its names. Each is also an error of this library and, where that package is installed, OpenAI's.

So ``except litellm.RateLimitError``, ``except llmdispatcher.RateLimitError`` and ``except openai.RateLimitError`` catch the same.
They have ``status_code``, ``llm_provider``, ``model``, ``message``, ``response``, ``body``, ``num_retries``, and the facts of a
:class:`~llmdispatcher.DispatchError`. A class is made when it is first asked for, since importing ``openai`` takes a second.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import attrs

import llmdispatcher
from llmdispatcher import DispatchError, VendorUnavailable
from llmdispatcher._text import escaped
from llmdispatcher.errors import ANOTHER_VENDOR
from llmdispatcher.runtime import new_lock

_MODEL_FIRST = ("message", "model", "llm_provider")
_PROVIDER_FIRST = ("message", "llm_provider", "model")
_STATUS_FIRST = ("status_code", "message", "llm_provider", "model")


@attrs.frozen
class _Class:
    """One exception: its base among LiteLLM's, among this library's and among OpenAI's, its status, its positional arguments."""

    base: str | None
    ours: str
    theirs: str | None
    status: int | None
    order: tuple[str, ...] = _PROVIDER_FIRST


_CLASSES: dict[str, _Class] = {
    "APIConnectionError": _Class(None, "VendorUnavailable", "APIConnectionError", 500),
    "APIError": _Class(None, "DispatchError", "APIError", 500, _STATUS_FIRST),
    "APIResponseValidationError": _Class(None, "MalformedReply", "APIResponseValidationError", 500),
    "AuthenticationError": _Class(None, "AuthenticationError", "AuthenticationError", 401),
    "BadGatewayError": _Class(None, "VendorUnavailable", "APIStatusError", 502),
    "BadRequestError": _Class(None, "InvalidRequest", "BadRequestError", 400, _MODEL_FIRST),
    "BudgetExceededError": _Class(None, "BudgetExceeded", None, 429, ("current_cost", "max_budget", "message")),
    "ContentPolicyViolationError": _Class("BadRequestError", "ContentFiltered", None, 400, _MODEL_FIRST),
    "ContextWindowExceededError": _Class("BadRequestError", "ContextWindowExceeded", None, 400, _MODEL_FIRST),
    "InternalServerError": _Class(None, "VendorUnavailable", "InternalServerError", 500),
    "InvalidRequestError": _Class("BadRequestError", "InvalidRequest", None, 400, _MODEL_FIRST),
    "JSONSchemaValidationError": _Class(
        "APIResponseValidationError", "MalformedReply", None, 500, ("model", "llm_provider", "raw_response", "schema")
    ),
    "LiteLLMUnknownProvider": _Class("BadRequestError", "InvalidRequest", None, 400, ("model", "custom_llm_provider")),
    "MidStreamFallbackError": _Class("ServiceUnavailableError", "StreamInterrupted", None, 503, _MODEL_FIRST),
    "MockException": _Class("APIError", "DispatchError", None, 500, _STATUS_FIRST),
    "ModelNotMappedError": _Class(None, "ModelNotFound", None, None),
    "NotFoundError": _Class(None, "ModelNotFound", "NotFoundError", 404, _MODEL_FIRST),
    "OpenAIError": _Class(None, "DispatchError", "OpenAIError", None, ("original_exception",)),
    "PaymentRequiredError": _Class("BadRequestError", "QuotaExceeded", None, 402, _MODEL_FIRST),
    "PermissionDeniedError": _Class(None, "AuthenticationError", "PermissionDeniedError", 403),
    "RateLimitError": _Class(None, "RateLimitError", "RateLimitError", 429),
    "RejectedRequestError": _Class("BadRequestError", "InvalidRequest", None, 400, (*_MODEL_FIRST, "request_data")),
    "RouterRateLimitError": _Class(None, "RateLimitError", None, 429, ("model", "cooldown_time")),
    "ServiceUnavailableError": _Class(None, "VendorUnavailable", "APIStatusError", 503),
    "Timeout": _Class(None, "DeadlineExceeded", "APITimeoutError", 408, _MODEL_FIRST),
    "UnprocessableEntityError": _Class(None, "InvalidRequest", "UnprocessableEntityError", 422, _MODEL_FIRST),
    "UnsupportedParamsError": _Class("BadRequestError", "InvalidRequest", None, 400),
}
NAMES = tuple(_CLASSES)
_lock = new_lock()


class LiteLLMFacts:
    """What all exceptions of LiteLLM have; the arguments are LiteLLM's."""

    _order: ClassVar[tuple[str, ...]] = _PROVIDER_FIRST
    _status: ClassVar[int | None] = None
    message: str
    args: tuple[Any, ...]

    def __init__(self, *given: Any, **facts: Any) -> None:
        facts = {**dict(zip(self._order, given, strict=False)), **facts}
        message = facts.pop("message", None)
        self.args = (message or "",)
        known = {
            **dict.fromkeys(("llm_provider", "model", "body", "code", "param", "type", "request", "request_id", "headers")),
            **dict.fromkeys(("litellm_debug_info", "max_retries", "num_retries", "response")),
            "status_code": self._status,
        }
        vars(self).update(known, **facts)
        self.message = f"litellm.{type(self).__name__}: {_describe(facts) if message is None else message}"
        status = vars(self)["status_code"]
        if vars(self)["response"] is None:
            vars(self)["response"] = SimpleNamespace(status_code=status, headers=vars(self)["headers"] or {}, request=None, text="")

    def __str__(self) -> str:
        return escaped(self.message)


def _describe(facts: dict[str, Any]) -> str:
    """The text of an exception that is made without one."""
    if "max_budget" in facts:
        return f"Budget has been exceeded! Current cost: {facts.get('current_cost')}, Max budget: {facts['max_budget']}"
    if "cooldown_time" in facts:
        wait = facts["cooldown_time"]
        told = f"{wait:g}" if isinstance(wait, int | float) else str(wait)
        return f"No deployments available for selected model, Try again in {told} seconds. Passed model={facts.get('model')}."
    return ", ".join(f"{name}={value}" for name, value in facts.items() if isinstance(value, str | int))


def exception_class(name: str) -> Any:
    """Return the exception of this name, made now if it was not before. Raises :class:`AttributeError` where there is none."""
    if name not in _CLASSES:
        raise AttributeError(f"llmdispatcher.integrations.litellm has no exception {name!r}; it has {', '.join(NAMES)}")
    with _lock:
        return _made(name)


__getattr__ = exception_class


def __dir__() -> list[str]:
    return [*NAMES]


def _made(name: str) -> type[Exception]:
    found = globals().get(name)
    if found is None:
        row = _CLASSES[name]
        ours = getattr(llmdispatcher, row.ours)
        bases: list[type] = [_made(row.base)] if row.base is not None else [LiteLLMFacts]
        if not any(issubclass(base, ours) for base in bases):
            bases.append(ours)
        if row.theirs is not None and find_spec("openai") is not None:
            bases.append(getattr(import_module("openai"), row.theirs))
        if name == "RouterRateLimitError":
            bases.append(ValueError)
        said = {"_order": row.order, "_status": row.status, "__module__": __name__, "__doc__": f"LiteLLM's ``{name}``."}
        found = globals()[name] = type(name, tuple(bases), said)
    made: type[Exception] = found
    return made


_FAILED: tuple[tuple[type[DispatchError], str], ...] = (
    (llmdispatcher.ContextWindowExceeded, "ContextWindowExceededError"),
    (llmdispatcher.InvalidRequest, "BadRequestError"),
    (llmdispatcher.ContentFiltered, "ContentPolicyViolationError"),
    (llmdispatcher.ModelNotFound, "NotFoundError"),
    (llmdispatcher.BudgetExceeded, "BudgetExceededError"),
    (llmdispatcher.QuotaExceeded, "RateLimitError"),
    (llmdispatcher.RateLimitError, "RateLimitError"),
    (llmdispatcher.DeadlineExceeded, "Timeout"),
    (llmdispatcher.MalformedReply, "APIResponseValidationError"),
    (llmdispatcher.StreamInterrupted, "APIConnectionError"),
    (llmdispatcher.Overloaded, "ServiceUnavailableError"),
    (llmdispatcher.CircuitOpen, "ServiceUnavailableError"),
    (llmdispatcher.ConfigError, "AuthenticationError"),
)
_BY_STATUS = {408: "Timeout", 500: "InternalServerError", 502: "BadGatewayError", 504: "Timeout"}


def _name_of(error: DispatchError) -> str:
    """Which of LiteLLM's exceptions an error is."""
    if isinstance(error, VendorUnavailable):
        if error.timed_out:
            return "Timeout"
        if error.status is None:
            return "APIConnectionError"
        return _BY_STATUS.get(error.status, "ServiceUnavailableError")
    if isinstance(error, llmdispatcher.AuthenticationError):
        return "PermissionDeniedError" if error.status == 403 else "AuthenticationError"
    if isinstance(error, llmdispatcher.InvalidRequest) and error.status == 422:
        return "UnprocessableEntityError"
    return next((name for kind, name in _FAILED if isinstance(error, kind)), "APIError")


def exception_of(error: DispatchError, model: str | None, provider: str | None, name: str | None = None) -> DispatchError:
    """Return the exception of LiteLLM's that stands for an error, with its facts."""
    if isinstance(error, LiteLLMFacts):
        return error
    known = {"retry_here": error.retry_here, "try_elsewhere": error.try_elsewhere}
    facts = {key: value for key, value in vars(error).items() if key not in ("message", "model", "vendor", "_whole")}
    told = {"retry-after": error.retry_after, "x-request-id": error.request_id}
    headers = {key: f"{fact}" for key, fact in told.items() if fact is not None}
    remedy = (error.remedy or "").replace(ANOTHER_VENDOR, "give fallbacks=[...]")
    text = f"{error.message} ({remedy})" if remedy else error.message
    given: dict[str, Any] = {
        "message": f"{provider}: {text}" if provider else text,
        "model": model,
        "llm_provider": provider,
        "headers": headers,
    }
    kind = exception_class(name or _name_of(error))
    if error.status is not None:
        given["status_code"] = error.status
    made: Any = kind(**{**known, **facts, **given})
    return cast(DispatchError, made)
