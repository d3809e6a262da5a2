"""The vendors: rows of ``vendors.toml``, by name or alias, and the families of model names that are theirs."""

from __future__ import annotations

import pkgutil
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class VendorRow:
    """One vendor of the catalog; ``vendors.toml`` says what each field means."""

    name: str
    codec: str
    base_url: str | None = None
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    headers: tuple[tuple[str, str], ...] = ()
    key_env: tuple[str, ...] = ()
    url_env: tuple[str, ...] = ()
    version_env: tuple[str, ...] = ()
    keyless: bool = False
    families: tuple[str, ...] = ()
    any_model: bool = False
    reports_cost: bool = False
    quirks: tuple[str, ...] = ()
    source: str
    date: str


_ALIASES = {"azure-openai": "azure", "gemini": "google"}


@cache
def _table() -> Mapping[str, VendorRow]:
    rows = tomllib.loads((pkgutil.get_data(__package__, "vendors.toml") or b"").decode())
    return {name: _row(name, fields) for name, fields in rows.items()}


def _row(name: str, fields: Mapping[str, Any]) -> VendorRow:
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in fields.items() if key != "headers"
    }
    return VendorRow(name=name, headers=tuple(fields.get("headers", {}).items()), **plain)


def canonical(name: str) -> str:
    """A vendor's one name: lower case, without blanks, "azure-openai" and "azure" being the same."""
    name = name.strip().lower()
    return _ALIASES.get(name, name)


def vendor_row(name: str) -> VendorRow | None:
    """The row of a vendor by its name or alias."""
    return _table().get(canonical(name))


def vendor_rows() -> tuple[VendorRow, ...]:
    """All rows, in the order in which a bare model name is placed."""
    return tuple(_table().values())


def in_family(kind: str, model: str) -> bool:
    """Whether the model's name is of this vendor's families."""
    row = vendor_row(kind)
    return row is not None and any(fnmatchcase(model, family) for family in row.families)
