"""The exceptions of the library. Each class says whether the same target, or another one, may be asked again.

``retry_here`` and ``try_elsewhere`` of these classes are the complete retry table of the library; the attempt loop only reads them.
An error carries facts (vendor, status, retry_after, ...) and a text that says what to do. It never carries a key, a prompt, or a
foreign exception that holds headers.
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from ._text import escaped

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal


_FACTS = ("vendor", "model", "status", "code", "request_id", "retry_after", "attempts", "phase", "sent", "remedy")
ANOTHER_VENDOR = "name another vendor as fallback_vendor"
"""The end of a remedy for trouble that another vendor would not have."""
_SAID = ("message", "code", "request_id")
"""The facts that are a vendor's own words."""


class FailureClass(enum.StrEnum):
    """What a failure leaves open: whether the vendor has the request, and whether it may have done the work."""

    UNSENT = "unsent"
    """The request certainly never reached the vendor: anybody may be asked again, nothing was billed."""
    AMBIGUOUS = "ambiguous"
    """It was sent, and no answer was heard, or none that could be read; it may be billed, and is asked again only by policy."""
    REJECTED = "rejected"
    """The vendor answered that it will not, or cannot."""
    COMMITTED = "committed"
    """Part of an answer was delivered: nothing is asked again behind the reader's back."""
    FINAL = "final"
    """Asking again does not help: the caller's own end, the caller's mistake, a certificate that does not verify."""


class DispatchError(Exception):
    """Any failure of the library; catch this to catch them all.

    Facts, each ``None`` where unknown:

    - ``vendor``, ``model``: who was asked.
    - ``status``: the HTTP status (for an error inside a 200, the status that the error stands for).
    - ``code``: the vendor's own error code or type, as it sent it.
    - ``request_id``: the vendor's id of the failed request, to quote to its support.
    - ``retry_after``: seconds after which the vendor wants to be asked again.
    - ``attempts``: how many times a vendor was asked for this call.
    - ``phase``: where a transport failed: ``"dns"``, ``"connect"``, ``"tls"``, ``"send"``, ``"first_byte"``, ``"idle"``,
      ``"total"``, ``"body"``, ``"pool"``.
    - ``sent``: whether the request may have reached the vendor; ``False`` is a promise that it did not.
    - ``remedy``: what to do about it, where ``message`` is the vendor's own text.
    """

    retry_here: bool = False
    """Whether the same target may succeed when asked again."""
    try_elsewhere: bool = False
    """Whether another target may succeed where this one failed."""

    vendor: str | None = None
    model: str | None = None
    status: int | None = None
    code: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    attempts: int | None = None
    phase: str | None = None
    sent: bool | None = None
    remedy: str | None = None

    trace: Any = None  # a Trace; Any here and below, since these values live in higher rooms and the errors import none
    """The call that ended so: who could be asked, and each attempt; ``None`` where no call had begun."""

    _means: ClassVar[FailureClass] = FailureClass.FINAL
    """The failure class where the facts tell no better."""
    _kept: ClassVar[str] = ""
    """What its text may hold of line feeds; the words of vendors and models have none, which would forge lines of a log."""
    _whole: Mapping[str, tuple[str, int]] = {}
    """What :meth:`shortened` has cut, as it was, and to how many characters."""
    _carried: ClassVar[tuple[str, ...]] = _FACTS
    """The facts that it may be made with: those of all errors, and what its own class declares."""

    def __init__(
        self,
        message: str,
        *,
        retry_here: bool | None = None,
        try_elsewhere: bool | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        if retry_here is not None:
            self.retry_here = retry_here
        if try_elsewhere is not None:
            self.try_elsewhere = try_elsewhere
        self._set(facts)

    def __init_subclass__(cls) -> None:
        own = [name for name in cls.__annotations__ if name not in DispatchError.__annotations__ and not name.startswith("_")]
        cls._carried = tuple(dict.fromkeys([*cls._carried, *own]))

    def _set(self, facts: dict[str, Any]) -> None:
        unknown = facts.keys() - set(self._carried)
        if unknown:
            raise TypeError(f"unknown facts {sorted(unknown)}; an error carries {', '.join(self._carried)}")
        self.__dict__.update(facts)

    @property
    def failure_class(self) -> FailureClass:
        """What this failure leaves open; of several facts the one that allows least counts."""
        means = self._means
        if means is FailureClass.FINAL:
            return means
        if self.phase == "tls" and not self.retry_here:
            return FailureClass.FINAL
        if self.sent is False:
            return FailureClass.UNSENT
        if self.sent and means is FailureClass.UNSENT:
            return FailureClass.AMBIGUOUS
        return FailureClass.REJECTED if self.status is not None else means

    @property
    def possibly_billed(self) -> bool:
        """Whether the vendor may charge for the request although no whole answer came; where nothing is known, it may."""
        if self.sent is False:
            return False
        stopped = isinstance(self, Cancelled | DeadlineExceeded) or type(self) is DispatchError
        return stopped or self.failure_class in (FailureClass.AMBIGUOUS, FailureClass.COMMITTED)

    def with_facts(self, **facts: Any) -> Self:
        """Fill in facts that are still unknown and return this same error; known facts stay."""
        self._set({name: value for name, value in facts.items() if getattr(self, name, None) is None})
        return self

    def shortened(self, most: int) -> Self:
        """Cut ``message``, ``code`` and ``request_id`` to so many characters; :meth:`masked` still sees them whole."""
        for name in _SAID:
            text = getattr(self, name)
            if text is not None and len(text) > most:
                self._whole = {**self._whole, name: (text, most)}
                setattr(self, name, text[:most])
        self.args = (self.message,)
        return self

    def masked(self, mask: Callable[[str], str]) -> Self:
        """Put ``mask`` of what a vendor said in the place of that, before it is cut; a key cut in two could not be found."""
        whole = self.__dict__.pop("_whole", {})
        for name in _SAID:
            text, most = whole.get(name) or (getattr(self, name), None)
            if text is not None:
                setattr(self, name, mask(text)[:most])
        self.args = (self.message,)
        return self

    def __str__(self) -> str:
        where = ":".join(part for part in (self.vendor, self.model) if part)
        text = f"{where}: {self.message}" if where else self.message
        return escaped(f"{text} ({self.remedy})" if self.remedy else text, keep=self._kept)

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "_whole"}
        return (_rebuild, (type(self), self.message, state))


def _rebuild(kind: type[DispatchError], message: str, state: dict[str, Any]) -> DispatchError:
    error = kind.__new__(kind, message)
    error.args = (message,)
    error.__dict__.update(state)
    return error


_E = TypeVar("_E", bound=BaseException)


def to_raise(kept: _E) -> _E:
    """Return an exception to raise in place of one that is kept and may be raised again.

    Each ``raise`` adds its frames to the traceback of the exception, so one that is raised again and again grows without end, and
    keeps alive what the frames hold. It is a copy; where a class cannot be copied, it is the kept one without its traceback.
    """
    try:
        made = copy.copy(kept)
        alike = bool(type(made) is type(kept) and made.args == kept.args)
    except Exception:  # noqa: BLE001 - whatever a constructor makes of arguments that are not its own
        alike = False
    if not alike:
        return kept.with_traceback(None)
    if hasattr(kept, "__notes__"):
        made.__notes__ = [*kept.__notes__]
    if "_whole" in vars(kept):
        vars(made)["_whole"] = vars(kept)["_whole"]  # a copy is like a pickle and has it not, but may still have to be masked
    made.__cause__, made.__context__, made.__suppress_context__ = kept.__cause__, kept.__context__, kept.__suppress_context__
    return made.with_traceback(kept.__traceback__)


class InvalidRequest(DispatchError, ValueError):
    """The request itself is wrong; asking anybody again would fail the same way."""

    @property
    def failure_class(self) -> FailureClass:
        """Rejected where a vendor said so; final where it was seen before anything was sent."""
        return FailureClass.FINAL if self.status is None else FailureClass.REJECTED


class ConfigError(DispatchError, ValueError):
    """The configuration is wrong: an unknown vendor, a malformed key, a number out of range."""

    _kept = "\n"  # what is wrong with a file may be several lines


class LockfileNotFound(ConfigError):
    """A lockfile that was named, by a path or by the environment, is not there."""


class LockfileInvalid(ConfigError):
    """A lockfile cannot be read; ``problems`` are its mistakes, each with its path, or the line of text that is no TOML or JSON."""

    problems: tuple[str, ...] = ()

    def __init__(self, message: str, *, problems: Sequence[str] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.problems = tuple(problems)


class AuthenticationError(DispatchError):
    """The vendor refuses the key (401, 403). Another vendor may answer."""

    _means = FailureClass.REJECTED
    try_elsewhere = True


class RateLimitError(DispatchError):
    """Too many requests for now; ``retry_after`` tells when to come back, if the vendor said."""

    _means = FailureClass.REJECTED
    retry_here = True
    try_elsewhere = True


class QuotaExceeded(DispatchError):
    """The account is out of credit or its quota is spent; waiting seconds will not help, another vendor may."""

    _means = FailureClass.REJECTED
    try_elsewhere = True


class BudgetExceeded(DispatchError):
    """There is no money for it: a :class:`~llmdispatcher.Budget` is used up, or all targets are over ``max_cost``.

    Of a budget: ``budget`` is its name; ``limit``, ``spent`` and ``reserved`` are its US dollars, ``needed`` is what the call may
    cost at most, ``ends`` when its period ends, which ``retry_after`` tells in seconds. ``None`` where unknown or none.
    """

    budget: str | None = None
    limit: Decimal | None = None
    spent: Decimal | None = None
    reserved: Decimal | None = None
    needed: Decimal | None = None
    ends: datetime | None = None


class CostUnknown(DispatchError):
    """With ``Config(strict_cost=True)``: it is not known what a call costs, since no target has a price, or an answer no usage.

    An answer that is there, and paid, is in ``response``; ``None`` where nothing was sent. ``cost_status`` is that of its usage.
    """

    response: Any = None
    cost_status: str = "no_price"

    def __init__(self, message: str, *, response: Any = None, cost_status: str = "no_price", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.response = response
        self.cost_status = cost_status

    @property
    def failure_class(self) -> FailureClass:
        """Committed where there is an answer."""
        return super().failure_class if self.response is None else FailureClass.COMMITTED


class ModelNotFound(DispatchError):
    """This vendor does not have the model; another that is configured for it may."""

    _means = FailureClass.REJECTED
    try_elsewhere = True


class ContextWindowExceeded(InvalidRequest):
    """The conversation is longer than the model's window; a target with a larger one may answer."""

    try_elsewhere = True


class ContentFiltered(DispatchError):
    """The vendor's policy refused the prompt or the answer."""

    _means = FailureClass.REJECTED


class VendorUnavailable(DispatchError):
    """The vendor cannot be reached, is overloaded, failed inside (5xx), or was silent past a limit (see ``phase``).

    ``timed_out`` tells that the time for it ran out; a refusal or a broken connection comes without.
    """

    _means = FailureClass.AMBIGUOUS
    retry_here = True
    try_elsewhere = True
    timed_out: bool = False


class DeadlineExceeded(DispatchError, TimeoutError):
    """The call's own deadline passed; nothing is retried after that."""


class Cancelled(DispatchError):
    """The caller cancelled the call."""


class CircuitOpen(DispatchError):
    """The target failed too often lately and is left alone for ``retry_after`` seconds; see ``CircuitBreaker(strict=True)``."""

    _means = FailureClass.UNSENT
    try_elsewhere = True


class Overloaded(DispatchError):
    """This process has no capacity for another call, or no place (:class:`~llmdispatcher.Admission`)."""

    _means = FailureClass.UNSENT


class MalformedReply(DispatchError):
    """The vendor's answer is not what its format promises: not JSON, no choices, a web page, too large.

    Also a model's answer that does not have the form that the request asked for; ``text`` is what it said.
    """

    _means = FailureClass.AMBIGUOUS
    retry_here = True
    try_elsewhere = True
    text: str | None = None

    @property
    def failure_class(self) -> FailureClass:
        """Committed where the model did answer, though in another form than was asked for."""
        return super().failure_class if self.text is None else FailureClass.COMMITTED


class StreamInterrupted(DispatchError):
    """A stream ended without its format's end marker; ``partial`` is the folded answer so far.

    Until the first chunk was delivered the dispatcher asks again; after that the caller gets this error.
    """

    _means = FailureClass.AMBIGUOUS
    retry_here = True
    try_elsewhere = True
    partial: Any = None  # a Response

    @property
    def failure_class(self) -> FailureClass:
        """Committed where the reader has seen some of it."""
        return super().failure_class if self.partial is None else FailureClass.COMMITTED


class ToolRoundsExceeded(DispatchError):
    """A model asks for tools again and again; ``run`` is the conversation so far, its last turn the calls that were not made."""

    run: Any = None  # a ToolRun


class LedgerError(DispatchError):
    """The ledger cannot be opened or is newer than the code; of a call only with ``strict_accounting``: its row is not safe."""


class RegistryStale(DispatchError):
    """What is held of a registry is not the newest that it publishes, or too old; ``age_days`` is ``None`` where unknown."""

    age_days: float | None = None


class AllTargetsFailed(DispatchError):
    """More than one target was asked and none answered; ``failures`` holds their errors in order."""

    failures: tuple[DispatchError, ...] = ()

    def __init__(self, message: str, *, failures: Sequence[DispatchError] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.failures = tuple(failures)

    @property
    def possibly_billed(self) -> bool:
        """Whether one of those that were asked may charge."""
        return any(failure.possibly_billed for failure in self.failures)
