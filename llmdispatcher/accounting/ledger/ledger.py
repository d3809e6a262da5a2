"""The ledger as a user holds it. The database is opened, and SQLAlchemy loaded, with the first row or query, not before."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypedDict, TypeVar, Unpack, overload

from ...errors import ConfigError, LedgerError
from ...runtime import SYSTEM_CLOCK, Clock, new_lock, user_path
from ...types import AttemptRecord, Outcome, Usage, itself, not_pickled
from .address import Address, address, address_of
from .call import (
    AttemptView,
    CallView,
    ExportReport,
    ImportReport,
    LedgerAttempt,
    LedgerCall,
    PruneReport,
    RecordedCall,
    attempt_row,
    call_row,
    start_rows,
)
from .process import LOADING, this_process
from .spool import Spool
from .writer import LedgerStats, Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from .connections import Connections
    from .database import RowWriter
    from .external import LoggedCall
    from .figures import UsageStats
    from .periods import When
    from .usage import Progress, RollupCheck


P = ParamSpec("P")
T = TypeVar("T")


class SpanOptions(TypedDict, total=False):
    """The time that is meant; ``start_date`` and ``end_date`` are other words for ``start`` and ``end``."""

    start: When | None
    end: When | None
    start_date: When | None
    end_date: When | None
    timezone: str | tzinfo


class CallOptions(SpanOptions, total=False):
    """The calls that are meant; ``""`` means those without one."""

    user: str | None
    alias: str | None
    profile: str | None
    vendor: str | None
    model: str | None


class StatsOptions(CallOptions, total=False):
    """What else :meth:`Ledger.get_usage_stats` takes."""

    group_by: str | None
    by: str | None


class ListOptions(CallOptions, total=False):
    """What else :meth:`Ledger.list_recent_calls` takes."""

    before: LedgerCall | str | None
    status: str | None


class ExportOptions(CallOptions, total=False):
    """What else :meth:`Ledger.export_usage_logs` takes."""

    origin: str | None
    id_at_origin: str | None
    status: str | None
    attempts: bool


class CallFields(TypedDict, total=False):
    """What else :meth:`Ledger.record` takes; for what they are see :class:`~llmdispatcher.LedgerCall`."""

    id: str | int | None
    usage: Usage | None
    begun_at: datetime | str | None
    ended_at: datetime | str | None
    origin: str | None
    id_at_origin: str | None
    user: str | None
    alias: str | None
    profile: str | None
    status: str | None
    error_class: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_write_long_tokens: int | None
    reasoning_tokens: int | None
    audio_input_tokens: int | None
    audio_output_tokens: int | None
    cost: Decimal | float | str | None
    cost_status: str | None
    price_version: str | None
    latency: float | None
    first_token: float | None
    streamed: bool
    cached: bool
    hedged: bool
    attempts: int
    metadata: Mapping[str, Any] | None


class Ledger:
    """Calls and attempts in a database; safe to share between threads, dispatchers and across forks.

    ``place`` is the path of an SQLite file, or ``postgresql://user@host/name``; instead of it ``engine`` is an application's own
    engine of SQLAlchemy, which is used and never closed. In PostgreSQL ``schema`` is where the tables are, made where it is not
    there. Rows are written behind the calls by one thread; while the database is away they wait in ``spool``, a folder of at most
    ``max_spool_bytes`` (beside the file; for a server below ``~/.local/state``, or in the temporary folder where there is no home
    that can be written to). With ``strict_accounting`` nothing is sent before its row is safe in the database, and no answer is
    handed on before its own is; a call fails with :class:`~llmdispatcher.LedgerError` where that takes longer than ``timeout``
    seconds, which is otherwise the time to connect and to wait for a lock. Raises :class:`~llmdispatcher.ConfigError` for a place
    that is none, or no place for a spool.
    """

    __copy__, __reduce__ = itself, not_pickled

    clock: Clock = SYSTEM_CLOCK
    """What tells which day is today; a test sets another."""

    def __init__(  # noqa: PLR0913 - a ledger's settings, all but the place by keyword
        self,
        place: str | os.PathLike[str] | None = None,
        *,
        engine: Engine | None = None,
        schema: str | None = None,
        strict_accounting: bool = False,
        timeout: float = 5.0,
        spool: str | os.PathLike[str] | None = None,
        max_spool_bytes: int = 1 << 30,
    ) -> None:
        if (place is None) == (engine is None):
            raise ConfigError("ledger: give one place, a path or postgresql://user@host/name, or engine= instead of it")
        self.address = address(place, schema) if engine is None else address_of(engine, schema)
        self.address.check_folder()
        self.strict_accounting = strict_accounting
        self._timeout = timeout
        _require_packages(self.address, driver=engine is None)
        folder = user_path(spool, "spool") if spool is not None else self.address.spool
        self._database = _LedgerDatabase(self.address, timeout, durable=strict_accounting, engine=engine)
        self._writer = Writer(partial(self._database.row_writer, folder / "refused.json"), Spool(folder, max_spool_bytes))
        weakref.finalize(self, self._writer.retire).atexit = False

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine of this process, for questions; ``transaction()`` is for changes. Does not make the tables."""
        return self._connected().engine

    def transaction(self) -> AbstractContextManager[Connection]:
        """A transaction that may write: ``with ledger.transaction() as connection``. In SQLite it is the only writer at once."""
        return self._connected().transaction()

    def reading(self) -> AbstractContextManager[Connection]:
        """A view of one moment, for questions: ``with ledger.reading() as connection``; of a read-only ledger, too."""
        return self._connected().reading()

    def migrate(self) -> str:
        """Make the tables, or bring them up to date; gives their version. Idempotent, safe from many processes at once.

        Tables that may only be read stay as they are, and can be asked. Raises :class:`LedgerError` where the database is newer
        than this code, or cannot be reached or written.
        """
        from .database import migrate

        return migrate(self._connected())

    def is_there(self) -> bool:
        """Whether the tables are there, of whatever version; makes and changes nothing.

        Raises :class:`LedgerError` where the database cannot be asked.
        """
        from .database import is_there

        return is_there(self._connected())

    def foreign_tables(self) -> list[str]:
        """The names of the tables in the database, in all its schemas, that are not the ledger's; makes and changes nothing.

        Raises :class:`LedgerError` where the database cannot be asked.
        """
        from .database import foreign_tables

        return foreign_tables(self._connected())

    def began(self, call: CallView, attempt: AttemptView) -> None:
        """Write down that a vendor is about to be asked. Raises :class:`LedgerError` where it is strict and cannot."""
        if not self.strict_accounting:
            self._writer.put(start_rows, call, attempt)
            return
        why = self._writer.commit(min(self._timeout, call.deadline.remaining()), start_rows, call, attempt)
        if why is not None:
            raise LedgerError(f"the ledger cannot be written ({why}), so nothing was sent (strict_accounting)", sent=False)

    def settled(self, record: AttemptRecord) -> None:
        """Write down how asking a vendor went."""
        self._writer.put(attempt_row, record)

    def ended(self, outcome: Outcome) -> None:
        """Write down how a call ended. Raises :class:`LedgerError` where it is strict and cannot, and there is an answer."""
        if not self.strict_accounting:
            self._writer.put(call_row, outcome)
            return
        why = self._writer.commit(self._timeout, call_row, outcome)
        if why is not None and outcome.error is None:
            raise LedgerError(f"the ledger cannot be written ({why}), so the answer is held back (strict_accounting)")

    def flush(self, timeout: float = 10.0) -> bool:
        """Whether all rows so far came into the database within ``timeout`` seconds."""
        return self._writer.flush(timeout)

    def stats(self) -> LedgerStats:
        """What became of the rows of this process."""
        return self._writer.stats()

    def reconcile(self) -> int:
        """Mark the open calls of dead processes as unknown; gives how many. The writer does so at its start and now and then."""
        self.migrate()
        from .database import Store

        return Store(self._connected(), SYSTEM_CLOCK, "", this_process()).reconcile()

    def close(self, timeout: float = 5.0) -> None:
        """Write what is left, for so many seconds at most (the rest is spooled), and close; idempotent. Opens again when used."""
        self._writer.close(timeout)
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Ledger({self.address.shown!r})"

    def _connected(self) -> Connections:
        return self._database.connections()

    def get_usage_stats(
        self, origin: str | None = None, id_at_origin: str | None = None, days: int = 30, **options: Unpack[StatsOptions]
    ) -> UsageStats:
        """What was used from ``start`` to ``end``, in all and in buckets; without them in the last ``days``, today among them.

        A day as ``end`` ("2026-11-21") belongs to the span as a whole, a moment does not. Days, weeks and months are those of
        ``timezone`` (UTC). ``origin``, ``id_at_origin``, ``user``, ``alias``, ``profile``, ``vendor`` and ``model`` say which
        calls are meant; ``""`` are those without one. ``group_by`` ("day", "week", "month") makes a bucket of each period, ``by``
        ("model", "vendor", "origin", "alias", "user") one of each value, both together one of each value in each period.

        Whole days of UTC come from sums that are kept by day, so that a month of ten million calls takes less than a second; other
        pieces, and what is asked by ``id_at_origin`` or ``profile``, are summed from their rows. Raises
        :class:`~llmdispatcher.InvalidRequest` for what cannot be meant.
        """
        from .usage import usage_stats

        return usage_stats(
            self, self.clock, {**_keywords(options, StatsOptions), "origin": origin, "id_at_origin": id_at_origin, "days": days}
        )

    def list_recent_calls(
        self,
        origin: str | None = None,
        id_at_origin: str | None = None,
        limit: int = 100,
        offset: int = 0,
        **options: Unpack[ListOptions],
    ) -> list[LedgerCall]:
        """The latest calls that have these facts, the latest first; at most ``limit``, up to 10,000.

        ``before`` goes on where a page ended: its last call, or that one's ``cursor``. Unlike an ``offset`` it neither skips nor
        repeats a call when others begin meanwhile. ``start``, ``end`` and ``""`` mean what they mean to :meth:`get_usage_stats`.
        Raises :class:`~llmdispatcher.InvalidRequest` for what cannot be meant.
        """
        page = {"origin": origin, "id_at_origin": id_at_origin, "limit": limit, "offset": offset}
        from .queries import recent_calls

        return recent_calls(self, {**_keywords(options, ListOptions), **page})

    get_recent_calls = list_recent_calls

    def get_call(self, call_id: str) -> LedgerCall | None:
        """The call with that id, or ``None``."""
        from .queries import call_of

        return call_of(self, call_id)

    def get_attempts(self, call_id: str) -> list[LedgerAttempt]:
        """Whom a call asked, in the order of asking; nobody for an id that there is not."""
        from .queries import attempts_of

        return attempts_of(self, call_id)

    def record(self, vendor: str | None, model: str, **fields_: Unpack[CallFields]) -> RecordedCall:
        """Write down a call that was made elsewhere, and that has ended; at once, not behind.

        With an ``id`` of the caller's own the same call can be reported again, and is kept once. ``usage`` or the counts of tokens
        say what was consumed; ``input_tokens`` includes what a cache had. A ``cost`` that is not given is the catalog's.
        ``begun_at`` is now less ``latency`` (seconds) where it is not said. Texts are cut at 500 bytes, ``metadata`` at 4 KiB.
        Raises :class:`~llmdispatcher.InvalidRequest`, and :class:`~llmdispatcher.LedgerError` where it is not kept.
        """
        fields = {**_keywords(fields_, CallFields), "vendor": vendor, "model": model}
        from .external import record

        return record(self, self.clock, fields)

    @overload
    def export_usage_logs(
        self, target: None = None, format: str | None = None, progress: Progress | None = None, **options: Unpack[ExportOptions]
    ) -> list[dict[str, Any]]: ...

    @overload
    def export_usage_logs(
        self, target: Any, format: str | None = None, progress: Progress | None = None, **options: Unpack[ExportOptions]
    ) -> ExportReport: ...

    def export_usage_logs(
        self, target: Any = None, format: str | None = None, progress: Progress | None = None, **options: Unpack[ExportOptions]
    ) -> list[dict[str, Any]] | ExportReport:
        """Write the calls that have ended, oldest first, to a path or an open file, in the memory of a page of them.

        ``format`` is "jsonl", "json", "csv" or "parquet" (with ``llmdispatcher[parquet]``); without it the path's end says, else it
        is "jsonl". A file is there when it is whole, readable by its owner alone. In CSV what a spreadsheet would take for a
        formula has a ``'`` before it, which :meth:`import_usage_logs` takes off. ``attempts`` adds them to the JSON forms. Without
        a ``target`` the calls are a list. ``progress`` is called with the calls done and all calls, if that is known. Which calls,
        and from when, is said as to :meth:`get_usage_stats`, without ``start`` from the first.
        """
        asked_for = {**_keywords(options, ExportOptions), "format": format}
        from .exporting import export_logs

        return export_logs(self, target, asked_for, progress)

    def import_usage_logs(self, source: Any, format: str | None = None, progress: Progress | None = None) -> ImportReport:
        """Take in calls that an export has written, or llmring has logged: a path, an open file, or a list of mappings.

        A call is kept once, by its ``id``; a row without one is known by its content, and by the how-manieth it is that looks so. A
        row that is no call is reported with its line and the reason, and the rest is imported; a thousand at a time, so that an
        import that was cut off is simply run again. Without ``format`` the path's end says, else how the file begins.
        """
        from .importing import import_logs

        return import_logs(self, source, format, progress)

    def prune(self, older_than: timedelta | When, progress: Progress | None = None) -> PruneReport:
        """Delete the calls, and their attempts, of all days (UTC) before that age or day; statistics by day stay exact.

        In batches of a thousand, so that others write in between. Calls that are under way stay, and no call of those days can be
        imported or recorded any more, since nobody could tell whether it was one of them. The file of SQLite does not shrink, but
        is used again.
        """
        from .queries import prune

        return prune(self, self.clock, older_than, progress)

    def log_call(self, vendor: str | None, model: str | None = None, **fields_: Unpack[CallFields]) -> LoggedCall:
        """A call that is about to be made without the dispatcher: ``with ledger.log_call("openai") as call: ...``.

        Inside say ``call.usage(answer)``: the answers, events and usages of the vendors' SDKs are understood, and plain mappings.
        The row is written behind, when the block ends; status and class of an error are those of what leaves the block.
        ``model`` is the answer's where it is not said, ``facts`` are those of :meth:`record`.
        """
        fields = {**_keywords(fields_, CallFields), "vendor": vendor, "model": model}
        from .external import LoggedCall

        return LoggedCall(self._record_behind, self.clock, fields)

    def log_llm_call(
        self, vendor: str | None, model: str | None = None, **fields_: Unpack[CallFields]
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """A decorator that logs each call of a function that asks a model, by what it returns, or yields, or raises.

        Returns and raises are untouched; a stream comes back behind one that is heard as it is read and is in all else the same.
        Raises :class:`~llmdispatcher.ConfigError` for a coroutine.
        """
        begin = partial(self.log_call, vendor, model, **fields_)
        from .external import log_calls

        return log_calls(begin)

    def _record_behind(self, fields: Mapping[str, Any]) -> None:
        """Have the row of a call, and of its one attempt, written behind like those of the dispatcher's own calls."""
        from .external import logged_rows

        rows = logged_rows(fields)  # here, so that what is wrong with them is logged with the call
        self._writer.put(lambda: rows)

    def rebuild_rollups(self, progress: Progress | None = None) -> int:
        """Make the sums by day anew from the rows, day by day, while calls go on; gives how many days that were.

        For a database that others have written to; the ledger itself keeps them exact. Days whose rows retention has deleted stay
        as they are. ``progress`` is called with the days done and all days.
        """
        from .usage import rebuild

        return rebuild(self, self.clock, progress)

    def check_rollups(self, progress: Progress | None = None) -> RollupCheck:
        """Count every row and compare with the sums by day, all at one moment; changes nothing."""
        from .usage import check

        return check(self, progress)


def _require_packages(place: Address, *, driver: bool) -> None:
    """See that what a ledger needs is there, without loading it."""
    for name in ("sqlalchemy", "alembic", *(("psycopg",) if driver and place.path is None else ())):
        if find_spec(name) is None:
            extra = "postgres" if name == "psycopg" else "ledger"
            raise ConfigError(f"ledger: {name} is not installed; pip install 'llmdispatcher[{extra}]'")


class _LedgerDatabase:
    """The one way to the database, made when it is first needed; the ledger and its writer share it."""

    def __init__(self, place: Address, timeout: float, *, durable: bool, engine: Engine | None) -> None:
        self._keywords: dict[str, Any] = {"timeout": timeout, "durable": durable, "engine": engine}
        self._address = place
        self._lock = new_lock()
        self._connections: Connections | None = None

    def connections(self) -> Connections:
        """Made once."""
        with self._lock:
            if self._connections is None:
                with LOADING:
                    from .connections import Connections
                self._connections = Connections(self._address, SYSTEM_CLOCK, **self._keywords)
            return self._connections

    def row_writer(self, refused: Path, writer: str) -> RowWriter:
        """What writes rows in the name of ``writer``."""
        with LOADING:
            from .database import RowWriter
        return RowWriter(self.connections(), SYSTEM_CLOCK, writer, refused)

    def close(self) -> None:
        """Close what is open."""
        if self._connections is not None:
            self._connections.close()


def open_ledger(place: str | os.PathLike[str] | None = None, **settings: Any) -> Ledger:
    """A :class:`Ledger` at a path or an URL, or at ``engine=``, whose tables are there and up to date."""
    ledger = Ledger(place, **settings)
    ledger.migrate()
    return ledger


def _keywords(fields: Mapping[str, Any], known: Any) -> dict[str, Any]:
    """The keywords under their one name each. Raises ``TypeError`` for one that there is not, as a call does."""
    unknown = sorted(fields.keys() - known.__annotations__.keys())
    if unknown:
        raise TypeError(f"there is no argument {unknown[0]!r}; give {', '.join(sorted(known.__annotations__))}")
    options = dict(fields)
    for other, name in (("start_date", "start"), ("end_date", "end")):
        if other in options:
            options[name] = options.pop(other)
    return options
