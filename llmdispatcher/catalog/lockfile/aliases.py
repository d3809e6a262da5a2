"""The aliases of a dispatcher: those of its configured lockfile, which is read at the first look-up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from ...errors import ConfigError
from ...runtime import new_lock, user_path
from .alias import Alias

if TYPE_CHECKING:
    from .lockfile import Lockfile


Source: TypeAlias = "Lockfile | Path | bool"
"""A lockfile, its path, or whether to look for one."""


def parse_source(value: Source | str | os.PathLike[str] | None) -> Source:
    """Read the field ``lockfile`` of a configuration. Raises :class:`ConfigError`."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str | os.PathLike) and str(value).strip():
        return user_path(value, "lockfile")
    if _is_lockfile(value):
        return value
    raise ConfigError(f"lockfile: {value!r} is no lockfile; give a path, a Lockfile, or True for the one that holds here")


def _is_lockfile(value: Any) -> TypeGuard[Lockfile]:
    """Duck typing: the class need not be loaded."""
    return hasattr(value, "profile_in_use")


class Aliases:
    """Looks names up in the lockfile of a configuration; ``profile`` is for requests that name none."""

    def __init__(self, source: Source, profile: str | None) -> None:
        self._profile = profile
        self._source = source
        self._lock = new_lock()
        self._lockfile: Lockfile | None = source if _is_lockfile(source) else None

    @property
    def lockfile(self) -> Lockfile | None:
        """The lockfile, read at the first use; ``None`` if the configuration has none."""
        return self._lockfile or self._read()

    def _read(self) -> Lockfile | None:
        if self._source is False:
            return None
        from .lockfile import Lockfile  # late: only who has a lockfile pays for it

        read = Lockfile.load(self._source) if isinstance(self._source, Path) else Lockfile.discover()
        with self._lock:
            self._lockfile = self._lockfile or read  # another thread may have read it meanwhile
            return self._lockfile

    def profile(self, given: str | None) -> str | None:
        """Return the profile of a request, else the configuration's."""
        return given if given is not None and given.strip() else self._profile

    def missing(self, name: str, profile: str | None) -> tuple[str, str] | None:
        """Return, for an unknown name, the lockfile and the alias that it lacks.

        ``None`` for what cannot be an alias, and if the only lockfile is the package's own, unless that has a similar alias.
        """
        lockfile = self.lockfile
        if lockfile is None or ":" in name:
            return None
        lack = lockfile.describe_missing(name, self.profile(profile))
        if lockfile.is_bundled:
            return ("the library's own lockfile", lack) if "did you mean" in lack else None
        return str(lockfile.path or "the lockfile"), lack

    def find(self, name: str, profile: str | None = None) -> Alias | None:
        """Return the alias of that name, or ``None``. Raises :class:`ConfigError` for a broken lockfile or profile."""
        lockfile = self._lockfile or self._read()
        return lockfile.find(name, self.profile(profile)) if lockfile is not None else None
