"""Ask one vendor for a stream, up to its first output; the attempt loop itself asks for a whole response.

What a user's own vendor raises gets its error here, for both. :class:`ActiveStream` is a stream that has begun: the worker
reads it, and each of its ends settles the call.
"""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path

import attrs

from ..errors import Cancelled, DispatchError, MalformedReply, VendorUnavailable
from ..routing import UNFIT, Route, SkippedTarget, Step
from ..runtime import Deadline
from ..types import RateLimitRemaining, Request, Response, StreamChunk, Usage, replace
from ..vendors import ChunkStream, VendorInfo
from . import guards, structured
from .call import Attempt, Call

_settings = itemgetter(
    *("seed", "n", "logprobs", "top_logprobs", "frequency_penalty", "presence_penalty", "top_k", "temperature", "extra_params"),
    *("stop", "tools", "tool_choice", "response_format", "reasoning_effort", "reasoning_tokens", "service_tier"),
)
"""Fields of a request that not every format or model takes."""

Batches = Generator[list[StreamChunk]]
OnRemaining = Callable[[RateLimitRemaining | None], None]


def skip_unfit(request: Request, route: Route, vendors: Mapping[str, VendorInfo]) -> Route:
    """Skip targets that do not take the settings of the request. The first target stays: its own error says so."""
    if not any(_settings(vars(request))):
        return route
    unfit: list[Step] = []
    skipped = [*route.skipped]
    for step in route.steps[1:]:
        target = step.target
        asked = request if target.model == request.model else replace(request, model=target.model)
        if why := vendors[target.vendor].objection(asked):
            unfit.append(step)
            skipped.append(SkippedTarget(target.vendor, f"{target.model} does not take the request: {why}", UNFIT))
    if not unfit:
        return route
    steps = [step for step in route.steps if step not in unfit]
    return attrs.evolve(route, steps=tuple(steps), skipped=tuple(skipped))


@attrs.frozen
class OpenedStream:
    """An answer that has come up to its first output, if it has any. ``movable``: any thread may read on, one at a time."""

    batches: Iterator[list[StreamChunk]]
    close: Callable[[], None]
    has_output: bool
    movable: bool


def open_stream(vendor: VendorInfo, request: Request, deadline: Deadline, on_remaining: OnRemaining) -> OpenedStream:
    """Begin an answer; ``on_remaining`` gets what its head says is left of the limits. A user's own vendor stays in its thread.

    The first output ends the attempt's share of the deadline: a target that answers may use all of the deadline.
    A stream that has begun without output is still silent to its reader: another target can be asked.
    """
    batches = (_batches if vendor.is_http else _user_batches)(vendor, request, deadline, on_remaining)
    held: list[StreamChunk] = []
    has_output = False
    for batch in batches:
        if request.open_ended and not held:
            deadline.lift()
        held += batch
        has_output = any(chunk.has_output for chunk in batch)
        if has_output or any(chunk.parts or chunk.finish_reason for chunk in batch):
            deadline.widen()
        else:
            deadline.begin()
        if has_output:
            break
    return OpenedStream(itertools.chain([held] if held else [], batches), batches.close, has_output, vendor.is_http)


def _batches(vendor: VendorInfo, request: Request, deadline: Deadline, on_remaining: OnRemaining) -> Batches:
    """Return what the vendor yields, one list for each read where it can. Each further generator would slow down each read."""
    stream = vendor.vendor.stream(request, deadline)
    if not isinstance(stream, ChunkStream):
        return _one_by_one(stream, deadline)
    on_remaining(stream.rate_limit_remaining)
    return stream.batches()


def _user_batches(vendor: VendorInfo, request: Request, deadline: Deadline, on_remaining: OnRemaining) -> Batches:
    """Yield the batches of a user's own vendor; translate what it raises."""
    try:
        yield from _batches(vendor, request, deadline, on_remaining)
    except DispatchError:
        raise
    except Exception as foreign:  # noqa: BLE001 - as above
        raise translate(vendor, foreign) from None


def _one_by_one(chunks: Iterable[StreamChunk], deadline: Deadline) -> Batches:
    try:
        for chunk in chunks:
            deadline.check()
            if not isinstance(chunk, StreamChunk):
                raise MalformedReply(f"stream() yielded {type(chunk).__name__}; it must yield StreamChunk objects")
            yield [chunk]
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


def translate(vendor: VendorInfo, foreign: Exception) -> Exception:
    """The error for what a user's vendor raised: its class and place, not the exception, which may hold headers and prompts.

    Out of our own vendors nothing comes but our errors, and what the caller's signal handler raised: that is passed on.
    """
    if vendor.is_http:
        return foreign
    frames = traceback.extract_tb(foreign.__traceback__)
    place, here = frames[-1], Path(__file__).parent
    is_of_the_call = all(Path(frame.filename).parent == here for frame in frames)  # nothing of the vendor had begun
    if isinstance(foreign, TypeError) and is_of_the_call:
        text = (
            f"vendor {vendor.name!r} cannot be called as send(request, deadline) and stream(request, deadline); correct its methods"
        )
        return VendorUnavailable(text, vendor=vendor.name, retry_here=False)
    where = f"{Path(place.filename).name}:{place.lineno}"
    text = f"vendor {vendor.name!r} raised {type(foreign).__name__} at {where}; a vendor should raise a DispatchError"
    return VendorUnavailable(text, vendor=vendor.name, retry_here=False)


OnEnd = Callable[[Call, Attempt, DispatchError | None, Usage], None]
"""Is called when a stream that had begun has ended: with the error, if it failed, and the usage."""


class ActiveStream:
    """An answer that has begun: what the stream's worker pumps, and how it settles the call."""

    __slots__ = ("_on_end", "attempt", "batches", "call", "close", "dropped", "model", "movable", "vendor")

    def __init__(self, on_end: OnEnd, call: Call, attempt: Attempt, stream: OpenedStream) -> None:
        self._on_end = on_end
        self.call = call
        self.attempt = attempt
        self.vendor = attempt.target.vendor
        self.model = attempt.target.model
        self.batches = stream.batches
        self.close = stream.close
        self.movable = stream.movable
        self.dropped = attempt.meter.dropped

    def finish(self, response: Response, before: Usage | None = None) -> Response:
        """Settle as a success; raises :class:`MalformedReply` for an answer of another form than was asked for.

        ``before`` is the priced usage of the broken responses that this one continues.
        """
        call, attempt = self.call, self.attempt
        self._on_end(call, attempt, None, response.usage)
        if before is not None:
            used = call.priced(response.usage, attempt.target, response)
            attempt.settle(usage=used)
            response = attrs.evolve(response, usage=before + used)
        response = call.succeed(attempt, response)
        return structured.read(call.request, guards.after(call.guards, call.request, response, call.deadline), call.deadline)

    def fail(self, error: DispatchError, partial: Response) -> None:
        """Settle as a failure."""
        error.with_facts(vendor=self.vendor, model=self.model)
        self._on_end(self.call, self.attempt, error, partial.usage)
        self.call.fail(error, self.attempt, partial.usage, partial)

    def fail_attempt(self, error: DispatchError, usage: Usage) -> Usage:
        """Settle this attempt as a failure, while its call may go on; return what the attempt used, priced."""
        target = self.attempt.target
        error.with_facts(vendor=target.vendor, model=target.model)
        self._on_end(self.call, self.attempt, error, usage)
        usage = self.call.priced(usage, target)
        self.attempt.settle(error, usage)
        return usage

    def drop(self) -> None:
        """End the stream, since another target answered first; give back what its attempt had taken."""
        lost = Cancelled("another target answered first")
        try:
            self.close()
        finally:
            self._on_end(self.call, self.attempt, lost, Usage())
            self.attempt.settle(lost)
