"""``/api/v1/keys``: a key with the scope ``keys`` makes, lists and revokes those of its organization.

What it makes never has more than it has itself: scopes, models, limits, budget and expiry, each of which a new key has from its
maker where the request does not say it. A key with the scope ``operator`` may give every scope.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ...errors import ConfigError, VendorUnavailable
from ..keys import LIMITS, SCOPES, ApiKey, KeyStore, matches_any, read_settings
from .formats import GatewayError

MOST_BODY = 1 << 20
"""Bytes of a body here."""
_FIELDS = ("label", "scopes", "models", "expires_at", *LIMITS, "budget", "tags")


def list_keys(store: KeyStore, maker: ApiKey) -> dict[str, Any]:
    """The keys of an organization, the newest first, with what they have spent."""
    return {"keys": _records(store, store.all(maker.organization))}


def show_key(store: KeyStore, maker: ApiKey, key_id: str) -> dict[str, Any]:
    """A key of the organization, by its id. Raises :class:`GatewayError` with 404 for another's."""
    found = [key for key in store.all(maker.organization) if key.id == key_id]
    if not found:
        raise _unknown()
    return _records(store, found)[0]


def make_key(store: KeyStore, maker: ApiKey, body: bytes) -> dict[str, Any]:
    """Make a key; what is returned has it, once. Raises :class:`GatewayError` for a mistake, and for more than the maker has."""
    fields = _read(body)
    scopes = fields.pop("scopes", ["gateway"])
    if not isinstance(scopes, list) or not scopes or not all(isinstance(scope, str) and scope in SCOPES for scope in scopes):
        raise _wrong("scopes", f"scopes: give a list of {', '.join(SCOPES)}")
    try:
        if isinstance(expires_at := fields.get("expires_at"), str):
            fields["expires_at"] = _moment(expires_at)
        settings = read_settings(fields)
        if "label" not in settings:
            raise ConfigError("label: it is missing; say what the key is for")
        made, secret = store.create(organization=maker.organization, scopes=_scopes(maker, scopes), **_within(maker, settings))
    except ConfigError as error:
        raise _wrong(error.message.partition(":")[0].partition("[")[0], error.message) from None
    return {**_records(store, [made])[0], "key": secret}


def revoke_key(store: KeyStore, maker: ApiKey, key_id: str) -> dict[str, Any]:
    """Revoke a key. Raises :class:`GatewayError` with 404 for another's, and for one that is revoked already."""
    if not store.revoke(key_id, maker.organization):
        raise _unknown()
    return {"id": key_id, "revoked": True}


def _records(store: KeyStore, keys: list[ApiKey]) -> list[dict[str, Any]]:
    spent = spent_by(store, keys)
    return [{**key.as_dict(), "state": key.state(store.clock.now()), "spent": spent.get(key.id)} for key in keys]


def spent_by(store: KeyStore, keys: list[ApiKey]) -> dict[str, str]:
    """US dollars as texts, by id, of the keys with a budget; nothing while the budgets cannot be looked at."""
    try:
        return {key_id: f"{amount:f}" for key_id, amount in store.spent(keys).items()}
    except VendorUnavailable:
        return {}


def _read(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except json.JSONDecodeError as error:
        raise _wrong(None, f"the body is no JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError):
        raise _wrong(None, "the body is no JSON that can be read") from None
    if not isinstance(fields, dict):
        raise _wrong(None, 'the body is no object; give one such as {"label": "the batch team"}')
    unknown = next((name for name in fields if name not in _FIELDS), None)
    if unknown is not None:
        raise _wrong(unknown[:80], f"{unknown[:80]}: this is no field of a key; use {', '.join(_FIELDS)}")
    return {name: value for name, value in fields.items() if value is not None}


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"expires_at: {text[:40]!r} is no time; give ISO 8601, such as 2027-01-31T00:00:00Z") from None


def _scopes(maker: ApiKey, wanted: list[Any]) -> list[str]:
    more = next((scope for scope in wanted if scope not in maker.scopes), None)
    if more is not None and "operator" not in maker.scopes:
        raise _more("scopes", f"{more!r}")
    return list(dict.fromkeys(wanted))


def _within(maker: ApiKey, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a new key, those of its maker where nothing is said. Raises where one is more than the maker's."""
    settings = dict(wanted)
    if maker.models is not None:
        models = settings.setdefault("models", maker.models)
        if more := [glob for glob in models if not _covers(maker.models, glob)]:
            raise _more("models", repr(more[0][:80]))
    for name in (*LIMITS, "expires_at"):
        most = getattr(maker, name)
        if most is not None and settings.setdefault(name, most) > most:
            raise _more(name, str(settings[name]))
    if maker.budget is not None:
        budget = settings.setdefault("budget", maker.budget)
        if budget.period != maker.budget.period or budget.limit > maker.budget.limit:
            raise _more("budget", f"{budget.limit:f} in {budget.period}")
    return settings


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
