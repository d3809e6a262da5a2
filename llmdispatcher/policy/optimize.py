"""Choosing by price and by speed: estimates, the hard cap on cost, and the order that both give."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import attrs

from ..catalog import Price, cost
from ..errors import ConfigError
from ..types import Request, Usage
from . import checks
from .target import Target

ASSUMED_OUTPUT_TOKENS = 500
_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
_WEIGHT = 0.3
_STALE_AFTER = 300.0


def _vendor_costs(value: Mapping[str, Any]) -> dict[str, Price]:
    prices = {}
    for vendor, dollars in value.items():
        per_thousand = checks.money(dollars)
        if per_thousand is None:
            raise ConfigError(f"vendor_costs[{vendor!r}]: None is not an amount; give US dollars per 1,000 tokens")
        prices[vendor] = Price.flat(per_thousand * 1000)
    return prices


@attrs.frozen(kw_only=True)
class CostOptimization:
    """Prefer cheap targets, and never start a call that could cost more than ``max_cost`` US dollars.

    ``vendor_costs`` overrides the catalog: US dollars per 1,000 tokens, whatever their class. A target whose price is unknown
    cannot keep a cap and is skipped under one.
    """

    enabled: bool = True
    prefer_cheap: bool = True
    max_cost: Decimal | None = attrs.field(default=None, converter=checks.money)
    vendor_costs: Mapping[str, Price] = attrs.field(factory=dict, converter=_vendor_costs)

    def estimate(self, target: Target, tokens: Usage) -> Decimal | None:
        """What ``tokens`` would cost at a target; ``None`` where nobody knows."""
        price = self.vendor_costs.get(target.vendor, target.price)
        return None if price is None else cost(tokens, price)

    def objection(self, target: Target, tokens: Usage) -> str | None:
        """Why the cap forbids a target, or ``None`` where it does not."""
        if not self.enabled or self.max_cost is None:
            return None
        dollars = self.estimate(target, tokens)
        if dollars is None:
            return f"its price is unknown, so max_cost cannot be kept; give vendor_costs[{target.vendor!r}]"
        if dollars > self.max_cost:
            return f"about ${dollars.normalize():f} is over max_cost ${self.max_cost:f}"
        return None


def _weights(_instance: Any, _attribute: Any, value: Mapping[str, float]) -> None:
    for vendor, weight in value.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or weight <= 0:
            raise ConfigError(f"latency_weights[{vendor!r}]: {weight!r} is not a factor > 0; 2.0 makes a vendor look twice as slow")


@attrs.frozen(kw_only=True)
class LatencyOptimization:
    """Prefer fast targets, by what was observed; a target that was not measured lately is tried first.

    Targets slower than ``max_latency`` seconds come after all others. ``latency_weights`` multiplies a vendor's estimate.
    """

    enabled: bool = True
    prefer_fast: bool = True
    max_latency: float | None = attrs.field(default=None, validator=checks.at_least(0))
    latency_weights: Mapping[str, float] = attrs.field(factory=dict, validator=_weights)


def tokens_of(request: Request) -> Usage:
    """An estimate: 4 characters a token and a few per message in, ``max_tokens`` or 500 out."""
    characters = sum([len(message.text) for message in request.messages])
    into = characters // _CHARACTERS_PER_TOKEN + _TOKENS_PER_MESSAGE * len(request.messages)
    return Usage(input_tokens=into, output_tokens=request.max_tokens if request.max_tokens is not None else ASSUMED_OUTPUT_TOKENS)


@attrs.frozen
class Estimate:
    """Moving averages of one target in seconds, and the moment (monotonic) of the last observation."""

    latency: float
    first_token: float | None
    at: float

    def next(self, latency: float, first_token: float | None, now: float) -> Estimate:
        """The estimate after one more observation."""
        if self.first_token is None or first_token is None:
            first = first_token if first_token is not None else self.first_token
        else:
            first = self.first_token + _WEIGHT * (first_token - self.first_token)
        return Estimate(self.latency + _WEIGHT * (latency - self.latency), first, now)


class Latencies:
    """What was observed of each target; safe under threads, one entry per target that ever answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._estimates: dict[tuple[str, str], Estimate] = {}

    def observe(self, target: Target, latency: float, first_token: float | None, now: float) -> None:
        """Take in one answer, or one silence that lasted ``latency`` seconds."""
        with self._lock:
            known = self._estimates.get(target.key)
            fresh = known is None or now - known.at > _STALE_AFTER
            self._estimates[target.key] = (
                Estimate(latency, first_token, now) if known is None or fresh else known.next(latency, first_token, now)
            )

    def estimate(self, target: Target, now: float, *, streamed: bool) -> float | None:
        """Seconds to the first token for a stream, to the whole answer else; ``None`` if not measured in the last 300 s."""
        known = self._estimates.get(target.key)
        if known is None or now - known.at > _STALE_AFTER:
            return None
        return known.first_token if streamed and known.first_token is not None else known.latency


@attrs.frozen(kw_only=True)
class Ranking:
    """One target's place: estimated US dollars and seconds, either ``None`` where unknown."""

    target: Target
    cost: Decimal | None
    seconds: float | None
    too_slow: bool = False

    @property
    def reason(self) -> str:
        """Why it stands where it stands, for people."""
        price = f"about ${self.cost.normalize():f}" if self.cost is not None else "price unknown"
        speed = f"about {self.seconds:.3g} s" if self.seconds is not None else "speed not measured lately"
        return f"{price}, {speed}" + (", over max_latency" if self.too_slow else "")


def ranked(rankings: Sequence[Ranking], *, cheap: bool, fast: bool) -> list[Ranking]:
    """In order of preference: too slow ones last, then by the sum of the places by price and by speed, ties as given."""
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
