"""The ledger that the command line uses: which one it is, and how it is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from .. import accounting  # a door: what it offers is loaded when it is used
from ..catalog import all_models, vendor_rows
from ..errors import ConfigError, LedgerError
from ..runtime import make_data_folder, own_file
from ..types import closest_name
from . import values
from .settings import Settings
from .terminal import UsageError

if TYPE_CHECKING:
    from ..accounting import Ledger


LEDGER_FILE = "ledger.db"
"""The user's own ledger, in the user's data folder; `llmdispatcher init-db` makes it."""
_PATIENCE = 2.0
"""Seconds that an application's database has to answer."""

FILTERS = {
    "origin": "Only calls of this application.",
    "id_at_origin": "Only calls with this id at the application.",
    "user": "Only this user's calls.",
    "alias": "Only calls that asked for this alias.",
    "vendor": "Only calls that this vendor answered.",
    "model": "Only this model's, or vendor:model's.",
    "tag": "Only calls with this tag.",
}
"""By name: the text of the option."""

_COMPLETERS = {"alias": values.ALIAS, "vendor": values.VENDOR, "model": values.MODEL}


def ledger_address(settings: Settings, configured: Any = None) -> str | None:
    """Return the address of the ledger, ``None`` if calls are not logged.

    It is the database of an option, else *configured*, the ledger of a configuration, else ``DATABASE_URL``, else the user's own
    ledger if there is one. ``DATABASE_URL`` counts only if that database has a ledger already: else it is an application's.
    """
    if settings.database is not None and settings.database_given:
        return settings.database
    if configured is not None:
        return str(configured)
    if settings.database is not None and _why_no_ledger(settings.database) is None:
        return settings.database
    own = own_file(LEDGER_FILE)
    return str(own) if own is not None and find_spec("sqlalchemy") is not None else None


def ledger_to_make(settings: Settings) -> Ledger:
    """Return the ledger to make: in the database that is named (by ``DATABASE_URL``, if it can hold one), else the user's own."""
    if (configured := configured_ledger(settings)) is not None:
        return accounting.Ledger(configured)
    if settings.database is not None:
        try:
            return accounting.Ledger(settings.database)
        except ConfigError:
            if settings.database_given:
                raise
    return accounting.Ledger(make_data_folder() / LEDGER_FILE)


@contextmanager
def open_named_ledger(settings: Settings, configured: Any = None) -> Iterator[Ledger | None]:
    """Open the ledger that calls are logged in, ``None`` if there is none. Raises :class:`UsageError` if one is named in vain."""
    address = ledger_address(settings, configured)
    if address is None:
        yield None
        return
    with accounting.Ledger(address) as ledger:
        if not ledger.is_there():
            raise UsageError(
                f"{ledger.address.shown}: there is no ledger; `llmdispatcher init-db` makes one, --db and --sqlite name another"
            )
        yield ledger


@contextmanager
def open_ledger(settings: Settings, *, make: bool = False) -> Iterator[Ledger]:
    """Open the ledger and bring it up to date. Raises :class:`UsageError` if there is none, unless *make*."""
    configured = configured_ledger(settings)
    database, why = configured or settings.database, None
    if (
        configured is None
        and database is not None
        and not settings.database_given
        and (why := _why_no_ledger(database)) is not None
    ):
        database = None
    with accounting.Ledger(
        database if database is not None else own_file(LEDGER_FILE) or make_data_folder() / LEDGER_FILE
    ) as ledger:
        if not make and not ledger.is_there():
            skipped = f" (DATABASE_URL was skipped: {why})" if why is not None else ""
            shown = ledger.address.shown
            raise UsageError(
                f"{shown}: there is no ledger; `llmdispatcher init-db` makes one, --db and --sqlite name another{skipped}"
            )
        ledger.migrate()
        yield ledger


def configured_ledger(settings: Settings) -> str | None:
    """Return the ledger of the ``--config``, ``None`` where it names none, or an option names another database."""
    if settings.config is None or (settings.database is not None and settings.database_given):
        return None
    from ..dispatcher import read_config_file  # late: it loads much, and few commands over a ledger have a --config

    ledger = read_config_file(settings.config, only=("ledger",)).fields.get("ledger")
    if not isinstance(ledger, str | None):
        raise UsageError(f"{settings.config}: ledger must be a text, a path or an address, not {ledger!r}")
    return ledger


def _why_no_ledger(url: str) -> str | None:
    """Why a database that only the environment names is no ledger, ``None`` where it is one; nothing is made or changed there."""
    try:
        with accounting.Ledger(url, timeout=_PATIENCE) as ledger:
            return None if ledger.is_there() else f"{ledger.address.shown} is no ledger"
    except (LedgerError, ConfigError) as error:
        return str(error)


def with_filters(function: Any) -> Any:
    """Add the options that select calls."""
    options = [
        click.option(f"--{name.replace('_', '-')}", metavar="NAME", shell_complete=_COMPLETERS.get(name), help=text)
        for name, text in FILTERS.items()
    ]
    options += [
        click.option("--start", metavar="DAY", help="From this day or moment on, such as 2026-11-01."),
        click.option("--end", metavar="DAY", help="Until the end of this day, or this moment."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def similar(given: Mapping[str, Any]) -> str:
    """What a vendor or a model that no call has may have meant, as the end of a sentence."""
    known = {"vendor": [row.name for row in vendor_rows()]}
    known["model"] = [facts.listed for name in known["vendor"] for facts in all_models(name)]
    near = [closest_name(given[name], names) for name, names in known.items() if given.get(name) and given[name] not in names]
    return "".join([f"; did you mean {name!r}?" for name in near if name is not None])


def filters_of(given: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """Return the filters that were given, as keyword arguments of the ledger's queries."""
    return {name: given[name] for name in (*FILTERS, "start", "end", *more) if given.get(name) is not None}
