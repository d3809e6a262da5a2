"""Files that processes share: locked by one, closed to others, written whole or not at all, on systems of each kind."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import pytest

from llmdispatcher.runtime import delete_file, lock, make_file, open_file, write_file
from tests.conftest import PATIENCE

FILES = "llmdispatcher.runtime.files"
MADE = os.O_RDWR | os.O_CREAT

HOLDER = """
import os, sys
from llmdispatcher.runtime import lock, open_file
file = open_file(sys.argv[1], os.O_RDWR)
print(lock(file), flush=True)
sys.stdin.read()
"""


class Msvcrt:
    """The locks of Windows as its C runtime has them: of one byte at the file's position, refused with ``EACCES``."""

    LK_LOCK, LK_NBLCK = 1, 2

    def __init__(self) -> None:
        self.held: dict[tuple[int, int], int] = {}
        self.waited = 0

    def locking(self, file: int, mode: int, count: int) -> None:
        """Lock so many bytes for this descriptor."""
        place = (os.fstat(file).st_ino, os.lseek(file, 0, os.SEEK_CUR))
        assert count == 1
        if self.held.setdefault(place, file) != file:
            if mode == self.LK_LOCK:
                self.waited += 1
                if self.waited == 3:  # the other closes its file meanwhile
                    self.held[place] = file
            raise OSError(errno.EDEADLK if mode == self.LK_LOCK else errno.EACCES, "locked")


@pytest.fixture(params=["posix", "windows"])
def system(request, monkeypatch):
    """Locks as either kind of system has them."""
    if request.param == "windows":
        monkeypatch.setattr(f"{FILES}._POSIX", None)
        monkeypatch.setattr(f"{FILES}._WINDOWS", Msvcrt())
    return request.param


def test_one_has_the_lock(tmp_path, system):
    """Another descriptor, of the same process too, is told that it is held, and another file is free."""
    first, second, other = (open_file(tmp_path / name, MADE) for name in ("a", "a", "b"))

    assert [True, False, True] == [lock(file) for file in (first, second, other)]


def test_a_lock_moves_nothing(tmp_path, system):
    """What is read and written goes on where it was, and a lock far behind the end makes the file no longer."""
    file = open_file(tmp_path / "a", MADE)
    os.write(file, b"one\n")
    lock(file)
    os.write(file, b"two\n")

    assert b"one\ntwo\n" == (tmp_path / "a").read_bytes()


def test_a_lock_ends_with_its_process(tmp_path):
    """Another process has it, and is killed: then it is free."""
    path = tmp_path / "a"
    path.touch()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert "True" == process.stdout.readline().strip()
        file = open_file(path, os.O_RDWR)
        held = not lock(file)
        process.kill()
        process.wait(PATIENCE)

    assert (True, True) == (held, lock(file))


def test_a_lock_can_be_waited_for(tmp_path):
    """Until whoever has it closes its file."""
    holder, waiter, had = open_file(tmp_path / "a", MADE), open_file(tmp_path / "a", MADE), Event()
    lock(holder)
    thread = Thread(target=lambda: lock(waiter, wait=True) and had.set())
    thread.start()
    early = had.wait(0.05)
    os.close(holder)

    assert (False, True) == (early, had.wait(PATIENCE))
    thread.join(PATIENCE)


def test_windows_is_asked_again_when_it_gives_up_waiting(tmp_path, monkeypatch):
    """Its own waiting ends after ten seconds with an error."""
    system = Msvcrt()
    monkeypatch.setattr(f"{FILES}._POSIX", None)
    monkeypatch.setattr(f"{FILES}._WINDOWS", system)
    holder, waiter = open_file(tmp_path / "a", MADE), open_file(tmp_path / "a", MADE)
    lock(holder)

    assert (True, 3) == (lock(waiter, wait=True), system.waited)


def test_a_file_system_without_locks_is_no_held_lock(tmp_path, monkeypatch):
    """What is wrong is raised, so that nobody is told of another process that does not exist."""

    def refuse(_file: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(f"{FILES}._POSIX", SimpleNamespace(flock=refuse, LOCK_EX=2, LOCK_NB=4))

    with pytest.raises(OSError, match="No locks available"):
        lock(open_file(tmp_path / "a", MADE))


def test_a_file_is_made_for_its_owner_and_never_again(tmp_path):
    """Mode 0600 whatever the umask says; one that is there is left as it is."""
    (tmp_path / "old").write_text("kept")
    (tmp_path / "old").chmod(0o644)
    for name in ("new", "old"):
        make_file(tmp_path / name)

    assert [0o600, 0o644] == [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "old")]
    assert "kept" == (tmp_path / "old").read_text()


def test_a_written_file_is_private_or_keeps_its_mode(tmp_path):
    """The old one is replaced, and nothing else is left in the folder."""
    (tmp_path / "shared").touch()
    (tmp_path / "shared").chmod(0o640)
    (tmp_path / "own").touch()
    write_file(tmp_path / "shared", b"a", private=False)
    write_file(tmp_path / "own", b"b")

    assert {"shared": (b"a", 0o640), "own": (b"b", 0o600)} == {
        path.name: (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.iterdir()
    }


def test_a_file_that_may_not_be_replaced_stays(tmp_path):
    """Whoever asked is told, and nothing half-written is left."""
    (tmp_path / "key").write_bytes(b"first")
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "key", b"second", replace=False)

    assert [b"first"] == [path.read_bytes() for path in tmp_path.iterdir()]


def test_a_file_that_the_system_does_not_let_go_of_is_told(tmp_path, monkeypatch):
    """As Windows does not of one that is open; one that is not there is deleted."""
    (tmp_path / "a").touch()
    done = [delete_file(tmp_path / "a"), delete_file(tmp_path / "a")]

    def deny(_path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "used by another process")

    monkeypatch.setattr(Path, "unlink", deny)

    assert [True, True, False] == [*done, delete_file(tmp_path / "a")]


def test_a_disk_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    """Readers see the old one, whole."""

    def fail(_file: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    (tmp_path / "list").write_bytes(b"first")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        write_file(tmp_path / "list", b"second")

    assert [b"first"] == [path.read_bytes() for path in tmp_path.iterdir()]
