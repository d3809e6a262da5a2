"""``Registry``: the models that a registry publishes for each vendor, cached on disk, and refreshed in the background.

A dispatcher's registry is that of its configuration, with the pins of its lockfile; it is read with the first call. One daemon
thread (:class:`Keeper`) keeps its rows over the catalog as long as dispatchers use it. The thread starts with the first call, in a
forked child with the first call there. It loads what is on disk, fetches what is due, puts the result over the catalog, and sleeps
until more is due. The first calls wait for it until something is known, at most ``Registry(wait=...)`` seconds; later calls never
wait.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from os import PathLike
from typing import Protocol

from ..._text import room_logger
from ...errors import Cancelled, DispatchError, RegistryStale, VendorUnavailable
from ...runtime import SYSTEM_CLOCK, Cancellation, Clock, Deadline, new_lock
from ...types import suggesting
from ..models import apply_registry
from .document import Edition, checksum_holds, read_edition, read_json
from .source import (
    MANIFEST,
    VENDOR,
    Source,
    document_path,
    known_since,
    known_version,
    pins,
    reader_for,
    seconds,
    shelf_folder,
    vendor_name,
)
from .status import Changes, Drift, RegistryStatus, catalog_rows, changes, pinned, published_ago, standing
from .store import Copies, Copy, Document, Shelf

USUAL = ("anthropic", "google", "openai")
"""The vendors of a registry that does not list its own."""
MOST_VENDORS = 64


def models_of(vendor: str, version: int | None = None) -> Document[Edition]:
    """A vendor's models: the current ones, or those of a version, which never changes."""
    path = document_path(vendor, version)
    return Document(path=path, parse=partial(_read, vendor, version), immutable=version is not None)


def _read(vendor: str, version: int | None, body: bytes) -> Edition:
    return read_edition(vendor, body, version)


def _listed(body: bytes) -> tuple[str, ...]:
    """The vendors that a manifest lists; what is no name is passed over."""
    document = read_json(body)
    providers = document.get("providers") if isinstance(document, dict) else None
    names = [name for name in (providers if isinstance(providers, dict) else ()) if VENDOR.fullmatch(name)]
    return tuple(names[:MOST_VENDORS]) or USUAL


VENDORS: Document[tuple[str, ...]] = Document(path=MANIFEST, parse=_listed)
"""The vendors that a registry lists."""


logger = room_logger("catalog")

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


PART = 0.1
"""Part of a call's time that it waits at most: it can do without a registry, not without a vendor."""
_AGAIN = 1.0
"""Seconds until another thread is tried for, where none could be started."""
_LATER = 3600.0
"""Seconds until the next round after one that failed in a way that nobody foresaw."""

Round = Callable[[Cancellation], float]
"""Does what is due, calls nobody back, and tells in how many seconds there is more to do."""


class Keeper:
    """The thread, and those who wait for its first round. ``show`` puts what is on disk over the catalog; True if there was any."""

    def __init__(self, show: Callable[[], bool], round_: Round, wait: float) -> None:
        self._show = show
        self._round = round_
        self._wait = wait
        self._lock = new_lock()
        self._users: weakref.WeakSet[object] = weakref.WeakSet()
        self._waiting: list[threading.Lock] = []
        self._stop = Cancellation()
        self._pid: int | None = None
        self._ready: int | None = None
        """The process in which the first round is over."""
        self._not_before = self._until = 0.0

    def begin(self, user: object, deadline: Deadline) -> None:
        """A call of ``user`` begins: the thread runs from now on. Waits, within the deadline, while nothing is known yet."""
        here = os.getpid()
        if self._ready == here and user in self._users:
            return
        self._users.add(user)
        if self._start(here):
            self._await(deadline)

    @property
    def used(self) -> bool:
        """Whether there is anybody whose calls go by the registry."""
        return bool(self._users)

    def leave(self, user: object) -> bool:
        """A user is gone; with the last one, which True tells, the thread ends."""
        self._users.discard(user)
        if self._users:
            return False
        self.end()
        return True

    def end(self) -> None:
        """End the thread of this process; it starts again with the next call."""
        with self._lock:
            mine, self._pid, self._ready = self._pid == os.getpid(), None, None
        if mine:
            self._stop.cancel("the registry was closed")

    def _start(self, here: int) -> bool:
        """Have a thread in this process; False where none can be started."""
        now = SYSTEM_CLOCK.monotonic()
        with self._lock:
            if self._pid == here:
                return True
            if now < self._not_before:
                return False
            self._pid, self._stop, self._waiting = here, Cancellation(), []
            stop, self._until = self._stop, now + self._wait
        run = threading.Thread(target=_run, args=(weakref.ref(self), stop), name="llmdispatcher-registry", daemon=True)
        try:
            run.start()
        except (RuntimeError, MemoryError):
            logger.warning("no thread can be started for the registry; the packaged catalog counts, tried again with a later call")
            with self._lock:
                self._pid, self._not_before = None, now + _AGAIN
            return False
        weakref.finalize(self, _end, stop, here).atexit = False
        return True

    def _await(self, deadline: Deadline) -> None:
        left = min(self._until - SYSTEM_CLOCK.monotonic(), PART * deadline.remaining())  # the thread lives on the machine's clock
        if left <= 0:
            return
        gate = threading.Lock()
        gate.acquire()
        with self._lock:
            if self._ready == os.getpid():
                return
            self._waiting.append(gate)
        key = deadline.cancellation.subscribe(lambda: _open(gate))
        try:
            SYSTEM_CLOCK.wait(gate, left)
        finally:
            deadline.cancellation.unsubscribe(key)

    def first(self, stop: Cancellation) -> None:
        """Show what is known already, and let the first calls go on if that is something."""
        try:
            if self._show():
                self._known(stop)
        except Exception:  # whatever lies on the disk, the round to come asks the registry
            logger.exception("registry: what is on disk could not be used")

    def again(self, stop: Cancellation) -> float:
        """One round; seconds until the next."""
        try:
            return self._round(stop)
        except Exception:  # whatever a registry serves, calls go on, and so does the thread
            logger.exception("registry: a round ended badly; the next is in %d s", _LATER)
            return _LATER
        finally:
            self._known(stop)

    def _known(self, stop: Cancellation) -> None:
        """Nobody waits any more, unless the thread was stopped, after which the next call starts another."""
        with self._lock:
            if not stop.cancelled:
                self._ready = os.getpid()
            waiting, self._waiting = self._waiting, []
        for gate in waiting:
            _open(gate)


def _run(ref: weakref.ref[Keeper], stop: Cancellation) -> None:
    """The thread: it holds the keeper only while it does something, so that a dropped one goes."""
    pause = Deadline.after(None, cancellation=stop)
    with contextlib.suppress(Cancelled):
        _first(ref, stop)
        while (seconds := _again(ref, stop)) is not None:
            pause.sleep(seconds)


def _first(ref: weakref.ref[Keeper], stop: Cancellation) -> None:
    keeper = ref()
    if keeper is not None:
        keeper.first(stop)


def _again(ref: weakref.ref[Keeper], stop: Cancellation) -> float | None:
    keeper = ref()
    return None if keeper is None else keeper.again(stop)


def _open(gate: threading.Lock) -> None:
    with contextlib.suppress(RuntimeError):
        gate.release()


def _end(stop: Cancellation, process: int) -> None:
    """Stop a thread, unless it is that of the process that forked this one."""
    if process == os.getpid():
        stop.cancel("the registry is gone")


MOST_STEPS = 100
"""Versions that are read for one changelog."""
RETRY = 60.0
"""Seconds until a registry that could not be asked is asked again, doubled each time up to an hour, or the TTL if that is less."""
_LONGEST_RETRY = 3600.0
_SPREAD = 0.1
"""Part of a wait by which it is longer, so that processes do not ask all at once."""
_DAY = 86400.0


@suggesting
class Registry:
    """Models and prices that somebody publishes for each vendor; share one between threads and dispatchers.

    ``source`` is an https:// address (http:// for this machine), a ``file://`` address or a folder. Making one does no I/O.
    ``versions`` pins vendors to a version, fetched once and kept for ever; of the others the current one counts, asked for again
    ``ttl`` seconds after the registry last confirmed it. ``vendors`` are those of the registry's manifest where not given.
    ``cache_dir`` is the user's cache folder where not given. ``timeout`` is seconds for whatever one method asks of the registry,
    ``wait`` those that a dispatcher's first call may wait for prices that are in no cache. Raises :class:`ConfigError`.
    """

    def __init__(  # noqa: PLR0913 - settings, all by keyword
        self,
        source: str | PathLike[str],
        *,
        cache_dir: str | PathLike[str] | None = None,
        ttl: float = _DAY,
        versions: Mapping[str, int] | None = None,
        vendors: Iterable[str] | None = None,
        timeout: float = 10.0,
        wait: float = 2.0,
        ca_bundle: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.source = Source.of(source)
        self.ttl = seconds("ttl", ttl)
        self.wait = seconds("wait", wait)
        self.versions = pins(versions)
        self._timeout = seconds("timeout", timeout)
        self._vendors = None if vendors is None else tuple([vendor_name(name) for name in vendors])
        self._clock = clock
        self._alike = partial(
            Registry,
            source,
            cache_dir=cache_dir,
            ttl=ttl,
            vendors=self._vendors,
            timeout=timeout,
            wait=wait,
            ca_bundle=ca_bundle,
            clock=clock,
        )
        self._reader = reader_for(self.source, ca_bundle)
        self._copies = Copies(self._reader, Shelf(partial(shelf_folder, self.source, cache_dir)), self.ttl, clock)
        self._trouble: dict[str, str] = {}
        self._failures = 0
        self._shown: dict[str, Edition] | None = None
        self._keeper = Keeper(self._show, self._round, self.wait)

    def load(self, *, timeout: float | None = None, cancel: Cancellation | None = None) -> dict[str, Edition]:
        """The edition that counts for each vendor, asking only for what is due. Never raises for a registry's faults.

        A vendor that the registry gives nothing usable of is left out: for it the packaged catalog counts, and ``status`` says why.
        """
        return self._all(self._deadline(timeout, cancel), force=False)

    def refresh(self, *, timeout: float | None = None) -> dict[str, RegistryStatus]:
        """Ask the registry now, for all vendors, whatever is due. Never raises for a registry's faults: the states tell of them."""
        self._all(self._deadline(timeout), force=True)
        if self._shown is not None or self._keeper.used:
            self.apply()
        return self.status()

    def apply(self) -> bool:
        """Put what is held over the catalog, for this process: models, prices, and their ``price_version`` "registry openai 7".

        The rows of another registry go. Asks nobody; False where nothing is held.
        """
        held = self.editions()
        if held and held != self._shown:
            rows = {vendor: catalog_rows(edition, str(self.source)) for vendor, edition in held.items()}
            apply_registry(rows, {vendor: f"registry {vendor} {edition.version}" for vendor, edition in held.items()})
            self._shown = held
        return bool(held)

    def begin(self, user: object, deadline: Deadline) -> None:
        """A call of ``user``, a dispatcher, begins: from now on a thread keeps the catalog up to date. Waits only at first."""
        self._keeper.begin(user, deadline)

    def leave(self, user: object) -> None:
        """That user makes no more calls; with the last one the thread ends."""
        if self._keeper.leave(user):
            self._reader.close()

    def status(self) -> dict[str, RegistryStatus]:
        """How each vendor's models stand, by what is in memory or on disk; asks nobody."""
        return {vendor: self._status(vendor) for vendor in self._known_names()}

    def editions(self) -> dict[str, Edition]:
        """The editions that count, by what is in memory or on disk; asks nobody."""
        copies = {vendor: self._copies.held(models_of(vendor, self.versions.get(vendor))) for vendor in self._known_names()}
        return {vendor: copy.value for vendor, copy in copies.items() if copy is not None}

    def edition(self, vendor: str, version: int | None = None, *, timeout: float | None = None) -> Edition:
        """A vendor's current edition, or one of its versions. Raises :class:`DispatchError` where it cannot be had."""
        deadline = self._deadline(timeout)
        return self._copies.get(models_of(vendor_name(vendor), known_version(version)), deadline).value

    def assert_fresh(self, *vendors: str, max_age_days: float | None = None, timeout: float | None = None) -> None:
        """Ask the registry now, and raise :class:`RegistryStale` where what counts is not the newest that it publishes.

        So it is where the registry does not answer, and where a pinned version is behind. With ``max_age_days`` it is also where
        that was published longer ago than so many days, or does not say when.
        """
        deadline = self._deadline(timeout)
        for vendor in [vendor_name(name) for name in vendors] or self._names(deadline, force=True):
            try:
                current = self._copies.get(models_of(vendor), deadline, force=True).value
                counts = self._copies.get(models_of(vendor, self.versions.get(vendor)), deadline).value
            except DispatchError as error:
                raise self._stale(vendor, f"the registry could not confirm what is held: {error.message}") from None
            self._trouble.pop(vendor, None)
            if counts.version != current.version:
                raise self._stale(vendor, f"version {counts.version} is pinned, and {current.version} is published")
            age = published_ago(counts, self._clock.now())
            if max_age_days is not None and (age is None or age > max_age_days * _DAY):
                told = "it does not say when it was published" if age is None else f"it was published {age / _DAY:.0f} days ago"
                raise self._stale(vendor, f"{told}, and {max_age_days:g} are allowed")

    def drift(self, versions: Mapping[str, int] | None = None, *, timeout: float | None = None) -> Drift:
        """How pinned ``versions`` (those of this registry where not given) differ from what is current now."""
        deadline, found, unknown = self._deadline(timeout), {}, {}
        for vendor, version in (self.versions if versions is None else pins(versions)).items():
            try:
                before = self._copies.get(models_of(vendor, version), deadline).value
                found[vendor] = changes(before, self._copies.get(models_of(vendor), deadline, force=True).value)
            except DispatchError as error:
                unknown[vendor] = error.message
        return Drift(vendors=found, unknown=unknown)

    def changelog(self, vendor: str, since: int = 0, *, timeout: float | None = None) -> tuple[Changes, ...]:
        """What each version of a vendor after ``since`` changed, from the immutable versions; one that is not there is passed over.

        At most the last 100 versions are read. Raises :class:`DispatchError` where the current version cannot be had.
        """
        deadline, found = self._deadline(timeout), []
        steps = self._steps(vendor_name(vendor), since, deadline)
        before = steps[0] if since and steps and steps[0].version <= since else None
        for edition in steps:
            if edition.version > since:
                found.append(changes(before, edition))
                before = edition
        return tuple(found)

    def verify(self, vendor: str, *, timeout: float | None = None) -> dict[int, bool | None]:
        """Version -> whether its checksum holds, ``None`` where that cannot be told. Advice: nothing is rejected for it."""
        told, before = {}, None
        for edition in self._steps(vendor_name(vendor), 0, self._deadline(timeout)):
            told[edition.version] = checksum_holds(edition, before)
            before = edition.checksum
        return told

    def clear(self) -> int:
        """Delete this registry's cache, which nothing else does; how many documents that were."""
        self._trouble = {}
        return self._copies.forget()

    def close(self) -> None:
        """End the thread, close idle connections. The cache on disk stays, and so do the rows over the catalog."""
        self._keeper.end()
        self._reader.close()

    def with_versions(self, versions: Mapping[str, int]) -> Registry:
        """This registry with further pinned versions, such as those of a lockfile's profile; this one stays as it is."""
        return self._alike(versions={**self.versions, **pins(versions)})

    def __repr__(self) -> str:
        return f"Registry({str(self.source)!r}, versions={dict(self.versions)})"

    def _deadline(self, timeout: float | None, cancel: Cancellation | None = None) -> Deadline:
        # on the machine's clock: the registry's own tells what is due, and may stand still in a test
        return Deadline.after(self._timeout if timeout is None else timeout, cancellation=cancel)

    def follow(self, versions: Pins) -> Followed:
        """This registry for a dispatcher whose lockfile pins ``versions``, which are asked for with the first call."""
        return Followed(self, versions)

    def _show(self) -> bool:
        """What the keeper's thread does first: all that needs no network."""
        return self.apply()

    def _round(self, stop: Cancellation) -> float:
        """What the keeper's thread does over and over; seconds until the next time."""
        held = self.load(cancel=stop)
        self.apply()
        self._failures = self._failures + 1 if self._trouble else 0
        wait = self.ttl
        if self._failures:
            wait = min(wait, _LONGEST_RETRY, RETRY * 2.0 ** min(self._failures - 1, 10))
        elif held:
            wait = max(1.0, min(wait, self._left(held)))
        return wait * (1 + _SPREAD * SYSTEM_CLOCK.random())

    def _left(self, held: Iterable[str]) -> float:
        """Seconds until the first of the vendors that are not pinned is due."""
        now = self._clock.now()
        copies = [self._copies.held(models_of(vendor)) for vendor in held if vendor not in self.versions]
        return min([self.ttl - copy.age(now) for copy in copies if copy is not None], default=self.ttl)

    def _all(self, deadline: Deadline, *, force: bool) -> dict[str, Edition]:
        found = {}
        for vendor in self._names(deadline, force=force):
            document = models_of(vendor, self.versions.get(vendor))
            try:
                found[vendor] = self._copies.get(document, deadline, force=force).value
                self._trouble.pop(vendor, None)
            except DispatchError as error:
                self._troubled(vendor, error)
                held = self._copies.held(document)
                if held is not None:
                    found[vendor] = held.value
        return found

    def _troubled(self, vendor: str, error: DispatchError) -> None:
        if isinstance(error, Cancelled):
            return
        told = error.message
        if self._trouble.get(vendor) != told:
            logger.warning("registry: %s: %s", vendor, told)
        self._trouble[vendor] = told

    def _names(self, deadline: Deadline, *, force: bool) -> tuple[str, ...]:
        """The vendors to ask for: the manifest tells where nobody else did."""
        if self._vendors is None:
            try:
                self._copies.get(VENDORS, deadline, force=force)
            except DispatchError as error:
                logger.debug("registry: no list of vendors: %s", error.message)
        return self._known_names()

    def _known_names(self) -> tuple[str, ...]:
        listed: Copy[tuple[str, ...]] | None = self._copies.held(VENDORS) if self._vendors is None else None
        names = self._vendors if self._vendors is not None else listed.value if listed is not None else USUAL
        return tuple(dict.fromkeys((*names, *self.versions)))

    def _status(self, vendor: str) -> RegistryStatus:
        now, version, trouble = self._clock.now(), self.versions.get(vendor), self._trouble.get(vendor)
        copy = self._copies.held(models_of(vendor, version))
        if version is None:
            return standing(vendor, copy, now, self.ttl, trouble)
        current = self._copies.held(models_of(vendor))
        if copy is not None and current is not None and current.value.version != version:
            trouble = f"the registry publishes {current.value.version}"
        return pinned(vendor, version, copy, now, trouble)

    def _steps(self, vendor: str, since: int, deadline: Deadline) -> list[Edition]:
        """The versions from ``since`` to the current one, as far as they are there."""
        current = self._copies.get(models_of(vendor), deadline, force=True).value
        first = max(1, known_since(since), current.version - MOST_STEPS + 1)
        found = []
        for version in range(first, current.version):
            try:
                found.append(self._copies.get(models_of(vendor, version), deadline).value)
            except VendorUnavailable as error:
                if error.status not in (404, 410):
                    raise
        return [*found, current]

    def _stale(self, vendor: str, why: str) -> RegistryStale:
        return RegistryStale(f"registry: {why}", vendor=vendor, age_days=self._status(vendor).age_days)


def registry_from(value: Registry | str | PathLike[str]) -> Registry:
    """A registry, or the one at an address. Raises :class:`~llmdispatcher.ConfigError`."""
    return value if isinstance(value, Registry) else Registry(value)
