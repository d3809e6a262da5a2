"""Calls that were made outside the dispatcher: check their fields, record them, and log them while they happen.

- :func:`parse_call` checks the fields of a call, given as keywords or as a line of a file, and makes its row. The field names of
  llmring's logs are accepted too. Unknown fields, a prompt above all, are not kept.
- :func:`record` and :func:`insert_calls` write such calls: each id once, with its part of the daily totals, in one transaction.
- :func:`usage_of` reads the usage from whatever a vendor's SDK returned, an object or a mapping, whole or a chunk. It goes by field
  names alone, so that no SDK is imported; the wire formats do the counting.
- :func:`log_calls` and :class:`LoggedCall` log calls to a vendor's SDK as they happen. An error of the logging itself is logged
  and never reaches the caller: the wrapped function returns and raises what it would without it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import json
import math
import os
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from operator import itemgetter
from types import GeneratorType, TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from sqlalchemy import JSON, Connection, Table, TableClause, column, table

from ..._text import room_logger
from ...catalog import canonical, price_at, vendor_row
from ...errors import ConfigError, InvalidRequest
from ...runtime import Clock
from ...types import MOST_COST, Usage, cost_of, plausible
from ...wire import anthropic_usage, gemini_usage, ollama_usage, openai_chat_usage, openai_responses_usage
from ..units import DAY, STATUSES, TOKENS, dollars, micros, moment, picodollars
from .call import ATTEMPT, CALL, RecordedCall, clean, metadata_json
from .connections import insert_into, lock_table
from .queries import Connectable, pruned_before, writing
from .schema import attempts as attempts_table
from .schema import calls
from .usage import add_rows

Row = dict[str, Any]
"""Column to value, in the units of the database; ``metadata`` is a mapping."""

MOST_TOKENS = 10**12
MOST_DOLLARS = 10**6
"""Of one call; more is a mistake, and sums of it would overflow."""

_MOST_MICROSECONDS = 10**15
_SHOWN = 40
_TEXTS = ("origin", "id_at_origin", "user", "alias", "profile", "vendor", "model", "error_class", "cost_status", "price_version")
_FLAGS = ("streamed", "cached", "hedged")
_OTHER_NAMES = {
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
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


def parse_call(fields: Mapping[str, Any], now: datetime | None = None, usage_status: str | None = None) -> Row:
    """The row, without an id, of a call that has ended. Raises :class:`~llmdispatcher.InvalidRequest` with field and remedy.

    ``now`` is when the call ended if no field says when it began. A missing cost is computed from the catalog.
    ``usage_status`` is the cost status of a usage of which an impossible number was dropped.
    """
    facts = _normalize_names(fields)
    row: Row = dict.fromkeys(CALL)
    row |= {name: _text(name, facts.get(name)) for name in _TEXTS}
    row |= {name: _count(name, facts.get(name), MOST_TOKENS) for name in TOKENS}
    row |= {name: _flag(name, facts.get(name)) for name in _FLAGS}
    row |= {name: _count(name, facts.get(name), _MOST_MICROSECONDS) for name in ("latency_us", "first_token_us")}
    row["metadata"] = _metadata(facts.get("metadata"))
    row["attempts"] = _count("attempts", facts.get("attempts"), 10**6)
    row["cost"] = _money(facts.get("cost"))
    _fill_times(row, facts, now)
    _fill_vendor(row)
    _fill_status(row, facts.get("status"))
    if "cost_status" not in facts:  # none of ours, which add up and say why they cost nothing
        _include_cached_tokens(row)
        _fill_cost(row, usage_status)
    if row["attempts"] is None:
        row["attempts"] = 0 if row["cached"] else 1
    return row


def parse_attempt(fields: Mapping[str, Any]) -> Row:
    """The row of an attempt. Raises :class:`~llmdispatcher.InvalidRequest` with field and remedy."""
    row: Row = dict.fromkeys(ATTEMPT)
    row |= {name: _text(name, fields.get(name)) or "" for name in ("vendor", "model", "status")}
    row["error_class"] = _text("error_class", fields.get("error_class"))
    row["number"] = _count("number", fields.get("number"), 32767)
    row["http_status"] = _count("http_status", fields.get("http_status"), 999)
    row |= {name: _flag(name, fields.get(name)) for name in ("retry", "failover", "hedge", "continuation", "possibly_billed")}
    row |= {"sent": None if fields.get("sent") is None else _flag("sent", fields["sent"]), "cost": _money(fields.get("cost"))}
    row |= {name: _count(name, fields.get(name), _MOST_MICROSECONDS) for name in ATTEMPT[-4:]}
    row["begun_at"] = _moment("begun_at", fields.get("begun_at"))
    if not row["number"] or row["begun_at"] is None or row["status"] not in STATUSES:
        raise _invalid("attempt_records", fields, "an attempt has a number, a status and the moment at which it began")
    return row


def parse_id(given: Any) -> str:
    """The row's id for a foreign id: 32 hex digits or a UUID as they are; of anything else the digest."""
    text = clean(_as_text(given).strip()) if isinstance(given, str | int) and not isinstance(given, bool) else ""
    if not text:
        raise _invalid("id", given, "give a text or a number that no other call has")
    digits = text.replace("-", "").lower()
    if len(digits) == 32 and not set(digits) - set("0123456789abcdef"):
        return digits
    return hashlib.sha256(f"id:{text}".encode()).hexdigest()[:32]


def content_id(row: Row, again: int) -> str:
    """An id for a row without one: the same whenever the row is read. ``again`` counts the equal rows before it."""
    ours = {"id", "cost_status", "price_version", *(["cost"] if row["cost_status"] == "priced" else [])}  # prices change
    content = json.dumps([row[name] for name in CALL if name not in ours], sort_keys=True, default=str)
    return f"{row['begun_at']:016x}{hashlib.sha256(f'{again}:{content}'.encode()).hexdigest()[:16]}"


def _normalize_names(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by our names. If a fact has two names, ours counts; empty values are left out."""
    facts = {name: value for name, value in fields.items() if value is not None and not (value == "" and name != "cost_status")}
    if "cost_status" in fields:
        facts["cost_status"] = fields["cost_status"]
    for word, name in _OTHER_NAMES.items():
        if word in facts and name not in facts:
            facts[name] = facts[word]
    for word, (name, scale) in _SCALES.items():
        if word in facts and name not in facts:
            amount = _number(word, facts[word], _MOST_MICROSECONDS // scale, "give a number that is not negative")
            facts[name] = int((amount * scale).to_integral_value()) if amount is not None else None
    if "conversation_id" in facts and isinstance(facts.get("metadata", {}), Mapping):
        facts["metadata"] = {"conversation_id": str(facts["conversation_id"]), **facts.get("metadata", {})}
    return facts


def _fill_times(row: Row, facts: Mapping[str, Any], now: datetime | None) -> None:
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


def _fill_vendor(row: Row) -> None:
    if row["model"] is None:
        raise InvalidRequest("model: nothing says which model was asked; give its name")
    if row["vendor"] is None and ":" in row["model"]:
        vendor, _, model = row["model"].partition(":")
        if vendor_row(vendor) is not None and model:
            row.update(vendor=vendor, model=model)
    if row["vendor"] is not None and vendor_row(row["vendor"]) is not None:
        row["vendor"] = canonical(row["vendor"])


def _fill_status(row: Row, status: Any) -> None:
    if status is None:
        status = "success" if row["error_class"] is None else "error"
    if status not in STATUSES[1:]:
        raise _invalid("status", status, f"give one of {', '.join(STATUSES[1:])}")
    row["status"] = status


def _include_cached_tokens(row: Row) -> None:
    """Raise the input to what was read from and written to a cache, for vendors whose input excludes it."""
    cached = (row["cache_read_tokens"] or 0) + (row["cache_write_tokens"] or 0)
    if cached > (row["input_tokens"] or 0):
        row["input_tokens"] = (row["input_tokens"] or 0) + cached


def _fill_cost(row: Row, usage_status: str | None) -> None:
    """Compute the cost from the catalog, or note why it is unknown."""
    if usage_status == "implausible_count":
        row["cost_status"] = usage_status
        return
    if row["cost"] is not None:
        row["cost_status"] = "vendor_reported"
        return
    tokens: dict[str, Any] = {name: row[name] or 0 for name in TOKENS}
    if row["cached"] or not any(tokens.values()):
        row["cost_status"] = "no_usage"
        return
    price, version = price_at(row["vendor"], row["model"]) if row["vendor"] else (None, None)
    if price is None:
        row["cost_status"] = usage_status or ("unknown_model" if version is None else "no_price")
        return
    cost = cost_of(Usage(**tokens), price, at=datetime.fromtimestamp(row["begun_at"] // 10**6, UTC))
    known = cost <= MOST_COST
    row.update(cost=picodollars(cost) if known else None, cost_status=(usage_status or "priced") if known else "implausible_count")
    row["price_version"] = version


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        if isinstance(value, bool) or not isinstance(value, int):
            raise _invalid(name, value, "give a text")
        value = _as_text(value)
        if not value:
            raise _invalid(name, value, "give a text")
    return clean(value) or None


def _as_text(value: str | int) -> str:
    """A text, or a number as one; empty for a number with more digits than Python writes."""
    try:
        return str(value)
    except ValueError:
        return ""


def _count(name: str, value: Any, most: int) -> int | None:
    remedy = f"give a whole number from 0 to {most:,}"
    amount = _number(name, value, most, remedy)
    if amount is not None and amount != amount.to_integral_value():
        raise _invalid(name, value, remedy)
    return int(amount) if amount is not None else None


def _money(value: Any) -> int | None:
    amount = _number("cost", value, MOST_DOLLARS, f"give US dollars from 0 to {MOST_DOLLARS:,}")
    return picodollars(amount) if amount is not None else None


def _number(name: str, value: Any, most: int, remedy: str) -> Decimal | None:
    """A number from 0 to ``most``; ``None`` for no value."""
    if value is None or value == "":
        return None
    amount = _decimal(value)
    if amount is None or not 0 <= amount <= most:
        raise _invalid(name, value, remedy)
    return amount


def _decimal(value: Any) -> Decimal | None:
    """The number that a value stands for; ``None`` if it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        text = str(value)
        amount = Decimal(text) if len(text) <= _SHOWN else None
    except (InvalidOperation, ValueError):  # ValueError: a whole number of more digits than Python writes
        return None
    return amount if amount is not None and amount.is_finite() else None


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return bool(value)
    truth = _BOOLEANS.get(str(value).lower()) if isinstance(value, str | int) else None
    if truth is None:
        raise _invalid(name, value, "give true or false")
    return truth


def _moment(name: str, value: Any) -> int | None:
    """Microseconds since the epoch; a moment without a zone is in UTC."""
    if value is None or value == "":
        return None
    moment = value
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        count = micros(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    except (ValueError, AttributeError, OverflowError):
        raise _invalid(name, value, "write it as 2026-11-21T09:30:00Z") from None
    if count < 0:
        raise _invalid(name, value, "give a moment after 1970")
    return count


def _metadata(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, str) and len(value) <= 10**6:
        try:
            value = json.loads(value, parse_constant=_refuse_constant) if value else None
        except (ValueError, RecursionError):
            raise _invalid("metadata", value, "give a JSON object") from None
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise _invalid("metadata", value, "give a mapping of names to values")
    kept = metadata_json({name: _float(inner) for name, inner in value.items()})
    return dict(json.loads(kept)) if kept is not None else None


def _float(value: Any) -> Any:
    """Replace each ``Decimal``, which money is read as, by the float that JSON has."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [_float(inner) for inner in value]
    return {name: _float(inner) for name, inner in value.items()} if isinstance(value, Mapping) else value


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _invalid(name: str, value: Any, remedy: str) -> InvalidRequest:
    try:
        shown = repr(value)
    except ValueError:
        shown = "a number of thousands of digits"
    return InvalidRequest(f"{name}: {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'} cannot be; {remedy}")


def _in_units(of: Table) -> TableClause:
    """A table for rows that are in the units of the database already: its columns have no types that convert."""
    kinds = {"metadata": JSON(none_as_null=True)}
    return table(of.name, *[column(one.name, kinds.get(one.name)) for one in of.columns])


PLAIN_CALLS, PLAIN_ATTEMPTS = _in_units(calls), _in_units(attempts_table)


def record(database: Connectable, clock: Clock, fields: Mapping[str, Any]) -> RecordedCall:
    """Record one call now, with its part of the daily totals."""
    given = fields.get("id")
    facts, usage_status = _merge_usage(fields)
    row = parse_call(facts, clock.now(), usage_status)
    row["id"] = parse_id(given) if given is not None else new_id(row["begun_at"])
    with writing(database) as connection:
        pruned = lock_pruned_mark(connection)
        if row["begun_at"] < pruned:
            raise InvalidRequest(f"begun_at: {moment(row['begun_at']).isoformat()} is {pruned_reason(pruned)}")
        new = insert_calls(connection, [row])
    cost = dollars(row["cost"]) if row["cost"] is not None else None
    return RecordedCall(id=row["id"], new=bool(new), begun_at=moment(row["begun_at"]), cost=cost, cost_status=row["cost_status"])


def logged_rows(fields: Mapping[str, Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The rows of a call and of its only attempt, as the writer takes them."""
    facts, usage_status = _merge_usage(fields)
    usage_status = _drop_implausible(facts) or usage_status
    status = facts.pop("http_status", None)
    row = parse_call(facts, usage_status=usage_status)
    row["id"] = parse_id(facts["id"]) if facts.get("id") is not None else new_id(row["begun_at"])
    tried = dict.fromkeys(ATTEMPT, False) | {name: row[name] for name in ATTEMPT if name in row}
    tried |= {"call_id": row["id"], "number": 1, "vendor": row["vendor"] or "", "http_status": status, "sent": None}
    tried |= {"bytes_sent": None, "bytes_received": None}
    row["metadata"] = metadata_json(row["metadata"]) if row["metadata"] else None
    return tuple([row[name] for name in CALL]), tuple([tried[name] for name in ATTEMPT])


def new_id(begun_at: int) -> str:
    """An id that sorts by time and is unique among processes."""
    return f"{begun_at:016x}{os.urandom(8).hex()}"


def insert_calls(connection: Connection, rows: Sequence[Row], attempts: Sequence[Row] = ()) -> set[str]:
    """Write the rows whose ids are new, and their attempts. Return the new ids."""
    dialect = connection.dialect.name
    fresh = insert_into(PLAIN_CALLS, dialect).on_conflict_do_nothing(index_elements=["id"]).returning(PLAIN_CALLS.c.id)
    # in one order for all, since who writes the same id waits for the other
    new = set(connection.scalars(fresh, sorted(rows, key=itemgetter("id"))))
    if new:
        add_rows(connection, calls.c.id.in_(new))
    of_new = [attempt for attempt in attempts if attempt["call_id"] in new]
    if of_new:
        added = insert_into(PLAIN_ATTEMPTS, dialect).on_conflict_do_nothing(index_elements=["call_id", "number"])
        connection.execute(added, of_new)
    return new


def lock_pruned_mark(connection: Connection) -> int:
    """The microsecond before which calls have been deleted; it stays so until this transaction ends."""
    lock_table(connection, calls.name, "ROW EXCLUSIVE")
    return pruned_before(connection)


def pruned_reason(pruned: int) -> str:
    """Why a call from before ``pruned`` is not written: it may be one of those that were deleted."""
    day = datetime.fromtimestamp(pruned // 10**6, UTC).date() if pruned % DAY == 0 else moment(pruned)
    return f"before {day}, up to where calls have been deleted and only their sums are kept; leave it out"


def _merge_usage(fields: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The fields with those of their ``usage``, and its cost status if an impossible number was dropped from it."""
    facts = dict(fields)
    usage = facts.pop("usage", None)
    if usage is None:
        return facts, None
    if not isinstance(usage, Usage):
        raise InvalidRequest(f"usage: {type(usage).__name__} is none; give a Usage, or the counts by their names")
    usage = plausible(usage)
    usage_status = usage.cost_status if usage.cost is None and usage.cost_status.startswith("implausible") else None
    of_usage: dict[str, Any] = {name: getattr(usage, name) for name in TOKENS}
    if usage_status is None and (usage.cost is not None or usage.price_version is not None):
        of_usage |= {"cost": usage.cost, "cost_status": usage.cost_status, "price_version": usage.price_version}
    return {**of_usage, **facts}, usage_status


_COUNTED = (*TOKENS, *[word for word, name in _OTHER_NAMES.items() if name in TOKENS])
_COSTS = ("cost", *[word for word, name in _OTHER_NAMES.items() if name == "cost"])


def _drop_implausible(facts: dict[str, Any]) -> str | None:
    """Delete impossible numbers, which mostly come from a vendor. Return the cost status that says so."""
    counts = [name for name in _COUNTED if _is_beyond(facts.get(name), MOST_TOKENS)]
    costs = [name for name in _COSTS if _is_beyond(facts.get(name), MOST_DOLLARS)]
    for name in (*counts, *costs):
        del facts[name]
    return "implausible_count" if counts else "implausible_cost" if costs else None


def _is_beyond(value: Any, most: int) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return False
    amount = _decimal(value)
    return amount is None or not 0 <= amount <= most


_GEMINI = {
    "prompt_token_count": "promptTokenCount",
    "candidates_token_count": "candidatesTokenCount",
    "thoughts_token_count": "thoughtsTokenCount",
    "cached_content_token_count": "cachedContentTokenCount",
    "tool_use_prompt_token_count": "toolUsePromptTokenCount",
}
_DETAILS = (
    "prompt_tokens_details",
    "completion_tokens_details",
    "input_tokens_details",
    "output_tokens_details",
    "cache_creation",
    "cache_write_tokens_details",
)
_COUNTS = (
    *TOKENS,
    *_GEMINI,
    *_GEMINI.values(),
    *("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "cached_input_tokens", "audio_tokens"),
    *("cache_read_input_tokens", "cache_creation_input_tokens", "ephemeral_1h_input_tokens", "thinking_tokens"),
    *("ttl_30m_tokens", "ttl_12h_tokens", "prompt_cache_hit_tokens", "prompt_eval_count", "eval_count", "cost"),
)
_HOLDERS = ("usage", "usage_metadata", "usageMetadata")
_INSIDE = ("message", "response")  # of an event in a stream
_ANTHROPIC = {"cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"}

Raw = dict[str, Any]


def raw_usage(answer: Any) -> Raw:
    """The counts of a response, an event or a usage, by the names they have there; empty if there are none."""
    if isinstance(answer, Usage):
        return {"usage": answer}
    for holder in (answer, *[_get(answer, name) for name in _INSIDE]):
        for name in _HOLDERS:
            held = _get(holder, name)
            if isinstance(held, Usage):
                return {"usage": held}
            counts = _counts(held)
            if counts:
                return counts
    return _counts(answer)


def usage_of(raw: Raw) -> Usage | None:
    """The usage that the counts stand for; ``None`` without counts."""
    if not raw:
        return None
    own = raw.get("usage")
    return own if isinstance(own, Usage) else _usage_reader(raw)(raw)


def model_of(answer: Any) -> str | None:
    """The model that a response or an event names."""
    for holder in (answer, *[_get(answer, name) for name in _INSIDE]):
        for name in ("model", "model_version", "modelVersion"):
            model = _get(holder, name)
            if isinstance(model, str) and model:
                return model
    return None


def _usage_reader(raw: Raw) -> Callable[[Raw], Usage]:
    if raw.keys() & _ANTHROPIC:
        return anthropic_usage
    if "prompt_tokens" in raw or "completion_tokens" in raw:
        return lambda counts: openai_chat_usage({"usage": counts})
    if "promptTokenCount" in raw or "candidatesTokenCount" in raw:
        return gemini_usage
    if "prompt_eval_count" in raw or "eval_count" in raw:
        return lambda counts: ollama_usage(counts) or Usage()
    return _own_usage if raw.keys() & {*TOKENS[2:], "cached_input_tokens"} else openai_responses_usage


def _own_usage(raw: Raw) -> Usage:
    """Read our own names, and llmring's."""
    named = {**raw, "cache_read_tokens": raw.get("cache_read_tokens", raw.get("cached_input_tokens", 0))}
    counts: dict[str, Any] = {name: _to_integer(named.get(name, 0)) for name in TOKENS}
    return plausible(Usage(**counts))


def _to_integer(number: float) -> int | float:
    return int(number) if math.isfinite(number) else number


def _counts(held: Any, depth: int = 2) -> Raw:
    """Numbers and groups of numbers, and nothing else; the depth is bounded, since objects may refer to themselves."""
    found: Raw = {}
    for name in _COUNTS:
        value = _get(held, name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[_GEMINI.get(name, name)] = value
    for name in _DETAILS:
        inner = _counts(_get(held, name), depth - 1) if held is not None and depth else None
        if inner:
            found[name] = inner
    return found


def _get(holder: Any, name: str) -> Any:
    if holder is None or isinstance(holder, str | bytes | int | float | list | tuple):
        return None
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


P = ParamSpec("P")
T = TypeVar("T")
Write = Callable[[Mapping[str, Any]], None]

logger = room_logger("accounting")

_ENDED_BY = {"GeneratorExit": "cancelled", "KeyboardInterrupt": "cancelled", "SystemExit": "cancelled"}


class LoggedCall:
    """One call in progress: a context manager that is given the usage, and writes the call's row when it ends.

    ``facts`` are those of :meth:`~llmdispatcher.Ledger.record`. A call ends once; later calls of :meth:`end` change nothing.
    """

    def __init__(self, write: Write, clock: Clock, facts: Mapping[str, Any]) -> None:
        self._write = write
        self._clock = clock
        self._facts = dict(facts)
        self._raw: Raw = {}
        self._begun_at = clock.now()
        self._started = clock.monotonic()
        self._first: float | None = None
        self._ended = False

    def usage(self, response: Any = None, **facts: Any) -> None:
        """Report the usage: an SDK's response, an event of a stream, a usage, or facts by name (``input_tokens=12``).

        May be called again; each event of a stream adds what it knows. A missing ``cost`` (US dollars) is that of the catalog.
        """
        try:
            self._facts.update(facts)
            if response is not None:
                self._raw.update(raw_usage(response))
                self._facts["model"] = self._facts.get("model") or model_of(response)
        except Exception:
            logger.exception("the usage of a logged call cannot be read; the call is not affected")

    def chunk(self, piece: Any) -> None:
        """Report an event of a stream; the time of the first one is kept."""
        if self._first is None:
            self._first = self._clock.monotonic() - self._started
        self._facts["streamed"] = True
        self.usage(piece)

    def end(self, status: str = "success", error: BaseException | None = None) -> None:
        """Write the row. Later reports are ignored."""
        if self._ended:
            return
        self._ended = True
        try:
            self._write(self._fields(status, error))
        except Exception:
            logger.exception("a logged call was not kept; the call is not affected")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end("success" if error is None else status_of(error), error)

    def _fields(self, status: str, error: BaseException | None) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "begun_at": self._begun_at,
            "latency": self._clock.monotonic() - self._started,
            "first_token": self._first,
            "status": status,
            "error_class": type(error).__name__ if error is not None else None,
            "http_status": http_status(error),
        }
        usage = usage_of(self._raw)
        return {**fields, **({"usage": usage} if usage is not None else {}), **self._facts}


def status_of(error: BaseException) -> str:
    """The status of a call that raised this error, of any library."""
    name = type(error).__name__
    if isinstance(error, TimeoutError) or "Timeout" in name or "DeadlineExceeded" in name:
        return "timeout"
    if http_status(error) == 429 or name.startswith("RateLimit"):
        return "rate_limited"
    return "cancelled" if "Cancelled" in name else _ENDED_BY.get(name, "error")


def http_status(error: BaseException | None) -> int | None:
    """The HTTP status that an error carries, by the names that SDKs use."""
    for name in ("status_code", "status", "code"):
        status = getattr(error, name, None)
        if isinstance(status, int) and 100 <= status <= 599:
            return status
    return None


def log_calls(begin: Callable[[], LoggedCall]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator that logs each call of a function. Raises :class:`ConfigError` for a coroutine."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigError(f"log_llm_call: {function.__qualname__} is a coroutine; write `with ledger.log_call(...)` inside it")
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def logged_generator(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
                return (yield from _log_generator(begin(), function(*args, **kwargs)))

            return logged_generator  # type: ignore[return-value]  # it yields what that yields

        @functools.wraps(function)
        def logged(*args: P.args, **kwargs: P.kwargs) -> T:
            call = begin()
            try:
                answer = function(*args, **kwargs)
            except BaseException as error:
                call.end(status_of(error), error)
                raise
            result: T = _log_result(call, answer)
            return result

        return logged

    return decorate


def _log_result(call: LoggedCall, answer: Any) -> Any:
    """The result itself; for a stream, one that is logged while it is read."""
    if isinstance(answer, GeneratorType):
        drained = _log_generator(call, answer)
        weakref.finalize(drained, call.end, "cancelled").atexit = False  # one that nobody begins never runs
        return drained
    if hasattr(type(answer), "__next__"):
        return _LoggedStream(call, answer)
    call.usage(answer)
    call.end()
    return answer


def _log_generator(call: LoggedCall, inner: Any) -> Generator[Any, Any, Any]:
    with call:
        return (yield from _LoggedGenerator(call, inner))


class _LoggedGenerator:
    """The protocol of a generator, with each item logged; ``yield from`` passes on what is sent and thrown."""

    def __init__(self, call: LoggedCall, inner: Any) -> None:
        self._call = call
        self._inner = inner

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._log(next(self._inner))

    def send(self, value: Any) -> Any:
        """Send a value to the generator."""
        return self._log(self._inner.send(value))

    def throw(self, error: BaseException) -> Any:
        """Raise an error in the generator."""
        return self._log(self._inner.throw(error))

    def close(self) -> None:
        """Close the generator."""
        self._inner.close()

    def _log(self, piece: Any) -> Any:
        self._call.chunk(piece)
        return piece


class _LoggedStream:
    """An SDK's stream, logged while it is read. It behaves like the stream in all else, its class included."""

    def __init__(self, call: LoggedCall, inner: Any) -> None:
        self.__dict__.update(_call=call, _inner=inner)
        weakref.finalize(self, call.end, "cancelled").atexit = False

    @property
    def __class__(self) -> Any:
        return type(self._inner)

    @__class__.setter
    def __class__(self, kind: Any) -> None:
        self._inner.__class__ = kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_inner"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        try:
            piece = next(self._inner)
        except StopIteration:
            self._call.end()
            raise
        except BaseException as error:
            self._call.end(status_of(error), error)
            raise
        self._call.chunk(piece)
        return piece

    def __enter__(self) -> Any:
        entered = self._inner.__enter__()
        return self if entered is self._inner else entered

    def __exit__(self, *raised: Any) -> Any:
        try:
            return self._inner.__exit__(*raised)
        finally:
            self._finish(raised[1])

    def close(self) -> Any:
        """Close the stream; the usage of what was not read is not waited for."""
        try:
            return self._inner.close()
        finally:
            self._finish(None)

    def _finish(self, error: BaseException | None) -> None:
        """End the call. If it was read in one of the SDK's own ways, the SDK holds the whole message."""
        with contextlib.suppress(Exception):
            self._call.usage(getattr(self._inner, "current_message_snapshot", None))
        self._call.end("cancelled" if error is None else status_of(error), error)
