"""The journal beside an answers file: each answer is on the disk before its prompt counts as asked, in the order of arrival.

One JSON object a line: the fingerprint of the prompt's line, and the line of the answers file. A line that a crash tore is cut
off; its prompt is asked again. Only one process at a time has a journal.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from ..locks import new_lock
from .answers import AnswersFile, journal_of
from .prompts import Mistake, Prompt
from .terminal import UsageError, complain

# Windows has no such locks; there two runs into one file are the user's to avoid.
_LOCKS: Any = import_module("fcntl") if importlib.util.find_spec("fcntl") is not None else None


class Journal:
    """What is known of a batch; safe under threads. Without a place it remembers nothing."""

    def __init__(self, path: Path | None, file: int, answered: dict[str, list[dict[str, Any]]]) -> None:
        self._path = path
        self._file = file
        self._answered = answered
        self._lock = new_lock()
        self._syncing = new_lock()
        self._written = 0
        self._synced = 0

    @staticmethod
    def place(answers: Path) -> Path | None:
        """Where the journal of an answers file is; ``None`` beside a device."""
        return journal_of(answers) if answers.is_file() else None

    @classmethod
    def beside(cls, answers: AnswersFile, *, resume: bool) -> Self:
        """Open the journal of an answers file; with ``resume`` what is in it is known. Raises :class:`UsageError`."""
        path = cls.place(answers.path)
        if path is None:
            return cls(None, -1, {})
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _own(file, path)
            answered = _read(file, path) if resume else {}
            if not resume:
                os.ftruncate(file, 0)
            _sync_folder(path.parent)
        except BaseException:
            os.close(file)
            raise
        return cls(path, file, answered)

    def known(self, item: Prompt | Mistake) -> dict[str, Any] | None:
        """The line of an earlier run for this prompt; each is given once."""
        if isinstance(item, Mistake):
            return None
        with self._lock:
            found = self._answered.get(item.key)
            return found.pop(0) if found else None

    @property
    def used_up(self) -> bool:
        """Whether each of its earlier answers was given: else some belong to prompts that were not read this time."""
        return not any(self._answered.values())

    def add(self, item: Prompt | Mistake, line: Mapping[str, Any]) -> None:
        """Write an answer down; returns when it is on the disk. Threads that write at the same time share one wait for it."""
        if self._path is None or isinstance(item, Mistake):
            return
        text = json.dumps({"key": item.key, "answer": line}, default=str) + "\n"
        with self._lock:
            _write(self._file, text.encode("ascii"))
            self._written += 1
            mine = self._written
        with self._syncing:
            if self._synced < mine:
                upto = self._written
                os.fsync(self._file)
                self._synced = upto

    def remove(self) -> None:
        """All is answered: nothing is left to go on with."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._path is not None:
            os.close(self._file)


def _own(file: int, path: Path) -> None:
    if _LOCKS is None:
        return
    try:
        _LOCKS.flock(file, _LOCKS.LOCK_EX | _LOCKS.LOCK_NB)
    except OSError:
        raise UsageError(f"{path}: another run is at work on it; let it end, or choose another --output") from None


def _sync_folder(folder: Path) -> None:
    """Have a new file's name on the disk as well; not every system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _read(file: int, path: Path) -> dict[str, list[dict[str, Any]]]:
    """What the journal holds; leaves the file at the end of its last whole line."""
    answered: dict[str, list[dict[str, Any]]] = {}
    with os.fdopen(os.dup(file), "rb") as lines:
        content = lines.read()
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.split(b"\n")[:-1], 1):
        entry = _entry(line)
        if entry is None:
            complain(f"{path}:{number}: not a line of a journal; its prompt is asked again")
        else:
            answered.setdefault(entry[0], []).append(entry[1])
    os.ftruncate(file, len(whole))
    os.lseek(file, 0, os.SEEK_END)
    return answered


def _entry(line: bytes) -> tuple[str, dict[str, Any]] | None:
    try:
        entry = json.loads(line)
        return (str(entry["key"]), entry["answer"]) if isinstance(entry["answer"], dict) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
