"""A call as somebody else tells it, by keyword or as a line of a file: its fields checked, and made the row that it stands for.

The words of llmring's logs are understood beside our own. What is not listed here is not kept, a prompt least of all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from ..catalog import canonical, cost, model_facts, vendor_row
from ..errors import InvalidRequest
from ..response_values import Usage
from .rows import ATTEMPT, CALL, bounded, clean
from .units import STATUSES, TOKENS, micros, picodollars

Row = dict[str, Any]
"""Column to value, in the units of the database; ``metadata`` is a mapping."""

MOST_TOKENS = 10**12
MOST_DOLLARS = 10**6
"""Of one call; what is more is a slip, and sums of it would overflow."""

_MOST_MICROSECONDS = 10**15
_SHOWN = 40
_TEXTS = ("origin", "id_at_origin", "user", "alias", "profile", "vendor", "model", "error_class", "cost_status", "price_version")
_FLAGS = ("streamed", "cached", "hedged")
_WORDS = {
    "provider": "vendor",
    "model_name": "model",
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "cached_input_tokens": "cache_read_tokens",
    "cached_tokens": "cache_read_tokens",
    "logged_at": "begun_at",
    "called_at": "begun_at",
    "created_at": "begun_at",
    "timestamp": "begun_at",
    "estimated_cost": "cost",
    "total_cost": "cost",
    "error_type": "error_class",
    "stream": "streamed",
    "log_id": "id",
}
_SCALES = {"latency": ("latency_us", 10**6), "latency_ms": ("latency_us", 1000), "response_time_ms": ("latency_us", 1000)}
_SCALES |= {"first_token": ("first_token_us", 10**6), "first_token_ms": ("first_token_us", 1000)}
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


def row_of(told: Mapping[str, Any], now: datetime | None = None) -> Row:
    """The row of a call that has ended; without an id. Raises :class:`~llmdispatcher.errors.InvalidRequest` with field and remedy.

    ``now`` is when it ended, where nothing says when it began. A cost that is missing is that of the catalog.
    """
    facts = _in_our_words(told)
    row: Row = dict.fromkeys(CALL)
    row |= {name: _text(name, facts.get(name)) for name in _TEXTS}
    row |= {name: _count(name, facts.get(name), MOST_TOKENS) for name in TOKENS}
    row |= {name: _flag(name, facts.get(name)) for name in _FLAGS}
    row |= {name: _count(name, facts.get(name), _MOST_MICROSECONDS) for name in ("latency_us", "first_token_us")}
    row["metadata"] = _metadata(facts.get("metadata"))
    row["attempts"] = _count("attempts", facts.get("attempts"), 10**6)
    row["cost"] = _money(facts.get("cost"))
    _say_when(row, facts, now)
    _say_who(row)
    _say_how(row, facts.get("status"))
    if "cost_status" not in facts:  # none of ours, which add up and say why they cost nothing
        _add_up(row)
        _price(row)
    if row["attempts"] is None:
        row["attempts"] = 0 if row["cached"] else 1
    return row


def attempt_of(told: Mapping[str, Any]) -> Row:
    """The row of an attempt. Raises :class:`~llmdispatcher.errors.InvalidRequest` with field and remedy."""
    row: Row = dict.fromkeys(ATTEMPT)
    row |= {name: _text(name, told.get(name)) or "" for name in ("vendor", "model", "status")}
    row["error_class"] = _text("error_class", told.get("error_class"))
    row["number"] = _count("number", told.get("number"), 32767)
    row["http_status"] = _count("http_status", told.get("http_status"), 999)
    row |= {name: _flag(name, told.get(name)) for name in ("retry", "failover", "hedge", "continuation", "possibly_billed")}
    row |= {"sent": None if told.get("sent") is None else _flag("sent", told["sent"]), "cost": _money(told.get("cost"))}
    row |= {name: _count(name, told.get(name), _MOST_MICROSECONDS) for name in ATTEMPT[-4:]}
    row["begun_at"] = _moment("begun_at", told.get("begun_at"))
    if not row["number"] or row["begun_at"] is None or row["status"] not in STATUSES:
        raise _wrong("attempt_records", told, "an attempt has a number, a status and the moment at which it began")
    return row


def id_of(given: Any) -> str:
    """The id of a row for an id that somebody else gave: 32 hex digits or a UUID as they are, of anything else the digest."""
    text = clean(str(given).strip()) if isinstance(given, str | int) and not isinstance(given, bool) else ""
    if not text:
        raise _wrong("id", given, "give a text or a number that no other call has")
    digits = text.replace("-", "").lower()
    if len(digits) == 32 and not set(digits) - set("0123456789abcdef"):
        return digits
    return hashlib.sha256(f"id:{text}".encode()).hexdigest()[:32]


def id_by_content(row: Row, again: int) -> str:
    """An id for a row that has none: the same whenever the same row is read, for the first, second... one that looks so."""
    ours = {"id", "cost_status", "price_version", *(["cost"] if row["cost_status"] == "priced" else [])}  # prices change
    content = json.dumps([row[name] for name in CALL if name not in ours], sort_keys=True, default=str)
    return f"{row['begun_at']:016x}{hashlib.sha256(f'{again}:{content}'.encode()).hexdigest()[:16]}"


def _in_our_words(told: Mapping[str, Any]) -> dict[str, Any]:
    """The facts by our names; of two words for one fact ours counts, and what is empty is nothing."""
    facts = {name: value for name, value in told.items() if value is not None and not (value == "" and name != "cost_status")}
    if "cost_status" in told:
        facts["cost_status"] = told["cost_status"]
    for word, name in _WORDS.items():
        if word in facts and name not in facts:
            facts[name] = facts[word]
    for word, (name, scale) in _SCALES.items():
        if word in facts and name not in facts:
            facts[name] = _scaled(word, facts[word], scale)
    if "conversation_id" in facts and isinstance(facts.get("metadata", {}), Mapping):
        facts["metadata"] = {"conversation_id": str(facts["conversation_id"]), **facts.get("metadata", {})}
    return facts


def _say_when(row: Row, facts: Mapping[str, Any], now: datetime | None) -> None:
    begun, ended, took = _moment("begun_at", facts.get("begun_at")), _moment("ended_at", facts.get("ended_at")), row["latency_us"]
    if begun is None and ended is None and now is not None:
        ended = micros(now)
    if begun is None:
        if ended is None:
            raise InvalidRequest("begun_at: nothing says when the call was made; give begun_at, or logged_at")
        begun = max(0, ended - (took or 0))
    if ended is None and took is not None:
        ended = begun + took
    row.update(begun_at=begun, ended_at=ended)


def _say_who(row: Row) -> None:
    if row["model"] is None:
        raise InvalidRequest("model: nothing says which model was asked; give its name")
    if row["vendor"] is None and ":" in row["model"]:
        vendor, _, model = row["model"].partition(":")
        if vendor_row(vendor) is not None and model:
            row.update(vendor=vendor, model=model)
    if row["vendor"] is not None and vendor_row(row["vendor"]) is not None:
        row["vendor"] = canonical(row["vendor"])


def _say_how(row: Row, status: Any) -> None:
    if status is None:
        status = "success" if row["error_class"] is None else "error"
    if status not in STATUSES[1:]:
        raise _wrong("status", status, f"give one of {', '.join(STATUSES[1:])}")
    row["status"] = status


def _add_up(row: Row) -> None:
    """Have the input include what was read from and written to a cache, as it does here; of a vendor whose words leave it out."""
    cached = (row["cache_read_tokens"] or 0) + (row["cache_write_tokens"] or 0)
    if cached > (row["input_tokens"] or 0):
        row["input_tokens"] = (row["input_tokens"] or 0) + cached


def _price(row: Row) -> None:
    """Say what the call cost by the catalog, or why that is not known."""
    if row["cost"] is not None:
        row["cost_status"] = "vendor_reported"
        return
    tokens: dict[str, Any] = {name: row[name] or 0 for name in TOKENS}
    if row["cached"] or not any(tokens.values()):
        row["cost_status"] = "no_usage"
        return
    facts = model_facts(row["vendor"], row["model"]) if row["vendor"] else None
    price = facts.price if facts is not None else None
    if facts is None or price is None:
        row["cost_status"] = "unknown_model" if facts is None else "no_price"
        return
    moment = datetime.fromtimestamp(row["begun_at"] // 10**6, UTC)
    row["cost"] = picodollars(cost(Usage(**tokens), price, at=moment))
    row.update(cost_status="priced", price_version=facts.price_version)


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong(name, value, "give a text")
        value = str(value)
    return clean(value) or None


def _count(name: str, value: Any, most: int) -> int | None:
    if value is None or value == "":
        return None
    amount = _decimal(value)
    if amount is None or not 0 <= amount <= most or amount != amount.to_integral_value():
        raise _wrong(name, value, f"give a whole number from 0 to {most:,}")
    return int(amount)


def _scaled(name: str, value: Any, scale: int) -> int:
    amount = _decimal(value)
    if amount is None or not 0 <= amount <= _MOST_MICROSECONDS // scale:
        raise _wrong(name, value, "give a number that is not negative")
    return int((amount * scale).to_integral_value())


def _money(value: Any) -> int | None:
    if value is None or value == "":
        return None
    amount = _decimal(value)
    if amount is None or not 0 <= amount <= MOST_DOLLARS:
        raise _wrong("cost", value, f"give US dollars from 0 to {MOST_DOLLARS:,}")
    return picodollars(amount)


def _decimal(value: Any) -> Decimal | None:
    """A number that is one, however it is written."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal) or len(str(value)) > _SHOWN:
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return bool(value)
    truth = _TRUTHS.get(str(value).lower()) if isinstance(value, str | int) else None
    if truth is None:
        raise _wrong(name, value, "give true or false")
    return truth


def _moment(name: str, value: Any) -> int | None:
    """Microseconds since the epoch; a moment without a zone is of UTC."""
    if value is None or value == "":
        return None
    moment = value
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        count = micros(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    except (ValueError, AttributeError, OverflowError):
        raise _wrong(name, value, "write it as 2026-11-21T09:30:00Z") from None
    if count < 0:
        raise _wrong(name, value, "give a moment after 1970")
    return count


def _metadata(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, str) and len(value) <= 10**6:
        try:
            value = json.loads(value, parse_constant=_no_number) if value else None
        except (ValueError, RecursionError):
            raise _wrong("metadata", value, "give a JSON object") from None
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise _wrong("metadata", value, "give a mapping of names to values")
    kept = bounded({name: _float(inner) for name, inner in value.items()})
    return dict(json.loads(kept)) if kept is not None else None


def _float(value: Any) -> Any:
    """JSON's numbers, which are read as ``Decimal`` for the sake of money, as JSON has them."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [_float(inner) for inner in value]
    return {name: _float(inner) for name, inner in value.items()} if isinstance(value, Mapping) else value


def _no_number(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _wrong(name: str, value: Any, remedy: str) -> InvalidRequest:
    shown = repr(value)
    return InvalidRequest(f"{name}: {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'} cannot be; {remedy}")
