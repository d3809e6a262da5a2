"""Between the dispatcher and its cache: a call that may be answered from memory, and is settled like any other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import attrs

from . import structured
from .attempt import Call
from .caching import AnswerCache, Inquiry, place
from .chunks import OpenStream
from .conductor import Conductor
from .policy.route import Route
from .response_values import Response
from .vendors import Vendor


class _Source:
    """A call that is made for all who read its stream: bound to the one who asks until the stream is open, then to nobody."""

    def __init__(self, conductor: Conductor, call: Call, away: Call, route: Route) -> None:
        self.away = away
        self._conductor = conductor
        self._route = route
        self._bond = call.deadline.cancellation
        self._key = self._bond.subscribe(self.stop)

    def begin(self) -> OpenStream:
        """Up to the first output."""
        return self._conductor.stream(self.away, self._route)

    def loosen(self) -> None:
        """Each reader keeps to a deadline of his own from now on."""
        self._bond.unsubscribe(self._key)
        self.away.deadline.at = math.inf

    def stop(self) -> None:
        """End it."""
        self.away.deadline.cancellation.cancel("nobody reads the stream any more")


@attrs.frozen
class Memory:
    """The cache, and those who are asked where it knows nothing."""

    cache: AnswerCache
    conductor: Conductor
    vendors: Mapping[str, Vendor]

    def send(self, call: Call, route: Route) -> Response:
        """The answer from memory, from the same call under way, or from a vendor."""
        return self.cache.send(self._inquiry(call, route, streamed=False), partial(self.conductor.send, call, route))

    def stream(self, call: Call, route: Route) -> OpenStream:
        """The same, piece by piece."""
        inquiry = self._inquiry(call, route, streamed=True)
        inquiry.source = lambda: _Source(self.conductor, call, call.detached(), route)
        inquiry.adopt = lambda source, error: call.adopt(source.away, error)
        return self.cache.stream(inquiry, partial(self.conductor.stream, call, route))

    def _inquiry(self, call: Call, route: Route, *, streamed: bool) -> Inquiry:
        def form(response: Response) -> Response:
            return structured.read(call.request, response)

        def recall(response: Response) -> Response:
            recalled = call.recall(response)
            return form(recalled) if streamed else recalled

        return Inquiry(
            request=call.request,
            places=[place(self.vendors[target.vendor], target.vendor, target.model) for target in route.targets],
            deadline=call.deadline,
            check=form,
            recall=recall,
            fail=call.fail,
        )
