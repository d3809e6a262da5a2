"""The ledger as a user holds it. Nothing is opened, and SQLAlchemy not loaded, before the first row or question."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

import attrs

from ..clock import SYSTEM_CLOCK, Clock
from ..errors import ConfigError
from .address import address
from .questions import Questions

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from .connections import Connections


@attrs.frozen(kw_only=True)
class LedgerStats:
    """What became of the rows of this process, since it began."""

    queued: int = 0
    written: int = 0
    spooled: int = 0
    dropped: int = 0


class Ledger(Questions):
    """Calls and attempts in a database; safe to share between threads, dispatchers and across forks."""

    def __init__(
        self, place: str | os.PathLike[str], *, strict_accounting: bool = False, timeout: float = 5.0, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.address = address(place)
        self.strict_accounting = strict_accounting
        self._timeout = timeout
        self._clock = clock
        self._connections: Connections | None = None

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine of this process, for questions; ``writing()`` is for changes. Does not make the tables."""
        return self._connected().engine

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that may write: ``with ledger.writing() as connection``. In SQLite it has the file's only pen at once."""
        return self._connected().writing()

    def migrate(self) -> str:
        """Make the tables, or bring them up to date; gives their version. Idempotent, safe from many processes at once.

        Raises :class:`LedgerError` where the database is newer than this code, or cannot be reached or written.
        """
        version: str = import_module(f"{__package__}.migrating").migrate(self._connected())
        return version

    def close(self) -> None:
        """Close what is open; idempotent. A closed ledger opens again when it is used."""
        if self._connections is not None:
            self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Ledger({self.address.shown!r})"

    def _connected(self) -> Connections:
        if self._connections is None:
            try:
                room: Any = import_module(f"{__package__}.connections")
            except ModuleNotFoundError as error:
                raise ConfigError(f"ledger: {error.name} is not installed; pip install 'llmdispatcher[ledger]'") from None
            self._connections = room.Connections(self.address, self._clock, timeout=self._timeout, durable=self.strict_accounting)
        return self._connections


def open_ledger(place: str | os.PathLike[str], **settings: Any) -> Ledger:
    """A :class:`Ledger` at a path or an URL whose tables are there and up to date."""
    ledger = Ledger(place, **settings)
    ledger.migrate()
    return ledger
