"""The terminal: read lines, turn Ctrl-C into a cancellation, and print text safely.

Lines are typed or pasted, with a history kept in the user's own folder, or come from a pipe. Ctrl-C ends the calls in flight and
keeps what was answered. Messages go to stderr; what would control the terminal in a text of others is written as escapes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self, TextIO

from .._text import UNSEEN, escaped, without_passwords
from ..errors import ConfigError
from ..runtime import made_folder

if TYPE_CHECKING:
    from ..runtime import Cancellation


PROMPT = "> "
FENCE = '"""'
_MOST = 1000
_PASTED = 0.03
"""Seconds within which the next line of a paste is there; a person does not type the next one so soon."""


class Lines:
    """Where questions come from; ``None`` is the end. Ctrl-C at the prompt is a ``KeyboardInterrupt``."""

    def __init__(self) -> None:
        self.interactive = sys.stdin.isatty()
        found = importlib.util.find_spec("readline") if self.interactive else None
        self._readline: Any = import_module("readline") if found is not None else None
        self._history: Path | None = None

    def __enter__(self) -> Self:
        if self._readline is not None:
            with contextlib.suppress(OSError, ConfigError):  # a folder that cannot be had is no reason not to talk
                self._history = made_folder() / "chat_history"
                self._history.touch(mode=0o600)
                self._history.chmod(0o600)
                self._readline.read_history_file(str(self._history))
        return self

    def __exit__(self, *_: object) -> None:
        if self._history is not None:
            with contextlib.suppress(OSError):
                self._readline.set_history_length(_MOST)
                self._readline.write_history_file(str(self._history))

    def question(self) -> str | None:
        """The next question: a line, the lines of a paste, or what stands between two fences."""
        first = self._line(PROMPT)
        if first is None:
            return None
        if first.strip() == FENCE:
            return self._fenced()
        lines = [first]
        while not first.startswith("/") and self._more_is_there():
            line = self._line("")
            if line is None:
                break
            lines.append(line)
        return "\n".join(lines).strip()

    def _fenced(self) -> str:
        lines: list[str] = []
        while (line := self._line("")) is not None and line.strip() != FENCE:
            lines.append(line)
        return "\n".join(lines)

    def _line(self, prompt: str) -> str | None:
        if not self.interactive:
            line = sys.stdin.readline()
            return line.rstrip("\r\n") if line else None
        try:
            return input(prompt)
        except EOFError:
            print()
            return None

    def _more_is_there(self) -> bool:
        """Whether a line came at once behind the last one: then both were pasted. Only readline leaves it where that is seen."""
        if self._readline is None or sys.platform == "win32":
            return False
        return bool(select.select([sys.stdin], [], [], _PASTED)[0])


_REASON = "the user stopped the run"


@contextmanager
def stoppable() -> Iterator[Cancellation]:
    """Ctrl-C cancels, so that the answers file ends at a whole line; a second one interrupts as ever.

    Only the main thread can have signals; in another one nothing stops the run early.
    """
    from ..runtime import Cancellation  # late: help needs nothing of the library

    stop = Cancellation()
    if threading.current_thread() is threading.main_thread():
        with _handled(stop), _heard(stop):
            yield stop
    else:
        yield stop


@contextmanager
def _handled(stop: Cancellation) -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)

    def handle(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        stop.cancel(_REASON)

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _heard(stop: Cancellation) -> Iterator[None]:
    """Hear of the signal in a thread as well.

    A handler runs between two steps of the main thread. A signal that comes after the last step before a lock and before
    the wait for it does not end that wait, and the handler would not run before the lock is free: measured, once in 500.
    """
    if not hasattr(os, "set_blocking"):  # Windows before Python 3.12
        yield
        return
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    before = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(ear, stop), name="llmdispatcher-ctrl-c", daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(mouth)
        listener.join()
        os.close(ear)


def _listen(ear: int, stop: Cancellation) -> None:
    while number := os.read(ear, 1):
        if number[0] == signal.SIGINT:
            stop.cancel(_REASON)


OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: the last is what shells expect after Ctrl-C."""

_STEERING = re.compile(f"(?!\n)[{UNSEEN}]")


class UsageError(Exception):
    """The user can mend this; the text says how."""


class Failed(Exception):
    """What was asked for cannot be done; the text says why. Exit code 1."""


def complain(text: str, *, lines: bool = False) -> None:
    """One line of trouble; several where the text is the library's own and has ``lines``."""
    say(f"llmdispatcher: {text if lines else escaped(text)}")


def say(text: str) -> None:
    """One line beside the output."""
    print(plain(without_passwords(text)), file=sys.stderr, flush=True)


def tell(*lines: str) -> None:
    """Lines of the output for people; a line feed within one is written as an escape."""
    for line in lines:
        print(escaped(without_passwords(line), keep="\t"))


def tell_json(value: Any) -> None:
    """The output for programs."""
    print(json_text(value))


def plain(text: str) -> str:
    """The text with its line feeds and tabs, and escapes for whatever else would control the terminal."""
    return escaped(text, keep="\n\t")


def json_text(value: Any) -> str:
    """JSON that people can read, with what would steer a terminal written as escapes; money is text."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return _STEERING.sub(_as_json, text)


def _as_json(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code < 0x10000 else json.dumps(found[0])[1:-1]


def shown(text: str, stream: TextIO) -> str:
    """The text as a stream may get it: with escapes for a terminal, untouched for a file or a pipe."""
    return plain(text) if stream.isatty() else text
