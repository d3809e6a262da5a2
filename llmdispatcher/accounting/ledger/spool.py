"""The spool: rows that wait on disk while the database is unavailable, in segments of JSON lines, each locked by one process.

A line is appended by one write without a sync: it survives the death of the process, and a loss of power only if the system had
time to write it. A segment is synced when it is closed. A segment whose lock is free has no writer: it is full, or its process is
dead. A process that empties a segment holds its lock, so two never do. A line that was torn by a kill or a full disk is skipped and
counted; it was never acknowledged.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ...runtime import SYSTEM_CLOCK, delete_file, lock, new_id, new_lock, open_file
from .call import ATTEMPT, CALL, Row

MOST_SEGMENT = 8 << 20
CHUNK = 1000
"""Rows that are written at once when a segment is emptied."""

Rows = tuple[list[Row], list[Row]]
"""Rows of calls and of attempts."""


class DatabaseUnavailable(Exception):
    """The database cannot be written to now, and nothing was written. The text says why, and holds no secret."""


class SpoolFull(OSError):
    """The spool has the size that it may have."""


class Spool:
    """The segments of one ledger on this machine; safe under threads. ``most`` is bytes of all segments together.

    Rows of something else have ``columns`` of their own, and are written as those of calls are.
    """

    def __init__(self, folder: Path, most: int, columns: Sequence[str] = CALL) -> None:
        self._folder = folder
        self._most = most
        self._columns = columns
        self._lock = new_lock()
        self._own: int | None = None
        self._size = 0
        self._others = 0
        self._torn_before = False
        self.torn = 0
        """Lines that could not be read."""

    def append(self, calls: Sequence[Row], attempts: Sequence[Row], writer: str) -> None:
        """Append rows. Raises ``OSError`` if the disk or the spool is full."""
        lines = [*(["c", *row] for row in calls), *(["a", *row] for row in attempts)]
        data = "".join([json.dumps(line, separators=(",", ":")) + "\n" for line in lines]).encode()
        with self._lock:
            if self._own is None or self._size >= MOST_SEGMENT:
                self._rotate(writer)
            if self._others + self._size + len(data) > self._most:
                raise SpoolFull(f"the spool has {self._most:,} bytes")
            self._write(data)

    def empty(self, write: Callable[[Rows, str], None]) -> int:
        """Pass the rows of all segments that no other process holds to ``write``, oldest first, and delete each; return how many.

        If ``write`` raises, the segment stays.
        """
        self.close()
        count = 0
        for path in self._segments():
            with self._locked(path) as file:
                if file is None:
                    continue
                for rows, writer in self._chunks(file):
                    write(rows, writer)
                    count += len(rows[0]) + len(rows[1])
                deleted = delete_file(path)
                if not deleted:
                    os.ftruncate(file, 0)  # so that no process finds the rows again before it is deleted
            if not deleted:
                delete_file(path)
        return count

    def waits(self) -> bool:
        """Whether there is any segment, of this process or another."""
        return bool(self._segments())

    def close(self) -> None:
        """Close the segment, so that others may empty it."""
        with self._lock:
            own, self._own = self._own, None
            if own is not None:
                with contextlib.suppress(OSError):
                    os.fsync(own)
                os.close(own)

    def forget(self) -> None:
        """Leave the segment to the parent, in a forked child, which must not release its lock."""
        if self._own is not None:
            os.close(self._own)
        self._own, self._size = None, 0

    def _write(self, data: bytes) -> None:
        if self._own is None:
            raise OSError("no segment is open")
        if self._torn_before:
            data = b"\n" + data
        try:
            written = os.write(self._own, data)
        except OSError:
            self._torn_before = True
            raise
        self._torn_before = written < len(data)
        self._size += written
        if self._torn_before:
            raise OSError("the disk took a part only")

    def _rotate(self, writer: str) -> None:
        self.close()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._others = sum([_size(path) for path in self._segments()])
        path, self._own = self._create()
        self._size, self._torn_before = 0, False
        try:
            self._write(json.dumps({"writer": writer, "calls": self._columns, "attempts": ATTEMPT}).encode() + b"\n")
        except OSError:  # rows in a segment without its first line could not be read
            self.close()
            delete_file(path)
            raise

    def _create(self) -> tuple[Path, int]:
        """Create a segment and lock it; another one if a process that empties the spool was faster to lock or delete it."""
        while True:
            path = self._folder / f"{new_id(SYSTEM_CLOCK)}.jsonl"
            file = open_file(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND)
            try:
                if lock(file) and os.fstat(file).st_nlink:
                    return path, file
            except BaseException:
                os.close(file)
                raise
            os.close(file)

    def _segments(self) -> list[Path]:
        with contextlib.suppress(OSError):
            return sorted(self._folder.glob("*.jsonl"))
        return []

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[int | None]:
        """Open a segment with its lock; ``None`` if another process has it or has just deleted it."""
        try:
            file = open_file(path, os.O_RDWR)
        except OSError:
            yield None
            return
        try:
            yield file if lock(file) and os.fstat(file).st_nlink else None
        finally:
            os.close(file)

    def _chunks(self, file: int) -> Iterator[tuple[Rows, str]]:
        """The rows of a segment with their writer, in the present columns."""
        with os.fdopen(os.dup(file), "rb") as lines:
            first = next(lines, b"")
            head = _parse(first)
            if not isinstance(head, dict):
                self.torn += bool(first.strip())  # an empty one was begun, or emptied, by a process that was killed then
                return
            fit_call, fit_attempt = (
                _column_mapper(head.get("calls", self._columns), self._columns),
                _column_mapper(head.get("attempts", ATTEMPT), ATTEMPT),
            )
            calls: list[Row] = []
            attempts: list[Row] = []
            for line in lines:
                row = _parse(line)
                if not isinstance(row, list) or len(row) < 2:
                    self.torn += bool(line.strip())
                    continue
                (calls if row[0] == "c" else attempts).append((fit_call if row[0] == "c" else fit_attempt)(row[1:]))
                if len(calls) + len(attempts) >= CHUNK:
                    yield (calls, attempts), str(head.get("writer"))
                    calls, attempts = [], []
            if calls or attempts:
                yield (calls, attempts), str(head.get("writer"))


def _parse(line: bytes) -> object:
    try:
        value: object = json.loads(line)
    except ValueError:
        return None
    return value


def _column_mapper(had: Sequence[str], wanted: Sequence[str]) -> Callable[[Sequence[object]], Row]:
    """A function that puts a row of other columns, of an older or newer version, into these."""
    places = [had.index(name) if name in had else None for name in wanted]
    return lambda row: tuple([row[place] if place is not None and place < len(row) else None for place in places])


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0
