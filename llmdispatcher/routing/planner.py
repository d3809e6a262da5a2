"""Make a route: the targets that meet the requirements of a request, ordered by rules, mode, price and speed, balance and names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import groupby

import attrs

from ..catalog import Target, canonical, room_for_thoughts
from ..types import AudioPart, FilePart, ImagePart, Request, Usage, stored_param, unseen_model
from .balance import Balance, Balancer, among
from .eligible import Named, Reserve, may_be_asked
from .modes import Chosen, Placing
from .optimize import CostOptimization, Ranking, input_tokens, longest_text, ranked, tokens_of
from .route import (
    BALANCED,
    EMBEDDINGS,
    FILE,
    OUTPUT,
    OVER_COST,
    RULE,
    UNPRICED,
    WINDOW,
    Preferences,
    Route,
    RoutingContext,
    Selection,
    SkippedTarget,
    Step,
)
from .rules import RoutingRule

MOST_OF_A_VENDOR = 2
"""Of how many models one vendor is asked where the request leaves the model open; the next is another vendor's."""
ANY_WINDOW = 2_000_000
"""Tokens of a model's context window where nobody knows it."""
_NO_NEEDS: frozenset[str] = frozenset()
_PARTS = ((ImagePart, "vision"), (AudioPart, "audio"), (FilePart, "documents"))
_UNPRICED = CostOptimization(enabled=False)
_VECTORS = frozenset({EMBEDDINGS})
_NOBODY = Reserve()


def plan(
    request: Request,
    targets: Iterable[Target],
    preferences: Preferences,
    moment: RoutingContext,
    choice: Selection = Selection.VENDORS,
    *,
    reserve: Reserve | None = None,
) -> Route:
    """Order the targets for a request: rules → mode → optimizers → default vendor → fallback vendor → any other that is able.

    With a balancer the others share the calls, and the fallback vendor comes after them. A pool keeps its order unless the
    request itself names a mode; vendors that have one and the same model of it share that model's calls.

    A target that lacks a capability which the request uses, whose window is too small, or that would cost too much is skipped, and
    where others give a longer answer one that gives a shorter one than ``max_tokens``. One that has the capability in a roundabout
    way comes after those that have it. ``targets`` holds one target per vendor, in order of registration, but for a pool and where
    the model is left open; a request that pins a vendor comes with the targets of that one alone.
    """
    planner = _Planner(request, preferences, moment, choice)
    planner.reserve = reserve = reserve or _NOBODY
    skipped: list[SkippedTarget] = []
    fitting = planner.sifted(targets, skipped)
    if not fitting and not skipped and planner.mode is not None and planner.mode.own:  # which may choose vendors of any model
        fitting = planner.sifted([target for target, claim in reserve.held if may_be_asked(claim, Named.VENDOR)], skipped)
    steps = planner.by_rules(fitting, skipped) if preferences.rules.rules and not planner.pins(fitting) else []
    later = (
        [target for target in fitting if planner.requirements.in_words(target)]
        if planner.requirements.needs and planner.splits
        else []
    )
    if later and len(later) < len(fitting):
        steps += planner.rest([target for target in fitting if target not in later], skipped)
        fitting = later
    if fitting:
        steps += planner.rest(fitting, skipped)
    if reserve.stand_ins and not moment.vectors:  # vectors of two models cannot be compared
        steps += planner.standing_in(reserve.stand_ins, steps, skipped)
    if planner.requirements.needs:
        steps = [attrs.evolve(step, in_words=planner.requirements.in_words(step.target)) for step in steps]
    if planner.unmet:
        on_route = {step.target.vendor_key for step in steps}
        skipped = [skip for skip in skipped if skip not in planner.unmet or canonical(skip.vendor) not in on_route]
    return Route(request.model, tuple(steps), tuple(skipped), choice)


class _Planner:
    """One request on its way to a route: what it asks for, and what orders its targets."""

    __slots__ = ("choice", "mode", "moment", "pinned", "preferences", "request", "requirements", "reserve", "unmet")

    def __init__(self, request: Request, preferences: Preferences, moment: RoutingContext, choice: Selection) -> None:
        cost = preferences.cost
        needs = _VECTORS if moment.vectors else needs_of(request, streamed=moment.streamed)
        self.requirements = Requirements(
            request, cost if cost is not None and cost.enabled else None, needs, strict_cost=preferences.strict_cost
        )
        self.request = request
        self.preferences = preferences
        self.moment = moment
        self.choice = choice
        self.reserve = _NOBODY
        self.unmet: list[SkippedTarget] = []
        """Of the skipped those for whom a rule could not be followed; of no interest where something else has them asked."""
        head, colon, _model = request.model.partition(":")
        self.pinned = canonical(head) if colon and choice is not Selection.POOL else None
        """What may be the name of a vendor in the name of the model."""
        name = request.mode or (preferences.modes.default if choice is not Selection.POOL else None)
        name = name or ("auto" if choice is Selection.ANY else None)
        self.mode = preferences.modes.named(name) if name is not None else None

    def sifted(self, targets: Iterable[Target], skipped: list[SkippedTarget]) -> list[Target]:
        """Those that can be asked; why the others cannot is told. Where all give shorter answers than is asked for, they decide."""
        fitting: list[Target] = []
        short: list[Target] = []
        unable: list[SkippedTarget] = []
        for target in targets:
            skip = self.requirements.objection(target)
            if skip is None:
                fitting.append(target)
                continue
            unable.append(skip)
            if skip.code == OUTPUT:
                short.append(target)
        if short and not fitting:
            skipped += [skip for skip in unable if skip.code != OUTPUT]
            return short
        skipped += unable
        return fitting

    @property
    def splits(self) -> bool:
        """Whether those that are able in a roundabout way come after the others; a pool says itself who comes first."""
        return self.choice is not Selection.POOL or self.mode is not None

    def pins(self, fitting: Sequence[Target]) -> bool:
        """Whether the request names the vendor, which is stronger than any rule."""
        return self.pinned is not None and any(target.vendor_key == self.pinned for target in fitting)

    def by_rules(self, fitting: list[Target], skipped: list[SkippedTarget]) -> list[Step]:
        """Take out of ``fitting`` whom the rules name, in their order; a rule that cannot be followed is told among the skipped."""
        steps: dict[tuple[str, str], Step] = {}
        for rule in self.preferences.rules.matching(self.request, self.requirements.needs):
            for target in self._named(rule, fitting, skipped):
                steps.setdefault(target.key, Step(target, f"rule: {rule.label}"))
        if steps:
            taken = {id(step.target) for step in steps.values()}
            fitting[:] = [target for target in fitting if id(target) not in taken]
        return list(steps.values())

    def _named(self, rule: RoutingRule, fitting: Sequence[Target], skipped: list[SkippedTarget]) -> list[Target]:
        """The targets that a rule names, as far as they can be asked."""
        if not rule.enabled:
            skipped.append(SkippedTarget(rule.vendor, f"the rule {rule.label!r} is disabled", RULE))
            return []
        named = canonical(rule.vendor)
        found = [target for target in fitting if target.vendor_key == named]
        held = [(target, claim) for target, claim in self.reserve.held if target.vendor_key == named]
        vendors = found or [target for target, _claim in held]
        if rule.model is not None and vendors:
            models = self.moment.models_at(rule.vendor, rule.model)
            return [target for model in models for target in self._asked_for(model, vendors, skipped)]
        if not found and any(may_be_asked(claim, Named.MODEL) for _target, claim in held):
            return self.sifted(vendors, skipped)
        if not found and all(canonical(skip.vendor) != named for skip in skipped):
            lack = "is not registered or cannot be asked for this model"
            if held:
                lack = "does not have this model; `model=` in the rule names one"
            self.unmet.append(SkippedTarget(rule.vendor, f"the rule {rule.label!r} names it, but it {lack}", RULE))
            skipped.append(self.unmet[-1])
        if self.mode is not None and len(found) > 1:
            return [step.target for step in self._by_mode(self.mode, found, [])]
        return found

    def _asked_for(self, model: str, vendors: Sequence[Target], skipped: list[SkippedTarget]) -> list[Target]:
        """A vendor's targets for the model that a rule names, or one that is made for it."""
        there = [target for target in vendors if target.model == model]
        return there or self.sifted([vendors[0].asked_for(model)], skipped)

    def standing_in(self, models: Sequence[Target], steps: Sequence[Step], skipped: list[SkippedTarget]) -> list[Step]:
        """The first of the fallback vendor's models that is able, unless the vendor is asked already.

        It is for failures: where the model that was asked for lacks what the request uses, the request is refused without it, too.
        """
        if any(step.target.vendor_key == models[0].vendor_key for step in steps):
            return []
        lacking = [skip for skip in skipped if skip.code in self.requirements.needs]
        if lacking and not steps:
            why = f"is for failures, and {lacking[0].vendor} has not failed: the request asks for what its model lacks"
            skipped.append(SkippedTarget(models[0].vendor, f"{models[0].model} {why}", lacking[0].code))
            return []
        unable: list[SkippedTarget] = []
        able = self.sifted(models, unable)
        skipped += unable[:1] if not able else ()
        return [Step(target, f"fallback vendor, in place of {target.stands_in_for}, which it does not have") for target in able[:1]]

    def rest(self, fitting: list[Target], skipped: list[SkippedTarget]) -> list[Step]:
        """Those whom no rule names, in the order of whatever decides here."""
        if self.mode is not None and (len(fitting) > 1 or self.choice is Selection.ANY):
            return self._by_mode(self.mode, fitting, skipped)
        if self.choice is Selection.POOL:
            return self._by_pool(fitting)
        if self.pinned is not None and self.pins(fitting):
            return [Step(target, "the request names it") for target in fitting]
        latency, cost = self.preferences.latency, self.requirements.cost
        timed, cheap = latency is not None and latency.enabled, cost is not None and cost.prefer_cheap
        if timed or cheap:
            return self._by_figures(fitting, timed=timed, cheap=cheap)
        return self._by_name(fitting)

    def _by_pool(self, fitting: Sequence[Target]) -> list[Step]:
        """In the order of the pool; with a balancer the vendors of one and the same model of it share its calls."""
        balancer, moment = self.preferences.balancer, self.moment
        steps: list[Step] = []
        for member, group in groupby(fitting, key=lambda target: target.member):
            targets, why = list(group), "in the order of its pool"
            if member and balancer is not None:
                targets = balancer.order(self.request, targets, moment.turn, moment.speed, self.requirements.dollars)
                why = f"{why}; balanced, {balancer.label(self.request)}"
            steps += [Step(target, why) for target in targets]
        return steps

    def _by_mode(self, mode: Chosen, targets: list[Target], skipped: list[SkippedTarget]) -> list[Step]:
        """As the mode has them, equals as they are balanced; slower ones than ``max_latency`` last."""
        moment, loads = self.moment, self.preferences.loads or Balancer(Balance(), lambda: 0.0)
        if self.preferences.balancer is not None:
            targets = self.preferences.balancer.order(self.request, targets, moment.turn, moment.speed, self.requirements.dollars)
        ordered = mode.order(loads.situation(self.request, targets, moment.turn, self._seconds, self.requirements.dollars))
        ordered = sorted(among(list(ordered), targets, mode.label), key=self._is_too_slow)
        skipped += [
            SkippedTarget(target.vendor, f"the {mode.label} leaves {target.model} out")
            for target in targets
            if target not in ordered
        ]
        if self.choice is Selection.ANY:
            ordered = _spread(ordered, skipped)
        return [
            Step(
                target, Placing(target=target, mode=mode.label, cost=self.requirements.price(target), seconds=self._seconds(target))
            )
            for target in ordered
        ]

    def _seconds(self, target: Target) -> float | None:
        """The seconds that a target is expected to take, as the configuration weighs them."""
        seconds, latency = self.moment.speed(target), self.preferences.latency
        return seconds * latency.weight(target) if seconds is not None and latency is not None and latency.enabled else seconds

    def _is_too_slow(self, target: Target) -> bool:
        latency = self.preferences.latency
        most = latency.max_latency if latency is not None and latency.enabled else None
        return most is not None and (self.moment.speed(target) or 0.0) > most

    def _by_figures(self, fitting: Sequence[Target], *, timed: bool, cheap: bool) -> list[Step]:
        """In the order of the optimizers that are on."""
        latency, cost = self.preferences.latency, self.requirements.cost
        by = " and ".join([word for word, counts in (("price", cheap), ("speed", timed)) if counts])
        rankings = [
            Ranking(
                target=target,
                by=by,
                cost=self.requirements.price(target) if cost is not None else None,
                seconds=self._seconds(target) if timed else None,
                too_slow=self._is_too_slow(target),
            )
            for target in fitting
        ]
        fast = latency is not None and timed and latency.prefer_fast
        return [Step(ranking.target, ranking) for ranking in ranked(rankings, cheap=cheap, fast=fast)]

    def _by_name(self, fitting: Sequence[Target]) -> list[Step]:
        """The default vendor, the fallback vendor, then all others; those share the calls, before the fallback, with a balancer."""
        default, fallback, moment = self.preferences.default_vendor, self.preferences.fallback_vendor, self.moment
        first: list[Target] = []
        second: list[Target] = []
        others: list[Target] = []
        for target in fitting:
            (first if target.vendor_key == default else second if target.vendor_key == fallback else others).append(target)
        balancer = self.preferences.balancer
        groups = ((first, "default vendor"), (second, "fallback vendor"), (others, "able, in order of registration"))
        if balancer is not None:
            others = balancer.order(self.request, others, moment.turn, moment.speed, self.requirements.dollars)
            groups = (groups[0], (others, f"{BALANCED}, {balancer.label(self.request)}"), groups[1])
        return [Step(target, why) for group, why in groups for target in group]


def _spread(ordered: Sequence[Target], skipped: list[SkippedTarget]) -> list[Target]:
    """The first few of each vendor, so that a failure soon comes to another vendor."""
    kept: list[Target] = []
    more: dict[str, int] = {}
    for target in ordered:
        if sum([other.vendor == target.vendor for other in kept]) < MOST_OF_A_VENDOR:
            kept.append(target)
        else:
            more[target.vendor] = more.get(target.vendor, 0) + 1
    skipped += [SkippedTarget(vendor, f"{count} more of its models come after these") for vendor, count in more.items()]
    return kept


def needs_of(request: Request, *, streamed: bool) -> frozenset[str]:
    """The capabilities that a request uses, words of :data:`~llmdispatcher.catalog.CAPABILITIES`."""
    parts: set[type] = set()
    for message in request.messages:
        if type(message.content) is tuple:
            parts.update(map(type, message.content))
    form, thinks = request.response_format, request.reasoning_effort or request.reasoning_tokens
    if not (streamed or parts or request.tools or thinks or form is not None):
        return _NO_NEEDS
    used = {
        "streaming": streamed,
        "tools": bool(request.tools),
        "json_schema": form is not None and form.get("type") == "json_schema",
        "reasoning": bool(thinks) and request.reasoning_effort != "none" and not request.drop_params and not request.wire_format,
        **{need: kind in parts for kind, need in _PARTS},
    }
    return frozenset([need for need, is_used in used.items() if is_used])


class Requirements:
    """One request as routing sees it: what it uses, how long it is, what it may cost."""

    __slots__ = ("_holders", "_tokens", "cost", "input_tokens", "needs", "request", "strict_cost")

    def __init__(
        self, request: Request, cost: CostOptimization | None, needs: frozenset[str], *, strict_cost: bool = False
    ) -> None:
        self.strict_cost = strict_cost
        self.request = request
        self.needs = needs
        self.cost = cost
        self._tokens: Usage | None = None
        self._holders: frozenset[str] | None = None
        self.input_tokens = input_tokens(request) if EMBEDDINGS not in needs else longest_text(request)
        """What must fit a model's window: of texts to embed each for itself."""

    @property
    def holders(self) -> frozenset[str]:
        """The vendors that have the files which the request names."""
        if self._holders is None:
            contents = [message.content for message in self.request.messages if type(message.content) is tuple]
            parts = [part for content in contents for part in content if isinstance(part, ImagePart | FilePart)]
            self._holders = frozenset([part.vendor for part in parts if part.vendor is not None])
        return self._holders

    @property
    def tokens(self) -> Usage:
        """The estimated usage of the whole call."""
        if self._tokens is None:
            self._tokens = tokens_of(self.request)
        return self._tokens

    def tokens_at(self, target: Target) -> Usage:
        """The usage estimated for a target, which may count thoughts in the limit of its answer."""
        room = room_for_thoughts(self.request, target.kind or "", target.model)
        return tokens_of(self.request, target) if room else self.tokens

    def price(self, target: Target) -> Decimal | None:
        """The estimated US dollars of this request at a target; ``None`` where nobody knows."""
        return (self.cost or _UNPRICED).estimate(target, self.tokens)

    def dollars(self, target: Target) -> float | None:
        """The estimated US dollars as a float, for strategies; ``None`` where nobody knows."""
        amount = self.price(target)
        return None if amount is None else float(amount)

    def objection(self, target: Target) -> SkippedTarget | None:
        """Return why a target cannot be asked, or ``None`` where it can."""
        if self.needs and not self.needs.isdisjoint(target.lacks):
            need = min(self.needs & target.lacks)
            return SkippedTarget(target.vendor, f"{target.model} has no {need}", need)
        elsewhere = (
            next((name for name in self.holders if canonical(name) != canonical(target.vendor)), None) if self.needs else None
        )
        if elsewhere is not None:
            return SkippedTarget(target.vendor, f"the request names a file that {elsewhere} has", FILE)
        if 0 < target.context_window < self.input_tokens:
            reason = f"about {self.input_tokens} tokens do not fit the window of {target.context_window} of {target.model}"
            return SkippedTarget(target.vendor, reason, WINDOW)
        if self.strict_cost and target.price is None and not target.reports_cost:
            return SkippedTarget(
                target.vendor,
                f"the catalog knows no price of {target.model}, and the vendor does not tell its costs; give one with"
                " llmdispatcher.catalog.overlay",
                UNPRICED,
            )
        too_dear = self._too_dear(target, self.cost) if self.cost is not None and self.cost.max_cost is not None else None
        if too_dear is not None:
            return SkippedTarget(target.vendor, too_dear, OVER_COST)
        if 0 < target.max_output < (self.request.max_tokens or 0):  # the last, since it is no objection where all have it
            reason = f"max_tokens {self.request.max_tokens} is more than the {target.max_output} that {target.model} gives"
            return SkippedTarget(target.vendor, reason, OUTPUT)
        return None

    def _too_dear(self, target: Target, cost: CostOptimization) -> str | None:
        """Why ``max_cost`` forbids a target; what a vendor adds from its store may fill the window, as budgets count it."""
        extra = self.request.extra_params
        name = (stored_param(extra) or unseen_model(extra)) if extra else None
        if name is None or not cost.enabled:
            return cost.objection(target, self.tokens_at(target))
        if unseen_model(extra) is not None:
            return f"extra_params[{unseen_model(extra)!r}] may name models of unknown price, cannot hold max_cost: leave it out"
        window = target.context_window or ANY_WINDOW
        told = cost.objection(target, attrs.evolve(self.tokens_at(target), input_tokens=self.tokens.input_tokens + window))
        return told and f"{told}, since extra_params[{name!r}] may add {window} tokens; leave it out, or raise max_cost"

    def in_words(self, target: Target) -> str:
        """Return what the target can do only in a roundabout way; empty where nothing is."""
        return ", ".join(sorted(self.needs & target.makeshift)) if self.needs and target.makeshift else ""
