"""Single flight: of identical requests at the same time, one goes to the vendor and the others share its response.

```
   join ──► leads ──► result, shared ──► every waiter has the response
     │        └─────► failed, cancelled, or not to be shared ──► the next waiter leads
     └────► waits, within its own deadline ──► has the response, leads, or gives up
```
Every way out of a flight goes through one method (:meth:`SingleFlight._leave`), so no waiter waits for a call that is gone.

A stream is shared by a :class:`Tee`: each reader gets it from its beginning. A thread of the tee reads the vendor, so that no
reader waits for a slower one. The vendor is stopped when the last reader has left. Of the calls that share it, the first to end is
charged: it has the attempt and the cost; the others count as cache hits.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Generator
from functools import partial
from typing import Generic, NamedTuple, Protocol, SupportsBytes, TypeVar

from ..errors import DispatchError, Overloaded, StreamInterrupted, to_raise
from ..runtime import Deadline, new_lock
from ..types import ChunkSource, Fold, Response, StreamChunk


class SharedResult(NamedTuple):
    """A response, and its entry for other calls; ``shared``: they may have it."""

    response: Response
    entry: SupportsBytes | None = None
    shared: bool = True
    hit: bool = False


class Shareable(Protocol):
    """The result of a flight."""

    @property
    def shared(self) -> bool:
        """Whether other calls may have it."""


T = TypeVar("T", bound=Shareable)


class _Seat(Generic[T]):
    """One caller in a flight, and its ``thread``. The ``gate`` is made for one that waits; one that leads has those ``waiting``."""

    __slots__ = ("gate", "leads", "result", "thread", "waiting")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.leads = False
        self.result: T | None = None
        self.waiting: dict[_Seat[T], None] = {}
        self.gate: threading.Lock

    def open(self) -> None:
        """Wake the waiting caller; a second call does nothing."""
        with contextlib.suppress(RuntimeError):
            self.gate.release()

    def wait(self, deadline: Deadline) -> None:
        """Wait until the gate opens. Raises :class:`Cancelled` and :class:`DeadlineExceeded`."""
        key = deadline.cancellation.subscribe(self.open)
        try:
            deadline.clock.wait(self.gate, deadline.check())
        finally:
            deadline.cancellation.unsubscribe(key)
        if self.result is None:
            deadline.check()


class SingleFlight(Generic[T]):
    """The calls in flight, by key, each with the caller that leads; safe under threads and after a fork."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._leaders: dict[str, _Seat[T]] = {}
        self._pid = os.getpid()

    def fly(self, key: str, deadline: Deadline, ask: Callable[[], T]) -> tuple[T, bool]:
        """Return the result, and whether it is another call's. What ``ask`` raises is raised here alone."""
        seat: _Seat[T] = _Seat()
        try:
            if not self._join(key, seat):
                return ask(), False
            while not seat.leads:
                seat.wait(deadline)
                if seat.result is not None:
                    return seat.result, True
            result = ask()
            if result.shared:
                seat.result = result
            return result, False
        finally:
            self._leave(key, seat)

    def _join(self, key: str, seat: _Seat[T]) -> bool:
        """Take a seat; False for a thread that leads this flight itself, and would wait for itself."""
        with self._lock:
            if self._pid != os.getpid():  # the callers of a flight do not exist in a forked child
                self._leaders, self._pid = {}, os.getpid()
            leader = self._leaders.get(key)
            if leader is None:
                seat.leads = True
                self._leaders[key] = seat
                return True
            if leader.thread == seat.thread:
                return False
            seat.gate = threading.Lock()
            seat.gate.acquire()
            leader.waiting[seat] = None
            return True

    def _leave(self, key: str, seat: _Seat[T]) -> None:
        """Give up the seat: a leader hands out its result, or the lead."""
        with self._lock:
            leader = self._leaders.get(key)
            if leader is not seat:
                if leader is not None:
                    leader.waiting.pop(seat, None)
                return
            woken, heir = list(seat.waiting), None
            if seat.result is None and woken:
                heir, woken = woken[0], woken[:1]
                del seat.waiting[heir]
                heir.leads, heir.waiting = True, seat.waiting
                self._leaders[key] = heir
            else:
                del self._leaders[key]
            for other in woken:
                other.result = seat.result
        for other in woken:
            other.open()


_numbers = itertools.count(1)


class SharedCall(Protocol):
    """A call that its readers share; :meth:`loosen` detaches it from the one that began it."""

    def begin(self) -> ChunkSource:
        """Begin, up to the first output, within the deadline of the one that asks."""

    def loosen(self) -> None:
        """From now on only :meth:`stop` ends it."""

    def stop(self) -> None:
        """End the call."""


class Tee:
    """One stream, its chunks so far, and its readers. ``keep`` gets the whole response, and its result is ``kept``."""

    shared = True

    def __init__(
        self, source: SharedCall, opened: ChunkSource, keep: Callable[[Response], SharedResult], over: Callable[[], None]
    ) -> None:
        self.source = source
        self.opened = opened
        self.kept: SharedResult | None = None
        self._keep = keep
        self._tell_over = over
        self._lock = threading.Lock()
        self._batches: list[list[StreamChunk]] = []
        self._gates: list[threading.Lock] = []
        self._failure: DispatchError | None = None
        self._over = self._led = False
        self._readers = 0
        self._unpaid = [True]
        self._last: Callable[[bool], None] | None = None

    def start(self) -> None:
        """Read on in a thread. Raises :class:`Overloaded`, and gives up the stream, if none can be started."""
        thread = threading.Thread(target=self._read_on, name=f"llmdispatcher-tee-{next(_numbers)}", daemon=True)
        self.source.loosen()
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            failure = Overloaded("no thread can be started for another stream; close some streams or raise the process's limit")
            self.opened.close()
            self.opened.fail(failure, Response())
            self._end()
            raise failure from None

    def join(self, *, lead: bool = False) -> bool:
        """Become a reader, also of a stream that has just ended well; False if it failed, or all readers have left."""
        with self._lock:
            for_others = self.kept is not None and self.kept.shared
            if self._last is not None or (self._over and not for_others):
                return False
            self._readers += 1
            self._led = self._led or lead
            return True

    def done(self, *, lead: bool) -> bool:
        """Leave at the end; returns whether this reader pays: the first one, or, if it left before, the next."""
        with self._lock:
            self._readers -= 1
            return (lead or not self._led) and self._pays()

    def leave(self, settle: Callable[[bool], None], *, lead: bool) -> None:
        """Leave before the end. ``settle`` is told whether to pay: now, or when a stream without readers has stopped."""
        with self._lock:
            self._readers -= 1
            self._led = self._led and not lead
            if not self._readers:
                self._last = settle
            waits = self._last is not None and not self._over
        if self._last is None:
            settle(False)
        elif waits:
            self.source.stop()
        else:
            settle(self._pays())

    def _pays(self) -> bool:
        return bool(self._unpaid) and self._unpaid.pop()

    def batches(self, deadline: Deadline) -> Generator[list[StreamChunk]]:
        """Yield all chunks, within the reader's own deadline. Raises the error of the vendor's stream."""
        place = 0
        while True:
            if place < len(self._batches):
                yield self._batches[place]
                place += 1
            elif not self._over:
                self._wait(place, deadline)
            elif place == len(self._batches):
                break
        if self._failure is not None:
            raise to_raise(self._failure)

    def _wait(self, place: int, deadline: Deadline) -> None:
        gate = threading.Lock()
        gate.acquire()
        key = deadline.cancellation.subscribe(partial(_open, gate))
        self._gates.append(gate)
        try:
            left = deadline.check()
            if place == len(self._batches) and not self._over:
                deadline.clock.wait(gate, left)
        finally:
            deadline.cancellation.unsubscribe(key)
            with contextlib.suppress(ValueError):  # the reader was woken
                self._gates.remove(gate)
        deadline.check()

    def _wake(self) -> None:
        while self._gates:
            with contextlib.suppress(IndexError):  # the waiting reader has just removed its own
                _open(self._gates.pop())

    def _read_on(self) -> None:
        fold = Fold()
        try:
            for batch in self.opened.batches:
                for chunk in batch:
                    fold.add(chunk)
                self._batches.append(batch)
                self._wake()
        except BaseException as error:  # noqa: BLE001 - the thread ends here: whatever it is, the readers must hear of it
            self._failure = _interrupted(error, fold.response())
            self.opened.fail(self._failure, fold.response())
        else:
            self._finish(fold.response())
        finally:
            self._end()

    def _finish(self, response: Response) -> None:
        try:
            self.kept = self._keep(self.opened.finish(response))
        except Exception as error:  # noqa: BLE001 - a guard of the user's may raise anything
            self._failure = _interrupted(error, response)

    def _end(self) -> None:
        self._tell_over()
        with self._lock:
            self._over = True
        self._wake()
        if self._last is not None:
            self._last(self._pays())


class Tees:
    """The streams in flight, by key; safe under threads and after a fork."""

    def __init__(self) -> None:
        self._flights: SingleFlight[Tee] = SingleFlight()
        self._live: dict[str, Tee] = {}
        self._pid = os.getpid()

    def join(self, key: str, deadline: Deadline, ask: Callable[[], Tee]) -> tuple[Tee, bool]:
        """Join or begin a stream; returns it, and whether another call began it."""
        while True:
            tee = self._live.get(key) if self._pid == os.getpid() else None
            if tee is not None and tee.join():
                return tee, True
            tee, others = self._flights.fly(key, deadline, ask)
            if not others or tee.join():
                return tee, others

    def open(self, key: str, source: SharedCall, opened: ChunkSource, keep: Callable[[Response], SharedResult]) -> Tee:
        """Register a stream that has begun, with its leader as reader."""
        tee = Tee(source, opened, keep, lambda: self._forget(key, tee))
        tee.join(lead=True)
        if self._pid != os.getpid():
            self._live, self._pid = {}, os.getpid()
        self._live[key] = tee
        tee.start()
        return tee

    def _forget(self, key: str, tee: Tee) -> None:
        if self._live.get(key) is tee:
            del self._live[key]


def _open(gate: threading.Lock) -> None:
    with contextlib.suppress(RuntimeError):  # another thread was faster
        gate.release()


def _interrupted(error: BaseException, partial: Response) -> DispatchError:
    if isinstance(error, DispatchError):
        return error
    failure = StreamInterrupted(f"the stream's worker failed with {type(error).__name__}", partial=partial)
    failure.__cause__ = error
    return failure


class Teed:
    """One reader's view of a :class:`Tee`, as an open stream; ``settle`` is told how the call ends, and whether it pays."""

    movable = True

    def __init__(self, tee: Tee, deadline: Deadline, settle: Settle, *, lead: bool) -> None:
        self._tee = tee
        self._settle = settle
        self._lead = lead
        self.vendor = tee.opened.vendor
        self.model = tee.opened.model
        self.batches = tee.batches(deadline)
        self.close = self.batches.close

    def finish(self, _folded: Response) -> Response:
        """Settle as a success: with the cost, or as a hit."""
        pays = self._tee.done(lead=self._lead)
        return self._settle.finished(self._tee.kept, self._tee.source, pays=pays)  # type: ignore[arg-type]  # it is there at the end

    def fail(self, error: DispatchError, _partial: Response) -> None:
        """Settle as a failure; the last reader to leave pays for the stream."""
        self._tee.leave(lambda pays: self._settle.failed(error, self._tee.source, pays=pays), lead=self._lead)


class Settle(Protocol):
    """Settles the call of one reader."""

    def finished(self, result: SharedResult, source: SharedCall, *, pays: bool) -> Response:
        """Settle with the whole response."""

    def failed(self, error: DispatchError, source: SharedCall, *, pays: bool) -> None:
        """Settle with a failure, the reader's own or the vendor's."""
