"""Order targets by price and by speed: the estimates, the hard cap on cost, and the resulting order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import attrs

from ..catalog import Target, canonical, room_for_thoughts
from ..errors import ConfigError
from ..runtime import new_lock
from ..types import (
    Price,
    Request,
    TextPart,
    TokenLimits,
    Tool,
    Usage,
    Usd,
    VendorTool,
    at_least,
    boolean,
    cost_of,
    suggest,
    texts_in,
    usd_amount,
)

ASSUMED_OUTPUT_TOKENS = 500
"""What a request that sets no ``max_tokens`` is estimated to get back."""
_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
STALE_AFTER = 300.0
"""Seconds after which an estimate of speed counts for nothing and the target as unmeasured."""
_WEIGHT_OF_LATEST = 0.3
_MOST_TARGETS = 4096
_NOTHING = Decimal(0)


def _max_cost(value: Usd | None) -> Decimal | None:
    return None if value is None else usd_amount("max_cost", value)


def _vendor_costs(value: Mapping[str, Usd]) -> dict[str, Decimal]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"vendor_costs: {type(value).__name__} is not a mapping; give {{'openai': '0.03'}}, US$ per 1,000 tokens")
    return {canonical(vendor): usd_amount(f"vendor_costs[{vendor!r}]", amount) for vendor, amount in value.items()}


@suggest
@attrs.frozen(kw_only=True)
class CostOptimization:
    """Prefer cheap targets, and start no call whose estimated cost is above ``max_cost`` US dollars.

    The estimate takes ``max_tokens`` for the output. Without it 500 tokens are assumed and no limit is sent, so that a longer
    answer may cost more than the cap: set ``max_tokens`` where the cap has to hold.
    ``vendor_costs`` overrides the catalog: US dollars per 1,000 tokens, whatever their class. A target whose price is unknown
    cannot keep a cap and is skipped under one; a free one keeps every cap.
    """

    enabled: bool = attrs.field(default=True, validator=boolean)
    prefer_cheap: bool = attrs.field(default=True, validator=boolean)
    max_cost: Decimal | None = attrs.field(default=None, converter=_max_cost)
    vendor_costs: Mapping[str, Decimal] = attrs.field(factory=dict, converter=_vendor_costs)
    _prices: Mapping[str, Price] = attrs.field(init=False, repr=False, eq=False)

    @_prices.default
    def _flat(self) -> dict[str, Price]:
        return {vendor: Price.flat(per_thousand * 1000) for vendor, per_thousand in self.vendor_costs.items()}

    def price(self, target: Target) -> Price | None:
        """The price that counts for a target; ``None`` where nobody knows one."""
        return self._prices.get(target.vendor_key, target.price)

    def estimate(self, target: Target, tokens: Usage) -> Decimal | None:
        """What ``tokens`` would cost at a target; ``None`` where nobody knows."""
        price = self.price(target)
        return None if price is None else cost_of(tokens, price)

    def objection(self, target: Target, tokens: Usage, spent: Decimal = _NOTHING) -> str | None:
        """Return why the cap forbids a target in a call that has ``spent`` so much, or ``None`` where it does not."""
        if not self.enabled or self.max_cost is None:
            return None
        amount = self.estimate(target, tokens)
        if amount is None:
            return f"price unknown, cannot hold max_cost: give vendor_costs[{target.vendor!r}]"
        if amount + spent > self.max_cost:
            return f"about {shown(amount + spent)} is over max_cost {shown(self.max_cost)}"
        return None


def shown(amount: Decimal) -> str:
    """US dollars for people: "$0.0025"."""
    return f"${amount.normalize():f}"


def _weights(_instance: Any, _attribute: Any, value: Mapping[str, float]) -> None:
    for vendor, weight in value.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
            raise ConfigError(f"latency_weights[{vendor!r}]: {weight!r} is not a factor > 0; 2.0 makes a vendor look twice as slow")


def _by_vendor(value: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"latency_weights: {type(value).__name__} is not a mapping; give {{'openai': 2.0}}")
    return {canonical(vendor): weight for vendor, weight in value.items()}


@suggest
@attrs.frozen(kw_only=True)
class LatencyOptimization:
    """Prefer fast targets, by what was observed; a target that was not measured lately is tried first.

    Targets slower than ``max_latency`` seconds come after all others. ``latency_weights`` multiplies a vendor's estimate when
    vendors are compared: more than 1 makes it look slower.
    """

    enabled: bool = attrs.field(default=True, validator=boolean)
    prefer_fast: bool = attrs.field(default=True, validator=boolean)
    max_latency: float | None = attrs.field(default=None, validator=at_least(0))
    latency_weights: Mapping[str, float] = attrs.field(factory=dict, converter=_by_vendor, validator=_weights)

    def weight(self, target: Target) -> float:
        """The factor on a target's estimate."""
        return self.latency_weights.get(target.vendor_key, 1.0)


def input_tokens(request: Request) -> int:
    """An estimate: 4 characters a token and a few tokens per message. Texts of tools and of ``extra_params`` count too."""
    messages = request.messages
    characters = sum([len(said) if type(said := message.content) is str else len(message.text) for message in messages])
    if request.tools:
        characters += sum(map(_characters, request.tools))
    if request.extra_params:
        characters += sum(map(len, texts_in(request.extra_params)))
    return characters // _CHARACTERS_PER_TOKEN + _TOKENS_PER_MESSAGE * len(messages)


def longest_text(request: Request) -> int:
    """An estimate of the tokens of its longest text, as :func:`input_tokens` counts them."""
    contents = [message.content for message in request.messages]
    parts = [part for said in contents if type(said) is tuple for part in said if isinstance(part, TextPart)]
    lengths = [len(said) for said in contents if type(said) is str] + [len(part.text) for part in parts]
    return max(lengths, default=0) // _CHARACTERS_PER_TOKEN + _TOKENS_PER_MESSAGE


def _characters(tool: Tool | VendorTool) -> int:
    return tool.characters if isinstance(tool, Tool) else sum(map(len, texts_in(tool.data)))


def tokens_of(request: Request, target: Target | None = None) -> Usage:
    """An estimate of the whole call: :func:`input_tokens` in; ``max_tokens`` or 500 out for each answer, however these are set.

    At a ``target`` that counts thoughts in the limit of its answer, their room is counted too.
    """
    room = room_for_thoughts(request, target.kind or "", target.model) if target is not None else 0
    return Usage(input_tokens=input_tokens(request), output_tokens=output_tokens(request) + room * (request.n or 1))


def output_tokens(request: Request) -> int:
    """Tokens that the answers may have: what the request allows, or an assumption."""
    if not request.extra_params:
        return (request.n or 1) * (ASSUMED_OUTPUT_TOKENS if request.max_tokens is None else request.max_tokens)
    said = TokenLimits.of(request.extra_params)
    most = said.most(request.max_tokens)
    return max(request.n or 1, said.answers) * max(ASSUMED_OUTPUT_TOKENS if most is None else most, *said.others, 0)


class Estimate(NamedTuple):
    """Moving averages of one target in seconds, and the moment (monotonic) of the last observation."""

    latency: float
    first_token: float | None
    at: float

    def next(self, latency: float, first_token: float | None, now: float) -> Estimate:
        """The estimate after one more observation; a stale one, or a mere failure, leaves no trace in it."""
        if now - self.at > STALE_AFTER or self.latency == math.inf:
            return Estimate(latency, first_token, now)
        first, before = first_token, self.first_token
        if before is not None:
            first = before if first is None else before + _WEIGHT_OF_LATEST * (first - before)
        return Estimate(self.latency + _WEIGHT_OF_LATEST * (latency - self.latency), first, now)


class Latencies:
    """What was observed of each target; safe under threads, bounded."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._estimates: dict[tuple[str, str], Estimate] = {}

    def observe(self, target: Target, latency: float, first_token: float | None, now: float) -> None:
        """Record an answer, or a silence, of ``latency`` seconds."""
        with self._lock:
            known = self._estimates.get(target.key)
            if known is None:
                self._put(target, Estimate(latency, first_token, now))
            else:
                self._estimates[target.key] = known.next(latency, first_token, now)

    def failed(self, target: Target, now: float) -> None:
        """Record a failure that says nothing about speed: an unmeasured target is not tried first for a while."""
        with self._lock:
            known = self._estimates.get(target.key)
            if known is None or now - known.at > STALE_AFTER:
                self._put(target, Estimate(math.inf, None, now))

    def _put(self, target: Target, estimate: Estimate) -> None:
        if target.key not in self._estimates and len(self._estimates) >= _MOST_TARGETS:
            del self._estimates[next(iter(self._estimates))]
        self._estimates[target.key] = estimate

    def estimate(self, target: Target, now: float, *, streamed: bool) -> float | None:
        """Seconds to the first token for a stream, to the whole answer else; ``None`` if not measured in the last 300 s.

        Infinite for a target that only failed in that time.
        """
        known = self._estimates.get(target.key)
        if known is None or now - known.at > STALE_AFTER:
            return None
        return known.first_token if streamed and known.first_token is not None else known.latency


@attrs.frozen(kw_only=True)
class Ranking:
    """One target's figures: estimated US dollars and (weighted) seconds, either ``None`` where unknown; ``str()`` is for people.

    ``by`` names what counts: "price", "speed" or "price and speed".
    """

    target: Target
    by: str
    cost: Decimal | None
    seconds: float | None
    too_slow: bool = False

    def __str__(self) -> str:
        figures = []
        if "price" in self.by:
            figures.append(f"about {shown(self.cost)}" if self.cost is not None else "price unknown")
        if "speed" in self.by:
            figures.append(speed_told(self.seconds) + (", over max_latency" if self.too_slow else ""))
        return f"optimizer, by {self.by}: {', '.join(figures)}"


def speed_told(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return "speed not measured lately"
    return f"about {seconds:.3g} s" if seconds < math.inf else "failed lately"


def ranked(rankings: Sequence[Ranking], *, cheap: bool, fast: bool) -> list[Ranking]:
    """In order of preference: too slow ones last, then by the sum of the places by price and by speed, ties as given.

    Among prices an unknown one comes last, among speeds first, so that it becomes known.
    """
    by_cost = _places([ranking.cost for ranking in rankings], unknown_first=False) if cheap else [0] * len(rankings)
    by_speed = _places([ranking.seconds for ranking in rankings], unknown_first=True) if fast else [0] * len(rankings)
    order = sorted(range(len(rankings)), key=lambda i: (rankings[i].too_slow, by_cost[i] + by_speed[i]))
    return [rankings[index] for index in order]


def _places(values: Sequence[Any], *, unknown_first: bool) -> list[int]:
    """The place of each value, equal values sharing one."""
    known = sorted({value for value in values if value is not None})
    shift = 1 if unknown_first else 0
    places = {value: place + shift for place, value in enumerate(known)}
    return [places[value] if value is not None else (0 if unknown_first else len(known)) for value in values]
