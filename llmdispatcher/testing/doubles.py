"""Test doubles: a clock moved by hand, and a vendor without a network that gives scripted responses and records requests."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import attrs

from ..catalog import NameClaim
from ..errors import to_raise
from ..runtime import Deadline
from ..types import Capabilities, Request, Response, StreamChunk, ToolCallDelta, Usage, fold, suggest
from .answers import count_tokens, pieces

# Seconds between two looks at the clock of a blocked wait, which can wait for the gate only, not for the clock as well.
_LOOK_AGAIN = 0.002

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """A clock whose time moves only by :meth:`advance`, or by a wait that is not ended.

    By default a wait moves the clock by its ``seconds``, which is right for one sleeper at a time. With ``blocking``, waits
    block until another thread advances the clock far enough (see :meth:`await_sleepers`). ``chances`` are the numbers
    that :meth:`random` gives, over and over. ``on_wait`` is called with the seconds of each wait before it begins: the place to
    cancel something "during" a sleep. ``sleeps`` records the seconds of every wait.
    """

    def __init__(
        self,
        start: float = 1_000.0,
        *,
        blocking: bool = False,
        chances: Iterable[float] = (0.5,),
        on_wait: Callable[[float], None] | None = None,
    ) -> None:
        self.sleeps: list[float] = []
        self.on_wait = on_wait
        self._blocking = blocking
        self._start = start
        self._time = start
        self._sleepers = 0
        self._changed = threading.Condition()
        self._chances = itertools.cycle(tuple(chances))

    def monotonic(self) -> float:
        """Return the seconds on this clock."""
        return self._time

    def now(self) -> datetime:
        """Return 1 January 2026 plus the time that the clock has been moved."""
        return _EPOCH + timedelta(seconds=self._time - self._start)

    def random(self) -> float:
        """Return the next of the given ``chances``."""
        with self._changed:
            return next(self._chances)

    def advance(self, seconds: float) -> None:
        """Move time forward; raises ``ValueError`` for a step back, which a monotonic clock cannot make."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"advance: {seconds!r} is not a finite number of seconds ≥ 0")
        with self._changed:
            self._time += seconds

    def wait(self, gate: threading.Lock, seconds: float) -> bool:
        """Let ``seconds`` pass on this clock unless the held ``gate`` is released; True if it was."""
        with self._changed:
            self.sleeps.append(seconds)
            due = self._time + seconds
        if self.on_wait is not None:
            self.on_wait(seconds)
        if self._blocking or seconds == math.inf:
            return self._wait_for_others(gate, due)
        if gate.acquire(blocking=False):
            return True
        self.advance(seconds)
        return False

    def await_sleepers(self, count: int = 1, timeout: float = 5.0) -> bool:
        """Wait, in real time, until ``count`` threads are blocked in :meth:`wait`; False when that did not happen in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._sleepers >= count, timeout)

    def _wait_for_others(self, gate: threading.Lock, due: float) -> bool:
        self._count(1)
        try:
            while not gate.acquire(timeout=_LOOK_AGAIN):
                if self._time >= due:
                    return False
            return True
        finally:
            self._count(-1)

    def _count(self, step: int) -> None:
        with self._changed:
            self._sleepers += step
            self._changed.notify_all()


DEFAULT_ANSWER = "This is a fake vendor speaking."


@suggest
class FakeVendor:
    """Answers each request with the next of ``responses``; after the last one the last is repeated, or with ``cycle`` the first.

    A response is a string, a :class:`Response`, an exception of which a copy is raised, a callable that takes the request and
    returns any of these, or a list of chunks (:class:`StreamChunk` or strings) that may end in an exception. ``latency`` seconds
    pass on the deadline's clock before it speaks, so a ``ManualClock`` makes them free. ``seen`` lists the requests, ``hits``
    counts them; a long run clears ``seen`` now and then. It has every model, unless its ``capabilities`` list some.
    """

    def __init__(
        self,
        *responses: Any,
        name: str = "fake",
        capabilities: Capabilities | None = None,
        latency: float = 0.0,
        cycle: bool = False,
        available: bool = True,
    ) -> None:
        self.name = name
        self.capabilities = capabilities or Capabilities()
        self.latency = latency
        self.available = available
        self.seen: list[Request] = []
        self._cycle = cycle
        self._answers = responses or (DEFAULT_ANSWER,)
        self._next = 0
        self._lock = threading.Lock()

    @property
    def hits(self) -> int:
        """How often it was asked."""
        return len(self.seen)

    def claim_on(self, model: str) -> NameClaim:
        """Claim every model, or those that its ``capabilities`` list."""
        listed = self.capabilities.models
        return NameClaim.LISTED if not listed or any(fnmatchcase(model, pattern) for pattern in listed) else NameClaim.CLOSED

    def script(self, *responses: Any) -> None:
        """Give these responses from now on."""
        with self._lock:
            self._answers, self._next = responses or (DEFAULT_ANSWER,), 0

    def send(self, request: Request, deadline: Deadline) -> Response:
        """Return the next response; raise it if it is an exception."""
        answer = self._take(request)
        self._wait_latency(deadline)
        return self._response(answer(request) if callable(answer) else answer, request)

    def stream(self, request: Request, deadline: Deadline) -> Iterator[StreamChunk]:
        """Return the next response in chunks; the iterator, not this call, raises a scripted exception."""
        return self._chunks(self._take(request), request, deadline)

    def is_available(self) -> bool:
        """Return ``available``."""
        return self.available

    def _take(self, request: Request) -> Any:
        with self._lock:
            self.seen.append(request)
            now, after = self._next, self._next + 1
            if after == len(self._answers):
                after = 0 if self._cycle else now
            self._next = after
            return self._answers[now]

    def _wait_latency(self, deadline: Deadline) -> None:
        deadline.check()
        if self.latency > 0:
            deadline.sleep(self.latency)

    def _response(self, answer: Any, request: Request) -> Response:
        if isinstance(answer, BaseException):
            raise to_raise(answer)
        if isinstance(answer, str):
            return Response(
                content=answer, model=request.model, vendor=self.name, usage=_usage(request, answer), finish_reason="stop"
            )
        if isinstance(answer, Response):
            return attrs.evolve(answer, vendor=answer.vendor or self.name, model=answer.model or request.model)
        return attrs.evolve(fold(_to_chunks(answer)), vendor=self.name, model=request.model)

    def _chunks(self, answer: Any, request: Request, deadline: Deadline) -> Iterator[StreamChunk]:
        self._wait_latency(deadline)
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, BaseException | str | Response):
            answer = _split(self._response(answer, request))
        for chunk in _to_chunks(answer):
            deadline.check()
            yield chunk

    def __repr__(self) -> str:
        return f"FakeVendor(name={self.name!r}, hits={self.hits})"


def _to_chunks(answer: Iterable[Any]) -> Iterator[StreamChunk]:
    for item in answer:
        if isinstance(item, BaseException):
            raise to_raise(item)
        yield item if isinstance(item, StreamChunk) else StreamChunk(content=item)


def _split(response: Response) -> Iterator[StreamChunk]:
    if response.reasoning:
        yield StreamChunk(reasoning=response.reasoning)
    yield from (StreamChunk(content=piece, model=response.model) for piece in pieces(response.content))
    for index, call in enumerate(response.tool_calls):
        delta = ToolCallDelta(index=index, id=call.id, name=call.name, arguments=call.arguments, signature=call.signature)
        yield StreamChunk(tool_calls=(delta,))
    yield StreamChunk(
        finish_reason=response.finish_reason,
        finish_reason_raw=response.finish_reason_raw,
        usage=response.usage,
        model=response.model,
        response_id=response.response_id,
        refusal=response.refusal,
        service_tier=response.service_tier,
    )


def _usage(request: Request, answer: str) -> Usage:
    said = sum(count_tokens(message.text) for message in request.messages)
    return Usage(input_tokens=said, output_tokens=count_tokens(answer))
