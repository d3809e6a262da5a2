"""A JSONL file of prompts: each line a Request, or a mistake that names file, line and field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import attrs

from ..errors import DispatchError
from ..types import Request
from .terminal import UsageError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "prompts.jsonl"
_FIELDS = tuple(field.name for field in attrs.fields(Request))


@attrs.frozen
class Prompt:
    """One line that can be asked. ``id`` is the line's own, or its number; ``key`` tells the line from others."""

    line: int
    id: str | int
    request: Request
    key: str = ""


@attrs.frozen
class Mistake:
    """One line that cannot; ``text`` begins with the field."""

    line: int
    id: str | int
    text: str


def read(file: Path | None, limit: int | None) -> list[Prompt | Mistake]:
    """All lines but blank ones, at most ``limit``; the examples where no file is given. Raises :class:`UsageError` without any."""
    file = chosen(file)
    try:
        with file.open("rb") as lines:
            found = list(islice(_parsed(enumerate(lines, 1)), limit))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    if not found:
        raise UsageError(f"{file}: there is no prompt in it; give one JSON object a line")
    return found


def chosen(file: Path | None) -> Path:
    """The user's file, or the examples of a checkout."""
    if file is None and not EXAMPLES.is_file():
        raise UsageError("which file? the example prompts come with the sources only: llmdispatcher batch FILE.jsonl")
    return file or EXAMPLES


def _parsed(lines: Iterator[tuple[int, bytes]]) -> Iterator[Prompt | Mistake]:
    for number, line in lines:
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            yield _line(number, line)


def _line(number: int, line: bytes) -> Prompt | Mistake:
    try:
        value = json.loads(line.strip())
    except UnicodeDecodeError as error:
        return Mistake(number, number, f"not UTF-8 text, at byte {error.start + 1} of the line")
    except (ValueError, RecursionError) as error:
        return Mistake(
            number, number, f"not JSON: {getattr(error, 'msg', 'too deep or too large')}, column {getattr(error, 'colno', '?')}"
        )
    if not isinstance(value, dict):
        return Mistake(number, number, f"a JSON {type(value).__name__} is not a prompt; give an object with model and messages")
    found = _prompt(number, value)
    return found if isinstance(found, Mistake) else attrs.evolve(found, key=_key(line))


def _key(line: bytes) -> str:
    return blake2b(line.strip(), digest_size=16).hexdigest()


def _prompt(number: int, value: dict[str, Any]) -> Prompt | Mistake:
    name = value.pop("id", None)
    if name is None:
        name = number
    elif isinstance(name, bool) or not isinstance(name, str | int):
        return Mistake(number, number, f"id: a {type(name).__name__} is not an id; give a text or a whole number")
    for field in value:
        if field not in _FIELDS:
            return Mistake(number, name, f"{field}: unknown field; a prompt has id, {', '.join(_FIELDS)}")
    for field in ("model", "messages"):
        if field not in value:
            return Mistake(number, name, f"{field}: missing")
    try:
        return Prompt(number, name, Request(**value))
    except DispatchError as error:
        return Mistake(number, name, error.message)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        return Mistake(number, name, f"a field has the wrong shape ({type(error).__name__}); see the fields of Request")
