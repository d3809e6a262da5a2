"""Fits a request to what one model takes: the nearest effort that it knows, and without what it is known to refuse.

A setting that only tunes an answer is left out, since its absence is all that the model accepts; one that decides what the answer
is (``stop``, ``logprobs``) is an error that says so, unless the request allows that it is dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import attrs

from .catalog import Traits
from .types import EFFORTS, Request
from .wire.payload import leave_out

TUNES: Mapping[str, tuple[str, ...]] = {
    "no_sampling": ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty"),
    "no_penalties": ("frequency_penalty", "presence_penalty"),
    "no_user": ("user",),
    "no_effort": ("reasoning_effort", "reasoning_tokens", "reasoning_summary"),
    "no_parallel_tools": ("parallel_tool_calls",),
}
"""What is left out for a quirk."""

DECIDES: Mapping[str, tuple[str, ...]] = {"no_stop": ("stop",), "no_logprobs": ("logprobs", "top_logprobs")}
"""What is refused for a quirk."""

_EMPTY: Mapping[str, Any] = {"stop": ()}
_log = logging.getLogger(__name__)


def fitted(request: Request, traits: Traits) -> Request:
    """The request as this model takes it; the same one where there is nothing to change."""
    changes: dict[str, Any] = {}
    if request.reasoning_effort is not None and traits.efforts:
        changes["reasoning_effort"] = nearest(request.reasoning_effort, traits.efforts)
    for quirk in traits.quirks:
        if quirk == "sampling_without_effort" and request.reasoning_effort not in (None, "none"):
            quirk = "no_sampling"
        changes |= {name: None for name in TUNES.get(quirk, ()) if getattr(request, name) is not None}
        for name in DECIDES.get(quirk, ()):
            if getattr(request, name):
                leave_out(request, request.model, name, "is refused by this model")
                changes[name] = _EMPTY.get(name)
    changed = {name: value for name, value in changes.items() if getattr(request, name) != value}
    if not changed:
        return request
    _log.debug("%s: fitted to the model: %s", request.model, ", ".join(sorted(changed)))
    return attrs.evolve(request, **changed)


def nearest(effort: str, known: tuple[str, ...]) -> str:
    """Of the levels that a model knows the one next to what is asked for; of two as near, the lower."""
    wanted = EFFORTS.index(effort)
    return min(known, key=lambda level: (abs(EFFORTS.index(level) - wanted), EFFORTS.index(level)))
