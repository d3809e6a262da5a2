"""The options of ``server`` that keys and their owners have in common, and the store that they are for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from ..errors import ConfigError, VendorUnavailable
from .tables import print_records
from .terminal import UsageError, complain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..server import ApiKey, KeyOwner, KeyStore
    from .settings import Settings

PLACE = click.option(
    "--database",
    metavar="PLACE",
    envvar="LLMDISPATCHER_DATABASE",
    help="The keys' database: a file of SQLite, or postgresql://...; else $LLMDISPATCHER_DATABASE.",
)
ORGANIZATION = click.option("--organization", default="default", show_default=True, metavar="NAME", help="Whose it is.")
NONE = "none"
_SPARE = ("key", "models", "limits", "each member")
"""What a narrow terminal goes without, the first one first."""


class Limit(click.ParamType[Any]):
    """A whole number from 1; or "none", where a limit is to be taken away."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if value == NONE:
            return NONE
        if not (str(value).isascii() and str(value).isdecimal() and int(str(value)[:20]) > 0):
            self.fail(f"{value!r} is no limit; give a whole number from 1, or none", param, ctx)
        return int(value)


_OPTIONS = (
    click.option("--models", metavar="GLOBS", help="What may be asked for, such as 'gpt-*,claude-*', or all."),
    click.option("--vendors", metavar="NAMES", help="Which registered vendors may answer, such as 'openai,azure-eu', or all."),
    click.option("--rpm", type=Limit(), help="Requests per minute."),
    click.option("--tpm", type=Limit(), help="Tokens per minute: input without cache reads, and output."),
    click.option("--in-flight", type=Limit(), metavar="N", help="Calls at a time."),
    click.option("--budget", metavar="USD", help="US dollars as in 5/day, 100/month, or 20 in all."),
    click.option(
        "--model-budget",
        "model_budgets",
        multiple=True,
        metavar="TEXT",
        help="A budget of some models: 'GLOB=20/day', 'GLOB=20/day then MODEL'; may be repeated.",
    ),
    click.option("--override", metavar="USD", help="Another limit of the budget until --until."),
    click.option("--until", metavar="DATE", help="When the override ends, such as 2027-01-31."),
    click.option("--strict/--no-strict", default=None, help="Reserve the most that a call can cost, not an estimate."),
    click.option("--tag", "tags", multiple=True, metavar="TEXT", help="What it is filed under; may be repeated."),
)
_FIELDS = {
    "rpm": "requests_per_minute",
    "tpm": "tokens_per_minute",
    "in_flight": "in_flight",
    "budget": "budget",
    "strict": "strict",
}


def with_settings(function: Any) -> Any:
    """Give a command the options."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def settings_of(given: dict[str, Any]) -> dict[str, Any]:
    """What the options say, as settings; "none" takes away. Raises :class:`UsageError` for an override without its end."""
    said: dict[str, Any] = {field: given[name] for name, field in _FIELDS.items() if given[name] is not None}
    for name in ("models", "vendors"):
        if given[name] is not None:
            listed = [one.strip() for one in given[name].split(",") if one.strip()]
            said[name] = None if listed == ["all"] else listed
    for name in ("model_budgets", "tags"):
        if given[name]:
            said[name] = [] if given[name] == (NONE,) else list(given[name])
    if given["override"] == NONE:
        said["override"] = None
    elif given["override"] is not None or given["until"] is not None:
        if given["override"] is None or given["until"] is None:
            raise UsageError("--override and --until: give both, as in --override 50 --until 2027-01-31")
        said["override"] = {"limit": given["override"], "until": given["until"]}
    return {name: None if isinstance(value, str) and value == NONE else value for name, value in said.items()}


def open_store(database: str | None) -> KeyStore:
    """The store of a place, or that of the data folder. Raises :class:`UsageError` where the extra is missing."""
    try:
        from ..server import ServeOptions
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed; pip install 'llmdispatcher[server]'") from None
    return ServeOptions(database=database).store()


def check_organization(store: KeyStore, name: str) -> None:
    """Raise :class:`UsageError` for an organization that nobody has made: a mistyped name would have no limits and no budget."""
    try:
        if name != "default":
            store.owners.require("organization", name)
    except ConfigError as error:
        raise UsageError(error.message) from None


def spent_of(store: KeyStore, holders: Sequence[ApiKey | KeyOwner]) -> dict[str, str]:
    """US dollars as texts, by id; nothing, with a complaint, while the budgets cannot be looked at."""
    try:
        return {holder: f"{amount:f}" for holder, amount in store.spent(holders).items()}
    except VendorUnavailable as error:
        complain(error.message)
        return {}


@attrs.frozen
class Column:
    """A column of a list. It is left out where each cell says ``nothing``; with ``None`` as ``nothing`` always."""

    head: str
    cells: Sequence[str]
    nothing: str | None = attrs.field(default="\0", kw_only=True)

    @property
    def says_something(self) -> bool:
        """Whether it is worth its place."""
        return self.nothing is not None and any(cell != self.nothing for cell in self.cells)


def print_columns_of(settings: Settings, records: Any, columns: Sequence[Column]) -> bool:
    """Print a list of keys or owners without the columns that say nothing; False where it is empty."""
    kept = [column for column in columns if column.says_something]
    rows = list(zip(*[column.cells for column in kept], strict=True))
    return print_records(settings, records, [column.head for column in kept], rows, whole=("id", "key"), spare=_SPARE)


def models_text(holder: ApiKey | KeyOwner) -> str:
    """The globs of models, for people."""
    return "all" if holder.models is None else ", ".join(holder.models) or "none"


def budget_text(holder: ApiKey | KeyOwner, spent: dict[str, str]) -> str:
    """What is spent of a budget, for people."""
    return "no budget" if holder.budget is None else f"${spent.get(holder.id, '?')} of ${holder.as_dict()['budget']}"


def limits_text(holder: ApiKey | KeyOwner) -> str:
    """The limits of a minute and at a time, for people."""
    limits = (
        (holder.requests_per_minute, "rpm"),
        (holder.tokens_per_minute, "tpm"),
        (holder.in_flight, "in flight"),
    )
    return ", ".join([f"{limit} {name}" for limit, name in limits if limit is not None]) or "none"
