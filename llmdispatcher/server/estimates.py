"""What a call will probably cost: what a key's budgets reserve for it, unless they are strict.

Input is a token for each four bytes of text; a prefix that the session has just had cached counts at the price of cache reads.
Output is the 95th percentile of the key's last answers of that model, and never more than ``max_tokens``. Each process learns from
the answers that pass through it. The upper bound of a strict budget is :func:`llmdispatcher.accounting.bound`.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import attrs

from ..accounting import Measure, bound, costs_nothing, has_price, measure
from ..catalog import Target
from ..runtime import Clock, new_lock
from ..types import EXACT, Price, Request, Tool, ToolCall, Usage

DEFAULT_OUTPUT = 4096
"""Tokens of an answer of which nothing is known: its request sets no ``max_tokens``, and the key has had few answers."""
BYTES_PER_TOKEN = 4
PER_IMAGE = 5_000
PER_SEARCH = 5_000
"""Tokens that one use of a vendor's own tool brings in."""
ENOUGH = 8
"""Answers of a model from which on they tell how long the next one is."""
CACHED_FOR = 300.0
"""Seconds for which a vendor keeps a prefix that was used, at least."""
_ANSWERS = 128
_MOST_HISTORIES = 20_000
_MOST_SESSIONS = 2_000
_MOST_PREFIXES = 512
_SLACK = 0.02
"""Of a request's length by which a prefix may differ from what the vendor says to have cached: bytes are not tokens."""
_ANY_WINDOW = 200_000
_NOTHING = Decimal(0)


@attrs.frozen
class PricedCall:
    """A call of a key with budgets: who asks, what, and whom.

    ``output`` are the tokens that are assumed for an answer of which nothing is known. With ``strict`` the most that the call can
    cost is reserved.
    """

    key: str
    session: str | None
    request: Request
    targets: Sequence[Target]
    output: int = DEFAULT_OUTPUT
    strict: bool = False


class CostEstimate(NamedTuple):
    """What is reserved for a call, at the target that costs most. ``assumed_output`` is told where the request sets no limit."""

    target: Target
    amount: Decimal
    assumed_output: int | None = None


class Prefix(NamedTuple):
    """The beginning of a request: its digest, and the bytes of its text."""

    digest: bytes
    size: int


@attrs.define(eq=False)
class _CachedPrefixes:
    """The prefixes that vendors have cached for a session: until when each is there."""

    until: OrderedDict[bytes, float] = attrs.field(factory=OrderedDict)


class Estimates:
    """Estimates of the costs of calls, with what was learned from the answers of this process; safe under threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = new_lock()
        self._answers: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()
        self._sessions: OrderedDict[tuple[str, str, str], _CachedPrefixes] = OrderedDict()

    def of(self, call: PricedCall) -> CostEstimate | None:
        """What to reserve; ``None`` where a target has no known price, or there is none."""
        if not call.targets or not all(map(has_price, call.targets)):
            return None
        bounds, now = measure(call.request), self._clock.now()
        assumed = call.output if bounds.output is None else None
        if call.strict:
            capped = attrs.evolve(bounds, output=call.output) if assumed is not None else bounds
            found = [CostEstimate(target, bound(capped, call.request, target, now), assumed) for target in call.targets]
        else:
            prefixes = tuple(_prefixes(call.request)) if call.session is not None else ()
            paid = [target for target in call.targets if not costs_nothing(target)]
            found = [CostEstimate(target, self._probable(call, bounds, prefixes, target), assumed) for target in paid]
        return max(found, key=lambda one: one.amount, default=CostEstimate(call.targets[0], _NOTHING, assumed))

    def _probable(self, call: PricedCall, bounds: Measure, prefixes: tuple[Prefix, ...], target: Target) -> Decimal:
        request, text = call.request, -(-bounds.text // BYTES_PER_TOKEN)
        more = bounds.images * PER_IMAGE + bounds.searches * PER_SEARCH
        if bounds.unbounded and not bounds.searches:
            more += target.context_window or _ANY_WINDOW
        assert target.price is not None  # the caller has checked it
        usage = Usage(
            input_tokens=text + more,
            cache_read_tokens=min(self._cached(call, prefixes, target), text),
            output_tokens=self._output(call, target, bounds.output) * bounds.answers,
        )
        several = [_price(one, request, usage.input_tokens) for one in _tiers(target.price.at(self._clock.now()), request)]
        writing = writes_cache(request, target)
        amount = max([_cost(usage, one, writing=writing) for one in several])
        search = max(target.price.calls.values(), default=_NOTHING)
        return EXACT.add(amount, EXACT.add(target.price.calls.get("request", _NOTHING), EXACT.multiply(bounds.searches, search)))

    def _output(self, call: PricedCall, target: Target, most: int | None) -> int:
        """Tokens of one answer: as long as 19 in 20 of the last, or the assumption, and no more than is allowed."""
        known, assumed = self._answers.get((call.key, str(target))), call.output
        if known is not None and len(known) >= ENOUGH:
            with self._lock:
                lengths = sorted(known)
            assumed = lengths[math.ceil(0.95 * len(lengths)) - 1]
        return assumed if most is None else min(most, assumed)

    def _cached(self, call: PricedCall, prefixes: Sequence[Prefix], target: Target) -> int:
        """Tokens of the longest prefix that the target has cached for the session."""
        known = self._sessions.get((call.key, call.session or "", str(target)))
        if known is None:
            return 0
        now = self._clock.monotonic()
        return next((one.size // BYTES_PER_TOKEN for one in reversed(prefixes) if known.until.get(one.digest, 0.0) > now), 0)

    def learn(self, call: PricedCall, target: Target, usage: Usage) -> None:
        """Remember how long an answer was, and what of its request is cached now."""
        key, session, name = call.key, call.session, str(target)
        with self._lock:
            answers = self._answers.setdefault((key, name), deque(maxlen=_ANSWERS))
            self._answers.move_to_end((key, name))
            answers.append(usage.output_tokens)
            while len(self._answers) > _MOST_HISTORIES:
                self._answers.popitem(last=False)
        cached = usage.cache_read_tokens + usage.cache_write_tokens
        if session is None or not cached or not usage.input_tokens:
            return
        prefixes = list(_prefixes(call.request))
        most = (cached / usage.input_tokens + _SLACK) * prefixes[-1].size
        with self._lock:
            known = self._sessions.setdefault((key, session, name), _CachedPrefixes())
            self._sessions.move_to_end((key, session, name))
            until = self._clock.monotonic() + CACHED_FOR
            for one in prefixes:
                if one.size <= most:
                    known.until[one.digest] = until
                    known.until.move_to_end(one.digest)
            while len(known.until) > _MOST_PREFIXES:
                known.until.popitem(last=False)
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)


def _prefixes(request: Request) -> Iterator[Prefix]:
    """The beginnings of a request: its tools, and after each message; marks of a client's do not count."""
    digest, size = hashlib.blake2b(digest_size=16), 0
    for tool in request.tools:
        text = repr((tool.name, tool.description, tool.parameters) if isinstance(tool, Tool) else tool.data)
        size += len(text)
        digest.update(text.encode("utf-8", "surrogatepass"))
    yield Prefix(digest.digest(), size)
    for message in request.messages:
        for text in (message.role, *_texts(message.content), *_texts(message.tool_calls), message.tool_call_id or ""):
            piece = text.encode("utf-8", "surrogatepass")
            size += len(piece)
            digest.update(b"%d:" % len(piece))
            digest.update(piece)
        yield Prefix(digest.digest(), size)


def _texts(content: str | Iterable[object]) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for part in content or ():
        if isinstance(part, ToolCall):
            yield part.name + part.arguments
        else:
            text = getattr(part, "text", None)
            yield text if isinstance(text, str) else repr(part)


def writes_cache(request: Request, target: Target) -> str:
    """For how long the vendor keeps what it reads, which some bill as more than input: "", "5m" or "1h".

    At Anthropic the gateway itself asks for it where the client does not.
    """
    marks: list[Any] = [request.prompt_cache]
    waiting: list[Any] = [request.extra_params, *request.tools]
    for message in request.messages:
        waiting += [message, *(message.content if not isinstance(message.content, str) else ()), *message.tool_calls]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            for name, value in one.items():
                is_mark = name in ("cache_control", "cachePoint")
                marks.append((value.get("ttl") if isinstance(value, Mapping) else None) or "5m" if is_mark else None)
            waiting += [value for value in one.values() if isinstance(value, Mapping | list | tuple)]
        elif isinstance(one, list | tuple):
            waiting += one
        elif not isinstance(one, str):
            marks.append(getattr(one, "cache", None))
            waiting += [inner for field in ("extra", "data") if isinstance(inner := getattr(one, field, None), Mapping)]
    asked = {mark for mark in marks if mark is not None}
    if asked - {"5m"}:
        return "1h"
    return "5m" if asked or target.kind == "anthropic" else ""


def _tiers(price: Price, request: Request) -> Iterable[Price]:
    """The prices that may count: all tiers, where the vendor chooses, or a field of its own says which."""
    chosen = "service_tier" in request.extra_params or request.service_tier == "auto"
    return (price, *price.tiers.values()) if chosen else (price,)


def _price(price: Price, request: Request, tokens: int) -> Price:
    return price.of(tokens, None if "service_tier" in request.extra_params else request.service_tier)


def _cost(usage: Usage, price: Price, *, writing: str) -> Decimal:
    fresh = usage.input_tokens - usage.cache_read_tokens
    rate = max(price.input, {"5m": price.cache_write, "1h": price.cache_write_long}.get(writing, price.input))
    into = EXACT.fma(fresh, rate, EXACT.multiply(usage.cache_read_tokens, price.cache_read))
    return EXACT.scaleb(EXACT.fma(usage.output_tokens, max(price.output, price.reasoning), into), -6)
