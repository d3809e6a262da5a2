"""A command in a pseudo-terminal, as a person sits before it: type, and read until what is expected has come."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
from typing import Self

from llmdispatcher.runtime import SYSTEM_CLOCK

COMMAND = (sys.executable, "-m", "llmdispatcher")
PATIENCE = 120.0
"""Seconds; a command that a busy machine starts takes a while."""
_SEQUENCES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]")


class Pty:
    """A running command; ``text`` is ``seen`` without what moves the cursor and colours."""

    def __init__(self, *arguments: object, columns: int = 100, command: tuple[str, ...] = COMMAND, **environment: str) -> None:
        self._bytes = b""
        self._mark = 0
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            try:
                os.execve(command[0], [*command, *map(str, arguments)], {**os.environ, "TERM": "xterm", **environment})
            finally:
                os._exit(127)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self._code: int | None = None

    @property
    def seen(self) -> str:
        """All that came; a letter of which only a part has come stands as a replacement."""
        return self._bytes.decode(errors="replace")

    @property
    def text(self) -> str:
        """What a person would have read."""
        return _SEQUENCES.sub("", self.seen).replace("\r\n", "\n")

    def type(self, text: str) -> Self:
        """Type, as it is; end a line with "\\n"."""
        os.write(self._terminal, text.encode())
        return self

    def press(self, letter: str) -> Self:
        """Press Ctrl and a letter."""
        return self.type(chr(ord(letter.upper()) - 64))

    def hang_up(self) -> None:
        """Close the terminal, as closing its window does; nothing more is read."""
        os.close(self._terminal)
        self._terminal = os.open(os.devnull, os.O_RDONLY)

    def until(self, pattern: str, seconds: float = PATIENCE) -> str:
        """Read until a pattern has come behind what the last call found; the text up to its end. Fails when it does not in time."""
        end = SYSTEM_CLOCK.monotonic() + seconds
        while (found := re.search(pattern, self.text[self._mark :])) is None:
            if not self._read(end - SYSTEM_CLOCK.monotonic()):
                raise AssertionError(f"{pattern!r} did not come; there is {self.text[self._mark :]!r}")
        passed = self.text[self._mark : self._mark + found.end()]
        self._mark += found.end()
        return passed

    def insist(self, letter: str, pattern: str) -> str:
        """Press Ctrl and a letter until a pattern comes, as people do: between two keys Python's readline may miss a signal."""
        for _ in range(40):
            self.press(letter)
            with contextlib.suppress(AssertionError):
                return self.until(pattern, PATIENCE / 40)
        raise AssertionError(f"{pattern!r} did not come; there is {self.text[self._mark :]!r}")

    def told_to_end(self, number: int) -> int:
        """Send a signal until it ends; the exit code. Between two keys Python's readline may miss a signal."""
        for _ in range(40):
            os.kill(self.pid, number)
            with contextlib.suppress(AssertionError):
                return self.ended(PATIENCE / 40)
        raise AssertionError(f"it did not end; there is {self.text!r}")

    def ended(self, seconds: float = PATIENCE) -> int:
        """Read to the end; the exit code, negative for a signal. Fails when it does not end in time."""
        end = SYSTEM_CLOCK.monotonic() + seconds
        while self._read(end - SYSTEM_CLOCK.monotonic()):
            pass
        if self._code is None:
            if end <= SYSTEM_CLOCK.monotonic():
                raise AssertionError(f"it did not end; there is {self.text!r}")
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def _read(self, seconds: float) -> bool:
        """Read what is there or comes within some seconds; False at the end of either."""
        if seconds <= 0 or not select.select([self._terminal], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # Linux tells the end of a terminal so
            return False
        self._bytes += data
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._terminal)
