"""Health of vendors: a check of all at once on request, and checks in the background, neither of which costs money.

A check lists a vendor's models. In the background, one thread for each dispatcher checks vendor after vendor at an interval and
reports to the circuit breaker: a vendor that is down is avoided before a call finds out, and one that answers again is tried before
its circuit's open time is over. Only silence, failed connections and 5xx count, twice in a row. A vendor that refuses, even with
401, 404 or 429, is up; its answer is only shown in its health. The thread starts with the first call, in a forked child with the
first call there, and keeps no dropped dispatcher alive. It uses the system's clock, whatever clock the dispatcher has.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping
from typing import Any

import attrs

from .._text import room_logger
from ..errors import (
    AuthenticationError,
    Cancelled,
    DeadlineExceeded,
    DispatchError,
    QuotaExceeded,
    RateLimitError,
    VendorUnavailable,
)
from ..resilience import Breakers
from ..runtime import SYSTEM_CLOCK, Cancellation, Clock, Deadline, fan_out, new_lock
from ..vendors import VendorInfo

_WORDS: tuple[tuple[type[DispatchError], str], ...] = (
    (AuthenticationError, "unauthorized"),
    (QuotaExceeded, "out_of_quota"),
    (RateLimitError, "rate_limited"),
)


@attrs.frozen(kw_only=True)
class VendorHealth:
    """One vendor's state.

    ``status`` is ``"healthy"`` (it answered), ``"available"`` (it has no way to be asked without a price, but says that it can be),
    ``"unavailable"`` (it lacks a key or an address), ``"unauthorized"``, ``"out_of_quota"``, ``"rate_limited"``, ``"unhealthy"``,
    or ``"unknown"`` (nobody has asked it yet); ``detail`` says more. ``latency`` is seconds, ``age`` seconds since it was asked.
    """

    vendor: str
    status: str
    detail: str | None = None
    latency: float | None = None
    age: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the vendor can be asked, as far as is known."""
        return self.status in ("healthy", "available", "rate_limited", "unknown")


def health_of(vendors: Mapping[str, VendorInfo], seconds: float, clock: Clock) -> dict[str, VendorHealth]:
    """The state of each vendor; takes as long as the slowest, and no longer than ``seconds``."""
    if not vendors:
        return {}

    def ask(name: str) -> VendorHealth:
        return looked_at(name, vendors[name], Deadline.after(seconds, clock=clock))[0]

    found: Any = fan_out(ask, vendors, len(vendors), return_errors=False)
    return dict(zip(vendors, found, strict=True))


def looked_at(name: str, vendor: VendorInfo, deadline: Deadline) -> tuple[VendorHealth, DispatchError | None]:
    """Return the state of one vendor, and its error, if that is one of ours."""
    try:
        return _asked(name, vendor, deadline), None
    except DispatchError as error:
        status = next((word for kind, word in _WORDS if isinstance(error, kind)), "unhealthy")
        return VendorHealth(vendor=name, status=status, detail=f"{type(error).__name__}: {error.message}"), error
    except Exception as foreign:  # noqa: BLE001 - a vendor of the user's own may raise anything
        return VendorHealth(vendor=name, status="unhealthy", detail=type(foreign).__name__), None


def _asked(name: str, vendor: VendorInfo, deadline: Deadline) -> VendorHealth:
    if not vendor.vendor.is_available():
        return VendorHealth(vendor=name, status="unavailable", detail=vendor.missing())
    if vendor.list_models is None:
        return VendorHealth(vendor=name, status="available")
    began = deadline.clock.monotonic()
    count = len(vendor.list_models(deadline))
    return VendorHealth(vendor=name, status="healthy", detail=f"{count} models", latency=deadline.clock.monotonic() - began)


logger = room_logger("dispatcher")

PATIENCE = 5.0
"""Seconds for the answer of one vendor, or the interval where that is less, but at least :data:`LEAST_PATIENCE`."""
LEAST_PATIENCE = 1.0
SPREAD = 0.25
"""Part of an interval by which it is longer or shorter, so that processes do not ask all at once."""
SOONER = 0.2
"""Part of an interval after which a first look (that much at most, by chance), and one at a vendor that has just failed, is due."""
HOLDS = 3.0
"""Intervals for which a finding holds that nobody renews."""
_NOT_MEANT = frozenset({501, 505})
"""Statuses of a server that does not know the question."""
_AGAIN = 1.0
"""Seconds until another thread is tried for, where none could be started."""


@attrs.define(eq=False)
class _Patient:
    """One vendor as the checks know it: when the next is due, failures in a row, since when, whether it ever answered."""

    due: float
    failures: int = 0
    since: float = 0.0
    answered: bool = False


@attrs.define(eq=False)
class _Rounds:
    """The state of the thread, which must not hold the dispatcher."""

    vendors: Mapping[str, VendorInfo]
    breakers: Breakers
    interval: float
    clock: Clock
    known: dict[str, tuple[VendorHealth, float]]
    patients: dict[str, _Patient] = attrs.field(factory=dict, init=False)

    def run(self, stop: Cancellation) -> None:
        """Check each vendor that is due, until stopped."""
        pause = Deadline.after(None, cancellation=stop)
        try:
            while True:
                pause.sleep(self._left())
                for name, patient in list(self.patients.items()):
                    if patient.due <= SYSTEM_CLOCK.monotonic():
                        self._visit(name, patient, stop)
                        pause.check()
        except Cancelled:
            return

    def _left(self) -> float:
        """Seconds until somebody is due; those who were registered meanwhile are soon."""
        now = SYSTEM_CLOCK.monotonic()
        for name in list(self.vendors):
            if name not in self.patients:
                self.patients[name] = _Patient(now + self.interval * SOONER * SYSTEM_CLOCK.random())
        soonest = min([patient.due for patient in self.patients.values()], default=now + self.interval)
        return max(0.0, min(soonest - now, self.interval))

    def _visit(self, name: str, patient: _Patient, stop: Cancellation) -> None:
        """Check one vendor, and log and report its state."""
        began = self.clock.monotonic()
        health, error = self._look(name, stop)
        if stop.cancelled:
            return
        now = self.clock.monotonic()
        self.known[name] = (health, now)
        if error is not None and counts(error, answered=patient.answered):
            self._failed(name, patient, began, now)
        elif health.status == "healthy":
            self._answered(name, patient, now)
        spread = 1 - SPREAD + 2 * SPREAD * SYSTEM_CLOCK.random()
        wait = SOONER if patient.failures == 1 else 1.0
        patient.due = SYSTEM_CLOCK.monotonic() + self.interval * wait * spread

    def _look(self, name: str, stop: Cancellation) -> tuple[VendorHealth, DispatchError | None]:
        deadline = Deadline.after(self._patience, cancellation=stop)
        try:
            return looked_at(name, self.vendors[name], deadline)
        except BaseException as foreign:  # noqa: BLE001 - nothing that a user's vendor raises ends the thread
            return VendorHealth(vendor=name, status="unhealthy", detail=type(foreign).__name__), None

    @property
    def _patience(self) -> float:
        return max(LEAST_PATIENCE, min(PATIENCE, self.interval))

    def _failed(self, name: str, patient: _Patient, began: float, now: float) -> None:
        patient.failures += 1
        if patient.failures == 1:
            patient.since = began
            return
        until = now + HOLDS * self.interval + self._patience * len(self.vendors)
        if self.breakers.found_down(name, patient.since, until) and patient.failures == 2:
            logger.info("%s is down, as its health check sees it, and is left alone", name)
        patient.since = began

    def _answered(self, name: str, patient: _Patient, now: float) -> None:
        if patient.failures:
            self.breakers.answers_again(name, now)
        patient.failures, patient.answered = 0, True


def counts(error: DispatchError, *, answered: bool) -> bool:
    """Whether a check that ended so speaks against the vendor; a 5xx does only where the same question was ``answered`` before."""
    if isinstance(error, DeadlineExceeded):
        return True
    if not isinstance(error, VendorUnavailable):
        return False
    return error.status is None or (answered and error.status >= 500 and error.status not in _NOT_MEANT)


class HealthChecker:
    """The last known health of each vendor, and, with an interval, the thread that keeps it fresh."""

    def __init__(self, vendors: Mapping[str, VendorInfo], breakers: Breakers, interval: float | None, clock: Clock) -> None:
        self._vendors = vendors
        self._breakers = breakers
        self._interval = interval
        self._clock = clock
        self._lock = new_lock()
        self._known: dict[str, tuple[VendorHealth, float]] = {}
        self._stop = Cancellation()
        self._pid: int | None = None
        self._not_before = 0.0
        self._closed = False
        breakers.ejections.watched = interval is not None

    def ask(self, seconds: float) -> dict[str, VendorHealth]:
        """Check all vendors now."""
        found = health_of(self._vendors, seconds, self._clock)
        now = self._clock.monotonic()
        self._known.update({name: (health, now) for name, health in found.items()})
        return found

    def latest(self) -> dict[str, VendorHealth]:
        """Return the states of the last check; send nothing."""
        now, unknown = self._clock.monotonic(), (None, 0.0)
        found = {name: self._known.get(name, unknown) for name in list(self._vendors)}
        return {
            name: attrs.evolve(health, age=now - at) if health is not None else VendorHealth(vendor=name, status="unknown")
            for name, (health, at) in found.items()
        }

    def begin(self) -> None:
        """Start the thread in this process, if an interval is set; each call does this."""
        if self._interval is not None and self._pid != os.getpid():
            self._start(self._interval)

    def _start(self, interval: float) -> None:
        now, here = SYSTEM_CLOCK.monotonic(), os.getpid()
        with self._lock:
            if self._pid == here or self._closed or now < self._not_before:
                return
            self._pid, self._stop = here, Cancellation()  # a parent's is left alone: it would wake the parent's sockets
        rounds = _Rounds(self._vendors, self._breakers, interval, self._clock, self._known)
        thread = threading.Thread(target=rounds.run, args=(self._stop,), name="llmdispatcher-health", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            logger.warning("no thread can be started for health checks; tried again with a later call")
            self._pid, self._not_before = None, now + _AGAIN
            return
        weakref.finalize(self, _end, self._stop, here).atexit = False

    def close(self) -> None:
        """End the thread of this process, for good; idempotent."""
        with self._lock:
            self._closed = True
        if self._pid == os.getpid():
            self._stop.cancel("the dispatcher was closed")


def _end(stop: Cancellation, process: int) -> None:
    """Stop a thread, unless it is that of the process that forked this one."""
    if process == os.getpid():
        stop.cancel("the dispatcher is gone")
