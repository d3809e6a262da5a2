"""Rows into tables: a batch is one transaction, keyed, and may be repeated; the sums of a day are exact in each.

A call's row goes from open to its end once, and "unknown" may still be put right. Who writes rows of calls first looks them up and
locks them, so it knows which change counts; of two that insert the same row at once one fails, and does it all again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, select, text
from sqlalchemy.exc import IntegrityError

from ..clock import Clock
from .connections import Connections
from .process import Identity, is_dead
from .rows import STATUS, Row, folded
from .schema import micros, writers
from .statements import UNSURE, Statements
from .tally import Days, add, changes

LEASE = timedelta(seconds=60)
"""After this long without a sign of life a process of another machine counts as dead."""
_TRIES = 4
_CHUNK = 500
# A writer is known before its first row; rows without one came late, out of the spool of a process that was dead already.
_ORPHANED = text(
    "SELECT writer FROM calls WHERE status = 'open' AND writer NOT IN (SELECT id FROM writers) "
    "UNION SELECT writer FROM attempts WHERE status = 'open' AND writer NOT IN (SELECT id FROM writers)"
)

_LOST = text("UPDATE attempts SET status = 'unknown', possibly_billed = :yes WHERE writer = :writer AND status = 'open'")


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
        calls, attempts = folded(calls, attempts)
        for left in reversed(range(_TRIES)):
            try:
                with self._connections.transaction() as connection:
                    statements = Statements.of(connection)
                    self._write_calls(connection, statements, calls, name)
                    statements.attempt.run(connection, [(*row, name) for row in attempts])
                return
            except IntegrityError:
                if not left:
                    raise

    def _write_calls(self, connection: Connection, statements: Statements, rows: Sequence[Row], writer: str) -> None:
        if not rows:
            return
        there = statements.locked(connection, [row[0] for row in rows])
        new = [row for row in rows if row[0] not in there]
        ends = [row for row in rows if row[STATUS] != "open" and row[0] in there and there[row[0]][STATUS] in UNSURE]
        statements.begin.run(connection, [(*row, writer) for row in new])
        statements.end.run(connection, ends)
        days: Days = {}
        for row in (*new, *ends):
            if row[STATUS] != "open":
                add(days, row)
        for row in ends:
            if there[row[0]][STATUS] != "open":
                add(days, there[row[0]], -1)
        statements.daily.run(connection, changes(days))

    def beat(self) -> None:
        """Say that this process lives."""
        now = micros(self._clock.now())
        who = self._identity
        row = {"id": self.writer, "place": who.place, "pid": who.pid, "started": who.started, "begun_at": now, "seen_at": now}
        with self._connections.transaction() as connection:
            connection.execute(Statements.of(connection).beat, row)

    def leave(self) -> None:
        """Say that this process has no open calls any more."""
        with self._connections.transaction() as connection:
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
            with self._connections.transaction() as connection:
                statements = Statements.of(connection)
                rows = [tuple(row) for row in connection.execute(statements.left_open, {"writer": writer, "most": _CHUNK})]
                if not rows:
                    connection.execute(_LOST, {"writer": writer, "yes": True})
                    connection.execute(text("DELETE FROM writers WHERE id = :id"), {"id": writer})
                    return count
                unknown = [(*row[:STATUS], "unknown", *row[STATUS + 1 :]) for row in rows]
                statements.lose.run(connection, [row[:1] for row in rows])
                days: Days = {}
                for row in unknown:
                    add(days, row)
                statements.daily.run(connection, changes(days))
                count += len(rows)
