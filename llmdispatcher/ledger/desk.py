"""What the writer needs of a database; :mod:`~llmdispatcher.ledger.database` is it, and is loaded with the first row."""

from __future__ import annotations

from typing import Protocol

from .spool import Rows


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
