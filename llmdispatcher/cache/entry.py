"""Entries and their keys: a whole response as JSON, and the hash that identifies one request to one target.

No pickle is used, so a store that was tampered with can yield nothing but responses. Fields at their default are left out.

A key is the BLAKE2b hash of canonical JSON: fields in order, mappings sorted, bytes as their digest. It reveals nothing of the
conversation. What is not sent (metadata, origin, the cache's own settings) is left out, and the model is the target's. Any
difference that can change the response gives a different key.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, get_args

import attrs

from ..types import (
    Choice,
    Citation,
    CostDetails,
    Message,
    Part,
    Request,
    Response,
    Tool,
    Usage,
    VendorTool,
    json_encoder,
    plausible,
    plausible_cost,
)


class Shape:
    """The fields of a class that are stored; made once for each class."""

    __slots__ = ("_defaults", "_names", "values")

    def __init__(self, kind: type[attrs.AttrsInstance], leave_out: Collection[str] = ()) -> None:
        fields = [field for field in attrs.fields(kind) if field.name not in leave_out]
        self._names = tuple([field.name for field in fields])
        self._defaults = tuple([_default(field) for field in fields])
        self.values: Callable[[Any], tuple[Any, ...]] = attrgetter(*self._names)

    def changed(self, value: Any) -> dict[str, Any]:
        """Return the fields that are not at their default."""
        return self.named(self.values(value))

    def named(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """Return the values that are not at their default, by name."""
        if values == self._defaults:
            return {}
        return {
            name: given
            for name, given, default in zip(self._names, values, self._defaults, strict=True)
            if given is not default and given != default
        }


def _default(field: attrs.Attribute[Any]) -> Any:
    factory = getattr(field.default, "factory", None)
    if factory is not None and field.default.takes_self:  # type: ignore[union-attr]  # a factory has it
        return _NO_DEFAULT
    return factory() if factory is not None else field.default


_NO_DEFAULT = object()
"""Equal to nothing, so that a field whose default depends on other fields is always written."""


VERSION = 2
"""The version of entries and keys. A change of either, or of what a codec decodes, raises it; old entries are not found then."""

_OF_THE_CALL = frozenset({"parsed", "trace", "rate_limit_remaining", "latency", "cached", "cost_details"})
"""Fields of one call, not of the response."""

_LISTS = ("parts", "tool_calls", "citations", "logprobs", "other_choices", "dropped")
_lists = attrgetter(*_LISTS)
_LONGEST_LETTER, _FACTS = 12, 65536
"""Bytes of JSON: the most for one character, and a bound for a response without its text."""

_ATOMS = frozenset({int, float, str, bool, type(None), datetime, Decimal})

Reader = Callable[[Any], Any]


class Hit(NamedTuple):
    """A cached response: marked, with its tokens, and a cost of 0; ``saved`` is what it cost the first time."""

    response: Response
    saved: Decimal | None


class Entry:
    """A response for a store. Its bytes are made at their first use, since few responses are asked for again.

    One that holds more than text and numbers is encoded at once, since its owner might change it. Raises what :func:`dump` raises.
    """

    __slots__ = ("_data", "_letters", "_values")
    _data: bytes | None
    _values: tuple[Any, ...]

    def __init__(self, response: Response) -> None:
        usage = response.usage
        answer, counted = _FLAT_ANSWER.values(response), _FLAT_USAGE.values(usage)
        if any(_lists(response)) or usage.tool_requests or not _ATOMS.issuperset(map(type, answer + counted)):
            self._values, self._data = (), dump(response)
            return
        raw = _encode(usage.raw)
        self._values, self._data = (answer, counted, raw), None
        self._letters = len(response.content) + len(response.reasoning) + len(raw)

    def __bytes__(self) -> bytes:
        values = self._values  # read before the data: another thread that encodes it empties these last
        if self._data is None:
            answer, usage, raw = values
            counted = {**_FLAT_USAGE.named(usage), "raw": json.loads(raw)}
            self._data = _encode(["Response", {**_FLAT_ANSWER.named(answer), "usage": ["Usage", counted]}]).encode()
            self._values = ()
        return self._data

    def fits(self, most: int) -> bool:
        """Tell whether the entry has at most so many bytes; a short text is not encoded for that."""
        return (self._data is None and _LONGEST_LETTER * self._letters + _FACTS <= most) or len(bytes(self)) <= most


def dump(response: Response) -> bytes:
    """Encode a response. Raises ``TypeError`` or ``ValueError`` for a value of a user's vendor that is no JSON."""
    return _encode(response).encode()


def load(data: bytes) -> Response:
    """Decode a response. Raises some ``Exception`` for other bytes."""
    response = _build(json.loads(data))
    if not isinstance(response, Response):
        raise ValueError(f"{type(response).__name__} is no answer")
    return response


def decode_hit(data: bytes) -> Hit:
    """Decode an entry as a hit; the marks are set before the object is made, which is far cheaper."""
    pair = json.loads(data)
    usage = pair[1].setdefault("usage", ["Usage", {}])[1]
    cost = usage.get("cost")
    usage.update(cost=0, cost_status="priced")
    pair[1].update(cached=True, trace=())
    response = _build(pair)
    if not isinstance(response, Response):
        raise ValueError(f"{type(response).__name__} is no answer")
    if plausible(response.usage) is not response.usage:
        raise ValueError("an answer does not use so much")
    return Hit(response, plausible_cost(cost) if cost is not None else None)


def as_hit(response: Response) -> Hit:
    """Return a response as a hit, without an entry."""
    usage = attrs.evolve(response.usage, cost=Decimal(0), cost_status="priced", cost_details=CostDetails())
    marked = attrs.evolve(response, usage=usage, cached=True, parsed=None, trace=(), rate_limit_remaining=None, latency=None)
    return Hit(marked, response.usage.cost)


def _build_all(values: Any) -> tuple[Any, ...]:
    return tuple([_build(value) for value in values])


def _build(value: Any) -> Any:
    """The object of a pair of name and fields."""
    name, fields = value
    for field, read in _READERS[name].items():
        if fields.get(field) is not None:
            fields[field] = read(fields[field])
    return _ENTRY_KINDS[name](**fields)


_ENTRY_KINDS: Mapping[str, type[attrs.AttrsInstance]] = {
    kind.__name__: kind for kind in (Response, Choice, Usage, Citation, *get_args(Part))
}
_CHOICE: Mapping[str, Reader] = {"parts": _build_all, "tool_calls": _build_all, "logprobs": tuple}
_BYTES: Mapping[str, Reader] = {"data": base64.b64decode}
_READERS: Mapping[str, Mapping[str, Reader]] = {
    **{name: {} for name in _ENTRY_KINDS},
    "Choice": _CHOICE,
    "Response": {
        **_CHOICE,
        "usage": _build,
        "citations": _build_all,
        "other_choices": _build_all,
        "dropped": tuple,
        "created_at": datetime.fromisoformat,
    },
    "Usage": {"cost": Decimal},
    **dict.fromkeys(("ImagePart", "FilePart", "AudioPart", "VideoPart"), _BYTES),
}


_SHAPES = {kind: Shape(kind, _OF_THE_CALL) for kind in _ENTRY_KINDS.values()}
_FLAT_ANSWER = Shape(Response, {*_OF_THE_CALL, *_LISTS, "usage"})
_FLAT_USAGE = Shape(Usage, {*_OF_THE_CALL, "raw", "tool_requests"})
"""The fields of a response of text and numbers."""


def _entry_json(value: Any) -> Any:
    shape = _SHAPES.get(type(value))
    if shape is not None:
        return [type(value).__name__, shape.changed(value)]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


_encode = json_encoder(_entry_json)


_UNSENT = (
    "model",
    "metadata",
    "origin",
    "id_at_origin",
    "cache",
    "continue_broken",
    "failover",
    "mode",
    "profile",
    "functions",
    "function_call",
)
_FLOATS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")


class CacheTarget(NamedTuple):
    """A target: the vendor's registered name, its name for the model, and what tells it from another vendor of that name."""

    vendor: str
    model: str
    identity: Any = None


class Unkeyable(ValueError):
    """A request that has no canonical form, such as one with an object in ``extra_params`` that is no JSON."""


def cache_target(vendor: Any, name: str, model: str) -> CacheTarget:
    """Return the target of a vendor and a model.

    A vendor's optional ``identity`` is what its responses depend on beside the request: kind, address, API. Without it, its
    ``kind`` and its class count.
    """
    identity = getattr(vendor, "identity", None)
    if identity is None:
        identity = (getattr(vendor, "kind", None), type(vendor).__qualname__)
    return CacheTarget(name, model, identity)


class RequestKeys:
    """The keys of a request, one for each target; what they have in common is encoded once.

    Raises :class:`Unkeyable`, also in :meth:`at` for a target whose identity has no canonical form.
    """

    __slots__ = ("_common", "_tenant")

    def __init__(self, request: Request, tenant: Any = None) -> None:
        try:
            numbers = [number if number is None else float(number) for number in _numbers(vars(request))]  # 1 and 1.0 are the same
            fields = list(_fields(vars(request)))
            fields[_MESSAGES] = [_message(message) for message in request.messages]
            headers = [{name.lower(): text for name, text in request.headers.items()}] if request.headers else []
            self._common = _canonical([fields, numbers, *headers])[1:]
            self._tenant = "null" if tenant is None else _canonical([tenant])[1:-1]
        except (TypeError, ValueError, RecursionError) as error:
            raise _unkeyable(error) from None

    def at(self, where: CacheTarget) -> str:
        """Return the key at a target."""
        try:
            text = f"[{VERSION},{_canonical(where)},{self._tenant},{self._common}"
        except (TypeError, ValueError, RecursionError) as error:
            raise _unkeyable(error) from None
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()


def _unkeyable(error: Exception) -> Unkeyable:
    return Unkeyable(f"the request has no canonical form: {type(error).__name__}")


def _names(kind: type[attrs.AttrsInstance], leave_out: Collection[str] = ()) -> list[str]:
    return [field.name for field in attrs.fields(kind) if field.name not in leave_out]


def _all(kind: type[attrs.AttrsInstance]) -> Callable[[Any], Any]:
    return attrgetter(*_names(kind, _NOT_IN_PARTS))


_NOT_IN_PARTS = ("vendor",)
"""Who has a file: the key has the target."""
_KEYED = _names(Request, (*_UNSENT, *_FLOATS, "headers"))
_MESSAGES = _KEYED.index("messages")
_fields, _numbers = itemgetter(*_KEYED), itemgetter(*_FLOATS)
_message = _all(Message)
_KEY_KINDS: dict[type, Callable[[Any], Any]] = {kind: _all(kind) for kind in (*get_args(Part), Tool, VendorTool)}


def _key_json(value: Any) -> Any:
    """The JSON of a value that JSON does not have."""
    if isinstance(value, bytes | bytearray):
        return {"sha256": hashlib.sha256(value).hexdigest(), "bytes": len(value)}
    if isinstance(value, Mapping):
        return dict(value)
    for kind in type(value).__mro__:
        if kind in _KEY_KINDS:
            return [kind.__name__, _KEY_KINDS[kind](value)]
    raise TypeError(type(value).__name__)


_canonical = json_encoder(_key_json, sort_keys=True, ensure_ascii=False)
