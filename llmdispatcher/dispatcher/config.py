"""The configuration of a dispatcher as values. Every mistake is reported with its path."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs

from ..accounting import Budget, budgets_of
from ..cache import ResponseCache
from ..catalog import NameClaim, Source, canonical, claim_on, owner, parse_source, vendor_row, vendor_rows
from ..errors import ConfigError
from ..resilience import Admission, CircuitBreaker, Hedge, RetryBudget, RetryPolicy, admission_of, server, shared_address
from ..routing import (
    Balance,
    Balancer,
    CostOptimization,
    LatencyOptimization,
    Modes,
    Pools,
    Preferences,
    RoutingRule,
    RuleTable,
    Strategy,
    known_mode,
    own_modes,
    pools,
)
from ..types import (
    at_least,
    boolean,
    build,
    integer,
    optional_model,
    optional_non_blank,
    redis_prefix,
    seconds_or_auto,
    secret_address,
    suggest,
)
from ..vendors import HttpVendor, VendorInfo
from .guards import check_guards

if TYPE_CHECKING:
    from redis import Redis, RedisCluster

    from ..catalog import Registry
    from .call import CallLog

_T = TypeVar("_T", bound=attrs.AttrsInstance)


@suggest
@attrs.frozen(kw_only=True)
class Continuation:
    """Let another target go on where a stream of plain text broke off, at most ``max_times`` in one call.

    Each continuation is one more request that is billed: the whole conversation, and the text so far. A repetition of the end of
    that text is cut, up to ``max_overlap`` characters, which are held back until it is clear whether they repeat.
    """

    max_times: int = attrs.field(default=1, validator=[integer, at_least(0)])
    max_overlap: int = attrs.field(default=400, validator=[integer, at_least(0)])


def continuation(value: Continuation | Mapping[str, Any] | bool | None) -> Continuation | None:
    """The setting that a value of the configuration stands for: True is the default one, ``None`` and False are none."""
    return _switched(Continuation, value, "continuation")


def _switched(kind: type[_T], value: Any, field: str) -> _T | None:
    """A setting of this kind: True is the default one, ``None`` and False are none."""
    if value is None or value is False:
        return None
    return build(kind, {} if value is True else value, field)


def continuation_for(configured: Continuation | None, wish: bool | None) -> Continuation | None:
    """Return the continuation for one request: as its own switch says, else as configured; ``None`` for none."""
    if wish is False:
        return None
    return configured or (Continuation() if wish else None)


def _retry_policy(value: RetryPolicy | Mapping[str, Any] | None) -> RetryPolicy:
    return build(RetryPolicy, {} if value is None else value, "retry_policy")


def _breaker(value: CircuitBreaker | Mapping[str, Any] | None) -> CircuitBreaker:
    return build(CircuitBreaker, {} if value is None else value, "circuit_breaker")


def _budget(value: RetryBudget | Mapping[str, Any] | None) -> RetryBudget:
    return build(RetryBudget, {} if value is None else value, "retry_budget")


def _cache(value: ResponseCache | Mapping[str, Any] | str | os.PathLike[str] | bool | None) -> ResponseCache | None:
    if isinstance(value, str | os.PathLike):
        return build(ResponseCache, {"store": value}, "cache")
    return _switched(ResponseCache, value, "cache")


def _hedge(value: Hedge | Mapping[str, Any] | bool | None) -> Hedge | None:
    return _switched(Hedge, value, "hedge")


def _rules(value: Sequence[RoutingRule | Mapping[str, Any]] | None) -> tuple[RoutingRule, ...]:
    if value is None:
        return ()
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise ConfigError(f"routing_rules: {type(value).__name__} is not a list of rules; give [RoutingRule(...), ...]")
    return tuple([build(RoutingRule, rule, f"routing_rules[{number}]") for number, rule in enumerate(value)])


def _balance(value: Balance | Mapping[str, Any] | str | Strategy | None) -> Balance | None:
    if value is None or isinstance(value, Balance):
        return value
    named = isinstance(value, str) or callable(value)
    return build(Balance, {"strategy": value} if named else value, "balance")


def _cost(value: CostOptimization | Mapping[str, Any] | bool | None) -> CostOptimization | None:
    return _switched(CostOptimization, value, "cost_optimization")


def _latency(value: LatencyOptimization | Mapping[str, Any] | bool | None) -> LatencyOptimization | None:
    return _switched(LatencyOptimization, value, "latency_optimization")


def _place(value: CallLog | str | os.PathLike[str] | None) -> Any:
    return secret_address(value) if isinstance(value, str) else value


def _ledger(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not (value is None or isinstance(value, str | os.PathLike) or hasattr(value, "began")):
        raise ConfigError(f"{attribute.name}: {type(value).__name__} is no ledger; give a path, postgresql://..., or a Ledger")


def _registry(value: Registry | str | os.PathLike[str] | None) -> Any:
    """A registry from its address; its room is loaded by those who have one."""
    if value is None:
        return None
    from ..catalog import registry_from

    return registry_from(value)


NEAREST = "nearest"
"""Of ``fallback_model``: the model of the fallback vendor that the catalog finds nearest to the one that was asked for."""


def _substitute(value: str | Literal[False] | None) -> Any:
    return None if value is False else value


def _interval(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    at_least(0)(_instance, attribute, value)
    if value == 0:
        raise ConfigError(f"{attribute.name}: 0 leaves no time between two checks; give seconds > 0, or None for no checks")


@suggest
@attrs.frozen(kw_only=True)
class Config:
    """How a dispatcher behaves. ``timeout`` is seconds for a whole call: queueing, every attempt and wait, and reading.

    The default, "auto", is what the answers of the first two targets may need (docs/reliability.md), 60 to 600 s; ``None`` sets
    no limit. ``fallback_vendor`` is asked where the others fail. For a model that it does not have it is asked for
    ``fallback_model``, else for its own ``default_model``; without both ("nearest") for its model that is nearest by price, window
    and abilities, which is logged once. ``None`` or False: only for models that it has.
    With ``failover=False`` only the first target of a route is asked, and asked again as ``retry_policy`` says; no other, neither
    after a failure nor beside it. A request may say otherwise.
    ``guards`` see every request before it is sent and every answer before it is handed on (docs/structured.md).
    ``balance`` (a strategy's name, or a :class:`~llmdispatcher.Balance`) makes vendors that no rule or optimizer
    has placed share the calls. ``mode`` ("fast", "sophisticated", "cost_saving", "auto", or a name in ``modes``, which adds
    functions of a :class:`~llmdispatcher.BalanceContext`) orders the targets of requests that name none. ``pools`` gives
    names to ordered lists of models, such as ``{"smart": ["openai:gpt-5", "anthropic:claude-opus-5"]}``, or
    ``{"smart": {"models": [...], "on": ["context", "policy", "quota", "auth"]}}`` to go on after such failures too.
    ``lockfile`` (a path, a :class:`~llmdispatcher.Lockfile`, or True for the one that holds here) has such names in a file
    of its own, and ``profile`` says which of its profiles holds where a request does not; it is read at the first call.
    ``registry`` (an address, a folder, or a :class:`~llmdispatcher.Registry`) publishes the models and prices that count.
    ``continuation`` (True, or a :class:`~llmdispatcher.Continuation`) lets another
    target go on with a stream that broke off. ``cache`` (True, a store such as a path, ``"redis://…"`` or ``"postgresql://…"``, or
    a :class:`~llmdispatcher.ResponseCache`) remembers answers. ``limits_storage``, the address of Redis servers or an application's
    client of redis-py, shares the counts of rate limits with other processes, under keys that begin with ``limits_prefix``.
    ``admission`` (a number of calls, True for 2,000, or an
    :class:`~llmdispatcher.Admission`) lets only so many be under way at once. ``budgets`` are amounts of money
    (:class:`~llmdispatcher.Budget`) that calls reserve from before they are sent. ``health_interval``, in seconds,
    lets a thread ask each vendor's list of models so often, and tell the circuit breaker (:mod:`~llmdispatcher.dispatcher.health`).
    ``ledger`` (a path, an URL or a :class:`~llmdispatcher.Ledger`) is where every call is written down, and ``origin`` the
    application that it is for, where a request does not say. With
    ``strict_cost`` no call goes to a target whose price is unknown, and an answer whose cost is unknown is raised, in a
    :class:`~llmdispatcher.CostUnknown`, instead of returned. ``enable_logging`` logs one line for each call
    (docs/telemetry.md); without ``enable_metrics`` :meth:`Dispatcher.get_stats` counts no calls. Nested values may be given as
    dicts of their fields. Raises :class:`~llmdispatcher.ConfigError` with the path of a mistake, such as
    ``routing_rules[2].condition.requires``.
    Whether the named vendors exist is seen at the first call, since they are registered later.
    """

    default_vendor: str | None = attrs.field(default=None, validator=optional_non_blank)
    fallback_vendor: str | None = attrs.field(default=None, validator=optional_non_blank)
    fallback_model: str | None = attrs.field(default=NEAREST, converter=_substitute, validator=optional_model)
    timeout: float | Literal["auto"] | None = attrs.field(default="auto", validator=seconds_or_auto)
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
    lockfile: Source = attrs.field(default=False, converter=parse_source)
    profile: str | None = attrs.field(default=None, validator=optional_non_blank)
    limits_storage: str | Redis | RedisCluster | None = attrs.field(
        default=None, repr=False, converter=shared_address, validator=server
    )
    admission: Admission | None = attrs.field(default=None, converter=admission_of)
    registry: Any = attrs.field(default=None, converter=_registry)
    budgets: tuple[Budget, ...] = attrs.field(default=(), converter=budgets_of)
    health_interval: float | None = attrs.field(default=None, validator=_interval)
    ledger: Any = attrs.field(default=None, repr=False, converter=_place, validator=_ledger)
    origin: str | None = attrs.field(default=None, validator=optional_non_blank)
    failover: bool = attrs.field(default=True, validator=boolean)
    strict_cost: bool = attrs.field(default=False, validator=boolean)
    limits_prefix: str = attrs.field(default="", validator=redis_prefix)
    enable_logging: bool = attrs.field(default=False, validator=boolean)
    enable_metrics: bool = attrs.field(default=True, validator=boolean)

    def __attrs_post_init__(self) -> None:
        vendor, model = self.fallback_vendor, self.fallback_model
        if model in (None, NEAREST):
            return
        if vendor is None:
            raise ConfigError(
                f"fallback_model: {model!r} is of no use without a fallback_vendor; name that vendor, or leave it out"
            )
        head, _colon, tail = model.partition(":")
        tail, row = tail.strip(), vendor_row(head)
        may_be_a_tag = row is not None and claim_on(row.name, tail) in (NameClaim.UNKNOWN, NameClaim.FOREIGN)
        if tail and row is not None and row.name != canonical(vendor) and not may_be_a_tag:
            raise ConfigError(
                f"fallback_model: {model!r} names {row.name}, and the fallback_vendor is {vendor!r}; give a model of {vendor!r}"
            )

    def named_vendors(self) -> Iterator[tuple[str, str]]:
        """The vendors that it names, each with the path of the field that does; of pools those that are in the catalog."""
        for field in ("default_vendor", "fallback_vendor"):
            if getattr(self, field) is not None:
                yield field, getattr(self, field)
        for number, rule in enumerate(self.routing_rules):
            if rule.enabled:
                yield f"routing_rules[{number}].vendor", rule.vendor
        for table in ("weights", "priorities") if self.balance is not None else ():
            for name in getattr(self.balance, table):
                yield f"balance.{table}", name
        for pool, models in self.pools.items():
            for number, model in enumerate(models):
                head, colon, tail = model.partition(":")
                row = vendor_row(head) if colon else None
                if row is not None and claim_on(row.name, tail.strip()) not in (NameClaim.UNKNOWN, NameClaim.FOREIGN):
                    yield f"pools[{pool!r}][{number}]", head

    def unknown_prefixes(self) -> Iterator[tuple[str, str, str]]:
        """The entries of pools whose prefix is no vendor of the catalog: the path, the prefix and the rest."""
        for pool, models in self.pools.items():
            for number, model in enumerate(models):
                head, colon, tail = model.partition(":")
                if colon and "/" not in head and vendor_row(head) is None:
                    yield f"pools[{pool!r}][{number}]", head, tail.strip()

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


@attrs.frozen
class Unready:
    """A vendor that the configuration names in ``field`` and that cannot be asked; ``lack`` says why and what to do.

    ``is_known``: it is registered, or in the catalog, so that only its key or address is missing.
    """

    field: str
    vendor: str
    lack: str
    is_known: bool = True

    def __str__(self) -> str:
        return f"{self.field}: {self.vendor!r} {self.lack}"


def unready(config: Config, vendors: Mapping[str, VendorInfo]) -> list[Unready]:
    """The vendors that a configuration names and that are not among ``vendors``, by name, or lack a key or an address."""
    registered = {canonical(name): vendor for name, vendor in vendors.items()}
    found: list[Unready] = []
    for field, name in config.named_vendors():
        vendor, row = registered.get(canonical(name)), vendor_row(name)
        if vendor is not None:
            lack = _lack(vendor)
            if lack is not None:
                found.append(Unready(field, name, f"cannot be asked: {lack}"))
        elif row is not None:
            variables = " or ".join(row.url_env if row.keyless else row.key_env)
            lack = _lack(HttpVendor(kind=row.name)) or f"set {variables}, or register it"
            found.append(Unready(field, name, f"is not registered: {lack}"))
        else:
            found.append(_unknown(field, name, registered))
    has_tags = any(vendor.row is None or vendor.row.keyless for vendor in vendors.values())  # as in Ollama's llama3:8b
    for field, prefix, model in config.unknown_prefixes():
        if canonical(prefix) not in registered and not (has_tags and owner(model) is None):
            found.append(_unknown(field, prefix, registered))
    return found


def _unknown(field: str, name: str, registered: Mapping[str, Any]) -> Unready:
    near = get_close_matches(canonical(name), [*registered, *(row.name for row in vendor_rows())], 1)
    meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(registered) or 'none'}"
    return Unready(field, name, f"is not registered, and the catalog has no vendor of this name; {meant}", False)


def _lack(vendor: HttpVendor | VendorInfo) -> str | None:
    try:
        return vendor.missing()
    except ConfigError as error:
        return error.message
