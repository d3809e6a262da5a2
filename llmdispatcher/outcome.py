"""What happened, as values: each vendor asked, and the one outcome of a call. Observers are handed these."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import attrs

from .errors import DispatchError
from .types import Usage


@attrs.frozen(kw_only=True)
class AttemptRecord:
    """One vendor asked once. Times are seconds; ``started`` counts from the beginning of the call.

    ``error`` is the class name of the failure, ``None`` for an answer. ``retry`` marks a return to a target of this call,
    ``failover`` a first try at another one, ``hedge`` one that was asked beside another that was slow. ``sent`` is False only when
    the request certainly never reached the vendor.
    """

    vendor: str
    model: str
    started: float
    latency: float
    first_token: float | None = None
    error: str | None = None
    status: int | None = None
    retry: bool = False
    failover: bool = False
    hedge: bool = False
    sent: bool | None = True


@attrs.frozen(kw_only=True)
class Outcome:
    """The end of one call; every call has exactly one. ``vendor`` is who answered or began to, ``None`` if nobody did.

    ``cached`` marks an answer from memory: nobody was asked, its tokens are those of the first time, its cost is 0.
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

    @property
    def cost(self) -> Decimal | None:
        """US dollars, where they are known."""
        return self.usage.cost if self.usage is not None else None


class Listener:
    """What an observer may hear; override one or both.

    Each is called in the thread of the call; an exception is logged and felt by nobody.
    """

    def on_attempt(self, record: AttemptRecord) -> None:
        """One vendor was asked, and this is how it went."""

    def on_outcome(self, outcome: Outcome) -> None:
        """A call has ended."""


Observer = Callable[[Outcome], None] | Listener
"""Hears every outcome, or as a :class:`Listener` every attempt as well."""
