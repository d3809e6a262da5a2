"""The database as the writer uses it: schema versions, SQL statements, batches of rows, and the translation of database errors.

Rows: a batch is one transaction with keyed rows, so it can be repeated. A call's row goes from open to its end once; "unknown" may
be corrected later. A write first selects and locks the rows of its calls, so it knows which change counts for the daily totals.
If two writers insert the same row at the same time, one fails and repeats the batch.

Statements are written with SQLAlchemy Core and compiled to text once, since building each row in SQLAlchemy costs as much as
writing it. PostgreSQL takes a batch as one JSON text, which is faster for both sides than single rows.

Schema: one query tells whether a migration is due, and an empty database gets the current tables directly. Alembic takes half a
second to load, so only databases of older versions load it. Of many processes that start together, one migrates. Beside the version
stands :data:`OLDEST`, so that programs of the version before go on with the tables, and start on them, while hosts are upgraded.

Errors become one of three: unavailable (a lock, a full disk, a server that restarts: it is retried), refused (one row that no
database would take: it is kept beside the spool), or corrupt (an SQLite file is renamed, never deleted, and a new one is created).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.schema import CreateSchema

from ..._text import room_logger
from ...errors import LedgerError
from ...runtime import Clock, lock, open_file
from ..units import MOST_SUM, TOKENS, day_of, micros
from .call import ATTEMPT, CALL, STATUS, Row, fold
from .connections import Connections, insert_into, is_read_only, lock_key, unusable_text
from .process import LOADING, Identity, is_dead, this_process
from .schema import DAILY_KEY, DAILY_SUMS, PREFIX, VERSION_TABLE, attempts, calls, capped_sum, daily, metadata, writers
from .spool import DatabaseUnavailable, Rows

APPLICATION = 0x6C6C6D64
"""The ``application_id`` of an SQLite file that is a ledger."""

OLDEST = "0007"
"""The oldest version whose programs may use the tables of the newest: a migration adds what may be left out, and the next but one
takes away what nobody uses any more."""
_PLACE = Path(__file__).with_name("migrations")
_LOCK = 5_463_789_210_007
"""The key of PostgreSQL's advisory lock; any number that nobody else uses."""


def newest_version() -> str:
    """The newest version that this code knows."""
    return known_versions()[-1]


def known_versions() -> list[str]:
    """All versions in order, by the names of their files."""
    return sorted(file.stem[1:5] for file in (_PLACE / "versions").glob("v[0-9][0-9][0-9][0-9]_*.py"))


def migrate(connections: Connections) -> str:
    """Create or update the tables, and return their version. Idempotent; one process at a time.

    Read-only tables of an older version stay as they are. Raises :class:`LedgerError` if the database is newer than this code, or
    cannot be reached or written.
    """
    found = None
    try:
        with connections.reading() as connection:
            found = _version_of(connection)
        if found != newest_version():
            with connections.transaction() as connection:
                _create_or_upgrade(connection, connections.address.schema)
        connections.was_ledger = True
        return newest_version()
    except (SQLAlchemyError, OSError, UnicodeDecodeError) as error:
        if found is not None and is_read_only(error):
            return found
        raise LedgerError(unusable_text(error, connections.address.shown)) from error


def _create_or_upgrade(connection: sa.Connection, schema: str | None) -> None:
    file = connection.dialect.name == "sqlite"
    lock_key(connection, _LOCK)
    found = _version_of(connection)
    if found == newest_version():
        return
    alone = file and not _foreign_tables(connection)
    if found is None:
        if schema is not None and connection.scalar(sa.text("SELECT current_schema()")) is None:
            connection.execute(CreateSchema(schema, if_not_exists=True))
        others = [] if file else connection.scalars(_LEDGERS, {"name": VERSION_TABLE}).all()
        if others:  # options in an address had no effect up to 0.1.0
            logger.warning("a new ledger is made; its database has another in the schema %s", ", ".join(others))
        _create_tables(connection)
    else:
        upgrade(connection)
    if alone:  # else it is an application's file
        connection.execute(sa.text(f"PRAGMA application_id = {APPLICATION}"))


def is_there(connections: Connections) -> bool:
    """Whether a database is a ledger; changes nothing. Raises :class:`LedgerError` if it cannot be read."""
    path = connections.address.path
    if path is not None and not path.is_file():
        return False
    with _reading_untouched(connections) as connection:
        return sa.inspect(connection).has_table(VERSION_TABLE)


def foreign_tables(connections: Connections) -> list[str]:
    """The names of the tables in a database, in all schemas, that are not the ledger's; changes nothing."""
    path = connections.address.path
    if path is not None and (not path.is_file() or not path.stat().st_size):
        return []
    with _reading_untouched(connections) as connection:
        return _foreign_tables(connection)


@contextlib.contextmanager
def _reading_untouched(connections: Connections) -> Iterator[sa.Connection]:
    try:
        with connections.reading(untouched=True) as connection:
            yield connection
    except (SQLAlchemyError, OSError, UnicodeDecodeError) as error:
        raise LedgerError(unusable_text(error, connections.address.shown)) from error


_LEDGERS = sa.text("SELECT nspname FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace WHERE relname = :name")
_FOREIGN = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    "postgresql": "SELECT relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace"
    " WHERE relkind IN ('r', 'p', 'f') AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'"
    " AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype = 'e')",  # not of an extension
}


def _foreign_tables(connection: sa.Connection) -> list[str]:
    """The tables that are not the ledger's, nor of a cache beside it; up to version 0004 its tables have names without a prefix."""
    names = set(connection.scalars(sa.text(_FOREIGN[connection.dialect.name])))
    ours = {VERSION_TABLE, f"{PREFIX}answers", *metadata.tables}
    if VERSION_TABLE in names and calls.name not in names:
        ours |= {name.removeprefix(PREFIX) for name in metadata.tables}
    return sorted(names - ours)


def _version_of(connection: sa.Connection) -> str | None:
    """The version of the database, ``None`` without tables; the newest of this code where that may use newer tables.

    Raises :class:`LedgerError` for tables that it may not use.
    """
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(sa.text(f"SELECT * FROM {VERSION_TABLE}")).mappings().first()  # noqa: S608 - our own constant
    version: str | None = found["version_num"] if found is not None else None
    if found is not None and version not in known_versions():
        if found.get("oldest") in known_versions():
            return newest_version()
        raise LedgerError(
            f"ledger: its schema {version} is newer than {newest_version()}, which this llmdispatcher knows; upgrade llmdispatcher"
        )
    return version


def _create_tables(connection: sa.Connection) -> None:
    """Create the present tables, as the migrations would have made them; none of them may exist."""
    metadata.create_all(connection, checkfirst=False)
    version = sa.Column("version_num", sa.String(32), nullable=False)
    versions = sa.Table(VERSION_TABLE, sa.MetaData(), version, sa.PrimaryKeyConstraint(version, name=f"{VERSION_TABLE}_pkc"))
    versions.create(connection)
    connection.execute(versions.insert().values(version_num=newest_version()))
    _write_oldest(connection)


def _write_oldest(connection: sa.Connection) -> None:
    """Write down which programs may use the tables; Alembic knows one column of that table only."""
    if "oldest" not in [column["name"] for column in sa.inspect(connection).get_columns(VERSION_TABLE)]:
        connection.exec_driver_sql(f"ALTER TABLE {VERSION_TABLE} ADD COLUMN oldest VARCHAR(32)")
    connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET oldest = :oldest"), {"oldest": OLDEST})  # noqa: S608 - our own constant


def upgrade(connection: sa.Connection) -> None:
    """Run the migrations that are missing; all of them in an empty database."""
    with LOADING:
        command, config = import_module("alembic.command"), import_module("alembic.config")
    settings = config.Config()
    settings.set_main_option("script_location", str(_PLACE).replace("%", "%%"))
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")
    _write_oldest(connection)


UNSURE = ("open", "unknown")
_CALL = (*CALL, "writer")
_ATTEMPT = (*ATTEMPT, "writer")
# Without types: the rows are made of what the databases take.
_calls = sa.table(calls.name, *[sa.column(name) for name in _CALL])
_attempts = sa.table(attempts.name, *[sa.column(name) for name in _ATTEMPT])
_daily = sa.table(daily.name, *[sa.column(name) for name in (*DAILY_KEY, *DAILY_SUMS)])


@attrs.frozen
class BatchStatement:
    """A statement for many rows, as the driver takes it. ``places`` are the indexes in a row of its parameters.

    ``names`` are the names of the columns in JSON, which leaves out nulls.
    """

    sql: str
    places: tuple[int, ...]
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, statement: Any, names: Sequence[str], kind: str) -> BatchStatement:
        """Compile a statement whose parameters are named like the columns of a row."""
        made = statement.compile(dialect=_dialect_of(kind))
        return cls(made.string, tuple([names.index(name) for name in made.positiontup]))

    def run(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        """Execute the statement for each row."""
        if not rows:
            return
        if self.names:
            given = [{name: value for name, value in zip(self.names, row, strict=True) if value is not None} for row in rows]
            connection.exec_driver_sql(self.sql, (json.dumps(given, ensure_ascii=False, separators=(",", ":")),))
        else:
            connection.exec_driver_sql(self.sql, [tuple([row[place] for place in self.places]) for row in rows])


def _insert_from_json(into: sa.Table, names: Sequence[str], rest: str = "") -> BatchStatement:
    """Insert rows from one JSON text, in PostgreSQL."""
    recordset, values = _recordset(into, names)
    listed, picked = ", ".join(map(_quote, names)), ", ".join(values.values())
    sql = f"INSERT INTO {into.name} ({listed}) SELECT {picked} FROM {recordset} {rest}"  # noqa: S608 - names of ours
    return BatchStatement(sql, (), _short_names(names))


def _update_from_json() -> BatchStatement:
    """Update rows of calls from one JSON text, in PostgreSQL."""
    recordset, values = _recordset(calls, CALL)
    changed = ", ".join([f"{_quote(name)} = {value}" for name, value in values.items() if name not in ("id", "begun_at")])
    sql = f"UPDATE {calls.name} SET {changed} FROM {recordset} WHERE {calls.name}.id = {values['id']}"  # noqa: S608 - as above
    return BatchStatement(sql, (), _short_names(CALL))


def _short_names(names: Sequence[str]) -> tuple[str, ...]:
    """Short names for columns in JSON, since each row repeats them."""
    return tuple([f"c{place}" for place in range(len(names))])


def _recordset(of: sa.Table, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """What makes rows of one JSON text, and the value of each column in such a row."""
    typed, values, dialect = [], {}, _dialect_of("postgresql")
    for short, name in zip(_short_names(names), names, strict=True):
        kind = of.c[name].type
        kind = kind.impl_instance if isinstance(kind, sa.TypeDecorator) else kind
        is_json = isinstance(kind, sa.JSON)
        typed.append(f"{short} {'text' if is_json else kind.compile(dialect=dialect)}")
        values[name] = f"r.{short}::json" if is_json else f"r.{short}"
    return f"json_to_recordset(%s::json) AS r ({', '.join(typed)})", values


def _dialect_of(kind: str) -> Any:
    made: Any = sqlite.dialect if kind == "sqlite" else PGDialect_psycopg
    return made(paramstyle="qmark" if kind == "sqlite" else "format")


def _quote(name: str) -> str:
    return f'"{name}"'


class Statements:
    """The statements for one kind of database."""

    _made: dict[str, Statements] = {}

    def __init__(self, kind: str) -> None:
        row = sa.select(*[_calls.c[name] if name != "metadata" else sa.null().label(name) for name in CALL])
        if kind == "sqlite":
            self.select_locked = row.where(
                _calls.c.id.in_(sa.text("SELECT value FROM json_each(:ids)"))
            )  # one text for however many ids
        else:
            self.select_locked = row.where(sa.text("id = ANY(CAST(:ids AS char(32)[]))")).order_by(_calls.c.id).with_for_update()
        of_writer = row.where(_calls.c.writer == sa.bindparam("writer"), sa.text("status = 'open'")).order_by(_calls.c.id)
        self.left_open = of_writer.limit(sa.bindparam("most")).with_for_update()
        lost = sa.update(_calls).where(_calls.c.id == sa.bindparam("of")).values(status=sa.text("'unknown'"))
        late = insert_into(_daily, kind)
        sums = {name: capped_sum(_daily.c[name], late.excluded[name]) for name in DAILY_SUMS}
        late = late.on_conflict_do_update(index_elements=list(DAILY_KEY), set_=sums)
        upsert = _upsert_of_attempt(kind)
        if kind == "sqlite":
            self.begin = BatchStatement.of(insert_into(_calls, kind), _CALL, kind)
            self.end = BatchStatement.of(_update_of_end(), [f"new_{name}" for name in CALL], kind)
            self.attempt = BatchStatement.of(upsert, _ATTEMPT, kind)
        else:
            upserted = BatchStatement.of(upsert, _ATTEMPT, kind).sql
            self.begin, self.end = _insert_from_json(calls, _CALL), _update_from_json()
            self.attempt = _insert_from_json(attempts, _ATTEMPT, upserted[upserted.index("ON CONFLICT") :])
        self.mark_unknown = BatchStatement.of(lost, ["of"], kind)
        self.daily = BatchStatement.of(late, (*DAILY_KEY, *DAILY_SUMS), kind)
        beat = insert_into(sa.table(writers.name, *[sa.column(item.name) for item in writers.c]), kind)
        self.beat = beat.on_conflict_do_update(index_elements=["id"], set_={"seen_at": beat.excluded.seen_at})
        self._kind = kind

    @classmethod
    def of(cls, connection: sa.Connection) -> Statements:
        """The statements for the database of a connection."""
        kind = connection.dialect.name
        if kind not in cls._made:
            cls._made[kind] = cls(kind)
        return cls._made[kind]

    def lock_calls(self, connection: sa.Connection, ids: list[str]) -> dict[str, Row]:
        """Lock calls until the end of the transaction, and return the rows that exist, without their metadata."""
        parameter = json.dumps(ids) if self._kind == "sqlite" else ids
        return {row[0]: tuple(row) for row in connection.execute(self.select_locked, {"ids": parameter})}


def _update_of_end() -> Any:
    """Update a call's row with its end."""
    changed: Any = {name: sa.bindparam(f"new_{name}") for name in CALL if name not in ("id", "begun_at")}
    return sa.update(_calls).where(_calls.c.id == sa.bindparam("new_id")).values(changed)


def _upsert_of_attempt(kind: str) -> Any:
    """Insert an attempt, or replace one that is open or unknown by its end."""
    new = insert_into(_attempts, kind)
    changed = {name: new.excluded[name] for name in ATTEMPT if name not in ("call_id", "number")}
    unsure = sa.or_(*[_attempts.c.status == sa.text(f"'{status}'") for status in UNSURE])
    where = unsure & (new.excluded.status != sa.text("'open'"))
    return new.on_conflict_do_update(index_elements=["call_id", "number"], set_=changed, where=where)


Days = dict[tuple[Any, ...], list[int]]
"""Totals in the order of :data:`DAILY_SUMS`, by day and key."""

_PLACES = {name: place for place, name in enumerate(CALL)}
_NUMBER = {name: place for place, name in enumerate(DAILY_SUMS)}
_BEGUN = _PLACES["begun_at"]
_KEY = tuple([_PLACES[name] for name in DAILY_KEY[1:]])
_COST, _FIRST = _PLACES["cost"], _PLACES["first_token_us"]
_SUMMED = tuple(
    [
        (_NUMBER[name], _PLACES[name])
        for name in ("cached", "streamed", "hedged", "attempts", *TOKENS, "cost", "latency_us", "first_token_us")
    ]
)
_CALLS, _UNPRICED, _FIRSTS = _NUMBER["calls"], _NUMBER["unpriced"], _NUMBER["first_tokens"]


def add_row(days: Days, row: Row, sign: int = 1) -> None:
    """Add a row to the daily totals, or with ``sign=-1`` subtract it."""
    key = (day_of(row[_BEGUN]), *[row[place] or "" for place in _KEY])
    sums = days.get(key)
    if sums is None:
        sums = days[key] = [0] * len(DAILY_SUMS)
    sums[_CALLS] += sign
    sums[_NUMBER[row[STATUS]]] += sign
    for number, place in _SUMMED:
        amount = row[place]
        if amount:
            sums[number] += sign * amount
    if row[_COST] is None:
        sums[_UNPRICED] += sign
    if row[_FIRST] is not None:
        sums[_FIRSTS] += sign


def daily_rows(days: Days) -> list[tuple[Any, ...]]:
    """The rows to add to the table, in one order for all, so that no two transactions wait for each other."""
    return [(*key, *[min(MOST_SUM, count) for count in days[key]]) for key in sorted(days) if any(days[key])]


LEASE = timedelta(seconds=60)
"""A process of another machine counts as dead after this long without a sign of life."""
_TRIES = 4
_CHUNK = 500
# A writer is known before its first row; rows without one came late, out of the spool of a process that was dead already.
_ORPHANED = sa.text(
    "SELECT writer FROM llmdispatcher_calls WHERE status = 'open' AND writer NOT IN (SELECT id FROM llmdispatcher_writers) "
    "UNION SELECT writer FROM llmdispatcher_attempts WHERE status = 'open' AND writer NOT IN (SELECT id FROM llmdispatcher_writers)"
)

_GONE = sa.text("DELETE FROM llmdispatcher_writers WHERE id = :id")
_LOST = sa.text(
    "UPDATE llmdispatcher_attempts SET status = 'unknown', possibly_billed = :yes WHERE writer = :writer AND status = 'open'"
)


logger = room_logger("accounting")
T = TypeVar("T")
_RUINED = (11, 26)  # SQLITE_CORRUPT and SQLITE_NOTADB: https://www.sqlite.org/rescode.html
_COMPANIONS = ("", "-wal", "-shm")
_OF_A_ROW = (DataError, IntegrityError, StatementError, OverflowError, ValueError, TypeError)
"""Errors for which the values of a row are at fault, once :meth:`RowWriter._run` has taken out those of the database."""


class RowWriter:
    """Writes the rows of one process under the name ``writer``; used by one thread at a time.

    All methods but :meth:`leave` raise :class:`DatabaseUnavailable`. ``aside`` counts broken files that were put aside; the file
    ``refused`` keeps the rows that the database refuses.
    """

    def __init__(
        self, connections: Connections, clock: Clock, writer: str, refused: Path, identity: Identity | None = None
    ) -> None:
        self.aside = 0
        self._connections = connections
        self._clock = clock
        self._writer = writer
        self._refused = refused
        self._identity = identity or this_process()

    def open(self) -> None:
        """Connect, make the tables, and record that this process lives."""
        self._run(lambda: migrate(self._connections))
        self.beat()

    def write(self, rows: Rows, writer: str | None = None) -> tuple[int, int]:
        """Write rows, in the name of another writer if given. Return how many were written and how many refused."""
        try:
            self._run(lambda: self._write_batch(*rows, writer))
        except _OF_A_ROW:
            return self._write_singly(rows, writer)
        return len(rows[0]) + len(rows[1]), 0

    def beat(self) -> None:
        """Record that this process lives."""
        self._run(self._beat)

    def reconcile(self) -> int:
        """Mark open calls of dead processes as unknown, and return how many."""
        return sum([self._run(partial(self._mark_unknown, writer)) for writer in self._run(self._dead_writers)])

    def leave(self, *, idle: bool) -> None:
        """Close; an ``idle`` process leaves no open calls behind. Never raises."""
        with contextlib.suppress(SQLAlchemyError, LedgerError, OSError):
            if idle:
                with self._connections.transaction() as connection:
                    connection.execute(_GONE, {"id": self._writer})
        self._connections.close()

    def _write_batch(self, calls: Sequence[Row], attempts: Sequence[Row], writer: str | None = None) -> None:
        """Write rows in one transaction. Raises SQLAlchemy's errors; then nothing is written."""
        name = writer or self._writer
        calls, attempts = fold(calls, attempts)
        for left in reversed(range(_TRIES)):
            try:
                with self._connections.transaction() as connection:
                    statements = Statements.of(connection)
                    if calls:
                        _write_calls(connection, statements, calls, name)
                    statements.attempt.run(connection, [(*row, name) for row in attempts])
                return
            except IntegrityError:
                if not left:
                    raise

    def _beat(self) -> None:
        now = micros(self._clock.now())
        row = {**attrs.asdict(self._identity), "id": self._writer, "begun_at": now, "seen_at": now}
        with self._connections.transaction() as connection:
            connection.execute(Statements.of(connection).beat, row)

    def _dead_writers(self) -> set[str]:
        with self._connections.reading() as connection:
            others = connection.execute(sa.select(writers).where(writers.c.id != self._writer)).all()
            return {entry.id for entry in others if self._is_dead(entry)} | set(connection.scalars(_ORPHANED))

    def _is_dead(self, entry: Any) -> bool:
        dead = is_dead(Identity(entry.place, entry.pid, entry.started), self._identity)
        return dead if dead is not None else self._clock.now() - entry.seen_at > LEASE

    def _mark_unknown(self, writer: str) -> int:
        count = 0
        while True:
            with self._connections.transaction() as connection:
                statements = Statements.of(connection)
                rows = [tuple(row) for row in connection.execute(statements.left_open, {"writer": writer, "most": _CHUNK})]
                if not rows:
                    connection.execute(_LOST, {"writer": writer, "yes": True})
                    connection.execute(_GONE, {"id": writer})
                    return count
                statements.mark_unknown.run(connection, [row[:1] for row in rows])
                days: Days = {}
                for row in rows:
                    add_row(days, (*row[:STATUS], "unknown", *row[STATUS + 1 :]))
                statements.daily.run(connection, daily_rows(days))
                count += len(rows)

    def _run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns; try again if a broken file was put aside, or the server had cut the connection."""
        for again in (True, False):
            try:
                if not self._connections.same_file():
                    self._connections.close()
                    migrate(self._connections)
                return work()
            except (DataError, IntegrityError):
                raise
            except (DatabaseError, LedgerError) as error:
                if not (again and (_was_cut_off(error) or (_is_corrupt(error) and self._rename_broken()))):
                    raise DatabaseUnavailable(_class_of(error)) from None
            except (SQLAlchemyError, OSError, UnicodeDecodeError) as error:
                if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
                    raise
                raise DatabaseUnavailable(_class_of(error)) from None
        raise DatabaseUnavailable("it was put aside")

    def _write_singly(self, rows: Rows, writer: str | None) -> tuple[int, int]:
        written = refused = 0
        for one in (*[([row], []) for row in rows[0]], *[([], [row]) for row in rows[1]]):
            try:
                self._run(partial(self._write_batch, *one, writer))
                written += 1
            except _OF_A_ROW as error:
                self._refuse((*one[0], *one[1])[0], error)
                refused += 1
        return written, refused

    def _refuse(self, row: Row, error: Exception) -> None:
        """Keep a row that no database takes in a file, where people can look at it; it must not stop the others."""
        logger.error("the ledger's database refuses a row (%s); it is kept in %s", _class_of(error), self._refused)
        with contextlib.suppress(OSError):
            self._refused.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = open_file(self._refused, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            with os.fdopen(file, "w") as lines:
                lines.write(json.dumps({"why": _class_of(error), "row": row}, default=str) + "\n")

    def _rename_broken(self) -> bool:
        """Rename the broken file, unless another process has; ``False`` for a file that was never a ledger's alone."""
        path = self._connections.address.path
        if path is None or not self._connections.owned:
            return False
        with _lock_file(path):
            if self._connections.same_file():
                if not self._connections.was_ledger and not _is_ledger_file(path):
                    return False
                self._connections.close()
                name = f"{path}.broken-{self._clock.now():%Y%m%dT%H%M%S%f}"
                for suffix in _COMPANIONS:
                    with contextlib.suppress(FileNotFoundError):
                        Path(f"{path}{suffix}").rename(f"{name}{suffix}")
                logger.critical("the ledger's file is broken; it is now %s, and a new one was begun", name)
                self.aside += 1
            self._connections.close()
            migrate(self._connections)
            self._beat()
        return True


def _write_calls(connection: sa.Connection, statements: Statements, rows: Sequence[Row], writer: str) -> None:
    stored = statements.lock_calls(connection, [row[0] for row in rows])
    new = [row for row in rows if row[0] not in stored]
    ends = [row for row in rows if row[STATUS] != "open" and row[0] in stored and stored[row[0]][STATUS] in UNSURE]
    statements.begin.run(connection, [(*row, writer) for row in new])
    statements.end.run(connection, ends)
    days: Days = {}
    for row in (*new, *ends):
        if row[STATUS] != "open":
            add_row(days, row)
    for row in ends:
        if stored[row[0]][STATUS] != "open":
            add_row(days, stored[row[0]], -1)
    statements.daily.run(connection, daily_rows(days))


@contextlib.contextmanager
def _lock_file(path: Path) -> Iterator[None]:
    """Lock a file against other processes while its fate is decided."""
    file = open_file(f"{path}.aside", os.O_CREAT | os.O_RDWR)
    try:
        lock(file, wait=True)
        yield
    finally:
        os.close(file)


def _is_ledger_file(path: Path) -> bool:
    """Whether a file was a ledger, by its header, or by its tables if the header is broken; another's file must not be moved."""
    with path.open("rb") as file:
        beginning = file.read(1 << 20)
    if beginning.startswith(b"SQLite format 3\0"):
        return beginning[68:72] == APPLICATION.to_bytes(4, "big")
    return VERSION_TABLE.encode() in beginning


def _is_corrupt(error: Exception) -> bool:
    cause = getattr(error, "orig", None) or error.__cause__ or error.__context__
    cause = getattr(cause, "orig", None) or cause
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _RUINED


def _was_cut_off(error: Exception) -> bool:
    """Whether the server had closed the connection, as it does with idle ones; the next one is new."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _class_of(error: Exception) -> str:
    """The class or code of an error; its text may hold an address, a password or a row."""
    if isinstance(error, LedgerError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    cause = getattr(error, "orig", None) or error
    return str(getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or type(cause).__name__)
