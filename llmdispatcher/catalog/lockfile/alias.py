"""An alias in a profile, as routing sees it."""

from __future__ import annotations

from typing import Any

import attrs

LASTING_FAILURES = ("context", "policy", "quota", "auth")
"""The lasting failures after which a pool may go on to its next model: a conversation too long, a refusal by the vendor's policy,
a spent quota, a refused key."""


def parse_failures(value: Any) -> frozenset[str]:
    """Return a list of words of ``LASTING_FAILURES`` as a set; raises ``ValueError`` for anything else."""
    if not isinstance(value, list | tuple | set | frozenset) or not all(word in LASTING_FAILURES for word in value):
        raise ValueError(f"{value!r} is not a list of {', '.join(LASTING_FAILURES)}")
    return frozenset(value)


@attrs.frozen(eq=False)
class Alias:
    """An alias in a profile: its ``models``, the first choice first. It is one object as long as it does not change.

    ``profile`` is ``None`` for the pools of a configuration, which are in no lockfile. ``on`` are the lasting failures
    after which the next model is asked.
    """

    name: str
    profile: str | None
    models: tuple[str, ...]
    on: frozenset[str] = frozenset()
