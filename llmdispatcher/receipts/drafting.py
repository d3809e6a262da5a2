"""Which calls a receipt is to certify: chosen by ids or by a range, each of them settled and without a receipt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection

from ..errors import InvalidRequest
from . import store
from .making import Draft, batch, selection, single
from .store import Range

Calls = str | Iterable[str] | None
"""One id, several, or none for all that a range selects."""

_NAMES = Range.__annotations__.keys()


def drafted(connection: Connection, calls: Calls, chosen: Range) -> Draft:
    """The draft of a single receipt for one id, of a batch for anything else; raises :class:`InvalidRequest`."""
    wanted = checked_range(chosen)
    if calls is None:
        rows = store.uncertified_rows(connection, wanted)
        before = store.count_certified(connection, wanted) if wanted else 0
        return batch(rows, selection("range" if wanted else "uncertified", wanted, before))
    if wanted:
        raise InvalidRequest(f"calls: ids and {', '.join(wanted)} do not go together; give one of them")
    if isinstance(calls, str):
        return single(next(_by_id(connection, [calls])))
    return batch(_by_id(connection, _checked_ids(calls)), selection("ids", {}, 0))


def checked_range(chosen: Range) -> Range:
    """What of a range was given; raises :class:`InvalidRequest` for another name, and for what is no aware time or no text."""
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    for name, value in given.items():
        if name not in _NAMES:
            raise InvalidRequest(f"{name}: calls are not chosen by it; give {', '.join(_NAMES)}")
        if name in ("since", "until") and (not isinstance(value, datetime) or value.tzinfo is None):
            raise InvalidRequest(f"{name}: {value!r} is no time with a zone; give an aware datetime")
        if name in ("origin", "id_at_origin") and not isinstance(value, str):
            raise InvalidRequest(f"{name}: {value!r} is no text; give the text that the calls have")
    return cast(Range, given)


def _by_id(connection: Connection, ids: list[str]) -> Iterator[dict[str, Any]]:
    """The facts of just these calls; raises :class:`InvalidRequest` for the first that cannot be certified."""
    missing = set(ids)
    for facts, sequence in store.rows_by_id(connection, ids):
        if sequence is not None:
            raise InvalidRequest(f"calls: {facts['id']} has a receipt, sequence {sequence}; leave it out")
        if facts["status"] in store.UNSETTLED:
            raise InvalidRequest(
                f"calls: {facts['id']} is {facts['status']}: its row may still change; certify it when it has ended"
            )
        missing.discard(facts["id"])
        yield facts
    if missing:
        raise InvalidRequest(f"calls: the ledger has no {min(missing)}; flush() it first, or give another id")


def _checked_ids(ids: Iterable[str]) -> list[str]:
    found = list(ids)
    if not found or not all(isinstance(one, str) for one in found):
        raise InvalidRequest("calls: it names none; give ids of the ledger, or leave it out for all that have no receipt")
    return found
