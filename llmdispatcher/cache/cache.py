"""The cache of a dispatcher: look up a response, or ask the vendor and store what it gave.

A failing store never fails a call. A stored entry is replayed as a stream in pieces; a stream is stored once it has ended well.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

import attrs

from .._text import room_logger
from ..errors import DispatchError
from ..runtime import Clock, Deadline
from ..types import ChunkSource, Request, Response, StreamChunk, itself, not_pickled, unfold
from .entry import Entry, Hit, Place, Unkeyable, as_hit, key_of, recalled
from .settings import REDIS, CacheStats, ResponseCache, Tally, attempts_in
from .single_flight import Flights, Landed, Source, Tee, Teed, Tees
from .stores import GuardedStore


class Replayed:
    """An entry as a stream; ``finish`` gives the whole answer by ``recall``, as a plain call would."""

    def __init__(self, response: Response, recall: Callable[[Response], Response], fail: Callable[[DispatchError], object]) -> None:
        self._response = response
        self._recall = recall
        self._fail = fail
        self.vendor = response.vendor
        self.model = response.model
        self.movable = True
        self.batches = _replayed(response)
        self.close = self.batches.close

    def finish(self, _folded: Response) -> Response:
        """Settle as a hit."""
        return self._recall(self._response)

    def fail(self, error: DispatchError, _partial: Response) -> None:
        """Settle as a failure: the reader has stopped it."""
        self._fail(error)


def _replayed(response: Response) -> Generator[list[StreamChunk]]:
    yield list(unfold(response))


class Recorded:
    """A stream on its way; ``keep`` is given the answer when it has ended, settled and passed every check."""

    def __init__(self, opened: ChunkSource, keep: Callable[[Response], object]) -> None:
        self._opened = opened
        self._keep = keep
        self.vendor = opened.vendor
        self.model = opened.model
        self.movable = opened.movable
        self.batches = opened.batches
        self.close = opened.close

    def finish(self, response: Response) -> Response:
        """Settle as a success, then keep it."""
        finished = self._opened.finish(response)
        self._keep(finished)
        return finished

    def fail(self, error: DispatchError, partial: Response) -> None:
        """Settle as a failure; nothing is kept."""
        self._opened.fail(error, partial)


logger = room_logger("cache")


def _unheard(_error: DispatchError) -> None:
    """Nobody settles."""


def _adopted(_source: Source, _error: DispatchError | None) -> None:
    """Nobody settles."""


def _as_it_is(response: Response) -> Response:
    return response


@attrs.define(kw_only=True, eq=False)
class Inquiry:
    """One request, the places where it would be asked, in order, and by when.

    ``check`` raises a :class:`DispatchError` for an answer that must be neither kept nor given to others. ``recall`` is handed an
    answer that nobody was asked for, settles the call and gives what the caller gets; ``fail`` settles it as failed. ``source``
    makes the call for a stream that others read too, and ``adopt`` settles this one as that ended, or with an error of its own.
    """

    request: Request
    places: Sequence[Place]
    deadline: Deadline
    check: Callable[[Response], object] | None = None
    recall: Callable[[Response], Response] = _as_it_is
    fail: Callable[[DispatchError], object] = _unheard
    adopt: Callable[[Any, DispatchError | None], object] = _adopted
    source: Callable[[], Source] | None = None

    def failed(self, error: BaseException) -> None:
        """Settle the call as failed."""
        self.fail(error if isinstance(error, DispatchError) else DispatchError(f"interrupted by {type(error).__name__}"))

    def accepts(self, response: Response) -> bool:
        """Whether the check, if there is one, lets an answer through."""
        try:
            if self.check is not None:
                self.check(response)
        except DispatchError:
            return False
        return True


@attrs.define(eq=False)
class _Slot:
    """Where an answer is looked for, and how long it may stay there; ``era`` counts how often the cache was cleared."""

    key: str
    ttl: float
    tenant: Any
    era: int


class AnswerCache:
    """Answers that need not be asked for again; safe to share between threads and after a fork.

    Nothing is opened before the first use. Raises :class:`ConfigError` for a Redis server without the extra ``redis``.
    """

    __copy__, __reduce__ = itself, not_pickled

    def __init__(self, settings: ResponseCache, clock: Clock) -> None:
        if settings.store.startswith(REDIS):
            from .redis import check_installed

            check_installed()
        self.settings = settings
        self._tally = Tally()
        self._store = GuardedStore(settings, clock, self._tally)
        self._flights: Flights[Landed] = Flights()
        self._streams = Tees()
        self._era = 0
        self._latest = object()  # another one whenever an answer is kept

    def send(self, inquiry: Inquiry, ask: Callable[[], Response]) -> Response:
        """The answer out of the store, or of the same call under way, or of ``ask``, which is then kept."""
        slot = self._slot(inquiry)
        if slot is None:
            return ask()
        latest = self._latest
        known = self._known(inquiry, self._store.get(slot.key))
        if known is not None:
            return inquiry.recall(self._spared(known, "hits"))
        try:
            landed, others = self._flights.fly(slot.key, inquiry.deadline, partial(self._led, inquiry, slot, ask, latest))
        except BaseException as error:
            inquiry.failed(error)
            raise
        if not (others or landed.hit):
            return landed.response
        return inquiry.recall(self._spared(_again(landed), "shared" if others else "hits"))

    def stream(self, inquiry: Inquiry, begin: Callable[[], ChunkSource]) -> ChunkSource:
        """The answer out of the store piece by piece, or the stream of ``begin``, which is kept when it has ended.

        Where the inquiry has a source, all who ask the same meanwhile read the same stream, each at his own pace.
        """
        slot = self._slot(inquiry)
        if slot is None:
            return begin()
        known = self._known(inquiry, self._store.get(slot.key))
        if known is not None:
            return Replayed(self._spared(known, "hits"), inquiry.recall, inquiry.fail)
        if inquiry.source is not None:
            return self._teed(inquiry, slot, inquiry.source)
        self._tally.add("misses")
        opened = begin()
        return Recorded(opened, partial(self._keep, inquiry, slot, (opened.vendor, opened.model)))

    def _teed(self, inquiry: Inquiry, slot: _Slot, source: Callable[[], Source]) -> Teed:
        """The stream of all who ask this now."""

        def ask() -> Tee:
            self._tally.add("misses")
            made = source()
            try:
                opened = made.begin()
            except DispatchError as error:
                inquiry.adopt(made, error)
                raise
            return self._streams.open(
                slot.key, made, opened, lambda response: self._keep(inquiry, slot, (opened.vendor, opened.model), response)
            )

        try:
            tee, others = self._streams.joined(slot.key, inquiry.deadline, ask)
        except BaseException as error:
            inquiry.failed(error)
            raise
        return Teed(tee, inquiry.deadline, _Settled(self, inquiry), lead=not others)

    def clear(self) -> bool:
        """Forget all answers, for all that share the store, and those under way here; False, logged, where the store fails."""
        self._era += 1
        return self._store.clear()

    def stats(self) -> CacheStats:
        """The counts as of one moment."""
        return self._tally.snapshot()

    def close(self) -> None:
        """Give back the store's connections; new ones are opened if the cache is used again."""
        self._store.close()

    def _slot(self, inquiry: Inquiry) -> _Slot | None:
        """Where to look; ``None`` for a request that is not cached."""
        request, settings = inquiry.request, self.settings
        ttl = settings.ttl_of(request)
        if ttl is None or not inquiry.places:
            return None
        try:
            tenant = settings.tenant_of(request) if settings.tenant is not None else None
            if settings.tenant is not None and tenant in (None, ""):
                return None
            return _Slot(key_of(request, inquiry.places[0], tenant), ttl, tenant, self._era)
        except Unkeyable as error:
            logger.debug("not cached: %s", error)
        except Exception as foreign:  # noqa: BLE001 - a tenant function of the user's may raise anything
            self._store.complain("its tenant function", foreign)
        return None

    def _known(self, inquiry: Inquiry, entry: bytes | None) -> Hit | None:
        known = self._store.read(entry) if entry is not None else None
        return known if known is not None and inquiry.accepts(known.response) else None

    def _led(self, inquiry: Inquiry, slot: _Slot, ask: Callable[[], Response], latest: object) -> Landed:
        """The answer of the one that asks for all; somebody here may have been faster between the look and the lead."""
        if self._latest is not latest:
            entry = self._store.get(slot.key)
            known = self._known(inquiry, entry)
            if known is not None:
                return Landed(response=known.response, entry=entry, hit=True)
        self._tally.add("misses")
        response = ask()
        return self._keep(inquiry, slot, _answered_by(response), response)

    def _keep(self, inquiry: Inquiry, slot: _Slot, where: tuple[str, str] | None, response: Response) -> Landed:
        """Store a whole answer, under the place that gave it; others that wait may have one that is cut off, too."""
        if not inquiry.accepts(response):
            return Landed(response=response, shared=False)
        try:
            entry = Entry(response)
        except (TypeError, ValueError, RecursionError) as error:
            logger.debug("an answer is not kept: %s", type(error).__name__)
            return Landed(response=response)
        key = _key_at(inquiry, slot, where)
        settings = self.settings
        if key is not None and entry.fits(settings.max_entry_bytes) and settings.worth_keeping(response) and slot.era == self._era:
            self._store.put(key, entry, slot.ttl)
            self._latest = object()
        return Landed(response=response, entry=entry)

    def _spared(self, hit: Hit, how: str) -> Response:
        self._tally.spared(how, hit.saved)
        return hit.response

    def shared(self, landed: Landed) -> Response:
        """An answer that another had asked for, as a hit."""
        return self._spared(_again(landed), "shared")


@attrs.frozen
class _Settled:
    """How one reader of a stream that others read too is settled: with what it cost, or as a hit."""

    cache: AnswerCache
    inquiry: Inquiry

    def finished(self, landed: Landed, source: Source, *, pays: bool) -> Response:
        """With the whole answer."""
        if not pays:
            return self.inquiry.recall(self.cache.shared(landed))
        self.inquiry.adopt(source, None)
        return landed.response

    def failed(self, error: DispatchError, source: Source, *, pays: bool) -> None:
        """With a failure."""
        if pays:
            self.inquiry.adopt(source, error)
        else:
            self.inquiry.fail(error)


def _again(landed: Landed) -> Hit:
    """An answer for somebody else than who had asked."""
    return recalled(bytes(landed.entry)) if landed.entry is not None else as_hit(landed.response)


def _answered_by(response: Response) -> tuple[str, str] | None:
    """Vendor and model that were asked, by the trace, since an answer may name its model in more detail; ``None`` without one."""
    for record in reversed(attempts_in(response)):
        if record.error is None:
            return record.vendor, record.model
    return None


def _key_at(inquiry: Inquiry, slot: _Slot, where: tuple[str, str] | None) -> str | None:
    """The key of the place that answered: the first, or one that stood in for it."""
    for number, place in enumerate(inquiry.places):
        if where in (None, (place.vendor, place.model)):
            return key_of(inquiry.request, place, slot.tenant) if number else slot.key
    return None
