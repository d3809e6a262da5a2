"""One question out of what was typed, piped in and attached."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..content import analyze_file, image
from ..errors import InvalidRequest
from ..messages import Message
from ..parts import Part, TextPart
from ..request_fields import ANY_MODEL
from ..types import Request
from .terminal import UsageError

MODEL = "LLMDISPATCHER_MODEL"
"""The variable that names the model where no option does."""

NO_PROMPT = 'there is no prompt; write it behind the command ("Why is the sky blue?"), or pipe it in'


def model_of(given: str | None) -> str:
    """The model to ask: the option's, the environment's, else whichever the mode "auto" finds best."""
    return given or os.environ.get(MODEL) or ANY_MODEL


def prompt_of(words: Sequence[str]) -> str:
    """What was typed and what was piped in, one below the other; empty where there is neither."""
    piped = "" if sys.stdin is None or sys.stdin.isatty() else _piped()
    return "\n\n".join(text for text in (" ".join(words), piped) if text.strip())


def _piped() -> str:
    data = sys.stdin.buffer.read()
    try:
        return data.decode().removeprefix("\ufeff").rstrip("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"stdin: not UTF-8 text, at byte {error.start + 1}; attach what is no text with --file") from None


def attached(files: Sequence[str], images: Sequence[str]) -> list[Part]:
    """The files and images as parts of a message; text stands in it as text. Raises :class:`UsageError`."""
    try:
        return [*(_file(name) for name in files), *(image(name) for name in images)]
    except InvalidRequest as error:
        raise UsageError(error.message) from None


def _file(name: str) -> Part:
    text = _text(Path(name))
    return TextPart(text=f"{Path(name).name}:\n\n{text}") if text is not None else analyze_file(name, "")[1]


def _text(path: Path) -> str | None:
    """What a file says, if it is text that is not also a document of its own kind."""
    try:
        data = path.read_bytes() if path.is_file() else b"\0"
        return None if b"\0" in data or data.startswith(b"%PDF") or not data else data.decode()
    except (OSError, UnicodeDecodeError):
        return None


def schema_of(path: Path | None) -> Any:
    """The JSON schema in a file. Raises :class:`UsageError`."""
    if path is None:
        return None
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise UsageError(f"{path}: a {type(schema).__name__} is no JSON schema; give an object")
    return schema


def request_of(prompt: str, parts: Sequence[Part], system: str | None, **fields: Any) -> Request:
    """The request. Raises :class:`UsageError` that names the field that is wrong."""
    if not prompt and not parts:
        raise UsageError(NO_PROMPT)
    asked = Message.user(prompt, *parts) if prompt else Message.user(*parts)
    try:
        return Request(messages=[*([Message.system(system)] if system else []), asked], **fields)
    except InvalidRequest as error:
        raise UsageError(error.message) from None
