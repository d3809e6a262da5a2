"""Rows that wait on disk come out once, in order, whatever happened to the one who wrote them (D8)."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from llmdispatcher.accounting.ledger import spool as room
from llmdispatcher.accounting.ledger.call import ATTEMPT, CALL, Row
from llmdispatcher.accounting.ledger.spool import Rows, Spool, SpoolFull

MUCH = 1 << 30


def call(number: int | str) -> Row:
    """A call's row that has a number for its id."""
    return (str(number), *[None] * (len(CALL) - 1))


def emptied(spool: Spool) -> list[str]:
    """The ids that come out."""
    found: list[str] = []
    spool.empty(lambda rows, _writer: found.extend([row[0] for row in (*rows[0], *rows[1])]))
    return found


def test_what_goes_in_comes_out_in_order(tmp_path):
    """Calls and attempts, with who wrote them; then nothing is left."""
    spool, seen = Spool(tmp_path / "spool", MUCH), list[tuple[Rows, str]]()
    rows = [(str(number), number, None, "ü\n", 1.5, True, *[None] * (len(CALL) - 6)) for number in range(5)]
    attempt = ("0", 1, *[None] * (len(ATTEMPT) - 2))
    spool.append(rows, [attempt], "me")

    assert 6 == spool.empty(lambda rows, writer: seen.append((rows, writer)))
    assert [((rows, [attempt]), "me")] == seen
    assert (False, []) == (spool.waits(), emptied(spool))


def test_segments_come_out_oldest_first(tmp_path, monkeypatch):
    """However many there are."""
    monkeypatch.setattr(room, "MOST_SEGMENT", 2000)
    spool = Spool(tmp_path, MUCH)
    for number in range(100):
        spool.append([call(number)], [], "me")

    assert len(list(tmp_path.glob("*.jsonl"))) > 3
    assert list(map(str, range(100))) == emptied(Spool(tmp_path, MUCH)) + emptied(spool)


def test_only_its_owner_may_read_it(tmp_path):
    """Folder and segments."""
    Spool(tmp_path / "spool", MUCH).append([call(1)], [], "me")

    assert [0o700, 0o600] == [path.stat().st_mode & 0o777 for path in (tmp_path / "spool", *(tmp_path / "spool").iterdir())]


@pytest.mark.parametrize("cut", range(2, 60, 7))
def test_a_torn_last_line_is_skipped_and_counted(tmp_path, cut):
    """What was there before it comes out."""
    spool = Spool(tmp_path, MUCH)
    spool.append([call(1), call(2), call(3)], [], "me")
    spool.close()
    (segment,) = tmp_path.iterdir()
    os.truncate(segment, segment.stat().st_size - cut)

    assert (["1", "2"], 1) == (emptied(spool), spool.torn)


def test_junk_in_the_middle_is_skipped_and_counted(tmp_path):
    """Zeros, as a loss of power leaves them, and half a line."""
    spool = Spool(tmp_path, MUCH)
    spool.append([call(1), call(2)], [], "me")
    spool.close()
    (segment,) = tmp_path.iterdir()
    head, first, second = segment.read_bytes().splitlines()
    segment.write_bytes(b"\n".join([head, b"\0" * 100, first, b'["c","x', b"7", second, b""]))

    assert (["1", "2"], 3) == (emptied(spool), spool.torn)


def test_a_write_that_the_disk_took_half_of(tmp_path, monkeypatch):
    """What comes next stands on a line of its own."""
    spool, real = Spool(tmp_path, MUCH), os.write
    spool.append([call(1)], [], "me")
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[: len(data) // 2]))
    with pytest.raises(OSError, match="part"):
        spool.append([call(2)], [], "me")
    monkeypatch.setattr(os, "write", real)
    spool.append([call(3)], [], "me")

    assert (["1", "3"], 1) == (emptied(spool), spool.torn)


@pytest.mark.parametrize("before", [["1"], []])
def test_a_full_disk_is_told(tmp_path, monkeypatch, before):
    """The next row goes in when there is room; behind a first line that failed it would not be read, so it has another segment."""

    def full(_file: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    spool = Spool(tmp_path, MUCH)
    for number in before:
        spool.append([call(number)], [], "me")
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="full"):
            spool.append([call(2)], [], "me")
    spool.append([call(3)], [], "me")

    assert ([*before, "3"], 0) == (emptied(spool), spool.torn)


def test_a_segment_that_was_only_begun_goes(tmp_path):
    """Whoever began it was killed before its first line: nothing is lost, and nothing is counted."""
    (tmp_path / "0.jsonl").touch()
    spool = Spool(tmp_path, MUCH)

    assert ([], 0, []) == (emptied(spool), spool.torn, list(tmp_path.iterdir()))


def test_a_new_segment_that_another_has_emptied_at_once_is_begun_anew(tmp_path, monkeypatch):
    """Between its making and its lock it may be taken for one that was left behind."""
    real, taken = room.lock, list[Path]()

    def late(file: int) -> bool:
        if not taken:
            taken.extend(tmp_path.iterdir())
            taken[0].unlink()
        return real(file)

    monkeypatch.setattr(room, "lock", late)
    spool = Spool(tmp_path, MUCH)
    spool.append([call(1)], [], "me")
    monkeypatch.setattr(room, "lock", real)

    assert (1, ["1"]) == (len(taken), emptied(spool))


def test_an_open_file_that_cannot_be_deleted_is_emptied_first(tmp_path, monkeypatch):
    """Windows deletes no open file; between its closing and its end another process must not find the rows once more."""
    spool, real, sizes = Spool(tmp_path, MUCH), Path.unlink, list[int]()
    spool.append([call(1)], [], "me")

    def unlink(path: Path, missing_ok: bool = False) -> None:
        sizes.append(path.stat().st_size)
        if len(sizes) == 1:
            raise PermissionError(errno.EACCES, "used by another process")
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)

    assert (["1"], []) == (emptied(spool), list(tmp_path.iterdir()))
    assert 0 == sizes[1] < sizes[0]


def fill(spool: Spool) -> None:
    """More than it may hold."""
    for number in range(100):
        spool.append([call(number)], [], "me")


def test_it_has_a_bound(tmp_path):
    """So many bytes, of all segments together."""
    Spool(tmp_path, MUCH).append([call(number) for number in range(50)], [], "other")
    spool = Spool(tmp_path, 12_000)
    with pytest.raises(SpoolFull):
        fill(spool)

    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 12_000


def test_what_a_writer_still_has_is_left_to_it(tmp_path):
    """Another may not empty a segment that is being written."""
    first = Spool(tmp_path, MUCH)
    first.append([call(1)], [], "me")

    assert [] == emptied(Spool(tmp_path, MUCH))
    first.close()
    assert ["1"] == emptied(Spool(tmp_path, MUCH))


def test_two_that_empty_it_take_each_row_once(tmp_path, monkeypatch):
    """Of several who begin at once each segment has one."""
    monkeypatch.setattr(room, "MOST_SEGMENT", 2000)
    spool, together = Spool(tmp_path, MUCH), Barrier(4)
    for number in range(200):
        spool.append([call(number)], [], "me")
    spool.close()

    def empty(_: int) -> list[str]:
        together.wait()
        return emptied(Spool(tmp_path, MUCH))

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(empty, range(4)))

    assert sorted(map(str, range(200))) == sorted(chain.from_iterable(found))


def test_what_fails_to_be_written_stays(tmp_path):
    """The next who tries has it all."""
    spool = Spool(tmp_path, MUCH)
    spool.append([call(number) for number in range(3)], [], "me")

    def fail(_rows: Any, _writer: str) -> None:
        raise RuntimeError("away")

    with pytest.raises(RuntimeError):
        spool.empty(fail)
    assert ["0", "1", "2"] == emptied(spool)


def test_rows_of_an_older_version_are_fitted(tmp_path):
    """Columns that it did not have are empty, and those that are gone are left out."""
    (tmp_path / "0.jsonl").write_text(
        '{"writer": "old", "calls": ["gone", "model", "id"], "attempts": []}\n["c", 1, "m", "x"]\n', encoding="utf-8"
    )
    found: list[Row] = []
    Spool(tmp_path, MUCH).empty(lambda rows, _writer: found.extend(rows[0]))

    assert [("x", "m", None)] == [(row[0], row[CALL.index("model")], row[CALL.index("vendor")]) for row in found]


KILLED = """
import os, signal, sys
from pathlib import Path
from llmdispatcher.accounting.ledger.call import CALL
from llmdispatcher.accounting.ledger.spool import Spool
spool = Spool(Path(sys.argv[1]), 1 << 30)
if sys.argv[2] == "writing":
    for number in range(2500):
        spool.append([(str(number), *[None] * (len(CALL) - 1))], [], "me")
    os.kill(os.getpid(), signal.SIGKILL)
spool.empty(lambda rows, writer: os.kill(os.getpid(), signal.SIGKILL) if len(rows[0]) < 1000 else None)
"""


def test_what_a_killed_process_had_is_adopted(tmp_path: Path):
    """Of one that wrote, and of two that were in the middle of emptying it."""
    for kill in ("writing", "emptying", "emptying"):
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), kill], check=False, timeout=50)
        assert -signal.SIGKILL == done.returncode

    assert list(map(str, range(2500))) == emptied(Spool(tmp_path, MUCH))
