"""The writer: one thread that writes rows to the database in batches, so that calls do not wait for it.

```
put ── queue ── thread ──► database           a batch is one transaction with keyed rows: it may be repeated
         │         └────► spool on disk       while the database is unavailable; emptied, in order, when it is back
         └──────────────► spool               written by the calling thread when the queue is full
```

A killed process loses only the rows of the last :data:`LINGER` seconds, and none if the ledger is strict. :class:`Desk` is what the
writer needs of a database; :mod:`~llmdispatcher.accounting.ledger.database` implements it and is loaded with the first row.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs

from ..._text import room_logger
from ...errors import LedgerError
from ...runtime import SYSTEM_CLOCK, new_id, new_lock, on_fork
from .call import STATUS, Row, folded
from .spool import Rows, Spool


class Away(Exception):
    """The database cannot be written to now; what was to be written was not. The text says why, and holds no secret."""


class Desk(Protocol):
    """Where rows are written, by one thread. All but :meth:`leave` raise :class:`Away`."""

    def open(self) -> None:
        """Connect, make the tables, and say that this process lives."""

    def write(self, rows: Rows, writer: str | None = None) -> tuple[int, int]:
        """Write rows, of another writer where it is named; gives how many were written and how many refused."""

    def beat(self) -> None:
        """Say again that this process lives."""

    def reconcile(self) -> int:
        """Mark what dead processes left open as unknown; gives how many calls that were."""

    def leave(self, *, idle: bool) -> None:
        """Close; an ``idle`` process leaves no open calls behind. Never raises."""

    @property
    def aside(self) -> int:
        """How many broken files were put aside."""


class Ticket:
    """What somebody who waits for rows to be safe is told."""

    __slots__ = ("_gate", "failure")

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()
        self.failure: str | None = "the database took too long"

    def wait(self, seconds: float) -> str | None:
        """``None`` once the rows are in the database; else why they are not."""
        self._gate.acquire(timeout=min(max(0.0, seconds), threading.TIMEOUT_MAX))
        return self.failure

    def done(self, failure: str | None = None) -> None:
        """Let whoever waits go on."""
        self.failure = failure
        with contextlib.suppress(RuntimeError):  # told already
            self._gate.release()


@attrs.frozen(kw_only=True)
class LedgerStats:
    """What became of the rows of this process: ``queued`` are on their way, ``spooled`` went to the disk first.

    ``dropped`` could be kept nowhere, since the database was away and the disk or the spool full. ``refused`` the database would
    not take; they are in the spool's folder. ``torn`` are lines of a spool that could not be read. ``unavailable`` is why the
    database is not written to now. ``aside`` counts broken files that were put aside.
    """

    queued: int = 0
    written: int = 0
    spooled: int = 0
    dropped: int = 0
    refused: int = 0
    torn: int = 0
    unknown: int = 0
    aside: int = 0
    unavailable: str | None = None


logger = room_logger("accounting")

LINGER = 0.1
"""Seconds that rows gather before they are written together."""
MOST_BATCH = 4000
MOST_QUEUE = 50_000
HEARTBEAT = 10.0
RETRY = (0.1, 5.0)
"""Seconds until a database that is away is asked again: at first, and at most."""
EXIT = 3.0
"""Seconds that the end of the process waits for the last rows; what has not been written then is spooled."""


Maker = Callable[..., tuple[Row | None, Row | None]]
"""Makes a call's row and an attempt's of what is told; in the writer's thread, so that it costs the caller nothing."""

Event = tuple[Maker, tuple[Any, ...], Ticket | None]
"""What is told, as maker and arguments, and who waits for it."""


def _nothing() -> tuple[None, None]:
    return None, None


def _given(call: Row | None, attempt: Row | None) -> tuple[Row | None, Row | None]:
    return call, attempt


class Writer:
    """Queue and thread of one ledger; the thread is started by the first row, again in a forked child, and again after a close."""

    def __init__(self, desk: Callable[[str], Desk], spool: Spool) -> None:
        self._make_desk = desk
        self._spool = spool
        self._lock = new_lock()
        self._begin()
        self._counts = dict.fromkeys(("written", "spooled", "dropped", "refused", "unknown", "aside"), 0)
        _writers.add(self)

    def _begin(self) -> None:
        self._id = new_id(SYSTEM_CLOCK)
        self._queue: deque[Event] = deque()
        self._gate = threading.Lock()
        self._gate.acquire()
        self._asleep = self._urgent = self._stuck = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._desk: Desk | None = None
        self._hand: list[Event] = []
        self._open: set[str] = set()
        self._away: str | None = None
        self._retry_at = 0.0
        self._backoff = RETRY[0]
        self._beaten = 0.0

    def put(self, make: Maker, *told: Any) -> None:
        """Have rows written soon; never waits for the database, and never raises."""
        queue = self._queue
        if len(queue) >= MOST_QUEUE:
            self._keep(*self._folded([(make, told, None)]))
            return
        queue.append((make, told, None))
        if self._asleep or self._thread is None:
            self._wake()

    def commit(self, seconds: float, make: Maker = _nothing, *told: Any) -> str | None:
        """Have rows written now, and wait so long for it; why they are not, or ``None``."""
        ticket = Ticket()
        self._queue.append((make, told, ticket))
        self._urgent = True
        self._wake()
        return ticket.wait(seconds)

    def flush(self, seconds: float, *, patient: bool = True) -> bool:
        """Whether all rows so far, the spooled ones too, came into the database within so many seconds; or else at one try."""
        if self._thread is None and not self._queue and not self._spool.waits():
            return True
        end = SYSTEM_CLOCK.monotonic() + seconds
        while self.commit(end - SYSTEM_CLOCK.monotonic()) is not None:
            left = end - SYSTEM_CLOCK.monotonic()
            if left <= 0 or not patient:
                return False
            Ticket().wait(min(left, RETRY[0]))
        return True

    def close(self, seconds: float) -> bool:
        """Write what is there, spool what cannot be written in time, end the thread; whether all is in the database."""
        flushed = self.flush(seconds, patient=False)
        thread = self._thread
        self._stopping = True
        self._wake(start=False)
        if thread is not None and thread is not threading.current_thread():
            thread.join(0.5 if not flushed else seconds)
        left = [*self._hand, *self._taken()] if thread is not None and thread.is_alive() else self._taken()
        self._save(left)  # what a thread that is stuck holds in its hand may be written twice, which changes nothing
        while self._queue and flushed is False:
            self._save(self._taken())
        self._spool.close()
        return flushed

    def retire(self) -> None:
        """End the thread when it has written what is there; does not wait, since a finalizer calls it."""
        self._stopping = True
        self._wake(start=False)

    def stats(self) -> LedgerStats:
        """The counts as of now."""
        desk = self._desk
        aside = self._counts["aside"] + (desk.aside if desk is not None else 0)
        return LedgerStats(
            queued=len(self._queue), torn=self._spool.torn, unavailable=self._away, **{**self._counts, "aside": aside}
        )

    def after_fork(self) -> None:
        """Begin anew in a child; the rows that were on their way are the parent's."""
        self._spool.forget()
        self._begin()

    def _wake(self, *, start: bool = True) -> None:
        if start and self._thread is None:
            self._start()
        with contextlib.suppress(RuntimeError):  # awake already
            self._gate.release()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._stopping = False
            thread = threading.Thread(target=self._run, name="llmdispatcher-ledger", daemon=True)
            try:
                thread.start()
            except (RuntimeError, MemoryError):  # no more threads, or the interpreter is ending
                self._save(self._taken())
                return
            self._thread = thread

    def _run(self) -> None:
        events: list[Event] = []
        try:
            while not (self._stopping and not self._queue):
                self._sleep()
                self._hand = events = self._taken()
                self._work(events)
                self._hand = events = []  # what they hold may be the last that holds the ledger
        except BaseException:
            logger.exception("the ledger's thread has failed; its rows go to the spool, and the next row starts another")
            self._save([*events, *self._taken()])
        finally:
            with self._lock:
                self._thread = None
                desk, self._desk = self._desk, None
            if desk is not None:
                self._let_go(desk, idle=not self._open)
            if self._queue:  # a row came in the last moment
                self._wake()

    def _sleep(self) -> None:
        """Until there is something to do, and then a moment more, unless somebody waits."""
        self._asleep = True
        if self._stuck or not (self._queue or self._stopping):
            self._gate.acquire(timeout=self._idle())
        self._asleep = False
        if self._queue and not (self._stopping or self._urgent):
            self._gate.acquire(timeout=LINGER)
        self._urgent = self._stuck = False

    def _idle(self) -> float:
        if self._away is not None:
            return max(0.01, self._retry_at - SYSTEM_CLOCK.monotonic())
        return HEARTBEAT if self._open else threading.TIMEOUT_MAX

    def _taken(self) -> list[Event]:
        queue, events = self._queue, list[Event]()
        with contextlib.suppress(IndexError):
            while len(events) < MOST_BATCH:
                events.append(queue.popleft())
        return events

    def _work(self, events: list[Event]) -> None:
        """Write a batch, or spool it; then, where the database is there, what had waited on disk."""
        urgent = [event[2] for event in events if event[2] is not None]
        rows = self._folded(events)
        failure = self._written(rows, force=bool(urgent))
        if failure is None and self._spool.waits():
            failure = self._emptied()
        for ticket in urgent:
            ticket.done(failure)

    def _folded(self, events: Sequence[Event]) -> Rows:
        """The last word of each call and attempt; notes which calls are open."""
        calls: list[Row] = []
        attempts: list[Row] = []
        for make, told, _ticket in events:
            try:
                call, attempt = make(*told)
            except Exception:  # it is a mistake of ours, and must not cost the others their rows
                logger.exception("the ledger cannot make a row of what it was told")
                self._counts["refused"] += 1
                continue
            calls += [call] if call is not None else []
            attempts += [attempt] if attempt is not None else []
        rows = folded(calls, attempts)
        for row in rows[0]:
            (self._open.add if row[STATUS] == "open" else self._open.discard)(row[0])
        return rows

    def _written(self, rows: Rows, *, force: bool) -> str | None:
        """Why the database is away, after spooling what it did not take; ``None`` where it is there."""
        now = SYSTEM_CLOCK.monotonic()
        if self._away is not None and not force and now < self._retry_at:
            self._keep(*rows, hold=True)
            return self._away
        try:
            desk = self._at_desk(now)
            if rows[0] or rows[1]:
                self._count(desk.write(rows))
            elif self._away is not None:
                desk.beat()
        except Away as away:
            self._gone(str(away))
            self._keep(*rows, hold=True)
            return str(away)
        self._back()
        return None

    def _emptied(self) -> str | None:
        try:
            desk = self._at_desk(SYSTEM_CLOCK.monotonic())
            self._spool.empty(lambda rows, writer: self._count(desk.write(rows, writer)))
        except Away as away:
            self._gone(str(away))
            return str(away)
        except OSError as error:
            return f"the spool cannot be read ({type(error).__name__})"
        return None

    def _at_desk(self, now: float) -> Desk:
        """Where rows are written; opened at the first, when what others left behind is seen to as well."""
        if self._desk is None:
            desk = self._make_desk(self._id)
            desk.open()
            self._desk, self._beaten = desk, now
            if self._spool.waits():
                self._spool.empty(lambda rows, writer: self._count(desk.write(rows, writer)))
            self._counts["unknown"] += desk.reconcile()
        elif now - self._beaten >= HEARTBEAT:
            self._desk.beat()
            self._beaten = now
            self._counts["unknown"] += self._desk.reconcile()
        return self._desk

    def _count(self, done: tuple[int, int]) -> None:
        self._counts["written"] += done[0]
        self._counts["refused"] += done[1]

    def _let_go(self, desk: Desk, *, idle: bool) -> None:
        self._counts["aside"] += desk.aside
        desk.leave(idle=idle)

    def _gone(self, why: str) -> None:
        if self._away is None:
            logger.error("the ledger's database is away (%s); rows wait on disk until it is back", why)
            self._backoff = RETRY[0]
        self._away = why
        if self._desk is not None:
            self._let_go(self._desk, idle=False)
            self._desk = None
        self._retry_at = SYSTEM_CLOCK.monotonic() + self._backoff
        self._backoff = min(RETRY[1], self._backoff * 2)

    def _back(self) -> None:
        if self._away is not None:
            logger.warning("the ledger's database is back")
            self._away = None

    def _save(self, events: Sequence[Event]) -> None:
        """Spool events whose thread is gone."""
        self._keep(*self._folded(events))
        for _make, _told, ticket in events:
            if ticket is not None:
                ticket.done("the ledger was closed")

    def _keep(self, calls: Sequence[Row], attempts: Sequence[Row], *, hold: bool = False) -> None:
        """Spool rows. Where the disk takes none, ``hold`` them in the queue; what can be kept nowhere is counted, and told."""
        count = len(calls) + len(attempts)
        if not count:
            return
        try:
            self._spool.append(calls, attempts, self._id)
            self._counts["spooled"] += count
        except OSError as error:
            if hold and not self._stopping and len(self._queue) + count <= MOST_QUEUE:
                self._queue.extendleft([(_given, (None, row), None) for row in attempts])
                self._queue.extendleft([(_given, (row, None), None) for row in calls])
                self._stuck = True
                return
            if not self._counts["dropped"]:
                logger.critical("the ledger loses rows: the database is away and the spool fails (%s)", type(error).__name__)
            self._counts["dropped"] += count


_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


def _after_fork() -> None:
    for writer in list(_writers):
        writer.after_fork()


def _at_exit() -> None:
    for writer in list(_writers):
        with contextlib.suppress(LedgerError):
            writer.close(EXIT)


on_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
