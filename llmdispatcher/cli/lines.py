"""Lines that a person types or pastes, with the arrow keys' history kept in the user's own folder; or lines out of a pipe."""

from __future__ import annotations

import contextlib
import importlib.util
import select
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from .places import made_folder

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
            with contextlib.suppress(OSError):  # a folder that cannot be had is no reason not to talk
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
