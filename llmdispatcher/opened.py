"""An answer that has begun: what a stream's worker pumps, and how each of its ends settles the call."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from . import structured
from .asking import Begun
from .attempt import Attempt, Call
from .errors import Cancelled, DispatchError
from .policy import guards
from .response_values import Response, Usage

Ended = Callable[[Call, Attempt, DispatchError | None, Usage], None]
"""Hears how a stream that had begun has ended."""


class OpenStream:
    """An answer that has begun: what the stream's worker pumps, and how it settles the call."""

    __slots__ = ("_ended", "attempt", "batches", "call", "close", "model", "movable", "vendor")

    def __init__(self, ended: Ended, call: Call, attempt: Attempt, stream: Begun) -> None:
        self._ended = ended
        self.call = call
        self.attempt = attempt
        self.vendor = attempt.target.vendor
        self.model = attempt.target.model
        self.batches = stream.batches
        self.close = stream.close
        self.movable = stream.movable

    def finish(self, response: Response, before: Usage | None = None) -> Response:
        """Settle as a success; raises :class:`MalformedReply` for an answer of another form than was asked for.

        ``before`` is what those have used, priced, with whose answers this one went on.
        """
        call, attempt = self.call, self.attempt
        self._ended(call, attempt, None, response.usage)
        if before is not None:
            used = call.priced(response.usage, attempt.target, response)
            attempt.settle(cost=used.cost)
            response = attrs.evolve(response, usage=before + used)
        response = call.succeed(attempt, response)
        return structured.read(call.request, guards.after(call.guards, call.request, response))

    def fail(self, error: DispatchError, partial: Response) -> None:
        """Settle as a failure."""
        error.with_facts(vendor=self.vendor, model=self.model)
        self._ended(self.call, self.attempt, error, partial.usage)
        self.call.fail(error, self.attempt, partial.usage)

    def broke(self, error: DispatchError, usage: Usage) -> Usage:
        """Settle this attempt as a failure, while its call may go on; gives what it has used, priced."""
        target = self.attempt.target
        error.with_facts(vendor=target.vendor, model=target.model)
        self._ended(self.call, self.attempt, error, usage)
        usage = self.call.priced(usage, target)
        self.attempt.settle(error, usage.cost)
        return usage

    def drop(self) -> None:
        """End unheard: another answered first, and what this one had taken is given back."""
        lost = Cancelled("another target answered first")
        try:
            self.close()
        finally:
            self._ended(self.call, self.attempt, lost, Usage())
            self.attempt.settle(lost)
