"""The attempt loop: ask target after target, wait where that helps, until one answers or none can.

Plain calls and streams share the loop. They differ only in how one vendor is asked; for a stream that ends at the first output.
From then on there is no failover: a later failure is the stream's own.

:class:`ResponseCacheLayer` stands between the dispatcher and its cache: a call that the cache answers is settled like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import attrs

from .._text import room_logger
from ..cache import AnswerCache, CacheRequest, cache_target
from ..catalog import CAPABILITIES, Target
from ..errors import (
    ANOTHER_VENDOR,
    AllTargetsFailed,
    AuthenticationError,
    ConfigError,
    DeadlineExceeded,
    DispatchError,
    InvalidRequest,
    MalformedReply,
    ModelNotFound,
    Overloaded,
    QuotaExceeded,
    VendorUnavailable,
)
from ..resilience import (
    Hedges,
    NextAttempt,
    RateLimitSlot,
    RetryPolicy,
    RetrySchedule,
    Shares,
    Wakes,
    hedge_plan,
    standing,
)
from ..routing import (
    FAILOVER,
    FALLBACK,
    NO_MODEL,
    OVER_COST,
    PINNED,
    RULE,
    UNFIT,
    UNPRICED,
    WINDOW,
    CostOptimization,
    Latencies,
    Route,
    Selection,
    dead_end,
)
from ..runtime import Deadline
from ..types import ChunkSource, EmbeddingRequest, Embeddings, RateLimitRemaining, Request, Response, Usage, replace
from ..vendors import VendorInfo
from ..wire import is_about_model
from . import guards, structured
from .call import Attempt, Call, require_known_cost
from .config import Continuation, continuation_for
from .continuation import ResumedStream, Reword
from .hedging import ask_hedged
from .resources import AttemptPolicies, AttemptResources
from .trace import Plan
from .vendor_call import ActiveStream, open_stream, translate

logger = room_logger("dispatcher")

T = TypeVar("T")
_MOST_TOLD = 1024
Ask = Callable[[Call, Attempt, VendorInfo, Request], T]
_LEFT_OUT = frozenset({FAILOVER, FALLBACK, OVER_COST, UNPRICED, WINDOW, UNFIT, *CAPABILITIES})
"""Codes of reasons why a vendor that is there was not asked although another failed."""
_SILENT = frozenset({"first_byte", "idle", "total"})


@attrs.define(eq=False, kw_only=True)
class AttemptLoop(AttemptPolicies):
    """Walks the targets of one call after the other; what it learns stays with the policies that it holds."""

    retry_policy: RetryPolicy
    hedges: Hedges | None = None
    wakes: Wakes = attrs.field(factory=Wakes)
    shares: Shares = attrs.field(factory=Shares)
    latencies: Latencies = attrs.field(factory=Latencies)
    continuation: Continuation | None = None
    cost: CostOptimization | None = None
    strict_cost: bool = False
    meant: Callable[[Target, Deadline, bool, str | None], str] = lambda _target, _deadline, _sure, _profile: ""
    """What to do where a target says that it does not have its model."""
    _lasting: set[str] = attrs.field(factory=set, init=False)
    """The vendors of which it was logged that they refuse the key or have no credit."""
    _told: set[tuple[str, tuple[str, str]]] = attrs.field(factory=set, init=False)

    def send(self, call: Call, route: Route) -> Response:
        """The first whole answer, as the guards let it in. Settles the call; raises where no target answers."""
        if self.hedges is None:
            response = self._answer(call, route, self._send)
        else:
            response = ask_hedged(self.hedges, call, route, partial(self._answer, ask=self._send), lambda _late: None)
            response = attrs.evolve(response, trace=call.trace())  # with the leg that lost
        return guards.after(call.guards, call.request, response, call.deadline) if call.guards else response

    def embed(self, call: Call, route: Route, asked: EmbeddingRequest) -> Embeddings:
        """The vectors of some texts, from the first target that makes them. Settles the call."""

        def ask(call: Call, attempt: Attempt, vendor: VendorInfo, request: Request) -> Embeddings:
            assert vendor.embed is not None, "the route has those alone that can"
            embeddings = vendor.embed(attrs.evolve(asked, model=request.model), call.deadline)
            now = call.deadline.clock.monotonic()
            self._learn(attempt, None, now)
            usage = call.settle(attempt, embeddings.usage, embeddings)
            attempt.resources.settle(usage, now)
            target = attempt.target
            return attrs.evolve(
                embeddings, vendor=target.vendor, model=embeddings.model or target.model, usage=usage, latency=now - call.started
            )

        embeddings = self._answer(call, route, ask)
        if self.strict_cost:
            require_known_cost(embeddings.usage, embeddings)
        return embeddings

    def stream(self, call: Call, route: Route) -> ChunkSource:
        """The first answer that begins; it settles the call when it ends. Raises, and settles, where none begins."""
        if self.hedges is None:
            opened = self._answer(call, route, self._open)
        else:
            opened = ask_hedged(self.hedges, call, route, partial(self._answer, ask=self._open), lambda late: late.drop())
        continuation = continuation_for(self.continuation, call.request.continue_broken)
        if continuation is None:
            return opened
        return ResumedStream(opened, route, continuation, vendors=self.vendors, resume=self.go_on, cost=self.cost)

    def go_on(self, call: Call, route: Route, reword: Reword) -> ActiveStream:
        """An answer that goes on where one broke off, asked for in words of its own. The call stays open where none begins."""

        def ask(call: Call, attempt: Attempt, vendor: VendorInfo, request: Request) -> ActiveStream:
            attempt.continuation = True
            return self._open(call, attempt, vendor, reword(vendor, request))

        try:
            return self._walk(call, route, ask, [])
        finally:
            self._cancel(call)

    def _answer(self, call: Call, route: Route, ask: Ask[T]) -> T:
        failures: list[DispatchError] = []
        try:
            return self._walk(call, route, ask, failures)
        except DispatchError as error:
            if failures and error is not failures[-1] and error.__cause__ is None:
                error.__cause__ = failures[-1]
            self._cancel(call)
            call.fail(error)
            raise
        except BaseException as interruption:
            self._cancel(call)
            call.fail(DispatchError(f"interrupted by {type(interruption).__name__}"))
            raise

    def _walk(self, call: Call, route: Route, ask: Ask[T], failures: list[DispatchError]) -> T:
        now = call.deadline.clock.monotonic
        refused: DispatchError | None = None
        schedule = RetrySchedule(
            route.targets, self.retry_policy, self.cooldowns, now(), transient_only=route.choice is Selection.POOL, on=route.goes_on
        )
        while (turn := self._next(call, schedule)) is not None:
            target = turn.target
            attempt = self._begin(call, schedule, turn)
            if attempt is None:
                continue
            others = self._after(call, schedule, target) if len(route.steps) > 1 or call.more is not None else ()
            try:
                call.resources = None
                call.sends(attempt)
                if target.stands_in_for:
                    self._tell_stand_in(target)
                vendor, request = self.vendors[target.vendor], call.request
                if request.model != target.model:
                    request = replace(request, model=target.model)
                request = request.as_sent_to(target.kind or "", target.model)
                if not others:
                    return ask(call, attempt, vendor, request)
                return self._within(call, attempt, others, partial(ask, call, attempt, vendor, request))
            except DispatchError as error:
                error.with_facts(vendor=target.vendor, model=target.model)
                self._learn(attempt, error, now())
                attempt.settle(error)
                if error.sent is False:
                    attempt.resources.give_back_slot(now())
                if _is_unfit(route, target, error):
                    refused = refused or error
                    schedule.drop()
                    call.pass_over(target, f"it does not take the request: {error.message}")
                    continue
                failures.append(error)
                self._note(call, route, target, error)
                schedule.failed(target, error, now())
            except BaseException as interruption:
                neutral = DispatchError(f"interrupted by {type(interruption).__name__}")
                attempt.settle(neutral)
                attempt.resources.release(neutral, now(), attempt.started, timed_out=attempt.timed_out)
                raise
        route = call.plan.route if call.plan is not None else route  # with what lists have told meanwhile
        blocked = schedule.blocked(now()) or self.breakers.refusal(route.targets, now()) or refused
        raise _verdict(route, failures, blocked)

    def _begin(self, call: Call, schedule: RetrySchedule, turn: NextAttempt) -> Attempt | None:
        """Take what asking needs. Where that fails the target is put off, or left out, and ``None`` is returned."""
        target, deadline = turn.target, call.deadline
        if self.cooldowns.parked and schedule.set_aside(target, deadline.clock.monotonic()):
            self._cancel(call)
            call.pass_over(target, "it has just asked to be left alone")  # another call has just been told so
            return None
        resources = call.resources = call.resources or AttemptResources(self)
        denial = resources.acquire(turn, call.request, call.budget, deadline)
        if denial is None:
            return call.ask(target, resources)
        call.pass_over(target, denial.reason)
        if denial.ready_at is not None:
            schedule.limited(target, denial.ready_at, deadline.clock.monotonic(), denial.why)
        elif denial.over is not None:
            schedule.drop(denial.over)
            if not denial.over.try_elsewhere:
                raise denial.over
        else:
            schedule.put_off(target)
        return None

    def _cancel(self, call: Call) -> None:
        """Give back what was taken for a request that was not sent."""
        resources, call.resources = call.resources, None
        if resources is not None:
            resources.cancel(call.deadline.clock.monotonic())

    def _after(self, call: Call, schedule: RetrySchedule, target: Target) -> Sequence[Target]:
        """Whom nobody has asked yet in this call and may before its deadline; a list that is not read yet may tell of somebody."""
        end, now = call.deadline.at, call.deadline.clock.monotonic()
        others = schedule.unasked(end)
        if self.breakers.circuits or self.breakers.ejections.down:
            others = [other for other in others if self.breakers.ready_at(other, now) < end]
        return others or ((target,) if call.more is not None else ())

    def _note(self, call: Call, route: Route, target: Target, error: DispatchError) -> None:
        """Say which name may have been meant, and once in the log that others answer for a vendor which is not set up any more."""
        if type(error) is ModelNotFound and (near := self._instead(call, target, error)):
            error.remedy = f"{near} If not: {error.remedy}" if error.remedy else near
        if isinstance(error, DeadlineExceeded) and len(route.steps) == 1 and error.phase in _SILENT:
            error.remedy = error.remedy or _unregistered(route) or _unnamed(route) or None
        is_lasting = isinstance(error, AuthenticationError | QuotaExceeded)
        if is_lasting and len(route.steps) > 1 and target.vendor not in self._lasting:
            self._lasting.add(target.vendor)
            what = "refuses the key" if isinstance(error, AuthenticationError) else "has no credit or quota left"
            logger.warning(
                "%s %s (status %s); other targets are asked in its place until that is mended", target, what, error.status
            )

    def _instead(self, call: Call, target: Target, error: DispatchError) -> str:
        return self.meant(target, call.deadline, is_about_model(error), call.request.profile)

    def _within(self, call: Call, attempt: Attempt, others: Sequence[Target], asking: Callable[[], T]) -> T:
        """Ask within the attempt's share of the deadline, since ``others`` could be asked after it.

        Time that runs out speaks against the target: that of its share, and most of the deadline.
        """
        deadline, permit = call.deadline, attempt.resources.permit
        movable = self.retry_policy.retry_ambiguous is not False  # else nobody is asked after a silence, and nothing is kept back
        left, streamed = deadline.remaining(), call.streamed
        ready = (
            next((other for other in others if self._is_well(other, attempt.started)), None) if permit.brief and movable else None
        )
        if ready is not None:
            share = self.shares.brief(call.request, attempt.target, left, ready, streamed=streamed)
        else:
            share = self.shares.share(call.request, attempt.target, left, others, streamed=streamed, probe=permit.probe)
        if not movable:
            share = share._replace(answer=math.inf, output=math.inf)
        deadline.narrow(share.answer, share.connect, share.output)
        try:
            return asking()
        except DeadlineExceeded as late:
            if deadline.share_is_over:
                raise _out_of_share(late, deadline.clock.monotonic() - attempt.started, brief=ready is not None) from None
            took = deadline.clock.monotonic() - attempt.started
            attempt.timed_out = deadline.is_narrow and late.phase != "pool" and 2 * took >= (deadline.seconds or 0)
            if late.phase != "pool" and not streamed:
                need = self.shares.need(call.request, attempt.target)
                seconds = None if not movable else need.seconds if need.certain else math.inf
                late.remedy = _not_asked(attempt.target, took, others[0], seconds)
            raise
        finally:
            deadline.widen()

    def _is_well(self, target: Target, now: float) -> bool:
        """Whether nothing is held against asking a target now."""
        return self.breakers.state(target, now) == "closed" and self.cooldowns.held(target, now) is None

    def _tell_stand_in(self, target: Target) -> None:
        """Log whom a target stands in for, once for each pair."""
        pair = (target.stands_in_for, target.key)
        if pair in self._told:
            return
        if len(self._told) < _MOST_TOLD:
            self._told.add(pair)
        text = "%s is asked in place of %s, which the fallback vendor does not have; fallback_model names another, or forbids it"
        logger.warning(text, target, target.stands_in_for)

    def _next(self, call: Call, schedule: RetrySchedule) -> NextAttempt | None:
        """Whose turn it is, when it has come; ``None`` when nobody's is left."""
        deadline = call.deadline
        if call.more is not None and schedule.is_through:
            more, call.more = call.more, None
            schedule.add(more(call))
        turn = schedule.next(deadline.at)
        if turn is None:
            return None
        if turn.crowd:
            resources = call.resources = call.resources or AttemptResources(self)
            resources.slot = resources.slot or RateLimitSlot(deadline.at)
            entered = self.limits.wait(turn.crowd, resources.slot, deadline, turn.ready_at)
            if entered is not None:
                return schedule.instead(turn, entered)
        if turn.ready_at > deadline.clock.monotonic():
            self.wakes.sleep(deadline, turn.ready_at)
        deadline.check()
        return turn

    def plan(self, route: Route, now: float, *, whole: bool) -> Plan:
        """The route with what is held against its targets now; ``whole`` looks at limits, their storage and hedges, too."""
        if whole:
            held = [standing(target, self.breakers, self.cooldowns, now, self.limits) for target in route.targets]
            return Plan(route=route, statuses=tuple(held), hedge=hedge_plan(self.hedges, route.targets))
        if not (self.breakers.circuits or self.breakers.ejections.down or self.cooldowns.parked):
            return Plan(route=route)
        return Plan(route=route, statuses=tuple([standing(target, self.breakers, self.cooldowns, now) for target in route.targets]))

    def heard(self, attempt: Attempt, rate_limit_remaining: RateLimitRemaining | None, now: float) -> None:
        """Take in what the vendor says is left of its own limits."""
        if rate_limit_remaining is not None:
            self.limits.note_remaining(attempt.target, rate_limit_remaining, now, attempt.meter.key)

    def _learn(self, attempt: Attempt, error: DispatchError | None, now: float) -> None:
        """What an attempt tells about its target's health and speed; an end that the caller made, or caused, tells nothing."""
        attempt.resources.release(error, now, attempt.started, timed_out=attempt.timed_out)
        if error is None:
            self._lasting.discard(attempt.target.vendor)
            if self.cooldowns.parked:
                self.cooldowns.answered(attempt.target)
            if self.hedges is not None:
                taken = attempt.first_token if attempt.first_token is not None else now - attempt.started
                self.hedges.observe(attempt.target, taken)
        if error is None or error.phase in _SILENT:
            self.latencies.observe(attempt.target, now - attempt.started, attempt.first_token, now)
        elif error.retry_here or error.try_elsewhere:
            self.latencies.failed(attempt.target, now)

    def _send(self, call: Call, attempt: Attempt, vendor: VendorInfo, request: Request) -> Response:
        """Ask for a whole response; what a vendor of the user's own raises is translated here."""
        try:
            response = vendor.vendor.send(request, call.deadline)
        except DispatchError:
            raise
        except Exception as foreign:  # noqa: BLE001 - it may raise anything
            raise translate(vendor, foreign) from None
        if not isinstance(response, Response):
            raise MalformedReply(f"vendor {vendor.name!r} returned {type(response).__name__}; send() must return a Response")
        now = call.deadline.clock.monotonic()
        self._learn(attempt, None, now)
        response = call.succeed(attempt, response)
        self.shares.observe(attempt.target, now - attempt.started, response.usage.output_tokens)
        attempt.resources.settle(response.usage, now)
        if response.rate_limit_remaining is not None:
            self.heard(attempt, response.rate_limit_remaining, now)
        return response

    def _open(self, call: Call, attempt: Attempt, vendor: VendorInfo, request: Request) -> ActiveStream:
        """Read up to the first output, or to the end of an answer that has none."""
        stream = open_stream(
            vendor, request, call.deadline, lambda left: self.heard(attempt, left, call.deadline.clock.monotonic())
        )
        if self.cooldowns.parked:
            self.cooldowns.answered(attempt.target)
        if stream.has_output:
            attempt.first_output()
        return ActiveStream(self.ended, call, attempt, stream)

    def ended(self, call: Call, attempt: Attempt, error: DispatchError | None, usage: Usage) -> None:
        """Hear how a stream that had begun has ended."""
        now = call.deadline.clock.monotonic()
        self._learn(attempt, error, now)
        attempt.resources.settle(usage, now)


def _out_of_share(late: DeadlineExceeded, seconds: float, *, brief: bool) -> DispatchError:
    """The error of a target whose attempt has used up its share of the call's time."""
    if late.phase == "pool":
        text = "all connections stayed busy; raise pool_size, or send less at once"
        return Overloaded(text, phase="pool", sent=False, try_elsewhere=True)
    why = "its share of the call's time; raise timeout= to wait longer for it"
    if brief:
        why = "all that a probe has after time-outs while another target is ready"
    text = f"it was silent for {seconds:.3g} s, {why}"
    phase = "idle" if late.phase == "body" else late.phase or "first_byte"
    return VendorUnavailable(text, phase=phase, sent=late.sent, timed_out=True)


def _not_asked(target: Target, seconds: float, other: Target, need: float | None) -> str:
    """Why no other target was asked after one that used up the time of a call, and what to set.

    ``need`` is seconds for a whole answer, infinite where nobody knows, ``None`` where policy forbids to ask another.
    """
    if need is None:
        why = "retry_ambiguous=False forbids to ask another after that"
    elif need == math.inf:
        why = "a model that thinks may take all of the time; first_byte_timeout= of its vendor sets a limit"
    else:
        why = f"a whole answer may need {need:.3g} s; set timeout= above that, or leave it out"
    return f"{target.vendor} gave no answer in {seconds:.3g} s, and {other} was not asked: {why}"


def _is_unfit(route: Route, target: Target, error: DispatchError) -> bool:
    """Whether only this target does not take the request, or is not set up: it is not the first, whose word counts for the call."""
    is_final = isinstance(error, InvalidRequest | ConfigError) and not error.try_elsewhere
    return is_final and bool(route.steps) and target.key != route.steps[0].target.key


def _verdict(route: Route, failures: list[DispatchError], blocked: DispatchError | None) -> DispatchError:
    """The one error that a call ends with when no target is left to be asked in time."""
    if not failures:
        return _saying_why(blocked, route) if blocked is not None else dead_end(route)
    last = failures[-1]
    if last.try_elsewhere or last.retry_here:
        _saying_why(last, route)
    if len({(failure.vendor, failure.model) for failure in failures}) == 1 or not (last.try_elsewhere or last.retry_here):
        return last
    listed = "; ".join(_grouped(failures))
    hints = [failure.retry_after for failure in failures if failure.retry_after is not None]
    return AllTargetsFailed(f"no target answered: {listed}", failures=failures, retry_after=min(hints, default=None))


def _saying_why(error: DispatchError, route: Route) -> DispatchError:
    """The error, whose remedy tells why a vendor that is there was not asked, instead of naming one in general."""
    spare = next((skip for skip in route.skipped if skip.code in _LEFT_OUT), None)
    told = ""
    if spare is not None:
        told = f"{spare.vendor} was not asked: {spare.reason}"
        if spare.code == FALLBACK:
            told = f"the fallback vendor was not asked: {spare.vendor} {spare.reason}"
    elif error.remedy and error.remedy.endswith(ANOTHER_VENDOR):
        told = _unregistered(route) or _unnamed(route) or _unpinned(route)
    if told:
        first = (error.remedy or "").removesuffix(ANOTHER_VENDOR).removesuffix(", or ")
        error.remedy = "; ".join(filter(None, (first, told)))
    return error


def _unregistered(route: Route) -> str:
    """Which vendor that the configuration names is not registered; empty if all are."""
    absent = next((skip for skip in route.skipped if skip.code == RULE and "is not registered" in skip.reason), None)
    return f"{absent.vendor!r} was not asked: {absent.reason}" if absent is not None else ""


def _unnamed(route: Route) -> str:
    """How a registered vendor is named that is not known to have the model; empty if there is none, or a pool says who is asked."""
    vendors = [skip.vendor for skip in route.skipped if skip.at is None and not skip.code and skip.reason.startswith(NO_MODEL)]
    if not vendors or route.alias is not None:
        return ""
    return f"{vendors[0]} was not asked, since nobody named it; fallback_vendor={vendors[0]!r} in the configuration does"


def _unpinned(route: Route) -> str:
    """Which vendor is not asked since the request names another one; empty if there is none."""
    other = next((skip for skip in route.skipped if skip.code == PINNED), None)
    return f"{other.vendor} was not asked, since {other.reason}" if other is not None else ""


def _grouped(failures: Sequence[DispatchError]) -> list[str]:
    """Each failure once, with the targets that had it, and how often."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for failure in failures:
        where = ":".join(filter(None, (failure.vendor, failure.model)))
        groups.setdefault((type(failure).__name__, failure.message, failure.remedy or ""), []).append(where)
    told = []
    for (kind, words, remedy), places in groups.items():
        text = f"{kind}: {', '.join(dict.fromkeys(places))}: {words}{f' ({remedy})' if remedy else ''}"
        told.append(f"{text} ({len(places)} times)" if len(places) > 1 else text)
    return told


class _Source:
    """A call that is made for all who read its stream: bound to the one who asks until the stream is open, then to nobody."""

    def __init__(self, attempt_loop: AttemptLoop, call: Call, away: Call, route: Route) -> None:
        self.away = away
        self._attempt_loop = attempt_loop
        self._route = route
        self._bond = call.deadline.cancellation
        self._key = self._bond.subscribe(self.stop)

    def begin(self) -> ChunkSource:
        """Up to the first output."""
        self._bond.busy = True  # a drain lets it end
        return self._attempt_loop.stream(self.away, self._route)

    def loosen(self) -> None:
        """Each reader keeps to a deadline of his own from now on."""
        self._bond.unsubscribe(self._key)
        self.away.deadline.at = math.inf

    def stop(self) -> None:
        """End it."""
        self.away.deadline.cancellation.cancel("nobody reads the stream any more")


def _parse(call: Call, response: Response) -> Response:
    return structured.read(call.request, response, call.deadline)


@attrs.frozen
class ResponseCacheLayer:
    """The cache, and those who are asked where it knows nothing."""

    cache: AnswerCache
    attempt_loop: AttemptLoop
    vendors: Mapping[str, VendorInfo]

    def send(self, call: Call, route: Route) -> Response:
        """The answer from memory, from the same call under way, or from a vendor."""
        return self.cache.send(self._cache_request(call, route, streamed=False), partial(self.attempt_loop.send, call, route))

    def stream(self, call: Call, route: Route) -> ChunkSource:
        """The stream out of memory, of the same call under way, or of a vendor."""
        cache_request = self._cache_request(call, route, streamed=True)
        cache_request.source = lambda: _Source(self.attempt_loop, call, call.background(), route)
        cache_request.adopt = lambda source, error: call.adopt(source.away, error)
        return self.cache.stream(cache_request, partial(self.attempt_loop.stream, call, route))

    def _cache_request(self, call: Call, route: Route, *, streamed: bool) -> CacheRequest:
        places = [cache_target(self.vendors[target.vendor].vendor, target.vendor, target.model) for target in route.targets]
        made = CacheRequest(
            request=call.request,
            places=places,
            deadline=call.deadline,
            alike=route.alike(),
            recall=call.from_cache,
            fail=call.fail,
        )
        if call.request.response_format is not None:
            made.check = partial(_parse, call)
            if streamed:
                made.recall = lambda response: _parse(call, call.from_cache(response))
        return made
