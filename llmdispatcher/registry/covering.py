"""An edition as rows that are put over the catalog's: prices count as published, everything else only widens what is known.

A registry is compiled by machines and may be wrong or hostile. What would keep a call from being sent, a capability that a model is
said to lack or a limit below the catalog's, is therefore not taken from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from ..catalog import ModelFacts, Price
from ..catalog.editions import Edition as Catalog
from ..catalog.prices import EXACT
from .edition import Edition
from .rows import RegistryModel

LEAST_LIMIT = 256
"""Tokens below which a limit is not believed; the smallest windows that are sold have twice as many."""
_CACHED = ("cache_read", "cache_write", "cache_write_long")
_PRICES: Mapping[str, str] = {"input": "input", "output": "output", "reasoning": "thinking"} | {name: name for name in _CACHED}
_SENSES = {
    "audio_input": "input",
    "image_input": "input",
    "audio_output": "output",
    "image_output": "output",
    "audio_cache_read": "cache_read",
}
"""Classes that no registry publishes -> the class whose price is theirs where they have none of their own."""
_ABILITIES: Mapping[str, str] = {
    "streaming": "streaming",
    "vision": "vision",
    "function_calling": "tools",
    "json_schema": "json_schema",
    "audio": "audio",
    "documents": "documents",
    "pdf_input": "documents",
    "thinking": "reasoning",
    "caching": "prompt_caching",
}
_LEAST = Decimal("1e-12")


@cache
def _catalog() -> Catalog:
    """The rows as they were packaged, whatever is put over them."""
    return Catalog()


def catalog_rows(edition: Edition, source: str) -> dict[str, dict[str, Any]]:
    """The rows for :func:`llmdispatcher.catalog.overlay`, by model; an alias goes to whom the registry's rule gives it."""
    taken: dict[str, list[str]] = {name: [] for name in edition.models}
    for alias, name in edition.names.items():
        if alias != name:
            taken[name].append(alias)
    date = "" if edition.updated_at is None else edition.updated_at.date().isoformat()
    told = {"source": source, "date": date}
    rows = {name: _row(model, _packaged(edition, name)) | told | {"aliases": taken[name]} for name, model in edition.models.items()}
    for alias, name in edition.names.items():
        known = _packaged(edition, alias) if alias != name else None
        if known is not None and known.listed == alias:  # a model of the catalog, whose own row would hide the alias
            rows[alias] = _row(edition.models[name], known) | told
    return rows


def _packaged(edition: Edition, name: str) -> ModelFacts | None:
    return _catalog().find(edition.vendor, name)


def _row(model: RegistryModel, packaged: ModelFacts | None) -> dict[str, Any]:
    can = {_ABILITIES[name] for name in model.supports if name in _ABILITIES}
    row: dict[str, Any] = {"can": sorted(can | (packaged.capabilities if packaged is not None else frozenset()))}
    row["retired"] = not model.active
    limits = {"context_window": model.max_input_tokens, "max_tokens": model.max_output_tokens}
    for name, limit in limits.items():
        known = getattr(packaged, name) if packaged is not None else 0
        if limit is not None and limit >= max(known, LEAST_LIMIT):
            row[name] = limit
    if packaged is None and model.endpoint == "embeddings":
        row["kind"] = "embedding"
    days = {"since": model.released, "ends": model.deprecated}
    row |= {name: day.isoformat() for name, day in days.items() if day is not None}
    price = price_row(model, packaged.price if packaged is not None else None)
    return row if price is None else row | {"price": price}


def price_row(model: RegistryModel, packaged: Price | None) -> dict[str, Any] | None:
    """The price of a model as a row of the catalog, ``None`` where the registry has none.

    Where it says the same of plain tokens as the ``packaged`` one, the catalog keeps that one's tiers and further classes. Else
    sounds, images and calls of tools, of which no registry tells, keep the prices that they had.
    """
    output = Decimal(0) if model.output is None and model.endpoint == "embeddings" else model.output
    if model.input is None or output is None:
        return None
    told = {name: getattr(model, field) for name, field in _PRICES.items()} | {"output": output}
    row: dict[str, Any] = {name: amount for name, amount in told.items() if amount is not None}
    agree = packaged is not None and (packaged.input, packaged.output) == (model.input, output)
    if packaged is not None and not agree:
        row |= {name: own for name, of in _SENSES.items() if (own := getattr(packaged, name)) != getattr(packaged, of)}
    row = {name: _text(amount) for name, amount in row.items()}
    if packaged is not None and packaged.calls:
        row["calls"] = {name: _text(amount) for name, amount in packaged.calls.items()}
    band = _band(model, output, packaged if agree else None)
    return row if band is None else row | {"bands": [band]}


def _band(model: RegistryModel, output: Decimal, packaged: Price | None) -> dict[str, Any] | None:
    """The prices of long requests, ``None`` where there are none, or the catalog has them already.

    Cached tokens are dearer there by the same factor as plain input, as Anthropic and Google publish it; a registry has no column
    for that. https://platform.claude.com/docs/en/about-claude/pricing https://ai.google.dev/gemini-api/docs/pricing
    """
    above, dearer, out = model.long_above, model.long_input, model.long_output if model.long_output is not None else output
    if above is None or dearer is None or not model.input:
        return None
    if packaged is not None and [(above, dearer, out)] == [(tokens, price.input, price.output) for tokens, price in packaged.bands]:
        return None
    band: dict[str, Any] = {"above": above, "input": _text(dearer), "output": _text(out)}
    for name in _CACHED:
        amount = getattr(model, name)
        if amount is None and packaged is not None:
            amount = getattr(packaged, name)
        if amount is not None:
            band[name] = _text(EXACT.quantize(EXACT.divide(EXACT.multiply(amount, dearer), model.input), _LEAST))
    return band


def _text(amount: Decimal) -> str:
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
