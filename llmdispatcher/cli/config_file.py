"""``--config FILE``: the fields of a Config, and ``[vendors.NAME]`` tables with the fields of a VendorConfig and a ``kind``."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from ..catalog import vendor_row, vendor_rows
from ..dispatcher import Config
from ..errors import ConfigError
from ..types import build
from ..vendors import HttpVendor, vendor
from .terminal import UsageError


@attrs.frozen
class ConfigFile:
    """What a file says, not yet checked."""

    path: Path | None = None
    fields: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    vendors: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    def config(self, **more: Any) -> Config:
        """The configuration, with ``more`` over it. Raises :class:`ConfigError` with the path of the first mistake."""
        try:
            return build(Config, {**self.fields, **more}, "config")
        except TypeError as error:
            raise ConfigError(f"config: {error}") from None

    def made(self) -> list[HttpVendor]:
        """Its vendors. Raises :class:`ConfigError`."""
        return [_vendor(name, table) for name, table in self.vendors.items()]

    def mistakes(self) -> list[str]:
        """What is wrong with each field and each vendor, each with its path."""
        found = [_mistake(partial(build, Config, {name: value}, "config")) for name, value in self.fields.items()]
        found += [_mistake(partial(_vendor, name, table)) for name, table in self.vendors.items()]
        told = [text for text in found if text is not None]
        together = _mistake(self.config) if not told else None  # what only shows where two fields meet
        return told if together is None else [together]


def read(path: Path | None) -> ConfigFile:
    """Read a file, TOML unless its name ends in .json; nothing where there is none. Raises :class:`UsageError`."""
    if path is None:
        return ConfigFile()
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not {'JSON' if path.suffix.lower() == '.json' else 'TOML'}: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: {type(found).__name__} is not a configuration; give a table of the fields of Config")
    vendors = found.pop("vendors", {})
    if not isinstance(vendors, dict):
        raise UsageError(f"{path}: vendors: {type(vendors).__name__} is not a table; write [vendors.NAME]")
    return ConfigFile(path, found, vendors)


def _vendor(name: str, table: Any) -> HttpVendor:
    if not isinstance(table, dict):
        raise ConfigError(f"vendors.{name}: {type(table).__name__} is not a table; write [vendors.{name}]")
    fields = dict(table)
    kind = fields.pop("kind", name)
    if not isinstance(kind, str) or vendor_row(kind) is None:
        known = ", ".join(row.name for row in vendor_rows())
        raise ConfigError(f"vendors.{name}.kind: {kind!r} is not in the catalog; use {known}")
    try:
        return vendor(kind, {"name": name, **fields})
    except ConfigError as error:
        raise ConfigError(f"vendors.{name}: {error.message}") from None


def _mistake(build: Callable[[], Any]) -> str | None:
    try:
        build()
    except ConfigError as error:
        return error.message
    except TypeError as error:
        return f"config: {error}"
    return None
