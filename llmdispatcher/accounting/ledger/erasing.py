"""The erasure of a user: calls stay for the sums, and lose what tells whose they were.

Each day is one transaction, which moves the user's daily totals to those of no user together with the calls, so that totals and
rows agree at every moment. What is signed cannot be changed: the report says what is left, and where.
"""

from __future__ import annotations

import contextlib
import glob
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ...errors import InvalidRequest
from ...runtime import Clock
from ..units import BUDGETS_LOCK, DAY, account_name
from .call import ErasureReport, clean
from .connections import insert_into, lock_key, lock_table
from .queries import ERASED, PAUSE, Connectable, give_way, reading, writing
from .schema import DAILY_KEY, DAILY_SUMS, budgets, calls, capped_sum, daily, marks, receipt_calls, reservations


def erase_user(database: Connectable, clock: Clock, user: str, folder: Path, *, dry_run: bool) -> ErasureReport:
    """Erase a user from all tables; ``folder`` is where the ledger keeps rows beside the database."""
    name = clean(user) if isinstance(user, str) else None
    if not name:  # also a text that is empty in the database, where that stands for no user
        raise InvalidRequest(f"user: {user!r} is nobody; give the user's name as the requests had it")
    share = account_name(user)
    with reading(database) as connection:
        count, certified, under_way = _count(connection, name)
        days = _days(connection, name)
        accounts = connection.scalar(sa.select(sa.func.count()).select_from(budgets).where(budgets.c.share == share)) or 0
    if not dry_run:
        for day in days:
            with _overwriting(database) as connection:
                _erase_day(connection, name, day)
            give_way(clock, PAUSE)
        with _overwriting(database) as connection:
            lock_key(connection, BUDGETS_LOCK)
            stranger = f"erased-{os.urandom(8).hex()}"
            for table in (budgets, reservations):
                connection.execute(sa.update(table).where(table.c.share == share).values(share=stranger))
        _empty_log(database)
    left = _left(certified, under_way, _files_beside(database, folder))
    return ErasureReport(calls=count, days=len(days), accounts=accounts, certified=certified, left=tuple(left), dry_run=dry_run)


def _count(connection: sa.Connection, name: str) -> tuple[int, int, int]:
    """The calls of a user: all, those that receipts certify, and those that are under way."""
    certified = sa.select(receipt_calls.c.call_id)
    query = sa.select(
        sa.func.count(),
        sa.func.count(sa.case((calls.c.id.in_(certified), 1))),
        sa.func.count(sa.case((calls.c.status == "open", 1))),
    )
    count, signed, under_way = connection.execute(query.select_from(calls).where(calls.c.user == name)).one()
    return count, signed, under_way


def _days(connection: sa.Connection, name: str) -> list[int]:
    day = sa.type_coerce(calls.c.begun_at, sa.BigInteger) // sa.literal_column(str(DAY), sa.BigInteger)
    days = set(connection.scalars(sa.select(day).where(calls.c.user == name).distinct()))
    return sorted(days | set(connection.scalars(sa.select(daily.c.day).where(daily.c.user == name).distinct())))


def _erase_day(connection: sa.Connection, name: str, day: int) -> None:
    """Erase a user from the calls of a day, and add the user's totals to those of no user."""
    lock_table(connection, calls.name, "EXCLUSIVE")  # writers lock rows first and totals then; so none of them is in between
    lock_table(connection, daily.name, "SHARE ROW EXCLUSIVE")
    begun = sa.type_coerce(calls.c.begun_at, sa.BigInteger)
    theirs = sa.and_(calls.c.user == name, begun >= day * DAY, begun < (day + 1) * DAY)
    signed = connection.scalars(sa.select(calls.c.id).where(theirs, calls.c.id.in_(sa.select(receipt_calls.c.call_id)))).all()
    if signed:
        rows = [{"name": f"{ERASED}{call_id}", "value": day * DAY} for call_id in signed]
        connection.execute(insert_into(marks, connection.dialect.name).on_conflict_do_nothing(), rows)
    connection.execute(sa.update(calls).where(theirs).values(user=None, id_at_origin=None, metadata=None))
    values: list[Any] = [daily.c[key] if key != "user" else sa.literal_column("''").label("user") for key in DAILY_KEY]
    of_user = sa.and_(daily.c.day == day, daily.c.user == name)
    rows_of_user = sa.select(*values, *[daily.c[column] for column in DAILY_SUMS]).where(of_user)
    new = insert_into(daily, connection.dialect.name).from_select([*DAILY_KEY, *DAILY_SUMS], rows_of_user)
    more = {column: capped_sum(daily.c[column], new.excluded[column]) for column in DAILY_SUMS}
    connection.execute(new.on_conflict_do_update(index_elements=list(DAILY_KEY), set_=more))
    connection.execute(sa.delete(daily).where(of_user))


@contextlib.contextmanager
def _overwriting(database: Connectable) -> Iterator[sa.Connection]:
    """A transaction that writes; SQLite writes zeros over what it deletes."""
    with writing(database) as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
        yield connection


def _empty_log(database: Connectable) -> None:
    """Empty the log of SQLite, which has the old pages; where others read, a later one does."""
    path = database.address.path
    if path is not None:
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path, timeout=1.0)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _files_beside(database: Connectable, folder: Path) -> list[Path]:
    """The files that hold rows which are not in the database: spools, refused rows, and broken files that were set aside."""
    path = database.address.path
    found = list(folder.glob("*.json*")) if folder.is_dir() else []
    found += list(path.parent.glob(f"{glob.escape(path.name)}.broken-*")) if path is not None else []
    return sorted([file for file in found if file.stat().st_size])


def _left(certified: int, under_way: int, files: list[Path]) -> list[str]:
    """What still tells of the user, as sentences."""
    told = []
    if under_way:
        told.append(f"{under_way} calls are under way and write the user when they end: erase again then")
    if certified:
        told.append(
            f"receipts certify {certified} of the calls: they are signed, keep id_at_origin of single calls and a digest over the"
            " user, and cannot be changed"
        )
    return [*told, *[f"{file} holds rows that are not in the database, perhaps the user's" for file in files]]
