"""The one loop of the library: ask target after target, wait where waiting helps, until one answers or none can.

A plain call and a stream share it; they differ only in ``ask``, which for a stream returns at the first output. After
that there is no way back: what happens later is the stream's own failure.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TypeVar

import attrs

from .attempt import Attempt, Call
from .chunks import StreamChunk
from .errors import AllTargetsFailed, DispatchError, MalformedReply, VendorUnavailable
from .policy.parking import Parking
from .policy.retry import RetryPolicy, Schedule
from .policy.route import Target
from .types import Request, Response
from .vendors import ChunkStream, Vendor

T = TypeVar("T")
Ask = Callable[[Call, Attempt, Vendor, Request], T]


@attrs.define(eq=False)
class Conductor:
    """Walks a call's targets; holds no state of a call."""

    vendors: Mapping[str, Vendor]
    retry_policy: RetryPolicy
    parking: Parking

    def answer(self, call: Call, targets: tuple[Target, ...], ask: Ask[T]) -> T:
        """What the first target that answers gives; the call is settled as failed where none does, and the error raised."""
        failures: list[DispatchError] = []
        try:
            return self._walk(call, targets, ask, failures)
        except DispatchError as error:
            call.fail(error)
            raise

    def _walk(self, call: Call, targets: tuple[Target, ...], ask: Ask[T], failures: list[DispatchError]) -> T:
        deadline, now = call.deadline, call.deadline.clock.monotonic
        schedule = Schedule(targets, self.retry_policy, self.parking, now())
        while (turn := schedule.next(now(), deadline.at)) is not None:
            if turn.ready_at > now():
                deadline.sleep(turn.ready_at - now())
            deadline.check()
            attempt = call.ask(turn.target)
            try:
                return ask(call, attempt, self.vendors[turn.target.vendor], _addressed(call.request, turn.target))
            except DispatchError as error:
                attempt.settle(error.with_facts(vendor=turn.target.vendor, model=turn.target.model))
                failures.append(error)
                schedule.failed(turn.target, error, now())
        raise _verdict(failures, schedule)


def _addressed(request: Request, target: Target) -> Request:
    return request if request.model == target.model else attrs.evolve(request, model=target.model)


def _verdict(failures: list[DispatchError], schedule: Schedule) -> DispatchError:
    if not failures:
        return schedule.blocked()
    ...


def send(call: Call, attempt: Attempt, vendor: Vendor, request: Request) -> Response:
    """Ask for a whole answer."""
    with _foreign(vendor):
        response = vendor.send(request, call.deadline)
    if not isinstance(response, Response):
        raise MalformedReply(f"vendor {vendor.name!r} returned {type(response).__name__}; send() must return a Response")
    return call.succeed(attempt, response)
