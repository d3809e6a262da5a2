"""What goes in and what comes out: Request, Response, Usage, Capabilities.

All are frozen; a changed copy is made with ``attrs.evolve``. ``None`` means "not said" and is never sent; 0.0 is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import attrs

from . import request_fields as fields
from .cache_wish import checked_wish
from .errors import InvalidRequest
from .fast_init import fast_init
from .messages import Message, Tool, VendorTool
from .parts import Part, ReasoningPart, ToolCall, cache_time
from .response_format import form_of

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""How much a model thinks, from not at all to as much as it can; a vendor with fewer levels gets the nearest."""


_TEXT = fields.kinds(str, remedy="give a text")


@fast_init
@attrs.frozen(weakref_slot=False)
class Request:
    """One question to a model, whoever answers it.

    ``model`` is a bare name (``"gpt-4o"``), pins the vendor (``"openai:gpt-4o"``), names a pool of the configuration or an alias of
    the lockfile (in its profile ``profile``), or is ``"auto"`` (with a ``mode`` also empty): any model that the registered vendors
    are known to have. ``mode`` ("fast", "sophisticated", "cost_saving", "auto", or one of the configuration's) says what to
    look for. ``messages`` are :class:`~llmdispatcher.messages.Message` objects or plain dicts; a string is one user message.
    ``metadata`` is for routing and observers and is not sent; ``extra_params`` is merged last into the vendor's JSON, top level.
    ``origin`` is the application that asks, ``id_at_origin`` its own name for what the call is for; neither is sent.
    ``temperature`` is 0–2, ``top_p`` 0–1, ``max_tokens`` ≥ 0 output tokens, ``n`` answers (``response.choices``).

    ``reasoning_effort`` is one of :data:`EFFORTS`, ``reasoning_tokens`` the most tokens of thought, ``reasoning_summary`` asks to
    be told the thoughts ("auto", "concise", "detailed", "none"). ``prompt_cache`` ("5m", "1h") lets the vendor remember the prompt
    where that must be asked for; ``prompt_cache_key`` groups requests that share one.

    ``response_format`` is a class (attrs, dataclass, ``TypedDict``) or a JSON schema, and ``response.parsed`` then what the answer
    stands for; or OpenAI's ``{"type": "json_object"}`` or ``{"type": "json_schema", "json_schema": {"name", "schema", "strict"}}``,
    for every vendor. ``reask`` is how often a model whose answer has another form is told so and asked again.

    What a vendor's format cannot express is an :class:`InvalidRequest` that names it, or with ``drop_params`` left out and
    logged. ``wire_format`` is the wire format that a request was read from: its ``extra_params`` are for that format alone.
    ``cache`` says whether a cache may answer: True, False, ``{"enabled", "ttl_seconds"}``; ``None`` leaves it to the cache's rule.
    ``continue_broken`` says so of :class:`~llmdispatcher.policy.continuation.Continuation`: another target goes on with a stream.
    Raises :class:`~llmdispatcher.errors.InvalidRequest` with field, value and remedy.
    """

    model: str = attrs.field(validator=fields.model)
    messages: tuple[Message, ...] = attrs.field(converter=fields.messages_of)
    temperature: float | None = attrs.field(default=None, kw_only=True, validator=fields.bounded(0, 2))
    max_tokens: int | None = attrs.field(default=None, kw_only=True, validator=fields.count)
    top_p: float | None = attrs.field(default=None, kw_only=True, validator=fields.bounded(0, 1))
    top_k: int | None = attrs.field(default=None, kw_only=True, validator=fields.count)
    frequency_penalty: float | None = attrs.field(default=None, kw_only=True, validator=fields.bounded(-2, 2))
    presence_penalty: float | None = attrs.field(default=None, kw_only=True, validator=fields.bounded(-2, 2))
    seed: int | None = attrs.field(default=None, kw_only=True, validator=fields.kinds(int, remedy="give a whole number"))
    n: int | None = attrs.field(default=None, kw_only=True, validator=fields.count)
    logprobs: bool | None = attrs.field(default=None, kw_only=True, validator=fields.flag)
    top_logprobs: int | None = attrs.field(default=None, kw_only=True, validator=fields.count)
    stop: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=fields.stops)
    user: str | None = attrs.field(default=None, kw_only=True, validator=_TEXT)
    tools: tuple[Tool | VendorTool, ...] = attrs.field(default=(), kw_only=True, converter=fields.tools_of)
    tool_choice: str | Mapping[str, Any] | None = attrs.field(
        default=None, kw_only=True, validator=fields.kinds(str, Mapping, remedy="give 'auto', 'none', 'required', a name or a dict")
    )
    parallel_tool_calls: bool | None = attrs.field(default=None, kw_only=True, validator=fields.flag)
    response_format: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True, converter=form_of)
    reask: int = attrs.field(default=0, kw_only=True, validator=fields.count)
    reasoning_effort: str | None = attrs.field(default=None, kw_only=True, validator=fields.one_of(None, *EFFORTS))
    reasoning_tokens: int | None = attrs.field(default=None, kw_only=True, validator=fields.count)
    reasoning_summary: str | None = attrs.field(
        default=None, kw_only=True, validator=fields.one_of(None, "auto", "concise", "detailed", "none")
    )
    prompt_cache: str | None = attrs.field(default=None, kw_only=True, validator=cache_time)
    prompt_cache_key: str | None = attrs.field(default=None, kw_only=True, validator=_TEXT)
    service_tier: str | None = attrs.field(default=None, kw_only=True, validator=_TEXT)
    metadata: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, validator=fields.mapping)
    extra_params: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, validator=fields.mapping)
    drop_params: bool = attrs.field(default=False, kw_only=True, validator=fields.flag)
    cache: bool | Mapping[str, Any] | None = attrs.field(default=None, kw_only=True, validator=checked_wish)
    continue_broken: bool | None = attrs.field(default=None, kw_only=True, validator=fields.flag)
    mode: str | None = attrs.field(default=None, kw_only=True, validator=_TEXT)
    profile: str | None = attrs.field(default=None, kw_only=True, validator=_TEXT)
    origin: str | None = attrs.field(default=None, kw_only=True, validator=_TEXT)
    id_at_origin: str | None = attrs.field(default=None, kw_only=True, validator=_TEXT)
    wire_format: str | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not self.messages and not (self.wire_format and self.extra_params):  # a vendor may keep the conversation itself
            raise InvalidRequest("messages: an empty list is no conversation; give at least one message")


COST_STATUSES = ("priced", "no_usage", "unknown_model", "no_price", "vendor_reported")
"""Why a usage has the cost that it has: computed by a price, none since no usage was told, since the catalog does not know the
model, or since it knows no price of it; or the vendor's own word."""


@fast_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Usage:
    """What an answer consumed, in tokens, the same for every vendor.

    ``input_tokens`` includes cache reads and writes, audio and images, ``output_tokens`` includes reasoning, audio and images.
    ``cache_write_tokens`` counts all writes, ``cache_write_long_tokens`` those of them kept for an hour or more. ``tool_requests``
    counts what a vendor's own tools did and bills by the piece, such as ``{"web_search": 2}``.

    ``cost`` is in US dollars, or ``None`` where ``cost_status``, one of :data:`COST_STATUSES`, says why. ``price_version`` names
    the prices that it was computed with ("catalog 2026-11-21"). ``raw`` is the vendor's own record.
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
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

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
        unpriced = next((one for one in (self, other) if one.cost is None and one.total_tokens), None)
        if unpriced is not None:
            return Usage(**counts, cost_status=unpriced.cost_status)
        known = [one for one in (self, other) if one.cost is not None]
        if not known:
            return Usage(**counts, cost_status=self.cost_status)
        versions = [one.price_version for one in known if one.price_version is not None]
        return Usage(
            **counts,
            cost=sum([one.cost for one in known if one.cost is not None], Decimal(0)),
            cost_status=known[0].cost_status,
            price_version=versions[0] if versions else None,
        )

    @property
    def counts(self) -> tuple[Any, ...]:
        """What was consumed, without what it cost: two usages with the same counts are of the same answer."""
        return (*[getattr(self, name) for name in _COUNTS], dict(self.tool_requests))


_COUNTS = tuple([field.name for field in attrs.fields(Usage) if field.name.endswith("_tokens")])


@attrs.frozen(kw_only=True)
class Citation:
    """What a piece of the answer rests on: a web page or document, and, where told, which characters of the answer it is for."""

    url: str | None = None
    title: str | None = None
    text: str | None = None
    start: int | None = None
    end: int | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True)
class Headroom:
    """What a vendor says is left, ``None`` where it does not say; ``*_reset`` are seconds until the count begins anew."""

    requests: int | None = None
    requests_reset: float | None = None
    tokens: int | None = None
    tokens_reset: float | None = None


@attrs.frozen(kw_only=True)
class Choice:
    """One of several answers to the same request; its fields are those of :class:`Response`."""

    index: int = 0
    content: str = ""
    reasoning: str = ""
    parts: tuple[Part, ...] = ()
    refusal: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    finish_reason_raw: str | None = None
    logprobs: tuple[Any, ...] = attrs.field(default=(), repr=False)


@fast_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Response:
    """One finished answer.

    ``model`` is the vendor's bare model name, ``vendor`` the vendor's registered name. ``finish_reason`` is one of
    ``"stop"``, ``"length"``, ``"tool_calls"``, ``"content_filter"``, or the vendor's own word in lower case where it has no common
    one; ``finish_reason_raw`` is always the vendor's own. ``parts`` is the answer in order where it is more than text and then
    calls: thoughts with their signatures, blocks of the vendor's own. ``logprobs`` are the vendor's entries, one for each token.
    ``headroom`` is what the vendor says is left of its rate limits, where that is little. ``parsed`` is the object that a
    structured answer stands for. ``latency`` is seconds from the call to the last byte. ``cached`` marks an answer that no
    vendor was asked for: its tokens are those of the first time, its cost is 0.
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
    headroom: Headroom | None = attrs.field(default=None, repr=False)
    parsed: Any = None
    response_id: str | None = None
    request_id: str | None = None
    created_at: datetime | None = None
    latency: float | None = None
    cached: bool = False
    trace: Any = attrs.field(default=None, repr=False)

    @property
    def ref(self) -> str:
        """``"vendor:model"``, as a request can name it."""
        return f"{self.vendor}:{self.model}"

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


_CHOSEN = tuple([field.name for field in attrs.fields(Choice) if field.name != "index"])


def _names(value: Sequence[str]) -> tuple[str, ...]:
    return tuple(value)


@attrs.frozen(kw_only=True)
class Capabilities:
    """What a vendor can do; zero and empty mean unknown, which never excludes a vendor.

    ``models`` are names or globs, ``max_tokens`` the most output tokens, ``context_window`` the most tokens in all.
    """

    models: tuple[str, ...] = attrs.field(default=(), converter=_names)
    max_tokens: int = 0
    context_window: int = 0
    supports_streaming: bool = True
    supports_vision: bool = False
    supports_tools: bool = True
