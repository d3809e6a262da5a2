"""A rate limit as a value, how much of it is left as another, and what a vendor with several keys tells of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import attrs

from . import checks
from .concurrency import AdaptiveConcurrency, some
from .storage import server


def _adaptive(value: Any) -> AdaptiveConcurrency | None:
    if value is None or value is False:
        return None
    return checks.build(AdaptiveConcurrency, {} if value is True else value, "adaptive")


@attrs.frozen(kw_only=True)
class RateLimit:
    """At most so many requests and tokens (input and output) in any minute, and calls in flight; ``None`` is no limit.

    ``adaptive`` (True, or an :class:`AdaptiveConcurrency`) finds out how many calls in flight the vendor takes; ``max_in_flight``
    is then the most. ``per_model`` counts each model for itself, as most vendors do; else the vendor's models share one count.
    ``per_key`` counts each of several keys for itself, and takes the next when one is used up; all numbers are of one key.
    ``storage``, the address of a Redis server, shares requests and tokens with other processes; needs the extra ``limits``.
    """

    requests_per_minute: int | None = attrs.field(default=None, validator=some)
    tokens_per_minute: int | None = attrs.field(default=None, validator=some)
    per_model: bool = attrs.field(default=False, validator=checks.flag)
    max_in_flight: int | None = attrs.field(default=None, validator=some)
    adaptive: AdaptiveConcurrency | None = attrs.field(default=None, converter=_adaptive)
    storage: str | None = attrs.field(default=None, repr=False, validator=server)
    per_key: bool = attrs.field(default=False, validator=checks.flag)


@attrs.frozen(kw_only=True)
class RateLimitStatus:
    """How much of a limit is left now; ``None`` means no limit. ``reset`` is seconds until the oldest count is forgotten.

    ``in_flight`` calls are under way, of ``in_flight_limit`` (as it is now, where it adapts itself), and ``waiting`` ones wait for
    them. ``shared`` is ``None`` without a storage, False while it fails and our own count goes on alone. Where each of several
    keys counts for itself, ``keys`` has their states in the order in which the keys were given, and the rest is of all together.
    """

    requests_limit: int | None
    requests_remaining: int | None
    tokens_limit: int | None
    tokens_remaining: int | None
    reset: float
    in_flight_limit: int | None = None
    in_flight: int | None = None
    waiting: int = 0
    shared: bool | None = None
    keys: tuple[RateLimitStatus, ...] = ()

    @classmethod
    def combine(cls, keys: Sequence[RateLimitStatus]) -> RateLimitStatus:
        """The sum of several keys; a call that waits for several of them is one."""
        return cls(
            **{name: _sum([getattr(key, name) for key in keys]) for name in _SUMMED},
            reset=min([key.reset for key in keys if key.reset > 0], default=0.0),
            waiting=max([key.waiting for key in keys]),
            shared=None if keys[0].shared is None else all(key.shared for key in keys),
            keys=tuple(keys),
        )


_SUMMED = ("requests_limit", "requests_remaining", "tokens_limit", "tokens_remaining", "in_flight_limit", "in_flight")


def _sum(amounts: Sequence[int | None]) -> int | None:
    """``None``, which is no limit, where one has none."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


class Keys(Protocol):
    """A vendor with several keys, which are told by their numbers, counted from 1, alone."""

    @property
    def key_count(self) -> int:
        """How many there are."""

    def awake_keys(self) -> Sequence[int]:
        """Those that may be used now, the best first; never none."""
