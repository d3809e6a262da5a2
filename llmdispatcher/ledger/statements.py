"""What is said to each kind of database, written with SQLAlchemy's Core and made to text once.

A batch has thousands of rows; they go to the driver as they are, since making each of them SQLAlchemy's costs as much as writing
it. PostgreSQL takes a batch as one JSON text, which is far quicker for both sides than row by row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Table,
    TypeDecorator,
    bindparam,
    column,
    null,
    or_,
    select,
    table,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from .rows import ATTEMPT, CALL, Row
from .schema import DAILY_KEY, DAILY_SUMS, attempts, calls, writers

UNSURE = ("open", "unknown")
_CALL = (*CALL, "writer")
_ATTEMPT = (*ATTEMPT, "writer")
# Without types: the rows are made of what the databases take.
_calls = table("calls", *[column(name) for name in _CALL])
_attempts = table("attempts", *[column(name) for name in _ATTEMPT])
_daily = table("daily", *[column(name) for name in (*DAILY_KEY, *DAILY_SUMS)])


@attrs.frozen
class Many:
    """A statement for many rows, as the driver takes it: ``places`` are those in a row that it wants.

    ``names`` are what columns are called in JSON, which leaves out what is null.
    """

    sql: str
    places: tuple[int, ...]
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, statement: Any, names: Sequence[str], kind: str) -> Many:
        """Of a statement whose parameters are named as the columns of a row."""
        made = statement.compile(dialect=_dialect(kind))
        return cls(made.string, tuple([names.index(name) for name in made.positiontup]))

    def run(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Say it for each row."""
        if not rows:
            return
        if self.names:
            given = [{name: value for name, value in zip(self.names, row, strict=True) if value is not None} for row in rows]
            connection.exec_driver_sql(self.sql, (json.dumps(given, ensure_ascii=False, separators=(",", ":")),))
        else:
            connection.exec_driver_sql(self.sql, [tuple([row[place] for place in self.places]) for row in rows])


def _from_json(into: Table, names: Sequence[str], rest: str = "") -> Many:
    """Insert rows, in PostgreSQL, out of one JSON text."""
    listed = ", ".join(map(_quoted, names))
    picked = ", ".join([_picked(into, names, name) for name in names])
    return Many(f"INSERT INTO {into.name} ({listed}) SELECT {picked} FROM {_rows(into, names)} {rest}", (), _brief(names))  # noqa: S608 - names of ours


def _ends_from_json() -> Many:
    """Update rows of calls out of one JSON text."""
    changed = ", ".join([f"{_quoted(name)} = {_picked(calls, CALL, name)}" for name in CALL if name not in ("id", "begun_at")])
    where = f"calls.id = {_picked(calls, CALL, 'id')}"
    return Many(f"UPDATE calls SET {changed} FROM {_rows(calls, CALL)} WHERE {where}", (), _brief(CALL))  # noqa: S608 - names of ours


def _brief(names: Sequence[str]) -> tuple[str, ...]:
    """What columns are called in the JSON, where each row repeats their names."""
    return tuple([f"c{place}" for place in range(len(names))])


def _rows(of: Table, names: Sequence[str]) -> str:
    typed = ", ".join([f"{brief} {_type(of.c[name])}" for brief, name in zip(_brief(names), names, strict=True)])
    return f"json_to_recordset(%s::json) AS r ({typed})"


def _picked(of: Table, names: Sequence[str], name: str) -> str:
    brief = f"r.{_brief(names)[names.index(name)]}"
    return f"{brief}::json" if isinstance(of.c[name].type, JSON) else brief


def _type(column: Column[Any]) -> str:
    """The name that PostgreSQL has for a column's type."""
    kind = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
    return "text" if isinstance(kind, JSON) else str(kind.compile(dialect=_dialect("postgresql")))


def _dialect(kind: str) -> Any:
    made: Any = sqlite.dialect if kind == "sqlite" else PGDialect_psycopg
    return made(paramstyle="qmark" if kind == "sqlite" else "format")


def _quoted(name: str) -> str:
    return f'"{name}"'


class Statements:
    """All that is said to one kind of database."""

    _made: dict[str, Statements] = {}

    def __init__(self, kind: str) -> None:
        insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[kind]
        row = select(*[_calls.c[name] if name != "metadata" else null().label(name) for name in CALL])
        if kind == "sqlite":
            self.look = row.where(_calls.c.id.in_(text("SELECT value FROM json_each(:ids)")))  # one text for however many ids
        else:
            self.look = row.where(text("id = ANY(CAST(:ids AS char(32)[]))")).order_by(_calls.c.id).with_for_update()
        of_writer = row.where(_calls.c.writer == bindparam("writer"), text("status = 'open'")).order_by(_calls.c.id)
        self.left_open = of_writer.limit(bindparam("most")).with_for_update()
        lost = update(_calls).where(_calls.c.id == bindparam("of")).values(status=text("'unknown'"))
        late = insert(_daily)
        sums = {name: _daily.c[name] + late.excluded[name] for name in DAILY_SUMS}
        late = late.on_conflict_do_update(index_elements=list(DAILY_KEY), set_=sums)
        upsert = _upsert(insert)
        if kind == "sqlite":
            self.begin = Many.of(insert(_calls), _CALL, kind)
            self.end = Many.of(_end(), [f"new_{name}" for name in CALL], kind)
            self.attempt = Many.of(upsert, _ATTEMPT, kind)
        else:
            upserted = Many.of(upsert, _ATTEMPT, kind).sql
            self.begin, self.end = _from_json(calls, _CALL), _ends_from_json()
            self.attempt = _from_json(attempts, _ATTEMPT, upserted[upserted.index("ON CONFLICT") :])
        self.lose = Many.of(lost, ["of"], kind)
        self.daily = Many.of(late, (*DAILY_KEY, *DAILY_SUMS), kind)
        beat = insert(table("writers", *[column(item.name) for item in writers.c]))
        self.beat = beat.on_conflict_do_update(index_elements=["id"], set_={"seen_at": beat.excluded.seen_at})
        self._kind = kind

    @classmethod
    def of(cls, connection: Connection) -> Statements:
        """Those for the database of a connection."""
        kind = connection.dialect.name
        if kind not in cls._made:
            cls._made[kind] = cls(kind)
        return cls._made[kind]

    def locked(self, connection: Connection, ids: list[str]) -> dict[str, Row]:
        """The rows of calls that are there, locked until the end of the transaction; without their metadata."""
        asked = json.dumps(ids) if self._kind == "sqlite" else ids
        return {row[0]: tuple(row) for row in connection.execute(self.look, {"ids": asked})}


def _end() -> Any:
    """Put a call's end in its row."""
    changed: Any = {name: bindparam(f"new_{name}") for name in CALL if name not in ("id", "begun_at")}
    return update(_calls).where(_calls.c.id == bindparam("new_id")).values(changed)


def _upsert(insert: Any) -> Any:
    """Insert an attempt, or put its end in the place of what is not sure."""
    new = insert(_attempts)
    changed = {name: new.excluded[name] for name in ATTEMPT if name not in ("call_id", "number")}
    unsure = or_(*[_attempts.c.status == text(f"'{status}'") for status in UNSURE])
    where = unsure & (new.excluded.status != text("'open'"))
    return new.on_conflict_do_update(index_elements=["call_id", "number"], set_=changed, where=where)
