"""``Dispatcher``: the one object that a user holds. It sends requests, and answers questions about vendors, models and limits.

:class:`CallRecorder` reports the end of calls and attempts: first to the statistics, then to the observers, last to the ledger,
which may be strict and raise.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

import attrs

from .._text import room_logger
from ..accounting import BudgetStatus, spending_of
from ..cache import AnswerCache, ResponseCache
from ..catalog import Target
from ..errors import ConfigError, DispatchError
from ..resilience import SHORTEST_TIMEOUT, AdmissionController, Breakers, Budgets, Hedges, Limits, RateLimitStatus
from ..routing import Balance, Balancer, Route, RoutingContext, dead_end, plan
from ..runtime import SYSTEM_CLOCK, Cancellation, Clock, Deadline, fan_out, new_lock
from ..types import (
    AttemptRecord,
    CacheControl,
    CallContent,
    ChunkSource,
    EmbeddingRequest,
    Embeddings,
    EmbeddingSettings,
    LimitWarning,
    Listeners,
    ObserverLike,
    Outcome,
    Parsed,
    Request,
    Response,
    Usage,
    build,
    check_reference,
    check_request,
    copy_self,
    refuse_pickling,
    split_observers,
    suggest,
    tell,
)
from ..vendors import HttpVendor, Vendor, from_environment, misspelt_variables, nothing_found
from . import guards, streaming, structured, tools
from .attempts import AttemptLoop, ResponseCacheLayer
from .call import Attempt, Call, CallLog, InFlightCalls, KnownCostStream, require_known_cost
from .config import Config, continuation_for
from .config_file import read_config_file
from .health import HealthChecker, VendorHealth
from .router import Candidates, Router
from .stats import Stats, StatsBook
from .streaming import StreamingResponse
from .tokens import TokenCount, estimate_tokens
from .trace import Plan, place_of
from .vendor_call import skip_unfit

if TYPE_CHECKING:
    from ..accounting import Ledger
    from ..catalog import Lockfile


logger = room_logger("dispatcher")

_MOST_UNPRICED = 1024
_UNPRICED: Mapping[str, str] = {
    "unknown_model": "the catalog does not know the model; give its price with llmdispatcher.catalog.overlay",
    "no_price": "the catalog has no price of the model; give one with llmdispatcher.catalog.overlay",
    "no_usage": "the answer does not tell what it used",
}
"""What the log says of each :data:`~llmdispatcher.types.response.COST_STATUSES` that comes without a cost."""


class CallRecorder:
    """The records of one dispatcher; a ledger that was named by its path or URL is made, and closed, here."""

    def __init__(self, observers: Sequence[ObserverLike], ledger: Any, config: Config) -> None:
        self.stats = StatsBook()
        self.ledger: CallLog | None = None
        self.listeners = split_observers(observers)
        if config.enable_logging:
            from .call_logging import CallLogging  # late: by those who want it

            self.listeners = split_observers([*observers, CallLogging()])
        self._counts = config.enable_metrics
        self._origin, self._profile, self._guards = config.origin, config.profile, config.guards
        self._owned = ledger is not None and not hasattr(ledger, "began")
        self._unpriced: set[tuple[str | None, str]] = set()
        if ledger is not None:
            self.ledger = _ledger_at(ledger) if self._owned else ledger

    def add(self, observer: ObserverLike) -> None:
        """Report to one more observer."""
        before, more = self.listeners, split_observers([observer])
        joined: Any = {name: (*getattr(before, name), *getattr(more, name)) for name in Listeners._fields[:-1]}
        self.listeners = before._replace(**joined)

    def attach(self, call: Call) -> None:
        """Report that a call begins, and have it report its attempts."""
        call.origin = call.origin if call.origin is not None else self._origin
        call.profile = call.profile if call.profile is not None else self._profile
        call.journal = self.ledger
        listeners = self.listeners
        if listeners.attempt or self.ledger is not None:
            call.report_attempt = self._report_attempt
        if listeners.attempt_start:
            call.report_start = self._report_start
        if listeners.call_start:
            tell(listeners.call_start, call.start())

    def report(
        self, in_flight: InFlightCalls, cancellation: Cancellation, request: Request, outcome: Outcome, answer: Response | None
    ) -> None:
        """A call has ended; only a strict ledger raises, for an answer that it cannot keep the record of."""
        in_flight.end(cancellation)
        if self._counts:
            self.stats.record(outcome)
        if outcome.usage is not None and outcome.usage.cost is None:
            self._warn_unpriced(outcome, outcome.usage)
        if self.listeners.content:
            tell(self.listeners.content, self._content(request, outcome, answer))
        if self.listeners.outcome:
            tell(self.listeners.outcome, outcome)
        if self.ledger is not None:
            self.ledger.ended(outcome)

    def warn(self, warning: LimitWarning) -> None:
        """Most of a budget or a rate limit is used. The log does not tell whose account it is, which may be a person's."""
        logger.warning("%s", attrs.evolve(warning, share=""))
        tell(self.listeners.warning, warning)

    def close(self) -> None:
        """Write down what is left; a ledger that was handed in stays open for others."""
        if self.ledger is not None:
            if self._owned:
                made: Any = self.ledger  # a Ledger
                made.close()
            else:
                self.ledger.flush()

    def warn_no_more(self, before: CallRecorder) -> None:
        """Leave out the warnings that another recorder has given."""
        self._unpriced |= before._unpriced

    def _warn_unpriced(self, outcome: Outcome, usage: Usage) -> None:
        """Log that nobody knows what a call cost, once for each model."""
        asked, unused = (outcome.vendor, outcome.model), outcome.error is not None and not usage.total_tokens
        if unused or asked in self._unpriced or len(self._unpriced) >= _MOST_UNPRICED:
            return
        self._unpriced.add(asked)
        told = _UNPRICED.get(usage.cost_status, usage.cost_status)
        logger.warning(
            "the cost of calls of %.200r is not known and is left out of the totals: %s", f"{outcome.vendor}:{outcome.model}", told
        )

    def _content(self, request: Request, outcome: Outcome, answer: Response | None) -> CallContent:
        guarded = [guard for guard in self._guards if hasattr(guard, "after")]
        return CallContent(
            call_id=outcome.call_id,
            request=request,
            error=outcome.error,
            origin=outcome.origin,
            finish_reasons=tuple([one.finish_reason for one in answer.choices if one.finish_reason]) if answer is not None else (),
            response_id=answer.response_id if answer is not None else None,
            answer=answer,
            review=partial(guards.after, guarded, request) if guarded else None,
            mask=self.listeners.mask,
        )

    def _report_attempt(self, record: AttemptRecord) -> None:
        if self.ledger is not None:
            self.ledger.settled(record)
        tell(self.listeners.attempt, record)

    def _report_start(self, call: Call, attempt: Attempt) -> None:
        start = attempt.start()
        tell(self.listeners.attempt_start, start)
        attempt.meter.headers = start.headers


def _ledger_at(place: Any) -> Ledger:
    from ..accounting import Ledger  # late: SQLAlchemy is loaded by those who have a ledger

    return Ledger(place)


_OF_CONFIG = {field.name: f"give Dispatcher(Config({field.name}=...))" for field in attrs.fields(Config)} | {
    "vendors": "give each to dispatcher.register_vendor(vendor)"
}
_OF_REQUEST = {field.name: f"give it to the request: Request(..., {field.name}=...)" for field in attrs.fields(Request)}
_asking = partial(suggest, remedies=_OF_REQUEST)


@partial(suggest, remedies=_OF_CONFIG)
class Dispatcher:
    """Sends requests to whichever registered vendor fits; safe to share between threads and after a fork.

    ``observers`` hear the :class:`~llmdispatcher.Outcome` of every call, and as an :class:`~llmdispatcher.Observer` every
    attempt; one that raises is logged and felt by nobody. ``ledger`` is where
    every call is written down: a :class:`~llmdispatcher.Ledger` or another :class:`~llmdispatcher.CallLog`, or the path or URL of
    a ledger. No thread is started and nothing is opened before the first call.
    """

    __copy__, __reduce__ = copy_self, refuse_pickling

    def __init__(
        self,
        config: Config | Mapping[str, Any] | None = None,
        *,
        observers: Sequence[ObserverLike] = (),
        ledger: CallLog | str | os.PathLike[str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if isinstance(config, HttpVendor | list | tuple):
            raise ConfigError(f"config: {type(config).__name__} is not a Config; give each vendor to register_vendor(vendor)")
        self.config = build(Config, {} if config is None else config, "config")
        self._clock = clock
        self._auto_timeout = isinstance(self.config.timeout, str)
        self._timeout = None if isinstance(self.config.timeout, str) else self.config.timeout
        self._first_timeout = SHORTEST_TIMEOUT if self._auto_timeout else self._timeout
        """Counts where a call has none; where nobody has set any, until the route tells what is needed."""
        balancer = Balancer(self.config.balance or Balance(), clock.random)
        shares = balancer if self.config.balance is not None or self.config.modes else None
        self._preferences = self.config.preferences(balancer)
        self._turns = itertools.count()
        self._recorder = CallRecorder(observers, ledger if ledger is not None else self.config.ledger, self.config)
        self._router = Router(self.config)
        self._recorder.listeners = self._recorder.listeners._replace(mask=self._router.mask)
        published = self.config.registry
        self._registry = published.follow(self._router.registry_versions) if published is not None else None
        self._attempt_loop = AttemptLoop(
            vendors=self._router.vendors,
            retry_policy=self.config.retry_policy,
            breakers=Breakers(self.config.circuit_breaker),
            budgets=Budgets(self.config.retry_budget),
            balancer=shares,
            hedges=Hedges(self.config.hedge) if self.config.hedge is not None else None,
            limits=Limits(self.config.limits_storage, self.config.limits_prefix, self._recorder.warn),
            continuation=self.config.continuation,
            cost=self.config.cost_optimization,
            strict_cost=self.config.strict_cost,
            spending=spending_of(self.config.budgets, self._recorder.ledger, clock, self._recorder.warn),
            meant=self._router.suggest_models,
        )
        self.cache: AnswerCache | None = None
        """The response cache, if there is one: ``clear()``, ``stats()``."""
        self._lock = new_lock()
        self._cached: ResponseCacheLayer | None = None
        if self.config.cache is not None:
            self._cached = self._with_cache(self.config.cache)
        self._admission = AdmissionController(self.config.admission, clock) if self.config.admission is not None else None
        self._in_flight = InFlightCalls(clock, self._admission)
        self._health = HealthChecker(self._router.vendors, self._attempt_loop.breakers, self.config.health_interval, clock)

    @classmethod
    @partial(suggest, remedies={name: f"give Dispatcher.from_env(Config({name}=...))" for name in _OF_CONFIG})
    def from_env(
        cls,
        config: Config | Mapping[str, Any] | None = None,
        *,
        observers: Sequence[ObserverLike] = (),
        ledger: CallLog | str | os.PathLike[str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> Self:
        """A dispatcher with every vendor of the catalog whose key is in the environment.

        Where there is none, and none is registered later, the error of a call names the usual variables. A vendor
        that the configuration names and that has no key is logged as a warning (:meth:`check_vendors`).
        """
        dispatcher = cls(config, observers=observers, ledger=ledger, clock=clock)
        for found in from_environment():
            dispatcher.register_vendor(found)
        if not dispatcher.get_vendors():
            dispatcher._router.searched = nothing_found()
        dispatcher.check_vendors()
        return dispatcher

    @classmethod
    @partial(suggest, remedies={name: f"write {name} in the file" for name in ("vendors", *_OF_CONFIG)})
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        observers: Sequence[ObserverLike] = (),
        ledger: CallLog | str | os.PathLike[str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> Self:
        """A dispatcher as a file describes it, TOML or JSON: the fields of :class:`Config`, and a table for each vendor.

        ``[vendors.NAME]`` has the fields of :class:`~llmdispatcher.VendorConfig`, and a ``kind``, the vendor's name in the catalog,
        where NAME is not. Without such tables the vendors are those of the environment, as in :meth:`from_env`. ``${NAME}`` in a
        text is a variable of the environment. Raises :class:`ConfigError` with the file and the path of the first mistake. The
        command line takes the same file.
        """
        file = read_config_file(path)
        try:
            config, vendors = file.config(), file.make_vendors()
            make = cls if vendors else cls.from_env
            dispatcher = make(config, observers=observers, ledger=ledger, clock=clock)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error.message}") from None
        for vendor in vendors:
            dispatcher.register_vendor(vendor)
        dispatcher.check_vendors()
        return dispatcher

    def register_vendor(self, vendor: Vendor) -> None:
        """Add a vendor; its name must be new. Raises :class:`ConfigError` that names a member it lacks."""
        info = self._router.register(vendor)
        if info.rate_limit is not None:
            self._attempt_loop.limits.set(info.name, info.rate_limit, vendor if isinstance(vendor, HttpVendor) else None)

    def check_vendors(self) -> tuple[str, ...]:
        """Which vendors that the configuration names cannot be asked, and why: they are not registered, or have no key.

        Each sentence names the field and the variable of the key. Each is also logged, once; asks nobody. ``from_env`` and the
        first call do this too. Logged, too, is each variable of the environment that is not read and differs from the name of one
        that would be by underscores and case alone, such as ``OPENAI_APIKEY``.
        """
        self._router.warn(misspelt_variables(certainly=True))
        return self._router.check()

    @_asking
    def send(
        self, request: Request[Parsed], *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> Response[Parsed]:
        """Answer a request; blocks for at most ``timeout`` seconds (the configuration's, where not given).

        Raises a :class:`DispatchError`: the vendor's own failure, or :class:`AllTargetsFailed` where several were asked, or
        :class:`MalformedReply` for an answer that does not have the form of ``response_format``.
        """
        return self._answer(request, timeout, cancel)

    @_asking
    def send_streaming(
        self, request: Request[Parsed], *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> StreamingResponse[Parsed]:
        """Answer a request piece by piece; returns at once, vendor trouble is raised by reading the stream.

        With ``Config(admission=...)`` it first waits for a place, and may raise :class:`Overloaded`.
        """
        return self._stream(request, timeout, cancel)

    @_asking
    def send_to_vendor(
        self, vendor: str, request: Request[Parsed], *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> Response[Parsed]:
        """Answer a request by this vendor and no other, with the same retries."""
        return self._answer(request, timeout, cancel, pinned=self._router.get_vendor(vendor).name)

    @_asking
    def send_streaming_to_vendor(
        self, vendor: str, request: Request[Parsed], *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> StreamingResponse[Parsed]:
        """Answer piece by piece by this vendor and no other, with the same retries before the first output."""
        return self._stream(request, timeout, cancel, self._router.get_vendor(vendor).name)

    @overload
    def map(
        self,
        requests: Iterable[Request[Parsed]],
        *,
        max_workers: int = ...,
        timeout: float | None = ...,
        return_errors: Literal[False] = ...,
    ) -> Iterator[Response[Parsed]]: ...

    @overload
    def map(
        self,
        requests: Iterable[Request[Parsed]],
        *,
        max_workers: int = ...,
        timeout: float | None = ...,
        return_errors: Literal[True],
    ) -> Iterator[Response[Parsed] | DispatchError]: ...

    @_asking
    def map(
        self,
        requests: Iterable[Request[Parsed]],
        *,
        max_workers: int = 8,
        timeout: float | None = None,
        return_errors: bool = False,
    ) -> Iterator[Response[Parsed] | DispatchError]:
        """Answer many requests with ``max_workers`` threads; yields results in the order of the requests, as they become ready.

        ``requests`` may be endless: no more than a few per worker are taken in advance, by the caller's thread, so it must not
        wait for an answer that it is to yield itself. The first error is raised, or
        yielded in its place with ``return_errors=True``. ``timeout`` is seconds for each call.
        """
        return fan_out(partial(self.send, timeout=timeout), requests, max_workers, return_errors=return_errors)

    def run_tools(self, request: Request, functions: tools.Functions = (), **settings: Unpack[tools.RunSettings]) -> tools.ToolRun:
        """Answer a request with Python functions as its tools; see :func:`llmdispatcher.run_tools`."""
        return tools.run_tools(self, request, functions, clock=self._clock, **settings)

    def embed(
        self,
        model: str,
        texts: str | Sequence[str],
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
        **settings: Unpack[EmbeddingSettings],
    ) -> Embeddings:
        """The vectors of some texts, in their order; asked for in batches of as many as the vendor takes.

        ``settings`` are those of :class:`~llmdispatcher.EmbeddingRequest`, such as ``dimensions``. Routed, retried and
        counted like any call. ``timeout`` is seconds for all batches together. Where neither the call nor the configuration sets
        one, it is what the first two targets may need for all their batches, at least 50 s each, within 60 to 600 s. Raises
        :class:`InvalidRequest` where no vendor of the model makes vectors.
        """
        return self.send_embedding(EmbeddingRequest(model, texts, **settings), timeout=timeout, cancel=cancel)

    def send_embedding(
        self, request: EmbeddingRequest, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> Embeddings:
        """The vectors of a request's texts; what :meth:`embed` makes of its arguments, and raises."""
        asked = guards.rewritten_embedding(request, self.config.guards)
        call = self._begin(asked.as_request(), timeout, cancel, streamed=False, guarded=True)
        try:
            return self._attempt_loop.embed(call, self._route(call, vectors=asked), asked)
        except BaseException as error:
            call.abandon(error)
            raise

    @_asking
    def count_tokens(self, request: Request, *, timeout: float | None = None) -> TokenCount:
        """How many input tokens a request has: by the vendor that would be asked first, else a labelled estimate.

        The vendor is sent what the guards make of the request, as by :meth:`send`.
        """
        check_request(request)
        request = guards.before(self.config.guards, request)
        deadline = self._deadline(timeout)
        for target in self._preview(request, streamed=False, deadline=deadline).targets[:1]:
            tokens = self._router.vendors[target.vendor].count_tokens(attrs.evolve(request, model=target.model), deadline)
            if tokens is not None:
                return TokenCount(tokens=tokens, source="vendor", vendor=target.vendor, model=target.model)
        return estimate_tokens(request)

    @_asking
    def explain(self, request: Request, *, streaming: bool = False) -> Plan:
        """Which targets would be asked, in which order, how they stand now, and why the others would not; sends nothing.

        ``str()`` is for people, ``as_dict()`` for machines.
        """
        check_request(request)
        plan = self._attempt_loop.plan(self._preview(request, streamed=streaming), self._clock.monotonic(), whole=True)
        spending = self._attempt_loop.spending
        return plan if spending is None else attrs.evolve(plan, budgets=spending.forecast(request, plan.targets))

    def get_vendors(self) -> list[str]:
        """The names of the registered vendors, in order of registration."""
        return list(self._router.vendors)

    def get_vendor(self, name: str) -> Vendor | None:
        """The vendor of that name, or ``None``."""
        found = self._router.find(name)
        return found.vendor if found is not None else None

    @property
    def lockfile(self) -> Lockfile | None:
        """The lockfile of the configuration, read now if it was not before; ``None`` where there is none."""
        return self._router.lockfile

    def resolve_alias(self, alias: str, profile: str | None = None) -> str:
        """The first ``"vendor:model"`` that can be asked now under a name, be it an alias, a pool or a model's own.

        Raises :class:`ConfigError` for a broken lockfile, and otherwise what a call for that name would raise before it is sent.
        """
        found = self._router.candidates(check_reference(alias), profile)
        targets = found.targets or (found.reserve.stand_ins if found.reserve is not None else ())
        if not targets:
            raise dead_end(Route(alias, (), found.skipped, cause=found.cause, hint=found.hint))
        return str(targets[0])

    def has_alias(self, alias: str, profile: str | None = None) -> bool:
        """Whether a name is an alias of the lockfile or a pool of the configuration."""
        return self._router.has_alias(alias, profile)

    def require_aliases(self, names: str | Iterable[str], *, context: str | None = None, profile: str | None = None) -> None:
        """Raise one :class:`ConfigError` for all aliases that are missing; what a program does first. ``context`` says who asks."""
        self._router.require_aliases([names] if isinstance(names, str) else list(names), context, profile)

    def list_models(self, vendor: str, *, timeout: float | None = None) -> tuple[str, ...]:
        """The models that a vendor says it has, or, for a vendor of one's own, those of its capabilities. Costs nothing.

        What it says counts from now on: the vendor is known to have these models.
        """
        asked = self._router.get_vendor(vendor)
        if asked.list_models is None:
            return asked.vendor.capabilities.models
        try:
            names = tuple(asked.list_models(self._deadline(timeout)))
        except DispatchError as error:
            error.with_facts(vendor=asked.name)
            raise
        self._router.keep_list(asked.name, names, self._clock.monotonic())
        return names

    def health_check(self, *, timeout: float = 5.0) -> dict[str, VendorHealth]:
        """How each vendor is, asked at the same time and without spending money; takes at most ``timeout`` seconds."""
        return self._health.ask(timeout)

    def health(self) -> dict[str, VendorHealth]:
        """How each vendor was when it was last asked, by ``health_check`` or ``Config(health_interval=...)``; asks nobody."""
        return self._health.latest()

    def leave_alone(self, vendor: str, *, model: str | None = None, seconds: float) -> None:
        """Ask a vendor, or one ``model`` of it, no more for so many seconds, as if its circuit were open.

        It is still asked where nobody else is left, unless the configuration's circuit breaker is ``strict``.
        """
        if not seconds >= 0:
            raise ConfigError(f"seconds: {seconds!r} is not a number ≥ 0")
        until = self._clock.monotonic() + seconds
        self._attempt_loop.breakers.leave_alone(self._router.get_vendor(vendor).name, model, until)

    def get_rate_limit_status(self, vendor: str, model: str = "") -> RateLimitStatus:
        """What is left of a vendor's limits in this minute; name the model where each has limits of its own."""
        return self._attempt_loop.limits.status(
            Target(vendor=self._router.get_vendor(vendor).name, model=model), self._clock.monotonic()
        )

    def reset_rate_limit(self, vendor: str, model: str | None = None) -> None:
        """Forget what was asked of a vendor, so that its rate limits begin anew; ``model`` names one where each has its own count.

        With a storage that holds for all processes. Calls in flight stay counted as such. Raises :class:`ConfigError` for a limit
        that is not there, and :class:`VendorUnavailable` where the storage fails.
        """
        self._attempt_loop.limits.reset(self._router.get_vendor(vendor).name, model)

    def get_budgets(self) -> tuple[BudgetStatus, ...]:
        """How every account of every budget stands in its present period, in the order of the configuration.

        Budgets that count by call have none. Raises :class:`BudgetExceeded` where the place that they are kept in is away.
        """
        spending = self._attempt_loop.spending
        return spending.statuses() if spending is not None else ()

    def reset_budget(self, name: str, share: str | None = None) -> int:
        """Have nothing spent in the present period of the budget of this name, and return how many accounts it had.

        ``share`` (a user, a vendor, ...) resets the account of that share alone. What calls under way have reserved stays
        reserved. In the database of a ledger this holds for all processes. Raises :class:`ConfigError` for a budget that is not
        configured, and :class:`LedgerError` if the database cannot be used.
        """
        spending = self._attempt_loop.spending
        if spending is None:
            raise ConfigError("budget: there is none to reset; give Config(budgets=[Budget(limit=...)])")
        return spending.reset(name, share)

    def get_circuits(self) -> dict[tuple[str, str], str]:
        """How the circuits of targets that failed lately stand, by vendor and model: "closed", "open" or "half-open"."""
        breakers, now = self._attempt_loop.breakers, self._clock.monotonic()
        targets = [Target(vendor=key[0], model=key[1]) for key in list(breakers.circuits)]
        return {(one.vendor, one.model): breakers.state(one, now) for one in targets}

    def add_observer(self, observer: ObserverLike) -> None:
        """Have one more observer hear of the calls that begin from now on, as those given to the constructor do."""
        self._recorder.add(observer)

    def take_over(self, before: Dispatcher) -> None:
        """Come in place of another dispatcher, as after a reload: what that one has warned of is not told again."""
        self._recorder.warn_no_more(before._recorder)

    def get_stats(self) -> Stats:
        """The counts of all calls that have ended, as of one moment, and how many run and wait."""
        return self._recorder.stats.snapshot(*self._in_flight.count())

    @property
    def listeners(self) -> Listeners:
        """The methods of its observers by event, for what reports events of its own, as :func:`~llmdispatcher.run_tools` does."""
        return self._recorder.listeners

    @property
    def ledger(self) -> CallLog | None:
        """Where the calls are written down, if anywhere."""
        return self._recorder.ledger

    def close(self, *, drain: float = 0.0) -> None:
        """End live calls and streams, close pooled connections; idempotent. A closed dispatcher refuses further calls.

        With ``drain``, those under way have so many seconds to end by themselves; it returns as soon as they have. A server's
        shutdown is what that is for. Raises :class:`ConfigError` for a number that is not ≥ 0.
        """
        self._in_flight.close(drain)
        self._health.close()
        if self._registry is not None:
            self._registry.leave(self)
        if self.cache is not None:
            self.cache.close()
        self._attempt_loop.limits.close()
        if self._attempt_loop.spending is not None:
            self._attempt_loop.spending.close()
        for vendor in list(self._router.vendors.values()):
            vendor.close()
        self._recorder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Dispatcher(vendors={self.get_vendors()})"

    def _answers(self, request: Request) -> AttemptLoop | ResponseCacheLayer:
        """Whoever answers a request: the vendors, or the cache in front of them where there is one or the request wants one."""
        if self.config.cache is None and not (request.cache is not None and CacheControl.of(request.cache).enabled):
            return self._attempt_loop
        with self._lock:
            if self._cached is None:
                self._cached = self._with_cache(ResponseCache())
            return self._cached

    def _with_cache(self, settings: ResponseCache) -> ResponseCacheLayer:
        """The vendors behind a cache, which is the dispatcher's from now on."""
        self.cache = AnswerCache(settings, self._clock)
        return ResponseCacheLayer(self.cache, self._attempt_loop, self._router.vendors)

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline.after(self._first_timeout if timeout is None else timeout, clock=self._clock)

    def _begin(
        self, request: Request, timeout: float | None, cancel: Cancellation | None, *, streamed: bool, guarded: bool = False
    ) -> Call:
        check_request(request)
        if self.config.guards and not guarded:
            request = guards.before(self.config.guards, request)
        cancellation = Cancellation()
        if cancel is not None and not isinstance(cancel, Cancellation):
            raise ConfigError(f"cancel: {type(cancel).__name__} is not a Cancellation; make one and call its cancel()")
        if cancel is not None:
            cancellation.follow(cancel)
        seconds = self._first_timeout if timeout is None else timeout
        deadline = Deadline.after(seconds, clock=self._clock, cancellation=cancellation)
        report = partial(self._recorder.report, self._in_flight, cancellation, request)
        call = Call(request, deadline, report, streamed=streamed, guards=self.config.guards)
        call.auto_timeout = timeout is None and self._auto_timeout
        self._recorder.attach(call)
        self._in_flight.begin(cancellation)
        try:
            call.in_flight = self._in_flight
            if self._attempt_loop.spending is not None:
                call.budget = self._attempt_loop.spending.new_call_budget(request, call.origin)
            if self.config.health_interval is not None:
                self._health.begin()
            if self._registry is not None:
                self._registry.begin(self, deadline)
            if self._admission is not None:
                self._admission.enter(request, deadline)
            return call
        except BaseException as error:
            call.abandon(error)
            raise

    def _answer(
        self,
        request: Request,
        timeout: float | None,
        cancel: Cancellation | None = None,
        *,
        pinned: str | None = None,
        parse: bool = True,
    ) -> Response:
        """One call, or the calls that an answer in its ``response_format`` needs; without ``parse`` always one."""
        if parse and isinstance(request, Request) and request.response_format is not None:
            ask = partial(self._answer, cancel=cancel, pinned=pinned, parse=False)
            return structured.ask_and_parse(ask, request, timeout if timeout is not None else self._timeout, self._clock)
        call = self._begin(request, timeout, cancel, streamed=False)
        try:
            response = self._answers(call.request).send(call, self._route(call, pinned))
            if self.config.strict_cost:
                require_known_cost(response.usage, response)
            return response
        except BaseException as error:
            call.abandon(error)
            raise

    def _stream(
        self, request: Request, timeout: float | None, cancel: Cancellation | None, pinned: str | None = None
    ) -> StreamingResponse:
        call = self._begin(request, timeout, cancel, streamed=True)
        try:
            begin = partial(self._open, call, self._route(call, pinned))
            return streaming.start(call.deadline, partial(call.kept, begin))
        except BaseException as error:
            call.abandon(error)
            raise

    def _open(self, call: Call, route: Route) -> ChunkSource:
        """The stream of a call, up to its first output; runs in the stream's worker."""
        opened = self._answers(call.request).stream(call, route)
        return KnownCostStream(opened) if self.config.strict_cost else opened

    def _route(self, call: Call, pinned: str | None = None, *, vectors: EmbeddingRequest | None = None) -> Route:
        """Whom a call asks, in order; its timeout, where nobody has set one, is what they need.

        Raises :class:`ConfigError` for what a strategy or a vendor of the user's raised.
        """
        request = call.request
        try:
            moment = self._context(request, streamed=call.streamed, turn=next(self._turns), vectors=vectors is not None)
            if pinned is not None:
                candidates = self._router.pinned(request.model, pinned, request.profile, call.deadline)
            else:
                several = self._attempt_loop.hedges is not None or (
                    call.streamed and continuation_for(self._attempt_loop.continuation, request.continue_broken) is not None
                )  # for a hedge, or to go on, all targets must be known from the beginning
                candidates = self._router.candidates(request.model, request.profile, call.deadline, all_lists=several)
                if candidates.later:
                    call.more = partial(self._more, moment)
            route = self._plan(request, candidates, moment)
            if call.more is not None and route.steps and not self._fails_over(request):
                call.more = None
            self._set_timeout(call, route, vectors)
            call.plan = self._attempt_loop.plan(route, call.started, whole=False)
            return route
        except DispatchError:
            raise
        except Exception as foreign:  # noqa: BLE001 - a strategy or a vendor of the user's may raise anything
            failure = ConfigError(f"the request cannot be routed: a strategy or a vendor of yours raised {place_of(foreign)}")
        raise failure  # here, since the foreign exception may hold keys and prompts

    def _more(self, moment: RoutingContext, call: Call) -> Sequence[Target]:
        """Whom else a call may ask, by lists that are read now that nobody else is left; the call's plan has them from now on."""
        candidates = self._router.candidates(call.request.model, call.request.profile, call.deadline, all_lists=True)
        route = self._plan(call.request, candidates, moment)
        if call.plan is None:
            return route.targets
        before = call.plan.route
        asked = {target.key for target in before.targets}
        steps = [step for step in route.steps if step.target.key not in asked]
        call.plan = self._attempt_loop.plan(
            attrs.evolve(before, steps=(*before.steps, *steps), skipped=route.skipped), moment.now, whole=False
        )
        return [step.target for step in steps]

    def _set_timeout(self, call: Call, route: Route, vectors: EmbeddingRequest | None) -> None:
        """Give a call whose timeout nobody has set the time that its first two targets need."""
        if not call.auto_timeout:
            return
        targets = route.targets if call.more is None else (*route.targets, *route.targets[-1:])
        batches = (1, 1) if vectors is None else [self._batches(vectors, target) for target in targets[:2]]
        call.deadline.seconds = self._attempt_loop.shares.timeout(call.request, targets, batches)
        call.deadline.at = call.started + call.deadline.seconds

    def _batches(self, vectors: EmbeddingRequest, target: Target) -> int:
        """How many requests a target is sent for some vectors; a vendor of the user's own takes all at once."""
        return self._router.vendors[target.vendor].embedding_batches(vectors)

    def _preview(self, request: Request, *, streamed: bool, deadline: Deadline | None = None) -> Route:
        """The route that a request would have now; asks nobody without a deadline."""
        candidates = self._router.candidates(request.model, request.profile, deadline)
        return self._plan(request, candidates, self._context(request, streamed=streamed))

    def _plan(self, request: Request, candidates: Candidates, moment: RoutingContext) -> Route:
        forbidden = request.forbidden(candidates.targets)
        targets = [target for target in candidates.targets if target not in forbidden] if forbidden else candidates.targets
        route = plan(request, targets, self._preferences, moment, candidates.choice, reserve=candidates.reserve)
        forbidden += request.forbidden(route.targets)
        if forbidden:
            route = route.without(forbidden)
        if len(route.steps) > 1 and not moment.vectors:
            route = skip_unfit(request, route, self._router.vendors)
        if len(route.steps) > 1 and not self._fails_over(request):
            route = route.first_alone()
        if (alias := candidates.alias) is not None:
            route = attrs.evolve(route, alias=alias.name, profile=alias.profile, goes_on=alias.on)
        if not candidates.skipped:
            return route if route.steps else attrs.evolve(route, cause=candidates.cause, hint=candidates.hint)
        there = {step.target.vendor for step in route.steps}  # a rule may have named whom nothing else does
        skipped = [skip for skip in candidates.skipped if skip.vendor not in there]
        cause, hint = ("", "") if route.steps else (candidates.cause, candidates.hint)
        return attrs.evolve(route, skipped=(*skipped, *route.skipped), cause=cause, hint=hint)

    def _fails_over(self, request: Request) -> bool:
        """Whether others may be asked after the first target."""
        return self.config.failover if request.failover is None else request.failover

    def _context(self, request: Request, *, streamed: bool, turn: int = 0, vectors: bool = False) -> RoutingContext:
        now = self._clock.monotonic()
        models_at = partial(self._router.models_at, profile=request.profile)
        latencies = self._attempt_loop.latencies
        return RoutingContext(latencies=latencies, now=now, streamed=streamed, turn=turn, vectors=vectors, models_at=models_at)
