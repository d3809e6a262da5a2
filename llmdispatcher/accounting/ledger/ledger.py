"""The ledger as users hold it. The database is opened, and SQLAlchemy loaded, with the first row or query, not before."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypedDict, TypeVar, Unpack, overload

from ...errors import ConfigError, LedgerError
from ...runtime import SYSTEM_CLOCK, Clock, new_lock, user_path
from ...types import AttemptRecord, Outcome, Usage, choices, copy_self, refuse_pickling, suggest
from .address import Address, address, address_of
from .call import (
    AttemptView,
    CallView,
    ErasureReport,
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
from .process import LOADING
from .spool import DatabaseUnavailable, Spool
from .writer import LedgerStats, Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from ...catalog import ModelFacts
    from .connections import Connections
    from .database import RowWriter
    from .external import LoggedCall
    from .figures import LedgerModel, ModelsReport, UsageStats
    from .periods import When
    from .usage import Progress, RollupCheck


P = ParamSpec("P")
T = TypeVar("T")


class SpanOptions(TypedDict, total=False):
    """The span of a query; ``start_date`` and ``end_date`` are other names of ``start`` and ``end``."""

    start: When | None
    end: When | None
    start_date: When | None
    end_date: When | None
    timezone: str | tzinfo


class CallOptions(SpanOptions, total=False):
    """The calls that a query selects; ``""`` selects those without the fact."""

    user: str | None
    alias: str | None
    profile: str | None
    vendor: str | None
    model: str | None
    tag: str | None


class StatsOptions(CallOptions, total=False):
    """The other arguments of :meth:`Ledger.get_usage_stats`."""

    group_by: str | None
    by: str | None


class ListOptions(CallOptions, total=False):
    """The other arguments of :meth:`Ledger.list_recent_calls`."""

    before: LedgerCall | str | None
    status: str | None


class ExportOptions(CallOptions, total=False):
    """The other arguments of :meth:`Ledger.export_usage_logs`."""

    origin: str | None
    id_at_origin: str | None
    status: str | None
    attempts: bool


class CallFields(TypedDict, total=False):
    """The other arguments of :meth:`Ledger.record`; for their meaning see :class:`~llmdispatcher.LedgerCall`."""

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


@suggest
class Ledger:
    """Calls and attempts in a database; safe to share between threads, dispatchers and across forks.

    ``place`` is the path of an SQLite file, or ``postgresql://user@host/name``; instead of it ``engine`` is an application's own
    SQLAlchemy engine, which is used and never closed. In PostgreSQL ``schema`` is where the tables are, created if it is missing.
    One thread writes the rows, so that calls do not wait. While the database is unavailable, rows wait in ``spool``, a folder of at
    most ``max_spool_bytes`` (beside the file; for a server below ``~/.local/state``, or in the temporary folder if there is no
    writable home). With ``strict_accounting`` nothing is sent before its row is in the database, and no response is returned
    before its row is; a call fails with :class:`~llmdispatcher.LedgerError` if that takes longer than ``timeout`` seconds,
    which is otherwise the time to connect and to wait for a lock. Raises :class:`~llmdispatcher.ConfigError` for an unusable
    place, and if there is no folder for a spool.
    """

    __copy__, __reduce__ = copy_self, refuse_pickling

    clock: Clock = SYSTEM_CLOCK
    """The clock that tells which day is today; tests set another."""

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
        self._folder = folder = user_path(spool, "spool") if spool is not None else self.address.spool
        self._database = _LedgerDatabase(self.address, timeout, durable=strict_accounting, engine=engine)
        self._writer = Writer(partial(self._database.row_writer, folder / "refused.json"), Spool(folder, max_spool_bytes))
        weakref.finalize(self, self._writer.retire).atexit = False

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine of this process, for queries; ``transaction()`` is for changes. Does not create the tables."""
        return self._connected().engine

    def transaction(self) -> AbstractContextManager[Connection]:
        """Open a transaction that may write: ``with ledger.transaction() as connection``. SQLite has one writer at a time."""
        return self._connected().transaction()

    def reading(self) -> AbstractContextManager[Connection]:
        """Open one snapshot, for queries: ``with ledger.reading() as connection``; also of a read-only ledger."""
        return self._connected().reading()

    def migrate(self) -> str:
        """Create the tables, or update them; return their version. Idempotent, safe from many processes at once.

        Read-only tables of an older version stay as they are, and can be queried. Raises :class:`LedgerError` if the database is
        newer than this code, or cannot be reached or written.
        """
        from .database import migrate

        return migrate(self._connected())

    def is_there(self) -> bool:
        """Tell whether the tables exist, of whatever version; changes nothing.

        Raises :class:`LedgerError` if the database cannot be queried.
        """
        from .database import is_there

        return is_there(self._connected())

    def foreign_tables(self) -> list[str]:
        """Return the names of the tables in the database, in all schemas, that are not the ledger's; changes nothing.

        Raises :class:`LedgerError` if the database cannot be queried.
        """
        from .database import foreign_tables

        return foreign_tables(self._connected())

    def began(self, call: CallView, attempt: AttemptView) -> None:
        """Record that a vendor is about to be asked. Raises :class:`LedgerError` if accounting is strict and this fails."""
        if not self.strict_accounting:
            self._writer.put(start_rows, call, attempt)
            return
        why = self._writer.commit(min(self._timeout, call.deadline.remaining()), start_rows, call, attempt)
        if why is not None:
            raise LedgerError(f"the ledger cannot be written ({why}), so nothing was sent (strict_accounting)", sent=False)

    def settled(self, record: AttemptRecord) -> None:
        """Record how an attempt ended."""
        self._writer.put(attempt_row, record)

    def ended(self, outcome: Outcome) -> None:
        """Record how a call ended. Raises :class:`LedgerError` if accounting is strict, this fails, and there is a response."""
        if not self.strict_accounting:
            self._writer.put(call_row, outcome)
            return
        why = self._writer.commit(self._timeout, call_row, outcome)
        if why is not None and outcome.error is None:
            raise LedgerError(f"the ledger cannot be written ({why}), so the answer is held back (strict_accounting)")

    def flush(self, timeout: float = 10.0) -> bool:
        """Write all rows so far, for at most ``timeout`` seconds; return whether they are in the database."""
        return self._writer.flush(timeout)

    def stats(self) -> LedgerStats:
        """Return what became of the rows of this process."""
        return self._writer.stats()

    def reconcile(self) -> int:
        """Mark the open calls of dead processes as unknown; return how many. The writer does so at its start, and regularly."""
        self.migrate()
        try:
            return self._database.row_writer(Path(), "").reconcile()
        except DatabaseUnavailable as why:
            raise LedgerError(f"ledger: {self.address.shown} cannot be written ({why}); see that it is there") from None

    def close(self, timeout: float = 5.0) -> None:
        """Write what is left, for at most ``timeout`` seconds (the rest is spooled), and close; idempotent. Reopens when used."""
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
        self, origin: str | None = None, id_at_origin: str | None = None, days: int = 30, **asked: Unpack[StatsOptions]
    ) -> UsageStats:
        """Return the usage from ``start`` to ``end``, in total and in buckets; without them of the last ``days``, today included.

        A day as ``end`` ("2026-11-21") is included as a whole, a moment is not. Days, weeks and months are those of
        ``timezone`` (UTC). ``origin``, ``id_at_origin``, ``user``, ``alias``, ``profile``, ``vendor``, ``model`` and ``tag``
        select calls; ``""`` selects those without one. ``group_by`` ("day", "week", "month") makes a bucket of each period, ``by``
        ("model", "vendor", "origin", "alias", "user", "tag") one of each value, both together one of each value in each period.
        Tags are the texts in ``metadata["tags"]``; a call with two of them counts in both buckets, and once in the total.

        Whole days in UTC come from daily totals, so that a month of ten million calls takes less than a second; the rest, and
        queries by ``id_at_origin``, ``profile`` or ``tag``, are summed from the rows. Raises
        :class:`~llmdispatcher.InvalidRequest` for arguments that mean nothing.
        """
        from .usage import usage_stats

        chosen = {"origin": origin, "id_at_origin": id_at_origin, "days": days}
        return usage_stats(self, self.clock, {**_keywords(asked, StatsOptions, chosen), **chosen})

    def list_recent_calls(
        self,
        origin: str | None = None,
        id_at_origin: str | None = None,
        limit: int = 100,
        offset: int = 0,
        **asked: Unpack[ListOptions],
    ) -> list[LedgerCall]:
        """Return the selected calls, the latest first; at most ``limit``, up to 10,000.

        ``before`` continues after a page: its last call, or that call's ``cursor``. Unlike an ``offset`` it neither skips nor
        repeats a call when others begin meanwhile. ``start``, ``end`` and ``""`` mean what they mean to :meth:`get_usage_stats`.
        Raises :class:`~llmdispatcher.InvalidRequest` for arguments that mean nothing.
        """
        page = {"origin": origin, "id_at_origin": id_at_origin, "limit": limit, "offset": offset}
        from .queries import recent_calls

        return recent_calls(self, {**_keywords(asked, ListOptions, page), **page})

    get_recent_calls = list_recent_calls

    def get_call(self, call_id: str) -> LedgerCall | None:
        """Return the call with that id, or ``None``."""
        from .queries import call_of

        return call_of(self, call_id)

    def get_attempts(self, call_id: str) -> list[LedgerAttempt]:
        """Return the attempts of a call, in their order; none for an unknown id."""
        from .queries import attempts_of

        return attempts_of(self, call_id)

    def record(self, vendor: str | None, model: str, **facts: Unpack[CallFields]) -> RecordedCall:
        """Record a call that was made elsewhere, and has ended. The row is written at once.

        With an ``id`` of your own the same call can be recorded again, and is kept once. ``usage`` or the token counts
        say what was consumed; ``input_tokens`` includes cached ones. A missing ``cost`` is computed from the catalog.
        Without ``begun_at`` the call began ``latency`` (seconds) ago. Texts are cut at 500 bytes, ``metadata`` at 4 KiB.
        Raises :class:`~llmdispatcher.InvalidRequest`, and :class:`~llmdispatcher.LedgerError` if the row is not written.
        """
        fields = {**_keywords(facts, CallFields, ("vendor", "model")), "vendor": vendor, "model": model}
        from .external import record

        return record(self, self.clock, fields)

    @overload
    def export_usage_logs(
        self, target: None = None, format: str | None = None, progress: Progress | None = None, **asked: Unpack[ExportOptions]
    ) -> list[dict[str, Any]]: ...

    @overload
    def export_usage_logs(
        self, target: Any, format: str | None = None, progress: Progress | None = None, **asked: Unpack[ExportOptions]
    ) -> ExportReport: ...

    def export_usage_logs(
        self, target: Any = None, format: str | None = None, progress: Progress | None = None, **asked: Unpack[ExportOptions]
    ) -> list[dict[str, Any]] | ExportReport:
        """Write the calls that have ended, oldest first, to a path or an open file, a page at a time.

        ``format`` is "jsonl", "json", "csv" or "parquet" (with ``llmdispatcher[parquet]``); by default the path's suffix names it,
        and without a suffix it is "jsonl"; another suffix is an :class:`~llmdispatcher.InvalidRequest`. A file appears when it is
        complete, readable by its owner only. In CSV a cell that a spreadsheet would take for a formula begins with a ``'``, which
        :meth:`import_usage_logs` removes. ``attempts`` adds them to the JSON formats.
        Without a ``target`` the calls are returned as a list. ``progress`` is called with the calls done and, if it is known, their
        total. Calls and span are selected as in :meth:`get_usage_stats`, without ``start`` from the first call.
        """
        asked_for = {**_keywords(asked, ExportOptions, ("target", "format", "progress")), "format": format}
        from .exporting import export_logs

        return export_logs(self, target, asked_for, progress)

    def import_usage_logs(self, source: Any, format: str | None = None, progress: Progress | None = None) -> ImportReport:
        """Import calls that an export has written, or llmring has logged: a path, an open file, or a list of mappings.

        A call is kept once, by its ``id``; rows without one are identified by their content, and by their number among equal rows.
        A row that is no call is reported with its line and the reason, and the rest is imported. A thousand rows are one
        transaction, so an interrupted import is simply run again. Without ``format`` the path's suffix names it, or the beginning
        of the file.
        """
        from .importing import Import

        return Import(self, progress).run(source, format)

    def prune(self, older_than: timedelta | When, progress: Progress | None = None, *, dry_run: bool = False) -> PruneReport:
        """Delete the calls, and their attempts, of all days (UTC) before that age or day; daily totals stay exact.

        An age is a ``timedelta`` or a text such as "90d" (``h``, ``d`` or ``w``). With ``dry_run`` they are counted and stay.

        Deletes batches of a thousand, so that others can write in between. Calls in progress stay, and no call of those days can be
        imported or recorded any more, since it may be one that was deleted. An SQLite file does not shrink, but its space is used
        again.
        """
        from .queries import prune

        return prune(self, self.clock, older_than, progress, dry_run=dry_run)

    def erase_user(self, user: str, *, dry_run: bool = False) -> ErasureReport:
        """Erase a user: the calls stay, for the sums, without user, ``id_at_origin`` and metadata; accounts of budgets are renamed.

        ``user`` is the name that requests had. The user's daily totals become those of no user. Receipts are signed and stay as
        they are; :meth:`ErasureReport.left <llmdispatcher.accounting.ErasureReport>` tells what cannot be erased here. A budget of
        each user begins anew for that name. Rows that wait for the database are written before. With ``dry_run`` nothing is
        changed. Raises :class:`~llmdispatcher.InvalidRequest` for no name, and :class:`~llmdispatcher.LedgerError` where rows
        cannot be written.
        """
        if not self.flush():
            raise LedgerError("ledger: rows wait for its database, perhaps the user's; erase the user when it is back")
        from .erasing import erase_user

        return erase_user(self, self.clock, user, self._folder, dry_run=dry_run)

    def refresh_models(self, models: Iterable[ModelFacts] | None = None) -> ModelsReport:
        """Write models and prices into the database, by default all that the catalog knows now; creates or updates the tables.

        They are for queries in SQL and for :meth:`list_models`; costs come from the catalog all the same. ``models`` may be those
        of a registry (:meth:`Registry.models() <llmdispatcher.Registry.models>`). Rows of others stay, as inactive. Safe from many
        processes at once. Raises :class:`LedgerError`.
        """
        self.migrate()
        from .models import refresh

        return refresh(self, self.clock, models)

    def list_models(self, vendor: str | None = None, *, active_only: bool = True) -> list[LedgerModel]:
        """Return the models in the database, of one vendor or of all, in the order of their names.

        Unless ``active_only`` is False, models that their vendor serves no longer are left out. Raises
        :class:`~llmdispatcher.InvalidRequest` for a vendor that is no name.
        """
        from .models import list_all

        return list_all(self, self.clock, vendor, active_only=active_only)

    def get_model(self, vendor: str, model: str) -> LedgerModel | None:
        """Return a model in the database, by its name or an alias, served or not; ``None`` if it is not there."""
        from .models import find

        return find(self, vendor, model)

    def log_call(self, vendor: str | None, model: str | None = None, **facts: Unpack[CallFields]) -> LoggedCall:
        """Log a call that is made without the dispatcher: ``with ledger.log_call("openai") as call: ...``.

        Inside call ``call.usage(response)``; it understands the responses, events and usages of the vendors' SDKs, and mappings.
        The row is written after the block; its status and error class are those of an exception that leaves the block.
        Without ``model`` the response names it; ``facts`` are those of :meth:`record`.
        """
        fields = {**_keywords(facts, CallFields, ("vendor", "model")), "vendor": vendor, "model": model}
        from .external import LoggedCall

        return LoggedCall(self._record_behind, self.clock, fields)

    def log_llm_call(
        self, vendor: str | None, model: str | None = None, **facts: Unpack[CallFields]
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Return a decorator that logs each call of a function that asks a model, by what it returns, yields or raises.

        The result and exceptions are untouched; a stream is wrapped by one that is logged while it is read, and is otherwise the
        same. Raises :class:`~llmdispatcher.ConfigError` for a coroutine.
        """
        begin = partial(self.log_call, vendor, model, **facts)
        from .external import log_calls

        return log_calls(begin)

    def _record_behind(self, fields: Mapping[str, Any]) -> None:
        """Queue the rows of a call and of its only attempt, like those of the dispatcher's own calls."""
        from .external import logged_rows

        rows = logged_rows(fields)  # here, so that what is wrong with them is logged with the call
        self._writer.put(lambda: rows)

    def rebuild_rollups(self, progress: Progress | None = None) -> int:
        """Compute the daily totals anew from the rows, day by day, while calls go on; return the number of days.

        For a database that others have written to; the ledger itself keeps them exact. Days whose rows were deleted stay as they
        are. ``progress`` is called with the days done and all days.
        """
        from .usage import rebuild

        return rebuild(self, self.clock, progress)

    def check_rollups(self, progress: Progress | None = None) -> RollupCheck:
        """Compare the daily totals with all rows, in one snapshot; changes nothing."""
        from .usage import check

        return check(self, progress)


def _require_packages(place: Address, *, driver: bool) -> None:
    """Raise :class:`ConfigError` if a package is not installed; loads none."""
    for name in ("sqlalchemy", "alembic", *(("psycopg",) if driver and place.path is None else ())):
        if find_spec(name) is None:
            extra = "postgres" if name == "psycopg" else "ledger"
            raise ConfigError(f"ledger: {name} is not installed; pip install 'llmdispatcher[{extra}]'")


class _LedgerDatabase:
    """The connections to the database, made at their first use; the ledger and its writer share them."""

    def __init__(self, place: Address, timeout: float, *, durable: bool, engine: Engine | None) -> None:
        self._keywords: dict[str, Any] = {"timeout": timeout, "durable": durable, "engine": engine}
        self._address = place
        self._lock = new_lock()
        self._connections: Connections | None = None

    def connections(self) -> Connections:
        """Return the connections; they are made once."""
        with self._lock:
            if self._connections is None:
                with LOADING:
                    from .connections import Connections
                self._connections = Connections(self._address, SYSTEM_CLOCK, **self._keywords)
            return self._connections

    def row_writer(self, refused: Path, writer: str) -> RowWriter:
        """Make what writes rows under the name ``writer``."""
        with LOADING:
            from .database import RowWriter
        return RowWriter(self.connections(), SYSTEM_CLOCK, writer, refused)

    def close(self) -> None:
        """Close the connections."""
        if self._connections is not None:
            self._connections.close()


def open_ledger(place: str | os.PathLike[str] | None = None, **settings: Any) -> Ledger:
    """Open a :class:`Ledger` at a path, a URL or ``engine=``, and create or update its tables."""
    ledger = Ledger(place, **settings)
    ledger.migrate()
    return ledger


def _keywords(given: Mapping[str, Any], known: Any, own: Iterable[str]) -> dict[str, Any]:
    """The keywords by their first names. Raises ``TypeError`` for an unknown one, as a call does."""
    unknown = sorted(given.keys() - known.__annotations__.keys())
    if unknown:
        hint = choices(unknown[0], [*own, *sorted(known.__annotations__)])
        raise TypeError(f"there is no argument {unknown[0]!r}; {hint}")
    keywords = dict(given)
    for other, name in (("start_date", "start"), ("end_date", "end")):
        if other in keywords:
            keywords[name] = keywords.pop(other)
    return keywords
