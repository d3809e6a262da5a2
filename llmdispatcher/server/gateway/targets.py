"""A client's request at each target: whether its key may ask it, and what the request becomes there.

A client does not know who answers. What its format has for one vendor alone is taken away from the others, and prompt caching,
which each vendor asks for in another way, is asked for in the target's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TypeVar

import attrs

from ...catalog import Target, canonical, traits_of, vendor_row
from ...dispatcher import Dispatcher
from ...types import Message, Request, TextPart
from ...wire import ANTHROPIC_MESSAGES, InboundRequest
from ..keys import ApiKey, matches_any
from .marks import is_worth_marks, with_marks
from .passing import family

_OWN = "anthropic"
_KEYED = ("openai", "azure")
"""Vendors that cache by prefix, and take ``prompt_cache_key``."""
_BILLING = "x-anthropic-billing-header"
_Asked = TypeVar("_Asked", bound="ClientRequest")


@attrs.frozen(kw_only=True, slots=False)
class ClientRequest(InboundRequest):
    """A request of a client of the gateway.

    ``allows(vendor, model, stands_in_for)`` says whether its key may ask a target; ``None`` allows all. ``session`` is the session
    with its organization, ``cache_key`` what vendors are told of it, a hash.
    ``marks`` says whether prompt caching is asked for where the client has not.
    """

    allows: Callable[[str, str, str], bool] | None = attrs.field(default=None, repr=False)
    session: str | None = attrs.field(default=None, repr=False)
    cache_key: str | None = attrs.field(default=None, repr=False)
    endless: bool = False
    marks: bool = True

    @classmethod
    def known(cls, request: Request[Any], **further: Any) -> ClientRequest:
        """The request with what the gateway knows of it; ``further`` are fields of both. Its document is still to be bound."""
        made = object.__new__(cls)
        object.__setattr__(made, "__dict__", {**_UNSAID, **vars(request), **further})  # it was checked when it was read
        return made

    @property
    def affinity(self) -> str | None:
        """The session."""
        return self.session

    @property
    def open_ended(self) -> bool:
        """Whether nobody has set a time for it."""
        return self.endless

    def forbidden(self, targets: Iterable[Target]) -> list[Target]:
        """Those of some targets that its key may not ask."""
        allows = self.allows
        return [] if allows is None else [one for one in targets if not allows(one.vendor, one.model, one.stands_in_for)]

    def as_sent_to(self, kind: str, model: str) -> Self:
        """Without what is for Anthropic alone, and with prompt caching in the vendor's own way.

        A vendor of the client's own format gets what the client wrote, who has set the marks that he wants.
        """
        request = self if kind == _OWN else without_billing(self)
        row = vendor_row(kind) if kind else None
        if row is None or family(row.codec) == family(self.wire_format or ""):
            return request
        if not self.marks or not is_worth_marks(request.tools, [message.role for message in request.messages]):
            return request
        if row.codec == ANTHROPIC_MESSAGES.name or "cache_marks" in traits_of(kind, model).quirks:
            return with_marks(request, own=row.codec == ANTHROPIC_MESSAGES.name)
        if kind in _KEYED and request.prompt_cache_key is None and self.cache_key is not None:
            return attrs.evolve(request, prompt_cache_key=self.cache_key)
        return request


_UNSAID = {
    field.name: field.default
    for field in attrs.fields(ClientRequest)
    if field.name in ("allows", "session", "cache_key", "endless", "marks")
}


class Grants:
    """The targets that a key may ask for one name: those that all levels of it allow, at its vendors."""

    def __init__(self, key: ApiKey, levels: Sequence[_GrantsOfLevel]) -> None:
        self._key, self._levels = key, levels
        self.names_it = all(level.names_it for level in levels)
        """Whether the globs speak of the name itself; else a target may still be asked, as one of a pool."""
        self.is_certain = self.names_it and not key.limits_vendors
        """Whether some target may be asked, without a look at them."""

    @classmethod
    def of(cls, key: ApiKey | None, asked: str, dispatcher: Dispatcher) -> Grants | None:
        """Return those of a key; ``None`` where it may ask everything."""
        if key is None:
            return None
        globs = [policy.models for _level, _holder, policy in key.levels if policy.models is not None]
        if not globs and not key.limits_vendors:
            return None
        return cls(key, [_GrantsOfLevel(one, asked, dispatcher) for one in globs])

    def allows_named(self, name: str) -> bool:
        """Whether the name of a vendor and its model may be asked."""
        return self.names_it and self._key.may_use(name.partition(":")[0])

    def __call__(self, vendor: str, model: str, stands_in_for: str) -> bool:
        """Whether a target may be asked."""
        return self._key.may_use(vendor) and all(level(vendor, model, stands_in_for) for level in self._levels)


class _GrantsOfLevel:
    """What the globs of a key, or of one of its owners, allow.

    A glob speaks of a target's ``vendor:model``, or its model. A pool or an alias that it names in full, without a wildcard,
    allows what stands in it, and the name of a model allows what a vendor calls it by its ``model_map``.
    """

    def __init__(self, globs: Sequence[str], asked: str, dispatcher: Dispatcher) -> None:
        self._globs, self._dispatcher = globs, dispatcher
        self._whole = asked.lower() in {glob.lower() for glob in globs} and dispatcher.has_alias(asked)
        head, _colon, tail = asked.partition(":")
        self._model = tail if tail and dispatcher.get_vendor(canonical(head)) is not None else asked
        self.names_it = matches_any(asked, globs) or matches_any(self._model, globs)

    def __call__(self, vendor: str, model: str, stands_in_for: str) -> bool:
        """Whether a target may be asked."""
        if matches_any(f"{vendor}:{model}", self._globs) or matches_any(model, self._globs):
            return True
        if stands_in_for:
            return False
        return self._whole or (self.names_it and self._is_own_name(vendor, model))

    def _is_own_name(self, vendor: str, model: str) -> bool:
        """Whether it is what the vendor calls the model, and not what it serves in place of any that it lacks."""
        found: Any = self._dispatcher.get_vendor(vendor)
        named = getattr(found, "model_for", None)
        return callable(named) and named(self._model) == model and getattr(found, "default_model", None) != model


def without_billing(request: _Asked) -> _Asked:
    """The request without the blocks in which Claude Code tells Anthropic who pays; they differ from one request to the next."""
    messages = [_without_billing(message) for message in request.messages]
    if all(new is old for new, old in zip(messages, request.messages, strict=True)):
        return request
    return attrs.evolve(request, messages=[message for message in messages if message is not None])


def _without_billing(message: Message) -> Message | None:
    if message.role not in ("system", "developer"):
        return message
    if isinstance(message.content, str):
        kept = "\n".join([line for line in message.content.split("\n") if not line.startswith(_BILLING)])
        if kept == message.content:
            return message
        return attrs.evolve(message, content=kept) if kept.strip() else None
    parts = tuple([part for part in message.content if not (isinstance(part, TextPart) and part.text.startswith(_BILLING))])
    if len(parts) == len(message.content):
        return message
    return attrs.evolve(message, content=parts) if parts else None
