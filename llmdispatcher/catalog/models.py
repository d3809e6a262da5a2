"""Models and prices: look-up by vendor and name, and the exact cost of a usage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import attrs

from ..types import Usage
from .vendors import ROWS, canonical, in_family

_MILLION = Decimal(1_000_000)


@attrs.frozen(kw_only=True)
class Price:
    """US dollars per million tokens of each class, as published.

    Above ``long_threshold`` input tokens (0: none) the whole request is billed at the ``long_*`` prices. ``cache_read`` and the
    writes default to the input price.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal
    cache_write_long: Decimal
    long_threshold: int = 0
    long_input: Decimal = Decimal(0)
    long_output: Decimal = Decimal(0)
    long_cache_read: Decimal = Decimal(0)

    @classmethod
    def flat(cls, per_million: Decimal) -> Price:
        """The same price for every token."""
        return cls(
            input=per_million, output=per_million, cache_read=per_million, cache_write=per_million, cache_write_long=per_million
        )


@attrs.frozen(kw_only=True)
class ModelFacts:
    """What is known of one model at one vendor; ``quirks`` tell codecs what it refuses or calls differently."""

    vendor: str
    model: str
    price: Price
    context_window: int
    max_tokens: int
    supports_vision: bool
    supports_tools: bool
    quirks: frozenset[str]
    source: str
    date: str


def cost(usage: Usage, price: Price) -> Decimal:
    """US dollars of a usage, exact: each token class at its own price, no rounding."""
    writes_long = usage.cache_write_long_tokens
    writes = usage.cache_write_tokens - writes_long
    fresh = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
    if price.long_threshold and usage.input_tokens > price.long_threshold:
        into, out, read = price.long_input, price.long_output, price.long_cache_read
    else:
        into, out, read = price.input, price.output, price.cache_read
    total = fresh * into + usage.output_tokens * out
    if usage.cache_read_tokens:
        total += usage.cache_read_tokens * read
    if usage.cache_write_tokens:
        total += writes * price.cache_write + writes_long * price.cache_write_long
    return total / _MILLION


@cache
def _table() -> Mapping[str, Mapping[str, ModelFacts]]:
    document = json.loads(resources.files(__package__).joinpath("models.json").read_text("utf-8"))
    return {vendor: _facts(vendor, rows, document["date"]) for vendor, rows in document["vendors"].items()}


def _facts(vendor: str, rows: Mapping[str, Any], date: str) -> dict[str, ModelFacts]:
    facts: dict[str, ModelFacts] = {}
    for name, row in rows["models"].items():
        for alias in (name, *row.get("aliases", ())):
            facts[alias] = _model(vendor, alias, row, rows["source"], date)
    return facts


def _model(vendor: str, name: str, row: Mapping[str, Any], source: str, date: str) -> ModelFacts:
    prices = {key: Decimal(value) for key, value in row["price"].items() if key != "long_threshold"}
    into, out = prices["input"], prices["output"]
    read = prices.get("cache_read", into)
    write = prices.get("cache_write", into)
    price = Price(
        input=into,
        output=out,
        cache_read=read,
        cache_write=write,
        cache_write_long=prices.get("cache_write_long", write),
        long_threshold=row["price"].get("long_threshold", 0),
        long_input=prices.get("long_input", into),
        long_output=prices.get("long_output", out),
        long_cache_read=prices.get("long_cache_read", read),
    )
    return ModelFacts(
        vendor=vendor,
        model=name,
        price=price,
        context_window=row.get("context_window", 0),
        max_tokens=row.get("max_tokens", 0),
        supports_vision=row.get("vision", False),
        supports_tools=row.get("tools", False),
        quirks=frozenset(row.get("quirks", ())),
        source=source,
        date=date,
    )


def models(kind: str) -> tuple[str, ...]:
    """The names and aliases of the models that the catalog knows at a vendor."""
    return tuple(_table().get(canonical(kind), {}))


@lru_cache(maxsize=4096)
def model_facts(kind: str, model: str) -> ModelFacts | None:
    """What is known of a model at a vendor, by exact name or alias; ``None`` where nothing is."""
    return _table().get(canonical(kind), {}).get(model.removeprefix("models/"))


@lru_cache(maxsize=4096)
def owner(model: str) -> str | None:
    """The vendor that a bare model name belongs to: by the table first, then by the families of names."""
    for row in ROWS:
        if model_facts(row.name, model) is not None or in_family(row.name, model):
            return row.name
    return None


@lru_cache(maxsize=4096)
def knows_not(kind: str, model: str) -> bool:
    """Whether the catalog knows that a vendor does not have a model: the name is another's and not its own."""
    kind = canonical(kind)
    if kind not in {row.name for row in ROWS}:
        return False
    return model_facts(kind, model) is None and not in_family(kind, model) and owner(model) is not None
