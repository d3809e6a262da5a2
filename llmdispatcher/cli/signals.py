"""Signals: Ctrl-C, SIGTERM and SIGHUP end a command in an orderly way, also as process 1 of a container.

A process that is number 1 of its namespace ignores every signal without a handler, so :func:`catch_termination` gives SIGTERM and
SIGHUP one for the whole run: they raise :class:`TerminatedBySignal` in the main thread, as Ctrl-C raises ``KeyboardInterrupt``.
While a vendor is asked, :func:`catch_signals` turns all three into cancellations.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from .terminal import say

if TYPE_CHECKING:
    from ..runtime import Cancellation

_HANGUP: int | None = getattr(signal, "SIGHUP", None)
"""Windows has no such signal."""
_ENDING = tuple(number for number in (signal.SIGINT, signal.SIGTERM, _HANGUP) if number is not None)
GRACE = 20.0
"""Seconds that running requests have to end: Kubernetes kills 30 seconds after SIGTERM, and the summary comes before that."""


class TerminatedBySignal(BaseException):
    """A signal ends the command; ``code`` is the exit code that a shell expects."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextmanager
def catch_termination() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise :class:`TerminatedBySignal`; a handler that a program has set, and nohup, are left alone."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.SIG_DFL for number in _ENDING[1:] if signal.getsignal(number) is signal.SIG_DFL}
    for number in before:
        signal.signal(number, _end)
    try:
        yield
    finally:
        _put_back(before)


def _end(number: int, _frame: FrameType | None) -> None:
    _leave_terminal(number)
    raise TerminatedBySignal(number)


def _put_back(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _leave_terminal(number: int) -> None:
    """After a hangup, write to the null device: writing to the lost terminal would fail."""
    if number != _HANGUP:
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # no stream, or one without a file
            file = stream.fileno()
            if stat.S_ISCHR(os.fstat(file).st_mode) and not os.isatty(file):
                os.dup2(os.open(os.devnull, os.O_WRONLY), file)


class Stop:
    """The signals so far: ``signal`` is the number of the first, or ``None``; ``cancel`` ends the running requests.

    With ``grace`` the first signal only drains ``cancel``, so that answers that are paid for may still arrive; the second signal
    cancels it, and so does the end of that many seconds. The signal after that has its usual effect.
    """

    def __init__(self, grace: float | None = None) -> None:
        from ..runtime import Cancellation  # late: help needs nothing of the library

        self.cancel: Cancellation = Cancellation()
        self.signal: int | None = None
        self.grace = grace

    @property
    def code(self) -> int:
        """The exit code that a shell expects after the signal."""
        return 128 + (self.signal or signal.SIGINT)

    @property
    def max_signals(self) -> int:
        """How many signals are handled here; the next one has its usual effect."""
        return 1 if self.grace is None else 2

    def receive(self, number: int, times: int) -> None:
        """Note the ``times``-th signal. Safe in a signal handler, and if it is called twice for one signal."""
        if self.signal is None:
            self.signal = number
        reason = f"{signal.Signals(number).name} stopped the run"
        if times < self.max_signals:
            self.cancel.drain(reason)
        else:
            self.cancel.cancel(reason)


@contextmanager
def catch_signals(grace: float | None = None, message: str | None = None) -> Iterator[Stop]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into a :class:`Stop`; ``message`` is printed when the ``grace`` begins.

    Only the main thread receives signals; in another thread nothing stops the run early.
    """
    stop = Stop(grace)
    if threading.current_thread() is threading.main_thread():
        with _handle_signals(stop), _listen_in_thread(stop, message):
            yield stop
    else:
        yield stop


@contextmanager
def _handle_signals(stop: Stop) -> Iterator[None]:
    times = 0
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _ENDING}
    if _HANGUP is not None and before[_HANGUP] is signal.SIG_IGN:  # nohup
        del before[_HANGUP]

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal times
        times += 1
        if times > stop.max_signals:
            _put_back(before)
            signal.raise_signal(number)
            return
        _leave_terminal(number)
        stop.receive(number, times)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        _put_back(before)


@contextmanager
def _listen_in_thread(stop: Stop, message: str | None) -> Iterator[None]:
    """Note signals in a thread as well.

    A handler runs between two bytecodes of the main thread. If a signal arrives just before the main thread waits for a lock, its
    handler runs only when the lock is free; this was measured once in 500 signals. Windows cannot wait for a pipe: there only the
    handler notes signals.
    """
    if os.name == "nt" or not hasattr(os, "set_blocking"):
        yield
        return
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    before = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(ear, stop, message), name="llmdispatcher-signals", daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(mouth)
        listener.join()
        os.close(ear)


def _listen(ear: int, stop: Stop, message: str | None) -> None:
    """Read the numbers of signals until the pipe is closed; cancel when the grace is over."""
    from ..runtime import SYSTEM_CLOCK  # late: as above

    times = 0
    end: float | None = None
    while True:
        left = None if end is None else max(0.0, end - SYSTEM_CLOCK.monotonic())
        if not select.select([ear], [], [], left)[0]:
            stop.cancel.cancel("the time to end was over")
            end = None
            continue
        number = os.read(ear, 1)
        if not number:
            return
        if number[0] in _ENDING:
            times += 1
            stop.receive(number[0], times)
            if stop.grace is not None and times == 1:
                end = SYSTEM_CLOCK.monotonic() + stop.grace
                if message is not None:
                    say(message)
