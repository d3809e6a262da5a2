"""A command in a process of its own: with pipes, or in a pseudo-terminal, as a person sits before it.

The process is a fork of one that has loaded the command line (loaded.py); test_main.py has one that loads it itself.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from llmdispatcher.runtime import SYSTEM_CLOCK
from tests.orphans import mortal

PATIENCE = 120.0
"""Seconds; a command that a busy machine starts takes a while."""
_SEQUENCES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]")


@functools.cache
def _loaded() -> socket.socket:
    ours, theirs = socket.socketpair()
    command = mortal([sys.executable, "-m", "tests.cli.loaded", str(theirs.fileno())])
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
    theirs.close()
    atexit.register(process.wait)
    atexit.register(process.kill)
    return ours


class Started:
    """A running command; it is killed at the end of a ``with``."""

    def __init__(self, arguments: Sequence[object], streams: Sequence[int], **environment: str) -> None:
        self._report, report = os.pipe()
        order = json.dumps([[str(one) for one in arguments], str(Path.cwd()), {**os.environ, **environment}]).encode()
        socket.send_fds(_loaded(), [len(order).to_bytes(4)], [report, *streams])
        _loaded().sendall(order)
        for file in {report, *streams}:
            os.close(file)
        self.pid = self._told()
        self._code: int | None = None

    def _told(self) -> int:
        told = os.read(self._report, 4)
        assert told, "the process that has loaded the command line has ended"
        return int.from_bytes(told, signed=True)

    def ends(self, seconds: float) -> bool:
        """Whether it has ended, or does within some seconds."""
        if self._code is None and select.select([self._report], [], [], max(0.0, seconds))[0]:
            self._code = self._told()
        return self._code is not None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; ``None`` while it runs."""
        return self._code if self.ends(0) else None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if not self.ends(0):
            os.kill(self.pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.send_signal(signal.SIGKILL)
        if self._code is None:
            self._code = self._told()
        os.close(self._report)


class Piped(Started):
    """A command with pipes for its output; it reads from a text or a file, else there is nothing to read."""

    def __init__(self, *arguments: object, said: str | int = "", **environment: str) -> None:
        if isinstance(said, str):
            stdin, writing = os.pipe()
            os.write(writing, said.encode())
            os.close(writing)
        else:
            stdin = os.dup(said)
        pipes = os.pipe(), os.pipe()
        super().__init__(arguments, [stdin, *(writing for _, writing in pipes)], **environment)
        self.stdout, self.stderr = (os.fdopen(reading, encoding="utf-8") for reading, _ in pipes)

    def communicate(self, timeout: float = PATIENCE) -> tuple[str, str]:
        """All that comes from now on, from stdout and from stderr. Fails when the command does not end in time."""
        with ThreadPoolExecutor(2) as pool:
            texts = [pool.submit(stream.read) for stream in (self.stdout, self.stderr)]
            ended = self.ends(timeout)
            self.send_signal(signal.SIGKILL)
        assert ended, f"it did not end; there is {[text.result() for text in texts]}"
        return texts[0].result(), texts[1].result()

    def __exit__(self, *given: object) -> None:
        super().__exit__(*given)
        self.stdout.close()
        self.stderr.close()


def piped(*arguments: object, said: str = "", **environment: str) -> tuple[int | None, str, str]:
    """The exit code of a command with pipes, what it printed, and what it said on stderr."""
    with Piped(*arguments, said=said, **environment) as command:
        out, err = command.communicate()
        return command.returncode, out, err


class Pty(Started):
    """A command in a terminal; ``text`` is ``seen`` without what moves the cursor and colours."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        self._bytes = b""
        self._mark = 0
        self._terminal, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        super().__init__(arguments, [theirs] * 3, TERM="xterm", **environment)

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
            self.send_signal(number)
            with contextlib.suppress(AssertionError):
                return self.ended(PATIENCE / 40)
        raise AssertionError(f"it did not end; there is {self.text!r}")

    def ended(self, seconds: float = PATIENCE) -> int:
        """Read to the end; the exit code, negative for a signal. Fails when it does not end in time."""
        end = SYSTEM_CLOCK.monotonic() + seconds
        while self._read(end - SYSTEM_CLOCK.monotonic()):
            pass
        if not self.ends(end - SYSTEM_CLOCK.monotonic()) or self._code is None:
            raise AssertionError(f"it did not end; there is {self.text!r}")
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

    def __exit__(self, *given: object) -> None:
        super().__exit__(*given)
        os.close(self._terminal)
