"""The one loop of the library: ask target after target, wait where waiting helps, until one answers or none can.

A plain call and a stream share it; they differ only in ``ask``, which for a stream returns at the first output. After
that there is no way back: what happens later is the stream's own failure.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import TypeVar

import attrs

from .attempt import Attempt, Call
from .chunks import StreamChunk
from .errors import AllTargetsFailed, DispatchError, MalformedReply, VendorUnavailable
from .policy.optimize import Latencies
from .policy.parking import Parking
from .policy.retry import RetryPolicy, Schedule
from .policy.route import Route, dead_end
from .policy.target import Target
from .types import Request, Response
from .vendors import ChunkStream, Vendor

T = TypeVar("T")
Ask = Callable[[Call, Attempt, Vendor, Request], T]
_SILENT = frozenset({"first_byte", "idle", "total"})


@attrs.define(eq=False)
class Conductor:
    """Walks the targets of one call after the other; what it learns stays in ``parking`` and ``latencies``."""

    vendors: Mapping[str, Vendor]
    retry_policy: RetryPolicy
    parking: Parking = attrs.field(factory=Parking)
    latencies: Latencies = attrs.field(factory=Latencies)

    def answer(self, call: Call, route: Route, ask: Ask[T]) -> T:
        """What the first target that answers gives. Settles the call as failed where none does, and raises the error."""
        failures: list[DispatchError] = []
        try:
            return self._walk(call, route, ask, failures)
        except DispatchError as error:
            if failures and error is not failures[-1] and error.__cause__ is None:
                error.__cause__ = failures[-1]
            call.fail(error)
            raise
        except BaseException as interruption:
            call.fail(DispatchError(f"interrupted by {type(interruption).__name__}"))
            raise

    def _walk(self, call: Call, route: Route, ask: Ask[T], failures: list[DispatchError]) -> T:
        deadline, now = call.deadline, call.deadline.clock.monotonic
        schedule = Schedule(route.targets, self.retry_policy, self.parking, now())
        while (turn := schedule.next(deadline.at)) is not None:
            wait = turn.ready_at - now()
            if wait > 0:
                deadline.sleep(wait)
            deadline.check()
            target = turn.target
            attempt = call.ask(target)
            try:
                return self._asked(call, attempt, ask)
            except DispatchError as error:
                attempt.settle(error.with_facts(vendor=target.vendor, model=target.model))
                failures.append(error)
                self._learn(target, error, attempt.started, now())
                schedule.failed(target, error, now())
        raise _verdict(route, failures, schedule.blocked(now()))

    def _learn(self, target: Target, error: DispatchError, started: float, now: float) -> None:
        """A silence is a latency; another failure says nothing about speed, but the target is not unmeasured any more."""
        if error.phase in _SILENT:
            self.latencies.observe(target, now - started, None, now)
        else:
            self.latencies.failed(target, now)

    def _asked(self, call: Call, attempt: Attempt, ask: Ask[T]) -> T:
        target = attempt.target
        request = call.request if call.request.model == target.model else attrs.evolve(call.request, model=target.model)
        result = ask(call, attempt, self.vendors[target.vendor], request)
        now = call.deadline.clock.monotonic()
        self.latencies.observe(target, now - attempt.started, attempt.first_token, now)
        return result


def _verdict(route: Route, failures: list[DispatchError], blocked: DispatchError | None) -> DispatchError:
    """The one error that a call ends with when no target is left to be asked in time."""
    if not failures:
        return blocked or dead_end(route)
    last = failures[-1]
    if len({(failure.vendor, failure.model) for failure in failures}) == 1 or not (last.try_elsewhere or last.retry_here):
        return last
    listed = "; ".join(f"{type(failure).__name__}: {failure}" for failure in failures)
    hints = [failure.retry_after for failure in failures if failure.retry_after is not None]
    return AllTargetsFailed(f"no target answered: {listed}", failures=failures, retry_after=min(hints, default=None))


def send(call: Call, attempt: Attempt, vendor: Vendor, request: Request) -> Response:
    """Ask for a whole answer."""
    try:
        response = vendor.send(request, call.deadline)
    except DispatchError:
        raise
    except Exception as foreign:  # a vendor of the user's own may raise anything; here it is translated
        raise _translated(vendor, foreign) from foreign
    if not isinstance(response, Response):
        raise MalformedReply(f"vendor {vendor.name!r} returned {type(response).__name__}; send() must return a Response")
    return call.succeed(attempt, response)


def open_stream(call: Call, attempt: Attempt, vendor: Vendor, request: Request) -> OpenStream:
    """Ask for an answer in pieces; returns at the first output, or at the end of an answer that has none."""
    batches = _batches(vendor, request, call)
    held: list[StreamChunk] = []
    for batch in batches:
        held += batch
        if any(chunk.has_output for chunk in batch):
            attempt.first_output()
            break
    return OpenStream(call, attempt, held, batches)


def _batches(vendor: Vendor, request: Request, call: Call) -> Generator[list[StreamChunk]]:
    """What the vendor yields, read by read where it can, with foreign exceptions translated."""
    try:
        stream = vendor.stream(request, call.deadline)
        if isinstance(stream, ChunkStream):
            yield from stream.batches()
        else:
            yield from _singly(stream, call)
    except DispatchError:
        raise
    except Exception as foreign:  # as above
        raise _translated(vendor, foreign) from foreign


def _singly(chunks: Iterable[StreamChunk], call: Call) -> Generator[list[StreamChunk]]:
    try:
        for chunk in chunks:
            call.deadline.check()
            yield [chunk]
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


def _translated(vendor: Vendor, foreign: Exception) -> VendorUnavailable:
    text = f"vendor {vendor.name!r} raised {type(foreign).__name__}; a vendor should raise a DispatchError"
    return VendorUnavailable(text, vendor=vendor.name, retry_here=False)


class OpenStream:
    """An answer that has begun: what the stream's worker pumps, and how it settles the call."""

    def __init__(self, call: Call, attempt: Attempt, held: list[StreamChunk], rest: Generator[list[StreamChunk]]) -> None:
        self._call = call
        self._attempt = attempt
        self.vendor = attempt.target.vendor
        self.model = attempt.target.model
        self.batches = _continued(held, rest)

    def finish(self, response: Response) -> Response:
        """Settle as a success."""
        return self._call.succeed(self._attempt, response)

    def fail(self, error: DispatchError, partial: Response) -> None:
        """Settle as a failure."""
        error.with_facts(vendor=self.vendor, model=self.model)
        self._call.fail(error, self._attempt, partial.usage)


def _continued(held: list[StreamChunk], rest: Generator[list[StreamChunk]]) -> Generator[list[StreamChunk]]:
    try:
        if held:
            yield held
        yield from rest
    finally:
        rest.close()
