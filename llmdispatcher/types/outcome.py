"""What happened, as values: each attempt, and the one outcome of a call. Observers receive these."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import attrs

from .._text import room_logger
from ..errors import AllTargetsFailed, ConfigError, DispatchError, FailureClass, InvalidRequest, VendorUnavailable
from .message import Content, Message, ToolCall
from .response import CostDetails, Response, Usage, dollars_text, from_json, json_converter

if TYPE_CHECKING:
    from .request import Request

T = TypeVar("T")
logger = room_logger("types")


@attrs.frozen(kw_only=True, slots=False)
class AttemptRecord:
    """One vendor asked once. Times are seconds; ``started`` counts from the beginning of the call, ``latency`` is what it took.

    ``error`` is the class name of the failure, ``None`` for an answer, ``failure_class`` what it leaves open. ``retry`` marks a
    return to a target of this call, ``failover`` a first try at another one, ``hedge`` one that was asked beside another that was
    slow, ``continuation`` one that was to go on where a stream had broken off. ``sent`` is False only when the request certainly
    never reached the vendor. ``cost`` is in US dollars, where usage and price are known, of failures too, and ``cost_details`` what
    it was paid for; ``possibly_billed`` marks an attempt that may cost more than that: it was sent, and neither answered nor
    refused, or it was cut short. ``reserved`` is what budgets had set aside for it, where they did.

    Of attempts over the library's own transport: the bytes of HTTP in both directions; ``reused``, whether the connection had
    served before; ``resent``, how often the request was sent once more since the vendor had closed such a connection;
    ``key``, which of several keys was used last, counted from 1. ``None`` elsewhere. ``skipped`` counts the events of a stream that
    could not be read and are missing in the answer. ``dropped`` names the fields and parts of the request that the vendor was not
    sent, since its format or model has no place for them.

    Of a vendor that was not reached, or fell silent: the ``phase``, as in :class:`~llmdispatcher.DispatchError`, and the ``cause``,
    such as "127.0.0.1:9: connection refused while connecting", in the library's own words; it may name an address of yours.

    ``call_id`` and ``number`` (from 1, in the order of asking) name it for ever.
    """

    vendor: str
    model: str
    started: float
    latency: float
    first_token: float | None = None
    error: str | None = None
    failure_class: FailureClass | None = None
    status: int | None = None
    retry: bool = False
    failover: bool = False
    hedge: bool = False
    continuation: bool = False
    sent: bool | None = True
    possibly_billed: bool = False
    cost: Decimal | None = None
    cost_details: CostDetails | None = None
    reserved: Decimal | None = None
    bytes_sent: int | None = None
    bytes_received: int | None = None
    reused: bool | None = None
    resent: int = 0
    skipped: int = 0
    dropped: tuple[str, ...] = ()
    key: int | None = None
    call_id: str = ""
    number: int = 0
    phase: str | None = None
    cause: str | None = None

    @property
    def target(self) -> str:
        """``"vendor:model"``."""
        return f"{self.vendor}:{self.model}"

    def __str__(self) -> str:
        status = f" {self.status}" if self.status is not None else ""
        how = f"failed with {self.error}{status} ({self.failure_class})" if self.error is not None else "answered"
        told = [f"{self.target}  {how} after {self.latency:.3f} s"]
        told += [f"first token {self.first_token:.3f} s"] if self.first_token is not None else []
        told += [word for word in ("retry", "failover", "hedge", "continuation") if getattr(self, word)]
        told += [f"${self.cost:f}"] if self.cost is not None else []
        told += [f"${self.reserved:f} reserved"] if self.reserved is not None else []
        told += ["possibly billed"] if self.possibly_billed else []
        if self.bytes_sent is not None:
            told.append(f"{self.bytes_sent:,} bytes out, {self.bytes_received or 0:,} in")
        told += [f"sent again on a new connection ({self.resent})"] if self.resent else []
        told += [f"{self.skipped} events could not be read"] if self.skipped else []
        told += [f"without {', '.join(self.dropped)}"] if self.dropped else []
        told += [f"key {self.key}"] if self.key is not None else []
        return ", ".join(told)

    def as_dict(self) -> dict[str, Any]:
        """Return the record for JSON: US dollars as texts, ``target`` besides."""
        money = {name: f"{amount:f}" for name in ("cost", "reserved") if (amount := getattr(self, name)) is not None}
        details = self.cost_details.as_dict() if self.cost_details is not None else None
        return {"target": self.target, **attrs.asdict(self, recurse=False), **money, "cost_details": details}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> AttemptRecord:
        """Read what :meth:`as_dict` gave. Raises :class:`InvalidRequest` with the paths of the mistakes."""
        own = {name: value for name, value in from_json(fields, dict[str, Any], "AttemptRecord").items() if name != "target"}
        record: AttemptRecord = from_json(own, cls, "AttemptRecord")
        return record


def failure_fields(error: DispatchError) -> Mapping[str, Any]:
    """The fields of a record that describe an error."""
    return {
        "error": type(error).__name__,
        "failure_class": error.failure_class,
        "status": error.status,
        "sent": error.sent,
        "possibly_billed": error.possibly_billed,
        "phase": error.phase,
        "cause": error.message.partition(";")[0] if _is_unreached(error) else None,
    }


def _is_unreached(error: DispatchError) -> bool:
    """Whether the words are the transport's own, since no vendor has said anything."""
    return isinstance(error, VendorUnavailable) and error.phase is not None and error.status is None


class CallOrigin(NamedTuple):
    """The caller of a call, by the fields of :class:`Outcome`."""

    origin: str | None
    id_at_origin: str | None
    user: str | None
    alias: str | None
    profile: str | None


@attrs.frozen(kw_only=True, slots=False)
class Outcome:
    """The end of one call; every call has exactly one. ``vendor`` is the one that answered or began to, ``None`` if none did.

    ``error`` is the exception that the caller gets, the same object; the calls that share a stream have one each.
    ``cached`` marks an answer from memory: nobody was asked, its tokens are those of the first time, its cost is 0.
    ``call_id`` is 32 hex digits that sort by the time when the call began; its first 16 are that time in microseconds since the
    epoch. ``origin``, ``id_at_origin``, ``user`` and ``metadata`` are the request's, ``alias`` is the pool or
    alias that it named, and ``profile`` the lockfile's profile that it was found in,
    or for a model's own name the one that the request or the configuration names.
    """

    vendor: str | None
    model: str
    error: DispatchError | None
    attempts: tuple[AttemptRecord, ...]
    usage: Usage | None
    latency: float
    first_token: float | None
    streamed: bool
    cached: bool = False
    call_id: str = ""
    origin: str | None = None
    id_at_origin: str | None = None
    user: str | None = None
    alias: str | None = None
    profile: str | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    @property
    def cost(self) -> Decimal | None:
        """US dollars, where they are known."""
        return self.usage.cost if self.usage is not None else None

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome for JSON, ``cost`` besides; US dollars are texts.

        ``error`` has its class as ``type``, its words and its facts, without what a model said. Of ``metadata``, what JSON cannot
        hold is a text.
        """
        usage = json_converter().unstructure(self.usage, Usage) if self.usage is not None else None
        return {
            **attrs.asdict(self, recurse=False),
            "error": _error_as_dict(self.error) if self.error is not None else None,
            "attempts": [attempt.as_dict() for attempt in self.attempts],
            "usage": usage,
            "cost": f"{self.cost:f}" if self.cost is not None else None,
            "metadata": json.loads(json.dumps(dict(self.metadata), default=str, skipkeys=True)),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Outcome:
        """Read what :meth:`as_dict` gave. Raises :class:`InvalidRequest` with the paths of the mistakes."""
        own = from_json(fields, dict[str, Any], "Outcome")
        error, attempts = own.pop("error", None), from_json(own.pop("attempts", []), list[Any], "Outcome", "outcome.attempts")
        own.pop("cost", None)
        read: Outcome = from_json({**own, "error": None, "attempts": []}, cls, "Outcome")
        return attrs.evolve(
            read,
            error=_error_from_dict(error, "outcome.error") if error is not None else None,
            attempts=tuple([AttemptRecord.from_dict(one) for one in attempts]),
        )


def _error_as_dict(error: DispatchError) -> dict[str, Any]:
    """The class, the words and the facts of an error; of the facts those that JSON can hold and that are no answer of a model."""
    told: dict[str, Any] = {"type": type(error).__name__, "message": error.message, "failure_class": str(error.failure_class)}
    for name in _facts_of(type(error)):
        value = getattr(error, name)
        if isinstance(value, Decimal):
            value = f"{value:f}"
        told |= {} if value is None else {name: value.isoformat() if isinstance(value, datetime) else value}
    if isinstance(error, AllTargetsFailed):
        told["failures"] = [_error_as_dict(failure) for failure in error.failures]
    return told


def _error_from_dict(given: Any, path: str) -> DispatchError:
    fields: dict[str, Any] = from_json(given, dict[str, Any], "Outcome", path)
    name = fields.get("type")
    kind = next((one for one in _classes(DispatchError) if one.__name__ == name), None)
    if kind is None or not isinstance(fields.get("message"), str):
        raise InvalidRequest(f"{path}: {name!r} with its message is no error of this library; give what Outcome.as_dict() gave")
    error = kind(fields["message"])
    for fact, hint in _facts_of(kind).items():
        if (value := fields.get(fact)) is not None:
            setattr(error, fact, from_json(value, _FACTS[hint.removesuffix(" | None")], "Outcome", f"{path}.{fact}"))
    if isinstance(error, AllTargetsFailed):
        failures = from_json(fields.get("failures") or [], list[Any], "Outcome", f"{path}.failures")
        error.failures = tuple([_error_from_dict(failure, f"{path}.failures[{place}]") for place, failure in enumerate(failures)])
    return error


def _classes(kind: type[DispatchError]) -> Iterator[type[DispatchError]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from _classes(inner)


_FACTS: Mapping[str, Any] = {
    **{kind.__name__: kind for kind in (str, int, float, bool, Decimal, datetime)},
    "tuple[str, ...]": tuple[str, ...],
}
"""The types of the facts of errors, by their annotations."""
_NO_FACTS = ("text", "partial", "response", "run", "trace", "failures", "retry_here", "try_elsewhere")


def _facts_of(kind: type[DispatchError]) -> dict[str, str]:
    """The facts of a class of errors that JSON can hold, with their annotations."""
    found = {name: str(hint) for one in reversed(kind.__mro__) for name, hint in getattr(one, "__annotations__", {}).items()}
    return {name: hint for name, hint in found.items() if name[0] != "_" and name not in _NO_FACTS}


@attrs.frozen(kw_only=True)
class CallStart:
    """A call that begins; its :class:`Outcome` has the same ``call_id``.

    ``request`` is what is asked for, as guards have left it; of :meth:`Dispatcher.embed` a request without output that has the
    texts. ``timeout`` is in seconds, ``None`` where the call has no limit, or one that its route decides. ``started_at`` is UTC.
    """

    call_id: str
    request: Request
    streamed: bool
    started_at: datetime
    timeout: float | None = None
    origin: str | None = None


@attrs.frozen(kw_only=True)
class AttemptStart:
    """A vendor that is about to be asked; nothing has been sent yet. Its :class:`AttemptRecord` has the same id and number.

    ``kind`` is the vendor's name in the catalog, ``None`` for one of the user's own. ``started`` is in seconds from the beginning
    of the call. What an observer puts into ``headers`` is sent along, such as a ``traceparent``, unless the vendor's own headers
    have the name already; a vendor of the user's own sends nothing of it.
    """

    call_id: str
    number: int
    vendor: str
    model: str
    started: float
    kind: str | None = None
    retry: bool = False
    failover: bool = False
    hedge: bool = False
    headers: dict[str, str] = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True)
class LimitWarning:
    """So much of a budget or a rate limit is used that its ``warn_at`` is reached; told once in each period.

    ``source`` is ``"budget"`` or ``"rate_limit"``, ``name`` the budget's name, or ``"vendor"`` or ``"vendor:model"`` (and
    ``":key1"`` where keys are counted apart); ``share`` is whose account it is, empty for all together. ``unit`` is ``"usd"``,
    ``"requests"``, ``"tokens"``, ``"input_tokens"`` or ``"output_tokens"``, in which ``limit`` and ``used`` count. ``period`` is a
    name ("day", "minute") or a length ("30d"); ``ends`` is when it ends, aware, UTC, ``None`` for one that slides or has no end.
    ``str()`` is for people.
    """

    source: str
    name: str
    unit: str
    limit: Decimal | int
    used: Decimal | int
    period: str
    share: str = ""
    ends: datetime | None = None

    def __str__(self) -> str:
        what = "rate limit" if self.source == "rate_limit" else self.source
        whose = f" of {self.share!r}" if self.share else ""
        amounts = f"{self.used:,} of {self.limit:,} {self.unit}"
        if self.unit == "usd":
            amounts = f"${dollars_text(Decimal(self.used))} of ${dollars_text(Decimal(self.limit))}"
        until = f", until {self.ends:%Y-%m-%d %H:%M} UTC" if self.ends is not None else ""
        within = f"this {self.period}" if self.ends is not None else f"in the last {self.period}"
        return f"{what} {self.name!r}{whose}: {amounts} are used {'in all' if self.period == 'total' else within}{until}"


@attrs.frozen(kw_only=True)
class CallContent:
    """What was said in one call that has ended; its :class:`Outcome`, which observers hear of next, has the same ``call_id``.

    ``request`` is what was asked, as guards have left it; of :meth:`Dispatcher.embed` a request without output that has the texts.
    ``finish_reasons`` has one reason for each choice of the answer, ``response_id`` is the vendor's name for it.
    """

    call_id: str
    request: Request = attrs.field(repr=False)
    error: DispatchError | None = None
    origin: str | None = None
    finish_reasons: tuple[str, ...] = ()
    response_id: str | None = None
    _answer: Response | None = attrs.field(default=None, repr=False)
    _review: Callable[[Response], Response] | None = attrs.field(default=None, repr=False)
    _mask: Callable[[str], str] | None = attrs.field(default=None, repr=False)

    def response(self) -> Response | None:
        """Return the answer, of a stream that broke off what had come; ``None`` for vectors and where nothing came.

        It is as the dispatcher's guards let it in: they are called for that. Where one refuses it, it is ``None``, too.
        """
        if self._answer is None or self._review is None:
            return self._answer
        try:
            return self._review(self._answer)
        except Exception:  # noqa: BLE001 - a guard may raise anything; what it does not let in is told to nobody
            return None

    def masked(self, text: str) -> str:
        """Return a text with three stars in place of keys that the dispatcher's vendors have used."""
        return self._mask(text) if self._mask is not None else text


@attrs.frozen(kw_only=True)
class ToolStart:
    """A tool that :func:`run_tools` is about to call, in this thread; its :class:`ToolResult` has the same ``call``.

    ``description`` is what the model was told of the tool, ``origin`` that of the request or of the configuration.
    """

    call: ToolCall
    description: str | None = None
    origin: str | None = None
    _mask: Callable[[str], str] | None = attrs.field(default=None, repr=False)

    def masked(self, text: str) -> str:
        """Return a text with three stars in place of keys that the dispatcher's vendors have used."""
        return self._mask(text) if self._mask is not None else text


@attrs.frozen(kw_only=True)
class ToolResult:
    """One call of a tool and what came of it; ``content`` is what the model is told, ``latency`` seconds."""

    call: ToolCall
    content: Content
    is_error: bool = False
    latency: float = 0.0

    @property
    def message(self) -> Message:
        """The turn that answers the call; it names the function only where the call has no id to be known by."""
        name = self.call.name if self.call.id is None else None
        return Message("tool", self.content, name=name, tool_call_id=self.call.id, is_error=self.is_error or None)


class Observer:
    """Hears of calls, attempts and tools, when they begin and how they end; override what you need.

    Each method is called in the thread of the call, of its stream, or of the tool (:meth:`on_warning` also in that of the budgets);
    an exception is logged and does not affect the call.
    """

    def on_call_start(self, start: CallStart) -> None:
        """A call begins."""

    def on_attempt_start(self, start: AttemptStart) -> None:
        """A vendor is about to be asked."""

    def on_attempt(self, record: AttemptRecord) -> None:
        """One vendor was asked, and this is how it went."""

    def on_content(self, content: CallContent) -> None:
        """A call has ended, and this was said in it; :meth:`on_outcome` comes next."""

    def on_outcome(self, outcome: Outcome) -> None:
        """A call has ended."""

    def on_warning(self, warning: LimitWarning) -> None:
        """Most of a budget or a rate limit is used, as its ``warn_at`` says."""

    def on_tool_start(self, start: ToolStart) -> None:
        """A tool is about to be called, in this thread."""

    def on_tool(self, result: ToolResult) -> None:
        """A tool was called, in this thread, and this came of it."""


ObserverLike = Callable[[Outcome], None] | Observer
"""A function that is called with every outcome, an :class:`Observer`, or any object with one of its methods."""


class Listeners(NamedTuple):
    """The functions that observers have for each event."""

    call_start: tuple[Callable[[CallStart], None], ...]
    attempt_start: tuple[Callable[[AttemptStart], None], ...]
    attempt: tuple[Callable[[AttemptRecord], None], ...]
    outcome: tuple[Callable[[Outcome], None], ...]
    warning: tuple[Callable[[LimitWarning], None], ...] = ()
    content: tuple[Callable[[CallContent], None], ...] = ()
    tool_start: tuple[Callable[[ToolStart], None], ...] = ()
    tool: tuple[Callable[[ToolResult], None], ...] = ()
    mask: Callable[[str], str] | None = None
    """Masks the keys of those who report."""


_METHODS = (
    *("on_call_start", "on_attempt_start", "on_attempt", "on_outcome"),
    *("on_warning", "on_content", "on_tool_start", "on_tool"),
)
_OUTCOME = _METHODS.index("on_outcome")


def split_observers(observers: Iterable[ObserverLike]) -> Listeners:
    """Return the functions of observers by event. Raises :class:`ConfigError` for an observer without any."""
    given: Any = observers
    if not isinstance(given, Iterable):
        raise ConfigError(f"observers: {type(given).__name__} is not a list of observers; give [observer, ...]")
    found: list[list[Any]] = [[] for _ in _METHODS]
    for number, observer in enumerate(observers):
        if isinstance(observer, type):
            raise ConfigError(f"observers[{number}]: {observer.__name__} is a class; give an object of it: {observer.__name__}()")
        methods = [getattr(observer, name, None) for name in _METHODS]
        if not any(map(callable, methods)):
            if not callable(observer):
                told = " nor ".join([f"{name}()" for name in _METHODS])
                raise ConfigError(f"observers[{number}]: {type(observer).__name__} is no function, and has neither {told}")
            methods = [observer if place == _OUTCOME else None for place in range(len(_METHODS))]
        for place, (name, method) in enumerate(zip(_METHODS, methods, strict=True)):
            if callable(method) and getattr(method, "__func__", None) is not vars(Observer)[name]:  # which does nothing
                found[place].append(method)
    methods_by_event: Any = map(tuple, found)
    return Listeners(*methods_by_event)


def tell(observers: Iterable[Callable[[T], None]], news: T) -> None:
    """Call every observer; what one raises is logged and does not affect the call.

    ``SystemExit`` passes in the main thread alone, where a signal's handler may have raised it to end the process.
    """
    for observer in observers:
        try:
            observer(news)
        except (Exception, SystemExit) as failure:  # it may raise anything
            if isinstance(failure, SystemExit) and threading.current_thread() is threading.main_thread():
                raise
            logger.exception("an observer failed; the call is not affected")
