"""Whether, and how often, another target goes on with a stream that broke off after text was delivered."""

from __future__ import annotations

from typing import Any

import attrs

from . import checks


@attrs.frozen(kw_only=True)
class Continuation:
    """Let another target go on where a stream of plain text broke off, at most ``max_times`` in one call.

    Each continuation is one more request that is billed: the whole conversation, and the text so far. A repetition of the end of
    that text is cut, up to ``max_overlap`` characters, which are held back until it is clear whether they repeat.
    """

    max_times: int = attrs.field(default=1, validator=[checks.integer, checks.at_least(0)])
    max_overlap: int = attrs.field(default=400, validator=[checks.integer, checks.at_least(0)])


def continuation(value: Any) -> Continuation | None:
    """The setting that a value of the configuration stands for: True is the default one, ``None`` and False are none."""
    if isinstance(value, bool):
        return Continuation() if value else None
    return None if value is None else checks.build(Continuation, value, "continuation")


def wanted(configured: Continuation | None, wish: bool | None) -> Continuation | None:
    """What counts for one request: its own switch, and where it has none the configuration."""
    if wish is False:
        return None
    return configured or (Continuation() if wish else None)
