"""The route of one request: which targets, in which order, and why the others are not on it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial

import attrs

from ..catalog import canonical
from ..errors import BudgetExceeded, ConfigError, DispatchError, ModelNotFound, VendorUnavailable
from ..messages import ImagePart
from ..types import Request, Usage
from .optimize import CostOptimization, Latencies, LatencyOptimization, Ranking, ranked, tokens_of
from .rules import RuleTable
from .target import Target

_LACKS = (("streaming", "supports_streaming"), ("vision", "supports_vision"), ("tools", "supports_tools"))


@attrs.frozen
class Skip:
    """A vendor that is not on the route, and why. ``over_budget`` marks those that only the cost cap excludes."""

    vendor: str
    reason: str
    over_budget: bool = False


@attrs.frozen
class Step:
    """A target on the route, and why it has its place."""

    target: Target
    why: str


@attrs.frozen
class Route:
    """The whole decision about one request; ``str()`` tells it to people."""

    model: str
    steps: tuple[Step, ...]
    skipped: tuple[Skip, ...] = ()

    @property
    def targets(self) -> tuple[Target, ...]:
        """Whom to ask, in order."""
        return tuple([step.target for step in self.steps])

    def __str__(self) -> str:
        lines = [f"{self.model}:"]
        lines += [f"  {place}. {step.target}  ({step.why})" for place, step in enumerate(self.steps, 1)]
        lines += [f"  -  {skip.vendor}  skipped: {skip.reason}" for skip in self.skipped]
        return "\n".join(lines)


@attrs.frozen(kw_only=True)
class Preferences:
    """What a configuration says about routing."""

    rules: RuleTable = attrs.field(factory=RuleTable)
    cost: CostOptimization | None = None
    latency: LatencyOptimization | None = None
    default_vendor: str | None = None
    fallback_vendor: str | None = None


def split_ref(model: str, vendors: Collection[str]) -> tuple[str | None, str]:
    """``("openai", "gpt-4o")`` for ``"openai:gpt-4o"``, if a vendor of that name is registered, else ``(None, model)``."""
    head, colon, tail = model.partition(":")
    if colon and tail.strip():
        wanted = canonical(head)
        for vendor in vendors:
            if canonical(vendor) == wanted:
                return vendor, tail.strip()
    return None, model.strip()


def needs_of(request: Request, *, streamed: bool) -> frozenset[str]:
    """The capabilities that a request uses."""
    needs = set()
    if streamed:
        needs.add("streaming")
    if request.tools:
        needs.add("tools")
    if any(
        isinstance(part, ImagePart) for message in request.messages if type(message.content) is tuple for part in message.content
    ):
        needs.add("vision")
    return frozenset(needs)


def plan(
    request: Request, targets: Iterable[Target], preferences: Preferences, latencies: Latencies, now: float, *, streamed: bool
) -> Route:
    """Order the targets for a request: rule → optimizers → default vendor → fallback vendor → any other that is able."""
    needs = needs_of(request, streamed=streamed)
    tokens = tokens_of(request)
    fitting: dict[str, Target] = {}
    skipped: list[Skip] = []
    for target in targets:
        skip = _objection(target, needs, tokens, preferences.cost)
        if skip is None:
            fitting[target.vendor] = target
        else:
            skipped.append(skip)
    steps = _ordered(request, fitting, preferences, needs, partial(_rankings, preferences, latencies, tokens, now, streamed))
    return Route(request.model, tuple(steps), tuple(skipped))


def _objection(target: Target, needs: frozenset[str], tokens: Usage, cost: CostOptimization | None) -> Skip | None:
    for need, supports in _LACKS:
        if need in needs and not getattr(target, supports):
            return Skip(target.vendor, f"{target.model} has no {need}")
    if target.context_window and tokens.input_tokens > target.context_window:
        return Skip(
            target.vendor, f"about {tokens.input_tokens} tokens do not fit the window of {target.context_window} of {target.model}"
        )
    too_dear = cost.objection(target, tokens) if cost is not None else None
    return Skip(target.vendor, too_dear, over_budget=True) if too_dear is not None else None


def _ordered(
    request: Request,
    fitting: Mapping[str, Target],
    preferences: Preferences,
    needs: frozenset[str],
    rankings: partial[list[Ranking]],
) -> list[Step]:
    left = dict(fitting)
    steps: list[Step] = []

    def take(vendor: str | None, why: str) -> None:
        target = left.pop(vendor, None) if vendor is not None else None
        if target is not None:
            steps.append(Step(target, why))

    for rule in preferences.rules.matching(request, needs):
        take(_spelled(rule.vendor, left), f"rule: {rule.label}")
    for ranking in rankings(list(left.values())):
        take(ranking.target.vendor, f"optimizer: {ranking.reason}")
    take(_spelled(preferences.default_vendor, left), "default vendor")
    take(_spelled(preferences.fallback_vendor, left), "fallback vendor")
    steps += [Step(target, "able, in order of registration") for target in left.values()]
    return steps


def _spelled(vendor: str | None, registered: Mapping[str, Target]) -> str | None:
    """The registered spelling of a configured name."""
    if vendor is None or vendor in registered:
        return vendor
    wanted = canonical(vendor)
    return next((name for name in registered if canonical(name) == wanted), None)


def _rankings(
    preferences: Preferences, latencies: Latencies, tokens: Usage, now: float, streamed: bool, targets: list[Target]
) -> list[Ranking]:
    cost, latency = preferences.cost, preferences.latency
    cheap = cost is not None and cost.enabled and cost.prefer_cheap
    fast = latency is not None and latency.enabled
    if not cheap and not fast:
        return []
    rankings = []
    for target in targets:
        seconds = latencies.estimate(target, now, streamed=streamed)
        too_slow = False
        if latency is not None and seconds is not None:
            too_slow = fast and latency.max_latency is not None and seconds > latency.max_latency
            seconds *= latency.latency_weights.get(target.vendor, 1.0)
        dollars = cost.estimate(target, tokens) if cost is not None else None
        rankings.append(Ranking(target=target, cost=dollars, seconds=seconds, too_slow=too_slow))
    return ranked(rankings, cheap=cheap, fast=latency is not None and fast and latency.prefer_fast)


def dead_end(route: Route) -> DispatchError:
    """The error of a route without a target: it names every vendor and what is wrong with it."""
    if not route.skipped:
        return ConfigError("no vendor is registered; call dispatcher.register_vendor(OpenAIVendor(...)) first")
    reasons = "; ".join(f"{skip.vendor}: {skip.reason}" for skip in route.skipped)
    if any(skip.over_budget for skip in route.skipped):
        return BudgetExceeded(f"no target keeps max_cost: {reasons}", model=route.model)
    if all(skip.reason.startswith(NO_MODEL) for skip in route.skipped):
        return ModelNotFound(f"no registered vendor has the model: {reasons}", model=route.model)
    return VendorUnavailable(f"no vendor can take the request: {reasons}", model=route.model, retry_here=False, try_elsewhere=False)


NO_MODEL = "does not have"
"""How the reason begins for a vendor that does not have the model."""
