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
from ..types import ChunkSource, Request, Response, StreamChunk, copy_self, refuse_pickling, unfold
from .entry import CacheTarget, Entry, Hit, RequestKeys, Unkeyable, as_hit, decode_hit
from .settings import CacheCounters, CacheStats, ResponseCache, attempts_in
from .single_flight import SharedCall, SharedResult, SingleFlight, Tee, Teed, Tees
from .stores import SafeStore


class ReplayedStream:
    """A cached response as a stream; ``finish`` returns the whole response from ``recall``, as a plain call does."""

    def __init__(self, response: Response, recall: Callable[[Response], Response], fail: Callable[[DispatchError], object]) -> None:
        self._response = response
        self._recall = recall
        self._fail = fail
        self.vendor = response.vendor
        self.model = response.model
        self.movable = True
        self.batches = _replay_batches(response)
        self.close = self.batches.close

    def finish(self, _folded: Response) -> Response:
        """Settle as a hit."""
        return self._recall(self._response)

    def fail(self, error: DispatchError, _partial: Response) -> None:
        """Settle as a failure: the reader stopped the stream."""
        self._fail(error)


def _replay_batches(response: Response) -> Generator[list[StreamChunk]]:
    yield list(unfold(response))


class RecordedStream:
    """A stream to be cached; ``keep`` gets the response when it has ended, is settled, and has passed every check."""

    def __init__(self, opened: ChunkSource, keep: Callable[[Response], object]) -> None:
        self._opened = opened
        self._keep = keep
        self.vendor = opened.vendor
        self.model = opened.model
        self.movable = opened.movable
        self.batches = opened.batches
        self.close = opened.close
        self.fail = opened.fail

    def finish(self, response: Response) -> Response:
        """Settle as a success, then keep the response."""
        finished = self._opened.finish(response)
        self._keep(finished)
        return finished


logger = room_logger("cache")


def _do_nothing(*_: object) -> None:
    pass


def _as_it_is(response: Response) -> Response:
    return response


@attrs.define(kw_only=True, eq=False)
class CacheRequest:
    """One request, its targets in order, and its deadline.

    ``check`` raises a :class:`DispatchError` for a response that must be neither kept nor shared. ``recall`` gets a cached
    response, settles the call, and returns the caller's response; ``fail`` settles the call as failed. ``source`` makes the call of
    a shared stream, and ``adopt`` settles this call as that one ended, or with an error of its own. The first ``alike`` places
    share the calls and have one key, since an answer of one is as good as that of another.
    """

    request: Request
    places: Sequence[CacheTarget]
    deadline: Deadline
    alike: int = 1
    check: Callable[[Response], object] | None = None
    recall: Callable[[Response], Response] = _as_it_is
    fail: Callable[[DispatchError], object] = _do_nothing
    adopt: Callable[[Any, DispatchError | None], object] = _do_nothing
    source: Callable[[], SharedCall] | None = None

    def failed(self, error: BaseException) -> None:
        """Settle the call as failed."""
        self.fail(error if isinstance(error, DispatchError) else DispatchError(f"interrupted by {type(error).__name__}"))

    def accepts(self, response: Response) -> bool:
        """Tell whether a response passes the check, if there is one."""
        if self.check is None:
            return True
        try:
            self.check(response)
        except DispatchError:
            return False
        return True


@attrs.define(eq=False)
class _Slot:
    """The key and the time to live of a response; ``era`` counts how often the cache was cleared."""

    key: str
    keys: RequestKeys
    ttl: float
    era: int


class AnswerCache:
    """Cached responses; safe to share between threads and after a fork.

    Nothing is opened before the first use. Raises :class:`ConfigError` where the extra of the store is missing.
    """

    __copy__, __reduce__ = copy_self, refuse_pickling

    def __init__(self, settings: ResponseCache, clock: Clock) -> None:
        self.settings = settings
        self._tally = CacheCounters()
        self._store = SafeStore(settings, clock, self._tally)
        self._flights: SingleFlight[SharedResult] = SingleFlight()
        self._streams = Tees()
        self._era = 0
        self._latest = object()  # a new object whenever a response is kept

    def send(self, cache_request: CacheRequest, ask: Callable[[], Response]) -> Response:
        """Return the response from the store, of an identical call in flight, or of ``ask``, which is then kept."""
        slot = self._slot(cache_request)
        if slot is None:
            return ask()
        latest = self._latest
        entry = self._store.get(slot.key)
        known = self._read_hit(cache_request, entry) if entry is not None else None
        if known is not None:
            return cache_request.recall(self._count_hit(known, "hits"))
        try:
            result, others = self._flights.fly(
                slot.key, cache_request.deadline, partial(self._lead, cache_request, slot, ask, latest)
            )
        except BaseException as error:
            cache_request.failed(error)
            raise
        if not (others or result.hit):
            return result.response
        return cache_request.recall(self._count_hit(_again(result), "shared" if others else "hits"))

    def stream(self, cache_request: CacheRequest, begin: Callable[[], ChunkSource]) -> ChunkSource:
        """Return the cached response as a stream, or the stream of ``begin``, which is kept when it has ended.

        If the request has a source, identical calls meanwhile read the same stream, each at its own pace.
        """
        slot = self._slot(cache_request)
        if slot is None:
            return begin()
        entry = self._store.get(slot.key)
        known = self._read_hit(cache_request, entry) if entry is not None else None
        if known is not None:
            return ReplayedStream(self._count_hit(known, "hits"), cache_request.recall, cache_request.fail)
        if cache_request.source is not None:
            return self._share_stream(cache_request, slot, cache_request.source)
        self._tally.add("misses")
        opened = begin()
        return RecordedStream(opened, partial(self._keep, cache_request, slot, (opened.vendor, opened.model)))

    def _share_stream(self, cache_request: CacheRequest, slot: _Slot, source: Callable[[], SharedCall]) -> Teed:
        """The stream that identical calls share."""

        def ask() -> Tee:
            self._tally.add("misses")
            made = source()
            try:
                opened = made.begin()
            except DispatchError as error:
                cache_request.adopt(made, error)
                raise
            return self._streams.open(
                slot.key, made, opened, lambda response: self._keep(cache_request, slot, (opened.vendor, opened.model), response)
            )

        try:
            tee, others = self._streams.join(slot.key, cache_request.deadline, ask)
        except BaseException as error:
            cache_request.failed(error)
            raise
        return Teed(tee, cache_request.deadline, _ReaderSettlement(self, cache_request), lead=not others)

    def clear(self) -> bool:
        """Delete all responses in the store, and keep none that is in flight here; a failure is logged, and returns False."""
        self._era += 1
        return self._store.clear()

    def stats(self) -> CacheStats:
        """Return the counts of this moment."""
        return self._tally.snapshot()

    def close(self) -> None:
        """Close the store's connections; a later use opens new ones."""
        self._store.close()

    def _slot(self, cache_request: CacheRequest) -> _Slot | None:
        """The slot of a request, ``None`` if it is not cached."""
        request, settings = cache_request.request, self.settings
        ttl = settings.ttl_of(request)
        if ttl is None or not cache_request.places:
            return None
        try:
            tenant = settings.tenant_of(request) if settings.tenant is not None else None
            if settings.tenant is not None and tenant in (None, ""):
                return None
            shared = min(cache_request.places[: cache_request.alike], key=_name_of)  # the same one, whoever is asked first
            keys = RequestKeys(request, tenant)
            return _Slot(keys.at(shared), keys, ttl, self._era)
        except Unkeyable as error:
            logger.debug("not cached: %s", error)
        except Exception as foreign:  # noqa: BLE001 - a tenant function of the user's may raise anything
            self._store.complain("its tenant function", foreign)
        return None

    def _read_hit(self, cache_request: CacheRequest, entry: bytes) -> Hit | None:
        known = self._store.read(entry)
        return known if known is not None and cache_request.accepts(known.response) else None

    def _lead(self, cache_request: CacheRequest, slot: _Slot, ask: Callable[[], Response], latest: object) -> SharedResult:
        """Ask for all waiting calls, unless the response has been kept in the meantime."""
        if self._latest is not latest:
            entry = self._store.get(slot.key)
            known = self._read_hit(cache_request, entry) if entry is not None else None
            if known is not None:
                return SharedResult(response=known.response, entry=entry, hit=True)
        self._tally.add("misses")
        response = ask()
        return self._keep(cache_request, slot, _answered_by(response), response)

    def _keep(self, cache_request: CacheRequest, slot: _Slot, where: tuple[str, str] | None, response: Response) -> SharedResult:
        """Store a whole response, under the target that gave it; waiting calls get one that was cut off, too."""
        if not cache_request.accepts(response):
            return SharedResult(response=response, shared=False)
        try:
            entry = Entry(response)
        except (TypeError, ValueError, RecursionError) as error:
            logger.debug("an answer is not kept: %s", type(error).__name__)
            return SharedResult(response=response)
        key = _key_at(cache_request, slot, where)
        settings = self.settings
        if key is not None and entry.fits(settings.max_entry_bytes) and settings.worth_keeping(response) and slot.era == self._era:
            self._store.put(key, entry, slot.ttl)
            self._latest = object()
        return SharedResult(response=response, entry=entry)

    def _count_hit(self, hit: Hit, how: str) -> Response:
        self._tally.spared(how, hit.saved)
        return hit.response

    def shared(self, result: SharedResult) -> Response:
        """Return the response of another call as a hit."""
        return self._count_hit(_again(result), "shared")


@attrs.frozen
class _ReaderSettlement:
    """Settles one reader of a shared stream: with its cost, or as a hit."""

    cache: AnswerCache
    cache_request: CacheRequest

    def finished(self, result: SharedResult, source: SharedCall, *, pays: bool) -> Response:
        """Settle with the whole response."""
        if not pays:
            return self.cache_request.recall(self.cache.shared(result))
        self.cache_request.adopt(source, None)
        return result.response

    def failed(self, error: DispatchError, source: SharedCall, *, pays: bool) -> None:
        """Settle with a failure."""
        if pays:
            self.cache_request.adopt(source, error)
        else:
            self.cache_request.fail(error)


def _again(result: SharedResult) -> Hit:
    """A shared response as a hit of another call."""
    return decode_hit(bytes(result.entry)) if result.entry is not None else as_hit(result.response)


def _answered_by(response: Response) -> tuple[str, str] | None:
    """The vendor and the model asked, by the trace, since the response may name its model in more detail."""
    for record in reversed(attempts_in(response)):
        if record.error is None:
            return record.vendor, record.model
    return None


def _key_at(cache_request: CacheRequest, slot: _Slot, where: tuple[str, str] | None) -> str | None:
    """The key of the target that answered: that of those which share the calls, or a fallback's."""
    for number, place in enumerate(cache_request.places):
        if where in (None, (place.vendor, place.model)):
            return slot.key if number < cache_request.alike else slot.keys.at(place)
    return None


def _name_of(place: CacheTarget) -> tuple[str, str]:
    return place.vendor, place.model
