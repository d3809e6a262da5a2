"""What the writer tells those who wait for a row, and those who ask how it goes."""

from __future__ import annotations

import contextlib
import threading

import attrs


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
