"""Organizations, their teams and the members of teams: made, changed, listed and removed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs
import sqlalchemy as sa

from ..accounting import Budget
from ..errors import ConfigError
from ..runtime import Clock
from ..types import choices
from .key_database import KeyDatabase, telling_twins
from .key_database import keys as _keys
from .key_database import owners as _owners
from .key_rows import columns_of, owner_of
from .policies import LEVELS, OF_OWNERS, KeyOwner, a_level, check_name, default_budget, read_settings

_MOST_NAME, _MOST_TOLD = 200, 20


class KeyOwners:
    """The owners of keys in one database; ``changed`` is called after each change."""

    def __init__(self, database: KeyDatabase, clock: Clock, changed: Callable[[], None]) -> None:
        self._database, self._clock, self._changed = database, clock, changed

    def create(
        self, level: str, name: str, *, organization: str | None = None, team: str | None = None, **settings: Any
    ) -> KeyOwner:
        """Make an organization, a team of one, or a member of a team; returns it with its new id.

        ``team`` is the name or id of a member's team. An organization that has no row yet gets one with its first team.
        ``settings`` are those of :class:`KeyPolicy`, ``member_budget``, ``most_keys`` and ``suspended``. Raises
        :class:`ConfigError` for a value that cannot be, and for a name that is there already.
        """
        owner = self._new(level, name, organization, team, settings)

        def make(connection: sa.Connection) -> None:
            if level == "team":
                _ensure_organization(connection, owner.organization, self._clock.now())
            connection.execute(_owners.insert().values(**_row(owner)))

        with telling_twins(f"name: there is {a_level(level)} {name[:80]!r} already; change it, or give another name"):
            self._database.write(make)
        self._changed()
        return owner

    def ensure(
        self, level: str, name: str, *, organization: str | None = None, team: str | None = None, **settings: Any
    ) -> KeyOwner:
        """Make an owner, or change the settings of the one of that name: the same call twice changes nothing the second time."""
        found = self.find(level, name, organization=organization, team=team)
        if found is None:
            return self.create(level, name, organization=organization, team=team, **settings)
        return (self.change(found.id, **settings) if settings else found) or found

    def _new(self, level: str, name: str, organization: str | None, team: str | None, settings: Mapping[str, Any]) -> KeyOwner:
        if level not in LEVELS:
            raise ConfigError(f"level: {level!r} is none; use {', '.join(LEVELS)}")
        check_name("name", name, _MOST_NAME)
        holder = name if level == "organization" else check_name("organization", organization or "default", _MOST_NAME)
        team_id = None
        if level == "member":
            if team is None:
                raise ConfigError("team: a member belongs to a team; give its name or id")
            team_id = self.require("team", team, organization=holder).id
        elif team is not None:
            raise ConfigError(f"team: {a_level(level)} has none; leave it out")
        read = read_settings(settings, OF_OWNERS)
        made = {"id": secrets.token_hex(16), "created_at": self._clock.now()}
        return KeyOwner(level=level, organization=holder, team=team_id, name=name, **made, **read)  # type: ignore[arg-type]  # as read

    def find(self, level: str, name: str, *, organization: str | None = None, team: str | None = None) -> KeyOwner | None:
        """The owner of a name or id, ``None`` where there is none. ``team`` is the name or id of a member's team."""
        holder = name if level == "organization" else organization or "default"
        if team is not None:
            found = self.find("team", team, organization=holder)
            if found is None:
                return None
            team = found.id
        listed = [one for one in self.all(level, None if level == "organization" else holder) if team in (None, one.team)]
        by_name = [one for one in listed if one.name == name]
        if len(by_name) > 1:
            raise ConfigError(f"{level}: {name[:80]!r} is the name of {len(by_name)}, in several teams; give the team, or an id")
        return by_name[0] if by_name else next((one for one in listed if one.id == name), None)

    def require(self, level: str, name: str, *, organization: str | None = None, team: str | None = None) -> KeyOwner:
        """The owner of a name or id. Raises :class:`ConfigError` where there is none."""
        found = self.find(level, name, organization=organization, team=team)
        if found is not None:
            return found
        if team is not None:
            self.require("team", team, organization=organization)
        is_top = level == "organization"
        known = [one.name for one in self.all(level, None if is_top else organization or "default")]
        where = "" if is_top else f" in the organization {(organization or 'default')[:80]!r}"
        hint = choices(name, known[:_MOST_TOLD], "there are {}") if known else "there are none yet"
        make = f"`llmdispatcher server {'org' if is_top else level} create` makes one"
        raise ConfigError(f"{level}: there is no {level} {name[:80]!r}{where}; {hint if hint.endswith('?') else f'{hint};'} {make}")

    def all(self, level: str | None = None, organization: str | None = None, team: str | None = None) -> list[KeyOwner]:
        """All owners that are not removed, by name; of one level, organization or team id."""
        query = sa.select(_owners).where(_owners.c.removed_at.is_(None)).order_by(_owners.c.name, _owners.c.id)
        for column, value in ((_owners.c.level, level), (_owners.c.organization, organization), (_owners.c.team, team)):
            if value is not None:
                query = query.where(column == value)
        return self._database.read(lambda connection: [owner_of(row) for row in connection.execute(query).mappings()])

    def with_defaults(self, listed: Sequence[KeyOwner]) -> list[KeyOwner]:
        """The owners, members with the budget that is in force for them: their own, else the default of team or organization."""
        if not any(one.level == "member" and one.budget is None for one in listed):
            return list(listed)
        teams = {one.id: one for one in self.all("team")}
        tops = {one.name: one for one in self.all("organization")}

        def budget_of(one: KeyOwner) -> Budget | None:
            if one.level != "member" or one.budget is not None:
                return one.budget
            above = (tops.get(one.organization), teams.get(one.team or ""))
            return default_budget([owner for owner in above if owner is not None])

        return [attrs.evolve(one, budget=budget_of(one)) for one in listed]

    def change(self, owner_id: str, **settings: Any) -> KeyOwner | None:
        """Change settings; ``None`` takes a limit away. Returns the owner, ``None`` where there is none of that id.

        In force everywhere in two seconds. Raises :class:`ConfigError` for a value that cannot be.
        """
        columns = columns_of(read_settings(settings, OF_OWNERS))
        here = (_owners.c.id == owner_id, _owners.c.removed_at.is_(None))

        def put(connection: sa.Connection) -> KeyOwner | None:
            if columns:
                connection.execute(_owners.update().where(*here).values(**columns))
            row = connection.execute(sa.select(_owners).where(*here)).mappings().first()
            return None if row is None else owner_of(row)

        changed = self._database.write(put)
        self._changed()
        return changed

    def remove(self, owner_id: str) -> int | None:
        """Remove an owner with its teams and members, and revoke all of their keys; returns how many, ``None`` where there is none.

        Its name may be given again; what was spent stays in the records.
        """

        def take(connection: sa.Connection) -> int | None:
            here = (_owners.c.id == owner_id, _owners.c.removed_at.is_(None))
            row = connection.execute(sa.select(_owners).where(*here)).mappings().first()
            if row is None:
                return None
            below, of_keys = _below(owner_of(row))
            now = self._clock.now()
            for one in connection.execute(
                sa.select(_owners.c.id, _owners.c.name).where(below, _owners.c.removed_at.is_(None))
            ).all():
                renamed = {"name": f"{one.name}\n{one.id}", "removed_at": now}
                connection.execute(_owners.update().where(_owners.c.id == one.id).values(**renamed))
            revoked = _keys.update().where(of_keys, _keys.c.revoked_at.is_(None)).values(revoked_at=now)
            return connection.execute(revoked).rowcount

        removed = self._database.write(take)
        self._changed()
        return removed


def _below(owner: KeyOwner) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """What selects an owner and the owners below it, and what selects the keys of all of them."""
    if owner.level == "organization":
        return _owners.c.organization == owner.organization, _keys.c.organization == owner.organization
    if owner.level == "team":
        return sa.or_(_owners.c.id == owner.id, _owners.c.team == owner.id), _keys.c.team == owner.id
    return _owners.c.id == owner.id, _keys.c.member == owner.id


def _row(owner: KeyOwner) -> dict[str, Any]:
    return {**columns_of(attrs.asdict(owner, recurse=False)), "team": owner.team or ""}


def _ensure_organization(connection: sa.Connection, name: str, now: datetime) -> None:
    there = sa.select(_owners.c.id).where(_owners.c.level == "organization", _owners.c.organization == name, _owners.c.name == name)
    if connection.execute(there).first() is None:
        made = KeyOwner(id=secrets.token_hex(16), level="organization", organization=name, name=name, created_at=now)
        connection.execute(_owners.insert().values(**_row(made)))
