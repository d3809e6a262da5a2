"""Export calls to files: JSON, JSON Lines, CSV, Parquet or a caller's own function.

Calls are read page by page, oldest first, so a file of any size needs the memory of one page and no long transaction. A file is
written completely or not at all, readable by its owner only.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from decimal import Decimal
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Boolean, ColumnElement, Connection, Integer, literal, select, tuple_

from ...errors import InvalidRequest
from .call import ATTEMPT, CALL, ExportReport
from .importing import FORMATS, SUFFIXES, format_of, guard, parquet_module
from .queries import Connectable, reading, selection_of, span_conditions
from .schema import Moment, Money, attempts, calls
from .usage import sums_from_daily

Record = dict[str, Any]
"""A call in an export: by column, times as aware datetimes, money as ``Decimal`` dollars."""

Write = Callable[[Sequence[Record]], None]
Sink = Callable[[Any], AbstractContextManager[Write]]


def sink_of(target: Any, format: str | None, *, attempts: bool = False) -> Sink:
    """What writes records in a format; by default that of the path's suffix, or JSON Lines where there is none.

    Raises :class:`~llmdispatcher.InvalidRequest` for an unknown format or suffix, or a format that cannot hold attempts.
    """
    chosen = format or format_of(target) or _without_suffix(target)
    if chosen not in FORMATS:
        raise InvalidRequest(f"format: {chosen!r} is not known; give one of {', '.join(FORMATS)}")
    if attempts and chosen not in ("json", "jsonl"):
        raise InvalidRequest(f"attempts: {chosen} has no room for them; write jsonl or json")
    if chosen == "parquet":
        parquet_module()  # before a file is begun
    return {"jsonl": _json_lines, "json": _json_array, "csv": _csv, "parquet": _parquet}[chosen]


def _without_suffix(target: Any) -> str:
    """The format of an open file, a device, or a path without a suffix."""
    path = Path(target) if isinstance(target, str | os.PathLike) else None
    if path is not None and path.suffix and (path.is_file() or not path.exists()):
        raise InvalidRequest(
            f"target: no format has the suffix {path.suffix!r}; use a name that ends in {', '.join(SUFFIXES)},"
            f" or give the format: {', '.join(FORMATS)}"
        )
    return "jsonl"


@contextmanager
def open_target(target: Any) -> Iterator[Any]:
    """A stream of bytes into a path or an open file. A path gets the whole file at the end; if anything fails, nothing."""
    if hasattr(target, "write"):
        yield _TextTarget(target) if isinstance(target, io.TextIOBase) else target
        return
    if not isinstance(target, str | os.PathLike):
        raise InvalidRequest(f"target: {type(target).__name__} is no place to write to; give a path or an open file")
    path = Path(target)
    if path.exists() and not path.is_file():  # a pipe, /dev/stdout
        with path.open("wb") as stream:
            yield stream
        return
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # with mode 0600
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


class _TextTarget:
    """A stream of text that takes UTF-8 bytes."""

    def __init__(self, target: io.TextIOBase) -> None:
        self._target = target

    def write(self, raw: bytes) -> None:
        """Write the bytes as text."""
        self._target.write(raw.decode("utf-8"))


@contextmanager
def _json_lines(stream: Any) -> Iterator[Write]:
    def write(page: Sequence[Record]) -> None:
        stream.write("".join([f"{_json(record)}\n" for record in page]).encode())

    yield write


@contextmanager
def _json_array(stream: Any) -> Iterator[Write]:
    between = ["[\n", ",\n"]

    def write(page: Sequence[Record]) -> None:
        for record in page:
            stream.write(f"{between[0]}{_json(record)}".encode())
            between[0] = between[-1]

    yield write
    stream.write(b"\n]\n" if between[0] == between[-1] else b"[]\n")


@contextmanager
def _csv(stream: Any) -> Iterator[Write]:
    lines = io.StringIO(newline="")
    writer = csv.writer(lines)
    writer.writerow(CALL)

    def write(page: Sequence[Record]) -> None:
        writer.writerows([[_cell(record[name]) for name in CALL] for record in page])
        flush()

    def flush() -> None:
        stream.write(lines.getvalue().encode())
        lines.seek(0)
        lines.truncate()

    yield write
    flush()


@contextmanager
def _parquet(stream: Any) -> Iterator[Write]:
    arrow = import_module("pyarrow")
    kinds = {Moment: arrow.timestamp("us", tz="UTC"), Money: arrow.decimal128(24, 12), Boolean: arrow.bool_()}
    kinds |= dict.fromkeys((BigInteger, Integer), arrow.int64())
    schema = arrow.schema([(name, kinds.get(type(calls.c[name].type), arrow.string())) for name in CALL])
    with parquet_module().ParquetWriter(stream, schema, compression="zstd") as writer:

        def write(page: Sequence[Record]) -> None:
            columns = {name: [record[name] for record in page] for name in CALL}
            columns["metadata"] = [_dumps(value) if value is not None else None for value in columns["metadata"]]
            writer.write_table(arrow.table(columns, schema=schema))

        yield write


_dumps = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))


def _json(record: Record) -> str:
    """An object in one line; money is a number with all its digits, which ``json`` itself cannot write."""
    cost, attempts = record["cost"], record.get("attempt_records")
    plain = {name: value for name, value in record.items() if name not in ("cost", "attempt_records")}
    text = _dumps(plain, default=_time_text)
    text = f'{text[:-1]},"cost":{"null" if cost is None else f"{cost:f}"}'
    return f'{text},"attempt_records":[{",".join(map(_json, attempts))}]}}' if attempts is not None else f"{text}}}"


def _time_text(moment: datetime) -> str:
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return _time_text(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return guard(_dumps(value) if isinstance(value, dict) else value) if isinstance(value, str | dict) else value


PAGE = 5000
"""Calls that are read at once."""

_EVER = range(4_000_000)  # days


def export_logs(
    database: Connectable, target: Any, options: Mapping[str, Any], progress: Callable[[int, int | None], None] | None
) -> list[Record] | ExportReport:
    """Write the selected calls to a target; without one return them as a list."""
    if target is None:
        return [record for page in export_pages(database, options) for record in page]
    sink = sink_of(target, options.get("format"), attempts=bool(options.get("attempts")))
    total, done = _total(database, options) if progress is not None else None, 0
    with open_target(target) as stream, sink(stream) as write:
        for page in export_pages(database, options):
            write(page)
            done += len(page)
            if progress is not None:
                progress(done, total)
    return ExportReport(rows=done)


def export_pages(database: Connectable, options: Mapping[str, Any]) -> Iterator[list[Record]]:
    """Pages of calls that have ended, in the order of beginning and id; with their attempts if ``attempts`` is set."""
    key = (calls.c.begun_at, calls.c.id)
    within: list[ColumnElement[bool]] = [
        *selection_of(options).call_conditions(),
        *span_conditions(options),
        calls.c.status != "open",
    ]
    query = select(*[calls.c[name] for name in CALL]).order_by(*key).limit(PAGE)
    after: list[ColumnElement[bool]] = []
    while True:
        with reading(database) as connection:
            rows = connection.execute(query.where(*within, *after)).all()
            attempts_by_call = _attempts(connection, [row.id for row in rows]) if options.get("attempts") and rows else None
        if not rows:
            return
        after = [tuple_(*key) > tuple_(literal(rows[-1].begun_at, Moment), literal(rows[-1].id))]
        page: list[Record] = [dict(zip(CALL, row, strict=True)) for row in rows]
        if attempts_by_call is not None:
            for record in page:
                record["attempt_records"] = attempts_by_call.get(record["id"], [])
        yield page


def _attempts(connection: Connection, ids: Sequence[str]) -> dict[str, list[Record]]:
    query = select(*[attempts.c[name] for name in ATTEMPT]).order_by(attempts.c.call_id, attempts.c.number)
    found: dict[str, list[Record]] = {}
    for row in connection.execute(query.where(attempts.c.call_id.in_(ids))):
        found.setdefault(row[0], []).append(dict(zip(ATTEMPT[1:], row[1:], strict=True)))
    return found


def _total(database: Connectable, options: Mapping[str, Any]) -> int | None:
    """The number of calls, if the daily totals can tell it."""
    selection = selection_of(options)
    if selection.needs_rows or options.get("start") is not None or options.get("end") is not None:
        return None
    with reading(database) as connection:
        sums = sums_from_daily(connection, _EVER, selection)
    return sum(one["calls"] for one in sums.values())
