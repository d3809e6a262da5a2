"""Rate limits of a vendor: the local count of requests, tokens and concurrent calls, corrected by what the vendor reports as left.

An attempt reserves before it is sent: one concurrent call, one request, and the tokens that it is estimated to cost. If each of a
vendor's keys has its own limits, it reserves with the first key that has room, and that key is sent. A target without room goes to
the back of the order. It is ready when enough of the last minute has passed, or, if too many calls are in flight, when one of them
ends; so a call goes elsewhere or waits, whichever is sooner. After the response, the estimate is replaced by what was used. A
shared storage counts for several processes; if it fails, the local count goes on.

Times are monotonic seconds and passed in.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from ..catalog import Target
from ..errors import ConfigError, DispatchError, VendorUnavailable
from ..runtime import Deadline, new_lock
from ..types import LimitWarning, RateLimitRemaining
from .concurrency import Capacity, ConcurrencyLimiter, ConcurrencySlot
from .rate_limit import PATIENCE, WINDOW, Grain, Keys, LimitRule, RateLimit, RateLimitStatus, SlidingCount, Window, WindowEntry

if TYPE_CHECKING:
    from .shared_rate_limit import SharedLimits, Taken


@attrs.frozen
class KeyLease:
    """The key of a place in the limits, and where it goes when that is refused; a :class:`~llmdispatcher.runtime.KeyAssignment`."""

    _place: RateLimitSlot
    move: Callable[[Sequence[int], DispatchError], int | None]
    """Takes a place under another of these keys, after a refusal; gives ``None`` where no key has one."""

    @property
    def key(self) -> int | None:
        """Its number."""
        return self._place.key


_MOST = 10_000
_Way = tuple[int | None, tuple[str, ...]]
"""The number of a key, where those count for themselves, and the name of a count."""


class RateLimitSlot(ConcurrencySlot):
    """The place of one call in the limits; the call settles it with what it really used. ``until`` is the call's deadline.

    ``key`` is the number of the key that it is a place of, ``full`` holds the rooms that had none for it, and ``why`` tells which
    limit had none.
    """

    __slots__ = ("count", "entry", "full", "grains", "key", "output", "receipt", "until", "why")

    def __init__(self, until: float = math.inf) -> None:
        super().__init__()
        self.until = until
        self.count: _LimitCount | None = None
        self.entry: WindowEntry | None = None
        self.receipt: Taken | None = None
        self.key: int | None = None
        self.full: list[ConcurrencyLimiter] = []
        self.output = 0
        self.grains: list[Grain] = []
        self.why = ""


class _LimitCount:
    """What is counted under one key: requests, tokens, and calls in flight."""

    def __init__(self, key: tuple[str, ...], limit: RateLimit, shared: SharedLimits | None) -> None:
        self.key = ":".join(key)
        self.limit = limit
        self.window = Window(limit.requests_per_minute, limit.tokens_per_minute)
        limited = limit.max_in_flight is not None or limit.adaptive is not None
        self.room = ConcurrencyLimiter(Capacity(limit.max_in_flight, limit.adaptive)) if limited else None
        self.shared = shared
        self.others = [SlidingCount(rule) for rule in limit.other_rules]
        self.warned: dict[LimitRule, float] = {}
        """Until when a limit is not warned of again."""

    def ready_at(self, tokens: int, output: int, now: float) -> tuple[float, LimitRule | None]:
        """When all other limits than those of the minute have room, and which is the last."""
        ready, last = -math.inf, None
        for count in self.others:
            at = count.ready_at(count.rule.amount(tokens, output), now)
            if at > max(ready, now):
                ready, last = at, count.rule
        return ready, last

    def forget_until(self, moment: float) -> bool:
        """Forget what was asked up to a moment; tell whether there was anything."""
        found = self.window.forget_until(moment)
        for count in self.others:
            found = count.forget_until(moment) or found
        return found

    def clear(self) -> None:
        """Forget all that was asked."""
        self.window.clear()
        self.warned.clear()
        for count in self.others:
            count.clear()

    def due(self, now: float) -> list[tuple[LimitRule, int]]:
        """The limits of which so much is used that a warning is due, with what is used; they count as told."""
        share, found = self.limit.warn_at or 1.0, []
        used = [(rule, self.window.used(rule.unit)) for rule in self.limit.minute_rules]
        for rule, amount in [*used, *[(count.rule, count.total) for count in self.others]]:
            if amount >= share * rule.most and self.warned.get(rule, now) <= now:
                self.warned[rule] = now + rule.seconds
                found.append((rule, amount))
        return found


class Limits:
    """The counts of all vendors that have a limit or have reported one; safe under threads and after a fork, bounded.

    ``storage`` and ``prefix`` are those of all limits that have none of their own, ``warn`` hears when most of a limit is used.
    Raises :class:`ConfigError` where the extra is missing.
    """

    def __init__(self, storage: Any = None, prefix: str = "", warn: Callable[[LimitWarning], None] = lambda _: None) -> None:
        self._storage = storage
        self._prefix = prefix
        self._warn = warn
        self._limits: dict[str, RateLimit] = {}
        self._keys: dict[str, Keys] = {}
        self._lock = new_lock()
        self._counts: dict[tuple[str, ...], _LimitCount] = {}
        self._storages: dict[Any, SharedLimits] = {}
        self._pid = os.getpid()
        self.in_use = False
        """Whether there is any limit at all; without one a call needs no place."""
        if storage is not None:
            self._open_storage(storage, None)

    def set(self, vendor: str, limit: RateLimit, keys: Keys | None = None) -> None:
        """Limit what a vendor is asked, by each of its ``keys`` where the limit says so."""
        if limit.per_key and keys is not None and keys.key_count > 1:
            self._keys[vendor] = keys
        if limit.storage is not None:
            self._open_storage(limit.storage, limit.prefix)
        self._limits[vendor] = limit
        self.in_use = True

    def take(
        self, target: Target, tokens: int, now: float, place: RateLimitSlot | None = None, output: int = 0
    ) -> RateLimitSlot | float | None:
        """A place for a call now, or the moment when there may be one, or ``None`` where no limit is known.

        The call is estimated to have so many ``tokens``, ``output`` of them output.

        The moment is infinite where it cannot be known: too many calls are in flight, and one of them must end (:meth:`wait`).
        ``place`` receives what is taken; with one of its own the caller can give it back even where this is interrupted.
        """
        ways, limit = self._ways(target)
        if limit is None and ways[0][1] not in self._counts:
            return None
        place = RateLimitSlot() if place is None else place
        place.output = output
        if place.room is not None and ways[0][0] is not None:
            ways = self._entered_first(ways, limit, place)
        return self._first(place, ways, limit, tokens, now)

    def _first(
        self, place: RateLimitSlot, ways: Sequence[_Way], limit: RateLimit | None, tokens: int, now: float
    ) -> RateLimitSlot | float:
        """A place on the first count that has one, or when there may be one; infinite where only a call's end can tell."""
        place.full, soonest = [], math.inf
        for way in ways:
            ready = self._put(place, way, limit, tokens, now)
            if ready is None:
                return place
            soonest = min(soonest, ready)
        return math.inf if place.full else soonest

    def _put(self, place: RateLimitSlot, way: _Way, limit: RateLimit | None, tokens: int, now: float) -> float | None:
        """Take a place on one count; the moment when there may be one, where there is none."""
        count, ready = self._put_here(place, way, limit, tokens, now)
        in_time = count.shared is not None and now + PATIENCE <= place.until
        if now < ready < math.inf and in_time and self._was_reset(count, now):
            count, ready = self._put_here(place, way, limit, tokens, now)
        if ready > now:
            return ready
        taken = count.shared.take(count.key, count.limit, tokens, now, place.output) if in_time and count.shared else None
        if isinstance(taken, float):
            self.give_back(place, now)
            return taken
        place.receipt = taken
        if count.limit.warn_at is not None:
            self._tell(count, now, taken)
        return None

    def _put_here(
        self, place: RateLimitSlot, way: _Way, limit: RateLimit | None, tokens: int, now: float
    ) -> tuple[_LimitCount, float]:
        """Take a place by the count of this process; its moment has passed where that was done."""
        number, key = way
        with self._lock:
            count = self._count(key, limit)
            if count.room is not None and place.room is not count.room and not count.room.enter(place):
                place.full.append(count.room)
                return count, math.inf
            count.window.forget(now)
            ready, place.why = count.window.ready_at(tokens), ""
            if count.others:
                later, rule = count.ready_at(tokens, place.output, now)
                if rule is not None and later > ready:
                    ready, place.why = later, str(rule)
            if ready > now:
                self._leave(place)
                return count, ready
            place.count, place.entry, place.key = count, count.window.take(tokens, now), number
            if count.others:
                place.grains = [other.take(other.rule.amount(tokens, place.output), now) for other in count.others]
        return count, ready

    def _was_reset(self, count: _LimitCount, now: float) -> bool:
        """Forget what was counted before another process has reset the limit; tell whether there was anything."""
        moment = count.shared.last_reset(count.key, now) if count.shared is not None else -math.inf
        with self._lock:
            return count.forget_until(moment)

    def _tell(self, count: _LimitCount, now: float, taken: Taken | None) -> None:
        """Report the limits of which most is used: of a storage what all processes have used, else what this one has."""
        if taken is not None:
            found = list(taken.warnings)
        else:
            with self._lock:
                found = count.due(now)
        for rule, used in found:
            self._warn(
                LimitWarning(source="rate_limit", name=count.key, unit=rule.unit, limit=rule.most, used=used, period=rule.period)
            )

    def _entered_first(self, ways: list[_Way], limit: RateLimit | None, place: RateLimitSlot) -> list[_Way]:
        """The count first whose place in flight the call has waited for."""
        with self._lock:
            entered = [way for way in ways if self._count(way[1], limit).room is place.room]
            if not entered:
                self._leave(place)  # that of a key which has been laid to rest since
        return entered + [way for way in ways if way not in entered]

    def lease(self, target: Target, place: RateLimitSlot | None, clock: Callable[[], float]) -> KeyLease | None:
        """Return the lease that tells a vendor which of its keys to use; ``None`` where the vendor chooses."""
        if place is None or place.key is None:
            return None
        return KeyLease(place, lambda awake, error: self.move(place, target, awake, error, clock()))

    def move(self, place: RateLimitSlot, target: Target, numbers: Sequence[int], error: DispatchError, now: float) -> int | None:
        """A place with another key, for a call whose key was refused: that used a request, and no tokens."""
        tokens = place.entry.tokens if place.entry is not None else 0
        self.settle(place, 0, now, 0)
        self.ended(place, error)
        place.room = None
        key, limit = self._key(target)
        taken = self._first(place, [_way_of_key(key, number) for number in numbers], limit, tokens, now)
        return place.key if isinstance(taken, RateLimitSlot) else None

    def wait(self, targets: Sequence[Target], place: RateLimitSlot, deadline: Deadline, until: float) -> Target | None:
        """Take a place in flight at the first of these targets that has one; ``None`` if none has one before that moment.

        Raises when the deadline has passed or the call is cancelled; what was taken then is for the caller to give back.
        """
        place.gate = threading.Lock()
        place.gate.acquire()
        queued: dict[ConcurrencyLimiter, Target] = {}
        ways = [(target, self._ways(target)[0]) for target in targets]
        try:
            with self._lock:
                entered = self._queue(ways, place, queued)
            if entered is not None:
                return entered
            key = deadline.cancellation.subscribe(place.wake)
            try:
                left = min(until, deadline.at) - deadline.clock.monotonic()
                if left > 0:
                    deadline.clock.wait(place.gate, left)
            finally:
                deadline.cancellation.unsubscribe(key)
        finally:
            with self._lock:
                for room in queued:
                    room.queue.pop(place, None)
        try:
            deadline.check()
        except DispatchError as error:
            raise error.with_facts(vendor=targets[0].vendor, model=targets[0].model) from None
        return queued[place.room] if place.room is not None else None

    def _queue(
        self, ways: Sequence[tuple[Target, list[_Way]]], place: RateLimitSlot, queued: dict[ConcurrencyLimiter, Target]
    ) -> Target | None:
        """Join all the queues, unless there is a place; returns the target that has it."""
        for target, counts in ways:
            rooms = [self._count(key, self._limits.get(target.vendor)).room for _, key in counts]
            for room in [room for room in rooms if room in place.full] or rooms:
                if room is None or room.enter(place):
                    return target
                room.queue[place] = None
                queued.setdefault(room, target)
        return None

    def settle(self, place: RateLimitSlot, used: int | None, now: float = 0.0, output: int = 0) -> None:
        """Put what a call really used in the place of its estimate, ``output`` of it output; ``None`` keeps the estimate."""
        if used is None or place.count is None or place.entry is None:
            return
        with self._lock:
            before = place.entry.tokens
            place.count.window.correct(place.entry, used)
            for other, grain in zip(place.count.others, place.grains, strict=True) if place.grains else ():
                other.correct(grain, other.rule.amount(used, output) - other.rule.amount(before, place.output))
        receipt, place.receipt, place.grains = place.receipt, None, []
        if receipt is not None and (shared := _in_time(place, now)) is not None:
            shared.settle(receipt, used, now, output)
        if place.count.limit.warn_at is not None and receipt is None:
            self._tell(place.count, now, None)

    def give_back(self, place: RateLimitSlot, now: float = 0.0) -> None:
        """Give the place back, since the call was not made."""
        with self._lock:
            if place.count is not None and place.entry is not None:
                place.count.window.drop(place.entry)
                for other, grain in zip(place.count.others, place.grains, strict=True) if place.grains else ():
                    other.correct(grain, -other.rule.amount(place.entry.tokens, place.output))
                place.grains = []
            self._leave(place)
        receipt, place.receipt = place.receipt, None
        if receipt is not None and (shared := _in_time(place, now)) is not None:
            shared.give_back(receipt, now)

    def ended(self, place: RateLimitSlot, error: DispatchError | None) -> None:
        """Record that the call is in flight no more, and its error, if it failed. Idempotent."""
        if place.room is None:
            return
        with self._lock:
            self._forget_calls_of_parent()
            place.room.leave(place, lambda capacity, issued, there: capacity.hear(error, place.number, issued, there))

    def _leave(self, place: RateLimitSlot) -> None:
        self._forget_calls_of_parent()
        if place.room is not None:
            place.room.leave(place, lambda *_: None)
            place.room = None

    def note_remaining(self, target: Target, remaining: RateLimitRemaining, now: float, number: int | None = None) -> None:
        """Remember what a vendor says is left of its own limits, for the key of that number, until they are reset."""
        said = {
            "requests": (remaining.requests, remaining.requests_reset),
            "tokens": (remaining.tokens, remaining.tokens_reset),
        }
        known = {
            name: (left, now + min(reset, WINDOW))
            for name, (left, reset) in said.items()
            if left is not None and reset is not None and left >= 0 and reset > 0
        }
        if not known:
            return
        key, limit = self._key(target)
        if number is not None and target.vendor in self._keys:
            _, key = _way_of_key(key, number)
        with self._lock:
            self._count(key, limit).window.remaining.update(known)
            self.in_use = True

    def status(self, target: Target, now: float) -> RateLimitStatus:
        """Return what is left for a target."""
        key, limit = self._key(target)
        keys = self._keys.get(target.vendor)
        if keys is None:
            return self._status(key, limit, now)
        numbers = range(1, keys.key_count + 1)
        return RateLimitStatus.combine([self._status(_way_of_key(key, number)[1], limit, now) for number in numbers])

    def _status(self, key: tuple[str, ...], limit: RateLimit | None, now: float) -> RateLimitStatus:
        with self._lock:
            self._forget_calls_of_parent()
            count = self._counts.get(key) or self._new(key, limit)
        shared = count.shared.left(count.key, count.limit, now) if count.shared is not None else None
        with self._lock:
            count.forget_until(shared.last_reset if shared is not None else -math.inf)
            count.window.forget(now)
            requests, tokens = count.window.left()
            reset, room = count.window.reset(now), count.room
            places = room.capacity.places if room is not None else math.inf
            busy, waiting = (len(room.seats), len(room.queue)) if room is not None else (None, 0)
            windows = [other.status(now) for other in count.others]
        if shared is not None:
            pairs, reset = zip(windows, shared.others, strict=True), shared.reset
            windows = [attrs.evolve(own, remaining=min(own.remaining, left), reset=first) for own, (left, first) in pairs]
        return RateLimitStatus(
            requests_limit=count.limit.requests_per_minute,
            requests_remaining=_less(requests, shared.requests if shared else None),
            tokens_limit=count.limit.tokens_per_minute,
            tokens_remaining=_less(tokens, shared.tokens if shared else None),
            reset=reset,
            in_flight_limit=None if places == math.inf else int(places),
            in_flight=busy,
            waiting=waiting,
            shared=None if count.shared is None else shared is not None,
            windows=tuple(windows),
        )

    def reset(self, vendor: str, model: str | None = None) -> None:
        """Forget what was asked of a vendor, or of one of its models where those count for themselves; calls in flight stay.

        Raises :class:`ConfigError` for a limit that is not there, and :class:`VendorUnavailable` where its storage fails.
        """
        limit = self._limits.get(vendor)
        with self._lock:
            known = {key for key in self._counts if key[0] == vendor}
        if limit is None and not known:
            raise ConfigError(f"limits: {vendor!r} has no rate limit; give its vendor one, rate_limit=RateLimit(...)")
        by_model = limit is None or limit.per_model
        if model is not None and not by_model:
            raise ConfigError(f"limits: the models of {vendor!r} share one count; leave the model out")
        keys, address = self._keys.get(vendor), limit.storage or self._storage if limit is not None else None
        with self._lock:
            chosen = {key for key in known if model is None or key[1:2] == (model,)}
            for key in chosen & self._counts.keys():
                self._counts[key].clear()
        if limit is None or address is None:
            return
        if by_model and model is None and not chosen:
            raise ConfigError(f"limits: each model of {vendor!r} has its own count; name the model")
        base = (vendor,) if not by_model else (vendor, model) if model is not None else None
        if base is not None:
            numbers = range(1, keys.key_count + 1) if keys is not None else ()
            chosen |= {_way_of_key(base, number)[1] for number in numbers} or {base}
        done = [self._open_storage(address, limit.prefix).reset(":".join(key), limit) for key in sorted(chosen)]
        if not all(done):
            raise VendorUnavailable(
                f"the rate limit of {vendor!r} is not reset: its Redis server fails; try again when it is back",
                vendor=vendor,
                sent=False,
            )

    def close(self) -> None:
        """Give back the connections of the storages."""
        for stored in list(self._storages.values()):
            stored.close()

    def _key(self, target: Target) -> tuple[tuple[str, ...], RateLimit | None]:
        limit = self._limits.get(target.vendor)
        return (target.key if limit is None or limit.per_model else (target.vendor,)), limit

    def _ways(self, target: Target) -> tuple[list[_Way], RateLimit | None]:
        """The counts on which a call may take its place, the best first, and the limit of all."""
        key, limit = self._key(target)
        keys = self._keys.get(target.vendor)
        return ([(None, key)] if keys is None else [_way_of_key(key, number) for number in keys.awake_keys()]), limit

    def _count(self, key: tuple[str, ...], limit: RateLimit | None) -> _LimitCount:
        if self._pid != os.getpid():
            self._forget_calls_of_parent()
        count = self._counts.get(key)
        if count is None:
            if len(self._counts) >= _MOST:
                del self._counts[next(iter(self._counts))]
            count = self._counts[key] = self._new(key, limit)
        return count

    def _new(self, key: tuple[str, ...], limit: RateLimit | None) -> _LimitCount:
        limit = limit or RateLimit()
        counted = limit.minute_rules or limit.other_rules
        place = self._storage if limit.storage is None else limit.storage
        return _LimitCount(key, limit, self._open_storage(place, limit.prefix) if counted and place is not None else None)

    def _open_storage(self, place: Any, prefix: str | None) -> SharedLimits:
        """The count on servers; its module is loaded only now, and opens nothing before the first call."""
        prefix = self._prefix if prefix is None else prefix
        of = (place if isinstance(place, str) else id(place), prefix)  # a client is kept alive by its count
        stored = self._storages.get(of)
        if stored is None:
            from .shared_rate_limit import SharedLimits

            stored = self._storages.setdefault(of, SharedLimits(place, prefix))
        return stored

    def _forget_calls_of_parent(self) -> None:
        """Forget the calls in flight in a forked child: they are the parent's."""
        if self._pid != os.getpid():
            for count in self._counts.values():
                if count.room is not None:
                    count.room.empty()
            self._pid = os.getpid()


def _way_of_key(key: tuple[str, ...], number: int) -> _Way:
    return number, (*key, f"key{number}")


def _in_time(place: RateLimitSlot, now: float) -> SharedLimits | None:
    """The storage of a place, unless the call's deadline is so near that it could be held up past it."""
    return place.count.shared if place.count is not None and now + PATIENCE <= place.until else None


def _less(own: int | None, shared: int | None) -> int | None:
    return own if shared is None else shared if own is None else min(own, shared)
