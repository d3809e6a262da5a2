"""What decoders share: documents and fields of answers, read whatever vendors write in them, and the numbers of their usage."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ..errors import DispatchError, MalformedReply
from ..runtime import SYSTEM_CLOCK, new_id
from ..types import (
    MOST_MEMBERS,
    MOST_OBJECTS,
    MOST_TOKENS,
    Citation,
    ToolCall,
    ToolCallDelta,
    TooMuch,
    Usage,
    parse_text,
    plausible_cost,
    repair,
)
from .errors import BESIDE, MAX_EXCERPT, excerpt, fault_inside, read, tells, tells_beside, tells_of_failure
from .sse import to_text

_NONE: Mapping[str, Any] = {}
Span = tuple[int | None, int | None]
"""Where a piece of a text begins and ends; ``None`` for what nobody knows."""


def parse(body: bytes, members: int = MOST_MEMBERS, *, halves: bool = False) -> Any:
    """The document in ``body``. Raises :class:`MalformedReply`, with a safe excerpt, for anything that is not JSON.

    So it does, before decoding, for a document with more members than that, or nested too deeply. ``halves`` leaves halves of
    characters as they are.
    """
    objects = most_objects(members)
    try:
        text = (to_text(body) if halves else body.decode("utf-8", "replace")).removeprefix("\ufeff")
        return parse_text(text, members, objects=objects, lenient=True, halves=halves)
    except TooMuch as much:
        raise MalformedReply(f"the vendor's answer {much}", sent=True) from None
    except ValueError:
        fixed = repair(text) if text.lstrip()[:1] in ("{", "[") else None
        if fixed is not None:
            return parse_text(fixed, members, objects=objects, lenient=True, halves=halves)
        error = MalformedReply(f"the vendor's answer is {_describe(body.strip())}", sent=True)
        raise error.shortened(MAX_EXCERPT) from None


def most_objects(members: int) -> int | None:
    """How many objects an answer may have: one that may have more members than usual is made of many small ones."""
    return MOST_OBJECTS if members <= MOST_MEMBERS else None


def parse_object(body: bytes, members: int = MOST_MEMBERS) -> Mapping[str, Any]:
    """The object in ``body``, also where it is the first of a list; an empty one where there is none."""
    document = parse(body, members)
    if isinstance(document, list) and document:
        document = document[0]
    return document if isinstance(document, dict) else {}


def _describe(body: bytes) -> str:
    if not body:
        return "empty"
    if body[:1] in (b"{", b"["):  # a piece of an answer has no place in an error
        return f"no valid JSON, or cut short ({len(body)} bytes)"
    return f"not JSON: {excerpt(body)}"


def mapping(value: Any) -> Mapping[str, Any]:
    """``value`` if it is an object, else an empty one: vendors send null and worse where an object belongs."""
    return value if isinstance(value, dict) else {}


_CURRENCIES = ("currency", "cost_currency", "currency_code")
_DOLLARS = frozenset({"USD", "US$", "$", "US DOLLAR", "US DOLLARS", "DOLLARS"})
_NUMBER = re.compile(r"\d{1,15}(\.\d{1,15})?")


class Counter:
    """Reads the numbers of one usage. An impossible one counts as 0, and ``status`` says so."""

    status: str | None = None

    def count(self, value: Any) -> int:
        """A token count; some servers send floats, text, null, or nothing."""
        if type(value) is int and 0 <= value <= MOST_TOKENS:
            return value
        if not value or not says(value):
            return 0
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS:
            return int(value)
        self.status = "implausible_count"
        return 0

    def counts(self, *values: Any) -> list[int]:
        """Several token counts."""
        return [value if type(value) is int and 0 <= value <= MOST_TOKENS else self.count(value) for value in values]

    def cost(self, value: Any, record: Mapping[str, Any] = _NONE) -> Decimal | None:
        """US dollars, as a number or a text, or in Perplexity's object; ``None`` where nothing is told, or what cannot be.

        ``record`` is what the cost stands in: one in another currency is none.
        """
        if isinstance(value, dict):
            record, value = {**record, **value}, value.get("total_cost")
        if value is None or isinstance(value, bool | dict | list):
            return None
        currency = next((record[name] for name in _CURRENCIES if says(record.get(name))), "USD")
        if not isinstance(currency, str) or currency.strip().upper() not in _DOLLARS:
            return None
        cost = plausible_cost(value)
        if cost is None and self.status is None and value != "":
            self.status = "implausible_cost"
        return cost

    def usage(self, *, cost: Decimal | None = None, raw: Mapping[str, Any], **counts: Any) -> Usage:
        """The usage of what was read. If a number was impossible, ``raw`` has null for numbers that JSON cannot carry."""
        if self.status is None:
            return Usage(cost=cost, raw=raw, **counts)
        cost = cost if self.status == "implausible_cost" else None
        return Usage(cost=cost, cost_status=self.status, raw=_finite(raw), **counts)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def says(value: Any) -> bool:
    """Whether a field holds anything: null, false, zero, blank text and containers of nothing but those are as good as absent."""
    if isinstance(value, str):
        return not (not value or value.isspace())
    if isinstance(value, dict):
        return any(map(says, value.values()))
    if isinstance(value, list | tuple):
        return any(map(says, value))
    return bool(value)


def says_more(record: Mapping[str, Any], *names: str) -> bool:
    """Whether an object holds anything in other fields than these."""
    return any(says(value) for name, value in record.items() if name not in names)


def text_of(value: Any) -> str:
    """``value`` if it is text, else nothing."""
    return value if isinstance(value, str) else ""


def decode_base64(encoded: Any, *, exact: bool = False) -> bytes | None:
    """The bytes of base64; ``None`` for anything else, and with ``exact`` also where the same bytes are written in another way."""
    try:
        data = base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else None
    except ValueError:
        return None
    return None if exact and data is not None and base64.b64encode(data).decode() != encoded else data


def cite(raw: Mapping[str, Any], *, url: Any, title: Any, text: Any = None, span: Span = (None, None)) -> Citation:
    """Make a citation; a field that is empty or no text counts as absent."""
    named = {"url": text_of(url) or None, "title": text_of(title) or None, "text": text_of(text) or None}
    return Citation(**named, start=span[0], end=span[1], raw=raw)


def raise_error(document: Mapping[str, Any]) -> None:
    """Raise the error that a whole answer carries beside its content, if it carries one."""
    if _ERRORS.isdisjoint(document):
        return
    if ("error" in document and tells(document["error"])) or tells_beside(document):
        raise fault_inside(document)


_ERRORS = frozenset({"error", *BESIDE})


def missing(document: Any, what: str) -> DispatchError:
    """The error of a whole answer that has not got what its format promises: what it says instead, if that is an error."""
    if read(document) is not None or tells_of_failure(mapping(document)):
        return fault_inside(document)
    return MalformedReply(f"the vendor's answer has no {what}", sent=True)


def words_of(value: Any) -> str:
    """A piece of an answer as text: some servers write one that looks like a number as a number, 0 among them."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def arguments_in(value: Any) -> str:
    """Arguments as text; some servers send the object that they mean, and PHP an empty one as a list."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps({} if value == [] else value, ensure_ascii=False)


class JsonBuffer:
    """JSON text in pieces, such as the arguments of a call. To ask whether it is whole costs no more than what came since."""

    __slots__ = ("_cut", "_depth", "_is_broken", "_is_whole", "_quoted", "_seen", "pieces")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._seen = self._depth = 0  # pieces that were looked at, and brackets open in them
        self._cut = ""  # a backslash at their end
        self._quoted = self._is_whole = self._is_broken = False

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces)

    @property
    def is_whole(self) -> bool:
        """Whether it is a JSON document as it stands."""
        new = "".join(self.pieces[self._seen :])
        self._seen = len(self.pieces)
        if not new or (new.isspace() and not self._quoted):
            return self._is_whole
        text = _ESCAPED.sub("", self._cut + new)
        self._cut = "\\" if text.endswith("\\") else ""
        parts = text.split('"')
        outside = "".join(parts[self._quoted :: 2])
        self._quoted ^= len(parts) % 2 == 0
        self._depth += outside.count("{") + outside.count("[") - outside.count("}") - outside.count("]")
        self._is_whole = False
        if not (self._is_broken or self._quoted or self._depth):
            try:
                parse_text(self.text)
                self._is_whole = True
            except ValueError:
                self._is_broken = True  # whatever follows
        return self._is_whole


_ESCAPED = re.compile(r"\\.", re.DOTALL)


class CallBuffer:
    """A call whose pieces come one after another."""

    __slots__ = ("_made_id", "arguments", "extra", "kind", "name", "signature", "told_id")

    def __init__(self) -> None:
        self._made_id = made_id(CALL)
        self.told_id: str | None = None
        self.name, self.kind = "", "function"
        self.signature: str | None = None
        self.extra: Any = None
        self.arguments = JsonBuffer()

    @property
    def id(self) -> str:
        """The vendor's id, or a made one where the vendor gave none."""
        return self.told_id or self._made_id

    def learn(self, delta: ToolCallDelta) -> None:
        """Take in a piece."""
        self.told_id, self.name, self.kind = self.told_id or delta.id, self.name or delta.name or "", delta.kind or self.kind
        self.signature, self.extra = delta.signature or self.signature, delta.extra or self.extra
        self.arguments.pieces.append(delta.arguments)

    @property
    def is_whole(self) -> bool:
        """Whether its arguments are complete as they stand, as any text is."""
        return self.kind == "custom" or self.arguments.is_whole

    def as_call(self, call_id: str | None, kind: str | None = None) -> ToolCall:
        """What is known of it so far."""
        kind, extra = kind or self.kind, self.extra or {}
        return ToolCall(name=self.name, arguments=self.arguments.text, id=call_id, kind=kind, signature=self.signature, extra=extra)


def entries_in(value: Any) -> list[Any]:
    """The entries of a list, also where one stands alone, or PHP wrote them as an object of numbers."""
    if isinstance(value, dict) and value and all(name.isdigit() for name in value):
        return list(value.values())
    return value if isinstance(value, list) else [value] if isinstance(value, dict) and value else []


def number_in(value: Any) -> int | None:
    """An index, also one written as a float or as text; ``None`` for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _MOST_DIGITS:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


_MOST_DIGITS = 10


def recount(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> Mapping[str, Any]:
    """Merge two records of usage: values of the later one replace those of the earlier one, its zeros and nulls do not."""
    merged: dict[str, Any] = {}
    for name, value in earlier.items() if len(earlier) <= _MOST_FIELDS else ():
        now = later.get(name)
        if not now:
            if value and says(value):
                merged[name] = value
        elif type(now) is dict and type(value) is dict:
            merged[name] = recount(value, now)
    return {**later, **merged} if merged else later


_MOST_FIELDS = 100
"""Of a record of usage that is kept for a later one; no vendor's has nearly as many."""
_LEAST_LOGPROB = -9999.0
"""What OpenAI writes for a token that is not among the likely ones; JSON has no infinity."""


def log_probability(value: Any) -> float:
    """A logarithm of a probability as JSON carries it."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else _LEAST_LOGPROB


def made_id(kind: str) -> str:
    """Make an id such as ``call_…``. No two are the same, since a conversation holds the calls of many answers."""
    return f"{kind}{new_id(SYSTEM_CLOCK)}"


CALL = "call_"
"""What the id of a call begins with that came without one."""
