"""Calls made outside the dispatcher, with a vendor's SDK or by hand, told to the ledger while they happen.

Whatever goes wrong with the telling is logged and felt by nobody: what is called returns and raises what it would without.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from types import GeneratorType, TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from ..clock import Clock
from ..errors import ConfigError
from .told import Raw, model_of, raw_usage, usage_of

P = ParamSpec("P")
T = TypeVar("T")
Keep = Callable[[Mapping[str, Any]], None]

logger = logging.getLogger(__name__)

_ENDED_BY = {"GeneratorExit": "cancelled", "KeyboardInterrupt": "cancelled", "SystemExit": "cancelled"}


class LoggedCall:
    """One call under way: a context manager that is told what it consumed, and writes its row when it ends.

    ``facts`` are those of :meth:`~llmdispatcher.ledger.Ledger.record`; a call ends once, whoever says so first.
    """

    def __init__(self, keep: Keep, clock: Clock, facts: Mapping[str, Any]) -> None:
        self._keep = keep
        self._clock = clock
        self._facts = dict(facts)
        self._raw: Raw = {}
        self._begun_at = clock.now()
        self._started = clock.monotonic()
        self._first: float | None = None
        self._over = False

    def usage(self, response: Any = None, **facts: Any) -> None:
        """Say what was consumed: an SDK's answer, an event of a stream, a usage, or facts by their names (``input_tokens=12``).

        May be said again; of pieces of a stream each adds what it knows. ``cost`` (US dollars) that is not said is the catalog's.
        """
        try:
            self._facts.update(facts)
            if response is not None:
                self._raw.update(raw_usage(response))
                self._facts["model"] = self._facts.get("model") or model_of(response)
        except Exception:
            logger.exception("the usage of a logged call cannot be read; the call is not affected")

    def chunk(self, piece: Any) -> None:
        """Say that a piece of a stream has come; the first one's time is kept."""
        if self._first is None:
            self._first = self._clock.monotonic() - self._started
        self._facts["streamed"] = True
        self.usage(piece)

    def end(self, status: str = "success", error: BaseException | None = None) -> None:
        """Say that it is over; what is said after that is not heard."""
        if self._over:
            return
        self._over = True
        try:
            self._keep(self._told(status, error))
        except Exception:
            logger.exception("a logged call was not kept; the call is not affected")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end("success" if error is None else status_of(error), error)

    def _told(self, status: str, error: BaseException | None) -> dict[str, Any]:
        told: dict[str, Any] = {
            "begun_at": self._begun_at,
            "latency": self._clock.monotonic() - self._started,
            "first_token": self._first,
            "status": status,
            "error_class": type(error).__name__ if error is not None else None,
            "http_status": http_status(error),
        }
        usage = usage_of(self._raw)
        return {**told, **({"usage": usage} if usage is not None else {}), **self._facts}


def status_of(error: BaseException) -> str:
    """How a call stands that raised this, whoever's class it is."""
    name = type(error).__name__
    if isinstance(error, TimeoutError) or "Timeout" in name or "DeadlineExceeded" in name:
        return "timeout"
    if http_status(error) == 429 or name.startswith("RateLimit"):
        return "rate_limited"
    return "cancelled" if "Cancelled" in name else _ENDED_BY.get(name, "error")


def http_status(error: BaseException | None) -> int | None:
    """The status that an error carries, by the names that SDKs have for it."""
    for name in ("status_code", "status", "code"):
        status = getattr(error, name, None)
        if isinstance(status, int) and 100 <= status <= 599:
            return status
    return None


def logging_calls(begin: Callable[[], LoggedCall]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator that has each call of a function logged. Raises :class:`ConfigError` for a coroutine."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigError(f"log_llm_call: {function.__qualname__} is a coroutine; write `with ledger.log_call(...)` inside it")
        if inspect.isgeneratorfunction(function):
            return functools.wraps(function)(_generator(begin, function))  # type: ignore[return-value]  # it yields what that yields

        @functools.wraps(function)
        def logged(*args: P.args, **kwargs: P.kwargs) -> T:
            call = begin()
            try:
                answer = function(*args, **kwargs)
            except BaseException as error:
                call.end(status_of(error), error)
                raise
            watched: T = _watched(call, answer)
            return watched

        return logged

    return decorate


def _generator(begin: Callable[[], LoggedCall], function: Callable[..., Any]) -> Callable[..., Generator[Any, Any, Any]]:
    def logged(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return (yield from _drained(begin(), function(*args, **kwargs)))

    return logged


def _watched(call: LoggedCall, answer: Any) -> Any:
    """The answer itself, or where it is still to come, one that is heard while it does."""
    if isinstance(answer, GeneratorType):
        drained = _drained(call, answer)
        weakref.finalize(drained, call.end, "cancelled").atexit = False  # one that nobody begins never runs
        return drained
    if hasattr(type(answer), "__next__"):
        return _Stream(call, answer)
    call.usage(answer)
    call.end()
    return answer


def _drained(call: LoggedCall, inner: Any) -> Generator[Any, Any, Any]:
    with call:
        return (yield from _Heard(call, inner))


class _Heard:
    """A generator's own protocol, with each piece told; ``yield from`` passes on what is sent and thrown."""

    def __init__(self, call: LoggedCall, inner: Any) -> None:
        self._call = call
        self._inner = inner

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._hear(next(self._inner))

    def send(self, value: Any) -> Any:
        """Pass it on."""
        return self._hear(self._inner.send(value))

    def throw(self, error: BaseException) -> Any:
        """Pass it on."""
        return self._hear(self._inner.throw(error))

    def close(self) -> None:
        """Pass it on."""
        self._inner.close()

    def _hear(self, piece: Any) -> Any:
        self._call.chunk(piece)
        return piece


class _Stream:
    """An SDK's stream that is heard as it is read; in all else it is the other, its class included."""

    def __init__(self, call: LoggedCall, inner: Any) -> None:
        self.__dict__.update(_call=call, _inner=inner)
        weakref.finalize(self, call.end, "cancelled").atexit = False

    @property
    def __class__(self) -> Any:
        return type(self._inner)

    @__class__.setter
    def __class__(self, kind: Any) -> None:
        self._inner.__class__ = kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_inner"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        try:
            piece = next(self._inner)
        except StopIteration:
            self._call.end()
            raise
        except BaseException as error:
            self._call.end(status_of(error), error)
            raise
        self._call.chunk(piece)
        return piece

    def __enter__(self) -> Any:
        entered = self._inner.__enter__()
        return self if entered is self._inner else entered

    def __exit__(self, *raised: Any) -> Any:
        try:
            return self._inner.__exit__(*raised)
        finally:
            self._stopped(raised[1])

    def close(self) -> Any:
        """Close the stream; what was not read of it is not waited for."""
        try:
            return self._inner.close()
        finally:
            self._stopped(None)

    def _stopped(self, error: BaseException | None) -> None:
        """Read through one of the SDK's own ways, it knows at its end what it was."""
        with contextlib.suppress(Exception):
            self._call.usage(getattr(self._inner, "current_message_snapshot", None))
        self._call.end("cancelled" if error is None else status_of(error), error)
