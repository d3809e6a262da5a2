"""Models: look them up by reference or by capability, and find the vendor that a bare model name belongs to.

A :class:`CatalogSnapshot` holds the rows in force at one time: the package's, over them a registry's, over these the caller's own.
It is replaced as a whole; rows are read when they are asked for.
"""

from __future__ import annotations

import difflib
import enum
import json
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

import attrs

from ..errors import ConfigError, ModelNotFound
from ..runtime import SYSTEM_CLOCK, new_lock
from ..types import Price, Request, TokenLimits, choices, closest_name
from .facts import (
    ABILITIES,
    FREE_PRICE,
    ModelFacts,
    canonical,
    facts_of,
    in_family,
    is_free,
    pace_of,
    traits_of,
    usual_thoughts,
    vendor_row,
    vendor_rows,
)
from .rows import check_rows

_CACHE_SIZE = 4096
_FINE_TUNED = "ft:"
"""How the name of a fine-tuned model begins at OpenAI: "ft:base:organization:suffix:id", a checkpoint's with ":ckpt-step-90" more.

https://platform.openai.com/docs/guides/fine-tuning
"""
_DATE = re.compile(r"-\d{4}-\d\d-\d\d")
_NOT_THERE: Mapping[str, Any] = {"date": "", "sources": (), "able": (), "models": {}}

Rows = Mapping[str, Mapping[str, Any]]


@cache
def _packaged(vendor: str) -> Mapping[str, Any]:
    """The file of a vendor; empty if it has none."""
    row = vendor_row(vendor)
    if row is None:
        return _NOT_THERE
    try:
        document: Mapping[str, Any] = json.loads(pkgutil.get_data(__package__, f"data/{row.name}.json") or b"{}")
    except FileNotFoundError:
        return _NOT_THERE
    able = [frozenset(words.split()) for words in document["able"]]
    for fields in document["models"].values():
        fields["can"] = able[fields["can"]] if "can" in fields else ()
        fields["source"] = document["sources"][fields["source"]] if "source" in fields else row.source
        fields.setdefault("date", document["date"])
    return document


class _VendorModels:
    """One vendor's rows, by name and alias; facts are made once, when they are asked for."""

    def __init__(self, vendor: str, layers: Iterable[tuple[Rows, str]] = ()) -> None:
        document = _packaged(vendor)
        self._vendor = vendor
        self._catalog = f"catalog {document['date']}"
        self._rows: dict[str, Mapping[str, Any]] = dict(document["models"])
        self._listed = {alias: name for name, row in self._rows.items() for alias in row.get("aliases", ())}
        self._versions: dict[str, str] = {}
        for rows, version in layers:
            self._overlay_rows(rows, version)
        self._facts: dict[str, ModelFacts] = {}

    def _overlay_rows(self, rows: Rows, version: str) -> None:
        beneath = {name: self._row_beneath(name) for name in rows}
        for name, row in rows.items():
            self._rows[name], self._versions[name] = _merge(row, beneath[name]), version
            self._listed.pop(name, None)
        self._listed |= {alias: name for name, row in rows.items() for alias in row.get("aliases", ()) if alias not in self._rows}

    def _row_beneath(self, name: str) -> Mapping[str, Any]:
        """The row below an overlay's row; without its aliases if the overlay's name is one of them."""
        listed = self._row_name(name)
        row = self._rows[listed] if listed is not None else {}
        return row if listed == name else {field: value for field, value in row.items() if field != "aliases"}

    def _row_name(self, name: str) -> str | None:
        """The name of a model's row: its own name, the name that it is an alias of, or that of its fine-tuned base."""
        listed = self._listed.get(name, name)
        if listed in self._rows:
            return listed
        if not name.startswith(_FINE_TUNED):
            return None
        base = _FINE_TUNED + name.removeprefix(_FINE_TUNED).partition(":")[0]
        listed = self._listed.get(base, base)
        dated = (row for row in self._rows if row.startswith(base) and _DATE.fullmatch(row, len(base)))
        return listed if listed in self._rows else next(dated, None)

    def find(self, name: str) -> ModelFacts | None:
        """Return the facts of a model, under the given name."""
        found = self._facts.get(name)
        if found is not None:
            return found
        listed = self._row_name(name)
        if listed is None:
            return None
        if listed not in self._facts:
            version = self._versions.get(listed, self._catalog)
            self._facts[listed] = facts_of(self._vendor, listed, self._rows[listed], version)
        found = self._facts[listed] if name == listed else attrs.evolve(self._facts[listed], model=name)
        if name in self._listed:  # the number of fine-tuned names has no bound
            self._facts[name] = found
        return found

    def names(self) -> Iterator[str]:
        """Return the names, without aliases, in order."""
        return iter(self._rows)

    def aliases(self) -> Iterator[str]:
        """Return the aliases."""
        return iter(self._listed)

    def is_checked(self, name: str) -> bool:
        """Tell whether a row was checked on the vendor's pages."""
        return bool(self._rows[name].get("checked", False))


def _merge(row: Mapping[str, Any], packaged: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row over the packaged one, whose tiers, bands and further classes stay if both have the same price of plain tokens."""
    merged = {**packaged, **row}
    price, known = row.get("price"), packaged.get("price")
    if price and known and all(Decimal(price[name]) == Decimal(known[name]) for name in ("input", "output")):
        merged["price"] = {**known, **price}
    elif price is None:
        merged["price"] = known
    return merged


@attrs.frozen
class Layer:
    """Rows over those of the package, by vendor; ``version`` is one for all, or one for each vendor."""

    rows: Mapping[str, Rows] = attrs.field(factory=dict)
    version: str | Mapping[str, str] = ""

    def of(self, vendor: str) -> tuple[Rows, str]:
        """Return a vendor's rows and their version."""
        version = self.version if isinstance(self.version, str) else self.version.get(vendor, "")
        return self.rows.get(vendor, {}), version


class CatalogSnapshot:
    """All vendors' rows: those of the package, over them a registry's, over these the caller's own.

    A vendor's rows are read at its first look-up. It is safe under threads, since its rows never change.
    """

    def __init__(self, registry: Layer | None = None, own: Layer | None = None) -> None:
        self.registry, self.own = registry or Layer(), own or Layer()
        self._by_vendor: dict[tuple[str, str], _VendorModels] = {}
        self._checked: dict[str, tuple[ModelFacts, ...]] = {}
        self.owners: dict[str, str | None] = {}

    def _models(self, vendor: str, account: str = "") -> _VendorModels:
        """A vendor's rows; with ``account``, the name of a registered vendor, over them that vendor's own."""
        if account == vendor or account not in self.own.rows:
            account = ""
        models = self._by_vendor.get((vendor, account))
        if models is None:
            if not account and vendor not in self.vendors() and vendor_row(vendor) is None:
                return _EMPTY  # an invented name is not remembered
            layers = [self.registry.of(vendor), self.own.of(vendor), *([self.own.of(account)] if account else [])]
            models = self._by_vendor[vendor, account] = _VendorModels(vendor, layers)
        return models

    def find(self, vendor: str, model: str, account: str = "") -> ModelFacts | None:
        """Return the facts of a model at a vendor, by name or alias; ``account`` is the name of the registered vendor."""
        return self._models(vendor, account).find(model.removeprefix("models/"))

    def listed(self, vendor: str) -> Iterator[ModelFacts]:
        """Return the facts of all models of a vendor, each once."""
        models = self._models(vendor)
        return (facts for name in models.names() if (facts := models.find(name)) is not None)

    def names(self, vendor: str) -> list[str]:
        """Return all names and aliases at a vendor."""
        models = self._models(vendor)
        return [*models.names(), *models.aliases()]

    def checked(self, vendor: str) -> tuple[ModelFacts, ...]:
        """Return the facts that were checked on the vendor's own pages."""
        found = self._checked.get(vendor)
        if found is None:
            models = self._models(vendor)
            facts = [models.find(name) for name in models.names() if models.is_checked(name)]
            found = tuple([one for one in facts if one is not None])
            if models is not _EMPTY:
                self._checked[vendor] = found
        return found

    def vendors(self) -> list[str]:
        """Return the vendors of overlays that the catalog does not have."""
        return [vendor for vendor in {**self.registry.rows, **self.own.rows} if vendor_row(vendor) is None]

    def accounts(self) -> list[str]:
        """Return those of the caller's own overlay, which must be names of registered vendors."""
        return [vendor for vendor in self.own.rows if vendor_row(vendor) is None]

    def remember_owner(self, model: str, vendor: str | None) -> None:
        """Remember the owner of a name; only so many are remembered."""
        if len(self.owners) >= _CACHE_SIZE:
            self.owners = {}
        self.owners[model] = vendor


_EMPTY = _VendorModels("")


class _Current:
    """``snapshot`` has the rows that count now; a change of rows makes another object of it."""

    def __init__(self) -> None:
        self.snapshot = CatalogSnapshot()


CURRENT = _Current()
_lock = new_lock()


def overlay(rows: Mapping[str, Mapping[str, Mapping[str, Any]]] | None, version: str | Mapping[str, str] = "overlay") -> None:
    """Put rows of your own over those of the package and of a registry, for every look-up from now on; ``None`` takes them away.

    ``rows`` are by vendor and model. The vendor is one of the catalog, for all that are of its kind, or the name under which a
    vendor is registered, for that one alone: ``"openai-eu"`` of ``OpenAIVendor(name="openai-eu")``. What a row does not say stays
    as it was. A price that says the same of plain tokens keeps the tiers and bands that are known, any other replaces the whole.
    ``version`` is the ``price_version`` of usages of these rows, one text or one for each vendor. Only the last overlay
    counts. Safe under threads: a look-up sees the rows before or after, never a mixture.

    Raises :class:`ConfigError` that names a field, a value or a vendor that is a typing error, a pattern, and a model that is not
    known at its vendor, unless the row has a price, as that of a new model does; rows of a vendor that is neither in
    the catalog nor registered when a dispatcher is next used are an error there.
    """
    versions = version if isinstance(version, str) else {canonical(name): text for name, text in version.items()}
    own = Layer(check_rows({} if rows is None else rows), versions)
    with _lock:
        _check_fits(own, CatalogSnapshot(CURRENT.snapshot.registry))
        CURRENT.snapshot = CatalogSnapshot(CURRENT.snapshot.registry, own)


def _check_fits(own: Layer, others: CatalogSnapshot) -> None:
    """Raise :class:`ConfigError` for a row of a model that its vendor is not known to have, and that is no row of a new model.

    That has a price. A vendor that may have any model may have this one, and so may one that is not in the catalog.
    """
    for vendor, rows in own.rows.items():
        row = vendor_row(vendor)
        for model, fields in rows.items() if row is not None and not (row.any_model or row.own_names) else ():
            if "price" not in fields and others.find(vendor, model) is None:
                near = difflib.get_close_matches(model, others.names(vendor), 1, _ALIKE)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ConfigError(
                    f"overlay[{vendor!r}][{model!r}]: no model is known by that name; {hint}A new model needs a price"
                )


def apply_registry(rows: Mapping[str, Rows], versions: Mapping[str, str]) -> None:
    """Put the rows of a registry over the packaged ones, below the caller's own; they replace those of another registry."""
    with _lock:
        CURRENT.snapshot = CatalogSnapshot(Layer(rows, versions), CURRENT.snapshot.own)


def models_of(kind: str) -> tuple[str, ...]:
    """Return the names and aliases of a vendor's models that were checked on its own pages; only these are chosen by default."""
    return tuple([name for facts in _checked(kind) for name in (facts.listed, *facts.aliases)])


def model_names(kind: str) -> tuple[str, ...]:
    """Return the names of a vendor's checked models, each once."""
    return tuple([facts.listed for facts in _checked(kind)])


def _checked(kind: str) -> tuple[ModelFacts, ...]:
    return CURRENT.snapshot.checked(canonical(kind))


def all_models(kind: str) -> Iterator[ModelFacts]:
    """Return all facts of a vendor's models."""
    return CURRENT.snapshot.listed(canonical(kind))


def model_facts(kind: str, model: str, account: str = "") -> ModelFacts | None:
    """Return the facts of a model at a vendor, by exact name or alias, or ``None``.

    A fine-tuned model ("ft:gpt-4o-mini-2024-07-18:acme::abc123") is known by its base. ``account`` is the name under which the
    vendor is registered, whose own rows count for more than those of its kind.
    """
    return CURRENT.snapshot.find(canonical(kind), model, canonical(account))


_COUNTING_THOUGHTS = ("openai_responses", "gemini")
"""Wire formats whose limit counts thoughts and answer together."""


def room_for_thoughts(request: Request, kind: str, model: str) -> int:
    """Return the tokens to send above a request's ``max_tokens``, for thoughts that the model counts in the limit of its answer.

    0 without ``max_tokens``, where the model does not think or counts apart, and where the limit was written as one of both:
    in ``extra_params``, or by a client whose format has such a limit. Else ``reasoning_tokens``, or what the effort usually needs
    (``data/traits.toml``), as far as the model gives so much.
    """
    if not request.max_tokens or "max_completion_tokens" not in traits_of(kind, model).quirks:
        return 0
    if TokenLimits.of(request.extra_params).limits or (request.wire_format is not None and _is_of_both(request)):
        return 0
    room, effort = request.reasoning_tokens, request.reasoning_effort
    if room is None:
        thinks = pace_of(kind, model).thinks if effort is None else effort != "none"
        room = usual_thoughts(effort or "medium") if thinks else 0
    facts = model_facts(kind, model)
    most = facts.max_tokens if facts is not None else 0
    return min(room, max(most - request.max_tokens, 0)) if most else room


def _is_of_both(request: Request) -> bool:
    """Whether a client's limit counts thoughts and answer together."""
    if request.wire_format == "openai_chat":
        return bool(request.metadata.get("openai_chat", {}).get("max_tokens") == "max_completion_tokens")
    if request.wire_format == "anthropic_messages":
        return bool(request.reasoning_tokens or request.reasoning_effort or request.metadata.get("anthropic_messages"))
    return request.wire_format in _COUNTING_THOUGHTS


def price_at(kind: str, model: str, account: str = "", *, free: bool | None = None) -> tuple[Price | None, str | None]:
    """Return the price of a model at a vendor and its version; ``(None, None)`` if the model is not known.

    A server of one's own costs nothing: it is ``free``, as its row of the catalog says of a vendor that nothing else is known of.
    """
    row, facts = vendor_row(kind), model_facts(kind, model, account)
    free = free if free is not None else row is not None and row.free
    if facts is not None and (free or facts.price is not FREE_PRICE):
        return facts.price, facts.price_version
    if row is not None and free and facts is None and is_free(row, model):
        return FREE_PRICE, f"catalog {row.date}"
    return None, facts.price_version if facts is not None else None


def owner(model: str) -> str | None:
    """Return the vendor of a model name: the one that it pins, else by the checked rows, else by the families of names."""
    current = CURRENT.snapshot
    known = current.owners.get(model, "")
    if known == "":
        known = _find_owner(current, model)
        current.remember_owner(model, known)
    return known


def _find_owner(current: CatalogSnapshot, model: str) -> str | None:
    pinned = vendor_row(model.partition(":")[0]) if ":" in model else None
    if pinned is not None:
        return pinned.name
    candidates = ((row.name, current.find(row.name, model)) for row in vendor_rows() if not row.any_model)
    listed = (name for name, facts in candidates if facts is not None and facts.checked)
    alike = (row.name for row in vendor_rows() if in_family(row.name, model))
    return next(listed, None) or next(alike, None)


class NameClaim(enum.Enum):
    """What is known about a vendor and the name of a model."""

    LISTED = "listed"
    """It has the model: the catalog, its user, or its own list says so."""
    FAMILY = "family"
    """The name is new, and of a family that is the vendor's own."""
    ANY = "any"
    """It has models of any maker, or of any name; whether it has this one is unknown."""
    UNKNOWN = "unknown"
    """It has its maker's models only, and no vendor is known to have this name."""
    FOREIGN = "foreign"
    """It has its maker's models only, and this name is another's."""
    CLOSED = "closed"
    """Its user listed the names that it is asked for, and this is not among them."""

    @property
    def has_it(self) -> bool:
        """Whether the vendor counts as having the model."""
        return self in (NameClaim.LISTED, NameClaim.FAMILY)


def claim_on(kind: str, model: str, account: str = "") -> NameClaim:
    """Return what the catalog, and the caller's rows for an ``account``, tell about a vendor and the name of a model.

    A vendor that the catalog does not have may have any model.
    """
    row = vendor_row(kind)
    if model_facts(kind, model, account) is not None:
        return NameClaim.LISTED
    if row is None or in_family(kind, model):
        return NameClaim.ANY if row is None else NameClaim.FAMILY
    if row.any_model:
        return NameClaim.ANY
    if owner(model) not in (None, row.name):
        return NameClaim.FOREIGN
    return NameClaim.ANY if row.own_names else NameClaim.UNKNOWN


_NEAR = 3
_ALIKE = 0.6


def list_models(vendor: str | None = None, capabilities: Iterable[str] = (), *, active_only: bool = True) -> tuple[ModelFacts, ...]:
    """The models that the catalog knows, each once: of one vendor or of all, that are known to have all the capabilities.

    ``capabilities`` are words of :data:`~llmdispatcher.catalog.ABILITIES`; unless ``active_only`` is False, models that their
    vendor serves no longer are left out. No request is sent; ``dispatcher.list_models(vendor)`` asks the vendor itself.
    Raises :class:`ConfigError` for a vendor or a capability that the catalog does not have.
    """
    wanted = _check_capabilities(capabilities)
    vendors = _vendors() if vendor is None else [_vendor_name(vendor)]
    today = SYSTEM_CLOCK.now().date()
    found = (facts for name in vendors for facts in CURRENT.snapshot.listed(name))
    return tuple([facts for facts in found if wanted <= facts.capabilities and (not active_only or facts.is_active(today))])


def models_with(rows: Mapping[str, Rows], version: Mapping[str, str]) -> tuple[ModelFacts, ...]:
    """Return all models, of whatever vendor, as they are with a registry's rows over the package's; changes nothing."""
    found = CatalogSnapshot(Layer(rows, version), CURRENT.snapshot.own)
    names = [*(row.name for row in vendor_rows()), *found.vendors()]
    return tuple([facts for name in names for facts in found.listed(name)])


def get_model(ref: str) -> ModelFacts:
    """Return the catalog's facts of a model, by ``"vendor:model"`` or by the model's bare name; aliases count.

    A bare name is looked for first at the vendor whose name it is. Raises :class:`ModelNotFound` that tells names that are alike,
    :class:`ConfigError` where ``ref`` is no text.
    """
    if not isinstance(ref, str) or not ref.strip():
        raise ConfigError(f"ref: {ref!r} names no model; give 'vendor:model', such as 'openai:gpt-4o', or a model's name")
    name = ref.strip()
    current, (head, _, tail) = CURRENT.snapshot, name.partition(":")
    if tail and canonical(head) in _vendors():
        found = current.find(canonical(head), tail.strip())
        if found is None:
            raise _not_found(ref, [canonical(head)], tail.strip())
        return found
    mine = owner(name)
    for vendor in dict.fromkeys([*([mine] if mine is not None else []), *_vendors()]):
        found = current.find(vendor, name)
        if found is not None:
            return found
    raise _not_found(ref, _vendors(), name)


def _vendors() -> list[str]:
    return [*(row.name for row in vendor_rows()), *CURRENT.snapshot.vendors()]


def _vendor_name(vendor: str) -> str:
    name = canonical(vendor) if isinstance(vendor, str) else ""
    if vendor_row(name) is None and name not in CURRENT.snapshot.vendors():
        raise ConfigError(f"vendor: {vendor!r} is not in the catalog; {choices(vendor, _vendors(), 'there are {}')}")
    return name


def _check_capabilities(capabilities: Iterable[str]) -> frozenset[str]:
    words = frozenset((capabilities,) if isinstance(capabilities, str) else capabilities)
    for word in sorted(words - {*ABILITIES}):
        raise ConfigError(f"capabilities: {word!r} is not one that is known of models; {choices(word, ABILITIES, 'there are {}')}")
    return words


def _not_found(ref: str, vendors: Iterable[str], name: str) -> ModelNotFound:
    there = {each.casefold(): each for each in sorted({each for vendor in vendors for each in CURRENT.snapshot.names(vendor)})}
    near = [there[each] for each in difflib.get_close_matches(name.casefold(), there, _NEAR, _ALIKE)]
    head, colon, tail = ref.partition(":")
    vendor = closest_name(head, _vendors()) if colon and vendor_row(head) is None else None
    near = [f"{vendor}:{tail}"] if vendor is not None else near
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "list_models() tells those that are known"
    return ModelNotFound(f"ref: the catalog has no model {ref!r}; {hint}", try_elsewhere=False)
