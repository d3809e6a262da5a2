"""Import calls that were recorded elsewhere: JSON Lines, a JSON array, CSV, Parquet, or values in memory.

Files are read one row at a time, however large they are. A row that cannot be read is reported with its line, and reading goes on.
Each call is recorded once, however often it is imported, and the daily totals stay exact.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import attrs

from ...errors import ConfigError, InvalidRequest
from .call import ImportProblem, ImportReport
from .external import Row, content_id, insert_calls, lock_pruned_mark, parse_attempt, parse_call, parse_id, pruned_reason
from .queries import Connectable, writing

FORMATS = ("jsonl", "json", "csv", "parquet")
MOST_ROW = 1 << 20
"""Bytes of one row; a call has a few hundred."""

GUARDED = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for a formula, and the mark that prevents it."""

SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
"""What a file's name ends in, and its format."""
_CHUNK = 1 << 16
_BLANK = " \t\r\n"


@attrs.frozen
class SourceRow:
    """One row of a source: its fields, or what is wrong with it. ``line`` counts from 1."""

    line: int
    fields: Mapping[str, Any] | None = None
    problem: str | None = None


def read_rows(source: Any, format: str | None = None) -> Iterator[SourceRow]:
    """The rows of a path, an open file, or an iterable of mappings.

    Raises :class:`~llmdispatcher.InvalidRequest` for an unusable source or an unknown format, ``OSError`` if it cannot be read.
    """
    if format is not None and format not in FORMATS:
        raise InvalidRequest(f"format: {format!r} is not known; give one of {', '.join(FORMATS)}")
    if not isinstance(source, str | os.PathLike) and not hasattr(source, "read"):
        return _rows_of_values(source)
    return _rows_of_file(source, format or format_of(source))


def format_of(place: Any) -> str | None:
    """The format that a path's suffix names; ``None`` for other sources and suffixes."""
    return SUFFIXES.get(Path(place).suffix.lower()) if isinstance(place, str | os.PathLike) else None


def _rows_of_values(source: Any) -> Iterator[SourceRow]:
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise InvalidRequest(f"source: {type(source).__name__} has no rows; give a path, an open file, or a list of mappings")
    return (_row(number, value) for number, value in enumerate(source, 1))


def _row(line: int, value: Any) -> SourceRow:
    return SourceRow(line, value) if isinstance(value, Mapping) else SourceRow(line, problem=f"{type(value).__name__} is no object")


def _rows_of_file(source: Any, format: str | None) -> Iterator[SourceRow]:
    with ExitStack() as stack:
        stream = source if hasattr(source, "read") else stack.enter_context(Path(source).open("rb"))
        if format == "parquet":
            yield from _parquet(stream)
            return
        buffered = io.BufferedReader(_Raw(stream), _CHUNK)
        first = buffered.peek(_CHUNK).removeprefix(codecs.BOM_UTF8).lstrip()[:1]
        kind = format or {b"{": "jsonl", b"[": "json"}.get(first, "csv")
        yield from _json_array(buffered) if kind == "json" else _LINES[kind](_Lines(buffered))


class _Raw(io.RawIOBase):
    """A stream of bytes or text that is open elsewhere, and stays open, as a raw stream of bytes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        """Return True; buffered readers ask."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes; a character of text may be four of them."""
        piece = self._stream.read(max(1, len(buffer) // 4))
        raw = piece.encode("utf-8", "replace") if isinstance(piece, str) else piece
        buffer[: len(raw)] = raw
        return len(raw)


class _Lines:
    """The lines of a stream as text, and what is wrong with a line that is too long or not UTF-8."""

    def __init__(self, stream: io.BufferedReader[Any]) -> None:
        self._stream = stream
        self.number = 0
        self.problem: str | None = None
        """What is wrong with the last line."""

    def read(self) -> str:
        """The next line with its end; empty after the last."""
        self.problem = None
        raw = self._stream.readline(MOST_ROW)
        if not raw:
            return ""
        self.number += 1
        if len(raw) == MOST_ROW and not raw.endswith(b"\n"):
            self.problem = f"the line is longer than {MOST_ROW:,} bytes"
            while raw and not raw.endswith(b"\n"):
                raw = self._stream.readline(MOST_ROW)
            return "\n"
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError:
            self.problem = "the line is not UTF-8"
            return "\n"
        return line.removeprefix("\ufeff") if self.number == 1 else line


def _json_lines(lines: _Lines) -> Iterator[SourceRow]:
    while line := lines.read():
        if lines.problem is not None:
            yield SourceRow(lines.number, problem=lines.problem)
        elif line.strip():
            yield _json(lines.number, line)


def _json(line: int, text: str) -> SourceRow:
    try:
        return _row(line, _DECODER.decode(text))
    except (ValueError, RecursionError):
        return SourceRow(line, problem="it is not JSON")


def _refuse_constant(constant: str) -> Any:
    raise ValueError(constant)


def _parse_integer(digits: str) -> int | Decimal:
    """An integer; with more digits than Python converts it is infinite, so that its row is refused, and not the file."""
    return int(digits) if len(digits) < _MOST_DIGITS else Decimal("Infinity")


_MOST_DIGITS = 4000
_DECODER = json.JSONDecoder(parse_float=Decimal, parse_int=_parse_integer, parse_constant=_refuse_constant)


def _json_array(stream: io.BufferedReader[Any]) -> Iterator[SourceRow]:
    """The objects of one array, with or without line breaks; reading ends at the first piece that is not JSON."""
    text = _JsonText(stream)
    try:
        line = text.skip(_BLANK + "\ufeff")
        if text.head() != "[":
            yield SourceRow(line, problem="it is no JSON array")
            return
        text.take(1)
        while (line := text.skip(_BLANK + ",")) and text.head() not in ("", "]"):
            value = text.value()
            if value is None:
                yield SourceRow(line, problem="it is not JSON; nothing behind it was read")
                return
            yield _row(line, value[0])
        if not text.head():
            yield SourceRow(line, problem="the array has no end")
    except UnicodeDecodeError:
        yield SourceRow(text.line, problem="it is not UTF-8; nothing behind it was read")


class _JsonText:
    """The rest of a stream, of which only the value that is being read is held."""

    def __init__(self, stream: io.BufferedReader[Any]) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._left = ""
        self.line = 1

    def head(self) -> str:
        """The next character; empty at the end."""
        return self._left[:1]

    def take(self, count: int) -> None:
        """Skip ``count`` characters."""
        self.line += self._left.count("\n", 0, count)
        self._left = self._left[count:]

    def skip(self, blanks: str) -> int:
        """Skip blanks, and return the line where they end."""
        while True:
            self.take(len(self._left) - len(self._left.lstrip(blanks)))
            if self._left or not self._more():
                return self.line

    def value(self) -> tuple[Any] | None:
        """The next value, in a tuple; ``None`` if there is none."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._left)
            except (ValueError, RecursionError):
                if len(self._left) > MOST_ROW or not self._more():
                    return None
                continue
            self.take(end)
            return (value,)

    def _more(self) -> bool:
        """Read as much again as is held, so that a long value is parsed only a few times."""
        raw = self._stream.read(max(_CHUNK, len(self._left)))
        self._left += self._decoder.decode(raw, final=not raw)
        return bool(raw)


def _csv(lines: _Lines) -> Iterator[SourceRow]:
    flaws: list[str] = []
    rows = csv.reader(_csv_lines(lines, flaws), strict=True)
    names: list[str] | None = None
    while True:
        begins = lines.number + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield SourceRow(begins, problem=f"it is not CSV: {error}")
            continue
        if flaws:
            yield SourceRow(begins, problem=flaws.pop())
            flaws.clear()
        elif cells and names is None:
            names = [cell.strip() for cell in cells]
        elif cells:
            yield _csv_row(begins, names or [], cells)


def _csv_lines(lines: _Lines, flaws: list[str]) -> Iterator[str]:
    while line := lines.read():
        flaws.extend([lines.problem] if lines.problem else [])
        yield line


def _csv_row(line: int, names: list[str], cells: list[str]) -> SourceRow:
    if len(cells) != len(names):
        return SourceRow(line, problem=f"it has {len(cells)} cells, and the head {len(names)}")
    return SourceRow(line, {name: unguard(cell) for name, cell in zip(names, cells, strict=True)})


def guard(text: str) -> str:
    """A text that no spreadsheet takes for a formula; :func:`unguard` restores it."""
    return f"'{text}" if text.startswith(GUARDED) else text


def unguard(text: str) -> str:
    """Take away the mark that :func:`guard` has put before a text."""
    return text[1:] if text.startswith("'") and text[1:].startswith(GUARDED) else text


_LINES = {"jsonl": _json_lines, "csv": _csv}


def _parquet(stream: Any) -> Iterator[SourceRow]:
    number = 0
    for batch in parquet_module().ParquetFile(stream).iter_batches(batch_size=1000):
        for row in batch.to_pylist():
            number += 1
            yield _row(number, row)


def parquet_module() -> Any:
    """``pyarrow.parquet``. Raises :class:`~llmdispatcher.ConfigError` if it is not installed."""
    try:
        return import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise ConfigError("format: 'parquet' needs pyarrow; pip install 'llmdispatcher[parquet]'") from None


BATCH = 1000
"""Rows of one transaction."""

MOST_PROBLEMS = 1000
"""Problems that are described one by one; the rest are counted."""

_REMEMBERED = 100_000  # rows without an id; equal rows stand close to each other
_MOST_ATTEMPTS = 1000


@attrs.frozen
class _ParsedCall:
    line: int
    row: Row
    attempts: tuple[Row, ...] = ()


class Import:
    """One import in progress: reads rows, writes those that are calls, and notes what was wrong with the others."""

    def __init__(self, database: Connectable, progress: Callable[[int, int | None], None] | None) -> None:
        self._database = database
        self._progress = progress
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._problems: list[ImportProblem] = []
        self._rows = self._imported = self._known = self._failed = 0

    def run(self, source: Any, format: str | None) -> ImportReport:
        """Read the source to its end."""
        rows = read_rows(source, format)
        while batch := list(islice(rows, BATCH)):
            self._rows += len(batch)
            self._write([call for call in map(self._read, batch) if call is not None])
            if self._progress is not None:
                self._progress(self._rows, None)
        return ImportReport(
            rows=self._rows, imported=self._imported, known=self._known, failed=self._failed, problems=tuple(self._problems)
        )

    def _read(self, found: SourceRow) -> _ParsedCall | None:
        try:
            if found.fields is None:
                raise InvalidRequest(found.problem or "it is no call")
            row = parse_call(found.fields)
            row["id"] = self._id(row, found.fields)
            return _ParsedCall(found.line, row, _attempts(row, found.fields.get("attempt_records")))
        except InvalidRequest as error:
            self._failed_at(found.line, error.message)
            return None

    def _id(self, row: Row, fields: Mapping[str, Any]) -> str:
        for word in ("id", "log_id"):
            if fields.get(word) not in (None, ""):
                return parse_id(fields[word])
        digest = content_id(row, 0)
        again = self._seen.pop(digest, 0)
        self._seen[digest] = again + 1
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return content_id(row, again)

    def _write(self, batch: Sequence[_ParsedCall]) -> None:
        """Write a batch in one transaction; if an id occurs twice, its first row counts."""
        with writing(self._database) as connection:
            pruned = lock_pruned_mark(connection)
            late = [call for call in batch if call.row["begun_at"] < pruned]
            calls = {call.row["id"]: call for call in reversed(batch) if call.row["begun_at"] >= pruned}
            rows = [call.row for call in calls.values()]
            new = (
                insert_calls(connection, rows, [attempt for call in calls.values() for attempt in call.attempts]) if rows else set()
            )
        for call in late:
            self._failed_at(call.line, f"begun_at: it is {pruned_reason(pruned)}")
        self._imported += len(new)
        self._known += len(batch) - len(late) - len(new)

    def _failed_at(self, line: int, reason: str) -> None:
        self._failed += 1
        if len(self._problems) < MOST_PROBLEMS:
            self._problems.append(ImportProblem(line=line, reason=reason))


def _attempts(call: Row, fields: Any) -> tuple[Row, ...]:
    if not isinstance(fields or [], list) or len(fields or []) > _MOST_ATTEMPTS:
        raise InvalidRequest(f"attempt_records: it is no list of at most {_MOST_ATTEMPTS:,} attempts; leave it out")
    if not all(isinstance(one, Mapping) for one in fields or []):
        raise InvalidRequest("attempt_records: not all of them are objects; leave it out")
    return tuple([parse_attempt(one) | {"call_id": call["id"]} for one in fields or []])
