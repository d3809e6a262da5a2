"""An edition: the rows that count at a time, those of the package with or without others over them, read as they are asked for."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

import attrs

from .facts import ModelFacts, facts_of
from .vendors import vendor_row

_REMEMBERED = 4096
_NOT_THERE: Mapping[str, Any] = {"date": "", "sources": (), "able": (), "models": {}}

Rows = Mapping[str, Mapping[str, Any]]


@cache
def _packaged(vendor: str) -> Mapping[str, Any]:
    """One vendor's file; empty for a vendor that has none."""
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


class _Shelf:
    """One vendor's rows, by name and alias; facts are made when they are asked for, once."""

    def __init__(self, vendor: str, over: Rows, version: str) -> None:
        document = _packaged(vendor)
        self._vendor, self._over, self._version = vendor, over, version
        self._catalog = f"catalog {document['date']}"
        self._packaged: Rows = document["models"]
        self._listed = {alias: name for name, row in self._packaged.items() for alias in row.get("aliases", ())}
        self._rows = dict(self._packaged)
        for name, row in over.items():
            self._rows[name] = _over(row, self._beneath(name))
            self._listed.pop(name, None)
        self._listed |= {alias: name for name, row in over.items() for alias in row.get("aliases", ()) if alias not in self._rows}
        self._facts: dict[str, ModelFacts] = {}

    def _beneath(self, name: str) -> Mapping[str, Any]:
        """The packaged row that another is put over, without its other names where it is known by one of these."""
        row = self._packaged.get(self._listed.get(name, name), {})
        return row if name in self._packaged else {field: value for field, value in row.items() if field != "aliases"}

    def find(self, name: str) -> ModelFacts | None:
        """The facts of a model, under the name asked for."""
        found = self._facts.get(name)
        if found is None:
            listed = self._listed.get(name, name)
            row = self._rows.get(listed)
            if row is None:
                return None
            version = self._version if listed in self._over else self._catalog
            found = facts_of(self._vendor, listed, row, version)
            found = self._facts[name] = found if name == listed else attrs.evolve(found, model=name)
        return found

    def names(self) -> Iterator[str]:
        """The names, without aliases, in order."""
        return iter(self._rows)

    def aliases(self) -> Iterator[str]:
        """The other names."""
        return iter(self._listed)

    def is_checked(self, name: str) -> bool:
        """Whether a row was checked on the vendor's pages."""
        return bool(self._rows[name].get("checked", False))


def _over(row: Mapping[str, Any], packaged: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row over the packaged one, whose tiers, bands and further classes stay where both say the same of plain tokens."""
    merged = {**packaged, **row}
    price, known = row.get("price"), packaged.get("price")
    if price and known and all(Decimal(price[name]) == Decimal(known[name]) for name in ("input", "output")):
        merged["price"] = {**known, **price}
    elif price is None:
        merged["price"] = known
    return merged


class Edition:
    """All vendors' rows. A vendor's are read at the first question about it; safe under threads, since nothing is ever changed."""

    def __init__(self, rows: Mapping[str, Rows] | None = None, version: str | Mapping[str, str] = "") -> None:
        self._rows = {vendor: dict(models) for vendor, models in (rows or {}).items()}
        self._versions = dict.fromkeys(self._rows, version) if isinstance(version, str) else dict(version)
        self._shelves: dict[str, _Shelf] = {}
        self._checked: dict[str, tuple[ModelFacts, ...]] = {}
        self.owners: dict[str, str | None] = {}

    def _shelf(self, vendor: str) -> _Shelf:
        shelf = self._shelves.get(vendor)
        if shelf is None:
            if vendor not in self._rows and vendor_row(vendor) is None:
                return _EMPTY  # a name that anybody made up is not remembered
            shelf = self._shelves[vendor] = _Shelf(vendor, self._rows.get(vendor, {}), self._versions.get(vendor, ""))
        return shelf

    def find(self, vendor: str, model: str) -> ModelFacts | None:
        """The facts of a model at a vendor, by name or alias."""
        return self._shelf(vendor).find(model.removeprefix("models/"))

    def listed(self, vendor: str) -> Iterator[ModelFacts]:
        """The facts of all models of a vendor, each once."""
        shelf = self._shelf(vendor)
        return (facts for name in shelf.names() if (facts := shelf.find(name)) is not None)

    def names(self, vendor: str) -> list[str]:
        """All names and aliases at a vendor."""
        shelf = self._shelf(vendor)
        return [*shelf.names(), *shelf.aliases()]

    def checked(self, vendor: str) -> tuple[ModelFacts, ...]:
        """The facts that were checked on the vendor's own pages."""
        found = self._checked.get(vendor)
        if found is None:
            shelf = self._shelf(vendor)
            facts = [shelf.find(name) for name in shelf.names() if shelf.is_checked(name)]
            found = tuple([one for one in facts if one is not None])
            if shelf is not _EMPTY:
                self._checked[vendor] = found
        return found

    def vendors(self) -> list[str]:
        """The vendors that rows were put over without the catalog having them."""
        return [vendor for vendor in self._rows if vendor_row(vendor) is None]

    def remember_owner(self, model: str, vendor: str | None) -> None:
        """Keep whom a name belongs to; of names without end only some are kept."""
        if len(self.owners) >= _REMEMBERED:
            self.owners = {}
        self.owners[model] = vendor


_EMPTY = _Shelf("", {}, "")
