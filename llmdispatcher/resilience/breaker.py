"""The circuit breaker: a target that fails too often is not asked for a while, then tried with a few probes.

```
    failure rate over the window, or time-outs in a row        open time over
  CLOSED ──────────────────────────────────▶ OPEN ─────────────────────▶ HALF-OPEN
    ▲                                          ▲                          │     │
    │                                          └──────── a probe fails ───┘     │
    └──────────────────────────────── a probe succeeds ─────────────────────────┘
```

Only failures of the target count: no connection, silence, 5xx, a malformed answer. What the caller did (an invalid request, a
cancelled call) is neutral, and so is a rate limit, which starts a cooldown instead. A probe holds a lease that expires, so a probe
that never reports back blocks nothing. Results of calls from before the circuit opened are ignored.

Each time-out costs its call the time that it took, and so few fit into the window that the rate would never tell. So they are also
counted in a row, and after them the circuit stays open for no less than the longest one took. A probe is a call of a user's. So the
probes of such a circuit are brief (``share.py``) while other targets are ready, but not the 8th, 16th, 32nd …: a target whose
honest answers take longer than a brief probe is found again by one of those.

A vendor that a health check found down (:class:`Ejections`) is treated as if its circuits were open. When it answers again, they
become half-open at once. The finding is weaker than a call: it is ignored if a call has succeeded meanwhile, it ends when
a call succeeds, and it expires. It needs no lock, since single steps of a dict are atomic.

Times are monotonic seconds and passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from ..catalog import Target
from ..errors import ANOTHER_VENDOR, CircuitOpen, ConfigError, DispatchError, MalformedReply, StreamInterrupted, VendorUnavailable
from ..runtime import new_lock
from ..types import at_least, boolean, non_negative_integer, suggest


class Ejections:
    """Which vendors are down, until when, and when each last answered a call."""

    def __init__(self) -> None:
        self.down: dict[str, float] = {}
        self.watched = False
        """Whether health checks run; without them answers of calls need not be noted."""
        self._answered: dict[str, float] = {}

    def note_answer(self, vendor: str, now: float, *, forced: bool) -> None:
        """Record that a call succeeded; a ``forced`` one, made since no other target was left, ends the outage."""
        self._answered[vendor] = now
        if forced:
            self.down.pop(vendor, None)

    def eject(self, vendor: str, since: float, until: float) -> bool:
        """Leave a vendor alone until then; False where a call has succeeded ``since`` the trouble was first seen."""
        if self._answered.get(vendor, -math.inf) >= since:
            return False
        self.down[vendor] = until
        return True

    def until(self, vendor: str, now: float) -> float:
        """The moment when the vendor may be asked again; minus infinity where it may be asked now."""
        until = self.down.get(vendor, -math.inf)
        return until if until > now else -math.inf


_SLICES = 10
_MOST = 10_000
COUNTED = (VendorUnavailable, MalformedReply, StreamInterrupted)
"""The errors that speak against a target."""


def _rate(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    at_least(0)(_instance, attribute, value)
    if value is None or not 0 < value <= 1:
        raise ConfigError(f"{attribute.name}: {value!r} is not a part of all calls; give a number above 0, up to 1.0")


@suggest
@attrs.frozen(kw_only=True)
class CircuitBreaker:
    """When a target is left alone: at least ``min_calls`` in the last ``window`` seconds, ``failure_rate`` of them failed.

    It is also left alone after ``timeouts`` calls in a row for which the time ran out, whenever they were; 0 counts none.
    It stays alone for ``open_time`` seconds, twice as long each further time, at most ``max_open_time``; then ``probes`` calls
    at a time may try it, and the first that succeeds closes the circuit. A probe that is not heard of for ``probe_timeout`` is
    forgotten. ``jitter`` makes the actual open time of the computed one, so that processes do not come back all at once.

    A call whose targets are all left alone asks the least bad of them; with ``strict`` it asks none, and ends at once with
    :class:`CircuitOpen`.
    """

    enabled: bool = attrs.field(default=True, validator=boolean)
    failure_rate: float = attrs.field(default=0.5, validator=_rate)
    min_calls: int = attrs.field(default=10, validator=non_negative_integer)
    window: float = attrs.field(default=30.0, validator=at_least(0.001))
    timeouts: int = attrs.field(default=3, validator=non_negative_integer)
    open_time: float = attrs.field(default=5.0, validator=at_least(0))
    max_open_time: float = attrs.field(default=300.0, validator=at_least(0))
    probes: int = attrs.field(default=1, validator=non_negative_integer)
    probe_timeout: float = attrs.field(default=60.0, validator=at_least(0.001))
    jitter: Callable[[float], float] | None = None
    strict: bool = attrs.field(default=False, validator=boolean)

    def rest(self, times: int, least: float = 0.0) -> float:
        """Seconds to stay open for the first, second, … time in a row, ``least`` for a target that made its caller wait so long."""
        seconds = min(max(self.open_time * 2.0 ** min(times - 1, 32), least), self.max_open_time)
        return max(0.0, self.jitter(seconds)) if self.jitter is not None else seconds


@attrs.frozen
class Permit:
    """Leave to ask a target once; handed back with the result. ``epoch`` counts how often the circuit has opened.

    A ``brief`` probe waits only shortly for an answer, where another target can be asked.
    """

    epoch: int = 0
    probe: bool = False
    brief: bool = False
    forced: bool = False


_PATIENT = 8
"""Of a circuit that opened on time-outs, the first probe that is not brief; each one after twice as many probes follows it."""
FREE = Permit()
"""The permit of a target that nothing is held against."""


@attrs.frozen
class Circuit:
    """The state of one target; every transition gives a new one."""

    slices: tuple[tuple[int, int, int], ...] = ()
    """Number of a slice of the window, calls and failures in it."""
    epoch: int = 0
    times_open: int = 0
    open_until: float = -math.inf
    leases: tuple[float, ...] = ()
    """When the probes that are out will be forgotten."""
    timeouts: int = 0
    """How many in a row."""
    waited: float = 0.0
    """Seconds of the longest time-out that opened it since it was last closed."""

    @property
    def brief(self) -> bool:
        """Whether the next probe is to be brief."""
        times = self.times_open
        return self.waited > 0 and not (times >= _PATIENT and times & (times - 1) == 0)

    @property
    def closed(self) -> bool:
        """Whether calls go through as they come."""
        return not self.times_open

    def count(self, policy: CircuitBreaker, now: float, *, failed: bool, waited: float | None = None) -> Circuit:
        """Count a call of a closed circuit; open it after one failure too many, or one time-out too many."""
        number = int(now / policy.window * _SLICES)
        kept = [entry for entry in self.slices if number - _SLICES < entry[0] < number]
        calls, failures = next(((entry[1], entry[2]) for entry in self.slices if entry[0] == number), (0, 0))
        slices = (*kept, (number, calls + 1, failures + failed))
        circuit = attrs.evolve(self, slices=slices, timeouts=0 if waited is None else self.timeouts + 1)
        total, bad = sum([entry[1] for entry in slices]), sum([entry[2] for entry in slices])
        too_many = total >= policy.min_calls and bad >= policy.failure_rate * total
        if failed and (too_many or 0 < policy.timeouts <= circuit.timeouts):
            return circuit.open(policy, now, waited)
        return circuit

    def open(self, policy: CircuitBreaker, now: float, waited: float | None = None) -> Circuit:
        """Open the circuit from now on, for longer than the last time."""
        times, waited = self.times_open + 1, max(self.waited, waited or 0.0)
        return Circuit(epoch=self.epoch + 1, times_open=times, open_until=now + policy.rest(times, waited), waited=waited)

    def admit(self, policy: CircuitBreaker, now: float) -> tuple[Circuit, Permit | None]:
        """A permit, if there is one: always while closed, for a probe once the open time is over."""
        if self.closed:
            return self, Permit(self.epoch)
        leases = tuple([expiry for expiry in self.leases if expiry > now])
        if now < self.open_until or len(leases) >= policy.probes:
            return self, None
        permit = Permit(self.epoch, probe=True, brief=self.brief)
        return attrs.evolve(self, leases=(*leases, now + policy.probe_timeout)), permit

    def report(
        self, policy: CircuitBreaker, permit: Permit, now: float, *, failed: bool | None, waited: float | None = None
    ) -> Circuit:
        """After a result: ``failed`` is ``None`` for one that says nothing about the target, ``waited`` the time that ran out."""
        if permit.epoch != self.epoch:
            return self
        if permit.forced:
            return Circuit(epoch=self.epoch + 1) if failed is False else self
        if not permit.probe:
            return self if failed is None or not self.closed else self.count(policy, now, failed=failed, waited=waited)
        if failed is None:
            return attrs.evolve(self, leases=self.leases[1:])
        return self.open(policy, now, waited) if failed else Circuit(epoch=self.epoch + 1)

    def ready_at(self, now: float) -> float:
        """The moment to ask for a permit again; minus infinity while closed."""
        if self.closed:
            return -math.inf
        if now < self.open_until:
            return self.open_until
        return min(self.leases, default=-math.inf)

    def idle(self, policy: CircuitBreaker, now: float) -> bool:
        """Whether it can be forgotten: closed, and no failure left in the window, or in a row."""
        number = int(now / policy.window * _SLICES)
        return self.closed and not self.timeouts and not any(entry[2] for entry in self.slices if entry[0] > number - _SLICES)


_CLOSED = Circuit()


class Breakers:
    """The circuits of all targets; safe under threads, bounded. A target without failures has none and costs a look-up."""

    def __init__(self, policy: CircuitBreaker) -> None:
        self._policy = policy
        self._lock = new_lock()
        self.circuits: dict[tuple[str, ...], Circuit] = {}
        """Those of targets that failed lately."""
        self.ejections = Ejections()

    def admit(self, target: Target, now: float, *, forced: bool = False) -> Permit | None:
        """Return a permit to ask the target now, or ``None`` while its circuit is open. Each permit must be reported.

        ``forced`` asks although the circuit is open, since no other target is left: a success closes it, a failure changes nothing.
        """
        if self.ejections.down and self.ejections.until(target.vendor, now) > now:
            epoch = self.circuits.get(target.key, _CLOSED).epoch
            return Permit(epoch, forced=True) if forced and not self._policy.strict else None
        if target.key not in self.circuits:
            return FREE
        with self._lock:
            circuit, permit = self.circuits.get(target.key, _CLOSED).admit(self._policy, now)
            self.circuits[target.key] = circuit
        return Permit(circuit.epoch, forced=True) if permit is None and forced and not self._policy.strict else permit

    def report(
        self, target: Target, permit: Permit, error: DispatchError | None, now: float, *, waited: float | None = None
    ) -> None:
        """Take in how a permitted call ended; ``waited`` is the time that ran out for it, which is a failure whatever the error."""
        failed = None if error is not None else False  # None: it says nothing about the target
        if waited is not None or isinstance(error, COUNTED):
            failed = True
        if self.ejections.watched and failed is False:
            self.ejections.note_answer(target.vendor, now, forced=permit.forced)
        if not self._policy.enabled or (not failed and target.key not in self.circuits):
            return
        with self._lock:
            known = self.circuits.get(target.key, _CLOSED)
            circuit = known.report(self._policy, permit, now, failed=failed, waited=waited)
            if circuit.idle(self._policy, now):
                self.circuits.pop(target.key, None)
            else:
                self._put(target.key, circuit)

    def found_down(self, vendor: str, since: float, until: float) -> bool:
        """Leave a vendor alone ``until`` then, since a health check found it down, first at ``since``.

        Returns False where a call has succeeded meanwhile.
        """
        return self._policy.enabled and self.ejections.eject(vendor, since, until)

    def answers_again(self, vendor: str, now: float) -> None:
        """Admit calls to a vendor that was found down and answers again; a probe of a target with an open circuit is not brief."""
        self.ejections.down.pop(vendor, None)
        with self._lock:
            for key, circuit in self.circuits.items():
                if key[0] == vendor and circuit.open_until > now:
                    self.circuits[key] = attrs.evolve(circuit, open_until=now, waited=0.0)

    def leave_alone(self, vendor: str, model: str | None, until: float) -> None:
        """Leave a vendor alone, or one model of it, until then: it is asked only where no other target is left."""
        if model is None:
            self.ejections.down[vendor] = until
            return
        with self._lock:
            known = self.circuits.get((vendor, model), _CLOSED)
            self._put((vendor, model), Circuit(epoch=known.epoch + 1, times_open=known.times_open + 1, open_until=until))

    def _put(self, key: tuple[str, ...], circuit: Circuit) -> None:
        if key not in self.circuits and len(self.circuits) >= _MOST:
            del self.circuits[next(iter(self.circuits))]
        self.circuits[key] = circuit

    def ready_at(self, target: Target, now: float) -> float:
        """The moment when the target may be asked again; minus infinity where it may be asked now."""
        circuit = self.circuits.get(target.key)
        ready = -math.inf if circuit is None else circuit.ready_at(now)
        return max(ready, self.ejections.until(target.vendor, now)) if self.ejections.down else ready

    def refusal(self, targets: Sequence[Target], now: float) -> CircuitOpen | None:
        """Return the error of a call whose targets are all left alone; it says when the first may be asked again."""
        waits = [(self.ready_at(target, now) - now, number) for number, target in enumerate(targets)]
        left, number = min([wait for wait in waits if wait[0] > 0], default=(0.0, -1))
        if number < 0:
            return None
        return CircuitOpen(
            f"it failed too often lately, or was found down, and is left alone for another {left:.1f} s",
            remedy=f"come back then, or {ANOTHER_VENDOR}",
            vendor=targets[number].vendor,
            model=targets[number].model,
            retry_after=left,
            sent=False,
        )

    def state(self, target: Target, now: float) -> str:
        """``"closed"``, ``"open"`` or ``"half-open"``, for people."""
        circuit = self.circuits.get(target.key, _CLOSED)
        if self.ejections.until(target.vendor, now) > now:
            return "open"
        if circuit.closed:
            return "closed"
        return "open" if now < circuit.open_until else "half-open"
