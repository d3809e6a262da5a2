"""Admission: a limited number of calls in flight for each dispatcher, and a queue with a time limit for the calls beyond it.

Tenants take turns, and the calls of one tenant keep their order, so a flood of one tenant costs another no more than its turn. A
free slot goes to the next waiter before any new call. A call that has waited long enough ends with
:class:`~llmdispatcher.Overloaded`, which tells when to come back, computed from the rate at which calls end.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import attrs

from .._text import room_logger
from ..errors import ConfigError, Overloaded
from ..runtime import Cancellation, Clock, Deadline, new_lock
from ..types import Request, at_least, build, integer, suggest
from .concurrency import Capacity, ConcurrencyLimiter, ConcurrencySlot, FairQueue

MOST_CALLS = 2_000
"""Streams that one process carries in time: of 2,000 with four tokens a second each, 99 in 100 come within a tenth of a second."""
_GLANCE = 5.0
"""Seconds; CPython can miss a signal that comes just as a wait begins, and a signal can lose a place on its way to the next."""
_REMEMBERED, _RECENT = 64, 60.0
"""Ends of calls, and seconds, that their rate is estimated from."""
logger = room_logger("resilience")


def _some(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    integer(instance, attribute, value)
    if value < 1:
        raise ConfigError(f"{attribute.name}: {value!r} would let nothing through; give 1 or more")


def _tenant(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not callable(value) and not (isinstance(value, str) and value):
        raise ConfigError(f"{attribute.name}: {value!r} names no tenant; give a key of the metadata, or a function of the request")


@suggest
@attrs.frozen(kw_only=True)
class Admission:
    """At most ``max_calls`` of a dispatcher are under way at once: calls, embeddings, and streams until they end.

    The next ones wait, at most ``max_wait`` seconds (``None``: as long as their deadline allows, 0: not at all), and then end with
    :class:`~llmdispatcher.Overloaded`. Tenants that wait are served by turns. Whose a request is tells ``tenant``, a key of
    ``Request.metadata`` or a function of the request; without it ``Request.user``.
    """

    max_calls: int = attrs.field(default=MOST_CALLS, validator=_some)
    max_wait: float | None = attrs.field(default=None, validator=at_least(0))
    tenant: str | Callable[[Request], Any] | None = attrs.field(default=None, validator=_tenant)

    def tenant_of(self, request: Request) -> Any:
        """Whose request it is, ``None`` where that is not said; what a function of the user's raises comes through."""
        if self.tenant is None:
            return request.user
        return self.tenant(request) if callable(self.tenant) else request.metadata.get(self.tenant)


def admission_of(value: Admission | Mapping[str, Any] | int | None) -> Admission | None:
    """The setting: True, a number of calls, an :class:`Admission` or a dict of its fields."""
    if value is None or value is False:
        return None
    if isinstance(value, int):
        value = {} if value is True else {"max_calls": value}
    return build(Admission, value, "admission")


class AdmissionController:
    """Lets calls in and out, each known by what cancels it; safe under threads and after a fork."""

    def __init__(self, settings: Admission, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._lock = new_lock()
        self._queue = FairQueue()
        self._room = ConcurrencyLimiter(Capacity(settings.max_calls, None), self._queue)
        self._guests: dict[Cancellation, ConcurrencySlot] = {}
        self._ends: deque[float] = deque(maxlen=_REMEMBERED)
        self._complained = False
        self._pid = os.getpid()

    def enter(self, request: Request, deadline: Deadline) -> None:
        """Take a place, now or when there is one. Raises :class:`Overloaded` where there is none in time, and when cancelled."""
        guest = ConcurrencySlot()
        with self._lock:
            if self._pid != os.getpid():
                self._forget_calls()
            self._guests[deadline.cancellation] = guest
            if self._room.enter(guest):
                return
        try:
            guest.tenant = self._tenant(request)
            self._wait(guest, deadline)
        except BaseException:
            self.leave(deadline.cancellation)
            raise

    def _tenant(self, request: Request) -> str | None:
        """Return the tenant of a request; a user's function that fails is logged once, and the call goes on."""
        try:
            tenant = self.settings.tenant_of(request)
            return None if tenant is None else str(tenant)
        except Exception as foreign:  # noqa: BLE001 - it may raise anything
            if not self._complained:
                logger.warning("admission: its tenant function raised %s; such calls wait in one line", type(foreign).__name__)
            self._complained = True
            return None

    def _wait(self, guest: ConcurrencySlot, deadline: Deadline) -> None:
        begun = self._clock.monotonic()
        longest = self.settings.max_wait
        until = deadline.at if longest is None else min(deadline.at, begun + longest)
        guest.gate = threading.Lock()
        guest.gate.acquire()
        key = deadline.cancellation.subscribe(guest.wake)
        try:
            while not self._let_in(guest):
                left = until - self._clock.monotonic()
                if left <= 0:
                    self._refuse(begun)
                self._clock.wait(guest.gate, min(left, _GLANCE))
                if deadline.cancelled:
                    deadline.check()
        finally:
            deadline.cancellation.unsubscribe(key)

    def _let_in(self, guest: ConcurrencySlot) -> bool:
        """Whether the call has a place by now; if not, queue it again where a fork or a signal has removed it."""
        with self._lock:
            if self._pid != os.getpid():
                self._forget_calls()
            if guest in self._room.seats:
                return True
            guest.room = None
            if guest in self._queue:
                self._room.admit()
            elif not self._room.enter(guest):
                self._queue[guest] = None
            return guest in self._room.seats

    def leave(self, cancellation: Cancellation) -> None:
        """Give the place of a call back, or end its wait; idempotent."""
        guest = self._guests.get(cancellation)
        if guest is None:
            return
        with self._lock:
            if self._pid != os.getpid():
                self._forget_calls()
            if guest.gate is not None:
                self._queue.pop(guest, None)
            if guest in self._room.seats:
                self._ends.append(self._clock.monotonic())
            self._room.leave(guest, lambda *_: None)  # a fixed number of places learns nothing from how a call ended
            self._guests.pop(cancellation, None)

    def status(self) -> tuple[int, int]:
        """Return how many calls are under way, and how many wait."""
        with self._lock:
            if self._pid != os.getpid():
                self._forget_calls()
            return len(self._room.seats), len(self._queue)

    def _refuse(self, begun: float) -> NoReturn:
        now = self._clock.monotonic()
        with self._lock:
            running, others = len(self._room.seats), max(len(self._queue) - 1, 0)
            ends = [end for end in self._ends if now - _RECENT <= end < now]
        raise Overloaded(
            f"{running} calls are under way, {others} others wait, and for {now - begun:.1f} s no place was free; it was not sent. "
            "Come back later (error.retry_after), or raise max_calls or max_wait of Config(admission=...)",
            sent=False,
            retry_after=round((others + 1) * (now - ends[0]) / len(ends), 3) if ends else None,
        )

    def _forget_calls(self) -> None:
        """Forget all calls in a forked child: they are the parent's."""
        self._room.empty()
        self._guests.clear()
        self._ends.clear()
        self._pid = os.getpid()
