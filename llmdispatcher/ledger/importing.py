"""Takes calls in that were recorded elsewhere, each once however often it is told, and keeps the sums by day exact meanwhile."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import attrs

from ..errors import InvalidRequest
from .given import Row, attempt_of, id_by_content, id_of, row_of
from .keeping import held_mark, put, too_old
from .records import ImportProblem, ImportReport
from .sources import Found, found_in
from .views import Connectable, writing

BATCH = 1000
"""Rows of one transaction."""

MOST_PROBLEMS = 1000
"""That are told one by one; the rest are counted."""

_REMEMBERED = 100_000  # rows without an id; the same row told twice is told close by
_MOST_ATTEMPTS = 1000


@attrs.frozen
class _Call:
    line: int
    row: Row
    attempts: tuple[Row, ...] = ()


class Import:
    """One import under way: reads rows, writes those that are calls, and remembers what was wrong with the others."""

    def __init__(self, database: Connectable, progress: Callable[[int, int | None], None] | None) -> None:
        self._database = database
        self._progress = progress
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._problems: list[ImportProblem] = []
        self._rows = self._imported = self._known = self._failed = 0

    def run(self, source: Any, format: str | None) -> ImportReport:
        """Read the source to its end."""
        rows = found_in(source, format)
        while batch := list(islice(rows, BATCH)):
            self._rows += len(batch)
            self._write([call for call in map(self._read, batch) if call is not None])
            if self._progress is not None:
                self._progress(self._rows, None)
        return ImportReport(
            rows=self._rows,
            imported=self._imported,
            known=self._known,
            failed=self._failed,
            problems=tuple(self._problems),
        )

    def _read(self, found: Found) -> _Call | None:
        try:
            if found.told is None:
                raise InvalidRequest(found.problem or "it is no call")
            row = row_of(found.told)
            row["id"] = self._id(row, found.told)
            return _Call(found.line, row, _attempts(row, found.told.get("attempt_records")))
        except InvalidRequest as error:
            self._failed_at(found.line, error.message)
            return None

    def _id(self, row: Row, told: Mapping[str, Any]) -> str:
        for word in ("id", "log_id"):
            if told.get(word) not in (None, ""):
                return id_of(told[word])
        looks = id_by_content(row, 0)
        again = self._seen.pop(looks, 0)
        self._seen[looks] = again + 1
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return id_by_content(row, again)

    def _write(self, batch: Sequence[_Call]) -> None:
        """One transaction; of an id that is told twice, the first counts."""
        with writing(self._database) as connection:
            gone = held_mark(connection)
            late = [call for call in batch if call.row["begun_at"] < gone]
            calls = {call.row["id"]: call for call in reversed(batch) if call.row["begun_at"] >= gone}
            rows = [call.row for call in calls.values()]
            new = put(connection, rows, [attempt for call in calls.values() for attempt in call.attempts]) if rows else set()
        for call in late:
            self._failed_at(call.line, f"begun_at: it is {too_old(gone)}")
        self._imported += len(new)
        self._known += len(batch) - len(late) - len(new)

    def _failed_at(self, line: int, reason: str) -> None:
        self._failed += 1
        if len(self._problems) < MOST_PROBLEMS:
            self._problems.append(ImportProblem(line=line, reason=reason))


def _attempts(call: Row, told: Any) -> tuple[Row, ...]:
    if not isinstance(told or [], list) or len(told or []) > _MOST_ATTEMPTS:
        raise InvalidRequest(f"attempt_records: it is no list of at most {_MOST_ATTEMPTS:,} attempts; leave it out")
    if not all(isinstance(one, Mapping) for one in told or []):
        raise InvalidRequest("attempt_records: not all of them are objects; leave it out")
    return tuple([attempt_of(one) | {"call_id": call["id"]} for one in told or []])


def import_logs(
    database: Connectable, source: Any, format: str | None, progress: Callable[[int, int | None], None] | None
) -> ImportReport:
    """What :meth:`~llmdispatcher.ledger.Ledger.import_usage_logs` gives."""
    return Import(database, progress).run(source, format)
