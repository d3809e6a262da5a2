"""The environment: variables, the user's folders for data and caches on each platform, and private files."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def data_folder() -> Path:
    """The folder for the user's data: ``LLMDISPATCHER_HOME``, else where the system wants such things. It need not exist yet."""
    own = os.environ.get("LLMDISPATCHER_HOME")
    if own:
        return Path(own).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "llmdispatcher"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "llmdispatcher"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "llmdispatcher"


def made_folder() -> Path:
    """The folder for the user's data, made where it is missing, closed to others."""
    folder = data_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def private_file(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(file, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


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
