"""``vendors`` and ``health``: list the vendors of the catalog, and which of them can be asked from here and are available."""

from __future__ import annotations

import os
from typing import Any

import attrs
import click

from ...catalog import VendorRow, vendor_row, vendor_rows
from ...dispatcher import read_config_file
from ...errors import ConfigError
from ...vendors import HttpVendor, vendor
from .. import keychain
from ..options import Positive, make_command
from ..session import VendorChoice, open_session
from ..settings import Settings
from ..tables import cell, print_records
from ..terminal import FAILED, OK, complain, say


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


@make_command(
    "health",
    examples=("llmdispatcher health", "llmdispatcher health --timeout 2 --json", "llmdispatcher health --simulate"),
    codes="0 all can be asked, 1 one of them cannot, 2 wrong usage, 130 interrupted",
)
@click.option("--timeout", type=Positive(), default=5.0, show_default=True, metavar="S", help="Seconds for all together.")
@click.option("--simulate", is_flag=True, help="Ask simulated vendors, one of which is down.")
def health(settings: Settings, timeout: float, simulate: bool) -> int:
    """Ask every vendor that has a key for its list of models; that costs nothing and shows that address and key are good."""
    with open_session(settings, VendorChoice(simulate=simulate)) as session:
        session.warn_of_simulation(settings, whole=True)
        found = session.dispatcher.health_check(timeout=timeout)
    simulated = {"simulated": True} if session.simulated else {}
    as_json = {name: attrs.asdict(state) | {"ok": state.ok} | simulated for name, state in found.items()}
    rows = [(name, state.status, cell(state.latency, ".2f"), state.detail or "") for name, state in found.items()]
    print_records(settings, as_json, ("vendor", "status", "seconds", "detail"), rows)
    return OK if all(state.ok for state in found.values()) else FAILED
