"""Between the dispatcher and its cache: a call that may be answered from memory, and is settled like any other."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import attrs

from . import structured
from .attempt import Call
from .caching import AnswerCache, Inquiry, place
from .conductor import Conductor
from .feed import OpenStream
from .policy.route import Route
from .types import Response
from .vendors import Vendor


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
        return self.cache.stream(self._inquiry(call, route, streamed=True), partial(self.conductor.stream, call, route))

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
