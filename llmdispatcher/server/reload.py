"""A new configuration for a gateway that runs: requests under way end on the dispatcher that they began with.

Each worker looks at the configuration's file once a second, and reloads when it has changed and is the same at two looks, or when
it is told to by SIGHUP. A configuration with a mistake changes nothing. The old dispatcher is closed when its last call has ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from .._text import room_logger
from ..dispatcher import ConfigFile, Dispatcher, read_config_file
from ..errors import ConfigError
from ..runtime import SYSTEM_CLOCK, new_lock

_G = TypeVar("_G")
"""What answers requests over a ``dispatcher``, which is closed with it."""

logger = room_logger("server")

EVERY = 1.0
"""Seconds between two looks at the file."""


@attrs.define(eq=False)
class _InUse(Generic[_G]):
    """What answers over one dispatcher, and how many requests are beginning on it; a stream that has begun is the dispatcher's."""

    value: _G
    beginning: int = 0
    retired: bool = False
    idle: threading.Event = attrs.field(factory=threading.Event)


class Generations(Generic[_G]):
    """What new requests get, and those before it that still have some; safe under threads."""

    def __init__(self, first: _G) -> None:
        self._lock = new_lock()
        self._now = _InUse(first)
        self._retiring: list[threading.Thread] = []

    @property
    def current(self) -> _G:
        """The one that new requests get."""
        return self._now.value

    @contextlib.contextmanager
    def use(self) -> Iterator[_G]:
        """What one request gets; it is not closed before the request has its answer, or its stream has begun."""
        with self._lock:
            mine = self._now
            mine.beginning += 1
        try:
            yield mine.value
        finally:
            with self._lock:
                mine.beginning -= 1
                if mine.retired and not mine.beginning:
                    mine.idle.set()

    def replace(self, value: _G, drain: float) -> None:
        """Give new requests another. The dispatcher before it is closed after its calls, in ``drain`` seconds at most."""
        with self._lock:
            old, self._now = self._now, _InUse(value)
            old.retired = True
            if not old.beginning:
                old.idle.set()
            self._retiring = [thread for thread in self._retiring if thread.is_alive()]
            closing = threading.Thread(target=_close, args=(old, drain), name="llmdispatcher-retire", daemon=True)
            self._retiring.append(closing)
        closing.start()

    def join(self, seconds: float) -> None:
        """Wait until the dispatchers before this one have ended, at most so long."""
        end = SYSTEM_CLOCK.monotonic() + seconds
        for thread in list(self._retiring):
            thread.join(max(0.0, end - SYSTEM_CLOCK.monotonic()))


def _close(old: _InUse[Any], drain: float) -> None:
    old.idle.wait(drain)
    old.value.dispatcher.close(drain=drain)


class ConfigWatch:
    """Reloads the configuration of one gateway when its file changes or SIGHUP comes; safe after a fork.

    ``remake`` makes a dispatcher of what stands in the file, and raises :class:`ConfigError` for a mistake. It is made before the
    file is read for the first time, so that no change after that is missed; in the main thread it hears SIGHUP from then on.
    ``mistakes_in`` tells all mistakes of a file that cannot be had.
    """

    def __init__(
        self,
        path: Path,
        remake: Callable[[], Dispatcher],
        drain: float,
        mistakes_in: Callable[[ConfigFile], list[str]] = ConfigFile.mistakes,
    ) -> None:
        self._path, self._remake, self._drain, self._mistakes_in = path, remake, drain, mistakes_in
        self._replace: Callable[[Dispatcher, float], None] | None = None
        self._asked = False
        self._listen()
        self._known = self._seen = _state_of(path)
        self._pid = 0
        self._ended = threading.Event()

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, self.ask)

    def start(self, replace: Callable[[Dispatcher, float], None]) -> None:
        """Look from now on, in a thread of its own, and hand ``replace`` each new dispatcher; idempotent in one process."""
        if self._pid == os.getpid():
            return
        self._replace, self._pid = replace, os.getpid()
        self._listen()  # a server may have taken the signal between
        threading.Thread(target=self._run, name="llmdispatcher-reload", daemon=True).start()

    def ask(self, *_: object) -> None:
        """Have it reloaded at the next look; takes no lock, as a handler of a signal must not."""
        self._asked = True

    def end(self) -> None:
        """Look no more."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(EVERY):
            self.look()

    def look(self) -> bool:
        """Reload if the file has changed since it was read and does not change any more, or if it was asked for."""
        state = _state_of(self._path)
        settled, self._seen = state == self._seen, state
        if not self._asked and (state == self._known or not settled):
            return False
        self._asked, self._known = False, state
        return self.reload()

    def reload(self) -> bool:
        """Read the file and replace the dispatcher; False where that cannot be, and then nothing has changed."""
        try:
            made = self._remake()
            self._hand_over(made)
        except Exception as error:  # noqa: BLE001 - the gateway goes on with what it has
            text = error.message if isinstance(error, ConfigError) else type(error).__name__
            for mistake in self._mistakes() or [text]:
                logger.error("the configuration is not reloaded: %s: %s", self._path, mistake.removeprefix(f"{self._path}: "))
            return False
        logger.warning("process %d: the configuration is reloaded: %s", os.getpid(), self._path)
        return True

    def _hand_over(self, made: Dispatcher) -> None:
        if self._replace is None:
            return
        try:
            self._replace(made, self._drain)
        except BaseException:
            made.close()
            raise

    def _mistakes(self) -> list[str]:
        try:
            return self._mistakes_in(read_config_file(self._path, lenient=True))
        except ConfigError:
            return []


def _state_of(path: Path) -> Any:
    """What changes when a file does; ``None`` for one that is not there, as while it is replaced."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
