"""Check the caller's own rows of prices and facts: every mistake is a :class:`ConfigError` with its path."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import attrs

from ..errors import ConfigError
from ..types import Price, choices, usd_amount
from .facts import ABILITIES, canonical, vendor_row, vendor_rows

_Check = Callable[[str, Any], Any]

_ALIKE = 0.6
_MISSPELT = 0.8
"""Similarity, by ``difflib``, of names that are suggested (``_ALIKE``), and of a typing error (``_MISSPELT``)."""
_AMOUNTS = tuple([field.name for field in attrs.fields(Price) if field.type in (Decimal, "Decimal")])
_MOST_DOLLARS = 1_000_000
_TIERS = ("batch", "flex", "priority")
_KINDS = ("chat", "responses", "embedding")
_WINDOWS = ("hours", "weekdays")
_HOURS = re.compile(r"([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)")
_PATTERN = re.compile(r"[*?\[]")
_PLAIN = re.compile(r"[^a-z0-9]")


def check_rows(rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the rows by vendor and model, amounts as decimals. Raises :class:`ConfigError` for the first mistake."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for vendor, models in _mapping("overlay", rows, "vendors").items():
        path = f"overlay[{vendor!r}]"
        name = _vendor(path, vendor)
        checked = found.setdefault(name, {})
        for model, row in _mapping(path, models, "models").items():
            checked[_model(path, name, model)] = _row(f"{path}[{model!r}]", row)
    return found


def _mapping(path: str, value: Any, of: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path}: {type(value).__name__} is not a mapping; give a dict of {of}")
    return value


def _vendor(path: str, vendor: Any) -> str:
    """The vendor's canonical name. A typing error of a vendor of the catalog is refused.

    Any other name may be registered later.
    """
    if not isinstance(vendor, str) or not vendor.strip():
        raise ConfigError(f"{path}: this is no vendor's name; give that of the catalog, or that under which it is registered")
    name = canonical(vendor)
    known = [row.name for row in vendor_rows()]
    near = difflib.get_close_matches(name, known, 1, _MISSPELT)
    if vendor_row(name) is None and near and near[0] not in _PLAIN.sub("", name):
        raise ConfigError(f"{path}: no vendor is named {vendor!r}; did you mean {near[0]!r}?")
    return name


def _model(path: str, vendor: str, model: Any) -> str:
    if not isinstance(model, str) or not model.strip():
        raise ConfigError(f"{path}[{model!r}]: this is no model's name; give it as requests to the vendor have it")
    name = model.strip().removeprefix("models/")
    if _PATTERN.search(name):
        raise ConfigError(f"{path}[{model!r}]: this is a pattern, and fits nothing; give one row for each model, by its name")
    if canonical(name.partition(":")[0]) == vendor and ":" in name:
        raise ConfigError(f"{path}[{model!r}]: the vendor is named already; write {name.partition(':')[2]!r}")
    return name


def _row(path: str, row: Any) -> dict[str, Any]:
    return {name: _CHECKS[name](f"{path}.{name}", value) for name, value in _fields(path, row, _CHECKS).items()}


def _fields(path: str, row: Any, known: Collection[str]) -> Mapping[str, Any]:
    for name in _mapping(path, row, "fields"):
        if name not in known:
            raise ConfigError(f"{path}: unknown field {name!r}; {choices(name, known, 'use {}')}")
    fields: Mapping[str, Any] = row
    return fields


def _price(path: str, price: Any) -> dict[str, Any]:
    """A whole price: input, output, and what differs from them."""
    row = _part(path, price, ("bands", "tiers", "calls", "off_peak", "later"))
    for name in ("input", "output"):
        if name not in row:
            raise ConfigError(f"{path}.{name}: it is missing; give US dollars per million tokens, '0' where they are free")
    return row


def _part(path: str, row: Any, places: Collection[str]) -> dict[str, Any]:
    """A price, or the fields that differ from the price around it; ``places`` are the allowed fields beside amounts."""
    checked = {}
    for name, value in _fields(path, row, (*_AMOUNTS, *places)).items():
        check: _Check = _PLACES.get(name, _amount)
        checked[name] = check(f"{path}.{name}", value)
    return checked


def _amount(path: str, value: Any) -> Decimal:
    amount = usd_amount(path, value)
    if amount > _MOST_DOLLARS:
        raise ConfigError(f"{path}: {value!r} is over a dollar for each token; give US dollars per million tokens")
    return amount


def _bands(path: str, bands: Any) -> list[dict[str, Any]]:
    return [_part_with(f"{path}[{place}]", band, ("above",), ("above",)) for place, band in enumerate(_list(path, bands))]


def _later(path: str, prices: Any) -> list[dict[str, Any]]:
    places = ("valid_from", "bands", "tiers", "calls", "off_peak")
    return [_part_with(f"{path}[{place}]", price, places, ("valid_from",)) for place, price in enumerate(_list(path, prices))]


def _part_with(path: str, row: Any, places: Collection[str], needed: Collection[str]) -> dict[str, Any]:
    checked = _part(path, row, places)
    for name in needed:
        if name not in checked:
            raise ConfigError(f"{path}.{name}: it is missing")
    return checked


def _tiers(path: str, tiers: Any) -> dict[str, dict[str, Any]]:
    return {tier: _part(f"{path}.{tier}", price, ("bands",)) for tier, price in _fields(path, tiers, _TIERS).items()}


def _calls(path: str, calls: Any) -> dict[str, Decimal]:
    return {_text(path, tool): usd_amount(f"{path}[{tool!r}]", amount) for tool, amount in _mapping(path, calls, "tools").items()}


def _off_peak(path: str, price: Any) -> dict[str, Any]:
    return _part_with(path, price, ("windows",), ("windows",))


def _windows(path: str, windows: Any) -> list[dict[str, Any]]:
    found = []
    for place, window in enumerate(_list(path, windows)):
        fields = _fields(f"{path}[{place}]", window, _WINDOWS)
        hours, days = (
            _list(f"{path}[{place}].hours", fields.get("hours")),
            _list(f"{path}[{place}].weekdays", fields.get("weekdays")),
        )
        if not all(isinstance(span, str) and _HOURS.fullmatch(span) for span in hours):
            raise ConfigError(f"{path}[{place}].hours: {hours!r} are no hours; give ['16:30-24:00'], in UTC")
        if not all(isinstance(day, int) and 1 <= day <= 7 for day in days):
            raise ConfigError(f"{path}[{place}].weekdays: {days!r} are no days; Monday is 1, Sunday 7")
        found.append({"hours": hours, "weekdays": days})
    return found


def _list(path: str, value: Any) -> list[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence | set | frozenset):
        raise ConfigError(f"{path}: {value!r} is not a list")
    return list(value)


def _count(path: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{path}: {value!r} is not a whole number ≥ 0 of tokens")
    return value


def _text(path: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{path}: {value!r} is not a non-empty text")
    return value


def _texts(path: str, value: Any) -> tuple[str, ...]:
    return tuple([_text(f"{path}[{place}]", text) for place, text in enumerate(_list(path, value))])


def _day(path: str, value: Any) -> str:
    try:
        return date.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise ConfigError(f"{path}: {value!r} is not a day; write it as '2026-11-21'") from None


def _flag(path: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{path}: {value!r} is neither True nor False")
    return value


def _one_of(words: Sequence[str]) -> Callable[[str, Any], str]:
    def check(path: str, value: Any) -> str:
        if value not in words:
            raise ConfigError(f"{path}: {value!r} is not known; {choices(value, words, 'use {}')}")
        return str(value)

    return check


def _abilities(path: str, value: Any) -> tuple[str, ...]:
    return tuple([_one_of(ABILITIES)(f"{path}[{place}]", word) for place, word in enumerate(_list(path, value))])


_PLACES: Mapping[str, _Check] = {
    "bands": _bands,
    "tiers": _tiers,
    "calls": _calls,
    "off_peak": _off_peak,
    "later": _later,
    "above": _count,
    "windows": _windows,
    "valid_from": _day,
}
_CHECKS: Mapping[str, _Check] = {
    "price": _price,
    "context_window": _count,
    "max_tokens": _count,
    "can": _abilities,
    "lacks": _abilities,
    "aliases": _texts,
    "kind": _one_of(_KINDS),
    "since": _day,
    "ends": _day,
    "retired": _flag,
    "checked": _flag,
    "source": _text,
    "date": _day,
}
