"""Balancing: the order in which equal targets are asked. A strategy is a function of what is known when the call is made.

Targets are equal when no rule and no optimizer has ordered them. The first of a strategy's order is asked; the others are the
failover, in that order. Any function of a :class:`BalanceContext` that returns targets is a strategy.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from ..catalog import Target, canonical
from ..errors import ConfigError
from ..runtime import new_lock
from ..types import Request, choices, optional_non_blank, suggest


@attrs.frozen(kw_only=True, slots=False)
class BalanceContext:
    """What a strategy sees: the request, its equal targets in order of registration, and figures of each.

    ``turn`` counts calls, ``in_flight`` tells calls under way, ``seconds`` the observed latency (``None``: not measured lately),
    ``dollars`` the estimated cost (``None``: unknown), ``chance`` draws from [0, 1).
    """

    request: Request
    targets: Sequence[Target]
    turn: int
    weight: Callable[[Target], float]
    priority: Callable[[Target], float]
    in_flight: Callable[[Target], int]
    seconds: Callable[[Target], float | None]
    dollars: Callable[[Target], float | None]
    chance: Callable[[], float]


Strategy = Callable[[BalanceContext], Sequence[Target]]
_BITS = 1 << 64


def round_robin(now: BalanceContext) -> Sequence[Target]:
    """Each in its turn."""
    start = now.turn % len(now.targets)
    return [*now.targets[start:], *now.targets[:start]]


def weighted(now: BalanceContext) -> Sequence[Target]:
    """By chance, in proportion to the weights; one of weight 0 only when all others failed."""
    # A draw u^(1/w) for each and the largest first is a weighted order without replacement (Efraimidis and Spirakis, 2006).
    draws = {target: now.chance() ** (1.0 / now.weight(target)) if now.weight(target) > 0 else -1.0 for target in now.targets}
    return sorted(now.targets, key=lambda target: -draws[target])


def random(now: BalanceContext) -> Sequence[Target]:
    """By chance."""
    draws = {target: now.chance() for target in now.targets}
    return sorted(now.targets, key=draws.__getitem__)


def least_loaded(now: BalanceContext) -> Sequence[Target]:
    """The fewest calls under way first, in proportion to the weights; equal ones in turn."""
    return sorted(round_robin(now), key=lambda target: (now.in_flight(target) + 1) / max(now.weight(target), 1e-9))


def fastest(now: BalanceContext) -> Sequence[Target]:
    """By observed latency; one that was not measured lately first, so that it becomes known."""
    return sorted(round_robin(now), key=lambda target: _known(now.seconds(target), -math.inf))


def cheapest(now: BalanceContext) -> Sequence[Target]:
    """By estimated cost; one without a price last."""
    return sorted(round_robin(now), key=lambda target: _known(now.dollars(target), math.inf))


def priority(now: BalanceContext) -> Sequence[Target]:
    """The lowest number first; equal ones in turn."""
    return sorted(round_robin(now), key=now.priority)


def _known(value: float | None, unknown: float) -> float:
    return unknown if value is None else value


_SHARING = (round_robin, weighted, random, least_loaded, fastest)
"""Strategies that prefer none for good, so that a conversation may stay where it is."""
STRATEGIES: Mapping[str, Strategy] = {
    "round_robin": round_robin,
    "weighted": weighted,
    "least_loaded": least_loaded,
    "fastest": fastest,
    "fastest_response": fastest,
    "cheapest": cheapest,
    "cost_optimized": cheapest,
    "priority": priority,
    "random": random,
}


def _strategy(value: str | Strategy) -> Strategy:
    if callable(value):
        return value  # whatever it gives is checked where it is called
    found = STRATEGIES.get(str(value).strip().lower())
    if found is None:
        raise ConfigError(
            f"strategy: {value!r} is not a strategy; {choices(value, STRATEGIES, 'use {}, or a function of a BalanceContext')}"
        )
    return found


def _weights(value: Mapping[str, float]) -> dict[str, float]:
    return _by_vendor("weights", value)


def _priorities(value: Mapping[str, float]) -> dict[str, float]:
    return _by_vendor("priorities", value)


def _by_vendor(field: str, value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{field}: {type(value).__name__} is not a mapping; give {{'openai': 2}}")
    for vendor, number in value.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < math.inf:
            raise ConfigError(f"{field}[{vendor!r}]: {number!r} is not a number ≥ 0")
    return {canonical(vendor): float(number) for vendor, number in value.items()}


@suggest
@attrs.frozen(kw_only=True)
class Balance:
    """How equal targets share the calls.

    ``strategy`` is a name of :data:`STRATEGIES` or a function. ``weights`` (1 where not given) and ``priorities`` (0) are by
    vendor.
    ``sticky`` names what keeps a conversation at one vendor, where its prompt cache is: ``"user"``, or a key of the request's
    ``metadata``; a request without it is balanced by the strategy. Without ``sticky`` requests of the gateway go by their session
    where the strategy only shares the calls (round_robin, weighted, random, least_loaded, fastest).
    """

    strategy: Strategy = attrs.field(default=round_robin, converter=_strategy)
    weights: Mapping[str, float] = attrs.field(factory=dict, converter=_weights)
    priorities: Mapping[str, float] = attrs.field(factory=dict, converter=_priorities)
    sticky: str | None = attrs.field(default=None, validator=optional_non_blank)

    def session(self, request: Request) -> str | None:
        """Return the session that the request belongs to, if any."""
        if self.sticky is None:
            return request.affinity if self.strategy in _SHARING else None
        value = request.user if self.sticky == "user" else request.metadata.get(self.sticky)
        return None if value is None else str(value)


def among(ordered: list[Target], targets: Sequence[Target], what: str) -> list[Target]:
    """What a function of the user's gave, if it is some of what it was shown. Raises :class:`ConfigError`."""
    known = set(map(id, targets))
    if not known.issuperset(map(id, ordered)):
        raise ConfigError(f"{what}: it gave something that is not among the situation's targets; return some of those")
    return ordered


def by_session(session: str, targets: Sequence[Target], weight: Callable[[Target], float] = lambda _target: 1.0) -> list[Target]:
    """Always the same order for the same session; a target that comes or goes moves only the sessions that were its own.

    Sessions share the targets by their weights; one of weight 0 comes last. Highest random weight hashing (Thaler and
    Ravishankar, 1998), with weights as the draws of :func:`weighted`.
    """

    def draw(target: Target) -> float:
        hashed = hashlib.blake2b(f"{session}\0{target}".encode("utf-8", "replace"), digest_size=8).digest()
        chance = (int.from_bytes(hashed) + 1) / _BITS
        return math.log(chance) / weight(target) if weight(target) > 0 else math.log(chance) - math.inf

    return sorted(targets, key=draw, reverse=True)


class Balancer:
    """Counts calls under way, and asks the strategy; safe under threads."""

    def __init__(self, policy: Balance, chance: Callable[[], float]) -> None:
        self.policy = policy
        self._is_ours = any(policy.strategy is strategy for strategy in STRATEGIES.values())
        self._chance = chance
        self._lock = new_lock()
        self._in_flight: dict[tuple[str, str], int] = {}
        self._name = getattr(policy.strategy, "__name__", type(policy.strategy).__name__)

    def label(self, request: Request) -> str:
        """Why a target has its place, for people."""
        if self.policy.session(request) is not None:
            return f"by {self.policy.sticky or 'session'}"
        return self._name

    def begin(self, target: Target) -> None:
        """Count a call that begins."""
        with self._lock:
            self._in_flight[target.key] = self._in_flight.get(target.key, 0) + 1

    def end(self, target: Target) -> None:
        """Count a call that ends."""
        with self._lock:
            left = self._in_flight.get(target.key, 0) - 1
            if left > 0:
                self._in_flight[target.key] = left
            else:
                self._in_flight.pop(target.key, None)

    def order(
        self,
        request: Request,
        targets: Sequence[Target],
        turn: int,
        seconds: Callable[[Target], float | None],
        dollars: Callable[[Target], float | None],
    ) -> list[Target]:
        """Order equal targets. A target that a user's strategy leaves out is not asked; one that it makes up is refused."""
        if len(targets) < 2:
            return list(targets)
        policy = self.policy
        if (session := policy.session(request)) is not None:
            return by_session(session, targets, self._weight)
        ordered = list(policy.strategy(self.situation(request, targets, turn, seconds, dollars)))
        return ordered if self._is_ours else among(ordered, targets, "strategy")

    def situation(
        self,
        request: Request,
        targets: Sequence[Target],
        turn: int,
        seconds: Callable[[Target], float | None],
        dollars: Callable[[Target], float | None],
    ) -> BalanceContext:
        """Return the context of some targets for a strategy or a mode."""
        return BalanceContext(
            request=request,
            targets=tuple(targets),
            turn=turn,
            weight=self._weight,
            priority=self._priority,
            in_flight=self._load,
            seconds=seconds,
            dollars=dollars,
            chance=self._chance,
        )

    def _weight(self, target: Target) -> float:
        return self.policy.weights.get(target.vendor_key, 1.0)

    def _priority(self, target: Target) -> float:
        return self.policy.priorities.get(target.vendor_key, 0.0)

    def _load(self, target: Target) -> int:
        """Return how many calls are under way at a target."""
        return self._in_flight.get(target.key, 0)
