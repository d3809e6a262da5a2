"""The environment: variables, paths that users write, and the user's folders for data, state and caches on each platform.

A user may have no home folder: in a container that runs as any number, there is neither ``HOME`` nor an entry in ``/etc/passwd``.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigError

_HOME = "LLMDISPATCHER_HOME"


def user_path(value: str | os.PathLike[str], field: str) -> Path:
    """The path that a user wrote, its ``~`` replaced. Raises :class:`ConfigError` where it begins with an unknown home folder."""
    try:
        return Path(value).expanduser()
    except RuntimeError:
        shown = os.fspath(value)
        raise ConfigError(f"{field}: {shown!r} begins with a home folder that is not known; give the whole path") from None


def data_folder() -> Path | None:
    """The folder for the user's data: ``LLMDISPATCHER_HOME``, else where the system wants such things. It need not exist yet.

    ``None`` for a user without a home.
    """
    own = os.environ.get(_HOME)
    if own:
        return user_path(own, _HOME)
    try:
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "llmdispatcher"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Application Support" / "llmdispatcher"
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "llmdispatcher"
    except RuntimeError:
        return None


def own_file(name: str) -> Path | None:
    """The user's own file of this name; ``None`` where there is none, or it cannot be accessed."""
    folder = data_folder()
    file = folder / name if folder is not None else None
    return file if file is not None and os.path.isfile(file) else None  # noqa: PTH113  # raises nothing, unlike Path.is_file


def make_data_folder() -> Path:
    """The folder for the user's data, made where it is missing, closed to others.

    Raises :class:`ConfigError` where there is none, or none can be made.
    """
    folder = data_folder()
    if folder is None:
        raise ConfigError(f"this user has no home folder to keep things in; name a folder in {_HOME}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: this folder cannot be made ({error.strerror}); name another in {_HOME}") from None
    return folder


def state_folder(field: str) -> Path:
    """The folder for what waits until it can be written elsewhere: below the home, else in the system's temporary folder.

    It need not exist yet. Raises :class:`ConfigError` with *field*, which can name another, where there is none of one's own.
    """
    try:
        folder = Path.home() / ".local" / "state" / "llmdispatcher"
        if _can_be_made(folder):
            return folder
    except RuntimeError:
        pass
    from tempfile import gettempdir  # late: almost everybody has a home

    try:
        return _make_temporary_folder(Path(gettempdir()))
    except OSError as error:
        why = error.strerror or type(error).__name__
        text = f"{field}: neither the home nor the temporary folder can be written to ({why}); name a folder in {field}="
        raise ConfigError(text) from None


def _can_be_made(folder: Path) -> bool:
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
    except OSError:  # a home that this user may not enter, as that of root in a container which runs as somebody else
        return False
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _make_temporary_folder(parent: Path) -> Path:
    """A private folder in a shared one. Another user may have made it to read its files, so owner and mode are checked."""
    user = os.getuid() if hasattr(os, "getuid") else None  # Windows gives each user a temporary folder
    folder = parent / ("llmdispatcher" if user is None else f"llmdispatcher-{user}")
    folder.mkdir(mode=0o700, exist_ok=True)
    made = folder.lstat()
    if user is not None and (made.st_uid != user or not stat.S_ISDIR(made.st_mode) or stat.S_IMODE(made.st_mode) & 0o077):
        raise PermissionError(0, f"{folder} is open to others")
    return folder


def cache_folder(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path | None:
    """The folder for what can be fetched again; ``None`` for a user without a home.

    ``LLMDISPATCHER_CACHE_DIR``, else ``XDG_CACHE_HOME`` or ``~/.cache`` (https://specifications.freedesktop.org/basedir-spec),
    ``~/Library/Caches`` on a Mac, ``%LOCALAPPDATA%`` on Windows, each with a folder of ours below.
    """
    environ = os.environ if environ is None else environ
    try:
        own = environ.get("LLMDISPATCHER_CACHE_DIR", "").strip()
        if own:
            return Path(own).expanduser()
        if platform == "darwin":
            return Path.home() / "Library" / "Caches" / "llmdispatcher"
        if platform == "win32":
            local = environ.get("LOCALAPPDATA", "")
            return (Path(local) if local else Path.home() / "AppData" / "Local") / "llmdispatcher" / "Cache"
        base = environ.get("XDG_CACHE_HOME", "")
        return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "llmdispatcher"
    except RuntimeError:
        return None


def from_environment(names: tuple[str, ...]) -> str | None:
    """The first of some variables that is set and not empty; a line end that came from a file is left out."""
    return next((value for name in names if (value := os.environ.get(name, "").strip())), None)


def variables() -> list[str]:
    """The names of the variables that are set and not blank."""
    return [name for name, value in os.environ.items() if value.strip()]
