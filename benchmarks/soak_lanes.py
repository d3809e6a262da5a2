"""The kinds of calls that the soak mixes: for each a dispatcher, a way to call it, and counts of what callers and observers saw."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from llmdispatcher import (
    AttemptRecord,
    Cancellation,
    Capabilities,
    CircuitBreaker,
    Config,
    Deadline,
    Dispatcher,
    DispatchError,
    Hedge,
    Observer,
    OpenAIVendor,
    Outcome,
    RateLimit,
    Request,
    Response,
    ResponseCache,
    RetryPolicy,
    StreamChunk,
    StreamInterrupted,
    Usage,
    VendorUnavailable,
)

from .soak_vendor import SoakVendors, answer_to

TIMEOUT = 5.0
LEFT, WRONG = "left", "WRONG ANSWER"
_LATE = 0.05
_QUESTIONS = 400
"""Of the cached lane, twice what its cache holds."""


class Local:
    """A vendor without a network that fails now and then; counts how often it was asked and keeps nothing."""

    name = "local"
    capabilities = Capabilities()

    def __init__(self) -> None:
        self.hits = 0
        self._lock = threading.Lock()

    def send(self, request: Request, deadline: Deadline) -> Response:
        """Say it at once."""
        self._count(request)
        return Response(content=_answer(request), finish_reason="stop", usage=Usage(input_tokens=9, output_tokens=24))

    def stream(self, request: Request, deadline: Deadline) -> Iterator[StreamChunk]:
        """Say it word by word; one in fifty breaks off."""
        self._count(request)
        text = _answer(request)
        for start in range(0, len(text), 12):
            yield StreamChunk(content=text[start : start + 12])
            if start and random.random() < 0.02:
                raise StreamInterrupted("soak")
        yield StreamChunk(finish_reason="stop", usage=Usage(input_tokens=9, output_tokens=24))

    def is_available(self) -> bool:
        """Always."""
        return True

    def _count(self, _request: Request) -> None:
        with self._lock:
            self.hits += 1
        if random.random() < 0.03:
            raise VendorUnavailable("soak") if random.random() < 0.7 else ZeroDivisionError("a vendor of one's own with a mistake")


def _answer(request: Request) -> str:
    return answer_to(int(request.messages[0].text.removeprefix("ask ")))


class Tally(Observer):
    """What the observers of one lane heard."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.unsure: Counter[str] = Counter()

    def on_attempt(self, record: AttemptRecord) -> None:
        """By vendor; one that certainly was not sent is counted as such, one that the caller ended may not have been read."""
        with self._lock:
            self.attempts["unsent" if record.sent is False else record.vendor] += 1
            self.unsure[record.vendor] += record.sent is not False and record.error in ("Cancelled", "DeadlineExceeded")

    def on_outcome(self, outcome: Outcome) -> None:
        """By how it ended."""
        with self._lock:
            self.outcomes["ok" if outcome.error is None else type(outcome.error).__name__] += 1


class Canceller:
    """A thread that cancels what it is handed, soon."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def soon(self, cancel: Callable[[], None]) -> None:
        """Call it within some milliseconds."""
        self._waiting.put(cancel)

    def close(self) -> None:
        """Cancel what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (cancel := self._waiting.get()) is not None:
            if self._waiting.empty():  # where calls come faster, holding them up would only let them pile up here
                time.sleep(random.random() * 0.003)
            cancel()
            cancel = None


@attrs.define(eq=False, kw_only=True)
class Lane:
    """One kind of call; ``share`` is its part of all calls, ``act`` makes one call and tells how it ended."""

    name: str
    share: float
    act: Callable[[Lane, int, random.Random], str]
    dispatcher: Dispatcher
    tally: Tally
    timeout: float = TIMEOUT
    questions: int | None = None
    begun: int = 0
    late: int = 0
    latest: float = 0.0
    seen: Counter[str] = attrs.field(factory=Counter)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, repr=False)

    def call(self, number: int, chance: random.Random) -> None:
        """One call, from beginning to end, and how the caller saw it."""
        number = number if self.questions is None else number % self.questions
        with self._lock:
            self.begun += 1
        started = time.monotonic()
        try:
            name = self.act(self, number, chance)
        except DispatchError as error:
            name = type(error).__name__
        except Exception as error:  # noqa: BLE001 - the soak is to tell of it, not to end with it
            name = f"FOREIGN {type(error).__name__}"
        over = time.monotonic() - started - self.timeout
        with self._lock:
            self.seen[name] += 1
            self.late += over > _LATE
            self.latest = max(self.latest, over)

    def request(self, number: int) -> Request:
        """The question of that number."""
        return Request("gpt-4o", f"ask {number}")


def _plain(lane: Lane, number: int, _chance: random.Random) -> str:
    said = lane.dispatcher.send(lane.request(number), timeout=lane.timeout).content
    return "ok" if said == answer_to(number) else WRONG


def _streamed(lane: Lane, number: int, _chance: random.Random) -> str:
    with lane.dispatcher.send_streaming(lane.request(number), timeout=lane.timeout) as stream:
        said = "".join([chunk.content for chunk in stream])
    return "ok" if said == answer_to(number) else WRONG


def _either(lane: Lane, number: int, chance: random.Random) -> str:
    return (_plain if chance.random() < 0.6 else _streamed)(lane, number, chance)


def _cancelled(canceller: Canceller) -> Callable[[Lane, int, random.Random], str]:
    def plain(lane: Lane, number: int) -> str:
        cancel = Cancellation()
        canceller.soon(cancel.cancel)
        said = lane.dispatcher.send(lane.request(number), timeout=lane.timeout, cancel=cancel).content
        return "ok" if said == answer_to(number) else WRONG

    def reading(lane: Lane, number: int) -> str:
        stream = lane.dispatcher.send_streaming(lane.request(number), timeout=lane.timeout)
        canceller.soon(stream.close)
        said = "".join([chunk.content for chunk in stream])
        return LEFT if answer_to(number).startswith(said) else WRONG

    def breaking_off(lane: Lane, number: int) -> str:
        with lane.dispatcher.send_streaming(lane.request(number), timeout=lane.timeout) as stream:
            first = next(iter(stream)).content
        return LEFT if answer_to(number).startswith(first) else WRONG

    def dropping(lane: Lane, number: int) -> str:
        lane.dispatcher.send_streaming(lane.request(number), timeout=lane.timeout)
        return LEFT

    ways = (plain, plain, reading, breaking_off, dropping)
    return lambda lane, number, chance: chance.choice(ways)(lane, number)


def _dispatcher(vendors: list[Any], tally: Tally, **settings: Any) -> Dispatcher:
    """Vendors in the order in which they are to be asked; none may be left alone for long, or its faults would not be met."""
    retries = RetryPolicy(max_retries=2, initial_delay=0.01)
    breaker = CircuitBreaker(open_time=0.2, max_open_time=1.0)
    dispatcher = Dispatcher(Config(retry_policy=retries, circuit_breaker=breaker, **settings), observers=[tally])
    for vendor in vendors:
        dispatcher.register_vendor(vendor)
    return dispatcher


def lanes(servers: SoakVendors, local: Local, canceller: Canceller) -> list[Lane]:
    """All of them, each with its own dispatcher."""

    def at(temperament: str, **settings: Any) -> OpenAIVendor:
        key = "sk-soak-0123456789"
        limits: dict[str, Any] = {"first_byte_timeout": 0.3, "idle_timeout": 0.3, "trust_env": False}
        return OpenAIVendor(name=temperament, api_key=key, base_url=servers.url(temperament), **limits, **settings)

    def lane(name: str, share: float, act: Any, vendors: list[Any], settings: Any = None, **more: Any) -> Lane:
        tally = Tally()
        made = _dispatcher(vendors, tally, **(settings or {}))
        return Lane(name=name, share=share, act=act, dispatcher=made, tally=tally, **more)

    limited = [at(name, rate_limit=RateLimit(requests_per_minute=1_000)) for name in ("steady", "slow")]
    cache = {"cache": ResponseCache(max_entries=_QUESTIONS // 2, ttl=20.0)}
    return [
        lane("plain", 0.34, _plain, [at("steady")]),
        lane("streamed", 0.16, _streamed, [at("steady")]),
        lane("hedged", 0.05, _either, [at("slow"), at("steady")], {"hedge": Hedge(after=0.02), "default_vendor": "slow"}),
        lane("failover", 0.10, _either, [at("shaky"), at("steady")], {"default_vendor": "shaky"}),
        lane("balanced", 0.05, _either, [at("shaky"), at("steady"), local], {"balance": "least_loaded"}),
        lane("cached", 0.10, _either, [at("steady")], cache, questions=_QUESTIONS),
        lane("limited", 0.06, _either, limited, {"default_vendor": "steady"}),
        lane("cancelled", 0.05, _cancelled(canceller), [at("steady")]),
        lane("deadline", 0.02, _either, [at("slow")], timeout=0.04),
        lane("local", 0.07, _either, [local]),
    ]
