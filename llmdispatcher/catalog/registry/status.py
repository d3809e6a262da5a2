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
"""Tokens: a smaller limit is ignored; the smallest context windows are twice as large."""
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
"""Classes that no registry publishes -> the class whose price they have by default."""
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
    """The packaged rows, without overlays."""
    return CatalogSnapshot()


def catalog_rows(edition: Edition, source: str) -> dict[str, dict[str, Any]]:
    """Return the rows for :func:`~llmdispatcher.catalog.models.apply_registry`, by model, each with the aliases that lead to it."""
    taken: dict[str, list[str]] = {name: [] for name in edition.models}
    for alias, name in edition.names.items():
        if alias != name:
            taken[name].append(alias)
    date = "" if edition.updated_at is None else edition.updated_at.date().isoformat()
    origin = {"source": source, "date": date}
    rows = {
        name: _row(model, _packaged_facts(edition, name)) | origin | {"aliases": taken[name]}
        for name, model in edition.models.items()
    }
    for alias, name in edition.names.items():
        known = _packaged_facts(edition, alias) if alias != name else None
        if known is not None and known.listed == alias:  # a model of the catalog: its own row would hide the alias
            rows[alias] = _row(edition.models[name], known) | origin
    return rows


def _packaged_facts(edition: Edition, name: str) -> ModelFacts | None:
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
    """Return the price of a model as a row of the catalog, ``None`` if the registry has none.

    If the price of plain tokens is that of the ``packaged`` row, the catalog keeps its tiers and further classes. Else audio,
    images and tool calls, whose prices no registry has, keep their prices.
    """
    output = Decimal(0) if model.output is None and model.endpoint == "embeddings" else model.output
    if model.input is None or output is None:
        return None
    prices = {name: getattr(model, field) for name, field in _PRICE_FIELDS.items()} | {"output": output}
    row: dict[str, Any] = {name: amount for name, amount in prices.items() if amount is not None}
    agree = packaged is not None and (packaged.input, packaged.output) == (model.input, output)
    if packaged is not None and not agree:
        row |= {name: own for name, of in _SENSES.items() if (own := getattr(packaged, name)) != getattr(packaged, of)}
    row = {name: _text(amount) for name, amount in row.items()}
    if packaged is not None and packaged.calls:
        row["calls"] = {name: _text(amount) for name, amount in packaged.calls.items()}
    band = _band(model, output, packaged if agree else None)
    return row if band is None else row | {"bands": [band]}


def _band(model: RegistryModel, output: Decimal, packaged: Price | None) -> dict[str, Any] | None:
    """The prices of long requests, ``None`` if there are none, or if the catalog has them already.

    Cached tokens cost more by the same factor as plain input, as Anthropic and Google publish it; registries have no column for it.
    https://platform.claude.com/docs/en/about-claude/pricing https://ai.google.dev/gemini-api/docs/pricing
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
        """Return plain values; amounts and dates are strings."""
        record = {"model": self.model, "field": self.field, "kind": self.kind}
        return record | {"before": _json_value(self.before), "after": _json_value(self.after)}

    def __str__(self) -> str:
        return f"{self.model} {self.field}: {_text_of(self.before)} → {_text_of(self.after)}"


@attrs.frozen(kw_only=True)
class Changes:
    """The difference of two versions of a vendor's models; ``updated_at`` is that of the later one, in ISO format.

    ``deactivated`` models are listed but no longer offered, ``removed`` ones are no longer listed.
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
        """Return the differences as JSON can hold them."""
        record: dict[str, Any] = {"vendor": self.vendor, "before": self.before, "after": self.after, "updated_at": self.updated_at}
        record |= {name: list(getattr(self, name)) for name in _MOVES}
        return record | {"changed": [change.as_dict() for change in self.changed]}

    def __str__(self) -> str:
        lines = [f"{self.vendor} {self.before} → {self.after}{': nothing differs' if not self else ''}"]
        lines += [f"  {name}: {', '.join(models)}" for name in _MOVES if (models := getattr(self, name))]
        return "\n".join([*lines, *[f"  {change}" for change in self.changed]])


_MOVES = ("added", "removed", "deactivated", "reactivated")


@attrs.frozen(kw_only=True)
class Drift:
    """How far pinned versions are from what is published now; ``unknown`` says for which vendors that is unknown, and why."""

    vendors: Mapping[str, Changes]
    unknown: Mapping[str, str]

    def __bool__(self) -> bool:
        return any(changes.before != changes.after or changes for changes in self.vendors.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the differences as JSON can hold them, by vendor."""
        return {"vendors": {name: changes.as_dict() for name, changes in self.vendors.items()}, "unknown": dict(self.unknown)}

    def __str__(self) -> str:
        lines = [str(changes) for changes in self.vendors.values()] + [f"{name}: {why}" for name, why in self.unknown.items()]
        return "\n".join(lines) or "nothing is pinned"


def compare_editions(before: Edition | None, after: Edition) -> Changes:
    """Return the difference; *before* the first edition is ``None``."""
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
        changed=tuple([change for name in both for change in _compare(old[name], new[name])]),
    )


def _compare(old: RegistryModel, new: RegistryModel) -> list[Change]:
    kinds = [*[(name, "price") for name in DOLLARS], *[(name, "limit") for name in TOKENS], ("deprecated", "date")]
    found = [(name, kind, getattr(old, name), getattr(new, name)) for name, kind in kinds]
    told = sorted((old.supports | old.lacks) & (new.supports | new.lacks))
    answer = {True: "yes", False: "no"}
    found += [(name, "capability", answer[name in old.supports], answer[name in new.supports]) for name in told]
    return [Change(model=old.name, field=name, kind=kind, before=a, after=b) for name, kind, a, b in found if a != b]


def _json_value(value: Value) -> str | int | None:
    return value if value is None or isinstance(value, int | str) else _text_of(value)


def _text_of(value: Value) -> str:
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
        """Return the fields as plain values."""
        return attrs.asdict(self)

    def __str__(self) -> str:
        version = "" if self.version is None else f" {self.version}"
        return f"{self.vendor}{version}: {self.state} ({self.source}); {self.reason}"


def current_status(vendor: str, copy: Copy[Edition] | None, now: datetime, ttl: float, trouble: str | None) -> RegistryStatus:
    """Return the status of a vendor whose current version is followed.

    It is fresh if the registry has confirmed this version within ``ttl``, however long ago it was published, and stale if that is
    longer ago or the registry does not say when it was published.
    """
    if copy is None:
        why = trouble or "the registry has not been asked yet"
        return RegistryStatus(vendor=vendor, state=PACKAGED, source="catalog", reason=f"the packaged catalog counts: {why}")
    checked, age = copy.age(now), age_of(copy.value, now)
    if not 0 <= checked < ttl:
        state, reason = STALE, f"the registry last confirmed it {time_ago(checked)}"
    elif age is None:
        state, reason = STALE, "it does not say when it was published"
    else:
        state, reason = FRESH, f"confirmed {time_ago(checked)}"
    if trouble is not None:
        reason += f"; {trouble}"
    return _status(copy, state, reason, now)


def pinned_status(vendor: str, version: int, copy: Copy[Edition] | None, now: datetime, note: str | None) -> RegistryStatus:
    """Return the status of a vendor that is pinned to a version; ``note`` adds what else is known."""
    if copy is None:
        reason = f"the packaged catalog counts: version {version} is pinned and could not be had: {note or 'not asked yet'}"
        return RegistryStatus(vendor=vendor, state=PACKAGED, source="catalog", reason=reason)
    return _status(copy, PINNED, f"pinned to version {version}{f'; {note}' if note else ''}", now)


def _status(copy: Copy[Edition], state: str, reason: str, now: datetime) -> RegistryStatus:
    edition = copy.value
    return RegistryStatus(
        vendor=edition.vendor,
        state=state,
        source="registry" if copy.fetched else "cache",
        reason=reason,
        version=edition.version,
        age=age_of(edition, now),
        checked=max(0.0, copy.age(now)),
        skipped=len(edition.skipped),
    )


def age_of(edition: Edition, now: datetime) -> float | None:
    """Return the seconds since a version was published, ``None`` if it does not say when."""
    return None if edition.updated_at is None else max(0.0, (now - edition.updated_at).total_seconds())


def time_ago(seconds: float) -> str:
    """Return a length of time as people say it, ending in "ago"."""
    if seconds < 0:
        return "at a time that is yet to come"
    for unit, length in (("days", _DAY), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} seconds ago"
