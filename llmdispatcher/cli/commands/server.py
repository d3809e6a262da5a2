"""``server key``: make, change, list, rotate and revoke the gateway's keys; the suites of their owners hang here, too."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from ...errors import ConfigError
from ...runtime import SYSTEM_CLOCK
from ..options import Positive, Suite, make_command
from ..server_owners import add_owner_commands
from ..server_settings import (
    ORGANIZATION,
    PLACE,
    Column,
    budget_text,
    check_organization,
    limits_text,
    models_text,
    open_store,
    print_columns_of,
    settings_of,
    spent_of,
    with_settings,
)
from ..settings import Settings
from ..terminal import FAILED, OK, UsageError, complain, say, tell, tell_json

if TYPE_CHECKING:
    from ...server import ApiKey


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """What the options say, as the settings of a key."""
    said = settings_of(given)
    if given["days"] is not None:
        said["expires_at"] = SYSTEM_CLOCK.now() + timedelta(days=given["days"])
    return said


command = Suite("server", help="Manage the gateway.", examples=("llmdispatcher server key list",))
key = Suite(
    "key",
    help="Make, change, list and revoke keys. A gateway that runs obeys within two seconds.",
    examples=('llmdispatcher server key create "the batch team"', "llmdispatcher server key list"),
)
command.add_command(key)
for _level, _word in (("organization", "org"), ("team", "team"), ("member", "member")):
    _suite = Suite(
        _word,
        help=f"Make, change, list and remove {_level}s. A gateway that runs obeys within two seconds.",
        examples=(f"llmdispatcher server {_word} list",),
    )
    command.add_command(_suite)
    add_owner_commands(_suite, _level, _word)


@make_command(
    "create",
    suite=key,
    examples=(
        'llmdispatcher server key create "the batch team" --models "gpt-*,claude-*" --days 90',
        "llmdispatcher server key create ci --rpm 60 --tpm 200000 --in-flight 8 --budget 5/day --tag nightly",
    ),
)
@click.argument("label", help="What it is for, such as a team's name.")
@click.option("--days", type=Positive(), metavar="N", help="Days until it expires.  [default: never]")
@ORGANIZATION
@click.option("--team", metavar="NAME", help="The team that it belongs to, by name or id.")
@click.option("--member", metavar="NAME", help="The member that it belongs to, by name or id.")
@click.option(
    "--scope", "scopes", multiple=True, default=("gateway",), show_default=True, help="What it is good for; may be repeated."
)
@with_settings
@PLACE
def create(settings: Settings, label: str, database: str | None, **given: Any) -> int:
    """Make a key and show it, once."""
    try:
        with closing(open_store(database)) as store:
            check_organization(store, given["organization"])
            owner = {name: given[name] for name in ("organization", "team", "member")}
            made, secret = store.create(label, scopes=given["scopes"], **owner, **_settings(given))
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
@click.option("--days", type=Positive(), metavar="N", help="Days from now until it expires.")
@with_settings
@PLACE
def set_key(settings: Settings, key_id: str, database: str | None, **given: Any) -> int:
    """Change a key by its id, which `list` shows: what is not said stays, and "none" takes a limit away."""
    said = _settings(given) | ({"label": given["label"]} if given["label"] is not None else {})
    if not said:
        raise UsageError("nothing is to be changed; give an option, such as --budget, --rpm, --models, --days or --label")
    try:
        with closing(open_store(database)) as store:
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
@PLACE
def rotate(settings: Settings, key_id: str, database: str | None) -> int:
    """Replace a key by a new one of the same id, limits and spend, and show it, once; the old one ends within two seconds."""
    with closing(open_store(database)) as store:
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


@make_command("list", suite=key, examples=("llmdispatcher server key list --organization acme --json",))
@click.option("--organization", metavar="NAME", help="Of one organization alone.")
@PLACE
def list_keys(settings: Settings, database: str | None, organization: str | None) -> int:
    """List all keys, the newest first, with their owners and what they have spent of their budget's present period."""
    with closing(open_store(database)) as store:
        if organization is not None and not store.all(organization):
            check_organization(store, organization)
        now, found = SYSTEM_CLOCK.now(), store.all(organization)
        names = {one.id: one.name for level in ("team", "member") for one in store.owners.all(level, organization)}
        spent = spent_of(store, found)
    owners = [_owner_text(one, names) for one in found]
    columns = [
        Column("id", [one.id for one in found]),
        Column("key", [one.shown for one in found]),
        Column("label", [one.label for one in found]),
        Column("owner", owners, nothing="default"),
        Column("state", [one.state(now) for one in found], nothing="active"),
        Column("models", [models_text(one) for one in found], nothing="all"),
        Column("limits", [limits_text(one) for one in found], nothing="none"),
        Column("spent", [budget_text(one, spent) for one in found], nothing="no budget"),
    ]
    records = [{**one.as_dict(), "state": one.state(now), "spent": spent.get(one.id)} for one in found]
    if not print_columns_of(settings, records, columns):
        say("llmdispatcher: there are no keys yet; `llmdispatcher server key create LABEL` makes one")
    return OK


def _owner_text(key: ApiKey, names: Mapping[str, str]) -> str:
    """The organization, the team and the member, as in ``acme/research/ann``; a removed one by its id."""
    return "/".join([key.organization, *[names.get(one, one) for one in (key.team, key.member) if one is not None]])


@make_command(
    "revoke",
    suite=key,
    examples=("llmdispatcher server key revoke 3f2a…",),
    codes="0 revoked, 1 there is no such key, 2 wrong usage, 130 interrupted",
)
@click.argument("key_id", metavar="ID", help="The id, which `list` shows.")
@PLACE
def revoke(settings: Settings, key_id: str, database: str | None) -> int:
    """Revoke a key by its id, which `list` shows."""
    with closing(open_store(database)) as store:
        done = store.revoke(key_id)
    if settings.json:
        tell_json({"id": key_id, "revoked": done})
    elif done:
        say(f"llmdispatcher: {key_id} is revoked; every gateway refuses it within two seconds")
    return OK if done else _missing(key_id)


def _missing(key_id: str) -> int:
    complain(f"{key_id}: there is no such key that is good; `llmdispatcher server key list` shows all")
    return FAILED


@make_command("migrate", suite=command, examples=("llmdispatcher server migrate --database postgresql://me@host/keys",))
@PLACE
def migrate(settings: Settings, database: str | None) -> int:
    """Make the tables of the keys' database, or bring them up to date; a gateway of the version before goes on with them."""
    with closing(open_store(database)) as store:
        store.prepare()
    if settings.json:
        tell_json({"migrated": True})
    elif not settings.quiet:
        say("the tables are up to date")
    return OK
