"""Validators that the settings of several rooms share. Each error names the field, the value and the remedy."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

import attrs

from ..errors import ConfigError
from .keywords import choices
from .request_fields import has_both_parts

T = TypeVar("T", bound=attrs.AttrsInstance)
Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def at_least(low: float) -> Check:
    """A finite number of at least ``low``, or ``None``."""

    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is not None and not (_is_number(value) and low <= value < math.inf):
            raise ConfigError(f"{attribute.name}: {value!r} is not a number ≥ {low:g}")

    return check


def optional_seconds(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """``None`` or a number of seconds above zero."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
        raise ConfigError(f"{attribute.name}: {value!r} is not a number of seconds > 0; use None for no limit")


def seconds_or_auto(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Seconds > 0, ``None`` for no limit, or ``"auto"``."""
    if value != "auto":
        optional_seconds(instance, attribute, value)


def non_negative_integer(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A whole number of at least 0, or ``None``."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ConfigError(f"{attribute.name}: {value!r} is not a whole number ≥ 0")


def integer(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A whole number, of either sign."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{attribute.name}: {value!r} is not a whole number")


def boolean(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """True or False; nothing that merely looks like one, such as the text "false"."""
    if not isinstance(value, bool):
        raise ConfigError(f"{attribute.name}: {value!r} is neither True nor False")


def check_file(field: str, value: str, *, or_folder: bool = False) -> None:
    """Raise :class:`ConfigError` for a path where nothing can be read; what is there is read later, and may change."""
    try:
        path = Path(value).expanduser()
        is_there, is_wrong = path.exists(), path.is_dir() and not or_folder
    except (RuntimeError, ValueError, OSError) as foreign:
        raise ConfigError(f"{field}: {value!r} is no path that can be read: {foreign}; give the whole path") from None
    if is_wrong or not is_there or not os.access(path, os.R_OK):
        what = "is a folder" if is_wrong else "cannot be read" if is_there else "is not there"
        raise ConfigError(f"{field}: {value!r} {what}; correct the path, or the rights of the file")


def non_blank(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{attribute.name}: {value!r} is not a name; give a non-empty string")


def optional_non_blank(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A text that is not blank, or ``None``."""
    if value is not None:
        non_blank(instance, attribute, value)


def optional_model(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A model's name, bare or as ``"vendor:model"``, or ``None``."""
    optional_non_blank(instance, attribute, value)
    if value is not None and not has_both_parts(value):
        raise ConfigError(f"{attribute.name}: {value!r} lacks a part; give 'vendor:model', or a model's bare name")


def mapping(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A dict or the like."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{attribute.name}: {type(value).__name__} is not a mapping; give a dict")


def string_tuple(field: str, value: Any) -> tuple[str, ...]:
    """A list of texts; a single text is refused, since it would be read as a list of letters."""
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise ConfigError(f"{field}: {value!r} is not a list; give a list of strings")
    for item in value:
        if not isinstance(item, str) or not item:
            raise ConfigError(f"{field}: {item!r} is not a non-empty string")
    return tuple(value)


Texts = list[str] | tuple[str, ...] | set[str] | frozenset[str]
"""Several texts as users write them; a single one is none of these."""
Usd = Decimal | str | int | float
"""US dollars as users write them."""


def usd_amount(field: str, value: Usd) -> Decimal:
    """US dollars from a string, a Decimal, an int, or a float as it is written."""
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise ConfigError(f"{field}: {value!r} is not an amount of US dollars; write it as '0.05'") from None
    if isinstance(value, bool) or not amount.is_finite() or amount < 0:
        raise ConfigError(f"{field}: {value!r} is not an amount ≥ 0 of US dollars; write it as '0.05'")
    return amount


def build(kind: type[T], value: Any, path: str) -> T:
    """``kind`` from a mapping of its fields, or the value itself; raises :class:`ConfigError` with the path of the mistake."""
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        flag = (
            "; leave it out for the default, or give enabled=False in it"
            if isinstance(value, bool) and "enabled" in attrs.fields_dict(kind)
            else ""
        )
        raise ConfigError(f"{path}: {type(value).__name__} is not a {kind.__name__}; give one, or a dict of its fields{flag}")
    fields = {field.name: field for field in attrs.fields(kind) if field.init}
    for key in value:
        if key not in fields:
            raise ConfigError(f"{path}: unknown key {key!r}; {choices(key, fields)}")
    for key, field in fields.items():
        if field.default is attrs.NOTHING and key not in value:
            raise ConfigError(f"{path}: {key!r} is missing; a {kind.__name__} needs it")
    try:
        return kind(**value)
    except ConfigError as error:
        raise ConfigError(f"{path}.{error.message}") from None


def optional_fraction(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A fraction of a limit, more than 0 and at most 1, or ``None``."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not 0 < value <= 1:
        raise ConfigError(
            f"{attribute.name}: {value!r} is not a fraction of the limit; give one such as 0.8, or None for no warning"
        )


_SLIDING = re.compile(r"([1-9][0-9]{0,6})\s*([mhdw])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_LONGEST = timedelta(days=366)


def sliding_length(period: str) -> timedelta | None:
    """How long a sliding period is, such as "24h" or "30d"; ``None`` for another text."""
    found = _SLIDING.fullmatch(period)
    return int(found[1]) * _UNITS[found[2]] if found is not None else None


def sliding_text(field: str, value: str | timedelta) -> str | None:
    """A sliding period as its text, ``None`` for what is none. Raises :class:`ConfigError` for one that is too short or long."""
    if isinstance(value, timedelta):
        minutes, rest = divmod(value, timedelta(minutes=1))
        if rest or minutes < 1:
            raise ConfigError(f"{field}: {value!r} is not a sliding period; give whole minutes, 1 or more")
        text = f"{minutes}m" if minutes % 60 else f"{minutes // 60}h" if minutes % 1440 else f"{minutes // 1440}d"
    else:
        text = value.strip().lower().replace(" ", "") if isinstance(value, str) else ""
    length = sliding_length(text)
    if length is not None and length > _LONGEST:
        raise ConfigError(f"{field}: {value!r} is more than {_LONGEST.days} days; give a shorter one")
    return text if length is not None else None
