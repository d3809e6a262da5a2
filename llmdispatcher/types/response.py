"""``Response`` and its values, ``Usage`` with its cost among them; and ``Capabilities`` of a vendor.

All are frozen; ``attrs.evolve`` makes a changed copy.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Context, Decimal, InvalidOperation
from functools import cache
from importlib import import_module
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_origin

import attrs

from ..errors import ConfigError, InvalidRequest
from .keywords import suggest
from .message import Message, Part, ReasoningPart, ToolCall

Value = TypeVar("Value")
if TYPE_CHECKING:
    from typing_extensions import TypeForm as TypeForm  # which type checkers know without the package
    from typing_extensions import TypeVar as DefaultTypeVar

    Parsed = DefaultTypeVar("Parsed", default=Any)
else:
    Parsed, TypeForm = TypeVar("Parsed"), type
"""The type of what an answer stands for, for type checkers: the one given as ``response_format``."""

EXACT = Context(prec=60)
"""Sums of money are made here: the thread's own decimal context may have a precision that rounds them."""
NOTHING = Decimal(0)


@attrs.frozen(kw_only=True, slots=False)
class CostDetails(Mapping[str, Decimal]):
    """US dollars of one usage by what was paid for; they add up to its cost exactly. Also a mapping of the same names.

    ``input`` is input that no cache held, of any kind; ``cache_write`` is writes that are kept for minutes, ``cache_write_long``
    those kept for an hour or more; ``output`` is without ``reasoning``. ``other`` is what is no token: calls of tools, a fee for
    the request, and all of a cost that a vendor reports as one sum.
    """

    input: Decimal = NOTHING
    cache_read: Decimal = NOTHING
    cache_write: Decimal = NOTHING
    cache_write_long: Decimal = NOTHING
    output: Decimal = NOTHING
    reasoning: Decimal = NOTHING
    other: Decimal = NOTHING

    @property
    def total(self) -> Decimal:
        """The sum of all, exact."""
        return exact_sum(_amounts(self))

    @classmethod
    def of(cls, cost: Decimal, details: CostDetails | None) -> CostDetails:
        """The details of a cost: those given where they add up to it, else all of it as ``other``."""
        return details if details is not None and details.total == cost else cls(other=cost)

    @classmethod
    def join(cls, details: Iterable[CostDetails]) -> CostDetails:
        """Return the sum of several, name by name."""
        several = [_amounts(one) for one in details]
        return cls(**{name: exact_sum([one[place] for one in several]) for place, name in enumerate(_NAMES)})

    def as_dict(self) -> dict[str, str]:
        """Return the amounts for JSON: US dollars as texts."""
        return {name: f"{amount:f}" for name, amount in self.items()}

    def __getitem__(self, name: str) -> Decimal:
        if name not in _NAMES:
            raise KeyError(name)
        amount: Decimal = getattr(self, name)
        return amount

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


_NAMES = tuple([field.name for field in attrs.fields(CostDetails)])
_amounts = attrgetter(*_NAMES)


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """The sum of amounts of money, nothing rounded."""
    total = NOTHING
    for amount in amounts:
        if amount:
            total = EXACT.add(total, amount) if total else amount
    return total


_MOST_PLACES = 12


def dollars_text(amount: Decimal, places: int = 2) -> str:
    """US dollars as digits for people: ``places`` decimals, and as many more as two significant digits of a small amount need."""
    needed = min(1 - amount.adjusted(), _MOST_PLACES) if amount else 0
    if needed <= places:
        return f"{amount:.{places}f}"
    whole, _, digits = f"{amount:.{needed}f}".partition(".")
    return f"{whole}.{digits.rstrip('0'):0<{places}}"


COST_STATUSES = ("priced", "no_usage", "unknown_model", "no_price", "vendor_reported", "implausible_cost", "implausible_count")
"""Where a cost comes from, or why there is none: computed by a price; no usage was reported; the catalog does not know the model,
or no price of it; or reported by the vendor. A cost of the vendor's that cannot be (negative, not finite, more
than :data:`MOST_COST`) is set aside, and that of the price, if there is one, stands in its place; where a count cannot be (more
than :data:`MOST_TOKENS`), the cost is not known."""

MOST_TOKENS = 10**9
"""Of one class in one answer; the largest window there is has a hundredth of it."""
MOST_COST = Decimal(10_000)
"""US dollars of one answer; the dearest that can be asked for costs a tenth of it."""


@suggest
@attrs.frozen(kw_only=True, slots=False)
class Usage:
    """What an answer consumed, in tokens, the same for every vendor.

    ``input_tokens`` includes cache reads and writes, audio and images, ``output_tokens`` includes reasoning, audio and images.
    ``cache_write_tokens`` counts all writes, ``cache_write_long_tokens`` those of them kept for an hour or more. ``tool_requests``
    counts what a vendor's own tools did and bills by the piece, such as ``{"web_search": 2}``.

    ``cost`` is in US dollars, or ``None`` where ``cost_status``, one of :data:`COST_STATUSES`, says why. ``price_version`` names
    the prices that it was computed with ("catalog 2026-11-21"). ``cost_details`` says what the cost was paid for, and adds up to
    it; ``None`` where there is no cost. ``raw`` is the vendor's own record.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_long_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    audio_cache_read_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    tool_requests: Mapping[str, int] = attrs.field(factory=dict)
    cost: Decimal | None = None
    cost_status: str = attrs.field()
    price_version: str | None = None
    cost_details: CostDetails | None = attrs.field(repr=False, eq=False)
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    @cost_details.default
    def _all_as_other(self) -> CostDetails | None:
        return None if self.cost is None else CostDetails(other=self.cost)

    @cost_status.default
    def _status(self) -> str:
        if self.cost is not None:
            return "vendor_reported"
        return "no_price" if self.input_tokens or self.output_tokens or self.tool_requests else "no_usage"

    @property
    def prompt_tokens(self) -> int:
        """OpenAI's word for ``input_tokens``."""
        return self.input_tokens

    @property
    def completion_tokens(self) -> int:
        """OpenAI's word for ``output_tokens``."""
        return self.output_tokens

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        """Both together; the cost is unknown where one of them is, unless that one consumed nothing."""
        counts: dict[str, Any] = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        if self.tool_requests or other.tool_requests:
            used = dict.fromkeys((*self.tool_requests, *other.tool_requests), 0)
            counts["tool_requests"] = {tool: self.tool_requests.get(tool, 0) + other.tool_requests.get(tool, 0) for tool in used}
        consumed = [one for one in (self, other) if one.total_tokens or one.cost_status == "implausible_count"]
        unpriced = next((one for one in consumed if one.cost is None), None)
        if unpriced is not None:
            return Usage(**counts, cost_status=unpriced.cost_status)
        known = [one for one in (self, other) if one.cost is not None]
        if not known:
            return Usage(**counts, cost_status=self.cost_status)
        versions = [one.price_version for one in known if one.price_version is not None]
        costs = [(one.cost, one.cost_details) for one in known if one.cost is not None]
        return Usage(
            **counts,
            cost=exact_sum([cost for cost, _ in costs]),
            cost_status=known[0].cost_status,
            price_version=versions[0] if versions else None,
            cost_details=CostDetails.join([CostDetails.of(cost, details) for cost, details in costs]),
        )

    @property
    def counts(self) -> tuple[Any, ...]:
        """What was consumed, without what it cost: two usages with the same counts are of the same answer."""
        return (*[getattr(self, name) for name in _COUNTS], dict(self.tool_requests))


def replace(value: Value, **changes: Any) -> Value:
    """Return a copy with changed fields, without the converters and validators of :func:`attrs.evolve`, which takes longer.

    Only for classes with ``slots=False``. Those of which each call makes several are such: attrs fills the dictionary of a frozen
    object at once, and its slots by one call for each.
    """
    copy: Value = object.__new__(type(value))
    object.__setattr__(copy, "__dict__", value.__dict__ | changes)
    return copy


_COUNTS = tuple([field.name for field in attrs.fields(Usage) if field.name.endswith("_tokens")])
_counts_of = itemgetter(*_COUNTS)
_WHOLE = frozenset({int})
_MOST_DECIMALS = 40
_LEAST = Decimal("1e-18")


def plausible(usage: Usage, most: int = MOST_TOKENS) -> Usage:
    """The usage without numbers that cannot be, and with the status that says so; the same one where there are none.

    ``most`` is the most tokens of one class.

    Vendors of a user's own and stores that others write to may say anything.
    """
    counts = _counts_of(vars(usage))
    if usage.tool_requests:
        counts += tuple(usage.tool_requests.values())
    if not (_WHOLE.issuperset(map(type, counts)) and min(counts) >= 0 and max(counts) <= most):
        sound: dict[str, Any] = {name: _plausible_count(getattr(usage, name), most) for name in _COUNTS}
        tools = {tool: _plausible_count(times, most) for tool, times in usage.tool_requests.items()}
        return replace(usage, **sound, tool_requests=tools, cost=None, cost_status="implausible_count", cost_details=None)
    if usage.cost is None:
        return usage
    cost = plausible_cost(usage.cost)
    if cost is None:
        return replace(usage, cost=None, cost_status="implausible_cost", cost_details=None)
    return usage if cost is usage.cost else replace(usage, cost=cost)


def _plausible_count(value: Any, most: int) -> int:
    return value if type(value) is int and 0 <= value <= most else 0


def plausible_cost(told: Any) -> Decimal | None:
    """US dollars from a number or a text of digits; ``None`` for what no answer costs, and for what is no number."""
    try:
        cost = told if isinstance(told, Decimal) else Decimal(str(told))
    except (InvalidOperation, ValueError):  # ValueError: a whole number of more digits than Python writes
        return None
    if not (cost.is_finite() and 0 <= cost <= MOST_COST):
        return None
    exponent = cost.as_tuple().exponent
    is_short = isinstance(exponent, int) and -_MOST_DECIMALS <= exponent <= 0  # of others somebody would write a million zeros
    return cost if is_short else cost.quantize(_LEAST, context=EXACT)


@suggest
@attrs.frozen(kw_only=True)
class Citation:
    """The source of a piece of the answer: a web page or document, and, if known, which characters of the answer it is for."""

    url: str | None = None
    title: str | None = None
    text: str | None = None
    start: int | None = None
    end: int | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


@suggest
@attrs.frozen(kw_only=True)
class RateLimitRemaining:
    """What a vendor says is left, ``None`` where it does not say; ``*_reset`` are seconds until the count begins anew."""

    requests: int | None = None
    requests_reset: float | None = None
    tokens: int | None = None
    tokens_reset: float | None = None


@suggest
@attrs.frozen(kw_only=True)
class Choice:
    """An answer among several to one request; ``index`` is its place, from 0, the other fields are those of :class:`Response`."""

    index: int = 0
    content: str = ""
    reasoning: str = ""
    parts: tuple[Part, ...] = ()
    refusal: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    finish_reason_raw: str | None = None
    logprobs: tuple[Any, ...] = attrs.field(default=(), repr=False)


@suggest
@attrs.frozen(kw_only=True, slots=False)
class Response(Generic[Parsed]):
    """One finished answer.

    ``model`` is the vendor's bare model name, ``vendor`` the vendor's registered name. ``finish_reason`` is one of
    ``"stop"``, ``"length"``, ``"tool_calls"``, ``"content_filter"``, or the vendor's own word in lower case where it has no common
    one; ``finish_reason_raw`` is always the vendor's own. ``parts`` is the answer in order where it is more than text and then
    calls: thoughts with their signatures, blocks of the vendor's own. ``logprobs`` are the vendor's entries, one for each token.
    ``rate_limit_remaining`` is what the vendor says is left of its rate limits, where that is little. ``parsed`` is the object
    that a structured answer stands for. ``latency`` is seconds from the call to the last byte. ``cached`` marks an answer that no
    vendor was asked for: its tokens are those of the first time, its cost is 0. ``dropped`` names the fields and parts of the
    request that its vendor was not sent, such as ``("thinking", "tools: 'namespace'")``: see ``drop_params`` of :class:`Request`.
    """

    content: str = ""
    model: str = ""
    vendor: str = ""
    usage: Usage = Usage()
    finish_reason: str | None = None
    finish_reason_raw: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    parts: tuple[Part, ...] = ()
    refusal: str | None = None
    citations: tuple[Citation, ...] = ()
    logprobs: tuple[Any, ...] = attrs.field(default=(), repr=False)
    other_choices: tuple[Choice, ...] = ()
    service_tier: str | None = None
    rate_limit_remaining: RateLimitRemaining | None = attrs.field(default=None, repr=False)
    parsed: Parsed = attrs.field(default=None)
    response_id: str | None = None
    request_id: str | None = None
    created_at: datetime | None = None
    latency: float | None = None
    cached: bool = False
    dropped: tuple[str, ...] = ()
    trace: Any = attrs.field(default=None, repr=False)

    @property
    def ref(self) -> str:
        """``"vendor:model"``, as a request can name it."""
        return f"{self.vendor}:{self.model}"

    @property
    def function_call(self) -> dict[str, str] | None:
        """The first call in OpenAI's older words: ``{"name", "arguments"}``, the arguments as JSON text; ``None`` without one."""
        if not self.tool_calls:
            return None
        return {"name": self.tool_calls[0].name, "arguments": self.tool_calls[0].arguments}

    @property
    def reasoning_parts(self) -> tuple[ReasoningPart, ...]:
        """The thoughts among the parts, with what proves them."""
        return tuple([part for part in self.parts if isinstance(part, ReasoningPart)])

    @property
    def choices(self) -> tuple[Choice, ...]:
        """All answers where the request asked for ``n`` of them; the first is this response's own."""
        return (Choice(**{name: getattr(self, name) for name in _CHOSEN}), *self.other_choices)

    @property
    def message(self) -> Message:
        """This answer as a turn to continue the conversation with, thoughts included where their vendor wants them back."""
        if not self.parts:
            return Message("assistant", self.content, tool_calls=self.tool_calls)
        return Message("assistant", self.parts, tool_calls=self.tool_calls)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold of it, for a queue or a store: the fields that are not at their default.

        US dollars are texts, bytes are base64, each part has a ``type``. ``parsed`` and ``trace`` are left out: the first is an
        object of yours, the second has an ``as_dict()`` of its own.
        """
        written: dict[str, Any] = json_converter().unstructure(replace(self, parsed=None, trace=None), Response)
        return written

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Response:
        """Read what :meth:`as_dict` gave. Raises :class:`InvalidRequest` with the paths of the mistakes."""
        response: Response = from_json(fields, Response[Any], "Response")
        return response


def from_json(fields: Any, kind: Any, name: str, path: str = "") -> Any:
    """An object out of what ``as_dict()`` of the class ``name``, or its member at ``path``, gave.

    Raises :class:`InvalidRequest` with the paths of the mistakes.
    """
    try:
        is_mapping = attrs.has(kind) or get_origin(kind) is dict
        return json_converter().structure(check_fields(fields, name, path) if is_mapping else fields, kind)
    except InvalidRequest:
        raise
    except Exception as foreign:  # noqa: BLE001 - whatever classes and their checks raise
        told_by = import_module("cattrs").transform_error
        found = told_by(foreign, path=path or name.lower(), format_exception=_mistake)
        mistakes = [text.rpartition(" @ ") for text in found]
        told = "; ".join([f"{path}: {what}" for what, _at, path in mistakes])
        raise InvalidRequest(f"{told}; give what {name}.as_dict() gave") from None


def check_fields(fields: Any, name: str, path: str = "") -> Mapping[str, Any]:
    """The fields of a value in JSON. Raises :class:`InvalidRequest` for what is no mapping of texts."""
    path = path or name.lower()
    if not isinstance(fields, Mapping):
        raise InvalidRequest(f"{path}: {type(fields).__name__} is no mapping; give what {name}.as_dict() gave")
    if strange := [key for key in fields if not isinstance(key, str)]:
        raise InvalidRequest(f"{path}: the key {strange[0]!r} is no text; give what {name}.as_dict() gave")
    return fields


class _Unlike(ValueError):
    """A value that ``as_dict()`` cannot have given."""


def _mistake(error: BaseException, hint: Any) -> str:
    if type(error) is _Unlike:
        return str(error)
    if isinstance(error, AttributeError):  # what is no mapping has neither keys nor items
        return "expected a mapping"
    if (extra := getattr(error, "extra_fields", None)) is not None:
        return f"extra fields found ({', '.join(sorted(map(str, extra)))})"
    told: str = import_module("cattrs.v").format_exception(error, hint)
    return told


def _strictly(kinds: tuple[type, ...], what: str, sound: Callable[[Any], bool] | None = None) -> Callable[[Any, Any], Any]:
    def read(value: Any, _kind: Any) -> Any:
        if not isinstance(value, kinds) or (type(value) is bool and bool not in kinds) or (sound is not None and not sound(value)):
            raise _Unlike(f"{repr(value)[:40] if type(value) in (float, str) else type(value).__name__} is no {what}")
        return value

    return read


def _texts(value: Any, _kind: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise _Unlike(f"{type(value).__name__} is no list of texts")
    return tuple(value)


def _dollars_of(text: Any, _kind: Any = None) -> Decimal:
    try:
        amount = Decimal(text) if isinstance(text, str) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or not -100 <= amount.adjusted() <= 100:
        raise _Unlike(f"{repr(text[:40]) if isinstance(text, str) else type(text).__name__} is no text of US dollars")
    return amount


@cache
def json_converter() -> Any:
    """Write values of this package as JSON can hold them, and read them again: US dollars as texts, bytes as base64."""
    made = import_module("cattrs.preconf.json").make_converter(omit_if_default=True, forbid_extra_keys=True)
    made.register_unstructure_hook(bytes, lambda data: base64.b64encode(data).decode())
    made.register_structure_hook(bytes, lambda text, _kind: base64.b64decode(text, validate=True))
    made.register_unstructure_hook(Decimal, lambda amount: f"{amount:f}")
    made.register_structure_hook(Decimal, _dollars_of)
    made.register_structure_hook(str, _strictly((str,), "text"))
    made.register_structure_hook(bool, _strictly((bool,), "true or false"))
    made.register_structure_hook(int, _strictly((int,), "whole number that can be", lambda number: abs(number) < 1 << 63))
    made.register_structure_hook_func(lambda kind: kind == tuple[str, ...], _texts)
    made.register_structure_hook(float, _strictly((float, int), "number", math.isfinite))
    made.register_unstructure_hook(CostDetails, CostDetails.as_dict)
    made.register_structure_hook(
        CostDetails, lambda amounts, kind: kind(**{name: _dollars_of(one) for name, one in amounts.items()})
    )
    import_module("cattrs.strategies").configure_tagged_union(  # last, since it makes the hooks of its classes at once
        Part, made, tag_name="type", tag_generator=lambda kind: kind.__name__.removesuffix("Part").lower()
    )
    return made


_CHOSEN = tuple([field.name for field in attrs.fields(Choice) if field.name != "index"])


def _names_of_models(value: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise ConfigError(f"models: {value!r} is not a list; give a list of names, such as [{value!r}]")
    return tuple(value)


@suggest
@attrs.frozen(kw_only=True)
class Capabilities:
    """What a vendor can do; zero and empty mean unknown, which excludes nothing.

    ``models`` are names or globs; a vendor without them may have any, and is asked where it is named or the only one.
    ``max_tokens`` are the most output tokens, ``context_window`` the most tokens in all.
    """

    models: tuple[str, ...] = attrs.field(default=(), converter=_names_of_models)
    max_tokens: int = 0
    context_window: int = 0
    supports_streaming: bool = True
    supports_vision: bool = False
    supports_tools: bool = True
