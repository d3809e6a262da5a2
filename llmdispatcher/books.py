"""Who is told how calls and attempts end: the statistics, the user's observers, and last the ledger, which may be strict."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .attempt import Call
from .cancellation import Cancellation
from .config import Config
from .outcome import AttemptRecord, ObserverLike, Outcome, heard_by, tell
from .stats import StatsBook
from .under_way import UnderWay

if TYPE_CHECKING:
    from .journal import CallLog
    from .ledger import Ledger


class Books:
    """The records of one dispatcher; a ledger that was named by its path or URL is made, and closed, here."""

    def __init__(self, observers: Sequence[ObserverLike], ledger: Any, config: Config) -> None:
        self.stats = StatsBook()
        self.ledger: CallLog | None = None
        self._observers, self._listeners = heard_by(observers)
        self._origin, self._profile = config.origin, config.profile
        self._owned = ledger is not None and not hasattr(ledger, "began")
        if ledger is not None:
            self.ledger = _ledger_at(ledger) if self._owned else ledger

    def attach(self, call: Call) -> None:
        """Have a call tell of its attempts."""
        call.origin = call.origin if call.origin is not None else self._origin
        call.profile = call.profile if call.profile is not None else self._profile
        call.journal = self.ledger
        if self._listeners or self.ledger is not None:
            call.heard = self._heard

    def report(self, under_way: UnderWay, cancellation: Cancellation, outcome: Outcome) -> None:
        """A call has ended; only a strict ledger raises, for an answer that it cannot keep the record of."""
        under_way.end(cancellation)
        self.stats.record(outcome)
        tell(self._observers, outcome)
        if self.ledger is not None:
            self.ledger.ended(outcome)

    def reporter(self, under_way: UnderWay, cancellation: Cancellation) -> partial[None]:
        """What a call reports its end to."""
        return partial(self.report, under_way, cancellation)

    def close(self) -> None:
        """Write down what is left; a ledger that was handed in stays open for others."""
        if self.ledger is not None:
            if self._owned:
                made: Any = self.ledger  # a Ledger
                made.close()
            else:
                self.ledger.flush()

    def _heard(self, record: AttemptRecord) -> None:
        if self.ledger is not None:
            self.ledger.settled(record)
        tell(self._listeners, record)


def _ledger_at(place: Any) -> Ledger:
    from .ledger import Ledger  # late: SQLAlchemy is loaded by those who have a ledger

    return Ledger(place)
