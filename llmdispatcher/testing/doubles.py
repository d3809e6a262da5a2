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
from ..errors import ConfigError, to_raise
from ..runtime import Deadline
from ..types import (
    Capabilities,
    Choice,
    EmbeddingRequest,
    Embeddings,
    Request,
    Response,
    StreamChunk,
    ToolCallDelta,
    Usage,
    fold,
    suggest,
)
from .answers import count_tokens, draw, pieces

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
    pass on the deadline's clock before it speaks, so a ``ManualClock`` makes them free. It has every model, unless its
    ``capabilities`` list some. Of a request with ``n`` it gives a string so many times.

    ``vectors`` are the answer to :meth:`embed`, ``models`` to :meth:`list_models`, ``tokens`` to :meth:`count_tokens`: a value, an
    exception, or a callable that takes the request and returns one of them. Without them vectors are made of the texts, the models
    are those that its ``capabilities`` name, and tokens are a quarter of the characters, as in the usage of its answers.

    ``seen`` lists the last ``keep`` requests, those for vectors too; ``hits`` counts all of them.
    """

    def __init__(  # noqa: PLR0913 - a double's settings, all by keyword
        self,
        *responses: Any,
        name: str = "fake",
        capabilities: Capabilities | None = None,
        latency: float = 0.0,
        cycle: bool = False,
        available: bool = True,
        vectors: Any = None,
        models: Any = None,
        tokens: Any = None,
        keep: int = 1_000,
    ) -> None:
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 0:
            raise ConfigError(f"keep: {keep!r} is not a whole number ≥ 0")
        self.name = name
        self.capabilities = capabilities or Capabilities()
        self.latency = latency
        self.available = available
        self.vectors = vectors
        self.models = models
        self.tokens = tokens
        self.hits = 0
        self.seen: list[Any] = []
        self._keep = keep
        self._cycle = cycle
        self._answers = responses or (DEFAULT_ANSWER,)
        self._next = 0
        self._lock = threading.Lock()

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

    def embed(self, request: EmbeddingRequest, deadline: Deadline) -> Embeddings:
        """Return ``vectors``, or for each text a vector of its own of length 1: equal texts have equal vectors."""
        with self._lock:
            self._record(request)
        self._wait_latency(deadline)
        given = _answer_to(self.vectors, request)
        if isinstance(given, Embeddings):
            return attrs.evolve(given, vendor=given.vendor or self.name, model=given.model or request.model)
        vectors = [_vector(text, request.dimensions or _DIMENSIONS) for text in request.texts] if given is None else given
        used = Usage(input_tokens=sum(map(count_tokens, request.texts)))
        return Embeddings(vectors=tuple(map(tuple, vectors)), model=request.model, vendor=self.name, usage=used)

    def list_models(self, deadline: Deadline) -> tuple[str, ...]:
        """Return ``models``, or the names of models among its ``capabilities``."""
        self._wait_latency(deadline)
        given = _answer_to(self.models, None)
        return tuple([name for name in self.capabilities.models if not _GLOB & {*name}]) if given is None else tuple(given)

    def count_tokens(self, request: Request, deadline: Deadline) -> int | None:
        """Return ``tokens``, or those that its answer would report as input; ``None`` where a callable says so."""
        self._wait_latency(deadline)
        if self.tokens is None:
            return _usage(request, "").input_tokens
        given = _answer_to(self.tokens, request)
        return None if given is None else int(given)

    def _record(self, request: Request | EmbeddingRequest) -> None:
        self.hits += 1
        self.seen.append(request)
        del self.seen[: max(0, len(self.seen) - self._keep)]

    def _take(self, request: Request) -> Any:
        with self._lock:
            self._record(request)
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
                content=answer,
                model=request.model,
                vendor=self.name,
                usage=_usage(request, answer * (request.n or 1)),
                finish_reason="stop",
                other_choices=tuple(
                    [Choice(index=index, content=answer, finish_reason="stop") for index in range(1, request.n or 1)]
                ),
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


_DIMENSIONS = 8
_GLOB = frozenset("*?[")


def _answer_to(told: Any, request: Any) -> Any:
    """What a test has given as an answer, whether or not a callable makes it. Raises an exception that was given."""
    if callable(told) and not isinstance(told, type):
        told = told(request) if request is not None else told()
    if isinstance(told, BaseException):
        raise to_raise(told)
    return told


def _vector(text: str, dimensions: int) -> tuple[float, ...]:
    """Numbers that depend on the text alone."""
    numbers = [draw(place, text) - 0.5 for place in range(dimensions)]
    length = math.hypot(*numbers) or 1.0
    return tuple([number / length for number in numbers])


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
    for other in response.other_choices:
        yield StreamChunk(content=other.content, reasoning=other.reasoning, choice=other.index, finish_reason=other.finish_reason)
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
