"""What keeps a record of calls while they happen; the ledger is one, and the conductor knows no more of it than this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .outcome import AttemptRecord, Outcome

if TYPE_CHECKING:
    from .attempt import Attempt, Call


class CallLog(Protocol):
    """Where a dispatcher writes its calls down while they happen; a :class:`~llmdispatcher.Ledger` is one.

    Its methods are called in the thread of the call, so they must be quick. Only one that is asked to be strict may raise, a
    :class:`~llmdispatcher.errors.LedgerError`.
    """

    def began(self, call: Call, attempt: Attempt) -> None:
        """A vendor is about to be asked; nothing has been sent yet. What it raises ends the call unsent."""

    def settled(self, record: AttemptRecord) -> None:
        """A vendor was asked, and this is how it went."""

    def ended(self, outcome: Outcome) -> None:
        """A call has its outcome, which nobody has been given yet. What it raises is raised instead of the answer."""

    def flush(self, timeout: float = 10.0) -> object:
        """Write what is left, within so many seconds; a dispatcher that closes calls it, and leaves the log open for others."""
