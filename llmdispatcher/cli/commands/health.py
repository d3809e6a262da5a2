"""``health``: ask the vendors whether they are available."""

from __future__ import annotations

import attrs
import click

from ..options import Positive, make_command
from ..session import VendorChoice, open_session
from ..settings import Settings
from ..tables import cell, print_records
from ..terminal import FAILED, OK


@make_command(
    "health",
    examples=("llmdispatcher health", "llmdispatcher health --timeout 2 --json", "llmdispatcher health --simulate"),
    codes="0 all can be asked, 1 one of them cannot, 2 wrong usage, 130 interrupted",
)
@click.option("--timeout", type=Positive(), default=5.0, show_default=True, metavar="S", help="Seconds for all together.")
@click.option("--simulate", is_flag=True, help="Ask simulated vendors, one of which is down.")
def command(settings: Settings, timeout: float, simulate: bool) -> int:
    """Ask every vendor that has a key for its list of models; that costs nothing and shows that address and key are good."""
    with open_session(settings, VendorChoice(simulate=simulate)) as session:
        session.warn_of_simulation(settings, whole=True)
        found = session.dispatcher.health_check(timeout=timeout)
    simulated = {"simulated": True} if session.simulated else {}
    as_json = {name: attrs.asdict(state) | {"ok": state.ok} | simulated for name, state in found.items()}
    rows = [(name, state.status, cell(state.latency, ".2f"), state.detail or "") for name, state in found.items()]
    print_records(settings, as_json, ("vendor", "status", "seconds", "detail"), rows)
    return OK if all(state.ok for state in found.values()) else FAILED
