"""What a request itself says about being remembered: ``True``, ``False``, or ``{"enabled": ..., "ttl_seconds": ...}``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from .errors import InvalidRequest

KEYS = ("enabled", "ttl_seconds")


@attrs.frozen
class CacheWish:
    """A request's wish; ``None`` leaves it to the dispatcher's rule. ``ttl_seconds`` is for the answer to this request alone."""

    enabled: bool | None = None
    ttl_seconds: float | None = None

    @classmethod
    def of(cls, value: bool | Mapping[str, Any] | None) -> CacheWish:
        """The wish that a checked value of ``Request.cache`` is."""
        return cls(**value) if isinstance(value, Mapping) else cls(value)


def checked_wish(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validate ``Request.cache``."""
    if value is None or isinstance(value, bool):
        return
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{attribute.name}: {value!r} is no wish; use True, False or {{'enabled': True, 'ttl_seconds': 60}}")
    for key in value:
        if key not in KEYS:
            raise InvalidRequest(f"{attribute.name}: unknown key {key!r}; it takes {', '.join(KEYS)}")
    enabled, seconds = value.get("enabled"), value.get("ttl_seconds")
    if enabled is not None and not isinstance(enabled, bool):
        raise InvalidRequest(f"{attribute.name}.enabled: {enabled!r} is neither True nor False")
    if seconds is not None and not _is_time(seconds):
        raise InvalidRequest(f"{attribute.name}.ttl_seconds: {seconds!r} is not a number of seconds > 0")


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
