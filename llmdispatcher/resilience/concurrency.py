"""Limits of concurrent calls: a number of slots, a queue for them, and a number that adapts to the vendor.

First come, first served: a free slot goes to the head of the queue before any new call. The number is fixed, or adapts (AIMD): a
refusal for overload decreases it, at most once a round trip, since all that was sent before the last decrease tells nothing new;
each window of successes adds one.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import attrs

from ..errors import ConfigError, DispatchError, RateLimitError, VendorUnavailable
from ..types import at_least, integer, non_negative_integer, suggest

OVERLOADED = frozenset({503, 529})
"""Statuses of a vendor that has more calls than it can serve, beside 429: it says so by its error class."""
SMALLEST_WINDOW = 30
"""Successes; a narrow room grows no faster, so that probing for more costs few refusals."""


def some(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A whole number of at least 1, or ``None``."""
    non_negative_integer(_instance, attribute, value)
    if value == 0:
        raise ConfigError(f"{attribute.name}: 0 would let nothing through; give 1 or more, or None for no limit")


def _part(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    at_least(0)(_instance, attribute, value)
    if value is None or not 0 < value < 1:
        raise ConfigError(f"{attribute.name}: {value!r} is not what remains after a refusal; give a number between 0 and 1")


def _number(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    integer(instance, attribute, value)
    some(instance, attribute, value)


@suggest
@attrs.frozen(kw_only=True)
class AdaptiveConcurrency:
    """As many calls in flight as the vendor takes: ``initial`` at first, never below ``minimum`` or above ``maximum``.

    A refusal for overload (429, 503, 529) leaves ``decrease`` of it; each window of successes adds one.
    """

    initial: int = attrs.field(default=8, validator=_number)
    minimum: int = attrs.field(default=1, validator=_number)
    maximum: int = attrs.field(default=1000, validator=_number)
    decrease: float = attrs.field(default=0.7, validator=_part)

    @maximum.validator
    def _in_order(self, _attribute: Any, _value: int) -> None:
        if not self.minimum <= self.initial <= self.maximum:
            raise ConfigError(f"initial: {self.initial} is not between minimum ({self.minimum}) and maximum ({self.maximum})")


class Capacity:
    """How many places a room has now."""

    def __init__(self, most: int | None, adaptive: AdaptiveConcurrency | None) -> None:
        self._most = math.inf if most is None else most
        self._adaptive = adaptive
        self._allowed = self._most if adaptive is None else min(self._most, float(adaptive.initial))
        self._successes = 0
        self._since = 0

    @property
    def places(self) -> float:
        """Whole, or infinite."""
        return self._allowed if self._allowed == math.inf else int(self._allowed)

    def hear(self, error: DispatchError | None, number: int, issued: int, in_flight: int) -> None:
        """Adapt to how the call ``number`` ended, of so many ``issued`` so far."""
        if self._adaptive is None:
            return
        if error is None:
            self._count_success(self._adaptive, in_flight)
        elif is_overload(error) and number >= self._since:
            self._allowed = max(float(self._adaptive.minimum), self._allowed * self._adaptive.decrease)
            self._since, self._successes = issued, 0

    def _count_success(self, adaptive: AdaptiveConcurrency, in_flight: int) -> None:
        if 2 * in_flight < self._allowed:
            return  # so few calls tell nothing of whether more would be taken
        self._successes += 1
        if self._successes >= max(self._allowed, SMALLEST_WINDOW):
            self._allowed = min(self._allowed + 1, self._most, float(adaptive.maximum))
            self._successes = 0


def is_overload(error: DispatchError) -> bool:
    """Whether an error says that the vendor has too many calls; our own errors and a spent quota do not."""
    if error.sent is False:
        return False
    return isinstance(error, RateLimitError) or (isinstance(error, VendorUnavailable) and error.status in OVERLOADED)


class ConcurrencySlot:
    """A place in a room: that of one call, which has it, waits for it, or has left. ``tenant`` is known when the call waits."""

    __slots__ = ("gate", "number", "room", "tenant")

    def __init__(self) -> None:
        self.room: ConcurrencyLimiter | None = None
        self.number = 0
        self.gate: threading.Lock | None = None
        self.tenant: str | None = None

    def wake(self) -> None:
        """End the wait, from any thread, signal handler or finalizer; idempotent."""
        if self.gate is not None:
            with suppress(RuntimeError):
                self.gate.release()


class FairQueue:
    """The queue of waiting calls: one of each tenant in turn, first come first served within a tenant.

    It holds at every single step, since a signal may interrupt it anywhere: a line may be empty, or be lost for a moment.
    """

    def __init__(self) -> None:
        self._lines: dict[str | None, dict[ConcurrencySlot, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __bool__(self) -> bool:
        return any(self._lines.values())

    def __iter__(self) -> Iterator[ConcurrencySlot]:
        """Yield the call whose turn it is, then the rest, tenant by tenant."""
        for line in self._lines.values():
            yield from line

    def __contains__(self, seat: ConcurrencySlot) -> bool:
        return seat in self._lines.get(seat.tenant, ())

    def __setitem__(self, seat: ConcurrencySlot, nothing: None, /) -> None:
        line = self._lines.get(seat.tenant)
        if line is None:
            self._lines[seat.tenant] = {seat: nothing}
        else:
            line[seat] = nothing

    def pop(self, seat: ConcurrencySlot, nothing: None, /) -> None:
        """Remove a call if it is queued; if it was let in, its tenant goes to the back."""
        tenant = seat.tenant
        line = self._lines.get(tenant)
        if line is None or seat not in line:
            return
        del line[seat]
        if seat.room is not None or not line:
            del self._lines[tenant]
            if line:
                self._lines[tenant] = line

    def clear(self) -> None:
        """Remove all."""
        self._lines.clear()


class ConcurrencyLimiter:
    """The calls in flight at one vendor or model, and those that wait. Its user holds the lock of all rooms."""

    def __init__(self, capacity: Capacity, queue: FairQueue | None = None) -> None:
        self.capacity = capacity
        self.seats: set[ConcurrencySlot] = set()
        self.queue: FairQueue | dict[ConcurrencySlot, None] = {} if queue is None else queue
        """A dict is a queue in the order of arrival."""
        self._issued = 0

    def enter(self, seat: ConcurrencySlot) -> bool:
        """Give a call a place, unless there is none or others have waited longer."""
        if self.queue:
            self.admit()
        if len(self.seats) >= self.capacity.places or self.queue:
            return False
        self._give(seat)
        return True

    def leave(self, seat: ConcurrencySlot, hear: Callable[[Capacity, int, int], None]) -> None:
        """Take the place of a call back, once, and hand it on; ``hear`` tells the capacity how the call ended."""
        if seat in self.seats:
            hear(self.capacity, self._issued, len(self.seats))
            self.seats.discard(seat)
        self.admit()

    def admit(self) -> None:
        """Let waiting calls in, as far as there are places."""
        while self.queue and len(self.seats) < self.capacity.places:
            seat = next(iter(self.queue))
            if seat.room is None:
                self._give(seat)
                seat.wake()
            self.queue.pop(seat, None)

    def empty(self) -> None:
        """Forget all calls: they are in the process that forked this one."""
        self.seats.clear()
        self.queue.clear()

    def _give(self, seat: ConcurrencySlot) -> None:
        seat.number, seat.room = self._issued, self
        self._issued += 1
        self.seats.add(seat)
