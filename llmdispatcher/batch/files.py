"""The files that a batch writes: answers in the order of the prompts, and a journal beside the answers file.

Each file has one JSON object a line. An answer is in the journal, on disk, before its prompt counts as answered. The journal's
entries stand in the order of arrival; each has the fingerprint of the prompt's line and the line for the answers file. A line torn
by a crash is cut off, and its prompt is sent again. Only one process at a time has a journal open.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TextIO

from ..errors import ConfigError
from ..runtime import delete_file, lock, new_lock, open_file, write_file
from .prompts import InvalidLine, Prompt, PromptLine

DEFAULT_OUTPUT = Path("answers.jsonl")
_OTHER_FORMATS = (".csv", ".tsv", ".xlsx", ".xls", ".parquet", ".xml", ".yaml", ".yml", ".toml", ".html", ".md")
"""What the name of a file ends in that cannot hold JSON Lines."""
FINGERPRINT = "fingerprint"
"""The field of an answer that holds the key of its line."""


class AnswersFile:
    """An open answers file at ``path``. Each line is flushed as soon as it is written."""

    def __init__(self, path: Path, stream: TextIO) -> None:
        self.path = path
        self._stream = stream

    @classmethod
    def create(cls, output: Path | None, *, prompts: Path | None, force: bool = False, resume: bool = False) -> Self:
        """Open ``output``, or the first free of answers.jsonl, answers-2.jsonl, …; never an existing file unless ``force``.

        With ``resume``, a file that has a journal or only simulated answers may be written anew, and a journal is made of a file
        whose answers have the keys of their lines. Without ``output``, ``resume`` takes the unfinished file begun last. ``prompts``
        is the file of prompts, if they are in a file; it is never overwritten.

        Raises :class:`~llmdispatcher.ConfigError`, whose ``remedy`` speaks of these parameters.
        """
        if resume:
            output = output or _latest_unfinished()
            if output is None and DEFAULT_OUTPUT.exists() and not _loses_nothing(DEFAULT_OUTPUT):
                raise ConfigError(f"no batch with answers in {DEFAULT_OUTPUT} is unfinished", remedy="name its answers by output")
            force = force or (output is not None and (_loses_nothing(output) or _restore_journal(output)))
        if output is None:
            return cls._create_default()
        if output.suffix.lower() in _OTHER_FORMATS:
            raise ConfigError(
                f"{output}: answers are JSON Lines, not {output.suffix[1:].upper()}",
                remedy="choose another output, such as answers.jsonl",
            )
        if prompts is not None and output.exists() and output.samefile(prompts):
            raise ConfigError(f"{output}: these are the prompts", remedy="choose another output")
        try:
            return cls._open(output, "w" if force or _is_device(output) else "x")
        except FileExistsError:
            why = ", and does not tell which prompts its answers belong to" if resume else ""
            raise ConfigError(f"{output} exists{why}", remedy="choose another output, or force to overwrite it") from None
        except OSError as error:
            raise ConfigError(f"{output}: {error.strerror}") from None

    @classmethod
    def _create_default(cls) -> Self:
        for number in itertools.count(1):
            path = DEFAULT_OUTPUT if number == 1 else DEFAULT_OUTPUT.with_stem(f"{DEFAULT_OUTPUT.stem}-{number}")
            try:
                return cls._open(path, "x")
            except FileExistsError:
                continue
            except OSError as error:
                raise ConfigError(f"{path}: {error.strerror}", remedy="choose an output") from None
        raise AssertionError("numbers do not end")

    @classmethod
    def _open(cls, path: Path, mode: Literal["w", "x"]) -> Self:
        # backslashreplace turns half a surrogate pair, which UTF-8 cannot encode, into its JSON escape.
        return cls(path, path.open(mode, encoding="utf-8", errors="backslashreplace", newline="\n"))

    def sync(self) -> None:
        """Return when all lines are on the disk."""
        self._stream.flush()
        if not _is_device(self.path):
            os.fsync(self._stream.fileno())

    def write(self, record: Mapping[str, Any]) -> None:
        """Add one line."""
        self._stream.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def journal_path(answers: Path) -> Path:
    """Return where the journal of an answers file is."""
    return answers.with_name(answers.name + ".journal")


def _latest_unfinished() -> Path | None:
    journals = Path().glob(f"{DEFAULT_OUTPUT.stem}*{DEFAULT_OUTPUT.suffix}.journal")
    latest = max(journals, key=lambda path: path.stat().st_mtime, default=None)
    return latest.with_suffix("") if latest is not None else None


def _read_answers(path: Path) -> list[dict[str, Any]] | None:
    """The records of an answers file; ``None`` for other content, and for a pipe, which would wait for a writer."""
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            records = [json.loads(line) for line in file]
    except (OSError, ValueError, RecursionError):
        return None
    return records if all(isinstance(record, dict) for record in records) else None


def _loses_nothing(answers: Path) -> bool:
    """Whether a file may be written anew: its journal has all that is in it, or no real answer is in it.

    A crash at the start leaves an empty file, a run with simulated vendors one of made-up answers.
    """
    if journal_path(answers).exists():
        return True
    records = _read_answers(answers)
    return records is not None and all(record.get("simulated") is True for record in records)


def _restore_journal(answers: Path) -> bool:
    """Make a journal of a finished file, so that its answers are found by the keys of their lines; False if that is impossible."""
    records = _read_answers(answers)
    if records is None or not all("error" in record or FINGERPRINT in record for record in records):
        return False
    answered = [record for record in records if "error" not in record]
    entries = [json.dumps({"key": record[FINGERPRINT], "answer": record}) + "\n" for record in answered]
    try:
        write_file(journal_path(answers), "".join(entries).encode("ascii"))
    except OSError:
        return False
    return True


def is_complete(answers: Path, lines: Sequence[PromptLine], *, simulated: bool = False) -> bool:
    """Tell whether a file has an answer for each prompt, by the text of its line, and no journal: a batch that has ended.

    Answers of simulated vendors count only where ``simulated`` ones are wanted.
    """
    records = _read_answers(answers)
    if records is None or journal_path(answers).exists():
        return False
    answered = [record for record in records if "error" not in record and (simulated or "simulated" not in record)]
    wanted = [(line.id, line.key) for line in lines if isinstance(line, Prompt)]
    return len(wanted) == len(lines) and [(record.get("id"), record.get(FINGERPRINT)) for record in answered] == wanted


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file()


class Journal:
    """The answers of a batch so far; safe under threads. An output that is a device has no journal file."""

    def __init__(self, path: Path | None, file: int, answered: dict[str, list[dict[str, Any]]]) -> None:
        self._path = path
        self._file = file
        self._answered = answered
        self._lock = new_lock()
        self._syncing = new_lock()
        self._written = 0
        self._synced = 0
        self._is_left = False

    @classmethod
    def open(cls, answers: AnswersFile, *, resume: bool, warn: Callable[[str], None]) -> Self:
        """Open the journal of an answers file. With ``resume`` its answers are used, else it is emptied.

        ``warn`` is called with a sentence for each line that is no line of a journal.
        Raises :class:`~llmdispatcher.ConfigError` where another process has it open.
        """
        if not answers.path.is_file():
            return cls(None, -1, {})
        path = journal_path(answers.path)
        file = open_file(path, os.O_RDWR | os.O_CREAT)
        try:
            if not lock(file):
                raise ConfigError(f"{path}: another run is at work on it", remedy="let it end, or choose another output")
            answered = _read_journal(file, path, warn) if resume else {}
            if not resume:
                os.ftruncate(file, 0)
            _sync_folder(path.parent)
        except BaseException:
            os.close(file)
            raise
        return cls(path, file, answered)

    def take(self, line: PromptLine) -> dict[str, Any] | None:
        """Return the record of an earlier run for this prompt; each is given once."""
        if isinstance(line, InvalidLine):
            return None
        with self._lock:
            found = self._answered.get(line.key)
            return found.pop(0) if found else None

    @property
    def is_used_up(self) -> bool:
        """Whether each earlier answer was taken; else some belong to prompts that were not read this time."""
        return not any(self._answered.values())

    def add(self, line: PromptLine, record: Mapping[str, Any]) -> None:
        """Write an answer down; returns when it is on the disk. Threads that write at the same time share one wait for it."""
        if self._path is None or isinstance(line, InvalidLine):
            return
        text = json.dumps({"key": line.key, "answer": record}, default=str) + "\n"
        with self._lock:
            _write_all(self._file, text.encode("ascii"))
            self._written += 1
            mine = self._written
        with self._syncing:
            if self._synced < mine:
                upto = self._written
                os.fsync(self._file)
                self._synced = upto

    def remove(self) -> None:
        """Delete the file: all prompts are answered."""
        self._is_left = self._path is not None and not delete_file(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._path is not None:
            os.close(self._file)
            if self._is_left:
                delete_file(self._path)


def _sync_folder(folder: Path) -> None:
    """Write the name of a new file to the disk, on systems that can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _read_journal(file: int, path: Path, warn: Callable[[str], None]) -> dict[str, list[dict[str, Any]]]:
    """Read what the journal holds; leaves the file at the end of its last whole line."""
    answered: dict[str, list[dict[str, Any]]] = {}
    with os.fdopen(os.dup(file), "rb") as lines:
        content = lines.read()
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.split(b"\n")[:-1], 1):
        entry = _parse_entry(line)
        if entry is None:
            warn(f"{path}:{number}: not a line of a journal; its prompt is asked again")
        else:
            answered.setdefault(entry[0], []).append(entry[1])
    os.ftruncate(file, len(whole))
    os.lseek(file, 0, os.SEEK_END)
    return answered


def _parse_entry(line: bytes) -> tuple[str, dict[str, Any]] | None:
    try:
        entry = json.loads(line)
        return (str(entry["key"]), entry["answer"]) if isinstance(entry["answer"], dict) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
