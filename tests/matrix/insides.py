"""What a dispatcher still holds when no call is under way, and what its policies have learned: the private state, named."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

from llmdispatcher import Dispatcher, HttpVendor, Outcome
from llmdispatcher.dispatcher.streaming import REAPER
from llmdispatcher.resilience.breaker import COUNTED

from ..conftest import PATIENCE

_COUNTED = {kind.__name__ for kind in COUNTED}


def residue(dispatcher: Dispatcher) -> list[str]:
    """All that is still taken when losers and closers had time to go: permits, places, leases, seats, streams, connections (I7)."""
    end = time.monotonic() + PATIENCE
    while (left := _held(dispatcher)) and time.monotonic() < end:
        threading.Event().wait(0.005)
    return left


def _held(dispatcher: Dispatcher) -> list[str]:
    conductor, cache = dispatcher._attempt_loop, dispatcher.cache
    rooms = [count.room for count in conductor.limits._counts.values() if count.room is not None]
    held: dict[str, Any] = {
        "in flight of the balancer": conductor.balancer._in_flight if conductor.balancer is not None else (),
        "probes": [circuit.leases for circuit in conductor.breakers.circuits.values() if circuit.leases],
        "places in flight": [len(room.seats) for room in rooms if room.seats],
        "waiting for a place": [len(room.queue) for room in rooms if room.queue],
        "calls under way": len(dispatcher._in_flight._calls),
        "calls that were let in": len(dispatcher._admission._guests) if dispatcher._admission is not None else 0,
        "flights": list(cache._flights._leaders) if cache is not None else (),
        "watched streams": len(REAPER._live),
        "connections lent": [name for name, vendor in dispatcher._router.vendors.items() if _lent(vendor.vendor)],
    }
    return [f"{what}: {still}" for what, still in held.items() if still]


def _lent(vendor: HttpVendor) -> int:
    """Places of the connection pool that were not given back."""
    endpoint = vendor._endpoint
    if endpoint is None:
        return 0
    pool = endpoint.transport._adapter.pool
    slots = pool.pool if pool is not None else None  # a call that another has overtaken may not have come so far
    return slots.maxsize - slots.qsize() if slots is not None else 0


def failures_of(dispatcher: Dispatcher, vendor: str) -> int:
    """How many failures the circuits hold against a vendor."""
    circuits = dispatcher._attempt_loop.breakers.circuits
    return sum(failed for key, circuit in circuits.items() if vendor in key for _, _, failed in circuit.slices)


def opened(dispatcher: Dispatcher, vendor: str) -> int:
    """How often in a row the circuit of a vendor has opened; 0 for a closed one."""
    return sum(circuit.times_open for key, circuit in dispatcher._attempt_loop.breakers.circuits.items() if vendor in key)


def parked(dispatcher: Dispatcher) -> set[str]:
    """The vendors that asked to be left alone, and whose time nobody has seen end since."""
    return {vendor for vendor, _ in dispatcher._attempt_loop.cooldowns.parked}


def budget_of(dispatcher: Dispatcher, vendor: str) -> tuple[int, int]:
    """First tries and returns that the budget has written down for a vendor."""
    counts = [count for key, count in dispatcher._attempt_loop.budgets._counts.items() if vendor in key]
    return sum(sum(count.calls) for count in counts), sum(sum(count.retries) for count in counts)


def remembered(dispatcher: Dispatcher) -> list[bytes]:
    """What is in the cache."""
    store = dispatcher.cache._store._store if dispatcher.cache is not None else None
    return [entry for _, entry in store._entries.values()] if store is not None else []


def disagreements(dispatcher: Dispatcher, outcomes: Iterable[Outcome]) -> list[str]:
    """Where budgets and limits are not what the attempts of these calls should have made of them (I6)."""
    records = [record for outcome in outcomes for record in outcome.attempts]
    wrong = []
    for vendor in dispatcher.get_vendors():
        own = [record for record in records if record.vendor == vendor]
        returns = sum(record.retry for record in own)
        sent = sum(record.sent is not False for record in own)
        status = dispatcher.get_rate_limit_status(vendor)
        pairs = {
            "tries and returns in the budget": ((len(own) - returns, returns), budget_of(dispatcher, vendor)),
            "requests in the limits": (sent, status.requests_limit - status.requests_remaining),
        }
        wrong += [f"{vendor}: {what}: {seen} seen, {held} held" for what, (seen, held) in pairs.items() if seen != held]
    return wrong


def counted(outcomes: Iterable[Outcome], vendor: str, *, helped: bool = False) -> int:
    """The attempts of these calls that speak against a vendor; where another can be asked, the deadline of a plain call does."""
    return sum(
        record.vendor == vendor
        and (record.error in _COUNTED or (helped and not outcome.streamed and record.error == "DeadlineExceeded"))
        for outcome in outcomes
        for record in outcome.attempts
    )
