"""The requirements of a request (capabilities, length, price), and the reason why a target does not meet them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs

from ..catalog import Target, canonical, room_for_thoughts
from ..types import AudioPart, FilePart, ImagePart, Request, Usage, stored_param, unseen_model
from .optimize import CostOptimization, input_tokens, tokens_of

OVER_COST, UNPRICED, WINDOW, OUTPUT, RULE = "cost", "price", "window", "output", "rule"
MISSING, UNREGISTERED, UNREAD, PINNED, FALLBACK = "missing", "unregistered", "unread", "pinned", "fallback"
UNFIT, FILE, FORBIDDEN = "unfit", "file", "forbidden"
FAILOVER = "failover"
"""Codes of reasons: over ``max_cost``, of unknown price where that is not enough, conversation or answer too long, a setting that
could not be followed, no key or address, no vendor of that name, a list of models that was not read yet, another vendor named by
the request, a fallback vendor of which no model is known, settings that a target behind the first does not take, a file that
another vendor has."""
EMBEDDINGS = "embeddings"
ANY_WINDOW = 2_000_000
"""Tokens of a model's context window where nobody knows it."""
_NO_NEEDS: frozenset[str] = frozenset()
_PARTS = ((ImagePart, "vision"), (AudioPart, "audio"), (FilePart, "documents"))
_UNPRICED = CostOptimization(enabled=False)


@attrs.frozen
class SkippedTarget:
    """A target that is not asked, and why.

    ``code`` is ``"cost"``, ``"price"``, ``"window"``, ``"output"``, ``"rule"``, ``"missing"``, ``"unregistered"``, ``"unread"``
    (its list of models would be read first), ``"pinned"``, ``"fallback"``, ``"failover"`` (it is off), ``"unfit"``, ``"file"`` or
    the capability that it lacks; empty for other reasons.
    ``model`` and ``at``, the seconds from the beginning of the call, are given for a target of the route that was skipped when its
    turn came; a vendor that is not on the route has neither.
    """

    vendor: str
    reason: str
    code: str = ""
    model: str | None = None
    at: float | None = None

    @property
    def target(self) -> str:
        """``"vendor:model"``, or the vendor where there is no model."""
        return f"{self.vendor}:{self.model}" if self.model is not None else self.vendor

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return {"target": self.target, **attrs.asdict(self)}


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
        self.input_tokens = input_tokens(request)

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
