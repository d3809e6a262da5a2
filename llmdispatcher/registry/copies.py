"""What a registry's documents are now: in memory, on the shelf, or at the registry; each asked for once at a time, when it is due.

```
   in memory, not due ──► given                       (a version of its own is never due again)
   else on the shelf, not due ──► given               (another process has asked)
   else asked with its tag ──► 304: confirmed ──► given
                          └──► 200: read, kept ──► given
                          └──► anything else: raised, and what is held stays held
```
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

import attrs

from ..caching.flight import Flights
from ..clock import Clock, Deadline
from ..errors import DispatchError, MalformedReply
from ..locks import new_lock
from .edition import Edition
from .reading import Reader
from .shelf import Kept, Shelf

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Document(Generic[T]):
    """One document of a registry: its path, how its bytes are read, and whether it never changes."""

    path: str
    parse: Callable[[bytes], T]
    immutable: bool = False


@attrs.frozen(kw_only=True)
class Copy(Generic[T]):
    """A document as it is held; ``fetched`` tells whether this process had it from the registry, or from its shelf."""

    value: T
    kept: Kept = attrs.field(repr=False)
    fetched: bool
    shared: bool = True

    def age(self, now: datetime) -> float:
        """Seconds since the registry last confirmed it; negative where the wall clock was set back."""
        return (now - self.kept.checked_at).total_seconds()


class Copies:
    """The copies of one registry; safe under threads, processes and a fork."""

    def __init__(self, reader: Reader, shelf: Shelf, ttl: float, clock: Clock) -> None:
        self._reader = reader
        self._shelf = shelf
        self._ttl = ttl
        self._clock = clock
        self._lock = new_lock()
        self._held: dict[str, Copy[Any]] = {}
        self._flights: Flights[Copy[Any]] = Flights()

    def get(self, document: Document[T], deadline: Deadline, *, force: bool = False) -> Copy[T]:
        """The document; with ``force`` the registry is asked even before it is due. Raises :class:`DispatchError`."""
        held = self.held(document)
        if held is not None and (document.immutable or not (force or self.due(held))):
            return held
        return self._flights.fly(document.path, deadline, lambda: self._asked(document, deadline, force=force))[0]

    def held(self, document: Document[T]) -> Copy[T] | None:
        """What is in memory, else on the shelf; asks nobody."""
        found: Copy[T] | None = self._held.get(document.path)
        return found or self._from_shelf(document)

    def due(self, held: Copy[Any]) -> bool:
        """Whether it is time to ask again; a time of confirmation in the future is none."""
        return not 0 <= held.age(self._clock.now()) < self._ttl

    def forget(self) -> int:
        """Delete what is kept, in memory and on the shelf; how many documents lay there."""
        with self._lock:
            self._held = {}
        return self._shelf.clear()

    def _asked(self, document: Document[T], deadline: Deadline, *, force: bool) -> Copy[T]:
        held = self._from_shelf(document) or self._held.get(document.path)
        if held is not None and (document.immutable or not (force or self.due(held))):
            return held
        brought = self._reader.read(document.path, held.kept.etag if held is not None else None, deadline)
        now = self._clock.now()
        if brought.body is None and held is not None:
            kept, value = attrs.evolve(held.kept, checked_at=now), held.value
        else:
            kept = Kept(body=brought.body or b"", etag=brought.etag, checked_at=now)
            value = document.parse(kept.body)
            _check_order(held, value)
        self._shelf.save(document.path, kept)
        return self._hold(document, Copy(value=value, kept=kept, fetched=True))

    def _from_shelf(self, document: Document[T]) -> Copy[T] | None:
        """What another process, or an earlier one, has kept; what is in memory and the same is not read twice."""
        kept, held = self._shelf.load(document.path), self._held.get(document.path)
        if kept is None or (held is not None and kept.checked_at <= held.kept.checked_at):
            return held
        if held is not None and kept.body == held.kept.body:
            return self._hold(document, attrs.evolve(held, kept=kept))
        with contextlib.suppress(DispatchError):  # it was whole, and is yet no document: as if there were none
            return self._hold(document, Copy(value=document.parse(kept.body), kept=kept, fetched=False))
        return held

    def _hold(self, document: Document[T], copy: Copy[T]) -> Copy[T]:
        with self._lock:
            self._held = {**self._held, document.path: copy}
        return copy


def _check_order(held: Copy[Any] | None, value: Any) -> None:
    """Refuse a version that is older than the one held: a stale server in between, or somebody who rolls prices back."""
    if held is not None and isinstance(value, Edition) and value.version < held.value.version:
        raise MalformedReply(
            f"registry {value.vendor}: it serves version {value.version} after {held.value.version}, which stays; "
            "clear the cache if that is meant"
        )
