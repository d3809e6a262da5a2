"""The ledger as a user holds it. Nothing is opened, and SQLAlchemy not loaded, before the first row or question."""

from __future__ import annotations

import os
import weakref
from contextlib import AbstractContextManager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..clock import SYSTEM_CLOCK
from ..errors import ConfigError, LedgerError
from ..locks import new_lock
from ..outcome import AttemptRecord, Outcome
from .address import Address, address
from .desk import Desk
from .loading import LOADING
from .questions import Questions
from .rows import began, ended, settled
from .spool import Spool
from .ticket import LedgerStats
from .writer import Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from .connections import Connections
    from .rows import AttemptView, CallView


class Ledger(Questions):
    """Calls and attempts in a database; safe to share between threads, dispatchers and across forks.

    ``place`` is the path of an SQLite file, or ``postgresql://user@host/name``. Rows are written behind the calls by one thread;
    while the database is away they wait in ``spool`` (beside the file, or below ``~/.local/state``), a folder of at most
    ``max_spool_bytes``. With ``strict_accounting`` nothing is sent before its row is safe in the database, and no answer is handed
    on before its own is; a call fails with :class:`~llmdispatcher.errors.LedgerError` where that takes longer than ``timeout``
    seconds, which is otherwise the time to connect and to wait for a lock. Raises :class:`~llmdispatcher.errors.ConfigError` for
    a place that is none.
    """

    def __init__(
        self,
        place: str | os.PathLike[str],
        *,
        strict_accounting: bool = False,
        timeout: float = 5.0,
        spool: str | os.PathLike[str] | None = None,
        max_spool_bytes: int = 1 << 30,
    ) -> None:
        self.address = address(place)
        self.strict_accounting = strict_accounting
        self._timeout = timeout
        _installed(self.address)
        folder = Path(spool).expanduser() if spool is not None else self.address.spool
        self._way = _Way(self.address, timeout, durable=strict_accounting)
        self._writer = Writer(partial(self._way.desk, folder / "refused.json"), Spool(folder, max_spool_bytes))
        weakref.finalize(self, self._writer.retire).atexit = False

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

    def began(self, call: CallView, attempt: AttemptView) -> None:
        """Write down that a vendor is about to be asked. Raises :class:`LedgerError` where it is strict and cannot."""
        if not self.strict_accounting:
            self._writer.put(began, call, attempt)
            return
        why = self._writer.commit(min(self._timeout, call.deadline.remaining()), began, call, attempt)
        if why is not None:
            raise LedgerError(f"the ledger cannot be written ({why}), so nothing was sent (strict_accounting)", sent=False)

    def settled(self, record: AttemptRecord) -> None:
        """Write down how asking a vendor went."""
        self._writer.put(settled, record)

    def ended(self, outcome: Outcome) -> None:
        """Write down how a call ended. Raises :class:`LedgerError` where it is strict and cannot, and there is an answer."""
        if not self.strict_accounting:
            self._writer.put(ended, outcome)
            return
        why = self._writer.commit(self._timeout, ended, outcome)
        if why is not None and outcome.error is None:
            raise LedgerError(f"the ledger cannot be written ({why}), so the answer is held back (strict_accounting)")

    def flush(self, timeout: float = 10.0) -> bool:
        """Whether all that was told so far came into the database within so many seconds."""
        return self._writer.flush(timeout)

    def stats(self) -> LedgerStats:
        """What became of the rows of this process."""
        return self._writer.stats()

    def reconcile(self) -> int:
        """Mark the open calls of dead processes as unknown; gives how many. The writer does so at its start and now and then."""
        self.migrate()
        store: Any = import_module(f"{__package__}.store")
        here = import_module(f"{__package__}.process").this()
        count: int = store.Store(self._connected(), SYSTEM_CLOCK, "", here).reconcile()
        return count

    def close(self, timeout: float = 5.0) -> None:
        """Write what is left, for so many seconds at most (the rest is spooled), and close; idempotent. Opens again when used."""
        self._writer.close(timeout)
        self._way.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Ledger({self.address.shown!r})"

    def _connected(self) -> Connections:
        return self._way.connections()


def _installed(place: Address) -> None:
    """See that what a ledger needs is there, without loading it."""
    for name in ("sqlalchemy", "alembic", *(() if place.path is not None else ("psycopg",))):
        if find_spec(name) is None:
            extra = "postgres" if name == "psycopg" else "ledger"
            raise ConfigError(f"ledger: {name} is not installed; pip install 'llmdispatcher[{extra}]'")


class _Way:
    """The one way to the database, made when it is first needed; the ledger and its writer share it."""

    def __init__(self, place: Address, timeout: float, *, durable: bool) -> None:
        self._make: partial[dict[str, Any]] = partial(dict, address=place, clock=SYSTEM_CLOCK, timeout=timeout, durable=durable)
        self._lock = new_lock()
        self._made: Connections | None = None

    def connections(self) -> Connections:
        """Made once."""
        with self._lock:
            if self._made is None:
                with LOADING:
                    room = import_module(f"{__package__}.connections")
                self._made = room.Connections(**self._make())
            return self._made

    def desk(self, refused: Path, writer: str) -> Desk:
        """Where a writer of that name writes."""
        with LOADING:
            room = import_module(f"{__package__}.database")
        desk: Desk = room.Database(self.connections(), SYSTEM_CLOCK, writer, refused)
        return desk

    def close(self) -> None:
        """Close what is open."""
        if self._made is not None:
            self._made.close()


def open_ledger(place: str | os.PathLike[str], **settings: Any) -> Ledger:
    """A :class:`Ledger` at a path or an URL whose tables are there and up to date."""
    ledger = Ledger(place, **settings)
    ledger.migrate()
    return ledger
