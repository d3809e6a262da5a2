"""``/api/v1/keys``: a key with the scope ``keys`` makes, changes, lists and revokes the keys of its owner.

A member's key manages the member's keys, a team's service key those of the team and its members, and one of the organization alone
all keys of the organization. What it makes never has more than it has itself: scopes, models, vendors, limits, budget and expiry,
each of which a new key has from its maker where the request does not say it. A key with the scope ``operator`` may give every
scope.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ...errors import ConfigError, VendorUnavailable
from ..keys import LIMITS, SCOPES, ApiKey, KeyStore, matches_any, read_settings
from ..policies import OF_KEYS, KeyOwner
from .formats import GatewayError

MOST_BODY = 1 << 20
"""Bytes of a body here."""
_SETTINGS = tuple(OF_KEYS)
_FIELDS = ("label", "scopes", "team", "member", *_SETTINGS[1:])
_T = TypeVar("_T")


def list_keys(store: KeyStore, maker: ApiKey) -> dict[str, Any]:
    """The keys that the maker manages, the newest first, with what they have spent."""
    return {"keys": _records(store, _managed(store, maker))}


def show_key(store: KeyStore, maker: ApiKey, key_id: str) -> dict[str, Any]:
    """A key that the maker manages, by its id. Raises :class:`GatewayError` with 404 for another's."""
    return _records(store, [_one(store, maker, key_id)])[0]


def make_key(store: KeyStore, maker: ApiKey, body: bytes) -> dict[str, Any]:
    """Make a key; what is returned has it, once. Raises :class:`GatewayError` for a mistake, and for more than the maker has."""
    fields = _read(body, _FIELDS)
    scopes = fields.pop("scopes", None) or ["gateway"]
    if not isinstance(scopes, list) or not all(isinstance(scope, str) and scope in SCOPES for scope in scopes):
        raise _wrong("scopes", f"scopes: give a list of {', '.join(SCOPES)}")
    return _naming_field(lambda: _make(store, maker, scopes, {name: value for name, value in fields.items() if value is not None}))


def _make(store: KeyStore, maker: ApiKey, scopes: list[Any], fields: dict[str, Any]) -> dict[str, Any]:
    team, member = _owner(store, maker, fields.pop("team", None), fields.pop("member", None))
    settings = read_settings(fields)
    if "label" not in settings:
        raise ConfigError("label: it is missing; say what the key is for")
    allowed, within = _scopes(maker, scopes), _within(maker, settings)
    made, secret = store.create(organization=maker.organization, team=team, member=member, scopes=allowed, **within)
    return {**_records(store, [made])[0], "key": secret}


def change_key(store: KeyStore, maker: ApiKey, key_id: str, body: bytes) -> dict[str, Any]:
    """Change settings of a key; ``null`` takes a limit away, which is then the maker's. Raises :class:`GatewayError` as above."""
    _one(store, maker, key_id)
    fields = _read(body, _SETTINGS)

    def change() -> ApiKey | None:
        settings = read_settings(fields)
        within = _within(maker, {name: value for name, value in settings.items() if value is not None})
        return store.change(key_id, maker.organization, **{name: within.get(name, settings[name]) for name in settings})

    changed = _naming_field(change)
    if changed is None:
        raise _unknown()
    return _records(store, [changed])[0]


def rotate_key(store: KeyStore, maker: ApiKey, key_id: str) -> dict[str, Any]:
    """Give a key a new secret, which is returned once. Raises :class:`GatewayError` as above, and for a key with more."""
    _check_no_more(maker, _one(store, maker, key_id))
    rotated = store.rotate(key_id, maker.organization)
    if rotated is None:
        raise _unknown()
    key, secret = rotated
    return {**_records(store, [key])[0], "key": secret}


def revoke_key(store: KeyStore, maker: ApiKey, key_id: str) -> dict[str, Any]:
    """Revoke a key. Raises :class:`GatewayError` with 404 for another's, and for one that is revoked already."""
    _one(store, maker, key_id)
    if not store.revoke(key_id, maker.organization):
        raise _unknown()
    return {"id": key_id, "revoked": True}


def _managed(store: KeyStore, maker: ApiKey) -> list[ApiKey]:
    if maker.member is not None:
        return store.all(maker.organization, member=maker.member)
    return store.all(maker.organization, team=maker.team)


def _one(store: KeyStore, maker: ApiKey, key_id: str) -> ApiKey:
    found = next((key for key in _managed(store, maker) if key.id == key_id), None)
    if found is None:
        raise _unknown()
    return found


def _owner(store: KeyStore, maker: ApiKey, team: Any, member: Any) -> tuple[str | None, str | None]:
    """The ids of the team and the member that a new key is for: the maker's own, or for a larger one those it names."""
    for field, value in (("team", team), ("member", member)):
        if value is not None and not (isinstance(value, str) and value):
            raise ConfigError(f"{field}: {str(value)[:40]!r} is no name; give a name or an id")
    teams = None if team is None else store.owners.find("team", team, organization=maker.organization)
    if team is not None and (teams is None or maker.team not in (None, teams.id)):
        raise ConfigError(f"team: there is no team {team[:80]!r} here")
    team_id = maker.team if teams is None else teams.id
    if member is None:
        return team_id, maker.member
    person = _person(store, maker, member, team_id)
    if person is None or maker.member not in (None, person.id):
        raise ConfigError(f"member: there is no member {member[:80]!r} here")
    return person.team, person.id


def _person(store: KeyStore, maker: ApiKey, member: str, team: str | None) -> KeyOwner | None:
    return store.owners.find("member", member, organization=maker.organization, team=team)


def _records(store: KeyStore, keys: list[ApiKey]) -> list[dict[str, Any]]:
    spent = spent_by(store, keys)
    return [{**key.as_dict(), "state": key.state(store.clock.now()), "spent": spent.get(key.id)} for key in keys]


def spent_by(store: KeyStore, keys: list[ApiKey]) -> dict[str, str]:
    """US dollars as texts, by id, of the keys with a budget; nothing while the budgets cannot be looked at."""
    try:
        return {key_id: f"{amount:f}" for key_id, amount in store.spent(keys).items()}
    except VendorUnavailable:
        return {}


def _naming_field(work: Callable[[], _T]) -> _T:
    """What work returns; a mistake in a setting names its field."""
    try:
        return work()
    except ConfigError as error:
        raise _wrong(error.message.partition(":")[0].partition("[")[0].partition(".")[0], error.message) from None


def _read(body: bytes, known: tuple[str, ...]) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except json.JSONDecodeError as error:
        raise _wrong(None, f"the body is no JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError):
        raise _wrong(None, "the body is no JSON that can be read") from None
    if not isinstance(fields, dict):
        raise _wrong(None, 'the body is no object; give one such as {"label": "the batch team"}')
    unknown = next((name for name in fields if name not in known), None)
    if unknown is not None:
        raise _wrong(unknown[:80], f"{unknown[:80]}: this is no field of a key; use {', '.join(known)}")
    return fields


def _scopes(maker: ApiKey, wanted: list[Any]) -> list[str]:
    more = next((scope for scope in wanted if scope not in maker.scopes), None)
    if more is not None and "operator" not in maker.scopes:
        raise _more("scopes", f"{more!r}")
    return list(dict.fromkeys(wanted))


def _check_no_more(maker: ApiKey, key: ApiKey) -> None:
    """Raise for a key that has more than the maker: by its new secret the maker would have that, too."""
    _scopes(maker, list(key.scopes))
    within = _within(maker, {name: value for name in _SETTINGS if (value := getattr(key, name)) is not None})
    more = next((name for name, most in within.items() if getattr(key, name) != most), None)
    if more is not None:
        raise _more(more, "what the key has")


def _within(maker: ApiKey, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a key, those of its maker where nothing is said. Raises where one is more than the maker's."""
    settings = dict(wanted)
    if maker.models is not None:
        models = settings.setdefault("models", maker.models)
        if more := [glob for glob in models if not _covers(maker.models, glob)]:
            raise _more("models", repr(more[0][:80]))
    if maker.vendors is not None:
        vendors = settings.setdefault("vendors", maker.vendors)
        if others := [vendor for vendor in vendors if vendor not in maker.vendors]:
            raise _more("vendors", repr(others[0][:80]))
    for name in (*LIMITS, "expires_at"):
        most = getattr(maker, name)
        if most is not None and settings.setdefault(name, most) > most:
            raise _more(name, str(settings[name]))
    _check_budgets(maker, settings)
    settings["strict"] = settings.get("strict", False) or maker.strict
    return settings


def _check_budgets(maker: ApiKey, settings: dict[str, Any]) -> None:
    if maker.budget is not None:
        budget = settings.setdefault("budget", maker.budget)
        if budget.period != maker.budget.period or budget.limit > maker.budget.limit:
            raise _more("budget", f"{budget.limit:f} in {budget.period}")
        override = settings.get("override")
        if override is not None and override.limit > maker.budget.limit:
            raise _more("override", f"{override.limit:f}")
    mine = {(one.models.lower(), one.budget.period): one for one in maker.model_budgets}
    said = list(settings.get("model_budgets", ()))
    for one in said:
        most = mine.pop((one.models.lower(), one.budget.period), None)
        if most is not None and one.budget.limit > most.budget.limit:
            raise _more("model_budgets", f"{one.budget.limit:f} for {one.models[:80]!r}")
    settings["model_budgets"] = (*said, *mine.values())


def _covers(globs: tuple[str, ...], wanted: str) -> bool:
    """Whether whatever a glob matches is matched by one of these, as far as that can be told from their texts."""
    if wanted in globs:
        return True
    plain = [glob for glob in globs if not set(glob) & set("?[")]
    return "[" not in wanted and matches_any(wanted, plain)


def _more(field: str, what: str) -> GatewayError:
    return GatewayError(f"{field}: {what} is more than this key has itself", status=403, code="more_than_maker", param=field)


def _wrong(field: str | None, text: str) -> GatewayError:
    return GatewayError(text, status=400, code="invalid_request", param=field)


def _unknown() -> GatewayError:
    return GatewayError("there is no such key, or it is revoked", status=404, code="not_found")
