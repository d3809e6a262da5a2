"""Brings the tables of a database up to what this code knows; of many processes that start together one does it.

Looking whether something is to be done costs one question, and an empty database gets today's tables at once. Alembic, which takes
half a second to load, is there for those that an older version made.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from ..errors import LedgerError
from .connections import Connections
from .loading import LOADING
from .schema import metadata

VERSION_TABLE = "llmdispatcher_schema"
"""Where the version stands; not Alembic's usual name, since an application may keep its own tables in the same database."""

APPLICATION = 0x6C6C6D64
"""What says in the head of an SQLite file that it is a ledger."""

_PLACE = Path(__file__).with_name("migrations")
_LOCK = 5_463_789_210_007
"""The key of PostgreSQL's advisory lock; any number that nobody else uses."""


def newest() -> str:
    """The version that this code knows."""
    return known()[-1]


def known() -> list[str]:
    """All versions in order, by the names of their files."""
    return sorted(file.stem[1:5] for file in (_PLACE / "versions").glob("v[0-9][0-9][0-9][0-9]_*.py"))


def migrate(connections: Connections) -> str:
    """Make or bring up to date the tables; gives their version. Idempotent, and one at a time over all processes.

    Raises :class:`LedgerError` where the database is newer than this code, or cannot be reached or written.
    """
    try:
        with connections.engine.connect() as connection:
            if _current(connection) == newest():
                return newest()
        with connections.transaction() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            found = _current(connection)
            if found != newest():
                (_make if found is None else upgrade)(connection)
                if connection.dialect.name == "sqlite":
                    connection.execute(text(f"PRAGMA application_id = {APPLICATION}"))
        return newest()
    except (SQLAlchemyError, OSError) as error:
        raise LedgerError(_told(error, connections.address.shown)) from error


def _current(connection: Connection) -> str | None:
    """The version that the database has; refuses one that is newer."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - our own constant
    if version is not None and version not in known():
        raise LedgerError(
            f"ledger: its schema {version} is newer than {newest()}, which this llmdispatcher knows; upgrade llmdispatcher"
        )
    return version


def _make(connection: Connection) -> None:
    """Today's tables, which none may be there of, as the migrations would have made them."""
    metadata.create_all(connection, checkfirst=False)
    version = Column("version_num", String(32), nullable=False)
    versions = Table(VERSION_TABLE, MetaData(), version, PrimaryKeyConstraint(version, name=f"{VERSION_TABLE}_pkc"))
    versions.create(connection)
    connection.execute(versions.insert().values(version_num=newest()))


def upgrade(connection: Connection) -> None:
    """What the versions that are missing say; all of them in an empty database."""
    with LOADING:
        command, config = import_module("alembic.command"), import_module("alembic.config")
    settings = config.Config()
    settings.set_main_option("script_location", str(_PLACE).replace("%", "%%"))
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")


def _told(error: Exception, shown: str) -> str:
    cause = getattr(error, "orig", None) or error
    return f"ledger: {shown} cannot be used ({type(cause).__name__}); see that it exists, is a ledger, and may be written"
