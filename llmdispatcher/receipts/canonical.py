"""The one text of a value: RFC 8785 canonical JSON out, strict JSON in, and how moments and money are written in both.

RFC 8785 is defined for what every JSON parser reads alike (I-JSON, RFC 7493): whole numbers up to 2**53 - 1, no NaN, no name twice
in an object, no half of a surrogate pair. Whatever else comes is refused; nothing is rounded, and Unicode is not normalised.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NoReturn

import rfc8785

from ..errors import InvalidRequest

MOST = 2**53 - 1
"""The largest whole number that all readers of JSON agree upon (RFC 7493, 2.2)."""

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_MONEY = re.compile(r"0|-?(?:0|[1-9]\d{0,17})\.\d{0,11}[1-9]|-?[1-9]\d{0,17}", re.ASCII)


def canonical(value: Any) -> bytes:
    """The canonical JSON of dicts with text keys, lists, texts, numbers, booleans and ``None``.

    Raises :class:`InvalidRequest` for a number that is not finite or beyond :data:`MOST`, half a surrogate pair, any other type.
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as foreign:
        raise InvalidRequest(f"receipt: {_reason(foreign)}; it has no canonical JSON (RFC 8785)") from None


def _reason(foreign: Exception) -> str:
    if isinstance(foreign, UnicodeEncodeError):
        return "a name has half a surrogate pair"
    return "it is nested too deeply" if isinstance(foreign, RecursionError) else str(foreign)


def parsed(text: str | bytes, what: str = "receipt") -> Any:
    """What a JSON text stands for, where all readers agree upon it.

    Raises :class:`InvalidRequest` that begins with ``what`` for bytes that are not UTF-8, a text that is not JSON, a name that an
    object has twice, NaN and Infinity, a whole number beyond :data:`MOST`.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, parse_int=_whole)
    except (ValueError, RecursionError) as foreign:
        reason = "it is nested too deeply" if isinstance(foreign, RecursionError) else str(foreign)
        raise InvalidRequest(f"{what}: {reason}; give JSON as it was exported") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"an object has {name!r} twice")
        found[name] = value
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _whole(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > MOST:
        raise ValueError(f"the number {digits[:20]} is beyond 2**53 - 1")
    return int(digits)


def digest(content: bytes) -> str:
    """``"sha256:"`` and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def moment_text(moment: datetime) -> str:
    """``"2026-11-21T16:00:00.000000Z"``, the one form that is stored and signed; raises :class:`InvalidRequest` for a naive one."""
    if moment.tzinfo is None:
        raise InvalidRequest(f"time: {moment.isoformat()} has no time zone; give an aware datetime")
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def moment_of(text: str) -> datetime:
    """The other way; raises :class:`ValueError` for any other form."""
    if not _MOMENT.fullmatch(text):
        raise ValueError(f"{text!r} is not like 2026-11-21T16:00:00.000000Z")
    return datetime.fromisoformat(text)


def money_text(dollars: Decimal) -> str:
    """US dollars without exponent and without zeros at the end: ``"0.000125"``, ``"3"``, ``"0"``."""
    if not dollars.is_finite():
        raise InvalidRequest(f"cost: {dollars} is no amount; give a finite Decimal")
    text = f"{dollars:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def money_of(text: str) -> Decimal:
    """The other way, down to picodollars; raises :class:`ValueError` for any other form."""
    if not _MONEY.fullmatch(text):
        raise ValueError(f"{text!r} is not an amount such as 0.000125")
    return Decimal(text)
