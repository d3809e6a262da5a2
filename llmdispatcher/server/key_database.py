"""The database of keys and their owners: its tables, how they change from version to version, and how long one waits for it.

A version adds tables, and columns that may be null, and the next but one may take them away: so the version before goes on with
the tables while hosts are changed one by one, and may come back. :data:`VERSION` is written into the database, with the oldest
version that may use it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ..errors import ConfigError, VendorUnavailable
from ..runtime import SYSTEM_CLOCK, Clock, TimedCalls, make_file, new_lock

VERSION, OLDEST = 2, 1
"""Of the tables as this version makes them; and of the oldest program that may use them."""
PATIENCE = 5.0
"""Seconds that one waits for the database."""
_PREPARING = 60.0
REST = 5.0
"""Seconds for which a database that did not answer is left alone; then one call asks."""
_LOCK = 5_463_789_210_008
_MOST_ASKING = 64
_T = TypeVar("_T")

_metadata = sa.MetaData()
keys = sa.Table(
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
    sa.Column("team", sa.String(32)),
    sa.Column("member", sa.String(32)),
    sa.Column("vendors", sa.JSON),
    sa.Column("model_budgets", sa.JSON),
    sa.Column("override", sa.JSON),
    sa.Column("strict", sa.Boolean),
)
owners = sa.Table(
    "llmdispatcher_key_owners",
    _metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("level", sa.String(16), nullable=False),
    sa.Column("organization", sa.String(255), nullable=False),
    sa.Column("team", sa.String(32), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("removed_at", sa.DateTime(timezone=True)),
    sa.Column("models", sa.JSON),
    sa.Column("vendors", sa.JSON),
    sa.Column("requests_per_minute", sa.BigInteger),
    sa.Column("tokens_per_minute", sa.BigInteger),
    sa.Column("in_flight", sa.BigInteger),
    sa.Column("budget", sa.String(64)),
    sa.Column("model_budgets", sa.JSON),
    sa.Column("override", sa.JSON),
    sa.Column("strict", sa.Boolean),
    sa.Column("tags", sa.JSON),
    sa.Column("member_budget", sa.String(64)),
    sa.Column("most_keys", sa.BigInteger),
    sa.Column("suspended", sa.Boolean),
    sa.UniqueConstraint("level", "organization", "team", "name", name="uq_llmdispatcher_key_owners_name"),
)
"""Organizations, teams and members. ``team`` is '' but for members, since NULLs would not be unique; a removed one keeps its row,
under a name that nobody can give."""
_versions = sa.Table(
    "llmdispatcher_key_versions",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("oldest", sa.Integer, nullable=False),
)
_secrets = sa.Table(
    "llmdispatcher_secrets",
    _metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("secret", sa.String(128), nullable=False),
)
"""What the server itself must remember and nobody else may know."""


class KeyDatabase:
    """Connections to the keys' database, SQLite or PostgreSQL; safe under threads, and after a fork.

    ``place`` is the path of a file or the URL of a server. The tables are made at the first use. Whatever asks raises
    :class:`VendorUnavailable` with code ``store_unavailable`` while the database is away, after :data:`PATIENCE` seconds at most,
    and for :data:`REST` seconds after that at once.
    """

    def __init__(self, place: str | os.PathLike[str], clock: Clock = SYSTEM_CLOCK) -> None:
        self.url = _url(place)
        self._clock = clock
        self._lock = new_lock()
        self._engine: sa.Engine | None = None
        self._pid = 0
        self._calls = TimedCalls(_MOST_ASKING) if self.url.get_backend_name() != "sqlite" else None
        self._rests_until = 0.0
        self._answered = 0

    def read(self, work: Callable[[sa.Connection], _T]) -> _T:
        """Return what work returns of a connection."""

        def run() -> _T:
            engine = self._ready()
            pool = engine.pool
            with engine.connect() as connection, _closing_late(engine, pool, connection):
                return work(connection)

        return self._ask(run)

    def write(self, work: Callable[[sa.Connection], _T]) -> _T:
        """Do work in a transaction that no other of these overlaps. Lets :class:`IntegrityError` through."""

        def run() -> _T:
            engine = self._ready()
            pool = engine.pool
            with engine.connect() as connection, _closing_late(engine, pool, connection), connection.begin():
                _begin_alone(connection)
                return work(connection)

        return self._ask(run)

    def prepare(self) -> None:
        """Make the tables, or bring them up to date, which may wait for others' transactions longer than a request should."""
        self._ask(self._ready, _PREPARING)

    def secret(self, name: str) -> bytes:
        """32 random bytes under a name, the same for all workers and hosts; made at the first use."""
        row = sa.select(_secrets.c.secret).where(_secrets.c.name == name)

        def make(connection: sa.Connection) -> str:
            found = connection.scalar(row)  # another worker may have been first
            if found is None:
                found = secrets.token_hex(32)
                connection.execute(_secrets.insert().values(name=name, secret=found))
            return str(found)

        return bytes.fromhex(self.read(lambda connection: connection.scalar(row)) or self.write(make))

    def _ask(self, run: Callable[[], _T], patience: float | None = None) -> _T:
        with self._lock:
            now = self._clock.monotonic()
            if now < self._rests_until:
                raise _unavailable()
            if self._rests_until:
                self._rests_until = now + REST  # this one tries, the others wait for its result no longer
            answered = self._answered
        try:
            answer = run() if self._calls is None else self._calls.run(run, patience or PATIENCE)
        except IntegrityError:
            raise
        except (SQLAlchemyError, TimeoutError) as error:
            if answered == self._answered:  # else it is slow, and answers others
                self._rest(hung=isinstance(error, TimeoutError))
            raise _unavailable() from None
        self._rests_until = 0.0
        self._answered += 1
        return answer

    def _rest(self, *, hung: bool) -> None:
        """Leave the database alone for a while; a server that hangs keeps the old connections, and gets new ones."""
        if self._calls is None:
            return  # a file that cannot be used now may be in a moment
        with self._lock:
            self._rests_until = self._clock.monotonic() + REST
            engine = self._engine
        if hung and engine is not None:
            engine.dispose()

    def is_resting(self) -> bool:
        """Whether it did not answer a moment ago, so that nobody else should wait for it."""
        return self._clock.monotonic() < self._rests_until

    def close(self) -> None:
        """Close the connections; a later use opens new ones."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose(close=self._pid == os.getpid())

    def _ready(self) -> sa.Engine:
        with self._lock:
            if self._engine is not None and self._pid == os.getpid():
                return self._engine
        made = make_engine(self.url)
        with made.begin() as connection:
            _begin_alone(connection)
            _migrate(connection)
        with self._lock:
            if self._engine is None or self._pid != os.getpid():
                self._engine, self._pid = made, os.getpid()
            kept = self._engine
        if kept is not made:
            made.dispose()
        return kept


@contextlib.contextmanager
def _closing_late(engine: sa.Engine, pool: sa.Pool, connection: sa.Connection) -> Iterator[None]:
    """Close a connection that comes back after its pool was given up: nobody would use it again."""
    try:
        yield
    finally:
        if engine.pool is not pool and not connection.invalidated:
            connection.invalidate()


def _unavailable() -> VendorUnavailable:
    return VendorUnavailable("the keys' database cannot be asked; try again", code="store_unavailable", sent=False)


def _begin_alone(connection: sa.Connection) -> None:
    """Keep out all others that begin so, until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _migrate(connection: sa.Connection) -> None:
    """Make the tables, or add what those of an older version lack. Raises :class:`ConfigError` for tables that are too new."""
    if sa.inspect(connection).has_table(_versions.name):
        row = connection.execute(sa.select(_versions)).mappings().first()
        if row is not None and row["oldest"] > VERSION:
            raise ConfigError(
                f"database: its tables are of version {row['version']}, which this program, of version {VERSION}, cannot use;"
                " install a newer llmdispatcher"
            )
        if row is not None and row["version"] >= VERSION:
            return
    _metadata.create_all(connection)
    for table in (keys, owners):
        _add_columns(table, connection)
    connection.execute(_versions.delete())
    connection.execute(_versions.insert().values(id=1, version=VERSION, oldest=OLDEST))


def _add_columns(table: sa.Table, connection: sa.Connection) -> None:
    """Add the columns that a table of an older version lacks; all of them may be null, so that the older version goes on."""
    there = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
    quote = connection.dialect.identifier_preparer.quote
    for column in table.columns:
        if column.name not in there:
            kind = column.type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {quote(column.name)} {kind}")


def _url(place: str | os.PathLike[str]) -> sa.URL:
    text = os.fspath(place)
    if "://" not in text:
        return sa.URL.create("sqlite+pysqlite", database=str(Path(text).expanduser()))
    url = sa.make_url(text)
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgres", "postgresql") else url


def ledger_place(place: str | os.PathLike[str], url: sa.URL) -> str:
    """The path or URL of the keys' database in the form that a ledger takes."""
    if url.get_backend_name() == "sqlite":
        return str(Path(url.database).expanduser()) if url.database else os.fspath(place)
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def make_engine(url: sa.URL, *, size: int = 4, alone: bool = True) -> sa.Engine:
    """The engine of a database, of SQLite in a file of mode 0600 with a log of what is written.

    ``alone`` leaves the beginning of transactions to :func:`_begin_alone`; else SQLite does not wait for the disk at each.
    """
    if url.get_backend_name() != "sqlite":
        waits = {"connect_timeout": 5, "prepare_threshold": None}
        return sa.create_engine(url, pool_pre_ping=True, pool_size=size, pool_timeout=PATIENCE, connect_args=waits)
    if url.database not in (None, "", ":memory:"):
        path = Path(str(url.database))
        path.parent.mkdir(parents=True, exist_ok=True)
        make_file(path)
    engine = sa.create_engine(url, connect_args={"timeout": 5, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        if alone:
            connection.isolation_level = None  # transactions begin where they are begun here
        connection.execute("PRAGMA journal_mode=WAL")
        if not alone:
            connection.execute("PRAGMA synchronous=NORMAL")

    return engine


@contextlib.contextmanager
def telling_twins(text: str) -> Iterator[None]:
    """Raise :class:`ConfigError` with the text where a row is there already."""
    try:
        yield
    except IntegrityError:
        raise ConfigError(text) from None
