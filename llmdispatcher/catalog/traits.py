"""Traits: what a model refuses, wants or calls differently at a vendor, by the rows of ``traits.toml``."""

from __future__ import annotations

import pkgutil
import re
import tomllib
from collections.abc import Mapping
from fnmatch import translate
from functools import cache, lru_cache
from typing import Any

import attrs

from .vendors import canonical, vendor_row

_REMEMBERED = 4096
CAPABILITIES = ("streaming", "vision", "tools", "json_schema", "audio", "documents", "reasoning", "embeddings")
"""What a request may use and a model may lack."""


@attrs.frozen(kw_only=True)
class Traits:
    """What counts for one model: ``quirks`` for the codec, the ``efforts`` it knows (empty: any), the ``api`` it is reached by.

    ``lacks`` are words of :data:`CAPABILITIES`; what is in neither of its rows is unknown, and unknown is able.
    """

    quirks: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    efforts: tuple[str, ...] = ()
    api: str | None = None


@attrs.frozen(kw_only=True)
class _Family:
    vendors: tuple[str, ...]
    models: tuple[str, ...]
    quirks: frozenset[str]
    lacks: frozenset[str]
    efforts: tuple[str, ...]
    api: str | None
    source: str
    date: str


@cache
def families() -> tuple[_Family, ...]:
    """The rows."""
    document = tomllib.loads((pkgutil.get_data(__package__, "traits.toml") or b"").decode())
    return tuple([_family(row) for row in document["family"]])


@cache
def _at(vendor: str) -> tuple[tuple[_Family, re.Pattern[str]], ...]:
    """The families of a vendor's models, each with all its globs as one pattern, which is many times faster than one by one."""
    mine = [family for family in families() if "*" in family.vendors or vendor in family.vendors]
    return tuple([(family, re.compile("|".join(map(translate, family.models)))) for family in mine])


@lru_cache(maxsize=_REMEMBERED)
def _own(vendor: str) -> Traits:
    """What counts for every model of a vendor that is of no family."""
    row = vendor_row(vendor)
    quirks = frozenset(row.quirks if row is not None else ())
    return Traits(quirks=quirks, lacks=frozenset(("reasoning",) if "no_effort" in quirks else ()))


def _family(row: Mapping[str, Any]) -> _Family:
    return _Family(
        vendors=tuple(row["vendors"]),
        models=tuple(row["models"]),
        quirks=frozenset(row.get("quirks", ())),
        lacks=frozenset(row.get("lacks", ())),
        efforts=tuple(row.get("efforts", ())),
        api=row.get("api"),
        source=row["source"],
        date=row["date"],
    )


@lru_cache(maxsize=_REMEMBERED)
def traits(kind: str, model: str) -> Traits:
    """What counts for a model at a vendor: the vendor's own quirks, and those of every family that the name is of."""
    vendor, row = canonical(kind), vendor_row(kind)
    name = model.lower().removeprefix("models/")
    short = name.rpartition("/")[2]
    mine = [
        family for family, glob in _at(vendor) if glob.match(name) is not None or (short != name and glob.match(short) is not None)
    ]
    if not mine:
        return _own(vendor)
    quirks = frozenset(row.quirks if row is not None else ()).union(*[family.quirks for family in mine])
    lacks = frozenset(("reasoning",) if "no_effort" in quirks else ())
    return Traits(
        quirks=quirks,
        lacks=lacks.union(*[family.lacks for family in mine]),
        efforts=next((family.efforts for family in reversed(mine) if family.efforts), ()),
        api=next((family.api for family in reversed(mine) if family.api), None),
    )
