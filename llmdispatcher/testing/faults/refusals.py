"""Faults that refuse: statuses with the vendor's own error body and every form of a retry delay (fault matrix, rows R)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime

from ...runtime import SYSTEM_CLOCK
from ..formats.base import ApiError
from ..loopback import Peer
from .base import Fault, FaultContext

Header = tuple[str, str | Callable[[], str]]
"""A header whose value is text, or worked out when it is sent."""


def status(code: int, *headers: Header, kind: str = "", message: str = "") -> Fault:
    """A status with the vendor's error body; ``kind`` as in :class:`ApiError`."""
    return refusal(f"status_{code}", ApiError(code, kind, message=message), *headers)


def refusal(name: str, api_error: ApiError, *headers: Header) -> Fault:
    """Any trouble in the vendor's own words, with extra headers."""

    def act(peer: Peer, context: FaultContext) -> None:
        context.refuse(peer, api_error, [(key, value if isinstance(value, str) else value()) for key, value in headers])

    return Fault(name, act)


def rate_limit(retry_after: float | str | None = None, *headers: Header) -> Fault:
    """A 429; ``retry_after`` goes into the header of that name as it is, and into Google's ``retryDelay`` if it is a number."""
    if retry_after is None:
        return refusal("rate_limit", ApiError(429), *headers)
    if isinstance(retry_after, str):
        return refusal(f"rate_limit_{retry_after}", ApiError(429), ("Retry-After", retry_after), *headers)
    said = f"{retry_after:g}"
    return refusal(f"rate_limit_{said}_s", ApiError(429, delay=f"{said}s"), ("Retry-After", said), *headers)


def rate_limit_until(seconds: float) -> Fault:
    """A 429 whose Retry-After is a date so many seconds from now, rounded up; negative for one in the past."""

    def date() -> str:
        return format_datetime((SYSTEM_CLOCK.now() + timedelta(seconds=seconds + 0.999)).replace(microsecond=0), usegmt=True)

    return refusal(f"rate_limit_date_{seconds:g}", ApiError(429), ("Retry-After", date))


def rate_limit_ms(milliseconds: int | str, retry_after: str | None = None) -> Fault:
    """A 429 with ``retry-after-ms``, which counts before a ``Retry-After`` beside it."""
    name, hint = f"rate_limit_{milliseconds}_ms", ("retry-after-ms", str(milliseconds))
    if retry_after is None:
        return refusal(name, ApiError(429), hint)
    return refusal(f"{name}_beside_{retry_after}", ApiError(429), hint, ("Retry-After", retry_after))


def retry_delay(delay: str = "46s") -> Fault:
    """A 429 as Google sends it, with the delay in the body alone; other formats put it into Retry-After."""

    def act(peer: Peer, context: FaultContext) -> None:
        header = [] if context.form.name == "gemini" else [("Retry-After", delay.rstrip("s"))]
        context.refuse(peer, ApiError(429, delay=delay), header)

    return Fault(f"retry_delay_{delay}", act)


def quota() -> Fault:
    """A 429 that waiting does not cure: credit or daily quota is spent (R3)."""
    return refusal("quota", ApiError(429, "quota"))


def overloaded() -> Fault:
    """A 529, Anthropic's word for too busy."""
    return refusal("overloaded", ApiError(529))


def bad_request() -> Fault:
    """A 400 about the request itself."""
    return refusal("bad_request", ApiError(400))


def context_overflow() -> Fault:
    """A 400: the conversation is longer than the model's window."""
    return refusal("context_overflow", ApiError(400, "context"))


def filtered() -> Fault:
    """A 400: the vendor's policy refuses the prompt."""
    return refusal("filtered", ApiError(400, "filter"))


def model_missing() -> Fault:
    """A 404: this vendor does not have the model."""
    return refusal("model_missing", ApiError(404, "model"))


def wrong_key() -> Fault:
    """The vendor's answer to a key that it does not know."""
    return refusal("wrong_key", ApiError(401, "key"))
