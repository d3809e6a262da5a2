"""``server key``: make, change, list, rotate and revoke the gateway's keys."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from ...errors import ConfigError, VendorUnavailable
from ...runtime import SYSTEM_CLOCK
from ..options import Positive, Suite, make_command
from ..settings import Settings
from ..tables import print_records
from ..terminal import FAILED, OK, UsageError, complain, say, tell, tell_json

if TYPE_CHECKING:
    from ...server import ApiKey, KeyStore

_PLACE = click.option("--database", metavar="PLACE", help="The keys' database: a file of SQLite, or postgresql://...")


_NONE = "none"


class _Limit(click.ParamType[Any]):
    """A whole number from 1; or "none", where a limit is to be taken away."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if value == _NONE:
            return _NONE
        if not (str(value).isascii() and str(value).isdecimal() and int(str(value)[:20]) > 0):
            self.fail(f"{value!r} is no limit; give a whole number from 1, or none", param, ctx)
        return int(value)


_LIMIT_OPTIONS = (
    click.option("--rpm", type=_Limit(), help="Requests per minute."),
    click.option("--tpm", type=_Limit(), help="Tokens per minute: input without cache reads, and output."),
    click.option("--in-flight", type=_Limit(), metavar="N", help="Calls at a time."),
    click.option("--budget", metavar="USD", help="US dollars as in 5/day, 100/month, or 20 in all."),
    click.option("--tag", "tags", multiple=True, metavar="TEXT", help="What it is filed under; may be repeated."),
)
_FIELDS = {"rpm": "requests_per_minute", "tpm": "tokens_per_minute", "in_flight": "in_flight", "budget": "budget"}


def _with_limits(function: Any) -> Any:
    for option in reversed(_LIMIT_OPTIONS):
        function = option(function)
    return function


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """What the options say, as the settings of a key; "none" takes away."""
    said: dict[str, Any] = {field: given[name] for name, field in _FIELDS.items() if given[name] is not None}
    if given["models"] is not None:
        said["models"] = [glob.strip() for glob in given["models"].split(",") if glob.strip()]
        if said["models"] == ["all"]:
            said["models"] = None
    if given["days"] is not None:
        said["expires_at"] = SYSTEM_CLOCK.now() + timedelta(days=given["days"])
    if given["tags"]:
        said["tags"] = [] if given["tags"] == (_NONE,) else list(given["tags"])
    return {name: None if value == _NONE else value for name, value in said.items()}


command = Suite("server", help="Manage the gateway.", examples=("llmdispatcher server key list",))
key = Suite(
    "key",
    help="Make, change, list and revoke keys. A gateway that runs obeys within two seconds.",
    examples=('llmdispatcher server key create "the batch team"', "llmdispatcher server key list"),
)
command.add_command(key)


@make_command(
    "create",
    suite=key,
    examples=(
        'llmdispatcher server key create "the batch team" --models "gpt-*,claude-*" --days 90',
        "llmdispatcher server key create ci --rpm 60 --tpm 200000 --in-flight 8 --budget 5/day --tag nightly",
    ),
)
@click.argument("label", help="What it is for, such as a team's name.")
@click.option("--models", metavar="GLOBS", help="What it may ask for, such as 'gpt-*,claude-*'.  [default: all]")
@click.option("--days", type=Positive(), metavar="N", help="Days until it expires.  [default: never]")
@click.option("--organization", default="default", show_default=True, metavar="NAME", help="Whose it is.")
@click.option(
    "--scope", "scopes", multiple=True, default=("gateway",), show_default=True, help="What it is good for; may be repeated."
)
@_with_limits
@_PLACE
def create(settings: Settings, label: str, database: str | None, **given: Any) -> int:
    """Make a key and show it, once."""
    try:
        with closing(_store(database)) as store:
            made, secret = store.create(label, organization=given["organization"], scopes=given["scopes"], **_settings(given))
    except ConfigError as error:
        raise UsageError(error.message) from None
    if settings.json:
        tell_json({**made.as_dict(), "key": secret})
    else:
        tell(secret)
        say(f"This is the key {made.shown} of {label!r}, id {made.id}. It is not shown again.")
    return OK


@make_command(
    "set",
    suite=key,
    examples=("llmdispatcher server key set 3f2a… --budget 10/day --rpm none",),
    codes="0 changed, 1 there is no such key, 2 wrong usage, 130 interrupted",
)
@click.argument("key_id", metavar="ID", help="The id, which `list` shows.")
@click.option("--label", help="What it is for.")
@click.option("--models", metavar="GLOBS", help="What it may ask for, such as 'gpt-*,claude-*', or all.")
@click.option("--days", type=Positive(), metavar="N", help="Days from now until it expires.")
@_with_limits
@_PLACE
def set_key(settings: Settings, key_id: str, database: str | None, **given: Any) -> int:
    """Change a key by its id, which `list` shows: what is not said stays, and "none" takes a limit away."""
    said = _settings(given) | ({"label": given["label"]} if given["label"] is not None else {})
    if not said:
        raise UsageError("nothing is to be changed; give --rpm, --tpm, --in-flight, --budget, --tag, --models, --days or --label")
    try:
        with closing(_store(database)) as store:
            changed = store.change(key_id, **said)
    except ConfigError as error:
        raise UsageError(error.message) from None
    if changed is None:
        return _missing(key_id)
    if settings.json:
        tell_json(changed.as_dict())
    else:
        say(f"llmdispatcher: {key_id} is changed; every gateway obeys within two seconds")
    return OK


@make_command(
    "rotate",
    suite=key,
    examples=("llmdispatcher server key rotate 3f2a…",),
    codes="0 rotated, 1 there is no such key, 2 wrong usage, 130 interrupted",
)
@click.argument("key_id", metavar="ID", help="The id, which `list` shows.")
@_PLACE
def rotate(settings: Settings, key_id: str, database: str | None) -> int:
    """Replace a key by a new one of the same id, limits and spend, and show it, once; the old one ends within two seconds."""
    with closing(_store(database)) as store:
        rotated = store.rotate(key_id)
    if rotated is None:
        return _missing(key_id)
    made, secret = rotated
    if settings.json:
        tell_json({**made.as_dict(), "key": secret})
    else:
        tell(secret)
        say(f"This is the new key {made.shown} of {made.label!r}. It is not shown again.")
    return OK


@make_command("list", suite=key, examples=("llmdispatcher server key list --json",))
@_PLACE
def list_keys(settings: Settings, database: str | None) -> int:
    """List all keys, the newest first, with what they have spent of their budget's present period."""
    with closing(_store(database)) as store:
        now, found = SYSTEM_CLOCK.now(), store.all()
        spent = _spent(store, found)
    rows = [
        (
            one.id,
            one.shown,
            one.label,
            one.state(now),
            "all" if one.models is None else ", ".join(one.models) or "none",
            _limits_text(one),
            _budget_text(one, spent),
        )
        for one in found
    ]
    records = [{**one.as_dict(), "state": one.state(now), "spent": spent.get(one.id)} for one in found]
    if not print_records(settings, records, ("id", "key", "label", "state", "models", "limits", "spent"), rows):
        say("llmdispatcher: there are no keys yet; `llmdispatcher server key create LABEL` makes one")
    return OK


@make_command(
    "revoke",
    suite=key,
    examples=("llmdispatcher server key revoke 3f2a…",),
    codes="0 revoked, 1 there is no such key, 2 wrong usage, 130 interrupted",
)
@click.argument("key_id", metavar="ID", help="The id, which `list` shows.")
@_PLACE
def revoke(settings: Settings, key_id: str, database: str | None) -> int:
    """Revoke a key by its id, which `list` shows."""
    with closing(_store(database)) as store:
        done = store.revoke(key_id)
    if settings.json:
        tell_json({"id": key_id, "revoked": done})
    elif done:
        say(f"llmdispatcher: {key_id} is revoked; every gateway refuses it within two seconds")
    return OK if done else _missing(key_id)


def _missing(key_id: str) -> int:
    complain(f"{key_id}: there is no such key that is good; `llmdispatcher server key list` shows all")
    return FAILED


def _spent(store: KeyStore, keys: list[ApiKey]) -> dict[str, str]:
    try:
        return {key_id: f"{amount:f}" for key_id, amount in store.spent(keys).items()}
    except VendorUnavailable as error:
        complain(error.message)
        return {}


def _limits_text(key: ApiKey) -> str:
    limits = ((key.requests_per_minute, "rpm"), (key.tokens_per_minute, "tpm"), (key.in_flight, "in flight"))
    return ", ".join([f"{limit} {name}" for limit, name in limits if limit is not None]) or "none"


def _budget_text(key: ApiKey, spent: dict[str, str]) -> str:
    if key.budget is None:
        return "no budget"
    return f"${spent.get(key.id, '?')} of ${key.as_dict()['budget']}"


def _store(database: str | None) -> KeyStore:
    try:
        from ...server import ServeOptions
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed; pip install 'llmdispatcher[server]'") from None
    return ServeOptions(database=database).store()
