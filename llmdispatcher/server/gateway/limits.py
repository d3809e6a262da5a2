"""Limits of keys and their owners: requests and tokens a minute, and calls in flight; and what one call has taken of them.

The minute is a sliding one. The limits of a key and of all its owners are taken together, or none is. They are counted in this
process, and where a Redis server is configured on that, for all workers and hosts (:mod:`.shared_limits`); while it is away each
process counts alone. Budgets are in :mod:`llmdispatcher.server.budgets`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TypeVar

import attrs

from ...catalog import Target
from ...errors import BudgetExceeded, DispatchError
from ...resilience import Window, WindowEntry
from ...routing import input_tokens, output_tokens
from ...runtime import Clock, new_lock
from ...types import Embeddings, Request, Response, Usage
from ..budgets import BudgetedCall, KeyBudgetExceeded, KeyBudgets, KeyReservation, accounts_of, broken_usage
from ..estimates import PricedCall
from ..keys import ApiKey
from ..policies import KeyPolicy
from .formats import GatewayError, when_to_try_again
from .shared_limits import LimitedLevel, SharedKeyLimits, TakenTokens

_Answer = TypeVar("_Answer", Response, Embeddings)
_MOST_KEYS = 10_000
"""Keys and owners that are counted before those that are idle are forgotten."""
_MOST_TOKENS = 10**12
"""Of one call, whatever it says: more than any limit, and a number that Redis can add up."""
_MOST_CHEAPER = 3
"""Models that are asked one in the place of the other, as their budgets are used up."""


@attrs.define(eq=False)
class _KeyCount:
    """What one key, or all keys of an owner, have done in the last minute, and do now."""

    requests: Window = attrs.field(factory=lambda: Window(None, None))
    tokens: Window = attrs.field(factory=lambda: Window(None, None))
    in_flight: int = 0

    def is_idle(self, now: float) -> bool:
        self.requests.forget(now)
        self.tokens.forget(now)
        return not (self.in_flight or self.requests.entries or self.tokens.entries)


@attrs.frozen
class TokenEntry:
    """The tokens that one call has taken, of each level here, and on the server."""

    here: Mapping[str, WindowEntry]
    shared: TakenTokens | None


class KeyLimits:
    """Counts what keys do; safe under threads. A key without limits, nor owners with any, costs nothing."""

    def __init__(self, clock: Clock, shared: SharedKeyLimits | None = None) -> None:
        self._clock = clock
        self._shared = shared
        self._lock = new_lock()
        self._counts: dict[str, _KeyCount] = {}

    def enter(self, key: ApiKey) -> Callable[[], None]:
        """Count a request, before its body is read, and return what ends it.

        Raises :class:`GatewayError` with 429 and when to try again.
        """
        levels = limited_levels(key)
        if not levels:
            return _nothing
        lease = None if self._shared is None else self._shared.enter(key.organization, levels)
        if isinstance(lease, tuple):
            raise _over(*lease)
        with self._lock:
            now = self._clock.monotonic()
            counts = [self._count(level, now) for level in levels]
            if lease is None:
                for level, count in zip(levels, counts, strict=True):
                    _check(level, count, now)
            for level, count in zip(levels, counts, strict=True):
                if level.policy.requests_per_minute is not None:
                    count.requests.take(0, now)
                count.in_flight += 1
        return lambda: self._leave(counts, lease)

    def take(self, key: ApiKey, tokens: int) -> TokenEntry | None:
        """Count the tokens that a request may use; a request of more than the limit goes when it is alone."""
        levels = [one for one in limited_levels(key) if one.policy.tokens_per_minute is not None]
        if not levels:
            return None
        shared = None if self._shared is None else self._shared.take(key.organization, levels, tokens)
        if isinstance(shared, tuple):
            raise _over(*shared)
        with self._lock:
            now = self._clock.monotonic()
            counts = [self._count(level, now) for level in levels]
            if shared is None:
                for level, count in zip(levels, counts, strict=True):
                    if (wait := count.tokens.ready_at(tokens) - now) > 0:
                        raise _over(level, f"{_per_minute(level)}, and this call may use {tokens}", wait)
            return TokenEntry({one.id: count.tokens.take(tokens, now) for one, count in zip(levels, counts, strict=True)}, shared)

    def correct(self, entry: TokenEntry, used: int) -> None:
        """Replace what a request might use by what it used; one that used nothing is not counted."""
        with self._lock:
            for level_id, here in entry.here.items():
                count = self._counts.get(level_id)
                if count is not None and used:
                    count.tokens.correct(here, used)
                elif count is not None:
                    count.tokens.drop(here)
        if entry.shared is not None and self._shared is not None:
            self._shared.correct(entry.shared, used)

    def _count(self, level: LimitedLevel, now: float) -> _KeyCount:
        count = self._counts.get(level.id)
        if count is None:
            if len(self._counts) >= _MOST_KEYS:
                self._counts = {name: one for name, one in self._counts.items() if not one.is_idle(now)}
            count = self._counts[level.id] = _KeyCount()
        count.requests.forget(now)
        count.tokens.forget(now)
        count.requests.most_requests, count.tokens.most_tokens = level.policy.requests_per_minute, level.policy.tokens_per_minute
        return count

    def _leave(self, counts: Sequence[_KeyCount], lease: str | None) -> None:
        with self._lock:
            for count in counts:
                count.in_flight -= 1
        if lease is not None and self._shared is not None:
            self._shared.leave(lease)

    def close(self) -> None:
        """Close the connections to the server."""
        if self._shared is not None:
            self._shared.close()


def limited_levels(key: ApiKey) -> list[LimitedLevel]:
    """The key and its owners, as far as they have limits."""
    return [LimitedLevel(level, level_id, policy) for level, level_id, policy in key.levels if policy.is_limited]


def _check(level: LimitedLevel, count: _KeyCount, now: float) -> None:
    policy = level.policy
    if policy.in_flight is not None and count.in_flight >= policy.in_flight:
        raise _over(level, f"{policy.in_flight} calls at a time", 1.0)
    if (wait := count.requests.ready_at(0) - now) > 0:
        raise _over(level, f"{policy.requests_per_minute} requests per minute", wait)
    if (wait := count.tokens.ready_at(1) - now) > 0:
        raise _over(level, _per_minute(level), wait)


def _per_minute(level: LimitedLevel) -> str:
    return f"{level.policy.tokens_per_minute} tokens per minute"


class CallCharge:
    """What one call has taken of its key's tokens and budgets. It is settled once: later settlements change nothing.

    ``default_output`` are the tokens that are reserved for an answer of which nothing is known.
    """

    def __init__(self, limits: KeyLimits, budgets: KeyBudgets, key: ApiKey, *, default_output: int) -> None:
        self._limits, self._budgets, self._key = limits, budgets, key
        self._default_output = default_output
        self._request: Request | None = None
        self._entry: TokenEntry | None = None
        self._reservation: KeyReservation | None = None
        self.facts: dict[str, str] = {}
        """Headers that tell what was reserved."""

    def take(
        self,
        request: Request,
        targets: Callable[[Request], Sequence[Target]],
        seconds: float | None,
        cheaper: Callable[[Request, str], Request] | None = None,
    ) -> Request:
        """Take what a request may use and cost, or raise and take nothing; returns the request that is to be sent.

        ``targets`` tells whom a request may ask, ``cheaper`` is the request with another model, where a budget that is used up
        names one. ``seconds`` is how long the call may take, ``None`` if nobody knows.
        """
        tokens = input_tokens(request) + output_tokens(request)
        self._entry = self._limits.take(self._key, min(max(1, tokens), _MOST_TOKENS))
        self._request = request
        key = self._key
        session = getattr(request, "session", None) or request.prompt_cache_key
        accounts = accounts_of(key.levels, self._budgets.now())
        if not accounts:
            return request
        try:
            for _ in range(_MOST_CHEAPER):
                strict = any(one.strict for one in accounts)
                priced = PricedCall(key.id, session, request, tuple(targets(request)), self._default_output, strict)
                owners = tuple([one.id for one in key.owners])
                call = BudgetedCall(priced=priced, accounts=tuple(accounts), seconds=seconds, owners=owners)
                try:
                    self._reservation = self._budgets.reserve(call)
                    break
                except KeyBudgetExceeded as error:
                    if error.then is None or cheaper is None:
                        raise
                    self.facts["x-llmdispatcher-budget-model"] = error.then
                    request = cheaper(request, error.then)
            else:
                raise GatewayError(
                    "the budgets of this key name one model in the place of the other, and all are used up",
                    status=402,
                    code="budget_exceeded",
                )
            self.facts.update(self._reservation.facts())
        except DispatchError as error:
            self.give_back()
            raise _for_client(error) from None
        except BaseException:
            self.give_back()
            raise
        return request

    def answered(self, answer: Response | Embeddings) -> None:
        """Count what an answer used and cost."""
        trace = getattr(answer, "trace", None)
        usage, cost, cached = answer.usage, answer.usage.cost, bool(getattr(answer, "cached", False))
        if trace is not None and cost is not None and not cached:
            cost = max(cost, trace.cost)  # with attempts that failed and were billed
        if cached:
            usage, cost = Usage(), Decimal(0)
        reservation = self._settle(usage)
        if reservation is not None:
            reservation.answered(answer.vendor, answer.model, usage, cost, cached=cached)

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
            self._limits.correct(entry, max(0, usage.total_tokens - usage.cache_read_tokens))
        return reservation


def _for_client(error: DispatchError) -> DispatchError:
    """A refusal with the status that it has for a client."""
    if isinstance(error, BudgetExceeded) and error.code == "model_unpriced":
        return GatewayError(error.message, status=403, code=error.code, param="model")
    if error.code == "key_revoked":
        return GatewayError(error.message, status=401, code="invalid_api_key")
    return error


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


def charge_of(limits: KeyLimits, budgets: KeyBudgets, key: ApiKey, *, default_output: int) -> CallCharge | None:
    """The charge of a call; ``None`` for a key that has neither a budget nor a limit of tokens, nor an owner with one."""
    if not any(_counts_calls(policy) for _, _, policy in key.levels):
        return None
    return CallCharge(limits, budgets, key, default_output=default_output)


def _counts_calls(policy: KeyPolicy) -> bool:
    own = policy.budget is not None or policy.model_budgets or policy.tokens_per_minute is not None
    return bool(own) or getattr(policy, "member_budget", None) is not None


def _over(level: LimitedLevel, what: str, wait: float) -> GatewayError:
    whose = "this key" if level.level == "key" else f"the {level.level} of this key"
    text = f"{whose} may have {what}; {when_to_try_again(wait)}"
    return GatewayError(text, status=429, code="rate_limit_exceeded", retry_after=wait)


def _nothing() -> None:
    pass
