"""The few shapes of validation that all policies share; each names the field, the value and the remedy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import attrs

from ..errors import ConfigError

T = TypeVar("T", bound=attrs.AttrsInstance)
Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def at_least(low: float) -> Check:
    """A finite number of at least ``low``, or ``None``."""

    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < math.inf:
            raise ConfigError(f"{attribute.name}: {value!r} is not a number ≥ {low:g}")

    return check


def whole(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A whole number of at least 0, or ``None``."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ConfigError(f"{attribute.name}: {value!r} is not a whole number ≥ 0")


def name(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{attribute.name}: {value!r} is not a name; give a non-empty string")


def money(value: Any) -> Decimal | None:
    """US dollars from a string, a Decimal, an int or a float as it is written; ``None`` stays."""
    if value is None:
        return None
    try:
        dollars = Decimal(str(value))
    except InvalidOperation:
        raise ConfigError(f"max_cost: {value!r} is not an amount of US dollars; write it as '0.05'") from None
    if not dollars.is_finite() or dollars < 0:
        raise ConfigError(f"max_cost: {value!r} is not an amount ≥ 0 of US dollars")
    return dollars


def build(kind: type[T], value: Any, path: str) -> T:
    """``kind`` from a mapping of its fields, or the value itself; raises :class:`ConfigError` with the path of the mistake."""
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path}: {type(value).__name__} is not a {kind.__name__}; give one, or a dict of its fields")
    known = [field.name for field in attrs.fields(kind) if field.init]
    for key in value:
        if key not in known:
            raise ConfigError(f"{path}: unknown key {key!r}; it takes {', '.join(known)}")
    try:
        return kind(**value)
    except ConfigError as error:
        raise ConfigError(f"{path}.{error.message}") from None
