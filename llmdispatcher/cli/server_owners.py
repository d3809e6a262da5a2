"""``server org``, ``server team`` and ``server member``: make, change, list and remove the owners of keys."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from ..types import choices
from .options import make_command
from .server_settings import (
    NONE,
    ORGANIZATION,
    PLACE,
    Column,
    Limit,
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
from .settings import Settings
from .terminal import OK, UsageError, say, tell_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..server import KeyOwner, KeyStore
    from .options import Suite

_OWN_OPTIONS = (
    click.option("--member-budget", metavar="USD", help="The budget of each member that has none of its own."),
    click.option("--most-keys", type=Limit(), help="Live keys of its own.  [default: 100]"),
    click.option("--suspend/--resume", "suspended", default=None, help="Refuse its keys, or take them again."),
)
_MOST_TOLD = 20
_OWN = {"member_budget": "member_budget", "most_keys": "most_keys", "suspended": "suspended"}


def _with_owner_settings(function: Any) -> Any:
    for option in reversed(_OWN_OPTIONS):
        function = option(function)
    return with_settings(function)


def _with_place(level: str, function: Any) -> Any:
    function = PLACE(function)
    if level == "member":
        function = click.option("--team", metavar="NAME", help="The team, by name or id.")(function)
    if level != "organization":
        function = ORGANIZATION(function)
    return function


def _owner_settings(given: dict[str, Any]) -> dict[str, Any]:
    own = {field: given[name] for name, field in _OWN.items() if given[name] is not None}
    return {**settings_of(given), **{name: None if value == NONE else value for name, value in own.items()}}


def add_owner_commands(suite: Suite, level: str, word: str) -> None:
    """Add the commands for owners of a level, under the word by which the command line knows them."""
    _add_create(suite, level, word)
    _add_set(suite, level, word)
    _add_list(suite, level, word)
    _add_remove(suite, level, word)


def _add_create(suite: Suite, level: str, word: str) -> None:
    def create(settings: Settings, name: str, database: str | None, **given: Any) -> int:
        place = {key: given[key] for key in ("organization", "team") if given.get(key) is not None}
        try:
            with closing(open_store(database)) as store:
                if level != "organization":
                    check_organization(store, given["organization"])
                made = store.owners.create(level, name, **place, **_owner_settings(given))
        except ConfigError as error:
            raise UsageError(error.message) from None
        if settings.json:
            tell_json(made.as_dict())
        else:
            say(f"llmdispatcher: the {level} {name!r} is made, id {made.id}")
        return OK

    create.__doc__ = f"Make {_a(level)}; its limits and budgets hold for all of its keys together."
    create = _with_place(level, _with_owner_settings(create))
    create = click.argument("name", help="Its name.")(create)
    make_command("create", suite=suite, examples=(f"llmdispatcher server {word} create {_EXAMPLES[level]} --budget 100/month",))(
        create
    )


def _add_set(suite: Suite, level: str, word: str) -> None:
    def set_owner(settings: Settings, name: str, database: str | None, **given: Any) -> int:
        said = _owner_settings(given)
        if not said:
            raise UsageError("nothing is to be changed; give an option, such as --budget")
        try:
            with closing(open_store(database)) as store:
                found = _find(store, level, name, given)
                changed = store.owners.change(found.id, **said) or found
        except ConfigError as error:
            raise UsageError(error.message) from None
        if settings.json:
            tell_json(changed.as_dict())
        else:
            say(f"llmdispatcher: the {level} {changed.name!r} is changed; every gateway obeys within two seconds")
        return OK

    set_owner.__doc__ = f'Change {_a(level)}: what is not said stays, and "none" takes a limit away.'
    command = click.argument("name", help="Its name or id.")(_with_place(level, _with_owner_settings(set_owner)))
    examples = (f"llmdispatcher server {word} set {_EXAMPLES[level].split()[0]} --budget 200/month",)
    make_command("set", suite=suite, examples=examples)(command)


def _add_list(suite: Suite, level: str, word: str) -> None:
    def list_owners(settings: Settings, database: str | None, **given: Any) -> int:
        organization, team = given.get("organization"), given.get("team")
        with closing(open_store(database)) as store:
            found = store.owners.all(level, organization)
            if organization is not None and not found:
                check_organization(store, organization)
            teams = {one.id: one.name for one in store.owners.all("team", organization)} if level == "member" else {}
            if team is not None:
                chosen = _teams_named(teams, team)
                found = [one for one in found if one.team in chosen]
            in_force = store.owners.with_defaults(found)
            spent = spent_of(store, in_force)
        columns = [
            Column("id", [one.id for one in found]),
            Column("organization", [one.organization for one in found], nothing="" if level != "organization" else None),
            Column("team", [teams.get(one.team or "", "") for one in found], nothing=""),
            Column("name", [one.name for one in found]),
            Column("state", ["suspended" if one.suspended else "active" for one in found], nothing="active"),
            Column("models", [models_text(one) for one in found], nothing="all"),
            Column("limits", [limits_text(one) for one in found], nothing="none"),
            Column("spent", [budget_text(one, spent) for one in in_force], nothing="no budget"),
            Column("each member", [_member_budget(one) for one in found], nothing="no budget"),
        ]
        records = [
            {**one.as_dict(), "spent": spent.get(one.id), **_default(one, real)} for one, real in zip(found, in_force, strict=True)
        ]
        if not print_columns_of(settings, records, columns):
            say(f"llmdispatcher: there are none yet; `llmdispatcher server {word} create NAME` makes one")
        return OK

    list_owners.__doc__ = f"List all {level}s, with what they have spent of their budget's present period."
    command = PLACE(list_owners)
    if level == "member":
        command = click.option("--team", metavar="NAME", help="Of one team alone, by name or id.")(command)
    command = click.option("--organization", metavar="NAME", help="Of one organization alone.")(command)
    make_command("list", suite=suite, examples=(f"llmdispatcher server {word} list --json",))(command)


def _teams_named(teams: Mapping[str, str], wanted: str) -> list[str]:
    """The ids of the teams of a name, or the one of an id. Raises :class:`UsageError` where there is none."""
    found = [number for number, name in teams.items() if wanted in (number, name)]
    if not found:
        raise UsageError(
            f"--team: there is no team {wanted[:80]!r}; {choices(wanted, list(teams.values())[:_MOST_TOLD], 'there are {}')}"
        )
    return found


def _member_budget(owner: KeyOwner) -> str:
    return "no budget" if owner.member_budget is None else f"${owner.as_dict()['member_budget']}"


def _default(owner: KeyOwner, in_force: KeyOwner) -> dict[str, Any]:
    """What a member without a budget has in its place, for JSON."""
    if owner.level != "member":
        return {}
    return {"default_budget": in_force.as_dict()["budget"] if owner.budget is None else None}


def _add_remove(suite: Suite, level: str, word: str) -> None:
    def remove(settings: Settings, name: str, database: str | None, **given: Any) -> int:
        with closing(open_store(database)) as store:
            revoked = store.owners.remove(_find(store, level, name, given).id) or 0
        if settings.json:
            tell_json({"name": name, "removed": True, "keys_revoked": revoked})
        else:
            say(f"llmdispatcher: the {level} {name!r} is removed, and {revoked} keys are revoked")
        return OK

    remove.__doc__ = f"Remove {_a(level)}, with all below it, and revoke their keys."
    command = click.argument("name", help="Its name or id.")(_with_place(level, remove))
    examples = (f"llmdispatcher server {word} remove {_EXAMPLES[level].split()[0]}",)
    make_command("remove", suite=suite, examples=examples)(command)


_EXAMPLES = {"organization": "acme", "team": "research --organization acme", "member": "ann --team research"}


def _a(level: str) -> str:
    return f"an {level}" if level == "organization" else f"a {level}"


def _find(store: KeyStore, level: str, name: str, given: dict[str, Any]) -> KeyOwner:
    """The owner. Raises :class:`UsageError` with the name that was probably meant, where there is none."""
    if level != "organization":
        check_organization(store, given["organization"])
    try:
        return store.owners.require(level, name, organization=given.get("organization"), team=given.get("team"))
    except ConfigError as error:
        raise UsageError(error.message) from None
