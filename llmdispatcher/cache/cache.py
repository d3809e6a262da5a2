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
from .entry import CacheEntry, CacheTarget, Hit, Unkeyable, as_hit, key_of, load_hit
from .settings import REDIS, CacheCounts, CacheStats, ResponseCache, attempts_in
from .single_flight import SharedResult, SingleFlight, Source, Tee, TeeReader, TeeRegistry
from .stores import SafeStore


class ReplayedStream:
    """An entry as a stream; ``finish`` gives the whole answer by ``recall``, as a plain call would."""

    def __init__(
        self, response: Response, from_cache: Callable[[Response], Response], fail: Callable[[DispatchError], object]
    ) -> None:
        self._response = response
        self._recall = from_cache
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


class RecordedStream:
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
class CacheRequest:
    """One request, the places where it would be asked, in order, and by when.

    ``check`` raises a :class:`DispatchError` for an answer that must be neither kept nor given to others. ``recall`` is handed an
    answer that nobody was asked for, settles the call and gives what the caller gets; ``fail`` settles it as failed. ``source``
    makes the call for a stream that others read too, and ``adopt`` settles this one as that ended, or with an error of its own.
    """

    request: Request
    places: Sequence[CacheTarget]
    deadline: Deadline
    check: Callable[[Response], object] | None = None
    from_cache: Callable[[Response], Response] = _as_it_is
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
class _StoreKey:
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
        self._tally = CacheCounts()
        self._store = SafeStore(settings, clock, self._tally)
        self._single_flight: SingleFlight[SharedResult] = SingleFlight()
        self._streams = TeeRegistry()
        self._era = 0
        self._latest = object()  # another one whenever an answer is kept

    def send(self, cache_request: CacheRequest, ask: Callable[[], Response]) -> Response:
        """The answer out of the store, or of the same call under way, or of ``ask``, which is then kept."""
        slot = self._slot(cache_request)
        if slot is None:
            return ask()
        latest = self._latest
        known = self._known(cache_request, self._store.get(slot.key))
        if known is not None:
            return cache_request.from_cache(self._spared(known, "hits"))
        try:
            result, others = self._single_flight.ask_once(
                slot.key, cache_request.deadline, partial(self._ask_and_keep, cache_request, slot, ask, latest)
            )
        except BaseException as error:
            cache_request.failed(error)
            raise
        if not (others or result.hit):
            return result.response
        return cache_request.from_cache(self._spared(_again(result), "shared" if others else "hits"))

    def stream(self, cache_request: CacheRequest, begin: Callable[[], ChunkSource]) -> ChunkSource:
        """The answer out of the store piece by piece, or the stream of ``begin``, which is kept when it has ended.

        Where the inquiry has a source, all who ask the same meanwhile read the same stream, each at his own pace.
        """
        slot = self._slot(cache_request)
        if slot is None:
            return begin()
        known = self._known(cache_request, self._store.get(slot.key))
        if known is not None:
            return ReplayedStream(self._spared(known, "hits"), cache_request.from_cache, cache_request.fail)
        if cache_request.source is not None:
            return self._teed(cache_request, slot, cache_request.source)
        self._tally.add("misses")
        opened = begin()
        return RecordedStream(opened, partial(self._keep, cache_request, slot, (opened.vendor, opened.model)))

    def _teed(self, cache_request: CacheRequest, slot: _StoreKey, source: Callable[[], Source]) -> TeeReader:
        """The stream of all who ask this now."""

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
            tee, others = self._streams.joined(slot.key, cache_request.deadline, ask)
        except BaseException as error:
            cache_request.failed(error)
            raise
        return TeeReader(tee, cache_request.deadline, _Settled(self, cache_request), lead=not others)

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

    def _slot(self, cache_request: CacheRequest) -> _StoreKey | None:
        """Where to look; ``None`` for a request that is not cached."""
        request, settings = cache_request.request, self.settings
        ttl = settings.ttl_of(request)
        if ttl is None or not cache_request.places:
            return None
        try:
            tenant = settings.tenant_of(request) if settings.tenant is not None else None
            if settings.tenant is not None and tenant in (None, ""):
                return None
            return _StoreKey(key_of(request, cache_request.places[0], tenant), ttl, tenant, self._era)
        except Unkeyable as error:
            logger.debug("not cached: %s", error)
        except Exception as foreign:  # noqa: BLE001 - a tenant function of the user's may raise anything
            self._store.complain("its tenant function", foreign)
        return None

    def _known(self, cache_request: CacheRequest, entry: bytes | None) -> Hit | None:
        known = self._store.read(entry) if entry is not None else None
        return known if known is not None and cache_request.accepts(known.response) else None

    def _ask_and_keep(
        self, cache_request: CacheRequest, slot: _StoreKey, ask: Callable[[], Response], latest: object
    ) -> SharedResult:
        """The answer of the one that asks for all; somebody here may have been faster between the look and the lead."""
        if self._latest is not latest:
            entry = self._store.get(slot.key)
            known = self._known(cache_request, entry)
            if known is not None:
                return SharedResult(response=known.response, entry=entry, hit=True)
        self._tally.add("misses")
        response = ask()
        return self._keep(cache_request, slot, _answered_by(response), response)

    def _keep(
        self, cache_request: CacheRequest, slot: _StoreKey, where: tuple[str, str] | None, response: Response
    ) -> SharedResult:
        """Store a whole answer, under the place that gave it; others that wait may have one that is cut off, too."""
        if not cache_request.accepts(response):
            return SharedResult(response=response, shared=False)
        try:
            entry = CacheEntry(response)
        except (TypeError, ValueError, RecursionError) as error:
            logger.debug("an answer is not kept: %s", type(error).__name__)
            return SharedResult(response=response)
        key = _key_at(cache_request, slot, where)
        settings = self.settings
        if key is not None and entry.fits(settings.max_entry_bytes) and settings.worth_keeping(response) and slot.era == self._era:
            self._store.put(key, entry, slot.ttl)
            self._latest = object()
        return SharedResult(response=response, entry=entry)

    def _spared(self, hit: Hit, how: str) -> Response:
        self._tally.spared(how, hit.saved)
        return hit.response

    def shared(self, result: SharedResult) -> Response:
        """An answer that another had asked for, as a hit."""
        return self._spared(_again(result), "shared")


@attrs.frozen
class _Settled:
    """How one reader of a stream that others read too is settled: with what it cost, or as a hit."""

    cache: AnswerCache
    cache_request: CacheRequest

    def finished(self, result: SharedResult, source: Source, *, pays: bool) -> Response:
        """With the whole answer."""
        if not pays:
            return self.cache_request.from_cache(self.cache.shared(result))
        self.cache_request.adopt(source, None)
        return result.response

    def failed(self, error: DispatchError, source: Source, *, pays: bool) -> None:
        """With a failure."""
        if pays:
            self.cache_request.adopt(source, error)
        else:
            self.cache_request.fail(error)


def _again(result: SharedResult) -> Hit:
    """An answer for somebody else than who had asked."""
    return load_hit(bytes(result.entry)) if result.entry is not None else as_hit(result.response)


def _answered_by(response: Response) -> tuple[str, str] | None:
    """Vendor and model that were asked, by the trace, since an answer may name its model in more detail; ``None`` without one."""
    for record in reversed(attempts_in(response)):
        if record.error is None:
            return record.vendor, record.model
    return None


def _key_at(cache_request: CacheRequest, slot: _StoreKey, where: tuple[str, str] | None) -> str | None:
    """The key of the place that answered: the first, or one that stood in for it."""
    for number, place in enumerate(cache_request.places):
        if where in (None, (place.vendor, place.model)):
            return key_of(cache_request.request, place, slot.tenant) if number else slot.key
    return None
