"""Keys of the gateway: made, changed, listed, revoked, and checked for each request. Only their SHA-256 is kept.

They stand in one table of SQLite or PostgreSQL, which all workers and hosts share. A verdict is remembered for
:data:`FRESH` seconds, so that a new or revoked key counts everywhere within that time; while the database is away the last
verdict stands for :data:`GRACE` seconds. Organizations, teams and members are in :mod:`llmdispatcher.server.owners`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

import attrs
import sqlalchemy as sa

from ..errors import ConfigError, VendorUnavailable
from ..runtime import SYSTEM_CLOCK, Clock, new_lock
from .budgets import KeyBudgets
from .key_database import KeyDatabase, ledger_place, telling_twins
from .key_database import keys as _keys
from .key_database import owners as _owners
from .key_rows import columns_of, owner_of, policy_fields
from .owners import KeyOwners
from .policies import LEVELS, LIMITS, MOST_LIVE_KEYS, KeyOwner, KeyPolicy, check_name, matches_any, read_settings

FRESH, GRACE = 2.0, 300.0
"""Seconds."""
SCOPES = ("gateway", "keys", "operator")
"""What a key may be good for: asking models; making and revoking keys; looking at the whole process."""
PREFIX = "llmr_pk_"
_MOST_REMEMBERED = 10_000
_RANDOM_BYTES = 32
LEAST_ADMIN_KEY = 32
"""Characters of a key that is given from outside."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


@attrs.frozen(kw_only=True)
class ApiKey(KeyPolicy):
    """What is known of a key, which is not the key itself.

    ``shown`` is how people tell it from others ("llmr…ab12"). Times are aware. ``team`` and ``member`` are ids of its owners;
    :attr:`owners` are these, and the organization where that has a row, with what they may do: what :meth:`KeyStore.find` returns
    has them.
    """

    id: str
    organization: str
    team: str | None = None
    member: str | None = None
    label: str
    shown: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    owners: tuple[KeyOwner, ...] = attrs.field(default=(), repr=False, eq=False)

    def may_use(self, vendor: str) -> bool:
        """Whether the registered vendor of that name may answer it."""
        return all(one.vendors is None or vendor in one.vendors for one in (self, *self.owners))

    @property
    def limits_models(self) -> bool:
        """Whether there are models that it may not ask for."""
        return any(one.models is not None for one in (self, *self.owners))

    @property
    def limits_vendors(self) -> bool:
        """Whether not every vendor may answer it."""
        return any(one.vendors is not None for one in (self, *self.owners))

    @property
    def levels(self) -> tuple[tuple[str, str, KeyPolicy], ...]:
        """The level, the id and the policy of the key and of its owners."""
        return (("key", self.id, self), *[(one.level, one.id, one) for one in self.owners])

    @property
    def all_tags(self) -> list[str]:
        """Its tags and those of its owners."""
        return list(dict.fromkeys([tag for _, _, policy in self.levels for tag in policy.tags]))

    def state(self, now: datetime) -> str:
        """Whether it is ``"active"``, ``"expired"``, ``"revoked"``, or ``"suspended"`` with an owner."""
        if self.revoked_at is not None:
            return "revoked"
        if any(one.suspended for one in self.owners):
            return "suspended"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        fields = super().as_dict()
        del fields["owners"]
        return fields


@attrs.frozen
class _Verdict:
    key: ApiKey | None
    at: float


class KeyStore:
    """The keys in one database; safe under threads, and after a fork. Raises :class:`VendorUnavailable` while that is away.

    ``place`` is the path of a file of SQLite or the URL of a PostgreSQL server. The tables are made at the first use, and those of
    an older version get what they lack. ``owners`` are the organizations, teams and members, ``budgets`` what all of them have
    spent. ``grace`` is the seconds for which the last verdict stands while the database is away; 0 is none.

    To bring keys from elsewhere, idempotently: ``store.owners.ensure("organization", "acme", budget="1000/month")``, the same for
    ``"team"`` and ``"member"`` (with ``organization=``, ``team=``), then ``store.create(label, organization="acme",
    team="research", member="ann", digest=SHA_256_IN_HEX, ...)``, which :meth:`find_digest` shows to be there already, and
    ``store.set_spent(key_or_owner, Decimal("12.50"))`` for what was spent of its budget's present period.
    """

    def __init__(self, place: str | os.PathLike[str], *, clock: Clock = SYSTEM_CLOCK, grace: float = GRACE) -> None:
        self._database = KeyDatabase(place, clock)
        self._url = self._database.url
        self.clock = clock
        self.grace = grace
        self._lock, self._listing = new_lock(), new_lock()
        self._verdicts: dict[str, _Verdict] = {}
        self._listed: tuple[float, frozenset[str]] | None = None
        self.owners = KeyOwners(self._database, clock, self._forget)
        self.budgets = KeyBudgets(ledger_place(place, self._url), clock, self._database.is_resting)

    def create(  # noqa: PLR0913 - whose it is, by keyword
        self,
        label: str,
        *,
        organization: str = "default",
        team: str | None = None,
        member: str | None = None,
        scopes: Sequence[str] = ("gateway",),
        secret: str | None = None,
        digest: str | None = None,
        **settings: Any,
    ) -> tuple[ApiKey, str]:
        """Make a key; returns what is kept of it, and the key itself, which is nowhere else.

        ``team`` and ``member`` are names or ids. ``secret`` is a key that exists already, of any form; ``digest`` is the SHA-256
        of one in hex, and the key returned is then empty. ``settings`` are those of :class:`KeyPolicy`, such as ``models``, the
        limits ``requests_per_minute``, ``tokens_per_minute`` and ``in_flight``, and ``budget`` in US dollars, as in "5/day",
        "100/month", or "20" in all; and ``expires_at``. Raises :class:`ConfigError` for a value that cannot be, and where its
        owner has as many live keys as it may.
        """
        unknown = next((scope for scope in scopes if scope not in SCOPES), None)
        if unknown is not None or not scopes:
            raise ConfigError(f"scopes: {unknown!r} is no scope; use {', '.join(SCOPES)}")
        check_name("organization", organization)
        found = self._owners_of(organization, team, member)
        if digest is not None and (secret is not None or not _DIGEST.fullmatch(digest)):
            raise ConfigError("digest: give the SHA-256 of a key as 64 lower-case hex digits, without the key")
        made = "" if digest is not None else secret or f"{PREFIX}{secrets.token_hex(_RANDOM_BYTES)}"
        key = ApiKey(
            id=secrets.token_hex(16),
            organization=organization,
            team=next((one.id for one in found if one.level == "team"), None),
            member=next((one.id for one in found if one.level == "member"), None),
            shown=_shown(made),
            scopes=tuple(scopes),
            created_at=self.clock.now(),
            owners=found,
            **read_settings({"label": label, **settings}),
        )
        row = {"hash": digest or hash_of(made), **_row(key)}
        with telling_twins("secret: this key exists already; revoke it, or give another"):
            self._database.write(lambda connection: self._insert(connection, key, row))
        self._forget()
        return key, made

    def _owners_of(self, organization: str, team: str | None, member: str | None) -> tuple[KeyOwner, ...]:
        """The owners of a key that is to be made. Raises :class:`ConfigError` for one that is not there.

        An organization is there once it was made, or has keys, as those of older versions; a mistyped one would have no limits.
        """
        found = [self.owners.find("organization", organization)]
        if found == [None] and organization != "default" and not self.all(organization):
            self.owners.require("organization", organization)
        if member is not None:
            person = self.owners.require("member", member, organization=organization, team=team)
            team = person.team
        if team is not None:
            found.append(self.owners.require("team", team, organization=organization))
        if member is not None:
            found.append(person)
        return tuple([one for one in found if one is not None])

    def _insert(self, connection: sa.Connection, key: ApiKey, row: Mapping[str, Any]) -> None:
        mine = [_keys.c.organization == key.organization]
        for column, value in ((_keys.c.team, key.team), (_keys.c.member, key.member)):
            mine.append(column == value if value is not None else column.is_(None))
        living = [_keys.c.revoked_at.is_(None), sa.or_(_keys.c.expires_at.is_(None), _keys.c.expires_at > key.created_at)]
        count = connection.execute(sa.select(sa.func.count()).select_from(_keys).where(*mine, *living)).scalar() or 0
        level = "member" if key.member else "team" if key.team else "organization"
        owner = next((one for one in key.owners if one.level == level), None)
        most = MOST_LIVE_KEYS if owner is None or owner.most_keys is None else owner.most_keys
        if count >= most:
            raise ConfigError(f"keys: this {level} has {count} live keys, and may have {most}; revoke one, or raise its most_keys")
        connection.execute(_keys.insert().values(**row))

    def find_digest(self, digest: str) -> ApiKey | None:
        """The key of a SHA-256 in hex, revoked or not; ``None`` where there is none."""
        return self._database.read(lambda connection: _read_key(connection, _keys.c.hash == digest))

    def change(self, key_id: str, organization: str | None = None, **settings: Any) -> ApiKey | None:
        """Change settings of a key, which are those of :meth:`create`, and ``label``; ``None`` takes a limit away.

        Returns the key, or ``None`` where there is no such key, or none of that organization, or it is revoked. In force everywhere
        in two seconds. Raises :class:`ConfigError` for a value that cannot be.
        """
        return self._replace(key_id, organization, columns_of(read_settings(settings)))

    def rotate(self, key_id: str, organization: str | None = None) -> tuple[ApiKey, str] | None:
        """Give a key a new secret, which is returned; all else stays, what it has spent too. The old one ends in two seconds.

        Returns ``None`` where there is no such key, or none of that organization, or it is revoked.
        """
        made = f"{PREFIX}{secrets.token_hex(_RANDOM_BYTES)}"
        key = self._replace(key_id, organization, {"hash": hash_of(made), "shown": _shown(made)})
        return None if key is None else (key, made)

    def _replace(self, key_id: str, organization: str | None, columns: Mapping[str, Any]) -> ApiKey | None:
        here = [_keys.c.id == key_id, _keys.c.revoked_at.is_(None)]
        if organization is not None:
            here.append(_keys.c.organization == organization)

        def put(connection: sa.Connection) -> ApiKey | None:
            if columns:
                connection.execute(_keys.update().where(*here).values(**columns))
            return _read_key(connection, sa.and_(*here))

        key = self._database.write(put)
        self._forget()
        return key

    def spent(self, holders: Iterable[ApiKey | KeyOwner]) -> dict[str, Decimal]:
        """US dollars that each key and owner with a budget has spent in its present period, by its id.

        Raises :class:`VendorUnavailable` while the database is away.
        """
        return self.budgets.spent({one.id: (_level(one), one.budget) for one in holders if one.budget is not None})

    def set_spent(self, holder: ApiKey | KeyOwner, amount: Decimal) -> None:
        """Have so much spent of a budget's present period, of a key or an owner that has one; for budgets that come from elsewhere.

        What is reserved stays. Raises :class:`ConfigError` for one without a budget, :class:`VendorUnavailable` while the database
        is away.
        """
        if holder.budget is None:
            raise ConfigError("budget: there is none; give one before what is spent of it")
        if not 0 <= amount <= 10**6:
            raise ConfigError(f"spent: {amount} is no amount; give US dollars from 0 to 1,000,000")
        self.budgets.set_spent(_level(holder), holder.id, holder.budget, amount)

    def _forget(self) -> None:
        with self._lock:
            self._verdicts = {}

    def first(
        self, admin: str | None = None, hand_over: Callable[[list[tuple[ApiKey, str]]], None] = lambda _made: None
    ) -> list[tuple[ApiKey, str]]:
        """Make the first two keys, one of an administrator and one of the gateway, where the table is empty; else nothing.

        ``admin`` is the administrator's key, where there is one already. Of several processes that start together one makes them.
        ``hand_over`` gets those that are made; where it raises none is, since nobody would know them.
        """
        if admin is not None:
            check_admin_key(admin)
            if self.find(admin) is None:
                try:
                    self.create("administrator", scopes=SCOPES, secret=admin)
                except ConfigError:
                    if self.find_digest(hash_of(admin)) is None:
                        raise  # else another worker was first
            return []
        return self._database.write(partial(self._make_first, hand_over))

    def _make_first(
        self, hand_over: Callable[[list[tuple[ApiKey, str]]], None], connection: sa.Connection
    ) -> list[tuple[ApiKey, str]]:
        if connection.execute(sa.select(sa.func.count()).select_from(_keys)).scalar():
            return []
        made = []
        for label, scopes in (("administrator", ("keys", "operator")), ("gateway", ("gateway",))):
            secret = f"{PREFIX}{secrets.token_hex(_RANDOM_BYTES)}"
            key = ApiKey(
                id=secrets.token_hex(16),
                organization="default",
                label=label,
                shown=_shown(secret),
                scopes=scopes,
                created_at=self.clock.now(),
            )
            connection.execute(_keys.insert().values(hash=hash_of(secret), **_row(key)))
            made.append((key, secret))
        hand_over(made)
        return made

    def find(self, secret: str) -> ApiKey | None:
        """The key, if it is good now. Raises :class:`VendorUnavailable` where the database is away and nothing is remembered."""
        return self._good(hash_of(secret))

    def _good(self, digest: str) -> ApiKey | None:
        known, now = self._verdicts.get(digest), self.clock.monotonic()
        if known is None or now - known.at >= FRESH:
            known = self._look_up(digest, known, now)
        key = known.key
        return key if key is not None and key.state(self.clock.now()) == "active" else None

    def bad_of(self, digests: Iterable[str]) -> set[str]:
        """Which of these digests are of keys that are good no more; while the database is away after :attr:`grace` alone."""
        bad = set()
        for digest in digests:
            try:
                if self._good(digest) is None:
                    bad.add(digest)
            except VendorUnavailable:
                bad.add(digest)
        return bad

    def _look_up(self, digest: str, known: _Verdict | None, now: float) -> _Verdict:
        try:
            key = self._database.read(lambda connection: _read_key(connection, _keys.c.hash == digest, digest))
        except VendorUnavailable:
            if known is not None and known.key is not None and now - known.at < self.grace:
                return known
            raise
        found = _Verdict(key, now)
        if found.key is not None:  # wrong ones are not remembered, since they would push the good ones out
            with self._lock:
                if len(self._verdicts) >= _MOST_REMEMBERED:
                    self._verdicts = {}
                self._verdicts[digest] = found
        return found

    def lists(self, secret: str) -> bool:
        """Whether there is such a key, by a list that is fetched once in :data:`FRESH` seconds however often it is asked for."""
        digest, now = hash_of(secret), self.clock.monotonic()
        if digest in self._verdicts:
            return True
        with self._listing:
            if self._listed is None or now - self._listed[0] >= FRESH:
                self._listed = (now, self._hashes())
            return digest in self._listed[1]

    def _hashes(self) -> frozenset[str]:
        query = sa.select(_keys.c.hash).where(_keys.c.revoked_at.is_(None))
        try:
            return self._database.read(lambda connection: frozenset(connection.execute(query).scalars()))
        except VendorUnavailable:
            return self._listed[1] if self._listed is not None else frozenset()

    def all(self, organization: str | None = None, *, team: str | None = None, member: str | None = None) -> list[ApiKey]:
        """All keys, of one organization, team id, member id or of all, the newest first; revoked ones too."""
        query = sa.select(_keys).order_by(_keys.c.created_at.desc(), _keys.c.id)
        for column, value in ((_keys.c.organization, organization), (_keys.c.team, team), (_keys.c.member, member)):
            if value is not None:
                query = query.where(column == value)
        return self._database.read(lambda connection: [_key(row) for row in connection.execute(query).mappings()])

    def revoke(self, key_id: str, organization: str | None = None) -> bool:
        """Revoke a key by its id; False where there is none, or none of that organization. In force everywhere in two seconds."""
        change = _keys.update().where(_keys.c.id == key_id, _keys.c.revoked_at.is_(None)).values(revoked_at=self.clock.now())
        if organization is not None:
            change = change.where(_keys.c.organization == organization)
        done = self._database.write(lambda connection: connection.execute(change).rowcount > 0)
        self._forget()
        return done

    def server_secret(self, name: str) -> bytes:
        """32 random bytes that all workers and hosts of this database share; made at the first use, and never changed."""
        return self._database.secret(name)

    @property
    def url(self) -> sa.URL:
        """Where the database is, with its password."""
        return self._url

    @property
    def database(self) -> KeyDatabase:
        """The database, for tables of other rooms of the server."""
        return self._database

    def prepare(self) -> None:
        """Make all tables now, or bring them up to date. Raises :class:`VendorUnavailable` while the database is away."""
        self._database.prepare()
        self.budgets.prepare()

    def close(self) -> None:
        """Close the connections; a later use opens new ones."""
        self.budgets.close()
        self._database.close()


def _read_key(connection: sa.Connection, where: Any, digest: str | None = None) -> ApiKey | None:
    """The key of a row, with its owners; ``digest`` is what its hash must be, compared in constant time."""
    row = connection.execute(sa.select(_keys).where(where)).mappings().first()
    if row is None or (digest is not None and not hmac.compare_digest(row["hash"], digest)):
        return None
    mine = sa.and_(_owners.c.level == "organization", _owners.c.organization == row["organization"])
    ids = [one for one in (row["team"], row["member"]) if one is not None]
    query = sa.select(_owners).where(_owners.c.removed_at.is_(None), sa.or_(mine, _owners.c.id.in_(ids)) if ids else mine)
    found = [owner_of(one) for one in connection.execute(query).mappings()]
    return attrs.evolve(_key(row), owners=tuple(sorted(found, key=lambda one: LEVELS.index(one.level))))


def _level(holder: ApiKey | KeyOwner) -> str:
    return holder.level if isinstance(holder, KeyOwner) else "key"


def hash_of(secret: str) -> str:
    """What is kept of a key: its SHA-256 in hex."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def check_admin_key(secret: str) -> None:
    """Raise :class:`ConfigError` for an administrator's key that can be guessed."""
    if len(secret) < LEAST_ADMIN_KEY or len(set(secret)) < 8 or any(map(str.isspace, secret)):
        raise ConfigError(
            f"LLMDISPATCHER_ADMIN_KEY: the key is too weak; give {LEAST_ADMIN_KEY} random characters or more,"
            " such as those of `openssl rand -hex 32`"
        )


def _shown(secret: str) -> str:
    return f"{secret[:4]}…{secret[-4:]}" if len(secret) >= 16 else "…"


def _row(key: ApiKey) -> dict[str, Any]:
    fields = attrs.asdict(key, recurse=False)
    del fields["owners"]
    return columns_of(fields)


def _key(row: Mapping[Any, Any]) -> ApiKey:
    fields = policy_fields(row)
    del fields["hash"]
    return ApiKey(**{**fields, "scopes": tuple(row["scopes"])})


__all__ = ["LIMITS", "SCOPES", "ApiKey", "KeyStore", "check_admin_key", "hash_of", "matches_any", "read_settings"]
