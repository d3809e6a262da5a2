"""The configuration as values; every mistake is reported with its path."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from .caching import ResponseCache
from .errors import ConfigError
from .lockfile.aliases import Source, source
from .policy import checks
from .policy.admission import Admission, admission
from .policy.balance import Balance, Balancer, Strategy
from .policy.breaker import CircuitBreaker
from .policy.budget import RetryBudget
from .policy.continuation import Continuation, continuation
from .policy.guards import check_guards
from .policy.hedge import Hedge
from .policy.modes import Modes, known_mode, own_modes
from .policy.optimize import CostOptimization, LatencyOptimization
from .policy.pools import Pools, pools
from .policy.retry import RetryPolicy
from .policy.route import Preferences
from .policy.rules import RoutingRule, RuleTable
from .policy.storage import server
from .spending.budget import Budget, budgets


def _retry_policy(value: Any) -> RetryPolicy:
    return checks.build(RetryPolicy, {} if value is None else value, "retry_policy")


def _breaker(value: Any) -> CircuitBreaker:
    return checks.build(CircuitBreaker, {} if value is None else value, "circuit_breaker")


def _budget(value: Any) -> RetryBudget:
    return checks.build(RetryBudget, {} if value is None else value, "retry_budget")


def _cache(value: Any) -> ResponseCache | None:
    return None if value is None else checks.build(ResponseCache, value, "cache")


def _hedge(value: Any) -> Hedge | None:
    return None if value is None else checks.build(Hedge, value, "hedge")


def _rules(value: Any) -> tuple[RoutingRule, ...]:
    if value is None:
        return ()
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise ConfigError(f"routing_rules: {type(value).__name__} is not a list of rules; give [RoutingRule(...), ...]")
    return tuple([checks.build(RoutingRule, rule, f"routing_rules[{number}]") for number, rule in enumerate(value)])


def _balance(value: Any) -> Balance | None:
    if value is None or isinstance(value, Balance):
        return value
    named = isinstance(value, str) or callable(value)
    return checks.build(Balance, {"strategy": value} if named else value, "balance")


def _cost(value: Any) -> CostOptimization | None:
    return None if value is None else checks.build(CostOptimization, value, "cost_optimization")


def _latency(value: Any) -> LatencyOptimization | None:
    return None if value is None else checks.build(LatencyOptimization, value, "latency_optimization")


def _ledger(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not (value is None or isinstance(value, str | os.PathLike) or hasattr(value, "began")):
        raise ConfigError(f"{attribute.name}: {type(value).__name__} is no ledger; give a path, postgresql://..., or a Ledger")


def _registry(value: Any) -> Any:
    """A registry from its address; its room is loaded by those who have one."""
    if value is None:
        return None
    from .registry import registry_from

    return registry_from(value)


def _interval(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    checks.at_least(0)(_instance, attribute, value)
    if value == 0:
        raise ConfigError(f"{attribute.name}: 0 leaves no time between two checks; give seconds > 0, or None for no checks")


@attrs.frozen(kw_only=True)
class Config:
    """How a dispatcher behaves. ``timeout`` is seconds for a whole call: queueing, every attempt and wait, and reading.

    ``guards`` see every request before it is sent and every answer before it is handed on (:mod:`~llmdispatcher.policy.guards`).
    ``balance`` (a strategy's name, or a :class:`~llmdispatcher.policy.balance.Balance`) makes vendors that no rule or optimizer
    has placed share the calls. ``mode`` ("fast", "sophisticated", "cost_saving", "auto", or a name in ``modes``, which adds
    functions of a :class:`~llmdispatcher.BalanceContext`) orders the targets of requests that name none. ``pools`` gives
    names to ordered lists of models, such as ``{"smart": ["openai:gpt-5", "anthropic:claude-opus-5"]}``.
    ``lockfile`` (a path, a :class:`~llmdispatcher.lockfile.Lockfile`, or True for the one that holds here) has such names in a file
    of its own, and ``profile`` says which of its profiles holds where a request does not; it is read at the first call.
    ``registry`` (an address, a folder, or a :class:`~llmdispatcher.registry.Registry`) publishes the models and prices that count.
    ``continuation`` (True, or a :class:`~llmdispatcher.policy.continuation.Continuation`) lets another
    target go on with a stream that broke off. ``limits_storage``, the address of a Redis server, shares the counts of rate limits
    with other processes. ``admission`` (a number of calls, True for 2,000, or an
    :class:`~llmdispatcher.policy.admission.Admission`) lets only so many be under way at once. ``budgets`` are amounts of money
    (:class:`~llmdispatcher.spending.budget.Budget`) that calls reserve from before they are sent. ``health_interval``, in seconds,
    lets a thread ask each vendor's list of models so often, and tell the circuit breaker (:mod:`~llmdispatcher.checkups`).
    ``ledger`` (a path, an URL or a :class:`~llmdispatcher.ledger.Ledger`) is where every call is written down, and ``origin`` the
    application that it is for, where a request does not say. With
    ``strict_cost`` no call goes to a target whose price is unknown, and an answer whose cost is unknown is raised, in a
    :class:`~llmdispatcher.errors.CostUnknown`, instead of returned. Nested values may be given as dicts of their fields. Raises
    :class:`~llmdispatcher.errors.ConfigError` with the path of a mistake, such as ``routing_rules[2].condition.requires``.
    Whether the named vendors exist is seen at the first call, since they are registered later.
    """

    default_vendor: str | None = attrs.field(default=None, validator=checks.optional_name)
    fallback_vendor: str | None = attrs.field(default=None, validator=checks.optional_name)
    timeout: float | None = attrs.field(default=30.0, validator=checks.optional_seconds)
    retry_policy: RetryPolicy = attrs.field(default=None, converter=_retry_policy)
    circuit_breaker: CircuitBreaker = attrs.field(default=None, converter=_breaker)
    retry_budget: RetryBudget = attrs.field(default=None, converter=_budget)
    routing_rules: tuple[RoutingRule, ...] = attrs.field(default=(), converter=_rules)
    cache: ResponseCache | None = attrs.field(default=None, converter=_cache)
    hedge: Hedge | None = attrs.field(default=None, converter=_hedge)
    continuation: Continuation | None = attrs.field(default=None, converter=continuation)
    guards: tuple[Any, ...] = attrs.field(default=(), converter=check_guards)
    balance: Balance | None = attrs.field(default=None, converter=_balance)
    modes: Mapping[str, Strategy] = attrs.field(default=None, converter=own_modes)
    mode: str | None = attrs.field(default=None, validator=known_mode)
    pools: Pools = attrs.field(default=None, converter=pools)
    cost_optimization: CostOptimization | None = attrs.field(default=None, converter=_cost)
    latency_optimization: LatencyOptimization | None = attrs.field(default=None, converter=_latency)
    lockfile: Source = attrs.field(default=False, converter=source)
    profile: str | None = attrs.field(default=None, validator=checks.optional_name)
    limits_storage: str | None = attrs.field(default=None, repr=False, validator=server)
    admission: Admission | None = attrs.field(default=None, converter=admission)
    registry: Any = attrs.field(default=None, converter=_registry)
    budgets: tuple[Budget, ...] = attrs.field(default=(), converter=budgets)
    health_interval: float | None = attrs.field(default=None, validator=_interval)
    ledger: Any = attrs.field(default=None, repr=False, validator=_ledger)
    origin: str | None = attrs.field(default=None, validator=checks.optional_name)
    strict_cost: bool = attrs.field(default=False, validator=checks.flag)

    def preferences(self, balancer: Balancer | None = None) -> Preferences:
        """What of this routing needs."""
        return Preferences(
            rules=RuleTable(self.routing_rules),
            cost=self.cost_optimization,
            latency=self.latency_optimization,
            balancer=balancer if self.balance is not None else None,
            loads=balancer,
            modes=Modes(own=self.modes, default=self.mode),
            default_vendor=self.default_vendor,
            fallback_vendor=self.fallback_vendor,
            strict_cost=self.strict_cost,
        )
