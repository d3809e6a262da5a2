"""Rows of a registry over the catalog, the difference of two versions, and the status of each vendor's models.

Prices count as published. Everything else may only add: a registry is compiled by machines and may be wrong or hostile, so what
would keep a call from being sent (a capability that a model is said to lack, a limit below the catalog's) is not taken from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import attrs

from ...types import EXACT, Price
from ..facts import ModelFacts
from ..models import CatalogSnapshot
from .document import DOLLARS, TOKENS, Edition, RegistryModel
from .store import Copy

LEAST_LIMIT = 256
"""Tokens below which a limit is not believed; the smallest windows that are sold have twice as many."""
_CACHED = ("cache_read", "cache_write", "cache_write_long")
_PRICE_FIELDS: Mapping[str, str] = {"input": "input", "output": "output", "reasoning": "thinking"} | {
    name: name for name in _CACHED
}
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
def _catalog() -> CatalogSnapshot:
    """The rows as they were packaged, whatever is put over them."""
    return CatalogSnapshot()


def catalog_rows(edition: Edition, source: str) -> dict[str, dict[str, Any]]:
    """The rows for :func:`~llmdispatcher.catalog.models.apply_registry`, by model; an alias goes to whom its rule gives it."""
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
    told = {name: getattr(model, field) for name, field in _PRICE_FIELDS.items()} | {"output": output}
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


_COMPARED_PRICES = tuple(DOLLARS)
_LIMITS = tuple(TOKENS)
Value = Decimal | int | date | str | None


@attrs.frozen(kw_only=True)
class Change:
    """One field of one model that differs; ``kind`` is "price", "limit", "capability" or "date"."""

    model: str
    field: str
    kind: str
    before: Value
    after: Value

    def as_dict(self) -> dict[str, Any]:
        """Amounts and dates as texts."""
        told = {"model": self.model, "field": self.field, "kind": self.kind}
        return told | {"before": _plain(self.before), "after": _plain(self.after)}

    def __str__(self) -> str:
        return f"{self.model} {self.field}: {_told(self.before)} → {_told(self.after)}"


@attrs.frozen(kw_only=True)
class Changes:
    """What came between two versions of a vendor's models; ``updated_at`` of the later one is among its facts, as ISO text.

    ``deactivated`` are models that were offered and are not any more, ``removed`` those that are not even listed.
    """

    vendor: str
    before: int
    after: int
    updated_at: str | None = None
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    deactivated: tuple[str, ...] = ()
    reactivated: tuple[str, ...] = ()
    changed: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.deactivated or self.reactivated or self.changed)

    def as_dict(self) -> dict[str, Any]:
        """Lists and texts."""
        told: dict[str, Any] = {"vendor": self.vendor, "before": self.before, "after": self.after, "updated_at": self.updated_at}
        told |= {name: list(getattr(self, name)) for name in _MOVES}
        return told | {"changed": [change.as_dict() for change in self.changed]}

    def __str__(self) -> str:
        lines = [f"{self.vendor} {self.before} → {self.after}{': nothing differs' if not self else ''}"]
        lines += [f"  {name}: {', '.join(models)}" for name in _MOVES if (models := getattr(self, name))]
        return "\n".join([*lines, *[f"  {change}" for change in self.changed]])


_MOVES = ("added", "removed", "deactivated", "reactivated")


@attrs.frozen(kw_only=True)
class Drift:
    """How far pinned versions are from what is published now; ``unknown`` says of which vendors that cannot be told, and why."""

    vendors: Mapping[str, Changes]
    unknown: Mapping[str, str]

    def __bool__(self) -> bool:
        return any(changes.before != changes.after or changes for changes in self.vendors.values())

    def as_dict(self) -> dict[str, Any]:
        """Dicts, lists and texts."""
        return {"vendors": {name: changes.as_dict() for name, changes in self.vendors.items()}, "unknown": dict(self.unknown)}

    def __str__(self) -> str:
        lines = [str(changes) for changes in self.vendors.values()] + [f"{name}: {why}" for name, why in self.unknown.items()]
        return "\n".join(lines) or "nothing is pinned"


def changes(before: Edition | None, after: Edition) -> Changes:
    """What differs; before the first edition there was nothing."""
    old, new = (before.models if before is not None else {}), after.models
    both = sorted(old.keys() & new.keys())
    return Changes(
        vendor=after.vendor,
        before=before.version if before is not None else 0,
        after=after.version,
        updated_at=after.updated_at.isoformat() if after.updated_at is not None else None,
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        deactivated=tuple([name for name in both if old[name].active and not new[name].active]),
        reactivated=tuple([name for name in both if new[name].active and not old[name].active]),
        changed=tuple([change for name in both for change in _changed(old[name], new[name])]),
    )


def _changed(old: RegistryModel, new: RegistryModel) -> list[Change]:
    kinds = [*[(name, "price") for name in _COMPARED_PRICES], *[(name, "limit") for name in _LIMITS], ("deprecated", "date")]
    found = [(name, kind, getattr(old, name), getattr(new, name)) for name, kind in kinds]
    found += [(name, "capability", _able(old, name), _able(new, name)) for name in sorted(_known(old) & _known(new))]
    return [Change(model=old.name, field=name, kind=kind, before=a, after=b) for name, kind, a, b in found if a != b]


def _known(model: RegistryModel) -> frozenset[str]:
    return model.supports | model.lacks


def _able(model: RegistryModel, name: str) -> str:
    return "yes" if name in model.supports else "no"


def _plain(value: Value) -> str | int | None:
    return value if value is None or isinstance(value, int | str) else _told(value)


def _told(value: Value) -> str:
    if isinstance(value, Decimal):
        return _text(value)
    return "none" if value is None else value.isoformat() if isinstance(value, date) else str(value)


FRESH, STALE, PINNED, PACKAGED = "fresh", "stale", "pinned", "packaged"
_DAY = 86400.0


@attrs.frozen(kw_only=True)
class RegistryStatus:
    """One vendor's models. ``state`` is "fresh", "stale", "pinned" or "packaged" (the registry gave none: the catalog counts).

    ``source`` is "registry", "cache" or "catalog"; ``age`` is seconds since the registry published this version, ``checked`` since
    it last confirmed it, each ``None`` where unknown. ``reason`` is for people.
    """

    vendor: str
    state: str
    source: str
    reason: str
    version: int | None = None
    age: float | None = None
    checked: float | None = None
    skipped: int = 0

    @property
    def age_days(self) -> float | None:
        """``age`` in days."""
        return None if self.age is None else self.age / _DAY

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return attrs.asdict(self)

    def __str__(self) -> str:
        version = "" if self.version is None else f" {self.version}"
        return f"{self.vendor}{version}: {self.state} ({self.source}); {self.reason}"


def standing(vendor: str, copy: Copy[Edition] | None, now: datetime, ttl: float, trouble: str | None) -> RegistryStatus:
    """How a vendor whose current version is followed stands.

    It is fresh while the registry has confirmed this version within ``ttl``, however long ago it was published, and stale where
    that is longer ago or where it does not say when it was published.
    """
    if copy is None:
        why = trouble or "the registry has not been asked yet"
        return RegistryStatus(vendor=vendor, state=PACKAGED, source="catalog", reason=f"the packaged catalog counts: {why}")
    checked, age = copy.age(now), published_ago(copy.value, now)
    if not 0 <= checked < ttl:
        state, reason = STALE, f"the registry last confirmed it {people(checked)}"
    elif age is None:
        state, reason = STALE, "it does not say when it was published"
    else:
        state, reason = FRESH, f"confirmed {people(checked)}"
    if trouble is not None:
        reason += f"; {trouble}"
    return _status(copy, state, reason, now)


def pinned(vendor: str, version: int, copy: Copy[Edition] | None, now: datetime, told: str | None) -> RegistryStatus:
    """How a vendor that is pinned to a version stands; ``told`` adds what is known beside."""
    if copy is None:
        reason = f"the packaged catalog counts: version {version} is pinned and could not be had: {told or 'not asked yet'}"
        return RegistryStatus(vendor=vendor, state=PACKAGED, source="catalog", reason=reason)
    return _status(copy, PINNED, f"pinned to version {version}{f'; {told}' if told else ''}", now)


def _status(copy: Copy[Edition], state: str, reason: str, now: datetime) -> RegistryStatus:
    edition = copy.value
    return RegistryStatus(
        vendor=edition.vendor,
        state=state,
        source="registry" if copy.fetched else "cache",
        reason=reason,
        version=edition.version,
        age=published_ago(edition, now),
        checked=max(0.0, copy.age(now)),
        skipped=len(edition.skipped),
    )


def published_ago(edition: Edition, now: datetime) -> float | None:
    """Seconds since a version was published; ``None`` where it does not say."""
    return None if edition.updated_at is None else max(0.0, (now - edition.updated_at).total_seconds())


def people(seconds: float) -> str:
    """A length of time as people say it, ending in "ago"."""
    if seconds < 0:
        return "at a time that is yet to come"
    for unit, length in (("days", _DAY), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} seconds ago"
