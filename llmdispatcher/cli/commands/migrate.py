"""``migrate``: bring the ledger's tables up to date."""

from __future__ import annotations

from .. import records
from ..options import make_command
from ..settings import Settings
from .init_db import report


@make_command("migrate", examples=("llmdispatcher migrate", "llmdispatcher --db postgresql://me@host/calls migrate"))
def command(settings: Settings) -> int:
    """Bring the tables of a ledger up to what this version knows; many processes may do so at once, one does it.

    Every other command does the same when it opens the ledger; this one does it at a time of your choice.
    """
    with records.open_ledger(settings) as ledger:
        return report(settings, ledger)
