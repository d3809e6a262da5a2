"""``vendors``: list the vendors of the catalog, and which of them can be asked from here."""

from __future__ import annotations

import os
from typing import Any

import click

from ...catalog import VendorRow, canonical, vendor_rows
from .. import config_file, keychain
from ..options import a_command
from ..settings import Settings
from ..tables import print_rows
from ..terminal import OK, say, tell_json


@a_command("vendors", examples=("llmdispatcher vendors", "llmdispatcher vendors --ready --json"))
@click.option("--ready", is_flag=True, help="Only those that can be asked from here.")
def command(settings: Settings, ready: bool) -> int:
    """List the vendors: their format, the variable of their key, and where a key was found.

    Keys are looked for in the environment and in the keychain, and never shown. `llmdispatcher health` asks the vendors themselves.
    """
    file = config_file.read(settings.config)
    rows = [_told(row, file.vendors) for row in vendor_rows()]
    rows = [row for row in rows if row["key"] is not None or not ready]
    if settings.json:
        tell_json(rows)
        return OK
    if not rows:
        say("llmdispatcher: no vendor can be asked from here; `llmdispatcher vendors` lists the variables of their keys")
        return OK
    print_rows(("vendor", "format", "key", "variables"), [_row(row) for row in rows], no_color=settings.no_color)
    return OK


def _row(told: dict[str, Any]) -> tuple[str, ...]:
    return told["name"], told["format"], told["key"] or "–", ", ".join(told["variables"]) or "–"


def _told(row: VendorRow, in_file: Any) -> dict[str, Any]:
    return {
        "name": row.name,
        "format": row.codec,
        "key": _place(row, in_file),
        "variables": [*row.key_env, *row.url_env],
        "url": row.base_url,
    }


def _place(row: VendorRow, in_file: Any) -> str | None:
    """Where a vendor's key is; ``None`` where it has none."""
    if any(
        canonical(str(dict(table).get("kind", name) if isinstance(table, dict) else name)) == row.name
        for name, table in in_file.items()
    ):
        return "configuration"
    if any(os.environ.get(name) for name in (row.url_env if row.keyless else row.key_env)):
        return "environment"
    return "keychain" if row.name in keychain.listed() else None
