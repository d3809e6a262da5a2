"""The sums by day: how rows are added to them, how they are made anew, and how it is shown that they are exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import attrs
from sqlalchemy import BigInteger, ColumnElement, Connection, Integer, delete, func, literal_column, select, text, type_coerce
from sqlalchemy.dialects import postgresql, sqlite

from .periods import DAY
from .schema import DAILY_KEY, DAILY_SUMS, calls, daily
from .selection import Selection, told
from .sums import Key, Sums, from_days, from_rows, of_rows, settled
from .views import Connectable, pruned_before, reading, writing

Progress = Callable[[int, int | None], None]
"""Is told how much is done, and how much there is, if that is known."""

_EPOCH = date(1970, 1, 1)


@attrs.frozen(kw_only=True)
class RollupDifference:
    """A day and key at which the kept sums are not those of the rows; each names only the sums that differ."""

    day: date
    key: tuple[str, ...]
    kept: Sums
    counted: Sums


@attrs.frozen(kw_only=True)
class RollupCheck:
    """What a check of the sums by day found. Days before ``since`` have no rows any more to compare with."""

    days: int
    calls: int
    since: date | None = None
    differences: tuple[RollupDifference, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether every sum is that of its rows."""
        return not self.differences


def add_rows(connection: Connection, within: ColumnElement[bool]) -> None:
    """Add the rows of ``calls`` that a condition selects to their days; in the transaction that wrote them, and once."""
    day: ColumnElement[int] = type_coerce(calls.c.begun_at, BigInteger) // literal_column(str(DAY), BigInteger)
    keys: list[Any] = [day.cast(Integer).label("day"), *[told(calls.c[name]).label(name) for name in DAILY_KEY[1:]]]
    sums = [func.sum(column).label(name) for name, column in of_rows().items()]
    rows = select(*keys, *sums).where(within).group_by(*keys)
    if connection.dialect.name == "postgresql":  # in the writer's order of keys, so that no two transactions wait for each other
        rows = rows.order_by(keys[0], *[key.collate("C") for key in keys[1:]])
    kind: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name]
    added = kind(daily).from_select([*DAILY_KEY, *of_rows()], rows)
    more = {name: daily.c[name] + added.excluded[name] for name in DAILY_SUMS}
    connection.execute(added.on_conflict_do_update(index_elements=list(DAILY_KEY), set_=more))


def rebuild(database: Connectable, progress: Progress | None = None) -> int:
    """What :meth:`~llmdispatcher.ledger.Ledger.rebuild_rollups` gives."""
    with reading(database) as connection:
        days = _days(connection)
    for done, day in enumerate(days, 1):
        with writing(database) as connection:
            if connection.dialect.name == "postgresql":  # waits for who has added already, and makes others wait with adding
                connection.execute(text("LOCK TABLE daily IN SHARE ROW EXCLUSIVE MODE"))
            if day * DAY >= pruned_before(connection):
                connection.execute(delete(daily).where(daily.c.day == day))
                add_rows(connection, settled(day * DAY, (day + 1) * DAY))
        if progress is not None:
            progress(done, len(days))
    return len(days)


def check(database: Connectable, progress: Progress | None = None) -> RollupCheck:
    """What :meth:`~llmdispatcher.ledger.Ledger.check_rollups` gives."""
    with reading(database) as connection:
        days, count, found = _days(connection), 0, list[RollupDifference]()
        for done, day in enumerate(days, 1):
            kept = from_days(connection, range(day, day + 1), Selection(), DAILY_KEY[1:])
            counted = from_rows(connection, (day * DAY, (day + 1) * DAY), Selection(), DAILY_KEY[1:])
            count += sum(sums["calls"] for sums in counted.values())
            found += _differences(day, kept, counted)
            if progress is not None:
                progress(done, len(days))
        pruned = pruned_before(connection)
    since = _EPOCH + timedelta(days=pruned // DAY) if pruned else None
    return RollupCheck(days=len(days), calls=count, since=since, differences=tuple(found))


def _differences(day: int, kept: dict[Key, Sums], counted: dict[Key, Sums]) -> Iterator[RollupDifference]:
    for key in sorted(kept.keys() | counted.keys()):
        mine, theirs = kept.get(key, {}), counted.get(key, {})
        names = [name for name in DAILY_SUMS if mine.get(name, 0) != theirs.get(name, 0)]
        if names:
            yield RollupDifference(
                day=_EPOCH + timedelta(days=day),
                key=key,
                kept={name: mine.get(name, 0) for name in names},
                counted={name: theirs.get(name, 0) for name in names},
            )


def _days(connection: Connection) -> list[int]:
    """The days that have rows or sums, without those whose rows retention has deleted."""
    since = pruned_before(connection)
    days = set(connection.scalars(select(daily.c.day).where(daily.c.day >= since // DAY).distinct()))
    begun = type_coerce(calls.c.begun_at, BigInteger)
    while True:
        first = connection.scalar(select(func.min(begun)).where(begun >= since))
        if first is None:
            return sorted(days)
        days.add(first // DAY)
        since = (first // DAY + 1) * DAY
