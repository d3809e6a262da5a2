"""``server org``, ``server team`` and ``server member``: make, change, list and remove the owners of keys."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from .options import make_command
from .server_settings import (
    NONE,
    ORGANIZATION,
    PLACE,
    Limit,
    budget_text,
    check_organization,
    limits_text,
    open_store,
    settings_of,
    spent_of,
    with_settings,
)
from .settings import Settings
from .tables import print_records
from .terminal import FAILED, OK, UsageError, complain, say, tell_json

if TYPE_CHECKING:
    from ..server import KeyOwner, KeyStore
    from .options import Suite

_OWN_OPTIONS = (
    click.option("--member-budget", metavar="USD", help="The budget of each member that has none of its own."),
    click.option("--most-keys", type=Limit(), help="Live keys of its own.  [default: 100]"),
    click.option("--suspend/--resume", "suspended", default=None, help="Refuse its keys, or take them again."),
)
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
                changed = None if found is None else store.owners.change(found.id, **said)
        except ConfigError as error:
            raise UsageError(error.message) from None
        if changed is None:
            return _missing(level, word, name)
        if settings.json:
            tell_json(changed.as_dict())
        else:
            say(f"llmdispatcher: the {level} {changed.name!r} is changed; every gateway obeys within two seconds")
        return OK

    set_owner.__doc__ = f'Change {_a(level)}: what is not said stays, and "none" takes a limit away.'
    command = click.argument("name", help="Its name or id.")(_with_place(level, _with_owner_settings(set_owner)))
    examples = (f"llmdispatcher server {word} set {_EXAMPLES[level].split()[0]} --budget 200/month",)
    make_command(
        "set", suite=suite, examples=examples, codes=f"0 changed, 1 there is no such {level}, 2 wrong usage, 130 interrupted"
    )(command)


def _add_list(suite: Suite, level: str, word: str) -> None:
    def list_owners(settings: Settings, database: str | None, organization: str | None) -> int:
        with closing(open_store(database)) as store:
            found = store.owners.all(level, organization)
            if organization is not None and not found:
                check_organization(store, organization)
            teams = {one.id: one.name for one in store.owners.all("team")} if level == "member" else {}
            spent = spent_of(store, found)
        rows = [
            (one.id, one.organization, teams.get(one.team or "", ""), one.name, limits_text(one), budget_text(one, spent))
            for one in found
        ]
        records = [{**one.as_dict(), "spent": spent.get(one.id)} for one in found]
        if not print_records(settings, records, ("id", "organization", "team", "name", "limits", "spent"), rows):
            say(f"llmdispatcher: there are none yet; `llmdispatcher server {word} create NAME` makes one")
        return OK

    list_owners.__doc__ = f"List all {level}s, with what they have spent of their budget's present period."
    command = click.option("--organization", metavar="NAME", help="Of one organization alone.")(PLACE(list_owners))
    make_command("list", suite=suite, examples=(f"llmdispatcher server {word} list --json",))(command)


def _add_remove(suite: Suite, level: str, word: str) -> None:
    def remove(settings: Settings, name: str, database: str | None, **given: Any) -> int:
        with closing(open_store(database)) as store:
            found = _find(store, level, name, given)
            revoked = None if found is None else store.owners.remove(found.id)
        if revoked is None:
            return _missing(level, word, name)
        if settings.json:
            tell_json({"name": name, "removed": True, "keys_revoked": revoked})
        else:
            say(f"llmdispatcher: the {level} {name!r} is removed, and {revoked} keys are revoked")
        return OK

    remove.__doc__ = f"Remove {_a(level)}, with all below it, and revoke their keys."
    command = click.argument("name", help="Its name or id.")(_with_place(level, remove))
    examples = (f"llmdispatcher server {word} remove {_EXAMPLES[level].split()[0]}",)
    make_command(
        "remove", suite=suite, examples=examples, codes=f"0 removed, 1 there is no such {level}, 2 wrong usage, 130 interrupted"
    )(command)


_EXAMPLES = {"organization": "acme", "team": "research --organization acme", "member": "ann --team research"}


def _a(level: str) -> str:
    return f"an {level}" if level == "organization" else f"a {level}"


def _find(store: KeyStore, level: str, name: str, given: dict[str, Any]) -> KeyOwner | None:
    try:
        return store.owners.find(level, name, organization=given.get("organization"), team=given.get("team"))
    except ConfigError as error:
        raise UsageError(error.message) from None


def _missing(level: str, word: str, name: str) -> int:
    complain(f"{name}: there is no such {level}; `llmdispatcher server {word} list` shows all")
    return FAILED
