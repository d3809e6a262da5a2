"""The cache on disk: private, whole or not believed, shared by processes, deleted by nobody but who says so."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest

from llmdispatcher.catalog.registry.store import CachedDocument, DiskCache
from tests.orphans import mortal

from ...threads import in_threads
from .conftest import DAY, document

KEPT = CachedDocument(body=b'{"a": 1}\nb', etag='"x"', checked_at=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def shelf(tmp_path):
    return DiskCache(lambda: tmp_path / "a" / "b")


def files(folder):
    """The files below a folder."""
    return [path for path in Path(folder).rglob("*") if path.is_file()]


def test_what_is_saved_is_loaded(shelf):
    """Bytes, tag and time."""
    assert shelf.save("openai/models.json", KEPT)
    assert KEPT == shelf.load("openai/models.json")
    assert shelf.load("openai/v/1/models.json") is None


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_only_the_owner_reads_it(shelf):
    """Files 0600, folders 0700."""
    shelf.save("openai/models.json", KEPT)

    assert [0o600] == [stat.S_IMODE(path.stat().st_mode) for path in files(shelf.folder)]
    assert 0o700 == stat.S_IMODE(shelf.folder.stat().st_mode)


def test_every_damage_is_noticed(shelf):
    """A file cut at any place, or with any byte changed, is as if it were not there."""
    shelf.save("m", KEPT)
    file = files(shelf.folder)[0]
    whole = file.read_bytes()
    for place in range(len(whole)):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]):
            file.write_bytes(damaged)
            found = shelf.load("m")
            assert found is None or found.body == KEPT.body


def test_a_disk_that_takes_nothing_harms_nobody(site, make, tmp_path):
    """A file where the folder should be: everything works, and nothing is kept."""
    site.publish(version=7)
    (tmp_path / "file").write_text("x")
    registry = make(cache_dir=tmp_path / "file")

    assert 7 == registry.load()["openai"].version
    assert 7 == registry.load()["openai"].version
    assert 1 == len(site.asked())
    assert 0 == registry.clear()


def test_a_folder_in_the_place_of_a_file(shelf):
    """Neither read nor replaced, and no error."""
    (shelf.folder / "m.kept").mkdir(parents=True)

    assert shelf.load("m") is None
    assert not shelf.save("m", KEPT)
    assert [] == files(shelf.folder), "the half file is gone"


def test_a_later_process_starts_with_it(site, make):
    """Without a network."""
    site.publish(version=7)
    make().load()
    site.close()
    later = make()

    assert 7 == later.load()["openai"].version
    status = later.status()["openai"]
    assert ("fresh", "cache", 7) == (status.state, status.source, status.version)


def test_close_deletes_nothing(site, make):
    """Only ``clear`` does, and tells how much."""
    site.publish(version=7)
    registry = make(versions={"openai": 7})
    registry.edition("openai")
    registry.load()
    registry.close()
    kept = files(registry._cache._disk.folder)

    assert 2 == len(kept)
    assert 2 == registry.clear()
    assert [] == files(registry._cache._disk.folder)


def test_the_users_own_folder(site, make, monkeypatch, tmp_path):
    """Where no folder is given, the environment says where."""
    monkeypatch.setenv("LLMDISPATCHER_CACHE_DIR", str(tmp_path / "mine"))
    site.publish(version=7)
    make(cache_dir=None).load()

    assert 1 == len(files(tmp_path / "mine" / "registry"))


def test_two_registries_do_not_mix(site, make):
    """Each address has a folder of its own."""
    site.publish(version=7)
    site.pages["/other/openai/models.json"] = document(version=3)

    assert 7 == make().load()["openai"].version
    assert 3 == make(site.url + "/other").load()["openai"].version
    site.close()
    assert 7 == make().load()["openai"].version


def test_a_kept_file_that_is_no_document_is_fetched_again(site, make, caplog):
    """Whole, and yet nonsense: as if it were not there."""
    site.publish(version=7)
    first = make()
    first.load()
    first._cache._disk.save("openai/models.json", KEPT)

    assert 7 == make().load()["openai"].version
    assert 2 == len(site.asked())


def test_another_processs_answer_is_used(site, make, clock):
    """Of two, the second asks nobody when the first has just done so; both see the new version."""
    site.publish(version=7)
    one, two = make(), make()
    one.load()
    two.load()
    clock.advance(DAY)
    site.publish(version=8)
    one.load()

    assert 8 == two.load()["openai"].version
    assert 2 == len(site.asked())


def test_an_older_answer_of_another_process_is_not_taken(site, make):
    """What this process holds is newer than what lies there."""
    site.publish(version=7)
    old = make()
    old.load()
    kept = old._cache._disk.load("openai/models.json")
    site.publish(version=8)
    old.refresh()
    old._cache._disk.save("openai/models.json", kept)

    assert 8 == old.load()["openai"].version


READER = """
    import sys
    from llmdispatcher import Registry
    registry = Registry(sys.argv[1], cache_dir=sys.argv[2], vendors=["openai"])
    seen = set()
    for _ in range(int(sys.argv[3])):
        registry.refresh()
        other = Registry(sys.argv[1], cache_dir=sys.argv[2], vendors=["openai"])
        seen.add(len(other.editions()["openai"].models))
    print(sorted(seen))
"""


def test_processes_share_a_cache(site, tmp_path):
    """Two that write and read at the same time, while the document changes: every read is a whole document."""
    site.etags = False
    small, large = document(version=1), document(version=1, rows=[_row(number) for number in range(400)])
    turn = iter(range(10**9))
    site.odd["/openai/models.json"] = lambda peer, _: peer.reply(200, (small, large)[next(turn) % 2])
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(READER), site.url, str(tmp_path), "25"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=50) for process in running]

    assert [("[1, 400]\n", "")] * 2 == told
    assert [".kept"] == [path.suffix for path in files(tmp_path)]


def _row(number):
    return {
        "provider": "openai",
        "model_name": f"m{number}",
        "dollars_per_million_tokens_input": 1,
        "dollars_per_million_tokens_output": 2,
    }


WRITER = """
    import sys
    from datetime import UTC, datetime
    from pathlib import Path
    from llmdispatcher.catalog.registry.store import CachedDocument, DiskCache
    shelf, now = DiskCache(lambda: Path(sys.argv[1])), datetime(2026, 1, 1, tzinfo=UTC)
    print("begun", flush=True)
    while True:
        for letter in b"ab":
            shelf.save("m", CachedDocument(body=bytes([letter]) * 3_000_000, etag=None, checked_at=now))
"""


def test_a_killed_process_leaves_whole_files(tmp_path):
    """Killed at any moment of its writing: what is there is whole, and what is half is swept away later."""
    shelf = DiskCache(lambda: tmp_path)
    for delay in (0.0, 0.007, 0.02):
        command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)]
        with subprocess.Popen(mortal(command), stdout=subprocess.PIPE, text=True) as process:
            try:
                process.stdout.readline()
                threading.Event().wait(delay)
            finally:
                process.kill()
        found = shelf.load("m")
        assert found is None or found.body in (b"a" * 3_000_000, b"b" * 3_000_000)
    (tmp_path / ".m.kept.0123456789abcdef").write_bytes(b"x")
    shelf.save("m", attrs.evolve(KEPT, checked_at=datetime.now(UTC) + timedelta(hours=2)))

    assert [".kept"] == [path.suffix for path in files(tmp_path)]


def test_threads_share_a_shelf(shelf):
    """Eight that save and load: never half a document."""
    bodies, wrong = [bytes([65 + number]) * 100_000 for number in range(8)], []

    def work(mine):
        for _ in range(30):
            shelf.save("m", CachedDocument(body=mine, etag=None, checked_at=KEPT.checked_at))
            found = shelf.load("m")
            if found is None or found.body not in bodies:
                wrong.append(found)

    in_threads(work, bodies)

    assert [] == wrong
    assert 1 == len(files(shelf.folder))
