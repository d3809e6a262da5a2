"""What a ledger is asked and told by hand, as methods; the rooms that need SQLAlchemy are loaded when one of them is first used."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

if TYPE_CHECKING:
    from .figures import UsageStats
    from .periods import When
    from .records import LedgerAttempt, LedgerCall
    from .rollups import Progress, RollupCheck


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


class Questions:
    """The half of a ledger that is asked; see :class:`~llmdispatcher.ledger.Ledger`."""

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
            self, {**_asked(asked, StatsAsked), "origin": origin, "id_at_origin": id_at_origin, "days": days}
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
