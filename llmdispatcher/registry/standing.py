"""How each vendor's models stand: from where, which version, how old, and whether that can be relied on."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from .copies import Copy
from .edition import Edition

FRESH, STALE, PINNED, PACKAGED = "fresh", "stale", "pinned", "packaged"
_DAY = 86400.0


@attrs.frozen(kw_only=True)
class RegistryStatus:
    """One vendor's models. ``state`` is "fresh", "stale", "pinned" or "packaged" (the registry gave none: the catalog counts).

    ``source`` is "registry", "cache" or "catalog"; ``age`` is seconds since the registry published this version, ``checked`` since
    it last confirmed it, each ``None`` where unknown. ``reason`` is for people.
    """

    vendor: str
    state: str
    source: str
    reason: str
    version: int | None = None
    age: float | None = None
    checked: float | None = None
    skipped: int = 0

    @property
    def age_days(self) -> float | None:
        """``age`` in days."""
        return None if self.age is None else self.age / _DAY

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return attrs.asdict(self)

    def __str__(self) -> str:
        version = "" if self.version is None else f" {self.version}"
        return f"{self.vendor}{version}: {self.state} ({self.source}); {self.reason}"


def standing(vendor: str, copy: Copy[Edition] | None, now: datetime, ttl: float, trouble: str | None) -> RegistryStatus:
    """How a vendor whose current version is followed stands.

    It is fresh while the registry has confirmed this version within ``ttl``, however long ago it was published, and stale where
    that is longer ago or where it does not say when it was published.
    """
    if copy is None:
        why = trouble or "the registry has not been asked yet"
        return RegistryStatus(vendor=vendor, state=PACKAGED, source="catalog", reason=f"the packaged catalog counts: {why}")
    checked, age = copy.age(now), published_ago(copy.value, now)
    if not 0 <= checked < ttl:
        state, reason = STALE, f"the registry last confirmed it {people(checked)}"
    elif age is None:
        state, reason = STALE, "it does not say when it was published"
    else:
        state, reason = FRESH, f"confirmed {people(checked)}"
    if trouble is not None:
        reason += f"; {trouble}"
    return _status(copy, state, reason, now)


def pinned(vendor: str, version: int, copy: Copy[Edition] | None, now: datetime, told: str | None) -> RegistryStatus:
    """How a vendor that is pinned to a version stands; ``told`` adds what is known beside."""
    if copy is None:
        reason = f"the packaged catalog counts: version {version} is pinned and could not be had: {told or 'not asked yet'}"
        return RegistryStatus(vendor=vendor, state=PACKAGED, source="catalog", reason=reason)
    return _status(copy, PINNED, f"pinned to version {version}{f'; {told}' if told else ''}", now)


def _status(copy: Copy[Edition], state: str, reason: str, now: datetime) -> RegistryStatus:
    edition = copy.value
    return RegistryStatus(
        vendor=edition.vendor,
        state=state,
        source="registry" if copy.fetched else "cache",
        reason=reason,
        version=edition.version,
        age=published_ago(edition, now),
        checked=max(0.0, copy.age(now)),
        skipped=len(edition.skipped),
    )


def published_ago(edition: Edition, now: datetime) -> float | None:
    """Seconds since a version was published; ``None`` where it does not say."""
    return None if edition.updated_at is None else max(0.0, (now - edition.updated_at).total_seconds())


def people(seconds: float) -> str:
    """A length of time as people say it, ending in "ago"."""
    if seconds < 0:
        return "at a time that is yet to come"
    for unit, length in (("days", _DAY), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} seconds ago"
