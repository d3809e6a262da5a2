"""What is known of one model at one vendor, as a value, and how a row of the data is read."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

import attrs

from .prices import Price
from .traits import CAPABILITIES, traits

ABILITIES = (*CAPABILITIES, "audio_output", "video", "prompt_caching", "web_search", "computer_use")
"""What a model can be known to be able to: what requests may use, and more."""
_BY_DEFAULT = frozenset({"streaming"})
_VECTORS = frozenset(CAPABILITIES) - {"embeddings"}


@attrs.frozen(kw_only=True)
class ModelFacts:
    """What is known of one model at one vendor; ``quirks`` tell codecs what it refuses or calls differently.

    ``listed`` is the name that ``model`` is an alias of, ``kind`` "chat", "responses" (asked by that API alone) or "embedding".
    ``price_row`` is its ``price`` as the data has it. ``capabilities`` (words of :data:`ABILITIES`) it is known to have, ``lacks``
    it is known not to have; what is in neither is unknown. ``context_window`` is the most input tokens, ``max_tokens`` the most
    output tokens, 0 where unknown. ``released`` and ``deprecated`` are the days on which it came and goes, ``retired`` says that it
    has gone. ``checked`` marks facts that were read on the vendor's own pages; ``date`` is when ``source`` was looked at, and
    ``price_version`` names the edition that the price is of.
    """

    vendor: str
    model: str
    listed: str
    kind: str = "chat"
    price_row: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    context_window: int = 0
    max_tokens: int = 0
    capabilities: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    quirks: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()
    released: datetime.date | None = None
    deprecated: datetime.date | None = None
    retired: bool = False
    checked: bool = False
    source: str = ""
    date: str = ""
    price_version: str = ""

    @cached_property
    def price(self) -> Price | None:
        """What its tokens cost, read from ``price_row`` when it is first asked for; ``None`` where nothing is known."""
        return Price.from_row(self.price_row) if self.price_row is not None else None

    @property
    def ref(self) -> str:
        """``"vendor:model"``, as a request can name it."""
        return f"{self.vendor}:{self.model}"

    @property
    def supports_sampling_params(self) -> bool:
        """Whether the model takes temperature, top_p and the like; one that does not answers them with a 400."""
        return "no_sampling" not in self.quirks

    @property
    def supports_vision(self) -> bool:
        """Whether it is known to see."""
        return "vision" in self.capabilities

    @property
    def supports_tools(self) -> bool:
        """Whether it is known to call tools."""
        return "tools" in self.capabilities

    @property
    def supports_streaming(self) -> bool:
        """Whether it answers in pieces, as every model does that is not known not to."""
        return "streaming" not in self.lacks

    def is_active(self, day: datetime.date) -> bool:
        """Whether the vendor serves it on a day, as far as is known."""
        return not self.retired and (self.deprecated is None or day < self.deprecated)


def facts_of(vendor: str, name: str, row: Mapping[str, Any], version: str) -> ModelFacts:
    """Read a row: ``price`` as :meth:`Price.from_row` reads it, ``can`` and ``lacks`` lists of words, days as "2026-11-21".

    Further ``kind``, ``context_window``, ``max_tokens``, ``aliases``, ``since``, ``ends``, ``retired``, ``checked``, ``source`` and
    ``date``; each may be missing.
    """
    own, kind = traits(vendor, name), row.get("kind", "chat")
    lacks = own.lacks.union(row["lacks"]) if "lacks" in row else own.lacks
    if kind == "embedding" or row.get("checked"):
        lacks |= _VECTORS if kind == "embedding" else {"embeddings"}
    return ModelFacts(
        vendor=vendor,
        model=name,
        listed=name,
        kind=kind,
        price_row=row.get("price"),
        context_window=row.get("context_window", 0),
        max_tokens=row.get("max_tokens", 0),
        capabilities=_able(frozenset(row.get("can", ()))) - lacks,
        lacks=lacks,
        quirks=own.quirks,
        aliases=tuple(row.get("aliases", ())),
        released=_day(row.get("since")),
        deprecated=_day(row.get("ends")),
        retired=row.get("retired", False),
        checked=row.get("checked", False),
        source=row.get("source", ""),
        date=row.get("date", ""),
        price_version=version,
    )


@lru_cache(maxsize=1024)
def _able(words: frozenset[str]) -> frozenset[str]:
    return words | _BY_DEFAULT


def _day(text: str | None) -> datetime.date | None:
    return datetime.date.fromisoformat(text) if text else None
