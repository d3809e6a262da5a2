"""Requests to a vendor's API that no method of the library makes: any path below its address, with its key and limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlencode

import attrs

from ..errors import ConfigError, DispatchError, FailureClass, InvalidRequest, MalformedReply
from ..runtime import Deadline
from ..types import json_encoder, parse_text

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_REPEATABLE = ("GET", "HEAD", "PUT", "DELETE")
"""Methods that mean the same when they arrive twice (RFC 9110 section 9.2.2)."""
_PATH = re.compile(r"/?[!-\"$-\[\]-~]*")
"""Printable ASCII without blanks, # and backslashes."""
_MOST_PATH = 4096
_MOST_MEMBERS = 2_000_000
_SEPARATOR = re.compile(r"[/\\]")
Query = Mapping[str, str | int | float | bool]
"""What stands behind the ``?`` of an address."""


@attrs.frozen(kw_only=True)
class VendorReply:
    """An answer of a vendor's API, whose status is 2xx; ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    content: bytes = attrs.field(repr=False)
    request_id: str | None = None

    @property
    def text(self) -> str:
        """The body as UTF-8; what is none is replaced."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The document in the body. Raises :class:`MalformedReply` for anything else, and for over two million members."""
        try:
            return parse_text(self.content.decode("utf-8-sig"), _MOST_MEMBERS)
        except (ValueError, RecursionError):
            raise MalformedReply("the answer is not JSON, or too large a document; use content, or text", sent=True) from None


def check_target(method: str, path: str, params: Query | None) -> str:
    """The path with its query, as it is added to the vendor's address. Raises :class:`InvalidRequest` where it would leave that."""
    if method not in _METHODS:
        raise InvalidRequest(f"method: {method!r} is not known; use {', '.join(_METHODS)}")
    if not isinstance(path, str) or not _PATH.fullmatch(path) or len(path) > _MOST_PATH:
        raise InvalidRequest("path: it has blanks, # or signs that no address has, or is too long; quote them, or give params=")
    path = f"/{path.removeprefix('/')}"
    plain = path.partition("?")[0]
    for _ in range(3):
        segments = [segment.partition(";")[0] for segment in _SEPARATOR.split(plain)]
        if plain.startswith("//") or "://" in plain or "." in segments or ".." in segments or not plain.isprintable():
            raise InvalidRequest(f"path: {path[:80]!r} leads out of the vendor's address; give one below it, such as '/models'")
        plain = unquote(plain)
    if params is None:
        return path
    if not isinstance(params, Mapping) or not all(isinstance(value, str | int | float) for value in params.values()):
        raise InvalidRequest("params: give a dict of texts, numbers, True and False")
    words = {f"{name}": f"{value}".lower() if isinstance(value, bool) else f"{value}" for name, value in params.items()}
    return f"{path}{'&' if '?' in path else '?'}{urlencode(words)}" if words else path


def check_size(most: int | None) -> None:
    """Raise :class:`ConfigError` for what is no number of bytes."""
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise ConfigError(f"max_body: {most!r} is not a number of bytes; give a whole number ≥ 1, such as 16_777_216")


def encode_body(json: Any, data: bytes | None) -> bytes:
    """What is sent: a document as JSON, or bytes as they are."""
    if data is not None and json is not None:
        raise InvalidRequest("data: json is given too; leave one of them out")
    if data is not None and not isinstance(data, bytes | bytearray | memoryview):
        raise InvalidRequest(f"data: {type(data).__name__} is not bytes; give bytes, or a document as json=")
    if json is None:
        return b"" if data is None else bytes(data)
    try:
        return _to_json([json])[1:-1].encode()
    except (TypeError, ValueError, RecursionError):
        raise InvalidRequest(
            "json: it holds what JSON cannot; give dicts, lists, texts, finite numbers, True, False and None"
        ) from None


def _no_json(value: Any) -> Any:
    raise TypeError(type(value).__name__)


_to_json = json_encoder(_no_json, ensure_ascii=False, allow_nan=False)


def retry(method: str, ask: Callable[[], VendorReply], deadline: Deadline, max_retries: int) -> VendorReply:
    """Ask until there is an answer, within the deadline and so many retries.

    A request that may have arrived is sent again only where its method allows that.
    """
    from ..resilience import BackoffStrategy, RetryPolicy  # late: a vendor alone needs no retries, and backoff loads asyncio

    policy = RetryPolicy(max_retries=max_retries, backoff_strategy=BackoffStrategy.JITTER)
    failures = 0
    while True:
        try:
            return ask()
        except DispatchError as error:
            failures += 1
            again = method in _REPEATABLE or error.failure_class is not FailureClass.AMBIGUOUS
            if failures > policy.max_retries or not policy.retryable(error) or not again:
                raise
            wait = max(policy.wait(failures), error.retry_after or 0.0)
            if wait >= deadline.remaining():
                raise
        deadline.sleep(wait)
