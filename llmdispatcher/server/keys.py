"""Keys of the gateway: made, changed, listed, revoked, and checked for each request. Only their SHA-256 is kept.

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
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ..accounting import Budget
from ..errors import ConfigError, VendorUnavailable
from ..runtime import SYSTEM_CLOCK, Clock, make_file, new_lock
from .budgets import KeyBudgets, budget_of, budget_text

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
    sa.Column("requests_per_minute", sa.BigInteger),
    sa.Column("tokens_per_minute", sa.BigInteger),
    sa.Column("in_flight", sa.BigInteger),
    sa.Column("budget", sa.String(64)),
    sa.Column("tags", sa.JSON),
)
_secrets = sa.Table(
    "llmdispatcher_secrets",
    _metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("secret", sa.String(128), nullable=False),
)
LIMITS = ("requests_per_minute", "tokens_per_minute", "in_flight")
MOST_LIMIT = 10**12
MOST_TAGS = 20


@attrs.frozen(kw_only=True)
class ApiKey:
    """What is known of a key, which is not the key itself.

    ``models`` are globs of the names that it may ask for; ``None`` is all, an empty list none. ``shown`` is how people tell it
    from others ("llmr…ab12"). Times are aware. ``tokens_per_minute`` counts input without cache reads, and output; ``in_flight`` is
    how many calls it may have at a time. ``None`` is no limit.
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
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    in_flight: int | None = None
    budget: Budget | None = None
    tags: tuple[str, ...] = ()

    def may_ask(self, model: str) -> bool:
        """Whether it may ask for a model of that name; case does not count."""
        return self.models is None or matches_any(model, self.models)

    def state(self, now: datetime) -> str:
        """Whether it is ``"active"``, ``"expired"`` or ``"revoked"``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return {name: _as_json(value) for name, value in attrs.asdict(self, recurse=False).items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, Budget):
        return budget_text(value)
    return value.isoformat() if isinstance(value, datetime) else list(value) if isinstance(value, tuple) else value


@attrs.frozen
class _Verdict:
    key: ApiKey | None
    at: float


class KeyStore:
    """The keys in one database; safe under threads, and after a fork. Raises :class:`VendorUnavailable` while that is away.

    ``place`` is the path of a file of SQLite or the URL of a PostgreSQL server. The table is made at the first use, and one of an
    older version gets the columns that it lacks. ``budgets`` are those of the keys.
    """

    def __init__(self, place: str | os.PathLike[str], *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._url = _url(place)
        self.clock = clock
        self._lock, self._listing = new_lock(), new_lock()
        self._engine: sa.Engine | None = None
        self._pid = 0
        self._verdicts: dict[str, _Verdict] = {}
        self._listed: tuple[float, frozenset[str]] | None = None
        self.budgets = KeyBudgets(_ledger_place(place, self._url), clock)

    def create(
        self,
        label: str,
        *,
        organization: str = "default",
        scopes: Sequence[str] = ("gateway",),
        secret: str | None = None,
        **settings: Any,
    ) -> tuple[ApiKey, str]:
        """Make a key; returns what is kept of it, and the key itself, which is nowhere else.

        ``secret`` is a key that exists already, of any form. ``settings`` are ``models``, ``expires_at``, ``tags``, the limits
        ``requests_per_minute``, ``tokens_per_minute`` and ``in_flight``, and ``budget`` in US dollars, as in "5/day", "100/month",
        or "20" in all. Raises :class:`ConfigError` for a value that cannot be.
        """
        unknown = next((scope for scope in scopes if scope not in SCOPES), None)
        if unknown is not None or not scopes:
            raise ConfigError(f"scopes: {unknown!r} is no scope; use {', '.join(SCOPES)}")
        _check_name("organization", organization)
        made = secret or f"{PREFIX}{secrets.token_hex(_RANDOM_BYTES)}"
        key = ApiKey(
            id=secrets.token_hex(16),
            organization=organization,
            shown=_shown(made),
            scopes=tuple(scopes),
            created_at=self.clock.now(),
            **read_settings({"label": label, **settings}),
        )
        try:
            with self._transaction() as connection:
                connection.execute(_keys.insert().values(hash=hash_of(made), **_row(key)))
        except IntegrityError:
            raise ConfigError("secret: this key exists already; revoke it, or give another") from None
        self._forget()
        return key, made

    def change(self, key_id: str, organization: str | None = None, **settings: Any) -> ApiKey | None:
        """Change settings of a key, which are those of :meth:`create`, and ``label``; ``None`` takes a limit away.

        Returns the key, or ``None`` where there is no such key, or none of that organization, or it is revoked. In force everywhere
        in two seconds. Raises :class:`ConfigError` for a value that cannot be.
        """
        return self._replace(key_id, organization, _columns(read_settings(settings)))

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
        with self._transaction() as connection:
            if columns:
                connection.execute(_keys.update().where(*here).values(**columns))
            row = connection.execute(sa.select(_keys).where(*here)).mappings().first()
        self._forget()
        return None if row is None else _key(row)

    def spent(self, keys: Sequence[ApiKey]) -> dict[str, Decimal]:
        """US dollars that each key with a budget has spent in its present period, by its id.

        Raises :class:`VendorUnavailable` while the database is away.
        """
        return self.budgets.spent({key.id: key.budget for key in keys if key.budget is not None})

    def _forget(self) -> None:
        with self._lock:
            self._verdicts = {}

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
                    shown=_shown(secret),
                    scopes=scopes,
                    created_at=self.clock.now(),
                )
                connection.execute(_keys.insert().values(hash=hash_of(secret), **_row(key)))
                made.append((key, secret))
            return made

    def find(self, secret: str) -> ApiKey | None:
        """The key, if it is good now. Raises :class:`VendorUnavailable` where the database is away and nothing is remembered."""
        digest = hash_of(secret)
        known, now = self._verdicts.get(digest), self.clock.monotonic()
        if known is None or now - known.at >= FRESH:
            known = self._look_up(digest, known, now)
        key = known.key
        return key if key is not None and key.state(self.clock.now()) == "active" else None

    def _look_up(self, digest: str, known: _Verdict | None, now: float) -> _Verdict:
        try:
            with self._reading() as connection:
                row = connection.execute(sa.select(_keys).where(_keys.c.hash == digest)).mappings().first()
        except VendorUnavailable:
            if known is not None and known.key is not None and now - known.at < GRACE:
                return known
            raise
        found = _Verdict(_key(row) if row is not None and hmac.compare_digest(row["hash"], digest) else None, now)
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
        try:
            with self._reading() as connection:
                return frozenset(connection.execute(sa.select(_keys.c.hash).where(_keys.c.revoked_at.is_(None))).scalars())
        except (SQLAlchemyError, VendorUnavailable):
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
        change = _keys.update().where(_keys.c.id == key_id, _keys.c.revoked_at.is_(None)).values(revoked_at=self.clock.now())
        if organization is not None:
            change = change.where(_keys.c.organization == organization)
        with self._transaction() as connection:
            done = connection.execute(change).rowcount > 0
        self._forget()
        return done

    def server_secret(self, name: str) -> bytes:
        """32 random bytes that all workers and hosts of this database share; made at the first use, and never changed."""
        row = sa.select(_secrets.c.secret).where(_secrets.c.name == name)
        with self._reading() as connection:
            found = connection.execute(row).scalar()
        if found is None:
            with self._transaction() as connection:
                found = connection.execute(row).scalar()  # another worker may have been first
                if found is None:
                    found = secrets.token_hex(_RANDOM_BYTES)
                    connection.execute(_secrets.insert().values(name=name, secret=found))
        return bytes.fromhex(found)

    def close(self) -> None:
        """Close the connections; a later use opens new ones."""
        self.budgets.close()
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose(close=self._pid == os.getpid())

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with _translated(), self._ready().begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(5463789210008)"))
            elif not connection.in_nested_transaction():
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with _translated(), self._ready().connect() as connection:
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
                    _add_columns(connection)
            return self._engine


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Tell a database that cannot be asked as :class:`VendorUnavailable`."""
    try:
        yield
    except IntegrityError:
        raise
    except SQLAlchemyError:
        text = "the keys' database cannot be asked; try again"
        raise VendorUnavailable(text, code="store_unavailable", sent=False) from None


def matches_any(model: str, globs: Sequence[str]) -> bool:
    """Whether the name of a model matches one of these globs; case does not count."""
    return any(fnmatchcase(model.lower(), glob.lower()) for glob in globs)


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


def _add_columns(connection: sa.Connection) -> None:
    """Add what the table of an older version lacks; all of it may be null, so that this version goes on with the table."""
    there = {column["name"] for column in sa.inspect(connection).get_columns(_keys.name)}
    for column in _keys.columns:
        if column.name not in there:
            kind = column.type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {_keys.name} ADD COLUMN {column.name} {kind}")


def read_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a key as :class:`ApiKey` has them. Raises :class:`ConfigError` that names the field, the value and the remedy."""
    unknown = next((name for name in given if name not in _READ), None)
    if unknown is not None:
        raise ConfigError(f"{unknown[:80]}: a key has no such setting; use {', '.join(_READ)}")
    return {name: _READ[name](name, value) for name, value in given.items()}


def _check_name(field: str, value: Any, most: int = 255) -> str:
    if not (isinstance(value, str) and value.strip() and len(value) <= most and value.isprintable()):
        told = repr(value[:80]) if isinstance(value, str) else type(value).__name__
        raise ConfigError(f"{field}: {told} is no name; give 1 to {most} printable characters")
    return value


def _check_names(field: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise ConfigError(f"{field}: {type(value).__name__} is no list of texts; give one, such as ['gpt-*']")
    return tuple([_check_name(f"{field}[{number}]", one) for number, one in enumerate(value)])


def _models(field: str, value: Any) -> tuple[str, ...] | None:
    return None if value is None else _check_names(field, value)


def _tags(field: str, value: Any) -> tuple[str, ...]:
    tags = _check_names(field, value) if value is not None else ()
    if len(tags) > MOST_TAGS:
        raise ConfigError(f"{field}: {len(tags)} are too many; give at most {MOST_TAGS}")
    return tags


def _limit(field: str, value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_LIMIT):
        return value
    raise ConfigError(f"{field}: {str(value)[:40]!r} is no limit; give a whole number from 1, or none at all")


def _budget(_field: str, value: Any) -> Budget | None:
    return None if value is None else budget_of(budget_text(value) if isinstance(value, Budget) else value)


def _expiry(field: str, value: Any) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ConfigError(f"{field}: the time has no zone; give an aware datetime")
    try:
        return value.astimezone(UTC)  # which is what SQLite's times are taken for
    except OverflowError:
        raise ConfigError(f"{field}: {value.isoformat()} is out of range; give an earlier time") from None


_READ: Mapping[str, Any] = {
    "label": _check_name,
    "models": _models,
    "expires_at": _expiry,
    **dict.fromkeys(LIMITS, _limit),
    "budget": _budget,
    "tags": _tags,
}


def _shown(secret: str) -> str:
    return f"{secret[:4]}…{secret[-4:]}" if len(secret) >= 16 else "…"


def _row(key: ApiKey) -> dict[str, Any]:
    return _columns(attrs.asdict(key, recurse=False))


def _columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a key as the table has them."""
    return {name: _column(value) for name, value in fields.items()}


def _column(value: Any) -> Any:
    if isinstance(value, Budget):
        return budget_text(value)
    return list(value) if isinstance(value, tuple) else value


def _key(row: Any) -> ApiKey:
    fields = {name: _aware(value) for name, value in row.items() if name != "hash"}
    fields |= {
        "scopes": tuple(row["scopes"]),
        "models": None if row["models"] is None else tuple(row["models"]),
        "tags": tuple(row["tags"] or ()),
        "budget": None if row["budget"] is None else budget_of(row["budget"]),
    }
    return ApiKey(**fields)


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


def _ledger_place(place: str | os.PathLike[str], url: sa.URL) -> str:
    """The path or URL of the keys' database in the form that a ledger takes."""
    if url.get_backend_name() == "sqlite":
        return str(Path(url.database).expanduser()) if url.database else os.fspath(place)
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


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
