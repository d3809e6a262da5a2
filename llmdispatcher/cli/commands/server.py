"""``server key``: make, list and revoke the gateway's keys."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from ...errors import ConfigError
from ...runtime import SYSTEM_CLOCK
from ..options import Positive, Suite, make_command
from ..settings import Settings
from ..tables import print_records
from ..terminal import FAILED, OK, UsageError, complain, say, tell, tell_json

if TYPE_CHECKING:
    from ...server import KeyStore

_PLACE = click.option("--database", metavar="PLACE", help="The keys' database: a file of SQLite, or postgresql://...")


command = Suite("server", help="Manage the gateway.", examples=("llmdispatcher server key list",))
key = Suite(
    "key",
    help="Make, list and revoke keys. A gateway that runs obeys within two seconds.",
    examples=('llmdispatcher server key create "the batch team"', "llmdispatcher server key list"),
)
command.add_command(key)


@make_command(
    "create", suite=key, examples=('llmdispatcher server key create "the batch team" --models "gpt-*,claude-*" --days 90',)
)
@click.argument("label", help="What it is for, such as a team's name.")
@click.option("--models", metavar="GLOBS", help="What it may ask for, such as 'gpt-*,claude-*'.  [default: all]")
@click.option("--days", type=Positive(), metavar="N", help="Days until it expires.  [default: never]")
@click.option("--organization", default="default", show_default=True, metavar="NAME", help="Whose it is.")
@click.option(
    "--scope", "scopes", multiple=True, default=("gateway",), show_default=True, help="What it is good for; may be repeated."
)
@_PLACE
def create(settings: Settings, label: str, database: str | None, **given: Any) -> int:
    """Make a key and show it, once."""
    models, days = given["models"], given["days"]
    globs = None if models is None else [glob.strip() for glob in models.split(",") if glob.strip()]
    until = SYSTEM_CLOCK.now() + timedelta(days=days) if days is not None else None
    try:
        made, secret = _store(database).create(
            label, organization=given["organization"], scopes=given["scopes"], models=globs, expires_at=until
        )
    except ConfigError as error:
        raise UsageError(error.message) from None
    if settings.json:
        tell_json({**made.as_dict(), "key": secret})
    else:
        tell(secret)
        say(f"This is the key {made.shown} of {label!r}, id {made.id}. It is not shown again.")
    return OK


@make_command("list", suite=key, examples=("llmdispatcher server key list --json",))
@_PLACE
def list_keys(settings: Settings, database: str | None) -> int:
    """List all keys, the newest first."""
    now, found = SYSTEM_CLOCK.now(), _store(database).all()
    rows = [
        (one.id, one.shown, one.label, one.state(now), "all" if one.models is None else ", ".join(one.models) or "none")
        for one in found
    ]
    records = [{**one.as_dict(), "state": one.state(now)} for one in found]
    if not print_records(settings, records, ("id", "key", "label", "state", "models"), rows):
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
    done = _store(database).revoke(key_id)
    if settings.json:
        tell_json({"id": key_id, "revoked": done})
    elif done:
        say(f"llmdispatcher: {key_id} is revoked; every gateway refuses it within two seconds")
    if not done:
        complain(f"{key_id}: there is no such key that is good; `llmdispatcher server key list` shows all")
    return OK if done else FAILED


def _store(database: str | None) -> KeyStore:
    try:
        from ...server import ServeOptions
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed; pip install 'llmdispatcher[server]'") from None
    return ServeOptions(database=database).store()
