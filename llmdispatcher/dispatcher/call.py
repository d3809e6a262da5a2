"""A call from its beginning to its one outcome, and its attempts, each settled exactly once.

- :class:`CallLog` is the protocol of what records calls. The ledger is one; nothing else of it is known here.
- :func:`priced` computes the cost of a response: as the vendor reports it, or by the catalog's prices.
- :func:`require_known_cost` refuses responses whose cost is not known, for ``strict_cost``.
- :class:`InFlightCalls` holds the calls in flight of one dispatcher: ``close`` waits for them for a time and cancels the rest.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Protocol, TypeVar

from .._text import room_logger
from ..accounting import CallBudget
from ..catalog import Target, price_at
from ..errors import Cancelled, ConfigError, CostUnknown, DispatchError
from ..routing import Route, SkippedTarget
from ..runtime import AttemptMetrics, Cancellation, Clock, Deadline, new_id
from ..types import (
    MOST_COST,
    MOST_TOKENS,
    AttemptRecord,
    AttemptStart,
    CallOrigin,
    CallStart,
    ChunkSource,
    CostDetails,
    Outcome,
    Request,
    Response,
    Usage,
    cost_details,
    failure_fields,
    plausible,
    replace,
)
from .resources import AttemptResources
from .trace import Plan, Trace


class CallLog(Protocol):
    """Where a dispatcher writes its calls down while they happen; a :class:`~llmdispatcher.Ledger` is one.

    Its methods are called in the thread of the call, so they must be quick. Only one that is asked to be strict may raise, a
    :class:`~llmdispatcher.LedgerError`.
    """

    def began(self, call: Call, attempt: Attempt) -> None:
        """A vendor is about to be asked; nothing has been sent yet. What it raises ends the call unsent."""

    def settled(self, record: AttemptRecord) -> None:
        """A vendor was asked, and this is how it went."""

    def ended(self, outcome: Outcome) -> None:
        """A call has its outcome, which nobody has been given yet. What it raises is raised instead of the answer."""

    def flush(self, timeout: float = 10.0) -> object:
        """Write what is left, within so many seconds; a dispatcher that closes calls it, and leaves the log open for others."""


def priced(usage: Usage, target: Target, request: Request, clock: Clock, answer: Any = None) -> Usage:
    """The usage with its cost, or with the reason why there is none; a cost that the vendor reported stays, if it can be.

    A server of one's own costs nothing, whether or not it tells what an answer used. The tier is the one that ``answer`` names,
    else the one that was asked for. A target whose model the catalog does not know, such as a deployment, is priced as the model
    that the answer names.
    """
    usage = plausible(usage, _most_tokens(target, request))
    if target.free and target.is_free and usage.cost is None:
        return replace(usage, cost=Decimal(0), cost_status="priced", price_version=target.price_version, cost_details=CostDetails())
    if usage.cost is not None and _is_absurd(usage, target):
        usage = replace(usage, cost=None, cost_status="implausible_cost", cost_details=None)
    if usage.cost is not None:
        details = CostDetails.of(usage.cost, usage.cost_details)
        return usage if details is usage.cost_details else replace(usage, cost_details=details)
    if usage.cost_status == "implausible_count":
        return usage
    aside = usage.cost_status if usage.cost_status == "implausible_cost" else None
    if not usage.input_tokens and not usage.output_tokens and not usage.tool_requests:
        return usage if aside or usage.cost_status == "no_usage" else replace(usage, cost_status="no_usage", cost_details=None)
    price, version = target.price, target.price_version
    if price is None and version is None and target.kind is not None and answer is not None and answer.model:
        price, version = price_at(target.kind, answer.model, target.vendor, free=target.free)
    if price is None:
        status = aside or ("unknown_model" if version is None else "no_price")
        return replace(usage, cost_status=status, price_version=version, cost_details=None)
    tier = getattr(answer, "service_tier", None) or request.service_tier
    moment = clock.now() if price.later or price.off_peak is not None else None
    found = cost_details(usage, price, tier=tier, at=moment)
    cost = found.total
    if cost > MOST_COST:
        return replace(usage, cost_status="implausible_count", price_version=version, cost_details=None)
    return replace(usage, cost=cost, cost_status=aside or "priced", price_version=version, cost_details=found)


_TIMES, _BESIDE = 10, Decimal(1)


def _most_tokens(target: Target, request: Request) -> int:
    """The most tokens of one class that an answer of this target can be charged for: ten times what its model takes and gives."""
    if not target.context_window or request.max_tokens == 0:  # vectors are made of many texts at once
        return MOST_TOKENS
    return _TIMES * (target.context_window + max(target.max_output, request.max_tokens or 0) * (request.n or 1))


def _is_absurd(usage: Usage, target: Target) -> bool:
    """Whether a vendor says that an answer cost far more than its tokens do by the price: tools cost more, but not that much."""
    if usage.cost is None or target.price is None or usage.cost <= _BESIDE:
        return False
    return usage.cost > _BESIDE + _TIMES * cost_details(usage, target.price).total


def require_known_cost(usage: Usage, answer: Any) -> None:
    """Raise :class:`CostUnknown`, with the answer in it, where its cost is not known."""
    if usage.cost is None:
        text = (
            f"the cost of an answer of {answer.vendor}:{answer.model} is not known ({usage.cost_status}); error.response holds it"
        )
        raise CostUnknown(text, response=answer, cost_status=usage.cost_status, vendor=answer.vendor, model=answer.model)


class KnownCostStream:
    """A stream that is asked at its end what it cost; in all else it is the other."""

    def __init__(self, opened: ChunkSource) -> None:
        self._opened = opened

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened, name)

    def finish(self, response: Response) -> Response:
        """Settle as a success, then look at the cost."""
        response = self._opened.finish(response)
        require_known_cost(response.usage, response)
        return response


class Admitting(Protocol):
    """Whoever lets only so many calls in."""

    def leave(self, cancellation: Cancellation) -> None:
        """A call has left; idempotent."""

    def status(self) -> tuple[int, int]:
        """How many calls were let in, and how many wait."""


class InFlightCalls:
    """Calls between their beginning and their outcome, known by what cancels them.

    No lock: single steps of a dict are atomic, and a signal handler may call, or close, in the middle of any of them. Each call
    is kept with its process, since a forked child inherits those of threads that it does not have.
    """

    def __init__(self, clock: Clock, door: Admitting | None = None) -> None:
        self._clock = clock
        self._admission = door
        self._calls: dict[Cancellation, int] = {}
        self._gates: tuple[threading.Lock, ...] = ()
        self._closed = False

    def begin(self, cancellation: Cancellation) -> None:
        """A call begins. Raises :class:`ConfigError` once closed."""
        self._calls[cancellation] = os.getpid()
        if self._closed:  # asked only now, so that whoever closes it either is seen here or sees this call
            self.end(cancellation)
            raise ConfigError("the dispatcher is closed; make a new one")

    def end(self, cancellation: Cancellation) -> None:
        """A call has its outcome, and gives its place back; idempotent."""
        if self._admission is not None:
            self._admission.leave(cancellation)
        self._calls.pop(cancellation, None)
        if self._gates and not self._any():
            for gate in self._gates:
                with contextlib.suppress(RuntimeError):  # open already
                    gate.release()

    def count(self) -> tuple[int, int]:
        """How many calls of this process are under way, and how many wait to be let in."""
        return self._admission.status() if self._admission is not None else (len(self._here()), 0)

    def close(self, seconds: float) -> None:
        """Let no call begin any more, wait so many seconds at most for those under way, and cancel the rest."""
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise ConfigError(f"drain: {seconds!r} is not a number of seconds ≥ 0")
        self._closed = True
        if seconds:
            self._wait(seconds)
        for cancellation in self._here():
            cancellation.cancel("the dispatcher was closed")

    def _wait(self, seconds: float) -> None:
        gate = threading.Lock()
        gate.acquire()
        self._gates = (*self._gates, gate)
        if self._any():
            self._clock.wait(gate, seconds)

    def _any(self) -> bool:
        return os.getpid() in list(self._calls.values())

    def _here(self) -> list[Cancellation]:
        """The calls of this process, as of one moment."""
        here = os.getpid()
        return [cancellation for cancellation, process in list(self._calls.items()) if process == here]


logger = room_logger("dispatcher")

T = TypeVar("T")
_MOST_PASSED_OVER = 100
Report = Callable[[Outcome, Response | None], None]
"""Hears of an outcome, and what was answered, as the vendor said it."""


class Attempt:
    """One target asked once. Whoever asks settles it on every path; only the first settlement counts."""

    __slots__ = (
        "_call",
        "continuation",
        "failover",
        "first_token",
        "meter",
        "number",
        "of",
        "record",
        "resources",
        "retry",
        "started",
        "target",
        "timed_out",
    )

    def __init__(self, call: Call, target: Target, resources: AttemptResources, *, retry: bool, failover: bool) -> None:
        self._call = call
        self.of, self.number = call.id, next(call.numbers)
        self.target = target
        self.resources = resources
        self.meter = call.deadline.meter = AttemptMetrics()
        self.meter.lease = resources.lease
        self.retry = retry
        self.failover = failover
        self.continuation = False
        self.timed_out = False
        """Whether the call's deadline passed while the target was silent."""
        self.started = call.deadline.clock.monotonic()
        self.first_token: float | None = None
        self.record: AttemptRecord | None = None

    def start(self) -> AttemptStart:
        """What observers hear before anything is sent."""
        return AttemptStart(
            call_id=self.of,
            number=self.number,
            vendor=self.target.vendor,
            model=self.target.model,
            kind=self.target.kind,
            started=self.started - self._call.started,
            retry=self.retry,
            failover=self.failover,
            hedge=self._call.hedge,
        )

    def first_output(self) -> None:
        """Note that the reader sees something now."""
        self.first_token = self._call.deadline.clock.monotonic() - self.started

    def settle(self, error: DispatchError | None = None, usage: Usage | None = None, *, lost: bool = False) -> None:
        """Write down how it went, and what the priced ``usage`` cost; what is ``lost`` may be under way still, and cost money."""
        meter, reservation, cost = self.meter, self.resources.reservation, usage.cost if usage is not None else None
        if error is not None and error.sent is None and meter.wired:
            error.sent = meter.sent > 0
        reserved = reservation.amount if reservation is not None else None
        if reservation is not None and not lost:
            reservation.settle(error, cost)
        if self.record is not None:
            return
        if error is not None:
            self._call.rests()
        self.record = AttemptRecord(
            call_id=self.of,
            number=self.number,
            vendor=self.target.vendor,
            model=self.target.model,
            started=self.started - self._call.started,
            latency=self._call.deadline.clock.monotonic() - self.started,
            first_token=self.first_token,
            retry=self.retry,
            failover=self.failover,
            hedge=self._call.hedge,
            continuation=self.continuation,
            cost=cost,
            cost_details=usage.cost_details if usage is not None else None,
            bytes_sent=meter.sent if meter.wired else None,
            bytes_received=meter.received if meter.wired else None,
            reused=meter.reused,
            resent=meter.resent,
            skipped=meter.skipped,
            dropped=meter.dropped,
            key=meter.key,
            reserved=reserved,
            **(failure_fields(error) if error is not None else {}),
        )
        self._call.attempts.append(self.record)
        if self._call.report_attempt is not None:
            self._call.report_attempt(self.record)
        if self._call.asking is self:
            self._call.asking = None
        if error is not None:
            logger.info(
                "%s:%s failed after %.3f s: %s", self.target.vendor, self.target.model, self.record.latency, self.record.error
            )


class Call:
    """One request on its way; ends in exactly one :class:`Outcome`, which ``report`` hears."""

    __slots__ = (
        "_answer",
        "_outcome",
        "_report",
        "_settled",
        "asked",
        "asking",
        "attempts",
        "auto_timeout",
        "budget",
        "deadline",
        "guards",
        "hedge",
        "id",
        "in_flight",
        "journal",
        "more",
        "numbers",
        "origin",
        "plan",
        "profile",
        "report_attempt",
        "report_start",
        "request",
        "resources",
        "skipped",
        "started",
        "streamed",
    )

    def __init__(self, request: Request, deadline: Deadline, report: Report, *, streamed: bool, guards: Sequence[Any] = ()) -> None:
        self.request = request
        self.guards = guards
        self.id = new_id(deadline.clock)
        self.numbers = itertools.count(1)
        self.origin, self.profile = request.origin, request.profile
        self.journal: CallLog | None = None
        self.report_attempt: Callable[[AttemptRecord], None] | None = None
        self.report_start: Callable[[Call, Attempt], None] | None = None
        self.deadline = deadline
        self.streamed = streamed
        self.started = deadline.clock.monotonic()
        self.attempts: list[AttemptRecord] = []
        self.asked: dict[Target, int] = {}
        self.hedge = False
        self.plan: Plan | None = None
        self.more: Callable[[Call], Sequence[Target]] | None = None
        """Reads the lists that may tell of further targets; asked once, when nobody else is left."""
        self.skipped: list[SkippedTarget] = []
        self.budget: CallBudget | None = None
        self.resources: AttemptResources | None = None
        """What the next attempt has taken until it asks."""
        self.in_flight: InFlightCalls | None = None
        self.auto_timeout = False
        """Whether nobody has set a timeout for it, so that its route tells how much time it needs."""
        self.asking: Attempt | None = None
        """The attempt under way; a settled one is forgotten, since the two would keep each other alive until a collection."""
        self._outcome: Outcome | None = None
        self._answer: Response | None = None
        self._report = report
        self._settled = False

    def start(self) -> CallStart:
        """What observers hear when it begins."""
        return CallStart(
            call_id=self.id,
            request=self.request,
            streamed=self.streamed,
            started_at=self.deadline.clock.now(),
            timeout=None if self.auto_timeout else self.deadline.seconds,
            origin=self.origin,
        )

    def kept(self, work: Callable[[], T]) -> T:
        """What ``work`` gives; if it raises, the call has ended."""
        try:
            return work()
        except BaseException as error:
            self.abandon(error)
            raise

    def abandon(self, error: BaseException) -> None:
        """End with what was raised, unless it has ended already; Ctrl-C may have come in the middle of the end itself."""
        if not isinstance(error, DispatchError):
            told = f"interrupted by {type(error).__name__}"
            self.deadline.cancellation.cancel(told)
            error = DispatchError(told)
        if not self._settled:
            self.fail(error)
        if self.in_flight is not None:
            self.in_flight.end(self.deadline.cancellation)

    def branch(self, *, hedge: bool) -> Call:
        """A second way of this call, beside the first: it has its own cancellation, and is reported only if it is adopted."""
        cancellation = Cancellation()
        cancellation.follow(self.deadline.cancellation)
        deadline = Deadline(self.deadline.at, self.deadline.clock, cancellation, self.deadline.seconds)
        branch = Call(self.request, deadline, self._report, streamed=self.streamed, guards=self.guards)
        branch.started, branch.attempts, branch.hedge, branch._report = self.started, self.attempts, hedge, branch._keep
        return self._known_as(branch)

    def background(self) -> Call:
        """A way of this call that may outlive it: it has its own end, and is reported only if this call or another adopts it."""
        deadline = Deadline(self.deadline.at, self.deadline.clock, Cancellation(), self.deadline.seconds)
        away = Call(self.request, deadline, self._report, streamed=self.streamed, guards=self.guards)
        away.started, away._report = self.started, away._keep
        return self._known_as(away)

    def _known_as(self, way: Call) -> Call:
        """Have a way of this call count and tell as the call itself does."""
        way.report_attempt, way.report_start = self.report_attempt, self.report_start
        way.plan, way.skipped, way.budget = self.plan, self.skipped, self.budget
        way.id, way.numbers, way.journal = self.id, self.numbers, self.journal
        way.origin, way.profile, way.more = self.origin, self.profile, self.more
        return way

    def _keep(self, outcome: Outcome, answer: Response | None) -> None:
        self._outcome, self._answer = outcome, answer

    def adopt(self, branch: Call, error: DispatchError | None = None) -> None:
        """Take the end of a leg for the call's own, now or when it comes; ``error`` is another end to what the leg has done."""
        if self._settled:
            return
        branch._report, self._settled = self._adopted, True
        if branch.attempts is not self.attempts:
            self.attempts += branch.attempts
        outcome = branch._outcome
        if outcome is not None:
            if error is not None:
                error.attempts, error.trace = len(self.attempts), self.trace()
            self._adopted(replace(outcome, attempts=tuple(self.attempts), error=error or outcome.error), branch._answer)

    def _adopted(self, outcome: Outcome, answer: Response | None) -> None:
        """Report another's end, which may have been asked for by somebody else, as this call's own."""
        self._report(replace(outcome, **self.named()), answer)

    def named(self) -> dict[str, Any]:
        """Which call it is, and whose."""
        return {"call_id": self.id, "metadata": self.request.metadata, **dict(zip(CallOrigin._fields, self.whose(), strict=True))}

    def whose(self) -> CallOrigin:
        """For whom it is made."""
        request, route = self.request, self.plan.route if self.plan is not None else None
        alias, profile = (route.alias, route.profile) if route is not None else (None, None)
        return CallOrigin(self.origin, request.id_at_origin, request.user, alias, profile or self.profile)

    def lose(self, error: DispatchError) -> None:
        """End this leg unheard; what it was asking is written down as lost."""
        self.deadline.cancellation.cancel(error.message)
        if self.asking is not None:
            self.asking.settle(error, lost=True)

    def ask(self, target: Target, resources: AttemptResources) -> Attempt:
        """Begin an attempt at ``target``, which has taken its ``resources``."""
        times = self.asked.get(target, 0)
        attempt = Attempt(self, target, resources, retry=times > 0, failover=not times and bool(self.asked))
        self.asked[target] = times + 1
        self.asking = attempt
        return attempt

    def sends(self, attempt: Attempt) -> None:
        """Have it written down that a vendor is about to be asked. Raises :class:`Cancelled` where nothing more may begin."""
        cancellation = self.deadline.cancellation
        cancellation.busy = True
        if cancellation.draining:
            raise Cancelled(cancellation.reason, sent=False)
        if self.journal is not None:
            self.journal.began(self, attempt)
        if self.report_start is not None:
            self.report_start(self, attempt)

    def rests(self) -> None:
        """Note that no vendor is asked for now; ends the call where nothing more may begin."""
        cancellation = self.deadline.cancellation
        cancellation.busy = False
        if cancellation.draining:
            cancellation.cancel(cancellation.reason)

    def succeed(self, attempt: Attempt, response: Response) -> Response:
        """Settle with an answer; returns it with vendor, model, cost, latency and trace filled in."""
        latency = self.deadline.clock.monotonic() - self.started
        usage = self.settle(attempt, response.usage, response)
        return replace(
            response,
            vendor=attempt.target.vendor,
            model=response.model or attempt.target.model,
            usage=usage,
            created_at=response.created_at or self.deadline.clock.now(),
            latency=latency,
            dropped=response.dropped or attempt.meter.dropped,
            trace=self.trace(),
        )

    def trace(self, *, cached: bool = False) -> Trace:
        """What the call tells of itself, as of now."""
        plan = self.plan or Plan(route=Route(self.request.model, ()))
        return Trace(plan=plan, attempts=tuple(self.attempts), skipped=tuple(self.skipped), cached=cached, call_id=self.id)

    def pass_over(self, target: Target, why: str) -> None:
        """Note that a target is not asked although it is its turn."""
        if len(self.skipped) < _MOST_PASSED_OVER:
            at = self.deadline.clock.monotonic() - self.started
            self.skipped.append(SkippedTarget(target.vendor, why, model=target.model, at=at))

    def settle(self, attempt: Attempt, usage: Usage, answer: Any = None) -> Usage:
        """Settle with a success that consumed ``usage``; gives it priced, unless whoever settled the attempt has done that."""
        if attempt.record is None:
            usage = priced(usage, attempt.target, self.request, self.deadline.clock, answer)
        attempt.settle(usage=usage)
        self._settle(usage, None, attempt, answer=answer if isinstance(answer, Response) else None)
        return usage

    def priced(self, usage: Usage, target: Target, answer: Any = None) -> Usage:
        """What ``target`` used for this call, with its cost; ``answer`` is what it answered, where there is one."""
        return priced(usage, target, self.request, self.deadline.clock, answer)

    def from_cache(self, response: Response) -> Response:
        """Settle with an answer from memory: nobody was asked."""
        latency = self.deadline.clock.monotonic() - self.started
        self._settle(response.usage, None, None, answer=response, recalled=True)
        return replace(response, latency=latency, trace=self.trace(cached=True))

    def fail(
        self, error: DispatchError, attempt: Attempt | None = None, usage: Usage | None = None, answer: Response | None = None
    ) -> None:
        """Settle with a failure; ``answer`` is what of one had come, ``usage`` what it had reported."""
        if attempt is not None:
            usage = self.priced(usage, attempt.target) if usage is not None and attempt.record is None else usage
            attempt.settle(error, usage)
        error.attempts, error.trace = len(self.attempts), self.trace()
        self._settle(usage, error, attempt, answer=answer)

    def _settle(
        self,
        usage: Usage | None,
        error: DispatchError | None,
        attempt: Attempt | None,
        *,
        answer: Response | None,
        recalled: bool = False,
    ) -> None:
        if self._settled:
            return
        self._settled = True
        answered = (attempt.target.vendor, attempt.target.model) if attempt is not None else (None, self.request.model)
        if recalled and answer is not None:
            answered = (answer.vendor, answer.model)
        whose = self.whose()
        self._report(
            Outcome(
                call_id=self.id,
                metadata=self.request.metadata,
                origin=whose.origin,
                id_at_origin=whose.id_at_origin,
                user=whose.user,
                alias=whose.alias,
                profile=whose.profile,
                vendor=answered[0],
                model=answered[1],
                cached=recalled,
                error=error,
                attempts=tuple(self.attempts),
                usage=usage,
                latency=self.deadline.clock.monotonic() - self.started,
                first_token=attempt.first_token if attempt is not None else None,
                streamed=self.streamed,
            ),
            answer,
        )
