"""``budgets`` and ``limits``: show what is used of shared budgets and rate limits, and reset one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from ...dispatcher import Dispatcher, read_config_file
from ...types import dollars_text
from .. import records
from ..options import Suite, make_command
from ..settings import Settings
from ..tables import print_records
from ..terminal import FAILED, OK, UsageError, is_typed, plain, tell, tell_json

budgets = Suite("budgets", help="Show budgets, or reset one.", examples=("llmdispatcher --config app.toml budgets show",))


@contextmanager
def _open_budgets(settings: Settings) -> Iterator[Dispatcher]:
    """A dispatcher with the budgets of the configuration, and the ledger that keeps them."""
    file = read_config_file(settings.config)
    config = file.config()
    if not config.budgets:
        raise UsageError("there are no budgets: name the file that has [[budgets]] with --config")
    ledger = records.ledger_address(settings, file.fields.get("ledger"))
    if ledger is None:
        raise UsageError(
            "budgets without a ledger are kept in the process that spends; --db, --sqlite or `ledger` in the file names a database"
        )
    with Dispatcher(file.config(ledger=ledger)) as dispatcher:
        yield dispatcher


@make_command("show", suite=budgets, examples=("llmdispatcher --config app.toml budgets show",))
def show_budgets(settings: Settings) -> int:
    """Show how every account of every budget in the ledger's database stands."""
    with _open_budgets(settings) as dispatcher:
        found = dispatcher.get_budgets()
    rows = [
        (
            plain(one.budget),
            plain(one.share) or "–",
            dollars_text(one.spent),
            dollars_text(one.reserved),
            dollars_text(one.limit),
            f"{one.ends:%Y-%m-%d %H:%M}" if one.ends is not None else "–",
        )
        for one in found
    ]
    heads = ("budget", "whose", "US$ spent", "reserved", "limit", "until (UTC)")
    if not print_records(settings, [one.as_dict() for one in found], heads, rows):
        tell("no account is in use")
    return OK


@make_command(
    "reset",
    suite=budgets,
    examples=("llmdispatcher --config app.toml budgets reset team", "llmdispatcher budgets reset daily --share ann --yes"),
    codes="0 ok, 1 failed or declined, 2 wrong usage, 130 interrupted",
)
@click.argument("name", help="The name of the budget.")
@click.option("--share", metavar="NAME", help="Only the account of this user, vendor, ...; else all.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def reset_budget(settings: Settings, name: str, share: str | None, yes: bool) -> int:
    """Have nothing spent in the present period of a budget, for all processes that share it.

    What calls under way have reserved stays reserved.
    """
    with _open_budgets(settings) as dispatcher:
        whose = f" of {plain(share)}" if share is not None else ""
        if not _confirm(f"Reset the budget {plain(name)!r}{whose}?", yes):
            return FAILED
        count = dispatcher.reset_budget(name, share)
    if settings.json:
        tell_json({"budget": name, "share": share, "accounts": count})
    elif not settings.quiet:
        tell(f"{plain(name)}: {count:,} accounts reset")
    return OK


def _confirm(question: str, yes: bool) -> bool:
    """Whether to go on. Raises :class:`UsageError` if nobody can be asked."""
    if yes:
        return True
    if not is_typed():
        raise UsageError(f"{question} --yes does so")
    return click.confirm(question, err=True)
