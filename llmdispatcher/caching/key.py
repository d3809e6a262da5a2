"""Keys: one for each question to one target, so that a byte of difference that can change the answer is a different key.

A key is the BLAKE2b of canonical JSON: fields in their order, mappings sorted, bytes as their own digest. It tells nothing of the
conversation. What is not sent (metadata, who asks, the cache's own switches) is left out; the model is the target's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from operator import attrgetter
from typing import Any, NamedTuple, get_args

import attrs

from ..json_text import json_encoder
from ..messages import Message, Tool, VendorTool
from ..parts import Part
from ..types import Request
from .entries import VERSION

_UNSENT = ("model", "metadata", "origin", "id_at_origin", "cache", "continue_broken", "mode", "profile")
_FLOATS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")


class Place(NamedTuple):
    """Who is asked: the vendor's registered name, its name for the model, and what else tells it from another of that name."""

    vendor: str
    model: str
    identity: Any = None


class Unkeyable(ValueError):
    """A request that has no canonical form, such as one with an object in ``extra_params`` that is no JSON."""


def place(vendor: Any, name: str, model: str) -> Place:
    """The place of a vendor that is asked for ``model``.

    A vendor tells by its optional ``identity`` what its answers depend on beside the request: kind, address, API. One without it
    is told by its ``kind`` and its class.
    """
    identity = getattr(vendor, "identity", None)
    if identity is None:
        identity = (getattr(vendor, "kind", None), type(vendor).__qualname__)
    return Place(name, model, identity)


def key_of(request: Request, where: Place, tenant: Any = None) -> str:
    """The key of a request at a place, for a tenant. Raises :class:`Unkeyable`."""
    try:
        numbers = [number if number is None else float(number) for number in _numbers(request)]  # 1 and 1.0 are the same wish
        text = _canonical([VERSION, where, tenant, _fields(request), numbers])
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()
    except (TypeError, ValueError, RecursionError) as error:
        raise Unkeyable(f"the request has no canonical form: {type(error).__name__}") from None


def _all(kind: type[attrs.AttrsInstance], leave_out: Collection[str] = ()) -> Callable[[Any], Any]:
    return attrgetter(*[field.name for field in attrs.fields(kind) if field.name not in leave_out])


_fields, _numbers = _all(Request, (*_UNSENT, *_FLOATS)), attrgetter(*_FLOATS)
_message = _all(Message)
_KINDS: dict[type, Callable[[Any], Any]] = {kind: _all(kind) for kind in (*get_args(Part), Tool, VendorTool)}


def _plain(value: Any) -> Any:
    """What JSON can hold of a value that it cannot hold itself."""
    if isinstance(value, Message):
        return _message(value)
    if isinstance(value, bytes | bytearray):
        return {"sha256": hashlib.sha256(value).hexdigest(), "bytes": len(value)}
    if isinstance(value, Mapping):
        return dict(value)
    for kind in type(value).__mro__:
        if kind in _KINDS:
            return [kind.__name__, _KINDS[kind](value)]
    raise TypeError(type(value).__name__)


_canonical = json_encoder(_plain, sort_keys=True, ensure_ascii=False)
