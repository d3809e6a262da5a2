"""Where processes share their counts: what is asked of such a storage, and for how long it may hold up a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

from ..errors import ConfigError

if TYPE_CHECKING:
    from .rate_limit import RateLimit

PATIENCE = 0.1
"""Seconds that a storage may hold up a call at each question."""
SERVERS = ("redis://", "rediss://")


def server(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """The address of a server, or ``None``; a wrong one is not shown, since it may hold a password."""
    if value is not None and not (isinstance(value, str) and value.startswith(SERVERS)):
        raise ConfigError(f"{attribute.name}: the value is no storage; give the address of a Redis server, redis://host:6379/0")


class Receipt(Protocol):
    """What was taken from a storage."""


class Shared(Protocol):
    """A count that processes share; it never raises and never takes long."""

    def take(self, key: str, limit: RateLimit, tokens: int, now: float) -> Receipt | float | None:
        """A receipt, the moment when there may be a place, or ``None`` where the storage fails."""

    def settle(self, receipt: Receipt, used: int, now: float) -> None:
        """Put what was really used in the place of the estimate."""

    def give_back(self, receipt: Receipt, now: float) -> None:
        """The call was not made after all."""

    def left(self, key: str, limit: RateLimit, now: float) -> tuple[int | None, int | None] | None:
        """Requests and tokens that are left, or ``None`` where the storage fails."""

    def close(self) -> None:
        """Give back connections."""
