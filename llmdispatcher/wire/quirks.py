"""What a model or vendor refuses, left out of a request before a format writes it: one table for all formats.

A setting that only tunes an answer is left out, since its absence is all that the model accepts; one that decides what the answer
is (``stop``, ``logprobs``) is an error that says so, unless the request allows that it is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ..types import Request
from .payload import leave_out

_TUNES: Mapping[str, tuple[str, ...]] = {
    "no_sampling": ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty"),
    "no_penalties": ("frequency_penalty", "presence_penalty"),
    "no_user": ("user",),
    "no_parallel_tools": ("parallel_tool_calls",),
}
_DECIDES: Mapping[str, tuple[str, ...]] = {"no_stop": ("stop",), "no_logprobs": ("logprobs", "top_logprobs")}
_EFFORT = ("reasoning_effort", "reasoning_tokens", "reasoning_summary")
_EMPTY: Mapping[str, Any] = {"stop": ()}


_REFUSING = frozenset({*_TUNES, *_DECIDES})


def without_refused(request: Request, quirks: frozenset[str], codec: str) -> Request:
    """The request without what the quirks refuse; the same one where there is nothing of it."""
    if _REFUSING.isdisjoint(quirks):
        return request
    left_out = [name for quirk in quirks for name in _TUNES.get(quirk, ()) if getattr(request, name) is not None]
    for quirk in quirks:
        for name in _DECIDES.get(quirk, ()):
            if getattr(request, name):
                leave_out(request, codec, name, "is refused by this model")
                left_out.append(name)
    return _without(request, left_out)


def without_effort(request: Request, quirks: frozenset[str]) -> Request:
    """The request without its wishes for thought, for formats whose only word for them is what ``no_effort`` refuses."""
    return _without(request, [name for name in _EFFORT if getattr(request, name) is not None]) if "no_effort" in quirks else request


def _without(request: Request, names: list[str]) -> Request:
    changes: dict[str, Any] = {name: _EMPTY.get(name) for name in names}
    return attrs.evolve(request, **changes) if changes else request
