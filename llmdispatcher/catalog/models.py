"""Models: what is known of each at each vendor, and whom a bare model name belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .editions import Edition
from .facts import ModelFacts
from .vendors import canonical, in_family, vendor_row, vendor_rows

_edition = Edition()


def edition() -> Edition:
    """The rows that count now; another object as soon as others do."""
    return _edition


def overlay(rows: Mapping[str, Mapping[str, Mapping[str, Any]]] | None, version: str | Mapping[str, str] = "") -> None:
    """Put the rows of a registry over the packaged ones, for every look-up from now on; ``None`` takes them away again.

    ``rows`` are by vendor and model, with the fields of ``data/*.json`` (see :func:`~llmdispatcher.catalog.facts.facts_of`); what a
    row does not say stays as it was packaged. A price that says the same of plain tokens keeps the packaged tiers and bands, any
    other replaces the whole. ``version`` is what usages of these rows bear as ``price_version``, one text or one for each vendor.
    Only the last overlay counts. Safe under threads: whoever looks up sees one edition or the other.
    """
    global _edition
    _edition = Edition(rows, version) if rows else Edition()


def models(kind: str) -> tuple[str, ...]:
    """The names and aliases of the models at a vendor that were checked on its own pages: those that are chosen unasked."""
    return tuple([name for facts in _checked(kind) for name in (facts.listed, *facts.aliases)])


def model_names(kind: str) -> tuple[str, ...]:
    """The names of those models, each once; none for a vendor that the catalog knows no models of."""
    return tuple([facts.listed for facts in _checked(kind)])


def _checked(kind: str) -> tuple[ModelFacts, ...]:
    return _edition.checked(canonical(kind))


def all_models(kind: str) -> Iterator[ModelFacts]:
    """Everything that is known of a vendor's models, each once."""
    return _edition.listed(canonical(kind))


def model_facts(kind: str, model: str) -> ModelFacts | None:
    """What is known of a model at a vendor, by exact name or alias; ``None`` where nothing is, however alike the names."""
    return _edition.find(canonical(kind), model)


def owner(model: str) -> str | None:
    """The vendor that a model name belongs to: the one it pins, else by the checked rows, else by the families of names."""
    current = _edition
    known = current.owners.get(model, "")
    if known == "":
        known = _owner(current, model)
        current.remember_owner(model, known)
    return known


def _owner(current: Edition, model: str) -> str | None:
    pinned = vendor_row(model.partition(":")[0]) if ":" in model else None
    if pinned is not None:
        return pinned.name
    told = ((row.name, current.find(row.name, model)) for row in vendor_rows() if not row.any_model)
    listed = (name for name, facts in told if facts is not None and facts.checked)
    alike = (row.name for row in vendor_rows() if in_family(row.name, model))
    return next(listed, None) or next(alike, None)


def knows_not(kind: str, model: str) -> bool:
    """Whether the catalog knows that a vendor does not have a model: the name is another's and not its own.

    Of a vendor that is not in the catalog, and of a name that nobody there bears, it knows nothing.
    """
    row = vendor_row(kind)
    if row is None or row.any_model or model_facts(kind, model) is not None or in_family(kind, model):
        return False
    return owner(model) not in (None, canonical(kind))
