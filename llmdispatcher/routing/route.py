"""Routes as values: which targets in which order, why others are not on it, and the error where there is none."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence

import attrs

from ..catalog import CAPABILITIES, Target, canonical
from ..errors import (
    BudgetExceeded,
    ConfigError,
    ContextWindowExceeded,
    CostUnknown,
    DispatchError,
    InvalidRequest,
    ModelNotFound,
    VendorUnavailable,
)
from .balance import Balancer
from .modes import Modes, Placing
from .optimize import CostOptimization, Latencies, LatencyOptimization, Ranking
from .requirements import (
    EMBEDDINGS,
    FAILOVER,
    FILE,
    MISSING,
    OVER_COST,
    PINNED,
    RULE,
    UNPRICED,
    UNREAD,
    UNREGISTERED,
    WINDOW,
    SkippedTarget,
)
from .rules import RuleTable

NO_MODEL = "does not have"
"""How the reason begins for a vendor that does not have the model."""
_SETUP = (MISSING, UNREGISTERED)


class Selection(enum.Enum):
    """What the targets of a request are to each other."""

    VENDORS = "vendors"
    """One model at several vendors, or the one vendor that the request names."""
    POOL = "pool"
    """The models of a pool, in its order."""
    ANY = "any"
    """All models that the vendors are known to have."""


@attrs.frozen(slots=False)
class Step:
    """A target on the route, and why it has its place: a text, or the figures of optimizers or mode, whose ``str()`` is one.

    ``in_words`` names what the request uses and the target has in a roundabout way only; such ones come after the others.
    """

    target: Target
    why: str | Ranking | Placing
    in_words: str = ""

    @property
    def reason(self) -> str:
        """Why the target has its place, for people."""
        return f"{self.why}; {self.in_words} in a roundabout way" if self.in_words else str(self.why)


BALANCED = "balanced"
"""The first word of why targets that share the calls have their places."""


@attrs.frozen(slots=False)
class Route:
    """The whole decision about one request; ``str()`` tells it to people.

    ``alias`` is the pool or the lockfile's alias that the request names, ``profile`` the lockfile's profile that it was found in,
    ``goes_on`` after what a pool goes on beside failures that pass. ``cause`` says that nobody has the model, and ``hint`` what may
    have been meant.
    """

    model: str
    steps: tuple[Step, ...]
    skipped: tuple[SkippedTarget, ...] = ()
    choice: Selection = Selection.VENDORS
    alias: str | None = None
    profile: str | None = None
    goes_on: frozenset[str] = frozenset()
    hint: str = ""
    cause: str = ""
    targets: tuple[Target, ...] = attrs.field(init=False, eq=False, repr=False)
    """Whom to ask, in order."""

    @targets.default
    def _targets(self) -> tuple[Target, ...]:
        return tuple([step.target for step in self.steps])

    @property
    def heading(self) -> str:
        """What was asked for, as the first line of an explanation."""
        return f"{self.model}:" if self.profile is None else f"{self.model} (an alias in the profile {self.profile}):"

    @property
    def transient_only(self) -> bool:
        """Whether only a failure that passes leads on to the next target, or one that ``goes_on`` names."""
        return self.choice is Selection.POOL

    def alike(self) -> int:
        """How many targets at its beginning share the calls for one model, so that each could have been the first."""
        count = 0
        for step in self.steps:
            if step.target.model != self.steps[0].target.model or not str(step.why).startswith(BALANCED):
                break
            count += 1
        return max(1, count)

    def first_alone(self) -> Route:
        """The route without failover: its first target; the others are skipped."""
        first, *others = self.steps
        left_out = [SkippedTarget(step.target.vendor, f"{step.target}: failover is off", FAILOVER) for step in others]
        return attrs.evolve(self, steps=(first,), skipped=(*self.skipped, *left_out))

    def __str__(self) -> str:
        lines = [self.heading]
        lines += [f"  {place}. {step.target}  ({step.reason})" for place, step in enumerate(self.steps, 1)]
        lines += [f"  -  {skip.vendor}  skipped: {skip.reason}" for skip in self.skipped]
        return "\n".join([*lines, f"  ?  {self.hint}"] if self.hint else lines)


def _key(vendor: str | None) -> str | None:
    return canonical(vendor) if vendor is not None else None


@attrs.frozen(kw_only=True)
class Preferences:
    """What a configuration says about routing; ``loads`` shows modes their targets, ``balancer`` orders equals, if it is on."""

    rules: RuleTable = attrs.field(factory=RuleTable)
    cost: CostOptimization | None = None
    latency: LatencyOptimization | None = None
    balancer: Balancer | None = None
    modes: Modes = attrs.field(factory=Modes)
    loads: Balancer | None = None
    default_vendor: str | None = attrs.field(default=None, converter=_key)
    fallback_vendor: str | None = attrs.field(default=None, converter=_key)
    strict_cost: bool = False


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


def _itself(_vendor: str, model: str) -> tuple[str, ...]:
    return (model,)


@attrs.frozen(kw_only=True, slots=False)
class RoutingContext:
    """What changes from call to call: observed speeds, the time (monotonic), the kind of call, and its number.

    ``streamed`` and ``vectors`` say what is wanted: an answer in pieces, or vectors and no answer. ``models_at`` tells what a
    vendor is asked for under a name that may be an alias.
    """

    latencies: Latencies
    now: float
    streamed: bool = False
    turn: int = 0
    vectors: bool = False
    models_at: Callable[[str, str], tuple[str, ...]] = _itself

    def speed(self, target: Target) -> float | None:
        """Seconds that a target is expected to take; ``None`` if not measured lately."""
        return self.latencies.estimate(target, self.now, streamed=self.streamed)


MOST_NAMED = 5
"""How many vendors one error names."""


def several(names: Sequence[str]) -> str:
    """Names for a sentence: the first few, and how many more there are."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _list_skipped(skipped: Sequence[SkippedTarget]) -> str:
    """Why targets are not asked: the first few, and how many more there are."""
    more = len(skipped) - MOST_NAMED
    reasons = "; ".join(f"{skip.vendor}: {skip.reason}" for skip in skipped[:MOST_NAMED])
    return reasons + (f"; and {more} more" if more > 0 else "")


def dead_end(route: Route) -> DispatchError:
    """The error of a route without a target: why the vendors cannot be asked, and what to do about it."""
    skipped = [skip for skip in route.skipped if skip.code != PINNED]
    unasked = [skip for skip in skipped if skip.code != RULE]
    if not unasked:
        text = f" ({_list_skipped(skipped)})" if skipped else ""
        hint = f": {route.hint}" if route.hint else "; call dispatcher.register_vendor(OpenAIVendor(...)) first"
        return ConfigError(f"no vendor is registered{hint}{text}")
    reasons = _list_skipped(skipped)
    having = [skip for skip in unasked if not _lacks_model(skip)]
    if having and all(skip.code in _SETUP for skip in having):
        is_named = len(unasked) == 1 and unasked[0].code == UNREGISTERED
        text = unasked[0].reason if is_named else f"no vendor can be asked: {_list_skipped(having)}"
        return ConfigError(text, model=route.model)
    if any(skip.code == UNPRICED for skip in unasked):
        return CostUnknown(f"strict_cost: the price of no target is known: {reasons}", model=route.model)
    if any(skip.code == OVER_COST for skip in unasked):
        remedy = "raise max_cost, shorten the request or its max_tokens, or name a cheaper model"
        return BudgetExceeded(f"no target keeps max_cost: {reasons}", model=route.model, remedy=remedy)
    codes = {skip.code for skip in having}
    if WINDOW in codes and codes <= {WINDOW, EMBEDDINGS}:
        what = "conversation is" if EMBEDDINGS not in codes else "texts are"
        text = f"the {what} too long: {reasons}; shorten, or name a model with a larger window"
        return ContextWindowExceeded(text, model=route.model, try_elsewhere=False)
    if having and all(skip.code == EMBEDDINGS or _lacks_model(skip) for skip in unasked):
        text = f"embed: no registered vendor of {route.model!r} makes vectors: {reasons}; name a model that does"
        return InvalidRequest(text, model=route.model)
    if not having:
        cause = route.cause or f"no registered vendor has the model: {reasons}"
        text = f"{cause}. {route.hint}" if route.hint else cause
        return ModelNotFound(text, model=route.model, try_elsewhere=False)
    if codes == {FILE}:
        return InvalidRequest(f"no vendor has the file: {reasons}; ask that vendor, or send the bytes", model=route.model)
    text = f"no vendor can take the request: {reasons}"
    lacking = sorted(codes.intersection(CAPABILITIES))
    text = f"{text}; {_instead_of(lacking)}" if lacking else text
    if lacking and codes <= {*CAPABILITIES, *_SETUP}:
        return InvalidRequest(text, model=route.model)
    return VendorUnavailable(text, model=route.model, retry_here=False, try_elsewhere=False)


_FIELDS = {"vision": "the pictures", "audio": "the sound", "documents": "the documents", "json_schema": "the schema"}


def _instead_of(lacking: Sequence[str]) -> str:
    """What to do where no model has the capabilities that a request uses."""
    if list(lacking) == ["reasoning"]:
        return "leave reasoning_effort and reasoning_tokens out, set drop_params=True, or name a model that reasons"
    if list(lacking) == ["streaming"]:
        return "use send(), or name a model that streams"
    parts = " and ".join([_FIELDS.get(word, word) for word in lacking])
    return f"leave {parts} out, or name a model that has {' and '.join(lacking)}"


def _lacks_model(skip: SkippedTarget) -> bool:
    """Whether a vendor does not have the model, as far as is known."""
    return skip.reason.startswith(NO_MODEL) or skip.code == UNREAD
