"""``python -m benchmarks.ledger_rows PLACE --rows N``: a ledger with so many calls in one month, and what it takes to ask it.

``PLACE`` is the path of a new SQLite file or the address of an empty PostgreSQL database. The rows are put there in bulk, past the
library, and their sums by day made by ``rebuild_rollups()``; everything after that is asked of a :class:`Ledger` as users do.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, text

from llmdispatcher import Ledger, open_ledger
from llmdispatcher.accounting.ledger.call import CALL
from llmdispatcher.accounting.ledger.schema import calls
from llmdispatcher.accounting.units import TOKENS, micros, picodollars

MONTH = (datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))
USERS = 1000
MODELS = (("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("anthropic", "claude-haiku-4-5"), ("google", "gemini-2.5-flash"))
PIECE = 200_000
TUNED: dict[str, dict[str, Any]] = {
    "sqlite": {"PRAGMA cache_size": -1_000_000},
    "postgresql": {"SET statement_timeout": 0, "SET maintenance_work_mem": "'1GB'"},
}
ID = {
    "sqlite": "printf('%016x%016x', b, i)",
    "postgresql": "lpad(to_hex(b), 16, '0') || lpad(to_hex(i), 16, '0')",
}
SERIES = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT :low UNION ALL SELECT i + 1 FROM n WHERE i < :high - 1) "
    "SELECT i, :start + i * :step AS b FROM n",
    "postgresql": "SELECT i, :start + i * :step AS b FROM generate_series(CAST(:low AS bigint), CAST(:high AS bigint) - 1) AS n(i)",
}
_TIMES = 5


def main() -> None:
    """Fill the place, then ask it."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("place")
    words.add_argument("--rows", type=int, default=10_000_000)
    told = words.parse_args()
    with open_ledger(told.place) as ledger:
        timed("filling it in bulk", lambda: fill(ledger, told.rows), times=1)
        timed("rebuild_rollups()", lambda: ledger.rebuild_rollups(bar_of("days")), times=1)
        ask(ledger, told.rows)


def likes() -> Iterator[dict[str, Any]]:
    """What calls are like, but for when they were made: a user belongs to one application and has two or three models."""
    chance = Random(1)
    for place in range(6 * USERS):
        user = place // 6
        vendor, model = MODELS[(user + chance.randrange(3)) % len(MODELS)]
        good = chance.random() < 0.97
        yield dict.fromkeys(TOKENS, 0) | {
            "place": place,
            "origin": f"application {user % 7}",
            "user": f"user-{user:05}@example.org",
            "alias": chance.choice([None, "summarizer"]),
            "profile": None,
            "vendor": vendor,
            "model": model,
            "status": "success" if good else "error",
            "error_class": None if good else "VendorUnavailable",
            "input_tokens": chance.randrange(5000),
            "output_tokens": chance.randrange(800),
            "cost": picodollars(Decimal(chance.randrange(10**6)).scaleb(-8)),
            "cost_status": "priced",
            "price_version": "catalog 2026-11-21",
            "latency_us": 812_000,
            "first_token_us": 301_000,
            "streamed": chance.random() < 0.5,
            "cached": False,
            "hedged": False,
            "attempts": 1,
            "metadata": {"feature": "chat"},
        }


def fill(ledger: Ledger, count: int) -> None:
    """Calls, evenly over the month, made by the database itself; of an order there are one or two."""
    names = [name for name in CALL if name not in ("id", "begun_at", "ended_at", "id_at_origin")]
    columns = [Column(name, BigInteger() if name == "cost" else calls.c[name].type) for name in names]  # in picodollars
    like = Table("likes", MetaData(), Column("place", Integer, primary_key=True), *columns, prefixes=["TEMPORARY"])
    told = {"start": micros(MONTH[0]), "step": (micros(MONTH[1]) - micros(MONTH[0])) // count}
    show = bar_of("rows")
    with ledger.engine.connect() as connection:
        kind = connection.dialect.name
        quoted = ", ".join([f'"{name}"' for name in names])
        insert = text(
            f"INSERT INTO {calls.name} (id, begun_at, ended_at, id_at_origin, {quoted}) SELECT {ID[kind]}, b, b + 812000, "
            f"CASE WHEN i % 2 = 1 THEN 'order ' || (i / 3) END, {quoted} "
            f"FROM ({SERIES[kind]}) AS made JOIN likes ON place = (i * 7919) % {6 * USERS} ORDER BY i"
        )
        indexes = [index for index in calls.indexes if index.name != f"ix_{calls.name}_open"]
        with connection.begin():
            like.create(connection)
            connection.execute(like.insert(), list(likes()))
            for index in indexes:  # made at the end, as one does for so many rows
                index.drop(connection)
            for name, value in TUNED[kind].items():
                connection.exec_driver_sql(f"{name} = {value}")
        for low in range(0, count, PIECE):
            with connection.begin():
                connection.execute(insert, {**told, "low": low, "high": min(count, low + PIECE)})
            show(min(count, low + PIECE), count)
        with connection.begin():
            for index in indexes:
                index.create(connection)
    if kind == "postgresql":
        with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"VACUUM ANALYZE {calls.name}"))


def ask(ledger: Ledger, count: int) -> None:
    """What people ask, each the median of a few times."""
    size = _size(ledger)
    with ledger.engine.connect() as connection:
        days = connection.scalar(text("SELECT count(*) FROM llmdispatcher_daily"))
    print(f"size: {size / 2**30:.2f} GiB, {size / count:.0f} bytes for each call, indexes and {days:,} sums by day included")
    month: dict[str, Any] = {"start": "2026-10-01", "end": "2026-10-31"}
    questions: dict[str, Callable[[], Any]] = {
        "a month": lambda: ledger.get_usage_stats(**month),
        "a month, by day and model": lambda: ledger.get_usage_stats(**month, group_by="day", by="model"),
        "a month, by user": lambda: ledger.get_usage_stats(**month, by="user"),
        "a month of one application": lambda: ledger.get_usage_stats("application 3", **month),
        "a month of Berlin, by week": lambda: ledger.get_usage_stats(**month, timezone="Europe/Berlin", group_by="week"),
        "a month of one order": lambda: ledger.get_usage_stats(None, "order 1000", **month),
        "the latest 100 calls": ledger.list_recent_calls,
        "the calls of one order": lambda: ledger.list_recent_calls(None, "order 1001"),
        "100 calls from the middle": lambda: ledger.list_recent_calls(before="2026-10-15T00:00:00+00:00/f"),
    }
    for name, question in questions.items():
        timed(name, question)
    with tempfile.TemporaryDirectory() as folder:
        for format in ("jsonl", "csv", "parquet"):
            began, spent = time.perf_counter(), time.process_time()
            report = ledger.export_usage_logs(Path(folder) / "logs", format, start="2026-10-15", end="2026-10-15")
            wall, cpu = time.perf_counter() - began, time.process_time() - spent
            print(
                f"export of a day as {format}: {report.rows / wall:,.0f} rows/s, CPU {cpu / report.rows * 1e6:.1f} us each",
                flush=True,
            )
    timed("check_rollups()", lambda: ledger.check_rollups(bar_of("days")), times=1)


def _size(ledger: Ledger) -> int:
    if ledger.address.path is not None:
        return ledger.address.path.stat().st_size
    with ledger.engine.connect() as connection:
        return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def timed(name: str, work: Callable[[], Any], times: int = _TIMES) -> None:
    """Print how long it takes, in the middle of a few times, and what CPU of this process; a server's own is not in that."""
    took = []
    for _ in range(times):
        began, spent = time.perf_counter(), time.process_time()
        work()
        took.append((time.perf_counter() - began, time.process_time() - spent))
    wall, cpu = (sorted(figures)[times // 2] * 1000 for figures in zip(*took, strict=True))
    print(f"{name}: {wall:,.1f} ms, CPU {cpu:,.1f} ms", flush=True)


def bar_of(unit: str) -> Callable[[int, int | None], None]:
    """What shows how much is done."""

    def show(done: int, total: int | None) -> None:
        full = 40 * done // (total or done or 1)
        end = "\n" if done == total else ""
        sys.stderr.write(f"\r[{'#' * full:40}] {done:,} {unit}{end}")
        sys.stderr.flush()

    return show


if __name__ == "__main__":
    main()
