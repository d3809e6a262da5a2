"""Resolve names without waiting past a deadline.

``getaddrinfo`` cannot be interrupted and may take ten seconds and more if a resolver does not answer, so it runs in at most four
daemon threads, once per name at a time. Addresses are kept for half a minute, and are used longer if a resolver fails or is slow.
"""

from __future__ import annotations

import collections
import contextlib
import ipaddress
import itertools
import math
import socket
import threading
from typing import Any

import attrs

from ..errors import Overloaded, VendorUnavailable
from ..runtime import SYSTEM_CLOCK, Clock, on_fork
from .context import IoContext

Address = tuple[int, int, int, Any]
"""Family, type, protocol and what ``connect`` takes."""

THREADS = 4
FRESH = 30.0
"""Seconds for which addresses are used without asking again."""
FAILED = 1.0
"""Seconds for which a failed lookup is not repeated."""
STALE = 3600.0
"""Seconds for which old addresses are used when a lookup fails."""
PATIENCE = 0.25
"""Seconds to wait for new addresses where there are old ones."""
STUCK = 10.0
"""Seconds after which a lookup is given up: no further caller waits for it."""
HOSTS = 256

Key = tuple[str, int]


@attrs.frozen(kw_only=True)
class DnsEntry:
    """The result of a lookup: addresses, none for a failure, and when it ended."""

    addresses: tuple[Address, ...] = ()
    at: float
    reason: str = ""

    def is_fresh(self, now: float) -> bool:
        """Whether the name need not be looked up again."""
        return now - self.at < (FRESH if self.addresses else FAILED)

    def is_usable(self, now: float) -> bool:
        """Whether its addresses may be used where a newer lookup has failed."""
        return bool(self.addresses) and now - self.at < STALE


class _Lookup:
    """A lookup under way, and the gates of the callers that wait for it."""

    __slots__ = ("at", "gates", "key")

    def __init__(self, key: Key, at: float) -> None:
        self.key = key
        self.at = at
        self.gates: list[threading.Lock] = []


class Resolver:
    """Asks the system's resolver; shared by all transports of the process."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self.reset()

    def reset(self) -> None:
        """Forget everything, since a forked child has none of its parent's threads."""
        self._lock = threading.Lock()
        self._known: dict[Key, DnsEntry] = {}
        self._asked: dict[Key, _Lookup] = {}
        self._queue: collections.deque[_Lookup] = collections.deque()
        self._threads = 0

    def addresses(self, host: str, port: int, context: IoContext) -> tuple[Address, ...]:
        """The addresses of ``host``. Raises :class:`VendorUnavailable` with phase ``"dns"``, or what ended the call."""
        if host == "localhost" or _is_address(host):
            return _addresses_of(_look_up((host, port), 0.0), host)
        key = (host, port)
        known = self._known.get(key)
        if known is not None and known.is_fresh(self._clock.monotonic()):
            return _addresses_of(known, host)
        return self._wait(key, known, context)

    def prefer(self, host: str, port: int, good: Address) -> None:
        """Try ``good`` first from now on."""
        with self._lock:
            known = self._known.get((host, port))
            if known is not None and good in known.addresses[1:]:
                others = tuple(address for address in known.addresses if address != good)
                self._known[host, port] = attrs.evolve(known, addresses=(good, *others))

    def _wait(self, key: Key, known: DnsEntry | None, context: IoContext) -> tuple[Address, ...]:
        now = self._clock.monotonic()
        fallback = known if known is not None and known.is_usable(now) else None
        gate = threading.Lock()
        gate.acquire()
        lookup = self._join_lookup(key, gate, now)
        if now - lookup.at < STUCK:
            context.wait(gate, PATIENCE if fallback is not None else math.inf)
        latest = self._known.get(key)
        if latest is not None and latest.at >= now:
            return _addresses_of(latest if latest.addresses else fallback or latest, key[0])
        if fallback is not None:
            return fallback.addresses
        context.left()
        raise VendorUnavailable(
            f"{key[0]}: the name server does not answer; check the network, or ask another vendor", phase="dns", sent=False
        )

    def _join_lookup(self, key: Key, gate: threading.Lock, now: float) -> _Lookup:
        with self._lock:
            lookup = self._asked.get(key)
            if lookup is None:
                lookup = self._asked[key] = _Lookup(key, now)
                self._queue.append(lookup)
            lookup.gates.append(gate)
            if self._threads == THREADS or not self._queue:
                return lookup
            self._threads += 1
        self._start(lookup)
        return lookup

    def _start(self, lookup: _Lookup) -> None:
        thread = threading.Thread(target=self._work, name=f"llmdispatcher-dns-{next(self._numbers)}", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            with self._lock:
                self._threads -= 1
                self._asked.pop(lookup.key, None)
                with contextlib.suppress(ValueError):
                    self._queue.remove(lookup)
            text = f"{lookup.key[0]}: no thread can be started to resolve the name; raise the process's limit"
            raise Overloaded(text, phase="dns", sent=False) from None

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._threads -= 1
                    return
                lookup = self._queue.popleft()
            self._finish(lookup, _look_up(lookup.key, self._clock.monotonic()))

    def _finish(self, lookup: _Lookup, entry: DnsEntry) -> None:
        entry = attrs.evolve(entry, at=self._clock.monotonic())
        with self._lock:
            self._asked.pop(lookup.key, None)
            before = self._known.get(lookup.key)
            if entry.addresses or before is None or not before.is_usable(entry.at):
                if len(self._known) >= HOSTS:
                    self._known.clear()
                self._known[lookup.key] = entry
            gates, lookup.gates = lookup.gates, []
        for gate in gates:
            with contextlib.suppress(RuntimeError):
                gate.release()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _look_up(key: Key, at: float) -> DnsEntry:
    try:
        found = socket.getaddrinfo(*key, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as foreign:
        return DnsEntry(at=at, reason=getattr(foreign, "strerror", None) or "the name is not valid")
    except MemoryError:
        return DnsEntry(at=at, reason="no memory")  # the thread goes on: it has more names to look up, and callers who wait
    return DnsEntry(at=at, addresses=tuple((family, kind, protocol, where) for family, kind, protocol, _, where in found))


def _addresses_of(entry: DnsEntry, host: str) -> tuple[Address, ...]:
    if not entry.addresses:
        text = f"{host}: the name cannot be resolved ({entry.reason.lower()}); check base_url and the network"
        raise VendorUnavailable(text, phase="dns", sent=False)
    return entry.addresses


RESOLVER = Resolver()
on_fork(after_in_child=RESOLVER.reset)
