"""Rows into tables: a batch is one transaction, keyed, and may be repeated; the sums of a day are exact in each.

A call's row goes from open to its end once, and "unknown" may still be put right. Who writes rows of calls first looks them up and
locks them, so it knows which change counts; of two that insert the same row at once one fails, and does it all again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, column, null, or_, select, table, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from ..clock import Clock
from .connections import Connections
from .process import Identity, is_dead
from .rows import ATTEMPT, CALL, STATUS, Row
from .schema import DAILY_KEY, DAILY_SUMS, TOKENS, micros, writers
from .units import day_of

LEASE = timedelta(seconds=60)
"""After this long without a sign of life a process of another machine counts as dead."""
_TRIES = 4
_CHUNK = 500
_CALL = (*CALL, "writer")
_ATTEMPT = (*ATTEMPT, "writer")
_UNSURE = ("open", "unknown")
# Without types, since the rows are made of what the databases take: no value is converted on its way.
_calls = table("calls", *[column(name) for name in _CALL])
_attempts = table("attempts", *[column(name) for name in _ATTEMPT])
_daily = table("daily", *[column(name) for name in (*DAILY_KEY, *DAILY_SUMS)])
_PLACES = {name: place for place, name in enumerate(CALL)}
_SUMMED = [(name, _PLACES[name]) for name in (*TOKENS, "cost", "latency_us", "first_token_us")]
_KEY = tuple([_PLACES[name] for name in DAILY_KEY[1:]])

# A writer is known before its first row; rows without one came late, out of the spool of a process that was dead already.
_ORPHANED = text(
    "SELECT writer FROM calls WHERE status = 'open' AND writer NOT IN (SELECT id FROM writers) "
    "UNION SELECT writer FROM attempts WHERE status = 'open' AND writer NOT IN (SELECT id FROM writers)"
)

_LOST = text("UPDATE attempts SET status = 'unknown', possibly_billed = :yes WHERE writer = :writer AND status = 'open'")

Sums = dict[tuple[Any, ...], list[int]]
_NUMBER = {name: place for place, name in enumerate(DAILY_SUMS)}


class Store:
    """Writes for one process, under the name ``writer``; used by one thread at a time."""

    def __init__(self, connections: Connections, clock: Clock, writer: str, identity: Identity) -> None:
        self.writer = writer
        self._connections = connections
        self._clock = clock
        self._identity = identity

    def write(self, calls: Sequence[Row], attempts: Sequence[Row], writer: str | None = None) -> None:
        """Write rows, of another writer where it is named. Raises SQLAlchemy's errors; then nothing has been written."""
        name = writer or self.writer
        for left in reversed(range(_TRIES)):
            try:
                with self._connections.writing() as connection:
                    statements = _Statements.of(connection)
                    self._write_calls(connection, statements, calls, name)
                    if attempts:
                        connection.execute(statements.attempt, [dict(zip(_ATTEMPT, (*row, name), strict=True)) for row in attempts])
                return
            except IntegrityError:
                if not left:
                    raise

    def _write_calls(self, connection: Connection, statements: _Statements, rows: Sequence[Row], writer: str) -> None:
        if not rows:
            return
        there = {row[0]: row for row in _locked(connection, statements, [row[0] for row in rows])}
        new = [row for row in rows if row[0] not in there]
        ends = [row for row in rows if row[STATUS] != "open" and row[0] in there and there[row[0]][STATUS] in _UNSURE]
        if new:
            connection.execute(statements.insert, [dict(zip(_CALL, (*row, writer), strict=True)) for row in new])
        if ends:
            connection.execute(statements.end, [dict(zip(_NAMED, row, strict=True)) for row in ends])
        sums: Sums = {}
        for row in (*new, *ends):
            if row[STATUS] != "open":
                _add(sums, row, 1)
        for row in ends:
            if there[row[0]][STATUS] != "open":
                _add(sums, there[row[0]], -1)
        _write_sums(connection, statements, sums)

    def beat(self) -> None:
        """Say that this process lives."""
        now = micros(self._clock.now())
        who = self._identity
        row = {"id": self.writer, "place": who.place, "pid": who.pid, "started": who.started, "begun_at": now, "seen_at": now}
        with self._connections.writing() as connection:
            connection.execute(_Statements.of(connection).beat, row)

    def leave(self) -> None:
        """Say that this process has no open calls any more."""
        with self._connections.writing() as connection:
            connection.execute(text("DELETE FROM writers WHERE id = :id"), {"id": self.writer})

    def reconcile(self) -> int:
        """Mark what dead processes left open as unknown; gives how many calls that were."""
        with self._connections.engine.connect() as connection:
            known = list(connection.execute(select(writers).where(writers.c.id != self.writer)))
            dead = {entry.id for entry in known if self._is_dead(entry)}
            dead |= set(connection.scalars(_ORPHANED))
        return sum([self._bury(writer) for writer in dead])

    def _is_dead(self, entry: Any) -> bool:
        dead = is_dead(Identity(entry.place, entry.pid, entry.started), self._identity)
        return dead if dead is not None else self._clock.now() - entry.seen_at > LEASE

    def _bury(self, writer: str) -> int:
        count = 0
        while True:
            with self._connections.writing() as connection:
                statements = _Statements.of(connection)
                rows = [tuple(row) for row in connection.execute(statements.left_open, {"writer": writer, "most": _CHUNK})]
                if not rows:
                    connection.execute(_LOST, {"writer": writer, "yes": True})
                    connection.execute(text("DELETE FROM writers WHERE id = :id"), {"id": writer})
                    return count
                unknown = [(*row[:STATUS], "unknown", *row[STATUS + 1 :]) for row in rows]
                connection.execute(statements.lose, [{"of": row[0]} for row in rows])
                sums: Sums = {}
                for row in unknown:
                    _add(sums, row, 1)
                _write_sums(connection, statements, sums)
                count += len(rows)


_NAMED = tuple([f"new_{name}" for name in CALL])


class _Statements:
    """All that is said to one kind of database, made once."""

    _made: dict[str, _Statements] = {}

    def __init__(self, kind: str) -> None:
        insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[kind]
        self.insert = insert(_calls)
        row = select(*[_calls.c[name] if name != "metadata" else null().label(name) for name in CALL])
        if kind == "sqlite":
            ids = text("SELECT value FROM json_each(:ids)")
            self.look = row.where(_calls.c.id.in_(ids))  # one statement for however many ids
        else:
            self.look = row.where(text("id = ANY(CAST(:ids AS char(32)[]))")).order_by(_calls.c.id).with_for_update()
        self.left_open = row.where(_calls.c.writer == bindparam("writer"), text("status = 'open'")).order_by(_calls.c.id)
        self.left_open = self.left_open.limit(bindparam("most")).with_for_update()
        changed: Any = {name: bindparam(f"new_{name}") for name in CALL if name not in ("id", "begun_at")}
        self.end = update(_calls).where(_calls.c.id == bindparam("new_id")).values(changed)
        self.lose = update(_calls).where(_calls.c.id == bindparam("of")).values(status="unknown")
        self.attempt = _upsert(insert, _attempts, ("call_id", "number"))
        late = insert(_daily)
        sums = {name: _daily.c[name] + late.excluded[name] for name in DAILY_SUMS}
        self.daily = late.on_conflict_do_update(index_elements=list(DAILY_KEY), set_=sums)
        beat = insert(table("writers", *[column(item.name) for item in writers.c]))
        self.beat = beat.on_conflict_do_update(index_elements=["id"], set_={"seen_at": beat.excluded.seen_at})
        self.kind = kind

    @classmethod
    def of(cls, connection: Connection) -> _Statements:
        """Those for the database of a connection."""
        kind = connection.dialect.name
        if kind not in cls._made:
            cls._made[kind] = cls(kind)
        return cls._made[kind]


def _upsert(insert: Any, into: Any, key: Sequence[str]) -> Any:
    """Insert, or put an end in the place of what is not sure."""
    new = insert(into)
    changed = {item.name: new.excluded[item.name] for item in into.c if item.name not in (*key, "writer")}
    unsure = or_(*[into.c.status == status for status in _UNSURE])
    return new.on_conflict_do_update(index_elements=list(key), set_=changed, where=unsure & (new.excluded.status != "open"))


def _locked(connection: Connection, statements: _Statements, ids: list[str]) -> Iterator[Row]:
    """The rows that are there, locked until the end of the transaction."""
    asked = json.dumps(ids) if statements.kind == "sqlite" else ids
    return (tuple(row) for row in connection.execute(statements.look, {"ids": asked}))


def _add(sums: Sums, row: Row, sign: int) -> None:
    """Add what a row counts in its day, or take it out again."""
    key = (day_of(row[1]), *[row[place] or "" for place in _KEY])
    kept = sums.get(key)
    if kept is None:
        kept = sums[key] = [0] * len(DAILY_SUMS)
    for name, amount in _counts(row):
        kept[_NUMBER[name]] += sign * amount


def _counts(row: Row) -> Iterable[tuple[str, int]]:
    yield "calls", 1
    yield row[STATUS], 1
    for name in ("cached", "streamed", "hedged", "attempts"):
        yield name, int(row[_PLACES[name]] or 0)
    for name, place in _SUMMED:
        amount = row[place]
        if amount:
            yield name, amount
    if row[_PLACES["cost"]] is None:
        yield "unpriced", 1
    if row[_PLACES["first_token_us"]] is not None:
        yield "first_tokens", 1


def _write_sums(connection: Connection, statements: _Statements, sums: Mapping[tuple[Any, ...], list[int]]) -> None:
    """Add to the days; in one order for all, so that no two transactions wait for each other."""
    changed = [dict(zip((*DAILY_KEY, *DAILY_SUMS), (*key, *sums[key]), strict=True)) for key in sorted(sums) if any(sums[key])]
    if changed:
        connection.execute(statements.daily, changed)
