"""``init-db``: create the tables of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .. import records
from ..options import make_command
from ..settings import Settings
from ..terminal import FAILED, OK, UsageError, is_typed, plain, tell, tell_json

if TYPE_CHECKING:
    from ...accounting import Ledger

_MOST_NAMED = 5


@make_command(
    "init-db",
    examples=(
        "llmdispatcher init-db",
        "llmdispatcher init-db --sqlite calls.db",
        "llmdispatcher init-db --db postgresql://me@host/calls --yes",
    ),
    codes="0 ok, 1 failed or declined, 2 wrong usage, 130 interrupted",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask if the database holds tables of an application.")
def command(settings: Settings, yes: bool) -> int:
    """Make the ledger's tables, in the user's own SQLite file, or in the database that is named; idempotent.

    Asks before it writes into a database that holds other tables, as an application's DATABASE_URL may. Once the user's own ledger
    is there, `ask`, `chat` and `batch` write every call into it, never a prompt or an answer.
    """
    with records.ledger_to_make(settings) as ledger:
        if not yes and not ledger.is_there() and not _may_make_tables(ledger):
            return FAILED
        return report(settings, ledger)


def report(settings: Settings, ledger: Ledger) -> int:
    """Bring the tables up to date and print their version."""
    version, shown = ledger.migrate(), ledger.address.shown
    if settings.json:
        tell_json({"database": shown, "schema": version})
    elif not settings.quiet:
        tell(f"{shown}: schema {version}")
    return OK


def _may_make_tables(ledger: Ledger) -> bool:
    """Whether tables may be made. Raises :class:`UsageError` if there are others and nobody can be asked."""
    others = ledger.foreign_tables()
    if not others:
        return True
    named = plain(", ".join(others[:_MOST_NAMED])) + (", ..." if len(others) > _MOST_NAMED else "")
    count = "1 table that is" if len(others) == 1 else f"{len(others):,} tables that are"
    text = f"{ledger.address.shown} holds {count} not the ledger's ({named})"
    beside = "the ledger's tables (llmdispatcher_...) beside them"
    if not is_typed():
        raise UsageError(f"{text}; --yes makes {beside}, --db and --sqlite name another database")
    return click.confirm(f"{text}. Make {beside}?", err=True)
