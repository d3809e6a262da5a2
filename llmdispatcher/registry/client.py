"""The registry client: what is published of each vendor's models, kept on disk, never in a call's way."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import partial
from os import PathLike

from .. import catalog
from ..cancellation import Cancellation
from ..clock import SYSTEM_CLOCK, Clock, Deadline
from ..errors import Cancelled, DispatchError, RegistryStale, VendorUnavailable
from .copies import Copies, Copy
from .covering import catalog_rows
from .documents import USUAL, VENDORS, models_of
from .drift import Changes, Drift, changes
from .edition import Edition, checksum_holds
from .following import Followed, Pins
from .keeping import Keeper
from .reading import reader_for
from .settings import known_since, known_version, pins, seconds, shelf_folder, vendor_name
from .shelf import Shelf
from .source import Source
from .standing import RegistryStatus, pinned, published_ago, standing

logger = logging.getLogger(__name__)

MOST_STEPS = 100
"""Versions that are read for one changelog."""
RETRY = 60.0
"""Seconds until a registry that could not be asked is asked again, doubled each time up to an hour, or the TTL if that is less."""
_LONGEST_RETRY = 3600.0
_SPREAD = 0.1
"""Part of a wait by which it is longer, so that processes do not ask all at once."""
_DAY = 86400.0


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
            catalog.overlay(rows, {vendor: f"registry {vendor} {edition.version}" for vendor, edition in held.items()})
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
    """A registry, or the one at an address. Raises :class:`~llmdispatcher.errors.ConfigError`."""
    return value if isinstance(value, Registry) else Registry(value)
