"""``json-refresh``: fetch models and prices from the registry."""

from __future__ import annotations

from typing import Any

import click

from ..options import Positive, make_command
from ..settings import Settings
from ..tables import cell, print_records
from ..terminal import FAILED, OK
from . import lock
from .lock import REGISTRY_OPTION


@make_command(
    "json-refresh",
    examples=("llmdispatcher json-refresh", "llmdispatcher json-refresh --registry https://registry.example.com --json"),
    codes="0 all are fresh, 1 a vendor is not (what was known of it counts on), 2 wrong usage, 130 interrupted",
)
@REGISTRY_OPTION
@click.option("--timeout", type=Positive(), default=30.0, show_default=True, metavar="S", help="Seconds for all together.")
def command(settings: Settings, **given: Any) -> int:
    """Ask the registry now, and keep what it publishes on this machine, for every program that uses the same registry.

    A registry that is unavailable, broken or hostile changes nothing: earlier data still counts.
    """
    registry = lock.registry_of(settings, given["registry"])
    try:
        states = registry.refresh(timeout=given["timeout"])
    finally:
        registry.close()
    rows = [(name, cell(state.version), state.state, state.reason) for name, state in states.items()]
    as_json = {name: state.as_dict() for name, state in states.items()}
    print_records(settings, as_json, ("vendor", "version", "state", "reason"), rows)
    return OK if states and all(state.version is not None and state.source == "registry" for state in states.values()) else FAILED
