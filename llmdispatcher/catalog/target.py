"""A target: one vendor and one model, with the facts of that pair."""

from __future__ import annotations

from typing import Any

import attrs

from ..types import Capabilities, Price
from .facts import FREE_PRICE, canonical, traits_of, vendor_row
from .models import model_facts, price_at


@attrs.frozen(kw_only=True, eq=False)
class Target:
    """One vendor and the name that it gives the model; zero and ``None`` mean unknown, which excludes nothing.

    ``vendor`` is the registered name, ``kind`` the catalog's row, ``price_version`` the edition of the catalog that knows the
    model; ``reports_cost`` says that the vendor tells what each answer costs, ``free`` that it is a server of one's own.
    ``context_window`` is the most input tokens, ``max_output`` the most output tokens. ``lacks`` are the
    :data:`~llmdispatcher.catalog.CAPABILITIES` that it is known not to have, ``makeshift`` those that it has in a roundabout way,
    such as a JSON schema that is told in words. ``stands_in_for`` is the model that was asked for, where the fallback vendor does
    not have it and is asked for this one; ``member`` is the name of the pool's model that it is asked for, where several vendors
    have that and share its calls. ``key`` names the pair across calls, ``vendor_key`` the vendor in its one spelling. Two
    targets are the same only when they are one object.
    """

    vendor: str
    model: str
    kind: str | None = None
    price: Price | None = None
    price_version: str | None = None
    context_window: int = 0
    max_output: int = 0
    lacks: frozenset[str] = frozenset()
    makeshift: frozenset[str] = frozenset()
    reports_cost: bool = False
    free: bool = False
    stands_in_for: str = ""
    member: str = ""
    key: tuple[str, str] = attrs.field(init=False, repr=False)
    vendor_key: str = attrs.field(init=False, repr=False)

    @key.default
    def _key(self) -> tuple[str, str]:
        return (self.vendor, self.model)

    @vendor_key.default
    def _vendor_key(self) -> str:
        return canonical(self.vendor)

    def __str__(self) -> str:
        return f"{self.vendor}:{self.model}"

    @property
    def is_free(self) -> bool:
        """Whether the model runs on the user's own server, and costs nothing."""
        return self.price is FREE_PRICE

    def asked_for(self, model: str) -> Target:
        """Return a target of the same vendor for another model, with that model's facts."""
        fields = target_facts(self.kind, model, self.vendor, free=self.free)
        fields["lacks"] |= self.lacks & OF_VENDORS if self.kind is not None else self.lacks
        return attrs.evolve(self, model=model, **fields)


OF_VENDORS = frozenset({"streaming", "embeddings"})
"""Capabilities that a vendor lacks for all its models or for none."""
_NOTHING: frozenset[str] = frozenset()
_TOLD_IN_WORDS = frozenset({"json_schema"})
_FLAGS = (("streaming", "supports_streaming"), ("vision", "supports_vision"), ("tools", "supports_tools"))


def missing_capabilities(able: Capabilities) -> frozenset[str]:
    """Return what a vendor lacks, by the three flags of its capabilities."""
    return frozenset([name for name, flag in _FLAGS if not getattr(able, flag)])


def target_facts(kind: str | None, model: str, account: str = "", *, free: bool = False) -> dict[str, Any]:
    """Return the fields of a target for a vendor's model, by the catalog's ``kind`` and the caller's own rows.

    ``account`` is the name under which the vendor is registered, ``free`` says that it is a server of one's own.
    """
    kind = kind or ""
    own, row = traits_of(kind, model), vendor_row(kind)
    facts = model_facts(kind, model, account)
    price, version = price_at(kind, model, account, free=free)
    return {
        "price": price,
        "price_version": version,
        "free": free,
        "context_window": facts.context_window if facts is not None else 0,
        "max_output": facts.max_tokens if facts is not None else 0,
        "lacks": facts.lacks if facts is not None else own.lacks,
        "reports_cost": row is not None and row.reports_cost,
        "makeshift": _TOLD_IN_WORDS if "no_json_schema" in own.quirks else _NOTHING,
    }
