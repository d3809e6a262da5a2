"""A dispatcher's registry: the one of its configuration, with the pins of its lockfile, which is read with the first call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from ..clock import Deadline
from ..errors import DispatchError
from ..locks import new_lock

logger = logging.getLogger(__name__)

Pins = Callable[[], Mapping[str, int]]
"""Tells the versions of a registry that somebody goes by, by vendor."""


class Kept(Protocol):
    """A registry, as far as a dispatcher uses it."""

    @property
    def versions(self) -> Mapping[str, int]:
        """Its own pins."""

    def with_versions(self, versions: Mapping[str, int]) -> Kept:
        """The same with further pins."""

    def begin(self, user: object, deadline: Deadline) -> None:
        """A call begins."""

    def leave(self, user: object) -> None:
        """There are no more calls."""


class Followed:
    """Where a lockfile pins what the registry itself does not, calls go by a registry with those pins; it is made once."""

    def __init__(self, registry: Kept, pins: Pins) -> None:
        self._given = registry
        self._pins = pins
        self._lock = new_lock()
        self._registry: Kept | None = None

    def begin(self, user: object, deadline: Deadline) -> None:
        """A call of ``user`` begins; see :meth:`Registry.begin`."""
        (self._registry or self._chosen()).begin(user, deadline)

    def leave(self, user: object) -> None:
        """That user makes no more calls."""
        if self._registry is not None:
            self._registry.leave(user)

    def _chosen(self) -> Kept:
        try:
            found = self._pins()
        except DispatchError as error:  # the call itself tells of a lockfile that is wrong, where it needs one
            logger.warning("registry: the lockfile's versions are not known: %s", error.message)
            found = {}
        further = {vendor: number for vendor, number in found.items() if number > 0 and vendor not in self._given.versions}
        chosen = self._given.with_versions(further) if further else self._given
        with self._lock:
            self._registry = self._registry or chosen  # of two threads one was first
            return self._registry
