"""``Registry``: the models that a registry publishes for each vendor, cached on disk, and refreshed in the background.

A dispatcher's registry is that of its configuration, with the pins of its lockfile; it is read with the first call. One daemon
thread (:class:`RefreshThread`) keeps its rows over the catalog as long as dispatchers use it. The thread starts with the first
call, in a forked child with the first call there. It loads what is on disk, fetches what is due, puts the result over the catalog,
and sleeps until more is due. The first calls wait for it until there are rows, at most ``Registry(wait=...)`` seconds; later calls
never wait.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from os import PathLike
from typing import Any

from ..._text import room_logger
from ...errors import Cancelled, DispatchError, RegistryStale, VendorUnavailable
from ...runtime import SYSTEM_CLOCK, Cancellation, Clock, Deadline, new_lock
from ...types import suggest
from ..facts import ModelFacts
from ..models import apply_registry, models_with
from .document import Edition, checksum_holds, read_edition, read_json
from .source import (
    MANIFEST,
    VENDOR,
    RegistrySource,
    cache_folder_of,
    check_seconds,
    check_since,
    check_version,
    document_path,
    parse_pins,
    parse_vendor,
    reader_for,
)
from .status import Changes, Drift, RegistryStatus, age_of, catalog_rows, compare_editions, current_status, pinned_status
from .store import Copy, DiskCache, Document, DocumentCache

DEFAULT_VENDORS = ("anthropic", "google", "openai")
"""The vendors of a registry without a manifest."""
MOST_VENDORS = 64


def models_of(vendor: str, version: int | None = None) -> Document[Edition]:
    """Return the document of a vendor's models: the current one, or that of a version, which never changes."""
    path = document_path(vendor, version)
    return Document(path=path, parse=partial(read_edition, vendor, version=version), immutable=version is not None)


def _read_vendors(body: bytes) -> tuple[str, ...]:
    """Read the vendors of a manifest; invalid names are skipped."""
    document = read_json(body)
    providers = document.get("providers") if isinstance(document, dict) else None
    names = [name for name in (providers if isinstance(providers, dict) else ()) if VENDOR.fullmatch(name)]
    return tuple(names[:MOST_VENDORS]) or DEFAULT_VENDORS


VENDORS: Document[tuple[str, ...]] = Document(path=MANIFEST, parse=_read_vendors)
"""The vendors that a registry lists."""


logger = room_logger("catalog")


class PinnedRegistry:
    """A registry and the pins of a lockfile, which are read with the first call."""

    def __init__(self, registry: Registry, pins: Callable[[], Mapping[str, int]]) -> None:
        self._given = registry
        self._pins = pins
        self._lock = new_lock()
        self._registry: Registry | None = None

    def begin(self, user: object, deadline: Deadline) -> None:
        """Begin a call of ``user``; see :meth:`Registry.begin`."""
        (self._registry or self._choose()).begin(user, deadline)

    def leave(self, user: object) -> None:
        """Remove a user, which makes no more calls."""
        if self._registry is not None:
            self._registry.leave(user)

    def _choose(self) -> Registry:
        try:
            found = self._pins()
        except DispatchError as error:  # the call itself reports a broken lockfile, if it needs one
            logger.warning("registry: the lockfile's versions are not known: %s", error.message)
            found = {}
        added = {vendor: number for vendor, number in found.items() if number > 0 and vendor not in self._given.versions}
        chosen = self._given.with_versions(added) if added else self._given
        with self._lock:
            self._registry = self._registry or chosen  # another thread may have been first
            return self._registry


WAIT_SHARE = 0.1
"""The share of a call's time that it waits at most: a call needs its time for the vendor."""
_THREAD_RETRY = 1.0
"""Seconds until a thread that could not be started is tried again."""
_FAILED_ROUND = 3600.0
"""Seconds until the next round after one with an unexpected error."""

Round = Callable[[Cancellation], float]
"""Refreshes what is due, and returns the seconds until more is due."""


class RefreshThread:
    """The thread, and the calls that wait for its first round. ``show`` puts what is on disk over the catalog, if there is any."""

    def __init__(self, show: Callable[[], bool], refresh_due: Round, wait: float) -> None:
        self._show = show
        self._round = refresh_due
        self._wait = wait
        self._lock = new_lock()
        self._users: weakref.WeakSet[object] = weakref.WeakSet()
        self._waiting: list[threading.Lock] = []
        self._stop = Cancellation()
        self._pid: int | None = None
        self._ready: int | None = None
        """The process whose first round is over."""
        self._not_before = self._until = 0.0

    def begin(self, user: object, deadline: Deadline) -> None:
        """Begin a call of ``user``: the thread runs from now on. Waits, within the deadline, until the first round is over."""
        here = os.getpid()
        if self._ready == here and user in self._users:
            return
        self._users.add(user)
        if self._start(here):
            self._await(deadline)

    @property
    def used(self) -> bool:
        """Whether any dispatcher uses the registry."""
        return bool(self._users)

    def leave(self, user: object) -> bool:
        """Remove a user; with the last one the thread ends. Returns True for the last one."""
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
        """Start a thread in this process, unless there is one; False if none can be started."""
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
                self._pid, self._not_before = None, now + _THREAD_RETRY
            return False
        weakref.finalize(self, _end, stop, here).atexit = False
        return True

    def _await(self, deadline: Deadline) -> None:
        # the thread uses the machine's clock
        left = min(self._until - SYSTEM_CLOCK.monotonic(), WAIT_SHARE * deadline.remaining())
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

    def show_cached(self, stop: Cancellation) -> None:
        """Show what is on disk; if there is any, the first calls go on."""
        try:
            if self._show():
                self._release_waiting(stop)
        except Exception:  # whatever is on disk, the next round asks the registry
            logger.exception("registry: what is on disk could not be used")

    def refresh(self, stop: Cancellation) -> float:
        """Run one round; returns the seconds until the next."""
        try:
            return self._round(stop)
        except Exception:  # whatever a registry serves, calls and the thread go on
            logger.exception("registry: a round ended badly; the next is in %d s", _FAILED_ROUND)
            return _FAILED_ROUND
        finally:
            self._release_waiting(stop)

    def _release_waiting(self, stop: Cancellation) -> None:
        """Release the waiting calls. If the thread was stopped, the next call starts another one."""
        with self._lock:
            if not stop.cancelled:
                self._ready = os.getpid()
            waiting, self._waiting = self._waiting, []
        for gate in waiting:
            _open(gate)


def _run(ref: weakref.ref[RefreshThread], stop: Cancellation) -> None:
    """Run the thread. It refers to its object only while it works, so that a dropped one is collected."""
    pause = Deadline.after(None, cancellation=stop)
    with contextlib.suppress(Cancelled):
        seconds = _work(ref, stop, is_first=True)
        while seconds is not None:
            pause.sleep(seconds)
            seconds = _work(ref, stop)


def _work(ref: weakref.ref[RefreshThread], stop: Cancellation, *, is_first: bool = False) -> float | None:
    thread = ref()
    if thread is None:
        return None
    if is_first:
        thread.show_cached(stop)
    return thread.refresh(stop)


def _open(gate: threading.Lock) -> None:
    with contextlib.suppress(RuntimeError):
        gate.release()


def _end(stop: Cancellation, process: int) -> None:
    """Stop the thread, unless it belongs to the parent process."""
    if process == os.getpid():
        stop.cancel("the registry is gone")


MOST_STEPS = 100
"""Versions that are read for one changelog."""
RETRY = 60.0
"""Seconds until a failed registry is asked again, doubled each time up to an hour, or the TTL if that is less."""
_LONGEST_RETRY = 3600.0
_SPREAD = 0.1
"""The share by which a wait is longer, at random, so that processes do not all ask at once."""
_DAY = 86400.0


@suggest
class Registry:
    """Published models and prices of each vendor; share one between threads and dispatchers.

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
        self.source = RegistrySource.of(source)
        self.ttl = check_seconds("ttl", ttl)
        self.wait = check_seconds("wait", wait)
        self.versions = parse_pins(versions)
        self._timeout = check_seconds("timeout", timeout)
        self._vendors = None if vendors is None else tuple([parse_vendor(name) for name in vendors])
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
        self._cache = DocumentCache(self._reader, DiskCache(partial(cache_folder_of, self.source, cache_dir)), self.ttl, clock)
        self._trouble: dict[str, str] = {}
        self._failures = 0
        self._shown: dict[str, Edition] | None = None
        self._thread = RefreshThread(self.apply, self._round, self.wait)

    def load(self, *, timeout: float | None = None, cancel: Cancellation | None = None) -> dict[str, Edition]:
        """Return the edition in use of each vendor, asking only for what is due. Never raises for a registry's faults.

        A vendor without a usable edition is left out: its rows of the packaged catalog count, and ``status`` says why.
        """
        return self._all(self._deadline(timeout, cancel), force=False)

    def refresh(self, *, timeout: float | None = None) -> dict[str, RegistryStatus]:
        """Ask the registry now, for all vendors, whatever is due. Never raises for a registry's faults: the states tell of them."""
        self._all(self._deadline(timeout), force=True)
        if self._shown is not None or self._thread.used:
            self.apply()
        return self.status()

    def apply(self) -> bool:
        """Put the editions in use over the catalog, in this process: models, prices, their ``price_version`` "registry openai 7".

        The rows of another registry go. Sends no request; returns False if there are no rows.
        """
        held = self.editions()
        if held and held != self._shown:
            apply_registry(*self._layer(held))
            self._shown = held
        return bool(held)

    def models(self) -> tuple[ModelFacts, ...]:
        """Return all models as they are with the editions in use over the catalog, served or not; sends no request.

        Nothing counts by it: :meth:`apply` puts the editions over the catalog.
        """
        return models_with(*self._layer(self.editions()))

    def _layer(self, held: Mapping[str, Edition]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """The rows of editions, and their versions, by vendor."""
        rows = {vendor: catalog_rows(edition, str(self.source)) for vendor, edition in held.items()}
        return rows, {vendor: f"registry {vendor} {edition.version}" for vendor, edition in held.items()}

    def begin(self, user: object, deadline: Deadline) -> None:
        """Begin a call of ``user``, a dispatcher: from now on a thread keeps the catalog up to date. Only the first calls wait."""
        self._thread.begin(user, deadline)

    def leave(self, user: object) -> None:
        """Remove a user, which makes no more calls; with the last one the thread ends."""
        if self._thread.leave(user):
            self._reader.close()

    def status(self) -> dict[str, RegistryStatus]:
        """Return the status of each vendor's models, by what is in memory or on disk; sends no request."""
        return {vendor: self._status(vendor) for vendor in self._known_names()}

    def editions(self) -> dict[str, Edition]:
        """Return the editions in use, by what is in memory or on disk; sends no request."""
        copies = {vendor: self._cache.held(models_of(vendor, self.versions.get(vendor))) for vendor in self._known_names()}
        return {vendor: copy.value for vendor, copy in copies.items() if copy is not None}

    def edition(self, vendor: str, version: int | None = None, *, timeout: float | None = None) -> Edition:
        """Return a vendor's current edition, or one of its versions. Raises :class:`DispatchError` if it cannot be fetched."""
        deadline = self._deadline(timeout)
        return self._cache.get(models_of(parse_vendor(vendor), check_version(version)), deadline).value

    def assert_fresh(self, *vendors: str, max_age_days: float | None = None, timeout: float | None = None) -> None:
        """Ask the registry now, and raise :class:`RegistryStale` if the edition in use is not the newest that it publishes.

        That includes a registry that does not answer, and a pinned version that is behind. With ``max_age_days`` it includes an
        edition that was published longer ago than so many days, or does not say when.
        """
        deadline = self._deadline(timeout)
        for vendor in [parse_vendor(name) for name in vendors] or self._names(deadline, force=True):
            try:
                current = self._cache.get(models_of(vendor), deadline, force=True).value
                counts = self._cache.get(models_of(vendor, self.versions.get(vendor)), deadline).value
            except DispatchError as error:
                raise self._stale(vendor, f"the registry could not confirm what is held: {error.message}") from None
            self._trouble.pop(vendor, None)
            if counts.version != current.version:
                raise self._stale(vendor, f"version {counts.version} is pinned, and {current.version} is published")
            age = age_of(counts, self._clock.now())
            if max_age_days is not None and (age is None or age > max_age_days * _DAY):
                reason = "it does not say when it was published" if age is None else f"it was published {age / _DAY:.0f} days ago"
                raise self._stale(vendor, f"{reason}, and {max_age_days:g} are allowed")

    def drift(self, versions: Mapping[str, int] | None = None, *, timeout: float | None = None) -> Drift:
        """Return how pinned ``versions``, by default those of this registry, differ from the current ones."""
        deadline, found, unknown = self._deadline(timeout), {}, {}
        for vendor, version in (self.versions if versions is None else parse_pins(versions)).items():
            try:
                before = self._cache.get(models_of(vendor, version), deadline).value
                found[vendor] = compare_editions(before, self._cache.get(models_of(vendor), deadline, force=True).value)
            except DispatchError as error:
                unknown[vendor] = error.message
        return Drift(vendors=found, unknown=unknown)

    def changelog(self, vendor: str, since: int = 0, *, timeout: float | None = None) -> tuple[Changes, ...]:
        """Return what each version of a vendor after ``since`` changed; versions that are not published are skipped.

        At most the last 100 versions are read. Raises :class:`DispatchError` if the current version cannot be fetched.
        """
        deadline, found = self._deadline(timeout), []
        steps = self._steps(parse_vendor(vendor), since, deadline)
        before = steps[0] if since and steps and steps[0].version <= since else None
        for edition in steps:
            if edition.version > since:
                found.append(compare_editions(before, edition))
                before = edition
        return tuple(found)

    def verify(self, vendor: str, *, timeout: float | None = None) -> dict[int, bool | None]:
        """Return for each version whether its checksum holds, ``None`` if that is unknown. No version is rejected for it."""
        results, before = {}, None
        for edition in self._steps(parse_vendor(vendor), 0, self._deadline(timeout)):
            results[edition.version] = checksum_holds(edition, before)
            before = edition.checksum
        return results

    def clear(self) -> int:
        """Delete this registry's cache; returns the number of documents. Nothing else deletes it."""
        self._trouble = {}
        return self._cache.forget()

    def close(self) -> None:
        """End the thread, close idle connections. The cache on disk stays, and so do the rows over the catalog."""
        self._thread.end()
        self._reader.close()

    def with_versions(self, versions: Mapping[str, int]) -> Registry:
        """Return this registry with further pinned versions, such as those of a lockfile's profile."""
        return self._alike(versions={**self.versions, **parse_pins(versions)})

    def __repr__(self) -> str:
        return f"Registry({str(self.source)!r}, versions={dict(self.versions)})"

    def _deadline(self, timeout: float | None, cancel: Cancellation | None = None) -> Deadline:
        # on the machine's clock: the registry's own clock tells what is due, and may stand still in a test
        return Deadline.after(self._timeout if timeout is None else timeout, cancellation=cancel)

    def follow(self, versions: Callable[[], Mapping[str, int]]) -> PinnedRegistry:
        """Return this registry for a dispatcher whose lockfile pins ``versions``, a function called with the first call."""
        return PinnedRegistry(self, versions)

    def _round(self, stop: Cancellation) -> float:
        """One round of the thread; returns the seconds until the next."""
        held = self.load(cancel=stop)
        self.apply()
        self._failures = self._failures + 1 if self._trouble else 0
        wait = self.ttl
        if self._failures:
            wait = min(wait, _LONGEST_RETRY, RETRY * 2.0 ** min(self._failures - 1, 10))
        elif held:
            wait = max(1.0, min(wait, self._seconds_until_due(held)))
        return wait * (1 + _SPREAD * SYSTEM_CLOCK.random())

    def _seconds_until_due(self, held: Iterable[str]) -> float:
        """The seconds until the first vendor without a pin is due."""
        now = self._clock.now()
        copies = [self._cache.held(models_of(vendor)) for vendor in held if vendor not in self.versions]
        return min([self.ttl - copy.age(now) for copy in copies if copy is not None], default=self.ttl)

    def _all(self, deadline: Deadline, *, force: bool) -> dict[str, Edition]:
        found = {}
        for vendor in self._names(deadline, force=force):
            document = models_of(vendor, self.versions.get(vendor))
            try:
                found[vendor] = self._cache.get(document, deadline, force=force).value
                self._trouble.pop(vendor, None)
            except DispatchError as error:
                self._note_trouble(vendor, error)
                held = self._cache.held(document)
                if held is not None:
                    found[vendor] = held.value
        return found

    def _note_trouble(self, vendor: str, error: DispatchError) -> None:
        if isinstance(error, Cancelled):
            return
        if self._trouble.get(vendor) != error.message:
            logger.warning("registry: %s: %s", vendor, error.message)
        self._trouble[vendor] = error.message

    def _names(self, deadline: Deadline, *, force: bool) -> tuple[str, ...]:
        """The vendors to ask for: those of the settings, else those of the manifest."""
        if self._vendors is None:
            try:
                self._cache.get(VENDORS, deadline, force=force)
            except DispatchError as error:
                logger.debug("registry: no list of vendors: %s", error.message)
        return self._known_names()

    def _known_names(self) -> tuple[str, ...]:
        listed: Copy[tuple[str, ...]] | None = self._cache.held(VENDORS) if self._vendors is None else None
        names = self._vendors if self._vendors is not None else listed.value if listed is not None else DEFAULT_VENDORS
        return tuple(dict.fromkeys((*names, *self.versions)))

    def _status(self, vendor: str) -> RegistryStatus:
        now, version, trouble = self._clock.now(), self.versions.get(vendor), self._trouble.get(vendor)
        copy = self._cache.held(models_of(vendor, version))
        if version is None:
            return current_status(vendor, copy, now, self.ttl, trouble)
        current = self._cache.held(models_of(vendor))
        if copy is not None and current is not None and current.value.version != version:
            trouble = f"the registry publishes {current.value.version}"
        return pinned_status(vendor, version, copy, now, trouble)

    def _steps(self, vendor: str, since: int, deadline: Deadline) -> list[Edition]:
        """The published versions from ``since`` to the current one."""
        current = self._cache.get(models_of(vendor), deadline, force=True).value
        first = max(1, check_since(since), current.version - MOST_STEPS + 1)
        found = []
        for version in range(first, current.version):
            try:
                found.append(self._cache.get(models_of(vendor, version), deadline).value)
            except VendorUnavailable as error:
                if error.status not in (404, 410):
                    raise
        return [*found, current]

    def _stale(self, vendor: str, why: str) -> RegistryStale:
        return RegistryStale(f"registry: {why}", vendor=vendor, age_days=self._status(vendor).age_days)


def registry_from(value: Registry | str | PathLike[str]) -> Registry:
    """Return a registry, or make the one at an address. Raises :class:`~llmdispatcher.ConfigError`."""
    return value if isinstance(value, Registry) else Registry(value)
