"""Where a user's caches lie, by the rules of each platform."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "LLMDISPATCHER_CACHE_DIR"


def cache_folder(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path | None:
    """The folder for what can be fetched again; ``None`` for a user without a home.

    ``LLMDISPATCHER_CACHE_DIR``, else ``XDG_CACHE_HOME`` or ``~/.cache`` (https://specifications.freedesktop.org/basedir-spec),
    ``~/Library/Caches`` on a Mac, ``%LOCALAPPDATA%`` on Windows, each with a folder of ours below.
    """
    environ = os.environ if environ is None else environ
    try:
        own = environ.get(VARIABLE, "").strip()
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
