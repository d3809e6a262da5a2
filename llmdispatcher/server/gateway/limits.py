"""Limits of keys: requests and tokens a minute, and calls in flight, counted in this process; and what one call has taken of them.

The minute is a sliding one, the window that limits vendors, too. A key's limits hold in each process for itself: with N workers a
key may do N times as much. Its budget holds over all of them (:mod:`llmdispatcher.server.budgets`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import TypeVar

import attrs

from ...catalog import Target
from ...errors import BudgetExceeded, DispatchError
from ...resilience import Window, WindowEntry
from ...routing import input_tokens, output_tokens
from ...runtime import Clock, new_lock
from ...types import Embeddings, Request, Response, Usage
from ..budgets import KeyBudgets, KeyReservation, broken_usage
from ..keys import ApiKey
from .formats import GatewayError

_Answer = TypeVar("_Answer", Response, Embeddings)
_MOST_KEYS = 10_000
"""Keys that are counted before those that are idle are forgotten."""


@attrs.define(eq=False)
class _KeyCount:
    """What one key has done in the last minute, and does now."""

    requests: Window = attrs.field(factory=lambda: Window(None, None))
    tokens: Window = attrs.field(factory=lambda: Window(None, None))
    in_flight: int = 0

    def is_idle(self, now: float) -> bool:
        self.requests.forget(now)
        self.tokens.forget(now)
        return not (self.in_flight or self.requests.entries or self.tokens.entries)


class KeyLimits:
    """Counts what keys do; safe under threads. A key without limits costs nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = new_lock()
        self._counts: dict[str, _KeyCount] = {}

    def enter(self, key: ApiKey) -> Callable[[], None]:
        """Count a request, before its body is read, and return what ends it.

        Raises :class:`GatewayError` with 429 and when to try again.
        """
        if key.requests_per_minute is None and key.tokens_per_minute is None and key.in_flight is None:
            return _nothing
        with self._lock:
            now = self._clock.monotonic()
            count = self._count(key, now)
            if key.in_flight is not None and count.in_flight >= key.in_flight:
                raise _over(f"{key.in_flight} calls at a time", 1.0)
            if (wait := count.requests.ready_at(0) - now) > 0:
                raise _over(f"{key.requests_per_minute} requests per minute", wait)
            if (wait := count.tokens.ready_at(1) - now) > 0:
                raise _over(f"{key.tokens_per_minute} tokens per minute", wait)
            if key.requests_per_minute is not None:
                count.requests.take(0, now)
            count.in_flight += 1
        return lambda: self._leave(count)

    def take(self, key: ApiKey, tokens: int) -> WindowEntry | None:
        """Count the tokens that a request may use; a request of more than the limit goes when it is alone."""
        if key.tokens_per_minute is None:
            return None
        with self._lock:
            now = self._clock.monotonic()
            count = self._count(key, now)
            if (wait := count.tokens.ready_at(tokens) - now) > 0:
                raise _over(f"{key.tokens_per_minute} tokens per minute, and this call may use {tokens}", wait)
            return count.tokens.take(tokens, now)

    def correct(self, key: ApiKey, entry: WindowEntry, used: int) -> None:
        """Replace what a request might use by what it used; one that used nothing is not counted."""
        with self._lock:
            count = self._counts.get(key.id)
            if count is not None and used:
                count.tokens.correct(entry, used)
            elif count is not None:
                count.tokens.drop(entry)

    def _count(self, key: ApiKey, now: float) -> _KeyCount:
        count = self._counts.get(key.id)
        if count is None:
            if len(self._counts) >= _MOST_KEYS:
                self._counts = {name: one for name, one in self._counts.items() if not one.is_idle(now)}
            count = self._counts[key.id] = _KeyCount()
        count.requests.forget(now)
        count.tokens.forget(now)
        count.requests.most_requests, count.tokens.most_tokens = key.requests_per_minute, key.tokens_per_minute
        return count

    def _leave(self, count: _KeyCount) -> None:
        with self._lock:
            count.in_flight -= 1


class CallCharge:
    """What one call has taken of its key's tokens and budget. It is settled once: later settlements change nothing."""

    def __init__(self, limits: KeyLimits, budgets: KeyBudgets, key: ApiKey) -> None:
        self._limits, self._budgets, self._key = limits, budgets, key
        self._request: Request | None = None
        self._entry: WindowEntry | None = None
        self._reservation: KeyReservation | None = None
        self.facts: dict[str, str] = {}
        """Headers that tell what was reserved."""

    def take(self, request: Request, targets: Callable[[], Sequence[Target]], seconds: float | None) -> None:
        """Take what a request may use and cost, or raise and take nothing; ``targets`` tells whom it may ask.

        ``seconds`` is how long the call may take, ``None`` if nobody knows.
        """
        self._entry = self._limits.take(self._key, max(1, input_tokens(request) + output_tokens(request)))
        self._request = request
        if self._key.budget is not None:
            try:
                self._reservation = self._budgets.reserve(self._key.id, self._key.budget, request, targets(), seconds)
                self.facts = self._reservation.facts()
            except BaseException as error:
                self.give_back()
                if isinstance(error, BudgetExceeded) and error.code == "model_unpriced":
                    raise GatewayError(error.message, status=403, code=error.code, param="model") from None
                raise

    def answered(self, answer: Response | Embeddings) -> None:
        """Count what an answer used and cost."""
        trace = getattr(answer, "trace", None)
        usage, cost = answer.usage, answer.usage.cost
        if trace is not None and cost is not None and not answer.cached:  # type: ignore[union-attr]  # what has a trace has that too
            cost = max(cost, trace.cost)  # with attempts that failed and were billed
        if getattr(answer, "cached", False):
            usage, cost = Usage(), Decimal(0)
        reservation = self._settle(usage)
        if reservation is not None:
            reservation.answered(usage, cost)

    def failed(self, error: DispatchError) -> None:
        """Count nothing for a call that no vendor answered; the input of one that was broken off, for which it may send a bill."""
        if error.possibly_billed:
            self.broken(None, None, None)
        else:
            self.give_back()

    def broken(self, vendor: str | None, model: str | None, partial: Response | None) -> None:
        """Count the input and what was streamed of a call that was broken off."""
        if self._request is None:
            return
        reservation = self._settle(broken_usage(self._request, partial))
        if reservation is not None:
            reservation.broken(vendor, model, partial)

    def give_back(self) -> None:
        """Count nothing."""
        reservation = self._settle(Usage())
        if reservation is not None:
            reservation.give_back()

    def _settle(self, usage: Usage) -> KeyReservation | None:
        entry, self._entry = self._entry, None
        reservation, self._reservation = self._reservation, None
        self._request = None
        if entry is not None:
            self._limits.correct(self._key, entry, max(0, usage.total_tokens - usage.cache_read_tokens))
        return reservation


@contextlib.contextmanager
def charging(charge: CallCharge | None) -> Iterator[Callable[[_Answer], _Answer]]:
    """Around the asking: what it is given has answered; a failure settles the charge."""

    def answered(answer: _Answer) -> _Answer:
        if charge is not None:
            charge.answered(answer)
        return answer

    try:
        yield answered
    except DispatchError as error:
        if charge is not None:
            charge.failed(error)
        raise
    except BaseException:
        if charge is not None:
            charge.broken(None, None, None)
        raise


def charge_of(limits: KeyLimits, budgets: KeyBudgets, key: ApiKey | None) -> CallCharge | None:
    """The charge of a call; ``None`` for a key that has neither a budget nor a limit of tokens."""
    if key is None or (key.budget is None and key.tokens_per_minute is None):
        return None
    return CallCharge(limits, budgets, key)


def _over(what: str, wait: float) -> GatewayError:
    return GatewayError(f"this key may have {what}; try again later", status=429, code="rate_limit_exceeded", retry_after=wait)


def _nothing() -> None:
    pass
