"""Vectors in JSON: lists of numbers, or bytes in base64."""

from __future__ import annotations

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ..errors import MalformedReply
from ..response_values import Usage
from .payload import MAX_COUNT, count, mapping

BASE64 = "base64"
_WIDTH = 4
"""Bytes of a number: IEEE 754, little-endian."""


def vectors(found: Any) -> list[tuple[float, ...]]:
    """All vectors of a list."""
    if not isinstance(found, list):
        raise MalformedReply("the vendor's answer has no embeddings", sent=True)
    return [vector(each) for each in found]


def in_order(found: Any) -> list[Mapping[str, Any]]:
    """The entries of a list, in the order of their indices if they have them."""
    if not isinstance(found, list):
        raise MalformedReply("the vendor's answer has no embeddings", sent=True)
    entries = [mapping(each) for each in found]
    return (
        sorted(entries, key=lambda entry: entry["index"]) if all(type(entry.get("index")) is int for entry in entries) else entries
    )


def vector(found: Any, asked: Any = None, dimensions: int | None = None) -> tuple[float, ...]:
    """One vector. Raises :class:`MalformedReply` for what is none.

    Bytes are numbers of four bytes if those were asked for. A vendor that sends bytes unasked (Perplexity) means whole numbers
    from -128 to 127, one byte each, unless the asked length tells otherwise.
    """
    if isinstance(found, str):
        data = _bytes(found)
        wide = asked == BASE64 or (asked is None and dimensions is not None and len(data) == _WIDTH * dimensions)
        return _wide(data) if wide else tuple([float(number) for number in array("b", data)])
    try:
        numbers = tuple(array("d", found)) if isinstance(found, list) else ()
    except (TypeError, OverflowError):
        numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):
        raise MalformedReply("the vendor's answer has something else than numbers in an embedding", sent=True)
    return numbers


def _bytes(encoded: str) -> bytes:
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data:
        raise MalformedReply("the vendor's answer has an embedding that is no base64", sent=True)
    return data


def _wide(data: bytes) -> tuple[float, ...]:
    if len(data) % _WIDTH:
        raise MalformedReply(f"the vendor's answer has an embedding of {len(data)} bytes, which are no whole numbers", sent=True)
    numbers = array("f", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    if not all(map(math.isfinite, numbers)):
        raise MalformedReply("the vendor's answer has something else than numbers in an embedding", sent=True)
    return tuple(numbers)


def encoded_vector(numbers: tuple[float, ...]) -> str:
    """A vector in base64."""
    wide = array("f", numbers)
    if sys.byteorder == "big":
        wide.byteswap()
    return base64.b64encode(wide.tobytes()).decode()


def usage_of(document: Mapping[str, Any]) -> Usage:
    """The canonical usage; some vendors say what it cost."""
    raw = mapping(document.get("usage"))
    if not raw:
        return Usage()
    cost = raw.get("cost")
    if isinstance(cost, dict):  # Perplexity
        cost = cost.get("total_cost") if cost.get("currency", "USD") == "USD" else None
    told = isinstance(cost, int | float) and not isinstance(cost, bool) and 0 <= cost < MAX_COUNT
    return Usage(
        input_tokens=count(raw.get("prompt_tokens")) or count(raw.get("total_tokens")),
        cost=Decimal(str(cost)) if told else None,
        raw=raw,
    )
