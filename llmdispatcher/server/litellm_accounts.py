"""Organisations, teams, users, budgets with what is spent, and keys of a LiteLLM proxy, into a store of keys.

Keys come by their SHA-256, so that who has one changes the address only. What is there already stays as it is: a second run makes
what the first did not come to.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import attrs

from ..errors import ConfigError
from .keys import ApiKey, KeyStore
from .litellm_dump import Dump, DumpRow
from .policies import MOST_LIVE_KEYS, KeyOwner

PERSONAL = "personal"
"""The team of users who have keys without a team."""
_LIMITS = {"rpm_limit": "requests_per_minute", "tpm_limit": "tokens_per_minute", "max_parallel_requests": "in_flight"}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DURATION = re.compile(r"(\d+)\s*(s|m|h|d|w|mo)")
_DAYS = {"s": 1 / 86_400, "m": 1 / 1440, "h": 1 / 24, "d": 1.0, "w": 7.0, "mo": 30.0}
_ALL_MODELS = ("all-proxy-models", "all-team-models", "*")
_OTHERS = {
    "SpendLogs": "records of calls; nothing of them is kept here",
    "ProxyModelTable": "",
    "OrganizationMembership": "there are no accounts of people here",
    "EndUserTable": "spend belongs to keys; a request's user is a tag",
    "TagTable": "budgets belong to keys, members, teams and organisations",
    "ProjectTable": "keys belong to their team",
    "Config": "give the settings in config.yaml",
    "CredentialsTable": "encrypted with LiteLLM's salt; write them into the file",
    "ObjectPermissionTable": "there are no such permissions here",
    "AuditLog": "a record of the past",
}


@attrs.frozen
class ImportedRow:
    """What became of a row: ``outcome`` is "landed", "changed" or "left", and ``text`` says what is different, or why."""

    place: str
    outcome: str
    text: str


def import_accounts(dump: Dump, store: KeyStore) -> list[ImportedRow]:
    """Bring the rows of a dump into a store; returns a line for each row, or for each table where none is brought.

    Raises :class:`VendorUnavailable` while the store is away; what is done by then stays, and a second run goes on.
    """
    return _Accounts(dump, store).run()


def budget_text_of(amount: float | None, duration: str | None) -> tuple[str | None, str]:
    """A budget as ours are written, and what is different, for LiteLLM's amount and duration; ours have a day, a month, or no end.

    Of a duration between these the part of a day or a month is taken.
    """
    if amount is None:
        return None, ""
    found = _DURATION.fullmatch((duration or "").strip().lower())
    limit = Decimal(str(amount))
    if found is None:
        return f"{_cents(limit)}", "" if not duration else f"its duration {duration[:20]!r} is not known, so it has no end"
    days = int(found[1]) * _DAYS[found[2]]
    if 28 <= days <= 31:
        return f"{_cents(limit)}/month", ""
    if days == 1:
        return f"{_cents(limit)}/day", ""
    if days < 1:
        return f"{_cents(limit)}/day", f"${limit:f} in {duration} is as much in a day here"
    if days < 28:
        daily = _cents(limit / Decimal(str(days)))
        return f"{daily}/day", f"${limit:f} in {duration} is ${daily} a day here"
    monthly = _cents(limit * 30 / Decimal(str(days)))
    return f"{monthly}/month", f"${limit:f} in {duration} is ${monthly} a month here"


def _cents(amount: Decimal) -> str:
    return f"{amount.quantize(Decimal('0.000001'), ROUND_HALF_UP).normalize():f}"


def _models(names: Sequence[str]) -> list[str] | None:
    """The globs for a list of LiteLLM's models, of which an empty one is all."""
    if not names or any(name in _ALL_MODELS for name in names):
        return None
    return [name for name in names if name != "no-default-models"]


class _Accounts:
    def __init__(self, dump: Dump, store: KeyStore) -> None:
        self._dump, self._store = dump, store
        self._lines: list[ImportedRow] = []
        self._budgets = {row.text("budget_id"): row for row in dump.rows["BudgetTable"]}
        self._users = {row.text("user_id"): row for row in dump.rows["UserTable"]}
        self._memberships = {(row.text("team_id"), row.text("user_id")): row for row in dump.rows["TeamMembership"]}
        self._organizations: dict[str, str] = {}
        self._teams: dict[str, KeyOwner] = {}
        self._members: dict[tuple[str | None, str], KeyOwner] = {}
        self._keys_of: dict[tuple[str | None, str | None, str | None], int] = {}
        self._now = store.clock.now()

    def run(self) -> list[ImportedRow]:
        for key in self._dump.rows["VerificationToken"]:
            owner = (key.text("organization_id"), key.text("team_id"), key.text("user_id"))
            self._keys_of[owner] = self._keys_of.get(owner, 0) + 1
        for row in self._dump.rows["OrganizationTable"]:
            self._guarded(f"organization {row.text('organization_alias')}", self._organization, row)
        for row in self._dump.rows["TeamTable"]:
            self._guarded(f"team {row.text('team_alias') or row.text('team_id')}", self._team, row)
        for user in self._users.values():
            self._guarded(f"user {_person(user)}", self._user, user)
        for row in self._dump.rows["VerificationToken"]:
            self._guarded(f"key {_label(row)}", self._key, row)
        for row in self._dump.rows["ProxyModelTable"]:
            place = f"model {row.text('model_name')}"
            self._say(place, "left", "its keys are encrypted with LiteLLM's salt; write it into the file")
        for table, count in self._dump.others.items():
            self._say(f"{table} ({count} rows)", "left", _OTHERS.get(table, "there is nothing of the kind here"))
        return self._lines

    def _say(self, place: str, outcome: str, text: str) -> None:
        self._lines.append(ImportedRow(place[:200], outcome, text))

    def _guarded(self, place: str, work: Any, row: DumpRow) -> None:
        try:
            work(place, row)
        except ConfigError as error:
            self._say(place, "left", error.message)

    # Owners

    def _organization(self, place: str, row: DumpRow) -> None:
        name = self._free(row.text("organization_alias") or row.text("organization_id") or "", self._organizations.values(), row)
        self._organizations[row.text("organization_id") or ""] = name
        keys = sum(count for (of, team, user), count in self._keys_of.items() if of == row.text("organization_id") and not team)
        self._owner(place, row, "organization", name, keys=keys)

    def _team(self, place: str, row: DumpRow) -> None:
        team_id, organization = row.text("team_id") or "", self._organization_of(row)
        names = [team.name for team in self._teams.values() if team.organization == organization]
        name = self._free(row.text("team_alias") or team_id, names, row)
        keys = sum(count for (_of, team, user), count in self._keys_of.items() if team == team_id and not user)
        self._teams[team_id] = self._owner(place, row, "team", name, organization=organization, keys=keys)
        people = {str(one.get("user_id")) for one in row.objects("members_with_roles") if one.get("user_id")}
        people |= {user for team, user in self._memberships if team == team_id and user} | set(row.texts("members"))
        for user in sorted(people):
            self._guarded(f"member {user} of {name}", lambda where, _row, user=user: self._member(where, team_id, user), row)

    def _user(self, place: str, row: DumpRow) -> None:
        """Those with a team are its members; the others get one of their own when they have keys."""
        user = row.text("user_id") or ""
        teams = [team for team, one in self._members if one == user]
        if not teams and not any(of == user and team is None for _organization, team, of in self._keys_of):
            self._say(place, "left", "it has no team and no keys")
        elif row.number("max_budget") is not None and teams:
            self._say(place, "changed", "its own budget holds for its keys without a team; in a team the member's does")

    def _member(self, place: str, team_id: str | None, user: str) -> KeyOwner:
        """A user in a team, or among those who have keys without one; made where it is not there."""
        there = self._members.get((team_id, user))
        if there is not None:
            return there
        row = self._users.get(user)
        team = self._teams.get(team_id or "")
        if team_id is None:
            organization = self._organization_of(row) if row is not None else "default"
            team = self._store.owners.ensure("team", PERSONAL, organization=organization)
            told = row or DumpRow({})
        else:
            told = self._memberships.get((team_id, user)) or DumpRow({})
        if team is None:
            raise ConfigError(f"team: {str(team_id)[:80]!r} is not in the dump")
        names = [one.name for one in self._members.values() if one.team == team.id]
        name = self._free((_person(row) if row is not None else None) or user, names, DumpRow({"id": user}))
        keys = sum(count for (_of, of_team, of), count in self._keys_of.items() if (of_team, of) == (team_id, user))
        made = self._owner(place, told, "member", name, organization=team.organization, team=team.id, keys=keys)
        self._members[team_id, user] = made
        return made

    def _owner(  # noqa: PLR0913 - whose it is, by keyword
        self,
        place: str,
        row: DumpRow,
        level: str,
        name: str,
        *,
        organization: str | None = None,
        team: str | None = None,
        keys: int = 0,
    ) -> KeyOwner:
        there = self._store.owners.find(level, name, organization=organization, team=team)
        settings, changed = self._policy(row)
        if row.flag("blocked"):
            settings["suspended"] = True
        if keys > MOST_LIVE_KEYS:
            settings["most_keys"] = keys * 2
        made = there or self._store.owners.create(level, name, organization=organization, team=team, **settings)
        self._landed(place, made, row, changed, there=there is not None)
        return made

    def _landed(self, place: str, made: KeyOwner | ApiKey, row: DumpRow, changed: Sequence[str], *, there: bool) -> None:
        """Bring what is spent, where nothing is counted yet, and say so."""
        spend, reset = row.number("spend"), row.moment("budget_reset_at")
        counts = spend and made.budget is not None and (reset is None or reset > self._now)
        if spend and counts and not self._store.spent([made]).get(made.id):
            self._store.set_spent(made, Decimal(str(round(spend, 9))))
        text = "was here already, and stays as it is" if there else "; ".join(changed) or "as it was"
        self._say(place, "changed" if changed and not there else "landed", text)

    def _policy(self, row: DumpRow) -> tuple[dict[str, Any], list[str]]:
        """The settings of a row, with those of the budget that it names, and what is different."""
        shared = self._budgets.get(row.text("budget_id")) if row.text("budget_id") else None
        changed: list[str] = []
        settings: dict[str, Any] = {"models": _models(row.texts("models"))}
        for source in [one for one in (shared, row) if one is not None]:  # a row's own win
            amount = source.number("max_budget")
            budget, told = budget_text_of(amount, source.text("budget_duration"))
            if budget is not None:
                settings["budget"] = budget
                changed = [told] if told else []
            for theirs, ours in _LIMITS.items():
                if (number := source.number(theirs)) is not None and number >= 1:
                    settings[ours] = int(number)
        settings["tags"] = [str(tag) for tag in _listed(row.table("metadata").get("tags"))][:20]
        by_model = [*_model_budgets(row.table("model_max_budget"))]
        if by_model:
            settings["model_budgets"] = by_model
        if row.number("soft_budget") is not None:
            changed.append("its soft budget warned only, and is left out")
        return settings, changed

    def _organization_of(self, row: DumpRow) -> str:
        return self._organizations.get(row.text("organization_id") or "", "default")

    @staticmethod
    def _free(name: str, taken: Any, row: DumpRow) -> str:
        """A name that no other row has: LiteLLM's may be the same."""
        name = "".join([letter for letter in name if letter.isprintable()])[:180] or "unnamed"
        ident = row.text("team_id") or row.text("organization_id") or row.text("id") or ""
        return f"{name} ({ident[:12]})" if name in set(taken) else name

    # Keys

    def _key(self, place: str, row: DumpRow) -> None:
        token, expires = row.text("token") or "", row.moment("expires")
        digest = hashlib.sha256(token.encode()).hexdigest() if token.startswith("sk-") else token.lower()
        if not _DIGEST.fullmatch(digest):
            self._say(place, "left", "its token is no SHA-256, so it belongs to no key that anybody has")
            return
        if row.flag("blocked") or (expires is not None and expires <= self._now):
            self._say(place, "left", "it is blocked" if row.flag("blocked") else "it has expired")
            return
        there = self._store.find_digest(digest)
        settings, changed = self._policy(row)
        settings["expires_at"] = expires
        if row.text("project_id"):
            changed.append("it belongs to its team, not to a project")
        if not row.text("team_id") and not row.text("user_id") and self._organization_of(row) == "default":
            named = row.text("organization_id")
            changed.append(f"its organization {named[:80]!r} is not in the dump" if named else "it has no organization")
            changed[-1] += ", so it is in the organization 'default'"
        changed += [f"{name} is left out" for name in ("aliases", "permissions", "config") if row.table(name)]
        changed += ["allowed_routes is left out: paths are what scopes say"] if row.texts("allowed_routes") else []
        made = there or self._made(place, row, digest, settings)
        self._landed(place, made, row, changed, there=there is not None)

    def _made(self, place: str, row: DumpRow, digest: str, settings: Mapping[str, Any]) -> ApiKey:
        team_id, user = row.text("team_id"), row.text("user_id")
        organization, team, member = self._organization_of(row), None, None
        if user is not None and (team_id is not None or user in self._users):
            person = self._member(f"member {user} for {place}", team_id, user)
            organization, team, member = person.organization, person.team, person.id
        elif team_id is not None:
            if team_id not in self._teams:
                raise ConfigError(f"team: {team_id[:80]!r} is not in the dump")
            organization, team = self._teams[team_id].organization, self._teams[team_id].id
        made, _none = self._store.create(
            _label(row), organization=organization, team=team, member=member, digest=digest, **settings
        )
        return made


def _model_budgets(told: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for model, one in told.items():
        fields = one if isinstance(one, Mapping) else {"budget_limit": one}
        limit = fields.get("budget_limit", fields.get("max_budget"))
        duration = fields.get("time_period", fields.get("budget_duration"))
        if isinstance(limit, int | float) and not isinstance(limit, bool) and limit >= 0:
            budget, _told = budget_text_of(limit, str(duration) if duration else None)
            yield {"models": model, "budget": budget}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _person(row: DumpRow) -> str | None:
    return row.text("user_email") or row.text("user_alias") or row.text("user_id")


def _label(row: DumpRow) -> str:
    name = row.text("key_alias") or row.text("key_name") or (row.text("token") or "")[:12]
    return "".join([letter for letter in name if letter.isprintable()])[:250] or "imported"
