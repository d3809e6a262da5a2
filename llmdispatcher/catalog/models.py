"""Models: what is known of each at each vendor, and whom a bare model name belongs to."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import attrs

from .prices import Price
from .traits import traits
from .vendors import canonical, in_family, vendor_row, vendor_rows

_REMEMBERED = 4096


@attrs.frozen(kw_only=True)
class ModelFacts:
    """What is known of one model at one vendor; ``quirks`` tell codecs what it refuses or calls differently.

    ``lacks`` are words of :data:`~llmdispatcher.catalog.traits.CAPABILITIES`; ``listed`` is the name that ``model`` is an alias of.
    ``context_window`` is the most input tokens, ``max_tokens`` the most output tokens; ``date`` is when ``source`` was looked at.
    """

    vendor: str
    model: str
    listed: str
    price: Price
    context_window: int
    max_tokens: int
    supports_vision: bool
    supports_tools: bool
    supports_streaming: bool
    quirks: frozenset[str]
    lacks: frozenset[str]
    source: str
    date: str

    @property
    def supports_sampling_params(self) -> bool:
        """Whether the model takes temperature, top_p and the like; one that does not answers them with a 400."""
        return "no_sampling" not in self.quirks


@cache
def _table() -> Mapping[str, Mapping[str, ModelFacts]]:
    document = json.loads(pkgutil.get_data(__package__, "models.json") or b"{}")
    return {vendor: _facts(vendor, rows, document["date"]) for vendor, rows in document["vendors"].items()}


def _facts(vendor: str, rows: Mapping[str, Any], date: str) -> dict[str, ModelFacts]:
    facts: dict[str, ModelFacts] = {}
    for name, row in rows["models"].items():
        described = _model(vendor, name, row, row.get("source", rows["source"]), row.get("date", date))
        facts[name] = described
        for alias in row.get("aliases", ()):
            facts[alias] = attrs.evolve(described, model=alias)
    return facts


def _model(vendor: str, name: str, row: Mapping[str, Any], source: str, date: str) -> ModelFacts:
    own = traits(vendor, name)
    return ModelFacts(
        vendor=vendor,
        model=name,
        listed=name,
        price=Price.from_row(row["price"]),
        context_window=row.get("context_window", 0),
        max_tokens=row.get("max_tokens", 0),
        supports_vision=row.get("vision", False),
        supports_tools=row.get("tools", False),
        supports_streaming=row.get("streaming", True),
        quirks=own.quirks,
        lacks=own.lacks,
        source=source,
        date=date,
    )


def models(kind: str) -> tuple[str, ...]:
    """The names and aliases of the models that the catalog knows at a vendor."""
    return tuple(_table().get(canonical(kind), {}))


@cache
def model_names(kind: str) -> tuple[str, ...]:
    """The names of those models, each once; none for a vendor that the catalog knows no models of."""
    return tuple(dict.fromkeys(facts.listed for facts in _table().get(canonical(kind), {}).values()))


@lru_cache(maxsize=_REMEMBERED)
def model_facts(kind: str, model: str) -> ModelFacts | None:
    """What is known of a model at a vendor, by exact name or alias; ``None`` where nothing is, however alike the names."""
    return _table().get(canonical(kind), {}).get(model.removeprefix("models/"))


@lru_cache(maxsize=_REMEMBERED)
def owner(model: str) -> str | None:
    """The vendor that a model name belongs to: the one it pins, else by the table, else by the families of names."""
    pinned = vendor_row(model.partition(":")[0]) if ":" in model else None
    if pinned is not None:
        return pinned.name
    listed = (row.name for row in vendor_rows() if model_facts(row.name, model) is not None)
    alike = (row.name for row in vendor_rows() if in_family(row.name, model))
    return next(listed, None) or next(alike, None)


@lru_cache(maxsize=_REMEMBERED)
def knows_not(kind: str, model: str) -> bool:
    """Whether the catalog knows that a vendor does not have a model: the name is another's and not its own.

    Of a vendor that is not in the catalog, and of a name that nobody there bears, it knows nothing.
    """
    row = vendor_row(kind)
    if row is None or row.any_model or model_facts(kind, model) is not None or in_family(kind, model):
        return False
    return owner(model) not in (None, canonical(kind))
