"""The terminal: read lines, and print text safely.

Lines are typed or pasted, with a history kept in the user's own folder, or come from a pipe. Messages go to stderr; what would
control the terminal in a text of others is written as escapes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import re
import select
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Self, TextIO

from .._text import TOP, UNSEEN, escaped, without_passwords
from ..errors import ConfigError
from ..runtime import make_data_folder

PROMPT = "> "
FENCE = '"""'
_MAX_HISTORY = 1000
_PASTED = 0.03
"""Seconds within which the next line of a paste is there; a person does not type the next one so soon."""


class QuestionReader:
    """Reads questions from a terminal or a pipe. Ctrl-C at the prompt raises ``KeyboardInterrupt``."""

    def __init__(self) -> None:
        self.interactive = sys.stdin.isatty()
        found = importlib.util.find_spec("readline") if self.interactive else None
        self._readline: Any = import_module("readline") if found is not None else None
        self._history: Path | None = None

    def __enter__(self) -> Self:
        if self._readline is not None:
            with contextlib.suppress(OSError, ConfigError):  # without a folder there is no history
                self._history = make_data_folder() / "chat_history"
                self._history.touch(mode=0o600)
                self._history.chmod(0o600)
                self._readline.read_history_file(str(self._history))
        return self

    def __exit__(self, *_: object) -> None:
        if self._history is not None:
            with contextlib.suppress(OSError):
                self._readline.set_history_length(_MAX_HISTORY)
                self._readline.write_history_file(str(self._history))

    def read(self) -> str | None:
        """Return the next question, a line, the lines of a paste, or those between two fences; ``None`` at the end."""
        first = self._read_line(PROMPT)
        if first is None:
            return None
        if first.strip() == FENCE:
            return self._read_fenced()
        lines = [first]
        while not first.startswith("/") and self._has_more():
            line = self._read_line("")
            if line is None:
                break
            lines.append(line)
        return "\n".join(lines).strip()

    def _read_fenced(self) -> str:
        lines: list[str] = []
        while (line := self._read_line("")) is not None and line.strip() != FENCE:
            lines.append(line)
        return "\n".join(lines)

    def _read_line(self, prompt: str) -> str | None:
        if not self.interactive:
            line = sys.stdin.readline()
            return line.rstrip("\r\n") if line else None
        try:
            return input(prompt)
        except EOFError:
            print()
            return None

    def _has_more(self) -> bool:
        """Whether another line follows at once, as in a paste. Only readline leaves the line where ``select`` sees it."""
        if self._readline is None or sys.platform == "win32":
            return False
        return bool(select.select([sys.stdin], [], [], _PASTED)[0])


OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: the last is what shells expect after Ctrl-C."""

_STEERING = re.compile(f"(?!\n)[{UNSEEN}]")


class UsageError(Exception):
    """A mistake that the user can correct; the text says how. Exit code 2."""


class CommandFailed(Exception):
    """The command cannot do its work; the text says why. Exit code 1."""


def complain(text: str, *, lines: bool = False) -> None:
    """Print an error on stderr: one line, or with ``lines`` the lines of a text of the library's own."""
    text = for_commands(text)
    say(f"llmdispatcher: {text if lines else escaped(text)}")


def for_commands(text: str) -> str:
    """Replace the advice to call ``register_vendor``, which is for programs, by what a user of the command can do."""
    if "dispatcher.register_vendor(" in text:
        from ..catalog import vendor_rows  # late: few runs need it
        from ..vendors import how_to_register

        for row in vendor_rows():
            variables = " or ".join(row.url_env if row.keyless else row.key_env)
            keep = "" if row.keyless else f", or run `llmdispatcher keys set {row.name}`"
            text = text.replace(how_to_register(row), f"set {variables}{keep}")
    return text


def say(text: str) -> None:
    """Print a line on stderr; do nothing if stderr is gone."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{plain(without_passwords(text))}\n")  # in one piece: other threads write lines, too
        sys.stderr.flush()


class _Warnings(logging.Handler):
    """Prints the library's warnings and errors, without tracebacks."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(logging.WARNING)
        self._given = given

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; with --quiet only errors, with --debug none, since all records are printed already."""
        if not self._given.get("debug") and (record.levelno >= logging.ERROR or not self._given.get("quiet")):
            complain(record.getMessage())


@contextlib.contextmanager
def show_warnings(given: Mapping[str, Any]) -> Iterator[None]:
    """Print the library's warnings on stderr; ``given`` are the global options, which may be filled later."""
    handler = _Warnings(given)
    TOP.addHandler(handler)
    try:
        yield
    finally:
        TOP.removeHandler(handler)


def tell(*lines: str) -> None:
    """Print lines of the output for people; a line feed within a line is written as an escape."""
    for line in lines:
        print(escaped(without_passwords(for_commands(line)), keep="\t"))


def tell_json(value: Any, *, line: bool = False) -> None:
    """Print the output for programs, indented or as one ``line``."""
    print(json_text(value, indent=None if line else 2), flush=line)


def plain(text: str) -> str:
    """Escape what would control a terminal, except line feeds and tabs."""
    return escaped(text, keep="\n\t")


def json_text(value: Any, indent: int | None = 2) -> str:
    """Return JSON, indented or in one line; what would control a terminal is escaped, and amounts of money are strings."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    return _STEERING.sub(_as_json, text)


def _as_json(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code < 0x10000 else json.dumps(found[0])[1:-1]


def is_typed() -> bool:
    """Whether a person is at standard input, who can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def confirm(question: str, *, otherwise: str) -> bool:
    """Whether a person at the terminal says yes.

    Raises :class:`UsageError` where nobody can be asked; ``otherwise`` says which option is a yes.
    """
    if not is_typed():
        raise UsageError(f"{question}; nobody can be asked, so nothing was done: {otherwise}")
    sys.stderr.write(plain(without_passwords(f"llmdispatcher: {question}. Go on? [y/N] ")))
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def may_write(path: Path, *, force: bool, option: str = "--force") -> bool:
    """Whether a file may be written: there is none, ``force``, or a person agrees that it is overwritten.

    Devices and pipes are not overwritten. Raises :class:`UsageError` where nobody can be asked, and where there can be no file.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; choose the name of a file")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}; make it, or choose another name")
    if force or not path.is_file():
        return True
    return confirm(f"{path} exists and will be overwritten", otherwise=f"{option} overwrites it; or choose another name")


def for_stream(text: str, stream: TextIO) -> str:
    """Return the text with escapes if the stream is a terminal, unchanged for a file or a pipe."""
    return plain(text) if stream.isatty() else text
