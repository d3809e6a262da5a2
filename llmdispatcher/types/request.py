"""``Request``, with its wishes for the cache and for the form of the response.

A request is frozen; ``attrs.evolve`` makes a changed copy. ``None`` means "not given" and is never sent; 0.0 is sent. The form of a
response is a user's class or schema, kept in the shape that every codec reads:
``{"type": "json_schema", "json_schema": {"name", "schema", "strict"}}``, together with the class.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from types import UnionType
from typing import Any, Generic, Self

import attrs

from ..errors import InvalidRequest
from . import request_fields
from .extra_params import check_agreement
from .json_check import SCHEMA_WORDS, Check, schema_check
from .keywords import REQUEST_REMEDIES, choices, suggest
from .message import Message, Tool, VendorTool, cache_time
from .response import Parsed, TypeForm
from .schema import bare, has_fields, is_strict, is_type, schema_of, type_name

KEYS = ("enabled", "ttl_seconds")


@attrs.frozen
class CacheControl:
    """Whether a cache may answer a request; ``None`` leaves it to the dispatcher's rule.

    ``ttl_seconds`` is for the answer to this request alone. With a time alone the cache is used; ``enabled=False`` prevents it.
    """

    enabled: bool | None = None
    ttl_seconds: float | None = None

    @classmethod
    def of(cls, value: bool | Mapping[str, Any] | None) -> CacheControl:
        """Read a checked value of ``Request.cache``."""
        if not isinstance(value, Mapping):
            return cls(value)
        enabled, seconds = value.get("enabled"), value.get("ttl_seconds")
        return cls(True if enabled is None and seconds is not None else enabled, seconds)


def check_cache(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validate ``Request.cache``."""
    if value is None or isinstance(value, bool):
        return
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{attribute.name}: {value!r} is no wish; use True, False or {{'enabled': True, 'ttl_seconds': 60}}")
    for key in value:
        if key not in KEYS:
            raise InvalidRequest(f"{attribute.name}: unknown key {key!r}; {choices(key, KEYS)}")
    enabled, seconds = value.get("enabled"), value.get("ttl_seconds")
    if enabled is not None and not isinstance(enabled, bool):
        raise InvalidRequest(f"{attribute.name}.enabled: {enabled!r} is neither True nor False")
    if seconds is not None and not _is_time(seconds):
        raise InvalidRequest(f"{attribute.name}.ttl_seconds: {seconds!r} is not a number of seconds > 0")


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


_SCHEMAS = ("object", "array", "string", "integer", "number", "boolean", "null")
_FORMS = ("json_schema", "json_object", "text")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]+")


class ResponseFormat(dict[str, Any], Generic[Parsed]):
    """A response format in OpenAI's shape that remembers the type it was made of; ``None`` where it was a schema."""

    kind: Any = None

    @classmethod
    def of_type(cls, kind: Any) -> ResponseFormat:
        """The form of an answer that makes a value of ``kind``; strict where the vendors' strict modes can take it."""
        made = cls._describe(type_name(bare(kind)[0]).strip("[]"), schema_of(kind, strict=True))
        made.kind = kind
        return made

    @classmethod
    def of_schema(cls, schema: Mapping[str, Any]) -> ResponseFormat:
        """The form of an answer that fits a bare JSON schema."""
        return cls._describe(str(schema.get("title") or "answer"), schema)

    @classmethod
    def _describe(cls, name: str, schema: Mapping[str, Any]) -> ResponseFormat:
        described: dict[str, Any] = {"name": _NOT_IN_NAMES.sub("_", name)[:64], "schema": schema}
        if is_strict(schema):
            described["strict"] = True
        return cls(type="json_schema", json_schema=described)


def to_response_format(
    value: TypeForm[Parsed] | UnionType | Mapping[str, Any] | None,
) -> ResponseFormat[Parsed] | Mapping[str, Any] | None:
    """A request's ``response_format`` as codecs read it; what is neither class nor schema stays as it is."""
    if value is None or isinstance(value, ResponseFormat):
        return value
    if isinstance(value, Mapping):
        return ResponseFormat.of_schema(value) if _is_bare_schema(value) else value
    if has_fields(type(value)):
        raise InvalidRequest(f"response_format: it is an object of {type(value).__name__}; give the class itself")
    if value in (Any, object, type(None)):
        raise InvalidRequest(f"response_format: {type_name(value)} is any answer; leave it out, or give {{'type': 'json_object'}}")
    if is_type(value):
        try:
            return ResponseFormat.of_type(value)
        except InvalidRequest as error:
            raise InvalidRequest(f"response_format: {error.message}") from None
    raise InvalidRequest(
        f"response_format: {type(value).__name__} is no form of an answer; give a class made with attrs, dataclasses, TypedDict or"
        " Pydantic, a type such as list[str], a JSON schema, or {'type': 'json_object'}"
    )


def _is_bare_schema(value: Mapping[str, Any]) -> bool:
    if "type" not in value:
        return not value.keys().isdisjoint(SCHEMA_WORDS)
    kind = value["type"]
    return kind in _SCHEMAS if isinstance(kind, str) else isinstance(kind, list | tuple)


def check_form(form: Mapping[str, Any]) -> None:
    """Raise :class:`InvalidRequest` for a form that is none of OpenAI's, and for a schema that cannot be checked."""
    kind = form.get("type")
    if kind not in _FORMS and not (isinstance(kind, str) and kind in form):  # {"type": "grammar", "grammar": ...} is a vendor's own
        if "type" in form:
            told, near = f"type {kind!r} is not known", get_close_matches(str(kind), [*_SCHEMAS, *_FORMS], 1)
        else:
            first = str(next(iter(form), ""))[:80]
            told = f"{first!r} says no form" if first else "it is empty"
            near = get_close_matches(first, sorted(SCHEMA_WORDS), 1)
        raise InvalidRequest(
            f"response_format: {told}; {f'did you mean {near[0]!r}? ' if near else ''}"
            "give a JSON schema, {'type': 'json_object'}, or what one vendor alone knows in extra_params"
        )
    described = form.get("json_schema")
    if kind == "json_schema" and not (isinstance(described, Mapping) and isinstance(described.get("schema"), Mapping | bool)):
        raise InvalidRequest(
            "response_format.json_schema: it has no schema; give {'type': 'json_schema', 'json_schema': {'name', 'schema'}}"
        )
    form_check(form)


def form_check(form: Mapping[str, Any] | None) -> Check | None:
    """The check of answers against the schema in a ``response_format``; ``None`` for a class, or where there is no schema.

    Raises :class:`InvalidRequest` for a schema that cannot be checked.
    """
    described = form.get("json_schema") if form is not None else None
    if not isinstance(described, Mapping) or "schema" not in described or getattr(form, "kind", None) is not None:
        return None
    return schema_check(described["schema"], "response_format")


EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""How much a model thinks, from not at all to as much as it can; a vendor with fewer levels gets the nearest."""


def _optional(check: Any) -> Mapping[str, Any]:
    return {"check": check}


_TEXT = request_fields.kinds(str, remedy="give a text")


@partial(suggest, remedies=REQUEST_REMEDIES)
@attrs.frozen(slots=False)
class Request(Generic[Parsed]):
    """One question to a model of any vendor.

    ``model`` is a bare name (``"gpt-4o"``), pins the vendor (``"openai:gpt-4o"``), names a pool of the configuration or an alias of
    the lockfile (in its profile ``profile``), or is ``"auto"`` (with a ``mode`` also empty): any model that the registered vendors
    are known to have. ``mode`` ("fast", "sophisticated", "cost_saving", "auto", or one of the configuration's) says what to
    look for. ``messages`` are :class:`~llmdispatcher.Message` objects or plain dicts; a string is one user message.
    ``metadata`` is for routing, observers and the ledger, and is not sent; its ``"tags"``, a list of texts, are what usage can be
    summed by. ``extra_params`` is merged last into the vendor's JSON, top level. It replaces neither model, messages nor stream,
    says nothing else than a field that is set, and holds no settings of a client, such as a key or a timeout.
    ``headers`` are sent to every vendor that is asked, but those that begin with ``anthropic-``, ``openai-`` or ``x-goog-`` to such
    vendors alone. They replace no credential and nothing of the connection; the ``repr`` leaves them out.
    ``origin`` is the application that asks, ``id_at_origin`` its own name for what the call is for; neither is sent.
    ``temperature`` is 0–2, ``top_p`` 0–1, ``max_tokens`` ≥ 1 output tokens (of the answer: models that
    count thoughts there get room for them on top), ``n`` ≥ 1 answers (``response.choices``).

    ``reasoning_effort`` is one of :data:`EFFORTS`, ``reasoning_tokens`` the most tokens of thought, ``reasoning_summary`` asks to
    be told the thoughts ("auto", "concise", "detailed", "none"). ``prompt_cache`` ("5m", "1h") lets the vendor remember the prompt
    where that must be asked for; ``prompt_cache_key`` groups requests that share one.

    ``response_format`` is a type (a class made with attrs, dataclasses, ``TypedDict`` or Pydantic, an enumeration, ``list[City]``,
    ``City | None``) or a JSON schema, and ``response.parsed`` then what the answer stands for; or OpenAI's
    ``{"type": "json_object"}`` or ``{"type": "json_schema", "json_schema": {"name", "schema", "strict"}}``, for every vendor.
    ``reask`` is how often a model whose answer has another form is told so and asked again.

    What a vendor's format cannot express is an :class:`InvalidRequest` that names it, or with ``drop_params`` left out, logged and
    told in ``response.dropped``. ``wire_format`` is the wire format that a request was read from: its ``extra_params`` are for that
    format alone, and nothing of it is refused because another vendor's format cannot express it.
    ``cache`` says whether a cache may answer: True, False, ``{"enabled", "ttl_seconds"}``, of which a time alone means True;
    ``None`` and ``{}`` leave it to the cache's rule.
    ``continue_broken`` says so of :class:`~llmdispatcher.Continuation`: another target goes on with a stream.
    ``failover`` says whether other targets may be asked after the first (``None``: as the configuration says).
    ``functions`` and ``function_call`` are OpenAI's older words for ``tools`` and ``tool_choice``; a request that is made with them
    has the newer ones.
    Raises :class:`~llmdispatcher.InvalidRequest` with field, value and remedy.

    A subclass may say what becomes of it at each target: :meth:`forbidden`, :meth:`as_sent_to`, :attr:`affinity` and
    :attr:`open_ended`.
    """

    model: str = attrs.field(validator=request_fields.model)
    messages: tuple[Message, ...] = attrs.field(converter=request_fields.messages_of)
    temperature: float | None = attrs.field(default=None, kw_only=True, metadata=_optional(request_fields.bounded(0, 2)))
    max_tokens: int | None = attrs.field(default=None, kw_only=True, metadata=_optional(request_fields.positive))
    top_p: float | None = attrs.field(default=None, kw_only=True, metadata=_optional(request_fields.bounded(0, 1)))
    top_k: int | None = attrs.field(default=None, kw_only=True, metadata=_optional(request_fields.count))
    frequency_penalty: float | None = attrs.field(default=None, kw_only=True, metadata=_optional(request_fields.bounded(-2, 2)))
    presence_penalty: float | None = attrs.field(default=None, kw_only=True, metadata=_optional(request_fields.bounded(-2, 2)))
    seed: int | None = attrs.field(
        default=None, kw_only=True, metadata=_optional(request_fields.kinds(int, remedy="give a whole number"))
    )
    n: int | None = attrs.field(default=None, kw_only=True, metadata=_optional(request_fields.positive))
    logprobs: bool | None = attrs.field(default=None, kw_only=True, metadata=_optional(request_fields.flag))
    top_logprobs: int | None = attrs.field(default=None, kw_only=True, metadata=_optional(request_fields.count))
    stop: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=request_fields.stops)
    user: str | None = attrs.field(default=None, kw_only=True, metadata=_optional(_TEXT))
    tools: tuple[Tool | VendorTool, ...] = attrs.field(default=(), kw_only=True, converter=request_fields.tools_of)
    tool_choice: str | Mapping[str, Any] | None = attrs.field(
        default=None,
        kw_only=True,
        metadata=_optional(request_fields.kinds(str, Mapping, remedy="give 'auto', 'none', 'required', a name or a dict")),
    )
    parallel_tool_calls: bool | None = attrs.field(default=None, kw_only=True, metadata=_optional(request_fields.flag))
    response_format: ResponseFormat[Parsed] | Mapping[str, Any] | None = attrs.field(
        default=None, kw_only=True, converter=to_response_format
    )
    reask: int = attrs.field(default=0, kw_only=True, validator=request_fields.count)
    reasoning_effort: str | None = attrs.field(
        default=None, kw_only=True, metadata=_optional(request_fields.one_of(None, *EFFORTS))
    )
    reasoning_tokens: int | None = attrs.field(default=None, kw_only=True, metadata=_optional(request_fields.count))
    reasoning_summary: str | None = attrs.field(
        default=None, kw_only=True, metadata=_optional(request_fields.one_of(None, "auto", "concise", "detailed", "none"))
    )
    prompt_cache: str | None = attrs.field(default=None, kw_only=True, metadata=_optional(cache_time))
    prompt_cache_key: str | None = attrs.field(default=None, kw_only=True, metadata=_optional(_TEXT))
    service_tier: str | None = attrs.field(default=None, kw_only=True, metadata=_optional(_TEXT))
    metadata: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, validator=request_fields.mapping)
    extra_params: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, validator=request_fields.further)
    headers: Mapping[str, str] | None = attrs.field(
        default=None, kw_only=True, repr=False, metadata=_optional(request_fields.headers)
    )
    drop_params: bool = attrs.field(default=False, kw_only=True, validator=request_fields.flag)
    cache: bool | Mapping[str, Any] | None = attrs.field(default=None, kw_only=True, metadata=_optional(check_cache))
    continue_broken: bool | None = attrs.field(default=None, kw_only=True, metadata=_optional(request_fields.flag))
    failover: bool | None = attrs.field(default=None, kw_only=True, metadata=_optional(request_fields.flag))
    mode: str | None = attrs.field(default=None, kw_only=True, metadata=_optional(_TEXT))
    profile: str | None = attrs.field(default=None, kw_only=True, metadata=_optional(_TEXT))
    origin: str | None = attrs.field(default=None, kw_only=True, metadata=_optional(_TEXT))
    id_at_origin: str | None = attrs.field(default=None, kw_only=True, metadata=_optional(_TEXT))
    functions: tuple[Tool | VendorTool, ...] = attrs.field(default=(), kw_only=True, repr=False, converter=request_fields.tools_of)
    function_call: str | Mapping[str, Any] | None = attrs.field(
        default=None,
        kw_only=True,
        repr=False,
        metadata=_optional(request_fields.kinds(str, Mapping, remedy="give 'auto', 'none', or {'name': ...}")),
    )
    wire_format: str | None = attrs.field(default=None, kw_only=True)

    def _modernize(self) -> None:
        """Have ``functions`` and ``function_call`` be tools and a choice among them, which all vendors know."""
        choice = self.function_call
        if choice is not None and self.tool_choice is not None:
            raise InvalidRequest("function_call: the request has a tool_choice, the newer word for it; leave one of them out")
        if isinstance(choice, Mapping):
            if not choice.get("name"):
                raise InvalidRequest(f"function_call: {choice!r} names no function; give 'auto', 'none', or {{'name': ...}}")
            choice = {"type": "function", "function": {"name": choice["name"]}}
        object.__setattr__(self, "tools", (*self.tools, *self.functions))
        object.__setattr__(self, "functions", ())
        if choice is not None:
            object.__setattr__(self, "tool_choice", choice)
            object.__setattr__(self, "function_call", None)

    @property
    def affinity(self) -> str | None:
        """What keeps a conversation at one of several equal vendors, where the balance names nothing of its own."""
        return None

    @property
    def open_ended(self) -> bool:
        """Whether a stream has no end of time once its vendor has begun, as long as it is not silent; its pings are no silence."""
        return False

    def forbidden(self, targets: Iterable[Any]) -> list[Any]:
        """Those of some targets that may not be asked at all."""
        return []

    def as_sent_to(self, kind: str, model: str) -> Self:
        """The request as a model of a kind of vendor (its name in the catalog, or empty) is to get it."""
        return self

    def __attrs_post_init__(self) -> None:
        fields = vars(self)
        for name, attribute, check in _CHECKS:  # attrs calls every validator; of these fields most are None in every request
            if fields[name] is not None:
                check(self, attribute, fields[name])
        if self.functions or self.function_call is not None:
            self._modernize()
        if not self.messages and not (self.wire_format and self.extra_params):  # a vendor may keep the conversation itself
            raise InvalidRequest("messages: an empty list is no conversation; give at least one message")
        if self.wire_format is not None:  # its sender reads the answer, and its format has rules of its own
            return
        request_fields.check_results(self.messages)
        if self.response_format is not None:
            check_form(self.response_format)
        if self.extra_params:
            check_agreement(self, self.extra_params)


_CHECKS = tuple([(field.name, field, field.metadata["check"]) for field in attrs.fields(Request) if field.metadata])


def check_request(value: Any) -> None:
    """Raise :class:`InvalidRequest` for what is not a request, such as a bare prompt."""
    if not isinstance(value, Request):
        raise InvalidRequest(f"request: {type(value).__name__} is not a Request; use Request(model=..., messages=...)")
