"""Dispatcher: the one object that a user holds. Two verbs, one conductor; everything else is asked of it here."""

from __future__ import annotations

import itertools
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Literal, Self, Unpack, overload

import attrs

from . import catalog, streaming, structured, tool_loop
from .attempt import Call
from .cancellation import Cancellation
from .clock import SYSTEM_CLOCK, Clock, Deadline
from .conductor import Conductor
from .config import Config
from .errors import ConfigError, DispatchError, InvalidRequest
from .fanout import fan_out
from .locks import new_lock
from .outcome import Observer, Outcome
from .policy import checks
from .policy.balance import Balancer
from .policy.breaker import Breakers
from .policy.budget import Budgets
from .policy.limits import RateLimit, RateLimitStatus
from .policy.route import MISSING, NO_MODEL, RULE, Moment, Route, Skip, plan, split_ref
from .policy.target import Target
from .stats import Stats, StatsBook
from .streaming import StreamingResponse
from .types import Request, Response
from .vendors import Vendor, from_environment

logger = logging.getLogger(__name__)

_REMEMBERED_MODELS = 1024
_MEMBERS = ("name", "capabilities", "send", "stream", "is_available")


@attrs.frozen
class _Choice:
    """Where a model name can be asked, and which vendors it cannot be asked of; the same until a vendor is registered."""

    model: str
    targets: tuple[Target, ...]
    skipped: tuple[Skip, ...]


class Dispatcher:
    """Sends requests to whichever registered vendor fits; safe to share between threads and after a fork.

    ``observers`` hear the :class:`~llmdispatcher.outcome.Outcome` of every call; one that raises is logged and felt by
    nobody. No thread is started and nothing is opened before the first call.
    """

    def __init__(
        self, config: Config | Mapping[str, Any] | None = None, *, observers: Sequence[Observer] = (), clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.config = checks.build(Config, {} if config is None else config, "config")
        self._observers = tuple(observers)
        self._clock = clock
        balancer = Balancer(self.config.balance, clock.random) if self.config.balance is not None else None
        self._preferences = self.config.preferences(balancer)
        self._turns = itertools.count()
        self._book = StatsBook()
        self._lock = new_lock()
        self._vendors: dict[str, Vendor] = {}
        self._choices: dict[str, _Choice] = {}
        self._conductor = Conductor(
            self._vendors,
            self.config.retry_policy,
            Breakers(self.config.circuit_breaker),
            Budgets(self.config.retry_budget),
            balancer,
        )
        self._live: weakref.WeakSet[Cancellation] = weakref.WeakSet()
        self._closed = False

    @classmethod
    def from_env(cls, config: Config | Mapping[str, Any] | None = None, **settings: Any) -> Self:
        """A dispatcher with every vendor of the catalog whose key is in the environment."""
        dispatcher = cls(config, **settings)
        for found in from_environment():
            dispatcher.register_vendor(found)
        return dispatcher

    def register_vendor(self, vendor: Vendor) -> None:
        """Add a vendor; its name must be new. Raises :class:`ConfigError` that names a member it lacks."""
        for member in _MEMBERS:
            if not hasattr(vendor, member):
                raise ConfigError(f"register_vendor: {type(vendor).__name__} has no {member!r}; a vendor has {', '.join(_MEMBERS)}")
        if not isinstance(vendor.name, str) or not vendor.name.strip():
            raise ConfigError(f"register_vendor: the name {vendor.name!r} is not a non-empty string")
        with self._lock:
            if any(catalog.canonical(name) == catalog.canonical(vendor.name) for name in self._vendors):
                raise ConfigError(f"register_vendor: {vendor.name!r} is registered already; give the second one another name=")
            self._vendors[vendor.name] = vendor
            self._choices = {}
        limit = getattr(vendor, "rate_limit", None)
        if isinstance(limit, RateLimit):
            self._conductor.limits.set(vendor.name, limit)

    def get_vendors(self) -> list[str]:
        """The names of the registered vendors, in order of registration."""
        return list(self._vendors)

    def get_vendor(self, name: str) -> Vendor | None:
        """The vendor of that name, or ``None``."""
        return self._vendors.get(name)

    def send(self, request: Request, *, timeout: float | None = None, cancel: Cancellation | None = None) -> Response:
        """Answer a request; blocks for at most ``timeout`` seconds (the configuration's, where not given).

        Raises a :class:`DispatchError`: the vendor's own failure, or :class:`AllTargetsFailed` where several were asked, or
        :class:`MalformedReply` for an answer that does not have the form of ``response_format``.
        """
        return self._answer(self._routed, request, timeout, cancel)

    def send_streaming(
        self, request: Request, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> StreamingResponse:
        """Answer a request piece by piece; returns at once, vendor trouble is raised by reading the stream."""
        call = self._begin(request, timeout, cancel, streamed=True)
        return self._stream(call, self._routed(call))

    def send_to_vendor(
        self, vendor: str, request: Request, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> Response:
        """Answer a request by this vendor and no other, with the same retries."""
        self._known(vendor)
        return self._answer(partial(self._pinned, name=vendor), request, timeout, cancel)

    def send_streaming_to_vendor(
        self, vendor: str, request: Request, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> StreamingResponse:
        """Answer piece by piece by this vendor and no other, with the same retries before the first output."""
        self._known(vendor)
        call = self._begin(request, timeout, cancel, streamed=True)
        return self._stream(call, self._pinned(call, vendor))

    @overload
    def map(
        self,
        requests: Iterable[Request],
        *,
        max_workers: int = ...,
        timeout: float | None = ...,
        return_errors: Literal[False] = ...,
    ) -> Iterator[Response]: ...

    @overload
    def map(
        self, requests: Iterable[Request], *, max_workers: int = ..., timeout: float | None = ..., return_errors: Literal[True]
    ) -> Iterator[Response | DispatchError]: ...

    def map(
        self, requests: Iterable[Request], *, max_workers: int = 8, timeout: float | None = None, return_errors: bool = False
    ) -> Iterator[Response | DispatchError]:
        """Answer many requests with ``max_workers`` threads; yields results in the order of the requests, as they become ready.

        ``requests`` may be endless: no more than a few per worker are taken in advance, by the caller's thread, so it must not
        wait for an answer that it is to yield itself. The first error is raised, or
        yielded in its place with ``return_errors=True``. ``timeout`` is seconds for each call.
        """
        return fan_out(partial(self.send, timeout=timeout), requests, max_workers, return_errors=return_errors)

    def run_tools(
        self, request: Request, functions: tool_loop.Functions = (), **settings: Unpack[tool_loop.RunSettings]
    ) -> tool_loop.ToolRun:
        """Answer a request with Python functions as its tools; see :func:`llmdispatcher.run_tools`."""
        return tool_loop.run_tools(self, request, functions, clock=self._clock, **settings)

    def explain(self, request: Request, *, streaming: bool = False) -> Route:
        """Which targets would be asked, in which order, and why the others would not; ``str()`` is for people. Sends nothing."""
        return self._route(request, streamed=streaming)

    def get_stats(self) -> Stats:
        """The counts of all calls that have ended, as of one moment."""
        return self._book.snapshot()

    def get_rate_limit_status(self, vendor: str, model: str = "") -> RateLimitStatus:
        """What is left of a vendor's limits in this minute; name the model where each has limits of its own."""
        return self._conductor.limits.status(Target(vendor=self._known(vendor).name, model=model), self._clock.monotonic())

    def close(self) -> None:
        """End live calls and streams, close pooled connections; idempotent. A closed dispatcher refuses further calls."""
        self._closed = True
        for cancellation in list(self._live):
            cancellation.cancel("the dispatcher was closed")
        for vendor in list(self._vendors.values()):
            close = getattr(vendor, "close", None)
            if close is not None:
                close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Dispatcher(vendors={self.get_vendors()})"

    def _begin(self, request: Request, timeout: float | None, cancel: Cancellation | None, *, streamed: bool) -> Call:
        if self._closed:
            raise ConfigError("the dispatcher is closed; make a new one")
        if not isinstance(request, Request):
            raise InvalidRequest(f"request: {type(request).__name__} is not a Request; use Request(model=..., messages=...)")
        cancellation = Cancellation()
        if cancel is not None and not isinstance(cancel, Cancellation):
            raise ConfigError(f"cancel: {type(cancel).__name__} is not a Cancellation; make one and call its cancel()")
        if cancel is not None:
            cancellation.follow(cancel)
        self._live.add(cancellation)
        deadline = Deadline.after(
            timeout if timeout is not None else self.config.timeout, clock=self._clock, cancellation=cancellation
        )
        return Call(request, deadline, self._report, streamed=streamed)

    def _answer(
        self, route: Callable[[Call], Route], request: Request, timeout: float | None, cancel: Cancellation | None
    ) -> Response:
        def ask(request: Request, seconds: float | None) -> Response:
            call = self._begin(request, seconds, cancel, streamed=False)
            return self._conductor.send(call, route(call))

        if not isinstance(request, Request) or request.response_format is None:
            return ask(request, timeout)
        seconds = timeout if timeout is not None else self.config.timeout
        return structured.answered(ask, request, seconds, self._clock)

    def _stream(self, call: Call, route: Route) -> StreamingResponse:
        try:
            return streaming.start(call.deadline, partial(self._conductor.stream, call, route))
        except DispatchError as error:
            call.fail(error)
            raise

    def _routed(self, call: Call) -> Route:
        return self._route(call.request, streamed=call.streamed, turn=next(self._turns))

    def _route(self, request: Request, *, streamed: bool, turn: int = 0) -> Route:
        choice = self._choices.get(request.model) or self._choose(request.model)
        asleep = [target for target in choice.targets if not _awake(self._vendors[target.vendor])]
        targets = [target for target in choice.targets if target not in asleep] if asleep else choice.targets
        route = self._plan(request, targets, streamed=streamed, turn=turn)
        skips = (
            *choice.skipped,
            *(_asleep(target.vendor, self._vendors[target.vendor]) for target in asleep),
        )
        return attrs.evolve(route, skipped=(*skips, *route.skipped)) if skips else route

    def _plan(self, request: Request, targets: Iterable[Target], *, streamed: bool, turn: int = 0) -> Route:
        moment = Moment(latencies=self._conductor.latencies, now=self._clock.monotonic(), streamed=streamed, turn=turn)
        return plan(request, targets, self._preferences, moment)

    def _choose(self, model: str) -> _Choice:
        """Who can be asked for a model name; remembered, so that vendors without it cost nothing per call."""
        choices = self._choices
        pinned, bare = split_ref(model, list(self._vendors))
        targets, skipped = [], []
        for name, vendor in list(self._vendors.items()):
            theirs = model_at(vendor, bare)
            if pinned is not None and name != pinned:
                skipped.append(Skip(name, f"the request names {pinned}"))
            elif theirs is None:
                skipped.append(Skip(name, f"{NO_MODEL} {bare}; give it a model_map or a default_model"))
            else:
                targets.append(target_of(name, vendor, theirs))
        for field in ("default_vendor", "fallback_vendor"):
            wanted = getattr(self.config, field)
            if wanted is not None and catalog.canonical(wanted) not in map(catalog.canonical, self._vendors):
                skipped.append(Skip(wanted, f"the {field} is not registered; there are {', '.join(self._vendors) or 'none'}", RULE))
                logger.warning("%s: %r is not registered", field, wanted)
        choice = _Choice(bare, tuple(targets), tuple(skipped))
        with self._lock:
            if self._choices is choices:  # else a vendor was registered meanwhile, of which this choice knows nothing
                if len(choices) >= _REMEMBERED_MODELS:
                    self._choices = choices = {}
                choices[model] = choice
        return choice

    def _known(self, name: str) -> Vendor:
        vendor = self._vendors.get(name)
        if vendor is None:
            raise ConfigError(f"vendor: {name!r} is not registered; there are {', '.join(self._vendors) or 'none'}")
        return vendor

    def _pinned(self, call: Call, name: str) -> Route:
        vendor = self._known(name)
        _, bare = split_ref(call.request.model, (name,))
        target = target_of(name, vendor, model_at(vendor, bare) or bare)
        return self._plan(call.request, (target,), streamed=call.streamed)

    def _report(self, outcome: Outcome) -> None:
        self._book.record(outcome)
        for observer in self._observers:
            try:
                observer(outcome)
            except Exception:  # whatever an observer does, the caller's answer is not its business
                logger.exception("an observer failed; the call is not affected")


def model_at(vendor: Vendor, model: str) -> str | None:
    """The vendor's own name for a model, by its ``model_for`` or by the globs of its capabilities; ``None`` where it has none."""
    own = getattr(vendor, "model_for", None)
    if own is not None:
        name: str | None = own(model)
        return name
    listed = vendor.capabilities.models
    return model if not listed or any(fnmatchcase(model, pattern) for pattern in listed) else None


def target_of(name: str, vendor: Vendor, model: str) -> Target:
    """The pair of vendor and model, with what the catalog or the vendor itself says of it."""
    kind = getattr(vendor, "kind", None)
    facts = catalog.model_facts(kind, model) if kind else None
    able = vendor.capabilities if facts is None else None
    return Target(
        vendor=name,
        model=model,
        kind=kind,
        price=facts.price if facts is not None else None,
        context_window=facts.context_window if facts is not None else (0 if kind or able is None else able.context_window),
        supports_streaming=able.supports_streaming if able is not None else True,
        supports_vision=facts.supports_vision if facts is not None else (able is None or bool(kind) or able.supports_vision),
        supports_tools=facts.supports_tools if facts is not None else (able is None or able.supports_tools),
    )


def _asleep(name: str, vendor: Vendor) -> Skip:
    tell = getattr(vendor, "missing", None)
    lack = tell() if tell is not None else None
    return Skip(name, "is not available: it says so") if lack is None else Skip(name, lack, MISSING)


def _awake(vendor: Vendor) -> bool:
    try:
        return vendor.is_available()
    except Exception:  # a vendor that cannot even say is not available
        logger.warning("vendor %s could not say whether it is available", vendor.name, exc_info=True)
        return False
