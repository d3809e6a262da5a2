"""Files on every system: locked by one process at a time, closed to other users, and written whole or not at all.

Windows has no ``fcntl`` and not all flags of POSIX. Only this file knows the difference. A lock there is one byte far behind the
end of the file, since Windows lets nobody read or write what another has locked. Where a system has neither kind of lock, nothing
is locked, and it is up to the user that two processes do not write one file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from importlib import import_module
from pathlib import Path
from typing import Any

_BINARY: int = getattr(os, "O_BINARY", 0)
"""Windows translates line ends without it."""
_FAR = 0x7FFF_0000
"""The locked byte's place; the C runtime of Windows takes no place beyond 2 GiB."""
_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""What a system says of a lock that another has."""


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None


_POSIX, _WINDOWS = _module("fcntl"), _module("msvcrt")


def open_file(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file with flags of ``os`` that every system has. A new one only its owner may read; programs started do not get it."""
    return os.open(path, flags | _BINARY, 0o600)


def make_file(path: str | os.PathLike[str]) -> None:
    """Make an empty file that only its owner may read, unless it is there: then it is not even opened.

    To close a file that is open elsewhere in this process would drop SQLite's locks on it.
    """
    with contextlib.suppress(FileExistsError):
        os.close(open_file(path, os.O_CREAT | os.O_EXCL | os.O_RDWR))


def delete_file(path: Path) -> bool:
    """Delete a file; False where the system does not let go of it: Windows deletes no open file, so close it and try again."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        return False
    return True


def lock(file: int, *, wait: bool = False) -> bool:
    """Lock an open file, which may be written, until it is closed; False where another has it. With ``wait`` wait for the other.

    Raises ``OSError`` where the file system has no locks.
    """
    try:
        if _POSIX is not None:
            _POSIX.flock(file, _POSIX.LOCK_EX | (0 if wait else _POSIX.LOCK_NB))
        elif _WINDOWS is not None:
            _lock_far_behind(file, wait=wait)
    except OSError as error:
        if wait or error.errno not in _HELD:
            raise
        return False
    return True


def _lock_far_behind(file: int, *, wait: bool) -> None:
    place = os.lseek(file, 0, os.SEEK_CUR)
    os.lseek(file, _FAR, os.SEEK_SET)
    try:
        while not _lock_here(file, wait=wait):
            pass
    finally:
        os.lseek(file, place, os.SEEK_SET)


def _lock_here(file: int, *, wait: bool) -> bool:
    """Lock a byte of Windows; False where that was tried for ten seconds, which is as long as ``LK_LOCK`` waits."""
    try:
        _WINDOWS.locking(file, _WINDOWS.LK_LOCK if wait else _WINDOWS.LK_NBLCK, 1)
    except OSError as error:
        if not wait or error.errno not in _HELD:
            raise
        return False
    return True


def write_file(path: Path, content: bytes, *, private: bool = True, replace: bool = True) -> None:
    """Write a file whole or not at all: readers see the old or the new one.

    Only its owner may read it if it is ``private``; else it keeps the mode that it had. Without ``replace`` raises
    ``FileExistsError`` where there is a file. Raises ``OSError`` where it cannot be written.
    """
    fresh = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600 if private else 0o666)
        with os.fdopen(descriptor, "wb") as stream:
            if not private:
                with contextlib.suppress(FileNotFoundError):
                    fresh.chmod(stat.S_IMODE(path.stat().st_mode))
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        if replace:
            fresh.replace(path)
        else:
            os.link(fresh, path)  # unlike a rename it fails where there is a file
    finally:
        with contextlib.suppress(OSError):  # it has its name by now, or was never made
            fresh.unlink()
