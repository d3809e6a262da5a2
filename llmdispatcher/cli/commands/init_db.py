"""``init-db``: create the tables of the ledger."""

from __future__ import annotations

from .. import records
from ..options import a_command
from ..settings import Settings
from ..terminal import OK, tell, tell_json


@a_command(
    "init-db",
    examples=(
        "llmdispatcher init-db",
        "llmdispatcher init-db --sqlite calls.db",
        "llmdispatcher init-db --db postgresql://me@host/calls",
    ),
)
def command(settings: Settings) -> int:
    """Make the ledger's tables, in the user's own SQLite file, or in the database that is named; idempotent.

    Once the user's own ledger is there, `ask`, `chat` and `batch` write every call into it, never a prompt or an answer.
    """
    return report(settings, make=True)


def report(settings: Settings, *, make: bool) -> int:
    """Bring the tables up to date and tell their version."""
    with records.opened(settings, make=make) as ledger:
        version, shown = ledger.migrate(), ledger.address.shown
    if settings.json:
        tell_json({"database": shown, "schema": version})
    elif not settings.quiet:
        tell(f"{shown}: schema {version}")
    return OK
