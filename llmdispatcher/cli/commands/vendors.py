"""``vendors``: list the vendors of the catalog, and which of them can be asked from here."""

from __future__ import annotations

import os
from typing import Any

import click

from ...catalog import VendorRow, vendor_row, vendor_rows
from ...dispatcher import read_config_file
from ...errors import ConfigError
from ...vendors import HttpVendor, vendor
from .. import keychain
from ..options import make_command
from ..settings import Settings
from ..tables import print_records
from ..terminal import OK, complain, say


@make_command("vendors", examples=("llmdispatcher vendors", "llmdispatcher vendors --ready --json"))
@click.option("--ready", is_flag=True, help="Only vendors that can be asked from here.")
def command(settings: Settings, ready: bool) -> int:
    """List the vendors: their format, the variable of their key, and where a key was found.

    Keys are looked for in the environment and in the keychain, and never shown. `llmdispatcher health` asks the vendors themselves.
    """
    file = read_config_file(settings.config)
    own = {made.name: made for made in file.make_vendors()}
    rows = [_vendor_record(row, own.pop(row.name, None)) for row in vendor_rows()]
    rows += [_vendor_record(row, made) for made in own.values() if (row := vendor_row(made.kind)) is not None]
    rows = [row for row in rows if row["key"] is not None or not ready]
    if not print_records(settings, rows, ("vendor", "format", "key", "variables"), [_row(row) for row in rows]):
        say("llmdispatcher: no vendor can be asked from here; `llmdispatcher vendors` lists the variables of their keys")
    return OK


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    return record["name"], record["format"], record["key"] or "–", ", ".join(record["variables"]) or "–"


def _vendor_record(row: VendorRow, in_file: HttpVendor | None) -> dict[str, Any]:
    """The record of a vendor of the catalog, or of the configuration."""
    return {
        "name": in_file.name if in_file is not None else row.name,
        "format": row.codec,
        "key": "configuration" if in_file is not None else _key_source(row),
        "variables": [*row.key_env, *row.url_env],
        "url": _address(in_file or vendor(row.name), row),
    }


def _address(made: HttpVendor, row: VendorRow) -> str | None:
    """A vendor's address, or the pattern of its addresses; ``None`` without one. A wrong one is reported."""
    try:
        return made.base_url or row.base_url
    except ConfigError as error:
        complain(f"{made.name}: {error.message}")
        return None


def _key_source(row: VendorRow) -> str | None:
    """Where a vendor's key is; ``None`` if it has none."""
    if any(os.environ.get(name) for name in (row.url_env if row.keyless else row.key_env)):
        return "environment"
    return "keychain" if row.name in keychain.list_vendors() else None
