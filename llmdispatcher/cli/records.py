"""The ledger that the command line uses: which one it is, and how it is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from ..errors import LedgerError
from ..runtime import made_folder, own_file
from .settings import Settings
from .terminal import UsageError

if TYPE_CHECKING:
    from ..accounting import Ledger


OWN = "ledger.db"
"""The user's own ledger, in the folder for his data; `llmdispatcher init-db` makes it."""

FILTERS = ("origin", "id_at_origin", "user", "alias", "vendor", "model")


def place(settings: Settings, configured: Any = None) -> str | None:
    """Where calls are written to: what was named, else the user's own ledger where there is one; ``None`` is nowhere.

    ``configured`` is the ledger of a configuration; options stand before it, ``DATABASE_URL`` behind. A database that only
    ``DATABASE_URL`` names counts where it is a ledger already: it may be somebody else's.
    """
    if settings.database is not None and settings.database_given:
        return settings.database
    if configured is not None:
        return str(configured)
    if settings.database is not None:
        return settings.database if _is_ledger(settings.database) else None
    own = own_file(OWN)
    return str(own) if own is not None and find_spec("sqlalchemy") is not None else None


def may_make(settings: Settings) -> bool:
    """Whether tables may be made on the way: not in a database that only the environment names, which may be somebody else's."""
    return settings.database is None or settings.database_given


def named(settings: Settings) -> str:
    """The place to make a ledger at, or to ask."""
    if settings.database is not None:
        return settings.database
    return str(made_folder() / OWN)


@contextmanager
def opened(settings: Settings, *, make: bool = False) -> Iterator[Ledger]:
    """The ledger, up to date. Raises :class:`UsageError` where there is none, unless it is to be made."""
    from ..accounting import Ledger  # late: it is an extra

    with Ledger(named(settings)) as ledger:
        if not make and not _is_there(ledger):
            shown = ledger.address.shown
            raise UsageError(f"{shown}: there is no ledger; `llmdispatcher init-db` makes one, --db and --sqlite name another")
        ledger.migrate()
        yield ledger


def _is_ledger(url: str) -> bool:
    from ..accounting import Ledger  # late: it is an extra

    try:
        with Ledger(url) as ledger:
            return _is_there(ledger)
    except LedgerError:
        return False


def _is_there(ledger: Ledger) -> bool:
    """Whether a database is a ledger; makes nothing. Raises :class:`LedgerError` where it cannot be asked."""
    if ledger.address.path is not None and not ledger.address.path.is_file():
        return False
    from sqlalchemy import inspect  # late: it is an extra

    from ..accounting import VERSION_TABLE, reading

    with reading(ledger) as connection:
        return inspect(connection).has_table(VERSION_TABLE)


def with_filters(function: Any) -> Any:
    """Options that say which calls are meant."""
    told: Mapping[str, str] = {
        "origin": "Only calls of this application.",
        "id_at_origin": "Only calls for this thing of the application's.",
        "user": "Only this user's calls.",
        "alias": "Only calls that asked for this alias.",
        "vendor": "Only calls that this vendor answered.",
        "model": "Only this model's, or vendor:model's.",
    }
    options: list[Callable[[Any], Any]] = [
        click.option(f"--{name.replace('_', '-')}", metavar="NAME", help=text) for name, text in told.items()
    ]
    options += [
        click.option("--start", metavar="DAY", help="From this day or moment on, such as 2026-11-01."),
        click.option("--end", metavar="DAY", help="Until the end of this day, or this moment."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def chosen(given: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """The filters that were given, as keywords of a ledger's questions."""
    return {name: given[name] for name in (*FILTERS, "start", "end", *more) if given.get(name) is not None}
