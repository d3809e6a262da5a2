"""Where the command line keeps what is the user's own: in one folder that only he may read."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def data_folder() -> Path:
    """The folder: ``LLMDISPATCHER_HOME``, else where the system wants such things. It need not exist yet."""
    own = os.environ.get("LLMDISPATCHER_HOME")
    if own:
        return Path(own).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "llmdispatcher"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "llmdispatcher"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "llmdispatcher"


def made_folder() -> Path:
    """The folder, there and closed to others."""
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
