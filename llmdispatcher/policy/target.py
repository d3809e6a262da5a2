"""A target: one vendor asked for one model, with what is known of the pair."""

from __future__ import annotations

import attrs

from ..catalog import Price, canonical, model_facts


@attrs.frozen(kw_only=True, eq=False)
class Target:
    """One vendor and the name that it gives the model; zero and ``None`` mean unknown, which excludes nothing.

    ``vendor`` is the registered name, ``kind`` the catalog's row, ``context_window`` the most input tokens. ``key`` names the
    pair across calls, ``vendor_key`` the vendor in its one spelling. Two targets are the same only when they are one object.
    """

    vendor: str
    model: str
    kind: str | None = None
    price: Price | None = None
    context_window: int = 0
    supports_streaming: bool = True
    supports_vision: bool = True
    supports_tools: bool = True
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
        facts = model_facts(self.kind, model) if self.kind is not None else None
        if facts is None:
            return attrs.evolve(self, model=model, price=None, context_window=0)
        return attrs.evolve(
            self,
            model=model,
            price=facts.price,
            context_window=facts.context_window,
            supports_vision=facts.supports_vision,
            supports_tools=facts.supports_tools,
        )
