"""What goes in: Request.

It is frozen; a changed copy is made with ``attrs.evolve``. ``None`` means "not said" and is never sent; 0.0 is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from . import request_fields as fields
from .cache_wish import checked_wish
from .errors import InvalidRequest
from .fast_init import fast_init
from .messages import Message, Tool, VendorTool
from .parts import cache_time
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
