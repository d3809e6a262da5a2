"""The route of one request: which targets, in which order, and why the others are not on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs

from ..catalog import canonical
from ..errors import BudgetExceeded, ConfigError, ContextWindowExceeded, DispatchError, ModelNotFound, VendorUnavailable
from ..messages import ImagePart
from ..types import Request
from .balance import Balancer
from .optimize import CostOptimization, Latencies, LatencyOptimization, Ranking, input_tokens, ranked, tokens_of
from .rules import RoutingRule, RuleTable
from .target import Target

NO_MODEL = "does not have"
"""How the reason begins for a vendor that does not have the model."""
OVER_COST, WINDOW, RULE, MISSING = "cost", "window", "rule", "missing"
"""Codes of reasons: over ``max_cost``, conversation too long, a setting that could not be followed, no key or address."""
_NO_NEEDS: frozenset[str] = frozenset()
_LACKS = (("streaming", "supports_streaming"), ("vision", "supports_vision"), ("tools", "supports_tools"))


@attrs.frozen
class Skip:
    """A vendor that is not on the route, and why.

    ``code`` is ``"cost"``, ``"window"``, ``"rule"``, ``"missing"`` or the capability that it lacks; empty for other reasons.
    """

    vendor: str
    reason: str
    code: str = ""


@attrs.frozen
class Step:
    """A target on the route, and why it has its place: a text, or the figures of the optimizers, whose ``str()`` is one."""

    target: Target
    why: str | Ranking


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


def _key(vendor: str | None) -> str | None:
    return canonical(vendor) if vendor is not None else None


@attrs.frozen(kw_only=True)
class Preferences:
    """What a configuration says about routing."""

    rules: RuleTable = attrs.field(factory=RuleTable)
    cost: CostOptimization | None = None
    latency: LatencyOptimization | None = None
    balancer: Balancer | None = None
    default_vendor: str | None = attrs.field(default=None, converter=_key)
    fallback_vendor: str | None = attrs.field(default=None, converter=_key)


def split_ref(model: str, vendors: Iterable[str]) -> tuple[str | None, str]:
    """``("openai", "gpt-4o")`` for ``"openai:gpt-4o"``, if a vendor of that name is registered, else ``(None, model)``.

    Only the first colon counts; the vendor may be written in any case and comes back as it is registered.
    """
    head, colon, tail = model.partition(":")
    if colon and tail.strip():
        wanted = canonical(head)
        for vendor in vendors:
            if canonical(vendor) == wanted:
                return vendor, tail.strip()
    return None, model.strip()


def needs_of(request: Request, *, streamed: bool) -> frozenset[str]:
    """The capabilities that a request uses."""
    vision = False
    for message in request.messages:
        if type(message.content) is tuple and any(isinstance(part, ImagePart) for part in message.content):
            vision = True
    if not (streamed or vision or request.tools):
        return _NO_NEEDS
    used = {"streaming": streamed, "vision": vision, "tools": bool(request.tools)}
    return frozenset(need for need, is_used in used.items() if is_used)


class _Ask:
    """One request as routing sees it: what it uses, how long it is, what it may cost."""

    __slots__ = ("cost", "input_tokens", "needs", "request", "tokens")

    def __init__(self, request: Request, cost: CostOptimization | None, *, streamed: bool) -> None:
        self.request = request
        self.needs = needs_of(request, streamed=streamed)
        self.cost = cost if cost is not None and cost.enabled else None
        self.tokens = tokens_of(request) if self.cost is not None else None
        self.input_tokens = self.tokens.input_tokens if self.tokens is not None else input_tokens(request)

    def objection(self, target: Target) -> Skip | None:
        """Why a target cannot be asked this, or ``None`` where it can."""
        if self.needs:
            for need, supports in _LACKS:
                if need in self.needs and not getattr(target, supports):
                    return Skip(target.vendor, f"{target.model} has no {need}", need)
        if 0 < target.context_window < self.input_tokens:
            reason = f"about {self.input_tokens} tokens do not fit the window of {target.context_window} of {target.model}"
            return Skip(target.vendor, reason, WINDOW)
        if self.cost is None or self.tokens is None:
            return None
        too_dear = self.cost.objection(target, self.tokens)
        return Skip(target.vendor, too_dear, OVER_COST) if too_dear is not None else None


@attrs.frozen(kw_only=True)
class Moment:
    """What changes from call to call: observed speeds, the time (monotonic), the kind of call, and its number."""

    latencies: Latencies
    now: float
    streamed: bool = False
    turn: int = 0

    def speed(self, target: Target) -> float | None:
        """Seconds that a target is expected to take; ``None`` if not measured lately."""
        return self.latencies.estimate(target, self.now, streamed=self.streamed)


def plan(request: Request, targets: Iterable[Target], preferences: Preferences, moment: Moment) -> Route:
    """Order the targets for a request: rules → optimizers → default vendor → fallback vendor → any other that is able.

    With a balancer the others share the calls, and the fallback vendor comes after them.

    A target that lacks a capability which the request uses, whose window is too small, or that would cost too much is
    skipped. ``targets`` holds one target per vendor, in order of registration; a request that pins a vendor comes with that
    one alone.
    """
    ask = _Ask(request, preferences.cost, streamed=moment.streamed)
    fitting: dict[str, Target] = {}
    skipped: list[Skip] = []
    for target in targets:
        skip = ask.objection(target)
        if skip is None:
            fitting[target.vendor_key] = target
        else:
            skipped.append(skip)
    if ":" in request.model and canonical(request.model.partition(":")[0]) in fitting:
        return Route(request.model, tuple([Step(target, "the request names it") for target in fitting.values()]), tuple(skipped))
    steps = _by_rules(ask, preferences.rules, fitting, skipped)
    steps += _by_figures(ask, preferences, fitting, moment.speed)
    steps += _balanced(request, preferences, fitting, moment)
    steps += _by_name(preferences, fitting)
    return Route(request.model, tuple(steps), tuple(skipped))


def _by_rules(ask: _Ask, rules: RuleTable, fitting: dict[str, Target], skipped: list[Skip]) -> list[Step]:
    """Take out of ``fitting`` whom the rules name, in their order; a rule that cannot be followed is told among the skipped."""
    steps: dict[tuple[str, str], Step] = {}
    for rule in rules.matching(ask.request, ask.needs):
        found = _named(ask, rule, fitting, skipped)
        if found is not None and found.key not in steps:
            steps[found.key] = Step(found, f"rule: {rule.label}")
    for step in steps.values():
        if fitting.get(step.target.vendor_key) is step.target:
            del fitting[step.target.vendor_key]
    return list(steps.values())


def _named(ask: _Ask, rule: RoutingRule, fitting: Mapping[str, Target], skipped: list[Skip]) -> Target | None:
    """The target that a rule names, if it can be asked."""
    if not rule.enabled:
        skipped.append(Skip(rule.vendor, f"the rule {rule.label!r} is disabled", RULE))
        return None
    target = fitting.get(canonical(rule.vendor))
    if target is None:
        if all(canonical(skip.vendor) != canonical(rule.vendor) for skip in skipped):
            reason = f"the rule {rule.label!r} names it, but it is not registered or cannot be asked for this model"
            skipped.append(Skip(rule.vendor, reason, RULE))
        return None
    if rule.model is None or rule.model == target.model:
        return target
    target = target.asked_for(rule.model)
    skip = ask.objection(target)
    if skip is not None:
        skipped.append(skip)
    return target if skip is None else None


def _by_figures(
    ask: _Ask, preferences: Preferences, fitting: dict[str, Target], speed: Callable[[Target], float | None]
) -> list[Step]:
    """Take out all of ``fitting`` in the order of the optimizers, if one of them is on."""
    latency = preferences.latency if preferences.latency is not None and preferences.latency.enabled else None
    cheap = ask.cost is not None and ask.cost.prefer_cheap
    fast = latency is not None and latency.prefer_fast
    if not cheap and latency is None:
        return []
    by = " and ".join([word for word, counts in (("price", cheap), ("speed", latency is not None)) if counts])
    rankings = []
    for target in fitting.values():
        seconds = speed(target) if latency is not None else None
        most = latency.max_latency if latency is not None else None
        rankings.append(
            Ranking(
                target=target,
                by=by,
                cost=ask.cost.estimate(target, ask.tokens) if ask.cost is not None and ask.tokens is not None else None,
                seconds=seconds * latency.weight(target) if seconds is not None and latency is not None else None,
                too_slow=most is not None and seconds is not None and seconds > most,
            )
        )
    fitting.clear()
    return [Step(ranking.target, ranking) for ranking in ranked(rankings, cheap=cheap, fast=fast)]


def _balanced(request: Request, preferences: Preferences, fitting: dict[str, Target], moment: Moment) -> list[Step]:
    """Take out all but the fallback vendor: the default vendor first, then equals as the strategy has them."""
    balancer = preferences.balancer
    if balancer is None or not fitting:
        return []
    tokens, cost = tokens_of(request), preferences.cost or CostOptimization(enabled=False)

    def dollars(target: Target) -> float | None:
        amount = cost.estimate(target, tokens)
        return None if amount is None else float(amount)

    default = fitting.pop(preferences.default_vendor, None) if preferences.default_vendor is not None else None
    equals = [target for key, target in fitting.items() if key != preferences.fallback_vendor]
    ordered = balancer.order(request, equals, moment.turn, moment.speed, dollars)
    for target in equals:
        del fitting[target.vendor_key]
    first = [Step(default, "default vendor")] if default is not None else []
    return [*first, *(Step(target, f"balanced, {balancer.label(request)}") for target in ordered)]


def _by_name(preferences: Preferences, fitting: dict[str, Target]) -> list[Step]:
    """Take out the default vendor, the fallback vendor, and then all others."""
    steps = []
    for name, why in ((preferences.default_vendor, "default vendor"), (preferences.fallback_vendor, "fallback vendor")):
        target = fitting.pop(name, None) if name is not None else None
        if target is not None:
            steps.append(Step(target, why))
    steps += [Step(target, "able, in order of registration") for target in fitting.values()]
    return steps


def dead_end(route: Route) -> DispatchError:
    """The error of a route without a target: it names every vendor and what is wrong with it."""
    reasons = "; ".join(f"{skip.vendor}: {skip.reason}" for skip in route.skipped)
    if not any(skip.code != RULE for skip in route.skipped):
        told = f" ({reasons})" if reasons else ""
        return ConfigError(f"no vendor is registered; call dispatcher.register_vendor(OpenAIVendor(...)) first{told}")
    asked = [skip for skip in route.skipped if skip.code != RULE]
    having = [skip for skip in asked if not skip.reason.startswith(NO_MODEL)]
    if having and all(skip.code == MISSING for skip in having):
        return ConfigError(f"no vendor can be asked: {reasons}", model=route.model)
    if any(skip.code == OVER_COST for skip in asked):
        return BudgetExceeded(f"no target keeps max_cost: {reasons}", model=route.model)
    if asked and all(skip.code == WINDOW for skip in asked):
        return ContextWindowExceeded(f"the conversation fits no target: {reasons}", model=route.model, try_elsewhere=False)
    if asked and all(skip.reason.startswith(NO_MODEL) for skip in asked):
        return ModelNotFound(f"no registered vendor has the model: {reasons}", model=route.model, try_elsewhere=False)
    return VendorUnavailable(f"no vendor can take the request: {reasons}", model=route.model, retry_here=False, try_elsewhere=False)
