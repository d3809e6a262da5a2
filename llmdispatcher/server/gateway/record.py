"""One request as the gateway remembers it: facts of who asked, what was decided, how it ended and what it cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import attrs

from ...catalog import Target
from ...errors import DispatchError
from ...types import Embeddings, Outcome, Request, Response, Usage, cost_of
from ..budgets import broken_usage
from ..keys import ApiKey
from ..records import Row
from .formats import GatewayError

_MOST_DECISION = 32_768
"""Characters of a decision; what is behind its first candidates, skips and attempts is left out beyond that."""
_MOST_LISTED = 50
_LEFT = 499
"""The status of a request whose client has left before its answer ended; it is in records alone."""
_PICO = Decimal(10) ** 12
_MOST_PICO = 2**62


@attrs.define(eq=False, kw_only=True)
class RequestRecord:
    """What is known of one request. ``begun`` is on the clock's own scale, ``took`` and ``first_output`` are seconds."""

    id: str
    client_request_id: str | None
    method: str
    begun_at: datetime
    begun: float
    face: str = ""
    key: ApiKey | None = None
    recorded: bool = False
    """Whether it is one of those that are written down: with a key, and asking a model."""
    session: str | None = None
    asked_model: str | None = None
    streamed: bool = False
    status: int = 0
    took: float = 0.0
    first_output: float | None = None
    error: str | None = None
    code: str | None = None
    vendor: str | None = None
    model: str | None = None
    usage: Usage | None = None
    cost: Decimal | None = None
    saved: Decimal | None = None
    cached: bool = False
    trace: Any = attrs.field(default=None, repr=False)
    outcomes: list[Outcome] = attrs.field(factory=list, repr=False)
    dispatched: bool = False
    """Whether the dispatcher was asked, and will tell of an outcome."""
    facts: Mapping[str, str] = attrs.field(factory=dict)
    dropped: tuple[str, ...] = ()
    partial: tuple[Request, Response] | None = attrs.field(default=None, repr=False)
    estimated: bool = False
    open: bool = False
    """Whether its answer is a stream that has begun."""
    over: bool = False
    told: bool = False

    def answered(self, answer: Response | Embeddings) -> None:
        """Take in a whole answer."""
        self.vendor, self.model, self.usage, self.cost = answer.vendor, answer.model, answer.usage, answer.usage.cost
        if isinstance(answer, Response):
            self.trace, self.cached, self.dropped = answer.trace, answer.cached, answer.dropped

    def failed(self, error: DispatchError, status: int, code: str | None) -> None:
        """Take in a failure, and how the client was told of it."""
        self.error, self.status, self.code = type(error).__name__, status, code
        if not isinstance(error, GatewayError) and error.trace is not None:
            self.trace = error.trace

    def complete(self) -> None:
        """Take in how the calls ended: what they cost with all their attempts, and who answered."""
        costs, known = Decimal(0), False
        used: Usage | None = None
        for outcome in self.outcomes:
            error = outcome.error
            self.vendor, self.model = outcome.vendor or self.vendor, outcome.model or self.model
            if self.vendor and self.model:  # a failure tells the name that was asked for, which may have its vendor before it
                self.model = self.model.removeprefix(f"{self.vendor}:")
            self.cached = outcome.cached
            if outcome.usage is not None:
                used = outcome.usage if used is None else used + outcome.usage
            self.trace = (error.trace if error is not None else None) or self.trace
            if error is not None and self.open:
                self.error, self.code = type(error).__name__, error.code or self.code
                self.status = _LEFT if self.error == "Cancelled" else self.status
            spent = [one.cost for one in outcome.attempts if one.cost is not None]
            if spent or (outcome.cost is not None):
                costs, known = costs + (sum(spent, Decimal(0)) if spent else outcome.cost or Decimal(0)), True
            if self.first_output is None and outcome.first_token is not None:
                self.first_output = outcome.first_token
        self.usage = used or self.usage
        if known:
            self.cost = costs
        elif self.cost is None and self.partial is not None and any(one.possibly_billed for one in self.attempts):
            self._estimate(*self.partial)
        self.saved = _saved(self)

    def broken(self, request: Request, partial: Response) -> None:
        """Take in what had come of a stream that was broken off; its cost is estimated where the vendor tells none."""
        self.partial = (request, partial)

    def _estimate(self, request: Request, partial: Response) -> None:
        target = _target(self)
        self.usage = broken_usage(request, partial)
        if target is not None and target.price is not None:
            self.cost, self.estimated = cost_of(self.usage, target.price), True

    @property
    def attempts(self) -> tuple[Any, ...]:
        """All attempts at vendors, in order."""
        found = [attempt for outcome in self.outcomes for attempt in outcome.attempts]
        return tuple(found) if found else tuple(self.trace or ())

    @property
    def call_id(self) -> str | None:
        """The name of its last call, by which a ledger has it."""
        if self.outcomes:
            return self.outcomes[-1].call_id
        return getattr(self.trace, "call_id", None) or None

    def row(self) -> Row:
        """The row of the database; its texts are bounded, and in whole characters."""
        usage = self.usage
        return (
            self.id,
            self.key.organization if self.key is not None else "",
            self.key.id if self.key is not None else None,
            _text(self.session, 255),
            int(self.begun_at.timestamp() * 1_000_000),
            int(self.took * 1_000_000),
            int(self.first_output * 1_000_000) if self.first_output is not None else None,
            self.face,
            self.status,
            _text(self.error, 64),
            _text(self.code, 64),
            _text(self.asked_model, 255),
            _text(self.vendor, 255),
            _text(self.model, 255),
            self.streamed,
            self.cached,
            len(self.attempts),
            *(
                (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens)
                if usage is not None and not self.cached
                else (None,) * 4
            ),
            _pico(self.cost),
            _pico(self.saved),
            self.call_id,
            self.client_request_id,
            _decision(self),
        )


def _text(text: str | None, most: int) -> str | None:
    if text is None:
        return None
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:most]


def _pico(amount: Decimal | None) -> int | None:
    return None if amount is None else max(-_MOST_PICO, min(_MOST_PICO, int(amount * _PICO)))


def _saved(record: RequestRecord) -> Decimal | None:
    """US dollars that the vendor's prompt caching saved: less than nothing where more was written than read."""
    usage = record.usage
    if usage is None or record.cached:
        return None
    if not (usage.cache_read_tokens or usage.cache_write_tokens):
        return Decimal(0)
    target = _target(record)
    if target is None or target.price is None:
        return None
    plain = attrs.evolve(
        usage, cache_read_tokens=0, cache_write_tokens=0, cache_write_long_tokens=0, audio_cache_read_tokens=0, cost_details=None
    )
    return cost_of(plain, target.price) - cost_of(usage, target.price)


def _target(record: RequestRecord) -> Target | None:
    """The target that answered, or began to, with its price."""
    plan = getattr(record.trace, "plan", None)
    last = next((one for one in reversed(record.attempts) if one.error is None or one.possibly_billed), None)
    if plan is None or last is None:
        return None
    return next((one for one in plan.targets if (one.vendor, one.model) == (last.vendor, last.model)), None)


def _decision(record: RequestRecord) -> str | None:
    """Candidates, skips and attempts as JSON, without the words of vendors and clients."""
    trace, attempts = record.trace, record.attempts
    plan = getattr(trace, "plan", None)
    told: dict[str, Any] = {"attempts": [_attempt(one) for one in attempts[:_MOST_LISTED]]}
    if plan is not None:
        told["alias"] = plan.route.alias
        told["candidates"] = [_candidate(plan, step) for step in plan.steps[:_MOST_LISTED]]
        skipped = [{"target": skip.target, "reason": skip.reason, "code": skip.code} for skip in plan.skipped[:_MOST_LISTED]]
        passed = [{"target": skip.target, "reason": _plain(skip.reason), "at": skip.at} for skip in trace.skipped[:_MOST_LISTED]]
        told["skipped"] = [*skipped, *passed]
    told["dropped"] = list(record.dropped or next((one.dropped for one in reversed(attempts) if one.dropped), ()))
    told["estimated"] = record.estimated
    told["reserved"] = record.facts.get("x-llmdispatcher-reserved")
    text = _json(told)
    if len(text) > _MOST_DECISION:
        told = {"attempts": told["attempts"][:10], "dropped": told["dropped"][:10], "truncated": True}
        text = _json(told)
    return text if len(text) <= _MOST_DECISION else None


_json = json.JSONEncoder(default=str).encode


def _candidate(plan: Any, step: Any) -> dict[str, Any]:
    """A target, why it has its place, and how it stood where something was held against it."""
    told = {"target": str(step.target), "why": step.reason}
    if plan.statuses:
        held = plan.status(step.target)
        told |= {"circuit": held.circuit, "circuit_for": held.circuit_for, "cooldown": held.cooldown}
        if held.limits is not None:
            told |= {"requests_remaining": held.limits.requests_remaining, "tokens_remaining": held.limits.tokens_remaining}
    else:
        told["circuit"] = "closed"
    return told


_FACTS = (
    "started",
    "latency",
    "first_token",
    "error",
    "failure_class",
    "status",
    "sent",
    "bytes_sent",
    "bytes_received",
    "key",
    "phase",
    "cause",
)
_FLAGS = ("retry", "failover", "hedge", "continuation", "possibly_billed", "resent", "skipped", "dropped", "reused")
"""Fields of an attempt that say nothing where they are false, zero or empty."""


def _attempt(record: Any) -> dict[str, Any]:
    told = {"target": record.target, "vendor": record.vendor, "model": record.model, "number": record.number}
    told |= {name: value for name in _FACTS if (value := getattr(record, name)) is not None}
    told |= {name: value for name in _FLAGS if (value := getattr(record, name))}
    told |= {name: f"{amount:f}" for name in ("cost", "reserved") if (amount := getattr(record, name)) is not None}
    return told


def _plain(reason: str) -> str:
    """A reason without what a vendor has said, which may have a client's words in it."""
    return reason.partition(": ")[0]
