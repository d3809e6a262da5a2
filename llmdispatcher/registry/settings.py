"""What a registry is given, checked where it is given: every mistake is told with its field and its remedy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ..catalog import canonical
from ..errors import ConfigError
from .edition import MOST_VERSION
from .places import cache_folder
from .source import VENDOR, Source


def shelf_folder(source: Source, cache_dir: str | PathLike[str] | None) -> Path | None:
    """A folder for each source, so that two registries never mix; none for what is on disk already."""
    if source.folder is not None:
        return None
    base = Path(cache_dir).expanduser() if cache_dir is not None else cache_folder()
    return None if base is None else base / "registry" / hashlib.sha256(source.url.encode()).hexdigest()[:16]


def vendor_name(name: Any) -> str:
    """A vendor in its one spelling. Raises :class:`ConfigError`."""
    found = canonical(name) if isinstance(name, str) else ""
    if not VENDOR.fullmatch(found):
        raise ConfigError(f"registry: {name!r} is no vendor's name; use one such as 'openai'")
    return found


def known_version(version: Any) -> int | None:
    """A version, or ``None`` for the current one. Raises :class:`ConfigError`."""
    if version is not None and (isinstance(version, bool) or not isinstance(version, int) or not 0 < version <= MOST_VERSION):
        raise ConfigError(f"registry.versions: {version!r} is no version; give a whole number > 0, such as 7")
    return version


def known_since(since: Any) -> int:
    """A version, or 0 for the time before the first. Raises :class:`ConfigError`."""
    return 0 if since == 0 and not isinstance(since, bool) else known_version(since) or 0


def pins(versions: Any) -> dict[str, int]:
    """Pinned versions by vendor, such as a lockfile's ``registry_versions``. Raises :class:`ConfigError`."""
    if versions is not None and not isinstance(versions, Mapping):
        raise ConfigError(f"registry.versions: {type(versions).__name__} is no mapping; give one such as {{'openai': 7}}")
    return {vendor_name(vendor): known_version(version) or 0 for vendor, version in (versions or {}).items() if version is not None}


def seconds(field: str, value: Any) -> float:
    """A length of time. Raises :class:`ConfigError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigError(f"registry.{field}: {value!r} is not a number of seconds > 0")
    return float(value)
