"""Deletes old calls in small batches, so that nobody waits for it long; what they came to stays in the sums by day."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Connection, delete, select, text, type_coerce
from sqlalchemy.dialects import postgresql, sqlite

from ..clock import Clock
from ..errors import InvalidRequest
from .periods import DAY, When, first_moment
from .records import PruneReport
from .schema import attempts, calls, marks
from .units import micros, moment
from .views import PRUNED, Connectable, pruned_before, writing

BATCH = 1000
"""Calls that are deleted in one transaction."""

PAUSE = 0.01
"""Seconds between two, in which others write."""


def prune(
    database: Connectable, clock: Clock, older_than: timedelta | When, progress: Callable[[int, int | None], None] | None
) -> PruneReport:
    """What :meth:`~llmdispatcher.ledger.Ledger.prune` gives."""
    before = _midnight(clock.now(), older_than)
    with writing(database) as connection:
        _mark(connection, before)
    gone = tried = 0
    while True:
        with writing(database) as connection:
            of_calls, of_attempts = _delete(connection, before)
        gone, tried = gone + of_calls, tried + of_attempts
        if progress is not None and of_calls:
            progress(gone, None)
        if of_calls < BATCH:
            return PruneReport(before=moment(before), calls=gone, attempts=tried)
        gate = threading.Lock()
        gate.acquire()
        clock.wait(gate, PAUSE)


def _midnight(now: datetime, older_than: timedelta | When) -> int:
    """The midnight of UTC before the moment that is meant, since sums are of whole days."""
    meant = now - older_than if isinstance(older_than, timedelta) else first_moment(older_than, UTC, "older_than")
    if not 0 <= micros(meant) <= micros(now):
        raise InvalidRequest(f"older_than: {meant.isoformat()} is not in the past; give an age like timedelta(days=90), or a day")
    return micros(meant) // DAY * DAY


def _mark(connection: Connection, before: int) -> None:
    """Say so first: what is imported from now on cannot be of a time whose ids are forgotten."""
    if connection.dialect.name == "postgresql":  # waits for the imports that have not heard of it
        connection.execute(text("LOCK TABLE calls IN SHARE ROW EXCLUSIVE MODE"))
    if before > pruned_before(connection):
        insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name]
        mark = insert(marks).values(name=PRUNED, value=before)
        connection.execute(mark.on_conflict_do_update(index_elements=["name"], set_={"value": before}))


def _delete(connection: Connection, before: int) -> tuple[int, int]:
    begun = type_coerce(calls.c.begun_at, BigInteger)
    old = select(calls.c.id).where(begun < before, calls.c.status != "open").order_by(begun).limit(BATCH)
    ids = list(connection.scalars(old))
    if not ids:
        return 0, 0
    of_attempts = connection.execute(delete(attempts).where(attempts.c.call_id.in_(ids))).rowcount
    return connection.execute(delete(calls).where(calls.c.id.in_(ids))).rowcount, of_attempts
