"""The requests under way, from the first line to the end, and those who are told of each when it is complete.

A record is complete when the answer has been given, or its stream has ended, and the dispatcher has told how its calls ended. A
stream whose client has left is recorded when its call is over.
"""

from __future__ import annotations

from collections.abc import Callable

from ..._text import room_logger
from ...runtime import Clock, new_lock
from ...types import Observer, Outcome
from ..records import RequestRecords
from .answers import place_of
from .http import Incoming
from .record import RequestRecord

logger = room_logger("server")

_MOST_PENDING = 10_000

Told = Callable[[RequestRecord], None]


class RequestLog(Observer):
    """Holds the requests under way, hears how their calls end, and tells each once, when it is complete; safe under threads."""

    def __init__(self, records: RequestRecords | None, clock: Clock) -> None:
        self._records, self._clock = records, clock
        self._lock = new_lock()
        self._pending: dict[str, RequestRecord] = {}
        self.listeners: list[Told] = []
        """Who else is told of each request: metrics, the access log."""

    def begin(self, incoming: Incoming) -> RequestRecord:
        """A request has come."""
        return RequestRecord(
            id=incoming.request_id,
            client_request_id=incoming.client_request_id,
            method=incoming.method,
            begun_at=self._clock.now(),
            begun=self._clock.monotonic(),
        )

    def dispatch(self, record: RequestRecord) -> None:
        """The dispatcher is about to be asked, with the record's id in the metadata."""
        with self._lock:
            if len(self._pending) < _MOST_PENDING:
                self._pending[record.id] = record
                record.dispatched = True

    def on_outcome(self, outcome: Outcome) -> None:
        """A call has ended; it is told now if its request is over."""
        record = self._pending.get(outcome.metadata.get("request_id", ""))
        if record is None:
            return
        with self._lock:
            record.outcomes.append(outcome)
            late = record.over
        if late:
            self._tell(record)

    def finish(self, record: RequestRecord) -> None:
        """The answer has been given, or its stream has ended."""
        with self._lock:
            if record.over:
                return
            record.over = True
            record.took = self._clock.monotonic() - record.begun
            waits = record.dispatched and record.open and not record.outcomes
        if not waits:
            self._tell(record)

    def _tell(self, record: RequestRecord) -> None:
        with self._lock:
            self._pending.pop(record.id, None)
            if record.told:
                return
            record.told = True
        tell: list[Told] = [RequestRecord.complete, *self.listeners]
        if self._records is not None and record.recorded:
            records = self._records
            tell.append(lambda one: records.put(one.row))
        for work in tell:
            try:
                work(record)
            except Exception as error:  # noqa: BLE001 - an answer must not fail by its record, nor the record by a listener
                logger.error("%s: the record of a request cannot be made: %s", record.id, place_of(error))

    def close(self) -> None:
        """Tell of those whose calls never ended."""
        for record in list(self._pending.values()):
            if record.over:
                self._tell(record)
