"""Fits a request to one model before a format writes it: the nearest effort that it knows, and sampling where it takes that.

What a model refuses in any case is left out where the request is written (:mod:`~llmdispatcher.wire.quirks`).
"""

from __future__ import annotations

import attrs

from .catalog import Traits
from .types import EFFORTS, Request
from .wire.quirks import without_refused

_NO_SAMPLING = frozenset({"no_sampling"})


def fitted(request: Request, traits: Traits) -> Request:
    """The request as this model takes it; the same one where there is nothing to change."""
    effort = request.reasoning_effort
    if "sampling_without_effort" in traits.quirks and effort not in (None, "none"):
        request = without_refused(request, _NO_SAMPLING, request.model)
    if effort is None or not traits.efforts:
        return request
    known = nearest(effort, traits.efforts)
    return request if known == effort else attrs.evolve(request, reasoning_effort=known)


def nearest(effort: str, known: tuple[str, ...]) -> str:
    """Of the levels that a model knows the one next to what is asked for; of two as near, the lower."""
    wanted = EFFORTS.index(effort)
    return min(known, key=lambda level: (abs(EFFORTS.index(level) - wanted), EFFORTS.index(level)))
