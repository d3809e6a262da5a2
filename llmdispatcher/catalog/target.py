"""A target: one vendor and one model, with the facts known of that pair."""

from __future__ import annotations

from typing import Any

import attrs

from ..types import Capabilities, Price
from .facts import canonical, traits_of, vendor_row
from .models import model_facts


@attrs.frozen(kw_only=True, eq=False)
class Target:
    """One vendor and the name that it gives the model; zero and ``None`` mean unknown, which excludes nothing.

    ``vendor`` is the registered name, ``kind`` the catalog's row, ``price_version`` the edition of the catalog that knows the
    model; ``reports_cost`` says that the vendor tells what each answer costs. ``context_window`` is the most input tokens,
    ``max_output`` the most output tokens. ``lacks`` are the :data:`~llmdispatcher.catalog.CAPABILITIES` that it is known not to
    have, ``makeshift`` those that it has in a roundabout way, such as a JSON schema that is told in words. ``stands_in_for`` is the
    model that was asked for, where the fallback vendor does not have it and is asked for this one. ``key`` names the pair across
    calls, ``vendor_key`` the vendor in its one spelling. Two targets are the same only when they are one object.
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
    stands_in_for: str = ""
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

    def asked_for(self, model: str) -> Target:
        """The same vendor asked for another model, with what the catalog knows of that."""
        if self.kind is None:
            return attrs.evolve(self, model=model, price=None, price_version=None, context_window=0, max_output=0)
        told = known(self.kind, model)
        told["lacks"] |= self.lacks & OF_VENDORS
        return attrs.evolve(self, model=model, **told)


OF_VENDORS = frozenset({"streaming", "embeddings"})
"""Capabilities that a vendor lacks for all its models or for none."""
_NOTHING: frozenset[str] = frozenset()
_TOLD_IN_WORDS = frozenset({"json_schema"})
_FLAGS = (("streaming", "supports_streaming"), ("vision", "supports_vision"), ("tools", "supports_tools"))


def without(able: Capabilities) -> frozenset[str]:
    """What those three flags of a vendor's capabilities say that it lacks."""
    return frozenset([name for name, flag in _FLAGS if not getattr(able, flag)])


def known(kind: str, model: str) -> dict[str, Any]:
    """The fields of a target that the catalog tells of a vendor's model."""
    own, row = traits_of(kind, model), vendor_row(kind)
    facts = model_facts(kind, model)
    return {
        "price": facts.price if facts is not None else None,
        "price_version": facts.price_version if facts is not None else None,
        "context_window": facts.context_window if facts is not None else 0,
        "max_output": facts.max_tokens if facts is not None else 0,
        "lacks": facts.lacks if facts is not None else own.lacks,
        "reports_cost": row is not None and row.reports_cost,
        "makeshift": _TOLD_IN_WORDS if "no_json_schema" in own.quirks else _NOTHING,
    }
