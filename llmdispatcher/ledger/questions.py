"""What a ledger is asked and told by hand, as methods; the rooms that need SQLAlchemy are loaded when one of them is first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ParamSpec, TypedDict, TypeVar, Unpack, overload

from ..clock import SYSTEM_CLOCK, Clock

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from decimal import Decimal

    from ..response_values import Usage
    from .figures import UsageStats
    from .outside import LoggedCall
    from .periods import When
    from .records import ExportReport, ImportReport, LedgerAttempt, LedgerCall, PruneReport, RecordedCall
    from .rollups import Progress, RollupCheck
    from .writer import Writer


P = ParamSpec("P")
T = TypeVar("T")


class Spanned(TypedDict, total=False):
    """The time that is meant; ``start_date`` and ``end_date`` are other words for ``start`` and ``end``."""

    start: When | None
    end: When | None
    start_date: When | None
    end_date: When | None
    timezone: str | tzinfo


class StatsAsked(Spanned, total=False):
    """What else :meth:`Questions.get_usage_stats` takes."""

    user: str | None
    alias: str | None
    profile: str | None
    vendor: str | None
    model: str | None
    group_by: str | None
    by: str | None


class CallsAsked(Spanned, total=False):
    """What else :meth:`Questions.list_recent_calls` takes."""

    before: LedgerCall | str | None
    user: str | None
    alias: str | None
    profile: str | None
    vendor: str | None
    model: str | None
    status: str | None


class Facts(TypedDict, total=False):
    """What else :meth:`Questions.record` takes; for what they are see :class:`~llmdispatcher.ledger.records.LedgerCall`."""

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


class ExportAsked(Spanned, total=False):
    """What else :meth:`Questions.export_usage_logs` takes."""

    origin: str | None
    id_at_origin: str | None
    user: str | None
    alias: str | None
    profile: str | None
    vendor: str | None
    model: str | None
    status: str | None
    attempts: bool


class Questions:
    """The half of a ledger that is asked and told by hand; see :class:`~llmdispatcher.ledger.Ledger`."""

    clock: Clock = SYSTEM_CLOCK
    """What tells which day is today; a test sets another."""
    _writer: Writer

    def get_usage_stats(
        self, origin: str | None = None, id_at_origin: str | None = None, days: int = 30, **asked: Unpack[StatsAsked]
    ) -> UsageStats:
        """What was used from ``start`` to ``end``, in all and in buckets; without them in the last ``days``, today among them.

        A day as ``end`` ("2026-11-21") belongs to the span as a whole, a moment does not. Days, weeks and months are those of
        ``timezone`` (UTC). ``origin``, ``id_at_origin``, ``user``, ``alias``, ``profile``, ``vendor`` and ``model`` say which
        calls are meant; ``""`` are those without one. ``group_by`` ("day", "week", "month") makes a bucket of each period, ``by``
        ("model", "vendor", "origin", "alias", "user") one of each value, both together one of each value in each period.

        Whole days of UTC come from sums that are kept by day, so that a month of ten million calls is told within a second; other
        pieces, and what is asked by ``id_at_origin`` or ``profile``, are summed from their rows. Raises
        :class:`~llmdispatcher.errors.InvalidRequest` for what cannot be meant.
        """
        stats: UsageStats = self._room("statistics").usage_stats(
            self, self.clock, {**_asked(asked, StatsAsked), "origin": origin, "id_at_origin": id_at_origin, "days": days}
        )
        return stats

    def list_recent_calls(
        self,
        origin: str | None = None,
        id_at_origin: str | None = None,
        limit: int = 100,
        offset: int = 0,
        **asked: Unpack[CallsAsked],
    ) -> list[LedgerCall]:
        """The latest calls that have these facts, the latest first; at most ``limit``, up to 10,000.

        ``before`` goes on where a page ended: its last call, or that one's ``cursor``. Unlike an ``offset`` it neither skips nor
        repeats a call when others begin meanwhile. ``start``, ``end`` and ``""`` mean what they mean to :meth:`get_usage_stats`.
        Raises :class:`~llmdispatcher.errors.InvalidRequest` for what cannot be meant.
        """
        page = {"origin": origin, "id_at_origin": id_at_origin, "limit": limit, "offset": offset}
        found: list[LedgerCall] = self._room("calls").recent_calls(self, {**_asked(asked, CallsAsked), **page})
        return found

    get_recent_calls = list_recent_calls

    def get_call(self, call_id: str) -> LedgerCall | None:
        """The call with that id, or ``None``."""
        found: LedgerCall | None = self._room("calls").one_call(self, call_id)
        return found

    def get_attempts(self, call_id: str) -> list[LedgerAttempt]:
        """Whom a call asked, in the order of asking; nobody for an id that there is not."""
        found: list[LedgerAttempt] = self._room("calls").attempts_of(self, call_id)
        return found

    def record(self, vendor: str | None, model: str, **facts: Unpack[Facts]) -> RecordedCall:
        """Write down a call that was made elsewhere, and that has ended; at once, not behind.

        With an ``id`` of the caller's own the same call can be reported again, and is kept once. ``usage`` or the counts of tokens
        say what was consumed; ``input_tokens`` includes what a cache had. A ``cost`` that is not given is the catalog's.
        ``begun_at`` is now less ``latency`` (seconds) where it is not said. Texts are cut at 500 bytes, ``metadata`` at 4 KiB.
        Raises :class:`~llmdispatcher.errors.InvalidRequest`, and :class:`~llmdispatcher.errors.LedgerError` where it is not kept.
        """
        told = {**_asked(facts, Facts), "vendor": vendor, "model": model}
        kept: RecordedCall = self._room("keeping").record(self, self.clock, told)
        return kept

    @overload
    def export_usage_logs(
        self, target: None = None, format: str | None = None, progress: Progress | None = None, **asked: Unpack[ExportAsked]
    ) -> list[dict[str, Any]]: ...

    @overload
    def export_usage_logs(
        self, target: Any, format: str | None = None, progress: Progress | None = None, **asked: Unpack[ExportAsked]
    ) -> ExportReport: ...

    def export_usage_logs(
        self, target: Any = None, format: str | None = None, progress: Progress | None = None, **asked: Unpack[ExportAsked]
    ) -> list[dict[str, Any]] | ExportReport:
        """Write the calls that have ended, oldest first, to a path or an open file, in the memory of a page of them.

        ``format`` is "jsonl", "json", "csv" or "parquet" (with ``llmdispatcher[parquet]``); without it the path's end says, else it
        is "jsonl". A file is there when it is whole, readable by its owner alone. In CSV what a spreadsheet would take for a
        formula has a ``'`` before it, which :meth:`import_usage_logs` takes off. ``attempts`` adds them to the JSON forms. Without
        a ``target`` the calls are a list. ``progress`` is called with the calls done and all calls, if that is known. Which calls,
        and from when, is said as to :meth:`get_usage_stats`, without ``start`` from the first.
        """
        chosen = {**_asked(asked, ExportAsked), "format": format}
        done: list[dict[str, Any]] | ExportReport = self._room("exporting").export_logs(self, target, chosen, progress)
        return done

    def import_usage_logs(self, source: Any, format: str | None = None, progress: Progress | None = None) -> ImportReport:
        """Take in calls that an export has written, or llmring has logged: a path, an open file, or a list of mappings.

        A call is kept once, by its ``id``; a row without one is known by its content, and by the how-manieth it is that looks so. A
        row that is no call is reported with its line and the reason, and the rest is imported; a thousand at a time, so that an
        import that was cut off is simply run again. Without ``format`` the path's end says, else how the file begins.
        """
        report: ImportReport = self._room("importing").import_logs(self, source, format, progress)
        return report

    def prune(self, older_than: timedelta | When, progress: Progress | None = None) -> PruneReport:
        """Delete the calls, and their attempts, of all days (UTC) before that age or day; statistics by day stay exact.

        In batches of a thousand, so that others write in between. Calls that are under way stay, and no call of those days can be
        imported or recorded any more, since nobody could tell whether it was one of them. The file of SQLite does not shrink, but
        is used again.
        """
        report: PruneReport = self._room("retention").prune(self, self.clock, older_than, progress)
        return report

    def log_call(self, vendor: str | None, model: str | None = None, **facts: Unpack[Facts]) -> LoggedCall:
        """A call that is about to be made without the dispatcher: ``with ledger.log_call("openai") as call: ...``.

        Inside say ``call.usage(answer)``: the answers, events and usages of the vendors' SDKs are understood, and plain mappings.
        The row is written behind, when the block ends; status and class of an error are those of what leaves the block.
        ``model`` is the answer's where it is not said, ``facts`` are those of :meth:`record`.
        """
        given = {**_asked(facts, Facts), "vendor": vendor, "model": model}
        call: LoggedCall = self._room("outside").LoggedCall(self._record_behind, self.clock, given)
        return call

    def log_llm_call(
        self, vendor: str | None, model: str | None = None, **facts: Unpack[Facts]
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """A decorator that logs each call of a function that asks a model, by what it returns, or yields, or raises.

        Returns and raises are untouched; a stream comes back behind one that is heard as it is read and is in all else the same.
        Raises :class:`~llmdispatcher.errors.ConfigError` for a coroutine.
        """
        begin = partial(self.log_call, vendor, model, **facts)
        decorate: Callable[[Callable[P, T]], Callable[P, T]] = self._room("outside").logging_calls(begin)
        return decorate

    def _record_behind(self, told: Mapping[str, Any]) -> None:
        """Have the row of a call, and of its one attempt, written behind like those of the dispatcher's own calls."""
        rows = self._room("keeping").rows_of(told)  # here, so that what is wrong with them is logged with the call
        self._writer.put(lambda: rows)

    def rebuild_rollups(self, progress: Progress | None = None) -> int:
        """Make the sums by day anew from the rows, day by day, while calls go on; gives how many days that were.

        For a database that others have written to; the ledger itself keeps them exact. Days whose rows retention has deleted stay
        as they are. ``progress`` is called with the days done and all days.
        """
        days: int = self._room("rollups").rebuild(self, progress)
        return days

    def check_rollups(self, progress: Progress | None = None) -> RollupCheck:
        """Count every row and compare with the sums by day, all at one moment; changes nothing."""
        found: RollupCheck = self._room("rollups").check(self, progress)
        return found

    @staticmethod
    def _room(name: str) -> Any:
        return import_module(f"{__package__}.{name}")


def _asked(given: Mapping[str, Any], known: Any) -> dict[str, Any]:
    """The keywords under their one name each. Raises ``TypeError`` for one that there is not, as a call does."""
    unknown = sorted(given.keys() - known.__annotations__.keys())
    if unknown:
        raise TypeError(f"there is no argument {unknown[0]!r}; give {', '.join(sorted(known.__annotations__))}")
    asked = dict(given)
    for other, name in (("start_date", "start"), ("end_date", "end")):
        if other in asked:
            asked[name] = asked.pop(other)
    return asked
