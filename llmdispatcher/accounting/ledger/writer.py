"""The writer: one thread that writes rows to the database in batches, so that calls do not wait for it.

```
put ── queue ── thread ──► database           a batch is one transaction with keyed rows: it may be repeated
         │         └────► spool on disk       while the database is unavailable; emptied, in order, when it is back
         └──────────────► spool               written by the calling thread when the queue is full
```

A killed process loses only the rows of the last :data:`LINGER` seconds, and none if the ledger is strict. The module
:mod:`~llmdispatcher.accounting.ledger.database` is loaded with the first row.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any

import attrs

from ..._text import room_logger
from ...errors import LedgerError
from ...runtime import SYSTEM_CLOCK, new_id, new_lock, on_fork
from .call import STATUS, Row, fold
from .spool import DatabaseUnavailable, Rows, Spool

if TYPE_CHECKING:
    from .database import RowWriter


@attrs.frozen(kw_only=True)
class LedgerStats:
    """What became of the rows of this process: ``queued`` are on their way, ``spooled`` went to the disk first.

    ``dropped`` are lost, since the database was unavailable and the disk or the spool full. ``refused`` were not taken by the
    database; they are in the spool's folder. ``torn`` are lines of a spool that could not be read. ``unavailable`` is why the
    database is not written to now. ``unknown`` are open calls of dead processes. ``aside`` counts broken files that were renamed.
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
"""Seconds until a database that is unavailable is asked again: at first, and at most."""
EXIT = 3.0
"""Seconds that the end of the process waits for the last rows; the rest is spooled."""


RowMaker = Callable[..., tuple[Row | None, Row | None]]
"""Makes the row of a call and of an attempt; in the writer's thread, so that it costs the caller nothing."""

Done = Future[str | None]
"""``None`` once the rows are in the database; otherwise why they are not."""

Event = tuple[RowMaker, tuple[Any, ...], Done | None]
"""A maker of rows with its arguments, and the future of a caller that waits for them."""


class Writer:
    """The queue and thread of one ledger; the first row starts the thread, also in a forked child and after a close."""

    def __init__(self, row_writer: Callable[[str], RowWriter], spool: Spool) -> None:
        self._make_row_writer = row_writer
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
        self._row_writer: RowWriter | None = None
        self._in_hand: list[Event] = []
        self._open: set[str] = set()
        self._unavailable: str | None = None
        self._retry_at = 0.0
        self._backoff = RETRY[0]
        self._last_beat = 0.0

    def put(self, make: RowMaker, *arguments: Any) -> None:
        """Write rows soon; never waits for the database, and never raises."""
        queue = self._queue
        if len(queue) >= MOST_QUEUE:
            self._spool_rows(*self._make_rows([(make, arguments, None)]))
            return
        queue.append((make, arguments, None))
        if self._asleep or self._thread is None:
            self._wake()

    def commit(self, seconds: float, make: RowMaker = lambda: (None, None), *arguments: Any) -> str | None:
        """Write rows now, and wait for it at most so many seconds. Return ``None``, or why they are not written."""
        done = Done()
        self._queue.append((make, arguments, done))
        self._urgent = True
        self._wake()
        try:
            return done.result(min(max(0.0, seconds), threading.TIMEOUT_MAX))
        except TimeoutError:
            return "the database took too long"

    def flush(self, seconds: float, *, patient: bool = True) -> bool:
        """Whether all rows so far are in the database within so many seconds; if not ``patient``, after one try."""
        if self._thread is None and not self._queue and not self._spool.waits():
            return True
        end = SYSTEM_CLOCK.monotonic() + seconds
        while self.commit(end - SYSTEM_CLOCK.monotonic()) is not None:
            left = end - SYSTEM_CLOCK.monotonic()
            if left <= 0 or not patient:
                return False
            threading.Event().wait(min(left, RETRY[0]))
        return True

    def close(self, seconds: float) -> bool:
        """Write what is there, spool what cannot be written in time, and end the thread. Return whether all is in the database."""
        flushed = self.flush(seconds, patient=False)
        thread = self._thread
        self.retire()
        if thread is not None and thread is not threading.current_thread():
            thread.join(0.5 if not flushed else seconds)
        left = [*self._in_hand, *self._take()] if thread is not None and thread.is_alive() else self._take()
        self._spool_events(left)  # what a thread that is stuck holds in its hand may be written twice, which changes nothing
        while self._queue and flushed is False:
            self._spool_events(self._take())
        self._spool.close()
        return flushed

    def retire(self) -> None:
        """Have the thread end when it has written what is there; does not wait, since a finalizer calls it."""
        self._stopping = True
        self._wake(start=False)

    def stats(self) -> LedgerStats:
        """The counts as of now."""
        row_writer = self._row_writer
        aside = self._counts["aside"] + (row_writer.aside if row_writer is not None else 0)
        return LedgerStats(
            queued=len(self._queue), torn=self._spool.torn, unavailable=self._unavailable, **{**self._counts, "aside": aside}
        )

    def after_fork(self) -> None:
        """Start again in a forked child; rows that were on their way belong to the parent."""
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
                self._spool_events(self._take())
                return
            self._thread = thread

    def _run(self) -> None:
        events: list[Event] = []
        try:
            while not (self._stopping and not self._queue):
                self._sleep()
                self._in_hand = events = self._take()
                self._work(events)
                self._in_hand = events = []  # what they hold may be the last that holds the ledger
        except BaseException:
            logger.exception("the ledger's thread has failed; its rows go to the spool, and the next row starts another")
            self._spool_events([*events, *self._take()])
        finally:
            with self._lock:
                self._thread = None
                row_writer, self._row_writer = self._row_writer, None
            if row_writer is not None:
                self._release(row_writer, idle=not self._open)
            if self._queue:  # a row came in the last moment
                self._wake()

    def _sleep(self) -> None:
        """Sleep until there is something to do, and then a moment more, unless somebody waits."""
        self._asleep = True
        if self._stuck or not (self._queue or self._stopping):
            self._gate.acquire(timeout=self._idle())
        self._asleep = False
        if self._queue and not (self._stopping or self._urgent):
            self._gate.acquire(timeout=LINGER)
        self._urgent = self._stuck = False

    def _idle(self) -> float:
        if self._unavailable is not None:
            return max(0.01, self._retry_at - SYSTEM_CLOCK.monotonic())
        return HEARTBEAT if self._open else threading.TIMEOUT_MAX

    def _take(self) -> list[Event]:
        queue, events = self._queue, list[Event]()
        with contextlib.suppress(IndexError):
            while len(events) < MOST_BATCH:
                events.append(queue.popleft())
        return events

    def _work(self, events: list[Event]) -> None:
        """Write a batch, or spool it; then, if the database is available, write what waited on disk."""
        urgent = [event[2] for event in events if event[2] is not None]
        rows = self._make_rows(events)
        failure = self._write(rows, force=bool(urgent))
        if failure is None and self._spool.waits():
            failure = self._empty_spool()
        for done in urgent:
            _resolve(done, failure)

    def _make_rows(self, events: Sequence[Event]) -> Rows:
        """Make one row for each call and attempt, and note which calls are open."""
        calls: list[Row] = []
        attempts: list[Row] = []
        for make, arguments, _done in events:
            try:
                call, attempt = make(*arguments)
            except Exception:  # it is a mistake of ours, and must not cost the others their rows
                logger.exception("the ledger cannot make a row of an event")
                self._counts["refused"] += 1
                continue
            calls += [call] if call is not None else []
            attempts += [attempt] if attempt is not None else []
        rows = fold(calls, attempts)
        for row in rows[0]:
            (self._open.add if row[STATUS] == "open" else self._open.discard)(row[0])
        return rows

    def _write(self, rows: Rows, *, force: bool) -> str | None:
        """Write rows, or spool them and return why the database is unavailable."""
        now = SYSTEM_CLOCK.monotonic()
        if self._unavailable is not None and not force and now < self._retry_at:
            self._spool_rows(*rows, hold=True)
            return self._unavailable
        try:
            row_writer = self._open_row_writer(now)
            if rows[0] or rows[1]:
                self._add_counts(row_writer.write(rows))
            elif self._unavailable is not None:
                row_writer.beat()
        except DatabaseUnavailable as unavailable:
            self._mark_unavailable(str(unavailable))
            self._spool_rows(*rows, hold=True)
            return str(unavailable)
        if self._unavailable is not None:
            logger.warning("the ledger's database is back")
            self._unavailable = None
        return None

    def _empty_spool(self) -> str | None:
        try:
            self._write_spool(self._open_row_writer(SYSTEM_CLOCK.monotonic()))
        except DatabaseUnavailable as unavailable:
            self._mark_unavailable(str(unavailable))
            return str(unavailable)
        except OSError as error:
            return f"the spool cannot be read ({type(error).__name__})"
        return None

    def _open_row_writer(self, now: float) -> RowWriter:
        """The row writer; opened at the first use, when spools and open calls of dead processes are handled too."""
        if self._row_writer is None:
            row_writer = self._make_row_writer(self._id)
            row_writer.open()
            self._row_writer, self._last_beat = row_writer, now
            self._write_spool(row_writer)
            self._counts["unknown"] += row_writer.reconcile()
        elif now - self._last_beat >= HEARTBEAT:
            self._row_writer.beat()
            self._last_beat = now
            self._counts["unknown"] += self._row_writer.reconcile()
        return self._row_writer

    def _write_spool(self, row_writer: RowWriter) -> None:
        self._spool.empty(lambda rows, writer: self._add_counts(row_writer.write(rows, writer)))

    def _add_counts(self, done: tuple[int, int]) -> None:
        self._counts["written"] += done[0]
        self._counts["refused"] += done[1]

    def _release(self, row_writer: RowWriter, *, idle: bool) -> None:
        self._counts["aside"] += row_writer.aside
        row_writer.leave(idle=idle)

    def _mark_unavailable(self, why: str) -> None:
        if self._unavailable is None:
            logger.error("the ledger's database is unavailable (%s); rows wait on disk until it is back", why)
            self._backoff = RETRY[0]
        self._unavailable = why
        if self._row_writer is not None:
            self._release(self._row_writer, idle=False)
            self._row_writer = None
        self._retry_at = SYSTEM_CLOCK.monotonic() + self._backoff
        self._backoff = min(RETRY[1], self._backoff * 2)

    def _spool_events(self, events: Sequence[Event]) -> None:
        """Spool events that no thread will write."""
        self._spool_rows(*self._make_rows(events))
        for _make, _arguments, done in events:
            if done is not None:
                _resolve(done, "the ledger was closed")

    def _spool_rows(self, calls: Sequence[Row], attempts: Sequence[Row], *, hold: bool = False) -> None:
        """Spool rows. If the disk takes none, ``hold`` them in the queue; rows that are lost are counted and logged."""
        count = len(calls) + len(attempts)
        if not count:
            return
        try:
            self._spool.append(calls, attempts, self._id)
            self._counts["spooled"] += count
        except OSError as error:
            if hold and not self._stopping and len(self._queue) + count <= MOST_QUEUE:
                pairs = [*[(row, None) for row in calls], *[(None, row) for row in attempts]]
                self._queue.extendleft([(lambda call, attempt: (call, attempt), pair, None) for pair in reversed(pairs)])
                self._stuck = True
                return
            if not self._counts["dropped"]:
                logger.critical("the ledger loses rows: the database is unavailable and the spool fails (%s)", type(error).__name__)
            self._counts["dropped"] += count


def _resolve(done: Done, failure: str | None) -> None:
    with contextlib.suppress(InvalidStateError):  # its rows were in the hand of a thread when the ledger was closed
        done.set_result(failure)


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
