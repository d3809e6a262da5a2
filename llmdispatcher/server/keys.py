"""Keys of the gateway: made, listed, revoked, and checked for each request. Only their SHA-256 is kept.

They stand in one table of SQLite or PostgreSQL, which all workers and hosts share. A verdict is remembered for
:data:`FRESH` seconds, so that a new or revoked key counts everywhere within that time; while the database is away the last
verdict stands for :data:`GRACE` seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ..errors import ConfigError, VendorUnavailable
from ..runtime import SYSTEM_CLOCK, Clock, make_file, new_lock

FRESH, GRACE = 2.0, 300.0
"""Seconds."""
SCOPES = ("gateway", "keys", "operator")
"""What a key may be good for: asking models; making and revoking keys; looking at the whole process."""
PREFIX = "llmr_pk_"
_MOST_REMEMBERED = 10_000
_RANDOM_BYTES = 32
LEAST_ADMIN_KEY = 32
"""Characters of a key that is given from outside."""

_metadata = sa.MetaData()
_keys = sa.Table(
    "llmdispatcher_api_keys",
    _metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("organization", sa.String(255), nullable=False, index=True),
    sa.Column("label", sa.String(255), nullable=False),
    sa.Column("shown", sa.String(32), nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("models", sa.JSON),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("expires_at", sa.DateTime(timezone=True)),
    sa.Column("revoked_at", sa.DateTime(timezone=True)),
)


@attrs.frozen(kw_only=True)
class ApiKey:
    """What is known of a key, which is not the key itself.

    ``models`` are globs of the names that it may ask for; ``None`` is all, an empty list none. ``shown`` is how people tell it
    from others ("llmr…ab12"). Times are aware.
    """

    id: str
    organization: str
    label: str
    shown: str
    scopes: tuple[str, ...]
    models: tuple[str, ...] | None = None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def may_ask(self, model: str) -> bool:
        """Whether it may ask for a model of that name; case does not count."""
        return self.models is None or any(fnmatchcase(model.lower(), glob.lower()) for glob in self.models)

    def state(self, now: datetime) -> str:
        """Whether it is ``"active"``, ``"expired"`` or ``"revoked"``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return attrs.asdict(self, value_serializer=lambda _object, _field, value: _as_json(value))


def _as_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else list(value) if isinstance(value, tuple) else value


@attrs.frozen
class _Verdict:
    key: ApiKey | None
    at: float


class KeyStore:
    """The keys in one database; safe under threads, and after a fork.

    ``place`` is the path of a file of SQLite or the URL of a PostgreSQL server. The table is made at the first use.
    """

    def __init__(self, place: str | os.PathLike[str], *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._url = _url(place)
        self._clock = clock
        self._lock, self._listing = new_lock(), new_lock()
        self._engine: sa.Engine | None = None
        self._pid = 0
        self._verdicts: dict[str, _Verdict] = {}
        self._listed: tuple[float, frozenset[str]] | None = None

    def create(
        self,
        label: str,
        *,
        organization: str = "default",
        scopes: Sequence[str] = ("gateway",),
        models: Sequence[str] | None = None,
        expires_at: datetime | None = None,
        secret: str | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key; returns what is kept of it, and the key itself, which is nowhere else.

        ``secret`` is a key that exists already, of any form. Raises :class:`ConfigError` for a value that cannot be.
        """
        unknown = next((scope for scope in scopes if scope not in SCOPES), None)
        if unknown is not None or not scopes:
            raise ConfigError(f"scopes: {unknown!r} is no scope; use {', '.join(SCOPES)}")
        for field, text in (("label", label), ("organization", organization)):
            if not (text.strip() and len(text) <= 255 and text.isprintable()):
                raise ConfigError(f"{field}: {text[:80]!r} is no name; give 1 to 255 printable characters")
        if expires_at is not None and expires_at.tzinfo is None:
            raise ConfigError("expires_at: the time has no zone; give an aware datetime")
        made = secret or f"{PREFIX}{secrets.token_hex(_RANDOM_BYTES)}"
        key = ApiKey(
            id=secrets.token_hex(16),
            organization=organization,
            label=label,
            shown=f"{made[:4]}…{made[-4:]}" if len(made) >= 16 else "…",
            scopes=tuple(scopes),
            models=None if models is None else tuple(models),
            created_at=self._clock.now(),
            expires_at=expires_at,
        )
        try:
            with self._transaction() as connection:
                connection.execute(_keys.insert().values(hash=hash_of(made), **_row(key)))
        except IntegrityError:
            raise ConfigError("secret: this key exists already; revoke it, or give another") from None
        with self._lock:
            self._verdicts = {}
        return key, made

    def first(self, admin: str | None = None) -> list[tuple[ApiKey, str]]:
        """Make the first two keys, one of an administrator and one of the gateway, where the table is empty; else nothing.

        ``admin`` is the administrator's key, where there is one already. Of several processes that start together one makes them.
        """
        if admin is not None:
            check_admin_key(admin)
            if self.find(admin) is None:
                with contextlib.suppress(ConfigError):  # another worker was first
                    self.create("administrator", scopes=SCOPES, secret=admin)
            return []
        with self._transaction() as connection:
            if connection.execute(sa.select(sa.func.count()).select_from(_keys)).scalar():
                return []
            made = []
            for label, scopes in (("administrator", ("keys", "operator")), ("gateway", ("gateway",))):
                secret = f"{PREFIX}{secrets.token_hex(_RANDOM_BYTES)}"
                key = ApiKey(
                    id=secrets.token_hex(16),
                    organization="default",
                    label=label,
                    shown=f"{secret[:4]}…{secret[-4:]}",
                    scopes=scopes,
                    created_at=self._clock.now(),
                )
                connection.execute(_keys.insert().values(hash=hash_of(secret), **_row(key)))
                made.append((key, secret))
            return made

    def find(self, secret: str) -> ApiKey | None:
        """The key, if it is good now. Raises :class:`VendorUnavailable` where the database is away and nothing is remembered."""
        digest = hash_of(secret)
        known, now = self._verdicts.get(digest), self._clock.monotonic()
        if known is None or now - known.at >= FRESH:
            known = self._look_up(digest, known, now)
        key = known.key
        return key if key is not None and key.state(self._clock.now()) == "active" else None

    def _look_up(self, digest: str, known: _Verdict | None, now: float) -> _Verdict:
        try:
            with self._reading() as connection:
                row = connection.execute(sa.select(_keys).where(_keys.c.hash == digest)).mappings().first()
        except SQLAlchemyError:
            if known is not None and known.key is not None and now - known.at < GRACE:
                return known
            text = "the keys' database cannot be asked; try again"
            raise VendorUnavailable(text, code="store_unavailable", sent=False) from None
        found = _Verdict(_key(row) if row is not None and hmac.compare_digest(row["hash"], digest) else None, now)
        if found.key is not None:  # wrong ones are not remembered, since they would push the good ones out
            with self._lock:
                if len(self._verdicts) >= _MOST_REMEMBERED:
                    self._verdicts = {}
                self._verdicts[digest] = found
        return found

    def lists(self, secret: str) -> bool:
        """Whether there is such a key, by a list that is fetched once in :data:`FRESH` seconds however often it is asked for."""
        digest, now = hash_of(secret), self._clock.monotonic()
        if digest in self._verdicts:
            return True
        with self._listing:
            if self._listed is None or now - self._listed[0] >= FRESH:
                self._listed = (now, self._hashes())
            return digest in self._listed[1]

    def _hashes(self) -> frozenset[str]:
        try:
            with self._reading() as connection:
                return frozenset(connection.execute(sa.select(_keys.c.hash).where(_keys.c.revoked_at.is_(None))).scalars())
        except SQLAlchemyError:
            return self._listed[1] if self._listed is not None else frozenset()

    def all(self, organization: str | None = None) -> list[ApiKey]:
        """All keys, of one organization or of all, the newest first; revoked ones too."""
        query = sa.select(_keys).order_by(_keys.c.created_at.desc(), _keys.c.id)
        if organization is not None:
            query = query.where(_keys.c.organization == organization)
        with self._reading() as connection:
            return [_key(row) for row in connection.execute(query).mappings()]

    def revoke(self, key_id: str, organization: str | None = None) -> bool:
        """Revoke a key by its id; False where there is none, or none of that organization. In force everywhere in two seconds."""
        change = _keys.update().where(_keys.c.id == key_id, _keys.c.revoked_at.is_(None)).values(revoked_at=self._clock.now())
        if organization is not None:
            change = change.where(_keys.c.organization == organization)
        with self._transaction() as connection:
            done = connection.execute(change).rowcount > 0
        with self._lock:
            self._verdicts = {}
        return done

    def close(self) -> None:
        """Close the connections; a later use opens new ones."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose(close=self._pid == os.getpid())

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with self._ready().begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(5463789210008)"))
            elif not connection.in_nested_transaction():
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._ready().connect() as connection:
            yield connection

    def _ready(self) -> sa.Engine:
        with self._lock:
            if self._engine is None or self._pid != os.getpid():
                self._engine, self._pid = _engine(self._url), os.getpid()
                with self._engine.begin() as connection:
                    if connection.dialect.name == "postgresql":
                        connection.execute(sa.text("SELECT pg_advisory_xact_lock(5463789210008)"))
                    else:
                        connection.exec_driver_sql("BEGIN IMMEDIATE")
                    _metadata.create_all(connection)
            return self._engine


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


def _row(key: ApiKey) -> dict[str, Any]:
    fields = attrs.asdict(key, recurse=False)
    return {**fields, "scopes": list(key.scopes), "models": None if key.models is None else list(key.models)}


def _key(row: Any) -> ApiKey:
    fields = {name: _aware(value) for name, value in row.items() if name != "hash"}
    return ApiKey(**{**fields, "scopes": tuple(row["scopes"]), "models": None if row["models"] is None else tuple(row["models"])})


def _aware(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is None:  # SQLite keeps no zone; ours are all UTC
        return value.replace(tzinfo=UTC)
    return value


def _url(place: str | os.PathLike[str]) -> sa.URL:
    text = os.fspath(place)
    if "://" not in text:
        return sa.URL.create("sqlite+pysqlite", database=str(Path(text).expanduser()))
    url = sa.make_url(text)
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgres", "postgresql") else url


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(
            url, pool_pre_ping=True, pool_size=4, connect_args={"connect_timeout": 5, "prepare_threshold": None}
        )
    if url.database not in (None, "", ":memory:"):
        path = Path(str(url.database))
        path.parent.mkdir(parents=True, exist_ok=True)
        make_file(path)
    engine = sa.create_engine(url, connect_args={"timeout": 5, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where they are begun here
        connection.execute("PRAGMA journal_mode=WAL")

    return engine
