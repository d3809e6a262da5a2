"""The models that vendors say they have. A local server is asked for its list before a name that nobody knows is refused.

A list costs nothing. Each is asked for at most once in :data:`EVERY` seconds, whatever the answer; a call that comes meanwhile
waits for the answer. Neither takes more of a call than :data:`PATIENCE` and a quarter of what is left of its deadline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from ..cache import SingleFlight
from ..errors import DeadlineExceeded, DispatchError
from ..runtime import Deadline, fan_out, new_lock
from ..types import is_model_name

EVERY = 300.0
"""Seconds between two questions to one vendor."""
PATIENCE = 2.0
"""The most seconds for one answer, and no more than a quarter of what is left of the call's deadline."""
_DEFAULT_TAG = ":latest"


@attrs.frozen
class _Listed:
    """The list of one vendor, in its order, and when it was read (monotonic); ``names`` is ``None`` before the first answer."""

    at: float
    names: tuple[str, ...] | None
    failure: str = ""
    shared: bool = True


class ModelLists:
    """The lists of models that vendors gave; safe under threads."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._lists: dict[str, _Listed] = {}
        self._flights: SingleFlight[_Listed] = SingleFlight()

    def has(self, vendor: str, model: str) -> bool | None:
        """Whether a vendor lists a model; ``None`` where its list was never read."""
        listed = self._lists.get(vendor)
        if listed is None or listed.names is None:
            return None
        return model in listed.names or f"{model}{_DEFAULT_TAG}" in listed.names

    def is_unread(self, vendor: str) -> bool:
        """Whether a vendor was never asked for its list."""
        return vendor not in self._lists

    def is_due(self, vendor: str, now: float) -> bool:
        """Whether a vendor may be asked for its list again; ``now`` is monotonic."""
        listed = self._lists.get(vendor)
        return listed is None or now - listed.at >= EVERY

    def names(self, vendor: str) -> tuple[str, ...]:
        """Return the models that a vendor lists, in its own order: Ollama lists the model that was changed last first."""
        listed = self._lists.get(vendor)
        return listed.names or () if listed is not None else ()

    def is_read(self, vendor: str) -> bool:
        """Whether a vendor has ever answered."""
        listed = self._lists.get(vendor)
        return listed is not None and listed.names is not None

    def failure(self, vendor: str) -> str:
        """Why a vendor's list could not be read when it was last asked for; empty where it could."""
        listed = self._lists.get(vendor)
        return listed.failure if listed is not None else ""

    def keep(self, vendor: str, names: Iterable[str], now: float) -> None:
        """Keep a list that was read elsewhere."""
        with self._lock:
            self._lists[vendor] = _Listed(now, _usable(names))

    def ask(self, vendors: Mapping[str, Any], deadline: Deadline) -> bool:
        """Ask the vendors that are due for their lists, all at once; return whether any was.

        Raises :class:`Cancelled` and :class:`DeadlineExceeded` for the call's own end. A list that fails is kept as such, whatever
        it raises and whosever time is over, and what the vendor said before still holds; one that a cancelled call was reading
        is not.
        """
        due = [name for name in vendors if self.is_due(name, deadline.clock.monotonic())]
        patience = min(PATIENCE, deadline.check() / 4) if due else PATIENCE

        def ask(name: str) -> None:
            waits = Deadline(
                min(deadline.at, deadline.clock.monotonic() + patience), deadline.clock, deadline.cancellation, patience
            )
            try:
                self._flights.fly(name, waits, lambda: self._listed(name, vendors[name], deadline, patience))
            except DeadlineExceeded:  # of a list that another call asks for, unless it is this call's own
                deadline.check()

        if len(due) == 1:
            ask(due[0])
        elif due:
            list(fan_out(ask, due, len(due), return_errors=False))
        return bool(due)

    def _listed(self, name: str, vendor: Any, deadline: Deadline, patience: float) -> _Listed:
        clock, known = deadline.clock, self._lists.get(name)
        began = clock.monotonic()
        if known is not None and not self.is_due(name, began):
            return known  # another call has just heard it
        names, failure = known.names if known is not None else None, ""
        try:
            end = Deadline(min(deadline.at, began + patience), clock, deadline.cancellation, patience)
            names = _usable(vendor.list_models(end))
        except Exception as error:  # noqa: BLE001 - a vendor of the user's own may raise anything, and one list is no call
            if deadline.cancelled:  # which says nothing about the vendor
                deadline.check()
            failure = type(error).__name__
            if isinstance(error, DispatchError):  # the words of others may hold secrets
                failure = f"{failure}: {error.message}"
        listed = _Listed(began, names, failure)
        with self._lock:
            self._lists[name] = listed
        return listed


def _usable(names: Iterable[str]) -> tuple[str, ...]:
    """Return the valid names, each once: a user's own vendor may list anything."""
    return tuple(dict.fromkeys([name for name in names if is_model_name(name)]))
