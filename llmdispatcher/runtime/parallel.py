"""Calls in daemon threads: many at once whose results come in order, and single ones that are waited for no longer than given."""

from __future__ import annotations

import contextlib
import contextvars
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from ..errors import ConfigError, DispatchError, Overloaded
from .deadline import SYSTEM_CLOCK
from .forks import new_lock

Q = TypeVar("Q")
A = TypeVar("A")

_AHEAD = 2
"""Requests in hand per worker: one being answered, one waiting."""


_GLANCE = 1.0
"""Seconds; CPython can miss a signal that comes just as a wait without end begins, so no wait is without end."""


class _Job:
    """One request and the place of its answer."""

    __slots__ = ("answer", "error", "ready")

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.answer: object = None
        self.error: BaseException | None = None


def fan_out(ask: Callable[[Q], A], questions: Iterable[Q], workers: int, *, return_errors: bool) -> Iterator[A | DispatchError]:
    """Yield ``ask(question)`` in the order of the questions, in the caller's context; closing the iterator stops the threads."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigError(f"max_workers: {workers!r} is not a whole number ≥ 1")
    context = contextvars.copy_context()
    return _fan_out(lambda question: context.copy().run(ask, question), questions, workers, return_errors)


def _fan_out(ask: Callable[[Q], A], questions: Iterable[Q], workers: int, return_errors: bool) -> Iterator[A | DispatchError]:
    todo: queue.SimpleQueue[tuple[Q, _Job] | None] = queue.SimpleQueue()
    threads = [
        threading.Thread(target=_work, args=(ask, todo), name=f"llmdispatcher-map-{number}", daemon=True)
        for number in range(workers)
    ]
    window: deque[_Job] = deque()
    try:
        for number, question in enumerate(questions):
            if number < workers:
                _start(threads[number], alone=not number)
            job = _Job()
            window.append(job)
            todo.put((question, job))
            while window and (len(window) >= workers * _AHEAD or window[0].ready.is_set()):
                yield _result(window.popleft(), return_errors)
        while window:
            yield _result(window.popleft(), return_errors)
    finally:
        with contextlib.suppress(queue.Empty):  # nobody pays for answers that nobody reads
            while True:
                todo.get_nowait()
        for _ in threads:
            todo.put(None)


def _start(thread: threading.Thread, *, alone: bool) -> None:
    """Start one more worker; a process at its limit of threads continues with those it has."""
    try:
        thread.start()
    except (RuntimeError, MemoryError):
        if alone:
            raise Overloaded("no thread can be started for the job; end others or raise the process's limit") from None


def _work(ask: Callable[[Q], A], todo: queue.SimpleQueue[tuple[Q, _Job] | None]) -> None:
    while (item := todo.get()) is not None:
        question, job = item
        try:
            job.answer = ask(question)
        except BaseException as error:  # noqa: BLE001  # handed to the reader, in whose thread it is raised
            job.error = error
        job.ready.set()


def _result(job: _Job, return_errors: bool) -> A | DispatchError:
    while not job.ready.wait(_GLANCE):
        pass
    if job.error is None:
        return job.answer  # type: ignore[return-value]  # as put there by _work
    if return_errors and isinstance(job.error, DispatchError):
        return job.error
    raise job.error


class TimedCalls:
    """Calls to a server whose client keeps no time-out: each runs in a thread, at most ``most`` at once.

    A call that takes longer goes on in its thread, and its result is lost. In a forked child none is under way.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = new_lock()
        self._permits = threading.Semaphore(most)
        self._pid = os.getpid()

    def run(self, work: Callable[[], A], seconds: float) -> A:
        """Return the result, or raise what the call raises; :class:`TimeoutError` when that takes longer, threads included."""
        until = SYSTEM_CLOCK.monotonic() + seconds
        with self._lock:
            if self._pid != os.getpid():
                self._permits, self._pid = threading.Semaphore(self._most), os.getpid()
            permits = self._permits
        if not permits.acquire(timeout=seconds):
            raise TimeoutError
        job, context = _Job(), contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(_answer, work, job, permits), name="llmdispatcher-timed", daemon=True)
        try:
            thread.start()
        except BaseException:
            permits.release()
            raise
        if not job.ready.wait(max(0.0, until - SYSTEM_CLOCK.monotonic())):
            raise TimeoutError
        if job.error is not None:
            raise job.error
        return job.answer  # type: ignore[return-value]  # as put there by _answer


def _answer(work: Callable[[], object], job: _Job, permits: threading.Semaphore) -> None:
    try:
        job.answer = work()
    except BaseException as error:  # noqa: BLE001  # handed to the caller, in whose thread it is raised
        job.error = error
    finally:
        permits.release()
        job.ready.set()
