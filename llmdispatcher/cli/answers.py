"""The answers file: one JSON object a line, one line for each prompt, in the order of the prompts."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, TextIO

import attrs

from ..errors import DispatchError
from ..response_values import Response, Usage
from .prompts import Mistake, Prompt
from .terminal import UsageError

DEFAULT = Path("answers.jsonl")


class AnswersFile:
    """An open answers file; ``path`` is where it is. Each line is on the disk's way as soon as it is written."""

    def __init__(self, path: Path, stream: TextIO) -> None:
        self.path = path
        self._stream = stream

    @classmethod
    def create(cls, wanted: Path | None, *, force: bool, beside: Path, resume: bool = False) -> Self:
        """Open ``wanted``, or the first free of answers.jsonl, answers-2.jsonl, …; never an existing file unless ``force``.

        With ``resume`` one that has a journal may be written anew, since the journal holds what is in it; where no name is wanted,
        it is the one begun last. ``beside`` is the file of prompts, which is not overwritten even so. Raises :class:`UsageError`.
        """
        if resume:
            wanted = wanted or begun()
            force = force or (wanted is not None and _may_be_gone_on_with(wanted))
        if wanted is None:
            return cls._fresh()
        if wanted.exists() and wanted.samefile(beside):
            raise UsageError(f"{wanted}: these are the prompts; choose another --output")
        try:
            return cls._opened(wanted, "w" if force or _is_device(wanted) else "x")
        except FileExistsError:
            raise UsageError(f"{wanted} exists; choose another --output, or --force to overwrite it") from None
        except OSError as error:
            raise UsageError(f"{wanted}: {error.strerror}") from None

    @classmethod
    def _fresh(cls) -> Self:
        for number in itertools.count(1):
            path = DEFAULT if number == 1 else DEFAULT.with_stem(f"{DEFAULT.stem}-{number}")
            try:
                return cls._opened(path, "x")
            except FileExistsError:
                continue
            except OSError as error:
                raise UsageError(f"{path}: {error.strerror}; choose an --output") from None
        raise AssertionError("numbers do not end")

    @classmethod
    def _opened(cls, path: Path, mode: Literal["w", "x"]) -> Self:
        # backslashreplace makes of half a surrogate pair, which UTF-8 cannot hold, the escape that JSON has for it.
        return cls(path, path.open(mode, encoding="utf-8", errors="backslashreplace", newline="\n"))

    def sync(self) -> None:
        """Return when all is on the disk."""
        self._stream.flush()
        if not _is_device(self.path):
            os.fsync(self._stream.fileno())

    def write(self, record: dict[str, Any]) -> None:
        """Add one line."""
        self._stream.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def journal_of(answers: Path) -> Path:
    """Where the journal of an answers file is."""
    return answers.with_name(answers.name + ".journal")


def begun() -> Path | None:
    """The answers file without a name of its own that was begun last and has not ended; ``None`` without one."""
    journals = Path().glob(f"{DEFAULT.stem}*{DEFAULT.suffix}.journal")
    latest = max(journals, key=lambda path: path.stat().st_mtime, default=None)
    return latest.with_suffix("") if latest is not None else None


def _may_be_gone_on_with(answers: Path) -> bool:
    """Whether nothing is lost when a file is written anew: its journal has it all, or it was just made when a crash came."""
    return journal_of(answers).exists() or (answers.is_file() and answers.stat().st_size == 0)


def is_whole(answers: Path, items: Sequence[Prompt | Mistake]) -> bool:
    """Whether a file has an answer for each prompt and no journal: a batch that has ended."""
    if not answers.is_file() or journal_of(answers).exists():
        return False
    try:
        with answers.open(encoding="utf-8", newline="\n") as file:
            lines = [json.loads(line) for line in file]
        return [line["id"] for line in lines if "error" not in line] == [item.id for item in items]
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file()


def record(item: Prompt | Mistake, result: Response | DispatchError | None) -> dict[str, Any]:
    """The line for one prompt: its answer, its error, or the mistake in it."""
    if isinstance(item, Mistake):
        return {"id": item.id, "line": item.line, "error": {"class": "InvalidRequest", "message": item.text}}
    if isinstance(result, Response):
        return {"id": item.id, **answered(result)}
    assert result is not None
    return {"id": item.id, "model": item.request.model, "error": _failed(result)}


def answered(response: Response) -> dict[str, Any]:
    """An answer as JSON can hold it: who, what, why it ended, what it cost, and every attempt."""
    told = {
        "model": response.model,
        "vendor": response.vendor,
        "content": response.content,
        "finish_reason": response.finish_reason,
        "usage": _usage(response.usage),
        "cost": response.usage.cost,
        "latency": _milli(response.latency),
        "attempts": [_attempt(attempt) for attempt in response.trace or ()],
    }
    if response.tool_calls:
        told["tool_calls"] = [attrs.asdict(call) for call in response.tool_calls]
    if response.refusal:
        told["refusal"] = response.refusal
    if response.parsed is not None:
        told["parsed"] = response.parsed
    if response.cached:
        told["cached"] = True
    return told


def _usage(usage: Usage) -> dict[str, int]:
    """The counts that are not zero; input and output always."""
    told = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    more = ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
    return told | {name: count for name in more if (count := getattr(usage, name))}


def _attempt(attempt: Any) -> dict[str, Any]:
    told = {"vendor": attempt.vendor, "model": attempt.model, "latency": _milli(attempt.latency)}
    more = {"first_token": _milli(attempt.first_token), "error": attempt.error, "status": attempt.status}
    return told | {name: value for name, value in more.items() if value is not None}


def _milli(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _failed(error: DispatchError) -> dict[str, Any]:
    told = {"class": type(error).__name__, "message": str(error), "attempts": error.attempts}
    more = {name: getattr(error, name) for name in ("vendor", "status", "code", "request_id", "retry_after")}
    return told | {name: value for name, value in more.items() if value is not None}
