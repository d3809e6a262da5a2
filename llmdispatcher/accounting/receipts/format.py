"""The format of receipts: canonical JSON (RFC 8785), strict parsing, times and money as text, and the form of every field.

RFC 8785 covers what every JSON parser reads alike (I-JSON, RFC 7493): integers up to 2**53 - 1, no NaN, no duplicate names in an
object, no lone surrogates. Anything else is refused; nothing is rounded, and Unicode is not normalized. The tables in ``FORMS``
give the form of every field; a field that does not match is reported with its path.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NoReturn

import attrs

from ...errors import ConfigError, InvalidRequest
from ..units import TOKENS

RFC8785: Any = import_module("rfc8785") if find_spec("rfc8785") is not None else None
"""The package; ``None`` without the extra."""

MOST = 2**53 - 1
"""The largest whole number that all readers of JSON agree upon (RFC 7493, 2.2)."""

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_MONEY = re.compile(r"0|-?(?:0|[1-9]\d{0,17})\.\d{0,11}[1-9]|-?[1-9]\d{0,17}", re.ASCII)


def require_extra(*packages: str) -> None:
    """Raise :class:`ConfigError` unless the packages of the extra ``receipts``, and *packages* of ``ledger``, are installed."""
    for package in ("cryptography", "rfc8785", *packages):
        if find_spec(package) is None:
            extra = "ledger" if package in packages else "receipts"
            raise ConfigError(f"receipts: {package} is not installed; pip install 'llmdispatcher[{extra}]'")


def canonical(value: Any) -> bytes:
    """The canonical JSON of dicts with text keys, lists, texts, numbers, booleans and ``None``.

    Raises :class:`InvalidRequest` for a number that is not finite or beyond :data:`MOST`, half a surrogate pair, any other type.
    """
    if RFC8785 is None:
        require_extra()
    try:
        text: bytes = RFC8785.dumps(value)
        return text
    except (RFC8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as foreign:
        raise InvalidRequest(f"receipt: {_reason(foreign)}; it has no canonical JSON (RFC 8785)") from None


def _reason(foreign: Exception) -> str:
    if isinstance(foreign, UnicodeEncodeError):
        return "a name has half a surrogate pair"
    return "it is nested too deeply" if isinstance(foreign, RecursionError) else str(foreign)


def parse_json(text: str | bytes, what: str = "receipt") -> Any:
    """Parse a JSON text that all readers understand alike.

    Raises :class:`InvalidRequest` that begins with ``what`` for bytes that are not UTF-8, a text that is not JSON, a name that
    occurs twice in an object, NaN and Infinity, and an integer beyond :data:`MOST`.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        return json.loads(text, object_pairs_hook=_unique_names, parse_constant=_refuse_constant, parse_int=_parse_integer)
    except (ValueError, RecursionError) as foreign:
        reason = "it is nested too deeply" if isinstance(foreign, RecursionError) else str(foreign)
        raise InvalidRequest(f"{what}: {reason}; give JSON as it was exported") from None


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"an object has {name!r} twice")
        found[name] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _parse_integer(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > MOST:
        raise ValueError(f"the number {digits[:20]} is beyond 2**53 - 1")
    return int(digits)


def digest(content: bytes) -> str:
    """``"sha256:"`` and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def moment_text(moment: datetime) -> str:
    """``"2026-11-21T16:00:00.000000Z"``, the only form that is signed; raises :class:`InvalidRequest` for a naive datetime."""
    if moment.tzinfo is None:
        raise InvalidRequest(f"time: {moment.isoformat()} has no time zone; give an aware datetime")
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def parse_moment(text: str) -> datetime:
    """The moment of :func:`moment_text`; raises :class:`ValueError` for any other form."""
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


def parse_money(text: str) -> Decimal:
    """The amount of :func:`money_text`, down to picodollars; raises :class:`ValueError` for any other form."""
    if not _MONEY.fullmatch(text):
        raise ValueError(f"{text!r} is not an amount such as 0.000125")
    return Decimal(text)


VERSION = 1
"""The version of receipts that is written; any other is refused."""

SIGNATURE = "ed25519:"


@attrs.frozen
class Leaf:
    """One value, and what it should be in words."""

    fits: Callable[[Any], bool]
    should_be: str


@attrs.frozen
class Maybe:
    """The form, or null."""

    form: Form


@attrs.frozen
class Each:
    """An object with any names, all of whose values have the form."""

    form: Form


@attrs.frozen
class Many:
    """A list of values of the form."""

    form: Form


Form = Leaf | Maybe | Each | Many | Mapping[str, "Form"]


def faults(value: Any, form: Form, path: str = "") -> Iterator[tuple[str, str]]:
    """Path and reason of each part of ``value`` that does not have the form; an empty path is the whole."""
    match form:
        case Leaf():
            if not form.fits(value):
                yield path, f"{shorten(value)} is not {form.should_be}"
        case Maybe():
            if value is not None:
                yield from faults(value, form.form, path)
        case Many() if isinstance(value, list):
            yield from _faults_of_items(enumerate(value), form.form, path)
        case Many():
            yield path, f"{shorten(value)} is not a list"
        case _ if not isinstance(value, dict):
            yield path, f"{shorten(value)} is not an object"
        case Each():
            yield from _faults_of_items(value.items(), form.form, path)
        case _:
            yield from _faults_of_fields(value, form, path)


def _faults_of_items(items: Iterable[tuple[object, Any]], form: Form, path: str) -> Iterator[tuple[str, str]]:
    for key, item in items:
        yield from faults(item, form, f"{path}[{key!r}]")


def _faults_of_fields(value: dict[str, Any], form: Mapping[str, Form], path: str) -> Iterator[tuple[str, str]]:
    for name in [name for name in form if name not in value]:
        yield _below(path, name), "it is missing"
    for name, item in value.items():
        if name in form:
            yield from faults(item, form[name], _below(path, name))
        else:
            yield _below(path, str(name)), "no field of this name belongs here"


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def shorten(value: Any) -> str:
    """A value in few characters, for a message."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def decode_base64url(text: str, size: int) -> bytes:
    """Decode base64url without padding; raises :class:`ValueError` for another length or spelling.

    The last letter has bits that a decoder ignores. Without this check it could be altered unnoticed.
    """
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise ValueError("it is not base64url") from None
    if len(raw) != size or encode_base64url(raw) != text:
        raise ValueError(f"it is not {size} bytes in base64url without padding")
    return raw


def encode_base64url(raw: bytes) -> str:
    """Bytes in base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def parse_signature(text: str) -> bytes:
    """The 64 bytes of a signature's text; raises :class:`ValueError` for another algorithm or form."""
    if not text.startswith(SIGNATURE):
        raise ValueError("it is not a signature by Ed25519")
    return decode_base64url(text.removeprefix(SIGNATURE), 64)


def signature_text(raw: bytes) -> str:
    """``"ed25519:"`` and the signature in base64url without padding."""
    return SIGNATURE + encode_base64url(raw)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST


def _matches(pattern: str) -> Callable[[Any], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _parses(read: Callable[[str], object]) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        try:
            return isinstance(value, str) and read(value) is not None
        except ValueError:
            return False

    return fits


def _one_of(*choices: object) -> Leaf:
    words = " or ".join(repr(choice) for choice in choices)
    return Leaf(lambda value: any(type(value) is type(choice) and value == choice for choice in choices), words)


TEXT = Leaf(_text, "a text")
COUNT = Leaf(_count, "a whole number from 0 to 2**53 - 1")
NUMBER = Leaf(lambda value: _count(value) and value > 0, "a whole number from 1 to 2**53 - 1")
MONEY = Leaf(_parses(parse_money), "US dollars as a text such as '0.000125'")
MOMENT = Leaf(_parses(parse_moment), "a time like '2026-11-21T16:00:00.000000Z'")
HASH = Leaf(_matches(r"sha256:[0-9a-f]{64}"), "'sha256:' and 64 hexadecimal digits")
KEY_ID = Leaf(_matches(r"key_[0-9a-f]{16}"), "'key_' and 16 hexadecimal digits")
SIGNED = Leaf(_parses(parse_signature), "'ed25519:' and 64 bytes in base64url without padding")

KEY: Mapping[str, Form] = {
    "key_id": KEY_ID,
    "public_key": Leaf(_parses(lambda value: decode_base64url(value, 32)), "32 bytes in base64url without padding"),
    "algorithm": _one_of("Ed25519"),
    "format": _one_of("base64url"),
}
CALL: Mapping[str, Form] = {
    "id": TEXT,
    "begun_at": MOMENT,
    "ended_at": Maybe(MOMENT),
    **dict.fromkeys(("origin", "id_at_origin", "alias", "profile", "vendor"), Maybe(TEXT)),
    "model": TEXT,
    "status": TEXT,
    **dict.fromkeys(TOKENS, Maybe(COUNT)),
    "total_tokens": COUNT,
    "cost": Maybe(MONEY),
    "cost_status": Maybe(TEXT),
    "price_version": Maybe(TEXT),
}
ROW: Mapping[str, Form] = {
    **{name: form for name, form in CALL.items() if name != "total_tokens"},
    **dict.fromkeys(("user", "error_class"), Maybe(TEXT)),
    **dict.fromkeys(("latency_us", "first_token_us"), Maybe(COUNT)),
    **dict.fromkeys(("streamed", "cached", "hedged"), _one_of(True, False)),
    "attempts": COUNT,
    "metadata": Maybe(HASH),
}
"""The certified fields of a call's row; ``metadata`` is the digest of its JSON."""
CERTIFIED: Mapping[str, Form] = {"call_id": TEXT, "digest": HASH, "row": Maybe(ROW)}
"""A call in an export: its row, and the digest that was certified."""
SHARE: Mapping[str, Form] = {"calls": COUNT, "tokens": COUNT, "cost": MONEY}
SUMMARY: Mapping[str, Form] = {
    "total_calls": NUMBER,
    "input_tokens": COUNT,
    "output_tokens": COUNT,
    "total_tokens": COUNT,
    "total_cost": MONEY,
    "unpriced_calls": COUNT,
    "start": MOMENT,
    "end": MOMENT,
    "by_model": Each(SHARE),
    "by_alias": Each(SHARE),
}
SELECTION: Mapping[str, Form] = {
    "by": _one_of("ids", "range", "uncertified"),
    "since": Maybe(MOMENT),
    "until": Maybe(MOMENT),
    "origin": Maybe(TEXT),
    "id_at_origin": Maybe(TEXT),
    "certified_before": COUNT,
}
_EVERY: Mapping[str, Form] = {
    "version": _one_of(VERSION),
    "receipt_type": _one_of("single", "batch", "rotation"),
    "receipt_id": Leaf(_matches(r"rcpt_[0-9a-f]{32}"), "'rcpt_' and 32 hexadecimal digits"),
    "ledger": Leaf(_matches(r"ledger_[0-9a-f]{32}"), "'ledger_' and 32 hexadecimal digits"),
    "sequence": NUMBER,
    "previous": Maybe(HASH),
    "timestamp": MOMENT,
    "key_id": KEY_ID,
    "description": TEXT,
    "tags": Many(TEXT),
    "signature": SIGNED,
}
FORMS: Mapping[str, Mapping[str, Form]] = {
    "single": {**_EVERY, "call": CALL, "calls_digest": HASH},
    "batch": {**_EVERY, "selection": SELECTION, "summary": SUMMARY, "calls_digest": HASH},
    "rotation": {**_EVERY, "old_key": Maybe(KEY), "new_key": KEY, "acceptance": Maybe(SIGNED)},
}
"""By ``receipt_type``: every field that a receipt has; all of them but ``signature`` are signed."""


def form_of(document: Mapping[str, Any]) -> Mapping[str, Form]:
    """The form for the receipt's type; without a known type the fields that all receipts have."""
    kind = document.get("receipt_type")
    return FORMS.get(kind, _EVERY) if isinstance(kind, str) else _EVERY
