"""Ctrl-C as a cancellation: what is in flight ends, what was answered is kept."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..cancellation import Cancellation

_REASON = "the user stopped the run"


@contextmanager
def stoppable() -> Iterator[Cancellation]:
    """Ctrl-C cancels, so that the answers file ends at a whole line; a second one interrupts as ever.

    Only the main thread can have signals; in another one nothing stops the run early.
    """
    from ..cancellation import Cancellation  # late: help needs nothing of the library

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
