"""The key that an attempt shows, where each of a vendor's keys has limits of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..errors import DispatchError

if TYPE_CHECKING:
    from .limits import Place


class KeyLease:
    """The key of a place in the limits, and where it goes when that is refused; a :class:`~llmdispatcher.meter.Lease`."""

    def __init__(self, place: Place, move: Callable[[Sequence[int], DispatchError], int | None]) -> None:
        self._place = place
        self._move = move

    @property
    def key(self) -> int | None:
        """Its number."""
        return self._place.key

    def move(self, awake: Sequence[int], error: DispatchError) -> int | None:
        """Take a place of another of these keys, after a refusal; ``None`` where none has one."""
        return self._move(awake, error)
